"""The bad-input matrix: what is given x how it is wrong, a row each.

Every module here has a list ``ROWS`` for one kind of thing. :mod:`test_bad_inputs` runs all rows: the message names the file
and has the words of the row, no file changes, none appears, none is lost. ``tools/what_happens_if.py`` makes a page of the
book of them.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import write_folder

CHECK = ("data", "check", "set", "--strict")
ALLOWED = (ValueError, OSError, RuntimeError)
"""What may be raised: the command line prints these as sentences."""


@dataclass(frozen=True)
class Bad:
    """One row.

    Attributes:
        what: kind of thing, such as 'label file'.
        how: how it is wrong, as one would say it after 'if'.
        make: puts it into a folder that holds ``set/``, a sound data folder.
        call: arguments of ``cxr``, run inside that folder; or a function of the folder that raises.
        says: words that the message must have.
        data: whether ``set/`` is needed.
    """

    what: str
    how: str
    make: Callable[[Path], Any]
    says: tuple[str, ...]
    call: Sequence[str] | Callable[[Path], Any] = CHECK
    data: bool = True

    def said(self, place: Path) -> str:
        """Make the thing in an empty folder, use it, and return what is said.

        Raises:
            AssertionError: if nothing is refused, or a file changed, appeared or is gone.
        """
        if self.data:
            write_folder(place / "set", train=4, test=2, size=32)
        self.make(place)
        before = digests(place)
        here = Path.cwd()
        os.chdir(place)
        try:
            said = self._use(place)
        finally:
            os.chdir(here)
        assert digests(place) == before, f"files changed: {set(digests(place).items()) ^ set(before.items())}"
        return said

    def _use(self, place: Path) -> str:
        if callable(self.call):
            try:
                self.call(place)
            except ALLOWED as error:
                return str(error)
            raise AssertionError("it was taken")
        from typer.testing import CliRunner

        from cxrlib.cli.main import app

        result = CliRunner().invoke(app, list(self.call))
        assert result.exit_code in (1, 2), f"exit status {result.exit_code}: {result.output} {result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), f"not a sentence: {result.exception!r}"
        return result.output


def digests(place: Path) -> dict[str, str]:
    """Every file, folder and link below a folder, with a digest of its content."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink() or not path.is_file():
            found[name] = os.readlink(path) if path.is_symlink() else "no file"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def rows() -> list[Bad]:
    """All rows, by module."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [row for name in modules for row in importlib.import_module(f"{__name__}.{name}").ROWS]
