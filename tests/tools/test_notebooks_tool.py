"""Building, running and checking notebooks, with made-up ones."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import notebook_execution, notebook_outputs, notebooks
from cardiac_ml.files import DataError

STORY = '''# %% [markdown]
# # A made-up task

# %% tags=["parameters"]
EPOCHS = 20  # passes over the rows, quick: 2
NAME, WIDTH = "long", 3.5  # quick: "short", 1.5
SEED = 0

# %%
import os, sys, time, warnings
import matplotlib.pyplot as plt
import pandas as pd
from cardiac_ml import files
from tqdm.auto import tqdm

# %%
for epoch in (bar := tqdm(range(EPOCHS), desc="epochs")):
    bar.set_postfix(valid=round(1 - 1 / (epoch + 2), 3))
for _ in tqdm(range(3), leave=False):
    pass
print("between")
for beat in tqdm(iter(range(1234)), desc="beats"):
    pass

# %%
from tqdm import tqdm as plain
for epoch in plain(range(EPOCHS), desc="plain"):
    time.sleep(0.001)
for heart in plain(range(2), desc="hearts"):
    for case in plain(range(2), leave=False):
        pass
warnings.warn("careful")
print(f"training took {time.time():.1f} s, error 4.2 ms", files.ROOT / "x.npy", os.getcwd(), object())

# %%
plt.figure(figsize=(2, 1)); plt.plot([1, 2]); plt.show()
pd.DataFrame({"a": [1.0]}).style.format("{:.1f}")

# %%
# %%time
{name for name in ("sets", "have", "no", "order")}

# %% tags=["source"]
print("virtual hearts, made here")

# %% tags=["score"]
print("accuracy 0.98 \N{PLUS-MINUS SIGN} 0.01", EPOCHS, NAME, WIDTH, SEED)
'''
FAILS = '''# %% tags=["parameters"]
N = 1
# %%
# the next line fails
1 / 0
# %%
print("never")
'''


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """An empty repository; add(name, text) puts a source into it."""
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    return tmp_path


def add(kit, name, text, folder="notebooks"):
    source = kit / folder / "source" / f"{name}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text, encoding="utf-8")
    return kit / folder / f"{name}.ipynb"


def texts(notebook):
    """All text that the notebook's cells put out."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found += [output.get("text", "")] + [str(value) for value in output.get("data", {}).values()]
    return "\n".join(found)


# --- build ---------------------------------------------------------------------------------------------------------

def test_two_builds_give_the_same_bytes_and_pass_the_check(kit, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")  # whatever draws the caller's figures, those of a notebook are inline
    path = add(kit, "task_1_made_up", STORY)
    first = notebooks.build(path).read_bytes()
    assert notebooks.build(path).read_bytes() == first
    assert notebooks.problems(path) == []
    text = texts(nbformat.read(path, 4))
    for line in ("epochs: 20/20, valid=0.952", "beats: 1234", "plain: 20/20", "hearts: 2/2", "UserWarning: careful"):
        assert line in text
    assert "training took ... s, error 4.2 ms x.npy  <object object at 0x...>" in text
    assert "it/s" not in text and "Wall time" not in text and str(kit) not in text and "widget" not in first.decode()
    assert first.count(b'"image/png"') == 1
    assert b"T_00001" in first


def test_a_failing_source_leaves_the_notebook_and_shows_what_ran(kit):
    path = add(kit, "task_1_made_up", FAILS)
    path.write_text("as it was")
    with pytest.raises(DataError, match=r"cell \[2\] \(1 / 0\): ZeroDivisionError"):
        notebooks.build(path)
    assert path.read_text() == "as it was"
    assert "ZeroDivisionError" in (kit / "runs" / "failed" / path.name).read_text()


@pytest.mark.parametrize("line, quick", [
    ("EPOCHS = 20  # quick: 1", "EPOCHS = 1  # quick"),
    ("EPOCHS = 20  # passes, quick: 1", "EPOCHS = 1  # passes, quick"),
    ("A, B = 1, 2  # quick: 3, 4", "A, B = 3, 4  # quick"),
    ("NAME = 'a'  # quick: 'b'", "NAME = 'b'  # quick"),
    ("FOLDER = None  # real files, if any", "FOLDER = None  # real files, if any"),
    ("EPOCHS = 20", "EPOCHS = 20"),
])
def test_quick_values(line, quick):
    cell = nbformat.v4.new_code_cell(line, metadata={"tags": ["parameters"]})
    other = nbformat.v4.new_code_cell(line)
    notebook_execution.make_quick(nbformat.v4.new_notebook(cells=[cell, other]))
    assert (cell.source, other.source) == (quick, line)


@pytest.mark.parametrize("line, text", [
    ("epochs: 100%|####| 20/20 [00:34<00:00,  1.72s/it, loss=3, valid=0.93]", "epochs: 20/20, loss=3, valid=0.93"),
    ("100%|##########| 20/20 [00:34<00:00, 98.1it/s]", "20/20"),
    (" 35%|###5      | 7/20 [01:02:34<?, ?beat/s]", "7/20"),
    ("unknown: 1234it [00:03, 310.2it/s]", "unknown: 1234it"),
    ("50%|##5  | 1.5k/3.0k [00:34<00:00, 1.2kB/s]", "1.5k/3.0k"),
    ("Accuracy: 98 % | of 20/20 hearts", None), ("in [2, 3] of 4", None), ("see [1]", None), ("", None),
])
def test_progress_bars_become_one_stable_line(line, text):
    assert notebook_outputs.bar_text(line) == text


@pytest.mark.parametrize("written, seen", [
    ("a\rbc\n", "bc\n"), ("abc\rx\n", "xbc\n"), ("50%\r100%\ndone", "100%\ndone"), ("one\ntwo\x1b[A\rONE", "ONE\ntwo"),
    ("bar\n inner\r      \r\x1b[A\rBAR", "BAR\n"),
])
def test_overwritten_lines(written, seen):
    assert notebook_outputs.as_seen(written) == seen


@settings(deadline=None)
@given(st.text(st.characters(blacklist_characters="\r\x1b", blacklist_categories=("Cs",))))
def test_plain_text_is_seen_as_it_is(text):
    assert notebook_outputs.as_seen(text) == "\n".join(line.rstrip() for line in text.split("\n"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text("ab\n", max_size=4)), max_size=8))
