"""Metrics against Table 1, scikit-learn and brute force, and what happens at the edges."""

import copy
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from cxrlib.metrics import auc, classifier, operating
from cxrlib.metrics.estimate import TOO_FEW, Estimate, patient_index


def brute_force_auc(labels, scores):
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins, wins.mean()


@pytest.fixture
def noisy():
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 150)
    return labels, np.round(np.clip(0.5 + 0.2 * (labels - 0.5) + random.normal(0, 0.15, 150), 0, 1), 2)


def test_threshold_is_strict_and_counts_are_right():
    e = classifier.evaluate([1, 1, 0, 0, 1], [0.5, 0.9, 0.5, 0.51, 0.2])
    assert e.confusion == classifier.Confusion(tp=1, fn=2, tn=1, fp=1)
    assert (e.accuracy, e.ppv, e.npv) == (0.4, 0.5, 1 / 3)
    assert e.confusion.matrix.tolist() == [[1, 1], [2, 1]]
    assert classifier.evaluate([1, 1, 0, 0, 1], [0.5, 0.9, 0.5, 0.51, 0.2], threshold=0.1).sensitivity == 1


def test_evaluate_agrees_with_scikit_learn(noisy):
    labels, probabilities = noisy
    e = classifier.evaluate(labels, probabilities, threshold=0.45)
    predicted = probabilities > 0.45
    assert e.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    assert e.sensitivity == pytest.approx(sk.recall_score(labels, predicted))
    assert e.ppv == pytest.approx(sk.precision_score(labels, predicted))
    assert e.specificity == pytest.approx(sk.recall_score(labels, predicted, pos_label=0))
    assert e.npv == pytest.approx(sk.precision_score(labels, predicted, pos_label=0))
    assert e.auc == pytest.approx(sk.roc_auc_score(labels, probabilities))
    assert (e.confusion.matrix == sk.confusion_matrix(labels, predicted)).all()
    for estimate in (e.accuracy, e.sensitivity, e.specificity, e.ppv, e.npv, e.auc):
        assert 0 <= estimate.low < estimate < estimate.high <= 1


def test_wilson_reference_values():
    # 81 of 263: the worked example of Newcombe 1998, Statistics in Medicine 17, 857.
    e = classifier.wilson(81, 263)
    assert (round(e.low, 4), round(e.high, 4)) == (0.2553, 0.3662)
    for k, n in ((0, 7), (7, 7), (3, 7), (371, 400)):
        e = classifier.wilson(k, n, confidence=0.9)
        assert (e.low, e.high) == pytest.approx(proportion_confint(k, n, 0.1, "wilson"), abs=1e-12)
    perfect = classifier.wilson(200, 200)
    assert perfect == perfect.high == 1 and perfect.low == pytest.approx(200 / (200 + 1.959964**2), abs=1e-6)
    assert math.isnan(classifier.wilson(0, 0)) and math.isnan(classifier.wilson(0, 0).low)
    with pytest.raises(ValueError, match="between 0 and n = 3"):
        classifier.wilson(4, 3)


def test_one_class_and_empty_give_nan_not_errors():
    only_positive = classifier.evaluate([1, 1], [0.9, 0.2])
    assert only_positive.sensitivity == 0.5 and only_positive.npv == 0
    assert math.isnan(only_positive.specificity) and math.isnan(only_positive.auc) and math.isnan(only_positive.auc.low)
    assert math.isnan(classifier.evaluate([1, 0], [0.1, 0.1]).ppv)
    empty = classifier.evaluate([], [])
    assert all(math.isnan(v) for v in (empty.accuracy, empty.ppv, empty.auc)) and empty.confusion == (0, 0, 0, 0)
    assert math.isnan(classifier.evaluate([0, 0], [0.1, 0.2], patients=["a", "b"]).auc)


