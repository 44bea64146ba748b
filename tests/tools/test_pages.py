"""Every page that the kit saves, opened in a real browser behind a proxy that counts: none asks for anything."""
import socket
import threading

import numpy as np
import pytest

from cardiac_ml.challenge import board, page
from cardiac_ml.heart3d import mesh, view
from tests.challenge.test_board import hand_in, made_truth
from tests.heart3d.test_heart_view import Browser, program  # noqa: F401
from tools import notebooks


BROWSERS_OWN = ("www.google.com:443", "clients2.google.com", "accounts.google.com:443", "redirector.gvt1.com",
                "android.clients.google.com:443", "optimizationguide-pa.googleapis.com:443",
                "update.googleapis.com")  # whatever page is open

OWN_FLAGS = ("--proxy-bypass-list=<-loopback>", "--disable-background-networking", "--disable-component-update",
             "--disable-sync")


@pytest.fixture
def proxy():
    """Its address and the first lines of what it was asked for by pages."""
    asked, server = [], socket.create_server(("127.0.0.1", 0))

    def listen():
        while True:
            connection = server.accept()[0]
            line = connection.recv(1000).partition(b"\r\n")[0].decode("ascii", "replace")
            asked.extend([] if any(name in line for name in BROWSERS_OWN) else [line])
            connection.close()
    threading.Thread(target=listen, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}", asked


def saved_pages(folder):
    for path in notebooks.all_notebooks():
        yield notebooks.write_page(notebooks.read(path), folder / f"{path.stem}.html")
    heart, points = mesh.default_heart()
    yield view.show(heart, points, np.arange(75.0)).save(folder / "heart.html")
    truth = made_truth(3)
    (folder / "handed_in").mkdir()
    hand_in(folder / "handed_in", "a.npz", truth, 2.0, team="<img src=http://stranger.example/x.png>")
    yield page.write(folder, *board.make(folder / "handed_in", {3: truth}))


def test_no_page_asks_anybody_for_anything(program, proxy, tmp_path):  # noqa: F811
    address, asked = proxy
    browser = Browser(program, tmp_path / "browser", f"--proxy-server={address}", *OWN_FLAGS)
    try:
        pages = list(saved_pages(tmp_path))
        for path in pages:
            before = len(asked)
            browser.open(path)
            browser.run("new Promise(done => setTimeout(done, 200))")
            assert asked[before:] == [], path.name
        (tmp_path / "control.html").write_text("<img src='http://stranger.example/x.png'>")
        browser.open(tmp_path / "control.html")
        assert any("stranger.example" in line for line in asked), "the proxy counts"
    finally:
        browser.close()
    assert len(pages) >= 11
