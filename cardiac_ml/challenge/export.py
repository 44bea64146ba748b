"""A challenge for others to host: a competition bundle for Codabench, and folders like those of Kaggle.

    python -m cardiac_ml export-bundle OUT --challenge FOLDER

The bundle's scoring program is this kit's scorer, copied. The schema of competition.yaml: docs.codabench.org,
Yaml-Structure, version 2; what is refused: github.com/codalab/codabench, src/apps/competitions/unpackers/v2.py.
"""
import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from cardiac_ml import challenge as package
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.files import DataError, atomic_write

IMAGE = "jupyter/scipy-notebook:python-3.11"  # Python 3.11 with numpy, scipy, pandas and scikit-learn
HERE = """
## Here

Hand in a zip file with your submission in it. In the phase Final you hand in once: choose your best file of the week.
"""
COMMAND = "python3 /app/program/scoring.py /app/input/ /app/output/"
PROGRAM = '''"""Scores one submission: the only .npz or .csv file in input/res, with the truth in input/ref."""
import json
import sys
from pathlib import Path

from cardiac_ml.challenge import scoring

given, out = Path(sys.argv[1]), Path(sys.argv[2])
truth = scoring.read_truth(next((given / "ref").glob("truth_task_*.npz")))
files = [path for path in (given / "res").rglob("*") if path.suffix.lower() in (".npz", ".csv")]
if len(files) != 1:
    sys.exit(f"Your zip file holds {len(files)} .npz or .csv files, expected one.")
final = json.loads((given / "ref" / "part.json").read_text())["final"]
try:
    scores = scoring.score(files[0], truth, final=final)
except scoring.DataError as error:
    sys.exit(str(error))
main = scores[scoring.MAIN[truth.task]]
(out / "scores.json").write_text(json.dumps({"score": main.value, "low": main.low, "high": main.high}))
'''


def export(out, folder, tasks=None, start="2030-01-01 00:00:00", end="2030-01-08 00:00:00"):
    """``codabench_task_N.zip`` and ``kaggle_task_N/`` in ``out`` for each task of a challenge; returns their paths."""
    public = Path(folder) / "public"
    tasks = tasks or sorted(int(path.stem[-1]) for path in public.glob("test_task_*.npz"))
    if not tasks:
        raise DataError(f"{folder} is not the folder of a challenge: it has no public/test_task_N.npz.")
    truths, out = [scoring.find_truth(folder, task) for task in tasks], Path(out)
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o700)  # like the private part: for nobody else (refused where the folder is another's), never committed
    (out / ".gitignore").write_text("*\n")
    return [path for truth in truths for path in (codabench(out, Path(folder), truth.task, start, end),
                                                  kaggle(out, truth))]


# ---- Codabench ----

def codabench(out, folder, task, start, end):
    """The bundle of one task: competition, pages, scoring program, truth, and the public folder to download."""
    path, public, truth = out / f"codabench_task_{task}.zip", folder / "public", f"truth_task_{task}.npz"
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("competition.yaml", json.dumps(competition(task, start, end), indent=1))  # JSON is YAML
        bundle.writestr("logo.png", _logo())
        bundle.writestr("overview.md", (public / "README.md").read_text(encoding="utf-8") + HERE)
        bundle.writestr("terms.md", "Simulated data, no patients. Teaching software, not a medical device.\n")
        _nested(bundle, "scoring_program.zip", {"metadata.yaml": f"command: {COMMAND}\n", "scoring.py": PROGRAM,
                                                **_scorer()})
        for phase, kept in (("week", False), ("final", True)):
            _nested(bundle, f"reference_{phase}.zip", {truth: folder / "private" / truth,
                                                       "part.json": json.dumps({"final": kept})})
        wanted = ("intracardiac_dataset" if task > 2 else "ecg_dataset", f"test_task_{task}.npz",
                  f"template_task_{task}.npz", "README.md")
        _nested(bundle, "public_data.zip", {str(path.relative_to(public)): path for path in sorted(public.rglob("*"))
                                            if path.is_file() and path.relative_to(public).parts[0] in wanted})
    return path


