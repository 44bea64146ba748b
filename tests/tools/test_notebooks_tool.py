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

from cardiac_ml.files import DataError
from tools import notebooks

STORY = '''# %% [markdown]
# # A made-up task

# %% tags=["parameters"]
EPOCHS = 20  # passes over the rows, quick: 2
NAME, WIDTH = "long", 3.5  # quick: "short", 1.5
SEED = 0

# %%
import os, sys, time, warnings
import matplotlib.pyplot as plt
from tqdm.auto import tqdm

# %%
for epoch in tqdm(range(EPOCHS), desc="epochs"):
    print("epoch", epoch, flush=True)
    print("note", epoch, file=sys.stderr, flush=True)
warnings.warn("careful")
print(f"training took {time.time():.1f} s, error 4.2 ms", end=" ")
print(sys.prefix + "/x.npy", os.getcwd(), object())

# %%
plt.figure(figsize=(2, 1)); plt.plot([1, 2]); plt.show()
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
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(str(text) for output in outputs for text in (output.get("text", ""),
                                                                 *output.get("data", {}).values()))


# --- build ---------------------------------------------------------------------------------------------------------

def test_two_builds_give_the_same_bytes_and_pass_the_check(kit, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")  # whatever draws the caller's figures, those of a notebook are inline
    path = add(kit, "task_1_made_up", STORY)
    first = notebooks.build(path).read_bytes()
    assert notebooks.build(path).read_bytes() == first
    assert notebooks.problems(path) == []
    text = texts(nbformat.read(path, 4))
    for line in ("epoch 18\nepoch 19\ntraining took", "note 18\nnote 19\n<cell>:4: UserWarning: careful"):
        assert line in text
    assert "training took ... s, error 4.2 ms python/x.npy  <object object at 0x...>" in text
    assert "it/s" not in text and str(kit) not in text and "widget" not in first.decode()
    assert first.count(b'"image/png"') == 1


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
    notebooks.make_quick(nbformat.v4.new_notebook(cells=[cell, other]))
    assert (cell.source, other.source) == (quick, line)


def test_identifiers_stay_when_a_cell_is_put_before():
    def identifiers(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebooks.stable(notebook, "/nowhere")
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
    notebook = notebooks.read(notebooks.source_path(path))
    for number, cell in enumerate(notebook.cells, 1):
        cell.execution_count = number
    notebooks.write(notebook, path)
    assert notebooks.problems(path) == []
    return path, notebook


@pytest.mark.parametrize("damage, words", [
    (lambda n: n.cells[1].update(source="print(2)"), "differs from .*first at block 2.* build task_1_made_up"),
    (lambda n: n.cells.append(nbformat.v4.new_markdown_cell("more")), "first at block 4"),
    (lambda n: n.cells[1].update(execution_count=7), "not run once each"),
    (lambda n: n.cells[2].update(execution_count=None), "not run once each"),
    (lambda n: n.cells[1].update(outputs=[nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]),
     r"cell \[2\] \(print\(\"source\"\)\) shows an error"),
    (lambda n: n.cells[1].update(outputs=[nbformat.v4.new_output("stream", text="x" * 1_000_001)]),
     "1.00 MB, the limit is 1"),
    (lambda n: n.cells[2].metadata.update(tags=[]), "no cell is tagged 'score'"),
    (lambda n: n.cells[1].update(source="%run ../x.py"), "reaches outside"),
    (lambda n: n.cells[1].update(source="x = 1\ny = '" + 96 * "a" + "'"), r"cell \[2\] \(x = 1\) has a line of 102 c"),
])
def test_check_says_what_is_wrong(good, damage, words):
    path, notebook = good
    damage(notebook)
    notebooks.write(notebook, path)
    assert any(re.search(words, problem) for problem in notebooks.problems(path)), notebooks.problems(path)


def test_check_of_files_that_are_missing_or_broken(good):
    path, _ = good
    kept = path.read_text()
    path.unlink()
    assert "is missing" in notebooks.problems(path)[0]
    path.write_text("{broken")
    assert "not a notebook that can be read" in notebooks.problems(path)[0]
    path.write_text(kept)
    notebooks.source_path(path).unlink()
    assert "has no source" in notebooks.problems(path)[0]


def test_cells_edited_in_the_notebook_go_into_the_source(good, capsys):
    path, notebook = good
    notebook.cells[1].source = "print('edited')"
    notebooks.write(notebook, path)
    assert notebooks.main(["check"]) == 1
    assert notebooks.main(["source", "1"]) == 0
    assert notebooks.main(["check"]) == 0
    assert "print('edited')" in notebooks.source_path(path).read_text()
    assert "1 notebooks match" in capsys.readouterr().out


# --- the mentors' edition ------------------------------------------------------------------------------------------

EXERCISE = """# %% [markdown]
# # A lesson
# ## 1. Waves
# %% tags=["parameters"]
N = 1
# %%
answer = ...  # a number
check = lambda name, answer: print(name, "is", answer)
check("lesson.1", answer)
# %% [markdown]
# **Exercise 2 (open).** Why?
"""
ADVICE = """# lesson

Afterwards they know waves.

## 1. Waves

10 minutes.

### lesson.1

Common wrong idea: 41.

```python
answer = 6 * 7
```

### Exercise 2 (open)

Since the wave is late.
"""


def test_answers_are_in_the_mentors_edition_only_and_none_is_made_without(kit, monkeypatch, capsys):
    monkeypatch.setattr(notebooks.mentors, "TEXT", kit / "mentors.md")
    path = add(kit, "lesson", EXERCISE, "tutorials")
    (kit / "mentors.md").write_text("# another\n")
    assert notebooks.main(["solutions", str(kit / "mentors"), "lesson"]) == 1
    assert "no chapter '# lesson'" in capsys.readouterr().err
    (kit / "mentors.md").write_text(ADVICE)
    assert notebooks.main(["build", "lesson"]) == 0
    assert notebooks.main(["solutions", str(kit / "mentors"), "lesson"]) == 0
    mentors = nbformat.read(kit / "mentors" / "lesson.ipynb", 4)
    secrets = ["know waves", "10 minutes", "6 * 7", "wrong idea: 41", "the wave is late"]
    told = [next(number for number, cell in enumerate(mentors.cells) if secret in cell.source) for secret in secrets]
    assert told == [1, 2, 4, 5, 7] and not any(secret in path.read_text() for secret in secrets)
    assert "lesson.1 is 42" in texts(mentors) and "lesson.1 is Ellipsis" in texts(nbformat.read(path, 4))


@pytest.mark.parametrize("arguments, words", [
    (["solutions"], "where the mentors' edition goes"), (["solutions", "notebooks"], "where the students look"),
    (["build", "--quick"], "leave --quick out")])
def test_an_edition_in_the_wrong_place_is_refused(kit, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(kit)
    assert notebooks.main(arguments) == 1 and words in capsys.readouterr().err


# --- run -----------------------------------------------------------------------------------------------------------

def test_a_failing_notebook_names_its_cell_and_the_others_go_on(kit, capsys):
    add(kit, "task_1_made_up", FAILS)
    add(kit, "task_2_made_up", STORY)
    add(kit, "task_3_made_up", "# %%\nimport os\n# %%\nos._exit(3)")
    assert notebooks.main(["run", "--quick", "--out", str(kit / "out")]) == 1
    told = capsys.readouterr().out
    assert re.search(r"task_1_made_up +FAILED after \d+ s: cell \[2\] \(1 / 0\): ZeroDivisionError", told)
    assert re.search(r"task_3_made_up +FAILED after \d+ s: cell \[2\] \(os._exit\(3\)\): Python died", told)
    row = (r"task_2_made_up +virtual hearts, made here +\d+ +out.task_2_made_up.html +"
           r"accuracy 0.98 . 0.01 2 short 1.5 0$")
    assert re.search(row, told, re.MULTILINE), told
    assert "scores mean nothing" in told
    assert {path.name for path in (kit / "out").iterdir()} == {
        f"task_{task}_made_up.{kind}" for task in (1, 2, 3) for kind in ("ipynb", "html")}
    assert "ZeroDivisionError" in (kit / "out" / "task_1_made_up.html").read_text(encoding="utf-8")
    assert "data:image/png" in (kit / "out" / "task_2_made_up.html").read_text(encoding="utf-8")
    assert not list((kit / "notebooks").glob("*.ipynb"))  # copies only


def test_the_page_asks_nobody_for_anything(kit):
    prose = "$x^2$ of `$HOME`, $$\\frac{1}{2}$$ and $\\nonsense{$ for 5 $ or 6 $."
    path = add(kit, "lesson", f"# %% [markdown]\n# {prose}\n")
    page = notebooks.write_page(notebooks.read_source(path), kit / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|import\(|@import|url\(["']?http""", page)
    assert page.count('src="data:image/svg+xml') == 2 and 'alt="x^2"' in page  # formulas without a network
    assert "<code>$HOME</code>" in page and "<code>\\nonsense{</code>" in page and "5 $ or 6 $" in page


def test_a_score_is_never_cut_off():
    outcome = notebooks.Outcome("task_1", "s" * 90, "accuracy 0.9 " * 20, 3.0, notebooks.ROOT / "runs" / "a.html", None)
    table = notebooks.table([outcome])
    assert table.endswith(("accuracy 0.9 " * 20).strip()) and f"runs{os.sep}a.html" in table


def test_two_runs_in_one_second_have_a_folder_each(kit, monkeypatch):
    monkeypatch.setattr(notebooks.time, "strftime", lambda form: "now")
    monkeypatch.setattr(Path, "exists", lambda path: False)  # the other run makes it just after the look
    assert [notebooks.new_folder().name for _ in range(3)] == ["now", "now_2", "now_3"]


def living(process):
    """Whether it runs: not gone, and not a zombie either."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return told.stdout.strip()[:1] not in ("", "Z")


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


STUBBORN = """# %%
print('reached')
# %%
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
with open("part", "w") as file:
    file.write(f"{os.getpid()} {worker.pid}")
os.rename("part", "started")
try:
    time.sleep(END)
except KeyboardInterrupt:
    pass
# %%
open("went on", "w").close()
"""
PROGRAM = """import sys
from pathlib import Path
from tools import notebooks
notebooks.ROOT = Path(sys.argv[1])
sys.exit(notebooks.main(["run", "--out", "out"]))"""


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by their numbers")
@pytest.mark.parametrize("sign, status", [
    (signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9), (None, 0)])
def test_however_a_run_ends_its_kernel_and_their_workers_end(kit, sign, status):
    """Even where the cell itself survives an interrupt, as training does."""
    add(kit, "task_1_made_up", STUBBORN.replace("END", "60" if sign else "0"))
    path = os.pathsep.join([str(Path(notebooks.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(kit)], cwd=kit, stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL, text=True)
    wait_for((kit / "out" / "started").exists)
    if sign:
        assert "task_1_made_up  cell 0/3" in process.stdout.readline() + process.stdout.readline()  # told as it goes
        process.send_signal(sign)
    assert process.wait(timeout=30) == status
    process.stdout.close()
    for number in map(int, (kit / "out" / "started").read_text().split()):
        wait_for(lambda: not living(number))
    assert (kit / "out" / "went on").exists() == (sign is None)
    assert sign != signal.SIGINT or "reached" in (kit / "out" / "task_1_made_up.ipynb").read_text()


def test_names(kit, capsys):
    assert notebooks.main(["run"]) == 0 and "no notebooks" in capsys.readouterr().out
    for name in ("task_1_made_up", "task_2_made_up"):
        add(kit, name, "")
    add(kit, "image_tutorial", "", "tutorials")

    def stems(*names):
        return [path.stem for path in notebooks.chosen(names, ("notebooks",))]
    assert stems() == ["task_1_made_up", "task_2_made_up"]
    assert stems("2", "1", "task_2") == ["task_2_made_up", "task_1_made_up"]
    assert stems("tutorials") == stems("image") == stems("tutorials/image_tutorial.ipynb") == ["image_tutorial"]
    assert stems("all") == ["task_1_made_up", "task_2_made_up", "image_tutorial"]
    assert notebooks.main(["run", ""]) == notebooks.main(["run", "9"]) == 1
    assert "No notebook is called '9'. There are: task_1_made_up" in capsys.readouterr().err
