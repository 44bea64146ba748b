# %% [markdown]
# # Tutorial: find the heart on a chest X-ray
#
# How wide is the heart, compared with the chest? Above one half it is called enlarged. Radiologists measure this *cardiothoracic ratio*
# with a ruler; here a network does it. It draws a box around the heart, finds the sides of the chest, and says how sure it is.
#
# Four parts: reading X-rays right, pictures with boxes, training, and looking into what the network has learned. About 55 minutes to
# read, under three minutes to run; no download. The X-rays are virtual: projections of a simple 3-D chest, with the right answer
# known to a fraction of a millimetre. At the end it says how to do the same with real ones.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from cardiac_ml.xray import images as xray, augment as xray_augment, finding as xray_finding, scores as xray_scores, training as xray_training
from cardiac_ml.exercises import check
from cardiac_ml.xray import phantom

# %% tags=["parameters"]
FOLDER = None    # a folder with boxes.csv and pictures; None: virtual chests
CHESTS = 260     # quick: 30
EPOCHS = 60      # quick: 1
SIZE = 96        # quick: 64
SEED = 0

# %% [markdown]
# ## 1. Reading an X-ray
#
# A hospital's file (DICOM) does not hold a picture. It holds what the detector counted, and three instructions that make a picture
# of it:
#
# 1. **rescale**: stored number to detector unit (`RescaleSlope`, `RescaleIntercept`);
# 2. **window**: which units to show from black to white (`WindowCenter`, `WindowWidth`), or a table;
# 3. **photometric interpretation**: `MONOCHROME2` means large is bright, `MONOCHROME1` the opposite.
#
# Here is a 12-bit recording of the second kind. Each step repairs one thing:

# %%
picture, row = phantom.radiograph(phantom.draw_chest(np.random.default_rng(4)), 256, np.random.default_rng(4))
stored = np.round(3500 - 2400 * picture).astype(int)  # 12 bits, small = dense
units = 2.0 * stored - 1000                           # rescale
shown = np.clip((units - 1200) / 4800, 0, 1)          # window
steps = {"stored": stored / 4095, "window": shown, "photometric": 1 - shown}

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for ax, (name, pixels) in zip(axes, steps.items()):
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    ax.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# Whoever forgets a step has flat or inverted pictures, often those of one machine only. The network learns to tell machines apart instead
# of hearts. `xray.read_picture(path)` does all of it, for DICOM (with `pip install pydicom`), PNG, JPEG and TIFF, and says what
# it does not like.
#
# **Exercise 1.** A file says slope 1, intercept -1024, window centre 600 and width 1600, `MONOCHROME1`. How bright, from 0 (black) to 1
# (white), is the stored number 1224? (The window goes from centre - width / 2 to centre + width / 2.)

# %%
answer = ...
check(answer, 1 - (1224 - 1024 + 200) / 1600, "Rescale, then the window from -200 to 1400, then turn it round.")

# %% [markdown]
# ### Into a square, without squashing
#
# The network eats squares of one size. Squashing a tall picture would make every heart in it wider than it is. So we pad, and remember
# where everything went: the box must come back in pixels of the file.

# %%
tall = np.pad(picture, ((60, 0), (0, 0)))
framed, frame = xray.put_in_frame(tall, SIZE)
box = np.array([row[name] for name in xray.SIDES]) + [0, 60, 0, 60, 0, 0]
print(frame, "-> heart in the frame", frame.to_frame(box)[:4].round(3))
print("and back, off by at most", np.abs(frame.to_pixels(frame.to_frame(box)) - box).max(), "pixels")

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 3.2))
for ax, pixels, sides in ((axes[0], tall, box), (axes[1], framed, frame.to_frame(box) * SIZE)):
    ax.imshow(pixels, cmap="gray")
    xray_finding.draw_sides(ax, sides)
    ax.set_title(f"{pixels.shape[1]} x {pixels.shape[0]}")

# %% [markdown]
# **Exercise 2.** A picture is 400 pixels wide and 500 high. At which fraction of the frame's width does its left edge lie?

# %%
answer = ...
check(answer, xray.Frame(500, 400).to_frame([0, 0, 0, 0])[0], "The square is 500 wide; half of what is padded is on the left.")

