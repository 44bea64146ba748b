import os
import re
import shutil
import signal
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from cardiac_ml import challenge, intracardiac, metrics
from cardiac_ml.__main__ import main
from cardiac_ml.challenge import baselines, cases, making, scoring, submission
from cardiac_ml.files import DataError
from cardiac_ml.virtual import dataset, patient

SECRET = 2 ** 127 + 987_654_321_012


def made_heartbeats(hearts, seed, train, test, ptb, patients, **_):
    """The four files of the heartbeat simulator, with noise in place of beats."""
    rng, people = np.random.default_rng(seed), max(hearts, patients)
    sick = np.arange(people) % 2

    def file(rows, label):
        patient = rng.permutation(np.arange(rows) % people)
        label = sick[patient] if label is None else rng.integers(0, 5, rows)
        beats = np.column_stack([rng.random((rows, 187)) * (label + 1)[:, None] / 5, label]).astype(np.float32)
        return beats, pd.DataFrame({"patient": patient, "rr_before_ms": rng.random(rows), "kind": "x"})

    both = file(ptb, None)
    halves = [(both[0][both[0][:, 187] == label], both[1][both[0][:, 187] == label]) for label in (0, 1)]
    return {"mitbih_train": file(train, 5), "mitbih_test": file(test, 5), "ptbdb_normal": halves[0],
            "ptbdb_abnormal": halves[1]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("challenge") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making.beats, "simulate_heartbeats", made_heartbeats)
        return making.make_challenge(out, SECRET, train_hearts=3, test_hearts=4, cases=2, workers=1, progress=False)


@pytest.fixture
def public(made, tmp_path, own_cache):
    """What participants get, and nothing else."""
    return shutil.copytree(made[0], tmp_path / "public")


def test_numbers_of_hearts_and_cases_mean_what_they_say(made, public):
    data = intracardiac.load(public / "intracardiac_dataset")
    assert len(set(data.hearts)) == 3 and len(data) == 6
    asked = cases.read_test_cases(public / "test_task_3.npz", 3).ecg_mv
    assert not {ecg.tobytes() for ecg in data.ecg_mv} & {ecg.tobytes() for ecg in asked}, "the hearts are others"
    for task in (1, 2, 3, 4):
        truth = scoring.read_truth(made[1] / f"truth_task_{task}.npz")
        assert len(set(truth.group)) == 4 and (task < 3 or len(truth.ids) == 8)
        halves = set(truth.group[truth.final]), set(truth.group[~truth.final])
        assert len(halves[0]) == len(halves[1]) == 2 and not halves[0] & halves[1]
        assert task > 1 or set(truth.label[truth.final]) == set(truth.label[~truth.final]) == {0, 1}


@pytest.mark.parametrize("task", [1, 2, 3, 4])
def test_from_the_public_folder_to_a_valid_submission(public, made, task, tmp_path, monkeypatch):
    """What the README of the challenge says, with nothing private at hand."""
    monkeypatch.setenv("CARDIAC_ML_DATA", str(public))
    train, valid, test = challenge.load(task=task)
    assert not set(test.ids) & set(train.table["file"]) and len(train) and len(valid)
    group = "patient" if task <= 2 else "heart"
    assert not set(train.table[group]) & set(valid.table[group]) or task == 2, "the noise of task 2 shares patients"
    inputs, answer = (train.beats, train.label) if task <= 2 else (train.ecg_mv, np.asarray(
        train.activation_ms if task == 3 else train.voltage_mv))
    prediction = list(baselines.predictions(task, inputs, answer, test.inputs))[-1][1]
    path = challenge.submit(test, prediction, team="us", path=tmp_path / "mine.npz")
    assert submission.check(path, task, challenge.test_cases(task, folder=public).ids) == []
    assert submission.check(public / f"template_task_{task}.npz", task, test.ids) == []
    scores = scoring.score(path, scoring.find_truth(made[1].parent, task))
    assert np.isfinite(scores[scoring.MAIN[task]].value)
    assert len(list((made[1] / "baselines").glob(f"task_{task}_*.npz"))) == 2


