"""Diagnostic accuracy of one binary classifier, with intervals. Arrays in, small immutable objects out.

Arrays are as described in `cxrlib.metrics.estimate`. The AUC and its intervals are in `cxrlib.metrics.auc`, comparisons over several
training seeds in `cxrlib.metrics.inference`.

Sources: Wilson 1927 (intervals of proportions); McNemar 1947, exact form; Naeini et al. 2015 (expected calibration
error); Guo et al. 2017 (temperature scaling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.metrics.auc import delong
from cxrlib.metrics.estimate import (
    Estimate,
    check_both_classes,
    check_confidence,
    check_labels,
    check_pair,
    normal_quantile,
)


class Confusion(NamedTuple):
    """Image counts; a positive image is one with COVID-19."""

    tp: int
    fn: int
    tn: int
    fp: int

    @property
    def matrix(self) -> np.ndarray:
        """int array (2, 2): rows are the truth, columns the prediction, negative first (scikit-learn's order)."""
        return np.array([[self.tn, self.fp], [self.fn, self.tp]])


@dataclass(frozen=True)
class Evaluation:
    """Every ratio is an `Estimate` in [0, 1], NaN where its denominator is empty."""

    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    auc: Estimate
    confusion: Confusion
    threshold: float = 0.5
    confidence: float = 0.95


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Proportion successes / n with its Wilson score interval; NaN for n = 0. ValueError unless 0 <= successes <= n."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n = {n}, not {successes}")
    check_confidence(confidence)
    if n == 0:
        return Estimate(math.nan)
    # Written out because every evaluation during training needs it and importing statsmodels takes two seconds.
    z = normal_quantile(confidence)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if successes == 0 else centre - half_width
    high = 1.0 if successes == n else centre + half_width
    return Estimate(share, low, high)


def from_counts(tp: int, fn: int, tn: int, fp: int, confidence: float = 0.95) -> Evaluation:
    """Evaluation of a published confusion matrix; its AUC is NaN. ValueError for negative or fractional counts."""
    for name, count in {"tp": tp, "fn": fn, "tn": tn, "fp": fp}.items():
        if count < 0 or count != int(count):
            raise ValueError(f"{name} must be a whole number of images, not {count}")
    tp, fn, tn, fp = int(tp), int(fn), int(tn), int(fp)
    return Evaluation(
        accuracy=wilson(tp + tn, tp + fn + tn + fp, confidence),
        sensitivity=wilson(tp, tp + fn, confidence),
        specificity=wilson(tn, tn + fp, confidence),
        ppv=wilson(tp, tp + fp, confidence),
        npv=wilson(tn, tn + fn, confidence),
        auc=Estimate(math.nan),
        confusion=Confusion(tp, fn, tn, fp),
        confidence=confidence,
    )


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float = 0.5,
    patients: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Evaluation:
    """Accuracy, sensitivity, specificity, PPV, NPV (Wilson intervals), AUC and the confusion matrix.

    An image is positive if its probability is greater than `threshold` (paper, section 4.2). The AUC interval is
    DeLong's, over patients instead of images if `patients` (N,) is given. Wilson intervals count images as independent.
    An undefined ratio, also on empty arrays, is NaN. ValueError for wrong shapes, lengths or ranges.
    """
    labels, probabilities = check_pair(labels, probabilities, "probabilities", probability=True)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], not {threshold}")
    predicted = probabilities > threshold
    cells = ((1, 1), (1, 0), (0, 0), (0, 1))
    counts = [int(np.sum((labels == truth) & (predicted == positive))) for truth, positive in cells]
    auc = delong(labels, probabilities, confidence, patients)
    return replace(from_counts(*counts, confidence=confidence), auc=auc, threshold=float(threshold))


class RocCurve(NamedTuple):
    """Arrays (K,): both rates in [0, 1] at 'positive if score >= threshold', thresholds falling from inf."""

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    thresholds: np.ndarray


class PrecisionRecall(NamedTuple):
    """Arrays (K + 1,), (K + 1,), (K,) at rising thresholds, the last point at recall 0; and average precision."""

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    average_precision: float


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> RocCurve:
    """Receiver operating characteristic with every threshold kept. ValueError unless both classes occur."""
    from sklearn import metrics

    return RocCurve(*metrics.roc_curve(*check_both_classes(labels, scores, "scores"), drop_intermediate=False))


