"""Build the notebooks from their sources, run copies of them, check that both agree.

    python -m tools.notebooks run [--quick] [NAME ...]     execute copies into runs/, with a table of scores
    python -m tools.notebooks build [NAME ...]             source -> executed notebook, the same bytes every time
    python -m tools.notebooks check [NAME ...]             does each notebook match its source and keep the rules?
    python -m tools.notebooks source NAME ...              take the edited cells of a notebook into its source
    python -m tools.notebooks solutions OUT [NAME ...]     the mentors' edition, answers and advice, into the folder OUT

NAME is a number (task), a name or its beginning, "tutorials" or "all". What people edit is the percent script in
notebooks/source/ or tutorials/source/. Tags of its cells: "parameters" holds the settings (``EPOCHS = 20  # quick: 1``
gives the value of a quick run), "source" prints the data source, "score" the score. What only the mentors' edition has
is written in tools/mentors.md.
"""
import argparse
import base64
import copy
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter, namedtuple
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import jupytext
import nbformat

from cardiac_ml.files import ROOT, DataError, atomic_write, cache_folder
from tools import mentors

FOLDERS = ("notebooks", "tutorials")
LARGEST_BYTES, LONGEST_LINE = 1_000_000, 100
QUICK = re.compile(r"^(?P<name>\s*[\w, ]+=\s*)(?P<value>.*?\S)(?P<note>\s*#.*?)\bquick:\s*(?P<quick>\S.*?)\s*$")
VOLATILE = ((r"[^\s\"']{0,200}ipykernel_\d+[/\\]\d+\.py", "<cell>"),  # bounded: a page is one word of 500 kB
            (r"\b0x[0-9a-f]{6,}\b", "0x..."),
            (r"\btook (about )?[\d.:]+(?= ?(?:ms|s|seconds?|min|minutes?|h)\b)", "took ..."))
Failure = namedtuple("Failure", "cell line reason")  # cell: as in In [cell], 0 if none was reached; line: its first
Outcome = namedtuple("Outcome", "name source score seconds page failure")


# --- finding, reading, writing ---------------------------------------------------------------------------------------

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
        word = Path(name.strip()).name.removesuffix(".ipynb").removesuffix(".py")
        hits = [path for path in known if word == "all" or word == path.parent.name or word == path.stem]
        start = f"task_{word}_" if word.isdigit() else word
        hits = hits or [path for path in known if word and path.stem.startswith(start)]
        if not hits:
            there = ", ".join(path.stem for path in known) or "none yet"
            raise DataError(f"No notebook is called {name!r}. There are: {there}. A task's number is enough.")
        picked += [path for path in hits if path not in picked]
    return picked


def read(path):
    """The notebook of this file: .ipynb as it is, .py as a percent script."""
    try:
        return jupytext.read(path, fmt="py:percent" if path.suffix == ".py" else None)
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a notebook that can be read ({str(error)[:200]}). "
                        f"Build it again: python -m tools.notebooks build {path.stem}") from error


def read_source(path, solutions=False):
    """The cells that the source of the notebook ``path`` makes, in the students' or the mentors' edition."""
    source = source_path(path)
    if not source.exists():
        raise DataError(f"{path} has no source: {source} is missing. Notebooks are made from percent scripts there; "
                        f"python -m tools.notebooks source {path.stem} writes one.")
    notebook = read(source)
    if solutions:
        mentors.annotate(notebook, path.stem)
    return notebook


def write(notebook, path):
    with atomic_write(path, "w") as file:
        nbformat.write(notebook, file)


def tags(cell):
    return cell.metadata.get("tags", [])


def code_cells(notebook, tag=None):
    """The cells that hold code, or those of them with this tag, in order."""
    return [cell for cell in notebook.cells
            if cell.cell_type == "code" and cell.source.strip() and (tag is None or tag in tags(cell))]


def make_quick(notebook):
    """In place: the settings of the cells tagged "parameters" take the value after "quick:"."""
    for cell in code_cells(notebook, "parameters"):
        cell.source = "\n".join(QUICK.sub(r"\g<name>\g<quick>\g<note>quick", line) for line in cell.source.split("\n"))


def printed(notebook, tag):
    """The last line that the cell with this tag printed, "" where there is none."""
    text = "".join(output.get("text", "") for cell in code_cells(notebook, tag) for output in cell.outputs
                   if output.get("name") == "stdout")
    return ([""] + [line.strip() for line in text.splitlines() if line.strip()])[-1]


