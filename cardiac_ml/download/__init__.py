"""Real data in one line, only when asked: through kagglehub, wfdb's downloader, or the script of the intracardiac set.

    from cardiac_ml import heartbeats, lead_importance, new_patients
    heartbeats.download()
    new_patients.download()
    lead_importance.download("ptb-xl")

or ``python -m cardiac_ml download NAME``. Each says size and licence first, goes on where it was broken off, checks
what came, and ends where the loaders look. Nothing of this is needed to run the kit.
"""
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from cardiac_ml.files import ROOT, DataError, find_data


class Set(NamedTuple):
    """One public dataset; ``home`` is the folder in which the kit looks for it."""
    home: str
    size_gb: float  # on the disk, once it is there
    licence: str
    page: str
    database: str = ""  # what Kaggle or PhysioNet calls it
    wanted: tuple[str, ...] = ()  # of PhysioNet: patterns of the files that the kit reads


SETS = {
    "heartbeats": Set("ecg_dataset", 0.6, "not stated by Kaggle; cut from MIT-BIH and PTB, both Open Data Commons "
                      "Attribution 1.0", "https://www.kaggle.com/datasets/shayanfazeli/heartbeat",
                      "shayanfazeli/heartbeat"),
    "mit-bih": Set("mitdb", 0.1, "Open Data Commons Attribution 1.0", "https://physionet.org/content/mitdb/1.0.0/",
                   "mitdb", tuple(f"[0-9][0-9][0-9].{ending}" for ending in ("hea", "dat", "atr"))),
    # these two by arithmetic: 21 799 and 45 152 records of 24 and 120 kB, each with a header, in blocks of 4 kB
    "ptb-xl": Set("ptb-xl", 0.6, "CC BY 4.0", "https://physionet.org/content/ptb-xl/1.0.3/", "ptb-xl",
                  ("ptbxl_database.csv", "scp_statements.csv", "records100/*")),
    "chapman": Set("chapman", 5.7, "CC BY 4.0", "https://physionet.org/content/ecg-arrhythmia/1.0.0/", "ecg-arrhythmia",
                   ("ConditionNames_SNOMED-CT.csv", "WFDBRecords/*.hea", "WFDBRecords/*.mat")),
    "intracardiac": Set("intracardiac_dataset", 6.2, "comes with the download, in its folder license/",
                        "https://doi.org/10.6075/J0SN094N"),
}


def announce(name: str, folder: str | Path | None = None) -> Path:
    """Say what is about to come, and return the folder for it: ``folder``, or where the loaders look."""
    one, named = SETS[name], os.environ.get("CARDIAC_ML_DATA")
    home = Path(folder).expanduser() if folder else find_data(one.home) or Path(named or ROOT).expanduser() / one.home
    print(f"{name}: {one.size_gb:g} GB into {home}\nlicence: {one.licence}\nwhat it is, and how to cite it: {one.page}",
          flush=True)
    there = next(place for place in (home, *home.absolute().parents) if place.exists())
    if not home.exists() and (free := shutil.disk_usage(there).free / 1e9) < one.size_gb:
        raise DataError(f"{there} has {free:.1f} GB free, {one.size_gb:g} are needed. Free some, or name a folder on "
                        "another disk (--folder).")
    return home


def intracardiac(folder: str | Path | None = None) -> Path:
    """Run ``download_intracardiac_dataset.sh``, which goes on where it was and counts the pairs at the end."""
    home, script = announce("intracardiac", folder), ROOT / "download_intracardiac_dataset.sh"
    if not (script.exists() and shutil.which("bash")):
        raise DataError(f"This needs bash and {script.name} of a clone of the kit (on Windows: Git Bash). Or fetch the "
                        f"archives by hand from {SETS['intracardiac'].page} and unpack them into {home}.")
    done = subprocess.run(["bash", str(script)], env=os.environ | {"CARDIAC_ML_DOWNLOAD_FOLDER": str(home.absolute())})
    if done.returncode:
        raise DataError(f"{home} is not complete. The same command goes on where it was.")
    return home
