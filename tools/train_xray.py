"""Train the heart finder that comes with the kit, on all pictures of a folder: cardiac_ml/trained/xray.npz.

    python -m tools.train_xray --images FOLDER             half an hour on one core; a killed call goes on where it was
    python -m tools.train_xray --images FOLDER --folds 5   scores on pictures that it has not seen, too: three hours

FOLDER holds boxes.csv and images/, here 180 pictures of the cardiothoracic ratio dataset (see NOTICE). The recipe is
that of ``python -m tools.results --task xray``, in networks narrow enough for a file of 8 MB.
"""
import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch

from cardiac_ml import training
from cardiac_ml.files import ROOT, cache_folder
from cardiac_ml.xray.convention import BUILT_IN
from cardiac_ml.xray.images import REAL_SIZE, load_xrays
from cardiac_ml.xray.training import FINE_TUNE_SHARE, MEMBERS, RECIPE, cross_validate, score_folder, train_members

WIDTH = 24
MANTISSA_BITS = 7  # of 10 in a half: as many as bfloat16 has; the rest would be a third of the file
SCORES = ("iou", "ctr_error", *(f"heart_{side}_px" for side in ("x0", "y0", "x1", "y1")))
DATA = ("{} frontal chest X-rays of one hospital, half of the cardiothoracic ratio dataset of N. Dong and others "
        "(2018, MIT license)")
ABOUT = """\
Box of the heart and width of the chest on frontal chest X-rays, by {members} network(s) of width {width}.
Trained on {data}:
{epochs} epochs and {fine_tuning} of fine-tuning each, from a start on virtual chests; {minutes:.0f} minutes of a core.
{scores}
On pictures that it has not seen expect less: five folds of this recipe, with three networks of width 32, came to IoU
0.880 and a ratio error of 0.019.
It answers in the {convention}.
Where it fails: in hospitals that draw the upper edge elsewhere (give it a few boxes: --convention); where heart and
diaphragm cannot be told apart. Children, lying patients, large effusions and implants were not looked at by themselves.
Not a medical device."""


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with boxes.csv and pictures")
    parser.add_argument("--out", type=Path, default=ROOT / "cardiac_ml" / "trained" / "xray.npz")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "runs" / "train_xray")
    parser.add_argument("--epochs", type=int, default=RECIPE["epochs"])
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--folds", type=int, default=0, help="also score the recipe on so many folds")
    options = parser.parse_args(arguments)
    recipe = dict(members=options.members, width=WIDTH, epochs=options.epochs)
    dataset = load_xrays(options.images, size=REAL_SIZE)
    model = rounded(train_members(dataset, checkpoints=options.checkpoints, **recipe))
    known = score_folder(model, options.images)
    scores = {f"{name} on the training pictures": known[name] for name in SCORES}
    if options.folds:
        folds = cross_validate(options.images, options.folds, kept=cache_folder() / "xray_folds", **recipe)
        scores |= {f"{name} in {options.folds} folds": folds.loc["mean of folds", name] for name in SCORES}
    text = "\n".join(f"{name}: {value:.3f}" for name, value in scores.items())
    data = DATA.format(len(dataset))
    about = ABOUT.format(data=data, scores=text, convention=BUILT_IN.name,
                         fine_tuning=round(FINE_TUNE_SHARE * options.epochs),
                         minutes=minutes(options.checkpoints, options.members), **recipe)
    training.save(options.out, copy.deepcopy(model).half(), data=data, scores=scores, about=about)
    print(about, f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB", sep="\n")


def rounded(model):
    """The network with numbers of MANTISSA_BITS, which survive half precision and let the file shrink."""
    small, low = copy.deepcopy(model).half(), 10 - MANTISSA_BITS
    for value in small.state_dict().values():
        if value.dtype == torch.float16:
            bits = value.numpy().view(np.uint16)  # shares the memory
            bits[...] = (bits + (1 << low - 1)) >> low << low
    return small.float()


def minutes(checkpoints, members):
    """Of training, over all calls that it took."""
    names = ["start.ckpt", *(f"member_{number}_*.ckpt" for number in range(members))]
    paths = [path for name in names for path in Path(checkpoints).glob(name)]
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    return sum(row["seconds"] for state in states for row in json.loads(state["rows"])) / 60


if __name__ == "__main__":
    main()
