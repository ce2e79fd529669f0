"""Lungs found: who is held out lends nothing, and the bar decides by the whole interval."""

import numpy as np
import pandas as pd
import pytest
from common import ROOT

from cxrlib.model.segmentation import SHIPPED
from cxrlib.study.pages import lungs

TABLE = ROOT / "results" / "lungs.parquet"


def made(dice, patients):
    generator = np.random.default_rng(0)
    count = 2 * patients
    table = pd.DataFrame({
        "file": [f"{n}.jpg" for n in range(count)], "patient_id": [f"p{n // 2}" for n in range(count)], "label": "positive", "view": ["PA", "AP"] * patients,
        "fold": 0, "doubt": False, "dice": np.clip(generator.normal(dice, 0.03, count), 0, 1), "box": 0.9, "opaque": 0.3, "area": 0.4,
    })  # fmt: skip
    return table[list(lungs.TYPES)].astype(lungs.TYPES)


@pytest.mark.parametrize(("dice", "patients", "passes"), [(0.93, 40, True), (0.902, 6, False), (0.88, 40, False)])
def test_the_whole_interval_must_lie_above_the_bar(dice, patients, passes):
    table = made(dice, patients)
    assert lungs.good_enough(table) is passes
    said = lungs.answer(table)
    assert ("not good enough" in said) is not passes and f"{table['dice'].mean():.3f}" in said and "0.90" in said
    assert {name for name, _ in lungs.groups(table)} == {"all images", "masks not in doubt", "15 to 50 % of the lungs opaque", "view PA", "view AP"}


def test_without_a_record_the_bar_is_said_all_the_same():
    assert lungs.groups(None) == "not recorded yet" and "0.90" in lungs.answer(None)


def test_boxes_overlap_by_their_area():
    mask, box = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    mask[2:6, 2:6] = box[2:6, 4:8] = True
    assert lungs._overlap(mask, box) == pytest.approx(8 / 24) and lungs._overlap(box, box) == 1
    assert lungs._overlap(np.zeros((10, 10), bool), box) == 0 and np.isnan(lungs._overlap(mask, np.zeros((10, 10), bool)))


@pytest.mark.skipif(not TABLE.is_file(), reason="nothing is recorded yet")
def test_the_committed_folds_are_of_patients_and_the_answer_is_the_mean_of_the_rows():
    table = lungs.read(TABLE)
    assert table.groupby("patient_id")["fold"].nunique().max() == 1 and table["fold"].nunique() == 5
    assert table["dice"].notna().sum() == 98
    assert f"{table['dice'].mean():.3f}" in lungs.answer(table)
    assert not SHIPPED.is_file() or lungs.good_enough(table), "what does not pass does not ship"
