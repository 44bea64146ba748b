"""The right answers: as hashes where they are fixed, as functions where they depend on the data of the notebook."""
import numpy as np

FIXED = {  # exercise -> hashes of the answers that are right, and a hint
    "task1.2": (("0afcbe66fd",), "Who is called abnormal at 0.5 is also called abnormal at 0.4."),
    "task2.1": (("c0e1ce5c02",), "10 beats, 12 calls, 8 hits."),
    "task2.3": (("2a81cd8c6c",), "Think of someone whose heart beats 100 times a minute at rest."),
    "task3.1": (("4f4e479f87",), "Its row has the right arm on one side and left arm and leg on the other."),
    "task4.2": (("55604e6020",), "110 mV for one of 500 samples."),
    "tutorial1.1": (("9aeccc6dfb",), "Ten digits, all about equally frequent."),
    "tutorial1.2": (("9dc545b0ea",), "The loss of point 3, where the right digit has the probability of one in ten."),
    "tutorial1.5": (("0919370d5a", "a93324246b"), "The network has seen the handwriting."),
    "tutorial3.1": (("1b7f025d5a",), "Players who do the same ..."),
    "tutorial4.1": (("3d71ca88db",), "Rescale, then the window from -200 to 1400, then turn it round."),
    "tutorial4.2": (("faa8ec8834",), "The square is 500 wide; half of what is padded is on the left."),
    "tutorial4.3": (("355fea298d",), "Compare the two curves at 10 degrees."),
    "tutorial4.4": (("4c39ff0794",), "Draw them: the area that both share, over the area that either covers."),
}


def sensitivity_of(truth, prediction):
    return np.mean(prediction[truth == 1].argmax(axis=1) == 1)


def largest_fall(seen, new):
    """The class whose sensitivity falls most between two pairs (truth, prediction)."""
    from cardiac_ml.metrics import OF_CLASS, confusion
    before, after = (OF_CLASS["sensitivity"](confusion(*pair)) for pair in (seen, new))
    return "NSVFQ"[int(np.nanargmax(before - after))]


def with_two_leads(net, data):
    """The error in ms where all independent leads but I and II are noise."""
    from cardiac_ml import leads, metrics, training
    noise = np.random.default_rng(0).normal(0, 0.01, (len(data), 8, 500)).astype(np.float32)
    noise[:, :2] = leads.independent(data.ecg_mv)[:, :2]
    return metrics.mae_ms(data.activation_ms, training.predict(net, leads.from_independent(noise))[:, 0])


def rolled(truth, predicted):
    from cardiac_ml.metrics import mae_mv
    return mae_mv(truth, np.roll(predicted, 1, axis=2)) - mae_mv(truth, predicted)


def best_pair(value, names):
    """The two players whose set has the largest value, of (2**n,)."""
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    return {names[player] for player in max(pairs, key=lambda pair: value[sum(1 << player for player in pair)])}


def share_of_first_two(value):
    return (value[0b11] - value[0]) / (value[-1] - value[0])


def better_than(before):
    return lambda new: any(before + 1e-4 < number <= 1 for number in numbers(new))


def better_curves(plain, cured):
    """Which of two (training, validation) accuracies is higher: two words."""
    return ["plain" if a >= b else "cured" for a, b in zip(plain, cured)]


def one_of_the_best(alphas, errors):
    """One of the three values with the smallest errors, or close to one."""
    best = np.asarray(alphas)[np.argsort(errors)[:3]]
    return lambda answer: min(abs(np.log(best / float(answer)))) < 0.5


def most_alike(table):
    """The two columns with the strongest correlation, whichever its sign."""
    alike = np.triu(np.abs(np.corrcoef(np.asarray(table), rowvar=False)), 1)
    return {table.columns[place] for place in np.unravel_index(alike.argmax(), alike.shape)}


def numbers(answer):
    """An answer as a number: as it is, and as a percentage; commas and percent signs are read."""
    if isinstance(answer, str):
        percent = answer.strip().endswith("%")
        answer = float(answer.replace("%", "").replace(",", ".")) / (100 if percent else 1)
    answer = np.asarray(answer, dtype=float)
    return [answer, answer / 100] if np.max(np.abs(answer)) > 1 else [answer]


COMPUTED = {  # exercise -> function of the context that gives the right answer (or a test of it), tolerance, hint
    "task1.1": (sensitivity_of, 0.006, "Second row of the matrix: right ones over all of them."),
    "task1.3": (better_than, 0, "A share between 0 and 1, above the number printed before; try another change."),
    "task2.2": (largest_fall, 0, "The class whose percentage on the diagonal falls most."),
    "task3.2": (lambda by_kind: max(by_kind, key=by_kind.get), 0, "The longest bar of section 7."),
    "task3.3": (with_two_leads, 0.2,
                "Noise of the shape (cases, 8, 500); its first two rows are the true leads; predict."),
    "task4.1": (rolled, 0.15, "New error minus old error."),
    "tutorial1.3": (better_curves, 0, "Read the ends of the four curves."),
    "tutorial1.4": (lambda labels, probability: int((probability.argmax(axis=1) != labels).sum()), 0,
                    "Add up what is off the diagonal."),
    "tutorial2.1": (lambda correlations: correlations.index[0], 0, "The longest bar to the left."),
    "tutorial2.2": (one_of_the_best, 0, "Where the second curve is lowest."),
    "tutorial2.3": (lambda difference: "yes" if np.quantile(difference, 0.05) > 0 else "no", 0,
                    "Look at the sign of both ends."),
    "tutorial2.4": (most_alike, 0, "x.corr() has the correlation of each pair; leave out each with itself."),
    "tutorial2.5": (lambda unseen, seen: unseen - seen, 0.1, "The second bar minus the first."),
    "tutorial3.2": (best_pair, 0, "best_sets looks at all 28 pairs: best[2] has the numbers of the players."),
    "tutorial3.3": (share_of_first_two, 0.02, "I and II are players 0 and 1: position([0, 1]) is 3."),
    "tutorial4.5": (lambda find, chest: find(np.repeat(chest, 2, axis=0)).ratio, 0.02,
                    "finding.find_heart(np.repeat(chest, 2, axis=0), model) has a ratio."),
}
