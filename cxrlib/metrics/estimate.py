"""A number with its interval, and the checks on arrays that the statistics modules share.

Everywhere `labels` is an array of shape (N,) of 0 (negative) and 1 (positive), `probabilities` of shape (N,) in [0, 1],
`scores` of shape (N,) of any finite numbers that rise with the evidence for the positive class. Lists, pandas columns
and CPU tensors are taken as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

TOO_FEW = "too few runs or images for an interval"
"""Stands in place of an interval that leaves nearly everything possible, such as Student's t of two runs that differ."""


class Estimate(float):
    """A float that carries the interval [low, high] and, where a test was made, a two-sided p_value."""

    low: float
    high: float
    p_value: float | None

    def __new__(cls, value: float, low: float = math.nan, high: float = math.nan, p_value: float | None = None):
        self = super().__new__(cls, value)
        self.low, self.high, self.p_value = float(low), float(high), None if p_value is None else float(p_value)
        return self

    def __getnewargs__(self) -> tuple:
        return float(self), self.low, self.high, self.p_value

    def __repr__(self) -> str:
        test = "" if self.p_value is None else f", p_value={self.p_value!r}"
        return f"Estimate({float(self)!r}, low={self.low!r}, high={self.high!r}{test})"

    def percent(self, digits: int = 1) -> str:
        """'96.5 (94.2 to 97.9)': the value and its interval as percentages, '–' where undefined.

        An interval over nine tenths of all shares, or more, says nothing and gives way to :data:`TOO_FEW`.
        """
        if math.isnan(self):
            return "–"
        if self.high - self.low >= 0.9:
            return f"{percentage(self):.{digits}f} ({TOO_FEW})"
        interval = "" if math.isnan(self.low) else f" ({percentage(self.low):.{digits}f} to {percentage(self.high):.{digits}f})"
        return f"{percentage(self):.{digits}f}{interval}"


def percentage(share: float) -> float:
    """A share times 100, without the noise of floating point: 0.0275 from two sums is printed with one last digit, not two."""
    return round(100 * float(share), 9)


def check_labels(labels: ArrayLike, name: str = "labels") -> np.ndarray:
    """int64 array (N,) of 0 and 1. ValueError for another shape, for text, NaN or any other value."""
    array = _vector(labels, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be 0 (negative) or 1 (positive), not {array.dtype}: "
            f"write for example (table.label == 'positive').astype(int)"
        )
    wrong = np.flatnonzero((array != 0) & (array != 1))
    if wrong.size:
        raise ValueError(
            f"{name} must be 0 or 1: entry {wrong[0]} is {array[wrong[0]]} ({wrong.size} such of {array.size})"
        )
    return array.astype(np.int64)


def check_scores(scores: ArrayLike, name: str = "scores", probability: bool = False) -> np.ndarray:
    """float64 array (N,) of finite numbers, in [0, 1] if `probability`. ValueError with the first offender."""
    array = _vector(scores, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, not {array.dtype}")
    array = array.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite: entry {wrong[0]} is {array[wrong[0]]} ({wrong.size} such of {array.size})"
        )
    if probability and array.size and (array.min() < 0 or array.max() > 1):
        raise ValueError(
            f"{name} must lie in [0, 1], they run from {array.min():g} to {array.max():g}: "
            f"apply the sigmoid to logits, divide percentages by 100"
        )
    return array


def patient_index(patients: ArrayLike | None, n: int) -> tuple[np.ndarray, int]:
    """Patients as integers 0…G-1, shape (n,), and G. None: every image its own patient. ValueError for missing ids."""
    if patients is None:
        return np.arange(n), n
    if isinstance(patients, np.ndarray) and patients.shape == (n,) and patients.dtype.kind in "iu":  # fast, for simulations
        names, index = np.unique(patients, return_inverse=True)
        return index, names.size
    import pandas

    array = _vector(np.asarray(patients, dtype=object), "patients")
    if array.size != n:
        raise ValueError(f"patients has {array.size} entries for {n} images")
    if pandas.isna(array).any():
        raise ValueError("patients has a missing id: give every image without one an id of its own")
    names, index = np.unique(array.astype(str), return_inverse=True)
    return index, names.size


def patients_by_class(labels: np.ndarray, index: np.ndarray) -> tuple[int, int]:
    """How many patients have positive images, and how many negative ones; some may have both.

    Args:
        labels: of 0 and 1 (N,).
        index: patient of each image (N,), by id or as :func:`patient_index` numbers them.
    """
    ill, well = (len(np.unique(index[labels == label])) for label in (1, 0))
    return ill, well


def _vector(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension, one entry per image, not shape {array.shape}: "
            f"use values.reshape(-1) on a column, values[:, 1] on two class probabilities"
        )
    return array if array.size else array.astype(np.float64)


def check_pair(
    labels: ArrayLike, scores: ArrayLike, name: str, probability: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays checked and of equal length (ValueError otherwise); `name` is what messages call the scores."""
    labels, scores = check_labels(labels), check_scores(scores, name, probability)
    if labels.size != scores.size:
        raise ValueError(f"labels has {labels.size} entries, {name} has {scores.size}")
    return labels, scores


def check_both_classes(
    labels: ArrayLike, scores: ArrayLike, name: str, probability: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """As `check_pair`, and ValueError unless positive and negative images both occur."""
    labels, scores = check_pair(labels, scores, name, probability)
    if labels.size == 0 or labels.min() == labels.max():
        raise ValueError(
            f"labels must hold both classes, they have {int(labels.sum())} positive of {labels.size} images"
        )
    return labels, scores


def check_confidence(confidence: float) -> None:
    """ValueError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95, not {confidence}")


def normal_quantile(confidence: float) -> float:
    """1.96 for 0.95: half the width of the central interval of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
