"""Sphinx extension of the book: roles and tables that keep the pages true, and the parts that keep them offline.

==============================  =====================================================================================
``{cxr}`train.finetune.learning_rate```  link to that function in the highlighted source, which becomes part of the book
``{paper}`NAME[key].x:.1f```    a value of :mod:`cxrlib.study.paper`, see :func:`paper_value`
``{cxr-table} choices``         what the paper leaves open, from :mod:`cxrlib.study.claims`
``{cxr-figure} NOTEBOOK NAME``  a figure of an executed notebook, on another page
``{cxr-table} initialisations`` where weights come from, from :mod:`cxrlib.weights.resolve`
``{cxr-table} executions``      notebooks, profile, data and execution time of this copy
``{cxr-table} plan``            what the paper's grid costs, from :mod:`cxrlib.study.plan`
``{cxr-table} profiles``        the files in ``profiles/``
``{cxr-table} soak``            what ``make soak`` found, from ``results/soak.json``
``{cxr-table} versions``        Python and the direct dependencies
==============================  =====================================================================================

Verdicts and their rules are in :mod:`cxrlib.book.verdict_tables`. A name that does not exist is a Sphinx warning, so the build with ``-W`` fails.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from cxrlib import DISCLAIMER
from cxrlib.book import access, again, exercises, explorer, figures, launch, quizzes, verdict_tables, widgets
from cxrlib.book.page_tables import TableDirective, executed
from cxrlib.book.source import SourceRole, source_pages
from cxrlib.markup import html_text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LOGGER = logging.getLogger(__name__)


NEGATIVE = re.compile(r"(?<![^\s(\[“\"≤≥<>=])-(?=\d+(?:,\d{3})*\.\d+(?!\w|\.\w))")
PAPER_VALUE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)(?:\[(?P<key>[^\[\]{}]+)\])?(?:\[(?P<count>\d+)\])?(?P<fields>(?:\.[a-z][a-z_]*)*)(?::(?P<format>,|\.\df))?")


def paper_value(text: str) -> str:
    """A number of :mod:`cxrlib.study.paper` as text, such as ``TABLE_1[BiT-M].accuracy:.1f``.

    Looked up step by step: a public constant, a key of it, fields of its data classes. Nothing else can be reached.

    Raises:
        LookupError: if the text has another form or names nothing; the message says what.
    """
    match = PAPER_VALUE.fullmatch(text)
    if match is None:
        raise LookupError("it is not NAME[KEY].FIELD:FORMAT")
    value = vars(importlib.import_module("cxrlib.study.paper"))[match["name"]]
    for key in (match["key"], match["count"] and int(match["count"])):
        value = value if key is None else value[key]
    for field in filter(None, match["fields"].split(".")):
        if not dataclasses.is_dataclass(value) or field not in {f.name for f in dataclasses.fields(value)}:
            raise LookupError(f"there is no field '{field}'")
        value = getattr(value, field)
    if not isinstance(value, str | int | float):
        raise LookupError("it is not a single value")
    return format(value, match["format"] or "")


class PaperRole(SphinxRole):
    """A published number, read from cxrlib.study.paper when the page is built."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            text = paper_value(self.text)
        except (LookupError, TypeError, ValueError) as error:
            LOGGER.warning("cxrlib.study.paper has no %s (%s)", self.text, error, location=self.get_location())
            text = "?"
        return [nodes.Text(text)], []


class InertOutputs(SphinxTransform):
    """What a cell printed is text, tables and the figures it drew: raw HTML, links and other pictures become text.

    The second wall behind :mod:`cxrlib.markup`, for a text that was not escaped. Before it, outputs in Markdown are read
    by a parser that knows no roles, directives, mathematics or templates (``nb_render_markdown_format`` in ``_config.yml``).
    """

    default_priority = 10  # before pictures and downloads are collected, links resolved and quotes made curly

    def apply(self, **options: Any) -> None:
        for output in self.document.findall(nodes.Element):
            if not {"cell_output", "pasted-text"} & set(output.get("classes", [])):
                continue
            output["support_smartquotes"] = False
            for node in list(output.findall(nodes.Element)):
                if isinstance(node, nodes.raw):
                    _become(node, nodes.literal("", node.astext()))
                elif isinstance(node, nodes.literal_block) and "output" not in node["classes"]:  # not what MyST-NB itself made
                    node["language"] = "none"
                elif isinstance(node, nodes.transition):
                    _become(node, nodes.Text("---"))
                elif isinstance(node, nodes.image) and "jupyter_execute" not in Path(node["uri"]).parts:  # MyST-NB's folder of figures
                    _become(node, nodes.literal("", node.get("alt", "")))
                elif isinstance(node, nodes.reference | addnodes.pending_xref | addnodes.download_reference):
                    _become(node, *node.children)


