"""A verdict on each of the paper's nine claims, computed from a list of records: nothing here is typed by hand.

A claim falls into parts, each a difference with a 95 % interval and a two-sided p-value, paired over seeds and test
images. The p-values of all parts of all claims that are fully recorded are corrected together (Holm 1979, Scandinavian
Journal of Statistics 6, 65). They are more than the claims, so this is the stricter of the two corrections. A part holds
if its corrected p-value is below 0.05 and the difference points the paper's way. "The same" is a claim of its own: it
holds if the difference lies within a margin (two one-sided tests, Schuirmann 1987), never because none was found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cxrlib import paper
from cxrlib.auc import _newcombe_auc
from cxrlib.claims import CLAIMS
from cxrlib.estimates import Estimate
from cxrlib.metrics import from_counts, wilson
from cxrlib.operating import METRICS, drawn_metrics, performance
from cxrlib.recorded import DATA_SIZE, PERFORMANCE, SENSITIVITY, Design
from cxrlib.records import Record
from cxrlib.selection import mcnemar_bounds, newcombe
from cxrlib.statistics import difference_over_seeds, holm
from cxrlib.study import Finding, correctness, mean_interval, overall, points, setting

ALPHA = 0.05
MARGIN = 0.01
"""AUCs closer than this count as the same. The paper's differ by 0.1 point; a test set of 200 patients cannot show so little."""
NOT_RECORDED, CANNOT = "not recorded yet", "cannot be tested here"
STUDY_OF = {1: PERFORMANCE, 2: SENSITIVITY, 3: SENSITIVITY, 4: SENSITIVITY, 5: PERFORMANCE, 6: PERFORMANCE, 7: PERFORMANCE, 8: DATA_SIZE}


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


@dataclass(frozen=True)
class Judged:
    """A part with its corrected p-values (of the difference, then of sameness; none if settled) and its verdict."""

    part: Part
    p_values: list[float]
    verdict: str


@dataclass(frozen=True)
class Verdict:
    """A row of the table: what the paper has, what we have, and what follows."""

    number: int
    title: str
    evidence: str
    result: str
    verdict: str


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
    """Accuracy with the values ``better`` minus that with ``worse``, paired; ``positive`` as in :func:`cxrlib.study.correctness`."""
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


def judged(found: dict[int, list[Part]]) -> dict[int, list[Judged]]:
    """The parts of the claims that are fully recorded, with p-values corrected together over all of them."""
    tested = {n: ps for n, ps in found.items() if ps and all(p.difference is not None for p in ps)}
    raw = [p for ps in tested.values() for part in ps for p in _p_values(part)]
    corrected = iter(holm(raw) if raw else [])
    answers = {}
    for number, ps in tested.items():
        answers[number] = []
        for part in ps:
            p_values = [float(next(corrected)) for _ in _p_values(part)]
            answers[number].append(Judged(part, p_values, _verdict(part, p_values)))
    return answers


def judge(found: dict[int, list[Part]]) -> dict[int, Finding]:
    """A finding for each claim from its parts; a claim with a part that has no runs yet is 'not recorded yet'."""
    answers, findings = judged(found), {}
    for number, ps in found.items():
        if number in answers:
            texts = [_text(answer) for answer in answers[number]]
            findings[number] = Finding("; ".join(texts), overall([answer.verdict for answer in answers[number]]))
        elif not ps:
            findings[number] = Finding("this profile has one value of this axis", CANNOT)
        else:
            texts = [f"{p.name}: {NOT_RECORDED if p.difference is None else points(p.difference)}" for p in ps]
            some = any(p.difference is not None for p in ps)
            findings[number] = Finding("; ".join(texts) if some else NOT_RECORDED, NOT_RECORDED)
    return findings


def _p_values(part: Part) -> list[float]:
    return [] if part.settled else [part.difference.p_value] + ([] if part.p_same is None else [part.p_same])


