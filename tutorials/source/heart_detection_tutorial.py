# %% [markdown]
# # Tutorial: find the heart on a chest X-ray
#
# How wide is the heart, compared with the chest? Above one half it is called enlarged.
# Radiologists measure this *cardiothoracic ratio* with a ruler; here a network does it. It draws
# a box around the heart, finds the sides of the chest, and says how sure it is.
#
# Four parts: reading X-rays right, pictures with boxes, training, and looking into what the
# network has learned. About 55 minutes to read, under three minutes to run; no download. The
# X-rays are virtual: projections of a simple 3-D chest, with the right answer known to a fraction
# of a millimetre. At the end it says how to do the same with real ones.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from cardiac_ml import plots
from cardiac_ml.exercises import check
from cardiac_ml.xray import augment, finding, images, phantom, scores, training
from cardiac_ml.xray.picture import SIDES, cardiothoracic_ratio, put_in_frame

plots.style()

# %% tags=["parameters"]
FOLDER = None    # a folder with boxes.csv and pictures; None: virtual chests
CHESTS = 260     # quick: 30
EPOCHS = 60      # quick: 1
SIZE = 96        # quick: 64
SEED = 0

# %% [markdown]
# ## 1. Reading an X-ray
#
# A hospital's file (DICOM) does not hold a picture. It holds what the detector counted, and three
# instructions that make a picture of it:
#
# 1. **rescale**: stored number to detector unit (`RescaleSlope`, `RescaleIntercept`);
# 2. **window**: which units to show from black to white (`WindowCenter`,
#    `WindowWidth`), or a table;
# 3. **photometric interpretation**: `MONOCHROME2` means large is bright, `MONOCHROME1` the
#    opposite.
#
# Here is a 12-bit recording of the second kind. Each step repairs one thing:

# %%
rng = np.random.default_rng(4)
picture, row = phantom.radiograph(phantom.draw_chest(rng), 256, rng)
stored = np.round(3500 - 2400 * picture).astype(int)  # 12 bits, small = dense
units = 2.0 * stored - 1000                           # rescale
shown = np.clip((units - 1200) / 4800, 0, 1)          # window
steps = {"stored": stored / 4095, "window": shown, "photometric": 1 - shown}

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for ax, (name, pixels) in zip(axes, steps.items()):
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name)
    ax.set_axis_off()

# %% [markdown]
# Whoever forgets a step has flat or inverted pictures, often those of one machine only. The
# network learns to tell machines apart instead of hearts. `images.read_picture(path)` does all of
# it, for DICOM (with `pip install pydicom`), PNG, JPEG and TIFF, and says what it does not like.
#
# **Exercise 1.** A file says slope 1, intercept -1024, window centre 600 and width 1600,
# `MONOCHROME1`. How bright, from 0 (black) to 1 (white), is the stored number 1224? (The window
# goes from centre - width / 2 to centre + width / 2.)

# %%
answer = ...
check("tutorial4.1", answer)

# %% [markdown]
# ### Into a square, without squashing
#
# The network eats squares of one size. Squashing a tall picture would make every heart in it
# wider than it is. So we pad, and remember where everything went: the box must come back in
# pixels of the file.

# %%
tall = np.pad(picture, ((60, 0), (0, 0)))
framed, frame = put_in_frame(tall, SIZE)
box = np.array([row[name] for name in SIDES]) + [0, 60, 0, 60, 0, 0]
print(frame, "-> heart in the frame", frame.to_frame(box)[:4].round(3))
back = frame.to_pixels(frame.to_frame(box))
print("and back, off by at most", np.abs(back - box).max(), "pixels")

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 3.2))
for ax, pixels, sides in ((axes[0], tall, box), (axes[1], framed, frame.to_frame(box) * SIZE)):
    ax.imshow(pixels, cmap="gray")
    finding.draw_sides(ax, sides)
    ax.set_title(f"{pixels.shape[1]} x {pixels.shape[0]}")

# %% [markdown]
# **Exercise 2.** A picture is 400 pixels wide and 500 high. At which fraction of the frame's
# width does its left edge lie?

# %%
answer = ...
check("tutorial4.2", answer)

# %% [markdown]
# ## 2. Pictures with boxes

# %% tags=["source"]
data = images.load_xrays(FOLDER, size=SIZE, virtual_chests=CHESTS, seed=SEED)
print(data.source)

# %%
data

# %%
figure, axes = plt.subplots(2, 5, figsize=(11, 4.6))
for ax, (pixels, sides) in zip(axes.flat, data):
    ax.imshow(pixels[0], cmap="gray")
    finding.draw_sides(ax, sides * SIZE)
    ax.set_title(f"ratio {cardiothoracic_ratio(sides):.2f}", fontsize=9)

