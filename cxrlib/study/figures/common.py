"""Figures of the book: one function each, from tables and arrays to a matplotlib figure.

Here are those of the paper's own pages; those of heat maps (:mod:`cxrlib.study.figures.heat`) and of costs
(:mod:`cxrlib.study.figures.speed`) are handed on. All are drawn in the one style of :mod:`cxrlib.study.figures.style`, with intervals wherever they show an estimate and shares in percent.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import style
from cxrlib.study.figures.heat import cam_grid, frames, heat_per_area, paired_regions, randomisation
from cxrlib.study.figures.speed import cost_lines, ratio_dots
from cxrlib.study.figures.style import ACCENT, FAINT, GRID, INK, SMALL, SOFT, WIDTH, estimate_errors, use_style
from cxrlib.study.parts import MIXUP

__all__ = [
    "cam_grid", "confusion", "cost_lines", "count_bars", "curve_pair", "data_size", "estimate_errors", "file_shapes", "frames", "grid_panels",
    "heat_per_area", "image_grid", "learning_curves", "paired_regions", "pretraining", "randomisation", "ratio_dots", "reliability", "residual_units", "use_style",
]  # fmt: skip


def image_grid(rows: dict[str, Sequence[np.ndarray]], captions: dict[str, Sequence[str]], title: str) -> Figure:
    """Rows of grey images (Figure 1): the name of a row stands at its left, a caption below each image."""
    columns = max(len(images) for images in rows.values())
    side = WIDTH / columns
    below = {name: [textwrap.fill(caption, int(11 * side)) for caption in said] for name, said in captions.items()}
    lines = 1 + max(caption.count("\n") for said in below.values() for caption in said)
    figure, axes = plt.subplots(len(rows), columns, figsize=(WIDTH, (side + 0.17 * lines + 0.05) * len(rows) + 0.4), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontweight="bold")
        for ax, image, caption in zip(line, images, below[name], strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.set_xlabel(caption, fontsize=SMALL)
    style.heading(figure, title)
    return figure


def count_bars(counts: pd.DataFrame, title: str) -> Figure:
    """Images and patients per class and split (Figure 2); columns: kind, split, label, count."""
    kinds, colors = list(counts["kind"].unique()), {"negative": FAINT, "positive": ACCENT}
    figure, axes = plt.subplots(1, len(kinds), figsize=(WIDTH, 3.8), squeeze=False)
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = counts[counts["kind"] == kind]
        sns.barplot(part, x="split", y="count", hue="label", hue_order=list(colors), palette=colors, saturation=1, gap=0.05, errorbar=None, ax=ax)
        ax.get_legend().remove()
        for bars in ax.containers:
            ax.bar_label(bars, fmt="{:,.0f}", padding=2)
        ax.set(xlabel="", ylabel=f"number of {kind}", title=kind.capitalize())
        ax.grid(visible=False, axis="x")
        ax.margins(y=0.15)
    style.legend_below(figure, axes[0])
    style.heading(figure, title)
    return figure


def file_shapes(shapes: pd.DataFrame, title: str) -> Figure:
    """Height against width of every file, a marker as large as the number of images that share both; columns: width, height, class, images."""
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6))
    # Rings above the rest: one size that all images of a class share would be hidden by its neighbours.
    for label, color, marker, looks in (("positive", ACCENT, "D", {"alpha": 0.6}), ("negative", INK, "o", {"facecolors": "none", "linewidths": 2.2, "zorder": 3})):
        part = shapes[shapes["class"] == label]
        size = 30 + 250 * np.sqrt(part["images"] / shapes["images"].max())
        ax.scatter(part["width"], part["height"], s=size, edgecolors=color, marker=marker, **{"facecolors": color} | looks)
        ax.scatter([], [], s=60, edgecolors=color, marker=marker, label=label, **{"facecolors": color} | looks)
    ax.set(xlabel="width (px)", ylabel="height (px)")
    style.legend_below(figure, [ax])
    style.heading(figure, title)
    return figure


def grid_panels(
    table: pd.DataFrame, x: str, panels: str, lines: str, title: str, xlabel: str, names: dict | None = None, value: str = "accuracy",
    side_by_side: int = 2,
) -> Figure:  # fmt: skip
    """An estimate with its interval along one axis of a grid, a panel and a line for two others (Figure 4).

    Args:
        table: columns ``x``, ``panels``, ``lines``, and ``value`` with :class:`~cxrlib.metrics.estimate.Estimate` objects, shares.
        names: how to write the values of ``x``.
        value: column that is drawn, and what the y axis is called.
        side_by_side: panels in a row; 1 where the values of ``x`` have long names.
    """
    values, facets, groups = (list(dict.fromkeys(table[column])) for column in (x, panels, lines))
    groups = style.in_order(groups) if lines == "init" else groups
    facets = style.in_order(facets) if panels == "init" else facets
    columns = min(len(facets), 3 if side_by_side == 2 and len(facets) == 3 else side_by_side)  # two and one would leave a hole
    figure, axes = plt.subplots(-(-len(facets) // columns), columns, figsize=(WIDTH, 3.3 * -(-len(facets) // columns) + 0.9), sharey=True, squeeze=False)
    for ax in axes.flat[len(facets) :]:
        ax.axis("off")
    for ax, facet in zip(axes.flat, facets, strict=False):
        for position, group in enumerate(groups):
            chosen = table[(table[panels] == facet) & (table[lines] == group)].set_index(x)
            present = [v for v in values if v in chosen.index]
            offsets = np.array([values.index(v) for v in present]) + 0.1 * (position - (len(groups) - 1) / 2)
            estimate_errors(ax, offsets, [chosen.at[v, value] for v in present], **style.series(str(group), position))
        ax.set_xticks(range(len(values)), [(names or {}).get(v, str(v)) for v in values])
        ax.set(xlabel=xlabel, title=_of_panel(panels, facet), xlim=(-0.4, len(values) - 0.6))
        style.percent_axis(ax)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"test {value} (95 % interval)")
    style.legend_below(figure, axes.flat)
    style.heading(figure, title)
    return figure


def _of_panel(column: str, value: object) -> str:
    """What stands above the panel of one value of a column, in words."""
    if column == "init":
        return style.named(str(value))
    if column == "images per class":
        return f"{value} images per class" if str(value).isdigit() else str(value)
    return MIXUP.get(str(value), str(value)) if column == "mixup" else str(value)


def learning_curves(curves: pd.DataFrame, metric: str, title: str, ylabel: str) -> Figure:
    """A metric over training steps (Figure 5): a band over all seeds, a thick mean; columns: init, seed, step, metric (a share)."""
    figure, ax = plt.subplots(figsize=(WIDTH, 4.4))
    for init in style.in_order(curves["init"]):
        wide = curves[curves["init"] == init].pivot_table(index="step", columns="seed", values=metric)
        looks = style.series(init, 0)
        if wide.shape[1] > 1:
            ax.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=looks["color"], alpha=0.15, linewidth=0)
        ax.plot(wide.index, wide.mean(axis=1), linewidth=2, markersize=5, **looks)
    ax.set(xlabel="training step", ylabel=ylabel.removesuffix(" (share of images)"))
    style.percent_axis(ax)
    style.legend_below(figure, [ax], "band: all seeds")
    style.heading(figure, title)
    return figure


def confusion(matrix: np.ndarray, title: str, run: str = "") -> Figure:
    """Counts and shares of each true class (Figure 6); matrix (2, 2) with rows true, columns predicted, negative first; ``run`` stands above it."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    for row, column in np.ndindex(2, 2):
        part = share[row, column]
        ax.add_patch(Rectangle((column, 1 - row), 1, 1, facecolor=ACCENT, alpha=0.55 * part, edgecolor="none"))
        ax.add_patch(Rectangle((column, 1 - row), 1, 1, facecolor="none", edgecolor=SOFT))
        ax.text(column + 0.5, 1.5 - row, f"{matrix[row, column]:g}\n{part:.1%}".replace("%", " %"), ha="center", va="center", fontsize=13)
    names = ["negative", "positive"]
    ax.set_xticks([0.5, 1.5], names)
    ax.set_yticks([1.5, 0.5], names)
    ax.set(xlabel="predicted class", ylabel="true class", xlim=(0, 2), ylim=(0, 2), title=run)
    ax.grid(visible=False)
    style.heading(figure, title)
    return figure


