"""Photographs for pretraining, read out of a zip in the layout of the public tiny-imagenet-200.zip; nothing is unpacked to disk.

The layout: ``tiny-imagenet-200/wnids.txt`` names the classes, ``train/WNID/images/WNID_0.JPEG`` ... are their photographs,
``val/images/`` and ``val/val_annotations.txt`` those held out. The public archive has 200 classes of ImageNet with 500
photographs each at 64 px in colour; any size, colour or grey, is read alike.

A zip is a stranger's file: its list of contents is judged before anything is read, no member is larger than a photograph of
this kind can be, and every way in which an archive can be wrong is an :class:`ArchiveError` that says what to do.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cxrlib.data.decode import to_luma

ROOT = "tiny-imagenet-200"
AGAIN = "get tiny-imagenet-200.zip again, from http://cs231n.stanford.edu/tiny-imagenet-200.zip"
# The public archive has 120,609 entries, photographs of at most 10 KB at 64 px, and a words.txt of 2.7 MB.
MAXIMUM_MEMBERS, MAXIMUM_BYTES, MAXIMUM_TEXT, MAXIMUM_SIDE = 250_000, 2**18, 2**24, 512


class ArchiveError(ValueError):
    """A zip of photographs cannot be used; the message names it, what is wrong with it and the way out."""


@dataclass(frozen=True)
class Photographs:
    """Photographs of some classes, in grey, all of one size.

    Attributes:
        images: uint8 luma, shape (N, size, size), class by class.
        labels: int64, shape (N,): the position of the class in `classes`.
        classes: WordNet ids, such as 'n02124075'.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def read(path: Path | str, classes: int, instances: int, size: int, unseen_size: int | None = None) -> tuple[Photographs, Photographs]:
    """The first classes of an archive: photographs to train on and those held out.

    Classes come in the order of ``wnids.txt``, so that fewer classes are always among more. Colour becomes luma
    (ITU-R BT.601) before the size is changed; that is bicubic, with antialiasing where it shrinks.

    Args:
        path: the zip.
        classes: how many, at least 2.
        instances: photographs of each class to train on, those of the lowest numbers.
        size: pixels on a side of the training images.
        unseen_size: the same for those held out; `size` by default.

    Returns:
        Training photographs (classes x instances), and all the validation photographs of the same classes.

    Raises:
        ArchiveError: no such file, not a zip, cut off, damaged, another archive, too few classes or photographs, members
            that lead out of the archive, or members larger than this kind of archive has.
        ValueError: if a number is out of range.
    """
    if classes < 2 or instances < 1 or min(size, unseen_size or size) < 8:
        raise ValueError(f"{classes} classes of {instances} photographs at {size} px are nothing to train on; give at least 2 of 1 at 8 px")
    path = Path(path)
    if not path.is_file():
        raise ArchiveError(f"{path}: there is no such file; name the archive with PHOTOS=path/to/tiny-imagenet-200.zip")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            chosen = _classes(path, archive, members, classes)
            training = _training(path, members, chosen, instances)
            unseen = _held_out(path, archive, members, chosen)
            return tuple(
                Photographs(
                    np.stack([_photograph(path, archive, members[name], side) for names in parts for name in names]),
                    np.repeat(np.arange(len(chosen)), [len(names) for names in parts]),
                    chosen,
                )
                for parts, side in ((training, size), (unseen, unseen_size or size))
            )
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError) as error:
        raise ArchiveError(f"{path}: not a zip, cut off or damaged ({error or type(error).__name__}); {AGAIN}") from None


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive by their path below ROOT, once all are known to be harmless."""
    entries = archive.infolist()
    if len(entries) > MAXIMUM_MEMBERS:
        raise ArchiveError(f"{path}: it holds {len(entries):,} files, tiny-imagenet-200.zip about 120,000; it is another archive, or a bomb: {AGAIN}")
    members = {}
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename or re.match(r"[A-Za-z]:", entry.filename):
            raise ArchiveError(f"{path}: '{entry.filename}' leads out of the archive, as only a hostile one does; delete it and {AGAIN}")
        if not entry.is_dir() and parts[:1] == (ROOT,):
            members["/".join(parts[1:])] = entry
    if not members:
        raise ArchiveError(f"{path}: it has no folder '{ROOT}', so it is another archive; {AGAIN}")
    return members


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """A member's bytes. Zip readers stop at the size that the list states, so the limit also holds for one that lies."""
    if entry.flag_bits & 0x1:
        raise ArchiveError(f"{path}: '{entry.filename}' is encrypted, the public archive is not; {AGAIN}")
    if entry.file_size > limit:
        raise ArchiveError(f"{path}: '{entry.filename}' has {entry.file_size:,} bytes, over the limit of {limit:,}; {AGAIN}")
    return archive.read(entry)


