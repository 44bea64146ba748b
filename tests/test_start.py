"""start.py: what it installs, when it does not, and what it says when something is missing."""
import ast
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def start(monkeypatch, tmp_path):
    """The module, living in an empty folder."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    return module


def run(*arguments, folder=ROOT, python=sys.executable, **variables):
    return subprocess.run([python, "start.py", *arguments], cwd=folder, env=os.environ | variables, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, stdin=subprocess.DEVNULL)


# --- words ---------------------------------------------------------------------------------------------------------

def test_help_names_every_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(f"start.py {command} " in done.stdout for command in ("lab", "test", "setup", "--quick"))


def test_unknown_option_gets_a_sentence():
    done = run("--quik")
    assert done.returncode == 1 and "--quik means nothing here" in done.stdout and "Traceback" not in done.stdout


def test_needs_the_standard_library_only_and_old_syntax():
    tree = ast.parse((ROOT / "start.py").read_text(), feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {getattr(node, "module", None) or name.name for node in imports for name in node.names}
    assert imported and imported <= sys.stdlib_module_names


@pytest.mark.parametrize("arguments, meaning", [
    ([], ("run", [], False)),
    (["1", "3", "--quick"], ("run", ["1", "3"], True)),
    (["--quick"], ("run", [], True)),
    (["run", "task_2"], ("run", ["task_2"], False)),
    (["test"], ("test", [], False)),
    (["test", "--", "-k", "leads", "-x"], ("test", ["-k", "leads", "-x"], False)),
    (["test", "-k", "leads"], ("test", ["-k", "leads"], False)),
    (["test", "tests/test_leads.py", "--", "-x"], ("test", ["tests/test_leads.py", "-x"], False)),
    (["lab", "--no-browser"], ("lab", ["--no-browser"], False)),
    (["setup"], ("setup", [], False)),
])
def test_arguments(start, arguments, meaning):
    assert start.read_arguments(arguments) == meaning


@pytest.mark.parametrize("log, words", [
    ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for x",
     "could not be reached"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
    ("Could not fetch URL: SSLError('CERTIFICATE_VERIFY_FAILED')\nERROR: No matching distribution found", "PIP_CERT"),
    ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: 'x'", "could not be written"),
    ("ERROR: No matching distribution found for torch==2.13.0", "no ready-made package"),
    ("ERROR: something else", "something else"),
])
def test_reasons_why_pip_failed(start, log, words):
    message = start.why_pip_failed(log, "runs/install.log")
    assert words in message and "runs/install.log" in message


def test_an_unwritable_folder_is_no_traceback(start, monkeypatch, capsys):
    def refuse(_):
        raise PermissionError(13, "Permission denied", "/kit/.venv")
    monkeypatch.setattr(start, "start", refuse)
    assert start.main([]) == 1
    assert "/kit/.venv" in capsys.readouterr().err


# --- which Python --------------------------------------------------------------------------------------------------

def test_too_old_or_too_new_takes_another_python(start, monkeypatch):
    versions = {"python3.13": None, "python3.12": (3, 12), "py -3.13": None, "py -3.12": (3, 12)}
    monkeypatch.setattr(start, "version_of", lambda command: versions.get(" ".join(command), (3, 9)))
    assert start.find_python() in (["python3.12"], ["py", "-3.12"])


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_no_fitting_python_says_which_ones_do(start, monkeypatch, version):
    monkeypatch.setattr(start, "version_of", lambda command: version)
    with pytest.raises(start.Stop, match=r"(?s)3\.11 to 3\.13.*python3\.12 start\.py"):
        start.find_python()


def test_missing_venv_module_names_the_package(start, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "ask", lambda python, code: None if "ensurepip" in code else "3 11 True")
    with pytest.raises(start.Stop, match=r"apt install python3\.11-venv"):
        start.make_venv([sys.executable], str(tmp_path / ".venv"))
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(os.name == "nt", reason="the made-up Python is a shell script")
def test_half_made_environment_is_removed(start, tmp_path):
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p "$4/bin"; echo "disk on fire"; exit 1\n')
    broken.chmod(0o755)
    with pytest.raises(start.Stop, match="disk on fire"):
        start.make_venv([str(broken)], str(tmp_path / ".venv"))
    assert not (tmp_path / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(start, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine.txt").write_text("precious")
    with pytest.raises(start.Stop, match="not a virtual environment"):
        start.own_environment()
    assert (tmp_path / ".venv" / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("where", ["colab", "own", "virtual", "conda", None])
def test_sees_where_it_runs(start, monkeypatch, tmp_path, where):
    prefix = tmp_path / (".venv" if where == "own" else "python")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base") if where in ("own", "virtual") else str(prefix))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    if where == "colab":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_2026")
    if where == "conda":
        (prefix / "conda-meta").mkdir(parents=True)
    assert start.surroundings() == where


def test_unfit_virtual_environment_says_to_leave_it(start, monkeypatch):
    monkeypatch.setattr(start, "surroundings", lambda: "virtual")
    monkeypatch.setattr(start, "supported", lambda version: False)
    with pytest.raises(start.Stop, match="deactivate"):
        start.environment()


# --- installing ----------------------------------------------------------------------------------------------------

@pytest.fixture
def installed(start, monkeypatch, tmp_path):
    """Lists of arguments that pip would have got."""
    calls = []
    monkeypatch.setattr(start, "run_pip", lambda python, arguments, log: calls.append(arguments) or 0)
    monkeypatch.setattr(start, "make_importable", lambda python: None)
    monkeypatch.setattr(start, "torch_for_cpu", lambda python, log: None)
    return calls


@pytest.mark.parametrize("kind, exact", [("own", True), ("virtual", True), ("conda", False), ("colab", False)])
def test_exact_versions_only_where_nobody_else_chose(start, installed, tmp_path, kind, exact):
    start.install(start.Environment(kind, sys.executable, str(tmp_path)))
    assert ("-r" in installed[0]) == exact
    assert exact or installed[0][1].startswith(str(tmp_path) + "[notebooks")


def test_stamp_only_after_success_and_for_these_requirements(start, installed, monkeypatch, tmp_path):
    target = start.Environment("own", sys.executable, str(tmp_path))
    start.install(target)
    start.install(target)
    assert len(installed) == 1
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\n")
    monkeypatch.setattr(start, "run_pip", lambda python, arguments, log: 1)
    with pytest.raises(start.Stop):
        start.install(target)
    assert not (tmp_path / start.STAMP).exists()


@pytest.mark.parametrize("gpu, configured, asks", [(False, False, True), (True, False, False), (False, True, False)])
def test_small_torch_only_without_gpu_and_with_plain_pip(start, monkeypatch, gpu, configured, asks):
    calls = []
    monkeypatch.setattr(start, "run_pip", lambda python, arguments, log: calls.append(arguments) or 1)
    monkeypatch.setattr(start, "pip_is_configured", lambda python: configured)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi" if gpu else None)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    start.torch_for_cpu(sys.executable, "log")
    assert bool(calls) == asks
    assert not asks or calls[0][-2:] == [start.TORCH_CPU, "torch==2.13.0"]


def test_tests_run_side_by_side_on_one_thread_each(start, monkeypatch):
    seen = {}
    monkeypatch.setattr(start, "call", lambda command, **variables: seen.update(variables, command=command) or 0)
    start.run_tests("python", ["-k", "leads"])
    assert seen["command"][-2:] == ["-k", "leads"] and seen["OMP_NUM_THREADS"] == "1"
    assert 1 <= int(seen["command"][seen["command"].index("-n") + 1]) <= 8


def test_exit_status_is_passed_on(start):
    assert start.call([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_a_new_user_from_nothing_to_ready_and_again(tmp_path):
    """With requirements that need no network: environment, import from anywhere, then no second installation."""
    shutil.copy(ROOT / "start.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "requirements.txt").write_text("# none\n")
    (tmp_path / "cardiac_ml").mkdir()
    for name in ("__init__.py", "files.py", "notebooks.py", "notebook_execution.py"):
        shutil.copy(ROOT / "cardiac_ml" / name, tmp_path / "cardiac_ml")
    base = getattr(sys, "_base_executable", sys.executable)
    plain = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "COLAB_RELEASE_TAG": ""}
    first = run("setup", folder=tmp_path, python=base, **plain)
    assert first.returncode == 0 and "Installing" in first.stdout, first.stdout
    python = tmp_path / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    where = subprocess.check_output([python, "-c", "import cardiac_ml; print(cardiac_ml.__file__)"],
                                    cwd=tmp_path.parent, text=True)
    assert where.strip() == str(tmp_path / "cardiac_ml" / "__init__.py")
    started = time.monotonic()
    second = run(folder=tmp_path, python=base, **plain)
    assert second.returncode == 0 and "Installing" not in second.stdout and "nothing to run" in second.stdout
    assert time.monotonic() - started < 3
    (tmp_path / "requirements.txt").write_text("cardiac-ml-made-up==1\n")
    third = run(folder=tmp_path, python=base, **plain)
    assert third.returncode == 1 and "cardiac-ml-made-up==1" in third.stdout and "Traceback" not in third.stdout


# --- the two lists of requirements ---------------------------------------------------------------------------------

def test_exact_versions_lie_in_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    ranges = {need.name: need.specifier for group in groups for need in map(Requirement, group)}
    ranges.pop("cardiac-ml")
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    exact = {need.name: str(need.specifier) for need in map(Requirement, filter(None, lines))}
    assert set(exact) == set(ranges)
    assert exact["torch"] == "==2.13.0"
    wrong = [name for name, version in exact.items() if not ranges[name].contains(version.removeprefix("=="))]
    assert wrong == []


def test_supported_pythons_are_said_once(start):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = Requirement(f"python{project['requires-python']}").specifier
    assert [minor for minor in range(8, 18) if f"3.{minor}" in wanted] == [
        minor for minor in range(8, 18) if start.supported((3, minor))]
