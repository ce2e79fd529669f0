"""How every figure of the book looks: one width, one size of text, one look for each initialisation, one light and one dark copy.

A figure is an SVG drawing as wide as the column of a page on a wide screen, so that its text is as large as it says. Colour,
marker and place in every order belong to the *name* of an initialisation, never to its position in a list. All else that
needs telling apart (measures, regions, classes) is drawn in shades of ink, so that a colour always means an initialisation.

The ground is transparent. :func:`dark_copy` gives the same drawing for the dark theme: every colour that is used here has a
counterpart there, and ``tests/study/test_figures.py`` checks contrast and colour-blind distances of both.
"""

from __future__ import annotations

import re
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cxrlib import markup
from cxrlib.metrics.estimate import Estimate
from cxrlib.study.parts import NAMES, upstream

WIDTH = 8.0
"""Inches: 768 CSS pixels, the column at a window of 1400 px; a narrow screen scrolls the figure instead of shrinking its text."""
POINTS = 10.5
"""Size of the text: 14 CSS pixels."""
SMALL = 9.5
"""Of captions inside a grid of images: 12.7 CSS pixels, the least there is."""

TITLE = 70
"""Letters of a title that fit into one line."""

INK, SOFT, FAINT, GRID = "#20262e", "#5c6670", "#8b949e", "#d5dae0"
ACCENT = "#1f5f7a"
HEAT = "inferno"
"""Colours for heat: lightness rises evenly, so that equal steps look equal, also in grey and to the colour-blind."""


class Look(NamedTuple):
    """Colour, marker and name in words of one series."""

    color: str
    marker: str
    label: str


COLORS = {
    "random": ("#3d434b", "o"), "fractal-s": ("#c26a00", "s"), "fractal-m": ("#0b63b8", "D"), "photo-s": ("#b8408f", "^"), "photo-s-long": ("#8f5aa8", "1"),
    "photo-60": ("#8a7400", "v"), "photo-m-short": ("#4d8f00", "2"), "photo-m": ("#007a5e", "P"), "bit-photo": ("#5b7a99", "h"), "bit-s": ("#d0402b", "<"), "bit-m": ("#3b2f96", ">"),
    "imagenet-lite": ("#7c4a21", "X"),
}  # fmt: skip
INITIALISATIONS = {name: Look(color, marker, NAMES[name]) for name, (color, marker) in COLORS.items()}
"""Every named initialisation in the order in which it is drawn: nothing, then from few to many images."""
OTHERS = ("#6a3fb0", "#2f7d8c", "#9c4f5f")
VERDICTS = {
    "holds": ("#117a3d", "o"), "mixed": ("#8a6200", "D"), "not seen": (SOFT, "s"), "contradicted": ("#b3261e", "X"),
}  # fmt: skip
"""Colour and marker of a verdict's word; the word itself always stands beside them."""
SERIES = (
    (INK, "o", INK), (SOFT, "s", "none"), (FAINT, "D", FAINT), (INK, "^", "none"), (SOFT, "v", SOFT), (INK, "P", "none"), (FAINT, "X", FAINT), (SOFT, "<", "none"),
)  # fmt: skip
"""Colour, marker and filling of what is no initialisation, in the order of its appearance."""

DARK = {
    INK: "#e6eaee", SOFT: "#a9b3bd", FAINT: "#7d8893", GRID: "#3a424b", ACCENT: "#8cc4dc", "#3d434b": "#eef1f4", "#c26a00": "#f0a04b",
    "#0b63b8": "#6fb1f5", "#b8408f": "#ec8fca", "#8a7400": "#d9c24a", "#007a5e": "#3fc9a2", "#d0402b": "#ff8a75", "#3b2f96": "#a79bff",
    "#7c4a21": "#cf9a6c", "#8f5aa8": "#cf9fe6", "#4d8f00": "#9fd35a", "#6a3fb0": "#bd9bf2", "#2f7d8c": "#74c7d6", "#9c4f5f": "#e79aa8", "#117a3d": "#59cf86", "#8a6200": "#dfb24a",
    "#5b7a99": "#a8c4dd", "#b3261e": "#ff8f87", "#ffffff": "#14181e", "#000000": "#e6eaee",
}  # fmt: skip
"""Each colour of a light page on a dark page."""


