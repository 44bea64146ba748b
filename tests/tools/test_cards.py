"""The cards beside the shipped networks are those of these very networks, and machines can read them."""
import pytest
import yaml

from cardiac_ml import training
from tools import cards

NETWORKS = sorted(cards.TRAINED.glob("*.npz"))


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_network_has_its_own_card(path):
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert text == cards.card(path), f"{path.stem}.md is of another network: python -m tools.cards"
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "mit" and head["library_name"] == "cardiac_ml" and head["tags"]
    index, = head["model-index"]
    values = [metric["value"] for result in index["results"] for metric in result["metrics"]]
    scores = training.read_saved(path)[0]["scores"]
    assert index["name"] == path.stem and values == pytest.approx(list(scores.values()), rel=1e-3)
    assert all({"task", "dataset", "metrics"} <= set(result) for result in index["results"])


def test_a_card_without_network_is_not_left_behind():
    assert {path.stem for path in cards.TRAINED.glob("*.md")} == {path.stem for path in NETWORKS} == set(cards.ABOUT)
