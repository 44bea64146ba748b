"""The files of the intracardiac dataset: find the pairs, read them, pack them into one cache.

A case is a pair: ``pECGData_*.npy`` (500, 10), ten electrodes in mV, and ``VmData_*.npy`` (500, 75), the transmembrane
voltage of 75 points in mV, one row a millisecond. The name tells the heart (volunteer), what started the beat (an
activation pattern, or innerindex: a stimulus at that recording point), the cycle length (bcl) and the g_Kr code.

A pack is a folder of ``electrodes.npy`` (cases, 10, 500), ``voltage.npy`` (cases, 75, 500), ``activation.npy``
(cases, 75), all float32, ``table.csv`` and ``card.json``: many small files become a few that are mapped into memory.
"""
import json
import mmap
import os
import re
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError, cached, changed, code_fingerprint, fingerprint, new_folder

DATASET = "intracardiac_dataset"  # what its folder is called
SAMPLES, ELECTRODE_COUNT, POINT_COUNT = 500, 10, 75
LOWEST_MV, REST_MV = -200, -20  # what lies lower, or never so low, is in another unit, or no voltage
LEAST_SWING_MV = 20  # what swings less holds no heartbeat
LARGEST_ELECTRODE_MV = 100  # the published ones stay below 10
PUBLISHED = "Landajuela, Anirudh, Blake 2022, doi 10.6075/J0SN094N"
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


def natural(name: str) -> list:
    """A sort key that puts v2 before v10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


# ---- finding ----

def list_files(folder) -> dict[str, tuple[int, int]]:
    """Every pECGData and VmData file below ``folder``: path from there (with /) -> (bytes, time changed in ns)."""
    found, waiting = {}, [("", str(folder))]
    try:
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
    except OSError as error:
        raise DataError(f"{error.filename} cannot be looked at ({error.strerror}). A link that leads nowhere, or in a "
                        "circle? Remove it, or put back what it leads to.") from error
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
    numbers = [value for key, value in pairs if key in WHOLE_NUMBERS]
    if (not role or spelled != len(rest) or "volunteer" not in dict(pairs) or len(dict(pairs)) != len(pairs)
            or not all(re.fullmatch("[0-9]{1,9}", value) for value in numbers) or not path.isprintable()):
        raise DataError(f"cannot read the file name {path}. Expected names such as VmData_hearts_dd_0p2_geo_act_1_bcl_"
                        "bcl.600.pattern.0.volunteer.v1.npy: fields key.value, each once, volunteer among them, "
                        f"whole numbers for {', '.join(WHOLE_NUMBERS)}. Rename the file or move it elsewhere.")
    return role, design, dict(pairs)


def find_pairs(folder, files=None) -> tuple[pd.DataFrame, list[tuple[Path, Path]], tuple[str, ...]]:
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
    pairs = [(folder / row["file"], folder / row.pop("file_voltage")) for row in rows]
    return _with_documentation(_table(rows), folder), pairs, tuple(alone)


def _table(rows) -> pd.DataFrame:
    """One row a case; numbers as numbers, fields that nobody knows kept as further columns."""
    table = pd.DataFrame(rows).drop(columns="volunteer")
    table["act"] = table["design"].str.extract(r"_act_(\d+)", expand=False)
    for name in table.columns.difference(["heart", "design", "file"]):
        given = table[name].dropna()
        if given.str.fullmatch(r"\d{1,18}").all():
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
    try:
        known = pd.read_csv(path, dtype={"heart": str, "kind": str, "file": str})
        if "file" not in known or known["file"].duplicated().any():
            return table
        known = known.set_index("file").reindex(table["file"]).reset_index(drop=True)
        for name in known.columns.difference(["heart", "design"]):
            old = table[name].astype(object) if name in table else None
            table[name] = known[name] if old is None else known[name].astype(object).where(known[name].notna(), old)
        return tidy(table)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path} is not the table that this kit writes ({error}). Write the data again, or remove that "
                        "file: then the names of the files tell all that is known.") from error


def source_of(folder, table) -> str:
    """What the files say of themselves; the published set's name only for its hearts and its designs."""
    written = (folder / CASES_FILE).with_name("source.txt")
    if written.is_file():
        return f"{written.read_text(encoding='utf-8', errors='replace').strip()}, as files in {folder}"
    published = ("data_" + table["design"]).isin(PUBLISHED_PAIRS) & table["heart"].isin(PUBLISHED_HEARTS)
    if published.all():
        return f"{PUBLISHED}: {len(table)} of {PUBLISHED_TOTAL} published pairs, in {folder}"
    other = ", ".join(table["heart"][~published].unique()[:3])
    return f"{len(table)} pairs of unknown origin in {folder} (hearts such as {other} are not of the published set)"


