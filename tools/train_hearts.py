"""Train the network of tasks 3 and 4 that comes with the kit, on thousands of virtual hearts: cardiac_ml/trained/.

    python -m tools.train_hearts simulate        the hearts, on one core; start it twice for two
    python -m tools.train_hearts train           train meanwhile, on what is there already; hours
    python -m tools.train_hearts train --start cardiac_ml/trained/task_4.npz    from a trained network on
    python -m tools.train_hearts tune            what a few hearts of the other simulator add to task 3

It is one network: task 4's draws voltages from times, durations and shapes, and the part that states times is task 3's.

A killed call goes on where it was: hearts lie in files of five, training in a checkpoint after each epoch.

The hearts are wider than the default ones: up to twice the spread of the population, faster and slower along, across
and through the fibres, and in the layer. Beats are of every kind and of kinds between them, each with a pattern of its
own, and many a heart: new beats of a heart that it knows are nearly as hard for a network as new hearts are, and new
bodies are easier. Each is heard in two bodies: a ball or one without end, electrodes on a ball or on a chest, a muscle
that conducts alike in all directions or as its fibres run, evenly or patch by patch, the right wall less or more. In
the second one the heart has other cells, and in training T waves change: the cells of other simulators, and of other
people, are not ours.
"""
import argparse
import copy
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import fft
from scipy.special import expit
from torch.nn import functional

from cardiac_ml import intracardiac, metrics, models, training
from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.files import atomic_write, cache_folder
from cardiac_ml.leads import from_independent, independent, to_leads
from cardiac_ml.virtual import dataset, patterns, population, signals, torso
from cardiac_ml.virtual.anatomy import draw_shape
from cardiac_ml.virtual.patient import Speeds, lead_weights, make_patient, simulate_beats, voltages_mv

SEED = 20261127                 # of no other hearts of the kit
HEARTS_A_FILE = 5
CASES = 64                      # a heart
BODIES = 4                      # of a heart: the patient's own, and others'
HEARD = 2                       # times each beat, in two of the bodies: with the cells of the voltages, with any cells
WIDTHS = (1.0, 1.0, 1.5, 2.0)   # of the population, heart by heart
KINDS = dict(sites=13, between=12, ectopic=4, focal=3, normal=3, scar=3, LBBB=2, RBBB=2, paced=1, RVOT=1, slow=1,
             fusion=1)          # the first are the hardest
# Patterns of early sites of the default hearts: every second number drawn here is one of these.
OWN_SITES = [number for number in range(dataset.PATTERNS) if dataset.ORDER[number % len(dataset.ORDER)] == "sites"]
VALID_FILES = 4                 # the first ones choose the best epoch and are never trained on
FIRST_FILES = 12                # wait for so many more before training starts
DATA = "{} virtual hearts of a wide population, {} beats, each heard in {} bodies"
FAILS = ("Trained on simulations only. Elsewhere (another simulator, real people) errors are several times those on "
         "new hearts. Intervals widen with how unlike an ECG is; on people nobody could check them. One beat alone, "
         "onset in the first 20 ms, millivolts. Not a medical device.")
SIZE = dict(shapes=8, maps=40, hidden=256, timing=dict(width=64, maps=64, hidden=384))
EPOCH_ROWS = 16000              # ECGs; an epoch is only the distance between two looks at the validation hearts


# ---- hearts ----

def simulate_heart(number, cases=CASES, seed=SEED):
    """ECGs (cases, HEARD, 8, 500) of the independent leads and voltages (cases, 75, 500) of one heart."""
    width = WIDTHS[number % len(WIDTHS)]
    rng = np.random.default_rng([seed, number])
    patient = wide_patient(rng, width)
    drawn = [torso.draw_torso(rng, patient.heart.shape.rv_angle_deg, width) for _ in range(BODIES - 1)]
    bodies = [patient.torso, *(torso.around(patient.heart, one) for one in drawn)]
    beats = [_beat(patient.heart, rng, width) for _ in range(cases)]
    bcl, g_kr = rng.choice(population.CYCLE_LENGTHS_MS, cases), rng.choice(population.G_KR_PERCENT, cases) / 100
    solved = simulate_beats(patient, beats, bcl, g_kr, rng.uniform(1, 8, cases), rng.uniform(0.8, 1.2, cases))
    solved = in_step(solved, rng.choice((0, 1), cases) * rng.uniform(0, 0.9, cases))
    heard_in = [(patchy(rng, other_right(rng, as_conductor(patient, min(1.0, 1.5 * rng.random())))), body)
                for body in bodies]
    ecg = []
    for k in range(cases):
        about = solved.activation_ms[k], solved.apd_ms[k], patient.layer, int(bcl[k]), float(g_kr[k])
        heard = [signals.ecg_of(weights_in(rng, *heard_in[body], solved, k, width), *about, waves=waves) for body, waves
                 in zip(rng.choice(BODIES, HEARD, replace=False), (None, strange_cells(rng)))]
        ecg.append(independent(to_leads(np.stack(heard))))
    return np.stack(ecg), np.stack([voltages_mv(patient, solved, k) for k in range(cases)])


