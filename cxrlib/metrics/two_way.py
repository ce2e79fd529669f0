"""Two-way inference: how sure is a metric, or a difference, that was measured with several seeds on the same patients?

Both vary: other seeds would have given other networks, other patients another test set. Every statistic is first
written as a mean of contributions (runs, patients): the patient's influence on that run's value (a proportion by its
image-weighted residuals, a ratio by the delta method, an AUC by DeLong's components, summed over the images of a
patient as in Obuchowski 1997). Differences, sums and averages of statistics are those of their contributions, which is
what pairs them. A two-way analysis of variance then gives

    variance = (max(MS_runs, MS_rest) + max(MS_patients, MS_rest) - MS_rest) / (runs * patients)

and interval and p-value come from one Student's t with Satterthwaite's degrees of freedom. Nothing is drawn at random.
A crossed bootstrap counts the interaction of runs and patients about three times (Owen 2007, Annals of Applied
Statistics 1, 386); this counts it once. With one run it covers the choice of patients alone.

Sources: Satterthwaite 1946 (Biometrics Bulletin 2, 110); DeLong et al. 1988 (Biometrics 44, 837); Obuchowski 1997
(Biometrics 53, 567: several images of a patient); Obuchowski & Rockette 1995 and Hillis 2007 (Statistics in Medicine 26,
596: the same decomposition for readers and cases).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxrlib.metrics.auc import delong_placements, influence
from cxrlib.metrics.estimate import Estimate, check_confidence, patient_index, patients_by_class


@dataclass(frozen=True)
class Measured:
    """A statistic with its standard error and the degrees of freedom of Student's t.

    ``bounded`` is a share or an AUC in (0, 1) that is no difference: its interval is symmetric on the scale of the logit.
    The error is NaN where the data cannot tell it. Where nothing varies it is 0, see :class:`Unvaried`.
    """

    value: float
    error: float = math.nan
    freedom: float = math.inf
    bounded: bool = False

    def estimate(self, confidence: float = 0.95, at: float | None = None) -> Estimate:
        """Value, interval, and the two-sided p-value of the hypothesis that the true value is ``at``.

        Without ``at`` a difference is tested against zero, and a bounded value against nothing.
        """
        check_confidence(confidence)
        low, high = (self._end((1 + sign * confidence) / 2) for sign in (-1, 1))
        if at is None and self.bounded:
            return Estimate(self.value, low, high)
        p_value = 2 * min(self.one_sided(at or 0.0))
        return Estimate(self.value, low, high, p_value if math.isnan(p_value) else min(1.0, p_value))

    def one_sided(self, at: float) -> tuple[float, float]:
        """P-values of 'the true value is at least ``at``' and of 'it is at most ``at``': small if it is less, or greater."""
        from scipy.special import stdtr

        if not self.error > 0:
            return math.nan, math.nan
        value, error = self._scaled()
        t = (value - (_logit(at) if self._on_logit else at)) / error
        return float(stdtr(self.freedom, t)), float(stdtr(self.freedom, -t))

    @property
    def _on_logit(self) -> bool:
        return self.bounded and 0 < self.value < 1

    def _scaled(self) -> tuple[float, float]:
        """Value and error on the scale where the interval is symmetric."""
        if not self._on_logit:
            return self.value, self.error
        return _logit(self.value), self.error / (self.value * (1 - self.value))

    def _end(self, probability: float) -> float:
        from scipy.special import expit, stdtrit

        if not self.error > 0:
            return math.nan
        value, error = self._scaled()
        end = value + stdtrit(self.freedom, probability) * error
        return float(expit(end)) if self._on_logit else min(max(float(end), -1.0), 1.0)


@dataclass(frozen=True)
class Unvaried(Measured):
    """A value that is the same for every patient and run: no spread is seen, and yet the true value may be another.

    If the true value were d away, at least a share d of all patients would be unlike these (d / 2 if the value is a difference of
    -1 or 1), and the chance to see none of them among ``patients`` is at most (1 - d) ** patients. Interval and p-values
    invert that; of a share of 0 or 1 it is the exact interval of Clopper & Pearson (1934, Biometrika 26, 404).
    """

    patients: int = 0

    def one_sided(self, at: float) -> tuple[float, float]:
        tail = max(1 - abs(at - self.value) / self._reach, 0.0) ** self.patients
        return (tail if self.value < at else 1.0), (tail if self.value > at else 1.0)

    @property
    def _reach(self) -> float:
        """By how much one patient in place of all others could move the value."""
        return 1.0 if self.bounded or abs(self.value) < 1e-9 else 1.0 + abs(self.value)

    def _end(self, probability: float) -> float:
        away = self._reach * (1 - min(probability, 1 - probability) ** (1 / self.patients))
        return float(np.clip(self.value + math.copysign(away, probability - 0.5), 0.0 if self.bounded else -1.0, 1.0))


def _logit(share: float) -> float:
    return math.inf if share >= 1 else -math.inf if share <= 0 else math.log(share / (1 - share))


def analyse(contributions: ArrayLike, groups: Sequence[Hashable] | None = None, bounded: bool = False, behind: int | None = None) -> Measured:
    """The mean of contributions (runs, patients), with the error that runs and patients together leave.

    Args:
        contributions: rows of NaN, of runs that have no such statistic, are left out.
        groups: for each run the pretraining that it started from. With two or more, pretrainings are a source of
            variation of their own, in which the runs are nested; with one, the result is about that one.
        behind: patients who can change the statistic, if not all of them: those of one class for a sensitivity, of the smaller
            class for an AUC (disjoint pairs of both classes). Asked only where nothing varies.

    Raises:
        ValueError: if the array is not (runs, patients), or ``groups`` has another length.
    """
    values = np.asarray(contributions, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"contributions must have shape (runs, patients), both at least 1, not {values.shape}")
    if groups is not None and len(groups) != len(values):
        raise ValueError(f"groups has {len(groups)} entries for {len(values)} runs")
    known = np.isfinite(values).all(axis=1)
    if not known.any():
        return Measured(math.nan)
    labels = None if groups is None else [group for group, kept in zip(groups, known, strict=True) if kept]
    values = values[known]
    runs, patients = values.shape
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    if patients < 2:
        return Measured(float(mean), bounded=bounded)
    if np.ptp(values) <= 1e-12:  # nothing varies but the last digit of a float
        count = patients if behind is None else behind
        return Unvaried(float(mean), 0.0, bounded=bounded, patients=count) if count else Measured(float(mean), bounded=bounded)
    of_patients = Square(runs * float(((columns - mean) ** 2).sum()) / (patients - 1), patients - 1)
    if runs < 2:
        return Measured(float(mean), math.sqrt(of_patients.value / patients), patients - 1, bounded)
    rest = values - rows[:, None] - columns + mean
    of_rest = Square(float((rest**2).sum()) / ((runs - 1) * (patients - 1)), (runs - 1) * (patients - 1))
    of_runs = _runs(rows, patients, of_rest.value, labels)
    terms, floor = [], 1.0  # variance * runs * patients = MS_rest + what runs and patients have above it
    for part in ([(1.0, of_patients)], of_runs):
        if sum(weight * square.value for weight, square in part) > of_rest.value:
            terms, floor = [*terms, *part], floor - 1
    terms.append((floor, of_rest))
    total = sum(weight * square.value for weight, square in terms)
    return Measured(float(mean), math.sqrt(total / (runs * patients)), _freedom(terms, of_runs[0][1]), bounded)


class Square(NamedTuple):
    """A mean square and its degrees of freedom."""

    value: float
    freedom: float


def _runs(rows: np.ndarray, patients: int, rest: float, groups: list[Hashable] | None) -> list[tuple[float, Square]]:
    """Weighted mean squares of the runs: one, or those of pretrainings and of runs within them, if pretrainings vary more."""
    runs = len(rows)
    plain = [(1.0, Square(patients * float(rows.var(ddof=1)), runs - 1))]
    sizes = np.array([groups.count(group) for group in dict.fromkeys(groups)]) if groups is not None else np.ones(1)
    if not 1 < len(sizes) < runs:
        return plain
    means = [np.mean([row for row, other in zip(rows, groups, strict=True) if other == group]) for group in dict.fromkeys(groups)]
    between = patients * float((sizes * (means - rows.mean()) ** 2).sum()) / (len(sizes) - 1)
    within = patients * float(((rows - np.repeat(means, sizes)[_order(groups)]) ** 2).sum()) / (runs - len(sizes))
    if between <= max(within, rest):
        return plain
    # Unequal numbers of runs: the mean weighs a pretraining by its runs, a mean square does not quite (Searle 1971, ch. 9).
    weight = ((sizes**2).sum() / runs) * (len(sizes) - 1) / (runs - (sizes**2).sum() / runs)
    return [(weight, Square(between, len(sizes) - 1)), (1 - weight, Square(max(within, rest), runs - len(sizes)))]


def _order(groups: list[Hashable]) -> np.ndarray:
    """Place of each run among the runs sorted by group, in the order in which groups first occur."""
    names = list(dict.fromkeys(groups))
    return np.argsort(np.argsort([names.index(group) for group in groups], kind="stable"))


def _freedom(terms: list[tuple[float, Square]], runs: Square) -> float:
    """Satterthwaite's degrees of freedom of a sum of weighted mean squares.

    The mean square of so few runs is often small by luck, and the plain formula then takes the sum for surer than it is:
    with three seeds and a seed sd of 5 points 95 % intervals covered 92.8 %. So the runs enter as the square of their mean
    square is expected, (f + 2) / f times; without a difference between runs nothing changes.
    """
    parts = [(weight * square.value * ((square.freedom + 2) / square.freedom if square is runs else 1), square.freedom) for weight, square in terms]
    spread = sum(part**2 / freedom for part, freedom in parts)
    return sum(part for part, _ in parts) ** 2 / spread if spread > 0 else math.inf


def ratio(numerator: ArrayLike, denominator: ArrayLike, patients: ArrayLike | None = None, pooled: bool = False) -> np.ndarray:
    """Contributions (runs, patients) to the sum of ``numerator`` over that of ``denominator``, both (runs, images).

    The mean over all is the mean of the runs' ratios or, if ``pooled``, the ratio of the sums over all runs, for ratios
    with few images in some runs, where a run without any says nothing. If not pooled, its row is NaN. Where a single patient
    is behind the ratio there is one column, of which :func:`analyse` knows that it cannot tell how patients differ.

    Args:
        patients: ids (images,); None makes every image its own patient.

    Raises:
        ValueError: if the shapes differ.
    """
    above, below = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    if above.shape != below.shape or above.ndim != 2 or 0 in above.shape:
        raise ValueError(f"numerator and denominator must both have shape (runs, images), not {above.shape} and {below.shape}")
    top, bottom = (_by_patient(values, patients) for values in (above, below))
    if (bottom.sum(axis=0) > 0).sum() < 2:
        top, bottom = (values.sum(axis=1, keepdims=True) for values in (top, bottom))
    totals = bottom.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        if pooled:
            whole = top.sum() / bottom.sum()
            return whole + top.size * (top - whole * bottom) / bottom.sum()
        each = top.sum(axis=1, keepdims=True) / totals
        return each + top.shape[1] * (top - each * bottom) / totals


def share(values: ArrayLike, patients: ArrayLike | None = None, pooled: bool = False) -> np.ndarray:
    """Contributions to the mean of ``values`` (runs, images), as :func:`ratio`; NaN where a run has no value of an image."""
    values = np.asarray(values, dtype=float)
    return ratio(np.nan_to_num(values), np.isfinite(values), patients, pooled)


def area(scores: ArrayLike, labels: ArrayLike, patients: ArrayLike | None = None) -> np.ndarray:
    """Contributions to the AUC of ``scores`` (runs, images) against ``labels`` (images,) of 0 and 1, ties counted half.

    NaN scores are images that a run did not see; a run that lacks a class is a row of NaN. With a single patient of a class
    there is one column, as in :func:`ratio`.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[1:]:
        raise ValueError(f"scores must have shape (runs, images) and labels (images,), not {scores.shape} and {labels.shape}")
    index, n_patients = patient_index(patients, scores.shape[1])
    found = np.full((len(scores), n_patients), np.nan)
    for run, row in enumerate(scores):
        known = np.isfinite(row)
        positive, negative = known & (labels == 1), known & (labels == 0)
        if positive.any() and negative.any():
            below, above = delong_placements(labels[known], row[known])
            share = math.sqrt(n_patients * max(n_patients - 1, 1))  # the factors of both classes are in, so that of all patients is not
            found[run] = below.mean() + share * influence(labels[known], below, above, index[known], n_patients)
    seen = np.isfinite(scores).any(axis=0)
    alone = min(patients_by_class(labels[seen], index[seen])) < 2
    return found.mean(axis=1, keepdims=True) if alone else found


