# %% [markdown]
# # Task 4: the voltage at every point, for the whole beat
#
# Task 3 asked *when* each point of the ventricles activates. Now we ask for everything: the **transmembrane voltage**, the
# voltage across the wall of the heart's cells, at 75 points, for each of 500 ms. Twelve curves go in, 75 curves come out.
#
# You will train a network that sees the whole beat, score it on hearts it has never seen, find out where its errors live
# (they are nearly all a matter of *when*), and watch its answer run beside the truth.
#
# Do task 3 first: it explains the data, the leads and why whole hearts are held out. About 45 minutes to read, about
# seven to run. This is teaching software, not a medical device.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from cardiac_ml import ecg_plots, heart_metrics, heart_recipes, intracardiac, leads
from cardiac_ml.heart3d import mesh as heart, view as heart_view
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.exercises import check

# %% tags=["parameters"]
HEARTS = 30  # quick: 8
CASES = 60  # quick: 8
EPOCHS = 30  # quick: 2
SEED = 0

# %% [markdown]
# ## 1. The data

# %% tags=["source"]
data = intracardiac.load(virtual_hearts=HEARTS, virtual_cases=CASES)
print(data.source)

# %%
split = intracardiac.split_by_heart(data.table)
ecg, voltage = data.ecg_mv, data.voltage_mv
hearts = data.table.heart.to_numpy()[split.test]
points = heart.default_heart()[1]
print("ECG", ecg.shape, " voltage", voltage.shape)

# %% [markdown]
# A cell at rest holds about -85 mV. When the wave reaches it, its voltage shoots up within a millisecond or two
# (*upstroke*), stays up for a while (*plateau*) and falls back (*repolarisation*). The time from upstroke to 90 % of the way back
# is the *action potential duration*, APD90.

# %%
case = int(split.test[0])
shown = [0, 10, 20, 32, 52, 72]
ecg_plots.voltages(voltage[case], points=shown, names=points.name);

# %% [markdown]
# All 75 traces at once, sorted by activation. The edge on the left is the wave of activation, the edge on the right recovery:

# %%
order = np.argsort(data.activation_ms[case])
plt.imshow(voltage[case][order], aspect="auto", cmap="RdBu_r", vmin=-95, vmax=95)
plt.gca().set(xlabel="time (ms)", ylabel="points, early to late")
plt.colorbar(label="mV");

# %% [markdown]
# ## 2. Simple answers first
#
# **The mean trace.** For each point the average training trace, whatever the ECG says. Averaging steep upstrokes at different times gives a
# slope that no cell ever shows.

# %%
truth = voltage[split.test]
mean_trace = np.mean(voltage[split.train], axis=0)
baseline = np.broadcast_to(mean_trace, truth.shape)
scores = {"mean trace": heart_metrics.mae_mv(truth, baseline)}
print(f"mean trace: {scores['mean trace']:.1f} mV")

# %% [markdown]
# **A shifted template.** Action potentials of different points look much alike; what differs is when they start. So: average the training traces
# *after lining up their upstrokes*, predict the activation times with a linear model, and shift the template to them.

# %%
template = heart_recipes.Template().fit(voltage[split.train], data.activation_ms[split.train])
plt.plot(template.since_ms, template.shape_mv)
plt.gca().set(xlabel="time since the upstroke (ms)", ylabel="voltage (mV)");

# %%
flat = leads.independent(ecg)[:, :, ::4].reshape(len(ecg), -1)
times = np.where(np.isnan(data.activation_ms), np.nanmean(data.activation_ms, axis=0), data.activation_ms)
ridge = Ridge(alpha=30.0).fit(flat[split.train], times[split.train])
shifted = template.predict(ridge.predict(flat[split.test]))
scores["template, ridge times"] = heart_metrics.mae_mv(truth, shifted)
print(f"shifted template: {scores['template, ridge times']:.1f} mV")

# %% [markdown]
# How much of this error is the template's, and how much is timing? With the *true* times we see the template's own part:

# %%
scores["template, true times"] = heart_metrics.mae_mv(truth, template.predict(times[split.test]))
ecg_plots.bars(scores, "mean absolute error on unseen hearts (mV)");

