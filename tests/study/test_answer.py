"""The picture of the home page says what the table of verdicts says, from the committed records of real X-rays."""

import io
import re
from pathlib import Path

import matplotlib
import pytest
from common import ROOT

from cxrlib.metrics.estimate import Estimate
from cxrlib.study import committed, comparisons, verdicts
from cxrlib.study.figures import answer, style
from cxrlib.study.pages import heat


@pytest.fixture(scope="module")
def rows():
    records, _ = committed.read(ROOT / "results" / "quarter.parquet", "quarter").of_paper()
    design = committed.Design.of_profile("quarter")
    found = comparisons.compared(records, design, 0.5, heat.differences(heat.read(Path(ROOT / "results" / "grad_cam.parquet"))))
    return verdicts.verdicts(found, comparisons.family_size(design))


def test_the_words_of_the_picture_are_those_of_the_table(rows):
    with matplotlib.rc_context():
        style.use_style()
        stream = io.StringIO()
        answer.answer(rows, {"file size only": Estimate(0.975, 0.95, 0.99), "best network": Estimate(0.9, 0.8, 0.95)}, "t").savefig(stream, format="svg")
    drawn = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", stream.getvalue()) if text in verdicts.MEANING]
    table: dict[tuple[int, str], list[str]] = {}
    for line in verdicts.table(rows):
        if not line["ours"] and line["word"] not in (verdicts.CANNOT, verdicts.NOT_RECORDED):
            table.setdefault((line["claim"], line["part"]), []).append(line["word"])
    assert len(table) > 10
    assert {claim for claim, _ in table} == set(range(1, 10))
    assert drawn == [verdicts.overall(words) for words in table.values()], "word by word, in the table's order"


def test_the_paper_stands_where_it_prints_a_value(rows):
    for part, answers in answer.shown_parts(rows):
        theirs = answer.papers_numbers(part)
        assert not theirs or len(theirs) == len(answers), (part.claim, part.says)
    printed = {part.says: answer.papers_numbers(part) for part, _ in answer.shown_parts(rows)}
    assert printed["pretraining raises sensitivity"] == [pytest.approx(0.930 - 0.855)]
    assert printed["accuracy rises from one upstream set to the next larger one"] == [pytest.approx(0.02), pytest.approx(0.017)]
    assert printed["mixup helps"] == []
    assert {part.claim for part, _ in answer.shown_parts(rows) if answer.papers_numbers(part)} == {1, 5, 6}


def test_no_part_of_ours_is_drawn(rows):
    assert not any(part.ours for part, _ in answer.shown_parts(rows))
    assert any(one.part.ours for row in rows for one in row.parts)


def test_the_home_page_speaks_from_the_strip_and_the_verdicts(rows):
    from cxrlib.study.pages import home

    strip = home.scores(committed.read(ROOT / "results" / "quarter.parquet", "quarter"), "quarter", ROOT / "results" / "files.parquet")
    assert list(strip) == [home.FILE_SIZE, home.TEXTURE, home.NETWORK, home.BEST]
    assert strip[home.BEST] >= strip[home.NETWORK], "the setting of Table 1 is one of all settings"
    said = home.sentence(strip)
    assert all(f"{value.percent()} %" in said for value in strip.values())
    assert said.endswith("So no score here shows that a disease was found.")
    other = home.sentence({home.FILE_SIZE: Estimate(0.6), home.NETWORK: Estimate(0.9)})
    assert other.endswith("may still follow the source of an image."), "the sentence follows the numbers"
    assert home.sentence({}) == "The answer is not recorded yet."
    lines = home.plain_lines(rows)
    table = {(row["claim"], row["compared"]): row["word"] for row in verdicts.table(rows)}
    assert [line.rsplit("; ", 1)[1].rstrip(".") for line in lines] == [
        table[1, "few photographs against random weights"], table[1, "many photographs against few photographs"], table[4, "mixup against none"]
    ]
    assert home.plain_lines([])[0] == "Pretraining: not recorded yet."
