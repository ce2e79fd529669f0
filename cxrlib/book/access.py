"""What makes the pages usable by everybody, and from disk: names and roles for assistive technology, a search that fetches nothing.

``tests/book/test_access.py`` opens every page in a browser, in both themes and at two widths, and runs axe-core over it.
"""

from __future__ import annotations

import html
import html.parser
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrlib.files import atomic_write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

TEXTS = "search-texts.js"
_VOID = frozenset({"script", "style", "svg", "button"})
REPAIRS = (
    # The label "Toggle hidden content" hides the words that are seen.
    (re.compile(r'<summary aria-label="[^"]*"'), "<summary"),
    # A list must have items: docutils gives the entries another role.
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
)
"""What the theme and docutils write, and what it should be."""


class _Text(html.parser.HTMLParser):
    """The text of a page with its sections and headings, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []
        self.skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self.skipping += 1
        elif tag == "section":
            self.kept.append(f'<section id="{html.escape(dict(attrs).get("id") or "")}">')
        elif re.fullmatch("h[1-6]", tag):
            self.kept.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            self.skipping -= 1
        elif tag == "section" or re.fullmatch("h[1-6]", tag):
            self.kept.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.kept.append(html.escape(re.sub(r"\s+", " ", data), quote=False))


def searchable(body: str) -> str:
    """The text of a page's body for excerpts of search results: sections and headings, no other element."""
    parser = _Text()
    parser.feed(body)
    parser.close()
    return f'<div role="main">{"".join(parser.kept)}</div>'


def repair(app: Sphinx, page: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend roles and names in the body of a page, and keep its text for the search."""
    body = context.get("body")
    if not body:
        return
    for found, instead in REPAIRS:
        body = found.sub(instead, body)
    context["body"] = body
    if doctree is not None:
        app.cxr_texts[app.builder.get_target_uri(page)] = searchable(body)


def write_texts(app: Sphinx, error: Exception | None) -> None:
    """All texts as one script: a page that was opened from disk can load a script, but may fetch nothing."""
    if error is None and app.builder.format == "html":
        texts = json.dumps(app.cxr_texts, ensure_ascii=False).replace("</", "<\\/")
        atomic_write(Path(app.outdir) / "_static" / TEXTS, f"window.cxrSearchTexts = {texts};\n")


def _scripts(app: Sphinx, page: str, _template: str, _context: dict[str, Any], _doctree: Any) -> None:
    if page == "search":
        app.add_js_file(TEXTS, priority=90)
        app.add_js_file("search.js", priority=95)


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.cxr_texts = {}
    app.add_js_file("access.js")
    app.connect("html-page-context", repair)
    app.connect("html-page-context", _scripts, priority=400)
    app.connect("build-finished", write_texts)
