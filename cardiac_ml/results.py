"""The table of results: for each task a trivial answer, a linear one, a forest or neighbours, and the network.

    python -m cardiac_ml results              all tasks, written to RESULTS.md
    python -m cardiac_ml results --task 3     one task, on the screen
    python -m cardiac_ml results --task 3 --hearts 200 --epochs 60 --seeds 1        more virtual hearts (half an hour)
    python -m cardiac_ml results --task 2 --split patients --records FOLDER     raw MIT-BIH records, new patients

Real files are used where they are, virtual data elsewhere; the table says which. Networks are trained once per seed: the
score is the mean over seeds and its spread (standard deviation).
"""
import platform
import time
from typing import NamedTuple

import numpy as np

from cardiac_ml.files import ROOT, DataError, written_whole

EPOCHS = {"1": 8, "2": 10, "3": 100, "4": 30}  # as in the notebooks
REAL_EPOCHS = {"1": 28, "2": 28, "3": 80, "4": 30}


class Row(NamedTuple):
    """One line of the table: the scores of the seeds, one where nothing is random."""
    task: str
    model: str
    metric: str
    scores: list
    seconds: float
    parameters: int
    source: str


def main(options):
    """What ``python -m cardiac_ml results`` does."""
    if options.split == "patients":
        from cardiac_ml import patient_results
        if options.task != "2":
            raise DataError(f"--split patients is for --task 2, not for {options.task or 'all tasks'}.")
        patient_results.main(options)  # prints its own table
        return
    if options.task == "xray":
        from cardiac_ml.xray_training import cross_validate
        if options.images is None:
            raise DataError("--task xray needs --images FOLDER: chest X-rays with a boxes.csv.")
        cross_validate(options.images)  # prints its table
        return
    tasks = [options.task] if options.task else list(EPOCHS)
    rows = [row for task in tasks for row in ROWS[task](task, range(options.seeds), options.epochs, options.hearts)]
    text = as_markdown(rows)
    print(text)
    out = options.out or (ROOT / "RESULTS.md" if options.task is None else None)
    if out is not None:
        with written_whole(out, "w") as file:
            file.write(f"# Results\n\nMade by `python -m cardiac_ml results --seeds {options.seeds}` on {machine()}.\n\n{text}")


def as_markdown(rows):
    lines = ["| task | model | metric | score | seconds | parameters | data |", "|" + " --- |" * 7]
    for row in rows:
        spread = f" ± {np.std(row.scores):.3f}" if len(row.scores) > 1 else ""
        lines.append(f"| {row.task} | {row.model} | {row.metric} | {np.mean(row.scores):.3f}{spread} | {row.seconds:.0f} | "
                     f"{row.parameters or ''} | {row.source} |")
    return "\n".join(lines) + "\n"


def machine():
    import torch
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"{platform.machine()}, {device}, Python {platform.python_version()}, torch {torch.__version__}"


def _timed(function):
    """(result, seconds)"""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def _epochs(task, source, wanted):
    return wanted or (EPOCHS if "virtual" in source else REAL_EPOCHS)[task]


def _beats(task, hearts):
    """Training and test heartbeats of task 1 or 2, and the name of the metric."""
    from cardiac_ml import heartbeats
    if task == "2":
        return *heartbeats.load_mitbih(virtual_hearts=hearts), "macro-F1"
    data = heartbeats.load_ptb(virtual_hearts=hearts)
    rest, test = heartbeats.split_test(data)
    return data[rest], data[test], "balanced accuracy"


def heartbeat_rows(task, seeds, epochs=None, hearts=None):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    from cardiac_ml import heartbeats, metrics, recipes
    train, test, metric = _beats(task, hearts)
    common = np.bincount(train.label).argmax()
    score, source = metrics.CLASSIFICATION[metric], train.source

    def row(model, predictions, seconds, parameters=0):
        return Row(task, model, metric, [score(test.label, p) for p in predictions], seconds, parameters, source)

    yield row(f"always {train.classes[common]}", [np.eye(len(train.classes))[np.full(len(test), common)]], 0)
    for name, model in (("logistic regression", LogisticRegression(max_iter=300)),
                        ("random forest", RandomForestClassifier(200, min_samples_leaf=2, n_jobs=-1, random_state=0))):
        _, seconds = _timed(lambda: model.fit(train.beats, train.label))
        yield row(name, [model.predict_proba(test.beats)], seconds)
    predictions, seconds = [], 0.0
    for seed in seeds:
        kept, held_out = heartbeats.split_stratified(train, fraction=0.1, seed=seed)
        fitted, took = _timed(lambda: recipes.heartbeat_recipe(train[kept], train[held_out], seed=seed,
                                                               epochs=_epochs(task, source, epochs), progress=False))
        predictions.append(recipes.heartbeat_probabilities(fitted.model, test.beats))
        seconds += took / len(seeds)
    yield row("network", predictions, seconds, sum(p.numel() for p in fitted.model.parameters()))


def heart_rows(task, seeds, epochs=None, hearts=None):
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor

    from cardiac_ml import heart_metrics, heart_recipes, intracardiac, leads
    data = intracardiac.load(virtual_hearts=hearts or 30)
    split = intracardiac.split_by_heart(data.table)
    maps, ecg = data.activation_ms, data.ecg_mv
    template = heart_recipes.Template().fit(data.voltage_mv[split.train], maps[split.train]) if task == "4" else None
    target = np.asarray((maps if task == "3" else data.voltage_mv)[split.test])
    score, metric = (heart_metrics.mae_ms, "MAE (ms)") if task == "3" else (heart_metrics.mae_mv, "MAE (mV)")
    mean_map = np.nanmean(maps[split.train], axis=0)
    flat = leads.independent(ecg)[:, :, ::4].reshape(len(ecg), -1)

    def row(model, answers, seconds, parameters=0):
        return Row(task, model, metric, [score(target, a) for a in answers], seconds, parameters, data.source)

    def from_times(times):
        return times if task == "3" else template.predict(times)

    trivial = np.tile(mean_map, (len(target), 1)) if task == "3" else [np.mean(data.voltage_mv[split.train], axis=0)] * len(target)
    yield row("mean", [np.asarray(trivial)], 0)
    filled = np.where(np.isnan(maps), mean_map, maps)[split.train]
    for name, model in (("ridge", Ridge(alpha=30.0)), ("nearest neighbours", KNeighborsRegressor(5, weights="distance"))):
        _, seconds = _timed(lambda: model.fit(flat[split.train], filled))
        yield row(name, [from_times(model.predict(flat[split.test]))], seconds)
    recipe = heart_recipes.activation_recipe if task == "3" else heart_recipes.voltage_recipe
    answers, seconds = [], 0.0
    for seed in seeds:
        fitted, took = _timed(lambda: recipe(data, split, epochs=_epochs(task, data.source, epochs), seed=seed, progress=False))
        answers.append(heart_recipes.predict_activation(fitted.model, ecg[split.test])[0] if task == "3" else
                       heart_recipes.predict_voltage(fitted.model, ecg[split.test]))
        seconds += took / len(seeds)
    yield row("network", answers, seconds, sum(p.numel() for p in fitted.model.parameters()))


ROWS = {"1": heartbeat_rows, "2": heartbeat_rows, "3": heart_rows, "4": heart_rows}
