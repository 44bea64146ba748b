# %% [markdown]
# # Tutorial: teach a computer to read digits
#
# From a picture as a table of numbers to a small convolutional network, one step at a time. You will write a neural
# network by hand, watch it learn, watch it learn *too much*, and cure that. At the end the pictures are heartbeats, which is
# where task 1 begins.
#
# You need some Python and numpy. About 50 minutes to read, under two minutes to run; no download. The digits come
# with scikit-learn: 1797 pictures of 8 x 8 pixels, written by 43 people.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from torch import nn

from cardiac_ml import heartbeats, plots
from cardiac_ml.exercises import check

plots.style()

# %% tags=["parameters"]
STEPS = 600  # quick: 20
EPOCHS = 40  # quick: 2
HEARTS = None  # quick: 6
SEED = 0

# %% [markdown]
# ## 1. What a picture is to a computer
#
# A table of numbers. Here 0 is white paper and 16 is black ink.

# %%
digits = load_digits()
print(digits.images[0].astype(int))

# %%
figure, axes = plt.subplots(2, 10, figsize=(10, 2.3))
for ax, image, label in zip(axes.flat, digits.images, digits.target):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(label)
    ax.set_axis_off()

# %% [markdown]
# For the first models we lay each picture out as a row of 64 numbers between 0 and 1. The neighbourhood of pixels is lost for
# now; remember that.

# %%
pictures = (digits.data / 16).astype(np.float32)  # (1797, 64)
labels = digits.target

# %% [markdown]
# ## 2. Three piles
#
# A model is judged on pictures it has not learned from. We make three piles:
#
# * **training**: the model learns from these;
# * **validation**: we compare settings on these, as often as we like;
# * **test**: looked at once, at the end. Whoever chooses on the test pile is no longer testing.

# %%
every = np.arange(len(labels))
rest, test = train_test_split(every, test_size=360, stratify=labels, random_state=SEED)
train, valid = train_test_split(rest, test_size=360, stratify=labels[rest], random_state=SEED)
print(len(train), "training,", len(valid), "validation,", len(test), "test")

# %% [markdown]
# **Exercise 1.** A model that always answers with the most frequent digit of the training pile: how accurate is it on
# the validation pile, about? (Ten digits, about equally frequent.)

# %%
answer = ...  # a number between 0 and 1
check("tutorial1.1", answer)

# %% [markdown]
# ## 3. Logistic regression: one layer
#
# For each digit the model keeps 64 weights, one a pixel. It multiplies, adds up, and the digit with the highest sum wins. The
# weights can be looked at: red pixels speak for the digit, blue ones against it.

# %%
linear = LogisticRegression(max_iter=500).fit(pictures[train], labels[train])
print(f"accuracy on validation: {linear.score(pictures[valid], labels[valid]):.3f}")

# %%
figure, axes = plt.subplots(1, 10, figsize=(10, 1.4))
for digit, ax in enumerate(axes):
    ax.imshow(linear.coef_[digit].reshape(8, 8), cmap="RdBu_r", vmin=-2, vmax=2)
    ax.set_title(digit)
    ax.set_axis_off()

# %% [markdown]
# ## 4. A network by hand
#
# A network stacks two such layers and bends the numbers in between, here by cutting off what is negative (*ReLU*). Without the bend
# two layers would be no more than one. Everything it does:
#
# 1. **forward**: from pixels to a score per digit;
# 2. **softmax**: from scores to probabilities;
# 3. **loss**: minus the logarithm of the probability it gave to the right digit;
# 4. **backward**: how would each weight have to move to lower the loss? (By the *chain rule*: the slope of several steps in
#    a row is the product of their slopes. So we go back through the steps, from the loss to the pixels, and multiply.)
# 5. **step**: move every weight a little that way.

# %%
def forward(x, w1, b1, w2, b2):
    """Pixels (n, 64) -> hidden (n, 32), probabilities (n, 10)."""
    hidden = np.maximum(x @ w1 + b1, 0)
    scores = hidden @ w2 + b2
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, scores / scores.sum(axis=1, keepdims=True)


