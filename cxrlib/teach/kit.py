"""The bundle for a class: one zip for the students, one for the teacher, made for a room without a network.

The students' folder holds the built book without solutions, the labs with blanks, slides, handout and quiz sheet, ready
phantoms, the records, cxrlib itself, and with ``WHEELS=1`` everything that it needs. The teacher's has the labs with solutions and hidden
checks, the slides with notes and the key of the quizzes.

    python -m cxrlib.teach.kit [--wheels]      after `cxr book --student`; `make class` does both
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cxrlib.book.notebooks import BookError
from cxrlib.book.publish import EPOCH
from cxrlib.files import atomic_write
from cxrlib.teach import classroom, editions, slides

NAME = "cxrlib-class"
PAGES = Path("_build/html-student")
WANTED = "cxrlib[lab]"
RECORDS = ("confounding.parquet", "upstream.parquet", "quarter.parquet", "files.parquet", "README.md")
"""What of ``results/`` the labs read."""
README = """A class on fine-tuning and on what a score shows
=================================================

Not for diagnosis. The images in data/ are phantoms: computed pictures of an anatomical model, of no patient.

To start, in this folder, with Python {python} (three lines; on Windows env\\Scripts\\ in place of env/bin/):

    python3 -m venv env
    env/bin/python -m pip install {offline}--find-links wheels "{wanted}"
    env/bin/python -m jupyterlab labs

{network}

labs/          five notebooks with blanks; checks below each task answer at once
book/          the book: open book/index.html
slides.html    the slides; handout.pdf: one page to take home; quiz.pdf: entry and exit quiz
data/class/    the phantoms of the labs
results/       records of longer trainings, which the labs load
"""


def needed(root: Path) -> set[str]:
    """Canonical names of all distributions that ``cxrlib[lab]``, as pyproject.toml has it, needs on this machine.

    Raises:
        BookError: if one of them is not installed here.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["lab"])]
    while waiting:
        one = waiting.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in found:
            continue
        found.add(key)
        try:
            requires = importlib.metadata.requires(one.name) or []
        except importlib.metadata.PackageNotFoundError:
            raise BookError(f"{one.name} is not installed here; run `make environment`") from None
        for requirement in map(Requirement, requires):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                waiting.append(requirement)
    return {name for name, _ in found}


def pinned(lock: str, names: set[str]) -> str:
    """The part of a lock file that pins some distributions, with their checksums.

    Raises:
        BookError: if one of them is not in it.
    """
    parts: dict[str, list[str]] = {}  # a distribution may be pinned more than once, for several Pythons or systems
    for part in re.split(r"\n(?=[A-Za-z0-9])", lock):
        if (found := re.match(r"([\w.-]+)==", part)) is not None:
            parts.setdefault(canonicalize_name(found[1]), []).append(part.rstrip())
    if missing := sorted(names - parts.keys()):
        raise BookError(f"requirements.lock does not have {', '.join(missing)}; run `make lock`")
    return "\n".join(part for name in sorted(names) for part in parts[name]) + "\n"


def _pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "-q"], capture_output=True, text=True)
    if done.returncode:
        raise BookError(f"pip {arguments[0]} failed: {done.stderr.strip()[-600:]}")


def collect_wheels(root: Path, folder: Path, all_of_them: bool) -> None:
    """Put cxrlib as a wheel into a folder, and if wanted everything that it needs on a machine like this one, by the checksums of the lock.

    Raises:
        BookError: in the words of pip, such as that there is no network.
    """
    _check_licences(root)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:  # setuptools leaves a folder beside the sources
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, place)
        shutil.copytree(root / "LICENSES", Path(place) / "LICENSES")
        shutil.copytree(root / "cxrlib", Path(place) / "cxrlib", ignore=shutil.ignore_patterns("__pycache__"))
        _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), place)
    if not all_of_them:
        return
    with tempfile.TemporaryDirectory() as place:
        wanted = Path(place) / "wanted.txt"
        wanted.write_text(pinned((root / "requirements.lock").read_text(encoding="utf-8"), needed(root)), encoding="utf-8")
        _pip("download", "--no-deps", "--require-hashes", "-r", str(wanted), "-d", str(folder))
    _pip("install", "--dry-run", "--ignore-installed", "--no-index", "--find-links", str(folder), WANTED)  # is it whole?


def _check_licences(root: Path) -> None:
    """Raise :class:`BookError` if the terms of the weights are not there: they go wherever the weights go."""
    if not (root / "LICENSES").is_dir():
        raise BookError(f"{root / 'LICENSES'} is missing, with the terms of the weights; restore it with git checkout")


