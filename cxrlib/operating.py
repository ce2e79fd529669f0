"""Where the threshold falls: sensitivity at equal specificity, calibration, and predictive values at any prevalence.

All over several runs (seeds) of one setting. Resamples draw patients, with all their images, and runs, one unit fewer
than there is (see :mod:`cxrlib.statistics`). The same seed draws the same patients and runs for every initialisation, so
differences of draws are paired.

Sources: Youden 1950 and Altman & Bland 1994 (predictive values depend on prevalence); Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrlib.estimates import Estimate
from cxrlib.metrics import calibration, fit_temperature, ppv_npv_at_prevalence, wilson
from cxrlib.records import Record
from cxrlib.statistics import bootstrap_p

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
        return Estimate(self.value[index] - other.value[index], *np.nanquantile(draws, [0.025, 0.975]), bootstrap_p(draws))


def scores(records: list[Record]) -> Scores:
    """Logits of the test images. ValueError if the runs were tested on different images."""
    return scores_of([record.table() for record in sorted(records, key=lambda record: record.config["seed"])])


def scores_of(tables: list[pd.DataFrame]) -> Scores:
    """Logits of the tables of several runs, in the order of their seeds: columns file, patient_id, label and logit."""
    if any(not table["file"].equals(tables[0]["file"]) for table in tables):
        raise ValueError("the runs were tested on different images")
    first = tables[0]
    return Scores(np.stack([t["logit"].to_numpy(float) for t in tables]), first["label"].to_numpy(), first["patient_id"].to_numpy())


def resampled(data: Scores, statistic: Callable, resamples: int = 4000, seed: int = 0) -> Drawn:
    """What ``statistic(logits, labels)`` gives over resampled patients and runs.

    A resample that lacks a class is drawn again, unless all images lack it.
    """
    members = _members(data.patients)
    random, count, runs = np.random.default_rng(seed), len(members), len(data.logits)
    classes, drawn = len(np.unique(data.labels)), []
    while len(drawn) < resamples:
        images = np.concatenate([members[code] for code in random.integers(count, size=max(count - 1, 1))])
        chosen = random.integers(runs, size=max(runs - 1, 1))
        if len(np.unique(data.labels[images])) == classes:
            drawn.append(np.atleast_1d(statistic(data.logits[chosen][..., images], data.labels[images])))
    return Drawn(np.atleast_1d(statistic(data.logits, data.labels)), np.stack(drawn))


def mean_metrics(logits: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The six metrics of Table 1, in the order of ``METRICS``, as means over runs; a run without a ratio is left out."""
    positive = labels == 1
    called = logits > _logit(threshold)
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


def drawn_metrics(records: list[Record], threshold: float = 0.5, resamples: int = 4000) -> Drawn:
    """:func:`mean_metrics` resampled; drawn once for the same predictions, as tables and tests of a page share them."""
    return _drawn(scores(records), threshold, resamples)


def _drawn(data: Scores, threshold: float, resamples: int) -> Drawn:
    return _drawn_metrics(data.logits.shape, data.logits.tobytes(), tuple(data.labels.tolist()), tuple(data.patients.tolist()), threshold, resamples)


@functools.lru_cache(maxsize=32)
def _drawn_metrics(shape: tuple[int, int], logits: bytes, labels: tuple, patients: tuple, threshold: float, resamples: int) -> Drawn:
    data = Scores(np.frombuffer(logits).reshape(shape), np.array(labels), np.array(patients))
    return resampled(data, lambda logits, labels: mean_metrics(logits, labels, threshold), resamples)


def performance(records: list[Record], threshold: float = 0.5, resamples: int = 4000) -> dict[str, Estimate]:
    """A row of Table 1 over seeds: :func:`performance_of` on the test images of the records."""
    return performance_of(scores(records), threshold, resamples)


def performance_of(data: Scores, threshold: float = 0.5, resamples: int = 4000) -> dict[str, Estimate]:
    """A row of Table 1 over seeds, NaN where no run has a ratio.

    A ratio that is 1, or 0, in every run gets Wilson's interval for the number of patients, as its draws do not vary.
    """
    drawn = _drawn(data, threshold, resamples)
    row = {}
    for number, name in enumerate(METRICS):
        estimate = drawn.estimate(number)
        if estimate.low == estimate.high and estimate in (0, 1) and name != "auc":
            patients = _patients(data, name)
            estimate = wilson(round(estimate * patients), patients)
        row[name] = estimate
    return row


def _members(patients: np.ndarray) -> list[np.ndarray]:
    """Positions of the images of each patient."""
    _, codes = np.unique(patients, return_inverse=True)
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def _patients(data: Scores, metric: str) -> int:
    """Patients behind a ratio: those of one class, or all."""
    of = {"sensitivity": data.labels == 1, "ppv": data.labels == 1, "specificity": data.labels == 0, "npv": data.labels == 0}
    return len(np.unique(data.patients[of.get(metric, data.labels >= 0)]))


def _logit(probability: float) -> float:
    return math.inf if probability >= 1 else -math.inf if probability <= 0 else math.log(probability / (1 - probability))


def cuts(logits: np.ndarray, labels: np.ndarray, specificity: float) -> np.ndarray:
    """For each run the lowest logit that may serve as threshold so that at least ``specificity`` of negatives lie at or below it."""
    negatives = np.sort(logits[:, labels == 0], axis=1)
    return negatives[:, max(math.ceil(specificity * negatives.shape[1] - 1e-9) - 1, 0)]


