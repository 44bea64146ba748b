"""Build the notebooks from their sources, run copies of them, check that both agree.

    python -m tools.notebooks run [--quick] [NAME ...]     execute copies into runs/, with a table of scores
    python -m tools.notebooks build [NAME ...]             source -> executed notebook, the same bytes every time
    python -m tools.notebooks check [NAME ...]             does each notebook match its source, run in order?
    python -m tools.notebooks source NAME ...              take the edited cells of a notebook into its source

NAME is a number (task), a name or its beginning, "tutorials" or "all". What people edit is the percent script in
notebooks/source/ or tutorials/source/. In it, the cell tagged "parameters" holds the settings (``EPOCHS = 20  # quick:
1`` gives the value of a quick run), the cell tagged "source" prints the data source, the one tagged "score" the score.
"""
import argparse
import shutil
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from cardiac_ml.files import ROOT, DataError, atomic_write
from tools.notebook_execution import Failure, execute, first_line, make_quick, printed, read, tagged, tags, write

FOLDERS = ("notebooks", "tutorials")
LARGEST_BYTES = 1_000_000


# --- finding -------------------------------------------------------------------------------------------------------

def source_path(notebook):
    return notebook.parent / "source" / f"{notebook.stem}.py"


def all_notebooks(folders=FOLDERS):
    """Every notebook that exists or has a source, in order of folder and name."""
    found = []
    for folder in (ROOT / name for name in folders):
        sources = {folder / f"{path.stem}.ipynb" for path in (folder / "source").glob("*.py")}
        found += sorted(sources | set(folder.glob("*.ipynb")))
    return found


def chosen(names, folders=FOLDERS):
    """The notebooks that ``names`` mean; those of ``folders`` where no name is given."""
    if not names:
        return all_notebooks(folders)
    known, picked = all_notebooks(), []
    for name in names:
        word = Path(name).name.removesuffix(".ipynb").removesuffix(".py")
        hits = [path for path in known if word == "all" or word == path.parent.name or word == path.stem]
        hits = hits or [path for path in known if path.stem.startswith(f"task_{word}_" if word.isdigit() else word)]
        if not hits:
            there = ", ".join(path.stem for path in known) or "none yet"
            raise DataError(f"No notebook is called {name!r}. There are: {there}. A task's number is enough.")
        picked += [path for path in hits if path not in picked]
    return picked


# --- build and check -----------------------------------------------------------------------------------------------