def gather(root: Path, pages: Path, work: Path, wheels: bool = False, ready: Path | None = None) -> tuple[Path, Path]:
    """Put together the students' and the teacher's folder below ``work``.

    Args:
        root: of the repository.
        pages: the built book without solutions.
        work: an empty folder.
        wheels: with all wheels for an installation without a network.
        ready: folder of the phantoms of the class; by default ``root/data/class``, made if it is not there.

    Raises:
        BookError: if the book is not built, or a solution would be in the students' folder.
    """
    if not (pages / "index.html").is_file():
        raise BookError(f"{pages} holds no index.html; run `make book STUDENT=1` first")
    _check_licences(root)
    students, teacher = work / NAME, work / f"{NAME}-teacher"
    before = Path.cwd()
    os.chdir(root)
    try:
        phantoms = {level: classroom.phantoms(level, ready or classroom.PHANTOMS).resolve() for level in classroom.LEVELS}
    finally:
        os.chdir(before)
    shutil.copytree(pages, students / "book")
    for level, folder in phantoms.items():
        shutil.copytree(folder, students / classroom.PHANTOMS / f"phantoms-{level:g}")
    for name in RECORDS:
        (students / "results").mkdir(exist_ok=True)
        shutil.copy(root / "results" / name, students / "results" / name)
    shutil.copytree(root / "profiles", students / "profiles")
    shutil.copy(root / "LICENSE", students / "LICENSE")
    shutil.copytree(root / "LICENSES", students / "LICENSES")  # of the weights in the wheel
    editions.write(work / "editions", root / editions.LABS)
    shutil.move(work / "editions" / "student", students / "labs")
    shutil.move(work / "editions" / "teacher", teacher / "labs")
    slides.write(students, root)
    for path in (students / "teacher").iterdir():
        shutil.move(path, teacher / path.name)
    (students / "teacher").rmdir()
    collect_wheels(root, students / "wheels", wheels)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    network = "Everything is in this folder; no network is needed." if wheels else "The second line fetches packages from the network, once; after it none is needed."
    atomic_write(students / "README.txt", README.format(python=python, offline="--no-index " if wheels else "", wanted=WANTED, network=network))
    if told := secrets_in(students):
        raise BookError("a solution would be in the students' folder: " + ", ".join(told[:5]))
    return students, teacher


def secrets_in(students: Path) -> list[str]:
    """Files of the students' folder, but for the source of cxrlib, that hold a solution or a hidden check."""
    found = []
    for path in sorted(students.rglob("*")):
        if path.suffix in (".ipynb", ".md", ".html", ".js", ".txt") and not {"source", "wheels"} & set(path.relative_to(students).parts):
            text = path.read_text(encoding="utf-8", errors="replace")
            if editions.SECRETS.search(text) or re.search(r"\{solution\} |Solution to Exercise|☒", text):
                found.append(path.relative_to(students).as_posix())
    return found


def pack(folder: Path, output: Path) -> str:
    """Zip a folder, the same bytes for the same files, with its SHA-256 beside it; wheels and pictures are stored as they are.

    Returns:
        The checksum.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as packed:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                about = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", EPOCH)
                about.compress_type = zipfile.ZIP_STORED if path.suffix in (".whl", ".png", ".parquet") else zipfile.ZIP_DEFLATED
                about.external_attr, about.file_size = 0o644 << 16, path.stat().st_size
                with path.open("rb") as source, packed.open(about, "w") as target:
                    shutil.copyfileobj(source, target, 2**20)
        with partial.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    atomic_write(output.with_name(f"{output.name}.sha256"), f"{digest}  {output.name}\n")
    return digest


def make(root: Path, pages: Path, out: Path, wheels: bool = False, ready: Path | None = None) -> Mapping[Path, str]:
    """Both zip files and their checksums; see :func:`gather`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        folders = gather(root, pages, Path(work), wheels, ready)
        return {out / f"{folder.name}.zip": pack(folder, out / f"{folder.name}.zip") for folder in folders}


def main(arguments: list[str]) -> int:
    """``python -m cxrlib.teach.kit [--wheels]``, in the root of the repository."""
    root = editions.ROOT
    try:
        if not set(arguments) <= {"--wheels"}:
            raise BookError(f"say {main.__doc__}")
        for path, digest in make(root, root / PAGES, root / "_build", "--wheels" in arguments).items():
            print(f"{path}  {path.stat().st_size / 1e6:.0f} MB  SHA-256 {digest}")
    except (BookError, editions.EditionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
