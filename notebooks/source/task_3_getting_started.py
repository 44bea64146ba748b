# %% [markdown]
# # Task 3: a map of the heart from twelve leads
#
# The ECG is recorded on the skin; the heartbeat happens inside. Can we look from one to the other? Twelve leads of
# 500 ms go in, 75 numbers come out: **when does each of 75 points in the ventricles activate?**
#
# By the end you will have trained a network that answers in milliseconds, measured it on **hearts it has never
# seen**, and looked at its answer on a heart that turns.
#
# You need a little Python and an idea of what a neural network is (task 1 is a good start). About an hour to read,
# about five minutes to run. This is teaching software, not a medical device.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from cardiac_ml import ecg_plots, heart_metrics, heart_recipes, intracardiac, leads
from cardiac_ml.heart3d import mesh as heart, pictures as heart_pictures, view as heart_view
from cardiac_ml import saved_models
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.exercises import check

# %% [markdown]
# The knobs. More hearts or more epochs (rounds through the training cases) give better scores and take longer.

# %% tags=["parameters"]
HEARTS = 30  # quick: 8
CASES = 60  # quick: 8
EPOCHS = 100  # quick: 2
SEED = 0

# %% [markdown]
# ## 1. The data
#
# If the simulated intracardiac dataset of Lawrence Livermore National Laboratory lies in `intracardiac_dataset/`, it
# is used. If not, the kit makes **virtual hearts**, in the same layout, and says so.

# %% tags=["source"]
data = intracardiac.load(virtual_hearts=HEARTS, virtual_cases=CASES)
print(data.source)

# %%
data

# %% [markdown]
# One case is one simulated heartbeat. `data.electrodes_mv` holds what ten electrodes see, `data.ecg_mv` the twelve leads made of
# them, `data.activation_ms` the 75 answers. The table says which heart it was, and what kind of beat.

# %%
data.table.groupby("kind").size().sort_values().to_frame("cases").T

# %% [markdown]
# ### Ten electrodes, twelve leads
#
# A lead is a *difference*. Lead I is left arm (LA) minus right arm (RA); II is left leg (LL) minus right arm. A chest lead
# compares one electrode with the average of both arms and the left leg. So one matrix turns ten electrodes into
# twelve leads:

# %%
ecg_plots.lead_matrix();

# %% [markdown]
# Each of III, aVR, aVL and aVF is a combination of I and II: **twelve leads carry eight independent signals.** Our network
# looks at those eight.

# %%
print("independent leads:", *leads.INDEPENDENT)
print("rank of one ECG:", np.linalg.matrix_rank(data.ecg_mv[0].astype(float), tol=1e-3))

# %% [markdown]
# ### What the ECG looks like
#
# A normal beat and one that starts at a single point of the muscle (*focal*), of the same heart. The tall, narrow deflection is
# the QRS complex: the wave of activation on its way. Its shape is our witness of the path that the wave took. The
# rounder T wave after it is the muscle's recovery.

# %%
kinds = data.table.kind.to_numpy()
pair = [int(np.flatnonzero(kinds == kind)[0]) for kind in dict.fromkeys(kinds)][:2]
ecg_plots.twelve_leads(data.ecg_mv[pair], labels=kinds[pair]);

# %% [markdown]
# ### What an activation time is
#
# At each point a cell rests at about -85 mV. When the wave arrives, its voltage jumps above 0 within a millisecond or two. The
# moment of crossing 0 mV is the point's **activation time**. Between two samples we interpolate: a label in whole
# milliseconds would cost every model 0.25 ms of error, even a perfect one.

# %%
case = pair[0]
ecg_plots.activation_of(data.voltage_mv[case], data.activation_ms[case]);

# %% [markdown]
# A point inside a dead scar never crosses 0 mV. Its label is missing (NaN), **not** 0: a missing time must not
# become an early one. Scores and training leave such points out.

# %%
print("labels that are missing:", int(np.isnan(data.activation_ms).sum()), "of", data.activation_ms.size)

# %% [markdown]
# All 75 times together are a map. Early is bright, late is dark; lines are 10 ms apart:

# %%
mesh, points = heart.default_heart()
heart_pictures.maps(mesh, points, {kinds[i]: data.activation_ms[i] for i in pair});

# %% [markdown]
# ## 2. Hearts the model has never seen
#
# Each heart appears in many cases. If cases are split at random, a test heart is also a training heart, and the
# score says how well the model *remembers that heart*. A patient who walks in tomorrow is not in our training set. So
# we hold out **whole hearts**:

# %%
split = intracardiac.split_by_heart(data.table)
for name, rows in split._asdict().items():
    print(f"{name:>6}: {len(rows):5d} cases, hearts", *dict.fromkeys(data.table.heart.iloc[rows]))

