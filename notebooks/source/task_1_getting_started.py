# %% [markdown]
# # Task 1: healthy or not? One heartbeat, one lead
#
# Each time the heart beats, it sends a small electric wave over the body; the ECG (electrocardiogram) records it. After an
# **infarction** a part of the muscle is dead or starved of blood, and the wave changes its shape. Can a computer see it
# in a single heartbeat of a single lead (one pair of places on the skin)?
#
# Afterwards you can: read the data from a CSV file, train a 1-D network by hand and with `fit`, give a score that is
# honest about *people*, choose a threshold, and ask whether a stated 90 % can be trusted. About 45 minutes to read, a
# minute or two to run. This is teaching software, not a medical device.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from cardiac_ml import challenge, heartbeats, metrics, models, plots
from cardiac_ml.exercises import check
from cardiac_ml.training import fit, occlusion, predict, probabilities

plots.style()

# %% [markdown]
# One heartbeat, as it looks in lead II (right arm to left leg). The atria are the two upper chambers, the ventricles the
# two strong lower ones:

# %%
plots.heartbeat_parts();

# %% [markdown]
# The knobs. An epoch is one round through all training beats.

# %% tags=["parameters"]
EPOCHS = 8  # quick: 1
HEARTS = None  # quick: 6
SEED = 0

# %% [markdown]
# ## 1. The data
#
# The real data are Kaggle's heartbeats of the PTB database. If `archive.zip` from there lies in `ecg_dataset/`, it is
# used. If not, the kit makes **virtual heartbeats**: lead II of simulated hearts, every second one with an infarct, in
# the same layout. What you see printed says which.

# %% tags=["source"]
data = heartbeats.load_ptb(hearts=HEARTS)
print(data.source)

# %%
data

# %% [markdown]
# A file has a row for each heartbeat: 187 samples, then the class. This is how the first row begins and ends:

# %%
row = np.append(data.beats[0], data.label[0])
print(*np.round(row[:6], 3), "...", *np.round(row[-4:], 3), sep=", ")

# %% [markdown]
# A row starts near its own R peak (the top is one of the first samples), runs over the next P wave and, if the rhythm is
# fast enough, the next R peak, and is filled up with zeros. Each row is scaled to 0..1, so its size in millivolts is gone.
# The line is the median of each class, the band holds the middle 80 % of its beats:

# %%
plots.heartbeats(data.beats, data.label, data.classes, rate_hz=data.rate_hz);

# %%
plots.class_balance(data.label, data.classes);

# %% [markdown]
# More rows are abnormal than normal, as in the real file: there, more of the people are ill; here, an ill person gives
# more rows.

# %% [markdown]
# ## 2. Training, validation, test
#
# Three piles: the model learns from the first, we choose on the second, the third only judges. Where the patients
# are known (in the virtual data they are), *whole patients* go to each pile: two beats of one person are nearly twins,
# and a model that has seen one knows the other. Kaggle's real PTB file does not say who is who; there the rows are
# drawn at random, and the score is flattering. Task 2 shows by how much.

# %%
split = heartbeats.split(data, seed=SEED)
train, valid, test = (data[rows] for rows in split)
patients = test.table.get("patient", pd.Series(range(len(test)))).to_numpy()
print(len(train), "training,", len(valid), "validation,", len(test), "test beats")
print("test patients:", len(set(patients)), "(as many as rows where they are not known)")

# %% [markdown]
# ## 3. Two simple answers first
#
# **Everyone is ill.** Whoever always says *abnormal* is right for all abnormal beats. Accuracy, the share of right
# answers, likes that; *balanced* accuracy, the mean of both classes' hit rates, does not: 0.5 is what guessing gets.

# %%
always = np.tile([0.0, 1.0], (len(test), 1))
scores = {"all abnormal": always}
print(f"accuracy {metrics.accuracy(test.label, always):.3f}, "
      f"balanced accuracy {metrics.balanced_accuracy(test.label, always):.3f}")

