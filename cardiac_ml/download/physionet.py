"""Files of a PhysioNet database through wfdb's own downloader, each compared with the SHA-256 that is published."""
import hashlib
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm.auto import tqdm

from cardiac_ml.download import SETS, announce
from cardiac_ml.files import DataError

SUMS = "SHA256SUMS.txt"
AT_ONCE = 100  # files in one call of wfdb: so often the bar moves
AGAIN = "The same command goes on where it was."


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Bring the set ``name`` home; files that are there and whole are not fetched again."""
    one, home = SETS[name], announce(name, folder)
    if not (home / SUMS).is_file():
        _get(one.database, home, [SUMS])
    sums = {file: value for file, value in read_sums(home / SUMS).items() if matches(file, one.wanted)}
    if not sums:
        (home / SUMS).unlink()
        raise DataError(f"{home / SUMS} names no file of {one.database}: perhaps a page to log in to this network. "
                        f"{AGAIN}")
    todo = [file for file in sums if not is_whole(home / file, sums[file])]
    for start in tqdm(range(0, len(todo), AT_ONCE), desc=f"{len(todo)} files", unit=f"{AT_ONCE} files"):
        _get(one.database, home, todo[start:start + AT_ONCE])
    if damaged := [file for file in todo if not is_whole(home / file, sums[file])]:
        for file in damaged:
            (home / file).unlink(missing_ok=True)
        raise DataError(f"{len(damaged)} files of {one.database} came damaged, such as {damaged[0]}, and were removed. "
                        f"{AGAIN}")
    print(f"All {len(sums)} files are whole: {home}")
    return home


def read_sums(path: Path) -> dict[str, str]:
    """{file: SHA-256} of a list that a database publishes."""
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return {line[1].strip(): line[0] for line in lines
            if len(line) == 2 and len(line[0]) == 64 and ".." not in line[1] and not line[1].startswith("/")}


def matches(file: str, wanted: Sequence[str]) -> bool:
    """Whether a path fits one of the patterns, in which * stands for folders too."""
    return any(fnmatchcase(file, pattern) for pattern in wanted)


def is_whole(path: Path, sha256: str) -> bool:
    """Whether the file is there, with this checksum."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def lacking(home: Path, wanted: Sequence[str]) -> list[str]:
    """Files that the list in ``home`` names and that are not there, or are empty; none where there is no list."""
    if not (home / SUMS).is_file():
        return []
    named = [file for file in read_sums(home / SUMS) if matches(file, wanted)]
    return [file for file in named if not ((home / file).is_file() and (home / file).stat().st_size)]


def _get(database, home, files):
    """wfdb fetches what is absent, appends to what is short and leaves the rest; its own words are dropped."""
    try:
        import wfdb
    except ModuleNotFoundError:
        raise DataError("PhysioNet's files come through wfdb, which is not installed: pip install wfdb") from None
    try:
        with redirect_stdout(io.StringIO()):
            wfdb.dl_files(database, str(home), files)
    except Exception as error:  # wfdb raises what its transport stumbles over
        raise DataError(f"PhysioNet did not give {database} ({error}). Is there a network? {AGAIN}") from error
