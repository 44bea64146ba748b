"""The files of the intracardiac dataset: find the pairs, read their names, read them, write more like them.

A case is a pair: ``pECGData_*.npy`` (500, 10), ten electrodes in mV, and ``VmData_*.npy`` (500, 75), the transmembrane
voltage of 75 points in mV, one row a millisecond. The name tells the heart (volunteer), what started the beat (an
activation pattern, or innerindex: a stimulus at that recording point), the cycle length (bcl) and the g_Kr code.
"""
import io
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError

SAMPLES, ELECTRODE_COUNT, POINT_COUNT = 500, 10, 75
LOWEST_MV, REST_MV, HIGHEST_MV = -200, -20, 200  # beyond these a voltage is in another unit, or is none
PUBLISHED_PAIRS = {  # the 17 folders of doi 10.6075/J0SN094N; "X" and "X_I" are two parts of one design
    "data_hearts_dd_0p2": 435,
    "data_hearts_dd_0p2_geo_inn": 1125,
    **{f"data_hearts_dd_0p2_geo_act_{act}_bcl": 870 for act in (1, 2, 3)},
    **{f"data_hearts_dd_0p2_geo_act_{act}_bcl_gkr": pairs for act, pairs in ((1, 699), (2, 700), (3, 699))},
    **{f"data_hearts_dd_0p2_geo_act_{act}_bcl_gkr_I": 1040 for act in (1, 2, 3)},
    **{f"data_hearts_dd_0p2_geo_inn_act_{act}_bcl": 450 for act in (1, 2, 3)},
    **{f"data_hearts_dd_0p2_geo_inn_act_{act}_bcl_I": pairs for act, pairs in ((1, 1781), (2, 1799), (3, 1799))},
}
PUBLISHED_TOTAL = 16117  # 16140 were designed
PUBLISHED_HEARTS = ("v1", "v2", *(f"v{number}" for number in range(4, 17)))  # 15 volunteers; there is no v3

DOWNLOAD = "Get it with ./download_intracardiac_dataset.sh, or remove both files of that pair to go on without it."
NAME = re.compile(r"(pECGData|VmData)_(.+)\.npy")
FIELD = re.compile(r"([A-Za-z]\w*?)\.([A-Za-z0-9-]+)(?:[._]|$)")
CASES_FILE = Path("documentation") / "cases.csv"
WHOLE_NUMBERS = ("pattern", "innerindex", "bcl", "gkr", "act")


class Pair(NamedTuple):
    electrodes: Path
    voltage: Path


def natural(name: str) -> list:
    """A sort key that puts v2 before v10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


# ---- finding ----

def list_files(folder) -> dict[str, tuple[int, int]]:
    """Every pECGData and VmData file below ``folder``: path from there (with /) -> (bytes, time changed in ns)."""
    found, waiting = {}, [("", str(folder))]
    while waiting:
        prefix, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(("pECGData", "VmData")) and name.endswith(".npy"):
                    status = entry.stat()
                    found[prefix + name] = (status.st_size, status.st_mtime_ns)
                elif not name.startswith((".", "__MACOSX")) and entry.is_dir():
                    waiting.append((f"{prefix}{name}/", entry.path))
    return found


def parse_name(path: str) -> tuple[str, str, dict[str, str]]:
    """(role, design, fields) of a file: its name is ROLE_DESIGN_key.value.key.value.npy, fields in any order.

    >>> parse_name("VmData_hearts_dd_0p2_geo_act_1_bcl_bcl.600.pattern.0.volunteer.v1.npy")
    ('VmData', 'hearts_dd_0p2_geo_act_1_bcl', {'bcl': '600', 'pattern': '0', 'volunteer': 'v1'})
    """
    role, stem = match.groups() if (match := NAME.fullmatch(path.rpartition("/")[2])) else ("", "")
    design = stem.partition(".")[0].rpartition("_")[0]  # what the folder is called plays no part: files get moved
    rest = stem[len(design):].lstrip("_")
    pairs = FIELD.findall(rest)
    spelled = sum(len(key) + len(value) + 2 for key, value in pairs) - 1
    if not role or spelled != len(rest) or "volunteer" not in dict(pairs) or len(dict(pairs)) != len(pairs):
        raise DataError(f"cannot read the file name {path}. Expected names such as VmData_hearts_dd_0p2_geo_act_1_bcl_"
                        "bcl.600.pattern.0.volunteer.v1.npy: fields key.value, each once, volunteer among them. "
                        "Rename the file, or move it out of the data folder.")
    return role, design, dict(pairs)


def find_pairs(folder, files=None) -> tuple[pd.DataFrame, list[Pair], tuple[str, ...]]:
    """(table with a row a case, the two files of each case, files left alone without their other half).

    In natural order of heart, design and file name, whatever the file system lists first. Two files of one role for
    one case are an error: nobody can know which is right.
    """
    folder, cases = Path(folder), {}
    for path in sorted(list_files(folder) if files is None else files, key=natural):
        role, design, fields = parse_name(path)
        case = cases.setdefault((design, frozenset(fields.items())), {})
        if role in case:
            raise DataError(f"two {role} files of one case below {folder}: {case[role]} and {path}. "
                            "Compare them and remove one.")
        case[role] = path
    whole = {case: paths for case, paths in cases.items() if len(paths) == 2}
    alone = sorted((path for paths in cases.values() if len(paths) == 1 for path in paths.values()), key=natural)
    rows = [dict(fields, heart=dict(fields)["volunteer"], design=design, file=paths["pECGData"],
                 file_voltage=paths["VmData"]) for (design, fields), paths in whole.items()]
    if not rows:
        raise DataError(f"no pair of pECGData_*.npy and VmData_*.npy below {folder} ({len(alone)} files without their "
                        "other half). Finish the download with ./download_intracardiac_dataset.sh; without any "
                        "intracardiac_dataset folder the kit works on virtual hearts.")
    rows.sort(key=lambda row: (natural(row["heart"]), natural(row["design"]), natural(row["file"])))
    pairs = [Pair(folder / row["file"], folder / row.pop("file_voltage")) for row in rows]
    return _with_documentation(_table(rows), folder), pairs, tuple(alone)


def _table(rows) -> pd.DataFrame:
    """One row a case; numbers as numbers, fields that nobody knows kept as further columns."""
    table = pd.DataFrame(rows).drop(columns="volunteer")
    table["act"] = table["design"].str.extract(r"_act_(\d+)", expand=False)
    for name in table.columns.difference(["heart", "design", "file"]):
        given = table[name].dropna()
        if given.str.fullmatch(r"\d+").all():
            table[name] = pd.to_numeric(table[name]).astype("Int64")
    return tidy(table)


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The columns every room relies on, present and first: heart, kind, pattern, innerindex, bcl, gkr, act, design."""
    table = table.reset_index(drop=True).copy()
    for name in WHOLE_NUMBERS:
        table[name] = (table[name] if name in table else pd.Series(pd.NA, table.index)).astype("Int64")
    if "kind" not in table:
        started = np.select([table["innerindex"].notna(), table["pattern"].notna()], ["focal", "pattern"], "other")
        table["kind"] = started.astype(object)
    for name in ("heart", "kind", "design", "file"):
        table[name] = (table[name] if name in table else pd.Series("", table.index)).astype(str)
    first = ["heart", "kind", *WHOLE_NUMBERS, "design", "file"]
    return table[first + [name for name in table if name not in first]]


