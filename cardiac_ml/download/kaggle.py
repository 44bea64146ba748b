"""A public dataset of Kaggle through its own package ``kagglehub``, without an account."""
import os
import shutil
import sys
from pathlib import Path

from cardiac_ml.download import SETS, announce
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.formats import heartbeat_files


def heartbeats(folder: str | Path | None = None) -> Path:
    """The files of tasks 1 and 2, if they are not there yet; each is read, and must have the published rows."""
    home, files = announce("heartbeats", folder), [f"{name}.csv" for name in heartbeat_files.PUBLISHED_ROWS]
    if not (home.exists() and all(heartbeat_files.find_file(home, file) for file in files)):
        fetch(SETS["heartbeats"].database, files, home)
    for name, expected in heartbeat_files.PUBLISHED_ROWS.items():
        source = heartbeat_files.find_file(home, f"{name}.csv")
        if (found := len(heartbeat_files.read_rows(source, heartbeat_files.CLASSES_IN[name]))) != expected:
            raise DataError(f"{source} has {found} lines, expected {expected}. Remove it and download again.")
    print(f"All {len(files)} files are whole: {home}")
    return home


def fetch(handle: str, names: list[str], home: Path) -> None:
    """Bring these files of ``handle`` ("owner/dataset") into ``home``; what a broken-off call fetched is kept."""
    by_hand = f"Or by hand: archive.zip from https://www.kaggle.com/datasets/{handle}, put into {home} as it is."
    try:
        import kagglehub
    except ModuleNotFoundError:
        raise DataError("Kaggle's sets come through kagglehub, which is not installed: "
                        f"{sys.executable} -m pip install kagglehub. {by_hand}") from None
    parts, before = home / ".kagglehub", os.environ.get("KAGGLEHUB_CACHE")
    parts.mkdir(parents=True, exist_ok=True)
    os.environ["KAGGLEHUB_CACHE"] = str(parts.absolute())  # beside the files, so that moving them takes no time
    try:
        place = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub raises what its transport stumbles over
        raise DataError(f"Kaggle did not give {handle} ({error}). Is there a network? The same command goes on where "
                        f"it was. {by_hand}") from error
    finally:
        os.environ.pop("KAGGLEHUB_CACHE") if before is None else os.environ.update(KAGGLEHUB_CACHE=before)
    found = {name: next(iter(sorted(place.rglob(name))), None) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise DataError(f"Kaggle's {handle} came without {', '.join(missing)}. {by_hand}")
    for name, path in found.items():
        if parts.resolve() in path.resolve().parents:
            path.replace(home / name)
        else:  # Kaggle's and Colab's own machines mount it, read only
            with open(path, "rb") as source, atomic_write(home / name) as file:
                shutil.copyfileobj(source, file, 1 << 22)
    shutil.rmtree(parts, ignore_errors=True)
