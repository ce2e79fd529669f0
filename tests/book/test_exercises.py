"""Exercises are counted and have a solution; the student's edition has none, in no page, source, download or search index."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from common import ROOT, write_folder

from cxrlib.book import build, chapters, exercises, render
from cxrlib.book.notebooks import BookError

PROSE = sorted(path for path in (ROOT / "book").glob("*.md") if path.stem not in ("references", "teach"))
TASKS = sorted((ROOT / "book" / exercises.TASKS).glob("*.md"))
SECRET = "the pelican knows"


@pytest.mark.parametrize("path", PROSE + TASKS, ids=lambda path: path.stem)
def test_every_page_has_an_exercise_and_every_exercise_a_solution(path):
    text = path.read_text(encoding="utf-8")
    asked = re.findall(r"^`{3,}\{exercise\}[^\n]*\n:label: (\S+)$", text, re.MULTILINE)
    answered = re.findall(r"^`{3,}\{solution\} (\S+)$", text, re.MULTILINE)
    assert asked and asked == answered
    assert "{admonition} Exercise" not in text, "exercises are numbered by sphinx-exercise"
    student = exercises.without_solutions(text)
    assert "{solution}" not in student and student.count("{exercise}") == len(asked)
    for solution in re.findall(r"\{solution\} \S+\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE):
        for line in filter(None, map(str.strip, solution.splitlines())):
            assert line not in student


def test_every_notebook_has_an_exercise():
    assert [path.stem for path in TASKS] == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_labels_are_unique():
    labels = [label for path in PROSE + TASKS for label in re.findall(r"^:label: (ex-\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert len(labels) == len(set(labels)) >= 35


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\n\n```{solution} x\nsecret\n```\n\nb\n", "a\n\nb\n"),
        ("a\n\n````{solution} x\n```python\nsecret\n```\n````\n", "a\n\n"),
        (":::{teacher} Answer\nsecret\n:::\nb\n", "\n\nb\n"),
        ("```{exercise}\n:label: x\n\na\n```\n", "```{exercise}\n:label: x\n\na\n```\n"),
        ("```{solution} x\nsecret\n```\n\n```{solution} y\nsecret\n```\nb", "\n\nb"),
    ],
)
def test_blocks_are_taken_out_whole(text, left):
    assert exercises.without_solutions(text) == left


def test_a_solution_without_an_end_is_named():
    with pytest.raises(ValueError, match=r"line 3: the block ```\{solution\} has no end"):
        exercises.without_solutions("a\n\n```{solution} x\nsecret\n")


def made(root):
    """A book of two pages, each with an exercise and a solution, and a teacher's block."""
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    (root / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n  - file: executed/a\n")
    (root / "book" / "executed").mkdir(parents=True)
    for name in ("_static", "references.bib"):
        source = ROOT / "book" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "book" / name)
    task = "```{exercise} Birds\n:label: ex-NAME\n\nWho knows?\n```\n\n```{solution} ex-NAME\nOf course SECRET.\n```\n"
    page = "# Home\n\n" + task.replace("NAME", "home") + "\n```{teacher} A sound answer\nYes, SECRET.\n```\n\nSee {ref}`ex-home` and {ref}`ex-a`.\n"
    (root / "book" / "index.md").write_text(page.replace("SECRET", SECRET))
    cells = [nbformat.v4.new_markdown_cell("# A\n\n" + task.replace("NAME", "a").replace("SECRET", SECRET)), nbformat.v4.new_code_cell("1 + 1")]
    (root / "book" / exercises.TASKS).mkdir()
    (root / "book" / exercises.TASKS / "a.md").write_text("## Exercise\n\n" + task.replace("NAME", "a-2").replace("SECRET", SECRET))
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}), root / "book" / "executed" / "a.ipynb")
    return root


def holding(folder, words):
    return [path for path in folder.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]


def test_the_students_edition_holds_no_solution_anywhere(tmp_path, forked):
    root = made(tmp_path)
    assert render.render(exercises.student_copy(root), root / "_build" / "html-student", force=True) is True
    pages = root / "_build" / "html-student"
    assert holding(pages, SECRET) == []
    titles = [path for words in ("Solution to", "sound answer") for path in holding(pages, words) if path.parent.name != "source"]
    assert titles == [], "nor a heading of one, outside of the source of cxrlib"
    home = (pages / "index.html").read_text(encoding="utf-8")
    assert "Who knows?" in home and "Exercise 1" in home
    notebook = (pages / "executed" / "a.html").read_text(encoding="utf-8")
    assert "Exercise 2" in notebook and "Exercise 3" in notebook, "counted through the book, what lies beside a notebook too"
    assert list((pages / "_sources").rglob("*.ipynb")), "downloads are there, without solutions"


def test_a_copy_holds_the_rest_and_names_the_file_with_a_fault(tmp_path):
    root = made(tmp_path)
    (root / "results").mkdir()
    copy = exercises.student_copy(root)
    assert (copy / "results").is_symlink() and (copy / "book" / "_static" / "book.css").is_file()
    kept = json.loads((copy / "book" / "executed" / "a.ipynb").read_text(encoding="utf-8"))
    assert "Who knows?" in "".join(kept["cells"][0]["source"]) and SECRET not in json.dumps(kept)
    (root / "book" / "index.md").write_text("# Home\n\n```{solution} x\n")
    with pytest.raises(ValueError, match=r"book/index.md: line 3"):
        exercises.student_copy(root)


def test_the_students_edition_is_built_from_the_copy_beside_the_other(tmp_path, monkeypatch):
    for name in ("_toc.yml", "profiles", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_folder(tmp_path / "inside", train=2, test=2)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.md").write_text(f"# Home\n\n```{{solution}} x\n{SECRET}\n```\n")
    rendered = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "sweep", lambda *_: None)
    monkeypatch.setattr(chapters, "usable_cores", lambda: 1)
    monkeypatch.setattr(chapters, "execute", lambda *_: None)
    monkeypatch.setattr(build, "render", lambda root, folder, force: rendered.append((root, folder)))
    for student in (False, True):
        build.build("demo", data=Path("inside"), root=tmp_path, student=student)
    (plain, pages), (copy, others) = rendered
    assert plain == tmp_path and pages == tmp_path / "_build" / "demo-inside" and others == tmp_path / "_build" / "demo-inside-student"
    assert SECRET not in (copy / "book" / "index.md").read_text() and SECRET in (plain / "book" / "index.md").read_text()
    (tmp_path / "book" / "index.md").write_text("```{solution} x\n")
    with pytest.raises(BookError, match="book/index.md: line 1"):
        build.build("demo", data=Path("inside"), root=tmp_path, student=True)


def test_solutions_fold_and_figures_have_no_second_number():
    body = '<details class="solution admonition" id="s">\n<p class="admonition-title"><a href="#x">Solution to</a> Exercise 1</p>\n<section id="solution-content"><p>b</p></section></details>'
    assert exercises.repair(body) == '<details class="solution admonition" id="s"><summary>Solution to Exercise 1</summary>\n<section><p>b</p></section></details>'
    assert exercises.repair('<span class="caption-number"> </span>Caption') == "Caption"
    assert "caption-number" in exercises.repair('<span class="caption-number">Exercise 1 </span>')
