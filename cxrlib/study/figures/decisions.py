"""Decision curves: what acting on a network gains over acting on everybody or on nobody."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from cxrlib.study.figures.common import PALETTE
from cxrlib.study.figures.real import note


def decision_curves(panels: dict[str, pd.DataFrame], title: str) -> Figure:
    """Net benefit in true positives per 100 images against the threshold, a panel for each test set.

    Args:
        panels: tables of :func:`cxrlib.study.pages.failures.net_benefit` by name.
    """
    if not panels:
        return note(title)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4), squeeze=False)
    for ax, (name, table) in zip(axes[0], panels.items(), strict=True):
        ax.plot(100 * table["threshold"], 100 * table["network"], color=PALETTE[0], linewidth=2, label="network")
        ax.plot(100 * table["threshold"], 100 * table["all"], color=PALETTE[1], linestyle="--", label="everybody is positive")
        ax.axhline(0, color="0.45", linestyle=":", label="nobody is positive")
        ax.set(xlabel="threshold (%)", title=name, ylim=(-20, None))
    axes[0][0].set_ylabel("net true positives per 100 images")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure
