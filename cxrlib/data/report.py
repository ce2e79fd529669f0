"""What a check of a data folder found, for people (grouped by kind, with the way out) and for programs (JSON)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxrlib.data.labels import LABELS, Problem
from cxrlib.markup import visible

FIRST = 10  # problems of a kind that are listed unless all are asked for

# How each kind is mended; a kind that is not here is explained by its messages.
MEND: dict[str, str] = {
    "wrong field count": "each row reads 'patientid filename class source', separated by blanks; of CSV or Excel, 'cxr data adopt' makes such files",
    "unknown class": "write 'positive' or 'negative'; of other classes, 'cxr data adopt' makes these two",
    "spoilt patient id": "take the ids from the source of the table once more, as text; images without a patient are left out",
    "path leaves the folder": "images lie below the folder of their split; write their names relative to it, and no links that lead out",
    "repeated file name": "one row for each image; delete the others",
    "patient in both splits": "all images of a patient belong in one split; delete the rows of one, best those of training",
    "nearly the same patient id": "write one patient in one way; if they are two, give one of them another id",
    "row number in the id": "the label file was saved with its row numbers; cut its first column off (cut -d' ' -f2-), or save without the index",
    "missing image": "add the file, correct its name, or delete its row",
    "unreadable image": "download, export or convert the file again, or delete its row",
    "image cannot be read now": "a disk or network that fails, or permissions; mend them and run again",
    "checksum differs": "the file changed after its checksum was written, though it may still decode: get it again; or write the checksum file anew (sha256sum train/* test/* > SHA256SUMS)",
    "unreadable checksum": "write the checksum file anew (sha256sum train/* test/* > SHA256SUMS)",
    "no rows": "give the label file that belongs to these images",
    "unreadable label file": "save the label file as UTF-8 text",
}


@dataclass(frozen=True)
class Report:
    """What :func:`cxrlib.data.folder.check` found; printing it gives counts, problems by kind, and remarks.

    Attributes:
        folder: the folder as it was given.
        index: the clean subset, with the columns of :func:`cxrlib.data.folder.read_index`.
        problems: what is wrong, by file and line; rows with a problem are not in ``index``.
        remarks: what is allowed but worth knowing, in sentences.
        rows: rows of the label files, sound or not.
    """

    folder: Path
    index: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    rows: int = 0

    @property
    def counts(self) -> pd.DataFrame:
        """Images and patients of the clean subset: columns ``split, label, images, patients``."""
        groups = self.index.groupby(["split", "label"], sort=False)
        return groups.agg(images=("file", "size"), patients=("patient_id", "nunique")).reset_index()

    def lacking(self, splits: tuple[str, ...]) -> list[str]:
        """The splits and classes of which no row can be used, such as 'test positive'."""
        present = set(self.index[["split", "label"]].itertuples(index=False, name=None))
        return [f"{split} {label}" for split in splits for label in LABELS if (split, label) not in present]

    @property
    def left_out(self) -> dict[str, int]:
        """Rows that are not in the clean subset, counted by the first reason of each, most frequent first."""
        return rows_left_out(self.problems, self.rows - len(self.index))

    def __str__(self) -> str:
        return self.text()

    def text(self, everything: bool = False) -> str:
        """The report in lines; ``everything`` lists all problems, otherwise the first ten of each kind."""
        lines = [self.counts.to_string(index=False) if len(self.index) else "no usable image", self._headline()]
        by_kind: dict[str, list[Problem]] = {}
        for problem in self.problems:
            by_kind.setdefault(problem.kind, []).append(problem)
        for kind, members in sorted(by_kind.items(), key=lambda entry: -len(entry[1])):
            lines.append(f"\n{kind}: {len(members)}")
            shown = members if everything else members[:FIRST]
            lines += [f"  {visible(problem.place)}: {visible(problem.message)}" for problem in shown]
            if len(shown) < len(members):
                lines.append(f"  ... and {len(members) - len(shown)} more; --all lists them")
            if kind in MEND:
                lines.append(f"  to mend: {MEND[kind]}")
        lines += [f"{'' if number else chr(10)}remark: {visible(remark)}" for number, remark in enumerate(self.remarks)]
        return "\n".join(lines)

    def _headline(self) -> str:
        if not self.problems:
            return "no problems found"
        kinds = len({problem.kind for problem in self.problems})
        found = f"{_count(len(self.problems), 'problem')} of {_count(kinds, 'kind')}"
        return f"{found}; {left_out_sentence(self.left_out, self.rows) or 'no row is left out for it'}"

    def as_json(self) -> str:
        """All of it as one JSON object: ``folder, counts, rows, left_out, problems, remarks``."""
        content = {
            "folder": str(self.folder),
            "counts": self.counts.to_dict("records"),
            "rows": self.rows,
            "left_out": self.left_out,
            "problems": [problem._asdict() | {"mend": MEND.get(problem.kind)} for problem in self.problems],
            "remarks": self.remarks,
        }
        return json.dumps(content, indent=1, ensure_ascii=False)


def rows_left_out(problems: list[Problem], count: int) -> dict[str, int]:
    """``count`` rows by the kind of the first problem of each; those without one contradict another row."""
    first: dict[tuple[str, int], str] = {}
    for problem in problems:
        if problem.line:
            first.setdefault((problem.file, problem.line), problem.kind)
    counted = Counter(first.values())
    if count > counted.total():
        counted["repeated file name"] += count - counted.total()
    return dict(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])))


def left_out_sentence(left_out: dict[str, int], rows: int) -> str:
    """'12 of 136 rows are left out: 12 x missing image', or '' if none is."""
    if not left_out:
        return ""
    reasons = ", ".join(f"{count} x {kind}" for kind, count in left_out.items())
    total = sum(left_out.values())
    return f"{total} of {rows} rows {'is' if total == 1 else 'are'} left out: {reasons}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
