"""Accuracies, AUCs and differences over training seeds and test images, each with an interval, by :mod:`cxrlib.metrics.two_way`.

`correct` is a bool array of shape (seeds, images): whether the run with that seed classified that test image rightly.
With one seed an interval covers the choice of test images alone, not the randomness of training. A share of exactly 0 or
1 in every run shows no spread: it gets Wilson's interval for the number of patients, an AUC of 0 or 1 Newcombe's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.metrics import two_way
from cxrlib.metrics.auc import FEW, newcombe_auc
from cxrlib.metrics.classifier import wilson
from cxrlib.metrics.estimate import Estimate, patient_index, patients_by_class


def accuracy_over_seeds(correct: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95, seeds: Sequence[Hashable] | None = None) -> Estimate:
    """Mean accuracy over seeds and images, in [0, 1], with its interval.

    Args:
        patients: ids (images,); None makes every image its own patient.
        seeds: of each row, if several settings share a seed: they are averaged within it.

    Raises:
        ValueError: for wrong shapes or values.
    """
    return share_over_seeds(_check_correct(correct, "correct"), patients, confidence, seeds)


def share_over_seeds(values: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95, seeds: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of shares in [0, 1] over seeds and images, NaN where a seed did not score an image; NaN if nothing was scored.

    The mean is over all that was scored, so a seed that scored more counts more.
    """
    values = np.asarray(values, dtype=float)
    found = two_way.analyse(_of_seeds(two_way.share(values, patients, pooled=True), seeds), bounded=True)
    if found.value in (0, 1) and not found.error > 0:
        seen = np.isfinite(values).any(axis=0)
        count = patient_index(None if patients is None else np.asarray(patients, dtype=object)[seen], int(seen.sum()))[1]
        return wilson(count * round(found.value), count, confidence)
    return found.estimate(confidence)


def difference_over_seeds(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    patients: ArrayLike | None = None,
    confidence: float = 0.95,
    seeds: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Estimate:
    """Accuracy of a minus accuracy of b, in [-1, 1], with interval and two-sided p_value; see :func:`compare_correct`."""
    return compare_correct(correct_a, correct_b, patients, seeds, groups).estimate(confidence)


def compare_correct(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    patients: ArrayLike | None = None,
    seeds: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> two_way.Measured:
    """Accuracy of a minus accuracy of b, paired over rows and images.

    Args:
        correct_a, correct_b: row k of both must be the same seed and column i the same image.
        seeds: of each row, if several settings share a seed: they are averaged within it.
        groups: the pretraining of each seed, in the order in which seeds first occur; see :func:`cxrlib.metrics.two_way.analyse`.

    Raises:
        ValueError: if the shapes differ.
    """
    correct_a, correct_b = _check_correct(correct_a, "correct_a"), _check_correct(correct_b, "correct_b")
    if correct_a.shape != correct_b.shape:
        raise ValueError(
            f"correct_a has shape {correct_a.shape}, correct_b {correct_b.shape}: "
            f"keep the seeds and test images that both have, in the same order"
        )
    return two_way.analyse(_of_seeds(two_way.share(correct_a - correct_b, patients), seeds), groups)


def auc_over_seeds(scores: ArrayLike, labels: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean AUC over runs of scores (runs, images), NaN where a run did not see an image; NaN unless both classes occur."""
    return area_estimate(two_way.analyse(two_way.area(scores, labels, patients), bounded=True), *_scored(scores, labels, patients), confidence)


def area_estimate(found: two_way.Measured, ill: int, well: int, confidence: float = 0.95) -> Estimate:
    """An AUC with its interval: that of ``found``, or Newcombe's where nothing varies, or both together with few patients in a class.

    Args:
        ill, well: patients with positive and with negative images.
    """
    if not min(ill, well) or np.isnan(found.value):
        return Estimate(found.value)
    plain = found.estimate(confidence)
    if found.error > 0 and min(ill, well) >= FEW:
        return plain
    low, high = newcombe_auc(found.value, ill, well, confidence)
    return Estimate(plain, min(plain.low, low), max(plain.high, high)) if found.error > 0 else Estimate(plain, low, high)


def auc_difference(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean AUC of a minus that of b, in [-1, 1], with interval and p_value: the same runs in the same order, the same images."""
    first, second = (two_way.area(scores, labels, patients) for scores in (scores_a, scores_b))
    return two_way.analyse(first - second, behind=min(_scored(scores_a, labels, patients))).estimate(confidence)


def _scored(scores: ArrayLike, labels: ArrayLike, patients: ArrayLike | None) -> tuple[int, int]:
    """Patients with positive and with negative images that some run scored."""
    seen = np.isfinite(np.asarray(scores, dtype=float)).any(axis=0)
    return patients_by_class(np.asarray(labels)[seen], patient_index(patients, len(seen))[0][seen])


def _of_seeds(contributions: np.ndarray, seeds: Sequence[Hashable] | None) -> np.ndarray:
    return contributions if seeds is None else two_way.over_seeds(contributions, seeds)


def verdict(difference: Estimate, expected: int = 1) -> str:
    """'holds' if the interval excludes 0 on the side of `expected` (+1 or -1), 'contradicted' if on the other side,
    'not seen' if it includes 0 or is NaN."""
    if expected not in (1, -1):
        raise ValueError(f"expected must be +1 or -1, not {expected}")
    low, high = sorted((expected * difference.low, expected * difference.high))
    return "holds" if low > 0 else "contradicted" if high < 0 else "not seen"


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm-adjusted p-values (K,) in the order given; NaN stays and is not counted. ValueError outside [0, 1]."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, dtype=float)
    known = np.isfinite(p_values)
    if p_values.ndim != 1 or ((p_values[known] < 0) | (p_values[known] > 1)).any():
        raise ValueError(f"p_values must be a list of numbers in [0, 1], not {p_values}")
    adjusted = p_values.copy()
    if known.any():
        adjusted[known] = multipletests(p_values[known], method="holm")[1]
    return adjusted


def _check_correct(correct: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(correct)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape (seeds, images), both at least 1, not {array.shape}")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be boolean: was this image classified rightly?")
    return array.astype(float)
