"""Data folders in the layout of COVIDx CXR-2, checked row by row.

A folder holds ``train/`` and ``test/`` with images and one label file each, ``train*.txt`` and ``test*.txt``; see
:mod:`cxrlib.data.labels` for their rows. What else lies there is ignored.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.data import checksums
from cxrlib.data.decode import check_image, decode_xray
from cxrlib.data.grey import ImageError, ImageReadError
from cxrlib.data.labels import (
    DataError,
    LabelError,
    Problem,
    Row,
    image_path,
    numbered,
    parse_labels,
    row_number,
    rows_to_frame,
    without_repeats,
)
from cxrlib.data.layouts import find_label_files
from cxrlib.data.listing import Listing
from cxrlib.data.report import Report
from cxrlib.parameter_files import expanded
from cxrlib.words import alike, shortened

COLUMNS = ["patient_id", "file", "label", "source", "split"]
SPLITS = ("train", "test")
READ_ERROR = "image cannot be read now"
_AT_A_TIME = 4096

LabelFiles = Path | str | Mapping[str, Path | str] | None


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
        the folder of its split. ``attrs`` has ``folder`` (text), ``problems`` and ``remarks`` (lists of text), and where
        rows are left out ``rows`` (their number in the label files) and ``left_out`` (their counts by reason).

    Raises:
        DataError: with all problems, if ``strict`` and there is one; or if there are no label files, or a split is left
            without an image of either class; or if an image is there and cannot be read at present, since the rest
            would be another data set.
    """
    report = check(folder, labels, decode=strict, splits=splits)
    unread = [problem for problem in report.problems if problem.kind == READ_ERROR]
    if unread:
        raise DataError(f"{folder}: {len(unread)} image(s) cannot be read now; mend the disk, network or permissions, or delete their rows:", unread)
    if strict and report.problems:
        raise DataError(f"{folder}: {len(report.problems)} problem(s) in the data set:", report.problems)
    lacking = report.lacking(splits)
    if lacking:
        needed = "both splits need" if len(splits) > 1 else f"the {splits[0]} split needs"
        raise DataError(f"{folder}: no usable image of: {', '.join(lacking)}; {needed} both classes", report.problems)
    index = report.index
    index.attrs = {"folder": str(folder), "problems": [str(p) for p in report.problems], "remarks": report.remarks}
    if report.left_out:
        index.attrs |= {"rows": report.rows, "left_out": report.left_out}
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
        decode: decode every image, and hold files against a checksum file (:mod:`cxrlib.data.checksums`) if there is one;
            otherwise look at the two ends of each image.
        progress: print counts and time left to stderr.

    Returns:
        All problems with file and line, and the clean subset. Of a patient in both splits the training rows are left
        out, so that the test set stays as published.

    Raises:
        DataError: if there are no label files to check.
    """
    folder = expanded(folder)
    if labels is not None:
        labels = {split: expanded(file) for split, file in labels.items()} if isinstance(labels, Mapping) else expanded(labels)
    files = find_label_files(folder, labels, splits)
    listings = {split: Listing(folder / split) for split in files}
    problems: list[Problem] = []
    tables = []
    read = 0
    for split, file in files.items():
        rows, found = _parse(file)
        read += len(rows) + sum(problem.line > 0 for problem in found)
        problems += found
        if numbered(rows):
            problems += [_row_number(file, row) for row in rows]
        rows, repeated = without_repeats([_located(listings[split], row) for row in rows], file)
        problems += repeated
        table = rows_to_frame(rows)
        tables.append(table.assign(split=split, label_file=str(file)))
    index = pd.concat(tables, ignore_index=True)
    problems += _patients_in_both(index)
    problems += _image_problems(folder, index, listings, decode_xray if decode else check_image, progress)
    sums, unreadable = checksums.listed(folder) if decode else ({}, [])
    problems += unreadable + _changed(folder, index, files, sums)
    bad = {(problem.file, problem.line) for problem in problems}
    sound = [place not in bad for place in zip(index["label_file"], index["line"], strict=True)]
    order = {str(file): number for number, file in enumerate(files.values())}
    problems.sort(key=lambda problem: (order.get(problem.file, len(order)), problem.line))
    clean = index.loc[sound, COLUMNS].reset_index(drop=True)
    remarks = _remarks(index, clean, listings) + ([*_copies(folder, clean), *checksums.idle(folder, sums)] if decode else [])
    return Report(folder, clean, problems, remarks, read)


def _parse(file: Path) -> tuple[list[Row], list[Problem]]:
    try:
        return parse_labels(file)
    except LabelError as error:
        return [], [Problem(str(file), 0, "unreadable label file", str(error).removeprefix(f"{file}: "))]


def _row_number(file: Path, row: Row) -> Problem:
    number, rest = row_number(row.patient_id) or ("", row.patient_id)
    message = f"'{shortened(row.patient_id)}' begins with the number of its row ('{number}'), so each image looks like another patient; write '{shortened(rest)}'"
    return Problem(str(file), row.line, "row number in the id", message)


def _located(listing: Listing, row: Row) -> Row:
    """The row with the file that its name means: as it is, written in another way, or with blanks in it."""
    name = listing.find(row.file)
    if name is not None:
        return row if name == row.file else row._replace(file=name)
    found = listing.with_spaces(row.words)
    return row if found is None else row._replace(patient_id=found[0], file=found[1])


def _patients_in_both(index: pd.DataFrame) -> Iterable[Problem]:
    index = index.assign(look=index["patient_id"].map({name: alike(name) for name in index["patient_id"].unique()}))
    in_test = index["split"] == "test"
    tested = index[in_test].groupby("patient_id")[["label_file", "line"]].first()
    alike_tested = index[in_test].groupby("look")[["label_file", "line", "patient_id"]].first()
    for row in index[(index["split"] == "train") & index["look"].isin(alike_tested.index)].itertuples():
        same = row.patient_id in tested.index
        other = tested.loc[row.patient_id] if same else alike_tested.loc[row.look]
        place = f"({Path(other.label_file).name}:{other.line})"
        if same:
            message = f"'{row.patient_id}' is in the test split too {place}, so a model could recognise the patient; delete the rows of one split"
            yield Problem(row.label_file, row.line, "patient in both splits", message)
        else:
            message = f"'{row.patient_id}' and '{other.patient_id}' of the test split {place} look like one patient; write them alike, or rename one"
            yield Problem(row.label_file, row.line, "nearly the same patient id", message)


def _image_problems(
    folder: Path, index: pd.DataFrame, listings: dict[str, Listing], look: Callable[[Path], Any], progress: bool
) -> Iterable[Problem]:
    from tqdm import tqdm

    def problem(row: Any) -> Problem | None:
        place = (row.label_file, row.line)
        listing = listings[row.split]
        try:
            path = image_path(folder, row) if listing.linked else listing.folder / row.file
            if os.path.isfile(path):
                look(path)
                return None
        except DataError as error:
            return Problem(*place, "path leaves the folder", str(error))
        except ImageReadError as error:
            return Problem(*place, READ_ERROR, str(error))
        except ImageError as error:
            return Problem(*place, "unreadable image", str(error))
        return Problem(*place, "missing image", _missing(row, listings))

    found = []
    bar = tqdm(total=len(index), desc="check images", unit="image", ascii=True, disable=not progress)
    with ThreadPoolExecutor() as pool, bar:
        for start in range(0, len(index), _AT_A_TIME):
            rows = list(index.iloc[start : start + _AT_A_TIME].itertuples(index=False))
            there = [row for row in rows if listings[row.split].linked or row.file in listings[row.split].files]
            absent = [row for row in rows if not listings[row.split].linked and row.file not in listings[row.split].files]
            found += [Problem(row.label_file, row.line, "missing image", _missing(row, listings)) for row in absent]
            bar.update(len(absent))
            for entry in pool.map(problem, there):
                bar.update()
                if entry:
                    found.append(entry)
    return found


def _changed(folder: Path, index: pd.DataFrame, files: Mapping[str, Path], sums: Mapping[str, checksums.Listed]) -> list[Problem]:
    """Images and label files that are others than the checksum files of the folder say."""
    if not sums:
        return []
    rows = {f"{row.split}/{row.file}": (row.label_file, row.line) for row in index.itertuples()}
    places = {str(file.relative_to(folder)): (str(file), 0) for file in files.values() if file.parent == folder} | rows
    return [Problem(*places[name], checksums.KIND, message) for name, message in checksums.differing(sums, folder, list(places))]


def _missing(row: Any, listings: dict[str, Listing]) -> str:
    """That there is no such image, and where one of this name is."""
    said = f"no file '{shortened(row.file)}' in {listings[row.split].folder}"
    near = listings[row.split].near(row.file)[:3]
    if near and os.path.dirname(near[0]) == os.path.dirname(row.file):
        return f"{said}; there is {', '.join(near)}: rename it or correct the row"
    if near:
        way_out = "write the name with its folder" if "/" in near[0] else "names are relative to the folder of their split, so write it without one"
        return f"{said}; there is {', '.join(near)}: {way_out}, or move the file"
    for split, listing in listings.items():
        if split != row.split and listing.find(row.file):
            return f"{said}; there is one in {listing.folder}: move the file or the row"
    return f"{said}; add the file or delete the row"


def _copies(folder: Path, clean: pd.DataFrame) -> list[str]:
    """A sentence about images that are the same file, byte for byte, under several names."""
    place = clean["split"] + "/" + clean["file"]
    sizes = [os.path.getsize(folder / name) for name in place]
    twice = pd.Series(sizes, index=clean.index).duplicated(keep=False)
    paths = {name: folder / name for name in place[twice]}
    found = clean[twice].assign(place=place[twice], content=[checksums.digest(path) for path in paths.values()])
    groups = [group for _, group in found.groupby("content", sort=False) if len(group) > 1]
    sentences = []
    for what, members in (
        ("", groups),
        (", in both splits", [group for group in groups if group["split"].nunique() > 1]),
        (", under both classes", [group for group in groups if group["label"].nunique() > 1]),
    ):
        if members:
            first = " and ".join(members[0]["place"][:2])
            sentences.append(f"{len(members)} image(s) stand there several times, the same to the byte{what}, such as {first}")
    return sentences


def _remarks(index: pd.DataFrame, clean: pd.DataFrame, listings: dict[str, Listing]) -> list[str]:
    remarks = []
    both = int((clean.groupby("patient_id")["label"].nunique() > 1).sum())
    if both:
        remarks.append(f"{both} patients have images of both classes, and count as patients of each")
    shared = int((clean.groupby("patient_id")["source"].nunique() > 1).sum())
    if shared:
        remarks.append(f"{shared} patient ids occur in several sources; they are taken for the same patients")
    looks: dict[str, str] = {}
    for name in clean["patient_id"].unique():
        other = looks.setdefault(alike(name), name)
        if other != name:
            remarks.append(f"patient ids '{shortened(other)}' and '{shortened(name)}' differ in case, blanks or zeros only; if they are one patient, write them alike")
            break
    sources = sorted(clean["source"].unique())
    for first, second in itertools.combinations(sources[:200], 2):
        if sorted(first.casefold()) == sorted(second.casefold()):
            remarks.append(f"sources '{first}' and '{second}' have the same letters; if one is a slip, correct the label file")
    for split, listing in listings.items():
        spare = len(listing.files - set(index.loc[index["split"] == split, "file"]))
        if spare:
            remarks.append(f"{spare} files in {split}/ have no row in the label file and are not used")
    return remarks