def wide_patient(rng, width):
    """A patient whose speeds along, across and through the fibres are less bound to each other than usual."""
    shape = draw_shape(rng, width)
    along = population.middle("speeds")["along"] * np.exp(rng.normal(0, 0.18))
    speeds = Speeds(along, along * rng.uniform(0.4, 0.9), along * rng.uniform(0.4, 0.9),
                    population.draw(rng, "speeds", width)["layer"])
    return make_patient(shape, torso.draw_torso(rng, shape.rv_angle_deg, width),
                        signals.draw_repolarisation(rng, width), speeds)


def as_conductor(patient, share):
    """The same heart with a muscle that conducts as its fibres run (1), alike in all directions (0), or between.

    The ECG depends on it and the activation does not. Only ``lead_weights`` uses the answer.
    """
    along, *others = patient.speeds.muscle
    ways = [along * (speed / along) ** share for speed in others]
    return replace(patient, speeds=Speeds(along, *ways, patient.speeds.layer),
                   stiffness=torso.stiffness(patient.heart, (along, *ways)))


def other_right(rng, patient):
    """The same heart, or every second time one whose right wall is heard less or more, as a thinner or thicker one."""
    if rng.random() < 0.5:
        return patient
    only = ~patient.heart.is_left[patient.heart.tetrahedra].any(axis=1)
    more = np.float32(rng.uniform(-0.5, 1)) * torso.stiffness(patient.heart, patient.speeds.muscle, only)
    return replace(patient, stiffness=patient.stiffness + more)


def patchy(rng, patient):
    """The same heart, or every second time one whose muscle conducts differently from patch to patch of 5 mm."""
    if rng.random() < 0.5:
        return patient
    middles = patient.heart.nodes_mm[patient.heart.tetrahedra].mean(axis=1)
    patch = np.unique(np.floor(middles / 5), axis=0, return_inverse=True)[1].ravel()
    only = (rng.random(patch.max() + 1) < 0.5)[patch]
    more = np.float32(rng.uniform(0, 1.5)) * torso.stiffness(patient.heart, patient.speeds.muscle, only)
    return replace(patient, stiffness=patient.stiffness + more)


def weights_in(rng, patient, body, solved, k, width):
    """Weights (10, n) of beat ``k`` in a body: a ball, one without end, or that with electrodes nearer to a chest's."""
    body = torso.move_electrodes(rng, body, width=width)
    field = rng.choice(("sphere", "infinite", "chest"))
    if field == "chest":
        ball = torso.ball_mm()
        places = ball + rng.random() * (body.electrodes_mm - body.heart_mm - ball)
        places = places * np.exp(rng.normal(0, 0.12, 3))        # taller or shorter, wider, deeper
        # the infinite field moves the ball's electrodes by as much as the body's are away from their usual places
        body = replace(body, electrodes_mm=population.middle("torso")["electrodes_mm"] + places - ball)
    return lead_weights(patient, solved, k, body, "sphere" if field == "sphere" else "infinite")


