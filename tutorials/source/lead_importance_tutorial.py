# %% [markdown]
# # Tutorial: which leads matter?
#
# An ECG has twelve leads, a watch has one. What is lost on the way? Which lead carried the diagnosis of *this* patient? This tutorial
# answers with **Shapley values**: a fair way to share out what a team has earned among its players. Here the players are leads, and what
# they earn is the quality of a network's answer.
#
# You need some Python and an idea of what a neural network is (the image tutorial is a good start). About 50 minutes to read, two to three
# minutes to run. All ECGs here are simulated; the last section says how to use real ones. This is teaching software, not a medical device.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml import intracardiac, leads
from cardiac_ml.lead_importance import shapley as importance, figures as importance_plots, subsets as lead_subsets
from cardiac_ml.exercises import check
from cardiac_ml.training import probabilities

# %% tags=["parameters"]
HEARTS = 30  # quick: 8
CASES = 60  # quick: 12
EPOCHS = 32  # quick: 2
SEEDS = 2  # quick: 1
NOISE_MV = 1.0

# %% [markdown]
# ## 1. A game with three players
#
# Three friends run a stall. Alone, Ann earns 60, Ben 40, Cem nothing. Ann and Ben together earn 90, Ann and Cem 80, Ben and Cem 40, all three 120.
# How should they share the 120?
#
# Write down what every **set** of players is worth. With three players there are 2 x 2 x 2 = 8 sets. A set is a row of yes and no, and a row of yes
# and no is a binary number: that is the place of the set in the array.

# %%
friends = ["Ann", "Ben", "Cem"]
earned = np.zeros(8)
for players, euros in (([0], 60), ([1], 40), ([2], 0), ([0, 1], 90), ([0, 2], 80), ([1, 2], 40), ([0, 1, 2], 120)):
    earned[importance.position(players)] = euros
earned

# %% [markdown]
# Now let them arrive one by one. Whoever arrives gets what the stall earns *more* because of them. Ann first: 60. Then Ben: 90 - 60 = 30. Then Cem: 120 -
# 90 = 30. But in another order Cem comes first and gets nothing. So take **all orders, and the mean**:

# %%
from itertools import permutations

for order in permutations(range(3)):
    present, gains = [], {}
    for player in order:
        before = earned[importance.position(present)]
        present.append(player)
        gains[friends[player]] = float(earned[importance.position(present)] - before)
    print(" then ".join(friends[player] for player in order).ljust(22), gains)
print("mean of all orders:", dict(zip(friends, importance.shapley(earned).round(1).tolist())))

# %% [markdown]
# Those means are the Shapley values. They are the *only* way of sharing that has four properties at once: the shares add up to the whole (**efficiency**); two players
# who do the same get the same (**symmetry**); who adds nothing gets nothing (**dummy**); and the shares of two games played together are the sums of the shares
# (**linearity**). The tests of this kit check the first three to nine digits, and all values against an independent library.
#
# ## 2. Twelve leads, eight players
#
# Who plays? Not twelve leads: III, aVR, aVL and aVF are computed from I and II. If we let all twelve play, hiding III would hide nothing as long
# as I and II are there, and the limb leads would share one income six ways. So eight leads play: I, II and V1 to V6. (Two of the limb leads, whichever, always
# mean all six.)
#
# The diagnosis: how does the wave of activation spread? Normally through the fast conduction system; with **left** or **right bundle branch
# block** (LBBB, RBBB) one side is reached late; or it starts at a single **focus** in the muscle.

# %%
data = intracardiac.load(virtual_hearts=HEARTS, virtual_cases=CASES)
print(data.source)

# %%
CLASSES = ["normal", "LBBB", "RBBB", "focus"]
diagnosis = {"normal": 0, "scar": 0, "slow": 0, "LBBB": 1, "RBBB": 2, "ectopic": 3, "focal": 3, "RVOT": 3, "paced": 3}
label = data.table["kind"].map(diagnosis).fillna(-1).to_numpy(int)  # -1: other beats, left out
split = intracardiac.split_by_heart(data.table)
train = split.train[label[split.train] >= 0]
test = np.concatenate([split.valid, split.test])  # nothing is chosen on the validation hearts here
test = test[label[test] >= 0]
hearts = data.table["heart"].to_numpy(dtype=str)[test]
ecg = lead_subsets.shortened(leads.independent(data.ecg_mv)).astype(np.float32)  # (cases, 8 leads, 125 steps of 4 ms)
heard = lead_subsets.noisy(ecg, NOISE_MV)  # what we ask about; for training, noise is drawn anew each time
print({name: int((label[train] == k).sum()) for k, name in enumerate(CLASSES)}, "to learn from,",
      len(test), f"beats of {len(set(hearts))} other hearts to ask about")