def test_the_pieces_in_which_text_arrives_do_not_matter(pieces):
    streams = [{"output_type": "stream", "name": name, "text": text} for name, text in pieces]
    whole = [{"output_type": "stream", "name": name, "text": "".join(t for n, t in pieces if n == name)}
             for name in ("stdout", "stderr")]
    assert notebook_outputs.joined(streams) == notebook_outputs.joined(whole)


def test_identifiers_stay_when_a_cell_is_put_before():
    def identifiers(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebook_outputs.stable(notebook)
        nbformat.validate(notebook)
        return [cell["id"] for cell in notebook.cells]
    assert identifiers("b", "c", "c") == identifiers("a", "b", "c", "c")[1:]
    assert len(set(identifiers("c", "c"))) == 2


# --- check ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def good(kit):
    """A notebook with nothing wrong, made without a kernel, and how to change it."""
    source = ''.join(f'# %% tags=["{tag}"]\nprint("{tag}")\n' for tag in ("parameters", "source", "score"))
    path = add(kit, "task_1_made_up", source)
    notebook = notebook_execution.read(notebooks.source_path(path))
    for number, cell in enumerate(notebook.cells, 1):
        cell.execution_count = number
    notebook_execution.write(notebook, path)
    assert notebooks.problems(path) == []
    return path, notebook


def with_error(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]


def too_large(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="x" * 1_000_001)]


@pytest.mark.parametrize("damage, words", [
    (lambda n: n.cells[1].update(source="print(2)"), "differs from .*first at block 2.* build task_1_made_up"),
    (lambda n: n.cells.append(nbformat.v4.new_markdown_cell("more")), "first at block 4"),
    (lambda n: n.cells[1].update(execution_count=7), "not run once each"),
    (lambda n: n.cells[2].update(execution_count=None), "not run once each"),
    (with_error, r"cell \[2\] \(print\(\"source\"\)\) shows an error"),
    (too_large, "1.00 MB, the limit is 1"),
    (lambda n: n.cells[2].metadata.update(tags=[]), "no cell is tagged 'score'"),
    (lambda n: n.cells[1].update(source="%run ../x.py"), "reaches outside"),
])
def test_check_says_what_is_wrong(good, damage, words):
    path, notebook = good
    damage(notebook)
    notebook_execution.write(notebook, path)
    assert any(re.search(words, problem) for problem in notebooks.problems(path)), notebooks.problems(path)


def test_check_of_files_that_are_missing_or_broken(good):
    path, _ = good
    kept = path.read_text()
    path.unlink()
    assert "is missing" in notebooks.problems(path)[0]
    path.write_text("{broken")
    with pytest.raises(DataError, match="not a notebook that can be read"):
        notebooks.problems(path)
    path.write_text(kept)
    notebooks.source_path(path).unlink()
    assert "has no source" in notebooks.problems(path)[0]


