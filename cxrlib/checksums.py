"""Checksums of weights files: what a file is, and whether it is what it should be."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and the way out."""


def stated_digest(path: Path) -> str | None:
    """The SHA-256 in the ``.sha256`` file beside `path`, as sha256sum writes it; None if there is no such file.

    Raises:
        WeightsError: if that file holds no digest.
    """
    beside = path.with_suffix(".sha256")
    if not beside.is_file():
        return None
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise WeightsError(f"{beside} holds no SHA-256; get {path.name} and its checksum again")
    return words[0].lower()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, computed once for as long as its size and time of change stay the same."""
    about = path.stat()
    return _file_digest(path.resolve(), about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_digest(path: Path, stated: str | None, way_out: str) -> str:
    """SHA-256 of `path`, which must equal `stated` and the ``.sha256`` file beside it, where there are such.

    Raises:
        WeightsError: naming the file, both digests and the way out.
    """
    digest = file_digest(path)
    for expected in (stated, stated_digest(path)):
        if expected is not None and digest != expected:
            raise WeightsError(f"{path} has SHA-256 {digest}, not {expected}; it is damaged or was changed: {way_out}")
    return digest
