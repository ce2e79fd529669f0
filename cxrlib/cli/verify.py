"""The command ``cxr verify``: every number and verdict of the book against its records, for someone who trusts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import plain_errors, replacing

JSON = replacing("JSON file of checks", lambda start: start == b'[\n {\n  "s')


def verify(
    data: Annotated[Path | None, typer.Option(help="Folder of the real X-rays of the tables, covidx-mini; also trains a sample of its runs.")] = None,
    runs: Annotated[int, typer.Option(min=0, help="Runs on phantoms of each table to train again, and three times as many on real X-rays; 0 for none.")] = 1,
    folder: Annotated[Path, typer.Option(help="Where phantoms, records and resized images of the sample lie.")] = Path(".cache/verify"),
    failed_only: Annotated[bool, typer.Option("--failed", help="Print only the rows that failed.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write every row with all keys to this JSON file.", callback=JSON)] = None,
    write: Annotated[bool, typer.Option("--write", help="State the values as they are computed now, in results/glued.json, and verify nothing.")] = False,
) -> None:
    """Compute every number and verdict of the book again, train a sample of the runs again, and say what came out the same.

    Prints a row for each claim: word, claim, number, records. Writes codecheck.yml. Exit status 1 if a row failed.
    """
    import shutil

    from cxrlib.evidence import check, codecheck, glued
    from cxrlib.evidence import verify as verification
    from cxrlib.files import atomic_write

    with plain_errors():
        root = Path(".")
        if write:
            found = glued.recompute(root)
            typer.echo(f"{len(found)} values in {glued.write(found, root)}")
            return
        checks = verification.without_training(root)
        if runs:
            shutil.rmtree(folder / "runs", ignore_errors=True)  # trained again, and not read from an earlier verification
            checks += verification.trained_again(root, folder, data, runs, typer.echo)
        if as_json is not None:
            atomic_write(as_json, check.as_json(checks))
        wrong = [each for each in checks if each.verified is False]
        typer.echo(check.table(wrong if failed_only else checks))
        for subject, words in check.counts(checks).items():
            typer.echo(f"{subject}: {', '.join(f'{count} {word}' for word, count in words.items() if count)}")
        typer.echo(f"{len(checks)} claims, {len(wrong)} failed; {codecheck.write(checks, root)} says so for programs")
    if wrong:
        raise typer.Exit(1)
