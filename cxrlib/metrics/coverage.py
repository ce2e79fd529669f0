"""How often does a 95 % interval hold the truth? A simulation in which the truth is known, on the patients of real records.

The population is the test set of two groups of recorded runs: its patients with all their images, and for each patient
the logits that the recorded seeds gave, so that its clusters, its classes and its interaction of seeds and patients are
the data's own. A simulated study draws as many patients, and for each of its seeds and each patient one of the recorded
seeds (the same for both groups, which are paired). What a seed adds to all patients alike is taken out of the recorded
logits, class by class, and put in again as known: the first group's positive and negative logits are moved apart or
together until its metric in the whole population is normally distributed over seeds with the wanted standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import patient_index
from cxrlib.metrics.operating import Scores, contributions

METRICS = ("accuracy", "npv", "auc")
HIGHEST = 0.85
"""The first group is made no better than this, so that seeds that differ by five points stay below 100 %."""


class Population(NamedTuple):
    """Logits (groups, recorded seeds, images), labels (images,) of 0 and 1, patients (images,) numbered from 0."""

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    members: list[np.ndarray]
    """Positions of the images of each patient."""


def population(logits: Sequence[np.ndarray], labels: np.ndarray, patients: np.ndarray) -> Population:
    """The population of groups of runs, each (seeds, images) and all of the same seeds, without what seeds do to a whole class."""
    stacked = np.array([np.asarray(group, dtype=float) for group in logits])
    for label in (0, 1):
        part = stacked[..., labels == label]
        stacked[..., labels == label] = part - part.mean(axis=-1, keepdims=True) + part.mean(axis=(1, 2), keepdims=True)
    index, count = patient_index(patients, len(labels))
    return Population(stacked, np.asarray(labels), index, [np.flatnonzero(index == code) for code in range(count)])


def _value(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    everyone = Scores(logits.reshape(1, -1), np.tile(labels, len(logits)), np.arange(logits.size))
    return float(contributions(everyone, metric).mean())


class Truth(NamedTuple):
    """What a metric of the first group is in the population as its classes are moved apart by ``shifts`` (rising), and where we start."""

    metric: str
    shifts: np.ndarray
    levels: np.ndarray
    value: float
    other: float

    @classmethod
    def of(cls, whole: Population, metric: str) -> Truth:
        sign = 2 * whole.labels - 1
        shifts = np.linspace(-5, 5, 401)
        levels = np.array([_value(metric, whole.logits[0] + shift * sign, whole.labels) for shift in shifts])
        levels = np.maximum.accumulate(levels) + 1e-9 * np.arange(len(levels))  # rising, so that it can be turned round
        return cls(metric, shifts, levels, min(_value(metric, whole.logits[0], whole.labels), HIGHEST), _value(metric, whole.logits[1], whole.labels))


def simulated_study(whole: Population, truth: Truth, seeds: int, spread: float, random: np.random.Generator) -> list[Scores]:
    """One simulated study: the scores of both groups on patients drawn anew.

    ``spread`` is the standard deviation over seeds of the first group's metric, as a share.
    """
    members = whole.members
    drawn = random.integers(len(members), size=len(members))
    images = np.concatenate([members[code] for code in drawn])
    patients = np.repeat(np.arange(len(drawn)), [len(members[code]) for code in drawn])
    recorded = random.integers(whole.logits.shape[1], size=(seeds, len(drawn)))[:, patients]
    labels = whole.labels[images]
    shift = np.interp(truth.value + spread * random.normal(size=(seeds, 1)), truth.levels, truth.shifts)
    first = whole.logits[0][recorded, images] + shift * (2 * labels - 1)
    return [Scores(first, labels, patients), Scores(whole.logits[1][recorded, images], labels, patients)]


def cell(whole: Population, truth: Truth, seeds: int, spread: float, repeats: int, random: np.random.Generator, confidence: float = 0.95) -> list[dict]:
    """Coverage of the intervals of that confidence of the first group's metric and of its difference from the second.

    Returns:
        For 'value' and 'difference' a row: of, metric, seeds, spread, repeats, covered (share of studies whose interval holds
        the truth), below and above (share whose interval lies below, or above, the truth), width (mean, as a share).
    """
    found: dict[str, list[tuple[float, float]]] = {"value": [], "difference": []}
    for _ in range(repeats):
        first, second = (contributions(group, truth.metric) for group in simulated_study(whole, truth, seeds, spread, random))
        for of, values, bounded in (("value", first, True), ("difference", first - second, False)):
            estimate = two_way.analyse(values, bounded=bounded).estimate(confidence)
            found[of].append((estimate.low, estimate.high))
    rows = []
    for of, true in (("value", truth.value), ("difference", truth.value - truth.other)):
        low, high = np.array(found[of]).T
        row = {"of": of, "metric": truth.metric, "seeds": seeds, "spread": spread, "repeats": repeats}
        row |= {"covered": float(((low <= true) & (true <= high)).mean()), "below": float((high < true).mean()), "above": float((low > true).mean())}
        rows.append(row | {"width": float((high - low).mean())})
    return rows


def simulate(
    whole: Population, metrics: Sequence[str] = METRICS, seeds: Sequence[int] = (3, 5), spreads: Sequence[float] = (0, 0.03, 0.05), repeats: int = 4000, start: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """:func:`cell` for every metric, number of seeds and spread between seeds; each cell has a random stream of its own."""
    rows = []
    for metric in metrics:
        truth = Truth.of(whole, metric)
        for count in seeds:
            for spread in spreads:
                random = np.random.default_rng([start, METRICS.index(metric), count, round(1000 * spread)])
                rows += cell(whole, truth, count, spread, repeats, random, confidence)
    return pd.DataFrame(rows)