def _with_documentation(table, folder) -> pd.DataFrame:
    """Adds what documentation/cases.csv knows of each file, where this kit wrote the folder: kind, lost fields."""
    path = Path(folder) / CASES_FILE
    if not path.is_file():
        return table
    known = pd.read_csv(path, dtype={"heart": str, "kind": str, "file": str})
    if "file" not in known or known["file"].duplicated().any():
        return table
    known = known.set_index("file").reindex(table["file"]).reset_index(drop=True)
    for name in known.columns.difference(["heart", "design"]):
        old = table[name].astype(object) if name in table else None
        table[name] = known[name] if old is None else known[name].astype(object).where(known[name].notna(), old)
    return tidy(table)


# ---- reading ----

def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """((500, 10) electrodes, (500, 75) voltage) as stored, in mV, once both are sure to be sound."""
    electrodes, voltage = (_read_signal(path, columns) for path, columns in zip(pair, (ELECTRODE_COUNT, POINT_COUNT)))
    lowest, highest = voltage.min(), voltage.max()
    if lowest < LOWEST_MV or lowest > REST_MV or highest > HIGHEST_MV:
        raise DataError(f"{pair.voltage}: the voltage spans {lowest:.3g} .. {highest:.3g}; a heart at rest has about "
                        "-85 mV and at its peak 50 mV at most. Is it in mV?")
    return electrodes, voltage


def read_pairs(pairs) -> tuple[np.ndarray, np.ndarray]:
    """((n, 500, 10), (n, 500, 75)) float64 of many pairs, checked like read_pair and some three times as fast."""
    both = tuple(np.empty((len(pairs), SAMPLES, columns)) for columns in (ELECTRODE_COUNT, POINT_COUNT))
    for case, pair in enumerate(pairs):
        for path, signals in zip(pair, both):
            _fill(path, signals[case])
    electrodes, voltage = both
    lowest, highest = voltage.min(axis=(1, 2)), voltage.max(axis=(1, 2))  # NaN where any sample is
    usual = (lowest >= LOWEST_MV) & (lowest <= REST_MV) & (highest <= HIGHEST_MV)
    sound = usual & np.isfinite(electrodes.sum(axis=(1, 2)))
    for case in np.flatnonzero(~sound):
        read_pair(pairs[case])  # says what is wrong
    return both


def _header(columns) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.empty((SAMPLES, columns)))
    return file.getvalue()[:-SAMPLES * columns * 8]


USUAL_HEADERS = {columns: _header(columns) for columns in (ELECTRODE_COUNT, POINT_COUNT)}


