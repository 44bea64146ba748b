"""The commands ``check`` (a set-up, or a submission) and ``download``."""
from pathlib import Path

from cardiac_ml.download import SETS


def add_commands(commands):
    """Add ``check`` and ``download`` to the commands of ``python -m cardiac_ml``."""
    check = commands.add_parser("check", help="is this set-up as it should be? with a file: is a submission?")
    check.add_argument("file", type=Path, nargs="?", help="a submission (default: this Python, its packages, the data)")
    check.add_argument("--challenge", type=Path, metavar="FOLDER", help="of the submission; its public part is enough "
                       "(default: the test cases at hand)")
    check.add_argument("--json", action="store_true", help="for a bug report")
    check.set_defaults(run=run_check)
    download = commands.add_parser("download", help="fetch a public dataset to where the loaders look")
    download.add_argument("name", choices=SETS)
    download.add_argument("--folder", type=Path, default=None, help="another place (default: where the loaders look)")
    download.set_defaults(run=run_download)


def run_check(options):
    if options.file is not None:
        from cardiac_ml.challenge import command
        return command.check(options.file, options.challenge)
    from cardiac_ml.check import __main__ as kit
    return kit.main(["--json"] * options.json)


def run_download(options):
    from cardiac_ml import download, heartbeats, lead_importance, new_patients
    ways = {"heartbeats": heartbeats.download, "mit-bih": new_patients.download, "intracardiac": download.intracardiac}
    way = ways.get(options.name)
    way(options.folder) if way else lead_importance.download(options.name, options.folder)
