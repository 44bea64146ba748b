"""Where data lie, and how files are written so that a killed process never leaves half of one."""
import hashlib
import json
import os
import shutil
import tempfile
import time
import tokenize
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent  # the repository, when the kit is used from a clone
_unchanged = set()  # sealed folders whose checksums this process has compared


class DataError(ValueError):
    """Something is wrong with the data. The message says what was found, where, and what to do next."""


class Split(NamedTuple):
    """Row numbers to train on, to choose with and to test on, each in increasing order; any may be empty."""
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def cache_folder() -> Path:
    """The folder for everything that can be made again: packed files, virtual hearts.

    ``CARDIAC_ML_CACHE`` if set, else ``cache/`` in a clone of the repository, else ``~/.cache/cardiac_ml``.
    """
    if named := os.environ.get("CARDIAC_ML_CACHE"):
        return Path(named).expanduser()
    return ROOT / "cache" if (ROOT / "start.py").exists() else Path.home() / ".cache" / "cardiac_ml"


def fingerprint(*parts) -> str:
    """Twelve letters that change with any of these arrays, texts, numbers, and containers of such."""
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(repr((part.shape, part.dtype.str)).encode())
            part = np.ascontiguousarray(part).tobytes()
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"|")
    return digest.hexdigest()


def code_fingerprint(*paths: Path) -> str:
    """Changes with what these Python files do (folders: all files in them), not with their comments or their layout."""
    parts = []
    for file in sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))):
        with open(file, "rb") as stream:
            parts.append([token.string for token in tokenize.tokenize(stream.readline)
                          if token.type not in (tokenize.COMMENT, tokenize.NL)])
    return fingerprint(*parts)


def find_data(name: str, folder: str | Path | None = None) -> Path | None:
    """The real data folder ``name`` ("ecg_dataset" or "intracardiac_dataset"), or None where there is none.

    Looks at ``folder`` if one is given (it must exist), then in ``CARDIAC_ML_DATA``, in the current folder and in the
    repository.
    """
    if folder is not None:
        if not Path(folder).expanduser().exists():
            raise DataError(f"{folder} does not exist. Give the folder that holds the files of {name}.")
        return Path(folder).expanduser()
    named = os.environ.get("CARDIAC_ML_DATA")
    if named and not Path(named).expanduser().is_dir():
        raise DataError(f"CARDIAC_ML_DATA names {named}; from {Path.cwd()} that is no folder. Correct or unset it.")
    places = ([Path(named).expanduser()] if named else []) + [Path.cwd(), ROOT]
    return next((place / name for place in places if (place / name).is_dir()), None)


def checksum(path: str | Path) -> str:
    """The checksum of a file, about a second a gigabyte: a flipped bit in a cache must not pass for data."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def seal(folder: Path) -> None:
    """Write ``checksums.json`` with the checksum of every file in a folder of the cache."""
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / "checksums.json").write_text(json.dumps(sums, indent=1), encoding="utf-8")


def changed(folder: Path) -> str:
    """What is wrong with a sealed folder, "" if nothing is: looked at once in each process, and if a size changes."""
    try:
        state = (folder, *(path.stat().st_size for path in sorted(folder.rglob("*"))))
        if state not in _unchanged:
            sums = json.loads((folder / "checksums.json").read_text(encoding="utf-8"))
            if wrong := [name for name, value in sums.items() if checksum(folder / name) != value]:
                return f"{', '.join(wrong[:3])} changed since it was written"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    _unchanged.add(state)
    return ""


def cached(owner: str, version: str, write) -> Path:
    """The folder ``owner_version`` of the cache: ``write(folder)`` makes it where it is absent or no longer whole.

    The owner's other versions are removed.
    """
    folder = cache_folder() / f"{owner}_{version}"
    if folder.exists() and (what := changed(folder)):
        print(f"{folder} is no longer whole ({what}), so it is made again.")
        _remove(folder)
    if not folder.exists():
        write(folder)
        _keep_only(folder, owner)
    return folder


def cached_arrays(owner: str, version: str, make) -> dict[str, np.ndarray]:
    """The arrays of ``owner_version.npz`` in the cache, checked by their CRC-32; where there are none, of ``make()``.

    What is damaged is made again; the owner's other versions are removed.
    """
    path = cache_folder() / f"{owner}_{version}.npz"
    try:
        with np.load(path, allow_pickle=False) as saved:
            return dict(saved)
    except FileNotFoundError:
        pass
    except Exception as error:  # numpy, zipfile and zlib have many ways to stumble over a damaged file
        print(f"{path} is damaged ({error}), so it is made again.")
    arrays = make()
    try:
        with atomic_write(path) as file:
            np.savez(file, **arrays)
        _keep_only(path, owner)
    except OSError as error:
        warnings.warn(f"A copy in the cache could not be kept, so it will be made again next time. {error}",
                      stacklevel=2)
    return arrays


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb"):
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an error."""
    path = Path(path)
    with _place_for(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
                yield file
            os.chmod(temporary, 0o644)  # mkstemp makes it private; a data file is for everyone
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)  # nothing is left of it after the rename


@contextmanager
def new_folder(folder: str | Path, shared: bool = False):
    """A temporary folder that becomes ``folder`` once the block ends without an error; one that holds data is refused.

    ``shared``: several processes may make the same folder (of the cache); the first one's is kept, and sealed.
    """
    folder = Path(folder)
    if not shared and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds data, which is never overwritten. Choose a new folder or empty this one.")
    with _place_for(folder):
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            yield part
            part.chmod(0o755)
            if shared:
                seal(part)
            if not (shared and folder.exists()):
                part.replace(folder)  # an empty folder may be there; filled by now, this fails and nothing is lost
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _place_for(path):
    """A folder for ``path`` to come to, and words for a writing that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_parts(path.parent)
        yield
    except OSError as error:
        raise OSError(f"Could not write {path}: {error}. Free some space or choose another folder (CARDIAC_ML_CACHE "
                      "moves the cache); what was there before is untouched.") from error


def _keep_only(path: Path, owner: str) -> None:
    for other in path.parent.glob(f"{Path(owner).name}_*"):
        if other != path:
            _remove(other)


def _sweep_parts(folder: Path) -> None:
    """Remove what writers that were killed left in a folder, once it is a day old: before, one may be at work."""
    for path in folder.glob(".*.????????.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 24 * 3600:
                _remove(path)


def _remove(path):
    with suppress(OSError):  # another process may still use it, or remove it too
        shutil.rmtree(path) if path.is_dir() else path.unlink()