def strange_cells(rng):
    """Action potentials of cells that are not ours, as ``signals.ecg_of`` takes them: (layers, levels, frequencies).

    A front of any steepness, a notch or none, a plateau that falls or bends, any way down; all layers alike, or not.
    """
    layers = np.ones((3, 1, 1)) if rng.random() < 0.5 else rng.uniform(0, 1, (3, 1, 1))
    since = (np.arange(signals.LONG) + 20) % signals.LONG - 20.0    # ms; the last 20 lie before the upstroke
    lasts = (signals.SHORTEST_MS + signals.LEVEL_MS * np.arange(signals.LEVELS))[:, None]
    share, fall_ms = np.clip(since / lasts, 0, 1.2), rng.uniform(4, 25)
    notch = rng.choice((0, 1)) * rng.uniform(-0.1, 0.35) * np.exp(-np.maximum(since, 0) / np.exp(rng.uniform(1, 3.4)))
    fallen = rng.uniform(-0.05, 0.4) * share - rng.uniform(-0.3, 0.3) * share * (1 - share)
    wave = np.clip(since + 0.5, 0, 1) * (1 + layers * (notch - fallen)) * expit((lasts - since) / fall_ms)
    height_mv, front_ms = rng.uniform(80, 120), np.exp(rng.uniform(0, 1.8))
    blur = np.exp(-2 * (np.pi * np.arange(signals.LONG // 2 + 1) / signals.LONG * front_ms)**2)
    return (height_mv * blur * fft.rfft(wave.astype(np.float32))).astype(np.complex64)


def in_step(solved, share):
    """The same beats; cells that activate late recover sooner, by a share (beats,) of the delay."""
    late = [ms - np.nanmedian(ms, axis=1, keepdims=True) for ms in (solved.activation_ms, solved.point_ms)]
    apd, point_apd = (np.maximum(ms - share[:, None] * np.nan_to_num(delay), 150).astype(ms.dtype)
                      for ms, delay in zip((solved.apd_ms, solved.point_apd_ms), late))
    return replace(solved, apd_ms=apd, point_apd_ms=point_apd)


def _beat(heart, rng, width):
    """A beat of a drawn kind, its fast layers slower or faster; early sites of every second one are off by some ms."""
    names, weights = list(KINDS), np.array(list(KINDS.values()))
    kind = str(rng.choice(names, p=weights / weights.sum()))
    number = int(rng.choice((rng.choice(OWN_SITES), rng.integers(1 << 30))))
    beat = (between(heart, rng, width) if kind == "between" else
            patterns.point_focus(heart, rng.integers(75)) if kind == "focal" else
            patterns.excitation(kind, heart, rng, number, width))
    sites = beat.sites
    if kind == "sites" and rng.random() < 0.5:
        sites = [(place, rng.uniform(0, 10)) for place in inner_places(heart, rng, len(sites))]
    slowness = np.where(in_layers(heart), beat.slowness / rng.uniform(0.5, 1.15), beat.slowness).astype(np.float32)
    ms = np.array([ms for _, ms in sites]) + rng.choice((0, 5)) * rng.normal(size=len(sites))
    return replace(beat, slowness=slowness, apd_shift_ms=beat.apd_shift_ms + rng.normal(0, 10),
                   sites=[(place, t) for (place, _), t in zip(sites, ms - ms.min())])


def between(heart, rng, width):
    """A beat between the kinds: some ends of the Purkinje network, some other places, one ventricle behind the other.

    Other simulators, and other people, begin elsewhere than ours; bundle branches block in part.
    """
    behind = rng.choice((0, 1)) * rng.uniform(-50, 50)          # ms, of the right ventricle
    sites = [(place, ms + (max(0, behind) if k >= len(population.LEFT_SITES) else max(0, -behind)))
             for k, (place, ms) in enumerate(patterns.normal(heart, rng, 2.0).sites) if rng.random() < 0.7]
    sites += [(place, rng.uniform(0, 30)) for place in inner_places(heart, rng, rng.poisson(1) + (not sites))]
    slowness = np.ones(len(heart.nodes_mm), np.float32)
    for endo_mm in (heart.lv_endo_mm, heart.rv_endo_mm):
        slowness[endo_mm <= heart.shape.layer_mm] = 1 / rng.uniform(0.6, 1.05)
    beat = patterns.Excitation("between", sites, slowness)
    centre, radius = heart.nodes_mm[rng.integers(len(heart.nodes_mm))], rng.uniform(8, 22)
    is_outside = [np.linalg.norm(place - centre) > radius for place, _ in sites]
    if rng.random() < 0.8 or not any(is_outside):
        return beat
    return patterns.with_scar(heart, beat, centre, radius, dead=rng.random() < 0.5)


def inner_places(heart, rng, count):
    """(count, 3) mm anywhere on the inner surfaces."""
    return heart.nodes_mm[rng.choice(np.flatnonzero(in_layers(heart)), count, replace=False)]


def in_layers(heart):
    """(n,) True in the fast layers under the inner surfaces."""
    return np.minimum(heart.lv_endo_mm, heart.rv_endo_mm) <= heart.shape.layer_mm


def simulate(folder, hearts):
    """Write the files of hearts that are not there; several processes at once share the work."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(hearts // HEARTS_A_FILE):
        path, = numbered(folder, part, 1)
        claim = path.with_suffix(".claim")
        if path.exists() or not _claimed(claim):
            continue
        made = [simulate_heart(number) for number in range(part * HEARTS_A_FILE, (part + 1) * HEARTS_A_FILE)]
        ecg, voltage = (np.concatenate(arrays).astype(np.float16) for arrays in zip(*made))
        with atomic_write(path) as file:
            np.savez(file, ecg_mv=ecg, voltage_mv=voltage)
        claim.unlink(missing_ok=True)
        print(f"{time.strftime('%H:%M:%S')} {path.name}: {len(ecg)} beats", flush=True)


def _claimed(path):
    """Is this part ours? Not while another living process makes it."""
    try:
        os.kill(int(path.read_text()), 0)
        return False
    except (FileNotFoundError, ProcessLookupError, ValueError):  # nobody's, or of a process that is gone
        path.write_text(str(os.getpid()))
        return True


# ---- training ----

def read_hearts(path):
    """(ECGs (beats, HEARD, 8, 500), voltages (beats, 75, 500)) of one file."""
    with np.load(path, allow_pickle=False) as file:
        return file["ecg_mv"], file["voltage_mv"].astype(np.float32)


def numbered(folder, first, count):
    """Paths of ``count`` files of hearts, there or not: by number, since they need not be finished in order."""
    return [folder / f"hearts_{part:04d}.npz" for part in range(first, first + count)]


class Pool:
    """All beats simulated so far. Called as ``fit`` calls an augmentation, it gives fresh ones for a minibatch.

    ``parts_of``: voltages -> times, durations and shapes. In two of three beats times alone are learned: there any
    cells may be heard, and T waves change, which would change the others.
    """

    def __init__(self, folder, parts_of):
        self.folder, self.parts_of, self.seen, self.ecg, self.target, self.calls = folder, parts_of, set(), [], [], 0
        self.look()

    def look(self):
        for path in sorted(set(self.folder.glob("hearts_*.npz")) - set(numbered(self.folder, 0, VALID_FILES))):
            if path not in self.seen:
                ecg, voltage = read_hearts(path)
                self.ecg += torch.from_numpy(ecg)
                self.target += torch.from_numpy(self.parts_of(voltage))
                self.seen.add(path)

    def __call__(self, ecg_mv, target, generator):
        self.calls += 1
        if self.calls % 100 == 0:
            self.look()
        beat = torch.randint(len(self.ecg), (len(ecg_mv),), generator=generator).tolist()
        only_times = torch.rand((len(beat), 1, 1), generator=generator) < 0.65
        ecg_mv = other_body(torch.stack([self.ecg[k] for k in beat]).float(), only_times[:, 0], generator)
        target = torch.stack([self.target[k] for k in beat])
        ecg_mv = torch.where(only_times, other_recovery(ecg_mv, target[:, 0], generator), ecg_mv)
        target = torch.cat([target[:, :1], target[:, 1:].masked_fill(only_times, torch.nan)], dim=1)
        return HARMLESS(*other_recording(ecg_mv, target, generator), generator)


HARMLESS = models.Augment(shift_ms=10, gain=0.15, lead_gain=0.08, mix=0.07, noise_mv=0.015, slower=0.2, cells=0.6)


def other_body(ecg_mv, any_cells, generator):
    """(rows, HEARD, 8, 500) -> (rows, 12, 500): in one of the bodies, or in one between them, since ECGs add up.

    ``any_cells`` (rows, 1): False for those that only the body with the cells of the voltages may hear.
    """
    share = -torch.log(torch.rand(ecg_mv.shape[:2], generator=generator).clamp(min=1e-6))
    share = share * (any_cells | (torch.arange(HEARD) == 0))
    one = functional.one_hot(share.argmax(dim=1), HEARD)
    is_one = torch.rand((len(ecg_mv), 1), generator=generator) < 0.5
    share = torch.where(is_one, one, share / share.sum(dim=1, keepdim=True))
    return from_independent(torch.einsum("rb,rblt->rlt", share, ecg_mv))


def other_recovery(ecg_mv, time_ms, generator):
    """T waves as they are, larger, smaller or turned over, or those of another beat: they hang on the cells.

    How late a cell recovers says when it was activated, in one world; in the next one cells differ otherwise.
    """
    uniform = lambda: torch.rand((len(ecg_mv), 1, 1), generator=generator)
    last = torch.nan_to_num(time_ms).amax(dim=1)[:, None, None] + 20 + 40 * uniform()
    late = ((torch.arange(ecg_mv.shape[2]) - last) / 40).clamp(0, 1)
    moved = models.read_at(ecg_mv.roll(1, 0), torch.arange(ecg_mv.shape[2]) - last + last.roll(1, 0))
    sign, size = 1 - 2 * (uniform() < 0.5).float(), torch.exp(0.5 * torch.randn(last.shape, generator=generator))
    which, own = uniform(), (2.2 * uniform() - 0.4) * ecg_mv
    other = torch.where(which < 0.2, ecg_mv, torch.where(which < 0.55, own, sign * size * moved))
    return ecg_mv + late * (other - ecg_mv)


def other_recording(ecg_mv, target, generator):
    """Another recorder: gain from a half to twice, upper frequencies cut off, a baseline that is not quite zero."""
    rows = len(ecg_mv)
    ecg_mv = ecg_mv * torch.exp(0.7 * (2 * torch.rand((rows, 1, 1), generator=generator) - 1))
    if torch.rand((), generator=generator) < 0.3:
        width = 1 + 4 * torch.rand((), generator=generator)
        kernel = torch.exp(-0.5 * (torch.arange(-12, 13) / width) ** 2)[None, None]
        padded = functional.pad(ecg_mv, (12, 12), mode="replicate").flatten(0, 1)[:, None]
        ecg_mv = functional.conv1d(padded, kernel / kernel.sum()).reshape(ecg_mv.shape)
    offset = 0.02 * torch.randn((rows, 8, 1), generator=generator)
    return ecg_mv + from_independent(offset), target


def own_cells(ecg):
    """Twelve leads (beats, 12, 500) of ECGs (beats, HEARD, 8, 500), with the cells of the voltages."""
    return from_independent(ecg[:, 0].astype(np.float32))


def train(folder, out, epochs, start=None):
    """Train from the files in ``folder`` (more may come meanwhile) and write task_3.npz and task_4.npz into ``out``.

    ``start`` is a network that was trained before; its epochs, minutes and validation come first in the cards. From
    there smaller steps are taken: large ones cost it more on new hearts than they give elsewhere.
    """
    paths = numbered(folder, 0, VALID_FILES + FIRST_FILES)
    while missing := [path.name for path in paths if not path.exists()]:
        print(f"waiting for {', '.join(missing)} in {folder}", flush=True)
        time.sleep(30)
    started, files = time.time(), [read_hearts(path) for path in paths]
    valid_mv = np.concatenate([voltage for _, voltage in files[:VALID_FILES]])
    valid_ecg = np.concatenate([own_cells(ecg) for ecg, _ in files[:VALID_FILES]])
    first_mv = np.concatenate([voltage for _, voltage in files[VALID_FILES:]])  # these set the scaling
    first_ecg = np.concatenate([own_cells(ecg) for ecg, _ in files[VALID_FILES:]])
    if start:
        net = training.load(start)
        before = net.card
    else:
        net, before = models.ActionPotentialNet(**SIZE), dict(epochs=0, minutes=0, validation=[])
        net.fit_scaling(first_ecg, first_mv, upstroke_ms(first_mv), apd90_ms(first_mv), seed=SEED)
    pool = Pool(folder, lambda voltage_mv: net.parts_of(voltage_mv, upstroke_ms(voltage_mv), apd90_ms(voltage_mv)))
    rows = np.resize(np.arange(len(first_ecg)), EPOCH_ROWS)  # of these only the number counts: the pool gives the beats
    net, history = training.fit(net, (first_ecg[rows], pool.parts_of(first_mv)[rows]), (valid_ecg, valid_mv),
                                loss=models.parts_loss, score=metrics.upstroke_error_ms, maximize=False, epochs=epochs,
                                lr=6e-4 if start else 2e-3, weight_decay=0.05, augment=pool, seed=SEED,
                                checkpoint=folder / f"train_{before['epochs']}.ckpt")  # trained on: another file
    heard = torch.stack([ecg[k % HEARD] for k, ecg in enumerate(pool.ecg)])
    net.timing.known.fit(from_independent(heard.float()).numpy())
    net.timing.spread_factor.fill_(1)
    models.calibrate_spread(net.timing, training.predict(net.timing, valid_ecg), upstroke_ms(valid_mv))
    net = net.half().float()  # as it will be read
    card = dict(data=DATA.format(len(pool.seen) * HEARTS_A_FILE, len(pool.ecg), HEARD), fails=FAILS,
                epochs=before["epochs"] + epochs, minutes=before["minutes"] + round(history.seconds.sum() / 60),
                validation=[*before["validation"], *history.score.round(3).tolist()])
    for name, part in dict(task_3=net.timing, task_4=net).items():
        path = out / f"{name}.npz"
        training.save(path, copy.deepcopy(part).half(), scores=scores(part, first_ecg, first_mv), **card)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"{time.time() - started:.0f} s")


def scores(net, ecg_mv, voltage_mv):
    """Name -> number: on training hearts, on the kit's default hearts (new to it) and on the other simulator's."""
    new, there, found = intracardiac.simulate(), intracardiac.elsewhere(), {}
    for name, ecg_mv, voltage_mv in (("seen", ecg_mv, voltage_mv), ("new", new.ecg_mv, new.voltage_mv),
                                     ("elsewhere", there.ecg_mv, there.voltage_mv)):
        output = training.predict(net, ecg_mv)
        if isinstance(net, models.ActivationNet):
            truth, (time_ms, spread_ms) = upstroke_ms(voltage_mv), models.times_and_spreads(output)
            found |= {f"{name}: error (ms)": metrics.mae_ms(truth, time_ms),
                      f"{name}: share inside the 90 % interval": metrics.coverage(truth, time_ms, spread_ms)}
        else:
            found |= {f"{name}: error (mV)": metrics.mae_mv(voltage_mv, output),
                      f"{name}: upstroke error (ms)": metrics.upstroke_error_ms(voltage_mv, output),
                      f"{name}: duration error (ms)": metrics.apd90_error_ms(voltage_mv, output)}
    return found


def tuned(net, epochs=40):
    """Error (ms) on six hearts of the other simulator after training on few others of it: from ``net``, and afresh."""
    world = intracardiac.elsewhere(hearts=16)
    names = list(dict.fromkeys(world.hearts))
    rest, table = world[np.isin(world.hearts, names[10:])], {}
    for count in (1, 2, 5, 10):
        few = world[np.isin(world.hearts, names[:count])]
        fresh = models.ActivationNet().fit_scaling(few.ecg_mv, few.activation_ms)
        table[count] = {name: metrics.mae_ms(rest.activation_ms, training.predict(training.fit(
            start, (few.ecg_mv, few.activation_ms), loss=models.laplace_loss, epochs=rounds, batch_size=32, lr=lr,
            weight_decay=0.05, ema_decay=0.99, augment=models.Augment(), seed=SEED).model, rest.ecg_mv)[:, 0])
            for name, start, lr, rounds in (("tuned", copy.deepcopy(net), 1e-3, epochs),
                                            ("afresh", fresh, 3e-3, 2 * epochs))}
    return pd.DataFrame(table).T.rename_axis("hearts")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "train", "tune"))
    parser.add_argument("--hearts", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--start", type=Path, help="a network of an earlier call, to train on")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "many_hearts")
    parser.add_argument("--out", type=Path, default=Path(training.__file__).parent / "trained")
    options = parser.parse_args(arguments)
    if options.what == "simulate":
        simulate(options.folder, options.hearts)
    elif options.what == "tune":
        print(tuned(training.load(options.out / "task_3.npz")).round(2))
    else:
        train(options.folder, options.out, options.epochs, options.start)


if __name__ == "__main__":
    main()