def curve_pair(roc: dict, precision_recall: dict, title: str) -> Figure:
    """ROC and precision-recall curves by initialisation; each value is (x, y, label)."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 5))
    for ax, curves in zip(axes, (roc, precision_recall), strict=True):
        for position, name in enumerate(style.in_order(curves)):
            x, y, label = curves[name]
            looks = style.series(name, position)
            ax.plot(x, y, color=looks["color"], linewidth=2, label=label.replace(name, looks["label"], 1), marker=looks["marker"], markevery=0.2, markersize=5)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        for axis in "xy":
            style.percent_axis(ax, axis)
    axes[0].plot([0, 1], [0, 1], color=SOFT, linestyle=":", label="chance")
    axes[0].set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC")
    axes[1].set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", title="Precision and recall")
    for ax in axes:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    style.heading(figure, title)
    return figure


def reliability_panel(ax: Axes, bins: dict[str, pd.DataFrame]) -> None:
    """Observed share of positives against predicted probability, for each initialisation, with the diagonal of perfect calibration."""
    ax.plot([0, 1], [0, 1], color=SOFT, linestyle=":", label="perfect calibration")
    for position, name in enumerate(style.in_order(bins)):
        table = bins[name]
        estimates = [Estimate(*row) for row in table[["observed", "low", "high"]].itertuples(index=False)]
        estimate_errors(ax, table["predicted"] + 0.008 * (position - 1), estimates, **style.series(name, position))
    ax.set(xlabel="mean predicted probability in the bin", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for axis in "xy":
        style.percent_axis(ax, axis)


def reliability(bins: dict[str, pd.DataFrame], title: str) -> Figure:
    """Observed frequency of positives against predicted probability; columns: predicted, observed, low, high."""
    figure, ax = plt.subplots(figsize=(WIDTH, 5))
    reliability_panel(ax, bins)
    ax.set_ylabel("observed share of positives (95 % interval)")
    style.legend_below(figure, [ax])
    style.heading(figure, title)
    return figure


def data_size(table: pd.DataFrame, title: str, references: dict[str, float]) -> Figure:
    """Accuracy against images per class (Figure 7): points with intervals, the full set at the right, the paper's values dashed."""
    sizes = sorted({int(size) for size in table["images_per_class"].dropna()})
    figure, ax = plt.subplots(figsize=(WIDTH, 5))
    groups = style.in_order(table["init"])
    for position, init in enumerate(groups):
        group = table[table["init"] == init]
        few = group.dropna(subset="images_per_class").sort_values("images_per_class")
        full = group[group["images_per_class"].isna()]
        looks, shift = style.series(init, position), 0.08 * (position - (len(groups) - 1) / 2)
        places = [sizes.index(int(size)) + shift for size in few["images_per_class"]]
        estimate_errors(ax, places, list(few["accuracy"]), **looks)
        estimate_errors(ax, [len(sizes) + 0.2 + shift] * len(full), list(full["accuracy"]), linestyle="none", **looks)
    for (name, value), line in zip(references.items(), ("--", "-.", ":"), strict=False):
        ax.axhline(value, color=SOFT, linestyle=line, linewidth=1.4, label=f"{name}: {100 * value:.4g} %")
    ax.axvline(len(sizes) - 0.4, color=GRID, linewidth=1)
    ax.set_xticks([*range(len(sizes)), len(sizes) + 0.2], [*map(str, sizes), "full set"])
    ax.set(xlabel="training images per class", ylabel="test accuracy (95 % interval)", xlim=(-0.4, len(sizes) + 0.6))
    style.percent_axis(ax)
    style.legend_below(figure, [ax], columns=3)
    style.heading(figure, title)
    return figure


