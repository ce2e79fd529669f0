"""Scores of several runs at a threshold: metrics, resampled patients and runs, sensitivity at equal specificity, temperature.

Resamples draw patients, with all their images, and runs, one unit fewer than there is (see :mod:`cxrlib.metrics.inference`). The
same seed draws the same patients and runs for every initialisation, so differences of draws are paired.

Source: Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.metrics.classifier import calibration, fit_temperature, wilson
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import bootstrap_p

METRICS = ("accuracy", "sensitivity", "ppv", "specificity", "npv", "auc")


class Scores(NamedTuple):
    """Logits (runs, images) in the order of the seeds, or (runs, arms, images); labels (images,) of 0 and 1, and patients (images,)."""

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray


class Drawn(NamedTuple):
    """Statistics and their resampled values, shape (statistics,) and (resamples, statistics)."""

    value: np.ndarray
    draws: np.ndarray

    def estimate(self, index: int = 0) -> Estimate:
        """Percentile interval of 95 %; none if the statistic is defined in no draw."""
        draws = self.draws[:, index]
        return Estimate(self.value[index], *(np.nanquantile(draws, [0.025, 0.975]) if np.isfinite(draws).any() else ()))

    def minus(self, other: Drawn, index: int = 0) -> Estimate:
        """This minus another, with interval and p-value; both drawn with the same seed from runs of the same seeds."""
        draws = self.draws[:, index] - other.draws[:, index]
        if not np.isfinite(draws).any():  # nothing can be told
            return Estimate(self.value[index] - other.value[index], p_value=1.0)
        return Estimate(self.value[index] - other.value[index], *np.nanquantile(draws, [0.025, 0.975]), bootstrap_p(draws))


def drawn_images(labels: np.ndarray, members: list[np.ndarray], random: np.random.Generator) -> np.ndarray | None:
    """Images of one draw of patients, one fewer than there are; drawn again if a class of ``labels`` is lacking.

    Returns:
        Positions; None where no draw holds both classes, as with a single patient of each.
    """
    classes, size = len(np.unique(labels)), max(len(members) - 1, 1)
    if classes > size and all(len(np.unique(labels[images])) < classes for images in members):
        return None
    while True:
        images = np.concatenate([members[code] for code in random.integers(len(members), size=size)])
        if len(np.unique(labels[images])) == classes:
            return images


def resampled(data: Scores, statistic: Callable, resamples: int = 4000, seed: int = 0) -> Drawn:
    """What ``statistic(logits, labels)`` gives over resampled patients and runs.

    A resample that lacks a class is drawn again, unless all images lack it. With one patient of each class there is none,
    and all draws are NaN.
    """
    members, value = images_by_patient(data.patients), np.atleast_1d(statistic(data.logits, data.labels))
    random, count, runs = np.random.default_rng(seed), len(members), len(data.logits)
    classes, drawn = len(np.unique(data.labels)), []
    if drawn_images(data.labels, members, np.random.default_rng(seed)) is None:
        return Drawn(value, np.full((resamples, value.size), np.nan))
    while len(drawn) < resamples:
        images = np.concatenate([members[code] for code in random.integers(count, size=max(count - 1, 1))])
        chosen = random.integers(runs, size=max(runs - 1, 1))
        if len(np.unique(data.labels[images])) == classes:
            drawn.append(np.atleast_1d(statistic(data.logits[chosen][..., images], data.labels[images])))
    return Drawn(value, np.stack(drawn))


def mean_metrics(logits: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The six metrics of Table 1, in the order of ``METRICS``, as means over runs; a run without a ratio is left out."""
    positive = labels == 1
    called = logits > logit_of(threshold)
    tp, fp = called[:, positive].sum(axis=1), called[:, ~positive].sum(axis=1)
    ones, zeros = positive.sum(), (~positive).sum()
    tn, fn = zeros - fp, ones - tp
    with np.errstate(invalid="ignore"):
        ratios = [(tp + tn) / (ones + zeros), tp / ones, tp / (tp + fp), tn / zeros, tn / (tn + fn)]
    ratios.append(rank_auc(logits, labels))
    return np.array([np.nanmean(ratio) if np.isfinite(ratio).any() else np.nan for ratio in ratios])