def _text(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> list[list[str]]:
    """The lines of a text of the archive, split into words."""
    if name not in members:
        raise ArchiveError(f"{path}: '{ROOT}/{name}' is missing, so it is cut off or another archive; {AGAIN}")
    lines = _read(path, archive, members[name], MAXIMUM_TEXT).decode("utf-8", errors="replace").splitlines()
    return [line.split() for line in lines if line.strip()]


def _classes(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], count: int) -> tuple[str, ...]:
    named = [words[0] for words in _text(path, archive, members, "wnids.txt")]
    strange = [name for name in named if not re.fullmatch(r"n\d{8}", name)]
    if strange or len(set(named)) < len(named):
        raise ArchiveError(f"{path}: wnids.txt names no class or one twice ('{(strange or named)[0][:40]}'); {AGAIN}")
    if len(named) < count:
        raise ArchiveError(f"{path}: it has {len(named)} classes and {count} are needed; {AGAIN}")
    return tuple(named[:count])


def _training(path: Path, members: dict[str, zipfile.ZipInfo], classes: Sequence[str], count: int) -> list[list[str]]:
    """The first `count` training photographs of each class, by their numbers."""
    found: dict[str, dict[int, str]] = {wnid: {} for wnid in classes}
    for name in members:
        match = re.fullmatch(r"train/(n\d{8})/images/\1_(\d+)\.JPEG", name)
        if match and match[1] in found:
            found[match[1]][int(match[2])] = name
    for wnid, numbered in found.items():
        if len(numbered) < count:
            raise ArchiveError(f"{path}: class {wnid} has {len(numbered)} of {count} photographs in train/{wnid}/images; {AGAIN}")
    return [[name for _, name in sorted(numbered.items())[:count]] for numbered in found.values()]


def _held_out(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], classes: Sequence[str]) -> list[list[str]]:
    """The validation photographs of each class, in the order of val_annotations.txt."""
    found: dict[str, list[str]] = {wnid: [] for wnid in classes}
    for words in _text(path, archive, members, "val/val_annotations.txt"):
        if len(words) > 1 and words[1] in found:
            found[words[1]].append(f"val/images/{words[0]}")
    for wnid, names in found.items():
        missing = [name for name in names if name not in members]
        if missing or not names:
            what = f"'{missing[0]}' is missing" if missing else "val_annotations.txt names none of its photographs"
            raise ArchiveError(f"{path}: class {wnid} cannot be validated: {what}; {AGAIN}")
    return list(found.values())


def _photograph(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> np.ndarray:
    """One photograph as uint8 (size, size)."""
    content = _read(path, archive, entry, MAXIMUM_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if max(image.size) > MAXIMUM_SIDE:
                width, height = image.size
                raise ArchiveError(f"{path}: '{entry.filename}' has {width} x {height} pixels, over the limit of {MAXIMUM_SIDE}; {AGAIN}")
            image.load()
            grey = to_luma(image)
    except ArchiveError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged data
        raise ArchiveError(f"{path}: '{entry.filename}' is damaged or no photograph ({error}); {AGAIN}") from None
    return np.asarray(grey if grey.size == (size, size) else grey.resize((size, size), Image.Resampling.BICUBIC))
