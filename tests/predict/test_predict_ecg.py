"""One's own ECG: files of every kind, the usual beat, what is wrong with a recording, and what the command writes."""
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from cardiac_ml import leads, models, training
from cardiac_ml.__main__ import main
from cardiac_ml.files import DataError
from cardiac_ml.leads import LEADS
from cardiac_ml.predict import ecg
from cardiac_ml.predict.beat import LEAD_IN_MS, usual_beat
from cardiac_ml.predict.recording import plain, read_recording

TIME_MS = np.arange(500)
SIZE = np.array([0.6, 1.0, -0.7, -0.5, 0.4, 1.0, 1.1, 0.8])[:, None]  # of QRS in I, II, V1 .. V6
STARTS = 700 + 860 * np.arange(10)


def made_beat(late=0.0):
    """(8, 500) mV, the QRS from 0 ms on: two bumps and a T wave."""
    q, r, t = (np.exp(-((TIME_MS - at - late) / width) ** 2 / 2) for at, width in ((22, 6), (40, 9), (300, 35)))
    return SIZE * r - 0.3 * np.abs(SIZE) * q + 0.25 * np.abs(SIZE) * t


@pytest.fixture(scope="module")
def strip():
    """(12, 10000) mV at 1 kHz: ten beats with P waves, one of them odd, drift and noise."""
    rng = np.random.default_rng(0)
    time = np.arange(10000)
    eight = rng.normal(0, 0.01, (8, 10000)) + 0.2 * np.sin(2 * np.pi * (time / 4000 + rng.random((8, 1))))
    for number, start in enumerate(STARTS):
        eight[:, start:start + 500] += (-1.5 * made_beat()[::-1] if number == 4 else made_beat())
        eight += 0.1 * np.abs(SIZE) * np.exp(-((time - start + 110) / 20) ** 2 / 2)
    return leads.from_independent(eight)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder with small untrained networks that know what the made beats look like."""
    folder, rng = tmp_path_factory.mktemp("networks"), np.random.default_rng(0)
    size = rng.lognormal(0, 0.2, (300, 8, 1))
    beats = np.stack([made_beat(late) for late in rng.uniform(0, 12, 300)]) * size
    ecg_mv = leads.from_independent(beats + rng.normal(0, 0.05, beats.shape)).astype(np.float32)
    start = rng.uniform(5, 80, (300, 75))
    voltage = np.where((TIME_MS > start[..., None]) & (TIME_MS < start[..., None] + 260), 20, -85).astype(np.float32)
    timing = dict(width=8, maps=4, hidden=8)
    training.save(folder / "task_3.npz", models.ActivationNet(**timing).fit_scaling(ecg_mv, start), fails="Untrained.")
    net = models.ActionPotentialNet(shapes=2, maps=2, hidden=8, timing=timing)
    training.save(folder / "task_4.npz", net.fit_scaling(ecg_mv, voltage, start, np.full_like(start, 260)))
    return folder


def to_csv(path, signal, names=None, time=None, **layout):
    table = pd.DataFrame(signal.T, columns=names)
    if time is not None:
        table.insert(0, *time)
    table.to_csv(path, index=False, header=names is not None, **layout)


# ---- the beat ----

def test_the_usual_beat_is_the_one_that_was_put_in(strip):
    beat = usual_beat(strip)
    late = beat.onset_ms - STARTS  # of the onset that was found
    assert beat.used.sum() == 9 and not beat.used[4] and beat.rate_per_min == pytest.approx(70, abs=1)
    assert np.ptp(late[beat.used]) <= 2 and 0 <= late[0] < 9
    clean = np.pad(leads.from_independent(made_beat()), ((0, 0), (LEAD_IN_MS, 0)))[:, late[0]:]
    assert np.abs(beat.ecg_mv - clean[:, :500]).max() < 0.06


def test_a_fast_heart_keeps_its_next_p_wave_out():
    time, rng = np.arange(10000), np.random.default_rng(0)
    eight = rng.normal(0, 0.005, (8, 10000))
    for start in range(300, 9500, 480):
        eight[:, start:start + 500] += made_beat()
        eight += 0.2 * np.exp(-((time - start + 110) / 20) ** 2 / 2)
    beat = usual_beat(leads.from_independent(eight))
    assert beat.rate_per_min == pytest.approx(125, abs=1) and not beat.ecg_mv[:, 300:].any()


# ---- files ----

def test_every_kind_of_file_gives_the_same(strip, tmp_path):
    slow = np.round(strip[:, ::2], 3)  # 500 Hz, whole microvolts
    names, half = [f"Lead {name} (uV)" for name in LEADS], np.arange(5000) * 2
    to_csv(tmp_path / "plain.csv", slow)
    to_csv(tmp_path / "named.csv", 1000 * slow, names, ("time (ms)", half), sep=";", decimal=",")
    to_csv(tmp_path / "seconds.txt", slow[::-1], LEADS[::-1], ("t", half / 1000), sep="\t")
    np.save(tmp_path / "rows.npy", slow)
    np.save(tmp_path / "eight.npy", leads.independent(slow).T)
    savemat(tmp_path / "raw.mat", dict(val=1000 * slow, other=np.ones(3)))
    expected = read_recording(tmp_path / "rows.npy", 500).signal_mv
    for name, options in {"plain.csv": dict(rate_hz=500), "named.csv": {}, "seconds.txt": {},
                          "eight.npy": dict(rate_hz=500), "raw.mat": dict(rate_hz=500, unit="uV")}.items():
        recording = read_recording(tmp_path / name, **options)
        assert recording.signal_mv.shape == (12, 10000)
        assert bool(recording.remarks) == (name not in ("named.csv", "seconds.txt"))
        assert np.abs(recording.signal_mv - expected).max() < 0.01, name
    assert [plain(name) for name in ("ECG V1", "Lead I (Einthoven)", "avr", "III_mV", "V10", "Time")] == [
        "V1", "I", "avr", "III", "V10", "Time"]


def test_wfdb_dicom_and_edf(strip, tmp_path):
    wfdb, pydicom = pytest.importorskip("wfdb"), pytest.importorskip("pydicom")
    wfdb.wrsamp("a", fs=1000, units=["mV"] * 12, sig_name=list(LEADS), p_signal=strip.T.astype(float), fmt=["16"] * 12,
                write_dir=str(tmp_path))
    for name in ("a.hea", "a.dat", "a"):
        assert np.abs(read_recording(tmp_path / name).signal_mv - strip).max() < 0.01
    write_edf(tmp_path / "b.edf", strip)
    assert np.abs(read_recording(tmp_path / "b.edf").signal_mv - strip).max() < 0.01
    dicom = pydicom.data.get_testdata_file("waveform_ecg.dcm")
    signal_mv = read_recording(dicom).signal_mv
    assert signal_mv.shape == (12, 10000) and usual_beat(signal_mv).used.sum() > 5


def write_edf(path, signal):
    """Ten blocks of a second, 1000 samples each, whole microvolts."""
    fields = [(16, [f"ECG {name}" for name in LEADS]), (80, [""] * 12), (8, ["uV"] * 12), (8, [-32768] * 12),
              (8, [32767] * 12), (8, [-32768] * 12), (8, [32767] * 12), (80, [""] * 12), (8, [1000] * 12),
              (32, [""] * 12)]
    head = [(8, 0), (80, ""), (80, ""), (8, "01.01.26"), (8, "00.00.00"), (8, 256 * 13), (44, ""), (8, 10), (8, 1),
            (4, 12)]
    text = "".join(str(value).ljust(width) for width, value in head)
    text += "".join(str(value).ljust(width) for width, values in fields for value in values)
    blocks = np.round(1000 * signal).astype("<i2").reshape(12, 10, 1000).swapaxes(0, 1)
    path.write_bytes(text.encode() + blocks.tobytes())


@pytest.mark.parametrize("change, options, words", [
    (lambda s: 0 * s, dict(rate_hz=1000), "the leads are flat"),
    (lambda s: 1000 * s, dict(rate_hz=1000), "microvolts: add --unit uV"),
    (lambda s: s / 1000, dict(rate_hz=1000), "look like volts: add --unit V"),
    (lambda s: s, {}, "Add --rate"),
    (lambda s: s, dict(rate_hz=3), "rate of 3 Hz"),
    (lambda s: s, dict(rate_hz=1000, unit="mmHg"), "unit 'mmHg'"),
    (lambda s: s[:9], dict(rate_hz=1000), "9 channels"),
    (lambda s: s[:9], dict(rate_hz=1000, names=list(LEADS[:9])), "lacks V4, V5, V6"),
    (lambda s: s[[0, 2, 1, *range(3, 12)]], dict(rate_hz=1000), "contradict each other"),
    (lambda s: np.where(np.arange(12)[:, None] == 8, 0, s), dict(rate_hz=1000), "lead V3 is flat"),
    (lambda s: np.where(np.arange(10000) == 5, np.nan, s), dict(rate_hz=1000), "missing samples"),
    (lambda s: s[0], dict(rate_hz=1000), "shape"),
    (lambda s: leads.from_independent(np.random.default_rng(0).normal(0, 0.5, (8, 10000))), dict(rate_hz=1000),
     "Is this noise"),
    (lambda s: s[:, :1200], dict(rate_hz=1000), "3 are needed")])
def test_what_has_no_answer_is_refused_with_the_reason(change, options, words, strip, tmp_path):
    np.save(tmp_path / "a.npy", change(strip))
    with pytest.raises(DataError, match=words):
        usual_beat(read_recording(tmp_path / "a.npy", **options).signal_mv)


@pytest.mark.parametrize("name", ["a.csv", "a.npy", "a.mat", "a.dcm", "a.edf", "a.scp", "a.hea"])
def test_a_file_that_is_something_else_is_refused(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"no heart beats here\n" * 40)
    assert main(["predict", "ecg", str(tmp_path / name)]) == 1 and "Error: " in capsys.readouterr().err
    assert main(["predict", "ecg", str(tmp_path / "absent.csv")]) == 1 and "no file" in capsys.readouterr().err


# ---- the answer ----

def test_the_command_writes_picture_table_and_page(strip, networks, tmp_path, capsys):
    to_csv(tmp_path / "own.csv", strip, LEADS)
    command = ["predict", "ecg", str(tmp_path / "own.csv"), "--rate", "1000", "--out", str(tmp_path / "out")]
    assert main([*command, "--networks", str(networks)]) == 0
    said = capsys.readouterr().out
    assert "9 beats alike, 70 a minute" in said and "Untrained." in said
    assert "swapped" not in said and "unlike" not in said
    table = pd.read_csv(tmp_path / "out" / "own_heart.csv")
    assert list(table) == ["point", "activation_ms", "low_ms", "high_ms", "apd90_ms"] and len(table) == 75
    assert (table.low_ms < table.activation_ms).all() and (table.activation_ms < table.high_ms).all()
    assert (tmp_path / "out" / "own_heart.png").stat().st_size > 50_000
    assert "AHA17" in (tmp_path / "out" / "own_heart.html").read_text()


def test_swapped_arms_and_unlike_ecgs_are_named(strip, networks):
    def said(signal):
        beat = usual_beat(signal)
        return " ".join(ecg.doubts(beat, ecg.ask(beat.ecg_mv, networks)))

    eight = leads.independent(strip)
    swapped = leads.from_independent(np.concatenate([-eight[:1], eight[1:2] - eight[:1], eight[2:]]))
    other = leads.from_independent(np.concatenate([eight[:2], -eight[2:]])[[0, 1, 3, 2, 7, 6, 5, 4]])
    assert "swapped" in said(swapped) and "swapped" not in said(strip) and "1 of 10 beats look different" in said(strip)
    assert "unlike those" in said(other) and "unlike those" not in said(strip)


def test_real_records(real_data, tmp_path):
    """An answer or a plain refusal for each; what can be wrong with a recording is recognised in all."""
    refused, answered, noise = [], 0, np.random.default_rng(0)
    for path in sorted((real_data / "cinc2021_sample").glob("*.hea")):
        try:
            recording = read_recording(path)
            beat = usual_beat(recording.signal_mv)
        except DataError as error:
            refused.append(str(error))
            continue
        answered += 1
        one, two, chest = recording.signal_mv[0], recording.signal_mv[1], leads.independent(recording.signal_mv)[2:]
        swapped = usual_beat(leads.from_independent(np.stack([-one, two - one, *chest])))
        unknown = ecg.Answer(np.zeros(75), np.ones(75), None, 0.0, "")
        assert "swapped" in " ".join(ecg.doubts(swapped, unknown)), path
        assert "swapped" not in " ".join(ecg.doubts(beat, unknown)), path
        assert beat.used.sum() >= 6 and 40 < beat.rate_per_min < 150 and np.abs(beat.ecg_mv[:, :3]).max() < 0.2
        for signal, names, words in ((1000 * recording.signal_mv, None, "microvolts"),
                                     (recording.signal_mv[:9], list(LEADS[:9]), "lacks V4, V5, V6"),
                                     (leads.from_independent(noise.normal(0, 0.5, (8, 10000))), None, "noise")):
            np.save(tmp_path / "a.npy", signal)
            with pytest.raises(DataError, match=words):
                usual_beat(read_recording(tmp_path / "a.npy", 1000, names=names).signal_mv)
    assert answered == 28 and all("is flat" in words for words in refused)
