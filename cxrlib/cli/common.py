"""What the commands of ``cxr`` share: options, ``NAME=VALUE`` parameters, and errors as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

Labels = Annotated[Path | None, typer.Option(help="Folder with the label files, if not beside the images.")]
Store = Annotated[Path, typer.Option(help="Folder of run records.")]
Cache = Annotated[Path, typer.Option(help="Folder of resized images.")]
Setting = Annotated[list[str] | None, typer.Option("-p", "--parameter", help="NAME=VALUE, value in YAML; may repeat.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that carry a sentence for the user are printed as that sentence, with exit status 1."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


class _Loader(yaml.SafeLoader):
    """Safe YAML in which only true and false are truth values: ``mixup=off`` names a choice."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def settings(texts: list[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary, the values read as YAML.

    Raises:
        ValueError: with the text that is not of that form.
    """
    values = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"'{text}' is not NAME=VALUE, such as -p resize=64")
        try:
            values[name.strip()] = yaml.load(value, Loader=_Loader)  # a SafeLoader
        except yaml.YAMLError:
            raise ValueError(f"'{text}': the value is not YAML; lists look like [1, 2]") from None
    return values
