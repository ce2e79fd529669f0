"""Reading what collections of X-rays look like on disk: tables, folders of classes, label files of other classes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxrlib.data.labels import DataError, read_text, unsafe_path
from cxrlib.data.layouts import TABLES, class_folders, recognised, split_of
from cxrlib.data.listing import Listing
from cxrlib.words import cleaned

_CLASS = ("finding", "class", "label", "diagnosis", "category", "class name", "classname")
_FILE = ("filename", "file name", "file", "image", "imageid", "image id", "image name", "path", "filepath")
_SPLIT = ("split", "subset", "set", "partition", "fold name")
_FRONTAL = re.compile(r"^(pa|ap|frontal|posteroanterior|anteroposterior)\b", re.IGNORECASE)
_DEEPEST = 3  # folders between the one that is given and those of the classes


@dataclass(frozen=True)
class Picture:
    """An image of a collection: its class as the collection says it, its split and patient where that is said."""

    path: Path
    kind: str
    split: str | None = None
    patient: str | None = None
    mask: Path | None = None
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The pictures of a collection, the columns of its table, and what was left out, by reason."""

    pictures: list[Picture]
    columns: list[str]
    left_out: Counter[str]


def pictures(folder: Path, table: Path | None) -> Found:
    """The pictures of a collection: by the table that is named, a metadata.csv, folders of classes, label files, or the only table.

    Raises:
        DataError: if it is none of these, or several.
    """
    if table is not None:
        return _from_label_files(folder, [table]) if table.suffix.lower() == ".txt" else _from_table(folder, table)
    metadata = [path for path in folder.iterdir() if path.name.casefold() in ("metadata.csv", "metadata.xlsx")]
    if len(metadata) == 1:
        return _from_table(folder, metadata[0])
    classes = _classes(folder)
    if classes:
        return classes
    texts = sorted(path for path in folder.glob("*.txt") if split_of(re.split(r"[_\-. ]", path.name)[0]))
    if texts:
        return _from_label_files(folder, texts)
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES and not path.name.startswith(("~$", ".")))
    if len(tables) == 1:
        return _from_table(folder, tables[0])
    if tables:
        raise DataError(f"{folder}: {len(tables)} tables ({', '.join(path.name for path in tables)}); name one with --table")
    hints = "".join(f"\n{hint}" for hint in recognised(folder))
    raise DataError(f"{folder}: neither folders of classes nor a table of images; give the folder that has them{hints}")


def _classes(folder: Path) -> Found | None:
    """Folders of classes here or a few folders below."""
    level = [folder]
    for _ in range(_DEEPEST):
        found = [(place, classes) for place in level if (classes := class_folders(place)) and len({kind for _, kind in classes}) > 1]
        if len(found) > 1:
            listed = ", ".join(str(place) for place, _ in found)
            raise DataError(f"{folder}: {len(found)} folders with classes ({listed}); give one of them")
        if found:
            ((_, classes),) = found
            members = [
                Picture(path, kind, split or None, mask=_mask_of(path))
                for (split, kind), place in sorted(classes.items())
                for path in sorted(place.iterdir())
                if path.is_file() and not path.name.startswith(".")
            ]
            return Found(members, [], Counter())
        level = [inner for place in level for inner in sorted(place.iterdir()) if inner.is_dir() and not inner.name.startswith(".")]
    return None


def _mask_of(path: Path) -> Path | None:
    """The lung mask of an image in a sister folder of 'images'."""
    if path.parent.name.casefold() != "images":
        return None
    places = (path.parent.parent / name / f"{path.stem}.png" for name in ("masks", "lung masks"))
    return next((place for place in places if place.is_file()), None)


