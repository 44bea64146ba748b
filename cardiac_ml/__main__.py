"""The command line: ``python -m cardiac_ml COMMAND --help`` explains each command."""
import argparse
import sys
from pathlib import Path

from cardiac_ml.files import ROOT, DataError


def main(arguments=None):
    """Run one command; the exit status is 0 if all went well, 1 for bad data, 2 for a wrong call, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (DataError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"Error: {error}. `python3 start.py setup` installs what the kit needs.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing half-written was kept.", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="python -m cardiac_ml", description="Helpers of the cardiac ML kit.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_simulate, _add_pack, _add_rebuild, _add_submissions, _add_challenge, _add_figures):
        add(commands)
    return parser


# ---- data ----

def _add_simulate(commands):
    parser = commands.add_parser("simulate", help="make virtual hearts and what can be measured on them")
    what = parser.add_subparsers(required=True, metavar="WHAT")
    intracardiac = what.add_parser("intracardiac", help="ECGs and voltages for tasks 3 and 4")
    intracardiac.add_argument("--hearts", type=int, default=30)
    intracardiac.add_argument("--cases", type=int, default=60, help="per heart")
    intracardiac.add_argument("--lead-field", choices=("sphere", "infinite"), default="sphere",
                              help="torso: an insulated sphere (clinical-looking leads) or none (as in the published set)")
    intracardiac.set_defaults(run=_simulate_intracardiac)
    heartbeats = what.add_parser("heartbeats", help="the four CSV files of tasks 1 and 2")
    heartbeats.add_argument("--hearts", type=int, default=64)
    heartbeats.set_defaults(run=_simulate_heartbeats)
    for command in (intracardiac, heartbeats):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
        command.add_argument("--out", type=Path, default=None,
                             help="a new folder, written in the layout of the real files (default: the kit's own cache)")
    geometry = what.add_parser("geometry", help="mesh and recording points of one virtual heart")
    geometry.add_argument("--out", type=Path, default=ROOT / "geometry")
    geometry.set_defaults(run=_simulate_geometry)
    report = what.add_parser("report", help="figures and numbers: are the virtual hearts like real ones?")
    report.add_argument("--out", type=Path, default=ROOT / "runs" / "virtual_hearts")
    report.set_defaults(run=_simulate_report)


def _simulate_intracardiac(options):
    from cardiac_ml import intracardiac, intracardiac_files
    from cardiac_ml.virtual import dataset
    if options.out is None:
        print(intracardiac.simulate(options.hearts, options.cases, options.seed, lead_field=options.lead_field,
                                    workers=options.workers))
        return
    batches = dataset.simulate_intracardiac(options.hearts, options.cases, seed=options.seed,
                                            lead_field=options.lead_field, workers=options.workers)
    print(f"Written to {intracardiac_files.write_pairs(batches, options.out)}")


def _simulate_heartbeats(options):
    from cardiac_ml import heartbeats
    folder = heartbeats.simulate(options.hearts, options.seed, options.out, options.workers)
    print(heartbeats.load_ptb(folder), *heartbeats.load_mitbih(folder), f"Written to {folder}", sep="\n")


def _simulate_geometry(options):
    from cardiac_ml import points
    from cardiac_ml.heart3d import mesh as heart
    from cardiac_ml.virtual import geometry
    mesh, table = geometry.reference_heart()
    print(f"Written to {heart.write_mesh(options.out / 'heart_mesh.vtk', mesh)} "
          f"and {points.write_points(options.out / 'points.csv', table)}")


def _simulate_report(options):
    from tools import virtual_checks as validation
    print(f"Written to {validation.make_report(options.out)}")


def _add_pack(commands):
    parser = commands.add_parser("pack", help="pack the intracardiac files once, so that later loads are instant")
    parser.add_argument("folder", type=Path, nargs="?", default=None, help="default: intracardiac_dataset/")
    parser.set_defaults(run=_pack)


def _pack(options):
    from cardiac_ml import intracardiac
    from cardiac_ml.files import find_data
    if find_data("intracardiac_dataset", options.folder) is None:
        raise DataError("There is no intracardiac_dataset/ here. ./download_intracardiac_dataset.sh fetches it.")
    print(intracardiac.load(options.folder))


def _add_rebuild(commands):
    from cardiac_ml.new_patients import records
    records.add_commands(commands)


# ---- submissions ----

def _add_submissions(commands):
    template = commands.add_parser("submit-template", help="write a valid submission that knows nothing, to start from")
    template.add_argument("task", type=int, choices=(1, 2, 3, 4))
    template.add_argument("--out", type=Path, default=None)
    check = commands.add_parser("check", help="say what is wrong with a submission")
    score = commands.add_parser("score", help="score a submission, or rank a folder of them")
    for command in (check, score):
        command.add_argument("file", type=Path, nargs=None if command is check else "?")
    for command in (template, check, score):
        command.add_argument("--truth", type=Path, default=None,
                             help="truth_task_N.npz of a challenge (default: the test cases of the data at hand)")
    score.add_argument("--leaderboard", type=Path, metavar="FOLDER", help="rank all submissions of a folder")
    score.add_argument("--task", type=int, choices=(1, 2, 3, 4), help="with --leaderboard and without --truth")
    score.add_argument("--json", type=Path, default=None, help="also write the scores to this file")
    template.set_defaults(run=_template)
    check.set_defaults(run=_check)
    score.set_defaults(run=_score)


def _truth(options, task):
    from cardiac_ml.challenge import scoring
    return scoring.truth_at_hand(task) if options.truth is None else scoring.read_truth(options.truth)


def _template(options):
    from cardiac_ml.challenge import submission
    out = options.out or Path(f"submission_task_{options.task}.npz")
    print(f"Written to {submission.write_template(out, options.task, _truth(options, options.task).ids)}")


def _check(options):
    from cardiac_ml.challenge import submission
    given = submission.read_submission(options.file)
    truth = _truth(options, given.header["task"])
    wrong = submission.problems(given, truth.task, truth.ids)
    print("\n".join(wrong) if wrong else f"{options.file} is a valid submission for task {truth.task}.")
    return 1 if wrong else 0


def _score(options):
    from cardiac_ml.challenge import scoring, submission
    if options.leaderboard is not None:
        if options.task is None and options.truth is None:
            raise DataError("Say which task to rank: --task N, or --truth FILE.")
        return _rank(options, _truth(options, options.task))
    if options.file is None:
        raise DataError("Give a submission file to score, or --leaderboard FOLDER.")
    truth = _truth(options, submission.read_submission(options.file).header["task"])
    scores = scoring.score(options.file, truth)
    print(scoring.as_text(scores))
    if options.json is not None:
        scoring.write_text(options.json, scoring.as_json(scores))


def _rank(options, truth):
    from cardiac_ml.challenge import scoring, submission
    board, refused = scoring.leaderboard(options.leaderboard, truth)
    rows = scoring.leaderboard_rows(board, truth.task)
    title = f"Task {truth.task}: {submission.TASKS[truth.task].title}"
    scoring.write_text(options.leaderboard / "leaderboard.md", f"# {title}\n\n{scoring.as_markdown(rows)}")
    scoring.write_text(options.leaderboard / "leaderboard.html", scoring.as_html(rows, title))
    print(scoring.as_markdown(rows))
    for name, why in refused.items():
        print(f"left out: {name}: {why}")


def _add_challenge(commands):
    parser = commands.add_parser("make-challenge", help="new hearts, split into a public part and a private truth")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True, help="keep it secret: it makes the answers")
    parser.add_argument("--hearts", type=int, default=24)
    parser.add_argument("--test-hearts", type=int, default=6)
    parser.add_argument("--cases", type=int, default=60, help="per heart")
    parser.set_defaults(run=_make_challenge)


def _make_challenge(options):
    from cardiac_ml.challenge import making as challenge
    public, private = challenge.make_challenge(options.out, options.seed, options.hearts, options.test_hearts, options.cases)
    print(f"Give participants {public}; keep {private} and the seed to yourself.")


def _add_figures(commands):
    parser = commands.add_parser("figures", help="make the pictures of the README")
    parser.add_argument("--out", type=Path, default=ROOT / "figures")
    parser.set_defaults(run=_figures)


def _figures(options):
    from tools import figures
    print(*figures.make_figures(options.out), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
