"use strict";
// A heart to turn, in a page of its own: no library, no network. This part: the heart, values between the recording
// points, and two renderers, one for the graphics card and one for a flat canvas. heart_view_page.js has the controls.
const data = JSON.parse(document.getElementById("heart-data").textContent);
const LIGHT = normalised([-0.3, 0.4, 0.866]), AMBIENT = 0.72;  // right, up, towards the viewer
const RESTING = [0.87, 0.87, 0.88], MISSING = [0.62, 0.62, 0.62], CUT = [0.86, 0.80, 0.78];
const FRONT_MS = 2.5;  // width of the white line at the front of the wave

function normalised(v) {
  const length = Math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) || 1;
  return v.map(x => x / length);
}

function decoded(text, Type) { return new Type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer); }

// ------------------------------------------------------------------------------------------------------- the heart

function readHeart() {
  const packed = decoded(data.nodes, Uint16Array), n = packed.length / 3, nodes = new Float32Array(3 * n);
  for (let i = 0; i < 3 * n; i++) nodes[i] = data.corner_mm[i % 3] + packed[i] * data.grain_mm;
  const triangles = decoded(data.triangles, data.wide ? Uint32Array : Uint16Array);
  const { middle, radius } = ball(nodes);
  return { n, nodes, triangles, middle, radius, normals: vertexNormals(nodes, triangles) };
}

// The smallest ball around all nodes, nearly: its middle moves towards the farthest node by ever smaller steps.
// It gives one size for all directions.
function ball(nodes) {
  const middle = [nodes[0], nodes[1], nodes[2]];
  let radius = 0;
  for (let round = 1; round <= 60; round++) {
    let far = 0;
    radius = 0;
    for (let i = 0; i < nodes.length; i += 3) {
      const gap = distance(nodes, i, middle);
      if (gap > radius) { radius = gap; far = i; }
    }
    for (let k = 0; k < 3; k++) middle[k] += (nodes[far + k] - middle[k]) / (round + 1);
  }
  return { middle, radius };
}

function vertexNormals(nodes, triangles) {
  const normals = new Float32Array(nodes.length), u = [0, 0, 0], v = [0, 0, 0];
  for (let t = 0; t < triangles.length; t += 3) {
    const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
    for (let k = 0; k < 3; k++) { u[k] = nodes[b + k] - nodes[a + k]; v[k] = nodes[c + k] - nodes[a + k]; }
    for (let k = 0; k < 3; k++) {  // the cross product is as long as the triangle is large
      const part = u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3];
      normals[a + k] += part; normals[b + k] += part; normals[c + k] += part;
    }
  }
  for (let i = 0; i < normals.length; i += 3)
    normals.set(normalised([normals[i], normals[i + 1], normals[i + 2]]), i);
  return normals;
}

// (nodes x known points): value at a node = sum over known points of matrix * value at the point.
function interpolation(heart, { known, weights }) {
  const p = known.length, w = decoded(weights, Float32Array), matrix = new Float32Array(heart.n * p);
  const row = new Float64Array(p);
  for (let i = 0; i < heart.n; i++) {
    for (let k = 0; k < p; k++) row[k] = w[p * p + k];  // the constant
    for (let j = 0; j < p; j++) {
      const gap = distance(heart.nodes, 3 * i, data.points_mm[known[j]]);
      for (let k = 0, at = j * p; k < p; k++, at++) row[k] += gap * w[at];
    }
    matrix.set(row, i * p);
  }
  return matrix;
}

function distance(nodes, at, point) {
  const x = nodes[at] - point[0], y = nodes[at + 1] - point[1], z = nodes[at + 2] - point[2];
  return Math.sqrt(x * x + y * y + z * z);
}

function nearestPoints(heart) {
  const nearest = new Uint16Array(heart.n);
  for (let i = 0; i < heart.n; i++) {
    let best = Infinity;
    data.points_mm.forEach((point, j) => {
      const gap = distance(heart.nodes, 3 * i, point);
      if (gap < best) { best = gap; nearest[i] = j; }
    });
  }
  return nearest;
}

function readPanel(heart, panel, matrices) {
  const { known } = data.patterns[panel.pattern], matrix = matrices[panel.pattern], p = known.length;
  const start = new Float32Array(heart.n), missing = new Float32Array(heart.n);
  for (let i = 0; i < heart.n; i++) {
    for (let k = 0; k < p; k++) start[i] += matrix[i * p + k] * panel.activation_ms[known[k]];
    missing[i] = panel.activation_ms[heart.nearest[i]] === null ? 1 : 0;
  }
  const result = { title: panel.title, activation_ms: panel.activation_ms, start, missing, values: start };
  if (!panel.voltage) return result;
  result.frames = panel.frames;
  result.voltage = decoded(panel.voltage, Int16Array);  // (points, frames) in grains of mV
  result.whole = matrices[data.whole_pattern];
  return aligned(result, panel);
}

