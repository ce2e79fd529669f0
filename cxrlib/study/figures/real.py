"""Figures of the study on real X-rays, beside those of :mod:`cxrlib.study.figures.common`; what has no records yet is drawn as a note."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxrlib.metrics.classifier import Evaluation
from cxrlib.metrics.estimate import percentage
from cxrlib.study import paper
from cxrlib.study.figures import common, published, style
from cxrlib.study.figures.style import ACCENT, FAINT, GRID, INK, OTHERS, SOFT, VERDICTS, WIDTH
from cxrlib.study.verdicts import Judged


def note(title: str, text: str = "no records yet") -> Figure:
    """A small figure that says why there is nothing to draw."""
    figure, ax = plt.subplots(figsize=(WIDTH, 1.3))
    ax.axis("off")
    style.heading(figure, title)
    ax.text(0.5, 0.5, text, ha="center", va="center", color=SOFT, transform=ax.transAxes)
    return figure


def grid(table: pd.DataFrame, x: str, orders: dict[str, Sequence], title: str, xlabel: str, names: dict) -> Figure:
    """Figure 4 from the cells that are recorded: a panel for mixup, a line for each initialisation; a note below two values of ``x``.

    Args:
        table: of :func:`cxrlib.study.pairs.cells`; may be empty.
        orders: for ``x``, mixup and init the values in their order.
    """
    if table.empty or len(set(table[x])) < 2:
        return note(title, f"no records yet of two values of {x}")
    places = {column: {value: place for place, value in enumerate(order)} for column, order in orders.items()}
    keys = [[places[column][value] for value in table[column]] for column in ("mixup", "init", x)]
    return common.grid_panels(table.iloc[np.lexsort(keys[::-1])], x, "mixup", "init", title, xlabel, names)


def panels(table: pd.DataFrame, x: str, of: str, lines: str, title: str, xlabel: str, value: str = "AUC") -> Figure:
    """As :func:`cxrlib.study.figures.common.grid_panels`, or a note."""
    return note(title) if table.empty else common.grid_panels(table, x, of, lines, title, xlabel, value=value)


def data_size(table: pd.DataFrame, inits: Sequence[str], title: str, references: dict[str, float]) -> Figure:
    """Figure 7 of ``inits``, or a note if only the full training set is recorded."""
    if table.empty or table["images_per_class"].isna().all():
        return note(title, "no records yet with few images per class")
    return common.data_size(table[table["init"].isin(list(inits))], title, references)


def count_bars(counts: pd.DataFrame, title: str) -> Figure:
    """Figure 2, or a note."""
    return note(title) if counts.empty else common.count_bars(counts, title)


def file_shapes(shapes: pd.DataFrame, title: str) -> Figure:
    """Heights against widths, or a note."""
    return note(title) if shapes.empty else common.file_shapes(shapes, title)


def curves(table: pd.DataFrame | None, title: str) -> Figure:
    """Figure 5 with the paper's last values at its end, or a note if nothing is recorded."""
    if table is None:
        return note(title)
    return published.beside(common.learning_curves(table, "test_accuracy", title, "test accuracy"), "band: all seeds")


def confusion(found: tuple[Evaluation, str] | None, title: str) -> Figure:
    """Figure 6 of one run, or a note; ``found`` is of :func:`cxrlib.study.pages.performance.confusion`."""
    return note(title) if found is None else common.confusion(found[0].confusion.matrix, title, found[1])


def curve_pair(roc: dict, precision_recall: dict, title: str) -> Figure:
    """ROC and precision-recall curves, or a note."""
    return common.curve_pair(roc, precision_recall, title) if roc else note(title)


def trade_off(curves: dict[str, pd.DataFrame], points: dict[str, tuple[float, float]], equal: float, title: str) -> Figure:
    """Sensitivity against specificity over all thresholds: mean over runs and a band from the least to the greatest.

    Args:
        curves: by name, columns specificity, mean, least, greatest.
        points: by name the mean specificity and sensitivity at the threshold 0.5.
        equal: specificity at which the models are compared, drawn as a line.
    """
    if not curves:
        return note(title)
    figure, ax = plt.subplots(figsize=(WIDTH, 5.2))
    for position, name in enumerate(style.in_order(curves)):
        table, looks = curves[name], style.series(name, position)
        ax.fill_between(table["specificity"], table["least"], table["greatest"], color=looks["color"], alpha=0.15, linewidth=0)
        ax.plot(table["specificity"], table["mean"], color=looks["color"], linewidth=2)
        ax.plot(*points[name], linestyle="none", **looks | {"markersize": 11, "markeredgecolor": INK})
    for init, row in published.TABLE_ROWS.items():
        looks, printed = style.series(init, 0), paper.TABLE_1[row]
        looks |= {"markerfacecolor": "none", "linestyle": "none", "markersize": 9, "label": f"{looks['label']} (the paper)"}
        ax.plot([printed.specificity / 100], [printed.sensitivity / 100], **looks)
    ax.axvline(equal, color=SOFT, linestyle="--", linewidth=1.4, label=f"equal specificity, {percentage(equal):.1f} %")
    ax.set(xlabel="specificity (negatives called negative)", ylabel="sensitivity (positives called positive)")
    ax.set(xlim=(0.6, 1.005), ylim=(0, 1.02))
    for axis in "xy":
        style.percent_axis(ax, axis)
    style.legend_below(figure, [ax], "line: mean, band: all seeds, marker: threshold 0.5")
    style.heading(figure, title)
    return figure


