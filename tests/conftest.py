import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("kit", deadline=None)  # a loaded machine is slow, not wrong
settings.load_profile("kit")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it; tests interrupt
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; their tensors are tiny
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # and so do their simulations: a worker takes longer to start
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """An empty cache for every test session, one for all its workers, and no real data but what a test names."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    before = {name: os.environ.get(name) for name in ("CARDIAC_ML_CACHE", "CARDIAC_ML_DATA")}
    os.environ["CARDIAC_ML_CACHE"] = str(folder)
    os.environ.pop("CARDIAC_ML_DATA", None)
    yield folder
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The place of a cache that this test alone uses; it does not exist yet."""
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data_home(monkeypatch, tmp_path):
    """The folder in which the loaders look for real files, empty as the working folder is."""
    monkeypatch.setenv("CARDIAC_ML_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data for development; tests that need it skip where it is absent, and say so."""
    folder = os.environ.get("CARDIAC_ML_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data absent: set CARDIAC_ML_REAL_DATA to its folder to run this test")
    return Path(folder)
