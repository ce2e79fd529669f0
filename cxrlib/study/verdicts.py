"""A verdict on each of the paper's nine claims, computed from comparisons of records: nothing here is typed by hand.

Every part has an interval that is adjusted for the whole family of comparisons, and its word follows from that interval
alone. The adjustment is Bonferroni's (Dunn 1961, Journal of the American Statistical Association 56, 52): with K comparisons
an interval has the confidence 1 - 0.05 / K, so that with 95 % confidence *all* of them hold at once, however they depend
on each other. Holm's procedure rejects a little more, but has no intervals that hold at once and agree with its decisions
two-sidedly (Guilbaud 2008, Biometrical Journal 50, 678), and a word of Holm's hangs on the p-values of all other parts.
Here K is the number of comparisons of the paper's own design, known before any result, so a word hangs on its own runs.

A part that expects a region with two ends, such as "the same", is tested by two one-sided tests (Schuirmann 1987): its p is
the larger of the two, and its interval has the confidence 1 - 2 * 0.05 / K, which lies in the region exactly if that p,
times K, is below 0.05. So an interval and its word cannot disagree, and no verdict hangs on a random stream.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxrlib import markup
from cxrlib.config import Parameters
from cxrlib.experiment.record import Record
from cxrlib.metrics.auc import newcombe_auc
from cxrlib.metrics.classifier import from_counts, wilson
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import holm
from cxrlib.metrics.proportions import mcnemar_bounds, newcombe
from cxrlib.study import paper
from cxrlib.study.claims import CLAIMS
from cxrlib.study.committed import DATA_SIZE, PERFORMANCE, SENSITIVITY, Design
from cxrlib.study.comparisons import Compared, compared, family_size
from cxrlib.study.pairs import ordered_inits, points
from cxrlib.study.parts import Part

ALPHA = 0.05
CLAIMED = {claim.number for claim in CLAIMS}
"""Numbers of the paper's claims; what it does not claim has none on a page."""
HOLDS, CONTRADICTED, MIXED, NOT_SEEN = "holds", "contradicted", "mixed", "not seen"
NOT_RECORDED, CANNOT = "not recorded yet", "cannot be tested here"
MEANING = {
    HOLDS: "the whole adjusted interval lies where the paper says",
    CONTRADICTED: "the whole adjusted interval lies where the paper does not say",
    MIXED: "the parts of the claim have different words; they are named",
    NOT_SEEN: "it could be either: the adjusted interval says how large the difference may still be",
    CANNOT: "these runs could not answer it, whatever they gave",
    NOT_RECORDED: "its runs are missing",
}
"""What each word means, for a hover or a fold wherever it stands."""
HEADS = ("claim, part, comparison", "word", "here, with adjusted interval", "expected")
"""Of the table in parts: what decides comes first, where a narrow screen shows it."""
VERBS = {
    HOLDS: ("holds", "hold"), MIXED: ("is mixed", "are mixed"), NOT_SEEN: ("is not seen", "are not seen"),
    CONTRADICTED: ("is contradicted", "are contradicted"), CANNOT: (CANNOT, CANNOT), NOT_RECORDED: ("is not recorded yet", "are not recorded yet"),
}  # fmt: skip
"""Each verdict as a predicate of one claim, and of several."""
STUDY_OF = {1: PERFORMANCE, 2: SENSITIVITY, 3: SENSITIVITY, 4: SENSITIVITY, 5: PERFORMANCE, 6: PERFORMANCE, 7: PERFORMANCE, 8: DATA_SIZE}


@dataclass(frozen=True)
class Judged:
    """A comparison with its adjusted interval and p-value (None if there is none) and its word."""

    compared: Compared
    interval: Estimate | None
    word: str

    @property
    def part(self) -> Part:
        return self.compared.part

    @property
    def result(self) -> str:
        """What we have, in words."""
        if self.interval is None:
            return self.compared.cannot or self.word
        if self.compared.settled:
            return f"specificity {self.interval.percent()} % (a plain interval: one false alarm decides)"
        level = self.compared.measured.bounded
        # One digit more where the interval would seem to end at the edge that it is compared with.
        edges = [edge for edge in (self.part.low, self.part.high) if math.isfinite(edge)]
        close = any(round(100 * end, 1) == round(100 * edge, 1) for end in (self.interval.low, self.interval.high) for edge in edges)
        shown = f"{self.interval.percent(2 if close else 1)} %" if level else points(self.interval)
        if self.interval.p_value is None or math.isnan(self.interval.p_value):
            return shown
        tested = "for lying within the margins (two one-sided tests) " if len(edges) == 2 else ""
        return f"{shown}, {tested}p {p_text(self.interval.p_value)}"


@dataclass(frozen=True)
class Verdict:
    """A row of the table: what the paper has, what we have part by part, and what follows."""

    number: int
    title: str
    evidence: str
    parts: tuple[Judged, ...]
    verdict: str
    note: str = ""

    @property
    def result(self) -> str:
        """Every part in words: those of the paper's claim, then ours."""
        texts = [f"{answer.compared.name}: {answer.result} ({answer.word})" + (" [our reading]" if answer.part.ours else "") for answer in self.parts]
        return f"{self.note}{'; '.join(texts)}"


