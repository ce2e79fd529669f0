"""What the commands of ``cxr`` share: options, ``NAME=VALUE`` parameters, and errors as sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrlib.files import check_replaceable
from cxrlib.markup import visible
from cxrlib.parameter_files import read_value

Labels = Annotated[Path | None, typer.Option(help="Folder with the label files, if not beside the images.")]
Store = Annotated[Path, typer.Option(help="Folder of run records.", file_okay=False)]
Cache = Annotated[Path, typer.Option(help="Folder of resized images.", file_okay=False)]
Workers = Annotated[int | None, typer.Option(min=1, help="Runs at a time; default one per GPU or core.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse data with any problem, instead of leaving rows out.")]
Setting = Annotated[list[str] | None, typer.Option("-p", "--parameter", help="NAME=VALUE, value in YAML; may repeat.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that carry a sentence for the user are printed as that sentence, with exit status 1.

    What cannot be seen is written out, so that no name from data speaks to the terminal. A terminal that has no sign for a
    character, such as one of latin-1 for '…', gets a question mark and not a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename and error.strerror else str(error)
        typer.secho("\n".join(map(visible, f"error: {said}".split("\n"))), fg="red", err=True)
        raise typer.Exit(1) from None


def settings(texts: list[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary, the values read as YAML.

    Raises:
        ValueError: with the text that is not of that form, or names what another did.
    """
    values = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"'{text}' is not NAME=VALUE, such as -p resize=64")
        name = name.strip()
        if name in values:
            raise ValueError(f"'{text}': '{name}' is given twice; keep one")
        try:
            values[name] = read_value(value)
        except ValueError as error:
            raise ValueError(f"'{text}': the value is not YAML ({error}); lists look like [1, 2]") from None
    return values


def replacing(what: str, fits: Callable[[bytes], bool]) -> Callable[[Path | None], Path | None]:
    """For an option that names a file to write: refused before any work if a file of another kind is there, by its first nine bytes."""

    def look(path: Path | None) -> Path | None:
        with plain_errors():
            if path is not None:
                check_replaceable(path, what, lambda there: not (start := _start(there)) or fits(start))
        return path

    return look


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(9)


IS_TABLE = replacing("table (Parquet)", lambda start: start[:4] == b"PAR1")
Out = Annotated[Path, typer.Option(help="Table to write.", callback=IS_TABLE)]
Records = Annotated[Path, typer.Option(help="Table of records to write.", callback=IS_TABLE)]
