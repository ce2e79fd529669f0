"""The verdicts on pages that are no notebook, and the rules that they follow: tables made when a page is built.

=================================  ==================================================================================
``{cxr-verdicts} NOTEBOOK ...``    the claims that some executed notebooks judge, each with its word and what it is of
``:parts:``                        with this option a row for every comparison of every part
``{cxr-table} words``              what each word means
``{cxr-table} parts``              the claims in parts: the paper's words, and what is tested
``{cxr-table} rule-changes``       rules that were changed after results
=================================  ==================================================================================

A notebook hands its verdicts on with ``glue("verdicts", verdicts.packed(...))``. Everything becomes text nodes, and a word
carries its meaning for a hover.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from cxrlib.book.glue import glued_values
from cxrlib.study.claims import CLAIMS, WITH_TRUTH
from cxrlib.study.parts import CHANGES, PARTS
from cxrlib.study.verdicts import HEADS, MEANING

Cell = str | nodes.Node


def word_rows(_: Path) -> list[list[str]]:
    return [["Word", "Meaning"], *map(list, MEANING.items())]


def part_rows(_: Path) -> list[list[str]]:
    runs = {"grid": "the whole grid of section 4.1", "setting": "the one setting of section 4.2", "few": "few images per class", "heat": "Grad-CAM on every test image", "none": "–"}
    titles = {claim.number: claim.title for claim in CLAIMS}
    rows = [["Claim", "Part", "The paper's words", "On which runs", "Expected"]]
    for part in PARTS:
        words = f"our reading, from: {part.words}" if part.ours else f"“{part.words}” (§{part.section})"
        says = f"{part.says} ({part.note})" if part.note else part.says
        rows.append([f"{part.claim}. {titles[part.claim]}", says, words, runs[part.runs], part.expected])
    return rows


def change_rows(_: Path) -> list[list[str]]:
    return [["Date", "The rule", "Why"], *([change.date, change.rule.replace("*", ""), change.reason.replace("*", "")] for change in CHANGES)]


MAKERS = {"words": word_rows, "parts": part_rows, "rule-changes": change_rows}


def glued(notebook: Path) -> list[dict[str, Any]]:
    """What a notebook glued as ``verdicts``; empty if it did not."""
    return json.loads(glued_values(notebook).get("verdicts", "[]"))


def table(rows: Iterable[Iterable[Cell]], classes: Iterable[str] = ()) -> nodes.table:
    """A table node from cells of text or nodes, header first."""
    header, *body = [list(row) for row in rows]
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in header), cols=len(header))
    group += nodes.thead("", _row(header))
    group += nodes.tbody("", *map(_row, body))
    return nodes.table("", group, classes=["colwidths-auto", *classes])


def _row(cells: list[Cell]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", nodes.Text(cell) if isinstance(cell, str) else cell)) for cell in cells))


def word(name: str) -> nodes.Node:
    """A word of a verdict in bold, with its meaning on hover."""
    return nodes.strong("", "", nodes.abbreviation(name, name, explanation=MEANING[name]) if name in MEANING else nodes.Text(name))


def _number(row: dict[str, Any]) -> str:
    """The number of a claim of the paper before its title; nothing for one that is not the paper's."""
    return f"{row['claim']}. " if row["claim"] <= len(CLAIMS) else ""


class WideCells(SphinxTransform):
    """In a table of :func:`cxrlib.study.verdicts.markdown` a cell reaches over the empty ones at its right, so that no row is mostly void."""

    default_priority = 11  # after what a cell printed is made inert

    def apply(self, **_options: Any) -> None:
        for made in self.document.findall(nodes.table):
            head = next(made.findall(nodes.thead), None)
            if head is None or tuple(entry.astext() for entry in head.findall(nodes.entry)) != HEADS:
                continue
            made["classes"].append("cxr-judged")
            for row in next(made.findall(nodes.tbody)).children:
                for entry in reversed(row.children):
                    before = entry.parent.index(entry) - 1
                    if before >= 0 and not entry.astext():
                        row[before]["morecols"] = 1 + entry.get("morecols", 0)
                        row.remove(entry)


class VerdictsDirective(SphinxDirective):
    """The verdicts of executed notebooks, by claim or part by part."""

    required_arguments = 1
    optional_arguments = 9
    option_spec = {"parts": directives.flag}

    def run(self) -> list[nodes.Node]:
        book = Path(self.env.srcdir)
        rows: list[dict[str, Any]] = []
        for name in self.arguments:
            path = book / "executed" / f"{name}.ipynb"
            if not path.is_file():
                raise self.error(f"there is no executed notebook '{name}'")
            rows += glued(path)
        rows.sort(key=lambda row: row["claim"])
        if not rows:
            return [nodes.paragraph("", "None of these claims can be tested on the data of this copy.")]
        return [table(self._parts(rows) if "parts" in self.options else self._claims(rows), ["cxr-verdicts"])]

    @staticmethod
    def _claims(rows: list[dict[str, Any]]) -> list[list[Cell]]:
        shown: list[list[Cell]] = [["Claim of the paper", "Verdict", "Of its parts"]]
        texts = {(claim.number, claim.title): claim.text for claim in (*CLAIMS, *WITH_TRUTH)}
        for name, row in {(row["claim"], row["title"]): row for row in reversed(rows)}.items():
            shown.insert(1, [f"{_number(row)}{row['title']}. {texts[name]}", word(row["claim_word"]), row["mixed_of"] or "every part alike"])
        return shown

    @staticmethod
    def _parts(rows: list[dict[str, Any]]) -> list[list[Cell]]:
        shown: list[list[Cell]] = [["Claim and part", "Word", "Comparison", "Here, with adjusted interval", "Expected"]]
        said = None
        for row in rows:
            part = f"{_number(row)}{'Our reading: ' if row['ours'] else ''}{row['part']}"
            shown.append([part if part != said else "", word(row["word"]), row["compared"], row["result"], row["expected"] if part != said else ""])
            said = part
        return shown