@pytest.mark.parametrize(
    "labels, probabilities, message",
    [
        ([0, 2], [0.1, 0.2], "labels must be 0 or 1: entry 1 is 2"),
        ([0, -1], [0.1, 0.2], "must be 0 or 1"),
        ([0.0, np.nan], [0.1, 0.2], "must be 0 or 1"),
        (["positive", "negative"], [0.1, 0.2], "0 .negative. or 1 .positive."),
        ([None, 1], [0.1, 0.2], "0 .negative. or 1 .positive."),
        ([[0], [1]], [0.1, 0.2], r"one dimension.*\(2, 1\)"),
        ([0, 1], [[0.1, 0.9], [0.2, 0.8]], "two class probabilities"),
        ([0, 1], [0.1, np.nan], "finite: entry 1"),
        ([0, 1], [0.1, np.inf], "finite"),
        ([0, 1], [-3.0, 4.0], "sigmoid"),
        ([0, 1], [10, 96.5], "percentages"),
        ([0, 1], ["0.1", "0.2"], "must be numbers"),
        ([0, 1, 1], [0.1, 0.2], "3 entries"),
        (1, 0.5, "one dimension"),
    ],
)
def test_wrong_input_is_named(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        classifier.evaluate(labels, probabilities)


def test_wrong_settings_are_named():
    for wrong in ({"threshold": 50}, {"confidence": 95}, {"threshold": float("nan")}):
        with pytest.raises(ValueError, match="threshold|confidence"):
            classifier.evaluate([0, 1], [0.1, 0.9], **wrong)
    with pytest.raises(ValueError, match="whole number"):
        classifier.from_counts(1.5, 0, 0, 0)
    with pytest.raises(ValueError, match="whole number"):
        classifier.from_counts(1, -1, 0, 0)


def test_lists_tensors_and_columns_are_taken():
    import pandas
    import torch

    table = pandas.DataFrame({"y": [0, 1, 1], "p": [0.1, 0.8, 0.3]})
    expected = repr(classifier.evaluate([0, 1, 1], [0.1, 0.8, 0.3]))
    assert repr(classifier.evaluate(table.y, table.p)) == expected
    assert repr(classifier.evaluate(np.array([False, True, True]), table.p)) == expected
    assert classifier.evaluate(torch.tensor([0.0, 1, 1]), torch.tensor([0.1, 0.8, 0.3])).confusion == (1, 1, 1, 0)


def test_evaluating_during_training_imports_little():
    code = (
        "import sys, cxrlib.metrics.classifier as m; m.evaluate([0, 1, 1], [0.1, 0.2, 0.05]);"
        "print([n for n in ('scipy.stats', 'sklearn', 'statsmodels', 'pandas', 'torch') if n in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_estimate_is_a_float_that_survives_copies():
    e = Estimate(0.965, 0.942, 0.979, p_value=0.5)
    assert f"{e:.3f}" == "0.965" and e > 0.96 and json.dumps(e) == "0.965"
    assert Estimate(0.913, 0.01, 1.0).percent() == f"91.3 ({TOO_FEW})" and Estimate(0.5, 0.1, 0.9).percent() == "50.0 (10.0 to 90.0)"
    assert e.percent() == "96.5 (94.2 to 97.9)" and Estimate(math.nan).percent() == "–"
    assert Estimate(0.0275).percent() == Estimate(0.1275 - 0.1).percent() == "2.8", "noise of floating point decides no digit"
    for twin in (copy.deepcopy(e), pickle.loads(pickle.dumps(e))):
        assert (twin, twin.low, twin.high, twin.p_value) == (0.965, 0.942, 0.979, 0.5)


def test_delong_equals_brute_force_with_ties(noisy):
    labels, scores = noisy
    wins, area = brute_force_auc(labels, scores)
    assert auc.delong(labels, scores) == pytest.approx(area) == pytest.approx(sk.roc_auc_score(labels, scores))
    below, above = auc.delong_placements(labels, scores)
    np.testing.assert_allclose(below, wins.mean(axis=1))
    np.testing.assert_allclose(above, wins.mean(axis=0))
    error = math.sqrt(wins.mean(1).var(ddof=1) / wins.shape[0] + wins.mean(0).var(ddof=1) / wins.shape[1])
    e = auc.delong(labels, scores)
    centre = math.log(area / (1 - area))
    step = 1.959963984540054 * error / (area * (1 - area))
    assert (e.low, e.high) == pytest.approx((1 / (1 + math.exp(step - centre)), 1 / (1 + math.exp(-step - centre))))


def test_delong_interval_covers_the_truth():
    random = np.random.default_rng(0)
    truth = 0.5 * math.erfc(-1.5 / 2)  # two unit normals 1.5 apart
    labels = np.repeat([0, 1], 60)
    intervals = [auc.delong(labels, random.normal(1.5 * labels)) for _ in range(400)]
    assert 0.92 <= np.mean([e.low <= truth <= e.high for e in intervals]) <= 0.98


def test_perfect_separation_keeps_an_honest_interval():
    labels, scores = [0] * 20 + [1] * 20, list(range(40))
    for e in (auc.delong(labels, scores), auc.delong(labels, scores, patients=range(40))):
        assert e == e.high == 1 and 0.8 < e.low < 0.98
    assert auc.delong([1, 0], [0.1, 0.9]) == 0 < auc.delong([1, 0], [0.1, 0.9]).high
    assert auc.delong([1, 0, 0], [0.5, 0.5, 0.5]) == 0.5


def test_auc_over_patients_counts_patients_not_images(noisy):
    labels, scores = noisy
    analytic = auc.delong(labels, scores)
    single = auc.delong(labels, scores, patients=np.arange(labels.size))
    assert single == pytest.approx(analytic)
    assert (single.low, single.high) == pytest.approx((analytic.low, analytic.high), abs=0.002), "each image its own patient"
    copies = auc.delong(np.repeat(labels, 4), np.repeat(scores, 4), patients=np.repeat(np.arange(labels.size), 4))
    assert (copies.low, copies.high) == pytest.approx((single.low, single.high), abs=1e-9)
    assert auc.delong(np.repeat(labels, 4), np.repeat(scores, 4)).low > copies.low + 0.01
    assert classifier.evaluate(labels, scores, patients=[str(i) for i in range(labels.size)]).auc.low == single.low


def test_patient_ids_of_any_kind():
    assert patient_index(["b", "a", "b"], 3)[0].tolist() == [1, 0, 1]
    assert patient_index(None, 2) == (pytest.approx([0, 1]), 2)
    for missing in ([1.0, np.nan], ["a", None], ["a", np.nan]):
        with pytest.raises(ValueError, match="missing id"):
            patient_index(missing, 2)
    with pytest.raises(ValueError, match="2 entries for 3 images"):
        patient_index(["a", "b"], 3)


def test_curves_agree_with_their_areas(noisy):
    labels, scores = noisy
    roc = classifier.roc_curve(labels, scores)
    area = np.trapezoid(roc.true_positive_rate, roc.false_positive_rate)
    assert area == pytest.approx(sk.roc_auc_score(labels, scores)) and roc.thresholds[0] == np.inf
    curve = classifier.precision_recall(labels, scores)
    assert curve.average_precision == pytest.approx(-np.sum(np.diff(curve.recall) * curve.precision[:-1]))
    for function in (classifier.roc_curve, classifier.precision_recall):
        with pytest.raises(ValueError, match="both classes"):
            function([1, 1], [0.1, 0.2])


def test_calibration():
    c = classifier.calibration([0, 0, 1, 1, 1], [0.0, 0.15, 0.15, 1.0, 0.95], bins=10)
    assert c.count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2] and math.isnan(c.observed[4])
    assert c.observed[1] == 0.5 and c.predicted[9] == pytest.approx(0.975)
    assert c.expected_error == pytest.approx((0 + 2 * 0.35 + 2 * 0.025) / 5) and c.largest_error == pytest.approx(0.35)
    assert c.brier == pytest.approx(sk.brier_score_loss([0, 0, 1, 1, 1], [0.0, 0.15, 0.15, 1.0, 0.95]))
    with pytest.raises(ValueError, match="at least one bin"):
        classifier.calibration([], [])


def test_temperature_is_recovered():
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, 20_000)
    labels = random.random(20_000) < 1 / (1 + np.exp(-logits))
    assert classifier.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    assert classifier.fit_temperature([-1.0, 1.0], [0, 1]) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(ValueError, match="both classes"):
        classifier.fit_temperature([1.0], [1])