// Traces shifted so that each starts at 0: averaging them there keeps the front as steep as it is at the points.
function aligned(panel, { silent_start_ms }) {
  const p = data.names.length, starts = panel.activation_ms.map(t => t === null ? silent_start_ms : t);
  let first = 0, last = 0;
  for (const s of panel.start) { first = Math.min(first, -s); last = Math.max(last, panel.frames - s); }
  panel.before = Math.ceil(-first) + 1;
  const length = panel.before + Math.ceil(last) + 2;
  panel.traces = new Float32Array(length * p);
  for (let s = 0; s < length; s++)
    for (let j = 0; j < p; j++) panel.traces[s * p + j] = traceAt(panel, j, s - panel.before + starts[j]);
  panel.values = new Float32Array(panel.start.length);
  return panel;
}

function traceAt(panel, j, time) {  // mV; held at its first and last value outside the recording
  const t = Math.min(Math.max(time, 0), panel.frames - 1), a = Math.floor(t), b = Math.min(a + 1, panel.frames - 1);
  const at = j * panel.frames;
  return data.grain_mv * (panel.voltage[at + a] + (t - a) * (panel.voltage[at + b] - panel.voltage[at + a]));
}

function voltageInto(panel, time) {
  const p = data.names.length, { whole, traces, start, values, before } = panel;
  for (let i = 0; i < values.length; i++) {
    const since = time - start[i] + before, s = Math.floor(since), f = since - s;
    let sum = 0;
    for (let j = 0, m = i * p, a = s * p, b = a + p; j < p; j++, m++, a++, b++)
      sum += whole[m] * (traces[a] + f * (traces[b] - traces[a]));
    values[i] = sum;
  }
}

// The viewer's axes in the mesh's: rows right, up, towards the viewer.
function cameraOf({ azimuth, elevation }) {
  const a = azimuth * Math.PI / 180, e = elevation * Math.PI / 180;
  const towards = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  const right = [-Math.sin(a), Math.cos(a), 0];
  const up = [0, 1, 2].map(k => towards[(k + 1) % 3] * right[(k + 2) % 3] - towards[(k + 2) % 3] * right[(k + 1) % 3]);
  return [right, up, towards];
}

// How far the middle of the heart's outline lies right of and above the middle of the ball, seen with these axes (mm).
function shiftOf(heart, axes) {
  return [axes[0], axes[1]].map(axis => {
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < heart.nodes.length; i += 3) {
      const along = heart.nodes[i] * axis[0] + heart.nodes[i + 1] * axis[1] + heart.nodes[i + 2] * axis[2];
      if (along < low) low = along;
      if (along > high) high = along;
    }
    return (low + high) / 2 - heart.middle.reduce((sum, x, k) => sum + x * axis[k], 0);
  });
}

// ------------------------------------------------------------------------------------ drawing with the graphics card

const VERTEX = `#version 300 es
in vec3 place; in vec3 normal; in float value; in float missing;
uniform mat3 camera; uniform vec3 middle; uniform vec2 zoom, shift; uniform float radius;
out vec3 n; out float v; out float m; out float depth;
void main() {
  vec3 turned = (place - middle) * camera;
  n = normal * camera; v = value; m = missing; depth = turned.z / radius;
  gl_Position = vec4((turned.xy - shift) * zoom, -0.5 * depth, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 n; in float v; in float m; in float depth;
uniform sampler2D ramp; uniform vec2 range; uniform bool wave;
uniform float now, cut, lines, ambient, front;
uniform vec3 light, resting, missingColour, cutColour;
out vec4 colour;
void main() {
  if (depth > cut) discard;
  if (!gl_FrontFacing) { colour = vec4(cutColour, 1.0); return; }  // only a cut shows the inside of the wall
  vec3 c = texture(ramp, vec2((v - range.x) / (range.y - range.x) * (255.0 / 256.0) + 0.5 / 256.0, 0.5)).rgb;
  float off = abs(fract(v / lines + 0.5) - 0.5) * lines / max(fwidth(v), 1e-6);
  if (wave) {
    c = mix(c, vec3(step(dot(c, vec3(0.3, 0.59, 0.11)), 0.3)), 0.45 * clamp(1.1 - off, 0.0, 1.0));
    c = mix(c, vec3(1.0), exp(-abs(now - v) / front));
    if (now < v) c = resting;
    if (m > 0.5) c = missingColour;
  }
  colour = vec4(c * (ambient + (1.0 - ambient) * max(dot(normalize(n), light), 0.0)), 1.0);
}`;

