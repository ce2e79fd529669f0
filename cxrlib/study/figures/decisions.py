"""Decision curves: what acting on a network gains over acting on everybody or on nobody."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from cxrlib.study.figures import style
from cxrlib.study.figures.real import note
from cxrlib.study.figures.style import ACCENT, INK, SOFT, WIDTH


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
    figure.suptitle(title)
    return figure
