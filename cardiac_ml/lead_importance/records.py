"""Thousands of twelve-lead records made ready for a network, once: the leads of one length and rate, and who has what.

    hospital = prepare("chapman")     # or a folder of PTB-XL, or of the CinC challenges 2020 and 2021
    hospital.ecg_mv(rows)             # (rows, 8, 1000) mV, 100 Hz: I, II, V1 to V6
    hospital.table, hospital.left_out, hospital.unmapped

What was prepared lies in the cache, in blocks of 256 records: a run that is stopped goes on where it was.
"""
import ast
import json
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.signal import butter, sosfiltfilt
from tqdm.auto import tqdm

from cardiac_ml.files import DataError, Split, atomic_write, cache_folder, code_fingerprint, fingerprint
from cardiac_ml.lead_importance.twelve_leads import TARGETS, check_quality, comments_of, read_record, resampled
from cardiac_ml.leads import INDEPENDENT, independent

RATE_HZ, SECONDS, BLOCK = 100, 10, 256
STEP_MV = 0.002  # of the stored whole numbers
HIGH_PASS = butter(2, 0.5, "highpass", fs=RATE_HZ, output="sos")
SHORTEST_S = 5.0  # a shorter record is left out; one between this and SECONDS is filled with zeros


@dataclass(frozen=True, eq=False)
class Hospital:
    """Prepared records. ``table``: record, patient, fold (of PTB-XL, else 0), targets (tuple of names), age, sex."""
    name: str
    stored: np.ndarray  # (records, 8, samples) int16, a memory map
    table: pd.DataFrame
    left_out: pd.DataFrame  # record, reason
    unmapped: Counter  # code -> how often, of diagnoses that no target has

    def __len__(self):
        return len(self.table)

    def ecg_mv(self, rows=slice(None)):
        """(rows, 8, 1000) mV."""
        ecg_mv = self.stored[self.table["place"].to_numpy()[rows]].astype(np.float32)
        ecg_mv *= STEP_MV  # in place: all records of a large hospital are 1.4 GB
        return ecg_mv

    def labels(self, targets):
        """(records, targets) 0 or 1."""
        return np.array([[name in has for name in targets] for has in self.table["targets"]], np.float32)

    def split(self, seed=0):
        """Rows of whole patients: by the published folds of PTB-XL (8, 1, 1), else 7, 1 and 2 tenths of them."""
        fold, last = self.table["fold"].to_numpy(), 8
        if not (fold > 0).all():
            patients, owner = np.unique(self.table["patient"].to_numpy(str), return_inverse=True)
            order = np.random.default_rng(seed).permutation(len(patients)) + 1
            fold, last = np.ceil(order * 10 / len(patients))[owner], 7
        return Split(*(np.flatnonzero(part) for part in (fold <= last, fold == last + 1, fold > last + 1)))


def prepare(folder, workers=None, progress=True, name=None):
    """The Hospital of a folder, from the cache where it was prepared before; called as the folder, if not ``name``."""
    folder = Path(folder).expanduser()
    listed = list_ptbxl(folder) if (folder / "ptbxl_database.csv").exists() else list_wfdb(folder)
    here = [Path(__file__), Path(__file__).with_name("twelve_leads.py")]
    files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in listed["header"]]
    cache = cache_folder() / "hospitals" / fingerprint(code_fingerprint(*here), str(folder.resolve()), files)
    cache.mkdir(parents=True, exist_ok=True)
    stored, shape = cache / "ecg.npy", (len(listed), len(INDEPENDENT), RATE_HZ * SECONDS)
    if not _has_place(stored, shape):
        if stored.exists():
            print(f"{stored} is damaged, so it is made again.")
        part = cache / "ecg.part.npy"
        np.lib.format.open_memmap(part, "w+", np.int16, shape).flush()
        part.replace(stored)
    blocks = [listed.iloc[start:start + BLOCK] for start in range(0, len(listed), BLOCK)]
    jobs = [delayed(_prepare_block)(stored, number, block) for number, block in enumerate(blocks)
            if not _is_whole(stored, number)]
    done = Parallel(n_jobs=workers or -1, return_as="generator_unordered")(jobs)
    bar = tqdm(done, initial=len(blocks) - len(jobs), total=len(blocks), desc=f"preparing {folder.name}",
               unit=f"block of {BLOCK}", disable=not progress or not jobs)
    for _ in bar:
        pass
    return _open(name or folder.name, stored, len(blocks))


def _has_place(stored, shape):
    try:
        memory = np.load(stored, mmap_mode="r")
        return (memory.shape, memory.dtype) == (shape, np.int16)
    except (OSError, ValueError, EOFError):  # absent, or its header or its end is lost
        return False


def _block_file(stored, number):
    return stored.with_name(f"block_{number:05d}.json")


