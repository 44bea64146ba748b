"""Say of a folder of made data what is in it, for machines: croissant.json, as mlcommons.org/croissant/1.0 has it.

Every file that is not a signal of a pair stands in it with its SHA-256, pairs as two sets of files, tables with their
columns. It tells nothing that the files do not: no seed, no time but ``date``.
"""
import hashlib
import json
from pathlib import Path

import pandas as pd

import cardiac_ml
from cardiac_ml.files import atomic_write

NAME = "croissant.json"
TABLES = {"cases.csv": "cases", "beats.csv": "beats"}  # those with a header: file -> what a row is
PAIRS = {"pECGData": "ten electrodes, (500, 10) float64, mV at 1 kHz",
         "VmData": "transmembrane voltage of 75 points, (500, 75) float64, mV at 1 kHz"}
FORMATS = {".csv": "text/csv", ".md": "text/markdown", ".txt": "text/plain", ".npz": "application/zip"}
NPY = "application/x-npy"
TYPES = {"i": "sc:Integer", "u": "sc:Integer", "b": "sc:Boolean", "f": "sc:Float"}  # numpy's kinds; others are text
TERMS = ("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet",
         "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
         "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform")
CONTEXT = {  # the one of the specification, word for word
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo", "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS}}


def write(folder, name, description, date):
    """Write ``croissant.json`` into ``folder``, whose files are all there; ``date`` is YYYY-MM-DD. Returns its path."""
    folder = Path(folder)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    plain = [path for path in files if path.suffix != ".npy"]
    content = {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0", "name": name,
        "description": description, "license": "https://spdx.org/licenses/MIT", "url": "./", "datePublished": date,
        "version": "1.0.0", "creator": {"@type": "sc:Organization", "name": f"cardiac_ml {cardiac_ml.__version__}"},
        "citeAs": f"{name}, simulated by cardiac_ml {cardiac_ml.__version__}", "isLiveDataset": False,
        "distribution": [_file(folder, path) for path in plain] + [
            _pairs(role, said) for role, said in PAIRS.items() if any(path.name.startswith(role) for path in files)],
        "recordSet": [_table(folder, path) for path in plain if path.name in TABLES]}
    with atomic_write(folder / NAME, "w") as file:
        json.dump(content, file, indent=1)
    return folder / NAME


def _file(folder, path):
    content = (folder / path).read_bytes()
    return {"@type": "cr:FileObject", "@id": path.as_posix(), "name": path.as_posix(), "contentUrl": path.as_posix(),
            "contentSize": f"{len(content)} B", "encodingFormat": FORMATS.get(path.suffix, "application/octet-stream"),
            "sha256": hashlib.sha256(content).hexdigest()}


def _pairs(role, said):
    return {"@type": "cr:FileSet", "@id": role, "name": role, "description": said, "encodingFormat": NPY,
            "includes": f"**/{role}_*.npy"}


def _table(folder, path):
    """The columns of a table, each with its type."""
    row, kinds = TABLES[path.name], pd.read_csv(folder / path).dtypes
    fields = [{"@type": "cr:Field", "@id": f"{row}/{name}", "name": name, "dataType": TYPES.get(kind.kind, "sc:Text"),
               "source": {"fileObject": {"@id": path.as_posix()}, "extract": {"column": name}}}
              for name, kind in kinds.items()]
    return {"@type": "cr:RecordSet", "@id": row, "name": row, "description": f"a row for each of the {row}",
            "field": fields}
