"""Questions are sound, and a page answers them at once without a script."""

import re
from collections import Counter

import pytest
import yaml
from common import ROOT

from cxrlib.book import quizzes

FILE = ROOT / "book" / quizzes.FILE


def test_every_quiz_is_sound_and_every_chapter_has_one():
    found = quizzes.read(FILE)
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    chapters = {page for page in pages if page.startswith("executed/")} | {"primer", "method", "certainty", "explorer"}
    assert chapters <= set(found), f"without a quiz: {sorted(chapters - set(found))}"
    assert set(found) - {"entry", "exit"} <= pages, "a quiz that has the name of no page is never shown"
    for quiz in found.values():
        for question in quiz.questions:
            assert all(choice.because.endswith((".", "!", "?")) for choice in question.choices)
            assert len({choice.because for choice in question.choices}) == len(question.choices), question.ask


def test_the_right_choice_stands_in_no_favourite_place():
    places = Counter()
    for quiz in quizzes.read(FILE).values():
        for question in quiz.questions:
            drawn = question.drawn()
            assert drawn == question.drawn() and set(drawn) == set(question.choices)
            places[[choice.right for choice in drawn].index(True)] += 1
    assert len(places) == 3 and max(places.values()) < 0.5 * sum(places.values())


def test_a_page_has_a_reason_for_each_choice_and_no_script():
    quiz = quizzes.read(FILE)["entry"]
    shown = quizzes.as_html(quiz)
    assert shown.count("<details>") == shown.count("</summary><p><strong") == sum(len(question.choices) for question in quiz.questions)
    assert shown.count("Right.</strong>") == len(quiz.questions)
    assert "<script" not in shown and "http" not in shown
    assert len(re.findall(r"<summary>[A-E]\. ", shown)) == shown.count("<details>"), "the letter does not tell which is right"


def test_words_of_a_question_are_text():
    choices = [{"says": f"<b>{n}</b>", "because": "Because <i>it</i> is so.", "right": n == 0} for n in range(3)]
    quiz = quizzes.Quiz.model_validate({"title": "t", "questions": [{"ask": "Is <script> a word?", "choices": choices}]})
    shown = quizzes.as_html(quiz)
    assert "<script>" not in shown and "<b>" not in shown and "<i>" not in shown
    stars = quizzes.Quiz.model_validate({"title": "t", "questions": [{"ask": "What does *mixed <b>* mean, and 2 * 3 * 4?", "choices": choices}]})
    assert "What does <em>mixed &lt;b&gt;</em> mean, and 2 * 3 * 4?" in quizzes.as_html(stars)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "is no YAML"),
        ("- a", "holds no quizzes by name"),
        ("a: {title: t, questions: []}", r"quiz 'a', questions"),
        ("a: {title: t, questions: [{ask: 'What is it then?', choices: [{says: a, because: long enough words}, {says: b, because: long enough words}, {says: c, because: long enough words}]}]}", "has 0 right choices; mark one"),
        ("a: {title: t, questions: [{ask: 'What is it then?', choices: [{says: a, because: long enough words, right: true}, {says: a, because: long enough words}, {says: c, because: long enough words}]}]}", "has a choice twice"),
        ("a: {title: t, questions: [{ask: 'What is it then?', choices: [{says: a, because: long enough words, right: true}, {says: b}, {says: c, because: long enough words}]}]}", "choices.1.because"),
    ],
)
def test_a_fault_is_named(tmp_path, content, says):
    file = tmp_path / "quizzes.yaml"
    file.write_text(content)
    with pytest.raises(quizzes.QuizError, match=says):
        quizzes.read(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(quizzes.QuizError, match="cannot be read"):
        quizzes.read(tmp_path / "quizzes.yaml")
