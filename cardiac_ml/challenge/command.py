"""The commands of ``python -m cardiac_ml`` for challenges: make one, check and score submissions, rank teams."""
import sys
from pathlib import Path

from cardiac_ml.files import DataError


def add_commands(commands):
    _add_submissions(commands)
    _add_challenge(commands)


def _add_submissions(commands):
    template = commands.add_parser("submit-template", help="write a valid submission that knows nothing, to start from")
    template.add_argument("task", type=int, choices=(1, 2, 3, 4))
    template.add_argument("--out", type=Path, default=None)
    score = commands.add_parser("score", help="score a submission, or rank a folder of them")
    score.add_argument("file", type=Path, nargs="?")
    for command in (template, score):
        command.add_argument("--challenge", type=Path, metavar="FOLDER", help="of a challenge; a template needs "
                             "its public part, scores the private one (default: the test cases at hand)")
    score.add_argument("--leaderboard", type=Path, metavar="SUBMISSIONS", help="rank all files below this folder")
    score.add_argument("--task", type=int, choices=(1, 2, 3, 4), help="rank only this task")
    score.add_argument("--final", action="store_true", help="score the part that was kept for the end")
    score.add_argument("--take", choices=("best", "last"), default="best", help="which file of a team counts")
    score.add_argument("--daily-limit", type=int, metavar="N", help="files a team may hand in a day and task")
    score.add_argument("--out", type=Path, help="folder of the board (default: board/ in the challenge, or here)")
    score.add_argument("--json", type=Path, default=None, help="also write the scores of one file to this file")
    template.set_defaults(run=_template)
    score.set_defaults(run=_score)


def _truth(options, task):
    from cardiac_ml.challenge import cases, scoring
    return scoring.find_truth(options.challenge, task) if options.challenge else cases.truth_at_hand(task)


def _template(options):
    from cardiac_ml.challenge import cases, submission
    out = options.out or f"submission_task_{options.task}.npz"
    ids = cases.test_cases(options.task, folder=options.challenge).ids
    print(f"Written to {submission.write_template(out, options.task, ids)}")


def check(file, challenge=None):
    """Print what is wrong with a submission; the status is 1 if anything is."""
    from cardiac_ml.challenge import cases, submission
    task = submission.read_header(file)["task"]
    if wrong := submission.check(file, task, cases.test_cases(task, folder=challenge).ids):
        print("\n".join(wrong))
        return 1
    print(f"{file} is a valid submission for task {task}.")


def _score(options):
    from cardiac_ml.challenge import scoring, submission
    if options.leaderboard is not None:
        return _rank(options)
    if options.file is None:
        raise DataError("Give a submission file to score, or --leaderboard SUBMISSIONS.")
    truth = _truth(options, submission.read_header(options.file)["task"])
    scores = scoring.score(options.file, truth, final=options.final)
    print(scoring.as_text(scores))
    if truth.final.any():
        scored = len(scoring.rows_of(truth, options.final))
        print(f"On {scoring.part_of(options.final)}: {scored} of {len(truth.ids)} cases.")
    if options.json is not None:
        scoring.write_json(options.json, scores)


def _rank(options):
    from cardiac_ml.challenge import board, page, scoring
    out = options.out or (options.challenge or Path(".")) / "board"
    if options.leaderboard.resolve() in [out.resolve(), *out.resolve().parents]:
        raise DataError(f"The board would go to {out}, among the submissions. Give another folder with --out.")
    if not options.challenge and options.task is None:
        raise DataError("Say what to rank: --challenge FOLDER, or --task N of the data at hand.")
    truths = {options.task: _truth(options, options.task)} if options.task else scoring.find_truths(options.challenge)
    baselines = options.challenge and options.challenge / "private" / "baselines"
    tables, refused = board.make(options.leaderboard, truths, options.final, options.take, options.daily_limit,
                                 baselines)
    written = page.write(out, tables, refused, options.final, options.take)
    for task, table in tables.items():
        _show(f"{page.title_of(task)} ({scoring.part_of(options.final)})\n{page.as_text(table)}\n")
    for name, why in refused.items():
        _show(f"left out: {name}: {why}")
    print(f"Written to {written}")


def _show(text):
    """Print what strangers wrote, with a ? for each letter that this terminal does not know."""
    letters = sys.stdout.encoding or "utf-8"
    print(text.encode(letters, "replace").decode(letters))


def _add_challenge(commands):
    parser = commands.add_parser("make-challenge", help="new hearts, split into a public part and a private truth")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=None, help="a secret number of another challenge, to make it again "
                        "(default: 128 random bits, kept in private/secret.txt)")
    parser.add_argument("--tasks", type=int, nargs="+", choices=(1, 2, 3, 4), default=(1, 2, 3, 4))
    parser.add_argument("--train-hearts", type=int, default=24, help="to learn from; patients in tasks 1 and 2")
    parser.add_argument("--test-hearts", type=int, default=12, help="to test on; half of them are kept for the end")
    parser.add_argument("--cases", type=int, default=60, help="per heart")
    parser.add_argument("--deadline", default=None, help="for the rules, in your words")
    parser.add_argument("--no-extra-hearts", action="store_true", help="a rule: learn from these hearts only")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    parser.set_defaults(run=_make_challenge)
    export = commands.add_parser("export-bundle", help="a challenge as Codabench bundles and Kaggle-like folders")
    export.add_argument("out", type=Path)
    export.add_argument("--challenge", type=Path, metavar="FOLDER", required=True)
    export.add_argument("--tasks", type=int, nargs="+", choices=(1, 2, 3, 4), default=None)
    export.add_argument("--start", default="2030-01-01 00:00:00", help="UTC; can be changed on the site")
    export.add_argument("--end", default="2030-01-08 00:00:00", help="UTC; then each hands in once more, for the end")
    export.set_defaults(run=_export_bundle)


def _make_challenge(options):
    import signal

    from cardiac_ml.challenge import making
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        if signal.getsignal(number := getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that what was begun is removed
    public, private = making.make_challenge(
        options.out, options.seed, options.tasks, options.train_hearts, options.test_hearts, options.cases,
        options.deadline, not options.no_extra_hearts, options.workers)
    print(f"Give participants {public}; keep {private} to yourself.")


def _export_bundle(options):
    from cardiac_ml.challenge import export
    print(*export.export(options.out, options.challenge, options.tasks, options.start, options.end), sep="\n")
    print("The bundles and solution.csv hold the answers: they are for the host alone.")
