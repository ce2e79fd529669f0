"""The code of a page out of the reader's way: no bar above each output, but two at the end, for the parameters and for all code."""

from __future__ import annotations

import re
from typing import Any

TITLES = {"parameters": "The parameters of this copy", "all-code": "The code of this page"}
"""What the folds are called, by the id of their cell."""


def fold_code(notebook: Any) -> None:
    """Fold the code of an executed notebook, in place.

    Cells tagged ``hide-input`` show their output alone, those tagged ``hide-cell`` a bar that opens their output; the code of
    both stands in one fold at the end, and the parameters, as declared and as given, in another. Code that no tag hides stays.
    """
    sources: dict[str, list[str]] = {name: [] for name in TITLES}
    for cell in notebook.cells:
        tags = list(cell.metadata.get("tags", []))
        hidden = {"hide-input", "hide-cell"} & set(tags)
        if cell.cell_type != "code" or not hidden:
            continue
        if {"parameters", "injected-parameters"} & set(tags):
            given = "# Given to this copy\n" if "injected-parameters" in tags else ""
            sources["parameters"].append(given + cell.source.strip("\n"))
            cell.metadata["tags"] = ["remove-cell" if tag == "hide-input" else tag for tag in tags]
            continue
        sources["all-code"].append(cell.source.strip("\n"))
        kept = [tag for tag in tags if tag not in hidden]
        cell.metadata["tags"] = [*kept, "remove-input", *(["hide-output"] if "hide-cell" in hidden else [])]
        if "hide-cell" in hidden:
            cell.metadata["mystnb"] = dict(cell.metadata.get("mystnb", {})) | {"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table"}
    notebook.cells += [_fold(name, "\n\n\n".join(found)) for name, found in sources.items() if found]


def _fold(name: str, code: str) -> Any:
    from nbformat.v4 import new_markdown_cell

    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", code))]))
    return new_markdown_cell(f"{fence}`{{dropdown}} {TITLES[name]}\n{fence}python\n{code}\n{fence}\n{fence}`", id=name)
