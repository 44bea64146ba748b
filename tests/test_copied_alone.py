"""A student copies one file, or the two that its first line names, into an empty folder: it works there."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cardiac_ml"
ALONE = {  # file -> what it must do in the empty folder
    "activation": """
        trace = np.clip(np.arange(500.0) - 40.5, -80, 20)
        trace[300:] = -80
        assert activation.upstroke_ms(trace[None, None])[0, 0] == 40.5
        assert 255 < activation.apd90_ms(trace[None, None])[0, 0] < 260""",
    "leads": """
        leads_mv = leads.to_leads(np.random.default_rng(0).normal(size=(2, 10, 500)))
        assert leads_mv.shape == (2, 12, 500) and np.allclose(leads_mv[:, 2], leads_mv[:, 1] - leads_mv[:, 0])""",
    "models": """
        import torch
        ecg = torch.as_tensor(models.from_independent(np.random.default_rng(0).normal(size=(2, 8, 500)).astype("f4")))
        assert models.ActivationNet(width=8).eval()(ecg).shape == (2, 2, 75)
        assert models.VoltageNet(widths=(8, 8, 8, 8)).eval()(ecg).shape == (2, 75, 500)
        assert models.HeartbeatNet(5, width=8).eval()(torch.rand(3, 187)).shape == (3, 5)""",
    "training": """
        import torch
        x = np.random.default_rng(0).normal(size=(64, 3)).astype("f4")
        y = (x[:, 0] > 0).astype(int)
        model, history = training.fit(torch.nn.Linear(3, 2), (x, y), (x, y), epochs=20, batch_size=8,
                                      lr=0.1, ema_decay=0.9)
        assert (training.predict(model, x).argmax(axis=1) == y).mean() > 0.9 and len(history) == 20
        training.save("mine.npz", model)
        again = training.load("mine.npz", torch.nn.Linear(3, 2))
        assert np.allclose(training.predict(again, x), training.predict(model, x))""",
    "metrics": """
        truth, hearts = np.arange(450.0).reshape(6, 75), list("aabbcc")
        found = metrics.bootstrap(metrics.ACTIVATION, truth, truth + 3, hearts)
        assert found["MAE (ms)"].value == found["RMSE (ms)"].value == 3
        assert metrics.auroc([0, 1, 1], [0.2, 0.7, 0.1]) == 0.5
        try:
            metrics.mae_ms(truth, truth[:1])
        except ValueError as error:
            assert "(6, 75)" in str(error)
        else:
            raise AssertionError("broadcast")""",
    "plots": """
        assert len(plots.twelve_leads(np.random.default_rng(0).normal(size=(12, 500))).axes) == 12
        try:
            plots.twelve_leads(np.zeros((10, 500)))
        except ValueError as error:
            assert "electrodes" in str(error)
        else:
            raise AssertionError("electrodes were drawn as leads")""",
}


@pytest.mark.parametrize("name", ALONE)
def test_it_works_in_an_empty_folder(name, tmp_path):
    source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    beside = re.match(r"# Copied out of the kit, this file needs (\w+\.py) beside it\.\n", source)
    for file in (f"{name}.py", *(beside.groups() if beside else ())):
        shutil.copy(PACKAGE / file, tmp_path)
    lines = [line[8:] for line in ALONE[name].splitlines()]
    (tmp_path / "try_it.py").write_text("\n".join([
        "import sys", f"sys.path[:] = [{str(tmp_path)!r}] + [p for p in sys.path if p != {str(PACKAGE.parent)!r}]",
        "sys.modules['cardiac_ml'] = None  # an installed kit must not help", "import numpy as np", f"import {name}",
        f"assert 'matplotlib' not in sys.modules or {name == 'plots'}", *lines]), encoding="utf-8")
    done = subprocess.run([sys.executable, "try_it.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
