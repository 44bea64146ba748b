# %% [markdown]
# # Task 4: the voltage at every point, for the whole beat
#
# Task 3 asked *when* each point of the ventricles activates. Now we ask for everything: the **transmembrane voltage**, the
# voltage across the membrane of the heart's cells, at 75 points, for each of 500 ms. Twelve curves go in, 75 come out.
#
# Afterwards you can: train a network from curves to curves by hand, tell apart errors of time, duration and shape, and
# build knowledge into a network: one that *draws* action potentials against a black box that may answer anything.
#
# Do task 3 first: it explains the data, the leads and why whole hearts are held out. About 45 minutes to read, some minutes
# to run. This is teaching software, not a medical device.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from torch import nn

from cardiac_ml import challenge, intracardiac, leads, metrics, models, plots
from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.exercises import check
from cardiac_ml.heart3d import mesh, view
from cardiac_ml.training import fit, predict, pretrained

plots.style()

# %% tags=["parameters"]
HEARTS = 120  # quick: 8
CASES = 15  # of most hearts; of a few, focal beats from all 75 points; quick: 8
ELSEWHERE = 8  # hearts of the second simulator, quick: 2
EPOCHS = 15  # of the U-Net, quick: 1
PARTS = 75  # of the network that draws, quick: 2
SEED = 0

# %% [markdown]
# ## 1. The data

# %% tags=["source"]
data = intracardiac.load(hearts=HEARTS, cases=CASES)
print(data.source)

# %%
split = intracardiac.split_by_heart(data)
train, valid, test = (data[rows] for rows in split)
truth = np.asarray(test.voltage_mv)
heart, points = mesh.default_heart()
print("ECG", test.ecg_mv.shape, " voltage", truth.shape)

# %% [markdown]
# A cell at rest holds about -85 mV. When the wave reaches it, its voltage shoots up within a millisecond or two
# (*upstroke*), stays up for a while (*plateau*) and falls back (*repolarisation*). The time from upstroke to 90 % of the way
# back is the *action potential duration*, APD90.

# %%
shown = [0, 10, 20, 32, 52, 72]
plots.voltages(truth[0], points=shown, names=points.name);

# %% [markdown]
# All 75 traces at once, sorted by activation. The edge on the left is the wave of activation, the edge on the right is
# recovery:

# %%
order = np.argsort(test.activation_ms[0])
plt.imshow(truth[0][order], aspect="auto", cmap="magma", vmin=-90, vmax=35)
plt.gca().set(xlabel="time (ms)", ylabel="points, early to late")
plt.colorbar(label="mV");

# %% [markdown]
# ## 2. Simple answers first
#
# **The mean trace.** For each point the average training trace, whatever the ECG says. Averaging steep upstrokes at
# different times gives a slope that no cell ever shows. The score is the mean absolute error in mV: less is better.

# %%
mean_trace = np.mean(train.voltage_mv, axis=0)
scores = {"mean trace": metrics.mae_mv(truth, np.broadcast_to(mean_trace, truth.shape))}
print(f"mean trace: {scores['mean trace']:.1f} mV")

# %% [markdown]
# **A shifted template.** Action potentials of different points look much alike; what differs most to the eye is when they start.
# So: average the training traces *after lining up their upstrokes*, predict the activation times with a linear model, and
# shift the template to them.

# %%
template = models.Template().fit(train.voltage_mv, train.activation_ms)
plt.plot(template.since_ms, template.shape_mv)
plt.gca().set(xlabel="time since the upstroke (ms)", ylabel="voltage (mV)");

# %%
def flat(data):
    """Every fourth sample of the eight leads: (cases, 1000)."""
    return leads.independent(data.ecg_mv)[:, :, ::4].reshape(len(data), -1)


mean_map = np.nanmean(train.activation_ms, axis=0)
known = np.where(np.isnan(train.activation_ms), mean_map, train.activation_ms)
ridge = Ridge(alpha=30.0).fit(flat(train), known)
shifted = template.predict(ridge.predict(flat(test)))
scores["template, ridge times"] = metrics.mae_mv(truth, shifted)

# %% [markdown]
# How much of this error is the template's, and how much is timing? With the *true* times we see the template's own part:

# %%
true_times = np.where(np.isnan(test.activation_ms), mean_map, test.activation_ms)
scores["template, true times"] = metrics.mae_mv(truth, template.predict(true_times))
plots.bars(scores, "mean absolute error on unseen hearts (mV)");

