"""Inference over training seeds and test images: how sure is an accuracy, or a difference between two settings?

`correct` is a bool array of shape (seeds, images): whether the run with that seed classified that test image rightly.
Resamples draw patients (all images of a patient together) and, with more than one seed, seeds. One unit fewer is drawn
than there is, because drawing n of n understates the variance by (n - 1) / n, which matters for three seeds (Rao & Wu
1988, Journal of the American Statistical Association 83, 231). With one seed the interval covers the choice of test
images alone, not the randomness of training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.metrics.classifier import wilson
from cxrlib.metrics.estimate import Estimate, check_confidence, patient_index


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


def resampled_means(arms: Sequence[ArrayLike], patients: ArrayLike | None, seed: int = 0, resamples: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Means of several arms over the same seeds and images, where not every seed has scored every image.

    Args:
        arms: arrays (seeds, images); NaN where an image was not scored, such as one that this seed trained on.
        patients: ids, shape (images,); None makes every image its own patient.

    Returns:
        Means (arms,), each over all that was scored, and their resampled values (resamples, arms). All arms are resampled
        together, so that differences between columns are paired. NaN where nothing was scored.

    Raises:
        ValueError: if the arms differ in shape.
    """
    stacked = [np.asarray(arm, dtype=float) for arm in arms]
    if len({arm.shape for arm in stacked}) != 1 or stacked[0].ndim != 2:
        raise ValueError(f"arms must all have one shape (seeds, images), not {', '.join(str(arm.shape) for arm in stacked)}")
    n_seeds, n_images = stacked[0].shape
    patient, n_patients = patient_index(patients, n_images)
    random = np.random.default_rng(seed)

    def by_patient(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(patient, weights=row, minlength=n_patients) for row in values])

    sums = [(by_patient(np.nan_to_num(arm)), by_patient(np.isfinite(arm))) for arm in stacked]
    draws = []
    chunk = max(1, 2_000_000 // n_patients)
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, resamples, chunk):
            size = min(chunk, resamples - start)
            seeds, people = _weights(random, n_seeds, size), _weights(random, n_patients, size)
            ratios = [((seeds @ total) * people).sum(axis=1) / ((seeds @ count) * people).sum(axis=1) for total, count in sums]
            draws.append(np.stack(ratios, axis=1))
        means = np.array([total.sum() / count.sum() for total, count in sums])
    return means, np.concatenate(draws)


def resampled_auc(
    positives: np.ndarray, negatives: np.ndarray, ill: ArrayLike, well: ArrayLike, seed: int = 0, resamples: int = 4000
) -> tuple[float, np.ndarray]:
    """Mean AUC over seeds of positives (seeds, P) against negatives (seeds, Q), NaN where a seed has no score.

    ``ill`` (P,) and ``well`` (Q,) are patient ids; patients of both kinds and seeds are resampled. Returns the mean and its
    resampled values (resamples,); NaN if no seed has scores of both.
    """
    (one, n_one), (two, n_two) = patient_index(ill, positives.shape[1]), patient_index(well, negatives.shape[1])
    random = np.random.default_rng(seed)
    seeds = _weights(random, len(positives), resamples)
    first, second = _weights(random, n_one, resamples), _weights(random, n_two, resamples)
    group_one, group_two = np.eye(n_one)[one], np.eye(n_two)[two]
    values, draws = [], []
    for above, below in zip(positives, negatives, strict=True):
        known = np.isfinite(above)[:, None] & np.isfinite(below)[None]
        with np.errstate(invalid="ignore", divide="ignore"):
            wins = np.where(known, (above[:, None] > below) + 0.5 * (above[:, None] == below), 0)
            wins, pairs = (group_one.T @ table @ group_two for table in (wins, known.astype(float)))
            values.append(wins.sum() / pairs.sum())
            draws.append(((first @ wins) * second).sum(axis=1) / ((first @ pairs) * second).sum(axis=1))
    drawn, known = np.stack(draws, axis=1), np.isfinite(draws).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan, (seeds * np.where(known, drawn, 0)).sum(axis=1) / (seeds * known).sum(axis=1)


def percentile(value: float, draws: np.ndarray, confidence: float = 0.95) -> Estimate:
    """A value with the percentile interval and the two-sided p-value (against zero) of its resampled values; NaN draws are left out."""
    check_confidence(confidence)
    known = draws[np.isfinite(draws)]
    if not known.size:
        return Estimate(value)
    return Estimate(value, *_interval(known, confidence), bootstrap_p(known))


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
    return resampled_means([values], patients, seed, resamples)[1][:, 0]


def _weights(random: np.random.Generator, n: int, size: int) -> np.ndarray:
    return random.multinomial(max(n - 1, 1), np.full(n, 1 / n), size=size)


def _interval(values: np.ndarray, confidence: float) -> np.ndarray:
    check_confidence(confidence)
    return np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