# %% [markdown]
# **Logistic regression.** One weight for each of the 187 samples, each class counted the same. It cannot follow a wave
# that comes a little earlier or later.

# %%
linear = LogisticRegression(max_iter=300, class_weight="balanced").fit(train.beats, train.label)
scores["logistic regression"] = linear.predict_proba(test.beats)
linear_score = metrics.balanced_accuracy(test.label, scores["logistic regression"])
print(f"balanced accuracy {linear_score:.3f}")

# %% [markdown]
# ## 4. A network, by hand
#
# A 1-D convolution slides small filters along the beat: a filter that has learned what a raised ST segment looks like
# finds it wherever it is. Each layer halves the time axis (`stride=2`), so later filters see longer pieces. Between layers
# `BatchNorm1d` brings all numbers to one scale, and `ReLU` cuts off what is negative: without such a bend, three layers
# would be no more than one. At the end each filter says how strongly it answered, on average and at most.

# %%
class BeatNet(nn.Module):
    """Heartbeats (rows, 187) in 0..1 -> a score for each class (rows, 2)."""

    def __init__(self, classes=2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 32, 9, stride=2, padding=4), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 48, 7, stride=2, padding=3), nn.BatchNorm1d(48), nn.ReLU(),
            nn.Conv1d(48, 64, 7, stride=2, padding=3), nn.BatchNorm1d(64), nn.ReLU())
        self.head = nn.Linear(2 * 64, classes)

    def forward(self, beats):
        features = self.layers(beats[:, None])  # (rows, 64, 24)
        return self.head(torch.cat([features.mean(2), features.amax(2)], dim=1))

# %% [markdown]
# **The loop.** Take 128 beats, predict, compare (*cross-entropy*: how surprised is the network by the truth?), and move
# each weight a little downhill (`AdamW`, with a step of its own for each weight; `backward` finds out where downhill is, as
# tutorial 1 does by hand). That is all that training is:

# %%
torch.manual_seed(SEED)
net = BeatNet()
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
x, y = torch.tensor(train.beats), torch.tensor(train.label)
for epoch in range(min(3, EPOCHS)):
    net.train()
    for rows in torch.randperm(len(x)).split(128):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    score = metrics.balanced_accuracy(valid.label, predict(net, valid.beats))
    print(f"epoch {epoch + 1}: loss {loss:.3f}, balanced accuracy on validation {score:.3f}")

# %% [markdown]
# ## 5. The same, with everything that helps
#
# `fit` is this loop, and: a step size that rises and falls (*one-cycle schedule*), a running average of the weights
# (`ema_decay`), and the epoch that does best on the validation patients is kept. `models.HeartbeatNet` is a larger
# network of the same kind; it also sees the slope of the beat and where the zeros at its end begin, and its *residual* blocks
# only add a correction to what they were given. Against knowing the training beats by heart: `AugmentBeats` changes each
# beat in harmless ways, `weight_decay` pulls the weights towards zero, `smoothing` asks for a little less than certainty.

# %%
def train_network(net, train, valid, epochs):
    """``fit`` with everything that can be set."""
    weights = models.class_weights(train.label, power=0.25)  # rare classes count a little more
    return fit(net, (train.beats, train.label), (valid.beats, valid.label),
               loss=models.CrossEntropy(weights, smoothing=0.02), score=metrics.balanced_accuracy,
               epochs=epochs, batch_size=128, lr=4e-3, weight_decay=0.05, ema_decay=0.999,
               augment=models.AugmentBeats(), seed=SEED)

# %%
torch.manual_seed(SEED)
net, history = train_network(models.HeartbeatNet(classes=2), train, valid, EPOCHS)
plots.learning_curve(history);

# %% [markdown]
# The test patients come out of the drawer. *AUROC*: how often does an abnormal beat get a higher probability than a normal
# one? *AUPRC*: how many of those called abnormal are abnormal, over all thresholds. *Brier*: the mean squared error of the
# probability. More is better, but for Brier.

