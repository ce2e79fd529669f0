"""Comparisons pair what belongs together, leave trials out, and say what their intervals say."""

import json

import pandas as pd
import pytest
from common import ROOT

from cxrlib.experiment import record_tables
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import plan
from cxrlib.study.pages import transfer, transfer_study
from cxrlib.study.parameters import Profile
from cxrlib.weights.registry import PHOTOGRAPHS
from cxrlib.weights.source import WEIGHTS_FOLDER

TABLE = ROOT / "results" / "upstream.parquet"


@pytest.fixture(scope="module")
def table():
    return record_tables.read_table(TABLE)


def configs(runs):
    return {json.dumps(run.config, sort_keys=True) for run in runs}


@pytest.mark.parametrize("data", ["covidx-mini", "phantom-transfer"])
def test_the_committed_records_are_the_study_that_the_book_describes(table, data):
    runs = transfer.select(table, data, "resnetv2_laptop")
    inits = ("random", "fractal-s", "fractal-m", *PHOTOGRAPHS)
    for init in inits:
        for size in (32, 64, 128, 256, 512, None):
            seeds = [r.config["seed"] for r in runs if r.initialisation["name"] == init and r.config["images_per_class"] == size]
            assert sorted(seeds) == [0, 1, 2, 3, 4, 5], (init, size)
    assert len(runs) == len(inits) * 6 * 6 == 288
    protocols = {tuple(str(run.config[name]) for name in ("resize", "crop", "schedule", "base_lr", "mixup", "batch_size")) for run in runs}
    assert len(protocols) == 1
    assert len({run.data["fingerprint"] for run in runs}) == 1
    assert all(len(run.table()) == 200 and not run.config["validation_fraction"] for run in runs)
    assert {run.data["is_phantom"] for run in runs} == {data == "phantom-transfer"}


@pytest.mark.parametrize(
    ("profile", "data", "arch"),
    [
        ("transfer", "covidx-mini", "resnetv2_laptop"),
        ("transfer", "phantom-transfer", "resnetv2_laptop"),
        ("transfer-lite", "covidx-mini", "tf_efficientnet_lite0"),
    ],
)
def test_a_profile_asks_for_the_very_runs_that_are_committed(table, profile, data, arch, monkeypatch):
    """So that 'cxr sweep' makes the study again, and finds in a store what was made."""
    monkeypatch.chdir(TABLE.parent.parent)
    wanted = {json.dumps(run.config.identity(), sort_keys=True) for run in plan.profile_runs(profile) if "04_data_size" in run.studies}
    assert wanted == configs(transfer.select(table, data, arch))


def test_the_phantoms_of_the_study_are_those_of_its_profile(table):
    settings = Profile.load("transfer", TABLE.parent.parent / "profiles").phantom
    full = [run for run in transfer.select(table, "phantom-transfer", "resnetv2_laptop") if run.config["images_per_class"] is None]
    counts = {"positive": settings["train_positive"], "negative": settings["train_negative"]}
    assert all(run.data["training_images"] == counts for run in full)


def test_nothing_of_this_machine_is_in_the_table():
    text = TABLE.read_bytes()
    assert b"/work/" not in text and b"/root" not in text and b"/home/" not in text


def test_the_shipped_weights_are_the_ones_studied(table):
    from cxrlib.weights.resolve import resolve_initialisation

    for run in [run for run in table if run.config["arch"] == "resnetv2_laptop"]:
        name = run.initialisation["name"]
        assert run.initialisation["sha256"] == resolve_initialisation(name, seed=run.config["seed"]).sha256


def test_pairs_share_size_and_seed(table):
    runs = transfer.select(table, "covidx-mini", "resnetv2_laptop")
    lacking = [run for run in runs if (run.initialisation["name"], run.config["images_per_class"], run.config["seed"]) != ("fractal-m", 64, 3)]
    first, second = transfer.arms(lacking, "fractal-m", "random")
    assert len(first) == len(second) == 35
    for one, two in zip(first, second, strict=True):
        assert one.config["seed"] == two.config["seed"] and one.config["images_per_class"] == two.config["images_per_class"]
        assert (one.initialisation["name"], two.initialisation["name"]) == ("fractal-m", "random")


