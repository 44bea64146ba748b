"""What the README promises: links that lead somewhere, commands that exist, examples that run."""
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from cardiac_ml import __main__ as command_line
from cardiac_ml import heartbeats, intracardiac
from tools import notebooks, results

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tutorials" / "README.md"]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page):
    """Names of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert links or page.name == "CONTRIBUTING.md"
    for link in links:
        if link.startswith(("http://", "https://")):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#%-]*)?", link), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: no such heading"


def commands():
    """Every command line in a shell block or between back quotes, without its comment."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            line = line.split("#")[0].strip().lstrip("!")
            if re.match(r"(python3? |\./)", line):
                yield line


COMMANDS = sorted(set(commands()))


def test_there_are_commands():
    assert len(COMMANDS) > 10 and any("make-challenge" in line for line in COMMANDS)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line):
    words = shlex.split(line)
    if words[1:3] == ["-m", "cardiac_ml"]:
        if "COMMAND" not in words:
            typed = [{"S": "1", "N": "3"}.get(word, word) for word in words[3:]]
            assert callable(command_line._parser().parse_args(typed).run), line
    elif words[1:3] == ["-m", "tools.notebooks"]:
        assert words[3] in notebooks.COMMANDS
    elif words[1:3] == ["-m", "tools.results"]:
        results.read_options([{"N": "3"}.get(word, word) for word in words[3:]])
    elif words[1:2] == ["-m"]:
        assert importlib.util.find_spec(words[2]) is not None, f"{line}: no such module"
    elif words[1:2] == ["-c"]:
        compile(words[2], line, "exec")
    elif words[1:2] == ["start.py"] or words[0].startswith("./"):
        assert (ROOT / (words[1] if words[0].startswith("python") else words[0])).exists()
        if words[2:3] in (["check"], ["download"], ["predict"]):
            return command_line._parser().parse_args(words[2:])
        known = ("--quick", "test", "lab", "setup", "book", "--help", "COMMAND")
        assert not words[2:] or words[2] in known or words[2].isdigit(), line
    else:
        assert (ROOT / words[1]).exists(), f"{line}: no such file"


def examples():
    return [code for page in PAGES for code in blocks(page, "python")]


@pytest.mark.parametrize("code", examples(), ids=lambda code: code.splitlines()[0][:50])
def test_examples_run(code, monkeypatch, tmp_path):
    """On few virtual hearts and for one epoch; everything else as it is printed."""
    assert len(code.strip().splitlines()) <= 9, "a short example"
    monkeypatch.chdir(tmp_path)
    load, load_ptb = intracardiac.load, heartbeats.load_ptb
    monkeypatch.setattr(intracardiac, "load", lambda **more: load(hearts=5, cases=4, progress=False))
    monkeypatch.setattr(heartbeats, "load_ptb", lambda: load_ptb(hearts=4))
    exec(re.sub(r"epochs=\d+", "epochs=1", code), {})
