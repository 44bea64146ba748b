"""Write cases as the folders and files of the published intracardiac dataset, to the letter."""
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, new_folder
from cardiac_ml.formats.intracardiac_files import CASES_FILE


def write_pairs(batches, folder, source="virtual hearts made by cardiac_ml") -> Path:
    """Writes (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table) batches as the real set's folders and files.

    The folder appears when all of it is written; one that holds anything already is refused.
    """
    with new_folder(Path(folder).expanduser()) as part:
        _write_batches(batches, part, source)
    return Path(folder).expanduser()


def _write_batches(batches, folder, source):
    tables, used = [], set()
    for electrodes_mv, voltage_mv, table in batches:
        names = [_unused_name(case, used) for case in table.to_dict("records")]
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
    given = {key: int(case[key]) for key in ("bcl", "gkr", "innerindex", "pattern") if not pd.isna(case.get(key))}
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
