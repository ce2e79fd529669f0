"""Every row of the bad-input matrix: a sentence that names the file and the way out; nothing lost, nothing written."""

import html
from collections import Counter

import pytest
from bad_inputs import Bad, rows
from common import ROOT

from cxrlib.markup import text

ROWS = rows()


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.what}: {row.how}") for row in ROWS])
def test_a_bad_input_is_named(row: Bad, tmp_path):
    said = " ".join(row.said(tmp_path).split())
    lacking = [words for words in row.says if " ".join(words.split()) not in said]
    assert not lacking, f"{lacking} is not in: {said[-2000:]}"
    assert "Traceback" not in said


def test_no_row_stands_twice():
    names = Counter((row.what, row.how) for row in ROWS)
    assert not [name for name, count in names.items() if count > 1]
    assert len(ROWS) >= 150


def test_the_page_of_the_book_has_every_row():
    page = (ROOT / "book" / "what_happens_if.md").read_text(encoding="utf-8")
    listed = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ") and not line.startswith("| …if")]
    assert sorted(listed) == sorted(f"| {text(row.how)}" for row in ROWS), "run `python tools/what_happens_if.py`"


def test_the_page_of_the_book_shows_what_rows_are_about():
    """So that a message that changed, or was another fault's, is made again: some words of each row stand in its right-hand column."""
    page = (ROOT / "book" / "what_happens_if.md").read_text(encoding="utf-8")
    told: dict[str, list[str]] = {}
    for how, _, message in (line[2:].partition(" | ") for line in page.splitlines() if line.startswith("| ")):
        told.setdefault(how, []).append(" ".join(html.unescape(message).split()))
    stale = [(row.what, row.how) for row in ROWS if not any(" ".join(words.split())[:60] in message for message in told[text(row.how)] for words in row.says)]
    assert not stale, "run `python tools/what_happens_if.py`"