# %% [markdown]
# On clean simulated ECGs this diagnosis is easy from any lead, and then all leads would be worth the same. So each lead got a poor contact: noise and an offset of 1 mV, much as in someone who runs. (`NOISE_MV = 0`
# shows the clean case.)
#
# Look first. Two leads, the beats of the test hearts with each diagnosis:

# %%
figure, axes = plt.subplots(2, len(CLASSES), figsize=(10, 3.8), sharex=True, sharey="row", layout="constrained")
for row, lead in zip(axes, ("V1", "V6")):
    for ax, (number, name) in zip(row, enumerate(CLASSES)):
        beats = heard[test][label[test] == number][:, leads.INDEPENDENT.index(lead)]
        ax.plot(np.arange(125) * 4, beats[:25].T, color="#1b3a5c", alpha=0.25, linewidth=0.8)
        ax.set_title(f"{name}, {lead}", fontsize=10)
for ax in axes[1]:
    ax.set_xlabel("time (ms)")
axes[0, 0].set_ylabel("mV");

# %% [markdown]
# Under the noise: in V1 the two blocks point in opposite directions, down when the left side is late and up at the end when the right side is. Doctors look there first. Will the network?
#
# ## 3. One network for all 256 sets
#
# What is the set {I, V1} worth? Train a network that sees I and V1 only, and score it. For all 256 sets that would be 256 trainings. The way out: **one** network that learns to
# live with missing leads. It reads each lead on its own, and then combines what it has read of those that are there; it *is told which these are*, since a flat line could also be a finding. Reading is the slow part. So
# it reads a beat once and learns from 16 random sets of its leads: first we draw how many stay (0 to 8, each equally often), then which.

# %%
start = time.time()
fits = [lead_subsets.subset_recipe(ecg[train], label[train], classes=len(CLASSES), noise_mv=NOISE_MV, epochs=EPOCHS, seed=seed)
        for seed in range(SEEDS)]
print(f"took {time.time() - start:.0f} s")

# %% [markdown]
# Now ask it about every set, for every beat. The worth of an answer is the **log-likelihood**: the logarithm of the probability that it gave to the right diagnosis. 0 is perfect;
# four classes guessed evenly give log(1/4) = -1.39.

# %%
start = time.time()
chances = np.stack([probabilities(lead_subsets.answers_of_sets(fit.model, heard[test]).reshape(-1, len(CLASSES)))
                    .reshape(256, len(test), len(CLASSES)) for fit in fits])
worth = importance.log_likelihood(label[test], chances).swapaxes(1, 2)  # (seeds, records, 256 sets)
print(f"{SEEDS} x 256 sets x {len(test)} beats, took {time.time() - start:.0f} s")
print(f"no lead at all: {worth[..., 0].mean():.2f}   all eight: {worth[..., -1].mean():.2f}")

# %% [markdown]
# ## 4. The values
#
# No sampling and no approximation: all 256 sets are there, so the Shapley values are exact. The interval comes from drawing whole *hearts* again and again (beats of one heart are no independent
# witnesses) and, each time, one of the networks (another training gives other values).

# %%
mean, low, high = importance.mean_values(worth, hearts)
importance_plots.bars(leads.INDEPENDENT, mean, low, high, "share of the log-likelihood (mean and 90 % interval over hearts and networks)");

# %%
gain = worth[..., -1].mean() - worth[..., 0].mean()
print(f"the shares add up to {mean.sum():.6f}; all leads are worth {gain:.6f} more than none")

# %% [markdown]
# Values are linear, so we may take them **record by record** and average as we like. By diagnosis:

# %%
values = importance.shapley(worth).mean(axis=0)  # (records, 8)
by_class = np.stack([values[label[test] == number].mean(axis=0) for number in range(len(CLASSES))], axis=1)
importance_plots.lead_by_class(by_class, leads.INDEPENDENT, CLASSES, "share of the log-likelihood");

# %% [markdown]
# And for a single beat, with its sign: which leads spoke for the right diagnosis, and which against it? This is the beat on which all leads together did worst:

# %%
hardest = int(worth[..., -1].mean(axis=0).argmin())
sure = chances[:, -1, hardest].mean(axis=0)
print(f"a beat of heart {hearts[hardest]}: {CLASSES[label[test][hardest]]}; the network said "
      + ", ".join(f"{name} {chance:.0%}" for name, chance in zip(CLASSES, sure)))
importance_plots.bars(leads.INDEPENDENT, values[hardest], unit="share of the log-likelihood of the right diagnosis");

