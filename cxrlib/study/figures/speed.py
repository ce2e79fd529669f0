"""Figures of what is fast and how costs grow."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import style
from cxrlib.study.figures.style import ACCENT, FAINT, INK, VERDICTS, WIDTH


def ratio_dots(table: pd.DataFrame, title: str, xlabel: str) -> Figure:
    """Measured ratios with their spread, and the ratio to reach as a tick; columns: label, ratio, low, high, target."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(table) + 1.8))
    places = np.arange(len(table))[::-1]
    reached = table["ratio"] >= table["target"]
    for good, label in ((True, "measured: reached"), (False, "measured: short of it")):
        part = reached == good
        if part.any():
            values = [Estimate(*row) for row in table.loc[part, ["ratio", "low", "high"]].itertuples(index=False)]
            spread = np.array([[v - v.low, v.high - v] for v in values]).T
            color, marker = VERDICTS["holds" if good else "contradicted"]
            looks = {"color": color, "marker": marker, "linestyle": "none", "capsize": 3, "markersize": 7}
            ax.errorbar([float(v) for v in values], places[part.to_numpy()], xerr=spread, label=label, **looks)
    ax.plot(table["target"], places, linestyle="none", marker="|", markersize=16, markeredgewidth=2.5, color=INK, label="to reach")
    ax.axvline(1, color=FAINT, linestyle=":", linewidth=1)
    ax.set_xscale("log")
    ticks = [tick for tick in (0.5, 1, 2, 3, 5, 10, 20, 50) if table[["low", "target"]].min().min() / 1.3 < tick < table["high"].max() * 1.5]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(places, table["label"])
    ax.set(xlabel=xlabel)
    style.legend_below(figure, [ax], columns=3)
    style.heading(figure, title)
    return figure


def cost_lines(table: pd.DataFrame, lines: pd.DataFrame, x: str, title: str) -> Figure:
    """Costs against the number of images, two panels a row, with the straight line fitted to each; one measurement a point.

    Args:
        lines: of :func:`cxrlib.study.pages.speed.cost_lines`, a row per cost.
    """
    costs = list(lines.index)
    figure, axes = plt.subplots(-(-len(costs) // 2), 2, figsize=(WIDTH, 2.9 * -(-len(costs) // 2)), squeeze=False)
    for ax in axes.flat[len(costs) :]:
        ax.axis("off")
    for ax, cost in zip(axes.flat, costs, strict=False):
        slope, offset = lines.loc[cost, ["per_image", "fixed"]]
        ends = np.array([0, table[x].max()])
        ax.plot(ends / 1000, slope * ends + offset, color=FAINT, linestyle="--", label=f"{1000 * slope:.2g} s for 1,000")
        ax.plot(table[x] / 1000, table[cost], color=ACCENT, marker="o", linestyle="none")
        ax.set(xlabel="images (thousands)", ylabel="seconds", title=cost, ylim=(0, None))
        ax.legend(loc="upper left")
    style.heading(figure, title)
    return figure
