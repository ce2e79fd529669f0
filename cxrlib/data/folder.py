"""Data folders in the layout of COVIDx CXR-2, checked row by row.

A folder holds ``train/`` and ``test/`` with images and one label file each, ``train*.txt`` and ``test*.txt``; see
:mod:`cxrlib.data.labels` for their rows. What else lies there is ignored.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.data.decode import ImageError, check_image, decode_image
from cxrlib.data.labels import (
    LABELS,
    DataError,
    LabelError,
    Problem,
    Row,
    image_path,
    list_problems,
    parse_labels,
    read_labels,
    rows_to_frame,
    unsafe_path,
    without_repeats,
)
from cxrlib.data.provenance import fingerprint


COLUMNS = ["patient_id", "file", "label", "source", "split"]
SPLITS = ("train", "test")

LabelFiles = Path | str | Mapping[str, Path | str] | None


@dataclass(frozen=True)
class Report:
    """What :func:`check` found; printing it gives counts, problems and remarks.

    Attributes:
        folder: the folder as it was given.
        index: the clean subset, with the columns of :func:`read_index`.
        problems: what is wrong, by file and line; rows with a problem are not in ``index``.
        remarks: what is allowed but worth knowing, in sentences.
    """

    folder: Path
    index: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def counts(self) -> pd.DataFrame:
        """Images and patients of the clean subset: columns ``split, label, images, patients``."""
        groups = self.index.groupby(["split", "label"], sort=False)
        return groups.agg(images=("file", "size"), patients=("patient_id", "nunique")).reset_index()

    def __str__(self) -> str:
        found = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}" if self.problems else "no problems found"
        remarks = [f"remark: {remark}" for remark in self.remarks]
        return "\n".join([self.counts.to_string(index=False), found, *list_problems(self.problems), *remarks])


def read_index(
    folder: Path | str, labels: LabelFiles = None, strict: bool = False, splits: tuple[str, ...] = SPLITS
) -> pd.DataFrame:
    """Read a data folder into one table.

    Args:
        folder: with ``train/`` and ``test/``.
        labels: the label file of each split as ``{'train': ..., 'test': ...}``, or a folder with just one ``train*.txt``
            and one ``test*.txt``; by default ``folder`` itself.
        strict: decode every image and raise if anything is wrong. Otherwise rows with a problem are left out, and of
            each image file only the two ends are looked at (:func:`cxrlib.data.decode.check_image`).
        splits: those that are wanted; the folder, label file and images of any other need not be there and are not read.

    Returns:
        Text columns ``patient_id, file, label, source, split``, in the order of the label files; ``file`` is relative to
        the folder of its split. ``attrs`` has ``folder`` (text), ``problems`` and ``remarks`` (lists of text).

    Raises:
        DataError: with all problems, if ``strict`` and there is one; or if there are no label files, or a split is left
            without an image of either class.
    """
    report = check(folder, labels, decode=strict, splits=splits)
    if strict and report.problems:
        raise DataError(f"{folder}: {len(report.problems)} problem(s) in the data set:", report.problems)
    present = set(report.index[["split", "label"]].itertuples(index=False, name=None))
    lacking = [f"{split} {label}" for split in splits for label in LABELS if (split, label) not in present]
    if lacking:
        needed = "both splits need" if len(splits) > 1 else f"the {splits[0]} split needs"
        raise DataError(f"{folder}: no usable image of: {', '.join(lacking)}; {needed} both classes", report.problems)
    index = report.index
    index.attrs = {"folder": str(folder), "problems": [str(p) for p in report.problems], "remarks": report.remarks}
    return index


def check(
    folder: Path | str,
    labels: LabelFiles = None,
    decode: bool = True,
    progress: bool = False,
    splits: tuple[str, ...] = SPLITS,
) -> Report:
    """Find every problem of a data folder.

    Args:
        folder, labels, splits: as :func:`read_index`.
        decode: decode every image; otherwise look at the two ends of each file.
        progress: print counts and time left to stderr.

    Returns:
        All problems with file and line, and the clean subset. Of a patient in both splits the training rows are left
        out, so that the test set stays as published.

    Raises:
        DataError: if there are no label files to check.
    """
    folder = Path(folder)
    files = _label_files(folder, labels, splits)
    problems: list[Problem] = []
    tables = []
    for split, file in files.items():
        rows, found = _parse(file)
        problems += found
        rows, repeated = without_repeats([_with_spaces(folder, split, row) for row in rows], file)
        problems += repeated
        table = rows_to_frame(rows)
        tables.append(table.assign(split=split, label_file=str(file)))
    index = pd.concat(tables, ignore_index=True)
    problems += _patients_in_both(index)
    problems += _image_problems(folder, index, decode_image if decode else check_image, progress)
    bad = {(problem.file, problem.line) for problem in problems}
    sound = [place not in bad for place in zip(index["label_file"], index["line"], strict=True)]
    order = {str(file): number for number, file in enumerate(files.values())}
    problems.sort(key=lambda problem: (order[problem.file], problem.line))
    clean = index.loc[sound, COLUMNS].reset_index(drop=True)
    return Report(folder, clean, problems, _remarks(folder, index, clean, splits))


def _label_files(folder: Path, labels: LabelFiles, splits: tuple[str, ...]) -> dict[str, Path]:
    """The label file of each split, in the order of ``splits``; or DataError with every reason why there is none."""
    if not folder.is_dir():
        folders = " and ".join(f"{split}/" for split in splits)
        raise DataError(f"{folder}: there is no such folder; give one with {folders} in the COVIDx layout")
    if isinstance(labels, Mapping):
        if set(labels) != set(splits):
            wanted = " and ".join(f"'{split}'" for split in splits)
            raise DataError(f"labels name the splits {sorted(labels)}; give one file each for {wanted}")
        return {split: Path(labels[split]) for split in splits}
    where = Path(labels) if labels is not None else folder
    if not where.is_dir():
        wanted = " and ".join(f"{split}*.txt" for split in splits)
        raise DataError(f"{where}: there is no such folder; give a folder with {wanted}")
    problems, files = [], {}
    for split in splits:
        found = sorted(where.glob(f"{split}*.txt"))
        names = ", ".join(path.name for path in found) or "none"
        if len(found) == 1:
            files[split] = found[0]
        else:
            message = f"one {split}*.txt is needed, found: {names}; keep one here or give labels={{'{split}': file, ...}}"
            problems.append(Problem(str(where), 0, "label files", message))
    if problems:
        raise DataError(f"{where}: cannot tell which label files to read:", problems)
    return files


def _parse(file: Path) -> tuple[list[Row], list[Problem]]:
    try:
        return parse_labels(file)
    except LabelError as error:
        return [], [Problem(str(file), 0, "unreadable label file", str(error).removeprefix(f"{file}: "))]


def _with_spaces(folder: Path, split: str, row: Row) -> Row:
    """The row with the longest run of its last words that names an image, for files whose names hold spaces."""
    if os.path.isfile(folder / split / row.file):
        return row
    words = row.words.split()
    for cut in range(1, len(words) - 1):
        name = row.words.split(None, cut)[cut]
        if unsafe_path(name) is None and os.path.isfile(folder / split / name):
            return row._replace(patient_id=" ".join(words[:cut]), file=name)
    return row


def _patients_in_both(index: pd.DataFrame) -> Iterable[Problem]:
    tested = index[index["split"] == "test"].groupby("patient_id")[["label_file", "line"]].first()
    for row in index[(index["split"] == "train") & index["patient_id"].isin(tested.index)].itertuples():
        other = tested.loc[row.patient_id]
        message = (
            f"'{row.patient_id}' is in the test split too ({Path(other.label_file).name}:{other.line}), so a model could "
            "recognise the patient; delete the rows of one split"
        )
        yield Problem(row.label_file, row.line, "patient in both splits", message)


def _image_problems(
    folder: Path, index: pd.DataFrame, look: Callable[[Path], Any], progress: bool
) -> Iterable[Problem]:
    from tqdm import tqdm

    listings = {split: _names(folder / split) for split in index["split"].unique()}

    def problem(row: Any) -> Problem | None:
        place = (row.label_file, row.line)
        try:
            path = image_path(folder, row)
            if os.path.isfile(path):
                look(path)
                return None
        except DataError as error:
            return Problem(*place, "path leaves the folder", str(error))
        except ImageError as error:
            return Problem(*place, "unreadable image", str(error))
        near = sorted(set(listings[row.split].get(_key(row.file), ())))
        hint = f"there is {', '.join(near)}: rename it or correct the row" if near else "add the file or delete the row"
        return Problem(*place, "missing image", f"no file '{row.file}' in {path.parent}; {hint}")

    rows = list(index.itertuples(index=False))
    with ThreadPoolExecutor() as pool:
        found = pool.map(problem, rows)
        bar = tqdm(found, total=len(rows), desc="check images", unit="image", ascii=True, disable=not progress)
        return [entry for entry in bar if entry]


def _key(name: str) -> str:
    """What names keep in common if they differ in case or extension only."""
    return os.path.splitext(name)[0].casefold()


def _names(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            names.setdefault(_key(name), []).append(name)
    return names


def _remarks(folder: Path, index: pd.DataFrame, clean: pd.DataFrame, splits: tuple[str, ...]) -> list[str]:
    remarks = []
    both = int((clean.groupby("patient_id")["label"].nunique() > 1).sum())
    if both:
        remarks.append(f"{both} patients have images of both classes, and count as patients of each")
    shared = int((clean.groupby("patient_id")["source"].nunique() > 1).sum())
    if shared:
        remarks.append(f"{shared} patient ids occur in several sources; they are taken for the same patients")
    sources = sorted(clean["source"].unique())
    for first, second in itertools.combinations(sources, 2):
        if sorted(first.casefold()) == sorted(second.casefold()):
            remarks.append(f"sources '{first}' and '{second}' have the same letters; if one is a slip, correct the label file")
    for split in splits:
        named = set(index.loc[index["split"] == split, "file"])
        spare = sum(name not in named for names in _names(folder / split).values() for name in names)
        if spare:
            remarks.append(f"{spare} files in {split}/ have no row in the label file and are not used")
    return remarks
