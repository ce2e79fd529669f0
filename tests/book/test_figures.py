"""A figure's way into the book: what it found becomes caption and alternative text, and no figure stands without."""

import json
import re

import pytest
from common import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output

from cxrlib.book import figures
from cxrlib.study.figures import captions

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><text style="fill: #20262e">a</text></svg>'


def cell(finding: str | None = "Half of the images are <b>blue</b>.", drawn: bool = True, named: bool = True):
    outputs = []
    if finding is not None:
        outputs.append(new_output("display_data", data={captions.MIME: captions.told(finding, "real", "results/a.parquet"), "text/markdown": "x"}))
    if drawn:
        outputs.append(new_output("display_data", data={"image/svg+xml": SVG, "text/plain": "figure"}))
    shown = {"mystnb": {"figure": {"name": "fig-1", "caption": "Bars: intervals."}, "image": {"alt": "A bar chart."}}} if named else {}
    return new_code_cell("draw()", outputs=outputs, metadata=shown)


def test_a_finding_becomes_caption_and_alternative_text_and_is_inert():
    notebook = new_notebook(cells=[cell()])
    figures.adopt_findings(notebook)
    (done,) = notebook.cells
    caption, alt = done.metadata.mystnb.figure.caption, done.metadata.mystnb.image.alt
    assert caption.startswith("{badge}`real` **Half of the images are &#60;b&#62;blue")
    assert caption.endswith("Bars: intervals. Drawn from `results/a.parquet`.")
    assert alt == "Half of the images are <b>blue</b>. A bar chart."
    assert done.metadata.cxr_figure == {"finding": "Half of the images are <b>blue</b>.", "data": "real", "source": "results/a.parquet"}
    assert [list(output.data) for output in done.outputs] == [["image/svg+xml", "text/plain"]], "said once, in the caption"
    assert figures.unfinished(notebook, "a") == []


@pytest.mark.parametrize(
    ("faulty", "says"),
    [
        ({"finding": None}, "fig-1 says neither what it found nor from which data"),
        ({"drawn": False}, "fig-1 has no drawing"),
        ({"named": False}, "a cell draws a figure that has no name and no caption"),
    ],
)
def test_a_figure_that_lacks_something_is_named(faulty, says):
    notebook = new_notebook(cells=[cell(**faulty)])
    figures.adopt_findings(notebook)
    (fault,) = figures.unfinished(notebook, "page")
    assert fault.startswith("page: ")
    assert says in fault


def test_every_figure_of_the_templates_tells_what_it_found():
    """Statically: a cell that has a figure's caption tells a finding. What it says is checked when the book is built."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for found in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            shown = found["metadata"].get("mystnb", {})
            if "figure" in shown:
                assert re.search(r"\b(?:captions\.tell|told)\(", "".join(found["source"])), f"{path.name}: {shown['figure']['name']}"
                assert shown["figure"]["caption"].strip(), path.name
                assert shown["image"]["alt"].strip(), path.name


def test_both_themes_get_a_drawing():
    context = {"body": '<figure><img alt="A &lt; B" class="x" src="../_images/a.svg" width="9"><img src="../_images/b.png"><img src="_static/frames/0.svg"></figure>'}
    figures.both_themes(None, "", "", context, None)
    assert context["body"].count("<img") == 4, "only drawings that know both themes are doubled"
    assert '<img class="cxr-drawing cxr-light" src="../_images/a.svg" alt="A &lt; B" width="9">' in context["body"]
    assert '<img class="cxr-drawing cxr-dark" src="../_images/a.svg#dark" alt="A &lt; B" width="9">' in context["body"]


def test_the_badge_of_live_results_follows_the_copy(tmp_path):
    (tmp_path / "executed").mkdir()
    for name, data in (("03_a", "phantoms"), ("04_b", "covidx")):
        (tmp_path / "executed" / f"{name}.ipynb").write_text(json.dumps({"metadata": {"cxr": {"data": data}}, "cells": []}))
    assert figures.copy_kind(tmp_path, "executed/03_a") == "phantom"
    assert figures.copy_kind(tmp_path, "executed/04_b") == "real"
    assert figures.copy_kind(tmp_path, "index") == "phantom"
    assert figures.copy_kind(tmp_path / "nowhere", "index") == "none"


def test_the_kinds_of_a_page_are_those_of_its_figures(tmp_path):
    notebook = new_notebook(cells=[cell(), cell()])
    figures.adopt_findings(notebook)
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook))
    assert figures.kinds(path) == {"real"}
    assert figures.kinds(tmp_path / "b.ipynb") == set()
