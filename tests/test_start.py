"""start.py: what it installs, when it does not, and what it says when something is missing."""
import ast
import http.server
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, stdin=subprocess.DEVNULL)


# --- words ---------------------------------------------------------------------------------------------------------

def test_help_names_every_command_and_an_unknown_option_gets_a_sentence():
    done = run("--help")
    assert done.returncode == 0
    assert all(f"start.py {command} " in done.stdout for command in ("lab", "test", "setup", "book", "--quick"))
    done = run("--quik")
    assert done.returncode == 1 and "--quik means nothing here" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize("name, own", [("start.py", set()), ("cardiac_ml/check/machine.py", {"cardiac_ml"}),
                                       ("cardiac_ml/check/__main__.py", {"cardiac_ml"})])
def test_needs_the_standard_library_only_and_old_syntax(name, own):
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {(getattr(node, "module", None) or name.name).split(".")[0] for node in imports for name in node.names}
    assert imported and imported <= sys.stdlib_module_names | own


@pytest.mark.parametrize("line, meaning", [
    ("", ("run", [], False)), ("1 3 --quick", ("run", ["1", "3"], True)), ("--quick", ("run", [], True)),
    ("run task_2", ("run", ["task_2"], False)),
    ("test", ("test", [], False)), ("test -- -k leads -x", ("test", ["-k", "leads", "-x"], False)),
    ("test -k leads", ("test", ["-k", "leads"], False)),
    ("test tests/test_leads.py -- -x", ("test", ["tests/test_leads.py", "-x"], False)),
    ("lab --no-browser", ("lab", ["--no-browser"], False)),
    ("setup", ("setup", [], False)), ("setup book", ("setup", ["book"], False)), ("book", ("book", [], False)),
    ("score --help", ("kit", ["score", "--help"], False)),
    ("simulate heartbeats --out x", ("kit", ["simulate", "heartbeats", "--out", "x"], False)),
])
def test_arguments(start, line, meaning):
    assert start.read_arguments(line.split()) == meaning


