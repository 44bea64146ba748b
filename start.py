"""Set up the kit and run it, with nothing but Python.

    python3 start.py                 run the four task notebooks and show their scores
    python3 start.py 1 3             run some of them: by number, by name, or "tutorials"
    python3 start.py --quick         the same on tiny settings: does everything work? (scores mean nothing)
    python3 start.py lab             open JupyterLab on the notebooks
    python3 start.py test            run the tests; options for pytest go after --:  start.py test -- -k leads
    python3 start.py book            the notebooks, the tutorials and a page for each helper, as pages in runs/book/
    python3 start.py setup           only install; "setup book" also what the book needs
    python3 start.py check           is all as it should be? one screen, installs nothing (--json for a bug report)
    python3 start.py score FILE      a command of the kit, as python -m cardiac_ml would run it: score, download,
                                     simulate, make-challenge, submit-template, ... (--help after it)

On Windows write py in place of python3. The first call makes the folder .venv and installs the packages of
requirements.txt into it (about 2 GB, a few minutes); later calls start at once. Inside a virtual environment, conda
or Google Colab, that one is used and no .venv is made. Executed notebooks and web pages of them go to runs/.
The data are real where ecg_dataset/ or intracardiac_dataset/ is in this folder, and virtual hearts elsewhere.
"""
# Plain old syntax on purpose: an outdated Python must get as far as the message that says so.
from __future__ import print_function
import ast
import collections
import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
OLDEST, NEWEST = (3, 11), (3, 13)  # what the exact versions in requirements.txt come for
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
STAMP = "cardiac_ml_installed.txt"  # in the environment: what was installed there, written only after success
UNFINISHED = "cardiac_ml_unfinished.txt"  # in .venv: from before it is made until its pip works
COMMANDS = ("run", "test", "lab", "setup", "book")
KIT = ("simulate", "pack", "rebuild-heartbeats", "submit-template", "check", "score", "make-challenge", "export-bundle",
       "lead-importance", "predict", "download")
UTF8 = dict(PYTHONUTF8="1")  # for every Python started from here: paths and output are the same in any locale
Environment = collections.namedtuple("Environment", "kind python folder")  # kind: own, virtual, conda, colab


class Stop(Exception):
    """Something the user has to put right; the message says what and how."""


def dotted(version):
    return ".".join(str(number) for number in version[:2])


THIS = "This is Python {}{}".format(dotted(sys.version_info), "" if sys.maxsize > 2**32 else " for 32 bit")


def supported(version):
    return OLDEST <= tuple(version[:2]) <= NEWEST


def output(command):
    """(exit status, everything it printed)"""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                              errors="replace", env=dict(os.environ, **UTF8), close_fds=os.name == "nt")
    except OSError as error:
        return 1, str(error)
    return done.returncode, done.stdout.strip()


def ask(python, code):
    """The last line that ``code`` prints when this Python runs it, or None where that fails."""
    status, text = output(([python] if isinstance(python, str) else python) + ["-c", code])
    return None if status else "".join(text.splitlines()[-1:])


def version_of(python):
    """(3, 12), or None where it does not start. A 32-bit Python counts as none: nothing here is built for it."""
    told = ask(python, "import sys; print(*sys.version_info[:2], sys.maxsize > 2**32)")
    numbers = told.split() if told else []
    return (int(numbers[0]), int(numbers[1])) if numbers[2:] == ["True"] else None


def find_python():
    """The Python to make .venv from: the one that runs this file, else another one of this machine that is right."""
    others = [["python3.13"], ["python3.12"], ["python3.11"]]
    if os.name == "nt":
        others = [["py", "-3.13"], ["py", "-3.12"], ["py", "-3.11"]]
    for command in [[sys.executable]] + others:
        version = version_of(command)
        if version and supported(version):
            if command != [sys.executable]:
                print("{} does not fit; using {}.".format(THIS, " ".join(command)), flush=True)
            return command
    raise Stop(wrong_python("{}, and no other one was found.".format(THIS)))


def wrong_python(found):
    return ("{} The kit needs Python {} to {}, 64 bit.\n"
            "Install one (https://www.python.org/downloads/, or: sudo apt install python3.12 python3.12-venv, "
            "brew install python@3.12, winget install Python.Python.3.12), then start again with it, "
            "for example: python3.12 start.py".format(found, dotted(OLDEST), dotted(NEWEST)))


