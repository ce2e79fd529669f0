"""Executed notebooks that are kept by what they were made of, so that going back to earlier data or parameters executes nothing."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from cxrlib.files import atomic_write

MOST = 60
"""Executions that are kept; the oldest go first."""


def place(key: str, name: str, root: Path) -> Path:
    """Where the execution of a notebook with this stamp is kept, whether there is one or not."""
    return root / ".cache" / "book" / "executed" / key / name


def read(path: Path) -> str | None:
    """An execution that was kept; None if there is none or it is not what was kept."""
    try:
        content = path.read_bytes()
        stated = path.with_suffix(".sha256").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == stated else None


def write(path: Path, content: str) -> None:
    """Keep an execution and its digest, and forget the oldest ones.

    Raises:
        OSError: if it cannot be written.
    """
    atomic_write(path, content)
    atomic_write(path.with_suffix(".sha256"), hashlib.sha256(content.encode()).hexdigest())
    by_age = sorted((p for p in path.parent.parent.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for old in by_age[:-MOST]:
        shutil.rmtree(old, ignore_errors=True)