# %%
ecg, activation = data.ecg_mv, data.activation_ms
truth, hearts = activation[split.test], data.table.heart.to_numpy()[split.test]
scores = {}

# %% [markdown]
# ## 3. Three simple answers first
#
# **The mean map.** The simplest answer ignores the ECG: the average training map for everyone. Any model has to beat
# it.

# %%
mean_map = np.nanmean(activation[split.train], axis=0)
scores["mean map"] = heart_metrics.mae_ms(truth, np.tile(mean_map, (len(truth), 1)))
print(f"mean map: {scores['mean map']:.1f} ms")

# %% [markdown]
# **Ridge regression.** A linear model on the samples of the ECG. It cannot handle missing labels, so those get the
# mean map.

# %%
flat = leads.independent(ecg)[:, :, ::4].reshape(len(ecg), -1)
filled = np.where(np.isnan(activation), mean_map, activation)
ridge = Ridge(alpha=30.0).fit(flat[split.train], filled[split.train])
scores["ridge"] = heart_metrics.mae_ms(truth, ridge.predict(flat[split.test]))
print(f"ridge: {scores['ridge']:.1f} ms")

# %% [markdown]
# **Nearest neighbours.** Look up the five most similar training ECGs and average their maps.

# %%
neighbours = KNeighborsRegressor(5, weights="distance").fit(flat[split.train], filled[split.train])
scores["nearest neighbours"] = heart_metrics.mae_ms(truth, neighbours.predict(flat[split.test]))
print(f"nearest neighbours: {scores['nearest neighbours']:.1f} ms")

# %% [markdown]
# ## 4. A network
#
# `heart_models.ActivationNet` slides small filters along the eight leads, halves the time axis five times, and hands all that is left,
# **in its order in time**, to a dense layer. Networks for pictures usually average over space at the end: a cat is a
# cat wherever it sits. An activation time *is* a place on the time axis, so here nothing is averaged.
#
# Two more ideas. The network answers in *main maps*: a few typical variations of the training maps, because neighbouring points
# activate together. And it says how sure it is: a second number per point, the error it expects.
#
# While it trains, each ECG is changed in harmless ways (*augmentation*): a later onset together with later labels, another gain, a
# little noise, electrodes a bit displaced, a lead fallen off. That stands in for hearts and recordings we do not have.

# %%
fit = heart_recipes.activation_recipe(data, split, epochs=EPOCHS, seed=SEED)

# %%
fit.curve.plot();

# %% [markdown]
# The test hearts come out of the drawer once, now:

# %%
predicted, spread = heart_recipes.predict_activation(fit.model, ecg[split.test])
scores["network"] = heart_metrics.mae_ms(truth, predicted)
ecg_plots.bars(scores, "mean absolute error on unseen hearts (ms)");

# %% [markdown]
# ### All scores, with their uncertainty
#
# Cases of one heart resemble each other, so the interval comes from drawing whole *hearts* at random, again and again
# (a bootstrap over hearts).

# %%
heart_recipes.score_table(heart_metrics.ACTIVATION, truth, predicted, hearts)

# %%
worst, value = heart_metrics.worst_heart(heart_metrics.mae_ms, truth, predicted, hearts)
points_mm = points[["x", "y", "z"]].to_numpy()
print(f"worst heart: {worst} with {value:.1f} ms")
print(f"earliest site off by {heart_metrics.earliest_site_mm(truth, predicted, points_mm):.0f} mm on average")

# %% [markdown]
# ## 5. The leak, shown
#
# Every pattern of activation was simulated twice in every heart, at two heart rates, as in the published set. Split the
# cases at random, and the twin of nearly every test case is in training. The same network, the same number of cases:

# %%
leaky = intracardiac.split_random(data.table, seed=SEED)
leaky_fit = heart_recipes.activation_recipe(data, leaky, epochs=EPOCHS, seed=SEED)
leaky_predicted, _ = heart_recipes.predict_activation(leaky_fit.model, ecg[leaky.test])
leaky_score = heart_metrics.mae_ms(activation[leaky.test], leaky_predicted)

# %%
ecg_plots.bars({"random split (seen hearts)": leaky_score, "unseen hearts": scores["network"]},
               "mean absolute error of the same network (ms)");

# %% [markdown]
# The smaller number is not a better model: it is an easier question. Published errors below 2 ms for this problem are on
# hearts already seen. When you compare two results, ask first how the data was split.
#
# ## 6. Where the errors live
#
# **By kind of beat.** Beats that use the conduction system look alike in all hearts. A wave from one focus can start
# anywhere, and different starts can look alike from outside.

