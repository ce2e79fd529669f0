"""Label files and folders in the layout of COVIDx CXR-2, checked row by row.

A folder holds ``train/`` and ``test/`` with images and one label file each, ``train*.txt`` and ``test*.txt``, with rows
``patientid filename class source``. The last three fields are read from the right: patient ids may contain spaces, as the
real files' do ("COVID 12" of source sirm), and only so do their counts agree with section 3.1 of the paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cxrlib.files import atomic_write

COLUMNS = ["patient_id", "file", "label", "source"]
LABELS = ("negative", "positive")
SPLITS = ("train", "test")
SHOWN_PROBLEMS = 50


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a data folder: where, what kind, and a sentence with the way out."""

    file: str
    line: int | None
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.message}"


class DataError(ValueError):
    """A data folder or label file has problems; ``problems`` lists all, the message the first fifty."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        more = f"\n... and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        super().__init__(f"{len(problems)} problem(s)\n" + "\n".join(map(str, problems[:SHOWN_PROBLEMS])) + more)


class LabelError(DataError):
    """A label file cannot be read as it is."""


@dataclass(frozen=True)
class Report:
    """What :func:`check` found. ``index`` is the clean subset; printing gives counts and problems."""

    folder: Path
    index: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        groups = self.index.groupby(["split", "label"])
        counts = pd.DataFrame({"images": groups.size(), "patients": groups["patient_id"].nunique()}).reset_index()
        found = str(DataError(self.problems)) if self.problems else "no problems found"
        return f"{counts.to_string(index=False)}\n{found}"


def _parse(file: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Sound rows of a label file, with their line numbers, and the problems of the others."""
    problems: list[Problem] = []
    rows: list[tuple[str, str, str, str, int]] = []
    seen: dict[str, int] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({error.strerror})"
        return pd.DataFrame(columns=[*COLUMNS, "line"]), [Problem(str(file), None, "unreadable", f"{reason}; give a label file")]
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.rsplit(maxsplit=3)
        if len(fields) < 4:
            message = f"{len(fields)} fields, but a row is 'patientid filename class source'; complete it or delete the line"
            problems.append(Problem(str(file), number, "fields", message))
            continue
        patient, name, label, source = (part.strip() for part in fields)
        if label not in LABELS:
            message = f"class '{label}' is neither positive nor negative; correct it (file names must not contain spaces)"
            problems.append(Problem(str(file), number, "class", message))
        elif not _is_inside(name):
            problems.append(Problem(str(file), number, "path", f"'{name}' leaves the data folder; use a name inside it"))
        elif name in seen:
            message = f"'{name}' is already on line {seen[name]}; delete one of the two rows"
            problems.append(Problem(str(file), number, "repeated", message))
        else:
            seen[name] = number
            rows.append((patient, name, label, source, number))
    if not rows and not problems:
        problems.append(Problem(str(file), None, "empty", "the label file has no rows"))
    return pd.DataFrame(rows, columns=[*COLUMNS, "line"]), problems


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name.split("/")[0][:2])


def read_labels(file: Path | str) -> pd.DataFrame:
    """Read one label file; no images are needed.

    Returns:
        Table with text columns ``patient_id, file, label, source``, label 'positive' or 'negative', in the order of the file.

    Raises:
        LabelError: listing every wrong row with its line.
    """
    table, problems = _parse(Path(file))
    if problems:
        raise LabelError(problems)
    return table[COLUMNS].astype(str)


def _label_files(folder: Path, labels: Path | str | Mapping[str, Path] | None) -> dict[str, Path]:
    """The label file of each split: given, or the only ``train*.txt`` and ``test*.txt`` of the folder."""
    if isinstance(labels, Mapping):
        return {split: Path(path) for split, path in labels.items()}
    where = Path(labels) if labels is not None else folder
    if not where.is_dir():
        raise DataError([Problem(str(where), None, "missing", "the folder does not exist; give a folder in the COVIDx layout")])
    found, problems = {}, []
    for split in SPLITS:
        files = sorted(where.glob(f"{split}*.txt"))
        if len(files) == 1:
            found[split] = files[0]
        else:
            names = ", ".join(path.name for path in files) or "none"
            message = f"exactly one {split}*.txt is needed, found: {names}; keep one, or give labels={{'{split}': path}}"
            problems.append(Problem(str(where), None, "label files", message))
    if problems:
        raise DataError(problems)
    return found


