"""Figures of the page on failures: decision curves, and images on a plane by their features."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxrlib import markup
from cxrlib.study.figures import style
from cxrlib.study.figures.real import note
from cxrlib.study.figures.style import ACCENT, FAINT, INK, SOFT, WIDTH

POINTS = ((ACCENT, "o", ACCENT), (SOFT, "s", "none"), (INK, "^", "none"), (FAINT, "D", FAINT))
"""Colour, marker and filling of groups of many points: no two inks on each other."""


def decision_curves(panels: dict[str, pd.DataFrame], title: str) -> Figure:
    """Net benefit in true positives per 100 images against the threshold, a panel for each test set.

    Args:
        panels: tables of :func:`cxrlib.study.pages.failures.net_benefit` by name.
    """
    if not panels:
        return note(title)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.2), squeeze=False, sharey=True)
    for ax, (name, table) in zip(axes[0], panels.items(), strict=True):
        ax.plot(100 * table["threshold"], 100 * table["network"], color=ACCENT, linewidth=2, label="network")
        ax.plot(100 * table["threshold"], 100 * table["all"], color=INK, linestyle="--", label="everybody is positive")
        ax.axhline(0, color=SOFT, linestyle=":", label="nobody is positive")
        ax.set(xlabel="threshold (%)", title=name, ylim=(-20, None))
    axes[0][0].set_ylabel("net true positives per 100 images")
    style.legend_below(figure, axes[0])
    style.heading(figure, title)
    return figure


def planes(panels: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Points on a plane that has no units, in each panel told apart in another way.

    Args:
        panels: by title: points (n, 2) by the name of their group.
    """
    if not panels:
        return note(title)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.6), squeeze=False)
    for ax, (name, groups) in zip(axes[0], panels.items(), strict=True):
        for position, (group, points) in enumerate(groups.items()):
            color, marker, filling = POINTS[position % len(POINTS)]
            looks = {"color": color, "marker": marker, "markerfacecolor": filling, "label": markup.visible(group)}
            ax.plot(points[:, 0], points[:, 1], linestyle="none", markersize=3, alpha=0.7, **looks)
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02))
    style.heading(figure, title)
    return figure
