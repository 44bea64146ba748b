"""Many small files become a few large ones, once: arrays that later loads map into memory instead of reading them.

A pack is a folder of ``electrodes.npy`` (cases, 10, 500), ``voltage.npy`` (cases, 75, 500), ``activation.npy`` and
``activation_grid.npy`` (cases, 75), all float32, ``table.csv`` and ``card.json``. float32 keeps the voltage to 0.004 uV
and needs no scale to be remembered; activation times are found in the files' float64 before anything is rounded.

It is written under a temporary name and renamed when whole, so nobody ever reads half of one: not after a crash, and
not while another process packs the same files (the first to finish wins, the other takes the winner's).
"""
import json
import os
import shutil
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.activation import activation_times
from cardiac_ml.files import DataError
from cardiac_ml.intracardiac_files import ELECTRODE_COUNT, POINT_COUNT, SAMPLES, read_pairs, tidy

NAME = "intracardiac"  # packs are folders NAME_... in the cache
FORMAT = 1  # part of every pack's name: a kit that stores something else makes its own
SHAPES = {"electrodes": (ELECTRODE_COUNT, SAMPLES), "voltage": (POINT_COUNT, SAMPLES),
          "activation": (POINT_COUNT,), "activation_grid": (POINT_COUNT,)}
CASE_BYTES = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values()) + 200
PAIRS_A_BLOCK = 8  # 3 MB of float64 in each thread at a time
ABANDONED_S = 24 * 3600  # an unfinished pack this old belongs to nobody, whatever machine it came from


class Block(NamedTuple):
    """Some cases as a pack stores them, float32."""
    electrodes: np.ndarray  # (n, 10, 500)
    voltage: np.ndarray  # (n, 75, 500)
    activation: np.ndarray  # (n, 75)
    activation_grid: np.ndarray  # (n, 75)
    table: pd.DataFrame  # n rows


# ---- cases become blocks ----

def block_of(electrodes_mv, voltage_mv, table) -> Block:
    """A batch (n, 500, 10), (n, 500, 75) with its table of n rows, time first as in the files, as a block."""
    for name, array, columns in (("electrodes", electrodes_mv, ELECTRODE_COUNT), ("voltage", voltage_mv, POINT_COUNT)):
        if np.shape(array) != (len(table), SAMPLES, columns):
            raise DataError(f"a batch with a table of {len(table)} rows has {name} of shape {np.shape(array)}, "
                            f"expected ({len(table)}, {SAMPLES}, {columns}).")
        if not np.isfinite(array).all():
            raise DataError(f"a batch holds NaN or infinity in its {name}; a pack is made of whole signals.")
    return _turned(electrodes_mv, voltage_mv, table)


def _turned(electrodes_mv, voltage_mv, table) -> Block:
    """Channels first and float32; the activation times come from what there was before rounding."""
    electrodes, voltage = (np.swapaxes(array, 1, 2) for array in (electrodes_mv, voltage_mv))
    activation, grid = activation_times(voltage)
    return Block(np.ascontiguousarray(electrodes, np.float32), np.ascontiguousarray(voltage, np.float32),
                 activation, grid, table)


def read_blocks(table, pairs, workers: int | None = None, progress: bool = True) -> Iterator[Block]:
    """The pairs' files as blocks, in order, read by threads (numpy lets go of the interpreter while it works)."""
    from tqdm.auto import tqdm

    def read(first):
        rows = slice(first, first + PAIRS_A_BLOCK)
        return _turned(*read_pairs(pairs[rows]), table.iloc[rows])

    workers = workers or min(8, max(2, os.cpu_count() or 2))
    bar = tqdm(total=len(pairs), desc="packing", unit="pairs", disable=not progress)
    with bar, ThreadPoolExecutor(workers) as pool:
        for block in _in_order(pool, read, range(0, len(pairs), PAIRS_A_BLOCK), 2 * workers):
            bar.update(len(block.table))
            yield block


def _in_order(pool, function, items, longest):
    """pool.map with a short queue: threads that read faster than the disk writes must not fill the memory."""
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > longest:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for task in waiting:
            task.cancel()


# ---- blocks become a pack ----

def write_pack(batches, folder, source, unpaired=(), cases=None) -> Path:
    """Packs (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table) batches into ``folder``; see write_blocks."""
    return write_blocks((block_of(*batch) for batch in batches), folder, source, unpaired, cases)


