"""What an executed notebook glued, read back from its outputs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any


def glued_values(notebook: Path) -> dict[str, str | int | float]:
    """What an executed notebook glued, by name."""
    found: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is not None:
                text = "".join(next(value for kind, value in output["data"].items() if kind.endswith("text/plain")))
                found[name] = _literal(text)
    return found


def _literal(text: str) -> Any:
    """The value of ``'text'``, ``3``, ``0.5``, ``nan`` or ``np.float64(0.5)``."""
    inner = re.sub(r"^np\.\w+\((.*)\)$", r"\1", text)
    return float(inner) if re.fullmatch(r"-?(nan|inf)", inner) else ast.literal_eval(inner)
