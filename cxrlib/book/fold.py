"""The code of a page out of the reader's way: no bar above each output, but one at the end that opens all of it."""

from __future__ import annotations

import re
from typing import Any

ID = "all-code"
TITLE = "The code of this page"


def fold_code(notebook: Any) -> None:
    """Fold the code of an executed notebook, in place.

    Cells tagged ``hide-input`` show their output alone, those tagged ``hide-cell`` a bar that opens their output; the code of
    both stands in one fold at the end. Parameter cells stay where they are, and so does code that no tag hides.
    """
    sources = []
    for cell in notebook.cells:
        tags = list(cell.metadata.get("tags", []))
        hidden = {"hide-input", "hide-cell"} & set(tags)
        if cell.cell_type != "code" or not hidden or {"parameters", "injected-parameters"} & set(tags):
            continue
        sources.append(cell.source.strip("\n"))
        kept = [tag for tag in tags if tag not in hidden]
        cell.metadata["tags"] = [*kept, "remove-input", *(["hide-output"] if "hide-cell" in hidden else [])]
        if "hide-cell" in hidden:
            cell.metadata["mystnb"] = dict(cell.metadata.get("mystnb", {})) | {"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table"}
    if sources:
        notebook.cells.append(_fold("\n\n\n".join(sources)))


def _fold(code: str) -> Any:
    from nbformat.v4 import new_markdown_cell

    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", code))]))
    return new_markdown_cell(f"{fence}`{{dropdown}} {TITLE}\n{fence}python\n{code}\n{fence}\n{fence}`", id=ID)
