"""The paper's numbers agree with each other, with the metrics, and with our parameters."""

import re
import subprocess
import sys

import pytest

from cxrlib import config
from cxrlib.metrics import classifier
from cxrlib.study import paper, parameters
from cxrlib.study.claims import CHOICES, CLAIMS

RATIOS = ("accuracy", "sensitivity", "ppv", "specificity", "npv")
CONSISTENT = [row for row in paper.TABLE_1.values() if row.counts]


def printed_percent(part: int, whole: int, digits: int = 1) -> float | None:
    """100 * part / whole as the paper prints it: exact halves rounded up (385 / 400 is 96.3); None if whole is 0.

    Computed in integers, because a float such as 100 * 0.9275 may fall on either side of the half.
    """
    if whole == 0:
        return None
    scale = 10**digits
    return (2 * 100 * scale * part + whole) // (2 * whole) / scale


def printed_ratios(counts: paper.Counts) -> dict[str, float | None]:
    """The five ratios of Table 1 in percent, to its one decimal, from the counts of a confusion matrix."""
    tp, fn, tn, fp = counts.tp, counts.fn, counts.tn, counts.fp
    ratios = {
        "accuracy": (tp + tn, tp + fn + tn + fp),
        "sensitivity": (tp, tp + fn),
        "ppv": (tp, tp + fp),
        "specificity": (tn, tn + fp),
        "npv": (tn, tn + fn),
    }
    return {name: printed_percent(*ratio) for name, ratio in ratios.items()}


@pytest.mark.parametrize("row", CONSISTENT, ids=lambda row: row.network)
def test_metrics_reproduce_every_digit_of_table_1(row):
    c = row.counts
    assert c.tp + c.fn == c.tn + c.fp == paper.TEST_IMAGES_PER_CLASS
    evaluation = classifier.from_counts(c.tp, c.fn, c.tn, c.fp)
    printed = printed_ratios(c)
    for name in RATIOS:
        if getattr(row, name) is not None:
            assert printed[name] == getattr(row, name)
        estimate = getattr(evaluation, name)
        assert abs(100 * estimate - printed[name]) <= 0.05 + 1e-9
        assert estimate.low <= estimate <= estimate.high


@pytest.mark.parametrize("row", CONSISTENT, ids=lambda row: row.network)
def test_per_image_predictions_reproduce_table_1(row):
    c = row.counts
    labels = [1] * (c.tp + c.fn) + [0] * (c.tn + c.fp)
    probabilities = [0.9] * c.tp + [0.5] * c.fn + [0.1] * c.tn + [0.51] * c.fp
    assert tuple(classifier.evaluate(labels, probabilities).confusion) == (c.tp, c.fn, c.tn, c.fp)


def consistent_counts(
    row, positive: int = paper.TEST_IMAGES_PER_CLASS, negative: int = paper.TEST_IMAGES_PER_CLASS
) -> list:
    """Every confusion matrix of a test set of that size that prints as this row; none if the row contradicts itself."""
    candidates = (
        paper.Counts(tp, positive - tp, tn, negative - tn) for tp in range(positive + 1) for tn in range(negative + 1)
    )
    return [
        counts
        for counts in candidates
        if all(getattr(row, name) in (None, value) for name, value in printed_ratios(counts).items())
    ]


def test_counts_of_table_1_are_the_only_ones():
    for row in CONSISTENT:
        assert consistent_counts(row) == [row.counts], row.network


def test_covid_nets_row_contradicts_itself():
    row = paper.TABLE_1["COVID-Net"]
    assert row.counts is None and consistent_counts(row) == []
    # Sensitivity 93.5 and PPV 100 leave one matrix, and its accuracy is 96.75.
    assert printed_ratios(paper.Counts(187, 13, 200, 0))["accuracy"] == 96.8
    # Nor is it a matter of another number of negative test images.
    assert not any(consistent_counts(row, negative=n) for n in (100, 150, 300))


def test_differences_named_in_section_4_2():
    table = paper.TABLE_1
    assert table["BiT-S"].accuracy - table["COVID-Net"].accuracy == pytest.approx(0.8)
    assert table["Random"].accuracy - table["ResNet-50"].accuracy == pytest.approx(2.3)
    correct = [c.tp + c.tn for c in (table["BiT-M"].counts, table["COVID-Net CXR-2"].counts)]
    assert correct[0] - correct[1] == 1


def test_rounding_is_half_up():
    assert [printed_percent(k, 400) for k in (385, 371, 379, 381)] == [96.3, 92.8, 94.8, 95.3]
    assert printed_percent(0, 3) == 0 and printed_percent(3, 3) == 100
    assert printed_percent(0, 0) is None
    assert printed_percent(379, 400, digits=2) == paper.FEW_SHOT_ACCURACY["bit-m"][512]


def test_counts_of_the_data_set_add_up():
    counts = paper.DATASET_COUNTS
    parts = ("no pneumonia", "non-COVID pneumonia")
    assert counts["negative"].images == sum(counts[f"negative, {part}"].images for part in parts)
    assert counts["negative"].patients == sum(counts[f"negative, {part}"].patients for part in parts)
    assert counts["test negative"].images == sum(counts[f"test negative, {part}"].images for part in parts)
    assert counts["test positive"].images == counts["test negative"].images == paper.TEST_IMAGES_PER_CLASS
    assert paper.training_images("positive") == 2158
    assert all(c.patients is None or c.patients <= c.images for c in counts.values())


def test_grids_are_the_defaults_of_our_studies():
    grid = paper.FIGURE_4
    assert grid.runs == 72
    sensitivity = parameters.Sensitivity()
    assert sensitivity.resolutions == grid.resolutions and sensitivity.schedules == grid.schedules
    assert sensitivity.inits == grid.inits and len(sensitivity.runs()) == grid.runs
    performance = parameters.Performance()
    assert (performance.resize, performance.crop) == paper.CHOSEN_RESOLUTION
    assert performance.schedule == paper.CHOSEN_SCHEDULE and performance.eval_every == paper.EVALUATION_INTERVAL
    assert parameters.DataSize().sizes == paper.DATA_SIZES
    # Issue: 87 distinct runs, the three of Table 1 being among the 72.
    assert grid.runs + len(paper.DATA_SIZES) * len(grid.inits) == 87


def test_claims_are_nine_and_complete():
    assert [claim.number for claim in CLAIMS] == list(range(1, 10))
    for claim in CLAIMS:
        assert claim.title and claim.text.endswith(".") and claim.quote
        assert re.fullmatch(r"4\.\d", claim.section) and re.fullmatch(r"(Table|Figure) \d", claim.figure)


def test_choices_name_real_parameters():
    fields = set().union(*(study.model_fields for study in parameters.STUDIES.values()), config.RunConfig.model_fields)
    for choice in CHOICES:
        for name in choice.parameter.split(", ") if choice.parameter else ():
            assert name in fields | {"source_confounding"}, (choice.topic, name)
    assert len({choice.topic for choice in CHOICES}) == len(CHOICES)


def test_paper_and_claims_import_nothing_heavy():
    code = "import sys, cxrlib.study.paper, cxrlib.study.claims; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
