"""The two verdicts with truth, recomputed from the committed tables by another way than the pages go."""

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from sklearn.metrics import roc_auc_score

from cxrlib.experiment.record_tables import read_table
from cxrlib.study import verdicts
from cxrlib.study.pages import across as pages
from cxrlib.study.pages import across_tables as tables
from cxrlib.study.pages import attention, looking, truth_verdicts
from cxrlib.study.pages.across import Across
from cxrlib.study.truth import APART, EVENED, FOLD, SAME

RESULTS = ROOT / "results"
pytestmark = pytest.mark.skipif(not (RESULTS / "across.parquet").is_file(), reason="the tables are not there")


@pytest.fixture(scope="module")
def across():
    return Across(read_table(RESULTS / "across.parquet"), pages.read_files(RESULTS / "across-files.parquet"))


@pytest.mark.parametrize("training", [APART, EVENED])
def test_the_fall_is_the_mean_auc_at_home_less_that_outside(across, training):
    home, outside = [], []
    for record in across.of(training):
        for found, splits in ((home, ("test",)), (outside, (f"{SAME}/train", f"{SAME}/test"))):
            rows = [row for split in splits for row in record.table(split).itertuples()]
            found.append(roc_auc_score([row.label for row in rows], [row.logit for row in rows]))
    fall = across.fall(training, pages.COLLECTION)
    assert fall == pytest.approx(np.mean(home) - np.mean(outside))
    assert fall.low < fall < fall.high
    word = "yes" if fall.low > 0 else "no" if fall.high < 0 else "not clear"
    said = tables.answers(across)["fall" if training == APART else "fall_evened"]
    assert said.startswith(f"{pages.COLLECTION}: {word}")


def test_heat_on_lungs_and_opacities_is_the_mean_of_the_rows_and_its_word_follows_the_interval():
    table = attention.read(RESULTS / "attention.parquet")
    said = looking.answers(table, APART)
    last = looking.networks(table)[-1]
    rows = table[(table["training"] == APART) & (table["init"] == last) & (table["method"] == attention.CAM) & (table["layer"] == looking.last_layer(table))]
    for region in ("lungs", "opacities"):
        known = rows.dropna(subset=[region])
        assert f"{100 * known[region].mean():.1f}" in said[region]
        above = looking.shares(rows, looking.chosen(table, APART, last, attention.UNTRAINED)).set_index("region").at[region, "over_area"]
        assert above == pytest.approx((known[region] - known[f"area_{region}"]).mean(), abs=0.005)
        assert said[region].startswith("yes" if above.low > 0 else "no" if above.high < 0 else "not clear")


def test_networks_inside_the_collection_do_no_better_there_as_the_exercise_says(across):
    for test, splits in ((pages.COLLECTION, (f"{SAME}/train", f"{SAME}/test")), (pages.BALANCED, (f"{SAME}/test",))):
        gain, expected = across.inside_gain(test), []
        wanted = {file for record in across.of(APART) for split in splits for file in record.table(split)["file"]}
        for record in across.of(APART):
            rows = pd.concat([record.table(split) for split in splits])
            folds = pd.concat([fold.table() for fold in across.of(FOLD) if fold.config["seed"] == record.config["seed"]])
            folds = folds[folds["file"].isin(wanted)]
            expected.append(roc_auc_score(folds["label"], folds["logit"]) - roc_auc_score(rows["label"], rows["logit"]))
        assert gain == pytest.approx(np.mean(expected)) and gain.low < gain < gain.high
        assert gain.low < 0 < gain.high, "book/tasks/10_truth.md says that they do no better"


def test_both_verdicts_of_the_home_page_follow_from_means_recomputed_here(across):
    """Each number another way than the page goes, each word from its interval, and the word of a claim from those of its parts."""
    table = attention.read(RESULTS / "attention.parquet")
    last = looking.networks(table)[-1]
    maps = table[(table["init"] == last) & (table["method"] == attention.CAM) & (table["layer"] == looking.last_layer(table))]
    means = {(region, label): maps.loc[maps["label"] == label, region].mean() for region in ("lungs", "frame") for label in (0, 1)}
    drawn = maps.dropna(subset=["opacities", "area_opacities"])
    inside = (np.minimum(drawn["opacities"] / drawn["lungs"], 1) - np.minimum(drawn["area_opacities"] / drawn["area_lungs"], 1)).mean()
    aucs = {test: [] for test in ("home", "all", "balanced")}
    for record in across.of(APART):
        whole = pd.concat([record.table(f"{SAME}/train"), record.table(f"{SAME}/test")])
        for name, rows in (("home", record.table("test")), ("all", whole), ("balanced", record.table(f"{SAME}/test"))):
            aucs[name].append(roc_auc_score(rows["label"], rows["logit"]))
    expected = {
        "lungs": means["lungs", 1] - means["lungs", 0], "frame": means["frame", 0] - means["frame", 1], "within": inside,
        "fall": np.mean(aucs["home"]) - np.mean(aucs["all"]), "auc": np.mean(aucs["balanced"]),
    }  # fmt: skip
    heat_row, source_row = truth_verdicts.verdicts(table, across)
    for row in (heat_row, source_row):
        for answer in row.parts:
            interval, part = answer.interval, answer.part
            assert interval == pytest.approx(expected[part.measure], abs=0.002), part.says
            holds, contradicted = part.low < interval.low and interval.high < part.high, interval.high < part.low or part.high < interval.low
            word = "holds" if holds else "contradicted" if contradicted else "not seen"
            assert answer.word == word
        words = {answer.word for answer in row.parts if not answer.part.ours}
        assert row.verdict == (words.pop() if len(words) == 1 else "mixed")
    assert [answer.word for answer in source_row.parts] == ["contradicted", source_row.parts[1].word]
    shown = verdicts.markdown((heat_row, source_row))
    assert "**9. " in shown.replace("&#46;", ".") and f"**{source_row.title}**" in shown  # what the paper does not claim has no number
    assert "(title of the paper)" in shown and "section title" not in shown
    assert all(f", {answer.compared.pairs} networks" in answer.compared.name for row in (heat_row, source_row) for answer in row.parts)
    nothing = truth_verdicts.verdicts(None, None)
    assert {answer.word for row in nothing for answer in row.parts} == {"not recorded yet"}