def test_without_a_challenge_the_test_cases_are_those_of_the_data_at_hand(public, monkeypatch):
    with pytest.raises(DataError, match="not the public folder of a challenge"):
        challenge.load(public / "ecg_dataset", 1)
    with pytest.raises(DataError, match="cannot be read as the test cases of task 3"):
        (public / "test_task_3.npz").write_bytes(b"PK")
        challenge.load(public, 3)
    [path.unlink() for path in public.glob("test_task_*")]
    monkeypatch.setenv("CARDIAC_ML_DATA", str(public))
    for task in (1, 3):
        truth, (train, valid, test) = cases.truth_at_hand(task), challenge.load(task=task)
        assert (truth.ids == test.ids).all() and len(test) and len(train) and len(valid)
        with pytest.raises(DataError, match="which rows are the test"):
            challenge.test_cases(task, train)
        with pytest.raises(DataError, match=f"the data of task {4 - task} are .*not a"):
            challenge.test_cases(4 - task, train, [0])
        with pytest.raises(DataError, match="takes what test_cases.* gives, not a (Heartbeats|Intracardiac)"):
            challenge.submit(train, None, team="us")
    with pytest.raises(DataError, match="no task 5"):
        challenge.test_cases(5)


def test_the_ecg_belongs_to_its_id(made):
    """Tasks 3 and 4 show the same ECG under the same name, and its label is that of the voltages."""
    three, four = (cases.test_cases(task, folder=made[0]) for task in (3, 4))
    assert (three.ids == four.ids).all() and (three.inputs == four.inputs).all()
    maps, traces = (scoring.find_truth(made[1], task).label for task in (3, 4))
    assert making.upstroke_ms(traces) == pytest.approx(maps, nan_ok=True)


# ---- thieves ----

def numbers_in(folder):
    """Every number and name that the texts, names, sizes, dates and headers of a folder show."""
    found = set()
    for path in [folder, *folder.rglob("*")]:
        state = path.stat()
        texts = [path.name, str(state.st_size), str(state.st_mtime_ns)]
        if path.suffix in (".csv", ".txt", ".md", ".json") and not path.name.startswith(("mitbih", "ptbdb")):  # signals
            texts.append(path.read_text(encoding="utf-8"))
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                texts += [str((info.date_time, info.comment, info.extra)) for info in archive.infolist()]
            with np.load(path) as file:
                texts += file["ids"].tolist()
        found |= {word for text in texts for word in re.findall(r"[0-9a-f.]+", text) if len(word) > 5}
    return found


def stolen(shown, seeds):
    """The first seed that gives away itself: what the package would draw or hash with it stands in the public part."""
    drawn = {round(float(word) * 1e7) for word in shown if re.fullmatch(r"\d\.\d{8,}", word)}
    for seed in seeds:
        if f"{making.key(seed, 'name 0 of task 3'):032x}"[:12] in shown:
            return seed
        if drawn:  # no number with so many digits, no need to look
            onset_ms = 1 + 7 * (np.random.PCG64([seed, 1, 1]).random_raw(2)[1] >> 11) * 2.0 ** -53
            if round(onset_ms * 1e7) in drawn:
                return seed
    return None


def test_a_thief_who_tries_a_million_seeds_finds_nothing(made):
    shown = numbers_in(made[0])
    assert stolen(shown, range(10 ** 6)) is None
    assert stolen(shown, [SECRET]) == SECRET, "who has the secret has the names: the attack is the right one"


def test_the_thief_finds_the_seed_where_a_table_tells_what_was_drawn(tmp_path):
    _, _, table = dataset.simulate_heart(4321, 1, 1)
    table.drop(columns="seed").to_csv(tmp_path / "cases.csv")
    assert stolen(numbers_in(tmp_path), range(4000, 5000)) == 4321


def test_tables_hold_what_the_real_ones_hold_and_files_say_nothing(made):
    public, private = made
    table = pd.read_csv(public / "intracardiac_dataset" / "documentation" / "cases.csv")
    assert list(table) == [*making.TABLE, "file"] and sorted(set(table.heart)) == ["v1", "v2", "v3"]
    beats = pd.read_csv(public / "ecg_dataset" / "beats.csv")
    assert list(beats) == ["file", "row", *making.BEATS_TABLE] and set(beats.patient) == {1, 2, 3, 4, 5, 6}
    assert len({path.stat().st_mtime for path in [public, *public.rglob("*")]}) == 1
    sizes = {(path.name[:4], path.stat().st_size) for path in public.rglob("*Data_*.npy")}
    assert len(sizes) == 2, "one for each kind of file"
    for task in (1, 2, 3, 4):
        with np.load(public / f"test_task_{task}.npz") as given:
            assert set(given.files) == {"ids", "inputs"}
            assert given["inputs"].shape[1:] == ((187,) if task < 3 else (12, 500)), "no answer among them"
        truth = scoring.find_truth(private, task)
        assert all(re.fullmatch("case-[0-9a-f]{12}", name) for name in truth.ids)
        assert list(truth.group) != sorted(truth.group)
    assert private.stat().st_mode & 0o777 == 0o700 and (private / ".gitignore").read_text() == "*\n"
    assert (private / "secret.txt").read_text().strip() == str(SECRET)


