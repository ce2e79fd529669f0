"""Pages with the highlighted source of every module, and the role that links to a definition in them."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from cxrlib.book import again
from cxrlib.book.notebooks import LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

LOGGER = logging.getLogger(__name__)
PLAIN_TOKEN = re.compile(r'<span class="(?:n|nn|o|p|w)">([^<]*)</span>')
"""Names, operators, punctuation and white space, shown as plain text: half of all that these pages would weigh."""
_TEXT = '<span class="(?:sa|sd|se|si|s1|s2)">([^<]*)</span>'
TEXTS = re.compile(rf"{_TEXT}(?:\s*{_TEXT})*")
"""Pieces of texts side by side: prefix, lines, braces; one colour in both themes."""


def module_file(module: str) -> Path:
    """Where a module of cxrlib such as ``train.finetune`` lies, whether there is one or not."""
    return LIBRARY.joinpath(*module.split(".")).with_suffix(".py")


def split_name(text: str) -> tuple[str, str]:
    """``train.finetune.learning_rate`` as module and name in it; the name is empty if all of it is a module."""
    parts = text.split(".")
    for count in range(len(parts), 1, -1):
        if module_file(".".join(parts[:count])).is_file():
            return ".".join(parts[:count]), ".".join(parts[count:])
    return parts[0], ".".join(parts[1:])


@functools.cache
def definitions(module: str) -> dict[str, int]:
    """Line of every function, class, method and constant of a module of cxrlib, such as ``train.finetune``; empty if there is none."""
    path = module_file(module)
    found: dict[str, int] = {}
    if not path.is_file():
        return found

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[prefix + node.name] = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update({prefix + t.id: node.lineno for t in targets if isinstance(t, ast.Name)})

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def home_of(module: str, name: str) -> str:
    """The module of cxrlib that defines ``module.name``: itself, or the one that it imports the name from."""
    path = module_file(module)
    if name in definitions(module) or not path.is_file():
        return module
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cxrlib."):
            if name.partition(".")[0] in {alias.asname or alias.name for alias in node.names}:
                return home_of(node.module.removeprefix("cxrlib."), name)
    return module


class SourceRole(SphinxRole):
    """Link to a definition in the highlighted source."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        module, name = split_name(self.text)
        module = home_of(module, name)
        if not module_file(module).is_file() or (name and name not in definitions(module)):
            LOGGER.warning("there is no cxrlib.%s", self.text, location=self.get_location())
        address = self.env.app.builder.get_relative_uri(self.env.docname, f"source/{module}")
        label = nodes.literal("", f"cxrlib.{self.text}", classes=["cxr-source"])
        return [nodes.reference("", "", label, refuri=f"{address}#{name}" if name else address, internal=True)], []


def lighter(marked: str) -> str:
    """Highlighted source without marks that nobody sees: those of plain tokens, and all but one of a text in pieces."""
    return TEXTS.sub(lambda found: f'<span class="s">{re.sub("<[^>]*>", "", found[0])}</span>', PLAIN_TOKEN.sub(r"\1", marked))


def _highlighted(app: Sphinx, path: Path) -> str:
    return lighter(app.builder.highlighter.highlight_block(path.read_text(encoding="utf-8"), "python"))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Highlighted source of every module, with an anchor at each definition, without the spans that no style colours."""
    for path in sorted(LIBRARY.rglob("*.py")):
        module = ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
        lines = again.kept(app, f"{module}.html", functools.partial(_highlighted, app, path)).splitlines()
        before, after = lines[0].split("<pre>", 1)
        lines[0] = after
        for name, line in definitions(module).items():
            lines[line - 1] = f'<span id="{name}"></span>{lines[line - 1]}'
        body = f"<h1>cxrlib.{module}</h1>\n{before}<pre>" + "\n".join(lines)
        yield f"source/{module}", {"title": f"cxrlib.{module}", "body": body, "parents": []}, "page.html"