def _fill(path, signal):
    """The file into signal (500, columns): at once if it starts as these files do, with np.load's care if not."""
    header = USUAL_HEADERS[signal.shape[1]]
    try:
        with open(path, "rb", buffering=0) as file:
            if file.read(len(header)) == header and file.readinto(signal) == signal.nbytes:
                return
    except OSError:
        pass  # said better below
    signal[:] = _read_signal(path, signal.shape[1])


def _read_signal(path, columns) -> np.ndarray:
    try:
        signal = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read ({_why(path)}: {error}). {DOWNLOAD}") from error
    if not isinstance(signal, np.ndarray) or signal.dtype.kind != "f":
        raise DataError(f"{path} holds {getattr(signal, 'dtype', 'an archive')}, expected real numbers. {DOWNLOAD}")
    if signal.shape != (SAMPLES, columns):
        hint = "It looks transposed: save its .T." if signal.shape == (columns, SAMPLES) else DOWNLOAD
        raise DataError(f"{path} has shape {signal.shape}, expected ({SAMPLES}, {columns}): 1 ms a row. {hint}")
    if not np.isfinite(signal.sum()):
        bad = np.argwhere(~np.isfinite(signal))
        raise DataError(f"{path} holds NaN or infinity {len(bad)} times, first at row {bad[0][0]}, column {bad[0][1]} "
                        f"(from 0). {DOWNLOAD}")
    return signal


def _why(path) -> str:
    try:
        start = Path(path).open("rb").read(8)
    except OSError:
        return "it cannot be opened"
    if not start:
        return "an empty file"
    if start.startswith(b"\x93NUMPY"):
        return "truncated, or a pickle inside, which is never read"
    return f"not a .npy file but one that starts with {start!r}; pickles are never read"


# ---- writing ----

def write_pairs(batches, folder, source="virtual hearts made by cardiac_ml") -> Path:
    """Writes (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table) batches as the real set's folders and files.

    The folder appears when all of it is written; one that holds anything already is refused. What the names cannot
    tell (kind, and more) goes to documentation/cases.csv, where the reader of such a folder finds it.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds data, which is never overwritten. Choose a new folder or empty this one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise OSError(f"Could not write below {folder.parent}: {error}. Choose another folder.") from error
    try:
        _write_batches(batches, unfinished, source)
        unfinished.chmod(0o755)
        if folder.exists():
            folder.rmdir()  # empty, as checked above; if not any more this fails and nothing is lost
        unfinished.rename(folder)
    except OSError as error:
        raise OSError(f"Could not write {folder}: {error}. Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_batches(batches, folder, source):
    tables, used = [], set()
    for electrodes_mv, voltage_mv, table in batches:
        names = [_unused_name(case, used) for case in tidy(table).to_dict("records")]
        for name, electrodes, voltage in zip(names, electrodes_mv, voltage_mv, strict=True):
            for role, signal in (("pECGData", electrodes), ("VmData", voltage)):
                path = folder / name.format(role=role)
                path.parent.mkdir(exist_ok=True)
                np.save(path, np.ascontiguousarray(signal, dtype=np.float64))
        tables.append(table.assign(file=[name.format(role="pECGData") for name in names]))
    if not tables:
        raise DataError("no case to write: the batches were empty.")
    (folder / CASES_FILE).parent.mkdir()
    pd.concat(tables).to_csv(folder / CASES_FILE, index=False)
    (folder / CASES_FILE).with_name("source.txt").write_text(source + "\n", encoding="utf-8")


def _unused_name(case, used) -> str:
    """FOLDER/{role}_NAME.npy for a row of the table; cases that differ in nothing a name tells go to act 2, then 3."""
    given = {key: case[key] for key in ("bcl", "gkr", "innerindex", "pattern") if not pd.isna(case[key])}
    kind = "inn" if "innerindex" in given else "act"
    if kind == "inn":
        given.pop("gkr", None)  # the names of the real innerindex cases have no such field
        given.pop("pattern", None)
    given |= {"gkr": f"{given['gkr']:03d}"} if "gkr" in given else {}
    for act in (1, 2, 3):
        name = f"{_design(kind, given, act)}_{_fields(case['heart'], given)}"
        if name not in used:
            used.add(name)
            return f"data_{_design(kind, given, act)}/{{role}}_{name}.npy"
    raise DataError(f"more than three cases of heart {case['heart']} with {given}: their file names would be equal. "
                    "Give each case of a heart its own pattern number.")


def _design(kind, given, act) -> str:
    if "bcl" not in given:
        return "hearts_dd_0p2" + ("_geo_inn" if kind == "inn" else "")
    middle = f"inn_act_{act}" if kind == "inn" else f"act_{act}"
    return f"hearts_dd_0p2_geo_{middle}_bcl" + ("_gkr" if "gkr" in given else "")


def _fields(heart, given) -> str:
    if "bcl" not in given and "pattern" in given:
        return f"volunteer.{heart}_pattern.{given['pattern']}"  # the first folder's own order
    return ".".join(f"{key}.{value}" for key, value in given.items()) + f".volunteer.{heart}"
