"""Train the heart finder that comes with the kit, on all pictures of a folder: cardiac_ml/trained/xray.npz.

    python -m tools.train_xray --images FOLDER       about ten minutes on two cores; a killed call goes on where it was

FOLDER holds boxes.csv and images/, here 180 pictures of the cardiothoracic ratio dataset (see NOTICE). The recipe is
that of ``python -m tools.results --task xray``, in networks narrow enough for a file of 8 MB.
"""
import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch

from cardiac_ml import training
from cardiac_ml.files import ROOT
from cardiac_ml.xray.images import REAL_SIZE, load_xrays
from cardiac_ml.xray.training import MEMBERS, RECIPE, score_folder, train_members

WIDTH = 24
MANTISSA_BITS = 7  # of 10 in a half: as many as bfloat16 has; the rest would be a third of the file


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with boxes.csv and pictures")
    parser.add_argument("--out", type=Path, default=ROOT / "cardiac_ml" / "trained" / "xray.npz")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "runs" / "train_xray")
    parser.add_argument("--epochs", type=int, default=RECIPE["epochs"])
    parser.add_argument("--members", type=int, default=MEMBERS)
    options = parser.parse_args(arguments)
    started, dataset = time.perf_counter(), load_xrays(options.images, size=REAL_SIZE)
    model = train_members(dataset, members=options.members, width=WIDTH, epochs=options.epochs,
                          checkpoints=options.checkpoints)
    minutes = (time.perf_counter() - started) / 60
    model = halved(model)
    print(f"{minutes:.0f} minutes; on the pictures that it learned from:", score_folder(model, options.images))
    print(training.save(options.out, model, data=dataset.source), f"{options.out.stat().st_size / 1e6:.1f} MB")


def halved(model):
    """The network in half precision, its numbers rounded to MANTISSA_BITS so that the file shrinks."""
    small = copy.deepcopy(model).half()
    low = 10 - MANTISSA_BITS
    for value in small.state_dict().values():
        if value.dtype == torch.float16:
            bits = value.numpy().view(np.uint16)  # shares the memory
            bits[...] = (bits + (1 << low - 1)) >> low << low
    return small


if __name__ == "__main__":
    main()
