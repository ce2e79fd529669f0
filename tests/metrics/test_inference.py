"""Intervals over seeds and patients: coverage, pairing, verdicts."""

import math

import numpy as np
import pytest

from cxrlib.metrics import inference
from cxrlib.metrics.estimate import Estimate


def simulate(random, seeds, images, accuracy=0.9, seed_spread=0.0):
    level = accuracy + seed_spread * random.normal(size=(seeds, 1))
    return random.random((seeds, images)) < level


def test_one_seed_is_the_binomial_error():
    correct = np.arange(400) < 360
    e = inference.accuracy_over_seeds(correct[None])
    assert e == 0.9 and (e.high - e.low) / 2 == pytest.approx(1.96 * math.sqrt(0.9 * 0.1 / 400), rel=0.08)


def test_images_of_one_patient_count_together():
    correct = (np.arange(100) < 80)[None]
    plain = inference.accuracy_over_seeds(correct)
    copies = inference.accuracy_over_seeds(np.repeat(correct, 4, axis=1), np.repeat(np.arange(100), 4))
    assert (copies.low, copies.high) == pytest.approx((plain.low, plain.high), abs=0.015)


def test_seed_spread_widens_the_interval_even_with_three_seeds():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        e = inference.accuracy_over_seeds(simulate(random, 3, 500, 0.8, 0.06))
        covered.append(e.low <= 0.8 <= e.high)
    assert 0.925 < np.mean(covered) < 0.97
    tight = inference.accuracy_over_seeds(np.tile(np.arange(2000) < 1700, (3, 1)))
    loose = inference.accuracy_over_seeds(np.stack([np.arange(2000) < n for n in (1500, 1700, 1900)]))
    assert loose.high - loose.low > 3 * (tight.high - tight.low)


def test_all_right_still_has_an_interval():
    e = inference.accuracy_over_seeds(np.ones((3, 50)))
    assert e == e.high == 1 and 0.9 < e.low < 0.95
    assert inference.accuracy_over_seeds([[0, 0]]) == 0


def test_difference_is_paired():
    random = np.random.default_rng(2)
    hard = random.random(400) < 0.2
    a = np.tile(~hard, (3, 1))
    b = a.copy()
    b[:, :12] = False
    d = inference.difference_over_seeds(a, b)
    assert d == pytest.approx(a.mean() - b.mean()) and d.low > 0 and d.p_value < 0.01
    unpaired = inference.accuracy_over_seeds(a)
    assert d.high - d.low < 0.5 * (unpaired.high - unpaired.low)
    reverse = inference.difference_over_seeds(b, a)
    assert (reverse.low, reverse.high, reverse.p_value) == pytest.approx((-d.high, -d.low, d.p_value))
    same = inference.difference_over_seeds(a, a)
    assert (same, same.p_value) == (0, 1) and -same.low == same.high == pytest.approx(1 - 0.025 ** (1 / 400)), "400 images alike say no more"


def test_p_value_is_uniform_enough_without_an_effect():
    random = np.random.default_rng(4)
    p = [
        inference.difference_over_seeds(simulate(random, 5, 200), simulate(random, 5, 200)).p_value
        for _ in range(1000)
    ]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.07
    assert 0.4 < np.mean(np.array(p) < 0.5) < 0.56


def test_settings_of_a_seed_are_averaged_within_it():
    random = np.random.default_rng(1)
    level = random.random((3, 200)) < 0.8
    six = np.repeat(level, 2, axis=0)
    seeds = np.repeat([0, 1, 2], 2).tolist()
    assert inference.accuracy_over_seeds(six, seeds=seeds) == pytest.approx(inference.accuracy_over_seeds(level))
    one, same = inference.accuracy_over_seeds(level), inference.accuracy_over_seeds(six, seeds=seeds)
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    pretended = inference.accuracy_over_seeds(six)
    assert pretended.high - pretended.low <= one.high - one.low


def test_what_was_not_scored_does_not_count():
    values = np.array([[1.0, 0.0, np.nan], [np.nan, np.nan, 1.0]])
    e = inference.share_over_seeds(values, ["p", "q", "r"])
    assert e == pytest.approx(2 / 3) and 0 <= e.low < e < e.high <= 1
    assert math.isnan(inference.share_over_seeds(np.full((2, 3), np.nan)))
    perfect = inference.share_over_seeds(np.array([[1.0, np.nan], [np.nan, np.nan]]), ["p", "q"])
    assert perfect == 1 and perfect.low == pytest.approx(inference.wilson(1, 1).low), "one patient was scored"


def test_auc_over_seeds_is_the_mean_of_scikit_learns():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    labels = np.repeat([1, 0], [20, 30])
    scores = random.normal(size=(2, 50)) + labels
    scores[0, :5] = np.nan
    e = inference.auc_over_seeds(scores, labels)
    known = np.isfinite(scores)
    assert e == pytest.approx(np.mean([roc_auc_score(labels[k], row[k]) for row, k in zip(scores, known)]))
    assert e.low < e < e.high
    assert math.isnan(inference.auc_over_seeds(np.full((1, 50), np.nan), labels))
    perfect = inference.auc_over_seeds(np.tile(labels, (2, 1)), labels)
    assert perfect == perfect.high == 1 and 0.8 < perfect.low < 0.98
    gap = inference.auc_difference(scores, np.zeros_like(scores), labels)
    assert gap == pytest.approx(e - 0.5) and gap.p_value < 0.05