# %% [markdown]
# ## 5. Leads as a team
#
# Two leads that see the same thing are worth less together than the sum of both: one stands in for the other. Two that complete each other are worth more. The **interaction** of a pair is what being two adds,
# averaged over all sets of the others:

# %%
pairs = importance.interactions(worth).mean(axis=(0, 1))
importance_plots.pairs(pairs, leads.INDEPENDENT, "interaction (blue: complete, red: replace each other)");

# %% [markdown]
# Nearly all is red: after a few leads, the next one repeats. So how many do we need? The best set of each size, found by looking at all of them, beside sets in use: the limb leads alone (a monitor with three electrodes
# gives all six of them from two), limb leads and one chest lead, a watch (lead I).

# %%
mean_worth = worth.mean(axis=(0, 1))
best = importance.best_sets(mean_worth)
for players, value in best[1:5]:
    print(f"best {len(players)}: {', '.join(leads.INDEPENDENT[player] for player in players):<18} {value:.2f}")
in_use = {"watch: I": ["I"], "6 limb leads = I, II": ["I", "II"], "limb leads and V2": ["I", "II", "V2"]}
marked = {name: (len(chosen), mean_worth[importance.position(map(leads.INDEPENDENT.index, chosen))])
          for name, chosen in in_use.items()}
importance_plots.by_count([value for _, value in best], marked, "log-likelihood");

# %% [markdown]
# (The best sets were found on the very beats that they are scored on, which flatters them a little. And where the line falls again at the end, the network has not learned to ignore a lead that adds only noise.)
#
# "Twelve", "six", "four", "three", "two leads" sound like a ladder. Count independent signals instead: six limb leads are two signals; I, II, III and V2 are three, as many as I, II and V2.
#
# ### All twelve play
#
# And if all twelve leads did play? That makes 4096 sets, which is no more work for this network, since a beat is read only once:

# %%
ecg_12 = lead_subsets.shortened(data.ecg_mv).astype(np.float32)
heard_12 = lead_subsets.noisy(ecg_12, NOISE_MV)[test][::5]
twelve = lead_subsets.subset_recipe(ecg_12[train], label[train], classes=len(CLASSES), noise_mv=NOISE_MV, epochs=EPOCHS).model
chances_12 = probabilities(lead_subsets.answers_of_sets(twelve, heard_12).reshape(-1, len(CLASSES)))
worth_12 = importance.log_likelihood(label[test][::5], chances_12.reshape(4096, -1, len(CLASSES))).T
importance_plots.bars(leads.LEADS, *importance.mean_values(worth_12, hearts[::5]), unit="share of the log-likelihood");

# %% [markdown]
# The six limb leads together now take more than I and II took, and still each of them stands near the bottom. In a random order, the first of six players comes earlier than the first of two, and finds more left to tell. And here each has a noise of its own, as if each had its own
# electrodes; in a recording III is exactly II minus I. Whoever reads "the limb leads matter least, leave them out" off such a picture has let the wrong players play.
#
# **Groups** can play too. Limb leads against chest leads, with everything inside a group coming and going together:

# %%
teams = {"limb leads": [0, 1], "chest leads": [2, 3, 4, 5, 6, 7]}
print(dict(zip(teams, importance.shapley(importance.grouped(mean_worth, list(teams.values()))).round(3).tolist())))

# %% [markdown]
# ## 6. Is the shortcut honest?
#
# Everything rests on one network that was trained with holes. Is its answer for a set as good as that of a network that only ever saw that set? A few sets, trained on their own:

# %%
for chosen in (["V1"], ["I", "II"]):
    players = [leads.INDEPENDENT.index(name) for name in chosen]
    own = lead_subsets.subset_recipe(ecg[train], label[train], classes=len(CLASSES), stay=players,
                                     noise_mv=NOISE_MV, epochs=EPOCHS, progress=False).model
    chance = probabilities(lead_subsets.answers_of_sets(own, heard[test], importance.position(players))[0])
    alone = importance.log_likelihood(label[test], chance).mean()
    print(f"{', '.join(chosen):<10} trained on its own {alone:6.2f}   network for all sets {mean_worth[importance.position(players)]:6.2f}")

# %% [markdown]
# Nearly. A network with one job is a little better at it, most of all with I and II, so the limb leads are worth a little more than section 4 says; the order of the sets stays. Such a check belongs to every result
# of this kind. It has shown its worth: a first version of this network mixed all leads in its first layer, learned to rely on the chest leads, and was far behind with I and II alone. Its pictures looked just as convincing.
#
# And the other worth one could choose: the area under the ROC curve, for one diagnosis against all others. It ranks records instead of asking for honest probabilities, and it saturates: where
# two leads reach 0.98 already, all of them share nearly the same area.

