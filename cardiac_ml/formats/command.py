"""The command ``pack``."""
from pathlib import Path

from cardiac_ml.files import DataError, find_data


def add_commands(commands):
    """Add ``pack`` to the commands of ``python -m cardiac_ml``."""
    pack = commands.add_parser("pack", help="pack the intracardiac files once, so that later loads are instant")
    pack.add_argument("folder", type=Path, nargs="?", default=None, help="default: intracardiac_dataset/")
    pack.set_defaults(run=run_pack)


def run_pack(options):
    from cardiac_ml.formats.intracardiac_files import DATASET, pack_of, read_pack
    folder = find_data(DATASET, options.folder)
    if folder is None:
        raise DataError(f"There is no {DATASET}/ here. ./download_intracardiac_dataset.sh fetches it.")
    pack = pack_of(folder, progress=True)
    _, table, card = read_pack(pack)
    print(f"{card['source']}: {len(table)} heartbeats of {table['heart'].nunique()} hearts, packed in {pack}")