@pytest.mark.parametrize("log, words", [
    ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for x",
     "could not be reached"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
    ("Could not fetch URL: SSLError('CERTIFICATE_VERIFY_FAILED')\nERROR: No matching distribution found", "PIP_CERT"),
    ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: 'x'", "could not be written"),
    ("ERROR: No matching distribution found for torch==2.13.0", "no ready-made package"),
    ("ERROR: Could not find a version that satisfies the requirement tqdm==4.70.1 (from versions: none)", "to log in"),
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

def test_too_old_or_too_new_takes_another_python_or_says_which_ones_fit(start, monkeypatch):
    versions = {"python3.13": None, "python3.12": (3, 12), "py -3.13": None, "py -3.12": (3, 12)}
    monkeypatch.setattr(start, "version_of", lambda command: versions.get(" ".join(command), (3, 9)))
    assert start.find_python() in (["python3.12"], ["py", "-3.12"])
    for version in (3, 10), (3, 14):
        monkeypatch.setattr(start, "version_of", lambda command: version)
        with pytest.raises(start.Stop, match=r"(?s)3\.11 to 3\.13.*python3\.12 start\.py"):
            start.find_python()


def test_missing_venv_module_names_the_package(start, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "ask", lambda python, code: None if "ensurepip" in code else "3 11 True")
    with pytest.raises(start.Stop, match=r"apt install python3\.11-venv"):
        start.make_venv([sys.executable], str(tmp_path / ".venv"), "python")
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(os.name == "nt", reason="the made-up Python is a shell script")
@pytest.mark.parametrize("said, words", [
    ("disk on fire", "disk on fire"), ("ensurepip is not available", "apt install"),
    ("ERROR: [Errno 28] No space left on device\nCalledProcessError", "disk is full.*\nERROR.*device$")])
def test_half_made_environment_is_removed(start, tmp_path, said, words):
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\n[ "$2" = venv ] && mkdir -p "$3/bin" && '
                      f'cp "$0" "$3/bin/python" && exit 0\necho "{said}"; exit 1\n')
    broken.chmod(0o755)
    with pytest.raises(start.Stop, match=words):
        start.make_venv([str(broken)], str(tmp_path / ".venv"), str(tmp_path / ".venv" / "bin" / "python"))
    assert not (tmp_path / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(start, tmp_path):
    """Not even one that has a Python: its packages would go elsewhere."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / "mine.txt").write_text("precious")
    with pytest.raises(start.Stop, match="not a virtual environment"):
        start.own_environment()
    assert (tmp_path / ".venv" / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("where", ["colab", "own", "virtual", "conda", None])
def test_sees_where_it_runs(start, monkeypatch, tmp_path, where):
    prefix = tmp_path / (".venv" if where == "own" else "python")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base") if where in ("own", "virtual") else str(prefix))
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_2026" if where == "colab" else "")
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
    monkeypatch.setattr(start, "as_required", lambda python: False)
    monkeypatch.setattr(start, "need_pip", lambda python: None)
    return calls


@pytest.mark.parametrize("kind, exact", [("own", True), ("virtual", True), ("conda", False), ("colab", False)])
def test_exact_versions_where_nobody_else_chose_and_the_book_when_asked(start, installed, monkeypatch, tmp_path, kind,
                                                                        exact):
    monkeypatch.setattr(start, "environment", lambda: start.Environment(kind, sys.executable, str(tmp_path)))
    monkeypatch.setattr(start, "call", lambda command, **variables: 0)
    for words, books in (["book"], 1), (["setup", "book"], 1), (["setup"], 0):
        installed.clear()
        start.start(words)
        (tmp_path / start.STAMP).unlink()
        assert ("-r" in installed[0]) == exact and (exact or installed[0][1].startswith(f"{tmp_path}[notebooks"))
        asked = [arguments for arguments in installed if arguments[-1].endswith(("[book]", "-book.txt"))]
        assert len(asked) == books and all(arguments[0] == ("-r" if exact else "-e") for arguments in asked)


def test_what_uv_run_has_brought_is_not_installed_again(start, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "make_importable", lambda python: None)
    monkeypatch.setattr(start, "run_pip", lambda *_: pytest.fail("installed again"))
    (tmp_path / "requirements.txt").write_text("# a comment\npytest==0.0.1\n")
    assert not start.as_required(sys.executable)
    (tmp_path / "requirements.txt").write_text(f"# a comment\npytest=={pytest.__version__}\n")
    assert start.as_required(sys.executable)
    start.install(start.Environment("virtual", sys.executable, str(tmp_path)))
    assert (tmp_path / start.STAMP).exists()


@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"]])
def test_the_check_installs_nothing_and_takes_data_from_where_the_user_stands(start, monkeypatch, arguments, tmp_path):
    called = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARDIAC_ML_DATA", "public")
    monkeypatch.setattr(start, "call", lambda command, *folder, **variables: called.append(command) or 0)
    monkeypatch.setattr(start, "environment", lambda: pytest.fail("an environment was made"))
    monkeypatch.setattr(start, "surroundings", lambda: None)
    own = start.own_place()[1]
    monkeypatch.setattr(start, "version_of", lambda python: None)
    assert start.main(arguments) == 0 and os.environ["CARDIAC_ML_DATA"] == str(tmp_path / "public")
    assert called[0][:3] == [sys.executable, "-m", "cardiac_ml.check"]
    monkeypatch.setattr(start, "version_of", lambda python: (3, 12) if python == own else None)
    assert start.main(arguments) == 0 and called[1][0] == own and called[1][3:] == arguments[1:]
    assert not (tmp_path / ".venv").exists()


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


def test_the_commands_of_the_kit_are_known(start):
    from cardiac_ml.__main__ import _parser
    assert set(start.KIT) == set(_parser()._subparsers._group_actions[0].choices)


def wheel(folder, name):
    """A package of one module in a folder of its own, as pip installs it without a network."""
    record = f"{name}-1.dist-info"
    files = {f"{name}/__init__.py": "", f"{record}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
             f"{record}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files[f"{record}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{record}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)


def new_clone(folder):
    """A kit that needs one small package, and the settings with which it installs without a network."""
    (folder / "cardiac_ml").mkdir(parents=True)
    (folder / "tools").mkdir()
    for name in ("start.py", "cardiac_ml/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "cardiac_ml" / "__main__.py").write_text("import sys, os; print(sys.argv[1:], os.getcwd()); sys.exit(7)")
    (folder / "tools" / "notebooks.py").write_text("print('nothing to run')")
    (folder / "pyproject.toml").write_text("")
    (folder / "requirements.txt").write_text("smallpackage==1\n")
    wheel(folder, "smallpackage")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull, "COLAB_RELEASE_TAG": "",
            "PYTHONPATH": ""}


BASE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture
def a_page_to_log_in():
    """A network that answers every question with one."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><form>Your password?</form>")

        def log_message(self, *said):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_new_user_from_nothing_to_ready_and_again(tmp_path, a_page_to_log_in):
    kit = tmp_path / "h\N{LATIN SMALL LETTER A WITH DIAERESIS}rz"
    plain = new_clone(kit) | {"LC_ALL": "C"}
    first = run("setup", folder=kit, python=BASE, **plain)
    assert first.returncode == 0 and "Installing" in first.stdout, first.stdout
    python = kit / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def where(module, **more):
        return subprocess.check_output([python, "-X", "utf8", "-c", f"import {module}; print({module}.__file__)"],
                                       cwd=tmp_path, encoding="utf-8",
                                       env=os.environ | plain | more).strip()
    assert where("cardiac_ml", LC_ALL="C") == where("cardiac_ml", LC_ALL="C.UTF-8") == str(
        kit / "cardiac_ml" / "__init__.py")
    second = run(folder=kit, python=BASE, **plain)
    assert second.returncode == 0 and "Installing" not in second.stdout and "nothing to run" in second.stdout
    kit_command = subprocess.run([BASE, kit / "start.py", "score", "my file"], cwd=tmp_path, env=os.environ | plain,
                                 capture_output=True, text=True)
    assert (kit_command.returncode, kit_command.stdout) == (7, f"['score', 'my file'] {tmp_path}\n")

    package = Path(where("smallpackage")).parent
    shutil.rmtree(package)  # by hand
    mended = run("setup", folder=kit, python=BASE, **plain)
    assert "No longer whole" in mended.stdout and "smallpackage" in mended.stdout and package.exists(), mended.stdout
    record = package.parent / "smallpackage-1.dist-info"
    (record / "INSTALLER").unlink()  # where a killed pip has got to
    (kit / ".venv" / "cardiac_ml_installed.txt").unlink()
    (package / "__init__.py").unlink()
    assert run("setup", folder=kit, python=BASE, **plain).returncode == 0 and (package / "__init__.py").exists()

    shutil.rmtree(package.parent / "pip" / "_vendor")  # where an older start was interrupted
    healed = run("setup", folder=kit, python=BASE, **plain)
    assert healed.returncode == 0 and package.exists(), healed.stdout
    (kit / "requirements.txt").write_text("hypothesis==1\n")
    index = f"http://127.0.0.1:{a_page_to_log_in.server_port}"
    lacking = run(folder=kit, python=BASE, **plain | {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": index})
    assert lacking.returncode == 1 and "a page to log in" in lacking.stdout and "Traceback" not in lacking.stdout
    assert "hypothesis==1" in lacking.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals are sent differently there")
def test_killed_at_any_moment_the_next_start_goes_on_by_itself(tmp_path):
    """Also while others start: one makes the environment, all find it."""
    from tools.kill_tests import starter
    assert starter(tmp_path, kills=2, starts=3, seed=1) == []


def test_a_folder_goes_even_while_something_still_writes_into_it(start, tmp_path, monkeypatch):
    folder, remove, calls = tmp_path / "setuptools", shutil.rmtree, []

    def remove_late(path):
        """Somebody writes between looking into the folder and removing it."""
        calls.append(path)
        if len(calls) < 4:
            raise OSError(39, "Directory not empty", str(path))
        remove(path)

    folder.mkdir()
    monkeypatch.setattr(start.shutil, "rmtree", remove_late)
    start.clear(str(folder))
    assert not folder.exists() and len(calls) == 4
    start.clear(str(folder))                        # gone already
    folder.mkdir()
    calls.clear()
    monkeypatch.setattr(start.time, "time", iter([0, 1, 6]).__next__)
    with pytest.raises(OSError, match="not empty"):
        start.clear(str(folder))                    # never


# --- the two lists of requirements ---------------------------------------------------------------------------------

def test_exact_versions_lie_in_the_ranges():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    ranges = {need.name: need.specifier for group in groups for need in map(Requirement, group)}
    ranges.pop("cardiac-ml")
    lines = [line.split("#")[0].strip() for name in ("requirements.txt", "requirements-book.txt")
             for line in (ROOT / name).read_text().splitlines()]
    exact = {need.name: str(need.specifier) for need in map(Requirement, filter(None, lines))}
    assert set(exact) == set(ranges)
    assert exact["torch"] == "==2.13.0"
    assert not [name for name, version in exact.items() if not ranges[name].contains(version.removeprefix("=="))]


def test_conda_gets_the_same_ranges():
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in ("notebooks", "lab"))]
    lines = re.findall(r"^  - (.+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    assert sorted(line.replace("pytorch", "torch") for line in lines) == sorted(
        [f"python{PROJECT['requires-python']}", "pip", *(need for group in groups for need in group)])


def test_containers_start_what_is_there(start):
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    for command in container["postCreateCommand"].split(" && "):
        python, script, word = command.split()
        assert (ROOT / script).exists() and (word in start.COMMANDS or word in start.KIT)
    assert all((ROOT / name).exists() for name in container["customizations"]["codespaces"]["openFiles"])
    needed = (ROOT / ".binder" / "requirements.txt").read_text().split()
    assert start.TORCH_CPU in needed and (ROOT / ".binder" / needed[needed.index("-r") + 1]).resolve() == (
        ROOT / "requirements.txt")
    major, minor = (ROOT / ".binder" / "runtime.txt").read_text().removeprefix("python-").split(".")
    assert start.supported((int(major), int(minor))) and os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_supported_pythons_are_said_once(start):
    wanted = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(8, 18) if f"3.{minor}" in wanted] == [
        minor for minor in range(8, 18) if start.supported((3, minor))]
