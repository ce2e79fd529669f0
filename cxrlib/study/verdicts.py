"""A verdict on each of the paper's nine claims, computed from a list of records: nothing here is typed by hand.

A claim falls into parts, each a difference with a 95 % interval and a two-sided p-value, paired over seeds and test
images. The p-values of all parts of all claims that are fully recorded are corrected together (Holm 1979, Scandinavian
Journal of Statistics 6, 65). They are more than the claims, so this is the stricter of the two corrections. A part holds
if its corrected p-value is below 0.05 and the difference points the paper's way. "The same" is a claim of its own: it
holds if the difference lies within a margin (two one-sided tests, Schuirmann 1987), never because none was found.
"""

from __future__ import annotations

from dataclasses import dataclass

from cxrlib.metrics.auc import newcombe_auc
from cxrlib.metrics.classifier import from_counts, wilson
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import holm
from cxrlib.metrics.proportions import mcnemar_bounds, newcombe
from cxrlib.study import paper
from cxrlib.study.claims import CLAIMS
from cxrlib.study.committed import DATA_SIZE, PERFORMANCE, SENSITIVITY
from cxrlib.study.comparisons import MARGIN, Part
from cxrlib.study.pairs import Finding, overall, points

ALPHA = 0.05
NOT_RECORDED, CANNOT = "not recorded yet", "cannot be tested here"
VERBS = {
    "holds": ("holds", "hold"), "holds partly": ("holds partly", "hold partly"), "not seen": ("is not seen", "are not seen"),
    "contradicted": ("is contradicted", "are contradicted"), CANNOT: (CANNOT, CANNOT), NOT_RECORDED: ("is not recorded yet", "are not recorded yet"),
}  # fmt: skip
"""Each verdict as a predicate of one claim, and of several."""
STUDY_OF = {1: PERFORMANCE, 2: SENSITIVITY, 3: SENSITIVITY, 4: SENSITIVITY, 5: PERFORMANCE, 6: PERFORMANCE, 7: PERFORMANCE, 8: DATA_SIZE}


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
    areas = "; ".join(f"{name} {Estimate(row.auc / 100, *newcombe_auc(row.auc / 100, n, n, 0.95)).percent()} %" for name, row in rows.items())
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
        found: of :func:`cxrlib.study.comparisons.parts`, and under 9 those of :func:`cxrlib.study.pages.heat.parts`.
        counts: recorded and planned runs by notebook; a verdict on an unfinished study is called provisional.
        grad_cam: claim 9's finding if ``found`` has none; it needs trained weights, and records have none.
    """
    findings = judge(found)
    findings.setdefault(9, grad_cam or Finding("needs trained weights; records hold none", CANNOT))
    evidence, rows = paper_evidence(), []
    for claim in CLAIMS:
        finding, result = findings[claim.number], findings[claim.number].result
        recorded, planned = (counts or {}).get(STUDY_OF.get(claim.number, ""), (0, 0))
        if recorded < planned and finding.verdict not in (NOT_RECORDED, CANNOT):
            result = f"provisional, {recorded} of {planned} runs: {result}"
        rows.append(Verdict(claim.number, claim.title, evidence[claim.number], result, finding.verdict))
    return rows


def summary(rows: list[Verdict]) -> str:
    """How many claims have which verdict, and which: 'of 9 claims, 1 holds (9), 2 hold partly (1, 5), ...'."""
    texts = []
    for verdict, predicates in VERBS.items():
        numbers = [str(row.number) for row in rows if row.verdict == verdict]
        if numbers:
            counted = f"{len(numbers)} {predicates[len(numbers) > 1]}"
            texts.append(f"{counted if texts else f'of {len(rows)} claims, {counted}'} ({', '.join(numbers)})")
    return ", ".join(texts)
