"""COVIDx label files: rows of ``patientid filename class source``, read as they are, with every problem listed.

The public files are not quite what their description says. In COVIDx V8B every patient id of one source holds a space
(``COVID 12``), so 943 rows have five words; counting words, or taking the first one as the patient, merges them into a
single patient. Rows are therefore read from the right, where class and source stand. Quotes round fields and characters
that nobody sees (byte-order marks, zero-width spaces) are taken away first: with them one patient would count as two.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from cxrlib.words import QUOTES, cleaned, shortened

LABELS = ("negative", "positive")
LISTED_PROBLEMS = 50
MAXIMUM_BYTES = 1 << 28
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIELD = re.compile(r"""["“”„«»][^"“”„«»]*["“”«»](?=\s|$)|'[^']*'(?=\s|$)|[‘‚][^‘‚’]*[‘’](?=\s|$)|\S+""")
_IN_QUOTES = re.compile(r"""(["“”„«»]+)([^"“”„«»]*)(["“”«»]+)|('+)([^']*)('+)|([‘‚]+)([^‘‚’]*)([‘’]+)""")
_NUMBERED = re.compile(r"[#(\[]?(\d{1,12})(?:[.:,;|)\]]*\s+|[,;|)\]]+)(.+)")
_LINE_ENDS = re.compile("[\n\x85\u2028\u2029]")
_FILE = re.compile(r".+\.[A-Za-z]\w{1,4}")
_SHORTENED = re.compile(r"\d([.,]\d+)?E\+\d+")
NOBODY = frozenset(("nan", "none", "null", "nil", "na", "n/a", "#n/a", "n.a.", "<na>", "nat", "unknown", "missing", "-", "--", "?"))
"""What stands in a table where there is no value, in small letters; as a patient id it would make one patient of many."""
_CLASSES = "'cxr data adopt' makes two classes of three"


class Problem(NamedTuple):
    """Something wrong with one row (or, with line 0, with a whole file)."""

    file: str
    line: int
    kind: str
    message: str  # what is wrong and the way out

    @property
    def place(self) -> str:
        """File and line, as editors take them."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.message}"


class DataError(ValueError):
    """The data set cannot be used as asked. ``problems`` has all reasons, the message the first 50 and their number."""

    def __init__(self, headline: str, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        super().__init__("\n".join([headline, *list_problems(self.problems)]))


class LabelError(DataError):
    """A label file has rows that cannot be read."""


class Row(NamedTuple):
    """One row of a label file; ``words`` is the patient id and the file name together, before they were told apart."""

    line: int
    patient_id: str
    file: str
    label: str
    source: str
    words: str


def list_problems(problems: list[Problem]) -> list[str]:
    """One line per problem, the first 50 of them; beyond that, a count of each kind."""
    lines = [str(problem) for problem in problems[:LISTED_PROBLEMS]]
    rest = Counter(problem.kind for problem in problems[LISTED_PROBLEMS:])
    if rest:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in rest.most_common())
        lines.append(f"... and {rest.total()} more ({kinds})")
    return lines


def unsafe_path(name: str) -> str | None:
    """Why ``name`` is refused as a file name below the image folder, or None if it is not."""
    if _CONTROL.search(name):
        return f"file name {shortened(name)!r} holds a control character; rename the file"
    if "\\" in name:
        return f"file name {shortened(name)!r} holds a backslash; write folders with '/'"
    if name.startswith(("/", "~")) or re.match(r"[A-Za-z]:", name):
        return f"file name {shortened(name)!r} is absolute; write it relative to the folder of its split"
    if ".." in PurePosixPath(name).parts:
        return f"file name {shortened(name)!r} climbs out of its folder with '..'; put the image below the folder of its split"
    return None


def image_path(folder: Path | str, row: Any) -> Path:
    """Path of the image of an index row (a mapping, Series or named tuple with ``file`` and ``split``).

    Split 'validation' is made of training rows, so its images lie in ``train/``.

    Raises:
        DataError: if the path leads out of ``folder``, by its name or through a link.
    """
    name, split = (row.file, row.split) if hasattr(row, "_fields") else (row["file"], row["split"])
    reason = unsafe_path(name) or unsafe_path(split)
    if reason:
        raise DataError(reason)
    split = "train" if split == "validation" else split
    path = Path(folder) / split / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        linked = Path(folder) / split
        if not Path(os.path.realpath(linked)).is_relative_to(os.path.realpath(folder)):
            way_out = "put the images themselves there, or make the whole folder the link"
            raise DataError(f"the folder '{split}' is a link that leads out of {folder} (to {os.path.realpath(linked)}); {way_out}")
        raise DataError(f"'{name}' is a link that leads out of {folder}; put the image itself there")
    return path


def parse_labels(file: Path) -> tuple[list[Row], list[Problem]]:
    """Rows of a label file that are well formed, and the problems of the others; repeated file names are left in.

    Without the images, a file name with spaces cannot be told from the end of a patient id; :mod:`cxrlib.data.folder` looks.

    Raises:
        LabelError: if the file cannot be read at all.
    """
    file = Path(file)
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, text in enumerate(_LINE_ENDS.split(read_text(file)), start=1):
        if not text.strip():
            continue
        parsed = _parse_line(line, text)
        if isinstance(parsed, Row):
            rows.append(parsed)
        else:
            problems.append(Problem(str(file), line, *parsed))
    if not rows and not problems:
        message = "it has no rows; each should read 'patientid filename class source'"
        problems.append(Problem(str(file), 0, "no rows", message))
    return rows, problems


def read_labels(file: str | Path) -> pd.DataFrame:
    """Read one COVIDx label file; no images are needed.

    Fields are separated by white space and counted from the right: the last is the source, the one before it the class,
    the one before that the file name, and all the rest the patient id, in which runs of white space become one space.

    Returns:
        Columns ``patient_id, file, label, source``, all texts, in the order of the file; ``label`` is 'positive' or
        'negative'.

    Raises:
        LabelError: listing every wrong row with its line: wrong field counts, unknown classes, repeated file names,
            paths that leave the folder; or the reason why the file cannot be read.
    """
    rows, problems = parse_labels(Path(file))
    rows, repeated = without_repeats(rows, Path(file))
    problems = sorted(problems + repeated, key=lambda problem: problem.line)
    if problems:
        plural = "problem" if len(problems) == 1 else "problems"
        raise LabelError(f"{file}: {len(problems)} {plural}; correct these rows:", problems)
    return rows_to_frame(rows)[["patient_id", "file", "label", "source"]]


def rows_to_frame(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table with text columns and an integer ``line``."""
    frame = pd.DataFrame(rows, columns=list(Row._fields))
    return frame.astype({name: "str" for name in Row._fields if name != "line"} | {"line": "int64"})