def use_style() -> None:
    """Set fonts, size, ground and format of the figures of a notebook; a dollar sign in a text is drawn, not read as mathematics."""
    plt.rcdefaults()
    plt.rcParams.update(
        {"text.parse_math": False}  # names of files, sources and folders are texts from data
        | {"svg.fonttype": "none", "svg.hashsalt": "cxrlib", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"]}
        | {"figure.figsize": (WIDTH, 4.2), "figure.constrained_layout.use": True, "figure.facecolor": "none", "savefig.facecolor": "none"}
        | {"axes.facecolor": "none", "axes.edgecolor": SOFT, "axes.labelcolor": INK, "axes.titlecolor": INK, "text.color": INK}
        | {"axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False}
        | {"xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "legend.frameon": False}
        | {"font.size": POINTS, "axes.titlesize": POINTS, "axes.labelsize": POINTS, "legend.fontsize": POINTS, "legend.title_fontsize": POINTS}
        | {"xtick.labelsize": POINTS, "ytick.labelsize": POINTS, "figure.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left"}
        | {"figure.titleweight": "bold", "figure.dpi": 96, "image.interpolation": "nearest"}
    )
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        # The whole width as drawn: "tight" would cut the margins and so change the size of the text on the page.
        set_matplotlib_formats("svg", bbox_inches=None, metadata={"Date": None, "Creator": None})


def look(init: str) -> Look:
    """Colour, marker and words of an initialisation; one without a name here, such as a file of weights, gets a colour from its name."""
    if (known := INITIALISATIONS.get(upstream(str(init)))) is not None:
        return known
    place = zlib.crc32(str(init).encode())
    return Look(OTHERS[place % len(OTHERS)], "*hp"[place % 3], markup.visible(str(init).rsplit("/", 1)[-1]))


def named(init: str) -> str:
    """An initialisation in words."""
    return look(init).label


def in_order(inits: Iterable[str]) -> list[str]:
    """Initialisations, each once, in the one order of the book; those without a name here last, as they came."""
    places = list(INITIALISATIONS)
    return sorted(dict.fromkeys(inits), key=lambda init: places.index(upstream(init)) if upstream(init) in places else len(places))


def series(name: str, position: int) -> dict:
    """Style of a line or of markers: an initialisation's own look, or for anything else ink, by its position."""
    if upstream(name) in INITIALISATIONS:
        own = look(name)
        return {"color": own.color, "marker": own.marker, "label": own.label, "markeredgecolor": own.color}
    color, marker, filling = SERIES[position % len(SERIES)]
    return {"color": color, "marker": marker, "markerfacecolor": filling, "label": markup.visible(name)}


def estimate_errors(ax: Axes, x: Sequence[float], estimates: Sequence[Estimate], **looks) -> None:
    """Draw estimates with their 95 % intervals."""
    values = np.array([float(e) for e in estimates])
    spread = np.array([[e - e.low, e.high - e] for e in estimates]).T
    ax.errorbar(x, values, yerr=np.nan_to_num(np.clip(spread, 0, None)), **{"capsize": 3, "linewidth": 1.6, "markersize": 6} | looks)


def percent_axis(ax: Axes, axis: str = "y") -> None:
    """Write the shares on an axis in percent."""
    getattr(ax, f"{axis}axis").set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def heading(figure: Figure, title: str, **place) -> None:
    """The title of a figure, at the left as those of its panels, in as many lines as its width needs."""
    figure.suptitle(textwrap.fill(title, TITLE), **{"x": 0.006, "ha": "left"} | place)


def legend_below(figure: Figure, axes: Sequence[Axes], title: str | None = None, columns: int = 4) -> None:
    """One legend for all panels, below them, where it takes no width; each label once, to be read row by row."""
    entries = list({label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}.items())
    if entries:
        wide = max(len(label) for label, _ in entries)
        fit = max(1, min(columns, len(entries), int(92 / (wide + 6))))
        even = -(-len(entries) // -(-len(entries) // fit))  # rows as even as they can be
        by_column = [entry for column in range(even) for entry in entries[column::even]]  # which is how matplotlib fills a legend
        figure.legend([handle for _, handle in by_column], [label for label, _ in by_column], loc="outside lower center", ncols=even, title=title)


def dark_copy(drawing: str) -> str:
    """The same SVG drawing with the colours of the dark theme; pictures inside it stay as they are."""
    return re.sub("|".join(DARK), lambda found: DARK[found[0]], drawing)