# %% [markdown]
# ## 3. A network that sees the whole beat
#
# `heart_models.VoltageNet` is a *U-Net* over time. Going down, each level halves the time axis, so that filters of the same length
# see twice as far; at the bottom a dense layer lets every moment see every other one. Going up, the details of the upper levels
# are added back in. Without that width of view the network could not know, at 50 ms, what the T wave at 300 ms says.

# %%
fit = heart_recipes.voltage_recipe(data, split, epochs=EPOCHS, seed=SEED)

# %%
fit.curve.plot();

# %%
predicted = heart_recipes.predict_voltage(fit.model, ecg[split.test])
scores["network"] = heart_metrics.mae_mv(truth, predicted)
ecg_plots.bars(scores, "mean absolute error on unseen hearts (mV)");

# %%
heart_recipes.score_table(heart_metrics.VOLTAGE, truth, predicted, hearts)

# %% [markdown]
# ## 4. Look at it

# %%
per_case = np.abs(predicted - truth).mean(axis=(1, 2))
typical = int(np.argsort(per_case)[len(per_case) // 2])
ecg_plots.voltages(truth[typical], predicted[typical], points=shown, names=points.name);

# %% [markdown]
# ## 5. Where the errors live
#
# Line up every trace on its own true upstroke and average the error: a tall, narrow peak. **Most of the error is timing.** A
# shift of one millisecond costs about 0.5 mV of mean error, although the shape is perfect. So we also score upstroke, plateau and duration
# apart, in the table above.

# %%
since, profile = heart_recipes.error_profile(truth, predicted)
plt.plot(since, profile)
plt.gca().set(xlabel="time since the true upstroke (ms)", ylabel="mean absolute error (mV)");

# %% [markdown]
# ### Do tasks 3 and 4 agree?
#
# Activation times can be read off the predicted voltages: the first crossing of 0 mV. No one told this network about
# activation times, and yet:

# %%
true_times = heart_metrics.upstroke_ms(truth)
read_off = heart_metrics.upstroke_ms(predicted)
print(f"activation times read off the voltages: {heart_metrics.mae_ms(true_times, read_off):.1f} ms off")

# %%
ecg_plots.truth_and_prediction(true_times.ravel(), read_off.ravel());

# %% [markdown]
# ## 6. Watch it
#
# The same unseen beat, truth and prediction side by side. Press play, turn with the mouse, zoom with the wheel.

# %%
mesh, _ = heart.default_heart()
heart_view.show(mesh, points, {"truth": truth[typical], "prediction": predicted[typical]})

# %% [markdown]
# ## 7. Hand it in

# %%
cases = scoring.truth_of_hearts(4, data, split.test)
print(submission.write_submission("submission_task_4.npz", 4, cases.ids, predicted, team="me"))

# %% [markdown]
# ## 8. Exercises
#
# **Exercise 1.** Move every predicted trace by one millisecond (`np.roll(predicted, 1, axis=2)`). By how many millivolts does the mean absolute error change?

# %%
answer = ...
rolled = heart_metrics.mae_mv(truth, np.roll(predicted, 1, axis=2)) - scores["network"]
check(answer, lambda a: abs(a - rolled) < 0.05, "New error minus old error.")

# %% [markdown]
# **Exercise 2.** Which is harder for the network: the upstroke time or the duration (APD90)? Compare the two errors in ms in the table of section 3.
# Answer "upstroke" or "duration".

# %%
answer = ...
harder = heart_metrics.upstroke_error_ms(truth, predicted) > heart_metrics.apd90_error_ms(truth, predicted)
check(answer, "upstroke" if harder else "duration", "Larger error, harder question.")

# %% [markdown]
# **Exercise 3 (open).** Put the two tasks together: activation times of the network of task 3, and the template of section 2. How close does that
# come to the U-Net, and what is it still missing?
#
# Everything here is simulated, training and test by the same simulator: a good score says that the method works on such data, not that it would
# on a patient.

# %% tags=["score"]
print(f"MAE {scores['network']:.2f} mV on {len(set(hearts))} unseen hearts (mean trace {scores['mean trace']:.1f})")