def write_blocks(blocks, folder, source, unpaired=(), cases=None) -> Path:
    """The pack of these blocks, whole or not at all; a whole one that is there when this ends stays as it is.

    ``cases``, if known, is how many there will be: the disk is then checked beforehand.
    """
    folder = Path(folder)
    unfinished = folder.parent / f".{folder.name}.{_owner()}.{uuid.uuid4().hex[:8]}.part"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clean(folder.parent)
        _check_space(folder.parent, cases)
        unfinished.mkdir()
        _write_card(_write_arrays(blocks, unfinished), unfinished, source, unpaired)
        _rename(unfinished, folder)
    except OSError as error:
        raise OSError(f"Could not write the pack {folder}: {error}. Free some space, or set CARDIAC_ML_CACHE to a "
                      "folder where there is room. Nothing was lost: the data files are as they were.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_arrays(blocks, unfinished) -> pd.DataFrame:
    tables = []
    with ExitStack() as stack:
        arrays = {name: stack.enter_context(_growing(unfinished / f"{name}.npy", SHAPES[name])) for name in SHAPES}
        for block in blocks:
            for name, append in arrays.items():
                append(getattr(block, name))
            tables.append(block.table)
    if not tables:
        raise DataError("no case to pack: the batches were empty.")
    return tidy(pd.concat(tables, ignore_index=True))


@contextmanager
def _growing(path, shape):
    """Yields append(array (n, *shape)) for a .npy file whose number of rows is known only when it ends.

    Plain writes, not a memory map: on a full disk those raise an error, where a map would kill the process.
    """
    rows = 0

    def header(file):
        fields = {"descr": "<f4", "fortran_order": False, "shape": (rows, *shape)}
        np.lib.format.write_array_header_1_0(file, fields)  # leaves room for the row count to grow in place
        return file.tell()

    def append(array):
        nonlocal rows
        file.write(np.ascontiguousarray(array, dtype="<f4").data)
        rows += len(array)

    with open(path, "wb") as file:
        start = header(file)
        yield append
        file.seek(0)
        assert header(file) == start, "the header of a .npy file changed its length"


def _write_card(table, unfinished, source, unpaired):
    table.to_csv(unfinished / "table.csv", index=False)
    card = {"format": FORMAT, "source": source, "unpaired": list(unpaired), "cases": len(table),
            "columns": {name: str(kind) for name, kind in table.dtypes.items()}}
    (unfinished / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")


def _rename(unfinished, folder):
    for attempt in range(2):
        try:
            unfinished.rename(folder)
            return
        except OSError:
            if is_whole(folder):
                return  # another process was faster, and its pack is as good
            if attempt or not folder.exists():
                raise
            shutil.rmtree(folder)  # damaged, by hand or by a power cut


# ---- disk ----

def _check_space(folder, cases):
    needed, free = (cases or 0) * CASE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"it needs {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free")


def _owner() -> str:
    return f"{socket.gethostname().replace('.', '-')}.{os.getpid()}"


def clean(cache) -> None:
    """Removes what killed processes left unfinished; what a living one writes at this moment stays."""
    for folder in Path(cache).glob(f".{NAME}*.*.*.*.part"):
        owner, process = folder.name.rsplit(".", 2)[0], folder.name.split(".")[-3]
        here = owner.endswith(_owner().rpartition(".")[0] + "." + process) and process.isdigit()
        with suppress(OSError):  # another process may be cleaning too
            if not _lives(int(process)) if here else time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether a process of this machine runs. Where asking would end it (Windows), all are taken to live."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # signal 0 asks and does nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so it lives
    return True


# ---- a pack is read ----

def is_whole(folder) -> bool:
    """Whether the folder holds a pack of this format with every file at its full length."""
    try:
        read_pack(folder)
    except DataError:
        return False
    return True


def read_pack(folder) -> tuple[dict[str, np.ndarray], pd.DataFrame, dict]:
    """(arrays, table, card). The signals are memory maps: pages come from the disk when they are looked at.

    Mapped copy-on-write: code that changes an array changes its own memory, never the pack.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c" if name in ("electrodes", "voltage") else None)
                  for name in SHAPES}
        table = pd.read_csv(folder / "table.csv", dtype=card["columns"])
        table = table.fillna({name: "" for name in ("heart", "kind", "design", "file")})  # what CSV makes of no text
        sound = card["format"] == FORMAT and card["cases"] == len(table)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{folder} is no whole pack ({error}). Remove it; it will be made again.") from error
    if not sound or any(arrays[name].shape != (len(table), *shape) for name, shape in SHAPES.items()):
        raise DataError(f"{folder} is a pack of another format, or damaged. Remove it; it will be made again.")
    return arrays, table, card