# %% [markdown]
# The box encloses the whole heart, also the lower edge that the diaphragm hides. The dotted lines
# are the widest place of the chest.
#
# ### More pictures out of few
#
# A few hundred chests are not many. So each time a picture is used, it is changed a little:
# turned, zoomed, shifted, mirrored, with another tone curve, sharper or softer. (Real hearts are
# seldom on the other side. But a network that cannot count on "the heart is on the right of the
# picture" has to look for its edges.) **The box has to move along**, and here is a trap. The
# usual way is to turn the four corners and to draw a new box around them. But a heart has no
# corners:

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
# Compare the two curves: a turned ellipse gets narrower here, the box around its corners wider. The
# gap grows with the angle; at 45 degrees the corners overstate the width by 40 percent. A network
# trained on such boxes finds too many enlarged hearts. `augment` turns the ellipse that touches the
# four sides.

# %%
changed = augment.augmented(data, SEED)
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4))
for ax, (pixels, sides) in zip(axes, changed):
    ax.imshow(pixels[0], cmap="gray")
    finding.draw_sides(ax, sides * SIZE)

# %% [markdown]
# **Exercise 3.** A heart of 0.36 x 0.26 is turned by 10 degrees. By how many percent do the
# turned corners overstate its width, compared with the ellipse?

# %%
answer = ...
check("tutorial4.3", answer)

# %% [markdown]
# ## 3. Training
#
# We cut the pictures into five parts (*folds*): four to learn from, one to test on. How good is a
# box? **Intersection over union** (IoU): the area that both boxes share, over the area that either
# covers. 1 is perfect.

# %%
fold = training.fold_numbers(len(data), 5, SEED)
train, test = data[np.flatnonzero(fold > 0)], data[np.flatnonzero(fold == 0)]
print(len(train), "to learn from,", len(test), "to test on")

# %% [markdown]
# **The trivial baseline first**: always the mean box, whatever the picture shows. All hearts are
# at about the same place, so this is not bad at all, and anything that calls itself a model has
# to beat it.

# %%
answers = {"mean box": np.repeat(scores.mean_box(train.sides)[None], len(test), 0)}
print(f"mean box: IoU {scores.iou(answers['mean box'], test.sides).mean():.3f}")

# %% [markdown]
# **Then a linear model**: pixels in, six numbers out. PCA (principal component analysis) first writes
# each picture as a sum of 60 patterns, those in which the training pictures differ most.

# %%
def flat(pictures):
    return pictures[:, 0, ::2, ::2].reshape(len(pictures), -1)


linear = make_pipeline(PCA(min(60, len(train) - 1), random_state=SEED), Ridge(1.0))
linear.fit(flat(train.pictures), train.sides)
answers["linear"] = linear.predict(flat(test.pictures))
print(f"linear: IoU {scores.iou(answers['linear'], test.sides).mean():.3f}")

# %% [markdown]
# **Then the network**: a small ResNet-18 for one grey channel. (That is a well-known network of 18
# layers, in blocks that add something to what they were given.) Two things are made for this task:
#
# * It does not see the pixels themselves, but two views that hide the detector: the equalised
#   picture (each pixel's rank) and the local contrast.
# * For each side it gives a *distribution* over the columns (or rows) of the picture. The mean is
#   the answer, and the spread says how sure it is.
#
# The loss has three parts: distance of the sides (smooth L1: the plain distance, rounded off where
# it is nearly zero), overlap (generalised IoU, which has a slope even where boxes do not meet), and
# cross-entropy of the distributions: minus the logarithm of what they give to the right place. Side
# views of the chest are shown as examples of what is *not* asked for.

# %%
lateral_views = training.virtual_lateral_views(16, SIZE)
model = training.train_heart_finder(train, epochs=EPOCHS, lateral_views=lateral_views, seed=SEED)

# %%
found = finding.predict_sides(model, test.pictures)
answers["network"] = found.sides
scale = test.table.mm_per_pixel.to_numpy()
table = {name: scores.score_sides(test.to_pixels(sides), test.to_pixels(test.sides), scale)
          for name, sides in answers.items()}

# %% [markdown]
# Overlap alone says little about *what* is wrong. So the table has more: the IoU that nine pictures
# in ten reach (`iou_worst_tenth`); the error of the cardiothoracic ratio (`ctr_error`), which is what
# a radiologist asks for; how often answer and reference agree on whether the heart is enlarged
# (`enlarged_agreement`); and the error of each side in pixels. (The bars below are in mm, where the
# size of a pixel is known.)