# ---- reading ----

def read_pair(electrodes: Path, voltage: Path) -> tuple[np.ndarray, np.ndarray]:
    """((500, 10) electrodes, (500, 75) voltage) in mV, as stored in the two files, once both are sure to be sound."""
    electrodes_mv, voltage_mv = _read_signal(electrodes, ELECTRODE_COUNT), _read_signal(voltage, POINT_COUNT)
    lowest, highest = voltage_mv.min(), voltage_mv.max()
    if lowest < LOWEST_MV or lowest > REST_MV or highest > -lowest:
        raise DataError(f"{voltage}: the voltage spans {lowest:.3g} .. {highest:.3g}; a heart at rest has about "
                        "-85 mV and at its peak 50 mV at most. Is it in mV, with its sign?")
    if highest - lowest < LEAST_SWING_MV:
        raise DataError(f"{voltage}: the voltage stays at {lowest:.3g} .. {highest:.3g} mV in all points; an action "
                        f"potential swings over 100 mV. {DOWNLOAD}")
    largest = np.abs(electrodes_mv).max()
    if not 0 < largest <= LARGEST_ELECTRODE_MV:
        what = "all values are zero." if largest == 0 else f"values reach {largest:.3g} mV; are these microvolts?"
        raise DataError(f"{electrodes}: {what} A heartbeat makes 0.1 to 10 mV at an electrode. {DOWNLOAD}")
    return electrodes_mv, voltage_mv


def _read_signal(path, columns) -> np.ndarray:
    try:
        signal = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy has many ways to stumble over a damaged header
        start = path.read_bytes()[:8] if path.is_file() else b""
        why = "truncated, or a pickle inside, which is never read" if start.startswith(b"\x93NUMPY") else (
            f"not a .npy file but one that starts with {start!r}; pickles are never read" if start else "an empty file")
        raise DataError(f"{path} cannot be read ({why}: {error}). {DOWNLOAD}") from error
    kind = getattr(signal, "dtype", "an archive")
    if not isinstance(signal, np.ndarray) or kind.kind != "f" or kind.itemsize not in (4, 8):
        raise DataError(f"{path} holds {kind}, expected real numbers (float64). {DOWNLOAD}")
    if signal.shape != (SAMPLES, columns):
        hint = "It looks transposed: save its .T." if signal.shape == (columns, SAMPLES) else DOWNLOAD
        raise DataError(f"{path} has shape {signal.shape}, expected ({SAMPLES}, {columns}): 1 ms a row. {hint}")
    if not np.isfinite(signal.sum()):
        bad = np.argwhere(~np.isfinite(signal))
        raise DataError(f"{path} holds NaN or infinity {len(bad)} times, first at row {bad[0][0]}, column {bad[0][1]} "
                        f"(from 0). {DOWNLOAD}")
    return signal


def read_batches(table, pairs, progress: bool = True, size: int = 64):
    """The pairs' files as batches (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table), in order."""
    bar = tqdm(total=len(pairs), desc="packing", unit="pairs", **{} if progress else dict(disable=True))
    seen, copies = {}, []
    with bar, ThreadPoolExecutor(min(8, max(2, os.cpu_count() or 2))) as pool:
        for start in range(0, len(pairs), size):
            rows = slice(start, start + size)
            both = list(pool.map(lambda pair: read_pair(*pair), pairs[rows]))
            for (path, _), (electrodes_mv, _) in zip(pairs[rows], both):
                if (first := seen.setdefault(fingerprint(electrodes_mv), path)) != path:
                    copies.append(f"{path} and {first}")
            yield np.stack([pair[0] for pair in both]), np.stack([pair[1] for pair in both]), table.iloc[rows]
            bar.update(len(both))
    if copies:
        warnings.warn(f"{len(copies)} cases are copies of another under another name, such as {copies[0]}. They may "
                      "come to both sides of a split: remove one of each.", stacklevel=2)


# ---- the pack ----

PACK_FORMAT = 2
SHAPES = {"electrodes": (ELECTRODE_COUNT, SAMPLES), "voltage": (POINT_COUNT, SAMPLES), "activation": (POINT_COUNT,)}
CASE_BYTES = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values()) + 200


def pack_of(folder, progress: bool = True) -> Path:
    """The pack of the files below ``folder``: written at first, and again when the files change."""
    folder = folder / DATASET if (folder / DATASET).is_dir() else folder  # one level too high
    if not folder.is_dir():
        raise DataError(f"{folder} is a file. Give the folder that holds the pECGData and VmData files.")
    files = list_files(folder)

    def write(destination):
        table, pairs, unpaired = find_pairs(folder, files)
        write_pack(read_batches(table, pairs, progress), destination, len(pairs), source_of(folder, table), unpaired)

    known = (folder / CASES_FILE).stat().st_mtime_ns if (folder / CASES_FILE).is_file() else 0
    owner = f"intracardiac_{fingerprint(str(folder.resolve()))}"
    return cached_pack(owner, fingerprint(sorted(files.items()), known), write)


