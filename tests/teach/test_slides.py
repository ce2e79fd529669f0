"""Slides, handout and quiz sheets: from the records, with notes, and nothing is fetched."""

import re

import pytest
from common import ROOT

from cxrlib.book import quizzes
from cxrlib.book.notebooks import BookError
from cxrlib.book.offline import external_requests
from cxrlib.teach import slide_figures, slides

SLIDES = (ROOT / "teaching" / "slides.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def known():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return slide_figures.numbers()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deck")
    slides.write(folder, ROOT, pdf=False)
    return folder


def test_the_numbers_are_those_of_the_records(known, monkeypatch):
    from cxrlib.study.pages import confounding, file_sizes
    from cxrlib.teach import classroom

    monkeypatch.chdir(ROOT)
    last = confounding.curve(classroom.recorded(1.0)).set_index("measure").loc["accuracy"]
    assert known["own"] == f"{100 * last['own']:.0f}" and known["lost"].startswith(f"{100 * (last['own'] - last['unconfounded']):.1f} (")
    assert f"| width and height of the file | {file_sizes.guess(file_sizes.read(ROOT / 'results/files.parquet')).percent()} %" in known["strip_rows"]
    assert known["log2"] == "0.69" and known["images_shown"] == "640,000" and known["clinic"] == "8"


def test_all_is_offline_and_every_slide_has_notes(written):
    assert external_requests(written) == []
    deck = (written / "teacher" / "slides.html").read_text(encoding="utf-8")
    shown = (written / "slides.html").read_text(encoding="utf-8")
    assert '<aside class="notes"' not in shown and "Insist on the written prediction" in deck and "Insist on the written prediction" not in shown
    count = SLIDES.count("\n---\n") + 1
    assert deck.count('<section class="slide"') == deck.count('<aside class="notes"') == count >= 10
    assert "Not for diagnosis" in deck and deck.count("<svg") >= 5
    seen = re.sub(r"<(script|style|svg).*?</\1>|\\\(.*?\\\)", "", deck, flags=re.DOTALL)  # no formulas, which have braces of their own
    assert not re.search(r"\{[a-z_0-9]+\}|FORMULA\d", seen), "every name is filled in"
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<script.*?</script>", "", deck, flags=re.DOTALL))
    assert len(ids) == len(set(ids))


def test_the_plan_of_the_notes_is_that_of_the_page():
    """The minutes in the notes run without a gap from 0 to 90, and every end of a part on the page is one of theirs."""
    spans = [tuple(map(int, pair)) for pair in re.findall(r"\nNote:\n(\d+) to (\d+)", SLIDES)]
    spans = [("0", "8")] + spans if not spans or spans[0][0] != 0 else spans
    assert [int(begin) for begin, _ in spans][1:] == [int(end) for _, end in spans][:-1] and int(spans[-1][1]) == 90
    page = (ROOT / "book" / "teach.md").read_text(encoding="utf-8")
    parts = [tuple(map(int, pair)) for pair in re.findall(r"^\| (\d+)–(\d+) \|", page.split("## 90 minutes")[1].split("## Three hours")[0], re.MULTILINE)]
    assert {end for _, end in parts} <= {int(end) for _, end in spans}
    assert [begin for begin, _ in parts][1:] == [end for _, end in parts][:-1] and parts[-1][1] == 90


def test_a_number_or_figure_that_does_not_exist_is_named(known):
    with pytest.raises(BookError, match="there is no number 'nothing'"):
        slides.deck("# A\n\n{nothing}\n\nNote:\nx\n", known)
    with pytest.raises(BookError, match="there is no figure 'nothing'"):
        slides.as_html("![a](figure:nothing)")
    with pytest.raises(BookError, match="slide 2 has no speaker's notes"):
        slides.deck("# A\n\nNote:\nx\n\n---\n\n# B\n", known)


def test_formulas_and_html_are_left_alone(known):
    assert slides.as_html(r"a $\frac{a}{b} < 1$ b") == "<p>a \\(\\frac{a}{b} &lt; 1\\) b</p>\n"
    assert "<script>" not in slides.as_html("<script>alert(1)</script>")
    assert slides.filled(r"$e^{-z}$ {log2}", known) == r"$e^{-z}$ 0.69"


def test_the_sheet_has_boxes_and_no_answers_and_the_key_has_both(written):
    sheet, key = ((written / name).read_text(encoding="utf-8") for name in ("quiz.html", "teacher/quiz_key.html"))
    questions = [q for name in ("entry", "exit") for q in quizzes.read(ROOT / "book" / quizzes.FILE)[name].questions]
    assert sheet.count("☐") == sum(len(question.choices) for question in questions) and "☒" not in sheet
    assert key.count("☒") == len(questions)
    for question in questions:
        for choice in question.choices:
            assert choice.because not in sheet


def test_a_figure_is_the_same_twice(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert slide_figures.figure("seeds") == slide_figures.figure("seeds")