def read_text(file: Path) -> str:
    """The content of a label file or table, line ends as '\\n'.

    Raises:
        LabelError: if it is no file, too large, or not UTF-8.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if file.is_dir() else "a device or a pipe"
            raise LabelError(f"{file}: {kind}, not a file; give a label file")
        if status.st_size > MAXIMUM_BYTES:
            raise LabelError(f"{file}: {status.st_size:,} bytes are more than {MAXIMUM_BYTES:,}; give a label file")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"{file}: cannot be read ({error.strerror}); give an existing label file") from None
    except UnicodeDecodeError as error:
        raise LabelError(f"{file}: byte {error.start} is not UTF-8; save the label file as UTF-8 text") from None
    if text.count("\0") > len(text) // 4:
        raise LabelError(f"{file}: every other byte is zero, as in UTF-16; save the label file as UTF-8 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse_line(line: int, text: str) -> Row | tuple[str, str]:
    """The row, or the kind and message of what is wrong with it."""
    text = cleaned(text).strip()
    if QUOTES & set(text):
        return _parse_fields(line, [_unquoted(field) for field in _FIELD.findall(text)])
    fields = text.split()
    if len(fields) < 4:
        return _parse_fields(line, fields)
    words, label, source = text.rsplit(None, 2)
    return _parse_fields(line, [*words.rsplit(None, 1), label, source], words)


def _unquoted(field: str) -> str:
    """A field without the quotes round all of it; a quote that has no partner there is part of the text."""
    while match := _IN_QUOTES.fullmatch(field):
        opening, content, closing = (part for part in match.groups() if part is not None)
        if len(opening) != len(closing):
            break
        field = content.strip()
    return field


def _parse_fields(line: int, fields: list[str], words: str | None = None) -> Row | tuple[str, str]:
    """The row of these fields, whose last three are file name, class and source; ``words`` as in :class:`Row`."""
    text = " ".join(fields)
    if len(fields) < 4:
        commas = max(text.count(mark) for mark in ",;|")
        hint = "; it looks like CSV, of which 'cxr data adopt' makes label files" if commas >= 2 else ""
        return "wrong field count", f"{len(fields)} fields {shortened(text)!r} instead of 'patientid filename class source'{hint}"
    *patient, name, label, source = fields
    if label not in LABELS:
        all_fields = text.split()
        place = [position for position, field in enumerate(all_fields) if field in LABELS]
        if place:
            message = f"class '{all_fields[place[-1]]}' is field {place[-1] + 1} of {len(all_fields)}; just one field, the source, may follow it"
            return "wrong field count", message
        if label.strip(",;") in LABELS:
            return "unknown class", f"'{label}'; fields are separated by blanks, not by '{label[-1]}' ('cxr data adopt' reads CSV)"
        if label.casefold() in LABELS:
            return "unknown class", f"'{shortened(label)}'; write '{label.casefold()}'"
        if {label.casefold(), source.casefold()} <= {"class", "label", "source", "finding", "dataset"}:
            return "unknown class", f"'{label}'; this line is a heading, delete it"
        return "unknown class", f"'{shortened(label)}'; write 'positive' or 'negative' ({_CLASSES})"
    if source.casefold() in LABELS:
        return "wrong field count", f"two classes, '{label}' and '{source}', where class and source should stand; write 'patientid filename class source'"
    reason = unsafe_path(name)
    if reason:
        return "path leaves the folder", reason
    patient_id = _CONTROL.sub("", " ".join(" ".join(patient).split()))
    for value, what in ((patient_id, "patient id"), (str(PurePosixPath(name)).strip("."), "file name"), (source, "source")):
        if not value:
            return "wrong field count", f"no {what} in {shortened(text)!r}; write 'patientid filename class source'"
    if patient_id.casefold() in NOBODY:
        return "spoilt patient id", f"'{patient_id}' stands for no patient, and all rows with it would count as one; write the id of the patient"
    if _SHORTENED.fullmatch(patient_id):
        return "spoilt patient id", f"'{patient_id}' is a number as spreadsheets shorten it, so patients may have become one; save the ids as text"
    id_words = patient_id.split()
    if any(word in LABELS and _FILE.fullmatch(before) for before, word in itertools.pairwise(id_words)):
        return "wrong field count", f"two rows in one line, '{shortened(text)}'; begin each row on a line of its own"
    return Row(line, patient_id, str(PurePosixPath(name)), label, source, words or f"{patient_id} {name}")


def row_number(patient_id: str) -> tuple[str, str] | None:
    """A number at the beginning of an id and what follows it, such as '3' and 'p1' of '3 p1', '[3] p1' or '3,p1'; None without."""
    found = _NUMBERED.fullmatch(patient_id)
    return None if found is None else (found[1], found[2])


def numbered(rows: list[Row]) -> bool:
    """Whether the ids of a label file begin with a row number, as of a data frame that was saved with its index.

    So it is if the first words of all ids, of two words or more, are whole numbers that count up by one; or if they
    are all different while what follows them repeats, as after rows were drawn or shuffled.
    """
    parts = [row_number(row.patient_id) for row in rows]
    if len(parts) < 2 or not all(parts):
        return False
    numbers = [int(part[0]) for part in parts if part]
    if all(second - first == 1 for first, second in zip(numbers, numbers[1:])):
        return True
    return len(set(numbers)) == len(numbers) and len({part[1] for part in parts if part}) < len(parts)


def without_repeats(rows: list[Row], file: Path) -> tuple[list[Row], list[Problem]]:
    """Rows with one file name reduced to the first of them, or to none if they disagree on patient or class."""
    first: dict[str, Row] = {}
    dropped: set[int] = set()
    problems = []
    for row in rows:
        other = first.setdefault(row.file, row)
        if other is row:
            continue
        agrees = (other.patient_id, other.label) == (row.patient_id, row.label)
        dropped |= {row.line} if agrees else {row.line, other.line}
        way_out = "delete one of the two" if agrees else "with another patient or class; delete the wrong one"
        message = f"'{shortened(row.file)}' is also on line {other.line}{';' if agrees else ''} {way_out}"
        problems.append(Problem(str(file), row.line, "repeated file name", message))
    return [row for row in rows if row.line not in dropped], problems
