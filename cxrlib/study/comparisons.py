"""The comparisons behind the paper's claims: differences over records, paired over seeds and test images.

Each is expected above zero. What they say of a claim is decided in :mod:`cxrlib.study.verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import difference_over_seeds
from cxrlib.metrics.operating import METRICS
from cxrlib.study.committed import Design
from cxrlib.study.pairs import correctness, mean_interval, setting
from cxrlib.study.thresholds import drawn_metrics, performance

MARGIN = 0.01
"""AUCs closer than this count as the same. The paper's differ by 0.1 point; a test set of 200 patients cannot show so little."""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim, expected above zero; ``difference`` is None while its runs are missing.

    Attributes:
        p_same: of the two one-sided tests that the difference lies within the margin, for a part that says "the same".
        settled: a verdict that needs no test, such as one false positive against "none".
    """

    name: str
    difference: Estimate | None
    pairs: int = 0
    p_same: float | None = None
    settled: str = ""


def pairs(records: Iterable[Record], better: dict, worse: dict) -> tuple[list[Record], list[Record]]:
    """Runs that have the values ``better`` and their partners with ``worse``, alike in every other axis and the seed."""
    arms: list[dict] = [{}, {}]
    for record in records:
        axes = setting(record)
        for arm, values in zip(arms, (better, worse), strict=True):
            if all(axes[name] == value for name, value in values.items()):
                arm[tuple((name, value) for name, value in axes.items() if name not in values)] = record
    shared = [key for key in arms[0] if key in arms[1]]
    return [arms[0][key] for key in shared], [arms[1][key] for key in shared]


def gain(name: str, records: list[Record], better: dict, worse: dict, threshold: float, positive: bool | None = None) -> Part:
    """Accuracy with the values ``better`` minus that with ``worse``, paired; ``positive`` as in :func:`cxrlib.study.pairs.correctness`."""
    first, second = pairs(records, better, worse)
    if not first:
        return Part(name, None)
    (a, patients), (b, _) = (correctness(arm, threshold, positive) for arm in (first, second))
    return Part(name, difference_over_seeds(a, b, patients), len(first))


def bend(name: str, records: list[Record], schedules: tuple, threshold: float) -> Part:
    """Whether the first lengthening of the schedule gains more than the second: the difference of two paired differences."""
    arms = [pairs(records, {"schedule": schedules[1]}, {"schedule": other}) for other in (schedules[0], schedules[2])]
    both = {_but_schedule(r) for r in arms[0][0]} & {_but_schedule(r) for r in arms[1][0]}
    if not both:
        return Part(name, None)
    (middle, short), (again, long) = ([[r for r in arm if _but_schedule(r) in both] for arm in pair] for pair in arms)
    order = {_but_schedule(record): place for place, record in enumerate(middle)}
    again, long = (sorted(arm, key=lambda r: order[_but_schedule(r)]) for arm in (again, long))
    # Each image twice, so that the mean of the rows is half of (middle - short) + (middle - long).
    a, b = (np.hstack([correctness(arm, threshold)[0] for arm in two]) for two in ((middle, again), (short, long)))
    patients = np.tile(correctness(middle, threshold)[1], 2)
    half = difference_over_seeds(a, b, patients)
    return Part(name, Estimate(2 * half, 2 * half.low, 2 * half.high, half.p_value), len(middle))


def _but_schedule(record: Record) -> tuple:
    return tuple((name, value) for name, value in setting(record).items() if name != "schedule")


def metric_gain(name: str, records: list[Record], better: str, worse: str, metric: str, threshold: float, resamples: int, margin: float = 0) -> Part:
    """Difference of a metric of Table 1 between two initialisations, paired by resampling; with ``margin`` also a test of sameness."""
    first, second = pairs(records, {"init": better}, {"init": worse})
    if not first:
        return Part(name, None)
    a, b = (drawn_metrics(arm, threshold, resamples) for arm in (first, second))
    column = METRICS.index(metric)
    if not margin:
        return Part(name, a.minus(b, column), len(first))
    gaps = (a.draws - b.draws)[:, column]
    outside = max(np.sum(gaps >= margin), np.sum(gaps <= -margin))
    return Part(name, a.minus(b, column), len(first), p_same=min(1.0, 2 * (1 + float(outside)) / (1 + gaps.size)))


def no_false_positives(name: str, by_init: list[list[Record]], threshold: float, resamples: int) -> Part:
    """Whether any negative image was called positive by any run: one is enough to settle it."""
    if not all(by_init):
        return Part(name, None)
    wrong = sum(int((~correctness(runs, threshold, positive=False)[0]).sum()) for runs in by_init)
    worst = min((performance(runs, threshold, resamples)["specificity"] for runs in by_init), key=float)
    return Part(name, worst, sum(map(len, by_init)), settled="contradicted" if wrong else "holds")


def calm(name: str, records: list[Record], better: str, worse: str) -> Part:
    """Mean change of test accuracy between evaluations in the first half of training: that of ``worse`` less that of ``better``.

    Student's t over seeds; needs two.
    """
    from scipy.stats import ttest_1samp

    first, second = pairs(records, {"init": better}, {"init": worse})
    if len(first) < 2:
        return Part(name, None)
    gaps = np.array([_swing(b) - _swing(a) for a, b in zip(first, second, strict=True)])
    if not np.isfinite(gaps).all():
        return Part(name, None)
    found = mean_interval(gaps)
    p_value = float(ttest_1samp(gaps, 0).pvalue) if np.ptp(gaps) else float(gaps[0] == 0)
    return Part(name, Estimate(found, found.low, found.high, p_value), len(first))


def _swing(record: Record) -> float:
    curve = record.curve()
    return float(curve.loc[curve["step"] <= record.config["schedule"][-1] / 2, "test_accuracy"].diff().abs().mean())


def parts(records: list[Record], design: Design, threshold: float = 0.5, resamples: int = 4000) -> dict[int, list[Part]]:
    """The comparisons behind claims 1 to 8, expected above zero unless they say 'the same' or are settled."""
    full = [r for r in records if r.config["images_per_class"] is None]
    chosen = {"resolution": design.resolution, "schedule": design.schedule, "mixup": design.mixup}
    single = [r for r in full if all(setting(r)[name] == value for name, value in chosen.items())]
    few = [r for r in records if r.config["images_per_class"] is not None]
    inits, least, most = design.inits, design.inits[0], design.inits[-1]
    steps = list(zip(inits[1:], inits[:-1], strict=True))

    def named(axis: str, b: object, a: object, text) -> Part:
        return gain(f"{text(b)} against {text(a)}", full, {axis: b}, {axis: a}, threshold)

    found = {number: [] for number in range(1, 9)}
    found[1] = [gain(f"{b} against {a}", single, {"init": b}, {"init": a}, threshold) for b, a in steps]
    found[2] = [named("resolution", b, a, lambda pair: f"{pair[1]} px") for a, b in zip(design.resolutions, design.resolutions[1:])]
    lengths = design.schedules
    if len(lengths) > 1:
        found[3] = [named("schedule", lengths[1], lengths[0], lambda schedule: f"{schedule[-1]} steps")]
    if len(lengths) > 2:
        found[3].append(bend(f"gain up to {lengths[1][-1]} steps less the gain after", full, lengths, threshold))
    on = next((name for name in design.mixups if name != "off"), None)
    if on and "off" in design.mixups:
        found[4] = [gain("mixup against none", full, {"mixup": on}, {"mixup": "off"}, threshold)]
        better, worse = {"mixup": on, "init": least}, {"mixup": "off", "init": most}
        found[4].append(gain(f"{least} with mixup against {most} without", full, better, worse, threshold))
    if steps:
        against = f"{most} against {least}"
        found[5] = [no_false_positives("lowest specificity", [[r for r in single if setting(r)["init"] == name] for name in inits], threshold, resamples)]
        found[5].append(gain(f"sensitivity, {against}", single, {"init": most}, {"init": least}, threshold, positive=True))
        found[5].append(metric_gain(f"NPV, {against}", single, most, least, "npv", threshold, resamples))
        found[6] = [metric_gain(f"AUC, {b} against {a}", single, b, a, "auc", threshold, resamples, MARGIN) for b, a in [*steps, (most, least)][: len(inits)]]
        found[7] = [calm(f"swing of {least} less that of {name}", single, name, least) for name in inits[1:]]
        found[8] = [
            gain(f"{size} per class", few, {"init": most, "images_per_class": size}, {"init": least, "images_per_class": size}, threshold)
            for size in design.sizes
        ]
    if {64, 128} <= set(design.sizes):
        found[8].append(gain("64 against 128 per class", few, {"images_per_class": 64}, {"images_per_class": 128}, threshold))
    return found
