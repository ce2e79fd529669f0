"""From executed notebooks to pages: Jupyter Book in a working folder, checked, then moved into place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cxrlib.book.again import texts
from cxrlib.book.chapters import ENDS_WITH_PARENT
from cxrlib.book.notebooks import LIBRARY, BookError, package_versions
from cxrlib.book.offline import external_requests
from cxrlib.book.slim import slim
from cxrlib.files import atomic_write

# Jupyter Book of this interpreter, whatever is on PATH.
BUILDER = ENDS_WITH_PARENT + "import cxrlib.book\nfrom jupyter_book.cli.main import main\nmain()\n"


def _book_states(root: Path) -> tuple[str, str]:
    """SHA-256 of every source of the pages (configuration, text, executed notebooks, results, library, versions), and of all of them but text."""
    whole = hashlib.sha256(repr(package_versions()).encode())
    sources = [root / "_config.yml", root / "_toc.yml", root / "pyproject.toml", *sorted(root.glob("profiles/*")), *sorted(root.glob("results/*"))]
    written = set(texts(root / "book"))
    _add(whole, root, [*sources, *sorted(LIBRARY.rglob("*.py")), *(path for path in _page_sources(root) if path not in written)])
    rest = whole.hexdigest()
    _add(whole, root, sorted(written))
    return whole.hexdigest(), rest


def _add(digest: hashlib._Hash, root: Path, paths: list[Path]) -> None:
    for path in paths:
        if path.is_file():
            digest.update(os.path.relpath(path, root).encode() + b"\0" + path.read_bytes())


def _page_sources(root: Path) -> list[Path]:
    """Files under ``book/`` that were written by hand, and the executed notebooks."""
    made = root / "book" / "executed" / "figures"
    return [path for path in sorted((root / "book").rglob("*")) if made not in path.parents]


def render(root: Path, pages: Path, force: bool) -> bool:
    """Build the pages if their sources changed; True if they were built."""
    (state, rest), marker = _book_states(root), pages.parent / f".{pages.name}.state"
    if not force and (pages / "index.html").is_file() and marker.is_file() and marker.read_text() == state:
        return False
    work, log = root / ".cache" / "book" / "pages", root / ".cache" / "book" / "build.log"
    read = work / "read-with"  # what was read is kept while only text changes, and there only after a build that succeeded
    if force or not read.is_file() or read.read_text() != rest:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    read.unlink(missing_ok=True)
    shutil.rmtree(work / "_build" / "html", ignore_errors=True)
    command = [sys.executable, "-c", BUILDER, "build", "book", "--config", "_config.yml", "--toc", str(root / "_toc.yml")]
    command += ["--path-output", str(work), "-W", "--keep-going", "-n", "-q"]
    with log.open("w", encoding="utf-8") as stream:
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, env=environment) as builder:
            try:
                status = builder.wait()
            except BaseException:
                builder.kill()
                raise
    built = work / "_build" / "html"
    lines = re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8")).splitlines()
    warnings = [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL", line)]
    if status or warnings or not (built / "index.html").is_file():
        raise BookError("\n".join([f"the pages were not built; the whole log is {log}", *(warnings[:40] or lines[-15:])]))
    slim(built)
    requests = external_requests(built)
    if requests:
        raise BookError("\n".join(["the pages would fetch from outside, which must never happen:", *requests[:40]]))
    marker.unlink(missing_ok=True)
    _put_in_place(built, pages)
    atomic_write(marker, state)
    atomic_write(read, rest)
    return True


def _put_in_place(built: Path, pages: Path) -> None:
    """Move a finished book to its place; the old one stands until the new one is beside it, whatever disks they are on."""
    pages.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (pages.parent / f".{pages.name}.{what}" for what in ("new", "old"))
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    try:
        shutil.move(built, fresh)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise BookError(f"cannot write {fresh} ({error.strerror or error}); the old pages still stand") from None
    if pages.exists():
        pages.rename(old)
    fresh.rename(pages)
    shutil.rmtree(old, ignore_errors=True)
