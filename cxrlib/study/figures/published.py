"""What the paper prints, beside ours on one axis: its values as hollow marks at the end of a figure, its Table 1 as rows of dots."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from cxrlib.metrics import classifier
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import paper
from cxrlib.study.figures import style
from cxrlib.study.figures.style import GRID, SOFT

TABLE_ROWS = {"random": "Random", "bit-s": "BiT-S", "bit-m": "BiT-M"}
"""Rows of Table 1 by the name of the initialisation."""
MEASURES = ("accuracy", "sensitivity", "specificity", "auc")
SHORT = {"auc": "AUC"}


def accuracies() -> dict[str, float]:
    """Accuracy of each initialisation in Table 1, a share."""
    return {init: paper.TABLE_1[row].accuracy / 100 for init, row in TABLE_ROWS.items()}


def beside(figure: Figure, legend_title: str | None = None, said: str = "the paper, 480 px") -> Figure:
    """Draw the accuracies of Table 1 as hollow marks at the right end of the last panel, behind a line.

    A figure without axes that show numbers, such as a note, is left as it is.

    Args:
        figure: whose last panel has accuracy as a share on its upright axis.
        legend_title: of the legend that is drawn anew.
        said: what stands behind each name in the legend.
    """
    panels = [ax for ax in figure.axes if ax.axison and ax.lines]
    if not panels:
        return figure
    ax = panels[-1]
    left, right = ax.get_xlim()
    step = 0.05 * (right - left)
    ax.axvline(right, color=GRID, linewidth=1)
    if not isinstance(ax.xaxis.get_major_locator(), FixedLocator):
        ax.set_xticks([tick for tick in ax.get_xticks() if left <= tick <= right])  # the axis ends where the paper's marks begin
    ax.annotate("paper", (right + 2 * step, 0.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=SOFT)
    for place, (init, value) in enumerate(accuracies().items(), 1):
        looks = style.series(init, 0)
        looks |= {"markerfacecolor": "none", "linestyle": "none", "markersize": 9, "label": f"{looks['label']} ({said})"}
        ax.plot([right + place * step], [value], **looks)
    ax.set_xlim(left, right + (place + 1) * step)
    for legend in figure.legends:
        legend.remove()
    style.legend_below(figure, panels, legend_title, columns=3)
    return figure


def rows() -> list[tuple[str, dict[str, Estimate]]]:
    """Table 1 for :func:`cxrlib.study.figures.shortcuts.dots`: Wilson's intervals from the counts; an AUC has none, as no scores are printed."""
    found = []
    for init, name in TABLE_ROWS.items():
        row = paper.TABLE_1[name]
        implied = classifier.from_counts(**vars(row.counts))
        values = {measure: getattr(implied, measure) for measure in MEASURES[:-1]}
        found.append((style.named(init), values | {SHORT["auc"]: Estimate(row.auc / 100)}))
    return found


def as_rows(estimates: Mapping[str, Mapping[str, Estimate]]) -> list[tuple[str, dict[str, Estimate]]]:
    """Ours in the same form, from :func:`cxrlib.study.thresholds.performance` by initialisation."""
    return [(style.named(init), {SHORT.get(measure, measure): estimates[init][measure] for measure in MEASURES}) for init in style.in_order(estimates)]
