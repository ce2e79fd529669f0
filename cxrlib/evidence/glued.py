"""The values that the book glues from committed records, computed again, against what was stated and what a built book shows.

A value is computed by the statements of the notebook's template that it hangs on (:mod:`cxrlib.evidence.slices`), with
the parameters of the default book. Values that hang on runs made while the book is built, or on its data folder, have no
committed record and are left out.

What the book says stands in ``results/glued.json``: each value by notebook and name with the files that it hangs on, and
the SHA-256 of every such file. A change of it shows in a review as what it is, a change of what is claimed.

**Tolerance.** Texts, among them every number that is printed with its last digit, and whole numbers must be the same.
Numbers that are glued unrounded may differ by :data:`RELATIVE`: another processor adds in another order.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from unittest import mock

from cxrlib.book.glue import glued_values
from cxrlib.evidence import slices
from cxrlib.evidence.check import Check
from cxrlib.files import atomic_write, file_digest
from cxrlib.study.figures import captions
from cxrlib.study.parameters import STUDIES, Profile, read_with

STATED = Path("results/glued.json")
RELATIVE = 1e-9
PROFILE, DATA = "demo", "data/phantom"  # of the default book
ABOUT = "What the book glues from committed records; 'cxr verify' computes it again, 'cxr verify --write' writes it."
Value = str | int | float


@dataclass(frozen=True)
class Glued:
    """A value, the parameters' files that it hangs on, and where it is glued."""

    notebook: str
    name: str
    value: Value
    files: tuple[str, ...]


