# %% [markdown]
# # Tutorial: which leads matter?
#
# An ECG has twelve leads, a watch has one. What is lost on the way? Which lead carried the diagnosis of *this*
# patient? This tutorial answers with **Shapley values**: a fair way to share out what a team has earned among its
# players. Here the players are leads, and what they earn is the quality of a network's answer.
#
# You need some Python and an idea of what a neural network is (the image tutorial is a good start). About 50 minutes
# to read, two to three minutes to run. All ECGs here are simulated; the last section says how to use real ones. This
# is teaching software, not a medical device.

# %%
from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
import torch

from cardiac_ml import intracardiac, leads, plots
from cardiac_ml.exercises import check
from cardiac_ml.lead_importance import figures, shapley, subsets
from cardiac_ml.models import CrossEntropy, masked_l1
from cardiac_ml.training import fit, probabilities

plots.style()

# %% tags=["parameters"]
HEARTS = 120  # quick: 8
CASES = 15  # quick: 12
EPOCHS = 32  # quick: 2
SEEDS = 2  # quick: 1
NOISE_MV = 1.0

# %% [markdown]
# ## 1. A game with three players
#
# Three friends run a stall. Alone, Ann earns 60, Ben 40, Cem nothing. Ann and Ben together earn 90, Ann and Cem 80,
# Ben and Cem 40, all three 120. How should they share the 120?
#
# Write down what every **set** of players is worth. With three players there are 2 x 2 x 2 = 8 sets. A set is a row
# of yes and no, and a row of yes and no is a binary number: that is the place of the set in the array.

# %%
friends = ["Ann", "Ben", "Cem"]
earned = np.zeros(8)
income = [([0], 60), ([1], 40), ([2], 0), ([0, 1], 90), ([0, 2], 80), ([1, 2], 40),
          ([0, 1, 2], 120)]
for players, euros in income:
    earned[shapley.position(players)] = euros
earned

# %% [markdown]
# Now let them arrive one by one. Whoever arrives gets what the stall earns *more* because of them. Ann first: 60.
# Then Ben: 90 - 60 = 30. Then Cem: 120 - 90 = 30. But in another order Cem comes first and gets nothing. So take
# **all orders, and the mean**:

# %%
for order in permutations(range(3)):
    present, gains = [], {}
    for player in order:
        before = earned[shapley.position(present)]
        present.append(player)
        gains[friends[player]] = float(earned[shapley.position(present)] - before)
    print(" then ".join(friends[player] for player in order).ljust(22), gains)
print("mean of all orders:", dict(zip(friends, shapley.shapley(earned).round(1).tolist())))

# %% [markdown]
# Those means are the Shapley values. They are the *only* way of sharing that has four properties at once: the shares
# add up to the whole (**efficiency**); two players who do the same get the same (**symmetry**); who adds nothing gets
# nothing (**dummy**); and the shares of two games played together are the sums of the shares (**linearity**). The
# tests of this kit check the first three to nine digits, and all values against an independent library.
#
# ## 2. Twelve leads, eight players
#
# Who plays? Not twelve leads: III, aVR, aVL and aVF are computed from I and II. If we let all twelve play, hiding III
# would hide nothing as long as I and II are there, and the limb leads would share one income six ways. So eight leads
# play: I, II and V1 to V6. (Two of the limb leads, whichever, always mean all six.)
#
# The diagnosis: how does the wave of activation spread? Normally through the fast conduction system; with **left** or
# **right bundle branch block** (LBBB, RBBB) one side is reached late; or it starts at a single **focus** in the
# muscle.

# %%
data = intracardiac.load(hearts=HEARTS, cases=CASES)
print(data.source)

# %%
CLASSES = ["normal", "LBBB", "RBBB", "focus"]
diagnosis = {"normal": 0, "scar": 0, "slow": 0, "LBBB": 1, "RBBB": 2,
             "ectopic": 3, "focal": 3, "RVOT": 3, "paced": 3}
label = data.table["kind"].map(diagnosis).fillna(-1).to_numpy(int)  # -1: other beats, left out
split = intracardiac.split_by_heart(data)
train = split.train[label[split.train] >= 0]
test = np.concatenate([split.valid, split.test])  # nothing is chosen on the validation hearts
test = test[label[test] >= 0]
truth, hearts = label[test], data.hearts[test]
for number, name in enumerate(CLASSES):
    print(f"{name:>6}: {(label[train] == number).sum():4d} beats to learn from,",
          f"{(truth == number).sum():3d} to ask about")
print(len(set(hearts)), "hearts are asked about; none of them was learned from")

