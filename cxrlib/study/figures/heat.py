"""Figures of where networks look: heat maps over images, and what is measured on them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import style
from cxrlib.study.figures.style import ACCENT, HEAT, SMALL, SOFT, WIDTH, estimate_errors


def cam_grid(images: np.ndarray, maps: np.ndarray, titles: Sequence[str], title: str, outlines: np.ndarray | None = None) -> Figure:
    """Each image above its Grad-CAM overlay (Figure 8); ``outlines`` are boolean masks drawn as contours.

    Args:
        maps: non-negative heat, shape (N, H, W), drawn as :func:`heat_per_area` on one scale for all images, from 0 to the greatest value.
    """
    density = heat_per_area(maps)
    columns = min(len(images), 4)
    blocks = -(-len(images) // columns)
    figure, axes = plt.subplots(2 * blocks, columns, figsize=(WIDTH, 2 * blocks * (WIDTH - 0.8) / columns + 0.6 * blocks + 0.4), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    overlay = None
    for place, (image, heat, caption) in enumerate(zip(images, density, titles, strict=True)):
        above, below = axes[2 * (place // columns), place % columns], axes[2 * (place // columns) + 1, place % columns]
        for ax in (above, below):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        overlay = below.imshow(heat, cmap=HEAT, alpha=0.55, vmin=0, vmax=density.max() or 1)
        if outlines is not None and outlines[place].any():
            below.contour(outlines[place], levels=[0.5], colors="#fefefe", linewidths=1.4)
        above.set_title(caption, fontsize=SMALL, fontweight="normal")
    if overlay is not None:
        bar = figure.colorbar(overlay, ax=axes.ravel().tolist(), location="bottom", shrink=0.6, aspect=40, pad=0.02)
        bar.set_label("heat per area, one scale for all images (1: no preference)")
    style.heading(figure, title)
    return figure


def frames(images: np.ndarray, maps: np.ndarray, outlines: np.ndarray) -> list[dict[str, str]]:
    """For each image three drawings as SVG text: the image, its map on the common scale of all, and the map with the true outline in white.

    Args:
        images: grey values 0 to 255, shape (N, H, W); ``maps`` as in :func:`cam_grid`, ``outlines`` boolean masks.
    """
    density, drawn = heat_per_area(maps), []
    for image, heat, outline in zip(images, density, outlines, strict=True):
        pictures = {}
        for kind in ("image", "map", "map and truth"):
            figure, ax = plt.subplots(figsize=(3.3, 3.3), layout="none")
            figure.subplots_adjust(0, 0, 1, 1)
            ax.axis("off")
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            if kind != "image":
                ax.imshow(heat, cmap=HEAT, alpha=0.55, vmin=0, vmax=density.max() or 1)
            if kind == "map and truth" and outline.any():
                ax.contour(outline, levels=[0.5], colors="#fefefe", linewidths=1.4)
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)
            pictures[kind] = stream.getvalue()
        drawn.append(pictures)
    return drawn


def heat_per_area(maps: np.ndarray) -> np.ndarray:
    """Each heat map as its share of its own total times the number of pixels: 1 where a map has no preference; all zero stays zero."""
    maps = np.asarray(maps, dtype=float)
    total = maps.sum(axis=(1, 2), keepdims=True)
    return np.divide(maps * maps[0].size, total, out=np.zeros_like(maps), where=total > 0)


def paired_regions(groups: dict[tuple[str, str], Estimate], names: Sequence[str], labels: Sequence[str], title: str, ylabel: str) -> Figure:
    """An estimate for each region and class, with a dotted line at 1, no preference; keys of ``groups`` are (region, class)."""
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2))
    for position, label in enumerate(labels):
        places = np.arange(len(names)) + 0.12 * (position - (len(labels) - 1) / 2)
        estimate_errors(ax, places, [groups[name, label] for name in names], linestyle="none", **style.series(label, position))
    ax.axhline(1, color=SOFT, linestyle=":", label="no preference")
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
    style.legend_below(figure, [ax])
    style.heading(figure, title)
    return figure


def randomisation(shares: Sequence[float], correlations: Sequence[Estimate], title: str) -> Figure:
    """Rank correlation of heat maps with those of the trained model, by the share of layers made random, as an estimate each."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.8))
    estimate_errors(ax, shares, correlations, marker="o", color=ACCENT)
    ax.axhline(0, color=SOFT, linestyle=":")
    ax.set(xlabel="layers made random, from the output down", ylabel="rank correlation with the trained\nmodel's maps (95 % interval)", ylim=(-1.05, 1.05))
    style.percent_axis(ax, "x")
    style.heading(figure, title)
    return figure
