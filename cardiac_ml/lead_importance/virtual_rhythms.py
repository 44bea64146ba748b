"""Ten-second twelve-lead records of virtual hearts, as WFDB files with SNOMED codes like those of a hospital.

Every heart gives a few records that differ in conduction (normal, left or right bundle branch block), muscle (with or
without an infarct), rhythm, and the way from atria to ventricles. Reading and writing WFDB needs ``wfdb``.
"""
from dataclasses import replace

import numpy as np
from joblib import delayed
from scipy.signal import resample_poly

from cardiac_ml.files import new_folder
from cardiac_ml.lead_importance.twelve_leads import TARGETS
from cardiac_ml.leads import INDEPENDENT, LEADS, from_independent, independent, to_leads
from cardiac_ml.virtual import beats, patterns, rhythm
from cardiac_ml.virtual.parallel import in_order
from cardiac_ml.virtual.patient import draw_patient, electrodes_mv, simulate_beats

RATE_HZ, SECONDS = 500, 10
P_WAVE = dict(zip(INDEPENDENT, (0.6, 1.0, 0.3, 0.4, 0.45, 0.5, 0.5, 0.5)))  # its height in each lead, lead II being 1
RHYTHMS = {"sinus rhythm": (640, 1000), "sinus bradycardia": (1080, 1450), "sinus tachycardia": (420, 570),
           "atrial fibrillation": (520, 1000)}  # and the interval between beats, ms
LATE_MS = 215  # from P to QRS: longer than the 200 ms that a first degree AV block begins with, at any heart rate


def write_records(folder, hearts, seed=0, lead_field="sphere", each=8, workers=None, progress=True):
    """``each`` records of every heart, named heart_record, as WFDB files in a new folder."""
    jobs = [delayed(_one_heart)(seed, number, lead_field, each) for number in range(1, hearts + 1)]
    with new_folder(folder, shared=True) as part:
        for number, records in enumerate(in_order(jobs, workers, progress), start=1):
            for k, (ecg_mv, targets) in enumerate(records):
                write_record(part, f"v{number:04d}_{k}", ecg_mv, [TARGETS[name][0] for name in targets],
                             patient=f"v{number:04d}")
    return folder


def write_record(folder, name, ecg_mv, codes, rate_hz=RATE_HZ, patient=""):
    """One record (12, samples) mV as .dat and .hea, with SNOMED codes in the header."""
    import wfdb
    wfdb.wrsamp(name, fs=rate_hz, units=["mV"] * 12, sig_name=list(LEADS), p_signal=np.asarray(ecg_mv, float).T,
                fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(folder),
                comments=["Age: Unknown", "Sex: Unknown", f"Dx: {','.join(codes)}"]
                + ([f"Patient: {patient}"] if patient else []))


def _one_heart(seed, number, lead_field, each):
    """Records of one heart: a list of ((12, 5000) mV, names of targets)."""
    rng = np.random.default_rng([seed, 11, number])
    patient = draw_patient(seed, number)
    heart, ventricles = patient.heart, {"normal": patterns.normal, "left bundle branch block": patterns.lbbb,
                                        "right bundle branch block": patterns.rbbb}
    plan = [(kind, make(heart, rng)) for kind, make in ventricles.items()]
    plan += [("infarct", beats.infarct(heart, plan[0][1], rng)), ("focus", beats.focus(heart, rng))]
    solved = simulate_beats(patient, [beat for _, beat in plan])
    shapes = {kind: _shape(patient, solved, k, lead_field) for k, (kind, _) in enumerate(plan)}
    return [_record(shapes, rng) for _ in range(each)]


def _shape(patient, solved, k, lead_field):
    """((8, 600) mV, QRS ms) of one beat."""
    samples = beats.LASTS_MS
    mv = independent(to_leads(electrodes_mv(patient, solved, k, lead_field=lead_field, samples=samples)))
    mv = (mv - mv[:, :1]) * np.clip((samples - 1 - np.arange(samples)) / 50, 0, 1)
    return mv, float(np.nanquantile(solved.activation_ms[k], 0.99)) + 8


def _record(shapes, rng):
    """One record: its conduction, muscle, rhythm and atrioventricular delay are drawn independently."""
    kind = rng.choice(["normal", "infarct", "left bundle branch block", "right bundle branch block"],
                      p=[0.4, 0.2, 0.2, 0.2])
    name = rng.choice(list(RHYTHMS), p=[0.4, 0.2, 0.2, 0.2])
    fibrillates, late, extra = name == "atrial fibrillation", rng.random() < 0.2, rng.random() < 0.2
    rr_ms = rng.uniform(*RHYTHMS[name])
    pr_ms = rng.uniform(LATE_MS, np.clip(0.55 * rr_ms, 225, 320)) if late else rng.uniform(110, 190)
    parameters = replace(rhythm.draw_parameters(rng), rr_ms=rr_ms, fibrillates=fibrillates,
                         pr_ms=pr_ms / np.clip(rr_ms / 800, 0.7, 1.05))  # by which rhythm.strip shortens it
    kinds = ["N"] * int(np.ceil(12500 / parameters.rr_ms) + 2)
    if extra:
        for at in rng.choice(np.arange(3, len(kinds) - 3), rng.integers(1, 3), replace=False):
            kinds[at] = "V"
    times = rhythm.beat_times(kinds, parameters, rng)
    eight = np.stack([_lead(lead, kinds, kind, shapes, times, parameters, rng) for lead in INDEPENDENT])
    start = int(rng.uniform(0.6, 1.2) * rhythm.RATE_HZ)
    eight = eight[:, start:start + int(SECONDS * rhythm.RATE_HZ)]
    targets = [name] + ["first degree AV block"] * (late and not fibrillates)
    targets += ["myocardial infarction"] * (kind == "infarct") + ["ventricular premature beats"] * extra
    targets += [kind] * ("branch" in kind)
    return from_independent(resample_poly(eight, 25, 18, axis=1, padtype="line")), targets


def _lead(lead, kinds, kind, shapes, times, parameters, rng):
    """One lead of the strip: its own beats, P waves of its own height, noise of its own."""
    row = INDEPENDENT.index(lead)
    chosen = []
    for letter in kinds:
        mv, qrs_ms = shapes["focus" if letter == "V" else kind]
        chosen.append(rhythm.Shape(mv[[row, (row + 1) % 8]], qrs_ms / 2, qrs_ms, kind))
    own = replace(parameters, p_mv=parameters.p_mv * P_WAVE[lead], spike_mv=0.0)
    return rhythm.strip(kinds, chosen, times, own, rng)[0]
