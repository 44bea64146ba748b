"""A training that was cut off goes on from its last epoch, to the same result as one that was not."""
import json
import zlib
from pathlib import Path

import numpy as np
import torch

from cardiac_ml.files import DataError, atomic_write

FORMAT = 1


def data_print(pair):
    """A number that changes with the data: shapes and up to a thousand rows of inputs and targets."""
    if pair is None:
        return 0
    result = 0
    for array in pair:
        rows = np.ascontiguousarray(array[::max(1, len(array) // 1000)])
        result = zlib.crc32(rows.tobytes(), zlib.crc32(repr((np.shape(array), str(rows.dtype))).encode(), result))
    return result


def network_print(model):
    """The names and shapes of the weights."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


class Checkpoint:
    """A file that holds the state of one training. ``training`` (a dictionary of plain values) says which one."""

    def __init__(self, path, training):
        self.path, self.training = Path(path), json.loads(json.dumps(training))

    def write(self, state):
        with atomic_write(self.path) as file:
            torch.save({"format": FORMAT, "training": json.dumps(self.training), **state}, file)

    def read(self, device):
        """The state in the file, or None where there is no file. It must come from this training."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location=device, weights_only=True)
            found, version = json.loads(state.pop("training")), state.pop("format")
        except Exception as error:
            raise DataError(f"{self.path} is not a checkpoint that fit wrote, or it is damaged: "
                            f"{type(error).__name__}. Delete it or name another file.") from error
        if version != FORMAT:
            raise DataError(f"{self.path} is a checkpoint of format {version}; this version of the kit reads "
                            f"{FORMAT}. Delete it or name another file.")
        differences = [_difference(name, found.get(name), wanted) for name, wanted in self.training.items()
                       if found.get(name) != wanted]
        if differences:
            raise DataError(f"{self.path} is the checkpoint of another training: {'; '.join(differences)}. Name "
                            "another file, or delete this one to start afresh.")
        return state


def _difference(name, found, wanted):
    if name == "network":
        found, wanted = found or {}, wanted or {}
        first = next(key for key in {**wanted, **found} if found.get(key) != wanted.get(key))
        there, here = (shapes.get(first, "absent") for shapes in (found, wanted))
        return f"its network differs, first in {first}: {there} there, {here} here"
    return f"{name} was {found}, is {wanted}"
