"""What a folder holds beyond what a run needs: the splits and classes that it lacks, further columns, and masks.

A set may be made for testing, without a training split, or come from one hospital and one class. Nothing can be trained on
it, and much can be said of it. A lack is one *by design* if the label files say so without a fault; a label file that is
empty, misnamed or full of rows that cannot be used is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxrlib.data.dataset import Dataset
from cxrlib.data.folder import READ_ERROR, SPLITS, LabelFiles, check, read_index
from cxrlib.data.grey import ImageError
from cxrlib.data.labels import LABELS, DataError
from cxrlib.data.layouts import recognised
from cxrlib.data.masks import mask_paths
from cxrlib.data.provenance import contents, fingerprint_of

EXTRA = "labels_extra.csv"
KEYS = ("filename", "split")


@dataclass(frozen=True)
class Extent:
    """A folder in the COVIDx layout as far as it goes.

    Attributes:
        index: usable rows, as of :func:`cxrlib.data.folder.read_index`.
        lacking: splits and classes without a row, such as 'train positive'.
        left_out: rows that cannot be used, counted by reason, of ``rows``.
    """

    folder: Path
    index: pd.DataFrame
    lacking: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    rows: int = 0

    @property
    def sentence(self) -> str:
        """What the folder lacks, and what follows; empty if it lacks nothing."""
        if not self.lacking:
            return ""
        without = [split for split in SPLITS if all(f"{split} {label}" in self.lacking for label in LABELS)]
        missing = [f"no {split} split" for split in without]
        for label in LABELS:
            bare = [split for split in SPLITS if split not in without and f"{split} {label}" in self.lacking]
            missing += [f"no {label} image{f' in {bare[0]}' if len(bare) < 2 - len(without) else ''}"] if bare else []
        untested = any(f"test {label}" in self.lacking for label in LABELS)
        follows = "nothing can be trained on it" if any(name.startswith("train") for name in self.lacking) else "what is trained on it cannot be tested"
        one = ", and AUC, accuracy and a comparison of classes need both" if untested and "test" not in without else ""
        return f"{self.folder.resolve().name} has {' and '.join(missing)}: {follows}{one}"


def extent(folder: Path | str, labels: LabelFiles = None) -> Extent:
    """Read a folder that may lack a split or a class by design.

    Raises:
        DataError: if there is no usable image at all, or what is lacking is lacking by a fault: it says what to mend.
    """
    folder = Path(folder)
    where = folder if labels is None else Path(str(labels))
    there = tuple(split for split in SPLITS if isinstance(labels, dict) or any(where.glob(f"{split}*.txt")))
    absent = tuple(split for split in SPLITS if split not in there)
    misnamed = [hint for split in absent for hint in recognised(folder, (split,)) if "looks like" in hint] if folder.is_dir() else []
    if not there or misnamed or any((folder / split).is_dir() for split in absent):
        check(folder, labels, decode=False)  # raises, with all reasons
    report = check(folder, labels, decode=False, splits=there)
    if any(problem.kind == READ_ERROR for problem in report.problems):
        read_index(folder, labels, splits=there)  # raises, naming them
    lacking = tuple(report.lacking(SPLITS))
    faulty = {Path(problem.file).name for problem in report.problems}
    half = [name for name in lacking if name.split()[0] in there and any(file.startswith(name.split()[0]) for file in faulty)]
    if half or not len(report.index):
        raise DataError(f"{folder}: no usable image of: {', '.join(half or lacking)}; mend the rows that cannot be used, or delete them", report.problems)
    return Extent(folder, report.index, lacking, report.left_out, report.rows)


def open_any(folder: Path, cache: Path, splits: tuple[str, ...] = SPLITS) -> Dataset:
    """A folder for scoring only, as :func:`cxrlib.data.dataset.read_dataset`, but one class is enough.

    Raises:
        DataError: if there is no usable image at all.
    """
    report = check(folder, decode=False, splits=splits)
    if len(report.lacking(splits)) == 2 * len(splits):
        raise DataError(f"{folder}: no usable image", report.problems)
    index = report.index.assign(row=report.index.groupby("split").cumcount())
    digests = contents(index, folder, cache)
    return Dataset(index, fingerprint_of(index, digests), folder, (folder / "phantom.json").is_file(), digests, report.left_out)


# Further columns


def extra_columns(folder: Path, index: pd.DataFrame) -> pd.DataFrame:
    """What ``labels_extra.csv`` says of each row of ``index``, beyond what the label files say: texts, empty where it is silent.

    Args:
        index: columns ``file`` and ``split``.

    Returns:
        The table's columns but those that name the image, in its order, with the rows of ``index``; no column without such a file.

    Raises:
        DataError: if the table cannot be read, has no column ``filename``, or names an image twice.
    """
    path = folder / EXTRA
    if not path.is_file():
        return pd.DataFrame(index=index.index)
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]}); save it as CSV in UTF-8, or take it away") from None
    if "filename" not in table:
        raise DataError(f"{path} has no column 'filename', so nobody knows whose rows these are; it has {', '.join(map(str, table.columns))}")
    keys = [name for name in KEYS if name in table]
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise DataError(f"{path}:{twice.index[0] + 2}: '{twice['filename'].iloc[0]}' has a second row; keep one")
    found = index.rename(columns={"file": "filename"})[list(keys)].merge(table, on=keys, how="left").fillna("")
    return found.drop(columns=list(keys)).set_axis(index.index)


# Masks


def mask_names(folder: Path) -> list[str]:
    """Kinds of masks that lie in ``masks/``, sorted."""
    place = folder / "masks"
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def masks_of(folder: Path, index: pd.DataFrame) -> pd.DataFrame:
    """What masks a folder has: a row for each kind, columns mask, images (that have one) and of (images of those splits).

    Args:
        index: columns ``file`` and ``split``.
    """
    rows = []
    for name in mask_names(folder):
        place = folder / "masks" / name
        part = index[[(place / split).is_dir() for split in index["split"]]]
        files = (part["split"] + "/" + part["file"]).tolist()
        rows.append({"mask": name, "images": sum(_has(place, file) for file in files), "of": len(index)})
    return pd.DataFrame(rows, columns=["mask", "images", "of"])


def _has(place: Path, file: str) -> bool:
    try:
        return bool(mask_paths(place, [file]))
    except ImageError:
        return False