# %%
def gradients(x, y, w1, b1, w2, b2):
    """Loss, and its slope along each weight."""
    hidden, probability = forward(x, w1, b1, w2, b2)
    loss = -np.log(probability[np.arange(len(y)), y]).mean()
    wrong = (probability - np.eye(10)[y]) / len(y)  # what the scores should have been less of
    back = (wrong @ w2.T) * (hidden > 0)  # through the bend: only where it let the signal pass
    return loss, (x.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0))


# %% [markdown]
# Do the slopes tell the truth? Move one weight by a hair and see how much the loss really changes:

# %%
rng = np.random.default_rng(SEED)
weights = [rng.normal(0, 0.2, (64, 32)), np.zeros(32), rng.normal(0, 0.2, (32, 10)), np.zeros(10)]
moved = [w.copy() for w in weights]
moved[0][20, 3] += 1e-5
few = pictures[train][:50].astype(float), labels[train][:50]
measured = (gradients(*few, *moved)[0] - gradients(*few, *weights)[0]) / 1e-5
print(f"measured slope {measured:.6f}, computed slope {gradients(*few, *weights)[1][0][20, 3]:.6f}")

# %% [markdown]
# Now step after step, each on 64 random pictures:

# %%
losses = []
for step in range(STEPS):
    rows = rng.choice(train, 64)
    loss, slopes = gradients(pictures[rows], labels[rows], *weights)
    weights = [w - 0.5 * slope for w, slope in zip(weights, slopes)]
    losses.append(loss)

# %%
plt.plot(losses, lw=0.8)
plt.gca().set(xlabel="step", ylabel="loss", yscale="log");

# %%
by_hand = forward(pictures[valid], *weights)[1].argmax(axis=1)
print(f"accuracy on validation: {np.mean(by_hand == labels[valid]):.3f}")

# %% [markdown]
# **Exercise 2.** At the very start the network knows nothing and gives each digit about the same probability. Which loss is that?
# (The formula is in point 3 above.)

# %%
answer = ...
check("tutorial1.2", answer)

# %% [markdown]
# ## 5. A convolutional network, in torch
#
# So far the network saw 64 unordered numbers. A *convolution* slides a small window (3 x 3 pixels) over the picture and looks for
# the same stroke everywhere. So it needs fewer pictures to learn what a stroke is. Torch does the backward part for us. One round
# through all training pictures is an *epoch*; the knob `EPOCHS` says how many.

# %%
def small_network(dropout=0.0, width=16):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # 8 x 8 -> 4 x 4
        nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(2 * width * 16, 10))


# %%
def as_pictures(rows):
    return torch.from_numpy(pictures[rows]).reshape(-1, 1, 8, 8), torch.from_numpy(labels[rows])


def accuracy(model, rows):
    model.eval()
    with torch.no_grad():
        x, y = as_pictures(rows)
        return (model(x).argmax(dim=1) == y).float().mean().item()


# %%
def train_network(model, rows, epochs=EPOCHS, shift=False):
    """Plain training; returns (training, validation) accuracy after each epoch."""
    optimizer, history = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01), []
    generator = torch.Generator().manual_seed(SEED)
    for epoch in range(epochs):
        model.train()
        for batch in torch.randperm(len(rows), generator=generator).split(64):
            x, y = as_pictures(rows[batch.numpy()])
            if shift:  # a digit one pixel further is the same digit
                step = torch.randint(-1, 2, (2,), generator=generator).tolist()
                x = x.roll(tuple(step), dims=(2, 3))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        history.append((accuracy(model, rows), accuracy(model, valid)))
    return np.array(history)


# %%
torch.manual_seed(SEED)
network = small_network()
history = train_network(network, train)
print(f"accuracy on validation: {history[-1, 1]:.3f}")

# %% [markdown]
# ## 6. Too much learned, and the cure
#
# Give the network only 60 pictures. It soon knows them by heart, 100 %, and yet it gets many new ones wrong. That gap is *overfitting*. Two cures
# that cost no new data: **augmentation** (shift each picture by a pixel, so that it is a new one every time) and
# **dropout** (hide half of what the last layer sees, so that it cannot rest on one detail).

