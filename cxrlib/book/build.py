"""From notebooks to pages: prepare data, execute with papermill, render with Jupyter Book, check that nothing is fetched.

``build`` is what ``make book`` calls. The pages are made in a working folder and moved into place only when the build had no
warning and no page asks for anything from outside, so an old book is never replaced by a broken one.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cxrlib import markup
from cxrlib.book import partial
from cxrlib.book.chapters import Chapter, execute_all, sweep
from cxrlib.book.exercises import STUDENT, student_copy
from cxrlib.book.notebooks import BookError, folder_state, minutes
from cxrlib.book.render import render
from cxrlib.data.report import left_out_sentence
from cxrlib.files import atomic_write, file_digest, locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxrlib.data.extent import Extent


class _Stages:
    """Wall time per stage, printed as a table at the end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"{name} …", flush=True)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    def table(self) -> str:
        width = max(map(len, self.seconds))
        rows = [f"  {name:<{width}}  {minutes(seconds):>6}" for name, seconds in self.seconds.items()]
        return "\n".join([*rows, f"  {'total':<{width}}  {minutes(sum(self.seconds.values())):>6}"])


def _prepare_data(profile: str, data: Path | None, root: Path) -> tuple[str, dict[str, str]]:
    """Path to inject into the notebooks, and the state of that folder; makes the phantoms if no folder was given."""
    if data is not None:
        if not (root / data).is_dir():
            raise BookError(f"DATA: there is no folder '{data}'; give a folder in the COVIDx layout (see README, Real data)")
        return str(data), {str(root / data): _state(root / data, root)}
    from cxrlib.study.plan import make_phantoms

    folder = make_phantoms(profile, root)
    return str(folder), {str(root / folder): _state(root / folder, root)}


def _state(folder: Path, root: Path) -> str:
    """:func:`folder_state`; BookError naming the file that cannot be read, or the folder whose name is no text."""
    try:
        str(folder.resolve()).encode()
        return folder_state(folder, root / ".cache")
    except UnicodeEncodeError:
        raise BookError(f"the name of the folder {markup.visible(folder)} is not UTF-8; rename it, as a page cannot show it") from None
    except OSError as error:
        raise BookError(f"{markup.visible(error.filename or folder)}: cannot be read ({error.strerror}); make it readable or take it out of {folder}") from None


def _check_external(external: Path, root: Path) -> None:
    """BookError in a sentence if a folder cannot be a second test set."""
    from cxrlib.data.folder import read_index
    from cxrlib.data.labels import DataError

    try:
        read_index(root / external, splits=("test",))
    except DataError as error:
        raise BookError(f"EXTERNAL: {error}") from None


def _extent(folder: Path) -> Extent:
    """What a data folder holds; says on the terminal what is left out of it and what it lacks.

    Raises:
        BookError: if the folder cannot be used, before any notebook is executed.
    """
    from cxrlib.data.extent import extent
    from cxrlib.data.labels import DataError

    try:
        known = extent(folder)
    except DataError as error:
        raise BookError(f"DATA: {error}") from None
    if sentence := left_out_sentence(known.left_out, known.rows):
        print(f"  {folder}: {sentence} ('cxr data check' lists them)")
    if known.sentence:
        print(f"  {known.sentence}; the pages say what cannot be computed")
    return known


def _said(known: Extent) -> dict[str, str]:
    """What every page of a copy says of its data: ``left_out``, rows that are not used, by reason; ``lacking``, splits and classes that are missing."""
    said = {"left_out": left_out_sentence(known.left_out, known.rows), "lacking": known.sentence}
    return {name: sentence for name, sentence in said.items() if sentence}


def file_states(notebook: str, parameters: dict, root: Path) -> dict[str, str]:
    """SHA-256 of all that a parameter of a notebook names and that decides what it shows.

    That is every file, such as a table of committed records, and those beside it that are read with it; every folder but those of the data, which have a state of
    their own, and of what is computed; the profile whose runs are drawn; and the weights that runs start from.
    """
    from cxrlib.study.parameters import STUDIES, profiles_of, read_with
    from cxrlib.weights.resolve import resolve_initialisation
    from cxrlib.weights.source import WeightsError

    values = {name: field.default for name, field in STUDIES[notebook].model_fields.items()} | parameters
    states = {str(path): file_digest(path) for name in profiles_of(STUDIES[notebook]) if (path := root / "profiles" / f"{name}.yaml").is_file()}
    for name, value in values.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            if not isinstance(each, str | Path) or name in ("data", "store", "cache", "external"):
                continue
            path = root / "profiles" / f"{each}.yaml" if name == "profile" else root / each
            if files := [file for file in read_with(STUDIES[notebook], name, path) if file.is_file()]:
                states |= {str(file): file_digest(file) for file in files}
            elif path.is_dir():
                states[str(path)] = _state(path, root)
            elif name in ("init", "inits"):
                with suppress(WeightsError):  # the notebook will say so
                    found = resolve_initialisation(str(each), download=False)
                    states |= {} if found.path is None else {str(found.path): str(found.sha256)}
    return states


