"""``python -m cardiac_ml predict ecg``: one's own twelve-lead ECG, and the activation map that networks see in it."""
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from cardiac_ml.files import atomic_write

EXAMPLES = """examples:
  python -m cardiac_ml predict ecg JS00001.hea                    a WFDB record with its .mat or .dat
  python -m cardiac_ml predict ecg ecg.csv --rate 500 --unit uV   columns I II III aVR aVL aVF V1 .. V6
  python -m cardiac_ml predict ecg ecg.npy --rate 250 --leads I II V1 V2 V3 V4 V5 V6
  python -m cardiac_ml predict ecg ecg.dcm --out my_heart         also .mat, .edf, .txt, .tsv

It writes FILE_heart.png (recording, usual beat, map, uncertainty, 17 segments), FILE_heart.html (the heart to turn)
and FILE_heart.csv (75 points). The networks have seen virtual hearts only. Not a medical device."""


def add_commands(subparsers) -> None:
    """Add ``ecg`` to the subcommands of ``predict``."""
    parser = subparsers.add_parser("ecg", help="activation map of the heart from a twelve-lead ECG", epilog=EXAMPLES,
                                   formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="WFDB (.hea), CSV, .npy, .mat, DICOM (.dcm) or EDF file")
    parser.add_argument("--rate", type=float, metavar="HZ", help="samples a second, where the file does not say")
    parser.add_argument("--unit", help="mV (default), uV or V, where the file does not say")
    parser.add_argument("--leads", nargs="+", metavar="NAME", help="names of the channels, in the order of the file")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of picture, page and table (default: .)")
    parser.add_argument("--networks", type=Path, metavar="FOLDER", help="task_3.npz and task_4.npz of your own "
                        "(default: those of the kit)")
    parser.set_defaults(run=predict_ecg)


def predict_ecg(options) -> int:
    """Print what was found and what to doubt, and write it down."""
    from matplotlib import pyplot as plt

    from cardiac_ml.heart3d.mesh import reference_heart
    from cardiac_ml.predict import ecg
    from cardiac_ml.predict.beat import usual_beat
    from cardiac_ml.predict.recording import read_recording
    recording = read_recording(options.source, options.rate, options.unit, options.leads)
    beat = usual_beat(recording.signal_mv)
    answer = ecg.ask(beat.ecg_mv, options.networks or ecg.TRAINED)
    first, last = answer.time_ms.argmin(), answer.time_ms.argmax()
    print(f"{options.source.name}: {beat.used.sum()} beats alike, {beat.rate_per_min:.0f} a minute. First to activate: "
          f"{ecg.POINT_NAMES[first]}; last: {ecg.POINT_NAMES[last]}, "
          f"{answer.time_ms[last] - answer.time_ms[first]:.0f} ms later.")
    for remark in filter(None, [*ecg.doubts(beat, answer), *recording.remarks, answer.limits]):
        print(f"* {remark}")
    name, body = options.out / f"{options.source.stem}_heart", reference_heart()
    with atomic_write(name.with_suffix(".png")) as file:
        figure = ecg.picture(recording.signal_mv, beat, answer, body, options.source.name)
        figure.savefig(file, format="png", dpi=90)
        plt.close(figure)
    with atomic_write(name.with_suffix(".csv"), "w") as file:
        ecg.table(answer).to_csv(file, index=False)
    ecg.turning_heart(answer, body).save(name.with_suffix(".html"))
    print(f"Written to {name}.png, .csv and .html")
    return 0
