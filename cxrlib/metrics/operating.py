"""Scores of several runs at a threshold: the metrics of Table 1, sensitivity at equal specificity, temperature.

Intervals are those of :mod:`cxrlib.metrics.two_way`. Only sensitivity at equal specificity is resampled: its threshold is a
quantile. The same seed draws the same patients and runs for every initialisation, so differences of draws are paired.

Source: Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.metrics import two_way
from cxrlib.metrics.classifier import calibration, fit_temperature, wilson
from cxrlib.metrics.estimate import Estimate, patients_by_class, percentage
from cxrlib.metrics.inference import area_estimate, share_over_seeds

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
        p_value = 2 * (1 + float(min(np.sum(draws <= 0), np.sum(draws >= 0)))) / (1 + draws.size)
        return Estimate(self.value[index] - other.value[index], *np.nanquantile(draws, [0.025, 0.975]), min(1.0, p_value))


def contributions(data: Scores, metric: str, threshold: float = 0.5) -> np.ndarray:
    """Contributions (runs, patients) to one of ``METRICS``, whose mean is the mean over runs; see :mod:`cxrlib.metrics.two_way`.

    An image is positive if its probability is greater than ``threshold``. A run without a ratio is a row of NaN.
    """
    if metric == "auc":
        return two_way.area(data.logits, data.labels, data.patients)
    positive, called = data.labels == 1, data.logits > logit_of(threshold)
    every = np.ones_like(called)
    above, below = {
        "accuracy": (called == positive, every), "sensitivity": (called & positive, every & positive), "ppv": (called & positive, called),
        "specificity": (~called & ~positive, every & ~positive), "npv": (~called & ~positive, ~called),
    }[metric]  # fmt: skip
    return two_way.ratio(above, below, data.patients)


def performance_of(data: Scores, threshold: float = 0.5) -> dict[str, Estimate]:
    """A row of Table 1 over seeds, NaN where no run has a ratio.

    A ratio that is 1, or 0, in every run does not vary: it gets Wilson's interval for the number of patients, an AUC
    Newcombe's.
    """
    row = {}
    for name in METRICS:
        found = two_way.analyse(contributions(data, name, threshold), bounded=True)
        if name == "auc":
            row[name] = area_estimate(found, *patients_by_class(data.labels, data.patients))
        elif found.value in (0, 1) and not found.error > 0:
            count = patients_behind(data, name, threshold)
            row[name] = wilson(count * round(found.value), count)
        else:
            row[name] = found.estimate()
    return row


def resampled(data: Scores, statistic: Callable, resamples: int = 4000, seed: int = 0) -> Drawn:
    """What ``statistic(logits, labels)`` gives over resampled patients and runs, for what no formula covers, such as a quantile.

    One patient and one run fewer is drawn than there is, because drawing n of n understates the variance by (n - 1) / n,
    which matters for three runs (Rao & Wu 1988, Journal of the American Statistical Association 83, 231). A resample that
    lacks a class is drawn again, unless all images lack it. With one patient of each class there is none, and all draws are
    NaN.
    """
    members, value = _images_by_patient(data.patients), np.atleast_1d(statistic(data.logits, data.labels))
    random, runs, size = np.random.default_rng(seed), len(data.logits), max(len(members) - 1, 1)
    classes, drawn = len(np.unique(data.labels)), []
    if classes > size and all(len(np.unique(data.labels[images])) < classes for images in members):
        return Drawn(value, np.full((resamples, value.size), np.nan))
    while len(drawn) < resamples:
        images = np.concatenate([members[code] for code in random.integers(len(members), size=size)])
        chosen = random.integers(runs, size=max(runs - 1, 1))
        if len(np.unique(data.labels[images])) == classes:
            drawn.append(np.atleast_1d(statistic(data.logits[chosen][..., images], data.labels[images])))
    return Drawn(value, np.stack(drawn))


def _images_by_patient(patients: np.ndarray) -> list[np.ndarray]:
    """Positions of the images of each patient."""
    _, codes = np.unique(patients, return_inverse=True)
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def patients_behind(data: Scores, metric: str, threshold: float = 0.5) -> int:
    """Patients behind a metric: those of one class, or called so by a run; all of them for the accuracy; for an AUC those of the smaller class."""
    if metric == "auc":
        return min(patients_by_class(data.labels, data.patients))
    of = {"sensitivity": data.labels == 1, "specificity": data.labels == 0}
    if metric in ("ppv", "npv"):
        called = data.logits > logit_of(threshold)
        of[metric] = (called if metric == "ppv" else ~called).reshape(-1, len(data.labels)).any(axis=0)
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


def reliability(data: Scores, bins: int = 5) -> pd.DataFrame:
    """Observed share of positives by predicted probability, over all runs, in bins of equal width that hold images.

    The interval is over patients and runs: pooling five runs of 200 images as 1,000 independent images would make it about
    half as wide. A share of 0 or 1 has Wilson's interval for the number of patients in the bin.

    Returns:
        Columns predicted (mean probability in the bin), observed, low, high, images (over all runs).
    """
    probability = expit(data.logits)
    member = np.minimum((probability * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        inside = member == number
        if inside.any():
            values = np.where(inside, data.labels == 1, np.nan)
            observed = share_over_seeds(values, data.patients)
            rows.append((probability[inside].mean(), float(observed), observed.low, observed.high, int(inside.sum())))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "images"])


def calibration_errors(logits: np.ndarray, labels: np.ndarray, bins: int = 5) -> pd.DataFrame:
    """Expected calibration error, Brier score and cross entropy of each run."""
    rows = []
    for run in logits:
        found = calibration(labels, expit(run), bins)
        entropy = float(np.logaddexp(0, np.where(labels == 1, -run, run)).mean())
        rows.append({"expected calibration error": found.expected_error, "Brier": found.brier, "cross entropy": entropy})
    return pd.DataFrame(rows)


def threshold_answer(at_half: Estimate, equal: Estimate, more: Estimate, specificity: float) -> str:
    """Whether a gain in sensitivity at the threshold 0.5 comes from where the threshold falls, from the gain at equal specificity.

    Args:
        more: the gain at equal specificity less that at 0.5, on the same resamples.
        specificity: that specificity, in [0, 1].
    """
    there = f"at a specificity of {percentage(specificity):.1f} %"
    if not at_half.low > 0:
        return "there is no clear gain at 0.5 that could come from the threshold"
    if not equal.low > 0:
        return "at equal specificity no clear gain is left, so the order at 0.5 may well come from the threshold"
    if more.high < 0:
        return f"the gain shrinks to {percentage(max(equal / at_half, 0)):.0f} % of its size but stays above zero: part of it comes from the threshold, part from the ranking"
    size = f"the gain is larger {there}" if more.low > 0 else f"whether the gain is larger or smaller {there} is not clear"
    return f"{size}, and it stays above zero, so the threshold alone does not explain it"
