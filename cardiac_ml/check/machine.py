"""What plain Python can tell of a machine: Python, environment, packages, settings, disk, memory."""
# Plain old syntax on purpose: an outdated Python must get as far as the row that says so.
import collections
import os
import re
import shutil
import sys
import tempfile

OK, NOTE, FAIL = "ok", "note", "FAIL"  # a note is no fault: something is absent that only some need
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SETUP = "python3 start.py setup"
INSTALL_GB, CACHE_GB, FILES_GB = 2.0, 0.6, 8.0  # packages; virtual hearts of four tasks; published files of tasks 3, 4
LEAST_GB, TASK_4_GB = 2.0, 5.0  # of memory: task 4 on all published files took 4.5
NEEDED = ("", "notebooks")  # groups of packages without which the two main commands do not run
SETTINGS = ("CARDIAC_ML_DATA", "CARDIAC_ML_CACHE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")

Row = collections.namedtuple("Row", "name state found remedy")


def row(name, found, remedy="", state=None):
    """A row is a FAIL if it has a remedy and is not said to be a note."""
    return Row(name, state or (FAIL if remedy else OK), found, remedy)


def rows():
    """All rows, one by one, as they are found."""
    yield python()
    yield environment()
    yield packages()
    yield settings()
    yield disk()
    yield memory()


# ---- Python and its packages ----

def requirements():
    """{group: [(package, range), ...]} of pyproject.toml, "" for what all need; {} where it cannot be read."""
    try:
        import tomllib  # since Python 3.11, the oldest that fits
        with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
            project = tomllib.load(file)["project"]
    except (ImportError, OSError, KeyError, ValueError):
        return {}
    groups = dict(project["optional-dependencies"], **{"": project["dependencies"]})
    return {group: [re.match(r"([\w.-]+)(.*)", line).groups() for line in lines]
            for group, lines in groups.items() if group not in ("book", "dev")}  # which come only when asked for


def version_of(package):
    """The installed version, None where there is none."""
    try:
        from importlib import metadata
        return metadata.version(package)
    except Exception:  # no such package, or a record that a killed pip left half written
        return None


def numbers(version):
    """(2, 13, 0, 0) of "2.13.0+cpu": what versions are compared by."""
    found = [int(number) for number in re.match(r"[\d.]*", version).group().split(".") if number]
    return tuple(found + [0] * (4 - len(found)))


def within(version, bounds):
    """Whether a version lies in a range such as ">=1.26,<3"."""
    compare = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "==": lambda a, b: a == b}
    bounds = re.findall(r"(>=|<|==)([\d.]+)", bounds)
    return all(compare[sign](numbers(version), numbers(bound)) for sign, bound in bounds)


def python(version=sys.version_info, bits=64 if sys.maxsize > 2**32 else 32):
    found = "{}.{}.{}, {} bit, {}".format(version[0], version[1], version[2], bits, sys.executable)
    fits = (3, 11) <= tuple(version[:2]) <= (3, 13) and bits == 64
    return row("Python", found, "" if fits else "The kit needs Python 3.11 to 3.13, 64 bit: https://www.python.org/"
               "downloads/ or uv (uv run --no-project --python 3.12 start.py). Start with that one.")


def environment(root=ROOT):
    """Where the packages of this Python lie, and whether .venv, if there is one, is whole."""
    own = os.path.join(root, ".venv")
    if os.path.realpath(sys.prefix) == os.path.realpath(own):
        return row("environment", "the kit's own, {}".format(own))
    isolated = sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
    if isolated or os.environ.get("COLAB_RELEASE_TAG") or os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return row("environment", "one of yours, {}".format(sys.prefix))
    if version_of("torch"):
        return row("environment", "none: packages of the plain Python {}".format(sys.prefix))
    if not os.path.isdir(own):
        return row("environment", "none yet: this is the plain Python of the machine", SETUP)
    starts = any(os.path.exists(os.path.join(own, *place)) for place in (("bin", "python"), ("Scripts", "python.exe")))
    unfinished = os.path.exists(os.path.join(own, "cardiac_ml_unfinished.txt"))  # as start.py marks it
    if starts and not unfinished and os.path.exists(os.path.join(own, "pyvenv.cfg")):
        return row("environment", "{} is there, but this is another Python".format(own), "{} uses it; if its Python "
                   "no longer starts, that makes it anew".format(SETUP))
    return row("environment", "{} is broken: it has no Python that starts".format(own), "{} makes it anew (if it "
               "refuses, delete that folder first)".format(SETUP))


