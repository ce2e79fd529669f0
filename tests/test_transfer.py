"""Comparisons pair what belongs together, leave trials out, and say what their intervals say."""

from pathlib import Path

import pytest

from cxrlib import records, transfer

TABLE = Path(__file__).parent.parent / "results" / "upstream.parquet"


@pytest.fixture(scope="module")
def table():
    return records.read_table(TABLE)


def test_the_committed_records_are_the_study_that_the_book_describes(table):
    runs = transfer.select(table, "covidx-mini", "resnetv2_laptop")
    assert {transfer.size_of(run) for run in runs} == {"32", "64", "128", "256", "512", transfer.FULL}
    for init in ("random", "fractal-s", "fractal-m"):
        for size in (32, 64, 128, 256, 512, None):
            seeds = {r.config["seed"] for r in runs if r.initialisation["name"] == init and r.config["images_per_class"] == size}
            assert len(seeds) >= 5
    protocols = {tuple(str(run.config[name]) for name in ("resize", "crop", "schedule", "base_lr", "mixup", "batch_size")) for run in runs}
    assert len(protocols) == 1
    assert all(len(run.table()) == 200 and not run.config["validation_fraction"] for run in runs)
    text = TABLE.read_bytes()
    assert b"/work/" not in text and b"/root" not in text and b"/home/" not in text


def test_the_shipped_weights_are_the_ones_studied(table):
    from cxrlib.initialisations import resolve_initialisation

    for run in transfer.select(table, "covidx-mini", "resnetv2_laptop"):
        name = run.initialisation["name"]
        assert run.initialisation["sha256"] == resolve_initialisation(name).sha256


def test_pairs_share_size_and_seed(table):
    runs = transfer.select(table, "covidx-mini", "resnetv2_laptop")
    first, second = transfer.arms(runs[:-1], "fractal-m", "random")
    assert len(first) == len(second) == 29
    for one, two in zip(first, second, strict=True):
        assert one.config["seed"] == two.config["seed"] and one.config["images_per_class"] == two.config["images_per_class"]
        assert (one.initialisation["name"], two.initialisation["name"]) == ("fractal-m", "random")


def test_a_comparison_is_the_mean_of_its_pairs_and_its_sentence_follows(table):
    runs = [run for run in transfer.select(table, "covidx-mini", "resnetv2_laptop") if run.config["images_per_class"] in (32, 512)]
    found = transfer.comparison(runs, "fractal-m", "random")
    assert found["images per class"].tolist() == ["32", "512", "all sizes"] and found["pairs"].tolist() == [5, 5, 10]
    first, second = transfer.arms(runs, "fractal-m", "random")
    expected = sum(a.history[-1]["test_accuracy"] - b.history[-1]["test_accuracy"] for a, b in zip(first, second, strict=True)) / 10
    assert float(found["accuracy"].iloc[-1]) == pytest.approx(expected)
    turned = transfer.comparison(runs, "random", "fractal-m")
    assert float(turned["AUC"].iloc[-1]) == pytest.approx(-float(found["AUC"].iloc[-1]))
    assert "10 pairs of runs" in transfer.sentence("fractal-m", "random", found)
    same = transfer.comparison(runs, "random", "random")
    assert "no clear difference" in transfer.sentence("random", "random", same)
    assert transfer.comparison(runs, "imagenet-lite", "random").empty


def test_the_learning_rate_is_the_best_on_validation_patients(table):
    found = transfer.learning_rates(table)
    for _, rows in found.groupby("arch"):
        assert rows.loc[rows["chosen"] == "yes", "validation AUC"].item() == rows["validation AUC"].max()
        used = {run.config["base_lr"] for run in table if run.config["arch"] == rows["arch"].iloc[0] and not transfer.is_trial(run)}
        assert used == set(rows.loc[rows["chosen"] == "yes", "learning rate"])
    assert transfer.learning_rates([]).empty
