"""The one picture of the home page: every part of every claim on real X-rays, above them what a file's size tells without a picture.

Drawn from the very verdicts of the table, so that its words are the table's words.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study import paper
from cxrlib.study.figures import style
from cxrlib.study.figures.real import note
from cxrlib.study.figures.style import ACCENT, FAINT, GRID, INK, SOFT, VERDICTS, WIDTH
from cxrlib.study.parts import Part
from cxrlib.study.verdicts import Judged, Verdict, overall

ROW, GAP = 0.62, 0.55
"""Height of a comparison, and what is left between two parts, in units of the axis."""
NETWORKS = ("Random", "BiT-S", "BiT-M")
COLUMNS = {"accuracy": "accuracy", "sensitivity": "sensitivity", "npv": "npv", "auc": "auc"}


def shown_parts(rows: Sequence[Verdict]) -> list[tuple[Part, list[Judged]]]:
    """The parts of the paper's claims, not ours, with those comparisons that have an interval, in the order of the table."""
    found: dict[Part, list[Judged]] = {}
    for answer in (answer for row in rows for answer in row.parts):
        if not answer.part.ours and answer.interval is not None:
            found.setdefault(answer.part, []).append(answer)
    return list(found.items())


def edge(part: Part) -> float:
    """What is taken from a number before it is drawn: for a level, such as an AUC or a specificity, where the claim expects it to begin."""
    if part.measure == "false positives":
        return 1.0
    return part.low if part.measure == "auc" and math.isfinite(part.low) and not part.ours else 0.0


def papers_numbers(part: Part) -> list[float]:
    """What Table 1 of the paper has for the comparisons of a part, in their order, as shares; empty where the paper prints no value."""
    if part.measure == "false positives":
        return [paper.TABLE_1[name].specificity / 100 for name in NETWORKS]
    if part.runs != "setting" or part.measure not in COLUMNS:
        return []
    values = [getattr(paper.TABLE_1[name], COLUMNS[part.measure]) / 100 for name in NETWORKS]
    if part.contrast == "every upstream":
        return values
    if part.contrast == "next upstream":
        return [values[1] - values[0], values[2] - values[1]]
    return [values[2] - values[0]] if part.contrast == "largest upstream" else []


def word_of(answers: Sequence[Judged]) -> str:
    """The one word of a part: that of its comparisons, or mixed."""
    return overall(answer.word for answer in answers)


def answer(rows: Sequence[Verdict], strip: Mapping[str, Estimate], title: str) -> Figure:
    """Each part's comparisons with their adjusted intervals and word; a diamond for what the paper printed.

    Args:
        strip: accuracy by what is seen, a share, such as 'file size only'; drawn on top with chance at 0.5.
    """
    parts = shown_parts(rows)
    if not parts:
        return note(title)
    heights = [ROW * len(answers) + GAP for _, answers in parts]
    labels = [textwrap.fill(f"{part.claim}. {part.says}".replace(" %", "\N{NO-BREAK SPACE}%"), 27) for part, _ in parts]
    heights = [max(height, 0.62 * (1 + label.count("\n")) + GAP) for height, label in zip(heights, labels, strict=True)]
    total = sum(heights)
    size = (0.34 * (len(strip) + 1) + 0.75, 0.30 * total + 0.6)
    figure, (top, below) = plt.subplots(2, 1, figsize=(WIDTH, sum(size) + 1.1), height_ratios=size, layout="none")
    figure.subplots_adjust(left=0.45, right=0.91, top=1 - 0.62 / (sum(size) + 1.1), bottom=1.05 / (sum(size) + 1.1), hspace=0.16)
    _strip(top, strip)
    place = 0.0
    for number, ((part, answers), height, label) in enumerate(zip(parts, heights, labels, strict=True)):
        middle = place - height / 2
        if number % 2 == 0:
            below.axhspan(place - height, place, color=GRID, alpha=0.35, linewidth=0)
        _part(below, part, answers, middle)
        word = word_of(answers)
        color, _ = VERDICTS.get(word, (SOFT, "s"))
        # Left of the drawing, so that a narrow screen, which scrolls it, shows every part with its word.
        at = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "right", "annotation_clip": False}
        below.annotate(word, (-0.02, middle), color=color, fontweight="bold", **at)
        below.annotate(label, (-0.34, middle), **at)
        place -= height
    below.axvline(0, color=SOFT, linewidth=1)
    below.plot([], [], marker="D", markerfacecolor="none", color=INK, linestyle="none", label="the paper, on its own test set, where it prints a value")
    below.plot([], [], marker="o", color=SOFT, label="here, with the interval that decides the word")
    below.set(ylim=(place, 0), xlabel="points by which the claim is met (right of zero) or missed (left)")
    below.set_yticks([])
    below.grid(visible=False, axis="y")
    below.spines["left"].set_visible(False)
    figure.legend(*below.get_legend_handles_labels(), loc="lower center")
    style.heading(figure, title, y=1 - 0.1 / (sum(size) + 1.1))
    return figure


def _strip(ax: Axes, strip: Mapping[str, Estimate]) -> None:
    """Accuracies one below the other, greatest first, with chance as a dotted line."""
    ordered = sorted(strip.items(), key=lambda item: -float(item[1]))
    for place, (_, value) in enumerate(ordered):
        ends = np.nan_to_num([[100 * (value - value.low)], [100 * (value.high - value)]])
        ax.errorbar([100 * value], [-place], xerr=ends, color=ACCENT, marker="o", markersize=7, capsize=3)
        ax.annotate(f"{percentage(value):.1f} %", (1.02, -place), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    ax.axvline(50, color=FAINT, linestyle=":")
    ax.annotate("chance", (50, -len(ordered) + 0.45), xytext=(4, 0), textcoords="offset points", color=SOFT, va="center")
    ax.set_yticks([-place for place in range(len(ordered))], [name for name, _ in ordered])
    ax.set(ylim=(-len(ordered) + 0.2, 0.7), xlim=(45, 102), xlabel="test images told apart (%)")


def _part(ax: Axes, part: Part, answers: Sequence[Judged], middle: float) -> None:
    start, theirs = edge(part), papers_numbers(part)
    for number, one in enumerate(answers):
        y = middle + ROW * ((len(answers) - 1) / 2 - number)
        value, low, high = (100 * (share - start) for share in (one.interval, one.interval.low, one.interval.high))
        color, marker = VERDICTS.get(one.word, (SOFT, "s"))
        ax.errorbar([value], [y], xerr=[[value - low], [high - value]], color=color, marker=marker, markersize=5, capsize=2, linewidth=1.4)
        if len(theirs) == len(answers):
            ax.plot([100 * (theirs[number] - start)], [y], marker="D", markersize=7, markerfacecolor="none", color=INK, linestyle="none")
    if math.isfinite(part.high) and not math.isfinite(part.low):
        ax.plot([100 * part.high] * 2, [middle - 0.5, middle + 0.5], color=FAINT, linewidth=2)
