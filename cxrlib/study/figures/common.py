"""Figures of the book: one function each, from tables and arrays to a matplotlib figure.

All have an opaque light background, so that they read the same on a dark page, and intervals wherever they show an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cxrlib.metrics.estimate import Estimate

PALETTE = sns.color_palette("colorblind")
MARKERS = "osD^vP"


def use_style() -> None:
    """Set fonts, background and resolution for the figures of a notebook; a dollar sign in a text is drawn, not read as mathematics."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    plt.rcParams["text.parse_math"] = False  # names of files, sources and folders are texts from data
    plt.rcParams.update(
        {"figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110, "figure.constrained_layout.use": True}
        | {"axes.titlesize": 12, "axes.labelsize": 12, "legend.fontsize": 11, "xtick.labelsize": 11, "ytick.labelsize": 11}
    )


def estimate_errors(ax: Axes, x: Sequence[float], estimates: Sequence[Estimate], **style) -> None:
    """Draw estimates with their 95 % intervals."""
    values = np.array([float(e) for e in estimates])
    spread = np.array([[e - e.low, e.high - e] for e in estimates]).T
    ax.errorbar(x, values, yerr=np.nan_to_num(np.clip(spread, 0, None)), capsize=3, **style)


def image_grid(rows: dict[str, Sequence[np.ndarray]], captions: dict[str, Sequence[str]], title: str) -> Figure:
    """Rows of grey images with a label per row (Figure 1)."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(2.3 * columns, 2.75 * len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, image, caption in zip(line, images, captions[name], strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.set_title(f"{name}\n{caption}", fontsize=9)
    figure.suptitle(title)
    return figure


def count_bars(counts: pd.DataFrame, title: str) -> Figure:
    """Images and patients per class and split (Figure 2); columns: kind, split, label, count."""
    kinds = list(counts["kind"].unique())
    figure, axes = plt.subplots(1, len(kinds), figsize=(5 * len(kinds), 3.8), squeeze=False)
    for ax, kind in zip(axes[0], kinds, strict=True):
        sns.barplot(counts[counts["kind"] == kind], x="split", y="count", hue="label", hue_order=["negative", "positive"], ax=ax)
        for bars in ax.containers:
            ax.bar_label(bars, fmt="{:,.0f}", fontsize=9, padding=2)
        ax.set(xlabel="split", ylabel=f"number of {kind}", title=kind.capitalize())
        ax.margins(y=0.15)
        ax.legend(title="class")
    figure.suptitle(title)
    return figure


def grid_panels(
    table: pd.DataFrame, x: str, panels: str, lines: str, title: str, xlabel: str, names: dict | None = None, value: str = "accuracy"
) -> Figure:
    """An estimate with its interval along one axis of a grid, a panel and a line for two others (Figure 4).

    Args:
        table: columns ``x``, ``panels``, ``lines``, and ``value`` with :class:`~cxrlib.metrics.estimate.Estimate` objects.
        names: how to write the values of ``x``.
        value: column that is drawn, and what the y axis is called.
    """
    values, facets, groups = (list(dict.fromkeys(table[column])) for column in (x, panels, lines))
    figure, axes = plt.subplots(1, len(facets), figsize=(4 * len(facets) + 1.6, 3.9), sharey=True, squeeze=False)
    for ax, facet in zip(axes[0], facets, strict=True):
        for position, group in enumerate(groups):
            chosen = table[(table[panels] == facet) & (table[lines] == group)].set_index(x)
            present = [v for v in values if v in chosen.index]
            offsets = np.array([values.index(v) for v in present]) + 0.08 * (position - (len(groups) - 1) / 2)
            estimates = [chosen.at[v, value] for v in present]
            estimate_errors(ax, offsets, estimates, label=str(group), color=PALETTE[position], marker=MARKERS[position], markersize=6)
        ax.set_xticks(range(len(values)), [(names or {}).get(v, str(v)) for v in values])
        ax.set(xlabel=xlabel, title=f"{panels}: {facet}", xlim=(-0.35, len(values) - 0.65))
    axes[0][0].set_ylabel(f"test {value} (95 % interval)")
    axes[0][-1].legend(title=lines, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title)
    return figure


def learning_curves(curves: pd.DataFrame, metric: str, title: str, ylabel: str) -> Figure:
    """A metric over training steps (Figure 5): a thin line per seed, a thick mean; columns: init, seed, step, metric."""
    figure, ax = plt.subplots(figsize=(8.5, 4.4))
    for position, (init, group) in enumerate(curves.groupby("init", sort=False)):
        wide = group.pivot_table(index="step", columns="seed", values=metric)
        color = PALETTE[position]
        if wide.shape[1] > 1:
            ax.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=color, alpha=0.18, linewidth=0)
        ax.plot(wide.index, wide.mean(axis=1), color=color, linewidth=2, marker=MARKERS[position], markersize=4, label=init)
    ax.set(xlabel="training step", ylabel=ylabel)
    ax.legend(title="initialisation (band: all seeds)")
    ax.set_title(title)
    return figure


def confusion(matrix: np.ndarray, title: str) -> Figure:
    """Counts and shares of each true class (Figure 6); matrix (2, 2) with rows true, columns predicted, negative first."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, ax = plt.subplots(figsize=(4.8, 4))
    text = np.array([[f"{n:g}\n{s:.1%}" for n, s in zip(*row, strict=True)] for row in zip(matrix, share, strict=True)])
    names = ["negative", "positive"]
    sns.heatmap(share, annot=text, fmt="", cmap="Blues", vmin=0, vmax=1, square=True, xticklabels=names, yticklabels=names, ax=ax)
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    ax.collections[0].colorbar.set_label("share of the true class")
    return figure


def curve_pair(roc: dict, precision_recall: dict, title: str) -> Figure:
    """ROC and precision-recall curves by name; each value is (x, y, label)."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4))
    for ax, curves in zip(axes, (roc, precision_recall), strict=True):
        for position, (x, y, label) in enumerate(curves.values()):
            ax.plot(x, y, color=PALETTE[position], linewidth=2, label=label)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes[0].plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
    axes[0].set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC")
    axes[1].set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", title="Precision and recall")
    for ax in axes:
        ax.legend(loc="lower right" if ax is axes[0] else "lower left", fontsize=9)
    figure.suptitle(title)
    return figure


def reliability(bins: dict[str, pd.DataFrame], title: str) -> Figure:
    """Observed frequency of positives against predicted probability; columns: predicted, observed, low, high."""
    figure, ax = plt.subplots(figsize=(5.6, 5))
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfect calibration")
    for position, (name, table) in enumerate(bins.items()):
        estimates = [Estimate(*row) for row in table[["observed", "low", "high"]].itertuples(index=False)]
        estimate_errors(ax, table["predicted"], estimates, label=name, color=PALETTE[position], marker=MARKERS[position])
    ax.set(xlabel="mean predicted probability in the bin", ylabel="observed share of positives (95 % interval)")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title)
    ax.legend()
    return figure


def data_size(table: pd.DataFrame, title: str, references: dict[str, float]) -> Figure:
    """Accuracy against images per class (Figure 7): points with intervals, the full set at the right, the paper's values dashed."""
    sizes = sorted({int(size) for size in table["images_per_class"].dropna()})
    figure, ax = plt.subplots(figsize=(9.5, 4.6))
    for position, (init, group) in enumerate(table.groupby("init", sort=False)):
        few = group.dropna(subset="images_per_class").sort_values("images_per_class")
        full = group[group["images_per_class"].isna()]
        style = {"color": PALETTE[position], "marker": MARKERS[position]}
        shift = 0.06 * (position - 1)
        places = [sizes.index(int(size)) + shift for size in few["images_per_class"]]
        estimate_errors(ax, places, list(few["accuracy"]), label=init, **style)
        estimate_errors(ax, [len(sizes) + 0.2 + shift] * len(full), list(full["accuracy"]), linestyle="none", **style)
    for (name, value), line in zip(references.items(), ("--", "-.", ":"), strict=False):
        ax.axhline(value, color="0.45", linestyle=line, linewidth=1.2, label=f"{name}: {value:.4g}")
    ax.axvline(len(sizes) - 0.4, color="0.8", linewidth=1)
    ax.set_xticks([*range(len(sizes)), len(sizes) + 0.2], [*map(str, sizes), "full set"])
    ax.set(xlabel="training images per class", ylabel="test accuracy (95 % interval)", title=title, xlim=(-0.4, len(sizes) + 0.6))
    ax.legend(title="initialisation", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def cam_grid(images: np.ndarray, maps: np.ndarray, titles: Sequence[str], title: str, outlines: np.ndarray | None = None) -> Figure:
    """Each image above its Grad-CAM overlay (Figure 8); ``outlines`` are boolean masks drawn as contours."""
    figure, axes = plt.subplots(2, len(images), figsize=(2.5 * len(images) + 0.8, 5.6), squeeze=False)
    overlay = None
    for column, (image, heat, caption) in enumerate(zip(images, maps, titles, strict=True)):
        for ax in axes[:, column]:
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.axis("off")
        overlay = axes[1, column].imshow(heat, cmap="jet", alpha=0.4, vmin=0, vmax=1)
        if outlines is not None and outlines[column].any():
            axes[1, column].contour(outlines[column], levels=[0.5], colors="white", linewidths=1.2)
        axes[0, column].set_title(caption, fontsize=9)
    if overlay is not None:
        figure.colorbar(overlay, ax=axes[1, :].tolist(), label="Grad-CAM (scaled per image)", shrink=0.8)
    figure.suptitle(title)
    return figure


def residual_units(layers: Sequence[tuple[str, str]], title: str) -> Figure:
    """Residual units side by side (Figure 3): (a) the original of He et al. 2016, (b) read off the real modules.

    Args:
        layers: from ``cxrlib.model.network.describe_unit``.
    """
    original = [("conv", "1×1 conv"), ("norm", "batch norm, ReLU"), ("conv", "3×3 conv"), ("norm", "batch norm, ReLU")]
    original += [("conv", "1×1 conv"), ("norm", "batch norm")]
    figure, axes = plt.subplots(1, 2, figsize=(9, 6.4))
    units = [("(a) ResNet-v1", original, True), ("(b) ResNet-v2, as built here", list(layers), False)]
    for ax, (name, unit, relu_after) in zip(axes, units, strict=True):
        ax.set(xlim=(0, 10), ylim=(-len(unit) - 3.2, 1.2), title=name)
        ax.axis("off")
        ax.text(6, 0.7, "input", ha="center", va="center")
        for row, (kind, text) in enumerate(unit):
            face = PALETTE[0] if kind == "conv" else PALETTE[1]
            ax.add_patch(FancyBboxPatch((2.6, -row - 0.95), 6.8, 0.6, boxstyle="round,pad=0.05", facecolor=(*face, 0.25), edgecolor=face))
            ax.text(6, -row - 0.65, text, ha="center", va="center", fontsize=9)
            top = 0.45 if row == 0 else -row + 0.0
            ax.add_patch(FancyArrowPatch((6, top), (6, -row - 0.28), arrowstyle="-|>", mutation_scale=9, color="0.3"))
        end = -len(unit) - 0.75
        ax.add_patch(FancyArrowPatch((6, -len(unit) + 0.0), (6, end + 0.3), arrowstyle="-|>", mutation_scale=9, color="0.3"))
        ax.text(6, end, "+", ha="center", va="center", fontsize=14, bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "0.3"})
        ax.plot([5.6, 1.2, 1.2], [0.7, 0.7, end], color="0.6", linewidth=3)
        ax.add_patch(FancyArrowPatch((1.2, end), (5.6, end), arrowstyle="-|>", mutation_scale=14, color="0.6", linewidth=3))
        ax.text(0.9, end / 2, "identity path", rotation=90, ha="right", va="center", color="0.4")
        last = "ReLU, then output" if relu_after else "output"
        ax.add_patch(FancyArrowPatch((6, end - 0.35), (6, end - 1.15), arrowstyle="-|>", mutation_scale=9, color="0.3"))
        ax.text(6, end - 1.5, last, ha="center", va="center")
    figure.suptitle(title)
    return figure


def ratio_dots(table: pd.DataFrame, title: str, xlabel: str) -> Figure:
    """Measured ratios with their spread, and the ratio to reach as a tick; columns: name, ratio, low, high, target."""
    figure, ax = plt.subplots(figsize=(8.5, 0.42 * len(table) + 1.4))
    places = np.arange(len(table))[::-1]
    reached = table["ratio"] >= table["target"]
    for good, label in ((True, "measured: reached"), (False, "measured: short of it")):
        part = reached == good
        if part.any():
            values = [Estimate(*row) for row in table.loc[part, ["ratio", "low", "high"]].itertuples(index=False)]
            spread = np.array([[v - v.low, v.high - v] for v in values]).T
            style = {"color": PALETTE[2 if good else 3], "marker": "o" if good else "X", "linestyle": "none", "capsize": 3}
            ax.errorbar([float(v) for v in values], places[part.to_numpy()], xerr=spread, label=label, **style)
    ax.plot(table["target"], places, linestyle="none", marker="|", markersize=16, markeredgewidth=2.5, color="0.25", label="to reach")
    ax.axvline(1, color="0.6", linestyle=":", linewidth=1)
    ax.set_xscale("log")
    ticks = [tick for tick in (0.5, 1, 2, 3, 5, 10, 20, 50) if table[["low", "target"]].min().min() / 1.3 < tick < table["high"].max() * 1.5]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(places, table["name"])
    ax.set(xlabel=xlabel, title=title)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=9)
    return figure


def cost_lines(table: pd.DataFrame, lines: pd.DataFrame, x: str, title: str) -> Figure:
    """Costs against the number of images, two panels a row, with the straight line fitted to each; one measurement a point.

    Args:
        lines: of :func:`cxrlib.study.pages.speed.cost_lines`, a row per cost.
    """
    costs = list(lines.index)
    figure, axes = plt.subplots(-(-len(costs) // 2), 2, figsize=(8.5, 2.9 * -(-len(costs) // 2)), squeeze=False)
    for ax in axes.flat[len(costs) :]:
        ax.axis("off")
    for ax, cost in zip(axes.flat, costs, strict=False):
        slope, offset = lines.loc[cost, ["per_image", "fixed"]]
        ends = np.array([0, table[x].max()])
        ax.plot(ends / 1000, slope * ends + offset, color="0.6", linestyle="--", label=f"{1000 * slope:.2g} s for 1,000")
        ax.plot(table[x] / 1000, table[cost], color=PALETTE[0], marker="o", linestyle="none")
        ax.set(xlabel="images (thousands)", ylabel="seconds", title=cost, ylim=(0, None))
        ax.legend(loc="upper left", fontsize=9)
    figure.suptitle(title)
    return figure
