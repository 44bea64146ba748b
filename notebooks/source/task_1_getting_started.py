# %% [markdown]
# # Task 1: healthy or not? One heartbeat, one lead
#
# Each time the heart beats, it sends a small electric wave over the body; the ECG records it. After an **infarction** a part of the muscle is dead or
# starved of blood, and the wave changes its shape. Can a computer see it in a single heartbeat of a single lead?
#
# You will go from a CSV file to a trained network, and learn on the way what an honest score is, how to choose a threshold, whether a
# stated 90 % can be trusted, and what the network looked at. About 45 minutes to read, about two to run. This is teaching
# software, not a medical device.

# %%
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from cardiac_ml import heartbeats, metrics, plots, recipes, saliency
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.exercises import check

# %% [markdown]
# The knobs. An epoch is one round through all training beats.

# %% tags=["parameters"]
EPOCHS = 8  # quick: 1
VIRTUAL_HEARTS = None  # quick: 8
SEED = 0

# %% [markdown]
# ## 1. The data
#
# The real data are Kaggle's heartbeats of the PTB database. If `archive.zip` from there lies in `ecg_dataset/`, it is used. If not, the kit makes
# **virtual heartbeats**: lead II of simulated hearts, half of them with an infarct, in the same layout. What you see printed says which.

# %% tags=["source"]
data = heartbeats.load_ptb(virtual_hearts=VIRTUAL_HEARTS)
print(data.source)

# %%
data

# %% [markdown]
# A row is one heartbeat: it starts at its own R peak (the tallest spike), runs over the next P wave and the next R peak, and is filled up with zeros.
# Each row is scaled to 0..1, so all information about size in millivolts is gone.

# %%
plots.heartbeats(data.beats, data.label, data.classes, rate_hz=data.rate_hz);

# %%
plots.class_balance(data.label, data.classes);

# %% [markdown]
# ## 2. Training, validation, test
#
# Three piles: the model learns from the first, we choose on the second, and look at the third once. Where the patients are known (in the virtual data they
# are), *whole patients* go to the test pile: two beats of one person are nearly twins, and a model that has seen one knows the
# other. The validation pile here is drawn from the beats of the *training* patients, to keep as many patients as possible for learning. Watch how much better the validation
# score will look than the test score. Kaggle's real PTB file does not say who is who, so there the test score is flattering too; task 2 shows by how much.

# %%
rest, test = heartbeats.split_test(data)
kept, held_out = heartbeats.split_stratified(data.label[rest], fraction=0.15, seed=SEED)
train, valid = data[rest[kept]], data[rest[held_out]]
test = data[test]
print(len(train), "training,", len(valid), "validation,", len(test), "test beats")

# %% [markdown]
# ## 3. Two simple answers first
#
# **Everyone is ill.** Whoever always says *abnormal* is right for all abnormal beats. Accuracy likes that; *balanced* accuracy, the mean of the two
# classes' hit rates, does not: 0.5 is what guessing gets.

# %%
always = np.tile([0.0, 1.0], (len(test), 1))
scores = {"all abnormal": always}
print(f"accuracy {metrics.accuracy(test.label, always):.3f}, "
      f"balanced accuracy {metrics.balanced_accuracy(test.label, always):.3f}")

# %% [markdown]
# **Logistic regression.** One weight for each of the 187 samples. It cannot follow a wave that comes a little earlier or later.

# %%
linear = LogisticRegression(max_iter=300, class_weight="balanced").fit(train.beats, train.label)
scores["logistic regression"] = linear.predict_proba(test.beats)
print(f"balanced accuracy {metrics.balanced_accuracy(test.label, scores['logistic regression']):.3f}")

# %% [markdown]
# ## 4. A network
#
# `models.HeartbeatNet` slides small filters along the beat. A filter that has learned what a raised ST segment looks like finds it wherever it is. Each
# block halves the time axis, so later filters see longer pieces; *residual* means that each block only adds a
# correction to what it was given.

# %%
fit = recipes.heartbeat_recipe(train, valid, epochs=EPOCHS, seed=SEED)
fit

# %%
fit.curve.plot();

# %%
scores["network"] = recipes.heartbeat_probabilities(fit.model, test.beats)
names = ["accuracy", "balanced accuracy", "AUROC", "AUPRC", "Brier"]
table = {name: [metrics.CLASSIFICATION[m](test.label, p) for m in names] for name, p in scores.items()}
pd.DataFrame.from_dict(table, orient="index", columns=names).round(3)

# %% [markdown]
# How sure are these numbers? The beats of one patient stand or fall together, so we draw whole patients again and again (*bootstrap*) and see how
# the score moves.

# %%
groups = test.table["patient"].to_numpy() if "patient" in test.table else None
low, high = metrics.interval(metrics.balanced_accuracy, test.label, scores["network"], groups)
print(f"network: balanced accuracy between {low:.3f} and {high:.3f} (90 % interval)")

# %%
plots.confusion(test.label, scores["network"], test.classes);

