"""What the kit itself can tell, once its packages are there: device, data, cache, networks, a small round of work."""
import io
import os
import re
import shutil
import tempfile
import zipfile
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
import torch

from cardiac_ml import heartbeats, metrics, models, training
from cardiac_ml.check.machine import NOTE, row
from cardiac_ml.download import SETS, physionet
from cardiac_ml.files import DataError, cache_folder, changed, checksum, find_data
from cardiac_ml.formats import heartbeat_files, intracardiac_files
from cardiac_ml.leads import ELECTRODES, to_leads

SHIPPED = ("task_3", "task_4", "xray")  # networks that come with the kit
SAMPLE = 12  # intracardiac pairs that are read in full, of however many there are
LARGEST_HEADER = 1024  # bytes, before the numbers of a .npy file


def rows():
    """All rows, one by one, as they are found. Bad data are a row and no error."""
    yield device()
    for name, look in (("heartbeats", beats_on_disk), ("intracardiac", pairs_on_disk), ("records", records_on_disk),
                       ("cache", cache), ("networks", networks), ("self-test", self_test)):
        try:
            yield look()
        except (DataError, OSError) as error:
            found, _, advice = str(error).partition(". ")
            yield row(name, found, advice or "Free or correct that file")
        except Exception as error:  # whatever else it is: the check goes on, and the report has it
            yield row(name, f"{type(error).__name__}: {error}", "Paste this into an issue of the kit")


def device():
    """What training would use by itself."""
    chosen = training.pick_device()
    precision = training.pick_precision("auto", chosen)
    with training.cpu_threads():
        threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    found = f"{chosen.type}, {precision}, {threads}, torch {torch.__version__}"
    if chosen.type == "cuda":
        card = torch.cuda.get_device_properties(chosen)
        return row("device", f"{card.name}, {card.total_memory / 1e9:.0f} GB; {found}")
    if shutil.which("nvidia-smi"):
        return row("device", f"{found}; there is an NVIDIA card, which this PyTorch does not see",
                   "Delete .venv and set up again, for the build for GPUs; or update the driver", NOTE)
    apple = torch.backends.mps.is_available()
    return row("device", found + "; Apple's GPU only when asked for: device='mps'" * apple)


# ---- data ----

def beats_on_disk():
    """The four CSV files: which are there, with how many lines, and whether the last one is whole."""
    place = heartbeat_files.find_folder()
    published = heartbeat_files.PUBLISHED_ROWS
    sources = {name: place and heartbeat_files.find_file(place, f"{name}.csv") for name in published}
    there = {name: source for name, source in sources.items() if source}
    if not there:
        return row("heartbeats", f"no real ones{f' in {place}' if place else ''}: virtual ones stand in "
                   "(python -m cardiac_ml download heartbeats)")
    counts = {name: count_lines(source, heartbeat_files.CLASSES_IN[name]) for name, source in there.items()}
    for pair in (("ptbdb_normal", "ptbdb_abnormal"), ("mitbih_train", "mitbih_test")):
        missing = [name for name in pair if name not in there]
        if len(missing) == 1:
            return row("heartbeats", f"{place} has no {missing[0]}.csv",
                       f"Get archive.zip from {heartbeat_files.KAGGLE} and put it there as it is")
        if not missing:
            heartbeat_files.read_tables({name: there[name] for name in pair}, {name: counts[name] for name in pair})
    other = [f"{name}.csv has {rows:,} of Kaggle's {published[name]:,} lines"
             for name, rows in counts.items() if rows != published[name]]
    first = next(iter(there.values()))
    if other and not heartbeat_files.find_beside(first, "source.txt"):
        return row("heartbeats", f"{first.path}: {', '.join(other)}",
                   f"If these should be Kaggle's files they were cut; get archive.zip from {heartbeat_files.KAGGLE}")
    what = "with a source.txt of their own" if other else "all of Kaggle's lines"
    return row("heartbeats", f"real, {len(there)} of 4 files, {sum(counts.values()):,} beats, {what}: {first.path}")


def count_lines(source, labels):
    """Lines of a CSV file; a DataError where it is damaged, or where its first or last line is not one of beats."""
    lines, first, last, rest = 0, b"", b"", b""
    try:
        with heartbeat_files.opened(source) as stream:
            while block := stream.read(1 << 22):
                first = first or block[:1 << 14].partition(b"\n")[0]
                lines += block.count(b"\n")
                whole, _, rest = (rest + block).rpartition(b"\n")
                last = whole.rstrip().rpartition(b"\n")[2] or last
    except heartbeat_files.BROKEN_ARCHIVE as error:
        raise DataError(f"{source} is damaged or incomplete ({error}). {heartbeat_files.AGAIN}") from error
    if not lines and not rest:
        raise DataError(f"{source} is empty. {heartbeat_files.AGAIN}")
    for text in (first, rest.strip() or last):
        if fault := heartbeat_files.line_fault(text.decode("utf-8-sig", "replace").strip().split(","), labels):
            raise DataError(f"{source}: its {'first' if text is first else 'last'} line {fault}")
    return lines + bool(rest.strip())