def test_cells_edited_in_the_notebook_go_into_the_source(good, capsys):
    path, notebook = good
    notebook.cells[1].source = "print('edited')"
    notebook_execution.write(notebook, path)
    assert notebooks.main(["check"]) == 1
    assert notebooks.main(["source", "1"]) == 0
    assert notebooks.main(["check"]) == 0
    assert "print('edited')" in notebooks.source_path(path).read_text()
    assert "1 notebooks match" in capsys.readouterr().out


# --- run -----------------------------------------------------------------------------------------------------------

def test_a_failing_notebook_names_its_cell_and_the_others_go_on(kit, capsys):
    add(kit, "task_1_made_up", FAILS)
    add(kit, "task_2_made_up", STORY)
    add(kit, "task_3_made_up", "# %%\nimport os\n# %%\nos._exit(3)")
    assert notebooks.main(["run", "--quick", "--out", str(kit / "out")]) == 1
    told = capsys.readouterr().out
    assert re.search(r"task_1_made_up +FAILED after \d+ s: cell \[2\] \(1 / 0\): ZeroDivisionError", told)
    assert re.search(r"task_3_made_up +FAILED after \d+ s: cell \[2\] \(os._exit\(3\)\): Python died", told)
    row = r"task_2_made_up +virtual hearts, made here +accuracy 0.98 . 0.01 2 short 1.5 0 +\d+ +out.task_2_made_up.html"
    assert re.search(row, told), told
    assert "scores mean nothing" in told
    assert {path.name for path in (kit / "out").iterdir()} == {
        f"task_{task}_made_up.{kind}" for task in (1, 2, 3) for kind in ("ipynb", "html")}
    assert "ZeroDivisionError" in (kit / "out" / "task_1_made_up.html").read_text(encoding="utf-8")
    assert "data:image/png" in (kit / "out" / "task_2_made_up.html").read_text(encoding="utf-8")
    assert not list((kit / "notebooks").glob("*.ipynb"))  # copies only


@pytest.mark.skipif(os.name != "posix", reason="asks for a process by its number")
def test_no_kernel_outlives_its_notebook(kit, capsys):
    add(kit, "task_1_made_up", "# %% tags=[\"score\"]\nimport os\nprint('process', os.getpid())")
    outcome, = notebooks.run(["1"], out=kit / "out")
    process = int(outcome.score.split()[1])

    def state():  # empty once it is gone, Z when it has ended and nobody has asked how
        told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
        return told.stdout.strip()

    until = time.monotonic() + 5
    while state()[:1] not in ("", "Z") and time.monotonic() < until:
        time.sleep(0.1)
    assert state()[:1] in ("", "Z"), f"process {process} still runs"


def test_without_notebooks_it_ends_well(kit, capsys):
    assert notebooks.main(["run"]) == 0
    assert "no notebooks" in capsys.readouterr().out


def test_names(kit, capsys):
    for name in ("task_1_made_up", "task_2_made_up"):
        add(kit, name, "")
    add(kit, "image_tutorial", "", "tutorials")

    def stems(*names):
        return [path.stem for path in notebooks.chosen(names, ("notebooks",))]
    assert stems() == ["task_1_made_up", "task_2_made_up"]
    assert stems("2", "1", "task_2") == ["task_2_made_up", "task_1_made_up"]
    assert stems("tutorials") == stems("image") == stems("tutorials/image_tutorial.ipynb") == ["image_tutorial"]
    assert stems("all") == ["task_1_made_up", "task_2_made_up", "image_tutorial"]
    assert notebooks.main(["run", "9"]) == 1
    assert "No notebook is called '9'. There are: task_1_made_up" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="interrupts are sent differently there")
def test_an_interrupt_stops_everything_and_keeps_what_ran(kit, tmp_path):
    """Even where the cell itself survives an interrupt, as training does."""
    stubborn = ("# %%\nprint('reached')\n# %%\nimport time\nfrom pathlib import Path\nPath('started').touch()\n"
                "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass\n# %%\nPath('went on').touch()")
    add(kit, "task_1_made_up", stubborn)
    program = ("import sys; from pathlib import Path; from cardiac_ml import notebooks; "
               f"notebooks.ROOT = Path({str(kit)!r}); sys.exit(notebooks.main(['run', '--out', 'out']))")
    path = os.pathsep.join([str(Path(notebooks.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not (tmp_path / "out" / "started").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert "reached" in (tmp_path / "out" / "task_1_made_up.ipynb").read_text()
    assert not (tmp_path / "out" / "went on").exists()
