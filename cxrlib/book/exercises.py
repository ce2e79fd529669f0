"""Exercises that are numbered through the whole book, solutions that fold, and the edition of the book without any solution.

sphinx-exercise counts and links them. Its solutions become ``details`` elements here, which a keyboard and a screen reader
know, and its switch for counting figures does not count the figures of this book, whose captions carry the paper's numbers.

``make book STUDENT=1`` renders a copy of the sources from which every ``{solution}`` and ``{teacher}`` block was taken, so
neither the pages nor the sources and notebooks beside them, nor the search, can hold one.

The exercise of a notebook lies beside the text of the book, in ``book/tasks/NAME.md``: a changed exercise executes nothing again.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cxrlib.files import atomic_write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

STUDENT = "student"
TASKS = "tasks"
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|:{3,})\{(?:solution|teacher)\}", re.MULTILINE)
MADE = frozenset({".git", ".venv", ".cache", "_build", "runs", "data", "book", ".pytest_cache", "node_modules"})
"""What the student's copy of the repository does not link to: made by running, or written anew."""


def without_solutions(text: str) -> str:
    """A text in MyST without its ``{solution}`` and ``{teacher}`` blocks.

    Raises:
        ValueError: if such a block has no end, naming its line.
    """
    while (found := FENCE.search(text)) is not None:
        fence = found["fence"]
        end = re.compile(rf"^ *{fence[0]}{{{len(fence)},}} *$\n?", re.MULTILINE).search(text, found.end())
        if end is None:
            raise ValueError(f"line {text.count(chr(10), 0, found.start()) + 1}: the block {found[0].strip()} has no end; close it with {fence}")
        text = text[: found.start()].rstrip("\n") + "\n\n" + text[end.end() :].lstrip("\n")
    return text


def student_copy(root: Path) -> Path:
    """Sources of the book without solutions, in ``root/.cache/book/student``; everything that the pages read beside them is linked.

    Raises:
        ValueError: naming the file, if a solution has no end.
    """
    copy = root / ".cache" / "book" / STUDENT
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in root.iterdir():
        if path.name not in MADE:
            (copy / path.name).symlink_to(path.resolve())
    for path in sorted((root / "book").rglob("*")):
        target = copy / path.relative_to(root)
        if not path.is_file():
            continue
        try:
            if path.suffix == ".md":
                atomic_write(target, without_solutions(path.read_text(encoding="utf-8")))
            elif path.suffix == ".ipynb":
                notebook = json.loads(path.read_text(encoding="utf-8"))
                for cell in notebook["cells"]:
                    if cell["cell_type"] == "markdown":
                        cell["source"] = without_solutions("".join(cell["source"])).splitlines(keepends=True)
                atomic_write(target, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(root)}: {error}") from None
    return copy


class TeacherDirective(SphinxDirective):
    """What a teacher reads and a student's edition does not have: a ``details`` element with its argument as summary."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        inside = nodes.container("", classes=["cxr-teacher"])
        self.state.nested_parse(self.content, self.content_offset, inside)
        opened = nodes.raw("", f'<details class="cxr-fold"><summary>{html.escape(self.arguments[0])}</summary>', format="html")
        return [opened, inside, nodes.raw("", "</details>", format="html")]


def open_solution(writer: Any, node: nodes.Element) -> None:
    """A solution begins: sphinx-exercise's own box, but a ``details`` element."""
    writer.body.append(f'<details class="solution admonition" id="{node.attributes.get("label", "")}">')


def close_solution(writer: Any, _node: nodes.Element) -> None:
    """A solution ends."""
    writer.body.append("</details>\n")


def repair(body: str) -> str:
    """The title of a solution as the summary of its element; no number before what is not counted; one id once on a page."""

    def summary(found: re.Match) -> str:
        return f"{found[1]}<summary>{re.sub(r'<[^>]+>', '', found[2])}</summary>"

    body = re.sub(r'(<details class="solution admonition"[^>]*>)\s*<p class="admonition-title">(.*?)</p>', summary, body, flags=re.DOTALL)
    # Every exercise has a section of the same id, which a page must not have twice.
    body = re.sub(r'<section id="(?:exercise|solution)-content">', "<section>", body)
    return re.sub(r'<span class="caption-number">\s*</span>', "", body)


def append_task(app: Sphinx, page: str, source: list[str]) -> None:
    """Add the exercise of a notebook, if it has one, as the last cell of what Sphinx reads; the file stays as it was executed."""
    task = Path(app.srcdir) / TASKS / f"{Path(page).name}.md"
    if not page.startswith("executed/") or not task.is_file():
        return
    notebook = json.loads(source[0])
    notebook["cells"].append({"cell_type": "markdown", "id": "exercise", "metadata": {}, "source": task.read_text(encoding="utf-8")})
    source[0] = json.dumps(notebook)


def _repair_page(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    if context.get("body"):
        context["body"] = repair(context["body"])


def _count_exercises_and_figures(_app: Sphinx, config: Any) -> None:
    """sphinx-exercise switches counting on for everything; what is neither exercise nor figure gets an empty number, which :func:`repair` takes out."""
    config.numfig_format = {"figure": config.numfig_format.get("figure", "Figure %s"), "table": "%.0s", "code-block": "%.0s", "section": "%.0s"} | {"exercise": config.numfig_format.get("exercise", "Exercise %s")}


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    from sphinx_exercise.nodes import solution_node

    app.setup_extension("sphinx_exercise")
    app.add_node(solution_node, override=True, html=(open_solution, close_solution))
    app.add_directive("teacher", TeacherDirective)
    app.connect("source-read", append_task)
    app.connect("config-inited", _count_exercises_and_figures, priority=900)
    app.connect("html-page-context", _repair_page, priority=400)
