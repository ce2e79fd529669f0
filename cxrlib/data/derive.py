"""Folders that are made of other folders: patients left out, splits drawn anew, pictures changed.

What is made has the layout of COVIDx again, so that everything that reads a folder reads it, and a run on it is found by
its content like any other. The images of patients lie in it: keep it below a cache, where git does not look.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data.decode import decode_image
from cxrlib.data.labels import DataError, image_path
from cxrlib.files import atomic_write

OVERLAP_COLUMNS = ["filename", "other_set", "other_split", "other_filename"]


def with_paths(index: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """An index of :func:`cxrlib.data.folder.read_index` with the column ``path`` of every image on disk."""
    return index.assign(path=[image_path(folder, row) for row in index[["file", "split"]].itertuples(index=False)])


def shared_with(folder: Path, others: Iterable[Path]) -> set[tuple[str, str]]:
    """Images of ``folder`` that lie in other folders too, as (split, file), by the ``overlap.csv`` of each.

    Args:
        folder: known to the others by its name.
        others: folders with a file ``overlap.csv``, columns ``filename, other_set, other_split, other_filename``: what of theirs lies elsewhere.

    Raises:
        DataError: if a folder has no such file, or it lacks a column.
    """
    found: set[tuple[str, str]] = set()
    for other in others:
        table = overlap_of(other, Path(folder).resolve().name)
        rows = table[table["other_set"] == Path(folder).resolve().name]
        found |= set(zip(rows["other_split"], rows["other_filename"], strict=True))
    return found


def overlap_of(folder: Path, other: str = "other sets") -> pd.DataFrame:
    """The table ``overlap.csv`` of a folder, texts: which of its images lie in ``other`` too.

    Raises:
        DataError: if there is no such file, or it lacks a column.
    """
    path = Path(folder) / "overlap.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing: it says which images lie in {other} too; give a folder that has it")
    table = pd.read_csv(path, dtype="str")
    if lacking := [name for name in OVERLAP_COLUMNS if name not in table.columns]:
        raise DataError(f"{path} has no column {', '.join(lacking)}; it needs {', '.join(OVERLAP_COLUMNS)}")
    return table


def without_patients_of(index: pd.DataFrame, images: set[tuple[str, str]]) -> pd.DataFrame:
    """The index without the training patients of whom an image, training or test, is among ``images`` (split, file); test rows stay.

    A patient who goes by two ids cannot be recognised.
    """
    named = pd.Series(list(zip(index["split"], index["file"], strict=True)), index=index.index).isin(images)
    patients = set(index.loc[named, "patient_id"])
    return index[(index["split"] != "train") | ~index["patient_id"].isin(patients)].reset_index(drop=True)


def fold_of(index: pd.DataFrame, folds: int, seed: int = 0) -> np.ndarray:
    """Number of the fold (0 ... folds - 1) of each row: all images of a patient together, classes and sources spread evenly.

    Raises:
        ValueError: if a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    for label, patients in index.groupby("label")["patient_id"].nunique().items():
        if patients < folds:
            raise ValueError(f"{folds} folds need as many {label} patients, there are {patients}; choose fewer folds")
    numbers = np.empty(len(index), dtype=int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(index, index["label"], index["patient_id"])):
        numbers[held] = number
    return numbers


def write_folder(out: Path, rows: pd.DataFrame, change: Callable[[Path], bytes] | None = None, suffix: str | None = None) -> Path:
    """Write a folder in the COVIDx layout; images that lie there already stay, and its label files come last.

    Args:
        out: the folder; its name should say what ``rows`` and ``change`` are, since another call with others would mix them.
        rows: columns ``patient_id, file, label, source, split`` and ``path``, the image on disk.
        change: from the path of an image to the bytes of the file that takes its place; default a copy.
        suffix: extension of changed files, such as '.jpg'.

    Raises:
        OSError: if the disk is full or cannot be written.
    """
    out = Path(out)
    names = rows["file"] if suffix is None else [Path(file).with_suffix(suffix).as_posix() for file in rows["file"]]
    rows = rows.assign(file=names)
    for row in rows.itertuples(index=False):
        target = out / row.split / row.file
        if not target.is_file():
            atomic_write(target, Path(row.path).read_bytes() if change is None else change(Path(row.path)))
    for split, table in rows.groupby("split"):
        lines = [" ".join((row.patient_id, row.file, row.label, row.source)) for row in table.itertuples(index=False)]
        atomic_write(out / f"{split}.txt", "\n".join(lines) + "\n")
    return out


EVEN_CROP, EVEN_SIZE, EVEN_QUALITY = 0.84, 160, 75


def evened(path: Path) -> bytes:
    """A picture without most of what tells its source apart, as a JPEG file.

    The outer 8 % of each side go, where letters stand and films are cropped and framed in their own ways; the rest is squeezed to
    160 x 160 pixels, so that size, shape and resolution are one; its grey values are equalised, so that brightness and
    contrast are; and all are compressed once more at one quality. What stays are letters further in, and the patient.

    Raises:
        ImageError: naming the file, if it cannot be decoded.
    """
    from PIL import Image, ImageOps

    grey = decode_image(path)
    cut = [round(side * (1 - EVEN_CROP) / 2) for side in grey.shape]
    middle = Image.fromarray(np.ascontiguousarray(grey[cut[0] : grey.shape[0] - cut[0], cut[1] : grey.shape[1] - cut[1]]))
    content = io.BytesIO()
    ImageOps.equalize(middle.resize((EVEN_SIZE, EVEN_SIZE), Image.Resampling.BILINEAR)).save(content, "JPEG", quality=EVEN_QUALITY)
    return content.getvalue()