# %% [markdown]
# ## 3. A network, by hand
#
# From curves to curves: convolutions with a `stride` shorten the time axis from 500 steps to 25, so that the last
# filters see far; transposed convolutions stretch it to 500 again. At the end, 75 channels instead of 12: how far each
# voltage is from the mean trace, in units of 50 mV, since numbers of about one are easiest to learn.

# %%
class TraceNet(nn.Module):
    """Twelve leads (cases, 12, 500) in mV -> voltages (cases, 75, 500) in mV."""

    def __init__(self, mean_trace_mv):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(12, 64, 9, stride=2, padding=4), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 96, 9, stride=2, padding=4), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Conv1d(96, 128, 9, stride=5, padding=4), nn.BatchNorm1d(128), nn.ReLU(),
            nn.Conv1d(128, 128, 25, padding=12), nn.BatchNorm1d(128), nn.ReLU(),  # sees all
            nn.ConvTranspose1d(128, 96, 5, stride=5), nn.BatchNorm1d(96), nn.ReLU(),
            nn.ConvTranspose1d(96, 96, 2, stride=2), nn.BatchNorm1d(96), nn.ReLU(),
            nn.ConvTranspose1d(96, 75, 2, stride=2))
        self.register_buffer("mean_trace_mv", torch.as_tensor(mean_trace_mv))

    def forward(self, ecg_mv):
        return self.mean_trace_mv + 50 * self.layers(ecg_mv)