def read_table(file: Path) -> pd.DataFrame:
    """A CSV or Excel table as texts, empty where there is nothing.

    Raises:
        DataError: if it cannot be read.
    """
    if file.suffix.lower() not in TABLES:
        raise DataError(f"{file}: not a table ({', '.join(TABLES)}) or label file (.txt)")
    try:
        if file.suffix.lower() in (".xlsx", ".xls"):
            table = pd.read_excel(file, dtype=str, keep_default_na=False)
        else:
            from io import StringIO

            content = read_text(file)
            separator = max(",;\t", key=content.partition("\n")[0].count)
            table = pd.read_csv(StringIO(content), sep=separator, dtype=str, keep_default_na=False)
    except DataError:
        raise
    except Exception as error:  # pandas and openpyxl raise many kinds, from zipfile's to ParserError
        raise DataError(f"{file}: cannot be read as a table ({str(error).splitlines()[0] if str(error) else type(error).__name__}); save it as CSV") from None
    table.columns = [cleaned(str(name)).strip() for name in table.columns]
    if not len(table):
        raise DataError(f"{file}: the table has no rows")
    return table


def _from_table(folder: Path, file: Path) -> Found:
    table = read_table(file)
    kind, name = (_column(file, table, names, what) for names, what in ((_CLASS, "class"), (_FILE, "image file")))
    split = next((column for column in table.columns if column.casefold() in _SPLIT), None)
    listing, left_out = Listing(folder), Counter()
    found: list[Picture] = []
    for values in table.to_dict("records"):
        row = {column: cleaned(value) for column, value in values.items()}
        lowered = {column.casefold(): value.strip() for column, value in row.items()}
        if lowered.get("modality", "x-ray").casefold().replace("_", "-") not in ("x-ray", "xray", "cr", "dx", "", "x-rays"):
            left_out["not an X-ray (column modality)"] += 1
            continue
        if "view" in lowered and not _FRONTAL.match(lowered["view"]):
            left_out["not a frontal view (column view)"] += 1
            continue
        place = _place(listing, lowered.get("folder", ""), row[name].strip())
        if place is None:
            left_out["no such image file"] += 1
            continue
        said = split_of(row[split]) if split else None
        found.append(Picture(folder / place, row[kind].strip(), said, values=row))
    return Found(found, list(table.columns), left_out)


def _column(file: Path, table: pd.DataFrame, names: tuple[str, ...], what: str) -> str:
    by_name = {column.casefold().replace("_", " "): column for column in table.columns}
    for name in names:
        if name in by_name:
            return by_name[name]
    raise DataError(f"{file}: which column is the {what}? rename one of {', '.join(table.columns)} to '{names[0]}'")


def _place(listing: Listing, inner: str, name: str) -> str | None:
    """Where an image of a table lies below the folder."""
    if not name:
        return None
    for candidate in (f"{inner}/{name}" if inner else name, name, f"images/{name}"):
        found = listing.find(candidate)
        if found is not None:
            return found
    near = listing.near(name)
    return near[0] if len(near) == 1 else None


def _from_label_files(folder: Path, files: list[Path]) -> Found:
    """Rows of 'patientid filename class [source]', with classes of any name and in any number."""
    found, left_out = [], Counter()
    for file in files:
        split = split_of(re.split(r"[_\-. ]", file.name)[0])
        listing = Listing(folder)
        inner = folder / split if split and (folder / split).is_dir() else folder
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            fields = cleaned(line).split()
            if not fields:
                continue
            place = next((index for index, word in enumerate(fields) if index and re.search(r"\.\w{2,5}$", word)), None)
            if place is None or place + 1 >= len(fields):
                raise DataError(f"{file}:{number}: no 'patientid filename class' in {line.strip()[:80]!r}; correct the row")
            name = fields[place]
            if reason := unsafe_path(name):
                raise DataError(f"{file}:{number}: {reason}")
            path = inner / name
            if not path.is_file():
                elsewhere = _place(listing, "", name)
                if elsewhere is None:
                    left_out["no such image file"] += 1
                    continue
                path = folder / elsewhere
            found.append(Picture(path, fields[place + 1], split, patient=" ".join(fields[:place])))
    return Found(found, [], left_out)
