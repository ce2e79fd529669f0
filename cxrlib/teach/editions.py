"""Two editions of each lab from one source, made by nbgrader, and marks for what a student hands in.

A source in ``teaching/labs/`` is a notebook with nbgrader's metadata: solutions stand between ``BEGIN SOLUTION`` and ``END
SOLUTION``, hidden checks between ``BEGIN HIDDEN TESTS`` and ``END HIDDEN TESTS``. The student's edition has blanks and the
visible checks; the teacher's has everything. Both are what ``nbgrader generate_assignment`` would make, so a course that has
nbgrader can take the sources as they are; :func:`mark` needs no course, no database and no network.

    python -m cxrlib.teach.editions make FOLDER              both editions of all labs
    python -m cxrlib.teach.editions mark SUBMITTED.ipynb …   points of each task, with the hidden checks
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrlib.files import atomic_write

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
LABS = Path("teaching/labs")
SECRETS = re.compile(r"(?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS)")
"""What no student's edition may hold."""
CELL_SECONDS = 300
"""Longest that one cell may take when a lab is marked, on a machine five times slower than two plain cores."""


class EditionError(ValueError):
    """A lab cannot be turned into an edition or be marked; the message says which cell and why."""


@dataclass(frozen=True)
class Mark:
    """What a task was given: ``points`` of ``of``; None where a teacher has to read the answer. ``said`` is the check's hint."""

    task: str
    points: float | None
    of: float
    said: str = ""