# %%
rows = ["iou", "iou_worst_tenth", "ctr_error", "enlarged_agreement"]
pd.DataFrame(table).loc[rows + [f"{side}_px" for side in SIDES]].round(3)

# %% tags=["score"]
print(f"IoU {table['network']['iou']:.3f} (mean box {table['mean box']['iou']:.3f}), "
      f"error of the cardiothoracic ratio {table['network']['ctr_error']:.3f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3), gridspec_kw={"width_ratios": [2, 1]})
for place, (name, row) in enumerate(table.items()):
    errors = [row.get(f"{side}_mm", row[f"{side}_px"]) for side in SIDES]
    axes[0].bar(np.arange(6) + 0.27 * (place - 1), errors, 0.27, label=name)
axes[0].set(xticks=range(6), ylabel="mean error (mm, or px)")
axes[0].set_xticklabels([side.replace("_", "\n") for side in SIDES], fontsize=7)
axes[0].legend(frameon=False)
ratio = [cardiothoracic_ratio(sides) for sides in (test.sides, found.sides)]
axes[1].plot([0.3, 0.8], [0.3, 0.8], color="lightgrey")
axes[1].plot(*ratio, "o", ms=3)
axes[1].set(xlabel="true ratio", ylabel="found")
figure.tight_layout()

# %%
for name, row in table.items():
    worst = max(SIDES, key=lambda side: row[f"{side}_px"])
    print(f"{name:>8} is worst at {worst}: {row[f'{worst}_px']:.2f} px")

# %% [markdown]
# Two sides are hard to see. The lower edge (`heart_y1`) is hidden by the diaphragm; at the upper one
# (`heart_y0`) there is no line where the heart ends and the great vessels begin. On real pictures
# people disagree there as well, and so do hospitals: in a second one the upper edge was drawn 30 of 512
# pixels higher. That costs a tenth of the IoU and nothing of the ratio. **Say side errors and
# ratio, not only the overlap**: one number hides who is wrong, and where.
#
# **Exercise 4.** Box A is x 0..10, y 0..10; box B is x 5..15, y 0..10. What is their IoU? (Draw
# them.)

# %%
answer = ...
check("tutorial4.4", answer)

# %% [markdown]
# ### A model that knows one hospital
#
# The test pictures come from the same machine as the training pictures. The next hospital's
# machine has another tone curve. We imitate it, and ask both models again:

# %%
generator = torch.Generator().manual_seed(SEED)
elsewhere = augment.to_unit(augment.change_tone(torch.tensor(test.pictures), generator)).numpy()
moved = {"linear": linear.predict(flat(elsewhere)),
         "network": finding.predict_sides(model, elsewhere).sides}
for name, sides in moved.items():
    after = scores.iou(sides, test.sides).mean()
    print(f"{name:>8}: IoU {table[name]['iou']:.3f} here, {after:.3f} there")

# %%
boxes = {"tab:green": test.sides, "deepskyblue": moved["linear"], "tab:red": moved["network"]}
figure, axes = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
for number, (here, there) in enumerate(axes.T):
    here.imshow(test.pictures[number, 0], cmap="gray", vmin=0, vmax=1)
    there.imshow(elsewhere[number, 0], cmap="gray", vmin=0, vmax=1)
    here.set_axis_off()
    for colour, sides in boxes.items():
        finding.draw_sides(there, sides[number] * SIZE, colour)
figure.suptitle("above: here, below: there (green: reference, blue: linear, red: network)");

# %% [markdown]
# Where a picture is nearly white or grey below, that is what another tone curve does.
#
# The network has practised on just such curves, the linear model has not: this is the easiest
# other hospital there could be. On a real one expect clearly less.
#
# A test on one hospital's pictures does not show this. It is the same trap as patients who are in
# training *and* test (tasks 1 and 2) or hearts that are (tasks 3 and 4): **hold out what will be
# new later**. Tone curves are not all that is new elsewhere: other people lie there, they stand
# differently, and other doctors draw the boxes. Only pictures from another hospital can tell how
# well it works there.

# %% [markdown]
# ## 4. What has it learned?
#
# **Saliency**: which pixels move the box? And simpler, **occlusion**: grey out one patch after
# the other, and see how far the box moves.

# %%
number = int(np.argmax(found.confidence))
finding.show_where_it_looked(test.pictures[number, 0], model);

# %% [markdown]
# The two maps ask different questions, so they need not agree: saliency changes every pixel by a
# hair, occlusion takes a whole patch away. Of both, ask whether the bright places are ones that a
# person would look at: edges of the heart, vessels above it, the diaphragm below. One picture proves
# little: look at several, and at wrong ones. If a side marker or a corner ever lights up, the network
# has learned a shortcut.
#
# The worst pictures teach more than the mean. Green is the reference, red the answer:

# %%
overlap = scores.iou(found.sides, test.sides)
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
for ax, worst in zip(axes, np.argsort(overlap)):
    ax.imshow(test.pictures[worst, 0], cmap="gray")
    finding.draw_sides(ax, test.sides[worst] * SIZE, "tab:green")
    finding.draw_sides(ax, found.sides[worst] * SIZE)
    ax.set_title(f"IoU {overlap[worst]:.2f}", fontsize=9)

# %% [markdown]
# Here the reference is always right, since the phantom knows its heart. On real pictures it is
# not: in one folder of 180 that this network was tried on, the picture with the lowest overlap
# had a reference box that lay in the left lung, and half of the next twenty could be argued
# about. Then longer training or a larger network helps nothing. **Look at the worst before you
# blame the network.**
#
# ### Does it know what it does not know?
#
# A box is drawn on anything. So the network also says whether this is a frontal chest X-ray at
# all, and `find_heart` says it when the answer is not to be trusted.

# %%
chest = test.pictures[number, 0]
colours = plt.get_cmap("viridis")(np.hypot(*np.mgrid[-1:1:96j, -1:1:96j]))[..., :3]
strange = {
    "a chest": chest, "inverted": 1 - chest, "upside down": chest[::-1],
    "from the side": training.virtual_lateral_views(1, SIZE, seed=7)[0, 0],
    "in colour": colours,
}
findings = {name: finding.find_heart(pixels, model) for name, pixels in strange.items()}

# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.9))
for ax, (name, one) in zip(axes, findings.items()):
    ax.imshow(strange[name], cmap="gray")  # as it was given
    finding.draw_sides(ax, one.sides)
    ax.set_title(f"{name}\nconfidence {one.confidence:.2f}", fontsize=9)

# %%
for name, one in findings.items():
    print(f"{name}: {'; '.join(one.warnings) or 'no objection'}")

# %% [markdown]
# **Exercise 5.** Make a sixth: the chest pulled to twice its height, `np.repeat(chest, 2, axis=0)`.
# Heart and chest are as wide as before, so the true ratio is the same. Which ratio does the finder
# find, and does it object? (The answer is the ratio.)

# %%
answer = ...
check("tutorial4.5", answer, find=lambda pixels: finding.find_heart(pixels, model), chest=chest)

# %% [markdown]
# ## Your own pictures
#
# The network from above has only seen virtual chests, and is no good on real ones. The kit brings
# one along that was trained on 180 real pictures, for much longer. Its card says how, and where
# it fails:

# %%
finder = finding.pretrained()
print(finder.card["about"])

# %% [markdown]
# Put the path of a picture of your own there (DICOM, PNG, JPEG or TIFF) and see what it finds,
# and why. Now a virtual chest stands there. This finder started on such chests, but what it learned
# last are the boxes that people drew on real ones; so compare with the true ratio, too:

# %%
pictures, truth = phantom.make_radiographs(1, size=224, seed=5)
print(f"true ratio {cardiothoracic_ratio(truth[list(SIDES)].to_numpy())[0]:.2f}")

# %%
MY_PICTURE = pictures[0]  # or "my_chest.dcm"
print(finding.find_heart(MY_PICTURE))
finding.show_where_it_looked(MY_PICTURE);

# %% [markdown]
# The same from the command line, for one picture or a folder (a table and a contact sheet); with
# boxes of 5 to 20 of your own pictures it answers as they were drawn:
#
#     python -m cardiac_ml predict xray my_folder --convention few_of_mine/boxes.csv
#
# To train on pictures of your own, put them into `images/`, write `boxes.csv` beside it (columns
# `image, heart_x0, heart_y0, heart_x1, heart_y1, thorax_x0, thorax_x1`, in pixels, and
# `mm_per_pixel` if known), and let five folds say how good it is:
#
#     training.cross_validate("my_folder", kept="my_folder/networks")
#
# For each fold that trains three networks and asks them together. They are wider than the one
# above, start on virtual chests, see finer pictures (224 pixels) and at last milder changes of
# them: about ten minutes a fold with 150 pictures, on two cores. Finished folds are kept, so a
# killed call goes on where it was. And if you have pictures of a second hospital, learn from one
# and test on the other (this is the number to believe):
#
#     python -m tools.results --task xray --images my_folder --test-images other_hospital
#
# None of this is a medical device.