def first_line(cell):
    """The first line of code, past comments."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    line = next((line for line in lines if not line.startswith("#")), lines[0])
    return textwrap.shorten(line, 60, placeholder=" ...")


# --- executing -----------------------------------------------------------------------------------------------------

def execute(notebook, folder, on_cell=lambda number, cells, line: None):
    """Run all cells in ``folder`` by this very Python, outputs in place. Returns None, or the Failure that ended it."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [], None
    cells, reached = code_cells(notebook), []

    def before(cell, cell_index):
        reached.append(first_line(cell))
        on_cell(len(reached), len(cells), reached[-1])

    kernel = guarded_kernel()
    client = NotebookClient(notebook, km=kernel, timeout=None, startup_timeout=120, record_timing=False,
                            resources={"metadata": {"path": str(folder)}}, on_cell_execute=before)
    try:
        interruptible(client, kernel)
    except CellExecutionError as error:
        shown = textwrap.shorten(error.evalue, 300, placeholder=" ...")
        return Failure(len(reached), reached[-1], f"{error.ename}: {shown}")
    except RuntimeError as error:
        died = "Python died in it, most often because memory ran out" if reached else f"Python did not start: {error}"
        return Failure(len(reached), (reached or [""])[-1], died)
    finally:
        tidy(notebook)
    return None


def guarded_kernel():
    """A kernel of this very Python. With it ends its whole process group, also when this process is killed."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Guarded(AsyncKernelManager):
        kernel_spec = KernelSpec(language="python", argv=[  # "python3" may be registered for any other Python
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"])
        guard = None

        async def start_kernel(self, **options):
            await super().start_kernel(**options)
            if os.name == "posix":  # reads until this process closes the pipe or is gone, whatever ended it
                script = f"read -r _; kill -9 -{self.provisioner.pid} 2>/dev/null"
                self.guard = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)

        def end_group(self):
            if self.guard:
                self.guard.communicate()
            elif self.provisioner and self.provisioner.process:
                self.provisioner.process.kill()

    return Guarded()


def interruptible(client, kernel):
    """In a thread of its own, so that an interrupt comes here; training would end at it, and go on to the next cell."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.execute, env=kernel_environment(), cleanup_kc=True)
        try:
            while not wait([running], timeout=0.5).done:
                pass
        except KeyboardInterrupt:
            while not running.done():  # it may just be starting: try until it has ended
                kernel.end_group()
                wait([running], timeout=0.2)
            raise
        finally:
            kernel.end_group()
        return running.result()


def kernel_environment():
    """No progress bars, figures inline, sets in the same order every time, this package importable."""
    variables = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), variables.get("PYTHONPATH")]))
    return variables | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}


# --- the same bytes every time -------------------------------------------------------------------------------------

def tidy(notebook):
    """In place: what a cell wrote in pieces is joined (stderr first: how the two mix is chance); no widgets."""
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        kept, streams = [], {}
        for output in cell.outputs:
            if output.output_type != "stream":
                kept += [] if "application/vnd.jupyter.widget-view+json" in output.get("data", {}) else [output]
            elif output.name in streams:
                streams[output.name].text += output.text
            else:
                streams[output.name] = output
        cell.outputs = [streams[name] for name in ("stderr", "stdout") if name in streams] + kept