def sources(labs: Path | None = None) -> list[Path]:
    """The sources of the labs, in order."""
    return sorted((labs or ROOT / LABS).glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook. EditionError if the file is none."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError) as error:
        raise EditionError(f"{path}: is no notebook that can be read ({type(error).__name__}); take the file as it was handed out") from None


def about(cell: Any) -> dict[str, Any]:
    """nbgrader's metadata of a cell; empty for a cell that is no part of the exercise."""
    return cell.metadata.get("nbgrader", {})


def is_check(cell: Any) -> bool:
    """Whether a cell is marked by running it."""
    return bool(about(cell).get("grade")) and not about(cell).get("solution")


def student_edition(source: NotebookNode, name: str = "lab") -> NotebookNode:
    """The lab with blanks, locked text and visible checks only, without outputs.

    Args:
        source: a notebook with nbgrader's metadata; not changed.
        name: what messages call it.

    Raises:
        EditionError: if nbgrader is not installed, if a mark such as END SOLUTION is missing, or if something that a student
            must not see would be left over.
    """
    for number, cell in enumerate(source.cells, 1):
        marks = SECRETS.findall(cell.source)
        if marks != [mark for what in marks[::2] for mark in (what, what.replace("BEGIN", "END"))] or not all(mark.startswith("BEGIN") for mark in marks[::2]):
            raise EditionError(f"{name}: cell {number} ({about(cell).get('grade_id', 'no id')}) has {', '.join(marks)}; every BEGIN needs its END below it")
    made = _processed(source, ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ClearHiddenTests", "ComputeChecksums"), name)
    for number, cell in enumerate(made.cells, 1):
        if SECRETS.search(cell.source):
            raise EditionError(f"{name}: cell {number} ({about(cell).get('grade_id', 'no id')}) would show a solution or a hidden check; mend its BEGIN and END")
    return made


def teacher_edition(source: NotebookNode, name: str = "lab") -> NotebookNode:
    """The lab with solutions and hidden checks, locked like the student's, without outputs."""
    return _processed(source, ("LockCells", "ClearOutput", "CheckCellMetadata", "ComputeChecksums"), name)


def _processed(source: NotebookNode, steps: tuple[str, ...], name: str) -> NotebookNode:
    try:
        from nbgrader import preprocessors
    except ImportError:
        raise EditionError("nbgrader is not installed; run `make environment`, or pip install 'cxrlib[teach]'") from None
    notebook, resources = copy.deepcopy(source), {}
    quiet = logging.getLogger(f"{__name__}.nbgrader")
    quiet.setLevel(logging.CRITICAL)  # what goes wrong is raised, with the name of the lab
    for step in steps:
        try:
            notebook, resources = getattr(preprocessors, step)(log=quiet).preprocess(notebook, resources)
        except Exception as error:  # nbgrader raises whatever it has at hand
            raise EditionError(f"{name}: {step} of nbgrader says: {error}") from None
    return notebook


def write(out: Path, labs: Path | None = None) -> list[Path]:
    """Write ``student/`` and ``teacher/`` with all labs below a folder; returns the files.

    Raises:
        EditionError: see :func:`student_edition`; nothing is written then.
    """
    import nbformat

    made = []
    for path in sources(labs):
        source = read(path)
        made += [(out / "student" / path.name, student_edition(source, path.name)), (out / "teacher" / path.name, teacher_edition(source, path.name))]
    for path, notebook in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, nbformat.writes(notebook))
    return [path for path, _ in made]


def handed_in(source: NotebookNode, submitted: NotebookNode) -> NotebookNode:
    """The lab with a student's answers in it: whatever a student may change is theirs, all else is the source's.

    Raises:
        EditionError: if an answer is missing, naming it.
    """
    answers = {about(cell)["grade_id"]: cell.source for cell in submitted.cells if about(cell).get("solution")}
    lab = copy.deepcopy(source)
    for cell in lab.cells:
        if about(cell).get("solution"):
            name = about(cell)["grade_id"]
            if name not in answers:
                raise EditionError(f"the answer '{name}' is missing; copy its cell back from the lab as it was handed out")
            cell.source = answers[name]
    return lab


def mark(source: NotebookNode, submitted: NotebookNode, folder: Path, parameters: dict[str, Any] | None = None) -> list[Mark]:
    """Run a student's answers against visible and hidden checks.

    What a student wrote runs on this machine with the rights of whoever marks, as with nbgrader: look at it first, or mark
    in a container.

    Args:
        source: of the lab.
        submitted: the student's copy.
        folder: where the lab runs; at or below the class folder.
        parameters: plain values in place of those of the cell with the tag ``parameters``, by name.

    Returns:
        A mark for each check, and for each answer in words one without points.
    """
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell

    lab = handed_in(source, submitted)
    if parameters:
        place = next(number for number, cell in enumerate(lab.cells) if "parameters" in cell.metadata.get("tags", []))
        lab.cells.insert(place + 1, new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items())))
    NotebookClient(lab, timeout=CELL_SECONDS, allow_errors=True, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    marks = []
    for cell in lab.cells:
        if not about(cell).get("grade"):
            continue
        of = float(about(cell)["points"])
        if not is_check(cell):
            marks.append(Mark(about(cell)["grade_id"], None, of, "to be read"))
            continue
        errors = [output for output in cell.outputs if output.output_type == "error"]
        marks.append(Mark(about(cell)["grade_id"], 0.0 if errors else of, of, errors[0].evalue if errors else ""))
    return marks


def _print_marks(path: Path, marks: list[Mark]) -> None:
    given, of = sum(mark.points or 0 for mark in marks), sum(mark.of for mark in marks if mark.points is not None)
    print(f"{path}: {given:g} of {of:g} points; {sum(mark.of for mark in marks if mark.points is None):g} more for answers in words")
    for each in marks:
        print(f"  {each.task:<24} {'read it' if each.points is None else f'{each.points:g}':>7} of {each.of:g}  {each.said if each.points is not None else ''}".rstrip())


def main(arguments: list[str]) -> int:
    """``python -m cxrlib.teach.editions (make FOLDER | mark SUBMITTED.ipynb …)``."""
    try:
        match arguments:
            case ["make", folder]:
                made = write(Path(folder))
                print(f"{len(made)} notebooks in {Path(folder) / 'student'} and {Path(folder) / 'teacher'}")
            case ["mark", *files] if files:
                known = {path.name: path for path in sources()}
                for file in map(Path, files):
                    if file.name not in known:
                        raise EditionError(f"{file}: there is no lab of this name; there are: {', '.join(known)}")
                    _print_marks(file, mark(read(known[file.name]), read(file), ROOT))
            case _:
                raise EditionError(f"say what to do: {main.__doc__}")
    except EditionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
