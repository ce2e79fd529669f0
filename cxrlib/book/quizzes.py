"""Questions that answer at once: every choice is a ``details`` element that opens with its reason, without a script and without a network.

The questions are data, ``book/quizzes.yaml``. A quiz whose key is the name of a page stands at the end of that page; the
directive ``{cxr-quiz} KEY`` puts one anywhere else. Printed, a page shows boxes to tick and no answer.
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

import yaml
from docutils import nodes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from cxrlib.markup import html_text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FILE = "quizzes.yaml"
LETTERS = "ABCDE"


class QuizError(ValueError):
    """The questions have a fault; the message names the file, the quiz and what to change."""


class Choice(BaseModel):
    """One answer to choose: what it says, whether it is right, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str = Field(min_length=1)
    because: str = Field(min_length=12)
    right: bool = False


class Question(BaseModel):
    """A question with three to five choices, one of them right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str = Field(min_length=10)
    choices: tuple[Choice, ...] = Field(min_length=3, max_length=len(LETTERS))

    @model_validator(mode="after")
    def _one_is_right(self) -> Self:
        right = sum(choice.right for choice in self.choices)
        if right != 1:
            raise ValueError(f"'{self.ask}' has {right} right choices; mark one with right: true")
        if len({choice.says for choice in self.choices}) < len(self.choices):
            raise ValueError(f"'{self.ask}' has a choice twice")
        return self

    def drawn(self) -> list[Choice]:
        """The choices in the order in which a page shows them: drawn from the words of the question, so always the same."""
        return random.Random(zlib.crc32(self.ask.encode())).sample(self.choices, len(self.choices))


class Quiz(BaseModel):
    """Questions under one heading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1)
    questions: tuple[Question, ...] = Field(min_length=1)


@functools.lru_cache(maxsize=4)
def _read(file: Path, _changed: int) -> dict[str, Quiz]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise QuizError(f"{file}: is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict):
        raise QuizError(f"{file}: holds no quizzes by name; see the comment at its head in the repository")
    quizzes = {}
    for name, content in found.items():
        try:
            quizzes[str(name)] = Quiz.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise QuizError(f"{file}: quiz '{name}'{f', {place}' if place else ''}: {first['msg'].removeprefix('Value error, ')}") from None
    return quizzes


def read(file: Path) -> dict[str, Quiz]:
    """The quizzes of a file, by name. QuizError if anything in it is wrong."""
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise QuizError(f"{file}: cannot be read ({error.strerror})") from None
    return _read(file, changed)


def _marked(text: str) -> str:
    """A text for HTML, inert but for words between stars, which are emphasised."""
    return re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", html_text(text))


def as_html(quiz: Quiz) -> str:
    """The questions as a list; each choice opens with its reason."""
    items = []
    for question in quiz.questions:
        choices = []
        for letter, choice in zip(LETTERS, question.drawn(), strict=False):
            verdict = '<strong class="cxr-right">Right.</strong>' if choice.right else '<strong class="cxr-wrong">No.</strong>'
            choices.append(f"<details><summary>{letter}. {_marked(choice.says)}</summary><p>{verdict} {_marked(choice.because)}</p></details>")
        items.append(f'<li><p class="cxr-ask">{_marked(question.ask)}</p>{"".join(choices)}</li>')
    return f'<ol class="cxr-quiz">{"".join(items)}</ol>'


class QuizDirective(SphinxDirective):
    """One quiz, by its name in the file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        try:
            quizzes = read(Path(self.env.srcdir) / FILE)
            quiz = quizzes[self.arguments[0]]
        except QuizError as error:
            raise self.error(str(error)) from None
        except KeyError:
            raise self.error(f"there is no quiz '{self.arguments[0]}'; there are: {', '.join(quizzes)}") from None
        self.env.note_dependency(str(Path(self.env.srcdir) / FILE))
        return [nodes.raw("", as_html(quiz), format="html")]


class QuizAtTheEnd(SphinxTransform):
    """The quiz that has the name of a page, as its last section."""

    default_priority = 5

    def apply(self, **_options) -> None:
        file = Path(self.env.srcdir) / FILE
        quiz = read(file).get(self.env.docname) if file.is_file() else None
        page = next(iter(self.document.findall(nodes.section)), None)
        if quiz is None or page is None:
            return
        self.env.note_dependency(str(file))
        section = nodes.section("", nodes.title("", quiz.title), nodes.raw("", as_html(quiz), format="html"), ids=["check-yourself"], names=["check yourself"])
        self.document.note_implicit_target(section, section)
        page += section


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.add_directive("cxr-quiz", QuizDirective)
    app.add_transform(QuizAtTheEnd)
