"""``codecheck.yml``, the manifest of CODECHECK (Nüst and Eglen 2021, F1000Research 10, 253), written from a verification.

After version 1.0 of its specification, https://codecheck.org.uk/spec/config/1.0/. The parts that belong to a person who
checks, ``codechecker``, ``report`` and ``certificate``, are left for that person: what a program verified of itself is no
CODECHECK. What was verified stands below ``cxrlib_verify``, without times, so that the same outcome is the same file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cxrlib.evidence.check import NOT_CHECKED, VERIFIED, Check, counts
from cxrlib.evidence.glued import STATED
from cxrlib.files import atomic_write

FILE = "codecheck.yml"
VERSION = "https://codecheck.org.uk/spec/config/1.0/"


def manifest(checks: Iterable[Check], root: Path) -> dict[str, Any]:
    """The content of the file. The paper is read from ``CITATION.cff``.

    Raises:
        ValueError: if ``CITATION.cff`` cannot be read.
    """
    checks = list(checks)
    try:
        citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
        paper = {"title": citation["title"], "authors": [{"name": author["name"]} for author in citation["authors"]]}
        original = citation["references"][0]
        reference = f"https://doi.org/{original['doi']} ({original['title']}), which this work reproduces"
    except (OSError, yaml.YAMLError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{root / 'CITATION.cff'} cannot be read ({error}); restore it with git checkout") from None
    said = [f"{subject}: {words[VERIFIED]} of {sum(words.values()) - words[NOT_CHECKED]} verified" for subject, words in counts(checks).items()]
    comment = "every number and verdict that the book glues from committed records, computed again from these records by 'make verify'"
    return {
        "version": VERSION,
        "manifest": [{"file": STATED.as_posix(), "comment": comment}],
        "paper": paper | {"reference": reference},
        "summary": f"Written by 'make verify', not by a codechecker. {'; '.join(said)}.\n",
        "cxrlib_verify": {
            "counts": counts(checks),
            "failed": [f"{check.claim}: {check.note or check.number}" for check in checks if check.verified is False],
            "retrained": [f"{check.record}: {check.claim}" for check in checks if check.subject == "retrained"],
        },
    }


def write(checks: Iterable[Check], root: Path = Path(".")) -> Path:
    """Write ``codecheck.yml`` into ``root``; OSError if it cannot be written."""
    path = root / FILE
    body = yaml.safe_dump(manifest(checks, root), sort_keys=False, allow_unicode=True, width=160, explicit_start=True)
    atomic_write(path, f"%YAML 1.1\n{body}")
    return path
