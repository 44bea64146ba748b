"""Read a notebook or its source, make it quick, run its cells by this very Python, see what it printed."""
import os
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from cardiac_ml.files import DataError, atomic_write

QUICK = re.compile(r"^(?P<name>\s*[\w, ]+=\s*)(?P<value>.*?\S)(?P<note>\s*#.*?)\bquick:\s*(?P<quick>\S.*?)\s*$")


def read(path):
    """The notebook of this file: .ipynb as it is, .py as a percent script."""
    import jupytext
    try:
        return jupytext.read(path, fmt="py:percent" if path.suffix == ".py" else None)
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a notebook that can be read ({str(error)[:200]}). "
                        f"Build it again: python -m tools.notebooks build {path.stem}") from error


def write(notebook, path):
    import nbformat
    with atomic_write(path, "w") as file:
        nbformat.write(notebook, file)


def tags(cell):
    return cell.metadata.get("tags", [])


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and tag in tags(cell)]


def make_quick(notebook):
    """In place: the settings of the cells tagged "parameters" take the value after "quick:"."""
    for cell in tagged(notebook, "parameters"):
        lines = [QUICK.sub(r"\g<name>\g<quick>\g<note>quick", line) for line in cell.source.split("\n")]
        cell.source = "\n".join(lines)


def printed(notebook, tag):
    """The last line that the cell with this tag printed, "" where there is none."""
    text = "".join(output.get("text", "") for cell in tagged(notebook, tag) for output in cell.get("outputs", [])
                   if output["output_type"] == "stream" and output["name"] == "stdout")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass(frozen=True)
class Failure:
    cell: int  # as in In [cell]
    line: str  # the first line of that cell
    reason: str

    def __str__(self):
        return f"cell [{self.cell}] ({self.line}): {self.reason}" if self.cell else self.reason


def first_line(source):
    """The first line of code, past comments."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return textwrap.shorten(next((line for line in lines if not line.startswith("#")), "".join(lines[:1])), 60,
                            placeholder=" ...")


def execute(notebook, folder, on_cell=None):
    """Run all cells in ``folder`` by this very Python, outputs in place. Returns None, or the Failure that ended it.

    on_cell(number, cells, first line) is called before each cell.
    """
    from nbclient.exceptions import CellExecutionError

    from tools.notebook_outputs import tidy
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    places = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    reached = []

    def before(cell, cell_index):
        reached.append(first_line(cell.source))
        if on_cell:
            on_cell(len(reached), len(places), reached[-1])

    client = make_client(notebook, folder, before)
    try:
        interruptible(client)
    except CellExecutionError as error:
        reason = f"{error.ename}: {textwrap.shorten(error.evalue, 300, placeholder=' ...')}"
        return Failure(len(reached), reached[-1], reason)
    except RuntimeError as error:
        death = "Python died in it, most often because memory ran out" if reached else f"Python did not start: {error}"
        return Failure(len(reached), (reached or [""])[-1], death)
    finally:
        tidy(notebook, client.widget_state)
    return None


def interruptible(client):
    """Run the notebook in a thread of its own, so that an interrupt comes here, and ends its kernel for good.

    An interrupt sent to the kernel would not do: training stops at the first one and returns what it has.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.execute, env=kernel_environment(), cleanup_kc=True)  # no kernel outlives its run
        try:
            while not wait([running], timeout=0.5).done:
                pass
        except KeyboardInterrupt:
            while not running.done():
                process = getattr(client.km.provisioner, "process", None)  # none while it is being started
                if process:
                    process.kill()
                wait([running], timeout=0.2)
            raise
        return running.result()


def make_client(notebook, folder, before):
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec
    from nbclient import NotebookClient

    class ThisPython(AsyncKernelManager):
        """A kernel called python3 may be registered for any other Python of this machine."""
        kernel_spec = KernelSpec(language="python", argv=[
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"])

    class Client(NotebookClient):
        def handle_comm_msg(self, outs, msg, cell_index):
            super().handle_comm_msg(outs, msg, cell_index)
            if msg["msg_type"] == "comm_close":  # a progress bar that wiped itself
                self.widget_state.pop(msg["content"]["comm_id"], None)

    return Client(notebook, km=ThisPython(), timeout=None, startup_timeout=120, record_timing=False,
                  resources={"metadata": {"path": str(folder)}}, on_cell_execute=before)


def kernel_environment():
    """Figures inline whatever the caller draws with, sets in the same order every time, this package importable."""
    variables = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parent.parent), variables.get("PYTHONPATH")]))
    return variables | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