def _by_patient(values: np.ndarray, patients: ArrayLike | None) -> np.ndarray:
    """Sums (runs, patients) of values (runs, images)."""
    index, count = patient_index(patients, values.shape[1])
    return np.stack([np.bincount(index, weights=row, minlength=count) for row in values])


def less(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Contributions (runs, A + B) to the difference of two statistics of the same runs on test sets that share no patient."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} runs were tested on the one set and {len(second)} on the other; give the same runs")
    together = first.shape[1] + second.shape[1]
    one, other = (values.mean(axis=1, keepdims=True) for values in (first, second))
    if 1 in (first.shape[1], second.shape[1]):
        return one - other
    return one - other + np.hstack([(first - one) * together / first.shape[1], (other - second) * together / second.shape[1]])


def over_seeds(contributions: np.ndarray, seeds: Sequence[Hashable]) -> np.ndarray:
    """Contributions (seeds, patients): the mean over the settings of each seed, in the order in which seeds first occur.

    Settings that share a seed share its batches and its initial weights, so they are no independent runs.
    """
    if len(seeds) != len(contributions):
        raise ValueError(f"seeds has {len(seeds)} entries for {len(contributions)} rows")
    return np.stack([np.mean([row for row, other in zip(contributions, seeds, strict=True) if other == seed], axis=0) for seed in dict.fromkeys(seeds)])
