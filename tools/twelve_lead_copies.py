"""Copies, in size and layout, of the two large public sets of twelve-lead records, filled with made ECGs.

    python -m tools.twelve_lead_copies chapman OUT --records 45152
    python -m tools.twelve_lead_copies ptbxl OUT --records 21799 --different 60

They measure how long and with how much memory real folders of that size are prepared. QRS and T waves are bumps; what a
record "has" is planted: only V1 tells of a left bundle branch block. With ``--different`` the signals of later records
are hard links to those of the first, which saves the disk 5 GB.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cardiac_ml.leads import LEADS, from_independent

CODES = {"426783006": "SR", "164889003": "AFIB", "164909002": "CLBBB", "59118001": "CRBBB", "426177001": "SBRAD"}
PLANTED = ("164909002", "V1")


def made_ecg(rng, code, rate_hz=500, seconds=10):
    """(12, samples) mV: QRS and T as bumps at the rate of the rhythm; only V1 tells of a left bundle branch block."""
    time_s = np.arange(rate_hz * seconds) / rate_hz
    rr = rng.uniform(1.1, 1.4) if code == "426177001" else rng.uniform(0.6, 1)
    beats = np.arange(rng.uniform(0, rr), seconds, rr)
    beats = beats + (rng.uniform(-0.2, 0.2, len(beats)) * rr if code == "164889003" else 0)
    since = time_s - beats[:, None]
    qrs, t_wave = np.exp(-(since / 0.02) ** 2).sum(axis=0), np.exp(-((since - 0.25) / 0.05) ** 2).sum(axis=0)
    size = rng.uniform(0.5, 1.3, (8, 1)) * np.array([[0.6, 1, -0.7, -0.5, 0.4, 1, 1, 0.8]]).T
    eight = size * qrs + 0.25 * np.abs(size) * t_wave + rng.normal(0, 0.02, (8, len(time_s)))
    if code == PLANTED[0]:
        eight[2] = 1.2 * np.exp(-(since / 0.05) ** 2).sum(axis=0) + rng.normal(0, 0.02, len(time_s))
    return from_independent(eight)


def write_record(path, ecg_mv, rate_hz, comments=(), mat=False):
    """A header and its signal: .dat, or .mat after the 24 bytes of a MATLAB 4 header, as the challenges have it."""
    whole = np.round(ecg_mv * 1000).astype("<i2").T.copy()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".mat" if mat else ".dat")
    head = np.array([30, len(LEADS), len(whole), 0, 4], "<i4").tobytes() + b"val\0" if mat else b""
    file.write_bytes(head + whole.tobytes())
    form = "16x1+24" if mat else "16"
    sums = whole.astype(np.int64).sum(axis=0)
    sums = (sums + 32768) % 65536 - 32768
    lines = [f"{path.stem} {len(LEADS)} {rate_hz} {len(whole)}"]
    lines += [f"{file.name} {form} 1000.0(0)/mV 16 0 {first} {total} 0 {name}"
              for name, first, total in zip(LEADS, whole[0], sums)]
    path.with_suffix(".hea").write_text("\n".join([*lines, *(f"#{line}" for line in comments)]) + "\n")


def link_record(first, path):
    """Another record with the signal of ``first``, on the disk once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".hea").write_text(first.with_suffix(".hea").read_text().replace(first.stem, path.stem))
    signal = next(file for file in (first.with_suffix(".mat"), first.with_suffix(".dat")) if file.exists())
    os.link(signal, path.with_suffix(signal.suffix))


def write_chapman(folder, records, seed=0, progress=True, different=None):
    """WFDBRecords/01/010/JS00001.hea and .mat, a hundred records a folder, 500 Hz, and the table of condition names."""
    rng, written = np.random.default_rng(seed), []
    for number in tqdm(range(1, records + 1), disable=not progress, unit="record"):
        path = folder / "WFDBRecords" / f"{1 + number // 1000:02d}" / f"{1 + number // 100:03d}" / f"JS{number:05d}"
        if different and number > different:
            link_record(written[number % different], path)
            continue
        code = list(CODES)[rng.integers(len(CODES))]
        write_record(path, made_ecg(rng, code), 500, mat=True,
                     comments=[f"Age: {rng.integers(20, 90)}", "Sex: Male", f"Dx: {code},39732003", "Rx: Unknown"])
        written.append(path)
    (folder / "ConditionNames_SNOMED-CT.csv").write_text("Acronym Name,Full Name,Snomed_CT\nAFIB,Atrial Fibrillation,"
                                                         "164889003\nALS,Axis left shift,39732003\n")


def write_ptbxl(folder, records, seed=0, rates=(100,), progress=True, different=None):
    """records100/00000/00001_lr.hea and .dat (and records500 ..._hr), two records a patient, and both tables."""
    rng, rows, written = np.random.default_rng(seed), [], []
    for number in tqdm(range(1, records + 1), disable=not progress, unit="record"):
        names = {rate: f"records{rate}/{number // 1000 * 1000:05d}/{number:05d}_{'lr' if rate == 100 else 'hr'}"
                 for rate in (100, 500)}
        again = different and number > different
        code, first = written[number % different] if again else (list(CODES)[rng.integers(len(CODES))], names)
        for rate in rates:
            if again:
                link_record(folder / first[rate], folder / names[rate])
            else:
                write_record(folder / names[rate], made_ecg(rng, code, rate), rate)
        written.append((code, first))
        rows.append(dict(ecg_id=number, patient_id=float(1000 + number // 2), age=60.0, sex=0,
                         scp_codes=str({CODES[code]: 0.0, "LOWT": 100.0}), strat_fold=1 + number // 2 % 10,
                         filename_lr=names[100], filename_hr=names[500]))
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    pd.DataFrame(dict(description=["sinus rhythm"], rhythm=[1.0]), index=["SR"]).to_csv(folder / "scp_statements.csv")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("chapman", "ptbxl"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=45152)
    parser.add_argument("--different", type=int, help="signals that differ (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write = {"chapman": write_chapman, "ptbxl": write_ptbxl}[options.kind]
    write(options.out, options.records, options.seed, different=options.different)


if __name__ == "__main__":
    main()
