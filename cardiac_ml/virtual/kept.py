"""Virtual hearts and heartbeats as files of the cache: simulated once, and again where the simulator changed."""
import tempfile
import warnings
from functools import cache, partial
from pathlib import Path

from cardiac_ml.files import cached, code_fingerprint, fingerprint, new_folder
from cardiac_ml.formats.heartbeat_files import write_folder
from cardiac_ml.formats.intracardiac_files import cached_pack, write_pack

_aside = {}  # name -> TemporaryDirectory: virtual heartbeats that the cache could not keep, until this program ends


def heartbeats(hearts, seed, workers=None, out=None) -> Path:
    """The folder with the four files of virtual heartbeats: a new one at ``out``, else one in the cache."""
    from cardiac_ml.virtual.beats import simulate_heartbeats  # heavy

    size = {} if hearts == 64 else dict(train=200 * hearts, test=50 * hearts, ptb=83 * hearts)  # as many a heart
    made = cache(lambda: simulate_heartbeats(hearts, seed, workers=workers, **size))

    def write(folder):
        with new_folder(folder, shared=out is None) as part:
            write_folder(part, made(), "virtual heartbeats, simulated by cardiac_ml.virtual")
        return folder

    if out is not None:
        return write(Path(out).expanduser())
    name = f"virtual_heartbeats_{hearts}_{seed}"
    if name in _aside:
        return Path(_aside[name].name) / name
    try:
        code = code_fingerprint(*simulators(Path(__file__).parent), Path(__file__).parents[1] / "leads.py")
        return cached(name, code, write)
    except OSError as error:
        _aside[name] = tempfile.TemporaryDirectory(prefix="cardiac_ml_")
        warnings.warn(f"{error} Until then the virtual heartbeats are made anew in each program.", stacklevel=2)
        return write(Path(_aside[name].name) / name)


def intracardiac(hearts, cases, seed, workers=None, progress=True, **options) -> Path:
    """The folder of a pack of virtual hearts; ``options`` go to ``dataset.simulate_intracardiac``."""
    from cardiac_ml.virtual import dataset

    batches = partial(dataset.simulate_intracardiac, hearts, cases, seed=seed, workers=workers, progress=progress,
                      **options)
    said = "".join(f", {name} {value}" for name, value in options.items())
    return _pack(f"virtual-{hearts}-{cases}-{fingerprint(seed, options)}", dataset, batches,
                 dataset.count_cases(hearts, cases, options.get("as_published", False)),
                 f"virtual hearts, simulated by this kit ({hearts} hearts, seed {seed}{said})")


def elsewhere(hearts, cases, seed, workers=None, progress=True) -> Path:
    """The folder of a pack of hearts elsewhere."""
    from cardiac_ml.virtual import elsewhere as world

    batches = partial(world.simulate, hearts, cases, seed, workers=workers, progress=progress)
    return _pack(f"elsewhere-{hearts}-{cases}-{fingerprint(seed)}", world, batches, hearts * cases,
                 f"hearts elsewhere: a second simulator of this kit ({hearts} hearts, seed {seed}), for tests only")


def simulators(folder) -> list[Path]:
    """The files of a folder on which its hearts depend: all but the commands, and how hearts are kept."""
    return sorted(set(folder.glob("*.py")) - {folder / "command.py", folder / "kept.py"})


def _pack(name, simulator, batches, cases, source) -> Path:
    """The ``cases`` that ``batches()`` makes, made anew where the simulator's code or a neighbour's changed."""
    return cached_pack(f"intracardiac_{name}", code_fingerprint(*simulators(Path(simulator.__file__).parent)),
                       lambda folder: write_pack(batches(), folder, cases, source))
