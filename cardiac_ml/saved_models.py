"""A trained model as one file: weights, architecture, scaling, what it was trained on, and its scores.

    save("task_2.npz", fitted.model, data=repr(train), scores={"macro-F1": 0.95})
    answer = predict(load("task_2.npz"), beats)

The file is a numpy archive without pickles, so a file from a stranger can be opened: it holds numbers and text only.
"""
import copy
import datetime
import importlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch

from cardiac_ml import __version__
from cardiac_ml.files import DataError, atomic_write

FORMAT = 1
ROOMS = ("cardiac_ml.models", "cardiac_ml.heart_models", "cardiac_ml.xray.model")  # where load looks for networks
CARD = "card.json"


def save(path, model, *, data="", scores=None, **more):
    """Write ``model`` (a network with its arguments in ``model.config``) and its card to ``path``.

    data: the data card of the training set (``repr`` of a dataset); scores: name -> number; more: what JSON can hold.
    """
    if not hasattr(model, "config"):
        raise DataError(f"{type(model).__name__} has no config. Keep the arguments of its __init__ as a dictionary, "
                        "self.config = dict(...), so that load can make the same network again.")
    card = dict(format=FORMAT, kit=__version__, network=type(model).__name__, config=model.config, data=str(data),
                scores={name: float(value) for name, value in (scores or {}).items()},
                saved=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), **more)
    weights = {name: value.detach().cpu().contiguous().numpy() for name, value in model.state_dict().items()}
    with atomic_write(path) as file:
        np.savez(file, **weights, **{CARD: np.array(json.dumps(card))})


def load(path, networks=(), device="cpu"):
    """The model in ``path``, ready for ``predict``; ``model.card`` says what it is.

    networks: classes of your own networks, where the file holds one that is not part of the kit.
    """
    card, weights = read(path)
    model = _network(path, card, networks)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if wanted != found:
        name = next(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
        raise DataError(f"{path} was saved by version {card['kit']} of the kit, whose {card['network']} differs from "
                        f"that of this version ({__version__}): {name} is {found.get(name, 'absent')} in the file and "
                        f"{wanted.get(name, 'absent')} here. Use version {card['kit']}, or train again.")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    model.card = card
    return model.to(device).eval()


def export(path, model, example):
    """Write ``model`` as a program that runs without this kit, for any number of rows like ``example`` (2 rows or more).

    It runs with ``torch.export.load(path).module()(inputs)``. ``save`` is what this kit reads; this is for elsewhere.
    """
    example = torch.as_tensor(np.asarray(example, dtype=np.float32))
    model = copy.deepcopy(model).cpu().eval()
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("rows", min=1, max=1 << 20)},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def read(path):
    """(card, weights) of a saved model: a dictionary and the arrays by name."""
    if not Path(path).exists():
        raise DataError(f"There is no file {path}. Save a model there first, or give the path of one.")
    try:
        with np.load(path, allow_pickle=False) as file:
            card = json.loads(str(file[CARD]))
            weights = {name: file[name] for name in file.files if name != CARD}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a saved model, or it is damaged ({error}). Save it again, or copy it again "
                        "from where it came.") from error
    if card.get("format") != FORMAT:
        raise DataError(f"{path} has the format {card.get('format')} and was saved by version {card.get('kit')} of the "
                        f"kit; this version ({__version__}) reads format {FORMAT}. Use that version, or train again.")
    return card, weights


def _network(path, card, networks):
    """A network of the kind that the card names, not yet with its weights."""
    known = {kind.__name__: kind for kind in networks}
    for room in ROOMS:
        known |= {name: kind for name, kind in vars(importlib.import_module(room)).items()
                  if isinstance(kind, type) and issubclass(kind, torch.nn.Module)} | known
    if card["network"] not in known:
        raise DataError(f"{path} holds a {card['network']}, which is not a network of this kit. If it is yours, give "
                        f"its class: load({str(path)!r}, networks=[{card['network']}]).")
    try:
        return known[card["network"]](**card["config"])
    except TypeError as error:
        raise DataError(f"{path} holds a {card['network']} of version {card['kit']} of the kit, which takes other "
                        f"arguments than that of this version ({__version__}): {error}. Use that version, or train "
                        "again.") from error