# %% [markdown]
# **Exercise 1.** *Sensitivity* is the share of the abnormal beats that the network finds. Read it off the confusion matrix, or compute it.

# %%
answer = ...  # a number between 0 and 1
check(answer, metrics.sensitivities(test.label, scores["network"])[1], "Second row: right ones over all of them.")

# %% [markdown]
# ## 5. The threshold is a choice
#
# The network gives a probability. Where do we draw the line? At 0.5 both kinds of error weigh the same, but missing an infarction is worse than a second look at
# a healthy person. Say we want to find 98 % of the abnormal beats. The threshold for that is chosen on *validation* beats; on the test
# beats it would be peeking.

# %%
valid_probability = recipes.heartbeat_probabilities(fit.model, valid.beats)
threshold = metrics.threshold_for(valid.label == 1, valid_probability[:, 1], sensitivity=0.98)
called = scores["network"][:, 1] >= threshold
found, alarms = called[test.label == 1].mean(), called[test.label == 0].mean()
print(f"threshold {threshold:.3f}: finds {found:.1%} of the abnormal, alarms at {alarms:.1%} of the normal test beats")

# %%
plots.roc(test.label, scores["network"], test.classes);

# %% [markdown]
# It finds fewer than the 98 % that we asked for: the test beats are of other patients, and a threshold carries over no better than the model does. (Try to draw the
# validation beats from patients of their own.)
#
# **Exercise 2.** To find *more* of the abnormal beats, must the threshold go up or down?

# %%
answer = ...  # "up" or "down"
check(answer, "down", "Who is called abnormal at 0.5 is also called abnormal at 0.4.")

# %% [markdown]
# ## 6. Is a stated 90 % really 90 %?
#
# Gather the beats that were called with about the same certainty. If the network is *calibrated*, the share of right ones is that certainty: the dots
# lie on the diagonal. Below it, the network is too sure of itself.

# %%
plots.reliability(test.label, scores["network"]);

# %% [markdown]
# ## 7. What did it look at?
#
# Cover a short piece of a beat (a straight line in its place) and see how much less sure the network becomes. Red parts mattered.

# %%
shown = np.concatenate([np.flatnonzero(test.label == kind)[:2] for kind in (0, 1)])
importance = saliency.occlusion(fit.model, test.beats[shown], test.label[shown])
plots.saliency(test.beats[shown], importance, data.rate_hz, titles=[test.classes[k] for k in test.label[shown]]);

# %% [markdown]
# Such a picture is a hint, not a proof: it says what this network used, not what is right to use.
#
# ## 8. Start from what another task has learned
#
# Task 2 has more beats, of five classes. A network trained there has already learned what P waves, QRS complexes and T waves look like. `transfer` copies
# its body under a new head; then the same `fit` goes on. It can help where there is little data, and it can fail where the new question needs other cues. Try it
# with 200 training beats:

# %%
few = train[heartbeats.split_stratified(train, fraction=min(0.5, 200 / len(train)), seed=SEED)[1]]
teacher_data, _ = heartbeats.load_mitbih(virtual_hearts=VIRTUAL_HEARTS)
teacher_train, teacher_valid = heartbeats.split_stratified(teacher_data, fraction=0.1, seed=SEED)
teacher = recipes.heartbeat_recipe(teacher_data[teacher_train], teacher_data[teacher_valid], epochs=max(1, EPOCHS // 2))

# %%
results = {}
for name, start in {"from nothing": None, "from task 2": teacher.model}.items():
    fitted = recipes.heartbeat_recipe(few, valid, epochs=4 * EPOCHS, seed=SEED, trained=start, progress=False)
    results[name] = metrics.balanced_accuracy(test.label, recipes.heartbeat_probabilities(fitted.model, test.beats))
    print(f"200 beats, {name}: balanced accuracy {results[name]:.3f}")

# %% [markdown]
# ## 9. A submission
#
# The predictions for the test beats, in the form that `python -m cardiac_ml score submission_task_1.npz` takes. It prints the same scores, with intervals:

# %%
truth = scoring.truth_of_beats(1, data, heartbeats.split_test(data)[1])
print(submission.write_submission("submission_task_1.npz", 1, truth.ids, scores["network"], team="me"))

# %% [markdown]
# ## 10. What is real and what is virtual
#
# On virtual beats training and test come from the same simulator: whatever it leaves out, both leave out. A score here says that the method works, not
# that it would work on patients. On the real file, patients are mixed between the piles, so that score is too good as well.
#
# **Exercise 3.** Change one knob in the second cell (for example `EPOCHS`), run everything again, and put the new balanced accuracy of the network here. Better
# than before?

# %%
answer = ...
check(answer, lambda new: new > metrics.balanced_accuracy(test.label, scores["network"]), "Not better; try another knob.")

# %% tags=["score"]
best = scores["network"]
print(f"balanced accuracy {metrics.balanced_accuracy(test.label, best):.3f}, AUROC {metrics.auroc(test.label, best):.3f} "
      f"(logistic regression {metrics.balanced_accuracy(test.label, scores['logistic regression']):.3f})")