def ranked(settings: pd.DataFrame, title: str) -> Figure:
    """Every setting of a grid, best first, with its interval and the look of its start; the paper's chosen setting at the left."""
    if settings.empty:
        return note(title)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6))
    for init in style.in_order(settings["init"]):
        part = settings[settings["init"] == init]
        common.estimate_errors(ax, list(part.index), list(part["accuracy"]), **style.series(init, 0) | {"linestyle": "none", "capsize": 0, "markersize": 5})
    ax.axhline(float(settings["accuracy"].iloc[0]), color=SOFT, linestyle="--", linewidth=1.2, label="the best setting")
    ax.set(xlabel="settings, best first", ylabel="test accuracy (95 % interval)", xlim=(-1, len(settings)))
    style.percent_axis(ax)
    style.heading(figure, title)
    return published.beside(figure)


def reliability_pair(panels: dict[str, dict[str, pd.DataFrame]], title: str) -> Figure:
    """Observed share of positives against predicted probability, a panel each, such as before and after scaling."""
    if not any(panels.values()):
        return note(title)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.9), sharey=True, squeeze=False)
    for ax, (panel, bins) in zip(axes[0], panels.items(), strict=True):
        common.reliability_panel(ax, bins)
        ax.set_title(panel)
    axes[0][0].set_ylabel("observed share of positives (95 % interval)")
    style.legend_below(figure, axes[0])
    style.heading(figure, title)
    return figure


def forest(answers: Sequence[Judged], title: str) -> Figure:
    """Differences with their adjusted intervals in percentage points, one below the other; a grey mark is a margin other than zero."""
    rows = [a for a in answers if a.interval is not None and a.compared.measured is not None and not a.compared.measured.bounded]
    if not rows:
        return note(title)
    figure, ax = plt.subplots(figsize=(WIDTH, 0.4 * len(rows) + 1.7))
    places = np.arange(len(rows))[::-1]
    for word, (color, marker) in VERDICTS.items():
        part = [(place, 100 * a.interval, 100 * a.interval.low, 100 * a.interval.high) for place, a in zip(places, rows, strict=True) if a.word == word]
        if part:
            y, value, low, high = np.array(part).T
            ax.errorbar(value, y, xerr=[value - low, high - value], color=color, marker=marker, linestyle="none", markersize=8, capsize=3, label=word)
    for place, answer in zip(places, rows, strict=True):
        for end in (answer.part.low, answer.part.high):
            if np.isfinite(end) and end:
                ax.plot([100 * end] * 2, [place - 0.4, place + 0.4], color=FAINT, linewidth=2)
    ax.axvline(0, color=SOFT, linewidth=1)
    names = [f"{a.part.claim}. {a.compared.name}{' (our reading)' if a.part.ours else ''}" for a in rows]
    ax.set_yticks(places, [textwrap.fill(name, 36) for name in names])
    style.heading(figure, title)
    ax.set(xlabel="difference (points)", ylim=(-0.7, len(rows) - 0.3))
    style.legend_below(figure, [ax])
    return figure


def coverage(table: pd.DataFrame, title: str) -> Figure:
    """Share of simulated studies whose 95 % interval holds the truth: a panel for each number of seeds, a place for each cell."""
    if table.empty:
        return note(title)
    kinds = [
        ("two-way analysis", "all training images", "the book's intervals", ACCENT, "o"),
        ("two-way analysis", "32 images per class", "the same, 32 images per class", ACCENT, "D"),
        ("bootstrap, replaced", "all training images", "bootstrap, replaced", OTHERS[2], "s"),
        ("bootstrap, replaced", "32 images per class", "bootstrap, 32 images per class", OTHERS[2], "d"),
    ]
    cells = [(of, metric, spread) for metric in ("accuracy", "npv", "auc") for of in ("value", "difference") for spread in sorted(table["spread"].unique())]
    shown = {"npv": "NPV", "auc": "AUC"}
    counts = sorted(table[table["method"].isin([method for method, *_ in kinds])]["seeds"].unique())
    figure, axes = plt.subplots(1, len(counts), figsize=(WIDTH, 6.4), sharey=True, squeeze=False)
    for ax, seeds in zip(axes[0], counts, strict=True):
        ax.axvspan(93, 97, color=GRID, alpha=0.5, zorder=0)
        ax.axvline(95, color=SOFT, linewidth=1)
        for shift, (method, population, label, color, marker) in enumerate(kinds):
            part = table[(table["method"] == method) & (table["population"] == population) & (table["seeds"] == seeds)]
            places = [len(cells) - 1 - cells.index((row.of, row.metric, row.spread)) + 0.18 * (1.5 - shift) for row in part.itertuples()]
            face = "none" if population == "32 images per class" else color
            ax.plot(100 * part["covered"], places, marker, color=color, markerfacecolor=face, markersize=7, label=label)
        ax.set(xticks=(90, 93, 95, 97, 100), title=f"{seeds} seeds", xlim=(89, 100), xlabel="holds the truth\n(% of studies)")
    names = [f"{shown.get(metric, metric)}{', difference' if of == 'difference' else ''}, seeds differ by {100 * spread:g}" for of, metric, spread in cells]
    axes[0][0].set_yticks(range(len(cells) - 1, -1, -1), names)
    style.legend_below(figure, axes[0])
    style.heading(figure, title)
    return figure
