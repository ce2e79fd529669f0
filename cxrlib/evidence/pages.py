"""Sphinx extension: the pages of evidence.

==============================  =====================================================================================
``{cxr-checklist} NAME``        a checklist of ``book/checklists.yaml``: answers with their proofs
``{cxr-cards}``                 a card for each weights file that ships, from the record of its pretraining
``{cxr-wheels}``                which platforms have a file in the lock for each package
==============================  =====================================================================================

What a checklist names and is not there is an error of the build.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cxrlib.book.verdict_tables import Cell, table
from cxrlib.evidence import checklists

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class ChecklistDirective(SphinxDirective):
    """A checklist as a table."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        root, name = Path(self.env.srcdir).parent, self.arguments[0]
        self.env.note_dependency(str(root / checklists.FILE))
        self.env.note_reread()  # its proofs are on other pages
        try:
            known = {each.name: each for each in checklists.read(root)}
        except ValueError as error:
            raise self.error(str(error)) from None
        if name not in known:
            raise self.error(f"there is no checklist '{name}'; there are: {', '.join(known)}")
        if faults := checklists.missing(known[name], root):
            raise self.error("; ".join(faults))
        answers = [item.answer for item in known[name].items]
        counted = ", ".join(f"{answers.count(answer)} {answer}" for answer in get_args(checklists.Answer) if answer in answers)
        rows: list[list[Cell]] = [["Item", "About", "Answer", "Where, or why not"]]
        rows += [[item.item, item.title, nodes.strong("", item.answer), self._reasons(item)] for item in known[name].items]
        return [nodes.paragraph("", f"{len(answers)} items: {counted}. {known[name].checked}"), table(rows, ["cxr-checklist"])]

    def _reasons(self, item: checklists.Item) -> nodes.Node:
        parts: list[nodes.Node] = [nodes.Text(item.why)] if item.why else []
        for text in item.proof:
            kind, _, name = text.partition(" ")
            parts += [nodes.Text(" · ")] if parts else []
            parts.append(self._link(name) if kind == "page" else _tested(name) if kind == "test" else nodes.literal("", name))
        return nodes.inline("", "", *parts)

    def _link(self, name: str) -> nodes.Node:
        page, _, anchor = name.partition("#")
        address = self.env.app.builder.get_relative_uri(self.env.docname, page)
        plain = re.sub(r"^executed/(\d+_)?", "", page).replace("_", " ")
        return nodes.reference("", f"{plain}: {anchor.replace('-', ' ')}", refuri=f"{address}#{anchor}", internal=True)


def _tested(name: str) -> nodes.Node:
    """A test in words, its file and name on hovering."""
    function = name.partition("::")[2].removeprefix("test_").replace("_", " ")
    return nodes.abbreviation("", f"tested: {function}", explanation=name)


class CardsDirective(SphinxDirective):
    """A card for each weights file that ships."""

    def run(self) -> list[nodes.Node]:
        from cxrlib.evidence.cards import LUNGS, cards, lungs_card  # torch, for this page alone

        found: list[nodes.Node] = []
        lungs = Path(self.env.srcdir).parent / LUNGS
        for card in [*cards(), *([lungs_card(lungs)] if lungs.is_file() else [])]:
            rows: list[list[Cell]] = [[nodes.literal("", card.name), ""], *([nodes.strong("", heading), text] for heading, text in card.rows)]
            found.append(table(rows, ["cxr-card"]))
        return found


class WheelsDirective(SphinxDirective):
    """How many packages of the lock each platform needs, and which of them have no wheel there."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "wheels.csv"
        self.env.note_dependency(str(path))
        if not path.is_file():
            raise self.error(f"there is no {path.name}; 'make lock' writes it")
        rows: list[list[Cell]] = [["Platform", "Packages", "With a wheel", "Built from source", "No file at all"]]
        rows += wheels(path)
        return [table(rows, ["cxr-wheels"])]


def wheels(path: Path) -> list[list[str]]:
    """Rows of platform, packages, wheels, names of what is built from source, and of what cannot be installed."""
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    rows = []
    for platform in [name for name in found[0] if name not in ("package", "version")]:
        named = {answer: [row["package"] for row in found if row[platform] == answer] for answer in ("wheel", "source", "none")}
        rows.append([platform, str(sum(map(len, named.values()))), str(len(named["wheel"])), *(", ".join(named[answer]) or "–" for answer in ("source", "none"))])
    return rows


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_css_file("evidence.css")
    app.add_directive("cxr-checklist", ChecklistDirective)
    app.add_directive("cxr-cards", CardsDirective)
    app.add_directive("cxr-wheels", WheelsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
