"""Pages for a folder on which nothing can be trained: each says what it cannot compute, why, and what the folder does hold.

A set with a test split only, or with one class, is no fault (:mod:`cxrlib.data.extent`). Notebooks that train on the data of
the copy are then not executed; a page with their title and headings, so that every link still leads somewhere, takes their place.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

from cxrlib import markup
from cxrlib.data.extent import Extent
from cxrlib.files import atomic_write
from cxrlib.study.pages import holdings

DESCRIBES = "01_data_exploration"
"""The notebook in whose place the page of the data themselves stands."""
RECORDED = {
    "05_grad_cam": "where Grad-CAM looks", "06_shortcuts": "disease or data source", "10_truth": "truth on real X-rays", "11_failures": "where it fails",
}  # fmt: skip
"""Notebooks that have something to show without data, and what."""


ON_PHANTOMS = ("00_upstream", "08_speed")
"""Notebooks whose small experiment is made on the phantoms of the profile where nothing can be trained on the data of the copy; their pages say so."""


def headings(template: Path) -> list[str]:
    """The headings of a notebook, as lines of Markdown, title first."""
    cells = json.loads(template.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()]
    return [line for line in lines if re.match(r"#{1,6} ", line)]


def page(template: Path, known: Extent) -> Any:
    """The page in place of a notebook, as a notebook of Markdown cells."""
    title, *others = headings(template)
    links = ", ".join(f"[{text}]({name}.ipynb)" for name, text in RECORDED.items())
    cells = [f"{title}\n\n{{badge}}`live` **Not computed for this copy.** {markup.text(known.sentence)}. What needs neither is drawn from records: {links}."]
    if template.stem == DESCRIBES:
        cells.append("## What these data hold\n\n" + holdings.markdown(known.folder, known.index))
    else:
        cells.append(f"What {markup.code(known.folder.resolve().name)} does hold stands on [the page of its data]({DESCRIBES}.ipynb#what-these-data-hold).")
    cells += [f"{heading}\n\nThis section needs images of both classes to train on and to test on; it is not computed on these data." for heading in others]
    # Cells of one place have one name: the same page is the same bytes.
    return new_notebook(cells=[new_markdown_cell(text, id=f"cell-{number}") for number, text in enumerate(cells)])


def write(template: Path, destination: Path, known: Extent, about: dict[str, Any]) -> bool:
    """Write the page in place of an executed notebook; True if it was not there yet."""
    made = page(template, known)
    made.metadata["cxr"] = {**about, "seconds": 0}
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = nbformat.writes(made)
    if destination.is_file() and destination.read_text(encoding="utf-8") == content:
        return False
    atomic_write(destination, content)
    return True