def cached_pack(owner, version, write) -> Path:
    """The owner's pack in the cache; ``write(folder)`` makes it where it is absent, damaged or out of date."""
    code = code_fingerprint(Path(__file__), Path(__file__).parents[1] / "activation.py")
    return cached(owner, fingerprint(version, code), write)


def write_pack(batches, folder, cases: int, source: str, unpaired=()) -> Path:
    """Write batches (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table), ``cases`` in all, as a pack.

    Activation times are found before the voltages are rounded to float32. The folder appears when all of it is there.
    """
    folder = Path(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    needed, free = cases * CASE_BYTES, shutil.disk_usage(there).free
    if needed > free:
        raise OSError(f"The pack {folder} needs {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free. Free "
                      "some space, or set CARDIAC_ML_CACHE to a folder where there is room.")
    with new_folder(folder, shared=True) as part:
        table = _write_arrays(batches, part, cases)
        table.to_csv(part / "table.csv", index=False)
        card = {"format": PACK_FORMAT, "source": source, "unpaired": list(unpaired), "cases": cases,
                "columns": {name: str(kind) for name, kind in table.dtypes.items()}}
        (part / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
    return folder


def _write_arrays(batches, part, cases) -> pd.DataFrame:
    """Plain writes, not a memory map: on a full disk those raise an error, where a map would kill the process."""
    tables = []
    files = {name: open(part / f"{name}.npy", "wb") for name in SHAPES}
    try:
        for name, file in files.items():
            header = {"descr": "<f4", "fortran_order": False, "shape": (cases, *SHAPES[name])}
            np.lib.format.write_array_header_1_0(file, header)
        for electrodes_mv, voltage_mv, table in batches:
            _check_batch(electrodes_mv, voltage_mv, table)
            voltage = np.swapaxes(voltage_mv, 1, 2)
            arrays = np.swapaxes(electrodes_mv, 1, 2), voltage, upstroke_ms(voltage)
            for file, array in zip(files.values(), arrays):
                file.write(np.ascontiguousarray(array, dtype="<f4").data)
            tables.append(table)
    finally:
        for file in files.values():
            file.close()
    if sum(map(len, tables)) != cases or not cases:
        raise DataError(f"expected {cases} cases to pack, found {sum(map(len, tables))}.")
    return tidy(pd.concat(tables, ignore_index=True))


def _check_batch(electrodes_mv, voltage_mv, table):
    for name, array, columns in (("electrodes", electrodes_mv, ELECTRODE_COUNT), ("voltage", voltage_mv, POINT_COUNT)):
        if np.shape(array) != (len(table), SAMPLES, columns):
            raise DataError(f"a batch with a table of {len(table)} rows has {name} of shape {np.shape(array)}, "
                            f"expected ({len(table)}, {SAMPLES}, {columns}).")
        if not np.isfinite(array).all():
            raise DataError(f"a batch holds NaN or infinity in its {name}; a pack is made of whole signals.")


def read_pack(folder) -> tuple[dict[str, np.ndarray], pd.DataFrame, dict]:
    """(arrays, table, card). The signals are memory maps: pages come from the disk when they are looked at.

    Mapped copy-on-write: code that changes an array changes its own memory, never the pack. Checksums are compared once
    in each process, so that a flipped bit or a lost end does not pass for data.
    """
    folder = Path(folder)
    try:
        if what := changed(folder):
            raise ValueError(what)
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        if card["format"] != PACK_FORMAT:
            raise ValueError(f"its format is {card['format']}, expected {PACK_FORMAT}")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode=None if name == "activation" else "c")
                  for name in SHAPES}
        table = pd.read_csv(folder / "table.csv", dtype=card["columns"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(f"{folder} is no whole pack ({error}): it has to be made again.") from error
    return arrays, table.fillna({name: "" for name in ("heart", "kind", "design", "file")}), card  # "" is NaN in a CSV


def still_whole(array: np.ndarray) -> np.ndarray:
    """The array, if it is no map of a file that was cut meanwhile: to look at what is gone would kill the process."""
    file = array
    while isinstance(file, np.ndarray):
        file = file.base
    if isinstance(file, mmap.mmap) and file.size() < len(file):
        raise DataError(f"{array.filename} was cut to {file.size()} of {len(file)} bytes while it was in use. Load the "
                        "data again, which makes that file anew.")
    return array