def test_predictive_values_follow_prevalence():
    ppv, npv = classifier.ppv_npv_at_prevalence(0.93, 0.97, 0.5)
    assert ppv == pytest.approx(0.93 / 0.96) and npv == pytest.approx(0.97 / 1.04)
    ppv, npv = classifier.ppv_npv_at_prevalence(0.955, 0.97, [0.0, 0.01, 1.0])
    assert ppv == pytest.approx([0, 0.00955 / (0.00955 + 0.0297), 1]) and npv[0] == 1
    assert math.isnan(classifier.ppv_npv_at_prevalence(0.0, 1.0, 0.1)[0])
    with pytest.raises(ValueError, match="prevalence"):
        classifier.ppv_npv_at_prevalence(0.9, 0.9, 5)


def test_mcnemar_is_the_binomial_test():
    from scipy.stats import binomtest

    labels = np.ones(30, int)
    a = np.r_[np.ones(25, int), np.zeros(5, int)]
    b = np.r_[np.ones(13, int), np.zeros(12, int), np.ones(3, int), np.zeros(2, int)]
    result = classifier.mcnemar(labels, a, b)
    assert result[:2] == (12, 3) and result.p_value == pytest.approx(binomtest(3, 15).pvalue)
    assert classifier.mcnemar(labels, a, a).p_value == 1
    with pytest.raises(ValueError, match="predictions_b"):
        classifier.mcnemar([1, 0], [1, 0], [0.7, 0.2])


