"""The table of results: for each task a trivial answer, a linear one, a forest or neighbours, and the network.

    python -m tools.results              all tasks, written to RESULTS.md
    python -m tools.results --task 3     one task, on the screen
    python -m tools.results --task 3 --hearts 200 --epochs 60 --seeds 1       more virtual hearts (half an hour)
    python -m tools.results --task 2 --split patients --records FOLDER     raw MIT-BIH records, new patients
    python -m tools.results --task xray --images FOLDER                    chest X-rays with boxes, five folds

Real files are used where they are, virtual data elsewhere; the table says which. Networks are trained once per seed:
the score is the mean over seeds and its spread (standard deviation). Finished rows are kept in runs/results.json, so
that an interrupted call goes on where it stopped; a change of the code or the options measures anew. The networks of
finished folds of X-rays are kept likewise, in the cache.
"""
import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cardiac_ml
from cardiac_ml.files import ROOT, DataError, atomic_write, cache_folder, code_fingerprint

EPOCHS = {"1": 8, "2": 10, "3": 100, "4": 15}  # as in the notebooks
REAL_EPOCHS = {"1": 28, "2": 28, "3": 80, "4": 30}
DRAWN = 75 / 15  # epochs of the network that draws, for each of the U-Net's: as in notebook 4
KEPT = ROOT / "runs" / "results.json"


class Row(NamedTuple):
    """One line of the table: scores {"new": ..., "elsewhere": ...} of the seeds, one where nothing is random."""
    task: str
    model: str
    metric: str
    scores: list
    seconds: float
    parameters: int
    source: str
    command: str


class Baselines(NamedTuple):
    """What a task is measured on, and its models: name -> function: (scores of the seeds, seconds, parameters)."""
    metric: str
    source: str
    models: dict


def main(arguments=None):
    options = read_options(arguments)
    if options.split == "patients":
        from cardiac_ml.new_patients import evaluation as patient_results
        if options.task != "2":
            raise DataError(f"--split patients is for --task 2, not for {options.task or 'all tasks'}.")
        patient_results.main(options.records, options.test_records, options.seeds, options.out)  # prints its own table
        return
    if options.task == "xray":
        xray_results(options.images, options.test_images)
        return
    tasks = [options.task] if options.task else list(EPOCHS)
    text = as_markdown([row for task in tasks for row in rows_of(task, options)])
    print(text)
    out = options.out or (ROOT / "RESULTS.md" if options.task is None else None)
    if out is not None:
        made = "".join(f" --{name} {value}" for name, value in wishes(options).items())
        with atomic_write(out, "w") as file:
            file.write(f"# Results\n\nMade by `python -m tools.results{made}` on {machine()}. Seconds are those of\n"
                       f"training, for one seed. Commands of single rows: `--task N`.\n\n{text}")


def read_options(arguments):
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("1", "2", "3", "4", "xray"), default=None, help="one task only")
    parser.add_argument("--images", type=Path, help="folder of chest X-rays with boxes.csv, for --task xray")
    parser.add_argument("--test-images", type=Path, help="such a folder to test on (default: cross-validation)")
    parser.add_argument("--split", choices=("patients",), default=None,
                        help="for --task 2: whole records of raw MIT-BIH data are held out (needs --records)")
    parser.add_argument("--records", type=Path, help="folder of raw MIT-BIH records to learn from (--split patients)")
    parser.add_argument("--test-records", type=Path, help="folder of records to test on (default: cross-validation)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hearts", type=int, default=None, help="virtual hearts, where those are used")
    parser.add_argument("--epochs", type=int, default=None, help="for the networks (default: as in the notebooks)")
    parser.add_argument("--out", type=Path, default=None, help="default: RESULTS.md, or only the screen for one task")
    return parser.parse_args(arguments)


def xray_results(images, test_images):
    """Prints the table of five folds, or the scores on another folder of pictures (another hospital's, say)."""
    from cardiac_ml.xray import training as xray_training
    if images is None:
        raise DataError("--task xray needs --images FOLDER: chest X-rays with a boxes.csv.")
    if test_images is None:
        xray_training.cross_validate(images, kept=cache_folder() / "xray_folds")
        return
    scores = xray_training.score_folder(xray_training.train_on_folder(images), test_images)
    print("\n".join(f"{name:<20} {value:.3f}" if isinstance(value, float) else f"{name:<20} {value}"
                    for name, value in scores.items()))