def test_a_comparison_is_the_mean_of_its_pairs_and_its_sentence_follows(table):
    runs = [run for run in transfer.select(table, "covidx-mini", "resnetv2_laptop") if run.config["images_per_class"] in (32, 512)]
    found = transfer.comparison(runs, "fractal-m", "random")
    assert found["images per class"].tolist() == ["32", "512", "all sizes"] and found["pairs"].tolist() == [6, 6, 12]
    first, second = transfer.arms(runs, "fractal-m", "random")
    expected = sum(a.history[-1]["test_accuracy"] - b.history[-1]["test_accuracy"] for a, b in zip(first, second, strict=True)) / 12
    assert float(found["accuracy"].iloc[-1]) == pytest.approx(expected)
    turned = transfer.comparison(runs, "random", "fractal-m")
    assert float(turned["AUC"].iloc[-1]) == pytest.approx(-float(found["AUC"].iloc[-1]))
    assert "12 pairs of runs" in transfer.sentence("fractal-m", "random", found)
    same = transfer.comparison(runs, "random", "random")
    assert "no clear difference" in transfer.sentence("random", "random", same)
    assert transfer.comparison(runs, "imagenet-lite", "random").empty


def test_words_and_counts_follow_from_the_intervals_on_either_side():
    clear, unclear, against = Estimate(0.1, 0.05, 0.2), Estimate(0.0, -0.1, 0.1), Estimate(-0.1, -0.2, -0.05)
    rows = [("32", clear, against), ("64", against, unclear), ("128", clear, unclear), ("all sizes", clear, unclear)]
    found = pd.DataFrame([{"images per class": size, "accuracy": a, "AUC": b, "pairs": 5} for size, a, b in rows], dtype=object)
    said = transfer.sentence("b", "a", found)
    assert "accuracy +10.0 points (+5.0 to +20.0), better (of 3 sizes clearly better at 2, clearly worse at 1)" in said
    assert "AUC +0.0 points (-10.0 to +10.0), no clear difference (of 3 sizes clearly better at 0, clearly worse at 1)." in said
    assert transfer.conclusion("b", "a", found) == "b is better than a in accuracy, and there is no clear difference between b and a in AUC"
    found.iloc[-1, 1] = unclear
    assert transfer.conclusion("b", "a", found) == "there is no clear difference between b and a in accuracy and AUC"
    found.iloc[-1, 1], found.iloc[-1, 2] = against, against
    assert transfer.conclusion("b", "a", found) == "b is worse than a in accuracy and AUC"


def test_the_learning_rate_is_the_best_on_validation_patients(table):
    found = transfer.learning_rates(table)
    for _, rows in found.groupby("arch"):
        assert rows.loc[rows["chosen"] == "yes", "validation AUC"].item() == rows["validation AUC"].max()
        used = {run.config["base_lr"] for run in table if run.config["arch"] == rows["arch"].iloc[0] and not transfer.is_trial(run)}
        assert used == set(rows.loc[rows["chosen"] == "yes", "learning rate"])
    assert transfer.learning_rates([]).empty


def test_the_ladder_goes_from_nothing_to_most_photographs(table):
    runs = transfer.select(table, "covidx-mini", "resnetv2_laptop")
    found = transfer.over_upstream(runs)
    steps = ["none", "2,560\nfractals", "25,600\nfractals", "10,000\nphotographs", "30,000\nphotographs", "100,000\nphotographs"]
    assert list(dict.fromkeys(found["upstream"])) == steps and set(found["images per class"]) == {"64", transfer.FULL}
    assert len(found) == 12 and set(found["runs"]) == {6}
    of_one = [r for r in runs if r.initialisation["name"] == "photo-m" and r.config["images_per_class"] == 64]
    accuracy = found[(found["init"] == "photo-m") & (found["images per class"] == "64")]["accuracy"].iloc[0]
    assert float(accuracy) == pytest.approx(sum(r.history[-1]["test_accuracy"] for r in of_one) / 6)
    assert transfer.over_upstream([]).empty and "upstream" in transfer.over_upstream([])


def test_data_and_computing_are_told_apart_on_both_sets(table):
    """Each control changes either the photographs or the steps, tenfold, and the table says which."""
    lines = transfer_study.Transfer(table).controls().splitlines()[2:]
    assert ["ten times the steps, the same photographs" in line for line in lines] == [False] * 4 + [True] * 4
    assert ["ten times the photographs, the same steps" in line for line in lines] == [True] * 4 + [False] * 4
    for place, (better, worse) in enumerate(transfer_study.CONTROLLED[:4]):
        more, less = (json.loads((WEIGHTS_FOLDER / f"{name}-0.json").read_text())["settings"] for name in (better, worse))
        times = more["classes"] * more["instances"] / (less["classes"] * less["instances"]), more["steps"] / less["steps"]
        assert times == ((10, 1) if place < 2 else (1, 10))
