"""Tasks 3 and 4: an ECG in, the heart's activation map or its 75 voltages out. Load the cases, and split them fairly.

    data = load()                              # the published simulations where they are, else virtual hearts
    train, valid, test = split_by_heart(data)
    data[train].ecg_mv, data[train].activation_ms      # (cases, 12, 500) mV, (cases, 75) ms

All cases of a heart share its anatomy. A network that has seen a heart knows it; only a split by heart tells how well
it would do on a new patient. A split at random, as most published scores were made, has every heart on both sides.
"""
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, Split, find_data, fingerprint
from cardiac_ml.formats.intracardiac_files import (DATASET, PUBLISHED_HEARTS, cached_pack, natural, pack_of, read_pack,
                                                   still_whole, tidy, write_pack)
from cardiac_ml.formats.point_order import PointOrder, recover_point_order, reordered
from cardiac_ml.leads import to_leads
from cardiac_ml.virtual import kept

TEST_HEARTS = ("v14", "v15", "v16")  # of the 15 published; chosen by number alone, before any score was known
TEST_SHARE, VALID_SHARE = 3 / 15, 2 / 15  # of any other hearts: the last ones in natural order, v12 and v13 above
ARRAYS = ("electrodes_mv", "voltage_mv", "activation_ms")


@dataclass(frozen=True, eq=False, repr=False)
class Intracardiac:
    """Cases of one heartbeat each, 500 samples 1 ms apart. ``data[index]`` is a smaller set, ``data["v4"]`` one heart.

    The signals may be memory maps of the pack. An index that is a run of neighbouring cases (the fixed split by heart
    is made of those) gives views, any other gives copies.
    """
    electrodes_mv: np.ndarray  # (cases, 10, 500) float32, in the order of leads.ELECTRODES
    voltage_mv: np.ndarray  # (cases, 75, 500) float32, transmembrane, one row a recording point
    activation_ms: np.ndarray  # (cases, 75) float32, interpolated; NaN where a point never activates
    table: pd.DataFrame  # a row a case: heart, kind, pattern, innerindex, bcl, gkr, act, design, file ...
    source: str  # what it is and where it came from
    unpaired: tuple[str, ...] = ()  # files that lack their other half and were left out

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ecg_mv(self) -> np.ndarray:
        """(cases, 12, 500) float32: the twelve leads of all cases, in the order of leads.LEADS."""
        return to_leads(np.asarray(still_whole(self.electrodes_mv)))

    @property
    def hearts(self) -> np.ndarray:
        """(cases,) the name of each case's heart."""
        return self.table["heart"].to_numpy(dtype=str)

    def __getitem__(self, index) -> "Intracardiac":
        if isinstance(index, str) and index not in set(self.hearts):
            raise DataError(f"there is no heart {index}; there are {', '.join(dict.fromkeys(self.hearts))}.")
        rows = np.atleast_1d(np.arange(len(self))[self.hearts == index if isinstance(index, str) else index])
        if len(rows) and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)  # neighbours: numpy then makes views
        return replace(self, table=self.table.iloc[rows].reset_index(drop=True),
                       **{name: still_whole(getattr(self, name))[rows] for name in ARRAYS})

    def __repr__(self) -> str:
        """What is in the dataset, in a few lines: shown when a notebook ends a cell with it."""
        table, never = self.table, np.isnan(self.activation_ms)
        hearts, known_ms = list(dict.fromkeys(table["heart"])), self.activation_ms[~never]
        span = f"{known_ms.min():.1f} .. {known_ms.max():.1f} ms" if len(known_ms) else "none"
        unpaired = ", ".join(self.unpaired[:3]) + (" ..." if len(self.unpaired) > 3 else "")
        lines = {
            "cases": f"{len(self)} heartbeats of 500 ms at 1 kHz: 10 electrodes, 12 leads, 75 recording points, in mV",
            "hearts": f"{len(hearts)}: {', '.join(hearts if len(hearts) < 17 else [*hearts[:3], '...', hearts[-1]])}",
            "kinds": _counts(table["kind"]),
            "patterns": "{pattern} activation patterns, {innerindex} focal sites".format(**table.nunique()),
            "bcl (ms)": _counts(table["bcl"]), "gkr": _counts(table["gkr"]),
            "activation": f"{span}; {never.sum()} points in {never.any(axis=1).sum()} cases never activate (NaN)",
            "left out": f"{len(self.unpaired)} files without their other half{': ' * bool(unpaired)}{unpaired}",
            "source": self.source,
        }
        return "\n".join(["Intracardiac", *(f"  {name:<10} {text}" for name, text in lines.items())])