# %%
ecg = subsets.downsample(leads.independent(data.ecg_mv)).astype(np.float32)
noisy = subsets.add_noise(ecg, NOISE_MV)  # what we ask about; training draws noise anew each time
print("ECGs:", ecg.shape, "beats, leads, steps of 4 ms")

# %% [markdown]
# On clean simulated ECGs this diagnosis is easy from any lead, and then all leads would be worth the same. So each
# lead got a poor contact: noise and an offset of 1 mV, much as in someone who runs. (`NOISE_MV = 0` shows the clean
# case.)
#
# Look first. Two leads, the beats of the test hearts with each diagnosis: their mean, the band that holds the middle
# half of them, and (thin) one single beat as the network gets it:

# %%
time_ms = np.arange(ecg.shape[2]) * 4
figure, axes = plt.subplots(2, len(CLASSES), figsize=(10, 4), sharex=True, sharey="row",
                            layout="constrained")
for row, lead in zip(axes, ("V1", "V6")):
    for ax, (number, name) in zip(row, enumerate(CLASSES)):
        beats = noisy[test][truth == number][:, leads.INDEPENDENT.index(lead)]
        ax.plot(time_ms, beats[0], color="0.7", linewidth=0.6)
        ax.fill_between(time_ms, *np.quantile(beats, [0.25, 0.75], axis=0), color="#9db4cc")
        ax.plot(time_ms, beats.mean(axis=0), color="#1b3a5c")
        ax.set_title(f"{name}, {lead}", fontsize=10)
figure.supxlabel("time (ms)")
figure.supylabel("mV");

# %% [markdown]
# Under the noise: in V1 the two blocks point in opposite directions, down when the left side is late and up at the
# end when the right side is. Doctors look there first. Will the network?
#
# ## 3. One network for all 256 sets
#
# What is the set {I, V1} worth? Train a network that sees I and V1 only, and score it. For all 256 sets that would be
# 256 trainings. The way out: **one** network that learns to live with missing leads. It reads each lead on its own,
# and then combines what it has read of those that are there; it *is told which these are*, since a flat line could
# also be a finding. Reading is the slow part. So it reads a beat once and learns from 16 random sets of its leads:
# first we draw how many stay (0 to 8, each equally often), then which.

# %%
net = subsets.LeadSubsetNet(leads=8, outputs=len(CLASSES))
net

# %% [markdown]
# `reader` looks along time, at each lead by itself (`groups=8`); `last` sums up what it found, 128 numbers a lead.
# `head` gets the *sum* over the leads that are there, and from `present` which these are. What a hidden lead shows
# never enters the sum. (The rest is usual in networks: `SiLU` bends the numbers between two layers, `Dropout` hides
# some of them in training, `BatchNorm1d` and `LayerNorm` bring them to one scale: the first over the beats that are
# learned from together, the second over the numbers of one beat.) Training takes the same `fit` as everywhere; around
# the network stands `RandomSubsets`, which draws the sets:

# %%
nets = []
for seed in range(SEEDS):
    torch.manual_seed(seed)
    net = subsets.LeadSubsetNet(leads=8, outputs=len(CLASSES)).fit_scaling(noisy[train])
    trained, history = fit(
        subsets.RandomSubsets(net, draws=16), (ecg[train], label[train]),
        loss=subsets.OverSubsets(CrossEntropy()), augment=subsets.AddNoise(NOISE_MV),
        epochs=EPOCHS, batch_size=64, lr=4e-3, weight_decay=0.05, ema_decay=0.995,
        seed=seed, precision="float32")
    nets.append(trained.net)
    print(f"network {seed + 1}: last training loss {history['train_loss'].iloc[-1]:.2f}")

# %% [markdown]
# We will need this twice more, so here is the last cell as a function, without the comments:

# %%
def train_on_subsets(ecg_mv, target, outputs, loss, only=None, scaled=None):
    """A network for all sets of leads; ``only``: for the leads of these numbers, and no others."""
    torch.manual_seed(0)
    net = subsets.LeadSubsetNet(ecg_mv.shape[1], outputs)
    net.fit_scaling(subsets.add_noise(ecg_mv, NOISE_MV), scaled)
    fit(subsets.RandomSubsets(net, only=only), (ecg_mv, target), loss=subsets.OverSubsets(loss),
        augment=subsets.AddNoise(NOISE_MV), epochs=EPOCHS, batch_size=64, lr=4e-3,
        weight_decay=0.05, ema_decay=0.995, precision="float32")
    return net

# %% [markdown]
# Now ask it about every set, for every beat. The value of an answer is the **log-likelihood**: the logarithm of the
# probability that it gave to the right diagnosis. 0 is perfect; four classes guessed evenly give log(1/4) = -1.39, and
# classes guessed by how frequent they were in training give a little more.