def check(folder: Path | str, labels: Path | str | Mapping[str, Path] | None = None, decode: bool = True) -> Report:
    """Find every problem of a data folder.

    Args:
        folder: with ``train/`` and ``test/``.
        labels: folder with the label files, or a file for each split; default, beside the images.
        decode: also decode every image, not only look whether it is there.

    Returns:
        Report with all problems, file and line, and the clean subset of rows. Of a patient in both splits the training rows go.

    Raises:
        DataError: if there are no label files to check.
    """
    folder = Path(folder)
    files = _label_files(folder, labels)
    tables, problems = [], []
    for split, file in files.items():
        table, found = _parse(file)
        problems += found
        tables.append(table.assign(split=split, label_file=str(file)))
    index = pd.concat(tables, ignore_index=True)
    tested = index.loc[index["split"] == "test"].groupby("patient_id")["line"].first()
    for row in index[(index["split"] == "train") & index["patient_id"].isin(tested.index)].itertuples():
        message = f"patient '{row.patient_id}' is also in the test split (line {tested[row.patient_id]}); keep the patient in one split"
        problems.append(Problem(row.label_file, row.line, "patient", message))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda row: _image_problem(folder, row, decode), index.to_dict("records")))
    for row, problem in zip(index.itertuples(), found, strict=True):
        if problem:
            problems.append(Problem(row.label_file, row.line, *problem))
    wrong = {(problem.file, problem.line) for problem in problems}
    keep = [(file, line) not in wrong for file, line in zip(index["label_file"], index["line"], strict=True)]
    clean = index.loc[keep, [*COLUMNS, "split"]].astype(str).reset_index(drop=True)
    return Report(folder, clean, sorted(problems, key=lambda p: (p.file, p.line or 0)))


def _image_problem(folder: Path, row: Mapping[str, Any], decode: bool) -> tuple[str, str] | None:
    from cxrlib.images import ImageError, decode_image

    try:
        path = image_path(folder, row)
    except ValueError as error:
        return "path", str(error)
    if not path.is_file():
        others = [p.name for p in path.parent.glob(f"{path.stem}.*")] if path.parent.is_dir() else []
        hint = f"; there is {', '.join(others)}: correct the name" if others else "; add the file or delete the row"
        return "missing", f"no image {path.name} in {path.parent}{hint}"
    try:
        if decode:
            decode_image(path)
    except ImageError as error:
        return "image", str(error)
    return None


def image_path(folder: Path | str, row: Any) -> Path:
    """Path of the image of an index row (mapping or Series with ``file`` and ``split``).

    Raises:
        ValueError: if it leads out of the folder, by its name or through a link.
    """
    folder = Path(folder)
    path = folder / row["split"] / row["file"]
    if not _is_inside(row["file"]) or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"'{row['file']}' leads out of the data folder; copy the image into it")
    return path


def read_index(folder: Path | str, labels: Path | str | Mapping[str, Path] | None = None, strict: bool = False) -> pd.DataFrame:
    """Read a data folder into one table.

    Args:
        folder, labels: as :func:`check`; images are looked for here and decoded when they are cached.
        strict: raise if there is any problem; otherwise rows with one are left out.

    Returns:
        Table with text columns ``patient_id, file, label, source, split``; ``attrs['problems']`` lists what was left out.

    Raises:
        DataError: all problems with file and line, if ``strict`` or if a class or split has no sound row.
    """
    report = check(folder, labels, decode=strict)
    if report.problems and strict:
        raise DataError(report.problems)
    present = set(zip(report.index["split"], report.index["label"], strict=True))
    lacking = [f"{split} {label}" for split in SPLITS for label in LABELS if (split, label) not in present]
    if lacking:
        message = f"no usable image of: {', '.join(lacking)}"
        raise DataError([Problem(str(folder), None, "empty", message), *report.problems])
    report.index.attrs["problems"] = [str(problem) for problem in report.problems]
    return report.index


def fingerprint(index: pd.DataFrame, folder: Path | str, cache_folder: Path | str | None = None) -> str:
    """Digest of labels and image contents, the same wherever the folder lies and however its rows are ordered.

    Content hashes are remembered in ``cache_folder`` by path, size and modification time.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    folder = Path(folder)
    memory_file = Path(cache_folder) / "content-hashes.json" if cache_folder else None
    memory: dict[str, list] = {}
    if memory_file and memory_file.is_file():
        try:
            memory = json.loads(memory_file.read_text(encoding="utf-8"))
        except ValueError:
            memory = {}
    known = len(memory)

    def digest(row: dict) -> str:
        path = image_path(folder, row)
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
        name = str(path.resolve())
        if memory.get(name, [])[:2] != state:
            with path.open("rb") as file:
                memory[name] = [*state, hashlib.file_digest(file, "sha256").hexdigest()]
            changed.append(name)
        return memory[name][2]

    changed: list[str] = []
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(digest, index.to_dict("records")))
    if memory_file and (changed or len(memory) != known):
        atomic_write(memory_file, json.dumps(memory))
    rows = sorted("\t".join([*row, content]) for row, content in zip(index[[*COLUMNS, "split"]].itertuples(index=False), contents, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def compare_with_paper(index: pd.DataFrame) -> pd.DataFrame:
    """Counts of an index beside those printed in section 3.1: columns ``count of, paper, here, difference``."""
    from cxrlib.paper import DATASET_COUNTS

    rows = []
    for label in reversed(LABELS):
        for part, group in (("", index), ("test ", index[index["split"] == "test"])):
            members = group[group["label"] == label]
            printed = DATASET_COUNTS[part + label]
            rows.append((f"{part}{label} images", printed.images, len(members)))
            if printed.patients is not None:
                rows.append((f"{part}{label} patients", printed.patients, members["patient_id"].nunique()))
    table = pd.DataFrame(rows, columns=["count of", "paper", "here"])
    return table.assign(difference=table["here"] - table["paper"])
