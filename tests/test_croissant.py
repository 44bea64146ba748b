"""What croissant.json says of a folder: true of every file, and as mlcommons.org/croissant/1.0 wants it."""
import hashlib
import json
import re
from importlib.util import find_spec

import pandas as pd
import pytest
from tiny_intracardiac import made_batches

from cardiac_ml.__main__ import main
from cardiac_ml.challenge import making
from cardiac_ml.formats import croissant
from cardiac_ml.virtual import beats, dataset
from tests.challenge.test_challenge import SECRET, made_heartbeats


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A simulated folder of each kind and the public one of a challenge, with cheap signals in them."""
    out = tmp_path_factory.mktemp("croissant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "simulate_intracardiac", lambda *sizes, **options: made_batches(hearts=("v1", "v2")))
        patch.setattr(beats, "simulate_heartbeats", lambda hearts, seed, **options: made_heartbeats(
            hearts, seed, **dict(train=20, test=20, ptb=20, patients=4) | options))
        for what in ("intracardiac", "heartbeats"):
            assert main(["simulate", what, "--hearts", "2", "--workers", "1", "--out", str(out / what)]) == 0
        table = [column for column in making.TABLE if column in next(made_batches())[2]]
        patch.setattr(making, "TABLE", table)
        small = dict(train_hearts=2, test_hearts=4, cases=2, progress=False)
        public, _ = making.make_challenge(out / "challenge", SECRET, **small)
    return {"intracardiac": out / "intracardiac", "heartbeats": out / "heartbeats", "challenge": public}


@pytest.fixture(params=["intracardiac", "heartbeats", "challenge"])
def folder(folders, request):
    return folders[request.param]


def test_it_is_what_the_specification_wants(folder):
    told = json.loads((folder / croissant.NAME).read_text(encoding="utf-8"))
    assert told["@type"] == "sc:Dataset" and told["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    wanted = {"@context", "name", "description", "license", "url", "creator", "datePublished", "distribution",
              "recordSet"}
    assert wanted <= set(told) and all(told[name] for name in wanted)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", told["datePublished"])
    for prefix, address in {"sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/"}.items():
        assert told["@context"][prefix] == address
    kinds = [part["@type"] for part in told["distribution"] + told["recordSet"]]
    assert set(kinds) <= {"cr:FileObject", "cr:FileSet", "cr:RecordSet"}
    names = [part["@id"] for part in told["distribution"] + told["recordSet"]]
    names += [field["@id"] for table in told["recordSet"] for field in table["field"]]
    assert len(names) == len(set(names)), "each @id once"


def test_it_is_true_of_every_file(folder):
    told = json.loads((folder / croissant.NAME).read_text(encoding="utf-8"))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {croissant.NAME}
    for part in told["distribution"]:
        if part["@type"] == "cr:FileObject":
            assert hashlib.sha256((folder / part["contentUrl"]).read_bytes()).hexdigest() == part["sha256"]
            files.remove(part["contentUrl"])
        else:
            found = {path.relative_to(folder).as_posix() for path in folder.glob(part["includes"])}
            assert found and found <= files
            files -= found
    assert not files, "nothing is left out"
    for table in told["recordSet"]:
        path, = {field["source"]["fileObject"]["@id"] for field in table["field"]}
        assert list(pd.read_csv(folder / path)) == [field["source"]["extract"]["column"] for field in table["field"]]


def test_the_challenge_tells_neither_its_day_nor_its_secret(folders):
    text = (folders["challenge"] / croissant.NAME).read_text(encoding="utf-8")
    assert json.loads(text)["datePublished"] == "2020-01-01"
    assert str(SECRET) not in text and f"{SECRET:x}" not in text and "seed" not in text


@pytest.mark.skipif(find_spec("mlcroissant") is None,
                    reason="NO mlcroissant: its validator did NOT look (pip install mlcroissant); the tests above did")
def test_the_validator_of_croissant_finds_no_fault_and_reads_the_tables(folder):
    import mlcroissant
    data = mlcroissant.Dataset(jsonld=folder / croissant.NAME)
    assert not data.metadata.ctx.issues.errors and not data.metadata.ctx.issues.warnings
    for table in data.metadata.record_sets:
        path = next(folder.rglob({row: file for file, row in croissant.TABLES.items()}[table.name]))
        assert len(list(data.records(table.name))) == len(pd.read_csv(path))
