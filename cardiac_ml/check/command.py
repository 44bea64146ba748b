"""The command ``check``: of a set-up, or with a file of a submission."""
from pathlib import Path


def add_commands(commands):
    """Add ``check`` to the commands of ``python -m cardiac_ml``."""
    check = commands.add_parser("check", help="is this set-up as it should be? with a file: is a submission?")
    check.add_argument("file", type=Path, nargs="?", help="a submission (default: this Python, its packages, the data)")
    check.add_argument("--challenge", type=Path, metavar="FOLDER", help="of the submission; its public part is enough "
                       "(default: the test cases at hand)")
    check.add_argument("--json", action="store_true", help="for a bug report")
    check.set_defaults(run=run_check)


def run_check(options):
    if options.file is not None:
        from cardiac_ml.challenge import command
        return command.check(options.file, options.challenge)
    from cardiac_ml.check import __main__ as kit
    return kit.main(["--json"] * options.json)