def _counts(column) -> str:
    counts = column.astype(object).where(column.notna(), "not given").astype(str).value_counts()
    return ", ".join(f"{value} ({counts[value]})" for value in sorted(counts.index, key=natural))


# ---- loading ----

def load(folder=None, *, hearts: int | None = None, cases: int | None = None, progress: bool = True) -> Intracardiac:
    """The real files where they are (``folder``, or intracardiac_dataset/ where find_data looks), else virtual hearts.

    At most so many ``hearts`` with so many ``cases`` each: all of real files, 120 with 15 of virtual ones (five have a
    focal beat from each of the 75 points instead). Where the files have fewer hearts, each gives more cases, spread
    over all of its files. Columns are in the order of the recording points where the files show it, as
    ``in_point_order`` says. The first call packs the files, or simulates, into the cache; later calls map that pack.
    """
    if isinstance(folder, int) or any(count is not None and count < 1 for count in (hearts, cases)):
        raise DataError(f"load({folder}, hearts={hearts}, cases={cases}): the first is a folder, hearts and "
                        "cases are counts from 1: load(hearts=8), say.")
    found = find_data(DATASET, folder)
    if found is None:
        data = simulate(hearts or 120, cases or 15, progress=progress)
        print(f"No {DATASET}/ here, so these are {data.source}. For the published simulations run "
              f"./download_intracardiac_dataset.sh, which puts them into {DATASET}/.")
        return data
    data = open_pack(pack_of(found, progress))
    names, of_heart = data.table["heart"], data.table.groupby("heart")["heart"]
    number, count, chosen = of_heart.cumcount(), of_heart.transform("size"), names.unique()[:hearts]
    wanted = np.minimum((cases or len(data)) * (hearts or len(chosen)) // len(chosen), count)
    few = names.isin(chosen) & ((number + 1) * wanted // count > number * wanted // count)
    return in_point_order(data if few.all() else data[few.to_numpy()], recover_point_order(data))


def simulate(hearts: int = 120, cases: int = 15, seed: int = 0, *, workers: int | None = None, progress: bool = True,
             **options) -> Intracardiac:
    """Virtual hearts, whatever lies on the disk; simulated once, then kept in the cache.

    ``options`` go to ``virtual.dataset.simulate_intracardiac`` (``lead_field="infinite"``, say).
    """
    return open_pack(kept.intracardiac(hearts, cases, seed, workers, progress, **options))


def elsewhere(hearts: int = 8, cases: int = 50, seed: int = 0, *, workers: int | None = None,
              progress: bool = True) -> Intracardiac:
    """Hearts of a second simulator, other physics, cells, torsos: how far does a network carry? For tests only."""
    return open_pack(kept.elsewhere(hearts, cases, seed, workers, progress))


def open_pack(folder) -> Intracardiac:
    """The dataset that ``intracardiac_files.write_pack`` put into ``folder``."""
    arrays, table, card = read_pack(folder)
    return Intracardiac(arrays["electrodes"], arrays["voltage"], arrays["activation"], table, card["source"],
                        tuple(card["unpaired"]))


def concatenate(*parts: Intracardiac) -> Intracardiac:
    """Several sets as one, in order. Hearts of the same name count as one heart: rename them in the table first."""
    return Intracardiac(*(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS),
                        tidy(pd.concat([part.table for part in parts], ignore_index=True)),
                        "; ".join(dict.fromkeys(part.source for part in parts)), sum((p.unpaired for p in parts), ()))


# ---- the split ----

def split_by_heart(data, test=None, valid=None) -> Split:
    """Row numbers of train, valid and test; no heart is in two parts. Fixed, so that scores can be compared.

    ``data`` is the dataset or its table. Tested are TEST_HEARTS of the published hearts, of others the last fifth in
    natural order. The last 2/15 of those that are left choose the model (published: v12, v13). Name your own hearts to
    test on others; ``test=()`` keeps none for a test.
    """
    names = lambda hearts: np.atleast_1d(np.asarray(hearts, dtype=str)).tolist()    # of one, several or none
    hearts = getattr(data, "table", data)["heart"].to_numpy(dtype=str)
    known = sorted(set(hearts.tolist()), key=natural)
    fixed = [heart for heart in TEST_HEARTS if heart in known] if set(known) <= set(PUBLISHED_HEARTS) else []
    test_hearts = names(test) if test is not None else fixed or known[-_share(TEST_SHARE, known):]
    left = [heart for heart in known if heart not in test_hearts]
    valid_hearts = left[-_share(VALID_SHARE, known):] if valid is None else names(valid)
    unknown = sorted({*test_hearts, *valid_hearts} - set(known), key=natural)
    if unknown or set(test_hearts) & set(valid_hearts):
        raise DataError(f"cannot split: {f'no heart {unknown}' if unknown else 'a heart is in valid and in test'}. "
                        f"The hearts are {', '.join(known)}; test {test_hearts}, valid {valid_hearts}.")
    in_valid, in_test = np.isin(hearts, valid_hearts), np.isin(hearts, test_hearts)
    split = Split(*(np.flatnonzero(part) for part in (~in_valid & ~in_test, in_valid, in_test)))
    empty_on_purpose = [name for name, part in (("valid", valid), ("test", test)) if part is not None and not len(part)]
    if empty := [name for name, rows in zip(Split._fields, split) if not len(rows) and name not in empty_on_purpose]:
        raise DataError(f"too few hearts to split: nothing is left for {' and '.join(empty)}. Three hearts at least.")
    return split


def _share(share, things) -> int:
    return max(1, round(len(things) * share))


# ---- columns in the order of the recording points ----

def in_point_order(data: Intracardiac, order: PointOrder | None = None) -> Intracardiac:
    """The dataset with column k at recording point k in every heart, and a line that says what was found.

    In the published files the order differs from heart to heart. The cases stimulated at one recording point show it,
    those of ``data`` or of a larger set whose ``order`` is given: few cases of a heart do not show it. Where nothing is
    out of order, all stays as it is; else hearts whose order is not sure are left out.
    """
    order = order or recover_point_order(data)
    report = order.report[order.report["heart"].isin(data.hearts)]
    sure, moved = report["sure"], report["sure"] & (report["moved"] > 0)
    if not moved.any():
        print(f"Columns are in the order of the recording points in all {sure.sum()} hearts that show it (of "
              f"{len(sure)})." if sure.any() else "The order of the columns is taken as it is: no heart here has the "
              "focal cases that would show it.")
        return data
    lost = report["heart"][~sure].tolist()
    print(f"Columns put in the order of the recording points in {moved.sum()} hearts"
          + f"; left out, since their order is not sure: {', '.join(lost)}" * bool(lost) + ".")
    return reorder(data[~np.isin(data.hearts, lost)] if lost else data, order)


def reorder(data: Intracardiac, order: PointOrder) -> Intracardiac:
    """The dataset with its columns in this order, a pack of its own in the cache; refuses hearts of unsure order."""
    columns = order.of(data.hearts)
    source = f"{data.source}; points put in order by their focal cases"
    version = fingerprint(data.table.to_csv(), columns, np.asarray(data.activation_ms))
    return open_pack(cached_pack(f"intracardiac_reordered-{len(data)}", version, lambda folder: write_pack(
        reordered(data, columns), folder, len(data), source, data.unpaired)))
