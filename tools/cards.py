"""A card beside each network that comes with the kit, for people and machines: cardiac_ml/trained/*.md.

    python -m tools.cards        after every training: the numbers are those that the network carries in its own card

The head is YAML as model hubs read it (library, tags, scores as a model-index); the rest says what the network is for,
what it learned from, how good it is and where it fails.
"""
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import yaml

from cardiac_ml import training
from cardiac_ml.files import ROOT, atomic_write

TRAINED = ROOT / "cardiac_ml" / "trained"


class About(NamedTuple):
    """What the file of a network does not say."""
    title: str
    tags: list
    data: str
    signature: str
    use: str
    scored: str = ""


BEAT = "One beat of a twelve-lead ECG, (cases, 12, 500) in millivolts at 1 kHz, onset in the first 20 ms"
HEARTS = ("*Seen* are hearts that it was trained on, most of them wider than the default ones and so harder; *new* are "
          "the default hearts, which it has not seen; *elsewhere* are those of the second simulator.")
ABOUT = {
    "task_3": About(
        "Activation map of the heart from a twelve-lead ECG", ["ecg", "regression"], "virtual hearts",
        f"{BEAT} -> when each of 75 points of the ventricles activates, and how far off that is on average: "
        "(cases, 2, 75) in ms. It is the part of task_4 that states times.",
        "from cardiac_ml import models, training\nnet = training.pretrained(\"task_3\")\n"
        "times_ms, spreads_ms = models.times_and_spreads(training.predict(net, ecg_mv))", HEARTS),
    "task_4": About(
        "Voltages of the heart from a twelve-lead ECG", ["ecg", "regression"], "virtual hearts",
        f"{BEAT} -> the transmembrane voltage of 75 points of the ventricles: (cases, 75, 500) in mV.",
        "from cardiac_ml import training\nvoltage_mv = training.predict(training.pretrained(\"task_4\"), ecg_mv)",
        HEARTS),
    "xray": About(
        "A box around the heart on a chest X-ray", ["x-ray", "object-detection"], "chest X-rays",
        "A frontal chest X-ray -> the box of the heart, the width of the chest, and so the cardiothoracic ratio.",
        "from cardiac_ml.xray.finding import find_heart\nfind_heart(\"chest.png\")"),
}
PAGE = """\
---
{head}---

# {title}

{signature}

```python
{use}
```

## What it learned from

{learned}

## Scores

{scored}| score | value |
|---|---|
{scores}

## Where it fails

{fails}

## The file

{file}
"""


def card(path):
    """The text of the card of one network."""
    path = Path(path)
    told, weights = training.read_saved(path)
    about, words = ABOUT[path.stem], told.get("about", "")
    effort = f"{told['epochs']} epochs, {told['minutes']} minutes of one core" if "minutes" in told else found(
        r"^(\d+ epochs.*)\.$", words)
    fails = told.get("fails") or found(r"^(On pictures that .*)", words, re.DOTALL)
    file = (f"`{path.name}`: {told['network']} of {sum(value.size for value in weights.values()):,} numbers in half "
            f"precision, {path.stat().st_size / 1e6:.1f} MB, no pickle in it; configuration `{told['config']}`; saved "
            f"on {told['saved'][:10]}. `python -m tools.cards` made this page from it.")
    return PAGE.format(
        head=yaml.safe_dump(head(path.stem, about, told["scores"]), sort_keys=False, width=1000), title=about.title,
        signature=wrapped(about.signature), use=about.use, learned=wrapped(f"{told['data']}: {effort}."),
        scored=wrapped(about.scored) + "\n\n" * bool(about.scored),
        scores="\n".join(f"| {name} | {value:.4g} |" for name, value in told["scores"].items()),
        fails=wrapped(fails), file=wrapped(file))


def found(pattern, text, flags=0):
    return re.search(pattern, text, re.MULTILINE | flags)[1]


def wrapped(text):
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def head(name, about, scores):
    """The front matter: a result for each population that the network was scored on (seen, new, elsewhere)."""
    results = {}
    for score, value in scores.items():
        where, _, what = score.rpartition(": ")
        results.setdefault(where, []).append({"type": re.sub(r"\W+", "_", what).strip("_"), "name": what,
                                              "value": float(f"{value:.4g}")})
    return {"license": "mit", "library_name": "cardiac_ml", "tags": [*about.tags, "cardiology", "education"],
            "model-index": [{"name": name, "results": [{
                "task": {"type": "other", "name": about.title},
                "dataset": {"type": "other", "name": ", ".join(filter(None, [about.data, where]))},
                "metrics": metrics} for where, metrics in results.items()]}]}


def main():
    for path in sorted(TRAINED.glob("*.npz")):
        with atomic_write(path.with_suffix(".md"), "w") as file:
            file.write(card(path))
        print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