def obuchowski(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> float:
    """Variance of the AUC by the formulas of Obuchowski 1997, term by term."""
    below = np.array([np.mean([(s > z) + (s == z) / 2 for z in scores[labels == 0]]) for s in scores[labels == 1]])
    above = np.array([np.mean([(s > z) + (s == z) / 2 for s in scores[labels == 1]]) for z in scores[labels == 0]])
    area, names = below.mean(), np.unique(patients)
    ill = np.array([(below[patients[labels == 1] == name] - area).sum() for name in names])
    well = np.array([(above[patients[labels == 0] == name] - area).sum() for name in names])
    i10, i01 = (len(np.unique(patients[labels == label])) for label in (1, 0))
    positive, negative = i10 / (i10 - 1) * (ill**2).sum() / len(below) ** 2, i01 / (i01 - 1) * (well**2).sum() / len(above) ** 2
    covariance = len(names) / (len(names) - 1) * (ill * well).sum() / len(below) / len(above)
    return positive + negative + 2 * covariance


def test_delong_over_patients_is_obuchowskis():
    random = np.random.default_rng(3)
    for images in (80, 300):
        labels, patients = np.arange(images) % 3 == 0, random.integers(images // 3, size=images)
        scores = np.round(labels + random.normal(size=images) + random.normal(size=images)[patients], 1)
        found = auc.delong(labels.astype(int), scores, patients=patients)
        error = (math.log(found.high / (1 - found.high)) - math.log(found / (1 - found))) * found * (1 - found) / 1.959964
        assert error**2 == pytest.approx(obuchowski(labels.astype(int), scores, patients), rel=0.01)
        several = operating.performance_of(operating.Scores(scores[None], labels.astype(int), patients))["auc"]
        assert several.high - several.low == pytest.approx(found.high - found.low, rel=0.1), "Student's t is a little wider"


@pytest.mark.parametrize("positives", [1, 2, 3, 5])
def test_the_auc_of_few_patients_of_a_class_is_covered(positives):
    """1 positive patient among 200 had an interval as if the patients were many: 39 of 100 held the truth."""
    random = np.random.default_rng(positives)
    labels, patients = np.r_[np.ones(positives, int), np.zeros(100, int)], np.arange(positives + 100)
    truth, held = norm.cdf(1.6 / math.sqrt(2)), np.zeros(2)
    for _ in range(200):
        scores = 1.6 * labels + random.normal(size=len(labels))
        for place, found in enumerate((auc.delong(labels, scores, patients=patients), operating.performance_of(operating.Scores(scores[None], labels, patients))["auc"])):
            held[place] += found.low <= truth <= found.high
    assert (held >= 0.87 * 200).all()