# %%
by_kind = heart_metrics.by_heart(heart_metrics.mae_ms, truth, predicted, kinds[split.test])
ecg_plots.bars(dict(sorted(by_kind.items(), key=lambda item: item[1])), "mean absolute error (ms)");

# %% [markdown]
# **By place.** The same error, point by point, on the heart:

# %%
by_point = np.nanmean(np.abs(predicted - truth), axis=0)
heart_pictures.maps(mesh, points, {"mean absolute error (ms)": by_point}, cmap="magma_r");

# %% [markdown]
# ### Does it know when it is unsure?
#
# For each point the network stated the error it expects. If that is honest, about 90 % of the true times lie within its
# 90 % interval, and points with a large stated spread really have large errors:

# %%
covered = heart_metrics.coverage(truth, predicted, spread)
print(f"90 % intervals hold {covered:.1%} of the true times on unseen hearts")

# %%
group = np.digitize(spread, np.quantile(spread, np.linspace(0, 1, 11)[1:-1]))
error = np.abs(predicted - truth)
plt.plot([spread[group == g].mean() for g in range(10)], [np.nanmean(error[group == g]) for g in range(10)], "o-")
plt.plot([0, spread.max() / 2], [0, spread.max() / 2], "--", color="0.6")
plt.gca().set(xlabel="spread the network states (ms)", ylabel="error it makes (ms)");

# %% [markdown]
# ## 7. The map on the heart
#
# One unseen heart, a beat in the middle of the score list: truth, prediction, difference.

# %%
per_case = np.nanmean(error, axis=1)
typical = int(np.argsort(per_case)[len(per_case) // 2])
heart_pictures.comparison(mesh, points, truth[typical], predicted[typical]);

# %% [markdown]
# Turn it with the mouse, zoom with the wheel, press play. (All cases are shown on one common heart: the points have the
# same names in every heart.)

# %%
heart_view.show(mesh, points, {"truth": truth[typical], "prediction": predicted[typical]})

# %% [markdown]
# ## 8. Keep it, hand it in
#
# A saved model is one file: weights, scaling and a card that says what it was trained on. It takes millivolts.

# %%
saved_models.save("task_3_model.npz", fit.model, data=repr(data), scores={"MAE (ms)": scores["network"]})
again = saved_models.load("task_3_model.npz")
one_map, _ = heart_recipes.predict_activation(again, ecg[split.test[0]])
print("saved and loaded, same answer:", np.allclose(one_map, predicted[:1], atol=0.01))

# %% [markdown]
# And a submission, which `python -m cardiac_ml score` takes:

# %%
cases = scoring.truth_of_hearts(3, data, split.test)
print(submission.write_submission("submission_task_3.npz", 3, cases.ids, predicted, team="me"))

# %% [markdown]
# ## 9. Exercises
#
# **Exercise 1.** Lead II is I + III. Which of the twelve leads is therefore *minus* the average of I and II?

# %%
answer = ...  # the name of a lead
check(answer, "aVR", "Its row in the lead matrix has +1 at RA and -0.5 at LA and LL.")

# %% [markdown]
# **Exercise 2.** Which kind of beat has the largest mean error above, and why might that be? (Only the name is checked.)

# %%
answer = ...
check(answer, max(by_kind, key=by_kind.get), "The longest bar in section 6.")

# %% [markdown]
# **Exercise 3.** A clinic records only leads I and II. Set the other six independent leads to tiny noise and predict again with the network.
# What is the error now, in ms? (Build an ECG with `leads.from_independent`; the network has seen fallen-off leads in training, but not six
# of them.)

# %%
answer = ...
noise = np.random.default_rng(0).normal(0, 0.01, (len(split.test), 8, 500)).astype(np.float32)
noise[:, :2] = leads.independent(ecg[split.test])[:, :2]
two_leads, _ = heart_recipes.predict_activation(fit.model, leads.from_independent(noise))
check(answer, heart_metrics.mae_ms(truth, two_leads), "About what the last cell computes; try it.", tolerance=0.2)

# %% [markdown]
# **Exercise 4 (open).** Change one thing and beat the network on unseen hearts: more hearts (`HEARTS`), more epochs, other augmentation
# (`augment=heart_models.Augment(...)`), another width. Compare on the *validation* hearts first. Or ask a harder question:
# `intracardiac.split_by_pattern` tests on patterns of activation that no training heart has shown.
#
# ## What is real here, and what is not
#
# Every heart and every ECG above is simulated. Training and test come from the same simulator, which flatters every method ("inverse
# crime"): real torsos, real noise and real conduction differ. And some differences inside cannot be seen from outside at all: two different maps
# can give the same ECG, so no method reaches zero.

# %% tags=["score"]
print(f"MAE {scores['network']:.2f} ms on {len(set(hearts))} unseen hearts (mean map {scores['mean map']:.1f})")
