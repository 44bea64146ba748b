"""Networks trained for long, with their cards; and how a network is made anew from its card, if it is of this kit."""
import importlib
from contextlib import suppress

import torch
from torch import nn

from cardiac_ml.files import DataError


def untrained(path, card, most):
    """The network of the kit that a card names, of at most so many parameters, not yet with its weights."""
    module, _, name = str(card["network"]).rpartition(".")
    kind = None
    if module == "cardiac_ml" or module.startswith("cardiac_ml."):  # nothing else is imported for a file
        with suppress(ImportError):
            kind = getattr(importlib.import_module(module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise DataError(f"{path} holds a {card['network']}, which is not a network of this kit. If it is yours, give "
                        f"an untrained one: load({str(path)!r}, {name}()).")
    made = []

    def count(*parameter):
        made.append(None)
        if len(made) > most:
            raise ValueError(f"it has more than the {most} weights of the file")
    counting = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):  # shapes without memory: a file may claim any size, and any number of layers
            return kind(**(card["config"] or {}))
    except (TypeError, ValueError, RuntimeError) as error:
        configuration = str(card["config"])[:500]
        raise DataError(f"{path} holds a {card['network']} whose configuration {configuration} this version of the kit "
                        f"does not know: {error}. Use the version that saved it, or train again.") from error
    finally:
        counting.remove()