def _verdict(part: Part, p_values: list[float]) -> str:
    if part.settled:
        return part.settled
    if part.p_same is not None and p_values[1] < ALPHA:
        return "holds"
    if not p_values[0] < ALPHA:
        return "not seen"
    return "holds" if part.difference > 0 and part.p_same is None else "contradicted"


def _text(answer: Judged) -> str:
    part, p_values = answer.part, answer.p_values
    if part.settled:
        return f"{part.name} {part.difference.percent()} %"
    shown = f"{part.name}: {points(part.difference)}, p {_p(p_values[0])}"
    return shown if part.p_same is None else f"{shown}; within {100 * MARGIN:g} point: p {_p(p_values[1])}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def paper_evidence() -> dict[int, str]:
    """What the paper has for each claim, with 95 % intervals recomputed from the counts that Table 1 implies."""
    rows = {name: paper.TABLE_1[name] for name in ("BiT-M", "BiT-S", "Random")}
    implied = {name: from_counts(**vars(row.counts)) for name, row in rows.items()}
    n = paper.TEST_IMAGES_PER_CLASS

    def compared(a: str, b: str) -> str:
        ours, theirs = (rows[name].counts.tp + rows[name].counts.tn for name in (a, b))
        low, high = mcnemar_bounds(ours, theirs, 2 * n)
        return f"{a} less {b} {points(newcombe(ours, 2 * n, theirs, 2 * n))}, paired p between {_p(low).lstrip('= ')} and {_p(high).lstrip('= ')}"

    accuracies = "; ".join(f"{name} {value.accuracy.percent()} %" for name, value in implied.items())
    sensitivities = "; ".join(f"{name} {value.sensitivity.percent()} %" for name, value in implied.items())
    tp = {name: row.counts.tp for name, row in rows.items()}
    rise = newcombe(tp["BiT-M"], n, tp["Random"], n)
    areas = "; ".join(f"{name} {Estimate(row.auc / 100, *_newcombe_auc(row.auc / 100, n, n, 0.95)).percent()} %" for name, row in rows.items())
    best = round(paper.FEW_SHOT_ACCURACY["bit-m"][512] / 100 * 2 * n)
    eye = "read off by eye; no value is printed, one run each"
    return {
        1: f"Table 1, accuracy: {accuracies}. {compared('BiT-M', 'BiT-S')}; {compared('BiT-S', 'Random')}",
        2: f"Figure 4a, {eye}",
        3: f"Figure 4b, {eye}",
        4: f"Figure 4, {eye}",
        5: f"Specificity {implied['BiT-M'].specificity.percent()} % for all three; sensitivity {sensitivities}; BiT-M less Random {points(rise)}, Fisher's p {_p(rise.p_value)}",
        6: f"AUC {areas}; intervals after Newcombe, as no scores are printed",
        7: f"Figure 5, {eye}",
        8: f"Figure 7, {eye}; BiT-M with 512 per class {wilson(best, 2 * n).percent(2)} %, COVID-Net with all {paper.TABLE_1['COVID-Net'].accuracy} % (its row contradicts itself)",
        9: "Figure 8: four images",
    }


def verdicts(found: dict[int, list[Part]], counts: dict[str, tuple[int, int]] | None = None, grad_cam: Finding | None = None) -> list[Verdict]:
    """The table of nine.

    Args:
        found: of :func:`parts`.
        counts: recorded and planned runs by notebook; a verdict on an unfinished study is called provisional.
        grad_cam: claim 9's finding, which needs trained weights; records have none.
    """
    findings = judge(found)
    findings[9] = grad_cam or Finding("needs trained weights; records hold none", CANNOT)
    evidence, rows = paper_evidence(), []
    for claim in CLAIMS:
        finding, result = findings[claim.number], findings[claim.number].result
        recorded, planned = (counts or {}).get(STUDY_OF.get(claim.number, ""), (0, 0))
        if recorded < planned and finding.verdict not in (NOT_RECORDED, CANNOT):
            result = f"provisional, {recorded} of {planned} runs: {result}"
        rows.append(Verdict(claim.number, claim.title, evidence[claim.number], result, finding.verdict))
    return rows