def pairs_on_disk():
    """The pairs: how many, which files are alone or too short; a few are read in full."""
    folder = find_data(intracardiac_files.DATASET)
    again = "./download_intracardiac_dataset.sh fetches what is missing"
    if folder is None:
        return row("intracardiac", f"no real files: virtual hearts stand in ({again.split()[0]}, 5.2 GB)")
    files = intracardiac_files.list_files(folder)
    table, pairs, alone = intracardiac_files.find_pairs(folder, files)
    if alone:
        return row("intracardiac", f"{len(alone)} of {len(files)} files in {folder} lack their other half, such as "
                   f"{alone[0]}", again)
    columns = {"pECGData": intracardiac_files.ELECTRODE_COUNT, "VmData": intracardiac_files.POINT_COUNT}
    short = [name for name, (size, _) in files.items()
             if not has_size_of(size, columns[name.rpartition("/")[2].partition("_")[0]])]
    if short:
        return row("intracardiac", f"{len(short)} files in {folder} are cut short or of another shape, such as "
                   f"{short[0]}", f"Remove them; {again}")
    for at in np.unique(np.linspace(0, len(pairs) - 1, SAMPLE).astype(int)):
        intracardiac_files.read_pair(*pairs[at])
    published = ("data_" + table["design"]).isin(intracardiac_files.PUBLISHED_PAIRS).all() and table["heart"].isin(
        intracardiac_files.PUBLISHED_HEARTS).all()
    found = f"real files, {len(pairs):,} pairs of {table['heart'].nunique()} hearts in {folder}"
    if published and len(pairs) < intracardiac_files.PUBLISHED_TOTAL:
        return row("intracardiac", f"{found}; published are {intracardiac_files.PUBLISHED_TOTAL:,}", again)
    return row("intracardiac", found)


def has_size_of(size, columns):
    """Whether so many bytes can be a .npy file of (500, columns) numbers, of 4 or of 8 bytes each."""
    return any(0 < size - bytes_each * intracardiac_files.SAMPLES * columns <= LARGEST_HEADER for bytes_each in (4, 8))


def records_on_disk():
    """Raw records of PhysioNet, which only new patients and lead importance need."""
    found = []
    for name, one in SETS.items():
        folder = find_data(one.home)
        if not one.wanted or folder is None:
            continue
        if lacking := physionet.lacking(folder, one.wanted):
            return row("records", f"{folder} lacks {len(lacking):,} files, such as {lacking[0]}",
                       f"python -m cardiac_ml download {name} goes on where it was")
        found.append(f"{name}, {sum(1 for _ in folder.rglob('*.hea')):,} records")
    return row("records", "; ".join(found) or "no raw ones; only new patients and lead importance use them")


# ---- what the kit keeps and brings ----

def cache():
    """Packed files and virtual hearts: every file against its checksum."""
    folder = cache_folder()
    if not folder.is_dir():
        return row("cache", f"{folder} does not exist yet: virtual hearts are made at first use")
    kept = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    wrong = {path: what for path in kept if (what := broken(path))}
    if wrong:
        what = "; ".join(f"{path.name}: {what}" for path, what in wrong.items())
        return row("cache", f"{len(wrong)} of {len(kept)} parts of {folder} are not whole: {what}",
                   f"Delete {' and '.join(map(str, wrong))}: made again at the next use")
    size_gb = sum(file.stat().st_size for path in kept for file in path.rglob("*") if file.is_file()) / 1e9
    names = sorted({re.split("[-_][0-9]", path.name)[0] for path in kept})
    return row("cache", f"{size_gb:.1f} GB, whole, in {folder}: {', '.join(names) or 'nothing yet'}")


def broken(folder):
    """What is wrong with one part of the cache, "" if nothing is."""
    if (folder / "checksums.json").exists() or folder.name.startswith(("intracardiac_", "virtual_heartbeats_")):
        return changed(folder)
    for path in folder.rglob("*.npz"):
        try:
            with zipfile.ZipFile(path) as archive:
                if name := archive.testzip():
                    return f"{path.name}: {name} is damaged"
        except zipfile.BadZipFile as error:
            return f"{path.name}: {error}"
    return ""


def networks(folder=Path(training.__file__).parent / "trained"):
    """The networks that come with the kit: every weight against the checksums of its file."""
    for name in SHIPPED:
        training.read_saved(folder / f"{name}.npz")
    return row("networks", ", ".join(f"{name} {checksum(folder / f'{name}.npz')}" for name in SHIPPED))


# ---- a small round of work ----

def self_test():
    """Load two files, train, predict and score, and ask a trained network: all in a folder that goes away again.

    On one thread: for so little work, several wait for each other, on a busy machine for many seconds.
    """
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, variables(CARDIAC_ML_CACHE=f"{folder}/cache", OMP_NUM_THREADS="1"):
        for label, name in enumerate(("ptbdb_normal", "ptbdb_abnormal")):
            beats = rng.uniform(0, 0.4, (96, heartbeat_files.COLUMNS)).astype(np.float32)
            beats[:, 60:90] += 0.5 * label
            beats[:, -1] = label
            heartbeat_files.write_rows(Path(folder) / f"{name}.csv", beats)
        data = heartbeats.load_ptb(folder)
        train, test = data[::2], data[1::2]
        with redirect_stderr(io.StringIO()):  # a bar of one second
            net, _ = training.fit(models.HeartbeatNet(classes=2, width=8), (train.beats, train.label), epochs=10,
                                  batch_size=16)
        auroc = metrics.auroc(test.label, training.probabilities(training.predict(net, test.beats)))
        electrodes_mv = rng.normal(0, 1, (1, len(ELECTRODES), 1)) * np.sin(
            np.linspace(0, 6, intracardiac_files.SAMPLES))
        ecg_mv = to_leads(electrodes_mv).astype(np.float32)
        times_ms, _ = models.times_and_spreads(training.predict(training.pretrained("task_3"), ecg_mv))
    found = f"loaded, trained, predicted, scored: AUROC {auroc:.2f} (above 0.95); a map of {times_ms.size} points"
    well = auroc > 0.95 and np.isfinite(times_ms).all()
    return row("self-test", found, "" if well else "This machine computes wrongly: paste this into an issue of the kit")


@contextmanager
def variables(**named):
    """Inside the block these environment variables are set."""
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