// Where a program stands in for the graphics card, smooth edges would cost more than half of the frames.
function softwareGraphics() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const known = gl && gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl ? String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "";
  const drop = gl && gl.getExtension("WEBGL_lose_context");
  if (drop) drop.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

function graphicsRenderer(canvas, heart, panels) {
  const gl = canvas.getContext("webgl2", { antialias: !softwareGraphics() });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  const at = name => gl.getUniformLocation(program, name);
  const buffer = (target, content, usage) => {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made); gl.bufferData(target, content, usage || gl.STATIC_DRAW);
    return made;
  };
  const shared = { place: buffer(gl.ARRAY_BUFFER, heart.nodes), normal: buffer(gl.ARRAY_BUFFER, heart.normals) };
  const own = panels.map(panel => ({
    value: buffer(gl.ARRAY_BUFFER, panel.values, gl.DYNAMIC_DRAW), missing: buffer(gl.ARRAY_BUFFER, panel.missing) }));
  buffer(gl.ELEMENT_ARRAY_BUFFER, heart.triangles);
  const ramps = {};
  for (const [name, ramp] of Object.entries(data.ramps)) {
    ramps[name] = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, ramps[name]);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, decoded(ramp.colours, Uint8Array));
    for (const edge of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, edge, gl.CLAMP_TO_EDGE);
    for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, f, gl.LINEAR);
  }
  const colours = { middle: heart.middle, light: LIGHT, resting: RESTING, missingColour: MISSING, cutColour: CUT };
  for (const [name, three] of Object.entries(colours)) gl.uniform3fv(at(name), three);
  const numbers = { radius: heart.radius, ambient: AMBIENT, front: FRONT_MS, lines: data.line_ms };
  for (const [name, number] of Object.entries(numbers)) gl.uniform1f(at(name), number);
  gl.enable(gl.DEPTH_TEST); gl.enable(gl.SCISSOR_TEST); gl.clearColor(0, 0, 0, 0);  // the page shines through

  function bind(name, made, size) {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, made); gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
  }
  function drawPanel(panel, k, state, width) {
    const size = state.scale * Math.min(width, canvas.height) / (2 * heart.radius);  // pixels per mm
    const ramp = data.ramps[state.colour];
    gl.viewport(k * width, 0, width, canvas.height); gl.scissor(k * width, 0, width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const axes = cameraOf(state);
    gl.uniformMatrix3fv(at("camera"), false, axes.flat()); gl.uniform2fv(at("shift"), shiftOf(heart, axes));
    gl.uniform2f(at("zoom"), 2 * size / width, 2 * size / canvas.height);
    gl.uniform2fv(at("range"), ramp.range); gl.uniform1f(at("now"), state.time);
    gl.uniform1f(at("cut"), state.cut); gl.uniform1i(at("wave"), state.colour === "activation");
    if (state.cut < 1) gl.disable(gl.CULL_FACE); else gl.enable(gl.CULL_FACE);
    gl.bindTexture(gl.TEXTURE_2D, ramps[state.colour]);
    bind("place", shared.place, 3); bind("normal", shared.normal, 3); bind("missing", own[k].missing, 1);
    bind("value", own[k].value, 1);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, state.colour === "activation" ? panel.start : panel.values);
    gl.drawElements(gl.TRIANGLES, heart.triangles.length, data.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
  }
  return { name: "webgl2", draw(state) {
    panels.forEach((panel, k) => drawPanel(panel, k, state, canvas.width / panels.length));
  } };
}

// -------------------------------------------------------------------------------- drawing without one, pixel by pixel

