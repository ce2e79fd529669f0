"""Figures on their way from an executed notebook to a page: caption, alternative text, badge, and both themes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.directives.patches import Figure
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxRole

from cxrlib import markup
from cxrlib.book.drawings import DARK_TARGET
from cxrlib.files import atomic_write
from cxrlib.study.figures.captions import BADGES, MIME

if TYPE_CHECKING:
    from docutils.nodes import Node, system_message
    from sphinx.application import Sphinx

SVG, PNG = "image/svg+xml", "image/png"
TABLE = re.compile(r"^\|(?:-+:?\|)+$", re.MULTILINE)
DRAWING = re.compile(r'<img(?P<before>[^>]*?) src="(?P<address>[^"]*_images/[^"]+\.svg)"(?P<after>[^>]*)>')


def adopt_findings(notebook: Any) -> None:
    """Move what :func:`cxrlib.study.figures.captions.tell` left in a cell into its caption and alternative text, in place.

    The caption becomes badge, finding, the template's own words and the source; the alternative text the finding and the
    template's description. A cell that skipped its figure (:func:`cxrlib.study.figures.captions.skip`) is one without.
    """
    for cell in notebook.cells:
        found = [output for output in cell.get("outputs", []) if MIME in output.get("data", {})]
        if not found:
            continue
        about = dict(found[-1]["data"][MIME])
        shown = cell["metadata"].get("mystnb", {})
        if "skipped" in about:  # the reason stands where the figure would
            del found[-1]["data"][MIME]
            for name in ("figure", "image"):
                shown.pop(name, None)
            continue
        cell["outputs"] = [output for output in cell["outputs"] if MIME not in output.get("data", {})]
        if "figure" in shown:
            own = shown["figure"].get("caption", "")
            source = f"Drawn from {markup.code(about['source'])}."
            shown["figure"]["caption"] = " ".join(filter(None, [f"{{badge}}`{about['data']}`", f"**{markup.text(about['finding'])}**", own, source]))
            shown["image"] = shown.get("image", {}) | {"alt": f"{about['finding']} {shown.get('image', {}).get('alt', '')}".strip()}
            cell["metadata"]["cxr_figure"] = about


def unfinished(notebook: Any, name: str) -> list[str]:
    """What is missing of the figures of an executed notebook, a sentence each: drawing, caption, finding, badge or source."""
    faults = []
    for cell in notebook.cells:
        if cell["cell_type"] != "code":
            continue
        shown, drawn = cell["metadata"].get("mystnb", {}), [o for o in cell["outputs"] if {SVG, PNG} & set(o.get("data", {}))]
        figure = shown.get("figure", {}).get("name")
        if drawn and figure is None:
            faults.append(f"{name}: a cell draws a figure that has no name and no caption: {cell['source'][:60]!r}")
        if figure is None:
            continue
        if not drawn:
            faults.append(f"{name}: {figure} has no drawing")
        if set(BADGES) & {cell["metadata"].get("cxr_figure", {}).get("data")} == set():
            faults.append(f"{name}: {figure} says neither what it found nor from which data; call captions.tell in its cell")
    return faults


def bare_tables(notebook: Any, name: str) -> list[str]:
    """Tables among the outputs of an executed notebook that bear no badge, a sentence each."""
    badges = tuple(f"**{badge}**" for badge in BADGES.values())
    faults = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = "".join(output.get("data", {}).get("text/markdown", ""))
            if TABLE.search(text) and not text.startswith(badges):
                faults.append(f"{name}: a table without a badge; show it by captions.badged: {cell['source'][:60]!r}")
    return faults


class OutputBadges(SphinxTransform):
    """The badge that an output begins with is drawn as that of a figure; any viewer else shows it in bold."""

    default_priority = 9  # before what a cell printed is made inert

    def apply(self, **options: Any) -> None:
        kinds = {words: kind for kind, words in BADGES.items()}
        for output in self.document.findall(nodes.Element):
            if "cell_output" in output.get("classes", []):
                for paragraph in output.findall(nodes.paragraph):
                    first = next((node for node in paragraph.children if node.astext()), None)  # the parser leaves empty texts
                    if isinstance(first, nodes.strong) and first.astext() in kinds:
                        first.replace_self(badge_node(kinds[first.astext()]))


def badge_node(kind: str) -> nodes.inline:
    """A badge by its key in ``BADGES``."""
    return nodes.inline("", BADGES[kind], classes=["cxr-badge", f"cxr-badge-{kind}"])


class BadgeRole(SphinxRole):
    """REAL X-RAYS or PHANTOMS; ``live`` stands for the data of this copy."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        kind = copy_kind(Path(self.env.srcdir), self.env.docname) if self.text == "live" else self.text
        if kind not in BADGES:
            message = self.inliner.reporter.error(f"no badge '{kind}'; there are: {', '.join(BADGES)}, live", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        return [badge_node(kind)], []


def copy_kind(book: Path, page: str) -> str:
    """Whether the live notebooks of this copy, or the one of a page, ran on phantoms or on real X-rays."""
    own = book / f"{page}.ipynb"
    for path in [own] if own.is_file() else sorted((book / "executed").glob("*.ipynb")):
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("cxr", {})
        if "data" in about:
            return "phantom" if about["data"] == "phantoms" else "real"
    return "none"


def kinds(notebook: Path) -> set[str]:
    """From which data the figures of an executed notebook are drawn: keys of ``BADGES``; empty if there is no such notebook."""
    if not notebook.is_file():
        return set()
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return {cell["metadata"]["cxr_figure"]["data"] for cell in cells if "cxr_figure" in cell["metadata"]}


class FigureDirective(Figure):
    """A figure of an executed notebook, by its ``mystnb.figure`` name, for a page other than its own.

    MyST-NB's ``glue:figure`` with ``:doc:`` shows what a cell glued and no more. Here the finding as alternative text and
    the badge come along, and the drawing is a file of the book, so that it has the colours of both themes.
    """

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        book = Path(self.state.document.settings.env.srcdir)
        notebook, name = self.arguments
        executed = json.loads((book / "executed" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
        for cell in executed["cells"]:
            if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") != name:
                continue
            drawings = [o["data"] for o in cell["outputs"] if {SVG, PNG} & set(o.get("data", {}))]
            if drawings:
                last = drawings[-1]
                content = "".join(last[SVG]).encode() if SVG in last else base64.b64decode("".join(last[PNG]))
                picture = Path("executed", "figures", f"{name}.{'svg' if SVG in last else 'png'}")
                atomic_write(book / picture, content)
                self.arguments[:] = [f"/{picture.as_posix()}"]
                self.options["alt"] = cell["metadata"]["mystnb"].get("image", {}).get("alt") or self.options.get("alt", "")
                return self._with_badge(super().run(), cell["metadata"].get("cxr_figure", {}).get("data"))
        if lacking := executed["metadata"].get("cxr", {}).get("lacking"):
            return [nodes.paragraph("", f"The figure that stands here is not drawn for this copy: {lacking}.")]
        raise self.error(f"notebook {notebook} has no figure '{name}'")

    @staticmethod
    def _with_badge(made: list[nodes.Node], kind: str | None) -> list[nodes.Node]:
        for figure in made:
            caption = figure.next_node(nodes.caption) if isinstance(figure, nodes.Element) else None
            if kind in BADGES and caption is not None:
                caption[:0] = [badge_node(kind), nodes.Text(" ")]
        return made


def both_themes(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Show every drawing twice, in the colours of each theme; the theme hides the other (:func:`cxrlib.book.drawings.both_themes`)."""

    def two(found: re.Match) -> str:
        dark = f"{found['address']}#{DARK_TARGET}"
        rest = re.sub(r' class="([^"]*)"', "", found["before"] + found["after"])
        return "".join(f'<img class="cxr-drawing {theme}" src="{address}"{rest}>' for theme, address in (("cxr-light", found["address"]), ("cxr-dark", dark)))

    if "_images/" in (context.get("body") or ""):
        context["body"] = DRAWING.sub(two, context["body"])


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.add_role("badge", BadgeRole())
    app.add_directive("cxr-figure", FigureDirective)
    app.add_transform(OutputBadges)
    app.connect("html-page-context", both_themes)
