"""The commands ``cxr evidence ...``: what was made here, described in the standard forms of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import plain_errors

evidence_app = typer.Typer(help="Describe executed notebooks and phantoms in standard forms.", no_args_is_help=True)


@evidence_app.command("crates")
def crates(out: Annotated[Path, typer.Option(help="Where the crates are written; what lies there under their names is replaced.")] = Path("_build/crates")) -> None:
    """Write an RO-Crate (Process Run Crate) for each executed notebook, and one for the book."""
    from cxrlib.evidence.crate import write_all

    with plain_errors():
        typer.echo(f"{len(write_all(Path('.'), out))} crates in {out}")


@evidence_app.command("croissant")
def croissant(folder: Annotated[Path, typer.Argument(help="Folder of phantoms.")] = Path("data/phantom")) -> None:
    """Describe a folder of phantoms in Croissant, in a file beside them."""
    from cxrlib.evidence.croissant import write

    with plain_errors():
        typer.echo(str(write(folder)))
