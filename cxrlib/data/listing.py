"""The files of a folder, listed once, so that a million rows are looked up without asking the disk for each."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from cxrlib.words import cleaned

LONGEST_NAME = 1024  # letters of a file name with its folders; longer ones are not looked for


class Listing:
    """Names of all files below a folder, relative to it and with '/'.

    Args:
        folder: need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[str] = set()
        self.linked = folder.is_symlink()
        """Whether the folder or anything below it is a symbolic link."""
        start = len(str(folder)) + 1
        for place, folders, files in os.walk(folder):
            below = "" if place == str(folder) else place[start:].replace(os.sep, "/") + "/"
            self.files.update(below + name for name in files)
            self.linked |= any(os.path.islink(os.path.join(place, name)) for name in (*folders, *files))

    @cached_property
    def _by_look(self) -> dict[str, list[str]]:
        return _grouped(self.files, _look)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped(self.files, lambda name: _stem(_look(name)))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped(self.files, lambda name: _stem(_look(name.rsplit("/", 1)[-1])))

    def find(self, name: str) -> str | None:
        """The file of this name, or the only one whose name looks the same (composed letters, blanks); None if there is none."""
        if name in self.files:
            return name
        alike = self._by_look.get(_look(name), ())
        return alike[0] if len(alike) == 1 else None

    def near(self, name: str) -> list[str]:
        """Files whose names differ in case or extension only, or else those of the same name in other subfolders."""
        stem = _stem(_look(name))
        return sorted(self._by_stem.get(stem, ())) or sorted(self._by_name.get(stem.rsplit("/", 1)[-1], ()))

    def with_spaces(self, words: str) -> tuple[str, str] | None:
        """The words before a file name that holds spaces, and the longest such name at the end of ``words``."""
        parts = words.split(" ") if "  " not in words and words.isascii() else words.split()
        found, length = None, 0
        for cut in range(len(parts) - 1, 0, -1):
            length += len(parts[cut]) + 1
            if length > LONGEST_NAME:
                break
            name = self.find(" ".join(parts[cut:]))
            if name is not None:
                found = (" ".join(parts[:cut]), name)
        return found


def _grouped(names: set[str], key) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _look(name: str) -> str:
    return " ".join(cleaned(name).split())


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()
