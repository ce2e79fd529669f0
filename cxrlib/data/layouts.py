"""Finding the label files of a folder, and recognising the slips and other layouts in which there are none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cxrlib.data.labels import DataError, Problem

PICTURES = (".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff", ".bmp", ".webp", ".jp2")
TABLES = (".csv", ".tsv", ".xlsx", ".xls")
_LOOKED_AT = 2000  # folder entries that are looked at to recognise a layout


def find_label_files(folder: Path, labels: Path | Mapping[str, Path] | None, splits: tuple[str, ...]) -> dict[str, Path]:
    """The label file of each split, in the order of ``splits``.

    Args:
        folder: the data folder.
        labels: as in :func:`cxrlib.data.folder.read_index`.
        splits: those that are wanted.

    Raises:
        DataError: with every reason why there is none, and what the folder looks like instead.
    """
    folders = " and ".join(f"{split}/" for split in splits)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {what}; give one with {folders} in the COVIDx layout")
    if isinstance(labels, Mapping):
        if set(labels) != set(splits):
            wanted = " and ".join(f"'{split}'" for split in splits)
            raise DataError(f"labels name the splits {sorted(labels)}; give one file each for {wanted}")
        return {split: labels[split] for split in splits}
    where = folder if labels is None else labels
    if not where.is_dir():
        wanted = " and ".join(f"{split}*.txt" for split in splits)
        raise DataError(f"{where}: there is no such folder; give a folder with {wanted}")
    problems, files = [], {}
    for split in splits:
        found = sorted(path for path in where.glob(f"{split}*.txt") if not path.name.startswith("._"))
        names = ", ".join(path.name for path in found) or "none"
        if len(found) == 1:
            files[split] = found[0]
        else:
            way_out = f"keep one here, or --labels FOLDER with one (in Python labels={{'{split}': file, ...}})"
            message = f"one {split}*.txt is needed, found: {names}; {way_out}"
            problems.append(Problem(str(where), 0, "label files", message))
    if problems:
        hints = "".join(f"\n{hint}" for hint in recognised(where, splits))
        raise DataError(f"{where}: cannot tell which label files to read:{hints}", problems)
    return files


def recognised(folder: Path, splits: tuple[str, ...] = ("train", "test")) -> list[str]:
    """What a folder without label files looks like, and the way on; a sentence each."""
    entries = sorted(folder.iterdir())[:_LOOKED_AT]
    if not entries:
        return ["the folder is empty; give the folder into which the data set was unpacked"]
    sentences = []
    for split in splits:
        for entry in entries:
            name = entry.name
            if name.casefold() == f"{split}.txt".casefold() or (name.casefold().startswith(split) and name.casefold().endswith(".txt")):
                if not (name.startswith(split) and name.endswith(".txt")):
                    sentences.append(f"{name} looks like the label file of {split}/: rename it to {split}.txt")
            elif entry.is_dir() and name != split and name.casefold() in (split, f"{split}ing", f"{split}s", f"{split}set"):
                sentences.append(f"{name}/ looks like the images of {split}: rename it to {split}/")
    tables = [entry.name for entry in entries if entry.suffix.lower() in TABLES]
    if tables:
        sentences.append(f"{', '.join(tables[:5])}: a table of the images? 'cxr data adopt {folder} OUT' makes label files of it")
    inner = [entry for entry in entries if entry.is_dir()]
    deeper = [entry.name for entry in inner if any(entry.glob(f"{splits[0]}*.txt"))]
    if deeper:
        sentences.append(f"there are label files in {deeper[0]}/: give {folder / deeper[0]}, or --labels {folder / deeper[0]}")
    classes = class_folders(folder)
    if classes:
        listed = ", ".join(sorted({name for _, name in classes})[:6])
        sentences.append(f"the images lie in folders of their classes ({listed}): 'cxr data adopt {folder} OUT' makes a folder in the COVIDx layout of them")
    elif not inner and any(entry.suffix.lower() in PICTURES for entry in entries):
        sentences.append(f"the images lie in {folder} itself: move them to train/ and test/, and write a label file for each")
    return sentences


def class_folders(folder: Path) -> dict[tuple[str, str], Path]:
    """Folders of images of one class each, by (split, class): ``CLASS/``, ``CLASS/images/`` or below ``SPLIT/``; split '' if there is none."""
    found: dict[tuple[str, str], Path] = {}
    for entry in _folders(folder):
        split = split_of(entry.name)
        if split:
            for inner in _folders(entry):
                place = _with_pictures(inner)
                if place:
                    found[split, inner.name] = place
        else:
            place = _with_pictures(entry)
            if place:
                found["", entry.name] = place
    return found


def split_of(name: str) -> str | None:
    """'train', 'validation' or 'test' of a folder or column value that means it, else None."""
    word = name.strip().casefold()
    if word in ("train", "training", "trainset", "tr"):
        return "train"
    if word in ("val", "valid", "validation", "dev"):
        return "validation"
    return "test" if word in ("test", "testing", "testset") else None


def _folders(folder: Path) -> list[Path]:
    apart = ("images", "masks", "lung masks", "infection masks")
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".") and entry.name.casefold() not in apart)


def _with_pictures(folder: Path) -> Path | None:
    """The folder, or its 'images', if pictures lie there."""
    for place in (folder, folder / "images", folder / "Images"):
        if place.is_dir():
            with os.scandir(place) as entries:
                for _, entry in zip(range(_LOOKED_AT), entries):
                    if os.path.splitext(entry.name)[1].lower() in PICTURES:
                        return place
    return None