def test_every_bit_of_the_secret_counts_and_keys_tell_nothing_of_each_other():
    others = [SECRET ^ 1 << bit for bit in (0, 31, 64, 126)]
    purposes = "hearts to learn from", "hearts to test on"
    keys = {making.key(secret, purpose) for secret in [SECRET, *others] for purpose in purposes}
    assert len(keys) == 10 and max(keys) < 2 ** 128
    torsos = [patient.draw_patient(secret, 1, step_mm=3.5).torso for secret in (SECRET, others[2], others[3])]
    assert len({str(torso) for torso in torsos}) == 3, "the simulator uses the whole seed"


@pytest.mark.parametrize("task", [1, 2])
def test_classes_of_the_test_cannot_be_counted(tmp_path, monkeypatch, task):
    """With the same numbers of hearts, another secret gives other shares of classes."""
    monkeypatch.setattr(making.beats, "simulate_heartbeats", made_heartbeats)
    counts = set()
    for secret in range(2 ** 100, 2 ** 100 + 4):
        _, private = making.make_challenge(tmp_path / str(secret), secret, tasks=[task], train_hearts=2, test_hearts=8)
        truth = scoring.find_truth(private, task)
        patients = [set(truth.label[truth.group == patient]) for patient in np.unique(truth.group)]
        counts.add(sum(0 in classes for classes in patients) if task == 1 else tuple(np.bincount(truth.label)))
        assert not (tmp_path / str(secret) / "public" / "intracardiac_dataset").exists()
    assert len(counts) > (1 if task == 1 else 3)


def test_how_many_rows_a_patient_has_does_not_tell_its_class():
    """In task 1 a patient is of one class; who sorts the test rows by patient must not see it by their number."""
    sick = np.arange(18) % 4 > 0
    person = np.repeat(np.arange(18), 100)
    shares, many = [], set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        week, final = making.draw_patients(person, sick[person].astype(int), 12, rng)
        rows = np.bincount(person[making.thinned(person, rng)], minlength=18)
        shares.append(metrics.auroc(sick.astype(int), rows / 200))
        many.add(int(sick[[*week, *final]].sum()))
        assert len({*week, *final}) == 12 and all(set(sick[half]) == {False, True} for half in (week, final))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03) and len(many) > 2


def test_before_the_draw_every_patient_of_task_1_has_as_many_rows(tmp_path, monkeypatch):
    """Else more would be left out of the ill ones, and the gaps in their records would tell them."""
    asked = []

    def simulate(**size):
        asked.append(size)
        return made_heartbeats(**size)
    monkeypatch.setattr(making.beats, "simulate_heartbeats", simulate)
    making.make_challenge(tmp_path / "new", SECRET, tasks=[1], train_hearts=3, test_hearts=4)
    infarcted = np.arange(asked[1]["patients"]) % 2 == 0
    assert np.ptp(making.beats.plan_ptb(asked[1]["ptb"], infarcted, asked[1]["infarct_share"])) <= 1


# ---- a run that does not end well ----

@pytest.mark.parametrize("options, words", [
    (dict(seed=-5), "can be guessed"), (dict(seed=2024), "can be guessed"), (dict(seed=2 ** 100 - 1), "can be guessed"),
    (dict(test_hearts=1), "two hearts on each side"), (dict(cases=0), "one case are the least"),
    (dict(test_hearts=3), "task 1 .* needs 4 test hearts"),
    (dict(tasks=(3, 7)), r"no task \[7\]")])
def test_a_refused_run_leaves_nothing(tmp_path, options, words):
    with pytest.raises(DataError, match=words):
        making.make_challenge(tmp_path / "new", **options)
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_nothing_and_old_remains_are_swept(tmp_path, monkeypatch):
    def killed(**_):
        raise KeyboardInterrupt
    monkeypatch.setattr(making.beats, "simulate_heartbeats", killed)
    old, young = tmp_path / ".new.a.part", tmp_path / ".new.b.part"
    old.mkdir(), young.mkdir()
    os.utime(old, (0, 0))
    with pytest.raises(KeyboardInterrupt):
        making.make_challenge(tmp_path / "new")
    assert list(tmp_path.iterdir()) == [young]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_ends_in_order_when_it_is_killed_or_its_terminal_closed(tmp_path, monkeypatch, number):
    def heartbeats(**_):
        os.kill(os.getpid(), number)
        time.sleep(10)
    monkeypatch.setattr(making.beats, "simulate_heartbeats", heartbeats)
    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert pytest.raises(SystemExit, main, ["make-challenge", str(tmp_path / "new")]).value.code == 128 + number
    finally:
        [signal.signal(one, handler) for one, handler in before.items()]
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="never overwritten"):
        making.make_challenge(tmp_path)