def _is_whole(stored, number):
    """A block counts where its list is there, and list and samples are those that were written."""
    try:
        block = json.loads(_block_file(stored, number).read_text())
        rows = np.load(stored, mmap_mode="r")[number * BLOCK:(number + 1) * BLOCK]
        return block["crc32"] == _crc32(rows, block["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _crc32(samples, rows):
    return zlib.crc32(json.dumps(rows).encode(), zlib.crc32(np.ascontiguousarray(samples)))


def _prepare_block(stored, number, listed):
    """Read, check, filter and store one block; a record that is not good enough gets a reason instead."""
    samples, rows = np.zeros((len(listed), len(INDEPENDENT), RATE_HZ * SECONDS), np.int16), []
    for place, record in enumerate(listed.to_dict("records")):
        row = {name: record[name] for name in listed.columns if name != "header"} | dict(place=number * BLOCK + place)
        try:
            signal_mv, header = read_record(record["header"], SECONDS)
            if "codes" not in row:
                row |= comments_of(header.comments)
            samples[place] = ready(signal_mv, header.fs)
        except DataError as error:
            row["reason"] = str(error)
        rows.append(row)
    memory = np.load(stored, mmap_mode="r+")
    memory[number * BLOCK:number * BLOCK + len(samples)] = samples
    memory.flush()
    with atomic_write(_block_file(stored, number), "w") as file:
        json.dump(dict(crc32=_crc32(samples, rows), rows=rows), file)


def ready(signal_mv, rate_hz):
    """(12, samples) mV at any rate -> (8, 1000) whole numbers of STEP_MV at 100 Hz, without drift of the baseline."""
    seconds = signal_mv.shape[1] / rate_hz
    if seconds < SHORTEST_S:
        raise DataError(f"lasts {seconds:.1f} s; at least {SHORTEST_S:g} s are needed.")
    check_quality(signal_mv)
    ecg = sosfiltfilt(HIGH_PASS, resampled(independent(signal_mv), rate_hz, RATE_HZ), axis=-1)[:, :RATE_HZ * SECONDS]
    whole = np.zeros((len(ecg), RATE_HZ * SECONDS), np.int16)
    whole[:, :ecg.shape[1]] = np.clip(np.round(ecg / STEP_MV), -32767, 32767)
    return whole


def _open(name, stored, blocks):
    rows = pd.DataFrame([row for number in range(blocks)
                         for row in json.loads(_block_file(stored, number).read_text())["rows"]])
    reason = rows["reason"] if "reason" in rows else pd.Series(None, index=rows.index, dtype=object)
    table, left_out = rows[reason.isna()].drop(columns="reason", errors="ignore"), rows[reason.notna()]
    if table.empty:
        first = left_out.iloc[0]
        raise DataError(f"None of the {len(rows)} records of {name} can be used. {first.record}: {first.reason}")
    target_of = {code: target for target, codes in TARGETS.items() for code in codes}
    table = table.assign(targets=[tuple(dict.fromkeys(target_of[c] for c in codes if c in target_of))
                                  for codes in table["codes"]]).reset_index(drop=True)
    unmapped = Counter(code for codes in table["codes"] for code in codes if code not in target_of)
    return Hospital(name, np.load(stored, mmap_mode="r"), table, left_out.reset_index(drop=True), unmapped)


# ---- what lies in a folder ----

def list_wfdb(folder):
    """Records of any WFDB folder. A header may name the patient ("# Patient: ..."); else each record counts as one."""
    headers = sorted(path for path in folder.rglob("*.hea") if not path.name.startswith("."))
    if not headers:
        hint = " PTB-XL needs its ptbxl_database.csv in this folder." if list(folder.glob("records*")) else ""
        raise DataError(f"{folder} holds no WFDB records (.hea files).{hint}")
    if list(folder.glob("records[15]00")):
        raise DataError(f"{folder} looks like PTB-XL, but ptbxl_database.csv, which has its patients and diagnoses, is "
                        "missing. Copy it beside the folders records100 and records500.")
    return pd.DataFrame(dict(header=headers, record=[path.stem for path in headers],
                             patient=[path.stem for path in headers], fold=0))


def list_ptbxl(folder):
    """Records of PTB-XL by its table; ``records100`` where it is there, else ``records500``."""
    path = folder / "ptbxl_database.csv"
    needed = ["ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr"]
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table that can be read ({error}). Download it again.") from error
    if missing := [name for name in needed if name not in table]:
        raise DataError(f"{path} lacks the column {', '.join(missing)}. Download version 1.0.3 again.")
    column = "filename_lr" if (folder / "records100").is_dir() else "filename_hr"
    listed = pd.DataFrame(dict(header=[folder / f"{name}.hea" for name in table[column]],
                               record=table["ecg_id"].astype(str), patient=table["patient_id"].astype(int).astype(str),
                               fold=table["strat_fold"].astype(int),
                               codes=[tuple(ast.literal_eval(codes)) for codes in table["scp_codes"]]))
    there = [header.exists() for header in listed["header"]]
    if not any(there):
        raise DataError(f"{folder} holds none of the {len(table)} records that its table names, such as "
                        f"{listed['header'][0]}. Unpack records100 or records500 there.")
    return listed[there].reset_index(drop=True)