def recompute(root: Path = Path("."), notebooks: list[str] | None = None) -> list[Glued]:
    """Every value that the templates in ``root/notebooks`` glue from committed records, in the order of the book.

    Raises:
        ValueError, OSError: what the statement of a notebook raises, with the notebook's name before it.
    """
    found: list[Glued] = []
    with contextlib.chdir(root):
        for name in STUDIES:
            if (notebooks is None or name in notebooks) and (Path("notebooks") / f"{name}.ipynb").is_file():
                try:
                    found += _of_notebook(name)
                except (ValueError, OSError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
                    raise ValueError(f"notebooks/{name}.ipynb: {error}") from error
    return found


def _of_notebook(name: str) -> list[Glued]:
    given, statements = slices.statements(Path("notebooks") / f"{name}.ipynb")
    wanted = {place: places for place, places in slices.slices(statements) if not slices.is_live(statements, places)}
    if not wanted:
        return []
    found: list[Glued] = []
    files: tuple[str, ...] = ()

    def glue(key: str, value: Any, display: bool = True) -> None:
        found.append(Glued(name, key, _plain(value), files))

    def hand(values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            glue(key, value)

    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(given, f"<parameters of {name}>", "exec"), namespace)
    namespace |= {key: value for key, value in Profile.load(PROFILE).parameters(name, data=DATA).items() if key in namespace}
    for place in sorted({each for places in wanted.values() for each in places}):
        node = statements[place].node
        if place in wanted:
            namespace["glue"] = glue
            files = tuple(sorted(_files(slices.used_parameters(statements, wanted[place]), namespace[slices.PARAMETERS])))
        # Statements that glue what is live are in no slice of what is not, so nothing live is computed here.
        with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(captions, "hand", hand):  # a figure inside an 'if' prints its caption
            exec(compile(ast.Module([node], []), f"<cell {statements[place].cell} of {name}>", "exec"), namespace)
    return found


def _files(names: set[str], parameters: Any) -> set[str]:
    """Which of some parameters are files that exist, as written, with those that are read with them: ``bit-gpu.parquet`` beside ``bit.parquet``."""
    values = {name: value for name in names if isinstance(value := getattr(parameters, name, None), Path)}
    return {path.as_posix() for name, value in values.items() for path in read_with(type(parameters), name, value) if path.is_file()}


def _plain(value: Any) -> Value:
    """A text, or a number of Python's own kinds."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{value!r} is neither a text nor a number")
    return int(value) if isinstance(value, Integral) else float(value)


def write(found: list[Glued], root: Path = Path(".")) -> Path:
    """State values: ``results/glued.json`` in ``root``."""
    files = sorted({path for each in found for path in each.files})
    values: dict[str, dict[str, Any]] = {}
    for each in found:
        values.setdefault(each.notebook, {})[each.name] = {"value": _as_stated(each), "from": list(each.files)}
    content = {"about": ABOUT, "files": {path: file_digest(root / path) for path in files}, "values": values}
    path = root / STATED
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def _as_stated(each: Glued) -> Any:
    return json.loads(each.value) if each.name == "verdicts" and isinstance(each.value, str) else each.value


def read(root: Path = Path(".")) -> dict[str, Any]:
    """What :func:`write` wrote.

    Raises:
        ValueError: if there is no such file, or it is something else.
    """
    path = Path(root) / STATED
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(content[name], dict) for name in ("files", "values")):
            raise ValueError("it lacks 'files' or 'values'")
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); get it again, or write it with 'cxr verify --write'") from None


def same(stated: Any, found: Any) -> bool:
    """Whether two values are the same within the stated tolerance."""
    if isinstance(stated, float) and isinstance(found, float):
        return math.isclose(stated, found, rel_tol=RELATIVE, abs_tol=0) or (math.isnan(stated) and math.isnan(found))
    return type(stated) is type(found) and stated == found


def compare(found: list[Glued], stated: dict[str, Any], behind: Mapping[tuple[int, str, str], list[str]] | None = None) -> list[Check]:
    """Each stated value against the one computed again; a verdict has a row for each of its comparisons.

    Args:
        behind: keys of the records behind each comparison, of :func:`cxrlib.evidence.behind.keys`.
    """
    again = {(each.notebook, each.name): each for each in found}
    checks = []
    for notebook, values in stated["values"].items():
        for name, entry in values.items():
            each, value, files = again.pop((notebook, name), None), entry["value"], ", ".join(entry["from"]) or "the paper, the package"
            if each is None:
                checks.append(Check("glued", f"{notebook}::{name}", str(value), files, False, "no notebook glues it from committed records; write the file again"))
            elif name == "verdicts":
                checks += _of_verdicts(value, _as_stated(each), files, behind or {})
            else:
                fits = same(value, each.value)
                checks.append(Check("glued", f"{notebook}::{name}", str(value), files, fits, "" if fits else f"computed again: {each.value}"))
    for each in again.values():
        checks.append(Check("glued", f"{each.notebook}::{each.name}", str(each.value), ", ".join(each.files), False, f"{STATED} does not state it; look at it and write the file again"))
    return checks


def _of_verdicts(stated: list[dict[str, Any]], found: list[dict[str, Any]], files: str, behind: Mapping[tuple[int, str, str], list[str]]) -> list[Check]:
    """Claim by claim and comparison by comparison; the word of a claim is checked with its comparisons."""
    name = lambda row: (row["claim"], row["part"], row["compared"])  # noqa: E731
    again, checks = {name(row): row for row in found}, []
    for row in stated:
        other = again.pop(name(row), None)
        claim = f"claim {row['claim']} ({row['title']}, {row['claim_word']}): {row['part']}: {row['compared']}"
        differing = ["it is gone"] if other is None else [f"{key}: {other.get(key)}" for key in {**row, **other} if row.get(key) != other.get(key)]
        note = f"computed again: {'; '.join(differing)}" if differing else ""
        keys = tuple(behind.get(name(row), ()))
        where = f"{len(keys)} records of results/quarter.parquet" if keys else f"{row['pairs']} runs of {files}" if row["pairs"] else "no run"
        checks.append(Check("verdict", claim, f"{row['word']}: {row['result']}", where, not differing, note, keys))
    checks += [Check("verdict", f"claim {row['claim']}: {row['compared']}", row["word"], files, False, f"{STATED} does not state it") for row in again.values()]
    return checks


def files_as_stated(stated: dict[str, Any], root: Path) -> list[Check]:
    """The digest of every file behind the values."""
    checks = []
    for name, digest in stated["files"].items():
        path = root / name
        found = file_digest(path) if path.is_file() else "no such file"
        checks.append(Check("records", f"{name} is the file behind the values", digest, name, found == digest, "" if found == digest else f"SHA-256 here: {found}"))
    return checks


def in_book(stated: dict[str, Any], folder: Path) -> list[Check]:
    """Stated values against those of executed notebooks in ``folder``, where these are those of the default book."""
    checks = []
    for notebook, values in stated["values"].items():
        path = folder / f"{notebook}.ipynb"
        if not path.is_file():
            continue
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("cxr", {})
        if (about.get("profile"), about.get("data")) != (PROFILE, "phantoms"):
            continue
        shown = glued_values(path)
        for name, entry in values.items():
            value = shown.get(name)
            value = json.loads(value) if name == "verdicts" and isinstance(value, str) else value
            fits = name in shown and (value == entry["value"] or same(entry["value"], value))
            number = entry["value"] if name != "verdicts" else f"{len(entry['value'])} comparisons"
            note = "" if fits else f"the executed notebook has {shown.get(name, 'no such value')}; 'make book' executes it again"
            checks.append(Check("book", f"{notebook}::{name} in the built book", str(number), str(path), fits, note))
    return checks
