"""The command line: ``python -m cardiac_ml COMMAND --help`` explains each command."""
import argparse
import signal
import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__" and sys.argv[1:] in (["check"], ["check", "--json"]):  # it says which packages are missing
    from cardiac_ml.check.__main__ import main as check
    sys.exit(check(sys.argv[2:]))


def _lacking(error):
    """What to call instead, if this Python lacks a package of the kit."""
    kit = Path(__file__).resolve().parents[1]
    places = [kit / ".venv" / "bin" / "python", kit / ".venv" / "Scripts" / "python.exe"]
    own = next((python for python in places if python.exists() and python.parent != Path(sys.executable).parent), None)
    return f"Error: {error} in the Python {sys.executable}. " + (
        f"The one of the kit has it: {own} -m cardiac_ml ... (or: python3 {kit / 'start.py'} score ...)" if own else
        f"python3 {kit / 'start.py'} setup installs what the kit needs.")


try:
    from cardiac_ml.files import DataError
except ModuleNotFoundError as missing:
    sys.exit(_lacking(missing))


def main(arguments=None):
    """Run one command; the exit status is 0 if all went well, 1 for bad data, 2 for a wrong call, 130 if stopped."""
    try:
        options = _parser().parse_args(arguments)
        return options.run(options) or 0
    except (DataError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(_lacking(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing half-written was kept.", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="python -m cardiac_ml", description="Helpers of the cardiac ML kit.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    simulate = commands.add_parser("simulate", help="make virtual hearts and what can be measured on them")
    predict = commands.add_parser("predict", help="ask a trained network about files of one's own")
    for where, rooms in (
            (commands, ("formats.command", "check.command", "download.command", "new_patients.records",
                        "challenge.command", "lead_importance.command")),
            (simulate.add_subparsers(required=True, metavar="WHAT"), ("virtual.command", "heart3d.command")),
            (predict.add_subparsers(required=True, metavar="WHAT"), ("predict.command", "xray.command"))):
        for room in rooms:
            import_module(f"cardiac_ml.{room}").add_commands(where)
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by others, it cleans up as for Ctrl-C
    sys.exit(main())
