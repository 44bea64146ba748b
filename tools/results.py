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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cardiac_ml
from cardiac_ml.files import ROOT, DataError, atomic_write, cache_folder, code_fingerprint

EPOCHS = {"1": 8, "2": 10, "3": 100, "4": 30}  # as in the notebooks
REAL_EPOCHS = {"1": 28, "2": 28, "3": 80, "4": 30}
KEPT = ROOT / "runs" / "results.json"


class Row(NamedTuple):
    """One line of the table: the scores of the seeds, one where nothing is random."""
    task: str
    model: str
    metric: str
    scores: list
    seconds: float
    parameters: int
    source: str
    command: str


class Baselines(NamedTuple):
    """What a task is measured on, and its models: name -> function that returns (answers, seconds, parameters)."""
    metric: str
    score: Callable  # of one answer
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
    parser.add_argument("--records", type=Path, help="folder of raw MIT-BIH records to learn from, for --split patients")
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
        key = " | ".join([command, model, baselines.source, machine(), code_fingerprint(Path(cardiac_ml.__file__).parent)])
        finished = read_kept(keep)
        if key not in finished:
            print(f"task {task}, {model} ...", flush=True)
            answers, seconds, parameters = measure()
            finished[key] = Row(task, model, baselines.metric, [float(baselines.score(answer)) for answer in answers],
                                seconds, parameters, baselines.source, command)
            with atomic_write(keep, "w") as file:
                json.dump(finished, file, indent=1)
        yield Row(*finished[key])


def read_kept(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def wishes(options):
    """The options that change the numbers, as far as they were given."""
    wanted = {name: getattr(options, name) for name in ("seeds", "hearts", "epochs")}
    return {name: value for name, value in wanted.items() if value is not None}


def as_markdown(rows):
    lines = ["| task | model | metric | score | seconds | parameters | data | command |", "|" + " --- |" * 8]
    for row in rows:
        spread = f" ± {np.std(row.scores):.3f}" if len(row.scores) > 1 else ""
        lines.append(f"| {row.task} | {row.model} | {row.metric} | {np.mean(row.scores):.3f}{spread} | "
                     f"{row.seconds:.0f} | {row.parameters or ''} | {row.source} | `{row.command}` |")
    return "\n".join(lines) + "\n"


def machine():
    import torch

    from cardiac_ml.training import cpu_threads
    with cpu_threads():
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"{platform.machine()}, {device}, Python {platform.python_version()}, torch {torch.__version__}"


# ---- the models ----

def always(answer):
    return lambda: ([answer], 0.0, 0)


def fitted(model, inputs, targets, answer):
    """A scikit-learn model: ``answer`` is what it says after it was fitted."""
    def measure():
        start = time.perf_counter()
        model.fit(inputs, targets)
        return [answer(model)], time.perf_counter() - start, 0
    return measure


def trained(train, answer, seeds):
    """A network, once for each seed: ``train(seed)`` returns the trained network."""
    def measure():
        start, answers = time.perf_counter(), []
        for seed in range(seeds):
            model = train(seed)
            answers.append(answer(model))
        return answers, (time.perf_counter() - start) / seeds, sum(weights.numel() for weights in model.parameters())
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
        return train_heartbeats(train[rows.train], train[rows.valid], epochs_of(task, train.source, options.epochs), seed)

    classical = {"logistic regression": LogisticRegression(max_iter=300, class_weight="balanced"),
                 "random forest": RandomForestClassifier(200, min_samples_leaf=2, n_jobs=-1, random_state=0)}
    return Baselines(metric, lambda chances: metrics.CLASSIFICATION[metric](test.label, chances), train.source, {
        f"always {train.classes[common]}": always(np.eye(len(train.classes))[np.full(len(test), common)]),
        **{name: fitted(model, train.beats, train.label, lambda model: model.predict_proba(test.beats))
           for name, model in classical.items()},
        "network": trained(network, lambda model: probabilities(predict(model, test.beats)), options.seeds)})


def heart_baselines(task, options):
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor

    from cardiac_ml import intracardiac, leads, metrics
    from cardiac_ml.models import Template, times_and_spreads
    from cardiac_ml.training import predict
    data = intracardiac.load(hearts=options.hearts)
    split, maps, ecg = intracardiac.split_by_heart(data), data.activation_ms, data.ecg_mv
    flat = leads.independent(ecg)[:, :, ::4].reshape(len(ecg), -1)
    mean_map = np.nanmean(maps[split.train], axis=0)
    known = np.where(np.isnan(maps), mean_map, maps)[split.train]
    classical = {"ridge": Ridge(alpha=30.0), "nearest neighbours": KNeighborsRegressor(5, weights="distance")}
    if task == "3":
        truth, metric, score = maps[split.test], "MAE (ms)", metrics.mae_ms
        trivial, answer, train = np.tile(mean_map, (len(truth), 1)), lambda times: times, train_activation

        def ask(model, ecg):
            return times_and_spreads(predict(model, ecg))[0]
    else:
        truth, metric, score = np.asarray(data.voltage_mv[split.test]), "MAE (mV)", metrics.mae_mv
        template = Template().fit(data.voltage_mv[split.train], maps[split.train])
        trivial = np.broadcast_to(np.mean(data.voltage_mv[split.train], axis=0), truth.shape)
        answer, train, ask = template.predict, train_voltage, predict
    epochs = epochs_of(task, data.source, options.epochs)
    return Baselines(metric, lambda found: score(truth, found), data.source, {
        "mean": always(trivial),
        **{name: fitted(model, flat[split.train], known, lambda model: answer(model.predict(flat[split.test])))
           for name, model in classical.items()},
        "network": trained(lambda seed: train(data[split.train], data[split.valid], epochs, seed),
                           lambda model: ask(model, ecg[split.test]), options.seeds)})


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
               score=metrics.macro_f1, epochs=epochs, batch_size=128, lr=4e-3, weight_decay=0.05, augment=AugmentBeats(),
               seed=seed).model


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


def train_voltage(train, valid, epochs, seed):
    import torch

    from cardiac_ml import metrics
    from cardiac_ml.models import Augment, VoltageNet
    from cardiac_ml.training import fit
    torch.manual_seed(seed)
    model = VoltageNet().fit_scaling(train.ecg_mv, train.voltage_mv)
    return fit(model, (train.ecg_mv, train.voltage_mv), (valid.ecg_mv, valid.voltage_mv),
               loss=torch.nn.functional.l1_loss, score=metrics.mae_mv, maximize=False, epochs=epochs, batch_size=16,
               lr=3e-3, weight_decay=0.05, augment=Augment(), seed=seed).model


if __name__ == "__main__":
    try:
        main()
    except (DataError, OSError) as error:
        sys.exit(f"Error: {error}")
