import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cardiac_ml
from cardiac_ml import intracardiac
from cardiac_ml.__main__ import main
from cardiac_ml.heart3d import mesh as heart
from cardiac_ml.virtual import dataset
from tiny_intracardiac import made_batches


@pytest.mark.parametrize("call, words", [
    (["score"], "Give a submission file"), (["check", "absent.npz"], "not a file"),
    (["score", "--leaderboard", "."], "among the submissions"), (["pack", "absent"], "does not exist"),
])
def test_a_wrong_call_says_what_to_do(capsys, call, words):
    assert main(call) == 1
    assert words in capsys.readouterr().err


def test_geometry_is_the_committed_one_and_reads_back(tmp_path):
    assert main(["simulate", "geometry", "--out", str(tmp_path)]) == 0
    made, kept = heart.default_heart(tmp_path), heart.default_heart()
    assert made[0].points_mm == pytest.approx(kept[0].points_mm, abs=1e-3)
    assert (made[0].tetrahedra == kept[0].tetrahedra).all() and made[1].equals(kept[1])


def test_intracardiac_files_in_the_real_layout(tmp_path, capsys):
    out = tmp_path / "intracardiac_dataset"
    assert main(["simulate", "intracardiac", "--hearts", "1", "--cases", "2", "--workers", "1", "--out", str(out)]) == 0
    assert len(list(out.rglob("pECGData_*.npy"))) == len(list(out.rglob("VmData_*.npy"))) == 2
    assert main(["simulate", "intracardiac", "--hearts", "1", "--cases", "2", "--out", str(out)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert main(["pack", str(out)]) == 0 and "2 heartbeats" in capsys.readouterr().out


def test_without_a_folder_what_is_simulated_is_what_loading_finds_in_the_cache(own_cache, monkeypatch, capsys):
    monkeypatch.setattr(dataset, "simulate_intracardiac", lambda *sizes, **more: made_batches(["v1", "v2"], sizes[1]))
    assert main(["simulate", "intracardiac", "--hearts", "2", "--cases", "3"]) == 0
    assert f"Kept in {own_cache}" in capsys.readouterr().out
    monkeypatch.setattr(dataset, "simulate_intracardiac", lambda *_, **more: pytest.fail("simulated again"))
    assert len(intracardiac.simulate(2, 3)) == 6


SLOW = """
import runpy, sys, time
from joblib import delayed
from tiny_intracardiac import made_batches
from cardiac_ml.virtual import dataset, parallel
def job(number):
    import os, time
    print(os.getpid(), flush=True)
    time.sleep(60)
def slow(*sizes, **options):
    yield next(made_batches())
    yield from parallel.in_order([delayed(job)(number) for number in range(2)], 2, False)
dataset.simulate_intracardiac = slow
sys.argv[1:] = ["simulate", "intracardiac", "--out", sys.argv[1]]
runpy.run_module("cardiac_ml", run_name="__main__")
"""


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by their numbers")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_however_a_simulation_ends_its_workers_end(tmp_path, sign):
    path = os.pathsep.join(map(str, (Path(cardiac_ml.__file__).parents[1], Path(__file__).parent)))
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path / "out")], text=True, stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    workers = {int(process.stdout.readline()) for _ in range(2)}
    process.send_signal(sign)
    assert process.wait(timeout=60) == (130 if sign == signal.SIGTERM else -9)
    process.stdout.read()  # until no worker holds its other end
    assert process.pid not in workers and bool(list(tmp_path.iterdir())) == (sign == signal.SIGKILL)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("simulate", "pack", "rebuild-heartbeats", "score", "make-challenge"))


@pytest.mark.parametrize("arguments", [["--help"], ["score", "mine.npz"]])
@pytest.mark.parametrize("own", [False, True])
def test_a_python_without_the_packages_says_which_one_has_them(tmp_path, arguments, own):
    shutil.copytree(Path(cardiac_ml.__file__).parent, tmp_path / "cardiac_ml", ignore=shutil.ignore_patterns("*.npz"))
    python = tmp_path / ".venv" / "bin" / "python"
    if own:
        python.parent.mkdir(parents=True)
        python.touch()
    done = subprocess.run([sys.executable, "-I", "-S", "-c", "import sys, runpy; sys.path.insert(0, '.'); "
                           f"sys.argv[1:] = {arguments}; runpy.run_module('cardiac_ml', run_name='__main__')"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "No module named" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert (str(python) if own else "start.py setup") in done.stderr