def stable(notebook, folder):
    """In place: folders and addresses masked, metadata reduced to what matters, identifiers made from the source."""
    places = {str(folder): "", str(cache_folder()): "cache/", sys.prefix: "python/", str(ROOT): ""}  # inner ones first
    masks = [*VOLATILE, *((re.escape(place) + r"(?:[/\\]|(?![\w.-]))", name) for place, name in places.items())]
    seen = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        for output in cell.get("outputs", []):
            for holder in (output, output.get("data", {})):
                for kind in [kind for kind in holder if kind == "text" or kind.startswith("text/")]:
                    for pattern, mask in masks:
                        if len(holder[kind]) < 100_000 or "ipykernel" not in pattern:
                            holder[kind] = re.sub(pattern, mask, holder[kind])
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def smaller(png64):
    """A picture with a palette, a third of the bytes: everyone clones the notebooks."""
    from PIL import Image
    picture = Image.open(io.BytesIO(base64.b64decode(png64))).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    for step in (1, 4):  # fewer greys for large pictures full of noise, as X-rays are
        file, coarse = io.BytesIO(), flat.point(lambda value: min(255, (value + step // 2) // step * step))
        coarse.quantize(200, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
        if file.tell() < 120_000:
            break
    return min(png64, base64.b64encode(file.getvalue()).decode("ascii"), key=len)


def build(path, target=None, solutions=False, quick=False):
    """Execute the source of the notebook ``path`` and write the outcome to it. A failure leaves the old file."""
    notebook, target = read_source(path, solutions), Path(target or path)
    if quick:
        make_quick(notebook)
    with tempfile.TemporaryDirectory(prefix="notebook-", ignore_cleanup_errors=True) as folder:
        failure = execute(notebook, folder)
        stable(notebook, folder)
    if failure:
        partial = ROOT / "runs" / "failed" / target.name
        write(notebook, partial)
        raise DataError(f"{source_path(path)}: {told(failure)}. What ran is in {partial}; {target} is as it was.")
    write(notebook, target)
    return target


def told(failure):
    return f"cell [{failure.cell}] ({failure.line}): {failure.reason}" if failure.cell else failure.reason


def take_into_source(path):
    """Write the cells of a notebook that was edited in Jupyter back to its percent script."""
    notebook, source = read(path), source_path(path)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
    notebook.metadata = nbformat.from_dict({"jupytext": {"notebook_metadata_filter": "-all"}})
    with atomic_write(source, "w") as file:
        file.write(jupytext.writes(notebook, fmt="py:percent"))
    return source


# --- check ---------------------------------------------------------------------------------------------------------

def problems(path):
    """Everything wrong with the notebook ``path``, one sentence each."""
    again = f"Run: python -m tools.notebooks build {path.stem}"
    if not path.exists():
        return [f"{path} is missing, its source is there. {again}"]
    try:
        pair = [[(cell.cell_type, cell.source.strip(), sorted(tags(cell))) for cell in notebook.cells]
                for notebook in (read(path), read_source(path))]
    except DataError as error:
        return [str(error)]
    made, wanted = ([*cells[:-1], *(cell for cell in cells[-1:] if cell[1])] for cells in pair)  # Jupyter adds one
    if made == wanted:
        return faults(path, read(path), again)
    place = next((n for n, (a, b) in enumerate(zip(made, wanted), 1) if a != b), min(len(made), len(wanted)) + 1)
    return [f"{path} differs from {source_path(path)}, first at block {place}. {again} (or, to keep what was edited in "
            f"the notebook: python -m tools.notebooks source {path.stem})"] + faults(path, read(path), again)


def faults(path, notebook, again):
    """What is wrong with the notebook itself: not run from top to bottom, an error, too large, a missing tag."""
    found, cells = [], code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append(f"{path}: its cells were not run once each, from top to bottom. {again}")
    for number, cell in enumerate(cells, 1):
        where, longest = f"{path}: cell [{number}] ({first_line(cell)})", max(map(len, cell.source.splitlines()))
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"{where} shows an error. {again}")
        if "../" in cell.source or "%run" in cell.source:
            found.append(f"{where} reaches outside with ../ or %run.")
        if longest > LONGEST_LINE:
            found.append(f"{where} has a line of {longest} characters; the page shows {LONGEST_LINE}. Break it.")
    if path.stat().st_size >= LARGEST_BYTES:
        found.append(f"{path} has {path.stat().st_size / 1e6:.2f} MB, the limit is 1: fewer or smaller figures.")
    needed = ("parameters", "source", "score") if path.stem.startswith("task_") else ("parameters",)
    return found + [f"{path}: no cell is tagged {tag!r}." for tag in needed if not code_cells(notebook, tag)]


# --- run -----------------------------------------------------------------------------------------------------------

def run_one(path, folder, quick, width=0, solutions=False):
    """Execute a copy of one notebook into ``folder`` as .ipynb and .html; both are written on failure too."""
    start, shown, live = time.perf_counter(), -60.0, sys.stdout.isatty()
    notebook = read(path) if path.exists() and not solutions else read_source(path, solutions)

    def progress(number, cells, line):
        """In a terminal one line that is overwritten; in a file a line at the start, then one each half minute."""
        nonlocal shown
        seconds = time.perf_counter() - start
        if live or seconds - shown > 30:
            text = f"{path.stem:{width}}  cell {number}/{cells}, {seconds:.0f} s: {line}"
            print(f"\r{text[:79]:79}" if live else text, end="" if live else "\n", flush=True)
            shown = seconds

    if quick:
        make_quick(notebook)
    progress(0, len(code_cells(notebook)), "starting")
    try:
        failure = execute(notebook, folder, progress)
    finally:
        write(notebook, folder / f"{path.stem}.ipynb")
        page = write_page(notebook, folder / f"{path.stem}.html")
    seconds = time.perf_counter() - start
    last = f"FAILED after {seconds:.0f} s: {told(failure)}" if failure else f"done in {seconds:.0f} s"
    print("\r" * live + f"{path.stem:{width}}  {last}".ljust(79 * live), flush=True)
    return Outcome(path.stem, printed(notebook, "source"), printed(notebook, "score"), seconds, page, failure)


def write_page(notebook, path):
    """The notebook as a web page that needs nothing beside it and asks for nothing: formulas become pictures."""
    from nbconvert import HTMLExporter
    blocks = ("html_head_js_requirejs", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
    template = "{% extends 'lab/index.html.j2' %}" + "".join(f"{{% block {name} %}}{{% endblock %}}" for name in blocks)
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"`[^`]*`|\$\$([^$]+)\$\$|\$(?=\S)([^$\n]+)(?<=\S)\$(?!\d)", formula, cell.source)
    body, _ = HTMLExporter(raw_template=template, embed_images=True).from_notebook_node(
        notebook, {"metadata": {"name": path.stem}})
    with atomic_write(path, "w") as file:
        file.write(body)
    return path


def formula(match):
    """A formula between dollars as a picture; its TeX where matplotlib cannot set it; code between ` as it is."""
    from matplotlib import font_manager, mathtext
    tex = (match[1] or match[2] or "").strip().replace("\n", " ")
    if not tex:
        return match[0]
    picture, font = io.BytesIO(), font_manager.FontProperties(size=17 if match[1] else 12)
    try:
        mathtext.math_to_image(f"${tex}$", picture, prop=font, format="svg")
    except ValueError:
        return f"`{tex}`"
    address = "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
    style = "display:block;margin:auto" if match[1] else "display:inline;vertical-align:middle"
    return f'<img style="{style}" alt="{tex.replace("<", "&lt;")}" src="{address}">'


def new_folder():
    """runs/<date and time>: an earlier result, or that of a run beside this one, is never overwritten."""
    base = ROOT / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 100):
        folder = base if number == 1 else Path(f"{base}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise DataError(f"There are a hundred runs {base} already. Delete some, or name a folder with --out.")


def run(names=(), quick=False, out=None):
    """Run notebooks one after the other, whatever becomes of each; print the table. Returns the outcomes."""
    paths = chosen(names, FOLDERS[:1])
    if not names:  # the tasks; what else lies there is run when it is named
        paths = [path for path in paths if path.stem.startswith("task_")] or paths
    if not paths:
        print(f"There are no notebooks in {ROOT / FOLDERS[0]} yet, so there is nothing to run.")
        return []
    folder = Path(out).resolve() if out else new_folder()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Pages and notebooks go to {folder}", flush=True)
    width, outcomes = max(len(path.stem) for path in paths), []
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
    """Task, data source, seconds, where to look, score: one line each. The score is last, and whole."""
    rows = [("task", "data source", "seconds", "where to look", "score")]
    for name, source, score, seconds, page, failure in outcomes:
        score = ("FAILED" + f" in cell [{failure.cell}]" * (failure.cell > 0)) if failure else score or "-"
        rows.append((name, textwrap.shorten(source or "-", 44, placeholder=" ..."), f"{seconds:.0f}",
                     str(page.relative_to(ROOT) if page.is_relative_to(ROOT) else page), score))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(f"{text:{'>' if text.isdigit() else '<'}{width}}" for text, width in zip(row, widths)).rstrip()
             for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


# --- the command line ----------------------------------------------------------------------------------------------

def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny settings (run, solutions)")
    parser.add_argument("--out", help="folder for the executed copies (run); runs/<date and time> if not given")
    options = parser.parse_intermixed_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a score may hold a sign that this console cannot show
    try:
        return COMMANDS[options.command](options)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped; what was finished is kept.", file=sys.stderr)
        return 130
    return 1


def command_run(options):
    return int(any(outcome.failure for outcome in run(options.names, options.quick, options.out)))


def command_build(options, target=None):
    """Build each notebook, into the folder ``target`` the mentors' edition; go on after a failure."""
    if options.quick and not target:
        raise DataError("build makes the notebooks that people read, with full settings: leave --quick out.")
    failed = 0
    for path in chosen(options.names):
        start = time.perf_counter()
        try:
            made = build(path, target and target / path.name, solutions=bool(target), quick=options.quick)
            print(f"{made}: {made.stat().st_size / 1e6:.2f} MB in {time.perf_counter() - start:.0f} s", flush=True)
        except DataError as error:
            failed += 1
            print(error, file=sys.stderr, flush=True)
    return int(failed > 0)


def command_solutions(options):
    if not options.names or not options.names[0].strip():
        raise DataError("Say where the mentors' edition goes: python -m tools.notebooks solutions OUT [NAME ...]")
    target, options.names = Path(options.names[0]).resolve(), options.names[1:]
    if target in [ROOT / name for name in FOLDERS]:
        raise DataError(f"{target} is where the students look. Name another folder for the mentors' edition.")
    return command_build(options, target)


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


COMMANDS = {"run": command_run, "build": command_build, "check": command_check, "source": command_source,
            "solutions": command_solutions}

if __name__ == "__main__":
    sys.exit(main())
