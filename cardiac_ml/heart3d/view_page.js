// The page around the heart: turning, zooming, time, the point under the pointer.
(function () {
const HELP = "Drag or arrow keys turn, wheel or + and \u2212 zoom, space plays, R resets; cut opens the walls. "
  + "Point at a place to read it.";
const PLAY_MS_PER_SECOND = 60;  // one millisecond of the heart for each frame of a usual screen
const SIDES = [["LV lateral", "RV"], ["inferior", "anterior"]];  // what lies towards +x, -x, +y, -y
const get = id => document.getElementById(id);
const stage = get("stage"), slider = get("time");

const heart = readHeart();
heart.nearest = nearestPoints(heart);
const matrices = data.patterns.map(pattern => interpolation(heart, pattern));
const panels = data.panels.map(panel => readPanel(heart, panel, matrices));
const end = data.end_ms, hasVoltage = Boolean(data.ramps.voltage);
const first = { azimuth: data.view[0], elevation: data.view[1], scale: 1.12, cut: 1, time: data.first_ms,
  colour: hasVoltage ? "voltage" : "activation" };
const state = { ...first };
const stats = { renderer: "", firstFrameMs: 0, frames: 0, gapsMs: [] };
let renderer = null, canvas = null, playing = false, lastFrame = 0, asked = false, shownVoltage = -1, told = -1;

// --------------------------------------------------------------------------------------------------------- drawing

function makeRenderer(graphics) {
  if (canvas) canvas.remove();
  canvas = document.createElement("canvas");
  stage.prepend(canvas);
  renderer = (graphics && graphicsRenderer(canvas, heart, panels)) || null;
  if (!renderer) {
    if (graphics) { makeRenderer(false); return; }  // a canvas that was asked for WebGL gives nothing else
    renderer = flatRenderer(canvas, heart, panels);
  }
  canvas.addEventListener("webglcontextlost", () => { makeRenderer(false); draw(); });  // a page of many views runs out
  stats.renderer = renderer.name;
}

function draw() {
  const sharp = Math.min(window.devicePixelRatio || 1, 2), box = stage.getBoundingClientRect();
  const width = Math.max(panels.length, Math.round(box.width * sharp / panels.length) * panels.length);
  const height = Math.max(1, Math.round(box.height * sharp));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  if (state.colour === "voltage" && state.time !== shownVoltage) {
    panels.forEach(panel => voltageInto(panel, state.time));
    shownVoltage = state.time;
  }
  renderer.draw(state);
  labels();
  stats.frames++;
}

function later() {  // many changes between two frames of the screen are one drawing
  if (asked || playing) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}

function labels() {
  const right = cameraOf(state)[0], axis = Math.abs(right[0]) > Math.abs(right[1]) ? 0 : 1;
  const [away, near] = right[axis] > 0 ? SIDES[axis] : [...SIDES[axis]].reverse();
  for (const side of document.querySelectorAll("#labels .side")) {
    side.children[0].textContent = near; side.children[1].textContent = away;
  }
  slider.value = Math.round(state.time);
  get("now").textContent = `${Math.round(state.time)} ms`;
}

function layOut() {
  panels.forEach((panel, k) => {
    for (const kind of ["title", "side"]) {
      const label = document.createElement("div");
      label.className = kind;
      label.style.left = `${100 * k / panels.length + 1}%`; label.style.width = `${100 / panels.length - 2}%`;
      if (kind === "title") label.textContent = panel.title;
      else label.append(document.createElement("span"), document.createElement("span"));
      get("labels").append(label);
    }
  });
  slider.max = end;
  get("told").classList.toggle("tall", hasVoltage);
  tell(-1);
  get("choice").style.display = hasVoltage ? "" : "none";
}

function colourBar() {
  const ramp = data.ramps[state.colour], colours = decoded(ramp.colours, Uint8Array), stops = [];
  for (let k = 0; k < 256; k += 15) stops.push(`rgb(${[...colours.slice(3 * k, 3 * k + 3)].join()})`);
  get("ramp").style.background = `linear-gradient(to right, ${stops.join()})`;
  get("ticks").replaceChildren(...[0, 1, 2, 3, 4].map(k => {
    const tick = document.createElement("span"), value = ramp.range[0] + k / 4 * (ramp.range[1] - ramp.range[0]);
    const word = { 0: ramp.words[0], 4: ramp.words[1] }[k];
    tick.textContent = `${Math.round(value)} ${ramp.unit}${word ? ` (${word})` : ""}`;
    return tick;
  }));
  get("colour").value = state.colour;
}

// ----------------------------------------------------------------------------------------------------------- time

function play(on) {
  playing = on;
  get("play").textContent = on ? "\u275a\u275a pause" : "\u25b6 play";
  if (!on) return;
  if (state.time >= end) state.time = 0;
  stats.gapsMs = []; lastFrame = 0;
  requestAnimationFrame(step);
}

function step(now) {
  if (!playing) return;
  const gap = lastFrame ? now - lastFrame : 1000 / PLAY_MS_PER_SECOND;
  if (lastFrame) stats.gapsMs.push(gap);
  lastFrame = now;
  state.time = Math.min(end, state.time + Math.min(1, gap * PLAY_MS_PER_SECOND / 1000));  // slow, rather than skip
  draw();
  if (told >= 0) tell(told);
  if (state.time >= end) play(false); else requestAnimationFrame(step);
}

// --------------------------------------------------------------------------------------------- the point pointed at

function pointUnder(x, y) {  // the recording point nearest to the nearest visible node within 9 pixels, or -1
  const box = stage.getBoundingClientRect(), width = box.width / panels.length, axes = cameraOf(state);
  const size = state.scale * Math.min(width, box.height) / (2 * heart.radius);
  const shift = shiftOf(heart, axes);
  const right = ((x % width) - width / 2) / size + shift[0], up = (box.height / 2 - y) / size + shift[1];
  let best = -Infinity, found = -1;
  for (let i = 0; i < heart.n; i++) {
    const [x, y, z] = [0, 1, 2].map(k => heart.nodes[3 * i + k] - heart.middle[k]);
    const [a, b, depth] = axes.map(axis => axis[0] * x + axis[1] * y + axis[2] * z);
    const near = Math.abs(a - right) * size < 9 && Math.abs(b - up) * size < 9;
    if (near && depth > best && depth <= state.cut * heart.radius) { best = depth; found = i; }
  }
  return found < 0 ? -1 : heart.nearest[found];
}

function tell(point) {
  told = point;
  const box = get("told"), words = document.createElement("div");
  box.replaceChildren(words);
  const line = text => { const row = document.createElement("div"); row.textContent = text; words.append(row); };
  if (point < 0) { line(HELP); return; }
  line(data.names[point]);
  for (const panel of panels) {
    const time = panel.activation_ms[point], title = panel.title ? `${panel.title}: ` : "";
    const volt = panel.voltage ? `, ${traceAt(panel, point, state.time).toFixed(0)} mV now` : "";
    line(`${title}${time === null ? "never activates" : `${time.toFixed(1)} ms`}${volt}`);
  }
  if (hasVoltage) box.append(curves(point));
}

function curves(point) {  // the traces of all panels: the first solid, the others dashed
  const sheet = document.createElement("canvas"), pen = sheet.getContext("2d");
  sheet.width = 420; sheet.height = 160;
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name);
  const y = mv => 160 * (1 - (mv + 100) / 160), x = ms => 420 * ms / end;
  pen.strokeStyle = colour("--rule"); pen.beginPath(); pen.moveTo(x(state.time), 0); pen.lineTo(x(state.time), 160); pen.stroke();
  panels.forEach((panel, k) => {
    pen.strokeStyle = colour(["--first", "--second", "--third"][k]); pen.lineWidth = 3; pen.setLineDash(k ? [8, 5] : []);
    pen.beginPath();
    for (let t = 0; t < panel.frames; t += 2) pen.lineTo(x(t), y(traceAt(panel, point, t)));
    pen.stroke();
  });
  return sheet;
}

// -------------------------------------------------------------------------------------------------------- controls

function turnBy(right, down) {
  state.azimuth -= 0.5 * right;
  state.elevation = Math.min(90, Math.max(-90, state.elevation + 0.5 * down));
  later();
}

function pointers() {
  const held = new Map();
  let spread = 0;
  stage.addEventListener("pointerdown", event => {
    held.set(event.pointerId, [event.clientX, event.clientY]);
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("turning");
    tell(-1);  // what was under the pointer turns away
  });
  stage.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (!before) {
      const box = stage.getBoundingClientRect();
      tell(pointUnder(event.clientX - box.left, event.clientY - box.top));
      return;
    }
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (held.size === 1) return turnBy(event.clientX - before[0], event.clientY - before[1]);
    const [one, other] = [...held.values()], apart = Math.hypot(one[0] - other[0], one[1] - other[1]);
    if (spread) zoomBy(apart / spread);
    spread = apart;
  });
  const released = event => {
    held.delete(event.pointerId); spread = 0;
    if (!held.size) stage.classList.remove("turning");
  };
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) stage.addEventListener(kind, released);
  stage.addEventListener("pointerleave", () => tell(-1));
  const wheel = event => { event.preventDefault(); zoomBy(Math.exp(-0.0015 * event.deltaY)); };
  stage.addEventListener("wheel", wheel, { passive: false });
}