def sensitivity_at(logits: np.ndarray, labels: np.ndarray, specificity: float) -> float:
    """Mean sensitivity over runs, each at its own threshold of :func:`cuts`."""
    return float((logits[:, labels == 1] > cuts(logits, labels, specificity)[:, None]).mean())


def trade_off(records: list[Record], specificities: np.ndarray) -> pd.DataFrame:
    """Sensitivity of each run at given specificities: columns specificity, mean, least, greatest over the runs."""
    data = scores(records)
    ones = data.logits[:, data.labels == 1]
    curve = np.array([(ones > cuts(data.logits, data.labels, s)[:, None]).mean(axis=1) for s in specificities])
    return pd.DataFrame({"specificity": specificities, "mean": curve.mean(axis=1), "least": curve.min(axis=1), "greatest": curve.max(axis=1)})


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


def validation_fitted(records: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Test logits of each run divided by a temperature that was fitted on the run's own validation images.

    Returns:
        Scaled logits (runs, images) in the order of :func:`scores`, and temperatures (runs, 1).

    Raises:
        ValueError: if a run held out no validation images of one of the classes.
    """
    ordered = sorted(records, key=lambda record: record.config["seed"])
    held_out = [record.table("validation") for record in ordered]
    fitted = np.array([[fit_temperature(table["logit"].to_numpy(float), table["label"].to_numpy())] for table in held_out])
    return scores(ordered).logits / fitted, fitted


def calibration_errors(logits: np.ndarray, labels: np.ndarray, bins: int = 5) -> pd.DataFrame:
    """Expected calibration error, Brier score and cross entropy of each run."""
    rows = []
    for run in logits:
        found = calibration(labels, 1 / (1 + np.exp(-run)), bins)
        entropy = float(np.logaddexp(0, np.where(labels == 1, -run, run)).mean())
        rows.append({"expected error": found.expected_error, "Brier": found.brier, "cross entropy": entropy})
    return pd.DataFrame(rows)


def predictive_values(records: list[Record], prevalences: tuple[float, ...], threshold: float = 0.5, resamples: int = 4000) -> pd.DataFrame:
    """PPV and NPV where a share of people is ill: columns prevalence, PPV, NPV (Estimates), from resampled sensitivity and specificity."""
    data, drawn = scores(records), drawn_metrics(records, threshold, resamples)
    columns = [METRICS.index("sensitivity"), METRICS.index("specificity")]
    value, draws = drawn.value[columns], drawn.draws[:, columns]
    for column, metric in enumerate(("sensitivity", "specificity")):
        if draws[:, column].min() == 1:  # no fault in any draw is no proof of none: Jeffreys' posterior of n of n
            draws[:, column] = np.random.default_rng(0).beta(_patients(data, metric) + 0.5, 0.5, size=len(draws))
    rows = []
    for prevalence in prevalences:
        values = ppv_npv_at_prevalence(*value, prevalence)
        spread = ppv_npv_at_prevalence(draws[:, 0], draws[:, 1], prevalence)
        ends = [Estimate(value, *np.nanquantile(draw, [0.025, 0.975])) for value, draw in zip(values, spread)]
        rows.append({"prevalence": prevalence, "PPV": ends[0], "NPV": ends[1]})
    return pd.DataFrame(rows, dtype=object)


def at_specificity(by_init: dict[str, list[Record]], specificity: float, resamples: int = 4000) -> pd.DataFrame:
    """Sensitivity of each initialisation where all have the same specificity, each run at a threshold of its own.

    The thresholds are read off the test set, so this describes a curve and is no performance to expect. Not for a
    specificity of 1: there the threshold is the greatest of the negatives, and no bootstrap holds for an extreme.

    Returns:
        Columns init, threshold (mean over runs, Estimate whose ends are the least and the greatest), sensitivity, and gain:
        its difference from the first initialisation, with p-value (None in the first row).
    """
    rows, first = [], None
    for init, records in by_init.items():
        data = scores(records)
        drawn = resampled(data, lambda logits, labels: sensitivity_at(logits, labels, specificity), resamples)
        cut = 1 / (1 + np.exp(-cuts(data.logits, data.labels, specificity)))
        row = {"init": init, "threshold": Estimate(cut.mean(), cut.min(), cut.max()), "sensitivity": drawn.estimate()}
        rows.append(row | {"gain": None if first is None else drawn.minus(first)})
        first = first or drawn
    return pd.DataFrame(rows, dtype=object)


def threshold_answer(at_half: Estimate, equal: Estimate) -> str:
    """Whether a gain in sensitivity at the threshold 0.5 comes from where the threshold falls, from the gain at equal specificity."""
    if not at_half.low > 0:
        return "there is no clear gain at 0.5 that could come from the threshold"
    if not equal.low > 0:
        return "at equal specificity no clear gain is left, so the order at 0.5 may well come from the threshold"
    if equal < at_half:
        return f"the gain shrinks to {100 * max(equal / at_half, 0):.0f} % of its size but stays above zero: part of the order comes from the threshold, part from the ranking"
    return "the gain is no smaller: the order comes from the ranking of the images, not from the threshold"
