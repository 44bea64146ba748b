"""``python -m cardiac_ml lead-importance``: from two folders of twelve-lead records to a page about their leads."""
import argparse
from pathlib import Path

from cardiac_ml.files import cached, code_fingerprint

EXAMPLES = """examples:
  python -m cardiac_ml lead-importance                      virtual hearts, at once
  python -m cardiac_ml lead-importance --train chapman/WFDBRecords --test ptb-xl --out leads
  python -m cardiac_ml lead-importance --train ptb-xl --test cinc2020/cpsc --targets "atrial fibrillation" "ST-T change"

Folders: PTB-XL 1.0.3 (with ptbxl_database.csv), Chapman-Shaoxing-Ningbo 1.0.0, or any WFDB folder of the CinC
challenges 2020 and 2021. Records are prepared once, in the cache; a run that was stopped goes on."""


def add_commands(subparsers):
    """Add ``lead-importance`` to the commands of ``python -m cardiac_ml``."""
    command = subparsers.add_parser("lead-importance", help="which ECG leads matter, inside a hospital and in another",
                                    description=__doc__, epilog=EXAMPLES,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--train", type=Path, metavar="FOLDER", help="records to learn from (default: virtual hearts)")
    command.add_argument("--test", type=Path, metavar="FOLDER", help="records of another place (default: other virtual "
                         "hearts in another torso)")
    command.add_argument("--targets", nargs="+", metavar="NAME", help="diagnoses (default: all with enough records)")
    command.add_argument("--out", type=Path, default=Path("lead_importance"), help="folder of the page and its numbers")
    command.add_argument("--epochs", type=int, help="rounds (default: 12, more for few records)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--hearts", type=int, default=100, help="virtual hearts; half as many elsewhere")
    command.add_argument("--workers", type=int, help="processes (default: one a core)")
    command.add_argument("--no-check", action="store_true", help="do not train networks of one set for comparison")
    command.set_defaults(run=run)


def run(options):
    from cardiac_ml.lead_importance import records, report, study
    few = max(options.hearts // 2, 2)
    hospitals = [records.prepare(folder or virtual_folder(hearts, seed, lead_field, options.workers), options.workers,
                                 name=None if folder else name)
                 for folder, hearts, seed, lead_field, name in (
                     (options.train, options.hearts, 0, "sphere", f"{options.hearts} virtual hearts"),
                     (options.test, few, 1, "infinite", f"{few} virtual hearts in other torsos"))]
    for hospital in hospitals:
        print(f"{hospital.name}: {len(hospital)} records of {hospital.table['patient'].nunique()} patients, "
              f"{len(hospital.left_out)} left out, {len(hospital.unmapped)} codes without a target")
        for row in hospital.left_out.head(5).itertuples():
            print(f"  left out: {row.record}: {row.reason}")
    summary = study.run(*hospitals, options.out, targets=options.targets, epochs=options.epochs, seed=options.seed,
                        check=not options.no_check)
    print(study.auroc_table(summary["results"]).to_string())
    print(f"Written: {report.write(summary, options.out / 'report.html')}")


def virtual_folder(hearts, seed, lead_field, workers=None):
    """Records of virtual hearts in the cache, made where they are not there yet."""
    from cardiac_ml import virtual
    from cardiac_ml.lead_importance import virtual_rhythms
    code = code_fingerprint(Path(virtual.__file__).parent, Path(virtual_rhythms.__file__))

    def write(folder):
        print(f"Making ten-second records of {hearts} virtual hearts ({lead_field} torso) ...")
        virtual_rhythms.write_records(folder, hearts, seed, lead_field, workers=workers)

    return cached(f"virtual_rhythms/{lead_field}_{hearts}_hearts_seed_{seed}", code, write)
