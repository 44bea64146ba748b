"""Splits that keep hearts apart, and the order of the recording points found from the focal cases."""
import numpy as np
import pandas as pd
import pytest
from tiny_intracardiac import made_batches, made_signals

from cardiac_ml import intracardiac
from cardiac_ml.files import DataError
from cardiac_ml.formats.intracardiac_files import PUBLISHED_HEARTS, tidy, write_pack
from cardiac_ml.formats.point_order import recover_point_order
from cardiac_ml.intracardiac import TEST_HEARTS, split_by_heart


def made_table(hearts):
    """For each heart ten rows by pattern and ten by focal site."""
    rows = [{"heart": heart, "pattern" if case % 2 else "innerindex": case // 2}
            for heart in hearts for case in range(20)]
    return tidy(pd.DataFrame(rows))


def parts(table, **named):
    """The hearts of train, valid and test, once every row is in one of them."""
    split = split_by_heart(table, **named)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(len(table)))
    return [set(table["heart"].iloc[rows]) for rows in split]


def test_the_published_hearts_have_a_fixed_split_stable_on_a_partial_download():
    assert TEST_HEARTS == ("v14", "v15", "v16")
    table = made_table(PUBLISHED_HEARTS)
    assert parts(table) == [set(PUBLISHED_HEARTS[:10]), {"v12", "v13"}, {"v14", "v15", "v16"}]
    assert parts(table[table["heart"] != "v16"].reset_index(drop=True))[1:] == [{"v12", "v13"}, {"v14", "v15"}]


@pytest.mark.parametrize("count, valid, test", [(3, 1, 1), (12, 2, 2), (30, 4, 6)])
def test_other_hearts_are_split_by_number(count, valid, test):
    hearts = [f"h{number}" for number in range(count)]
    assert parts(made_table(hearts)) == [
        set(hearts[:-valid - test]), set(hearts[-valid - test:-test]), set(hearts[-test:])]


def test_hearts_can_be_named_and_wrong_names_and_too_few_are_said():
    table = made_table(["a", "b", "c", "d"])
    assert parts(table, test=["a"]) == [{"b", "c"}, {"d"}, {"a"}]
    assert parts(table, test=["a"], valid=["b"])[1] == {"b"}
    assert parts(table, test=()) == [{"a", "b", "c"}, {"d"}, set()]
    with pytest.raises(DataError, match=r"no heart \['z'\].*The hearts are a, b, c, d"):
        split_by_heart(table, test=["z"])
    assert parts(table, test="a") == parts(table, test=["a"])
    with pytest.raises(DataError, match=r"no heart \['1', '2'\]"):
        split_by_heart(table, test=[1, 2])
    with pytest.raises(DataError, match="in valid and in test"):
        split_by_heart(table, ["a"], ["a"])
    for hearts in (["a"], ["a", "b"]):
        with pytest.raises(DataError, match="too few hearts to split.*Three hearts at least"):
            split_by_heart(made_table(hearts))


# ---- the order of the points ----

def shuffled_hearts(tmp_path, hearts=("v1", "v2"), left_out=(), noise_ms=0.0):
    """(dataset, columns): hearts with a focal case at every point and three others, their columns shuffled."""
    random = np.random.default_rng(5)
    points_mm = random.uniform(0, 60, (75, 3))
    distance = np.linalg.norm(points_mm[:, None] - points_mm, axis=2)
    columns, batches = {}, []
    for heart in hearts:
        mixed = random.permutation(75)
        columns[heart] = np.argsort(mixed)
        sites = np.setdiff1d(np.arange(75), left_out)
        times = [*distance[sites], *(np.minimum(distance[a] + 5, distance[b]) for a, b in ((1, 9), (30, 2), (7, 70)))]
        times = [1.3 + time / 0.6 + random.uniform(0, noise_ms, 75) for time in times]
        signals = [made_signals(time[mixed]) for time in times]
        table = pd.DataFrame({"heart": heart, "innerindex": pd.array([*sites, None, None, None], "Int64")})
        table["pattern"] = pd.Series(range(len(table))).where(table["innerindex"].isna())
        batches.append((*(np.array(part) for part in zip(*signals)), table))
    cases = sum(len(batch[2]) for batch in batches)
    return intracardiac.open_pack(write_pack(batches, tmp_path / "pack", cases, "made")), columns


def sites_come_first(dataset):
    """Does each focal case begin at the point of its stimulus?"""
    focal = dataset.table["innerindex"].notna().to_numpy()
    return np.array_equal(dataset.activation_ms[focal].argmin(axis=1), dataset.table["innerindex"][focal])