# %%
def ask(net, ecg_mv):
    """The probability of each class, for each set of leads: (sets, beats, classes)."""
    answers = subsets.answers_of_coalitions(net, ecg_mv)
    return probabilities(answers.reshape(-1, len(CLASSES))).reshape(answers.shape)


chances = np.stack([ask(net, noisy[test]) for net in nets])
value = shapley.log_likelihood(truth, chances).swapaxes(1, 2)
print(value.shape, "networks, beats, sets")
frequency = np.bincount(label[train]) / len(train)
print(f"guessed by frequency: {np.log(frequency[truth]).mean():.2f}")
print(f"no lead at all: {value[..., 0].mean():.2f}   all eight: {value[..., -1].mean():.2f}")

# %% [markdown]
# ## 4. The values
#
# No sampling and no approximation: all 256 sets are there, so the Shapley values are exact. The interval (90 %) says what
# other *hearts* might have given: beats of one heart are no independent witnesses, so their shares are added up before
# they are compared. With two networks it also holds how much another training differs.

# %%
mean, low, high = shapley.mean_values(value, hearts)
figures.bars(leads.INDEPENDENT, mean, low, high, "share of the log-likelihood");

# %%
gain = value[..., -1].mean() - value[..., 0].mean()
print(f"the shares add up to {mean.sum():.6f}; all leads gain {gain:.6f}")

# %% [markdown]
# Values are linear, so we may take them **record by record** and average as we like. By diagnosis:

# %%
values = shapley.shapley(value).mean(axis=0)  # (records, 8)
by_class = np.stack([values[truth == k].mean(axis=0) for k in range(len(CLASSES))], axis=1)
figures.lead_by_class(by_class, leads.INDEPENDENT, CLASSES, "share of the log-likelihood");
for name, share, start in zip(CLASSES, by_class.sum(axis=0), np.log(frequency)):
    print(f"{name:>6}: guessed by frequency {start:.2f}, all leads together add {share:.2f}")

# %% [markdown]
# A column adds up to what all leads gain over the answer without any, and that answer is about the frequency of each
# diagnosis. So the most frequent one has the best start and the least to win: a pale column is not a diagnosis that the
# leads do not see (section 6 has another score, which does not depend on frequencies).
#
# And for a single beat, with its sign: which leads spoke for the right diagnosis, and which against it? This is the
# beat on which all leads together did worst:

# %%
hardest = int(value[..., -1].mean(axis=0).argmin())
print(f"a beat of heart {hearts[hardest]}: {CLASSES[truth[hardest]]}. The network said:")
for name, chance in zip(CLASSES, chances[:, -1, hardest].mean(axis=0)):
    print(f"{name:>6} {chance:.0%}")
figures.bars(leads.INDEPENDENT, values[hardest], unit="share of its log-likelihood");

# %% [markdown]
# ## 5. Leads as a team
#
# Two leads that see the same thing are worth less together than the sum of both: one stands in for the other. Two
# that complete each other are worth more. The **interaction** of a pair is what being two adds, averaged over all
# sets of the others:

# %%
pairs = shapley.interactions(value).mean(axis=(0, 1))
figures.pairs(pairs, leads.INDEPENDENT, "interaction (blue: complete, red: replace)")
for pair in sorted(zip(*np.triu_indices(8, 1)), key=lambda pair: pairs[pair])[::27]:
    print(*(leads.INDEPENDENT[player] for player in pair), f"{pairs[pair]:+.2f}")

# %% [markdown]
# Printed are the two ends: the pair that replaces each other most, and the one that does so least, or completes each
# other. (A field near zero could as well have the other sign.) Where a pair is red, the second lead repeats some of what
# the first one said. So how many do we need? The best set of each size, found by looking at all of them, beside sets in
# use: the limb leads alone (a monitor with three electrodes gives all six of them from two), limb leads and one chest
# lead, a watch (lead I).

# %%
mean_value = value.mean(axis=(0, 1))
best = shapley.best_sets(mean_value)
in_use = {"watch: I": [0], "6 limb leads = I, II": [0, 1], "limb leads and V2": [0, 1, 3]}
marked = {name: (len(players), mean_value[shapley.position(players)])
          for name, players in in_use.items()}
figures.by_count([score for _, score in best], marked, "log-likelihood");

# %% [markdown]
# (The best sets were found on the very beats that they are scored on, which flatters them a little. And where the
# line falls again at the end, the network has not learned to ignore a lead that adds only noise.)
#
# "Twelve", "six", "four", "three", "two leads" sound like a ladder. Count independent signals instead: six limb leads
# are two signals; I, II, III and V2 are three, as many as I, II and V2.
#
# ### All twelve play
#
# And if all twelve leads did play? That makes 4096 sets, which is no more work for this network, since a beat is read
# only once:

# %%
ecg_12 = subsets.downsample(data.ecg_mv).astype(np.float32)
some = test[::5]
net_12 = train_on_subsets(ecg_12[train], label[train], len(CLASSES), CrossEntropy())
chances_12 = ask(net_12, subsets.add_noise(ecg_12, NOISE_MV)[some])
value_12 = shapley.log_likelihood(label[some], chances_12).T
mean_12, low_12, high_12 = shapley.mean_values(value_12, data.hearts[some])
figures.bars(leads.LEADS, mean_12, low_12, high_12, unit="share of the log-likelihood");

# %%
print(f"I and II among eight players: {mean[:2].sum():.2f} of {mean.sum():.2f} in all")
print(f"six limb leads among twelve:  {mean_12[:6].sum():.2f} of {mean_12.sum():.2f} in all")

# %% [markdown]
# The same two signals, another share: in a random order, the first of six players comes earlier than the first of two,
# and finds more left to tell. And here each of the six has a noise of its own, as if each had its own electrodes, so
# that six say more than two; in a recording III is exactly II minus I. Neither picture is wrong. But whoever asks about
# signals must not let one signal play three times: **say who plays before you say who matters**.
#
# **Groups** can play too. Limb leads against chest leads, with everything inside a group coming and going together:

# %%
teams = {"limb leads": [0, 1], "chest leads": [2, 3, 4, 5, 6, 7]}
shares = shapley.shapley(shapley.grouped(mean_value, list(teams.values())))
print({team: round(float(share), 3) for team, share in zip(teams, shares)})

# %% [markdown]
# ## 6. Is the shortcut honest?
#
# Everything rests on one network that was trained with holes. Is its answer for a set as good as that of a network
# that only ever saw that set? A few sets, trained on their own:

# %%
for players in ([2], [0, 1]):
    own = train_on_subsets(ecg[train], label[train], len(CLASSES), CrossEntropy(), only=players)
    chance = ask(own, noisy[test])[shapley.position(players)]
    alone = shapley.log_likelihood(truth, chance).mean()
    names = ", ".join(leads.INDEPENDENT[player] for player in players)
    print(f"{names:<6} trained on its own {alone:6.2f}",
          f"  network for all sets {mean_value[shapley.position(players)]:6.2f}")

# %% [markdown]
# A network with one job may be a little better at it. What matters is that the gap is small beside the differences
# between sets; where it is not, the values of section 4 are about the network, and not about the leads. Such a check
# belongs to every result of this kind. It has paid off: a first version of this network mixed all leads in its first
# layer, learned to rely on the chest leads, and was far behind with I and II alone. Its pictures looked just as
# convincing.
#
# Another value one could choose: the area under the ROC curve (AUROC), for one diagnosis against all others. It is the
# chance that a beat with this diagnosis gets a higher score for it than a beat without: 0.5 is guessing, 1 is perfect.
# It ranks beats instead of asking for honest probabilities, it does not depend on how frequent a diagnosis is, and it
# has a ceiling: once some leads have reached 1, whoever comes later can add nothing, however clear its own picture is.

# %%
mean_chance = chances.mean(axis=0)  # of the networks: (256, beats, classes)
figure, axes = plt.subplots(1, len(CLASSES), figsize=(11, 3.2), layout="constrained")
for number, (ax, name) in enumerate(zip(axes, CLASSES)):
    has_it, score = truth == number, mean_chance[:, :, number]
    figures.bars(leads.INDEPENDENT, *shapley.auroc_values(has_it, score, hearts), ax=ax)
    all_leads = shapley.auroc_of_sets(has_it, score)[-1]
    ax.set_title(f"{name}, all leads: {all_leads:.3f}", fontsize=10)
figure.supxlabel("share of the area above 0.5 (90 % interval over hearts)", fontsize=10);

# %% [markdown]
# ## 7. When the sets are too many
#
# Eight players have 256 sets, twelve 4096, thirty a billion. Then one *samples*: random orders of arrival, and the
# mean of what each player added. Here we know the exact values, so we can see the error. It falls with the root of the
# number of orders (dashed): a hundred times as many for one more digit.

# %%
added = shapley.sampled(mean_value, 2000)
figures.convergence(added, shapley.shapley(mean_value));