class Verbatim(SphinxTransform):
    """In a block of the class ``cxr-verbatim`` quotes stay straight and two hyphens two, as a program wrote them."""

    default_priority = 10

    def apply(self, **options: Any) -> None:
        for block in self.document.findall(nodes.Element):
            if "cxr-verbatim" in block.get("classes", []):
                block["support_smartquotes"] = False


class MinusSigns(SphinxPostTransform):
    """A negative number with decimals has a minus sign (U+2212) in prose and tables, as in the figures.

    What formats numbers writes a hyphen, which a screen reader skips and a line may break after. Code stays as it is, and
    so does a hyphen with a letter, a digit or another hyphen before it: names, ranges, dates, options.
    """

    default_priority = 700  # after what notebooks glued has come to its place

    def run(self, **_options: Any) -> None:
        for node in list(self.document.findall(nodes.Text)):
            shown, around = NEGATIVE.sub("\N{MINUS SIGN}", node), node.parent
            while shown != node and around is not None and not isinstance(around, nodes.literal | nodes.FixedTextElement | nodes.raw | nodes.math):
                around = around.parent
            if shown != node and around is None:
                node.parent.replace(node, nodes.Text(shown))


def _become(node: nodes.Element, *others: nodes.Node) -> None:
    """Put others in the place of a node, in a paragraph of their own where no text is around it."""
    inline = isinstance(node.parent, nodes.TextElement)
    node.replace_self(list(others) if inline else [nodes.paragraph("", "", *others)])


def _describe_copy(app: Sphinx) -> None:
    """Say on every page which profile and data this copy shows; refuse a mixture of them."""
    notebooks = executed(Path(app.srcdir)).values()
    copies = {(about.get("profile"), about.get("data")) for about in notebooks}
    if len(copies) > 1:
        LOGGER.warning("book/executed mixes %s; run `make book` again", sorted(map(str, copies)))
    second = sorted({str(about["external"]) for about in notebooks if "external" in about})
    beside = "".join(f" with the external test set {html_text(name)}" for name in second)
    where = "".join(f" What this copy computed itself is on {html_text(data)}{beside}, profile “{html_text(profile)}”; results on recorded X-rays say so." for profile, data in list(copies)[:1] if profile)
    where += "".join(f" Of its data, {html_text(sentence)}." for sentence in sorted({str(about["left_out"]) for about in notebooks if about.get("left_out")})[:1])
    where += "".join(f" {html_text(sentence)}." for sentence in sorted({str(about["lacking"]) for about in notebooks if about.get("lacking")})[:1])
    disclaimer = DISCLAIMER.replace("Not for diagnosis", "<strong>Not for diagnosis</strong>")
    app.config.html_theme_options["announcement"] = f'{disclaimer}<span class="tex2jax_ignore mathjax_ignore">{where}</span>'


def _announce(app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """A page that shows recorded runs on real X-rays only does not say that this copy shows phantoms."""
    if figures.kinds(Path(app.srcdir) / f"{page}.ipynb") - {"none"} == {"real"}:
        disclaimer = DISCLAIMER.replace("Not for diagnosis", "<strong>Not for diagnosis</strong>")
        context["theme_announcement"] = f"{disclaimer} This page shows real X-rays."


def _copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None:
        raise ExtensionError("install sphinx-mathjax-offline; without it the book would fetch MathJax from the network")
    script = Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js"
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(script, target / script.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    figures.setup(app)
    access.setup(app)
    again.setup(app)
    explorer.setup(app)
    exercises.setup(app)
    quizzes.setup(app)
    widgets.setup(app)
    launch.setup(app)
    app.add_role("cxr", SourceRole())
    app.add_role("paper", PaperRole())
    app.add_directive("cxr-table", TableDirective)
    app.add_directive("cxr-verdicts", verdict_tables.VerdictsDirective)
    app.add_transform(InertOutputs)
    app.add_transform(verdict_tables.WideCells)
    app.add_transform(Verbatim)
    app.add_post_transform(MinusSigns)
    app.connect("builder-inited", _describe_copy)
    app.connect("html-page-context", _announce, priority=900)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", _copy_mathjax)
    return {"version": "1", "parallel_read_safe": True}
