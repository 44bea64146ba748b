"""The interactive heart in a real browser: headless Chromium, spoken to over a pipe (no driver, no extra package)."""
import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import small_heart
from PIL import Image

from cardiac_ml.heart3d import mesh as heart, view as heart_view
from cardiac_ml.files import DataError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Browser:
    """One headless browser. Messages of the DevTools protocol are JSON, each ended by a zero byte, on two pipes."""

    def __init__(self, program, folder, *flags):
        (out_read, self.out), (self.back, back_write) = os.pipe(), os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader",
                   "--remote-debugging-pipe", f"--user-data-dir={folder}", "--hide-scrollbars", *flags, "about:blank"]
        # the protocol is fixed to descriptors 3 (in) and 4 (out): a shell puts them there
        shell = f'exec "$@" 3<&{out_read} 4>&{back_write}'
        self.process = subprocess.Popen(["bash", "-c", shell, "browser", *command], pass_fds=(out_read, back_write),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(out_read), os.close(back_write)
        self.numbers, self.waiting, self.session, self.seen = itertools.count(1), b"", None, []
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(page for page in pages if page["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def read(self):
        while b"\0" not in self.waiting:
            ready = select.select([self.back], [], [], 90)[0]
            piece = os.read(self.back, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("the browser went away, or said nothing for 90 s")
            self.waiting += piece
        message, self.waiting = self.waiting.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != number:
            self.seen.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path, width=800, height=440):
        self.seen = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=Path(path).as_uri())
        while not any(message.get("method") == "Page.loadEventFired" for message in self.seen):
            self.seen.append(self.read())

    def run(self, script):
        """The value of a script; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def pixels(self):
        """What the page shows: (height, width, 3) whole numbers."""
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")).astype(int)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, end):
        self.mouse("mousePressed", *start, button="left", clickCount=1)
        for share in (0.3, 0.6, 1):
            self.mouse("mouseMoved", *(a + share * (b - a) for a, b in zip(start, end)), button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)
        self.settle()

    def network(self, on):
        self.call("Network.emulateNetworkConditions", offline=not on, latency=0, downloadThroughput=-1,
                  uploadThroughput=-1)

    def wait(self, condition):
        self.run(f"new Promise(done => {{ (function look() {{ {condition} ? done() : setTimeout(look, 5); }})(); }})")

    def settle(self):
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=90)
        os.close(self.out), os.close(self.back)


@pytest.fixture(scope="session")
def program():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not found:
        pytest.skip(f"NO BROWSER: the interactive heart is NOT tested. Install one of {', '.join(BROWSERS)}.")
    return found


@pytest.fixture(scope="session")
def browser(program, tmp_path_factory):
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


# ------------------------------------------------------------------------------------------------------- in the browser

@pytest.fixture(scope="module")
def one():
    points = small_heart.points()
    return small_heart.wall(), points, small_heart.activation(points[["x", "y", "z"]])


@pytest.fixture(scope="module")
def pair(one):
    """Truth with a dead point, and a prediction that is 4 ms late: recordings, as task 4 shows them."""
    mesh, points, start = one
    return {"truth": small_heart.voltages(np.where(np.arange(75) == 7, np.nan, start)),
            "prediction": small_heart.voltages(start + 4)}


def opened(browser, view, folder, **size):
    browser.open(view.save(folder / "heart.html"), **size)
    browser.settle()
    return browser


def coloured(pixels):
    """How many pixels are neither white, grey nor black."""
    return int((np.ptp(pixels, axis=2) > 60).sum())


def test_it_draws_at_once_without_network(browser, one, tmp_path):
    page = opened(browser, heart_view.show(*one), tmp_path)
    assert page.run("heartView.stats.renderer") == "webgl2"
    assert coloured(page.pixels()[:360]) > 20_000
    asked = [m["params"]["request"]["url"] for m in page.seen if m.get("method") == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert not [m for m in page.seen if m.get("method") == "Runtime.exceptionThrown"]


def test_dragging_turns_both_hearts_and_reset_turns_them_back(browser, one, pair, tmp_path):
    mesh, points, _ = one
    page = opened(browser, heart_view.show(mesh, points, pair), tmp_path)
    before, at_first = page.pixels(), page.run("heartView.state.azimuth")
    page.drag((200, 180), (320, 200))
    assert abs(page.run("heartView.state.azimuth") - at_first) > 20
    changed = (np.abs(page.pixels() - before) > 40).any(axis=2)[:340]
    assert changed[:, :400].sum() > 2000 and changed[:, 400:].sum() > 2000  # dragged in the left half: both turn
    page.run("document.getElementById('reset').click()")
    page.settle()
    page.mouse("mouseMoved", 5, 5)
    assert np.abs(page.pixels() - before)[100:340].max() <= 2


def test_the_wheel_zooms(browser, one, tmp_path):
    page = opened(browser, heart_view.show(*one), tmp_path)
    before = coloured(page.pixels()[:340])
    page.mouse("mouseWheel", 400, 180, deltaX=0, deltaY=300)
    page.settle()
    assert coloured(page.pixels()[:340]) < 0.7 * before


def test_play_runs_every_millisecond_to_the_end_without_a_stall(browser, one, pair, tmp_path):
    mesh, points, _ = one
    page = opened(browser, heart_view.show(mesh, points, pair), tmp_path, width=640, height=360)
    page.run("heartView.state.time = 480; document.getElementById('play').click()")
    page.wait("!heartView.isPlaying()")
    assert page.run("heartView.state.time") == 499
    before, drawn = page.pixels(), page.run("heartView.stats.frames")
    page.run("document.getElementById('play').click()")  # from the end it starts anew
    page.wait("heartView.state.time >= 60")
    page.run("heartView.play(false); heartView.draw()")
    assert (np.abs(page.pixels() - before) > 40).any(axis=2).sum() > 2000
    assert page.run("heartView.stats.frames") - drawn >= 60


def test_slider_and_colour_choice_show_the_wave(browser, one, pair, tmp_path):
    mesh, points, start = one
    page = opened(browser, heart_view.show(mesh, points, pair), tmp_path)
    shown = []
    for colour, moment in (("voltage", 0), ("voltage", 100), ("activation", 0), ("activation", 499)):
        page.run(f"""for (const [id, value, kind] of [["colour", "{colour}", "change"], ["time", {moment}, "input"]]) {{
            document.getElementById(id).value = value;
            document.getElementById(id).dispatchEvent(new Event(kind));
        }}""")
        page.settle()
        shown.append(page.pixels()[40:340])
    for a, b in itertools.combinations(shown, 2):
        assert (np.abs(a - b) > 40).any(axis=2).sum() > 2000
    assert coloured(shown[2]) < 300 < coloured(shown[3])  # before the first activation the heart is pale


def test_the_page_computes_what_python_does(browser, one, pair, tmp_path):
    mesh, points, _ = one
    page = opened(browser, heart_view.show(mesh, points, pair), tmp_path)
    places = points[["x", "y", "z"]].to_numpy()
    nodes = np.reshape(page.run("Array.from(heartView.heart.nodes)"), (-1, 3))
    for moment in (30.0, 63.5, 200.0):
        seen = page.run(f"heartView.voltageInto(heartView.panels[0], {moment}); Array.from(heartView.panels[0].values)")
        expected = heart.wave(places, nodes, pair["truth"], [moment])[0]
        assert np.abs(np.array(seen) - expected).max() < 3  # mV, where the upstroke rises 70 mV in a ms
        assert np.abs(np.array(seen) - expected).mean() < 0.2


def test_pointing_tells_the_point_and_its_values(browser, one, pair, tmp_path):
    mesh, points, _ = one
    page = opened(browser, heart_view.show(mesh, points, pair), tmp_path)
    page.mouse("mouseMoved", 200, 190)
    told = page.run("document.getElementById('told').innerText")
    assert told.split("\n")[0] in set(points.name) and "truth: " in told and "mV now" in told
    page.mouse("mouseMoved", 4, 4)
    told = page.run("document.getElementById('told').innerText")
    assert told.startswith("Drag or arrow keys turn") and "cut opens the walls" in told
    page.mouse("mouseMoved", 200, 190)
    page.mouse("mousePressed", 200, 190, button="left", clickCount=1)  # the point turns away with the heart
    assert page.run("document.getElementById('told').innerText") == told
    page.mouse("mouseReleased", 200, 190, button="left", clickCount=1)


def test_a_cut_opens_the_wall(browser, one, tmp_path):
    page = opened(browser, heart_view.show(*one), tmp_path)
    before = page.pixels()
    page.run("const cut = document.getElementById('cut'); cut.value = 60; cut.dispatchEvent(new Event('input'));")
    page.settle()
    wall = np.abs(page.pixels() - np.array([219, 204, 199])).max(axis=2) < 4  # the flat colour of cut muscle
    assert wall.sum() > 1000 and (np.abs(before - np.array([219, 204, 199])).max(axis=2) < 4).sum() < 200


def test_without_webgl_it_still_draws_and_turns(program, one, pair, tmp_path):
    mesh, points, _ = one
    browser = Browser(program, tmp_path / "profile", "--disable-3d-apis")
    try:
        page = opened(browser, heart_view.show(mesh, points, pair), tmp_path)
        assert page.run("heartView.stats.renderer") == "canvas"
        before = page.pixels()
        assert coloured(before[:340]) > 20_000
        page.drag((200, 180), (320, 200))
        assert (np.abs(page.pixels() - before) > 40).any(axis=2)[:340].sum() > 4000
    finally:
        browser.close()


def test_in_a_notebook_the_still_picture_gives_way(browser, one, tmp_path):
    frame = heart_view.show(*one)._repr_html_()
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><body>{frame}</body>", encoding="utf-8")
    browser.open(tmp_path / "notebook.html")
    browser.settle()
    assert browser.run("document.querySelector('img').style.display") == "none"
    assert browser.run("document.querySelector('iframe').contentWindow.heartView.stats.frames") >= 1
    assert coloured(browser.pixels()[:360]) > 20_000
    stripped = frame[:frame.index("<iframe")] + "</div>"
    (tmp_path / "stripped.html").write_text(stripped, encoding="utf-8")
    browser.open(tmp_path / "stripped.html")
    assert coloured(browser.pixels()) > 20_000


def test_it_lives_in_an_exported_notebook(browser, one, tmp_path):
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    formatters = pytest.importorskip("IPython.core.formatters")
    bundle = formatters.DisplayFormatter().format(heart_view.show(*one))[0]  # what a kernel sends to a notebook
    assert {"text/html", "image/png", "text/plain"} <= set(bundle)
    bundle["image/png"] = base64.b64encode(bundle["image/png"]).decode()
    output = nbformat.v4.new_output("execute_result", bundle, execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("heart", outputs=[output], execution_count=1)])
    exported = nbconvert.HTMLExporter().from_notebook_node(notebook)[0]
    (tmp_path / "exported.html").write_text(exported, encoding="utf-8")
    browser.network(False)  # the exporter's page asks for fonts from elsewhere; the heart must do without
    try:
        browser.open(tmp_path / "exported.html")
        browser.settle()
        assert browser.run("document.querySelector('iframe').contentWindow.heartView.stats.frames") >= 1
        assert coloured(browser.pixels()) > 20_000
    finally:
        browser.network(True)


# ------------------------------------------------------------------------------------------------------ without browser

def test_the_page_is_small_and_alone(one, pair, real_data):
    mesh, points = heart.default_heart(real_data / "llnl_geometry")
    view = heart_view.show(mesh, points, pair)
    assert len(view._repr_html_()) < 1_000_000
    assert "http:" not in view.page and "https:" not in view.page and "src=" not in view.page
    assert view._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    assert view.page == heart_view.show(mesh, points, pair).page  # the same bytes every time


def test_a_finer_surface_is_thinned_below_the_limit():
    mesh, points = small_heart.wall(layers=3, around=130, rings=75), small_heart.points()
    start = small_heart.activation(points[["x", "y", "z"]])
    voltage = small_heart.voltages(start)
    view = heart_view.show(mesh, points, {"truth": voltage, "prediction": voltage})
    assert len(view._repr_html_()) < 1_000_000
    surface = heart_view.heart_pictures.HeartSurface(mesh, points)
    nodes, triangles = heart_view.thinned(surface.nodes_mm, surface.triangles, 5000)
    assert len(surface.nodes_mm) > heart_view.MOST_NODES and 2000 < len(nodes) <= 5000
    assert triangles.max() < len(nodes) and len(triangles) > len(nodes)
    assert heart.distances(surface.nodes_mm[::50], nodes).min(axis=1).max() < 3


@pytest.mark.parametrize("title", [r"$\frac{1$", "half a \ud800 pair", "a $ and a $"])
def test_any_title_is_shown_and_saved(one, title, tmp_path):
    mesh, points, start = one
    page = heart_view.show(mesh, points, {title: start}).save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert json.dumps(title.replace("\ud800", "?")) in page


def test_titles_are_text_not_markup(one):
    mesh, points, start = one
    page = heart_view.show(mesh, points, {"</script><script>alert(1)</script>": start}).page
    assert page.count("<script") == 2 and "alert(1)<" not in page


@pytest.mark.parametrize("values, words", [
    (np.zeros(74), "74"),
    (np.zeros((75, 500)) + np.nan, "finite mV"),
    (np.full((75, 500), 30_000.0), "microvolts"),
    ({"a": np.zeros(75), "b": np.zeros((75, 500))}, "one kind"),
    ({name: np.zeros(75) for name in "abcd"}, "one to three"),
    (np.full(75, np.nan), "missing"),
    (np.full((75, 500), -85.0), "Only 0 of 75|missing"),
])
def test_bad_values_are_named(one, values, words):
    mesh, points, _ = one
    with pytest.raises(DataError, match=words):
        heart_view.show(mesh, points, values)