# %% [markdown]
# ## 2. Pictures with boxes

# %% tags=["source"]
data = xray.load_xrays(FOLDER, size=SIZE, virtual_chests=CHESTS, seed=SEED)
print(data.source)

# %%
data

# %%
figure, axes = plt.subplots(2, 5, figsize=(11, 4.6))
for ax, (pixels, sides) in zip(axes.flat, data):
    ax.imshow(pixels[0], cmap="gray")
    xray_finding.draw_sides(ax, sides * SIZE)
    ax.set_title(f"ratio {xray.cardiothoracic_ratio(sides):.2f}", fontsize=9)

# %% [markdown]
# The box encloses the whole heart, also the lower edge that the diaphragm hides. The dotted lines are the widest place of the chest.
#
# ### More pictures out of few
#
# A few hundred chests are not many. So each time a picture is used, it is changed a little: turned, zoomed, shifted, mirrored, with another tone
# curve, sharper or softer. (Real hearts are seldom on the other side. But a network that cannot count on "the heart is on the right of the picture" has to look for its edges.) **The box has to move along**, and here is a trap. The usual way is to turn the four corners and
# to draw a new box around them. But a heart has no corners:

# %%
angles = np.radians(np.arange(0, 46))
width, height = 0.36, 0.26
by_corners = width * np.cos(angles) + height * np.sin(angles)
by_ellipse = np.sqrt((width * np.cos(angles)) ** 2 + (height * np.sin(angles)) ** 2)

# %%
plt.figure(figsize=(5, 3))
plt.plot(np.degrees(angles), by_corners / width, label="box around the turned corners")
plt.plot(np.degrees(angles), by_ellipse / width, label="box around the turned ellipse")
plt.gca().set(xlabel="turned by (degrees)", ylabel="width, relative")
plt.legend(frameon=False);

# %% [markdown]
# Corners make the heart wider with each degree. A network trained on such boxes finds too many enlarged hearts. `augment` turns the
# ellipse that touches the four sides.

# %%
changed = data.augmented(SEED)
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4))
for ax, (pixels, sides) in zip(axes, changed):
    ax.imshow(pixels[0], cmap="gray")
    xray_finding.draw_sides(ax, sides * SIZE)

# %% [markdown]
# **Exercise 3.** A heart of 0.36 x 0.26 is turned by 10 degrees. By how many percent do the turned corners overstate its width, compared
# with the ellipse?

# %%
answer = ...
check(answer, 100 * (by_corners[10] / by_ellipse[10] - 1), "Compare the two curves at 10 degrees.", tolerance=0.03)

# %% [markdown]
# ## 3. Training
#
# Four fifths to learn from, one fifth to test on. How good is a box? **Intersection over union** (IoU): the area that both boxes share, over
# the area that either covers. 1 is perfect.

# %%
fold = xray_training.fold_numbers(len(data), 5, SEED)
train, test = data[np.flatnonzero(fold > 0)], data[np.flatnonzero(fold == 0)]
print(len(train), "to learn from,", len(test), "to test on")

# %% [markdown]
# **The trivial baseline first**: always the mean box, whatever the picture shows. All hearts are at about the same place, so this is not bad at all,
# and anything that calls itself a model has to beat it.

# %%
answers = {"mean box": np.repeat(xray_scores.mean_box(train.sides)[None], len(test), 0)}
print(f"mean box: IoU {xray_scores.iou(answers['mean box'], test.sides).mean():.3f}")

# %% [markdown]
# **Then a linear model**: pixels in, six numbers out.

# %%
def flat(pictures):
    return pictures[:, 0, ::2, ::2].reshape(len(pictures), -1)


linear = make_pipeline(PCA(min(60, len(train) - 1), random_state=SEED), Ridge(1.0)).fit(flat(train.pictures), train.sides)
answers["linear"] = linear.predict(flat(test.pictures))
print(f"linear: IoU {xray_scores.iou(answers['linear'], test.sides).mean():.3f}")

# %% [markdown]
# **Then the network**: a small ResNet-18 for one grey channel. Two things are made for this task:
#
# * It does not see the pixels themselves, but two views that hide the detector: the equalised picture (each pixel's rank) and the local
#   contrast.
# * For each side it gives a *distribution* over the columns (or rows) of the picture. The mean is the answer, and the spread says how sure it is.
#
# The loss has three parts: distance of the sides (smooth L1), overlap (generalised IoU, which has a slope even where boxes do not
# meet), and cross-entropy of the distributions. Side views of the chest are shown as examples of what is *not* asked for.

