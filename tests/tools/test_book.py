"""The book: every helper has an example that runs; pages lead nowhere wrong, ask for nothing, and their hearts turn."""
import doctest
import shutil
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import pytest

from cardiac_ml.files import DataError
from tests.heart3d.test_heart_view import Browser, program  # noqa: F401
from tests.tools.test_pages import OWN_FLAGS, proxy  # noqa: F401
from tools import notebooks
from tools.book import __main__ as book

LACKING = [name for name in ("sphinx", "myst_nb", "furo") if find_spec(name) is None]
LARGEST_BYTES = 40_000_000


# ---- the helpers ----

def test_every_core_file_has_its_page():
    core = {path.stem for path in Path(book.ROOT, "cardiac_ml").glob("*.py")} - {"__init__", "__main__"}
    assert core == set(book.CORE)


@pytest.mark.parametrize("name", book.CORE)
def test_every_function_has_its_docstring_and_its_example(name):
    given = book.examples(name)
    assert list(given) == ["", *book.public(name)], f"tools/book/api/{name}.md: a heading and an example each, in order"
    for key, value in book.public(name).items():
        assert value.__doc__, f"{name}.{key} does not say what it does"
        shown = ">>> " in given[key] and (key in given[key] or isinstance(value, type))
        assert shown, f"the example of {name}.{key} does not show it"


@pytest.mark.parametrize("name", book.PAGES)
def test_examples_run(name, monkeypatch):
    """From top to bottom, as a reader would type them; and those in the docstrings."""
    subplots = plt.subplots  # a new figure closes those of earlier examples
    monkeypatch.setattr(plt, "subplots", lambda *given, **named: plt.close("all") or subplots(*given, **named))
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    text = "\n".join(book.examples(name).values())
    tests = [doctest.DocTestParser().get_doctest(text, {"__name__": "example"}, f"{name}.md", None, 0),
             *doctest.DocTestFinder().find(import_module(f"cardiac_ml.{name}"))]
    said, runner = [], doctest.DocTestRunner(optionflags=options, verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


# ---- the pages ----

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if LACKING:
        pytest.skip(f"NO {' AND NO '.join(LACKING)}: the pages of the book are NOT tested. python3 start.py setup book")
    return book.build(tmp_path_factory.mktemp("book") / "book").parent


class Reader(HTMLParser):
    """What a page points to, what it loads by itself, and the places in it that can be pointed to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.places = set(), set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given.get("id"), given.get("name")}
        if tag == "a":
            self.links.add(given.get("href") or "")
        else:
            self.loaded |= {given[name] for name in ("src", "href", "data", "poster") if given.get(name)}


def test_no_link_is_broken_and_nothing_is_loaded_from_elsewhere(made):
    read = {path: Reader(path) for path in made.rglob("*.html")}
    assert len(read) > 25
    for path, page in read.items():
        loaded = {address for address in page.loaded if not address.startswith("data:")}
        assert not [address for address in loaded if ":" in address.split("/")[0] or address.startswith("//")]
        for link in page.links | loaded:
            if link.startswith(("https://", "http://", "mailto:")):
                continue
            name, _, place = unquote(link).partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert target.is_relative_to(made) and target.is_file(), f"{path.name} leads to {link}, which is not there"
            assert target.suffix != ".html" or place in read[target].places, f"{path.name}: no {place} in {target.name}"


def test_all_is_in_it_and_it_is_small(made):
    pages = {path.relative_to(made).with_suffix("").as_posix() for path in made.rglob("*.html")}
    assert {f"{path.parent.name}/{path.stem}" for path in notebooks.all_notebooks()} <= pages
    assert {f"helpers/{name}" for name in book.PAGES} <= pages and {"index", "search", "tutorials/index"} <= pages
    assert sum(path.stat().st_size for path in made.rglob("*")) < LARGEST_BYTES
    words = (made / "searchindex.js").read_text(encoding="utf-8")
    assert "bundl" in words and "upstroke_ms" in words


def test_it_asks_nobody_searches_and_its_hearts_turn(made, program, proxy, tmp_path):  # noqa: F811
    address, asked = proxy
    browser = Browser(program, tmp_path / "browser", f"--proxy-server={address}", *OWN_FLAGS)
    try:
        for path in sorted(made.rglob("*.html")):
            browser.open(path)
            assert asked == [], path.name
        browser.open(made / "notebooks" / "task_3_getting_started.html")
        heart = "document.querySelector('iframe').contentDocument"
        browser.wait(f"{heart} && {heart}.querySelector('canvas') && {heart}.getElementById('now').textContent")
        before = browser.run(f"{heart}.getElementById('now').textContent")
        browser.run(f"{heart}.getElementById('play').click()")
        browser.wait(f"{heart}.getElementById('now').textContent != {before!r}")
        browser.call("Page.navigate", url=(made / "search.html").as_uri() + "?q=upstroke")
        browser.wait("document.querySelector('#search-results li a')")
        assert asked == []
    finally:
        browser.close()


def test_an_unfinished_book_leaves_the_old_one(made, tmp_path, monkeypatch, capfd):
    old = shutil.copytree(made, tmp_path / "book")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="something else than a book"):
        book.build(tmp_path / "other")
    few = book.gather
    monkeypatch.setattr(book, "gather", lambda folder: few(folder) or [  # a small book with one link to nowhere
        path.unlink() for place in ("notebooks", "tutorials") for path in (folder / place).glob("*.ipynb")])
    with pytest.raises(DataError, match="stands above"):
        book.build(old)
    assert "nonexisting document" in capfd.readouterr().err
    assert (old / "index.html").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["book", "other"]
