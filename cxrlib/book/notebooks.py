"""Execute the notebook templates with papermill and leave clean, stamped copies for the book.

A copy holds what a reader needs and nothing that changes by itself: no time stamps, no progress text, no machine paths.
Its stamp is a hash of everything its content depends on; a notebook with the stamp of an earlier execution is not run again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cxrlib import markup
from cxrlib.book import kept
from cxrlib.data.provenance import digests
from cxrlib.experiment.one_run import RECORDED_PACKAGES
from cxrlib.files import atomic_write, file_digest

LIBRARY = Path(__file__).parent.parent
# Rooms and modules that shape pages and commands, not results: editing them must not repeat an experiment.
NOT_IN_STAMP = frozenset({"book", "cli", "evidence", "teach", "__main__.py"})
HOSTED = "hosted"
"""Cell of :mod:`cxrlib.book.launch`, which does nothing where a book is made."""


class BookError(RuntimeError):
    """The book cannot be made; the message is a sentence that says what to change."""


def minutes(seconds: float) -> str:
    """Seconds as ``m:ss``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def kernels_seconds() -> float:
    """CPU seconds, user and system, of the kernels that this process started and that have ended, with all that they started."""
    times = os.times()
    return times.children_user + times.children_system


def folder_state(folder: Path, cache: Path | None = None) -> str:
    """SHA-256 over the name and the content of every file of a folder.

    Args:
        cache: where digests of files that have not changed are remembered (:func:`cxrlib.data.provenance.digests`).

    Raises:
        OSError: if a file cannot be read.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = digests(files, folder, cache)
    # A name that is no text, of bytes that are not UTF-8, counts with these bytes.
    return hashlib.sha256(b"".join(name.encode(errors="surrogateescape") + b"\0" + found[name].encode() + b"\n" for name in files)).hexdigest()


@functools.cache
def package_versions() -> dict[str, str]:
    """Name and version of every installed distribution, and of Python itself.

    Not of the copies that setuptools brings along and puts on the path of whatever process imports it: two processes of one
    environment must agree.
    """
    places = [place for place in sys.path if "_vendor" not in Path(place).parts]
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions(path=places) if d.metadata["Name"]}
    return {"python": sys.version.split()[0]} | dict(sorted(found.items()))


def stamp(template: Path, parameters: Mapping[str, Any], data_states: Mapping[str, str], about: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides the content of an executed notebook.

    Args:
        template: notebook to execute; only its sources and tags count.
        parameters: what papermill injects.
        data_states: one state (see :func:`folder_state`) per data folder, and one per file that is read.
        about: what the copy says of itself.
    """
    cells = json.loads(template.read_text(encoding="utf-8"))["cells"]
    library = {path.relative_to(LIBRARY).as_posix(): path for path in LIBRARY.rglob("*.py")}
    library = {name: path.read_text(encoding="utf-8") for name, path in library.items() if not NOT_IN_STAMP & {name, name.split("/")[0]}}
    content = {
        "cells": [[c["cell_type"], "".join(c["source"]), {k: c["metadata"][k] for k in sorted(c["metadata"])}] for c in cells if c.get("id") != HOSTED],
        "parameters": dict(parameters),
        "library": dict(sorted(library.items())),
        "weights": {path.name: file_digest(path) for path in sorted((LIBRARY / "weights").iterdir()) if path.suffix in (".safetensors", ".json")},
        "data": dict(data_states),
        "about": dict(about),
        "packages": package_versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def declared_parameters(template: Path) -> list[str]:
    """Names assigned in the ``parameters`` cell of a notebook.

    Read with ``ast``: ``papermill.inspect_notebook`` misses a line whose comment holds quotes.
    """
    cells = json.loads(template.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    body = ast.parse(sources[0]).body if sources else []
    return [target.id for node in body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)]


def _register_engine() -> None:
    """Teach papermill an engine that prints one line of text per cell in place of a widget."""
    from papermill.engines import NBClientEngine, papermill_engines

    class PlainTextEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            name, total = Path(nb_man.nb.metadata.papermill["input_path"]).stem, len(nb_man.nb.cells)
            started, heading, original = time.monotonic(), "", nb_man.cell_start

            def cell_start(cell, cell_index=None, **keywords):
                nonlocal heading
                if cell.cell_type == "markdown" and cell.source.startswith("#"):
                    heading = cell.source.splitlines()[0].lstrip("# ")
                elif cell.cell_type == "code":
                    elapsed = minutes(time.monotonic() - started)
                    print(f"  {name}  cell {cell_index + 1}/{total}  {elapsed}  {heading}", flush=True)
                return original(cell, cell_index, **keywords)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("cxr", PlainTextEngine)


def _texts(cell: Any) -> Iterator[tuple[Any, str]]:
    """Every (container, key) of a cell that holds text a machine path could be in."""
    yield cell, "source"
    for output in cell.get("outputs", []):
        if "text" in output:
            yield output, "text"
        for mime in output.get("data", {}):
            if "text/" in mime or mime == "image/svg+xml":
                yield output["data"], mime


def clean(notebook: Any, replacements: Mapping[str, str]) -> None:
    """Strip an executed notebook, in place, of all that belongs to one run of it on one machine.

    Removes papermill's and nbclient's times and standard error (progress and library warnings), tags the parameter cells
    ``hide-input`` and applies ``replacements`` (machine path to what the reader should see) to sources and text outputs.
    """
    shorter = path_replacer(replacements)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
            cell.source = cell.source.removeprefix("# Parameters\n")
        is_parameters = bool({"parameters", "injected-parameters"} & set(tags))
        if (is_parameters or ".from_notebook(globals())" in cell.source) and cell.cell_type == "code" and "hide-input" not in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
        if is_parameters:
            cell.metadata["mystnb"] = {"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
        for container, key in _texts(cell):
            container[key] = shorter(container[key])


def path_replacer(replacements: Mapping[str, str]) -> Callable[[str], str]:
    """What replaces paths in a text, the longest first, also where :func:`cxrlib.markup.text` has escaped them.

    A path is one only where it begins: ``/d`` is none in ``https://doi.org/d``. The root of the file system, which is the
    home folder in some containers, stands for nothing and is left alone.
    """
    known = {old: new for old, new in replacements.items() if old.strip("/")}
    known = {str(markup.text(old)): str(markup.text(new)) for old, new in known.items()} | known
    if not known:
        return lambda text: text
    either = "|".join(re.escape(old) + ("" if old.endswith(os.sep) else r"(?![\w-])") for old in sorted(known, key=len, reverse=True))
    pattern = re.compile(rf"(?:(?<=file://)|(?<![\w/.:~-]))(?:{either})")
    return lambda text: pattern.sub(lambda found: known[found[0]], text)


def _run(template: Path, output: Path, parameters: Mapping[str, Any], root: Path) -> Any:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    _register_engine()
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that it cannot parse, which are right
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        return papermill.execute_notebook(
            str(template),
            str(output),
            parameters=dict(parameters),
            engine_name="cxr",
            kernel_name="python3",
            progress_bar=False,
            stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=50"],
            cwd=str(root),
        )
    except PapermillExecutionError as error:
        raise BookError(f"{template.name}: {error.evalue}\n(executed as far as it got: {output})") from None


def execute(
    template: Path,
    destination: Path,
    parameters: Mapping[str, Any],
    data_states: Mapping[str, str],
    about: Mapping[str, Any],
    root: Path,
    force: bool = False,
) -> bool:
    """Bring ``destination`` up to date with its template; True if the notebook had to be executed.

    Executions are kept under ``root/.cache/book/executed`` by stamp, so changing to another profile or data folder and back
    costs nothing.

    Args:
        template: notebook in ``notebooks/``.
        destination: executed copy in ``book/executed/``.
        parameters: values for its ``parameters`` cell; a name that the cell does not declare is an error.
        data_states: states of the data folders, part of the stamp.
        about: what the copy should say of itself in ``metadata.cxr`` (profile, data, ...).
        root: repository root, and working directory of the notebook.
        force: execute even if nothing changed.

    Raises:
        BookError: unknown parameter, or a cell failed; the message is the notebook's own sentence.
    """
    import nbformat

    from cxrlib.book import figures
    from cxrlib.book.fold import fold_code

    unknown = sorted(set(parameters) - set(declared_parameters(template)))
    if unknown:
        raise BookError(f"{template.name} has no parameter '{unknown[0]}'; take it out of the profile or declare it there")
    key = stamp(template, parameters, data_states, about)
    where = kept.place(key, destination.name, root)
    content = None if force else kept.read(where)
    executed = content is None
    if content is None:
        started, used = time.monotonic(), kernels_seconds()
        unfinished = root / ".cache" / "book" / "unfinished" / template.name
        notebook = _run(template, unfinished, parameters, root)
        outside = [Path(p) for p in data_states if not Path(p).resolve().is_relative_to(root)]
        folders = {str(path): f"…/{path.resolve().name}" for p in outside for path in (p.resolve(), p)}
        figures.adopt_findings(notebook)
        if faults := figures.unfinished(notebook, template.name):
            raise BookError("\n".join(faults))
        clean(notebook, folders | {f"{root}{os.sep}": "", str(root): ".", str(Path.home()) + os.sep: "~/"})
        fold_code(notebook)
        seconds = round(time.monotonic() - started, 1)
        versions = {name: version for name, version in package_versions().items() if name in ("python", *RECORDED_PACKAGES)}
        notebook.metadata["cxr"] = {**about, "stamp": key, "seconds": seconds, "cpu_seconds": round(kernels_seconds() - used, 1), "versions": versions}
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = nbformat.writes(notebook)
        kept.write(where, content)
        unfinished.unlink(missing_ok=True)
    else:
        os.utime(where.parent)
    if not destination.is_file() or destination.read_text(encoding="utf-8") != content:
        atomic_write(destination, content)
    return executed


def is_current(template: Path, parameters: Mapping[str, Any], data_states: Mapping[str, str], about: Mapping[str, Any], root: Path) -> bool:
    """Whether :func:`execute`, given the same, would find a kept execution and run nothing."""
    return kept.read(kept.place(stamp(template, parameters, data_states, about), template.name, root)) is not None
