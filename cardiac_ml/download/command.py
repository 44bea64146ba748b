"""The command ``download``."""
from pathlib import Path

from cardiac_ml.download import SETS


def add_commands(commands):
    """Add ``download`` to the commands of ``python -m cardiac_ml``."""
    parser = commands.add_parser("download", help="fetch a public dataset to where the loaders look")
    parser.add_argument("name", choices=SETS)
    parser.add_argument("--folder", type=Path, default=None, help="another place (default: where the loaders look)")
    parser.set_defaults(run=run_download)


def run_download(options):
    from cardiac_ml.download import intracardiac, kaggle, physionet
    if options.name == "heartbeats":
        kaggle.heartbeats(options.folder)
    elif options.name == "intracardiac":
        intracardiac(options.folder)
    else:
        physionet.fetch(options.name, options.folder)