# %%
few_rows = train[:60]
torch.manual_seed(SEED)
overfitted = train_network(small_network(), few_rows, epochs=3 * EPOCHS)
torch.manual_seed(SEED)
cured = train_network(small_network(dropout=0.5), few_rows, epochs=3 * EPOCHS, shift=True)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
titles = ("60 pictures", "60 pictures, shifts and dropout")
for ax, curve, title in zip(axes, (overfitted, cured), titles):
    ax.plot(curve[:, 0], label="training")
    ax.plot(curve[:, 1], label="validation")
    ax.set(title=title, xlabel="epoch", ylim=(0, 1.03))
axes[0].set_ylabel("accuracy")
axes[0].legend();

# %% [markdown]
# **Exercise 3.** Which of the two networks is right more often on *training* pictures, and which on *validation* pictures? Answer
# with two words, each "plain" or "cured".

# %%
answer = [..., ...]  # on training pictures, on validation pictures
check("tutorial1.3", answer, plain=overfitted[-1], cured=cured[-1])

# %% [markdown]
# ## 7. The test pile, once
#
# All choices are made. How good are the three that learned from all training pictures really?

# %%
print(f"linear   {linear.score(pictures[test], labels[test]):.3f}")
by_hand = forward(pictures[test], *weights)[1].argmax(axis=1)
print(f"by hand  {np.mean(by_hand == labels[test]):.3f}")
print(f"network  {accuracy(network, test):.3f}")

# %%
share = accuracy(network, test)
print(f"one picture is {1 / len(test):.4f}, chance moves the network's score by about",
      f"{np.sqrt(share * (1 - share) / len(test)):.3f}")

# %% [markdown]
# The second number is the *standard error*: by so much the score would typically be off with another 360 pictures. A difference of a few
# pictures between two models may be luck (tutorial 2 has more on that).
#
# A **confusion matrix** says which digit is taken for which. All that is off the diagonal is an error.

# %%
with torch.no_grad():
    probability = network(as_pictures(test)[0]).softmax(dim=1).numpy()
ConfusionMatrixDisplay.from_predictions(labels[test], probability.argmax(axis=1), cmap="Blues",
                                        colorbar=False).ax_.spines[:].set_visible(False)

# %% [markdown]
# And these are the pictures it is most wrong about: the least probability for the right digit. Would you have read them?

# %%
right = probability[np.arange(len(test)), labels[test]]
figure, axes = plt.subplots(1, 8, figsize=(10, 1.8))
for ax, worst in zip(axes, np.argsort(right)):
    ax.imshow(digits.images[test[worst]], cmap="gray_r")
    title = f"{labels[test[worst]]}, read as {probability[worst].argmax()}"
    ax.set_title(title, fontsize=8)
    ax.set_axis_off()

# %% [markdown]
# **Exercise 4.** How many of the 360 test pictures does the network get wrong?

# %%
answer = ...
check("tutorial1.4", answer, labels=labels[test], probability=probability)

# %% [markdown]
# ## 8. A heartbeat is a picture too
#
# One heartbeat of an ECG is 187 numbers in a row: a picture one pixel high. Drawn below each other, many heartbeats make an
# image in which the classes can be seen. One of the two below is made of heartbeats of healthy hearts, the other of hearts after an
# infarction. Which is which? Decide before you run on.

# %%
beats = heartbeats.load_ptb(hearts=HEARTS)
print(beats.source)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
kinds = rng.permutation(2)
for kind, ax, name in zip(kinds, axes, "AB"):
    shown = rng.choice(np.flatnonzero(beats.label == kind), 60)
    ax.imshow(beats.beats[shown], aspect="auto", cmap="gray_r")
    ax.set(title=name, xlabel="sample")
axes[0].set_ylabel("heartbeat");

# %%
print({name: beats.classes[kind] for name, kind in zip("AB", kinds)})

# %% [markdown]
# The same two tools work on them: a linear model, and a convolution that slides along time instead of over a page. That is **task 1**
# (`notebooks/task_1_getting_started.ipynb`). What changes: the windows are one-dimensional, healthy and ill are not equally
# frequent, and heartbeats of one patient resemble each other as digits of one writer do. The last point decides whether a score can be
# trusted, and task 2 is about it.
#
# **Exercise 5.** Our test pile was drawn at random, so writers of test digits also wrote training digits. Is the accuracy above therefore
# too high or too low for a new writer? Answer "high" or "low".

# %%
answer = ...
check("tutorial1.5", answer)