function zoomBy(factor) {
  state.scale = Math.min(8, Math.max(0.4, state.scale * factor));
  later();
}

function reset() {
  play(false); tell(-1);
  Object.assign(state, first); get("cut").value = 0;
  colourBar(); later();
}

function keys(event) {
  const turn = { ArrowLeft: [20, 0], ArrowRight: [-20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] }[event.key];
  if (turn) { tell(-1); turnBy(...turn); }
  else if (event.key === " ") play(!playing);
  else if (event.key === "+" || event.key === "-") zoomBy(event.key === "+" ? 1.2 : 1 / 1.2);
  else if (event.key === "r" || event.key === "R") reset();
  else return;
  event.preventDefault();
}

function controls() {
  pointers();
  stage.addEventListener("keydown", keys);
  get("play").addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => { play(false); state.time = Number(slider.value); later(); });
  get("colour").addEventListener("change", () => { state.colour = get("colour").value; colourBar(); later(); });
  get("cut").addEventListener("input", () => { state.cut = 1 - get("cut").value / 60; later(); });
  get("reset").addEventListener("click", reset);
  new ResizeObserver(draw).observe(stage);  // at once: a stretched heart would be a wrong one
}

layOut();
colourBar();
makeRenderer(true);
draw();
stats.firstFrameMs = performance.now();
controls();
try {  // in a notebook: the still picture has done its work once the heart is drawn
  const still = window.frameElement.parentElement.querySelector("img");
  if (still) still.style.display = "none";
} catch (blocked) { /* the page stands alone, or is kept apart from its notebook */ }
window.heartView = { state, stats, heart, panels, draw, play, voltageInto, isPlaying: () => playing };
})();
