"""Tasks 3 and 4: an ECG in, the heart's activation map or its 75 voltages out. Load the cases, and split them fairly.

>>> dataset = load()  # doctest: +SKIP
>>> train, valid, test = split_by_heart(dataset.table)  # doctest: +SKIP
>>> dataset[train].ecg_mv.shape, dataset[train].activation_ms.shape  # doctest: +SKIP
((1200, 12, 500), (1200, 75))
"""
import hashlib
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml import pack
from cardiac_ml.activation import activation_times  # noqa: F401  (part of this room: what the labels are made with)
from cardiac_ml.files import DataError, cache_folder, find_data
from cardiac_ml.intracardiac_files import (CASES_FILE, PUBLISHED_PAIRS, PUBLISHED_TOTAL, find_pairs,  # noqa: F401
                                           list_files, natural, write_pairs)
from cardiac_ml.intracardiac_splits import (Split, split_by_heart, split_by_pattern, split_random)  # noqa: F401
from cardiac_ml.leads import to_leads
from cardiac_ml.pack import write_pack  # noqa: F401
from cardiac_ml.points import PointOrder, recover_point_order  # noqa: F401

NAME = "intracardiac_dataset"
PUBLISHED = "Landajuela, Anirudh, Blake 2022, doi 10.6075/J0SN094N"


@dataclass(frozen=True, eq=False, repr=False)
class Intracardiac:
    """Cases of one heartbeat each, 500 samples 1 ms apart. ``dataset[index]`` is a smaller one, of the same kind.

    The signals may be memory maps of the pack. An index that is a run of neighbouring cases (the fixed split by heart
    is made of those) gives views, any other gives copies.
    """
    electrodes_mv: np.ndarray  # (cases, 10, 500) float32, in the order of leads.ELECTRODES
    voltage_mv: np.ndarray  # (cases, 75, 500) float32, transmembrane, one row a recording point
    activation_ms: np.ndarray  # (cases, 75) float32, interpolated; NaN where a point never activates
    activation_grid_ms: np.ndarray  # (cases, 75) float32, the first whole millisecond above 0 mV; NaN as above
    table: pd.DataFrame  # a row a case: heart, kind, pattern, innerindex, bcl, gkr, act, design, file ...
    source: str  # what it is and where it came from
    unpaired: tuple[str, ...] = ()  # files that lack their other half and were left out

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ecg_mv(self) -> np.ndarray:
        """(cases, 12, 500) float32: the twelve leads of all cases, in the order of leads.LEADS."""
        return to_leads(np.asarray(self.electrodes_mv))

    @property
    def hearts(self) -> np.ndarray:
        """(cases,) the name of each case's heart."""
        return self.table["heart"].to_numpy(dtype=str)

    def __getitem__(self, index) -> "Intracardiac":
        rows = _as_rows(index, len(self))
        arrays = {name: getattr(self, name)[rows]
                  for name in ("electrodes_mv", "voltage_mv", "activation_ms", "activation_grid_ms")}
        return replace(self, table=self.table.iloc[rows].reset_index(drop=True), **arrays)

    def __repr__(self) -> str:
        return data_card(self)


def _as_rows(index, cases):
    """A slice where the index is a run of neighbours (numpy then makes views), else an array of row numbers."""
    rows = np.atleast_1d(np.arange(cases)[index])
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def data_card(dataset) -> str:
    """What is in the dataset, in a few lines: shown when a notebook ends a cell with it."""
    table, never = dataset.table, np.isnan(dataset.activation_ms)
    hearts = list(dict.fromkeys(table["heart"]))
    known_ms = dataset.activation_ms[~never]
    span = f"{known_ms.min():.1f} .. {known_ms.max():.1f} ms" if len(known_ms) else "none"
    unpaired = ", ".join(dataset.unpaired[:3]) + (" ..." if len(dataset.unpaired) > 3 else "")
    lines = {
        "cases": f"{len(dataset)} heartbeats of 500 ms at 1 kHz: 10 electrodes, 12 leads, 75 recording points, in mV",
        "hearts": f"{len(hearts)}: {', '.join(hearts if len(hearts) < 17 else [*hearts[:3], '...', hearts[-1]])}",
        "kinds": _counts(table["kind"]),
        "patterns": f"{table['pattern'].nunique()} activation patterns, {table['innerindex'].nunique()} focal sites",
        "bcl (ms)": _counts(table["bcl"]),
        "gkr": _counts(table["gkr"]),
        "activation": f"{span}; {never.sum()} points in {never.any(axis=1).sum()} cases never activate (NaN)",
        "left out": f"{len(dataset.unpaired)} files without their other half{': ' * bool(unpaired)}{unpaired}",
        "source": dataset.source,
    }
    return "\n".join(["Intracardiac", *(f"  {name:<10} {text}" for name, text in lines.items())])


def _counts(column) -> str:
    counts = column.astype(object).where(column.notna(), "not given").astype(str).value_counts()
    return ", ".join(f"{value} ({counts[value]})" for value in sorted(counts.index, key=natural))


