"""The two verdicts with truth, recomputed from the committed tables by another way than the pages go."""

import numpy as np
import pytest
from common import ROOT
from sklearn.metrics import roc_auc_score

from cxrlib.experiment.record_tables import read_table
from cxrlib.study.pages import across as pages
from cxrlib.study.pages import attention, looking
from cxrlib.study.pages.across import Across
from cxrlib.study.truth import APART, EVENED, SAME

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
    said = pages.answers(across)["fall" if training == APART else "fall_evened"]
    assert said.startswith(f"{pages.COLLECTION}: {word}")


def test_heat_on_lungs_and_opacities_is_the_mean_of_the_rows_and_its_word_follows_the_interval():
    table = attention.read(RESULTS / "attention.parquet")
    said = looking.answers(table, APART)
    last = looking.networks(table)[-1]
    rows = table[(table["init"] == last) & (table["method"] == attention.CAM) & (table["layer"] == looking.last_layer(table))]
    for region in ("lungs", "opacities"):
        known = rows.dropna(subset=[region])
        assert f"{100 * known[region].mean():.1f}" in said[region]
        above = looking.shares(rows, looking.chosen(table, APART, last, attention.UNTRAINED)).set_index("region").at[region, "over_area"]
        assert above == pytest.approx((known[region] - known[f"area_{region}"]).mean(), abs=0.005)
        assert said[region].startswith("yes" if above.low > 0 else "no" if above.high < 0 else "not clear")