def rank_auc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC over the last axis of scores (..., images), ties counted half; NaN unless both classes occur."""
    from scipy.stats import rankdata

    positive = labels == 1
    ones, zeros = positive.sum(), (~positive).sum()
    if not ones or not zeros:
        return np.full(scores.shape[:-1], np.nan)
    ranks = rankdata(scores, axis=-1)[..., positive].sum(axis=-1)
    return (ranks - ones * (ones + 1) / 2) / (ones * zeros)


def drawn_of(data: Scores, threshold: float, resamples: int) -> Drawn:
    return _drawn_metrics(data.logits.shape, data.logits.tobytes(), tuple(data.labels.tolist()), tuple(data.patients.tolist()), threshold, resamples)


@functools.lru_cache(maxsize=32)
def _drawn_metrics(shape: tuple[int, int], logits: bytes, labels: tuple, patients: tuple, threshold: float, resamples: int) -> Drawn:
    data = Scores(np.frombuffer(logits).reshape(shape), np.array(labels), np.array(patients))
    return resampled(data, lambda logits, labels: mean_metrics(logits, labels, threshold), resamples)


def performance_of(data: Scores, threshold: float = 0.5, resamples: int = 4000) -> dict[str, Estimate]:
    """A row of Table 1 over seeds, NaN where no run has a ratio.

    A ratio that is 1, or 0, in every run gets Wilson's interval for the number of patients, as its draws do not vary. With
    one patient of each class nothing can be drawn, and what lies between 0 and 1 has no interval.
    """
    drawn = drawn_of(data, threshold, resamples)
    row = {}
    for number, name in enumerate(METRICS):
        estimate = drawn.estimate(number)
        if (estimate.low == estimate.high or np.isnan(estimate.low)) and estimate in (0, 1) and name != "auc":
            patients = patients_behind(data, name)
            estimate = wilson(round(estimate * patients), patients)
        row[name] = estimate
    return row


def images_by_patient(patients: np.ndarray) -> list[np.ndarray]:
    """Positions of the images of each patient."""
    _, codes = np.unique(patients, return_inverse=True)
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def patients_behind(data: Scores, metric: str) -> int:
    """Patients behind a ratio: those of one class, or all."""
    of = {"sensitivity": data.labels == 1, "ppv": data.labels == 1, "specificity": data.labels == 0, "npv": data.labels == 0}
    return len(np.unique(data.patients[of.get(metric, data.labels >= 0)]))


def logit_of(probability: float) -> float:
    return math.inf if probability >= 1 else -math.inf if probability <= 0 else math.log(probability / (1 - probability))


def cuts(logits: np.ndarray, labels: np.ndarray, specificity: float) -> np.ndarray:
    """For each run the lowest logit that may serve as threshold so that at least ``specificity`` of negatives lie at or below it."""
    negatives = np.sort(logits[:, labels == 0], axis=1)
    return negatives[:, max(math.ceil(specificity * negatives.shape[1] - 1e-9) - 1, 0)]


def sensitivity_at(logits: np.ndarray, labels: np.ndarray, specificity: float) -> float:
    """Mean sensitivity over runs, each at its own threshold of :func:`cuts`."""
    return float((logits[:, labels == 1] > cuts(logits, labels, specificity)[:, None]).mean())


def halves(labels: np.ndarray, patients: np.ndarray, seed: int = 0) -> np.ndarray:
    """Half (0 or 1) of each image: patients with and without a positive image are dealt out in turns, in random order."""
    names, codes = np.unique(patients, return_inverse=True)
    ill = np.bincount(codes, weights=labels, minlength=len(names)) > 0
    half, random = np.zeros(len(names), dtype=int), np.random.default_rng(seed)
    for group in (ill, ~ill):
        half[random.permutation(np.flatnonzero(group))] = np.arange(group.sum()) % 2
    return half[codes]


def cross_fitted(data: Scores, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits divided by a temperature that was fitted, run by run, on the other half of the test patients.

    For records without validation images: no image's probability rests on its own label, but the halves are of the test set.

    Returns:
        Scaled logits (runs, images), and temperatures (runs, 2): column h was fitted on half h.
    """
    half = halves(data.labels, data.patients, seed)
    fitted = np.array([[fit_temperature(run[half == h], data.labels[half == h]) for h in (0, 1)] for run in data.logits])
    return data.logits / fitted[:, 1 - half], fitted


def calibration_errors(logits: np.ndarray, labels: np.ndarray, bins: int = 5) -> pd.DataFrame:
    """Expected calibration error, Brier score and cross entropy of each run."""
    rows = []
    for run in logits:
        found = calibration(labels, expit(run), bins)
        entropy = float(np.logaddexp(0, np.where(labels == 1, -run, run)).mean())
        rows.append({"expected error": found.expected_error, "Brier": found.brier, "cross entropy": entropy})
    return pd.DataFrame(rows)


def threshold_answer(at_half: Estimate, equal: Estimate) -> str:
    """Whether a gain in sensitivity at the threshold 0.5 comes from where the threshold falls, from the gain at equal specificity."""
    if not at_half.low > 0:
        return "there is no clear gain at 0.5 that could come from the threshold"
    if not equal.low > 0:
        return "at equal specificity no clear gain is left, so the order at 0.5 may well come from the threshold"
    if equal < at_half:
        return f"the gain shrinks to {100 * max(equal / at_half, 0):.0f} % of its size but stays above zero: part of the order comes from the threshold, part from the ranking"
    return "the gain is no smaller: the order comes from the ranking of the images, not from the threshold"
