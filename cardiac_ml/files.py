"""Where data lies, and how files are written so that a killed process never leaves half of one."""
import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the repository, when the kit is used from a clone


class DataError(ValueError):
    """Something is wrong with the data. The message says what was found, where, and what to do next."""


def cache_folder() -> Path:
    """The folder for everything that can be made again: packed files, virtual hearts.

    ``CARDIAC_ML_CACHE`` if set, else ``cache/`` in a clone of the repository, else ``~/.cache/cardiac_ml``.
    """
    if named := os.environ.get("CARDIAC_ML_CACHE"):
        return Path(named).expanduser()
    return ROOT / "cache" if (ROOT / "start.py").exists() else Path.home() / ".cache" / "cardiac_ml"


def code_print() -> str:
    """Changes with every line of the package: what was measured or trained with other code is not taken for this."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


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
        raise DataError(f"CARDIAC_ML_DATA names {named}, which is not a folder. Correct it or unset it.")
    places = ([Path(named).expanduser()] if named else []) + [Path.cwd(), ROOT]
    return next((place / name for place in places if (place / name).is_dir()), None)


def read_text(path: str | Path) -> str:
    """The text of a file that must be there and must be text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is not there. `python -m cardiac_ml simulate geometry` writes the files of a virtual "
                        "heart.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not plain text. Save it again as legacy VTK in ASCII (in ParaView: Save Data, file "
                        "type ASCII), or the points as CSV.") from None


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb"):
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an error.

    >>> with atomic_write("scores.json", "w") as file:  # doctest: +SKIP
    ...     json.dump(scores, file)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
            yield file
        os.chmod(temporary, 0o644)  # mkstemp makes it private; a data file is for everyone
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, DataError):
            raise OSError(f"Could not write {path}: {error}. Free some space or choose another folder "
                          "(CARDIAC_ML_CACHE moves the cache); what was there before is untouched.") from error
        raise