# %% [markdown]
# ## 8. The same question for tasks 3 and 4
#
# Which leads tell *when each point of the heart activates* (task 3), and which tell its *potential* all along (task
# 4)? The same training with numbers to predict: 75 activation times, or the potentials of every third point at 25
# moments, one every 20 ms. The value of an answer is minus its mean absolute error, in milliseconds or millivolts.

# %%
def error_saved(target, unit, ax):
    """Train for numbers (cases, outputs), ask for every set, draw the values of the leads."""
    target = target.astype(np.float32)
    net = train_on_subsets(ecg[split.train], target[split.train], target.shape[1], masked_l1,
                           scaled=target[split.train])
    answers = subsets.answers_of_coalitions(net, noisy[places])
    errors = [np.nanmean(np.abs(answer - target[places]), axis=1) for answer in answers]
    value = -np.stack(errors, axis=1)  # (cases, 256)
    figures.bars(leads.INDEPENDENT, *shapley.mean_values(value, data.hearts[places]), ax=ax,
                 unit=f"error saved ({unit})")
    without, with_all = -value[:, [0, -1]].mean(axis=0)
    ax.set_title(f"without leads {without:.1f} {unit}, with all {with_all:.1f} {unit}", fontsize=10)


places = np.concatenate([split.valid, split.test])[::3]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
error_saved(data.activation_ms, "ms", axes[0])
error_saved(data.voltage_mv[:, ::3, ::20].reshape(len(data), -1), "mV", axes[1])

# %% [markdown]
# Compare with section 4, but not bar by bar: where the intervals of two leads overlap, these hearts do not say which of
# them is in front. What has surely changed is the question, and with it the unit: milliseconds, millivolts, and before
# the logarithm of a probability. (Why Lead II should help with times: it looks along the body, and sees whether the wave
# runs up or down.)
#
# A small network on 4 ms steps is not the one of tasks 3 and 4, and under this noise its errors are larger. But the
# question here is which leads carry the answer, and for that it will do.
#
# ## 9. Exercises
#
# **Exercise 1.** In the stall of section 1, Cem learns to do exactly what Ben does: in every set, one can stand in for
# the other. One of the four properties now says something about their shares. Which? Answer with its name.

# %%
answer = ...
check("tutorial3.1", answer)

# %% [markdown]
# **Exercise 2.** Which two leads, of all pairs, make the best team of two for this diagnosis? Section 5 has looked at
# all of them, but drew only their score: look into `best` (a line of code; `leads.INDEPENDENT` has the names). Give two
# names in a set, like `{"I", "V3"}`.

# %%
answer = ...
check("tutorial3.2", answer, value=mean_value, names=leads.INDEPENDENT)

# %% [markdown]
# **Exercise 3.** How much of the log-likelihood of all eight leads (above none) do the limb leads I and II reach on
# their own, as a share between 0 and 1?

# %%
answer = ...
check("tutorial3.3", answer, value=mean_value)

# %% [markdown]
# **Exercise 4 (open).** Set `NOISE_MV = 0` and run all again: what do clean leads earn, and why are their values so
# alike? Then give the noise to the chest leads only: who takes over?
#
# **Exercise 5 (open).** Take a data set of your own choice (next section) and one diagnosis of its table. Before you
# look: which lead would a cardiologist name? Then compare.
#
# ## 10. Real hospitals: reading a report
#
# All of this is one command for records of real hospitals: PTB-XL, Chapman-Shaoxing-Ningbo (two free collections on
# PhysioNet), or any folder from the yearly challenges of *Computing in Cardiology* in their format, WFDB (a text file
# `.hea` beside a file of numbers, for each record):
#
#     python -m cardiac_ml lead-importance --train chapman/WFDBRecords --test ptb-xl --out leads
#
# It learns from one hospital, asks about other patients of it (*inside*) and about another one (*outside*), and writes
# `leads/report.html`. Without folders it makes ten-second records of virtual hearts, so you can read a report today.
# Read it in this order:
#
# 1. **What was left out**, at its end: how many records, and why? Which diagnoses were too rare to be asked about?
# 2. **At a glance**: does the AUROC hold outside? Where it falls, values outside are about that fall too.
# 3. **One diagnosis**: bars whose intervals overlap are no order of leads. Red fields of the pairs say which lead could
#    stand in for which; the table of sets in use says what a watch or a monitor would lose.
# 4. **Checks**: is one network for all sets as good as one for a single set? If not, believe the values less.
#
# ## What to remember
#
# * A value belongs to a question: *this* diagnosis, *this* score, *these* players. Change one, and the values change.
# * Leads that repeat each other share their income. A small value does not mean that a lead is uninformative; it may
#   have a twin.
# * Which leads a network *uses* on simulated hearts says something about those hearts, and a little about real ones.
