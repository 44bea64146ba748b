"""The command that simulates, into a folder in the layout of the real files or into the kit's own cache."""
import time
from pathlib import Path


def add_commands(what):
    for run, name, hearts, text in ((_intracardiac, "intracardiac", 120, "ECGs and voltages for tasks 3 and 4"),
                                    (_heartbeats, "heartbeats", 64, "the four CSV files of tasks 1 and 2")):
        command = what.add_parser(name, help=text)
        command.set_defaults(run=run)
        command.add_argument("--hearts", type=int, default=hearts)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
        command.add_argument("--out", type=Path, default=None,
                             help="a new folder, in the layout of the real files (default: the kit's own cache)")
        if name == "intracardiac":
            command.add_argument("--cases", type=int, default=15, help="per heart")
            command.add_argument("--lead-field", choices=("sphere", "infinite"), default="sphere", help="torso: an "
                                 "insulated sphere (clinical-looking leads) or none (as in the published set)")
            command.add_argument("--as-published", action="store_true", help="with the quirks of the published files; "
                                 "columns in another order in each heart")


def _intracardiac(options):
    from cardiac_ml.virtual import dataset, kept, writing
    sizes, how = (options.hearts, options.cases, options.seed), dict(workers=options.workers)
    how |= dict(lead_field=options.lead_field) if options.lead_field != "sphere" else {}
    how |= dict(as_published=True) if options.as_published else {}
    if options.out is None:
        print(f"Kept in {kept.intracardiac(*sizes, **how)}; intracardiac.simulate loads it.")
    else:
        folder = writing.write_pairs(dataset.simulate_intracardiac(*sizes, **how), options.out)
        print(f"Written to {_described(folder, 'virtual hearts')}")


def _heartbeats(options):
    from cardiac_ml.virtual import kept
    folder = kept.heartbeats(options.hearts, options.seed, options.workers, options.out)
    if options.out is not None:
        _described(folder, "virtual heartbeats")
    print(f"Written to {folder}; heartbeats.load_ptb and load_mitbih read it.")


def _described(folder, what):
    """The folder, now with a file that tells machines what is in it."""
    from cardiac_ml.formats import croissant  # brings pandas
    said = f"{what.capitalize()}, simulated by cardiac_ml; no patient is in them."
    croissant.write(folder, what.replace(" ", "-"), said, time.strftime("%Y-%m-%d"))
    return folder