# %%
side_views = xray_training.virtual_side_views(16, SIZE)
model = xray_training.train_heart_finder(train, epochs=EPOCHS, side_views=side_views, seed=SEED)

# %%
found = xray_finding.predict_sides(model, test.pictures)
answers["network"] = found.sides
scale = test.table.mm_per_pixel.to_numpy()
scores = {name: xray_scores.score_sides(test.to_pixels(sides), test.to_pixels(test.sides), scale)
          for name, sides in answers.items()}

# %% tags=["score"]
print(f"IoU {scores['network']['iou']:.3f} (mean box {scores['mean box']['iou']:.3f}), "
      f"error of the cardiothoracic ratio {scores['network']['ctr_error']:.3f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3), gridspec_kw={"width_ratios": [1, 1.6, 1.1]})
axes[0].bar(list(answers), [row["iou"] for row in scores.values()], color="#1b3a5c")
axes[0].set_ylabel("IoU")
for place, (name, row) in enumerate(scores.items()):
    errors = [row.get(f"{side}_mm", row[f"{side}_px"]) for side in xray.SIDES]
    axes[1].bar(np.arange(6) + 0.27 * (place - 1), errors, 0.27, label=name)
axes[1].set(xticks=range(6), ylabel="mean error (mm, or px)")
axes[1].set_xticklabels([side.replace("_", "\n") for side in xray.SIDES], fontsize=7)
axes[1].legend(frameon=False)
ratio = [xray.cardiothoracic_ratio(sides) for sides in (test.sides, found.sides)]
axes[2].plot([0.3, 0.8], [0.3, 0.8], color="lightgrey")
axes[2].plot(*ratio, "o", ms=3)
axes[2].set(xlabel="true ratio", ylabel="found")
figure.tight_layout()

# %% [markdown]
# The lower edge is the worst: the diaphragm hides it. On real pictures the upper one is as hard, since no line is to be seen where the heart ends and
# the great vessels begin. People disagree there as well.
#
# **Exercise 4.** Box A is x 0..10, y 0..10; box B is x 5..15, y 0..10. What is their IoU?

# %%
answer = ...
check(answer, xray_scores.iou([[0, 0, 10, 10]], [[5, 0, 15, 10]])[0], "They share 50 of 150.")

# %% [markdown]
# ### A model that knows one hospital
#
# The test pictures come from the same machine as the training pictures. The next hospital's machine has another tone curve. We imitate it, and
# ask both models again:

# %%
generator = torch.Generator().manual_seed(SEED)
elsewhere = xray_augment.to_unit(xray_augment.change_tone(torch.tensor(test.pictures), generator)).numpy()
moved = {"linear": linear.predict(flat(elsewhere)), "network": xray_finding.predict_sides(model, elsewhere).sides}
for name, sides in moved.items():
    after = xray_scores.iou(sides, test.sides).mean()
    print(f"{name:>8}: IoU {scores[name]['iou']:.3f} here, {after:.3f} there")

# %%
figure, axes = plt.subplots(2, 4, figsize=(9, 4.6))
for ax, pixels, *sides in zip(axes.flat, elsewhere, moved["linear"], moved["network"]):
    ax.imshow(pixels[0], cmap="gray")
    for one, colour in zip(sides, ("tab:orange", "tab:red")):
        xray_finding.draw_sides(ax, one * SIZE, colour)
figure.suptitle("orange: linear, red: network");

# %% [markdown]
# The network has practised on just such curves, the linear model has not: this is the easiest other hospital there could be. On a real one expect clearly less.
#
# A test on one hospital's pictures does not show this. It is the same trap as patients who are in training *and* test (tasks 1 and 2) or
# hearts that are (tasks 3 and 4): **hold out what will be new later**. Tone curves are not all that is new elsewhere: other people lie
# there, they stand differently, and other doctors draw the boxes. Only pictures from another hospital can tell how well it works there.

# %% [markdown]
# ## 4. What has it learned?
#
# **Saliency**: which pixels move the box? And simpler, **occlusion**: grey out one patch after the other, and see how far the box moves.

# %%
number = int(np.argmax(found.confidence))
gradient = xray_finding.saliency(model, test.pictures[number])
covered = xray_finding.occlusion(model, test.pictures[number], patch=16, step=8)

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
for ax in axes:
    ax.imshow(test.pictures[number, 0], cmap="gray")
    xray_finding.draw_sides(ax, found.sides[number] * SIZE, "white")
axes[1].imshow(gradient, cmap="inferno", alpha=0.6)
axes[2].imshow(covered, cmap="inferno", alpha=0.6, extent=(4, SIZE - 4, SIZE - 4, 4))
for ax, title in zip(axes, ("picture", "saliency", "occlusion")):
    ax.set(title=title, xlim=(0, SIZE), ylim=(SIZE, 0))

# %% [markdown]
# Here it looks at the edges of the heart and of the diaphragm, as it should. One picture proves little: look at several, and at wrong ones. If a side marker ever lights up, the network has learned a shortcut.
#
# The worst pictures teach more than the mean. Green is the reference, red the answer:

# %%
overlap = xray_scores.iou(found.sides, test.sides)
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
for ax, worst in zip(axes, np.argsort(overlap)):
    ax.imshow(test.pictures[worst, 0], cmap="gray")
    xray_finding.draw_sides(ax, test.sides[worst] * SIZE, "tab:green")
    xray_finding.draw_sides(ax, found.sides[worst] * SIZE)
    ax.set_title(f"IoU {overlap[worst]:.2f}", fontsize=9)

# %% [markdown]
# Here the reference is always right, since the phantom knows its heart. On real pictures it is not: in one folder of 180 that this network was tried on, the picture with the lowest overlap had a reference box
# that lay in the left lung, and half of the next twenty could be argued about. Then longer training or a larger network helps nothing. **Look at the worst before you blame the network.**
#
# ### Does it know what it does not know?
#
# A box is drawn on anything. So the network also says whether this is a frontal chest X-ray at all, and `find_heart` says it when
# the answer is not to be trusted.

# %%
chest = test.pictures[number, 0]
rng = np.random.default_rng(SEED)
strange = {
    "a chest": chest, "inverted": 1 - chest, "upside down": chest[::-1],
    "from the side": xray_training.virtual_side_views(1, SIZE, seed=7)[0, 0], "a photograph": rng.random((SIZE, SIZE, 3)),
}
findings = {name: xray_finding.find_heart(pixels, model) for name, pixels in strange.items()}

# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.9))
for ax, (name, finding) in zip(axes, findings.items()):
    finding.show(ax)
    ax.set_title(f"{name}\nconfidence {finding.confidence:.2f}", fontsize=9)

# %%
for name, finding in findings.items():
    print(f"{name}: {'; '.join(finding.warnings) or 'no objection'}")

# %% [markdown]
# **Exercise 5.** Which of the five was corrected and measured all the same? (Its name.)

# %%
answer = ...
check(answer, "inverted", "One of them is a chest after all, once black and white are exchanged.")

# %% [markdown]
# ## Your own pictures
#
# One picture, with the network from above (save it with `xray_finding.save_model(model, "finder.pt")`):
#
#     xray_finding.find_heart("my_chest.png", xray_finding.load_model("finder.pt"))
#
# A network that has only seen virtual chests is no good on real ones. For those, put pictures into `images/`, write `boxes.csv` beside it
# (columns `image, heart_x0, heart_y0, heart_x1, heart_y1, thorax_x0, thorax_x1`, in pixels, and `mm_per_pixel` if known), and
# let five folds say how good it is:
#
#     xray_training.cross_validate("my_folder", kept="my_folder/networks")
#
# For each fold that trains three networks and asks them together. They are wider than the one above, start on virtual chests, see finer pictures (224 pixels) and at last milder changes of them: about ten
# minutes a fold with 150 pictures, on two cores. Finished folds are kept, so a killed call goes on where it was. And if you have
# pictures of a second hospital, learn from one and test on the other (this is the number to believe):
#
#     python -m cardiac_ml results --task xray --images my_folder --test-images other_hospital
#
# None of this is a medical device.