# %%
scores["network"] = probabilities(predict(net, test.beats))
names = ["accuracy", "balanced accuracy", "AUROC", "AUPRC", "Brier"]
table = {name: [metrics.CLASSIFICATION[m](test.label, p) for m in names]
         for name, p in scores.items()}
pd.DataFrame.from_dict(table, orient="index", columns=names).round(3)

# %% [markdown]
# How sure are these numbers? The beats of one patient stand or fall together, so we draw whole patients again and again
# (*bootstrap*) and see how the score moves. Few patients make a wide interval:

# %%
interval = metrics.bootstrap({"balanced accuracy": metrics.balanced_accuracy}, test.label,
                             scores["network"], patients)["balanced accuracy"]
print(f"network: balanced accuracy {interval.value:.3f}, "
      f"between {interval.low:.3f} and {interval.high:.3f} (90 % interval over patients)")

# %% [markdown]
# Patient by patient, the share of beats that are called right, the worst first; below each bar the patient's number (of
# many patients some are shown). The beats of one patient look much alike, so for most patients nearly all are right or
# nearly all are wrong:

# %%
right = pd.Series(scores["network"].argmax(axis=1) == test.label).groupby(patients).mean()
ill = pd.Series(test.label).groupby(patients).max()
figure, axes = plt.subplots(2, 1, figsize=(9, 4.4), sharey=True, layout="constrained")
for kind, ax in enumerate(axes):
    mine = right[ill == kind].sort_values()[::1 + sum(ill == kind) // 41]
    ax.bar(range(len(mine)), mine)
    ax.set_xticks(range(len(mine)), mine.index, fontsize=8)
    ax.set_title(f"{test.classes[kind]}: {sum(ill == kind)} patients", loc="left", fontsize=10)
figure.supylabel("share of beats called right", fontsize=10);

# %%
plots.confusion(test.label, scores["network"], test.classes);

# %% [markdown]
# **Exercise 1.** *Sensitivity* is the share of the abnormal beats that the network finds. Read it off the confusion
# matrix, or compute it. A share or a percentage will do.

# %%
answer = ...
check("task1.1", answer, truth=test.label, prediction=scores["network"])

# %% [markdown]
# ## 6. The threshold is a choice
#
# The network gives a probability. Where do we draw the line? At 0.5 both kinds of error weigh the same, but missing an
# infarction is worse than a second look at a healthy person. Say we want to find 95 % of the abnormal beats. The threshold
# for that is chosen on *validation* patients; on the test patients it would be peeking. It may land on either side of 0.5:
# where the validation patients are easy, 95 % of their beats are found by a high one.

# %%
valid_probability = probabilities(predict(net, valid.beats))[:, 1]
threshold = metrics.threshold_for(valid.label == 1, valid_probability, sensitivity=0.95)
called = scores["network"][:, 1] >= threshold
found, alarms = called[test.label == 1].mean(), called[test.label == 0].mean()
print(f"threshold {threshold:.3f}: finds {found:.1%} of the abnormal beats of new patients, "
      f"alarms at {alarms:.1%} of the normal ones")

# %%
plots.roc(test.label, scores["network"], test.classes);

# %% [markdown]
# Compare what it finds with the 95 % that we asked for: a threshold that was chosen on few validation patients is as unsure
# as a score from few test patients.
#
# **Exercise 2.** To find *more* of the abnormal beats, must the threshold go up or down?

# %%
answer = ...
check("task1.2", answer)

# %% [markdown]
# ## 7. Is a stated 90 % really 90 %?
#
# Gather the beats that were called with about the same certainty. If the network is *calibrated*, the share of right
# ones is that certainty: the dots lie on the diagonal. Below it, the network is too sure of itself.

# %%
plots.reliability(test.label, scores["network"]);

# %% [markdown]
# ## 8. What did it look at?
#
# Cover a short piece of a beat (a straight line in its place) and see how much less sure the network becomes. Red parts
# spoke for its class, blue ones against it. Such a picture is a hint, not a proof: it says what this network used, not what
# is right to use.

# %%
shown = np.concatenate([np.flatnonzero(test.label == kind)[:2] for kind in (0, 1)])
importance = occlusion(net, test.beats[shown], test.label[shown])
plots.saliency(test.beats[shown], importance, data.rate_hz,
               titles=[test.classes[kind] for kind in test.label[shown]]);

# %% [markdown]
# ## 9. Start from what another task has learned
#
# Task 2 has more beats, of five classes. A network trained there has already learned what P waves, QRS complexes and T
# waves look like. `transfer` copies its body (all layers but the last) under a new head (the last layer, which gives the
# scores); then the same `fit` goes on. It can help where there is little data, and it can fail where the new question needs
# other cues. Try it with 200 training beats:

# %%
share = min(0.5, 200 / len(train))
few = train[heartbeats.split_random(train, valid=0, test=share, seed=SEED).test]
teacher_data, _ = heartbeats.load_mitbih(hearts=HEARTS)
parts = heartbeats.split_random(teacher_data, valid=0.1, test=0, seed=SEED)
teacher, _ = train_network(models.HeartbeatNet(classes=5), teacher_data[parts.train],
                           teacher_data[parts.valid], max(1, EPOCHS // 2))

# %%
for name in ("from nothing", "from task 2"):
    torch.manual_seed(SEED)
    fresh = models.HeartbeatNet(classes=2)
    start = models.transfer(teacher, fresh) if name == "from task 2" else fresh
    tuned, _ = train_network(start, few, valid, 4 * EPOCHS)
    value = metrics.balanced_accuracy(test.label, predict(tuned, test.beats))
    print(f"{len(few)} beats, {name}: balanced accuracy {value:.3f}")

# %% [markdown]
# Two numbers from one seed are an anecdote: hold them against the interval of section 5 before you believe in a winner.
#
# ## 10. A submission
#
# In a challenge (`CARDIAC_ML_DATA` names its public folder) these are its test cases; otherwise those of our test pile,
# without their answers. The file is what `python -m cardiac_ml score` takes:

# %%
cases = challenge.test_cases(1, data, split.test)
print(challenge.submit(cases, probabilities(predict(net, cases.beats)), team="me"))

# %% [markdown]
# ## 11. Your turn
#
# Change `BeatNet` above, and let `fit` train it: the same score, the same hand-in. Or use any scikit-learn model: rows of
# 187 samples in, `predict_proba` out. Compare on the validation patients; the test patients are for the end.

# %%
torch.manual_seed(SEED)
mine, _ = train_network(BeatNet(), train, valid, EPOCHS)
my_score = metrics.balanced_accuracy(valid.label, predict(mine, valid.beats))
print(f"my network: balanced accuracy {my_score:.3f} on the validation patients")

# %% [markdown]
# **Exercise 3.** Change one thing in `BeatNet` and beat this number on the validation patients. Put your network's new
# balanced accuracy there. (It is compared with that of the `BeatNet` above, after the same number of epochs: give yours
# another name, so that `my_score` stays what it is.)

# %%
answer = ...
check("task1.3", answer, before=my_score)

# %% [markdown]
# ## What is real and what is virtual
#
# On virtual beats training and test come from the same simulator: whatever it leaves out, both leave out. A score here
# says that the method works, not that it would work on patients. On the real file, patients are mixed between the
# piles, so that score is too good as well.

# %% tags=["score"]
best = metrics.balanced_accuracy(test.label, scores["network"])
print(f"balanced accuracy {best:.3f} (logistic regression {linear_score:.3f}), "
      f"AUROC {metrics.auroc(test.label, scores['network']):.3f}")