def competition(task, start, end):
    """What competition.yaml says."""
    order = "desc" if scoring.MORE_IS_BETTER[task] else "asc"
    columns = [("score", scoring.MAIN[task]), ("low", "90 % interval from"), ("high", "to")]
    phase = dict(public_data="public_data.zip", accepts_only_result_submissions=True)
    return {
        "version": 2, "title": f"Hearts: {submission.TASKS[task].title}", "image": "logo.png", "terms": "terms.md",
        "description": "Simulated hearts; learn from some, predict others.", "docker_image": IMAGE,
        "pages": [{"title": "Overview", "file": "overview.md"}],
        "tasks": [{"index": number, "name": f"Task {task}, {name}", "scoring_program": "scoring_program.zip",
                   "reference_data": f"reference_{name}.zip"} for number, name in enumerate(("week", "final"))],
        "phases": [{"index": 0, "name": "Week", "start": start, "end": end, "tasks": [0], **phase,
                    "max_submissions_per_day": 5},
                   # once: whoever migrates all files or tries again finds the best for the end by chance
                   {"index": 1, "name": "Final", "start": end, "tasks": [1], **phase, "max_submissions": 1}],
        "leaderboards": [{"title": "Results", "key": "main", "submission_rule": "Force_Best", "columns": [
            {"title": title, "key": key, "index": number, "sorting": order, "precision": 3}
            for number, (key, title) in enumerate(columns)]}],
    }


def _scorer():
    """The core of the kit and its scorer, as the program: name -> path (with numpy, scipy, pandas, scikit-learn)."""
    top = Path(package.__file__).parents[1]
    files = [*top.glob("*.py"), *(top / "challenge" / f"{name}.py" for name in ("__init__", "scoring", "submission"))]
    return {str(path.relative_to(top.parent)): path for path in sorted(files)}


def _nested(bundle, name, contents):
    """A zip file within the bundle, of texts, bytes and files."""
    deflated = zipfile.ZIP_DEFLATED
    with bundle.open(name, "w", force_zip64=True) as stream, zipfile.ZipFile(stream, "w", deflated) as inner:
        for member, content in contents.items():
            inner.write(content, member) if isinstance(content, Path) else inner.writestr(member, content)


def _logo():
    """A heartbeat on a card, as PNG."""
    from PIL import Image, ImageDraw

    picture, file = Image.new("RGB", (240, 240), "#f4f5f7"), io.BytesIO()
    beat = [(20, 130), (70, 130), (82, 112), (106, 145), (120, 40), (134, 190), (146, 130), (180, 105), (220, 130)]
    ImageDraw.Draw(picture).line(beat, "#d1495b", 9, "curve")
    picture.save(file, "PNG")
    return file.getvalue()


# ---- Kaggle ----

def kaggle(out, truth):
    """``sample_submission.csv`` for everybody and ``solution.csv`` (with the column Usage) for the host."""
    folder, task = out / f"kaggle_task_{truth.task}", submission.TASKS[truth.task]
    label = np.eye(len(task.columns))[truth.label] if task.columns else truth.label
    names = list(task.columns) or ["_".join(map(str, ("point", *place))) for place in np.ndindex(task.shape)]
    usage = np.where(truth.final, "Private", "Public")
    nothing = np.broadcast_to(np.float32(task.nothing), label.shape)
    for file, values, more in (("sample_submission.csv", nothing, []), ("solution.csv", label, ["Usage"])):
        with atomic_write(folder / file, "w") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["id", *names, *more])
            for name, value, used in zip(truth.ids.tolist(), values, usage.tolist()):
                cells = ("" if np.isnan(number) else f"{number:.6g}" for number in np.ravel(value).tolist())
                rows.writerow([name, *cells, *[used] * len(more)])
    return folder