def packages(groups=None, find=version_of):
    """Every package against the range in pyproject.toml."""
    groups = requirements() if groups is None else groups
    if not groups:
        return row("packages", "not compared: pyproject.toml could not be read", "Start from a clone of the kit, with "
                   "Python 3.11 or newer", NOTE)
    wrong, missing, absent, there = [], [], [], []
    for group, wanted in sorted(groups.items()):
        for name, bounds in wanted:
            version = find(name)
            if version and within(version, bounds):
                there.append((name, version))
            elif group in NEEDED and version:
                wrong.append("{} {} (needs {})".format(name, version, bounds))
            elif group in NEEDED:
                missing.append(name)
            else:
                absent.append("{} ({})".format(name, group))
    if wrong or missing:
        found = wrong + ["missing: {}".format(", ".join(missing))] * bool(missing)
        return row("packages", "; ".join(found), "{} installs them (in an environment of yours: python -m pip "
                   'install -e ".[notebooks]")'.format(SETUP))
    told = ", ".join("{} {}".format(*one) for one in there if one[0] in ("torch", "numpy", "numba", "pandas"))
    found = "{} within their ranges: {}".format(len(there), told)
    return row("packages", found + "; absent or other: {}".format(", ".join(absent)) * bool(absent),
               "only for those parts: {}".format(SETUP) if absent else "", NOTE if absent else OK)


def settings(variables=os.environ):
    """The environment variables that matter here."""
    there = ["{}={}".format(name, variables[name]) for name in SETTINGS if variables.get(name)]
    data = variables.get("CARDIAC_ML_DATA")
    if data and not os.path.isdir(os.path.expanduser(data)):
        return row("settings", "CARDIAC_ML_DATA={}, which is not a folder".format(data), "Correct it or unset it")
    return row("settings", ", ".join(there) or "none")


# ---- disk and memory ----

def cache_folder():
    """As ``files.cache_folder``, which needs numpy."""
    named = os.environ.get("CARDIAC_ML_CACHE")
    at_home = os.path.join(os.path.expanduser("~"), ".cache", "cardiac_ml")
    return os.path.expanduser(named) if named else (
        os.path.join(ROOT, "cache") if os.path.exists(os.path.join(ROOT, "start.py")) else at_home)


def existing(folder):
    """The folder itself, or the nearest one above it that exists."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


def disk(folder=None, usage=shutil.disk_usage, installed=None):
    """Whether the cache can be written, and has room for the hearts of all tasks."""
    folder = folder or cache_folder()
    try:
        with tempfile.TemporaryFile(dir=existing(folder)):
            free = usage(existing(folder)).free / 1e9
    except OSError as error:
        return row("disk", "the cache {} cannot be written ({})".format(folder, error.strerror or error),
                   "Let CARDIAC_ML_CACHE name a folder of your own, or copy the kit to one")
    installed = bool(version_of("torch")) if installed is None else installed
    need = CACHE_GB + (0 if installed else INSTALL_GB)
    found = "{:.1f} GB free for {}; the four tasks need {:.1f}, the published files of tasks 3, 4 {:.0f} more".format(
        free, folder, need, FILES_GB)
    elsewhere = "Free some, or let CARDIAC_ML_CACHE name a folder on another disk"
    return row("disk", found, "" if free >= need else elsewhere)


def memory_gb():
    """(all of it, what is free now), within the limit of a container; None where the system does not tell."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with open("/proc/meminfo") as file:
            free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", file.read()).group(1))
        for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            if os.path.exists(path):
                with open(path) as file:
                    limit = file.read().strip()
                whole = min(whole, int(limit)) if limit.isdigit() else whole
        return whole / 1e9, min(free, whole) / 1e9
    except (OSError, ValueError, AttributeError):
        return None


def memory(gb=memory_gb):
    known = gb()
    if known is None:
        return row("memory", "this system does not tell; the four tasks need {:.0f} GB".format(LEAST_GB))
    found = "{:.1f} GB, {:.1f} of them free; the four tasks need {:.0f}, task 4 on all published files {:.0f}".format(
        known[0], known[1], LEAST_GB, TASK_4_GB)
    if known[1] < LEAST_GB:
        return row("memory", found, "Close other programs and notebooks; on a class server ask for more")
    return row("memory", found)
