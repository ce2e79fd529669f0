"""Labs of the class: solutions pass every check, blanks pass none, and a student's edition holds nothing that was hidden."""

import copy
import re

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest
from common import ROOT

from cxrlib import phantom
from cxrlib.teach import classroom, editions

LABS = editions.sources()
QUICK = {"schedule": [1, 2, 3, 4], "steps": 8}


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    for level in classroom.LEVELS:
        few = {"train_positive": 24, "train_negative": 24, "test_per_class": 8, "size": 64}
        phantom.generate(folder / f"phantoms-{level:g}", source_confounding=level, workers=1, progress=False, **few)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_cells(ready, places, monkeypatch):
    """Run the code cells of a lab one after the other, as a kernel would; gives the error of each cell by its id."""
    matplotlib.use("agg")
    monkeypatch.chdir(ROOT / editions.LABS)
    monkeypatch.setattr(classroom, "STORE", places[0])
    monkeypatch.setattr(classroom, "CACHE", places[1])

    def run(notebook) -> dict[str, Exception | None]:
        space, errors = {"__name__": "lab"}, {}
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            name = editions.about(cell).get("grade_id", "parameters")
            try:
                exec(compile(cell.source, name, "exec"), space)
                errors[name] = None
            except Exception as error:
                errors[name] = error
            if name == "parameters":
                space |= {key: value for key, value in (QUICK | {"ready": str(ready)}).items() if key in space}
            plt.close("all")
        return errors

    return run


def test_there_are_five_labs_and_each_is_sound():
    assert [path.name[0] for path in LABS] == list("12345")
    for path in LABS:
        notebook = editions.read(path)
        names = [editions.about(cell)["grade_id"] for cell in notebook.cells if editions.about(cell)]
        assert len(set(names)) == len(names), path
        assert "Not for diagnosis" in notebook.cells[0].source and "phantom" in notebook.cells[0].source
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells), "sources hold no outputs"
        checks = [cell for cell in notebook.cells if editions.is_check(cell)]
        assert len(checks) >= 5
        for cell in checks:
            visible, _, hidden = cell.source.partition("### BEGIN HIDDEN TESTS")
            assert "check(" in visible and "check(" in hidden or cell.source.startswith("check(isinstance(my_seed"), editions.about(cell)["grade_id"]


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_solutions_pass_every_check(path, run_cells):
    errors = run_cells(editions.teacher_edition(editions.read(path)))
    assert {name: error for name, error in errors.items() if error is not None} == {}


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_blanks_pass_no_check(path, run_cells):
    student = editions.student_edition(editions.read(path))
    errors = run_cells(student)
    for cell in student.cells:
        name = editions.about(cell).get("grade_id")
        if editions.is_check(cell):
            assert errors[name] is not None, f"{name} is green without an answer"
    assert errors["parameters"] is None and errors[f"{path.name[0]}-setup"] is None, "what is given runs"


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_nothing_hidden_is_left_in_a_students_edition(path):
    source = editions.read(path)
    student = editions.student_edition(source)
    text = "\n".join(cell.source for cell in student.cells)
    assert not editions.SECRETS.search(text)
    for cell in source.cells:
        for secret in re.findall(r"BEGIN (?:SOLUTION|HIDDEN TESTS)[^\n]*\n(.*?)\n[^\n]*END (?:SOLUTION|HIDDEN TESTS)", cell.source, re.DOTALL):
            for line in filter(lambda line: len(line.strip()) > 25, secret.splitlines()):
                assert line.strip() not in text, line
    assert all(not cell.get("outputs") for cell in student.cells)
    locked = [cell for cell in student.cells if editions.is_check(cell)]
    assert all(cell.metadata["editable"] is False and len(cell.metadata["nbgrader"]["checksum"]) == 32 for cell in locked)


def test_marks_count_hidden_checks_and_do_not_trust_what_was_handed_in(tmp_path, monkeypatch):
    (tmp_path / classroom.RECORDS.parent).mkdir(parents=True)
    source = _small(
        [("markdown", "text", {}), ("code", "### BEGIN SOLUTION\nanswer = 4\n### END SOLUTION", {"solution": True, "grade_id": "a"}),
         ("code", "assert answer > 3, 'too small'\n### BEGIN HIDDEN TESTS\nassert answer == 4, 'four'\n### END HIDDEN TESTS", {"grade": True, "points": 2, "grade_id": "c", "locked": True}),
         ("markdown", "=== BEGIN SOLUTION ===\nwords\n=== END SOLUTION ===", {"grade": True, "solution": True, "points": 3, "grade_id": "w"})]
    )  # fmt: skip
    student = editions.student_edition(source)
    assert "four" not in "".join(cell.source for cell in student.cells)
    student.cells[1].source = "answer = 5"
    student.cells[2].source = "pass"  # a check that was taken out
    assert editions.mark(source, student, tmp_path) == [editions.Mark("c", 0.0, 2.0, "four"), editions.Mark("w", None, 3.0, "to be read")]
    student.cells[1].source = "answer = 2 + 2"
    assert editions.mark(source, student, tmp_path)[0] == editions.Mark("c", 2.0, 2.0)
    student.cells[1].source = "answer = given"
    source.cells.insert(0, nbformat.v4.new_code_cell("given = 3", metadata={"tags": ["parameters"]}))
    assert [editions.mark(source, student, tmp_path, parameters)[0].points for parameters in (None, {"given": 4})] == [0.0, 2.0]
    del student.cells[1]
    with pytest.raises(editions.EditionError, match="the answer 'a' is missing"):
        editions.handed_in(source, student)