def confidence(part: Part, family: int) -> float:
    """Confidence of the interval that decides a part, in a family of that many comparisons."""
    both_ends = math.isfinite(part.low) and math.isfinite(part.high)
    return 1 - (2 if both_ends else 1) * ALPHA / family


def judge(found: Iterable[Compared], family: int) -> list[Judged]:
    """Each comparison with its interval and word; ``family`` is :func:`cxrlib.study.comparisons.family_size`."""
    return [_judged(one, family) for one in found]


def _judged(one: Compared, family: int) -> Judged:
    if one.settled:
        return Judged(one, one.value, one.settled)
    if one.measured is None or math.isnan(one.measured.error):
        return Judged(one, None, CANNOT if one.cannot or one.measured is not None else NOT_RECORDED)
    part, interval = one.part, one.measured.estimate(confidence(one.part, family))
    interval = Estimate(interval, interval.low, interval.high, min(1.0, family * plain_p(one)))
    inside = part.low < interval.low and interval.high < part.high
    outside = interval.high < part.low or part.high < interval.low
    return Judged(one, interval, HOLDS if inside else CONTRADICTED if outside else NOT_SEEN)


def plain_p(one: Compared) -> float:
    """The p-value of a comparison before any adjustment: two-sided at the one end of its region, or the larger of two one-sided."""
    part, measured = one.part, one.measured
    if math.isfinite(part.low) and math.isfinite(part.high):
        return max(measured.one_sided(part.low)[1], measured.one_sided(part.high)[0])
    return measured.estimate(at=part.low if math.isfinite(part.low) else part.high).p_value


def otherwise_with_holm(rows: Iterable[Verdict], family: int) -> list[str]:
    """The comparisons that Holm's step-down procedure would tell from zero, or from their margin, and Bonferroni's does not."""
    tested = [answer for row in rows for answer in row.parts if answer.compared.measured is not None and answer.interval is not None]
    plain = [plain_p(answer.compared) for answer in tested]
    adjusted = holm([*plain, *[1.0] * (family - len(plain))])[: len(plain)] if plain else []
    return [answer.compared.name for answer, p, bonferroni in zip(tested, adjusted, plain, strict=True) if p < ALPHA <= family * bonferroni]


def overall(words: Iterable[str]) -> str:
    """The word for a claim from those of the paper's parts; a part that cannot be tested decides nothing unless all are so."""
    found = [word for word in words if word != CANNOT]
    if not found:
        return CANNOT
    if NOT_RECORDED in found:
        return NOT_RECORDED
    return found[0] if len(set(found)) == 1 else MIXED


def verdicts(found: Iterable[Compared], family: int, counts: dict[str, tuple[int, int]] | None = None) -> list[Verdict]:
    """The verdict on every claim that has a comparison, in their order.

    Args:
        found: of :func:`cxrlib.study.comparisons.compared`.
        family: of :func:`cxrlib.study.comparisons.family_size`.
        counts: recorded and planned runs by notebook; a verdict on an unfinished study is called provisional.
    """
    answers, evidence, rows = judge(found, family), paper_evidence(), []
    for claim in CLAIMS:
        mine = tuple(answer for answer in answers if answer.part.claim == claim.number)
        if not mine:
            continue
        recorded, planned = (counts or {}).get(STUDY_OF.get(claim.number, ""), (0, 0))
        if recorded < planned:  # one pair of runs cannot be tested, and more are to come
            mine = tuple(replace(answer, word=NOT_RECORDED) if answer.word == CANNOT and answer.compared.pairs == 1 else answer for answer in mine)
        word = overall(answer.word for answer in mine if not answer.part.ours)
        unfinished = recorded < planned and word not in (NOT_RECORDED, CANNOT)
        rows.append(Verdict(claim.number, claim.title, evidence[claim.number], mine, word, f"provisional, {recorded} of {planned} runs: " if unfinished else ""))
    return rows


def of_chapter(parameters: Parameters, records: list[Record], claims: Iterable[int], heat: Mapping[str, np.ndarray] | None = None) -> list[Verdict]:
    """The verdicts of a notebook that trained its runs itself, by the same rules and in the same family as the recorded study.

    Args:
        parameters: of the notebook: its design, and its threshold if it has one.
        heat: for claim 9, as in :func:`cxrlib.study.comparisons.compared`.
    """
    inits = ordered_inits(records, getattr(parameters, "inits", None) or (parameters.init,))
    design = Design.of_notebook(parameters, inits)
    return verdicts(compared(records, design, getattr(parameters, "threshold", 0.5), heat, claims), family_size(design))


