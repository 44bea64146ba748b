"""The table of results: for each task a trivial answer, a linear one, a forest or neighbours, and the network.

    python -m cardiac_ml results              all tasks, written to RESULTS.md
    python -m cardiac_ml results --task 3     one task, on the screen
    python -m cardiac_ml results --task 3 --hearts 200 --epochs 60 --seeds 1        more virtual hearts (half an hour)
    python -m cardiac_ml results --task 2 --split patients --records FOLDER     raw MIT-BIH records, new patients
    python -m cardiac_ml results --task xray --images FOLDER                    chest X-rays with boxes, five folds

Real files are used where they are, virtual data elsewhere; the table says which. Networks are trained once per seed:
the score is the mean over seeds and its spread (standard deviation). Finished rows are kept in runs/results.json, so
that an interrupted call goes on where it stopped; a change of the code or the options measures anew. The networks of
finished folds of X-rays are kept likewise, in the cache.
"""
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cardiac_ml.files import ROOT, DataError, cache_folder, code_print, atomic_write

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


def main(options):
    """What ``python -m cardiac_ml results`` does."""
    if options.split == "patients":
        from cardiac_ml.new_patients import evaluation as patient_results
        if options.task != "2":
            raise DataError(f"--split patients is for --task 2, not for {options.task or 'all tasks'}.")
        patient_results.main(options)  # prints its own table
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
            file.write(f"# Results\n\nMade by `python -m cardiac_ml results{made}` on {machine()}. Seconds are those of\n"
                       f"training, for one seed.\n\n{text}")


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
    command = "python -m cardiac_ml results --task " + task + "".join(
        f" --{name} {value}" for name, value in wishes(options).items())
    for model, measure in baselines.models.items():
        key = " | ".join([command, model, baselines.source, machine(), code_print()])
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

    from cardiac_ml.devices import usable_cores
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{usable_cores()} CPU threads"
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


def trained(recipe, answer, seeds):
    """A network, once for each seed: ``recipe`` of the seed returns what ``fit`` returns."""
    def measure():
        start, answers = time.perf_counter(), []
        for seed in range(seeds):
            model = recipe(seed).model
            answers.append(answer(model))
        return answers, (time.perf_counter() - start) / seeds, sum(weights.numel() for weights in model.parameters())
    return measure


def epochs_of(task, source, wanted):
    return wanted or (EPOCHS if "virtual" in source else REAL_EPOCHS)[task]


def heartbeat_baselines(task, options):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    from cardiac_ml import heartbeats, metrics, recipes
    if task == "2":
        (train, test), metric = heartbeats.load_mitbih(virtual_hearts=options.hearts), "macro-F1"
    else:
        data, metric = heartbeats.load_ptb(virtual_hearts=options.hearts), "balanced accuracy"
        train, test = (data[rows] for rows in heartbeats.split_test(data))
    common = np.bincount(train.label).argmax()

    def recipe(seed):
        kept, held_out = heartbeats.split_stratified(train, fraction=0.1, seed=seed)
        return recipes.heartbeat_recipe(train[kept], train[held_out], seed=seed, progress=False,
                                        epochs=epochs_of(task, train.source, options.epochs))

    classical = {"logistic regression": LogisticRegression(max_iter=300),
                 "random forest": RandomForestClassifier(200, min_samples_leaf=2, n_jobs=-1, random_state=0)}
    return Baselines(metric, lambda chances: metrics.CLASSIFICATION[metric](test.label, chances), train.source, {
        f"always {train.classes[common]}": always(np.eye(len(train.classes))[np.full(len(test), common)]),
        **{name: fitted(model, train.beats, train.label, lambda model: model.predict_proba(test.beats))
           for name, model in classical.items()},
        "network": trained(recipe, lambda model: recipes.heartbeat_probabilities(model, test.beats), options.seeds)})


def heart_baselines(task, options):
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor

    from cardiac_ml import heart_metrics, heart_recipes, intracardiac, leads
    data = intracardiac.load(virtual_hearts=options.hearts or 30)
    split, maps, ecg = intracardiac.split_by_heart(data.table), data.activation_ms, data.ecg_mv
    flat = leads.independent(ecg)[:, :, ::4].reshape(len(ecg), -1)
    mean_map = np.nanmean(maps[split.train], axis=0)
    known = np.where(np.isnan(maps), mean_map, maps)[split.train]
    classical = {"ridge": Ridge(alpha=30.0), "nearest neighbours": KNeighborsRegressor(5, weights="distance")}
    if task == "3":
        truth, metric, score = maps[split.test], "MAE (ms)", heart_metrics.mae_ms
        trivial, answer = np.tile(mean_map, (len(truth), 1)), lambda times: times
        recipe = heart_recipes.activation_recipe

        def ask(model, ecg):
            return heart_recipes.predict_activation(model, ecg)[0]
    else:
        truth, metric, score = np.asarray(data.voltage_mv[split.test]), "MAE (mV)", heart_metrics.mae_mv
        template = heart_recipes.Template().fit(data.voltage_mv[split.train], maps[split.train])
        trivial = np.broadcast_to(np.mean(data.voltage_mv[split.train], axis=0), truth.shape)
        answer, recipe, ask = template.predict, heart_recipes.voltage_recipe, heart_recipes.predict_voltage
    epochs = epochs_of(task, data.source, options.epochs)
    return Baselines(metric, lambda found: score(truth, found), data.source, {
        "mean": always(trivial),
        **{name: fitted(model, flat[split.train], known, lambda model: answer(model.predict(flat[split.test])))
           for name, model in classical.items()},
        "network": trained(lambda seed: recipe(data, split, epochs=epochs, seed=seed, progress=False),
                           lambda model: ask(model, ecg[split.test]), options.seeds)})


BASELINES = {"1": heartbeat_baselines, "2": heartbeat_baselines, "3": heart_baselines, "4": heart_baselines}
