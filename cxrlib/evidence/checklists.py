"""Reporting checklists as data that prove themselves: every answer names pages, tests and files that must exist.

``book/checklists.yaml`` holds them. :func:`missing` says what is named and not there; the page that draws them and a test
fail on it, so an answer cannot outlive its proof.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path
from typing import Literal, Self

from docutils.nodes import make_id
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxrlib.parameter_files import read_parameters

FILE = Path("book/checklists.yaml")
Answer = Literal["yes", "partly", "no", "does not apply"]


class Item(BaseModel):
    """An item of a checklist: its number and short title, the answer, and what proves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: str = Field(pattern=r"^\d+[a-g]?$")
    title: str = Field(min_length=3, max_length=60)
    answer: Answer
    why: str = ""
    proof: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _proved_or_explained(self) -> Self:
        if self.answer in ("yes", "partly") and not self.proof:
            raise ValueError(f"item {self.item} says '{self.answer}' and names no proof")
        if self.answer != "yes" and not self.why:
            raise ValueError(f"item {self.item} says '{self.answer}' and not why")
        for text in self.proof:
            if not re.fullmatch(r"page [\w/]+#[\w-]+|test tests/[\w/]+\.py::\w+|file [\w./-]+", text):
                raise ValueError(f"item {self.item}: '{text}' is none of: page NAME#anchor, test FILE::NAME, file PATH")
        return self


class Checklist(BaseModel):
    """One checklist: its name, where it is published, and how its items were checked against that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    cite: str
    checked: str
    items: tuple[Item, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        numbers = [item.item for item in self.items]
        if twice := {number for number in numbers if numbers.count(number) > 1}:
            raise ValueError(f"{self.name} has item {sorted(twice)[0]} twice")
        return self


def read(root: Path) -> tuple[Checklist, ...]:
    """The checklists of a checkout.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    path = Path(root) / FILE
    content = read_parameters(path)
    try:
        return tuple(Checklist(**each) for each in content["checklists"])
    except (ValidationError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def missing(checklist: Checklist, root: Path) -> list[str]:
    """What a checklist names that is not there, as sentences. Tests are looked for where ``root`` has a folder of them."""
    faults = []
    for item in checklist.items:
        for text in item.proof:
            kind, _, name = text.partition(" ")
            here = Path(root)
            if kind == "page":
                page, _, anchor = name.partition("#")
                if anchor not in anchors(here, page):
                    faults.append(f"{checklist.name} {item.item}: page '{page}' has no '#{anchor}'")
            elif kind == "test" and (here / "tests").is_dir():
                file, _, function = name.partition("::")
                if function not in functions(here / file):
                    faults.append(f"{checklist.name} {item.item}: {file} has no {function}")
            elif kind == "file" and (here / "tests").is_dir() and not (here / name).is_file():
                faults.append(f"{checklist.name} {item.item}: there is no file {name}")
    return faults


def anchors(root: Path, page: str) -> set[str]:
    """Anchors of a page of the book: its headings and labels. ``executed/NAME`` is a notebook, read from its template if it has not run."""
    book = Path(root) / "book"
    places = [book / f"{page}.md", book / f"{page}.ipynb", Path(root) / "notebooks" / f"{page.removeprefix('executed/')}.ipynb"]
    path = next((place for place in places if place.is_file()), None)
    return set() if path is None else _anchors(path, path.stat().st_mtime_ns)


@functools.cache
def _anchors(path: Path, _modified: int) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)  # a heading inside a block is none of the page
    return {make_id(title) for title in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)} | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@functools.cache
def functions(path: Path) -> set[str]:
    """Names of the functions of a file, those of classes too; empty if there is no such file."""
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)}