def build(path, target=None, quick=False):
    """Execute the source of the notebook ``path`` and write the outcome to it. A failure leaves the old file."""
    from tools.notebook_outputs import stable
    source, target = source_path(path), Path(target or path)
    if not source.exists():
        raise DataError(f"{path} has no source: {source} is missing. Notebooks are made from percent scripts there; "
                        f"python -m tools.notebooks source {path.stem} writes one.")
    notebook = read(source)
    if quick:
        make_quick(notebook)
    folder = tempfile.mkdtemp(prefix="notebook-")
    try:
        failure = execute(notebook, folder)
        stable(notebook, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failure:
        partial = ROOT / "runs" / "failed" / target.name
        write(notebook, partial)
        raise DataError(f"{source}: {failure}. What ran is in {partial}; {target} is as it was.")
    write(notebook, target)
    return target


def take_into_source(path):
    """Write the cells of a notebook that was edited in Jupyter back to its percent script."""
    import jupytext
    notebook = read(path)
    for cell in notebook.cells:
        cell.metadata = type(cell.metadata)({"tags": tags(cell)} if tags(cell) else {})
    notebook.metadata = type(notebook.metadata)(jupytext={"notebook_metadata_filter": "-all"})
    with atomic_write(source_path(path), "w") as file:
        file.write(jupytext.writes(notebook, fmt="py:percent"))
    return source_path(path)


def cells_of(notebook):
    """What must agree between a notebook and its source. Empty cells at the end do not count."""
    cells = [(cell.cell_type, cell.source.strip(), sorted(tags(cell))) for cell in notebook.cells]
    while cells and not cells[-1][1]:
        cells.pop()
    return cells


def problems(path):
    """Everything wrong with the notebook ``path``, one sentence each."""
    again = f"Run: python -m tools.notebooks build {path.stem}"
    source = source_path(path)
    if not source.exists():
        return [f"{path} has no source {source}. Run: python -m tools.notebooks source {path.stem}"]
    if not path.exists():
        return [f"{path} is missing, its source is there. {again}"]
    made, wanted = read(path), read(source)
    found = []
    if cells_of(made) != cells_of(wanted):
        pairs = zip(cells_of(made), cells_of(wanted))
        place = next((n for n, (a, b) in enumerate(pairs, 1) if a != b),
                     min(len(cells_of(made)), len(cells_of(wanted))) + 1)
        found.append(f"{path} differs from {source}, first at block {place}. {again} (or, to keep what was edited in "
                     f"the notebook: python -m tools.notebooks source {path.stem})")
    return found + faults(path, made, again)


def faults(path, notebook, again):
    """What is wrong with the notebook itself: not run from top to bottom, an error, too large, a missing tag."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append(f"{path}: its cells were not run once each, from top to bottom. {again}")
    for number, cell in enumerate(code, 1):
        if any(output["output_type"] == "error" for output in cell.outputs):
            found.append(f"{path}: cell [{number}] ({first_line(cell.source)}) shows an error. {again}")
        if "../" in cell.source or "%run" in cell.source:
            found.append(f"{path}: cell [{number}] ({first_line(cell.source)}) reaches outside with ../ or %run.")
    if path.stat().st_size >= LARGEST_BYTES:
        found.append(f"{path} has {path.stat().st_size / 1e6:.2f} MB, the limit is 1: fewer or smaller figures.")
    needed = ("parameters", "source", "score") if path.stem.startswith("task_") else ("parameters",)
    missing = [tag for tag in needed if not tagged(notebook, tag)]
    return found + [f"{path}: no cell is tagged {tag!r}." for tag in missing]


# --- run -----------------------------------------------------------------------------------------------------------

@dataclass
class Outcome:
    name: str
    source: str
    score: str
    seconds: float
    page: Path
    failure: Failure | None


class ProgressLine:
    """One line a notebook: overwritten in a terminal, written once at the end elsewhere."""

    def __init__(self, name, width):
        self.start, self.live, self.label, self.length = time.perf_counter(), sys.stdout.isatty(), name.ljust(width), 0
        self.show("starting")

    def seconds(self):
        return time.perf_counter() - self.start

    def show(self, text, last=False):
        if self.live or last:
            room = max(shutil.get_terminal_size().columns - 1, 40) if self.live else None
            line = f"{self.label}  {text}" if last else f"{self.label}  {text}"[:room]
            print(("\r" if self.live else "") + line.ljust(self.length if self.live else 0), end="\n" if last else "",
                  flush=True)
            self.length = len(line)

    def cell(self, number, cells, line):
        self.show(f"cell {number}/{cells}, {self.seconds():.0f} s: {line}")


def run_one(path, folder, quick, width=0):
    """Execute a copy of one notebook into ``folder`` as .ipynb and .html; both are written on failure too."""
    line = ProgressLine(path.stem, width)
    notebook = read(path if path.exists() else source_path(path))
    if quick:
        make_quick(notebook)
    try:
        failure = execute(notebook, folder, line.cell)
    finally:
        write(notebook, folder / f"{path.stem}.ipynb")
        page = write_page(notebook, folder / f"{path.stem}.html")
    seconds = line.seconds()
    line.show(f"FAILED after {seconds:.0f} s: {failure}" if failure else f"done in {seconds:.0f} s", last=True)
    return Outcome(path.stem, printed(notebook, "source"), printed(notebook, "score"), seconds, page, failure)


def write_page(notebook, path):
    """The notebook as a web page that needs nothing beside it."""
    from nbconvert import HTMLExporter
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    with atomic_write(path, "w") as file:
        file.write(body)
    return path


def new_folder():
    """runs/<date and time>: an earlier result is never overwritten."""
    base = ROOT / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = next(place for place in [base] + [Path(f"{base}_{n}") for n in range(2, 100)] if not place.exists())
    folder.mkdir(parents=True)
    return folder


def run(names=(), quick=False, out=None):
    """Run notebooks one after the other, whatever becomes of each; print the table. Returns the outcomes."""
    paths = chosen(names, FOLDERS[:1])
    if not paths:
        print(f"There are no notebooks in {ROOT / FOLDERS[0]} yet, so there is nothing to run.")
        return []
    folder = Path(out).resolve() if out else new_folder()
    folder.mkdir(parents=True, exist_ok=True)
    width = max(len(path.stem) for path in paths)
    outcomes = []
    for path in paths:
        try:
            outcomes.append(run_one(path, folder, quick, width))
        except DataError as error:
            outcomes.append(Outcome(path.stem, "", "", 0.0, path, Failure(0, "", str(error))))
    print("\n" + table(outcomes), flush=True)
    if quick:
        print("\nA quick run only shows that everything works: these scores mean nothing.")
    return outcomes


def table(outcomes):
    """Task, data source, score, seconds, where to look: one line each."""
    rows = [("task", "data source", "score", "seconds", "where to look")]
    for outcome in outcomes:
        score = outcome.score or "-"
        if outcome.failure:
            score = f"FAILED in cell [{outcome.failure.cell}]" if outcome.failure.cell else "FAILED"
        page = outcome.page.relative_to(ROOT) if outcome.page.is_relative_to(ROOT) else outcome.page
        rows.append((outcome.name, textwrap.shorten(outcome.source or "-", 44, placeholder=" ..."),
                     textwrap.shorten(score, 60, placeholder=" ..."), f"{outcome.seconds:.0f}", str(page)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(text.rjust(width) if column == 3 else text.ljust(width)
                       for column, (text, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


# --- the command line ----------------------------------------------------------------------------------------------

def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "build", "check", "source"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny settings (run)")
    parser.add_argument("--out", help="folder for the executed copies (run); runs/<date and time> if not given")
    options = parser.parse_intermixed_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a score may hold a sign that this console cannot show
    try:
        return COMMANDS[options.command](options)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped; what was finished is in runs/.", file=sys.stderr)
        return 130
    return 1


def command_run(options):
    return int(any(outcome.failure for outcome in run(options.names, options.quick, options.out)))


def command_build(options):
    failed = 0
    for path in chosen(options.names):
        start = time.perf_counter()
        try:
            size = build(path).stat().st_size
            print(f"{path.stem}: {size / 1e6:.2f} MB in {time.perf_counter() - start:.0f} s", flush=True)
        except DataError as error:
            failed += 1
            print(error, file=sys.stderr, flush=True)
    return int(failed > 0)


def command_check(options):
    paths = chosen(options.names)
    found = [problem for path in paths for problem in problems(path)]
    print("\n".join(found) or f"{len(paths)} notebooks match their sources.")
    return int(bool(found))


def command_source(options):
    if not options.names:
        raise DataError("Name the notebooks whose cells should replace their sources.")
    for path in chosen(options.names):
        print(f"{take_into_source(path)} has the cells of {path.name}")
    return 0


COMMANDS = {"run": command_run, "build": command_build, "check": command_check, "source": command_source}

if __name__ == "__main__":
    sys.exit(main())