def test_shuffled_columns_are_found_and_put_in_order_once_and_only_when_asked(tmp_path, own_cache):
    dataset, columns = shuffled_hearts(tmp_path)
    order = recover_point_order(dataset)
    assert all(np.array_equal(order.columns[heart], columns[heart]) for heart in columns)
    report = order.report.set_index("heart").loc["v2"]
    assert report["sure"] and report["focal_points"] == report["earliest"] == 75 and report["margin_ms"] > 0
    assert report["moved"] > 60
    ordered = intracardiac.reorder(dataset, order)
    for row, heart in enumerate(dataset.hearts):
        assert np.array_equal(ordered.voltage_mv[row], dataset.voltage_mv[row][columns[heart]])
        assert np.allclose(ordered.activation_ms[row], dataset.activation_ms[row][columns[heart]], atol=1e-3)
    assert np.array_equal(ordered.electrodes_mv, dataset.electrodes_mv) and ordered.table.equals(dataset.table)
    assert "points put in order" in ordered.source and "points put in order" not in dataset.source
    again = recover_point_order(ordered)
    assert (again.report["moved"] == 0).all() and again.report["sure"].all()
    assert sites_come_first(ordered)


def test_columns_come_in_point_order_and_doubtful_hearts_are_left_out(tmp_path, own_cache, capsys):
    sure, columns = shuffled_hearts(tmp_path / "sure")
    doubtful, _ = shuffled_hearts(tmp_path / "doubtful", hearts=("v9",), left_out=(3, 4))
    ordered = intracardiac.in_point_order(intracardiac.concatenate(sure, doubtful))
    said = capsys.readouterr().out
    assert "in 2 hearts" in said and "left out, since their order is not sure: v9" in said
    assert set(ordered.hearts) == {"v1", "v2"}
    assert np.array_equal(ordered.voltage_mv[-1], sure.voltage_mv[-1][columns["v2"]])
    for untouched in (ordered, doubtful):  # nothing is known to be out of order
        assert intracardiac.in_point_order(untouched) is untouched
    said = capsys.readouterr().out
    assert "all 2 hearts that show it (of 2)" in said and "taken as it is: no heart here has the focal cases" in said


def test_few_cases_of_files_come_in_the_order_that_all_of_them_show(tmp_path, own_cache, monkeypatch, capsys):
    """A set of files is loaded in part: what is left of a heart does not show its order."""
    shuffled_hearts(tmp_path)
    monkeypatch.setattr(intracardiac, "pack_of", lambda *_: tmp_path / "pack")
    few = intracardiac.load(tmp_path, cases=26)
    assert "in the order of the recording points in 2 hearts" in capsys.readouterr().out
    assert list(few.hearts) == ["v1"] * 26 + ["v2"] * 26
    assert few.table["innerindex"].count() == 50, "every third case: 75 focal ones come first, three others last"
    assert sites_come_first(few)
    assert len(set(intracardiac.load(tmp_path, hearts=1, cases=500).hearts)) == 1
    assert list(intracardiac.load(tmp_path, hearts=6, cases=5).hearts) == ["v1"] * 15 + ["v2"] * 15, "30 cases, shared"
    every = intracardiac.load(tmp_path)
    assert len(every) == 156 and np.array_equal(every.voltage_mv[2], few[0].voltage_mv[0]), "both stay in the cache"
    assert [len(intracardiac.load(tmp_path, hearts=1, cases=number)) for number in (1, 7, 77)] == [1, 7, 77]


def test_one_missing_point_is_found_by_elimination_and_two_are_not(tmp_path):
    for place, left_out in (("one", [40]), ("two", [40, 41])):
        dataset, columns = shuffled_hearts(tmp_path / place, hearts=("v1",), left_out=left_out)
        order = recover_point_order(dataset)
        found = np.arange(75) if place == "one" else np.setdiff1d(np.arange(75), left_out)
        assert np.array_equal(order.columns["v1"][found], columns["v1"][found])
        assert order.report["focal_points"][0] == 75 - len(left_out) and order.report["sure"][0] == (place == "one")
    with pytest.raises(DataError, match="not sure in heart v1.*order.report"):
        intracardiac.reorder(dataset, order)


def test_nothing_is_claimed_where_noise_hides_the_earliest_point_or_no_case_is_focal(tmp_path):
    dataset, _ = shuffled_hearts(tmp_path / "noise", hearts=("v1",), noise_ms=60)
    report = recover_point_order(dataset).report
    assert not report["sure"][0] and report["earliest"][0] < 70 and report["margin_ms"][0] < 0
    place = write_pack(made_batches(cases=1), tmp_path / "pack", 3, "made")
    report = recover_point_order(intracardiac.open_pack(place)).report
    assert not report["sure"].any() and (report["focal_points"] == 0).all() and report["margin_ms"].isna().all()


def test_bad_sites_are_refused(tmp_path):
    dataset, _ = shuffled_hearts(tmp_path, hearts=("v1",))
    dataset.table["innerindex"] += 1
    with pytest.raises(DataError, match="heart v1 has innerindex 1 .. 75, expected 0 .. 74"):
        recover_point_order(dataset)