def test_a_solution_without_an_end_is_refused():
    source = _small([("code", "### BEGIN SOLUTION\nx = 1", {"solution": True, "grade_id": "a"})])
    with pytest.raises(editions.EditionError, match=r"made: cell 1 \(a\) has BEGIN SOLUTION; every BEGIN needs its END"):
        editions.student_edition(source, "made")
    source = _small([("code", "assert 1\n### END HIDDEN TESTS", {"grade": True, "points": 1, "grade_id": "a", "locked": True})])
    kept = copy.deepcopy(source)
    with pytest.raises(editions.EditionError, match="END HIDDEN TESTS"):
        editions.student_edition(source, "made")
    assert source == kept, "the source is not changed"


def _small(cells):
    made = []
    for kind, text, about in cells:
        cell = (nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell)(text)
        if about:
            cell.metadata["nbgrader"] = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False} | about
        made.append(cell)
    notebook = nbformat.v4.new_notebook(cells=made)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def test_the_plan_names_the_points_of_each_lab():
    page = (ROOT / "book" / "teach.md").read_text()
    for path in LABS:
        cells = [cell for cell in editions.read(path).cells if editions.about(cell).get("grade")]
        points, words = (sum(editions.about(cell)["points"] for cell in cells if editions.is_check(cell) is kind) for kind in (True, False))
        row = next(line for line in page.splitlines() if re.match(rf"\| {path.name[0]} [A-Z]", line))
        assert f"| {points:g}, and {words:g} for words |" in row


def test_the_class_folder_is_found_from_below_and_missed_elsewhere(tmp_path):
    assert classroom.home(ROOT / editions.LABS) == ROOT
    with pytest.raises(FileNotFoundError, match=r"results/confounding.parquet; open the lab inside the unpacked class folder"):
        classroom.home(tmp_path)


def test_records_of_the_class_are_what_the_labs_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert [len(classroom.recorded(level)) for level in (0.0, 0.5, 1.0)] == [3, 3, 3]
    frozen, tuned = classroom.frozen_on_real("random")
    assert [r.config["seed"] for r in frozen] == [r.config["seed"] for r in tuned] == [0, 1, 2, 3, 4]
    assert all(a.config == b.config | {"freeze": True} for a, b in zip(frozen, tuned, strict=True))
    for real in (False, True):
        runs = classroom.of_transfer("photo-m", 32, real)
        assert len(runs) == 6 and {r.data["is_phantom"] for r in runs} == {not real}
        assert classroom.matrix(runs, "right").shape == (6, 200)
    assert len(classroom.of_table_1("photo-m")) == 6


def test_near_is_false_for_what_is_no_number():
    assert classroom.near(0.1 + 0.2, 0.3)
    assert not any(classroom.near(value, 0.3) for value in (None, ..., "0.3 m", [0.3, 1]))
    with pytest.raises(AssertionError, match="hint"):
        classroom.check(False, "hint")


@pytest.mark.slow
@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_as_it_is_given_in_a_kernel_of_its_own(path):
    """Full length, on the phantoms of the class: every check gives its points."""
    source = editions.read(path)
    marks = editions.mark(source, editions.teacher_edition(source), ROOT / editions.LABS)
    assert [mark for mark in marks if mark.points is not None and mark.points < mark.of] == []


@pytest.mark.slow
def test_nbgrader_itself_makes_the_same_blanks(tmp_path):
    """A course that has nbgrader can take the sources as they are."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    place = tmp_path / "source" / "lab"
    place.mkdir(parents=True)
    (place / LABS[0].name).write_bytes(LABS[0].read_bytes())
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "lab", "--create"]
    found = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # it calls alembic by its name
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=found)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs, ours = editions.read(tmp_path / "release" / "lab" / LABS[0].name), editions.student_edition(editions.read(LABS[0]))
    assert [cell.source for cell in theirs.cells] == [cell.source for cell in ours.cells]
    assert [editions.about(cell) for cell in theirs.cells] == [editions.about(cell) for cell in ours.cells]
