"""What a figure found, on which data, from which records: said by the cell that draws it, shown by any viewer.

JupyterLab, nbviewer and VS Code show the sentence under the figure. The book moves it into the caption and the alternative
text (:mod:`cxrlib.book.figures`), and does not build a figure about which nothing was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrlib import markup
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study.figures import style

if TYPE_CHECKING:
    from IPython.display import Markdown

MIME = "application/vnd.cxrlib.figure+json"
FRAMES = "application/vnd.cxrlib.frames+json"
BADGES = {"real": "REAL X-RAYS", "phantom": "PHANTOMS", "both": "REAL X-RAYS AND PHANTOMS", "none": "NO PATIENT DATA"}
"""What stands on a figure, a table or a verdict, by the data it is drawn from."""


def badge(is_phantom: bool) -> str:
    """The key in :data:`BADGES` of a data folder."""
    return "phantom" if is_phantom else "real"


def tell(finding: str, data: str, source: str | Path) -> None:
    """Say what the figure drawn by this cell shows.

    Args:
        finding: what a reader should take from it, a sentence or two of plain text; numbers come from the records.
        data: a key of :data:`BADGES`.
        source: from which the figure was drawn: a file of records, a folder of data, or a module.

    Raises:
        ValueError: if the finding is empty or no sentence, or the data have another name.
    """
    from IPython.display import display

    about = told(finding, data, source)
    shown = f"{markup.bold(BADGES[data])} {markup.text(about['finding'])} *Drawn from {markup.code(about['source'])}.*"
    display({MIME: about, "text/markdown": shown, "text/plain": f"{BADGES[data]}: {about['finding']}"}, raw=True)


def skip(reason: str) -> None:
    """Say why the figure of this cell cannot be drawn from these data; the book then shows the reason in its place.

    Args:
        reason: a sentence of plain text.
    """
    from IPython.display import display

    reason = markup.visible(" ".join(reason.split()))
    display({MIME: {"skipped": reason}, "text/markdown": f"*Not drawn: {markup.text(reason)}*", "text/plain": f"Not drawn: {reason}"}, raw=True)


def hand_on(frames: Sequence[Mapping[str, Any]]) -> None:
    """Leave pictures for the viewer on the explorer page: for each a sentence, ``said``, and SVG drawings by name, ``pictures``."""
    from IPython.display import display

    display({FRAMES: [dict(frame) for frame in frames], "text/plain": f"{len(frames)} phantoms for the viewer on the explorer page"}, raw=True)


def badged(text: str, data: str) -> Markdown:
    """A table, a verdict or an answer behind the badge of its data, for the end of a cell.

    Args:
        text: Markdown.
        data: a key of :data:`BADGES`.
    """
    from IPython.display import Markdown

    below = "\n\n" if text.startswith(("|", "-", ">", "#")) else " "
    return Markdown(f"{markup.bold(BADGES[data])}{below}{text}")


def say(text: str) -> Markdown:
    """Markdown without a badge, for what is drawn from no data, or from several that it names."""
    from IPython.display import Markdown

    return Markdown(text)


def both(one: str, other: str) -> str:
    """The key in :data:`BADGES` for a figure from two data sets."""
    return one if one == other else "both"


def hand(values: Mapping[str, Any]) -> None:
    """Glue values by name, for the text of this page and of others."""
    from myst_nb import glue

    for name, value in values.items():
        glue(name, value, display=False)


def told(finding: str, data: str, source: str | Path) -> dict[str, str]:
    """The record that :func:`tell` leaves in a notebook."""
    finding = markup.visible(" ".join(finding.split()))
    if data not in BADGES:
        raise ValueError(f"a figure is drawn from one of {', '.join(BADGES)}, not from '{data}'")
    if len(finding.split()) < 4 or not finding.endswith((".", "?", "!")):
        raise ValueError(f"'{finding}' is no sentence about what the figure shows")
    return {"finding": finding, "data": data, "source": markup.visible(source)}


def each(values: Mapping[str, Estimate], preposition: str = "from") -> str:
    """Estimates of several initialisations as a list in words: '96.1 % from random weights, 97.4 % from many fractals'."""
    return ", ".join(f"{percentage(values[init]):.1f} % {preposition} {style.named(init)}" for init in style.in_order(values))


def panel(title: str, said: str) -> str:
    """What one panel of a figure shows, behind the name of its data."""
    return f"{title[:1].upper()}{title[1:]}: {said}"