def surroundings():
    """"colab" (or Kaggle's like), "own", "virtual" or "conda" if this file runs inside such an environment, or None."""
    if os.environ.get("COLAB_RELEASE_TAG") or os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "colab"
    if os.path.realpath(sys.prefix) == os.path.realpath(os.path.join(ROOT, ".venv")):
        return "own"
    if sys.prefix != getattr(sys, "base_prefix", sys.prefix) or hasattr(sys, "real_prefix"):
        return "virtual"
    return "conda" if os.path.isdir(os.path.join(sys.prefix, "conda-meta")) else None


def environment():
    kind = surroundings()
    if kind is None or kind == "own":
        return own_environment()
    if not (supported(sys.version_info) and sys.maxsize > 2**32):
        raise Stop(wrong_python("{}, in the {} environment {}. Leave that (deactivate, or conda deactivate) and start "
                                "again, or make one that fits.".format(THIS, kind, sys.prefix)))
    return Environment(kind, sys.executable, sys.prefix)


def own_place():
    """(.venv beside this file, the Python in it), whether they exist or not"""
    folder = os.path.join(ROOT, ".venv")
    return folder, os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def own_environment():
    """.venv beside this file, made if there is none that works."""
    folder, python = own_place()
    known = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
    unfinished = os.path.exists(os.path.join(folder, UNFINISHED))
    if os.path.isdir(folder) and os.listdir(folder) and not (known or unfinished):
        raise Stop("{} is not a virtual environment, yet not empty. Rename it and start again.".format(folder))
    version = version_of(python) if known and not unfinished else None
    if version and not supported(version):
        raise Stop("{} has Python {}; the kit needs {} to {}. Delete or rename that folder and start again.".format(
            folder, dotted(version), dotted(OLDEST), dotted(NEWEST)))
    if version is None or not (is_inside(python, folder) and has_pip(python, try_to_get_it=True)):
        make_venv(find_python(), folder, python)
    return Environment("own", python, folder)


def is_inside(python, folder):
    """Whether what this Python installs goes into that folder."""
    prefix = ask(python, "import sys; print(ascii(sys.prefix))")  # ascii: whatever its console can show
    return prefix is not None and os.path.realpath(ast.literal_eval(prefix)) == os.path.realpath(folder)


