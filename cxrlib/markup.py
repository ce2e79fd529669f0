"""Text that comes from data, on its way into a page or a figure: it arrives as it is and does nothing.

A label file, a folder's name and a table of records are written by others. What they hold is text, also where it reads
like Markdown, HTML, a role, mathematics or a template. Every text from data passes :func:`text`, :func:`code`,
:func:`table` (whose cells pass it by themselves) or, for HTML, :func:`html_text`. Figures take :func:`visible`; that they
draw no mathematics is a setting of :func:`cxrlib.study.figures.style.use_style`.

>>> text("{download}`x` | <b> $a$ & 1.5 %")
'&#123;download&#125;&#96;x&#96; &#124; &#60;b&#62; &#36;a&#36; &#38; 1.5 %'
>>> print(table(["name", "AUC, %"], [["a|b", 0.5], [bold("all"), "–"]]))
| name | AUC, % |
|---|---:|
| a&#124;b | 0.5 |
| **all** | – |
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Punctuation that no rule of Markdown reads where it stands: a point between digits, a hyphen after a letter or a digit, a
# per cent sign that is not the first character, and what is never structure by itself. All other ASCII punctuation becomes
# a character reference, which Markdown takes as text (CommonMark 0.31, 2.5).
_ACTIVE = re.compile(r"(?<=\d)\.(?=\d)|(?<=[^\W_])-|(?<=.)%|[,;()/]|([!-/:-@\[-`{-~])|(^ +| +$| (?= ))", re.ASCII)


class Inline(str):
    """Markdown that was made here, out of texts that are inert; :func:`table` takes it as it is."""


def visible(value: Any) -> str:
    """``str(value)`` with what cannot be seen written out: control and invisible characters, line breaks, lone surrogates.

    >>> visible("a\\u200bb\\n\\udcff")
    'a\\\\u200bb\\\\n\\\\udcff'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(value))


def text(value: Any) -> Inline:
    """``str(value)`` as Markdown that shows these very characters, inside a paragraph, a heading, a list or a table."""
    return Inline(_ACTIVE.sub(lambda found: "".join(f"&#{ord(c)};" for c in found[0]) if found[1] or found[2] else found[0], visible(value)))


def code(value: Any) -> Inline:
    """``str(value)`` as Markdown code, for names of files, folders and modules."""
    shown = visible(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return Inline(f"{fence}{padding}{shown}{padding}{fence}")


def bold(value: Any) -> Inline:
    """``str(value)`` in bold; empty for an empty text."""
    inner = value if isinstance(value, Inline) else text(value)
    return Inline(f"**{inner}**" if inner else "")


def html_text(value: Any) -> str:
    """``str(value)`` for HTML, between tags and in quoted attributes."""
    return html.escape(visible(value))


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table whose cells are texts from data: inert, unless they are :class:`Inline`.

    Args:
        columns: heads.
        rows: cells, as many as columns; a number is written as ``format(number, "g")``, or in full if it is an integer.

    Raises:
        ValueError: if a row has another number of cells.
    """
    body = [list(row) for row in rows]
    if wrong := [row for row in body if len(row) != len(columns)]:
        raise ValueError(f"a row of {len(wrong[0])} cells in a table of {len(columns)} columns: {wrong[0]}")
    right = [any(_is_number(row[place]) for row in body) for place in range(len(columns))]
    lines = [[_cell(column) for column in columns], *([_cell(cell) for cell in row] for row in body)]
    shown = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([shown[0], "|" + "".join("---:|" if number else "---|" for number in right), *shown[1:]])


def frame_table(frame: pd.DataFrame) -> str:
    """A data frame, without its index, as a :func:`table`."""
    return table(list(frame.columns), frame.astype(object).itertuples(index=False, name=None))


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Number) and not isinstance(cell, bool)


def _cell(cell: Any) -> str:
    if isinstance(cell, Inline):
        return cell.replace("|", "\\|")
    if _is_number(cell) and not hasattr(cell, "__index__"):
        cell = format(cell, "g")
    return text(cell)