def reasons(row: Verdict) -> str:
    """What a mixed claim is mixed of: 'holds: a longer schedule helps. contradicted: ...'; empty for any other word."""
    if row.verdict != MIXED:
        return ""
    said = []
    for word in (HOLDS, CONTRADICTED, NOT_SEEN, NOT_RECORDED):
        names: dict[str, list[str]] = {}
        for answer in row.parts:
            if answer.word == word and not answer.part.ours:
                names.setdefault(answer.part.says, []).append(answer.compared.name)
        if names:
            said.append(f"{word}: " + "; ".join(_of_part(says, found, row) for says, found in names.items()))
    return ". ".join(said)


def _of_part(says: str, found: list[str], row: Verdict) -> str:
    """A part, with those of its comparisons that are meant if it is not all of them."""
    every = sum(answer.part.says == says for answer in row.parts)
    if len(found) == every:
        return says
    return f"{says} ({', '.join(found)})" if len(found) < 3 else f"{says} ({len(found)} of {every} comparisons)"


def table(rows: Iterable[Verdict]) -> list[dict[str, str | int | bool]]:
    """The verdicts part by part as plain values, for a notebook, a page or a file; ``word`` and ``claim_word`` are keys of ``MEANING``."""
    return [
        {
            "claim": row.number, "title": row.title, "claim_word": row.verdict, "mixed_of": reasons(row), "part": answer.part.says, "ours": answer.part.ours,
            "words": answer.part.words, "section": answer.part.section, "note": answer.part.note, "expected": answer.part.expected,
            "compared": answer.compared.name, "pairs": answer.compared.pairs, "result": row.note + answer.result, "word": answer.word,
        }
        for row in rows for answer in row.parts
    ]  # fmt: skip


def packed(rows: Iterable[Verdict]) -> str:
    """:func:`table` as JSON, in which a notebook hands its verdicts to other pages."""
    return json.dumps(table(rows))


def markdown(rows: Iterable[Verdict]) -> str:
    """The verdicts as a Markdown table: below each claim its parts, with the paper's words, and below each part its comparisons."""
    lines = []
    for row in rows:
        why = reasons(row)
        lines.append([markup.bold(f"{row.number}. {row.title}" if row.number in CLAIMED else row.title), markup.bold(row.verdict), why, ""])
        for says, answers in itertools.groupby(row.parts, key=lambda answer: answer.part.says):
            answers = list(answers)
            part = answers[0].part
            words = f"our reading, from: {part.words}" if part.ours else f"“{part.words}” ({'title of the paper' if part.section == 'title' else f'section {part.section}'})"
            lines.append([f"{says}{f' ({part.note})' if part.note else ''}. {words}", "", "", part.expected])
            lines += [[f"– {answer.compared.name}", answer.word, row.note + answer.result, ""] for answer in answers]
    return markup.table(list(HEADS), lines)


def legend() -> str:
    """What each word means, as a Markdown list."""
    return "\n".join(f"- {markup.bold(word)}: {meaning}" for word, meaning in MEANING.items())


def p_text(value: float) -> str:
    """A p-value as '< 0.001', '= 0.023' or '= 0.41'."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def paper_evidence() -> dict[int, str]:
    """What the paper has for each claim, with 95 % intervals recomputed from the counts that Table 1 implies."""
    rows = {name: paper.TABLE_1[name] for name in ("BiT-M", "BiT-S", "Random")}
    implied = {name: from_counts(**vars(row.counts)) for name, row in rows.items()}
    n = paper.TEST_IMAGES_PER_CLASS

    def compared(a: str, b: str) -> str:
        ours, theirs = (rows[name].counts.tp + rows[name].counts.tn for name in (a, b))
        low, high = mcnemar_bounds(ours, theirs, 2 * n)
        return f"{a} less {b} {points(newcombe(ours, 2 * n, theirs, 2 * n))}, paired p between {p_text(low).lstrip('= ')} and {p_text(high).lstrip('= ')}"

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
        5: f"Specificity {implied['BiT-M'].specificity.percent()} % for all three; sensitivity {sensitivities}; BiT-M less Random {points(rise)}, Fisher's p {p_text(rise.p_value)}",
        6: f"AUC {areas}; intervals after Newcombe, as no scores are printed",
        7: f"Figure 5, {eye}",
        8: f"Figure 7, {eye}; BiT-M with 512 per class {wilson(best, 2 * n).percent(2)} %, COVID-Net with all {paper.TABLE_1['COVID-Net'].accuracy} % (its row contradicts itself)",
        9: "Figure 8: four images",
    }


def summary(rows: list[Verdict]) -> str:
    """How many claims have which verdict, and which: 'of 9 claims, 1 holds (9), 2 are mixed (1, 5), ...'."""
    texts = []
    for verdict, predicates in VERBS.items():
        numbers = [str(row.number) for row in rows if row.verdict == verdict]
        if numbers:
            counted = f"{len(numbers)} {predicates[len(numbers) > 1]}"
            texts.append(f"{counted if texts else f'of {len(rows)} claims, {counted}'} ({', '.join(numbers)})")
    return ", ".join(texts)