// The same steps on the processor. What a pixel shows (a triangle, and where in it) is kept until the heart is turned.
function flatRenderer(canvas, heart, panels) {
  const pen = canvas.getContext("2d"), flat = new Float32Array(3 * heart.n), bright = new Float32Array(heart.n);
  const ramps = {};
  for (const [name, ramp] of Object.entries(data.ramps)) ramps[name] = decoded(ramp.colours, Uint8Array);
  let width = 0, height = 0, triangle, second, third, depth, image, seenFrom = "";

  function turn(state) {
    width = Math.floor(canvas.width / panels.length); height = canvas.height;
    const key = [state.azimuth, state.elevation, state.scale, state.cut, width, height].join();
    if (key === seenFrom) return;
    seenFrom = key;
    project(cameraOf(state), state.scale * Math.min(width, height) / (2 * heart.radius));
    triangle = new Int32Array(width * height).fill(-1); depth = new Float32Array(width * height).fill(-Infinity);
    second = new Float32Array(width * height); third = new Float32Array(width * height);
    image = pen.createImageData(width, height);
    for (let t = 0; t < heart.triangles.length; t += 3) fill(t, state.cut);
  }
  function project(axes, size) {  // nodes as column, row, depth; and how bright each is
    const towards = [0, 1, 2].map(k => axes[0][k] * LIGHT[0] + axes[1][k] * LIGHT[1] + axes[2][k] * LIGHT[2]);
    const { nodes, normals, middle } = heart, shift = shiftOf(heart, axes);
    for (let i = 0; i < nodes.length; i += 3) {
      const x = nodes[i] - middle[0], y = nodes[i + 1] - middle[1], z = nodes[i + 2] - middle[2];
      flat[i] = width / 2 + size * (x * axes[0][0] + y * axes[0][1] + z * axes[0][2] - shift[0]);
      flat[i + 1] = height / 2 - size * (x * axes[1][0] + y * axes[1][1] + z * axes[1][2] - shift[1]);
      flat[i + 2] = (x * axes[2][0] + y * axes[2][1] + z * axes[2][2]) / heart.radius;
      const lit = normals[i] * towards[0] + normals[i + 1] * towards[1] + normals[i + 2] * towards[2];
      bright[i / 3] = AMBIENT + (1 - AMBIENT) * Math.max(lit, 0);
    }
  }
  function fill(t, cut) {
    const a = 3 * heart.triangles[t], b = 3 * heart.triangles[t + 1], c = 3 * heart.triangles[t + 2];
    const bx = flat[b] - flat[a], by = flat[b + 1] - flat[a + 1];
    const cx = flat[c] - flat[a], cy = flat[c + 1] - flat[a + 1];
    const area = bx * cy - by * cx;
    if (area === 0 || (area > 0 && cut >= 1)) return;  // rows count downwards: a positive area shows the inside
    const left = Math.max(0, Math.ceil(Math.min(flat[a], flat[b], flat[c])));
    const right = Math.min(width - 1, Math.floor(Math.max(flat[a], flat[b], flat[c])));
    const top = Math.max(0, Math.ceil(Math.min(flat[a + 1], flat[b + 1], flat[c + 1])));
    const bottom = Math.min(height - 1, Math.floor(Math.max(flat[a + 1], flat[b + 1], flat[c + 1])));
    for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) {
      const dx = x - flat[a], dy = y - flat[a + 1], u = (dx * cy - dy * cx) / area, v = (dy * bx - dx * by) / area;
      if (u < 0 || v < 0 || u + v > 1) continue;
      const z = flat[a + 2] + u * (flat[b + 2] - flat[a + 2]) + v * (flat[c + 2] - flat[a + 2]), at = y * width + x;
      if (z > cut || z <= depth[at]) continue;
      depth[at] = z; second[at] = u; third[at] = v; triangle[at] = area > 0 ? -2 : t;
    }
  }
  function paint(panel, state) {
    const wave = state.colour === "activation", values = wave ? panel.start : panel.values, ramp = ramps[state.colour];
    const [low, high] = data.ramps[state.colour].range, out = image.data;
    for (let at = 0; at < triangle.length; at++) {
      const t = triangle[at];
      out[4 * at + 3] = t === -1 ? 0 : 255;  // no heart: the page shines through
      if (t < 0) {  // nothing, or the cut surface
        for (let k = 0; k < 3; k++) out[4 * at + k] = 255 * CUT[k];
        continue;
      }
      const a = heart.triangles[t], b = heart.triangles[t + 1], c = heart.triangles[t + 2];
      const u = second[at], v = third[at], w = 1 - u - v, value = w * values[a] + u * values[b] + v * values[c];
      const shade = w * bright[a] + u * bright[b] + v * bright[c];
      const place = 3 * Math.round(255 * Math.min(Math.max((value - low) / (high - low), 0), 1));
      const glow = wave ? Math.exp(-Math.abs(state.time - value) / FRONT_MS) : 0;
      const missing = wave && w * panel.missing[a] + u * panel.missing[b] + v * panel.missing[c] > 0.5;
      for (let k = 0; k < 3; k++) {
        const own = missing ? MISSING[k] : wave && state.time < value ? RESTING[k]
          : ramp[place + k] / 255 * (1 - glow) + glow;
        out[4 * at + k] = 255 * own * shade;
      }
    }
  }
  return { name: "canvas", draw(state) {
    turn(state);
    panels.forEach((panel, k) => { paint(panel, state); pen.putImageData(image, k * width, 0); });
  } };
}