def pretraining(histories: dict[str, pd.DataFrame], held_out: dict[str, float], title: str) -> Figure:
    """Loss and accuracy while pretraining; histories by initialisation, columns step, loss, accuracy; ``held_out`` drawn dashed."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9))
    for name in style.in_order(histories):
        history, color = histories[name], style.look(name).color
        axes[0].plot(history["step"], history["loss"], color=color, label=style.named(name), linewidth=2)
        axes[1].plot(history["step"], history["accuracy"], color=color, linewidth=2)
        axes[1].axhline(held_out[name], color=color, linestyle="--", linewidth=1.2)
    axes[1].plot([], [], color=SOFT, linestyle="--", label="at the end, on images never seen")
    axes[0].set(xlabel="optimiser step", ylabel="cross entropy (mean of 100 steps)", title="Loss")
    axes[1].set(xlabel="optimiser step", ylabel="images put into their class", ylim=(0, 1.02), title="Accuracy")
    style.percent_axis(axes[1])
    style.legend_below(figure, axes)
    style.heading(figure, title)
    return figure


def residual_units(layers: Sequence[tuple[str, str]], title: str) -> Figure:
    """Residual units side by side (Figure 3): (a) the original of He et al. 2016, (b) read off the real modules.

    Args:
        layers: from ``cxrlib.model.network.describe_unit``.
    """
    original = [("conv", "1×1 conv"), ("norm", "batch norm, ReLU"), ("conv", "3×3 conv"), ("norm", "batch norm, ReLU")]
    original += [("conv", "1×1 conv"), ("norm", "batch norm")]
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 6.4))
    units = [("(a) ResNet-v1", original, True), ("(b) ResNet-v2, as built here", list(layers), False)]
    for ax, (name, unit, relu_after) in zip(axes, units, strict=True):
        ax.set(xlim=(0, 10), ylim=(-len(unit) - 3.2, 1.2), title=name)
        ax.axis("off")
        ax.text(6, 0.7, "input", ha="center", va="center")
        for row, (kind, text) in enumerate(unit):
            face = ACCENT if kind == "conv" else SOFT
            ax.add_patch(FancyBboxPatch((2.6, -row - 0.95), 6.8, 0.6, boxstyle="round,pad=0.05", facecolor=to_rgba(face, 0.2), edgecolor=face))
            ax.text(6, -row - 0.65, text, ha="center", va="center", fontsize=SMALL)
            top = 0.45 if row == 0 else -row + 0.0
            ax.add_patch(FancyArrowPatch((6, top), (6, -row - 0.28), arrowstyle="-|>", mutation_scale=9, color=INK))
        end = -len(unit) - 0.75
        ax.add_patch(FancyArrowPatch((6, -len(unit) + 0.0), (6, end + 0.3), arrowstyle="-|>", mutation_scale=9, color=INK))
        ax.text(6, end, "+", ha="center", va="center", fontsize=14, bbox={"boxstyle": "circle,pad=0.15", "fc": "none", "ec": INK})
        ax.plot([5.2, 1.2, 1.2], [0.7, 0.7, end], color=FAINT, linewidth=3)
        ax.add_patch(FancyArrowPatch((1.2, end), (5.6, end), arrowstyle="-|>", mutation_scale=14, color=FAINT, linewidth=3))
        ax.text(0.9, end / 2, "identity path", rotation=90, ha="right", va="center", color=SOFT)
        last = "ReLU, then output" if relu_after else "output"
        ax.add_patch(FancyArrowPatch((6, end - 0.35), (6, end - 1.15), arrowstyle="-|>", mutation_scale=9, color=INK))
        ax.text(6, end - 1.5, last, ha="center", va="center")
    style.heading(figure, title)
    return figure