def rows_of(task, options, keep=KEPT):
    """The rows of one task, measured or, where an earlier call with the same code and options did that, read."""
    baselines = BASELINES[task](task, options)
    command = "python -m tools.results --task " + task + "".join(
        f" --{name} {value}" for name, value in wishes(options).items())
    for model, measure in baselines.models.items():
        code = code_fingerprint(Path(cardiac_ml.__file__).parent)
        key = " | ".join([command, model, baselines.source, machine(), code])
        finished = read_kept(keep)
        if key not in finished:
            print(f"task {task}, {model} ...", flush=True)
            scores, seconds, parameters = measure()
            finished[key] = Row(task, model, baselines.metric, scores, seconds, parameters, baselines.source, command)
            with atomic_write(keep, "w") as file:
                json.dump(finished, file, indent=1)
        yield Row(*finished[key])


def read_kept(path):
    try:
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        return {key: row for key, row in kept.items() if Row(*row)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        print(f"{path} is damaged ({error}): what it held is measured again.")
        return {}


def wishes(options):
    """The options that change the numbers, as far as they were given."""
    wanted = {name: getattr(options, name) for name in ("seeds", "hearts", "epochs")}
    return {name: value for name, value in wanted.items() if value is not None}


def as_markdown(rows):
    lines = ["| task | model | metric | new patients or hearts | elsewhere | seconds | parameters | data | command |",
             "|" + " --- |" * 9]
    for row in rows:
        new, elsewhere = (with_spread([scores[name] for scores in row.scores if name in scores])
                          for name in ("new", "elsewhere"))
        lines.append(f"| {row.task} | {row.model} | {row.metric} | {new} | {elsewhere} | {row.seconds:.0f} | "
                     f"{row.parameters or ''} | {row.source} | `{row.command}` |")
    return "\n".join(lines) + "\n"


def with_spread(scores):
    spread = f" ± {np.std(scores):.3f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.3f}{spread}" if scores else ""


def machine():
    import torch

    from cardiac_ml.training import cpu_threads
    with cpu_threads():
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"{platform.machine()}, {device}, Python {platform.python_version()}, torch {torch.__version__}"


# ---- the models ----

def always(scores):
    return lambda: ([scores], 0.0, 0)


def fitted(model, inputs, targets, judge):
    """A scikit-learn model: ``judge`` gives its scores once it is fitted."""
    def measure():
        start = time.perf_counter()
        model.fit(inputs, targets)
        return [judge(model)], time.perf_counter() - start, 0
    return measure


def trained(train, judge, seeds):
    """A network, once for each seed: ``train(seed)`` returns it, ``judge`` its scores."""
    def measure():
        seconds, scores = 0.0, []
        for seed in range(seeds):
            start = time.perf_counter()
            model = train(seed)
            seconds += time.perf_counter() - start
            scores.append(judge(model))
        return scores, seconds / seeds, sum(weights.numel() for weights in model.parameters())
    return measure


def epochs_of(task, source, wanted):
    return wanted or (EPOCHS if "virtual" in source else REAL_EPOCHS)[task]


def heartbeat_baselines(task, options):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    from cardiac_ml import heartbeats, metrics
    from cardiac_ml.training import predict, probabilities
    if task == "2":
        (train, test), metric = heartbeats.load_mitbih(hearts=options.hearts), "macro-F1"
    else:
        data, metric = heartbeats.load_ptb(hearts=options.hearts), "balanced accuracy"
        split = heartbeats.split(data)
        train, test = data[np.sort(np.concatenate([split.train, split.valid]))], data[split.test]
    common = np.bincount(train.label).argmax()

    def network(seed):
        rows = heartbeats.split_random(train, valid=0.1, test=0, seed=seed)
        epochs = epochs_of(task, train.source, options.epochs)
        return train_heartbeats(train[rows.train], train[rows.valid], epochs, seed)

    classical = {"logistic regression": LogisticRegression(max_iter=300, class_weight="balanced"),
                 "random forest": RandomForestClassifier(200, min_samples_leaf=2, n_jobs=-1, random_state=0)}

    def scores(chances):
        return {"new": float(metrics.CLASSIFICATION[metric](test.label, chances))}

    return Baselines(metric, train.source, {
        f"always {train.classes[common]}": always(scores(np.eye(len(train.classes))[np.full(len(test), common)])),
        **{name: fitted(model, train.beats, train.label, lambda model: scores(model.predict_proba(test.beats)))
           for name, model in classical.items()},
        "network": trained(network, lambda model: scores(probabilities(predict(model, test.beats))), options.seeds)})


def heart_baselines(task, options):
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor

    from cardiac_ml import intracardiac, leads, metrics
    from cardiac_ml.models import Template, times_and_spreads
    from cardiac_ml.training import predict
    data = intracardiac.load(hearts=options.hearts)
    train, valid, test = (data[rows] for rows in intracardiac.split_by_heart(data))
    judged = {"new": test, "elsewhere": intracardiac.elsewhere()}
    mean_map = np.nanmean(train.activation_ms, axis=0)
    known = np.where(np.isnan(train.activation_ms), mean_map, train.activation_ms)
    template = Template().fit(train.voltage_mv, train.activation_ms) if task == "4" else None
    mean_trace = np.mean(train.voltage_mv, axis=0)

    def flat(part):
        return leads.independent(part.ecg_mv)[:, :, ::4].reshape(len(part), -1)

    def scores(answer):
        """``answer`` of a dataset gives its maps or voltages."""
        if task == "3":
            return {name: metrics.mae_ms(part.activation_ms, answer(part)) for name, part in judged.items()}
        return {name: metrics.mae_mv(np.asarray(part.voltage_mv), answer(part)) for name, part in judged.items()}

    def of_times(model):
        times = lambda part: model.predict(flat(part))
        return scores(times if task == "3" else lambda part: template.predict(times(part)))

    def of_network(network):
        return scores(lambda part: times_and_spreads(predict(network, part.ecg_mv))[0] if task == "3"
                      else predict(network, part.ecg_mv))

    epochs = epochs_of(task, data.source, options.epochs)
    networks = {"network": train_activation} if task == "3" else {"U-Net": train_u_net, "drawn": train_drawn}
    mean = mean_map if task == "3" else mean_trace
    classical = {"ridge": Ridge(alpha=30.0), "nearest neighbours": KNeighborsRegressor(5, weights="distance")}
    return Baselines("MAE (ms)" if task == "3" else "MAE (mV)", data.source, {
        "mean": always(scores(lambda part: np.broadcast_to(mean, (len(part), *mean.shape)))),
        **{name: fitted(model, flat(train), known, of_times) for name, model in classical.items()},
        **{name: trained(lambda seed, network=network: network(train, valid, epochs, seed), of_network, options.seeds)
           for name, network in networks.items()}})


BASELINES = {"1": heartbeat_baselines, "2": heartbeat_baselines, "3": heart_baselines, "4": heart_baselines}


# ---- the networks, trained as the notebooks do ----

def train_heartbeats(train, valid, epochs, seed):
    import torch

    from cardiac_ml import metrics
    from cardiac_ml.models import AugmentBeats, CrossEntropy, HeartbeatNet, class_weights
    from cardiac_ml.training import fit
    torch.manual_seed(seed)
    loss = CrossEntropy(class_weights(train.label, power=0.25), smoothing=0.02)
    return fit(HeartbeatNet(len(train.classes)), (train.beats, train.label), (valid.beats, valid.label), loss=loss,
               score=metrics.macro_f1, epochs=epochs, batch_size=128, lr=4e-3, weight_decay=0.05,
               augment=AugmentBeats(), seed=seed).model


def train_activation(train, valid, epochs, seed):
    import torch

    from cardiac_ml import metrics
    from cardiac_ml.models import ActivationNet, Augment, calibrate_spread, laplace_loss
    from cardiac_ml.training import fit, predict
    torch.manual_seed(seed)
    model = ActivationNet().fit_scaling(train.ecg_mv, train.activation_ms)
    model = fit(model, (train.ecg_mv, train.activation_ms), (valid.ecg_mv, valid.activation_ms), loss=laplace_loss,
                score=lambda truth, output: metrics.mae_ms(truth, output[:, 0]), maximize=False, epochs=epochs,
                batch_size=32, lr=3e-3, weight_decay=0.05, augment=Augment(), seed=seed).model
    return calibrate_spread(model, predict(model, valid.ecg_mv), valid.activation_ms)


def train_u_net(train, valid, epochs, seed):
    import torch

    from cardiac_ml.models import VoltageNet
    torch.manual_seed(seed)
    return _train_voltages(VoltageNet().fit_scaling(train.ecg_mv, train.voltage_mv), train.voltage_mv,
                           torch.nn.functional.l1_loss, train, valid, epochs, seed, slower=0)


def train_drawn(train, valid, epochs, seed):
    import torch

    from cardiac_ml.activation import apd90_ms
    from cardiac_ml.models import ActionPotentialNet, parts_loss
    torch.manual_seed(seed)
    traces = train.voltage_mv, train.activation_ms, apd90_ms(train.voltage_mv)
    model = ActionPotentialNet().fit_scaling(train.ecg_mv, *traces)
    return _train_voltages(model, model.parts_of(*traces), parts_loss, train, valid, round(DRAWN * epochs), seed)


def _train_voltages(model, target, loss, train, valid, epochs, seed, **augment):
    from cardiac_ml import metrics
    from cardiac_ml.models import Augment
    from cardiac_ml.training import fit
    return fit(model, (train.ecg_mv, target), (valid.ecg_mv, valid.voltage_mv), loss=loss, score=metrics.mae_mv,
               maximize=False, epochs=epochs, batch_size=32, lr=3e-3, weight_decay=0.05,
               augment=Augment(**augment), seed=seed).model


if __name__ == "__main__":
    try:
        main()
    except (DataError, OSError) as error:
        sys.exit(f"Error: {error}")