def precision_recall(labels: ArrayLike, scores: ArrayLike) -> PrecisionRecall:
    """Precision (PPV) against recall (sensitivity). ValueError unless both classes occur."""
    from sklearn import metrics

    labels, scores = check_both_classes(labels, scores, "scores")
    curve = metrics.precision_recall_curve(labels, scores)
    return PrecisionRecall(*curve, float(metrics.average_precision_score(labels, scores)))


@dataclass(frozen=True)
class Calibration:
    """Per probability bin (B,): mean predicted probability, share of positives with Wilson interval, image count.

    Empty bins hold NaN and count 0. `expected_error` (ECE), `largest_error` (MCE) and `brier` are in [0, 1], 0 is best.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    edges: np.ndarray
    expected_error: float
    largest_error: float
    brier: float


def calibration(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10, confidence: float = 0.95) -> Calibration:
    """Reliability over `bins` equal-width bins [a, b), the last one closed. ValueError for bins < 1 or no images."""
    labels, probabilities = check_pair(labels, probabilities, "probabilities", probability=True)
    if bins < 1 or labels.size == 0:
        raise ValueError(f"calibration needs at least one bin and one image, not {bins} bins and {labels.size} images")
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, bins - 1)
    count = np.bincount(member, minlength=bins)
    positives = np.bincount(member, weights=labels, minlength=bins).astype(int)
    shares = [wilson(int(k), int(n), confidence) for k, n in zip(positives, count)]
    total = np.bincount(member, weights=probabilities, minlength=bins)
    predicted = np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)
    observed = np.array(shares, dtype=float)
    gap = np.abs(predicted - observed)[count > 0]
    return Calibration(
        predicted,
        observed,
        np.array([s.low for s in shares]),
        np.array([s.high for s in shares]),
        count,
        edges,
        expected_error=float(np.average(gap, weights=count[count > 0])),
        largest_error=float(gap.max()),
        brier=float(np.mean((probabilities - labels) ** 2)),
    )


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Temperature T in [0.01, 100] that minimises the binary cross entropy of sigmoid(logits / T).

    Fit it on validation images, never on the test set. T > 1 means the model was too sure. Perfectly separated logits
    have no finite optimum and give the lower end. ValueError unless both classes occur.
    """
    from scipy.optimize import minimize_scalar

    labels, logits = check_both_classes(labels, logits, "logits")
    signed = np.where(labels == 1, -logits, logits)
    bounds = (math.log(0.01), math.log(100))
    result = minimize_scalar(
        lambda t: np.logaddexp(0, signed * math.exp(-t)).mean(),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(math.exp(result.x))


def ppv_npv_at_prevalence(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike):
    """(PPV, NPV) by Bayes' rule for a population where a share `prevalence` is ill; arguments in [0, 1] and broadcast.

    Floats for scalar arguments, arrays otherwise; NaN where nobody would be predicted positive (or negative).
    """
    sensitivity, specificity, prevalence = (np.asarray(a, dtype=float) for a in (sensitivity, specificity, prevalence))
    for name, share in (("sensitivity", sensitivity), ("specificity", specificity), ("prevalence", prevalence)):
        if ((share < 0) | (share > 1)).any():
            raise ValueError(f"{name} must lie in [0, 1], not {share}")
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    with np.errstate(invalid="ignore"):
        ppv = true_positive / (true_positive + false_positive)
        npv = true_negative / (true_negative + false_negative)
    return (float(ppv), float(npv)) if ppv.ndim == 0 else (ppv, npv)


class McNemar(NamedTuple):
    """Images that only model a, or only model b, classifies rightly, and the exact two-sided p_value."""

    only_a_right: int
    only_b_right: int
    p_value: float


def mcnemar(labels: ArrayLike, predictions_a: ArrayLike, predictions_b: ArrayLike) -> McNemar:
    """Exact McNemar test of two models' 0/1 predictions (N,) on the same images; p = 1 without a discordant image."""
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    labels = check_labels(labels)
    right = []
    for name, predictions in (("predictions_a", predictions_a), ("predictions_b", predictions_b)):
        predictions = check_labels(predictions, name)
        if predictions.size != labels.size:
            raise ValueError(f"labels has {labels.size} entries, {name} has {predictions.size}")
        right.append(predictions == labels)
    only_a, only_b = int(np.sum(right[0] & ~right[1])), int(np.sum(right[1] & ~right[0]))
    p_value = exact_test([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p_value))
