"""One claim that was checked: what is said, the number, the records behind it, and whether it came out the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from cxrlib.words import shortened

SOME = 2  # keys that are shown of many
VERIFIED, FAILED, NOT_CHECKED = "verified", "FAILED", "not checked"


@dataclass(frozen=True)
class Check:
    """A row of the table of ``cxr verify``.

    Attributes:
        subject: group of the row: 'records', 'weights', 'glued', 'verdict', 'book', 'retrained'.
        claim: what is said, and where.
        number: the number, text or digest that was compared, as stated.
        record: the files and records behind it.
        verified: None if it could not be checked here.
        note: what differs, or why it was not checked; how close it came.
        keys: of the records behind it, where they are some of a table.
    """

    subject: str
    claim: str
    number: str
    record: str
    verified: bool | None
    note: str = ""
    keys: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        return NOT_CHECKED if self.verified is None else VERIFIED if self.verified else FAILED


def table(checks: Iterable[Check]) -> str:
    """The checks as lines of text: word, claim, number, record with some of its keys, and the note below what failed."""
    lines = []
    for check in checks:
        more = f" and {len(check.keys) - SOME} more" if len(check.keys) > SOME else ""
        keys = f": {', '.join(check.keys[:SOME])}{more}" if check.keys else ""
        lines.append(f"{check.word:<11}  {check.claim}  |  {shortened(check.number, 90)}  |  {check.record}{keys}")
        if check.note and check.verified is not True:
            lines.append(f"{'':<11}  {check.note}")
    return "\n".join(lines)


def as_json(checks: Iterable[Check]) -> str:
    """The checks with everything that they hold, for programs."""
    return json.dumps([asdict(check) | {"word": check.word} for check in checks], indent=1, ensure_ascii=False) + "\n"


def counts(checks: Iterable[Check]) -> dict[str, dict[str, int]]:
    """How many checks of each subject have which word."""
    found: dict[str, dict[str, int]] = {}
    for check in checks:
        words = found.setdefault(check.subject, {VERIFIED: 0, FAILED: 0, NOT_CHECKED: 0})
        words[check.word] += 1
    return found