@pytest.mark.parametrize(
    "low, high, expected, answer",
    [
        (0.01, 0.03, 1, "holds"),
        (-0.01, 0.03, 1, "not seen"),
        (-0.03, -0.01, 1, "contradicted"),
        (-0.03, -0.01, -1, "holds"),
        (0.01, 0.03, -1, "contradicted"),
        (0.0, 0.03, 1, "not seen"),
        (math.nan, math.nan, 1, "not seen"),
    ],
)
def test_verdict(low, high, expected, answer):
    assert inference.verdict(Estimate((low + high) / 2, low, high), expected) == answer


def test_holm():
    assert inference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert inference.holm([0.01, math.nan, 0.04])[[0, 2]] == pytest.approx([0.02, 0.04])
    assert inference.holm([]).size == 0
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        inference.holm([1.2])


@pytest.mark.parametrize(
    "correct, message",
    [
        ([True, False], "shape"),
        (np.zeros((0, 5)), "shape"),
        ([[0.5, 1]], "boolean"),
        ([["a"]], "boolean"),
    ],
)
def test_wrong_correct_is_named(correct, message):
    with pytest.raises(ValueError, match=message):
        inference.accuracy_over_seeds(correct)


def test_unpaired_shapes_are_refused():
    with pytest.raises(ValueError, match="same order"):
        inference.difference_over_seeds(np.ones((3, 5)), np.ones((2, 5)))
    with pytest.raises(ValueError, match="expected"):
        inference.verdict(Estimate(0.1, 0, 1), 2)


# Few patients


def test_one_patient_of_each_class_has_no_interval_and_no_loop():
    """H1: no draw of one patient holds both classes; it was looked for without end."""
    from cxrlib.metrics import operating
    from cxrlib.study.pages import table1

    labels, patients = np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"])
    few = operating.Scores(np.array([[-1.0, 0.5, 1.0, 2.0], [-1.0, 0.5, -1.0, 2.0]]), labels, patients)
    row = operating.performance_of(few)
    assert row["sensitivity"] == 0.75 and np.isnan(row["sensitivity"].low)
    assert row["specificity"] == 0.5
    assert row["auc"] == 0.8125 and row["auc"].low < 0.3 and row["auc"].high > 0.98, "Newcombe's interval of one patient in each class"
    perfect = operating.performance_of(few._replace(logits=np.array([[-1.0, -1.0, 1.0, 1.0]])))
    assert perfect["sensitivity"] == 1 and 0.1 < perfect["sensitivity"].low < 0.3, "Wilson's interval of 1 of 1 patient"
    found = table1.drop(few, few)
    assert all(value == 0 for value in found.values()) and np.isnan(found["auc"].low)
    one_run = few._replace(logits=few.logits[:1])
    assert all(np.isnan(value.low) for name, value in operating.performance_of(one_run).items() if name in ("sensitivity", "specificity") and 0 < value < 1)
    drawn = operating.resampled(few, lambda logits, labels: operating.sensitivity_at(logits, labels, 0.5), 50)
    assert drawn.minus(drawn).p_value == 1.0 and np.isnan(drawn.minus(drawn).low)
    mixed = few._replace(patients=np.array(["a", "b", "a", "b"]))
    assert np.isfinite(operating.performance_of(mixed)["auc"].low), "patients with images of both classes can be drawn"
    apart = operating.performance_of(mixed._replace(logits=np.array([[-1.0, -1.0, 1.0, 1.0]])))
    assert apart["auc"] == 1 and 0 < apart["auc"].low < 1, "a perfect ranking of patients who are all ill in one image and well in another"
    three = few._replace(patients=np.array(["a", "c", "b", "b"]))
    assert operating.performance_of(three)["auc"].low < 0.3, "one ill patient says nothing of how ill patients differ: Newcombe's interval"


def test_patients_with_images_of_both_classes_count_in_both():
    """Newcombe's interval divided by the number of patients without a positive image, which may be none."""
    from cxrlib.metrics import operating

    both = operating.Scores(np.array([[-2.0, 1.0, -1.0, 2.0, -1.5, 1.5]]), np.array([0, 1] * 3), np.array(["a", "a", "b", "b", "c", "c"]))
    row = operating.performance_of(both)
    assert row["auc"] == 1 and 0.2 < row["auc"].low < 0.8 and row["auc"].high == 1


def test_images_that_no_run_scored_are_no_patients():
    labels = np.r_[np.ones(30, int), np.zeros(30, int)]
    scores = np.where(labels, 1.0, 0.0)[None].repeat(2, 0)
    scores[:, :18] = np.nan
    assert inference.auc_over_seeds(scores, labels).low == inference.auc_over_seeds(scores[:, 18:], labels[18:]).low
    assert inference.auc_difference(scores, scores, labels).high == inference.auc_difference(scores[:, 18:], scores[:, 18:], labels[18:]).high
