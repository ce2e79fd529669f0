"""Figures of the page on disease or data source: estimates as dots in rows, a panel for each data set; and the phantoms' curve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import style
from cxrlib.study.figures.real import note
from cxrlib.study.figures.style import GRID, SOFT, WIDTH, estimate_errors

Rows = Sequence[tuple[str, dict[str, Estimate]]]


def dots(panels: dict[str, Rows | str], title: str, xlabel: str, reference: float | None = None, reference_name: str = "chance", best_first: str | None = None) -> Figure:
    """Estimates in percent with their 95 % intervals, a row for each name and a shade and marker for each series; panels one below the other.

    Args:
        panels: by title, such as the data set: rows of (name, estimates by series), or a sentence to show in their place.
        reference: drawn as a dotted line.
        best_first: series by whose value the rows are sorted, greatest on top; as they come by default.

    Series have the same place in every figure: sensitivity before specificity, all else as it comes. Every other row stands on a band,
    so that the marks of a row keep together.
    """
    if best_first is not None:
        panels = {panel: rows if isinstance(rows, str) else sorted(rows, key=lambda row: -float(row[1][best_first])) for panel, rows in panels.items()}
    panels = {panel: rows if isinstance(rows, str) else _under_headings(rows) for panel, rows in panels.items()}
    drawn = [rows for rows in panels.values() if not isinstance(rows, str)]
    if not any(drawn):
        return note(title, "; ".join(f"{name}: {text}" for name, text in panels.items() if text) or "no records yet")
    series = sorted(dict.fromkeys(name for rows in drawn for _, values in rows for name in values), key=lambda name: name == "specificity")
    step = min(0.16, 0.8 / max(len(series), 1))  # between series of a row, so that rows keep apart
    row = max(0.42, 0.18 * len(series))
    heights = [row * max(len(rows) if not isinstance(rows, str) else 1, 1) + 0.9 for rows in panels.values()]
    figure, axes = plt.subplots(nrows=len(panels), height_ratios=heights, figsize=(WIDTH, sum(heights) + 0.8), squeeze=False, sharex=True)
    for ax, (panel, rows) in zip(axes.flat, panels.items(), strict=True):
        ax.set_title(panel)
        ax.tick_params(labelbottom=True)
        if isinstance(rows, str) or not rows:
            ax.text(0.5, 0.5, rows or "no records yet", ha="center", va="center", wrap=True, transform=ax.transAxes, color=SOFT)
            ax.set_yticks([])
            continue
        places = np.arange(len(rows))[::-1]
        for place in places[1::2] if len(series) > 2 else ():
            ax.axhspan(place - 0.5, place + 0.5, color=GRID, alpha=0.4, linewidth=0, zorder=0)
        for position, name in enumerate(series):
            shift = step * ((len(series) - 1) / 2 - position)
            found = [(place + shift, values[name]) for place, (_, values) in zip(places, rows, strict=True) if name in values and np.isfinite(values[name])]
            if found:
                y, estimates = zip(*found, strict=True)
                value, ends = np.array([100 * e for e in estimates]), np.array([[100 * (e - e.low), 100 * (e.high - e)] for e in estimates])
                looks = style.series(name, position) | {"linestyle": "none", "capsize": 3, "markersize": 7}
                ax.errorbar(value, y, xerr=np.nan_to_num(np.clip(ends.T, 0, None)), **looks)
        if reference is not None:
            ax.axvline(100 * reference, color=SOFT, linestyle=":", label=reference_name)
        ax.set_yticks(places, [name for name, _ in rows])
        for label, line, (_, values) in zip(ax.get_yticklabels(), ax.get_ygridlines(), rows, strict=True):
            if not values:  # a heading
                label.set_fontweight("bold")
                line.set_visible(False)
        ax.set_ylim(-0.6, len(rows) - 0.4)
    axes.flat[-1].set_xlabel(xlabel)
    if (layout := figure.get_layout_engine()) is not None:  # none without the style of the book
        layout.set(h_pad=0.1)
    style.legend_below(figure, axes.flat)
    style.heading(figure, title)
    return figure


def _under_headings(rows: Rows) -> Rows:
    """Rows such as 'view: AP', 'view: PA' under one heading each, 'view', which has no estimates; as they are if no beginning comes twice in turn."""
    groups = [(head, list(part)) for head, part in itertools.groupby(rows, key=lambda row: row[0].partition(": ")[0])]
    if not all(": " in name for name, _ in rows) or all(len(part) == 1 for _, part in groups):
        return rows
    return [row for head, part in groups for row in [(head, {}), *((name.partition(": ")[2], values) for name, values in part)]]


def confounding(table: pd.DataFrame, title: str) -> Figure:
    """Test score against the strength of confounding, on the own and on the unconfounded test set; of :func:`cxrlib.study.pages.confounding.curve`."""
    if table.empty:
        return note(title)
    measures = list(dict.fromkeys(table["measure"]))
    figure, axes = plt.subplots(1, len(measures), figsize=(WIDTH, 4.3), squeeze=False, sharey=True)
    for ax, measure in zip(axes[0], measures, strict=True):
        part = table[table["measure"] == measure]
        for position, (column, name) in enumerate((("own", "own test set, confounded alike"), ("unconfounded", "unconfounded test set"))):
            places = part["level"].astype(float) + 0.015 * (2 * position - 1)
            estimates = [Estimate(100 * e, 100 * e.low, 100 * e.high) for e in part[column]]
            estimate_errors(ax, places, estimates, **style.series(name, position))
        ax.axhline(50, color=SOFT, linestyle=":", label="chance")
        ax.set(xlabel="strength of confounding", title=measure)
    axes[0][0].set_ylabel("test score (%, 95 % interval)")
    style.legend_below(figure, axes[0])
    style.heading(figure, title)
    return figure