def pages_folder(root: Path, name: str, sources: list[Path]) -> Path:
    """Where the pages of a profile and its folders lie: ``_build/NAME``, or if other folders have that name, with a number of their own.

    Args:
        name: profile and last names of the folders.
        sources: the data folder and the external one, whose paths tell books of one name apart.
    """
    digest = hashlib.sha256("\0".join(str(path.resolve()) for path in sources).encode(errors="surrogateescape")).hexdigest()
    owner = root / "_build" / f".{name}.of"
    if not owner.is_file() or owner.read_text() == digest:
        atomic_write(owner, digest)
        return root / "_build" / name
    return root / "_build" / f"{name}-{digest[:8]}"


def build(
    profile: str = "demo",
    data: Path | None = None,
    force: bool = False,
    root: Path | None = None,
    external: Path | None = None,
    student: bool = False,
) -> Path:
    """Make the book of one profile on one data folder and print where it is and where the time went.

    Args:
        profile: name of a file in ``profiles/``, without ``.yaml``.
        data: folder in the COVIDx layout; by default phantoms are generated. A path that is not absolute starts at ``root``.
        force: execute every notebook and render every page, changed or not.
        root: repository root; by default the working directory.
        external: folder in the COVIDx layout whose test split becomes a second test set, for the notebooks that take one;
            a relative path starts at ``root``.
        student: make the edition without solutions, in a folder of its own whose name ends in ``-student``.

    Returns:
        First page: ``_build/html/index.html`` for the demo on phantoms, ``_build/<profile>-<data>/index.html`` for any
        other, and ``_build/<profile>-<data>-with-<external>/index.html`` with an external set; see :func:`pages_folder`.

    Raises:
        BookError: with a sentence for the user. ``cxrlib.config.ParameterError`` for a faulty profile.
    """
    from cxrlib.study.parameters import STUDIES, Profile

    root = (root or Path.cwd()).resolve()
    if not (root / "_toc.yml").is_file():
        raise BookError(f"{root} holds no _toc.yml; run this from the root of the repository")
    chosen = Profile.load(profile, root / "profiles")
    if external is not None:
        _check_external(external, root)
    stages = _Stages()
    with locked(root / ".cache" / "book"):
        with stages.stage("data"):
            folder, states = _prepare_data(profile, data, root)
        about = {"profile": profile, "data": "phantoms" if data is None else (root / folder).resolve().name}
        known = None if data is None else _extent(root / folder)
        about |= {} if known is None else _said(known)
        templates = sorted((root / "notebooks").glob("*.ipynb"))
        chapters = []
        for template in templates:
            destination = root / "book" / "executed" / template.name
            if known is not None and known.lacking and getattr(STUDIES[template.stem], "BOTH_CLASSES", False):
                partial.write(template, destination, known, about)
                continue
            here, mine = folder, states
            if known is not None and known.lacking and template.stem in partial.ON_PHANTOMS:
                here, mine = _prepare_data(profile, None, root)
            given = {"external": str(external)} if external is not None and "external" in STUDIES[template.stem].model_fields else {}
            parameters = chosen.parameters(template.stem, data=here, **given)
            inputs, copy = mine | file_states(template.stem, parameters, root), about
            if parameters.get("external") is not None:
                second = root / parameters["external"]
                inputs, copy = inputs | {str(second): _state(second, root)}, about | {"external": second.resolve().name}
            chapters.append(Chapter(template, destination, parameters, inputs, copy))
        if known is None or not known.lacking:
            with stages.stage("runs"):
                sweep([chapter for chapter in chapters if force or not chapter.current(root)], profile, folder, root)
        with stages.stage("notebooks"):
            execute_all(chapters, root, force)
        default = profile == "demo" and data is None and external is None
        beside = "" if external is None else f"-with-{(root / external).resolve().name}"
        given = [root / path for path in (folder, external) if path is not None]
        pages = root / "_build" / "html" if default else pages_folder(root, f"{profile}-{about['data']}{beside}", given)
        sources = root
        if student:
            pages = pages.with_name(f"{pages.name}-{STUDENT}")
            try:
                sources = student_copy(root)
            except ValueError as error:
                raise BookError(str(error)) from None
        with stages.stage("pages"):
            if not render(sources, pages, force):
                print("  nothing changed")
    print(f"\nTime\n{stages.table()}\n\nOpen {pages / 'index.html'}")
    return pages / "index.html"
