"""Build the book: all notebooks, the tutorials and a page for each helper, as pages to open from a folder.

    python -m tools.book [--out runs/book]      (or: python3 start.py book, which installs what it needs first)

Nothing is run: the outputs are those in the notebooks. A warning of Sphinx is an error, and an unfinished book leaves
the old one as it is. RESULTS.md and runs/virtual_hearts/report.md are taken in where they are.
"""
import argparse
import inspect
import re
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from cardiac_ml.files import ROOT, DataError

HERE = Path(__file__).parent
CORE = ("leads", "activation", "heartbeats", "intracardiac", "models", "training", "metrics", "plots", "files")
PAGES = (*CORE, "exercises", "formats.heartbeat_files", "formats.intracardiac_files", "formats.point_order")
HIDDEN = {"exercises": {"check"}}  # the rest of that file are answers
FILES = ("CONTRIBUTING.md", "LICENSE", "NOTICE", "download_intracardiac_dataset.sh")
LINK = re.compile(r"(!?)\[([^\]]+)\]\(((?!https?:|#)[^)\s]+)\)")


def public(name):
    """name -> function or class of a core file that others may call, in its order; of the exercises ``check`` alone."""
    module = import_module(f"cardiac_ml.{name}")
    return {key: value for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
            and not key.startswith("_") and key in HIDDEN.get(name, {key})}


def examples(name):
    """name -> the example of each function in ``api/NAME.md``; under "" what all of them start from."""
    text = (HERE / "api" / f"{name}.md").read_text(encoding="utf-8")
    parts = re.split(r"^#+ (.+)\n", text, flags=re.MULTILINE)[1:]
    found = {title if number else "": body for number, (title, body) in enumerate(zip(parts[::2], parts[1::2]))}
    return {title: "".join(re.findall(r"^```pycon\n(.*?)^```", body, re.DOTALL | re.MULTILINE))
            for title, body in found.items()}


def helper_page(name):
    """The page of a file: what it says of itself, then each function with its docstring and its example."""
    shown, module = examples(name), f"cardiac_ml.{name}"
    page = [f"# {name}", _directive("automodule", module), "The examples below go on from here:", _example(shown[""])]
    for key, value in public(name).items():
        kind = "autofunction" if not inspect.isclass(value) else (
            "autoexception" if issubclass(value, Exception) else "autoclass")
        members = kind == "autoclass" and not issubclass(value, tuple)
        page.append(_directive(kind, f"{module}.{key}", *[":members:"] * members))
        if key in shown:
            page.append(_example(shown[key]))
    return "\n\n".join(page) + "\n"


def _directive(kind, name, *options):
    return "\n".join(["```{eval-rst}", f".. {kind}:: {name}", *(f"   {option}" for option in options), "```"])


def _example(text):
    return f"```pycon\n{text}```"


# ---- the pages ----

def gather(folder):
    """Everything that is in the book, as files for Sphinx; the README is the first page."""
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "figures", folder / "figures")
    tasks, lessons = (_notebooks(ROOT / name, folder) for name in ("notebooks", "tutorials"))
    plan = (ROOT / "tutorials" / "README.md").read_text(encoding="utf-8")
    _write(folder / "tutorials" / "index.md", plan)
    lessons.sort(key=lambda lesson: plan.find(f"({Path(lesson).stem}.ipynb)"))
    for name in PAGES:
        _write(folder / "helpers" / f"{name}.md", helper_page(name))
    chapters = {"Tasks": tasks, "Tutorials": ["tutorials/index", *lessons],
                "Helpers": [f"helpers/{name}" for name in PAGES], "Trained networks": _cards(folder),
                "More": [*_reports(folder), "CONTRIBUTING"]}
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    _write(folder / "index.md", "\n".join([first, *map(_contents, chapters, chapters.values())]))
    for page in folder.rglob("*.md"):
        _write(page, LINK.sub(lambda link: _led(link, page, folder), page.read_text(encoding="utf-8")))


def _write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _notebooks(place, folder):
    """The notebooks of a folder as they were built, in order of their names."""
    (folder / place.name).mkdir()
    paths = sorted(place.glob("*.ipynb"))
    for path in paths:
        shutil.copy(path, folder / place.name)
    return [f"{place.name}/{path.stem}" for path in paths]


def _cards(folder):
    """The cards of the trained networks, without their heads, which are for machines."""
    paths = sorted((ROOT / "cardiac_ml" / "trained").glob("*.md"))
    for path in paths:
        _write(folder / "trained" / path.name, path.read_text(encoding="utf-8").split("---\n", 2)[2])
    return [f"trained/{path.stem}" for path in paths]


def _reports(folder):
    """What tools wrote, where they did: the table of results, and the report on the virtual hearts with its figures."""
    found = []
    if (ROOT / "RESULTS.md").exists():
        shutil.copy(ROOT / "RESULTS.md", folder / "results.md")
        found.append("results")
    if (report := ROOT / "runs" / "virtual_hearts" / "report.md").exists():
        (folder / "virtual_hearts").mkdir()
        pictures = sorted(report.parent.glob("*.png"))
        for picture in pictures:
            shutil.copy(picture, folder / "virtual_hearts")
        text = "\n\n".join([report.read_text(encoding="utf-8"), *(f"![{p.stem}]({p.name})" for p in pictures)])
        _write(folder / "virtual_hearts" / "report.md", f"# Are the virtual hearts like real ones?\n\n{text}\n")
        found.append("virtual_hearts/report")
    return found


def _contents(title, pages):
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"])


def _led(link, page, folder):
    """A link of the repository as one of the book; words alone where it leads to what the book does not hold."""
    picture, words, path = link.groups()
    path, _, anchor = path.partition("#")
    path = re.sub(r"tutorials/README\.md$", "tutorials/index.md", re.sub(r"^\.\./README\.md$", "../index.md", path))
    there = (page.parent / path).resolve()
    if not there.is_relative_to(folder.resolve()) or not there.exists():
        return words
    return f"{picture}[{words}]({path}{'#' * bool(anchor)}{anchor})"


# ---- the site ----

def build(out=ROOT / "runs" / "book"):
    """The book in the folder ``out``, which it replaces; returns its first page."""
    try:
        from sphinx.cmd.build import build_main
        for package in ("myst_nb", "furo"):
            import_module(package)
    except ModuleNotFoundError as error:
        raise DataError(f"The book needs Sphinx, MyST-NB and furo ({error}). python3 start.py book installs them; or: "
                        f"{sys.executable} -m pip install -r {ROOT / 'requirements-book.txt'}") from error
    out = Path(out).expanduser().resolve()
    if out.exists() and any(out.iterdir()) and not (out / "objects.inv").exists():
        raise DataError(f"{out} holds something else than a book, which is never overwritten. Choose another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".book-", dir=out.parent) as folder:
        source, made = Path(folder, "source"), Path(folder, "made")
        source.mkdir()
        gather(source)
        status = build_main(["-q", "-W", "--keep-going", "-b", "html", "-c", str(HERE),
                             "-d", str(Path(folder, "doctrees")), str(source), str(made)])
        if status:
            raise DataError("The book was not built; what Sphinx said of it stands above.")
        shutil.rmtree(made / "_sources", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        made.replace(out)
    return out / "index.html"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "book", help="default: runs/book")
    try:
        page = build(parser.parse_args(arguments).out)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file())
    print(f"The book, {size / 1e6:.0f} MB, is written. Open {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