def make_venv(base, folder, python):
    """The mark in it says for as long as it is being made that it is not whole, whatever ends this process."""
    print("Making the virtual environment {} ...".format(folder), flush=True)
    if ask(base, "import ensurepip, venv") is None:
        raise Stop(no_venv(base))
    os.makedirs(folder, exist_ok=True)
    mark = os.path.join(folder, UNFINISHED)
    write(mark, "Made by start.py, and not whole yet: the next start makes it anew.\n")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if path != mark:
            clear(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
    status, text = output(base + ["-m", "venv", folder, "--without-pip"])
    if status == 0:  # by itself, venv would hide why this failed
        status, text = output([python, "-I", "-m", "ensurepip", "--upgrade", "--default-pip"])
    if status or not is_inside(python, folder) or not has_pip(python):
        shutil.rmtree(folder, ignore_errors=True)
        if "ensurepip is not available" in text:
            raise Stop(no_venv(base))
        raise Stop("{} could not be made. {}\n{}".format(folder, reason_in(text) or "", "\n".join(gist(text))))
    os.remove(mark)


def clear(folder):
    """Remove a folder into which what a killed start had begun may still write for a moment."""
    last = time.time() + 5
    while os.path.exists(folder):
        try:
            shutil.rmtree(folder)
        except OSError:
            if time.time() > last:
                raise
            time.sleep(0.1)


def no_venv(base):
    version = dotted(version_of(base) or sys.version_info)
    return ("This Python ({}) cannot make virtual environments: its parts venv and ensurepip are missing.\n"
            "On Debian and Ubuntu they are a package of their own: sudo apt install python{}-venv\n"
            "Elsewhere install Python from https://www.python.org/downloads/. Then start again.".format(
                " ".join(base), version))


def fingerprint():
    """Changes with the requirements and with the place of this folder. An environment has its own Python version."""
    digest = hashlib.sha256(os.fsencode(ROOT))
    for name in ("requirements.txt", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def install(target):
    """Install the requirements, unless the stamp says that just these are there already, and they still are."""
    stamp = os.path.join(target.folder, STAMP)
    wanted = "{} python {}".format(fingerprint(), dotted(version_of(target.python) or (0, 0)))
    told = (read(stamp) or "").splitlines()
    whole, broken = packages(target.python)
    mine = target.kind in ("own", "virtual")  # conda and Colab look after their packages themselves
    gone = set(told[1:]) - {name for name, _ in whole} if mine else set()
    if told[:1] == [wanted] and not gone:
        return
    if told[:1] == [wanted]:
        print("No longer whole in {}: {}".format(target.folder, ", ".join(sorted(gone))), flush=True)
    if os.path.exists(stamp):
        os.remove(stamp)
    for name, record in broken:
        if target.kind == "own" or name in gone:
            shutil.rmtree(record, ignore_errors=True)  # else pip would take that package for installed
    if target.kind == "virtual" and not (gone or broken) and as_required(target.python):  # by uv run
        make_importable(target.python)
        write(stamp, wanted + "\n")
        return
    need_pip(target.python)
    print("Installing the packages into {} (once; a few minutes) ...".format(target.folder), flush=True)
    log = os.path.join(ROOT, "runs", "install.log")
    if mine:
        torch_for_cpu(target.python, log)
        status = run_pip(target.python, ["--only-binary=:all:", "-r", os.path.join(ROOT, "requirements.txt")], log)
    else:  # others chose these versions: take what fits the ranges, move nothing else
        extras = "notebooks,records,xray,test" + ("" if target.kind == "colab" else ",lab")
        status = run_pip(target.python, ["-e", "{}[{}]".format(ROOT, extras)], log)
    if status:
        raise Stop(why_pip_failed(read(log) or "", log))
    if mine:
        make_importable(target.python)
    write(stamp, "\n".join([wanted] + [name for name, _ in packages(target.python)[0]]) + "\n")


def as_required(python):
    """Whether the exact versions of requirements.txt are there already."""
    wanted = re.findall(r"^([\w-]+)==(\S+)", read(os.path.join(ROOT, "requirements.txt")) or "", re.MULTILINE)
    told = ask(python, "from importlib.metadata import version; print(all(version(name).split('+')[0] == wanted "
                       "for name, wanted in {}))".format(wanted))
    return bool(wanted) and told == "True"


def install_book(target):
    """What builds the book, small beside the rest and asked for by name: pip looks each time, in a second."""
    print("Looking for the packages of the book ...", flush=True)
    need_pip(target.python)
    log = os.path.join(ROOT, "runs", "install.log")
    chosen_here = target.kind in ("own", "virtual")
    if run_pip(target.python, ["-r", os.path.join(ROOT, "requirements-book.txt")] if chosen_here else
               ["-e", "{}[book]".format(ROOT)], log):
        raise Stop(why_pip_failed(read(log) or "", log))


def packages(python):
    """(whole, broken): the packages there as (name, folder of its record). A killed pip and a folder deleted by hand
    leave broken ones: pip writes INSTALLER last, and RECORD names the files."""
    told = ask(python, """if True:
        import os, sysconfig
        site, found = sysconfig.get_paths()["purelib"], ([], [])
        for name in sorted(os.listdir(site)):
            record = os.path.join(site, name)
            if name.endswith(".dist-info"):
                try:
                    with open(os.path.join(record, "RECORD"), encoding="utf-8") as file:
                        tops = {line.split(",")[0].split("/")[0].strip('"') for line in file}
                    whole = os.path.exists(os.path.join(record, "INSTALLER")) and all(
                        os.path.exists(os.path.join(site, top)) for top in tops - {"", "..", "__pycache__"})
                except OSError:
                    whole = False
                found[not whole].append((name.split("-")[0], record))
        print(ascii(found))""")
    return ast.literal_eval(told) if told else ([], [])


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def has_pip(python, try_to_get_it=False):
    """Whether its pip works. A virtual environment made by uv has none; that may be mended."""
    works = output([python, "-m", "pip", "--version"])[0] == 0
    if not works and try_to_get_it:
        ask(python, "import ensurepip; ensurepip.bootstrap()")
        works = has_pip(python)
    return works


def need_pip(python):
    if not has_pip(python, try_to_get_it=True):
        raise Stop("{} has no pip. Install it there (uv pip install pip, conda install pip), or delete that "
                   "environment and start again.".format(python))


@contextlib.contextmanager
def one_at_a_time():
    """Only one start makes and fills an environment; others wait. The programs it starts hold the lock as well, so
    that a pip that outlives a killed start is waited for too."""
    os.makedirs(os.path.join(ROOT, "runs"), exist_ok=True)
    with open(os.path.join(ROOT, "runs", "start.lock"), "a") as file:
        os.set_inheritable(file.fileno(), True)
        if not locked(file):
            print("Another start is installing; waiting for it ...", flush=True)
            while not locked(file):
                time.sleep(0.2)
        yield


def locked(file):
    """Whether the lock on this file is ours now. It goes with the last process that holds the file open."""
    try:
        if os.name == "nt":
            import msvcrt
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make_importable(python):
    """``import cardiac_ml`` works in every notebook of this environment, wherever it is opened."""
    folder = ast.literal_eval(ask(python, "import sysconfig; print(ascii(sysconfig.get_paths()['purelib']))"))
    # A line that starts with import is run. Unlike a plain path, it is ASCII, as which some locales read this file.
    write(os.path.join(folder, "cardiac_ml.pth"), "import sys; sys.path.append({})\n".format(ascii(ROOT)))


def torch_for_cpu(python, log):
    """Without an NVIDIA card, take PyTorch's own 0.2 GB build for Linux: the package index has the 3 GB one for GPUs.

    Only a saving: where it does not work, the next step installs from the package index.
    """
    gpu = shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia/version")
    if gpu or platform.system() != "Linux" or platform.machine() != "x86_64" or pip_is_configured(python):
        return
    wanted = [line for line in read(os.path.join(ROOT, "requirements.txt")).split() if line.startswith("torch==")]
    if wanted:
        print("No NVIDIA GPU here: trying for the small build of PyTorch.", flush=True)
        run_pip(python, ["--no-deps", "--retries", "1", "--timeout", "15", "--index-url", TORCH_CPU] + wanted, log)


def pip_is_configured(python):
    """Whether somebody told pip where to look (a mirror, a folder of wheels): then nothing else is asked."""
    told = output([python, "-m", "pip", "config", "list"])[1].lower().replace("_", "-")
    return any(place in told for place in ("index-url", "find-links", "no-index"))


def run_pip(python, arguments, log):
    """pip install, with a line for each large download and everything else in the log. Returns its exit status."""
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    process = subprocess.Popen(command + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                               errors="replace", env=dict(os.environ, PYTHONUNBUFFERED="1", **UTF8),
                               close_fds=os.name == "nt")
    with open(log, "w", encoding="utf-8") as file:
        for line in process.stdout:
            file.write(line)
            show(line)
    return process.wait()


def show(line):
    large = re.match(r"\s*Downloading \S*?([^/\s]+?)-\d\S* \(((\d+)\S* (?:MB|GB))\)", line)
    if large and ("GB" in large.group(2) or int(large.group(3)) >= 5):
        print("  downloading {} ({})".format(large.group(1), large.group(2)), flush=True)
    elif line.startswith("Installing collected packages"):
        print("  unpacking {} packages".format(line.count(",") + 1), flush=True)
    elif "Retrying" in line:
        print("  no answer from the package index, trying again", flush=True)


REASONS = (
    ("No space left|Errno 28|not enough space",
     "The disk is full. The packages need about 2 GB (7 GB with the GPU build of PyTorch)."),
    ("CERTIFICATE_VERIFY_FAILED|SSLError",
     "The connection to the package index is not trusted. Behind a company or school proxy, let PIP_CERT name its "
     "certificate file; on macOS run 'Install Certificates.command' of your Python."),
    ("NewConnectionError|NameResolution|name resolution|getaddrinfo|unreachable|ConnectTimeout|ReadTimeout|timed out|"
     "Connection refused|Connection reset|Connection aborted|ProxyError|IncompleteRead",
     "The package index could not be reached. Check the network (a proxy is set with HTTPS_PROXY) and start again: "
     "what was downloaded is kept."),
    ("Permission denied|Access is denied|Errno 13",
     "A file could not be written. Close programs that use this environment (Jupyter, an editor), or copy the kit to "
     "a folder of your own."),
    (r"requirement (hypothesis|ipykernel|ipywidgets|joblib|jupytext|tqdm)\b.*from versions: none",
     "The package index answered, but not with packages: perhaps a page to log in to this network (open any web page "
     "and see), or a mirror that lacks them (python3 -m pip config list names it)."),
    ("No matching distribution|Could not find a version",
     "There is no ready-made package for this machine and Python. PyTorch comes for 64-bit Linux, Windows and for "
     "Macs with Apple chips; on others (Intel Macs, Alpine) use Google Colab."),
)


def reason_in(text):
    return next((advice for pattern, advice in REASONS if re.search(pattern, text)), None)


def why_pip_failed(text, log):
    reason = reason_in(text) or "pip could not install them."
    return "The packages are not installed. {}\npip said: {}\nAll it said is in {}".format(
        reason, "\n          ".join(gist(text)), log)


def gist(text):
    """The last errors in what pip said, or its last lines."""
    return ([line.strip() for line in text.splitlines() if line.startswith("ERROR")] or text.strip().splitlines())[-3:]


def call(command, folder=None, **variables):
    """Become this program, in ``folder`` (this one); so whoever interrupts or ends it, ends just it. Windows cannot."""
    os.chdir(folder or ROOT)
    variables = dict(os.environ, **dict(UTF8, **variables))
    if os.name != "nt":
        os.execvpe(command[0], command, variables)
    process = subprocess.Popen(command, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the program gets it too
            continue


def run_tests(python, arguments):
    workers = str(min(os.cpu_count() or 1, 8))  # more would only compete for memory: each worker loads torch
    print("Running the tests ...", flush=True)
    return call([python, "-m", "pytest", "-n", workers, "--dist", "loadfile", "--no-loadscope-reorder"] + arguments,
                OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg")


def open_lab(target, arguments):
    if target.kind == "colab":
        raise Stop("Colab is a notebook server already: open notebooks/task_1_getting_started.ipynb in it.")
    first = os.path.join("notebooks", "task_1_getting_started.ipynb")
    page = [first] if os.path.exists(os.path.join(ROOT, first)) else []
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    print("Opening JupyterLab; stop it with Ctrl-C.", flush=True)
    return call([target.python, "-m", "jupyterlab"] + root + page + arguments)


def read_arguments(arguments):
    """(command, what follows it, quick)"""
    if arguments and arguments[0] in KIT:
        return "kit", arguments, False
    if set(arguments) & {"-h", "--help", "help"}:
        print(__doc__)
        sys.exit(0)
    command = arguments[0] if arguments and arguments[0] in COMMANDS else "run"
    further = arguments[1:] if arguments and arguments[0] in COMMANDS else arguments
    if command in ("test", "lab"):
        cut = further.index("--") if "--" in further else len(further)
        return command, further[:cut] + further[cut + 1:], False
    unknown = [word for word in further if word.startswith("-") and word != "--quick"]
    if unknown or command == "setup" and further not in ([], ["book"]) or command == "book" and further:
        raise Stop("{} means nothing here. python3 start.py --help tells what does.".format((unknown or further)[0]))
    return command, [word for word in further if word != "--quick"], "--quick" in further


def with_kit():
    """The variable with which any Python finds the kit."""
    return dict(PYTHONPATH=os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")])))


def check(arguments):
    """Look, and install nothing: with the Python of .venv where it starts, else with this one."""
    python = own_place()[1]
    if surroundings() is not None or version_of(python) is None:
        python = sys.executable
    return call([python, "-m", "cardiac_ml.check"] + arguments, os.getcwd(), **with_kit())


def start(arguments):
    command, further, quick = read_arguments(arguments)
    if os.environ.get("CARDIAC_ML_DATA"):  # as seen from here: notebooks run in folders of their own
        os.environ["CARDIAC_ML_DATA"] = os.path.abspath(os.path.expanduser(os.environ["CARDIAC_ML_DATA"]))
    if further in (["check"], ["check", "--json"]):
        return check(further[1:])
    with one_at_a_time():
        target = environment()
        install(target)
        if "book" in [command] + further * (command == "setup"):
            install_book(target)
    if command == "kit":
        # In the folder of the user: names of files are meant from there.
        return call([target.python, "-m", "cardiac_ml"] + further, os.getcwd(), **with_kit())
    print("Python {} in {} is ready.".format(dotted(version_of(target.python) or ()), target.folder), flush=True)
    if command == "test":
        return run_tests(target.python, further)
    if command == "lab":
        return open_lab(target, further)
    if command == "setup":
        return 0
    if command == "book":
        return call([target.python, "-m", "tools.book"])
    return call([target.python, "-m", "tools.notebooks", "run"] + ["--quick"] * quick + further)


def main(arguments):
    try:
        return start(arguments)
    except Stop as stop:
        print("\n{}".format(stop), file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        print("\nA file could not be read or written: {}".format(error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    if sys.version_info < (3, 6):
        sys.exit("This is Python {}. Start with Python 3: python3 start.py".format(dotted(sys.version_info)))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a folder may have a name that this console cannot show
    sys.exit(main(sys.argv[1:]))
