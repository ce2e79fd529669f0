"""Inference over training seeds and test images: how sure is an accuracy, or a difference between two settings?

`correct` is a bool array of shape (seeds, images): whether the run with that seed classified that test image rightly.
Resamples draw patients (all images of a patient together) and, with more than one seed, seeds. One unit fewer is drawn
than there is, because drawing n of n understates the variance by (n - 1) / n, which matters for three seeds (Rao & Wu
1988, Journal of the American Statistical Association 83, 231). With one seed the interval covers the choice of test
images alone, not the randomness of training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.estimates import Estimate, check_confidence, patient_index
from cxrlib.metrics import wilson


def accuracy_over_seeds(
    correct: ArrayLike,
    patients: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Mean accuracy over seeds and images, in [0, 1], with the percentile interval of the hierarchical bootstrap.

    `patients` (images,) are ids; None makes every image its own patient. If all is right, or all wrong, resampling
    shows no spread: the interval is then Wilson's for the number of patients. ValueError for wrong shapes or values.
    """
    correct = _check_correct(correct, "correct")
    if np.ptp(correct) == 0:
        n_patients = patient_index(patients, correct.shape[1])[1]
        return wilson(n_patients * int(correct[0, 0]), n_patients, confidence)
    values = _bootstrap_means(correct, patients, seed, resamples)
    return Estimate(correct.mean(), *_interval(values, confidence))


def difference_over_seeds(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    patients: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Accuracy of a minus accuracy of b, in [-1, 1], with interval and two-sided bootstrap p_value.

    Row k of both arrays must be the same seed and column i the same image: both are resampled together. ValueError if
    the shapes differ. The p-value is twice the smaller share of resamples on one side of zero, at least
    2 / (resamples + 1).
    """
    correct_a, correct_b = _check_correct(correct_a, "correct_a"), _check_correct(correct_b, "correct_b")
    if correct_a.shape != correct_b.shape:
        raise ValueError(
            f"correct_a has shape {correct_a.shape}, correct_b {correct_b.shape}: "
            f"keep the seeds and test images that both have, in the same order"
        )
    paired = correct_a - correct_b
    values = _bootstrap_means(paired, patients, seed, resamples)
    return Estimate(paired.mean(), *_interval(values, confidence), bootstrap_p(values))


def bootstrap_p(values: np.ndarray, at: float = 0.0) -> float:
    """Two-sided p-value of the hypothesis `at`, from resampled differences `values`: never below 2 / (size + 1)."""
    smaller_side = min(np.sum(values <= at), np.sum(values >= at))
    return min(1.0, 2 * (1 + float(smaller_side)) / (1 + values.size))


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


def _bootstrap_means(values: np.ndarray, patients: ArrayLike | None, seed: int, resamples: int) -> np.ndarray:
    """Means (resamples,) of `values` (seeds, images) over resampled seeds and patients."""
    n_seeds, n_images = values.shape
    patient, n_patients = patient_index(patients, n_images)
    sums = np.stack([np.bincount(patient, weights=row, minlength=n_patients) for row in values])
    images = np.bincount(patient, minlength=n_patients)
    random = np.random.default_rng(seed)
    means = []
    chunk = max(1, 2_000_000 // n_patients)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        seed_weights = _weights(random, n_seeds, size)
        patient_weights = _weights(random, n_patients, size)
        total = ((seed_weights / seed_weights.sum(axis=1, keepdims=True)) @ sums * patient_weights).sum(axis=1)
        means.append(total / (patient_weights @ images))
    return np.concatenate(means)


def _weights(random: np.random.Generator, n: int, size: int) -> np.ndarray:
    return random.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=size)


def _interval(values: np.ndarray, confidence: float) -> np.ndarray:
    check_confidence(confidence)
    return np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
