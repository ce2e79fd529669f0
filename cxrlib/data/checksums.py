"""Files named by their SHA-256 in a checksum file of the data folder: what changed and still decodes is found by nothing else.

A flipped byte in a JPEG often gives another picture without any error, and so it does in BMP, PNM and plain DICOM. Where the
folder has a file as ``sha256sum`` writes it (``SHA256SUMS``, ``sha256sums.txt``, ``NAME.sha256``), images are held against it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxrlib.data.labels import DataError, Problem, read_text
from cxrlib.words import shortened

KIND = "checksum differs"
_NAME = re.compile(r"sha256sums?(\.txt)?|.+\.sha256(sums?)?", re.IGNORECASE)
_LINE = re.compile(r"\\?(?P<digest>[0-9a-f]{64})[ \t]+\*?(?P<name>\S.*)|SHA256 ?\((?P<bsd>.+)\) ?= ?(?P<tagged>[0-9a-f]{64})", re.IGNORECASE)


class Listed(NamedTuple):
    """What a checksum file says of one file."""

    sha256: str
    place: str  # file and line that say so


def listed(folder: Path) -> tuple[dict[str, Listed], list[Problem]]:
    """The digests that the checksum files of a data folder name, by ``SPLIT/FILE``; and lines of these files that say nothing.

    Names are relative to the checksum file, which lies in the folder or in that of a split; or to a folder above, or absolute,
    or with backslashes (:func:`_places`). Blank lines and those that begin with '#' are passed over.

    Raises:
        LabelError: if such a file cannot be read.
    """
    found: dict[str, Listed] = {}
    problems = []
    for file in sorted(path for place in (folder, folder / "train", folder / "test") if place.is_dir() for path in place.iterdir()):
        if not _NAME.fullmatch(file.name) or not file.is_file():
            continue
        read: list[tuple[str, Listed, int]] = []
        before = len(problems)
        for line, text in enumerate(read_text(file).split("\n"), start=1):
            text = text.strip()
            if not text or text.startswith("#"):
                continue
            match = _LINE.fullmatch(text)
            if match is None:
                problems.append(Problem(str(file), line, "unreadable checksum", f"'{text[:80]}' is not '64 hexadecimal digits, name'; write the file anew with sha256sum"))
                continue
            read.append((match["name"] or match["bsd"], Listed((match["digest"] or match["tagged"]).lower(), f"{file.relative_to(folder)}:{line}"), line))
        if not read and len(problems) == before:
            problems.append(Problem(str(file), 1, "unreadable checksum", "it names no file, so it checks nothing; write it anew with sha256sum, or delete it"))
        for name, (_, said, line) in zip(_places(folder, file.parent, [name for name, *_ in read]), read, strict=True):
            other = found.setdefault(name, said)
            if other.sha256 != said.sha256:
                problems.append(Problem(str(file), line, "unreadable checksum", f"'{name}' has another checksum in {other.place}; delete the wrong one"))
    return found, problems


def _places(folder: Path, beside: Path, written: list[str]) -> list[str]:
    """The files of ``folder`` that the names of a checksum file mean, relative to it.

    Names are relative to the checksum file. If none of them is a file here, they were written in another folder, and the
    beginning that all have in common goes, if files of the splits are then found.
    """
    near = [os.path.relpath(beside.joinpath(*_parts(name)), folder) for name in written]
    if any(os.path.isfile(folder / name) for name in near):
        return near
    begun: Counter[tuple[str, ...]] = Counter()
    for parts in map(_parts, written):
        begun.update(parts[:end] for end in range(1, len(parts)) if os.path.isfile(folder.joinpath(*parts[end:])))
    for beginning, _ in begun.most_common(1):
        if not {"train", "test", "masks"} & set(beginning):
            tails = [parts[len(beginning) :] if parts[: len(beginning)] == beginning else () for parts in map(_parts, written)]
            return ["/".join(tail) if tail else name for tail, name in zip(tails, near, strict=True)]
    return near


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/").lstrip("/")).parts


def idle(folder: Path, sums: Mapping[str, Listed]) -> list[str]:
    """A sentence for each checksum file of which no name is a file of the data folder, so that it checks nothing."""
    by_file: dict[str, list[str]] = {}
    for name, said in sums.items():
        by_file.setdefault(said.place.rpartition(":")[0], []).append(name)
    return [
        f"{file} checks nothing: none of its {len(names)} name(s), such as '{shortened(names[0])}', is a file in {folder}; write it anew with sha256sum, in that folder"
        for file, names in by_file.items() if not any(os.path.isfile(folder / name) for name in names)
    ]  # fmt: skip


def digest(path: Path) -> str:
    """SHA-256 of a file. OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(sums: Mapping[str, Listed], folder: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    """Of ``SPLIT/FILE`` names those whose file is another than the checksum says, and a sentence about each; unreadable ones are passed over."""

    def look(name: str) -> tuple[str, str] | None:
        try:
            return sentence(sums[name], digest(folder / name), name)
        except OSError:
            return None

    with ThreadPoolExecutor() as pool:
        yield from filter(None, pool.map(look, (name for name in names if name in sums)))


def sentence(said: Listed, content: str, name: str) -> tuple[str, str] | None:
    """The name and what is wrong with its file, whose SHA-256 is ``content``; None if nothing is."""
    if content == said.sha256:
        return None
    return name, f"'{name}' is another file than {said.place} says (SHA-256 {content[:12]}…, not {said.sha256[:12]}…); download or copy it again"


def refuse_changed(folder: Path, contents: Mapping[str, str]) -> None:
    """Refuse images that are others than the checksum files of their folder say.

    Args:
        folder: the data folder.
        contents: SHA-256 of every image in use, by ``SPLIT/FILE``.

    Raises:
        DataError: naming all of them.
    """
    sums, _ = listed(folder)
    wrong = [found for name, content in contents.items() if name in sums and (found := sentence(sums[name], content, name))]
    if wrong:
        problems = [Problem(str(folder / name), 0, KIND, message) for name, message in wrong]
        raise DataError(f"{folder}: {len(wrong)} image(s) are others than their checksums say; get them again, or write the checksum file anew:", problems)
