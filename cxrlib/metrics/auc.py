"""Area under the ROC curve: DeLong's interval, for images or patients.

Sources: DeLong et al. 1988 (Biometrics 44, 837) in the midrank form of Sun & Xu 2014 (IEEE Signal Processing Letters
21, 1389); Obuchowski 1997 (Biometrics 53, 567: several images of a patient); Newcombe 2006 (Statistics in Medicine 25, 559), method 5, for an AUC of exactly 0 or 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.metrics.estimate import (
    Estimate,
    check_confidence,
    check_pair,
    normal_quantile,
    patient_index,
    patients_by_class,
)

FEW = 10
"""With fewer patients in a class intervals of DeLong's kind are too narrow: with 3 against 100 those of 95 % held 78 to 83 % of true values."""


def delong_placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Placement values of the positives (P,) and of the negatives (Q,), ties counted half; both have the AUC as mean.

    A positive's value is the share of negatives below it, a negative's the share of positives above it (Sun & Xu 2014).
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    rank = _midranks(np.concatenate([positive, negative]))
    below = (rank[: positive.size] - _midranks(positive)) / negative.size
    above = 1 - (rank[positive.size :] - _midranks(negative)) / positive.size
    return below, above


def influence(labels: np.ndarray, below: np.ndarray, above: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """What each patient adds to the AUC, (n_groups,): the variance of the AUC is the sum of their squares.

    Of placement values less their mean, summed over the images of a patient, those of either class times the root of
    I / (I - 1), with I patients of that class (Obuchowski 1997, whose covariance of the classes has the same factor up to
    order 1 / I). With one patient in a class there is no such factor, and the variance is too small.

    Args:
        labels: of 0 and 1 (N,).
        below, above: of :func:`delong_placements`.
        group: patient of each image (N,), from 0.
    """
    each = np.zeros(n_groups)
    for label, values in ((1, below), (0, above)):
        ill = group[labels == label]
        patients = len(np.unique(ill))
        factor = math.sqrt(patients / max(patients - 1, 1)) / len(values)
        each += np.bincount(ill, weights=(values - values.mean()) * factor, minlength=n_groups)
    return each


def _midranks(values: np.ndarray) -> np.ndarray:
    # scipy.stats.rankdata gives the same, but importing scipy.stats takes over a second and training needs this.
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[group]


def delong(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95, patients: ArrayLike | None = None) -> Estimate:
    """AUC with DeLong's interval on the logit scale, so that it stays inside [0, 1]; NaN unless both classes occur.

    With `patients` (N,), ids of any type, the images of a patient count together (Obuchowski 1997); a missing id is a
    ValueError. Where the variance is zero (an AUC of exactly 0 or 1), and with fewer than :data:`FEW` images, or patients, in
    a class, the interval is Newcombe's (2006, method 5), with their numbers.
    """
    labels, scores = check_pair(labels, scores, "scores")
    check_confidence(confidence)
    group, n_groups = patient_index(patients, labels.size)
    if labels.all() or not labels.any():
        return Estimate(math.nan)
    below, above = delong_placements(labels, scores)
    auc = float(below.mean())
    each = influence(labels, below, above, group, n_groups)
    n_positive, n_negative = patients_by_class(labels, group)
    variance = float((each**2).sum())
    if not 0 < auc < 1 or variance <= 0 or min(n_positive, n_negative) < FEW:
        return Estimate(auc, *newcombe_auc(auc, n_positive, n_negative, confidence))
    from scipy.special import expit, logit

    half_width = normal_quantile(confidence) * math.sqrt(variance) / (auc * (1 - auc))
    return Estimate(auc, expit(logit(auc) - half_width), expit(logit(auc) + half_width))


def newcombe_auc(auc: float, n_positive: int, n_negative: int, confidence: float) -> tuple[float, float]:
    """Newcombe's method 5: the true values t with |auc - t| <= z sqrt(V(t)), V being Hanley & McNeil's variance."""
    from scipy.optimize import brentq

    z = normal_quantile(confidence)
    pairs = (n_positive + n_negative) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + pairs * ((1 - t) / (2 - t) + t / (1 + t))) / (n_positive * n_negative)
        return abs(auc - t) - z * math.sqrt(variance)

    # Next to an AUC of 0 or 1 the bound is the AUC itself; excess is negative near the AUC and positive at the far end.
    edge = 1e-12
    low = 0.0 if auc <= 0 else brentq(excess, 0.0, auc - edge) if excess(auc - edge) < 0 else auc
    high = 1.0 if auc >= 1 else brentq(excess, auc + edge, 1.0) if excess(auc + edge) < 0 else auc
    return low, high