# %%
torch.manual_seed(SEED)
net = TraceNet(mean_trace)
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
x, y = torch.tensor(train.ecg_mv), torch.tensor(np.asarray(train.voltage_mv))
for epoch in range(min(3, EPOCHS)):
    net.train()
    for rows in torch.randperm(len(x)).split(32):
        loss = (net(x[rows]) - y[rows]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = metrics.mae_mv(np.asarray(valid.voltage_mv), predict(net, valid.ecg_mv))
    print(f"epoch {epoch + 1}: loss {loss:.2f}, error on the validation hearts {error:.2f} mV")

# %% [markdown]
# ## 4. A black box: the U-Net
#
# `models.VoltageNet` is the grown-up form. It is a *U-Net* over time: on the way up, the details of each level on the way
# down are added back in, and at the bottom a dense layer lets every moment see every other one. Nothing tells it what an
# action potential looks like. In each round the beats are changed a little (`Augment`: noise, gains, a turned heart), but not
# slowed down: of a trace that is stretched, or pressed together, nobody knows the end.

# %%
def train_network(net, target, loss, epochs, augment):
    """``fit`` with everything that can be set."""
    return fit(net, (train.ecg_mv, target), (valid.ecg_mv, valid.voltage_mv), loss=loss,
               score=metrics.mae_mv, maximize=False, epochs=epochs, batch_size=32, lr=3e-3,
               weight_decay=0.05, ema_decay=0.999, max_grad_norm=1.0, augment=augment, seed=SEED)

# %%
torch.manual_seed(SEED)
box = models.VoltageNet().fit_scaling(train.ecg_mv, train.voltage_mv)
not_slower = models.Augment(slower=0)
box, _ = train_network(box, train.voltage_mv, nn.functional.l1_loss, EPOCHS, not_slower)
box_mv = predict(box, test.ecg_mv)
scores["U-Net"] = metrics.mae_mv(truth, box_mv)

# %% [markdown]
# ## 5. A network that knows what an action potential is
#
# Three things make a trace: **when** it starts, **how long** it lasts, and its **shape**. Take the training traces, line
# up their upstrokes, stretch them to one duration, and look at what is left: the mean shape and its main variations
# (principal components).

# %%
traces = train.voltage_mv, train.activation_ms, apd90_ms(train.voltage_mv)
physics = models.ActionPotentialNet(shapes=8).fit_scaling(train.ecg_mv, *traces)
shapes, since = physics.shapes_mv.numpy(), np.arange(-20, 600, 0.5)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
axes[0].plot(since, shapes[0])
for number, variation in enumerate(shapes[1:4], start=1):
    axes[1].plot(since, variation, label=f"variation {number}")
axes[0].set(title="mean shape", ylabel="mV")
axes[1].set(title="what is added to it")
axes[1].legend()
figure.supxlabel("time since the upstroke (ms), stretched to one duration", fontsize=10);

# %% [markdown]
# `models.ActionPotentialNet` answers a time, a duration and eight weights for each point, and *draws* the trace from them:
# shape, stretched, moved. Here is its pen, with a point that activates at 60 ms, and the same 20 ms later, 50 ms
# shorter, and with a little of the first variation:

# %%
times, durations = torch.full((4, 75), 60.0), torch.full((4, 75), 320.0)
weights = torch.zeros(4, 8, 75)
times[1], durations[2], weights[3, 0] = 80, 270, 4
drawn = physics.draw(times, durations, weights)[:, 0].numpy()
for trace, name in zip(drawn, ["as it is", "20 ms later", "50 ms shorter", "another shape"]):
    plt.plot(trace, label=name)
plt.gca().set(xlabel="time (ms)", ylabel="voltage (mV)")
plt.legend(loc="upper right");

# %% [markdown]
# What should it learn from? From voltages, one could: drawing can be differentiated, and an upstroke drawn too late is
# wrong by 100 mV for as long as it is late. But we know more: `parts_of` reads off each training trace when it starts, how
# long it lasts and which shape it has. To answer these parts, 10 numbers a point instead of 500, is quick to learn.
# `parts_loss` adds how sure each time is, as in task 3, and parts may also be slowed down: all times and durations grow.
# Drawn is only what is validated: the best epoch is the one whose *voltages* are best. (So the two losses in the left figure
# below are of different things: of the parts in training, of the voltages, in mV, in validation.)

# %%
parts = physics.parts_of(*traces)
print("voltages", train.voltage_mv.shape, " parts", parts.shape)

# %%
torch.manual_seed(SEED)
physics, history = train_network(physics, parts, models.parts_loss, PARTS, models.Augment())
predicted = predict(physics, test.ecg_mv)
scores["drawn"] = metrics.mae_mv(truth, predicted)

# %%
plots.learning_curve(history);

# %%
plots.bars(scores, "mean absolute error on unseen hearts (mV)");

# %% [markdown]
# Both networks had the same cases. The second went through them more often: its rounds are shorter, since it
# draws nothing while it learns. Its scores, with 90 % intervals from drawing whole hearts again and again. (*R2* is the share
# of the variance that is explained; the *plateau* is where the voltage stays up.)

# %%
metrics.bootstrap_table(metrics.VOLTAGE, truth, predicted, test.hearts)

# %% [markdown]
# ## 6. Look at it
#
# A beat in the middle of the score list. The U-Net first: look for slopes, dips and ripples that no cell makes; where it is
# unsure of the time, it answers with an average of early and late. The second network draws a real upstroke, at one time,
# right or wrong.

# %%
per_case = np.abs(predicted - truth).mean(axis=(1, 2))
typical = int(np.argsort(per_case)[len(per_case) // 2])
plots.voltages(truth[typical], box_mv[typical], points=shown, names=points.name);

# %%
plots.voltages(truth[typical], predicted[typical], points=shown, names=points.name);

# %% [markdown]
# ## 7. Where the errors live
#
# Line up every trace on its own true upstroke and average the error, millisecond by millisecond:

# %%
since, profile = metrics.error_profile(truth, predicted)
plt.plot(since, profile, label="drawn")
plt.plot(*metrics.error_profile(truth, box_mv), label="U-Net")
plt.gca().set(xlabel="time since the true upstroke (ms)", ylabel="mean absolute error (mV)")
plt.legend();

# %%
total = profile.sum()
near, late = profile[np.abs(since) <= 20].sum(), profile[since > 200].sum()
print(f"share of the error within 20 ms of the upstroke: {near / total:.0%}")
print(f"later than 200 ms after it, in recovery:         {late / total:.0%}")

# %% [markdown]
# Compare these shares with how long both parts last: an upstroke is over in milliseconds, so a small error of time costs
# much there; recovery is slow, and small errors add up.

# %% [markdown]
# ### Do tasks 3 and 4 agree?
#
# Activation times can be read off voltages: the first crossing of 0 mV. The drawn traces cross where the network says
# that the point activates, since that is how they are made. The U-Net was never told what an activation time is. The
# picture counts the points of all drawn traces: on the line, the time is right.

# %%
true_ms = upstroke_ms(truth)
table = {}
for name, traces in (("U-Net", box_mv), ("drawn", predicted)):
    table[name] = {"upstroke error (ms)": metrics.mae_ms(true_ms, upstroke_ms(traces)),
                   "APD90 error (ms)": metrics.apd90_error_ms(truth, traces)}
pd.DataFrame(table).T.round(2)

# %%
plots.truth_and_prediction(true_ms.ravel(), upstroke_ms(predicted).ravel());

# %% [markdown]
# ## 8. How far does it carry?
#
# Both networks on a second simulator, with other physics (see task 3), whose action potentials have another shape too:

# %%
elsewhere = intracardiac.elsewhere(hearts=ELSEWHERE)
there = np.asarray(elsewhere.voltage_mv)
guess = np.broadcast_to(mean_trace, there.shape)
pd.DataFrame({
    "drawn (mV)": [scores["drawn"], metrics.mae_mv(there, predict(physics, elsewhere.ecg_mv))],
    "U-Net (mV)": [scores["U-Net"], metrics.mae_mv(there, predict(box, elsewhere.ecg_mv))],
    "mean trace (mV)": [scores["mean trace"], metrics.mae_mv(there, guess)],
}, index=["new hearts", "elsewhere"]).round(2)

# %% [markdown]
# The kit brings a network of this kind that was trained for long, on more and wider hearts than these and none of them
# (see task 3):

# %%
long = pretrained("task_4")
print(long.card["data"])

# %%
long_new, long_there = predict(long, test.ecg_mv), predict(long, elsewhere.ecg_mv)
pd.DataFrame({
    "new hearts (mV)": [scores["drawn"], metrics.mae_mv(truth, long_new)],
    "upstroke (ms)": [metrics.mae_ms(true_ms, upstroke_ms(predicted)),
                      metrics.mae_ms(true_ms, upstroke_ms(long_new))],
    "elsewhere (mV)": [metrics.mae_mv(there, predict(physics, elsewhere.ecg_mv)),
                       metrics.mae_mv(there, long_there)],
}, index=["this notebook's run", "trained for long"]).round(2)

# %% [markdown]
# ## 9. Watch it
#
# The same unseen beat, truth and prediction. Space plays, dragging turns, the wheel zooms.

# %%
view.show(heart, points, {"truth": truth[typical], "prediction": predicted[typical]})

# %% [markdown]
# ## 10. Hand it in
#
# In a challenge (`CARDIAC_ML_DATA` names its public folder) these are its test cases; otherwise those of our test pile,
# without their answers. The file is what `python -m cardiac_ml score` takes:

# %%
cases = challenge.test_cases(4, data, split.test)
print(challenge.submit(cases, predict(physics, cases.ecg_mv), team="me"))

# %% [markdown]
# ## 11. Your turn
#
# Change `TraceNet` above, and let `fit` train it in the same way. Voltages are always known (a dead point simply rests),
# so any loss will do. Or go on from here: the times of your network of task 3, and the template of section 2, need no
# training at all.

# %%
torch.manual_seed(SEED)
mine, _ = train_network(TraceNet(mean_trace), train.voltage_mv, nn.functional.l1_loss, EPOCHS,
                        not_slower)
my_error = metrics.mae_mv(np.asarray(valid.voltage_mv), predict(mine, valid.ecg_mv))
print(f"my network: {my_error:.2f} mV on the validation hearts")

# %% [markdown]
# ## 12. Exercises
#
# **Exercise 1.** Move every predicted trace by one millisecond (`np.roll(predicted, 1, axis=2)`). By how many millivolts
# does the mean absolute error on the test hearts change? (New error minus old error; it may be negative.)

# %%
answer = ...
check("task4.1", answer, truth=truth, predicted=predicted)

# %% [markdown]
# **Exercise 2.** An upstroke of 110 mV is drawn 1 ms late in a trace of 500 ms, and all else is right. What is the mean
# absolute error of this trace, in mV?

# %%
answer = ...
check("task4.2", answer)

# %% [markdown]
# **Exercise 3 (open).** Put the two tasks together: activation times of the network of task 3, and the template of
# section 2. How close does that come, and what is it still missing?
#
# Everything here is simulated, apart from elsewhere by one and the same simulator: a good score says that the method works
# on such data, not that it would on a patient.

# %% tags=["score"]
hearts = len(set(test.hearts))
print(f"MAE {scores['drawn']:.2f} mV on {hearts} unseen hearts "
      f"(mean trace {scores['mean trace']:.1f})")