# %%
def area(rows, network):
    """What each set is worth, for the beats in these rows and the diagnosis ``number``."""
    return importance.auroc_of_sets(label[test][rows] == number, chances[network][:, rows, number])


figure, axes = plt.subplots(1, len(CLASSES), figsize=(11, 3.2), layout="constrained")
for ax, (number, name) in zip(axes, enumerate(CLASSES)):
    importance_plots.bars(leads.INDEPENDENT, *importance.score_values(area, hearts, networks=SEEDS, draws=60), ax=ax)
    ax.set_title(f"{name}, all leads: {np.mean([area(slice(None), seed)[-1] for seed in range(SEEDS)]):.3f}", fontsize=10)
figure.supxlabel("share of the area above 0.5 (mean and 90 % interval over hearts and networks)", fontsize=10);

# %% [markdown]
# ## 7. When the sets are too many
#
# Eight players have 256 sets, twelve 4096, thirty a billion. Then one *samples*: random orders of arrival, and the mean of what each player added. The error falls with the root of the number of orders:

# %%
added = importance.sampled(mean_worth, 2000)
importance_plots.convergence(added, importance.shapley(mean_worth), leads.INDEPENDENT);

# %% [markdown]
# ## 8. The same question for tasks 3 and 4
#
# Which leads tell *when each point of the heart activates* (task 3), and which tell its *potential* all along (task 4)? The same recipe with numbers to predict: 75 activation times, or
# the potentials of every third point at 25 moments, one every 20 ms. The worth of an answer is minus its mean absolute error, in milliseconds or millivolts.

# %%
places = np.concatenate([split.valid, split.test])[::3]
potential = data.voltage_mv[:, ::3, ::20].reshape(len(data), -1)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax, target, unit in zip(axes, (data.activation_ms, potential), ("ms", "mV")):
    network = lead_subsets.subset_recipe(ecg[split.train], target[split.train], noise_mv=NOISE_MV, epochs=EPOCHS).model
    answers = lead_subsets.answers_of_sets(network, heard[places])
    saved = np.stack([-np.nanmean(np.abs(answer - target[places]), axis=1) for answer in answers], axis=1)  # (records, 256)
    importance_plots.bars(leads.INDEPENDENT, *importance.mean_values(saved, data.hearts[places]), ax=ax, unit=f"error saved ({unit})")
    ax.set_title(f"without leads {-saved[:, 0].mean():.1f} {unit}, with all {-saved[:, -1].mean():.1f} {unit}", fontsize=10)

# %% [markdown]
# II, in the middle for the diagnosis, stands near the top here: it looks along the body, and sees whether the wave runs up or down. Which leads matter depends on what you ask.
#
# A small network on 4 ms steps is not the one of tasks 3 and 4, and under this noise its errors are larger. But the question here is which leads carry the answer, and for that it will do.
#
# ## 9. Exercises
#
# **Exercise 1.** In the stall of section 1, Cem learns to do exactly what Ben does (the same worth in every set). What do Ben and Cem have in common then, by which of the four properties? Answer with its name.

# %%
answer = ...
check(answer, "symmetry", "Players who do the same ...")

# %% [markdown]
# **Exercise 2.** Which two leads, of all pairs, make the best team of two for this diagnosis? Give their names in a set, like `{"I", "V3"}`.

# %%
answer = ...
check(answer, {leads.INDEPENDENT[player] for player in best[2][0]}, "Section 5 prints it: best_sets looks at all 28 pairs.")

# %% [markdown]
# **Exercise 3.** How much of the log-likelihood of all eight leads (above none) do the limb leads I and II reach on their own, as a share between 0 and 1?

# %%
answer = ...
check(answer, (mean_worth[0b11] - mean_worth[0]) / (mean_worth[-1] - mean_worth[0]), "I and II are players 0 and 1: position([0, 1]) is 3.")

# %% [markdown]
# **Exercise 4 (open).** Set `NOISE_MV = 0` and run all again: what do clean leads earn, and why are their values so alike? Then give the noise to the chest leads only: who takes over?
#
# **Exercise 5 (open).** Real ECGs: put WFDB records (PTB-XL or Chapman-Shaoxing, from PhysioNet) into a folder. `twelve_leads.load_twelve_leads(folder)` brings leads of any order, unit and rate into this order;
# `.has("left bundle branch block")` gives labels. Split by patient. Ten seconds are longer than one beat: the network takes any length.
#
# ## What to remember
#
# * A value belongs to a question: *this* diagnosis, *this* worth, *these* players. Change one, and the values change.
# * Leads that repeat each other share their income. A small value does not mean that a lead is uninformative; it may have a twin.
# * Which leads a network *uses* on simulated hearts says something about those hearts, and a little about real ones.