def reorder(dataset, order: PointOrder) -> Intracardiac:
    """The dataset with its columns in the order of the recording points, as recover_point_order found it.

    Refuses hearts it is not sure of. The voltages in their new order are a pack of their own in the cache.
    """
    unsure = order.report.loc[~order.report["sure"], "heart"].tolist()
    if wrong := sorted(set(dataset.table["heart"]) & set(unsure) | set(dataset.table["heart"]) - set(order.columns)):
        raise DataError(f"the order of the points is not sure in heart {', '.join(wrong)}; see order.report. "
                        "Leave those hearts out: dataset[~np.isin(dataset.hearts, [...])].")
    columns = np.stack([order.columns[heart] for heart in dataset.hearts])  # (cases, 75)
    version = _digest(dataset.table.to_csv(), columns.tobytes(), np.asarray(dataset.activation_ms).tobytes())

    def write(destination):
        parts = (slice(first, first + 256) for first in range(0, len(dataset), 256))
        blocks = (_reordered(dataset[part], columns[part]) for part in parts)
        source = f"{dataset.source}; points put in order by their focal cases"
        pack.write_blocks(blocks, destination, source, dataset.unpaired, len(dataset))

    return _packed(f"{pack.NAME}_reordered", version, write)


def _reordered(dataset, columns) -> pack.Block:
    voltage = np.take_along_axis(dataset.voltage_mv, columns[:, :, None], axis=1)
    activation, grid = (np.take_along_axis(times, columns, axis=1)
                        for times in (dataset.activation_ms, dataset.activation_grid_ms))
    return pack.Block(dataset.electrodes_mv, voltage, activation, grid, dataset.table)


# ---- loading ----

def load(folder=None, *, virtual_hearts=30, virtual_cases=60, seed=0, workers=None, progress=True) -> Intracardiac:
    """The real files where they are (``folder``, or intracardiac_dataset/ where find_data looks), else virtual hearts.

    The first call packs the files, or simulates, into the cache; later calls map that pack into memory.
    """
    found = find_data(NAME, folder)
    if found is not None:
        return _load_files(found, workers, progress)
    dataset = _load_virtual(virtual_hearts, virtual_cases, seed, workers, progress)
    print(f"No {NAME}/ here, so these are {dataset.source}. For the published simulations run "
          f"./download_intracardiac_dataset.sh, which puts them into {NAME}/.")
    return dataset


def open_pack(folder) -> Intracardiac:
    """The dataset that write_pack put into ``folder``."""
    arrays, table, card = pack.read_pack(folder)
    return Intracardiac(**{f"{name}_{'ms' if 'activation' in name else 'mv'}": array for name, array in arrays.items()},
                        table=table, source=card["source"], unpaired=tuple(card["unpaired"]))


def _load_files(folder, workers, progress) -> Intracardiac:
    files = list_files(folder)
    owner = f"{pack.NAME}_{_digest(str(folder.resolve()))[:8]}"

    def write(destination):
        table, pairs, unpaired = find_pairs(folder, files)
        blocks = pack.read_blocks(table, pairs, workers, progress)
        pack.write_blocks(blocks, destination, _source(folder, table), unpaired, len(pairs))

    known = (folder / CASES_FILE).stat().st_mtime_ns if (folder / CASES_FILE).is_file() else 0
    listing = "".join(f"{path} {size} {time_ns}\n" for path, (size, time_ns) in sorted(files.items()))
    return _packed(owner, _digest(listing, known), write)


def _load_virtual(hearts, cases, seed, workers, progress) -> Intracardiac:
    from cardiac_ml.virtual import dataset  # heavy, and needed only where no real file is

    def write(destination):
        batches = dataset.simulate_intracardiac(hearts, cases, seed=seed, workers=workers, progress=progress)
        source = f"virtual hearts, simulated by this kit ({hearts} hearts, seed {seed})"
        write_pack(batches, destination, source, cases=hearts * cases)

    return _packed(f"{pack.NAME}_virtual-{hearts}-{cases}-{seed}", _digest(_simulator(dataset)), write)


def _packed(owner, version, write) -> Intracardiac:
    """The owner's pack in this version: written first if absent or damaged, and the owner's older ones removed."""
    folder = cache_folder() / f"{owner}_{version[:12]}"
    if (dataset := _opened(folder)) is not None:
        return dataset
    write(folder)
    for old in folder.parent.glob(f"{owner}_*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return open_pack(folder)


def _opened(folder) -> Intracardiac | None:
    try:
        return open_pack(folder)
    except DataError:  # absent, or damaged by hand or a power cut: write_blocks replaces it
        return None


def _digest(*parts) -> str:
    return hashlib.sha256(repr((pack.FORMAT, *parts)).encode()).hexdigest()


def _simulator(dataset) -> list[bytes]:
    """What the simulator is, as the text of its source: other code makes other hearts, and they get another pack."""
    return [path.read_bytes() for path in sorted(Path(dataset.__file__).parent.glob("*.py"))]


def _source(folder, table) -> str:
    written = (folder / CASES_FILE).with_name("source.txt")
    if written.is_file():
        return f"{written.read_text(encoding='utf-8').strip()}, as files in {folder}"
    published = ("data_" + table["design"]).isin(PUBLISHED_PAIRS).sum()
    return f"{PUBLISHED}: {published} of {PUBLISHED_TOTAL} published pairs, in {folder}"
