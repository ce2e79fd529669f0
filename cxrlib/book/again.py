"""A book that is made again reads only the pages whose text has changed, and writes them all.

Reading is two thirds of the work; written is everything, because a title, a number or a label of one page stands on others.
What Sphinx has read is kept between builds as long as only text changes. :mod:`cxrlib.book.render` throws it away when
anything else does (a notebook, a result, the library, a version), and after a build that failed, whose warnings would not
come again. Whether a text has changed is told by its bytes: a file that is put back keeps its old time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cxrlib.book.exercises import TASKS
from cxrlib.files import atomic_write

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


def texts(book: Path) -> list[Path]:
    """The texts of a book that were written by hand; all else that its pages are made of is no text."""
    return sorted([*book.glob("*.md"), *(book / TASKS).glob("*.md")])


def outdated(app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]) -> list[str]:
    """Pages whose source, or the exercise at its end, has other bytes than when it was read."""

    def state(page: str) -> str:
        digest = hashlib.sha256()
        for path in (Path(env.doc2path(page)), Path(app.srcdir) / TASKS / f"{Path(page).name}.md"):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()

    before, now = getattr(env, "cxr_states", {}), {page: state(page) for page in env.found_docs}
    env.cxr_states = now
    return [page for page in now if before.get(page) != now[page]]


def kept(app: Sphinx, name: str, make: Callable[[], str]) -> str:
    """A text that follows from the library and its versions, made by the first build and read by those after it."""
    place = Path(app.doctreedir) / "cxr" / name
    if not place.is_file():
        atomic_write(place, make())
    return place.read_text(encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.connect("env-get-outdated", outdated)
