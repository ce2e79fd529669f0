"""The commands ``cxr truth ...``: the committed tables behind the pages with truth on real X-rays, computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import Out, plain_errors

truth_app = typer.Typer(help="Recompute what the pages with truth on real X-rays draw.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="covidx-mini; same-source, covid-masks and hannover lie beside it.")]
Folder = Annotated[Path, typer.Option(help="Where derived folders, resized images and records lie; git must not see it.")]
Inits = Annotated[list[str] | None, typer.Option("--init", help="Initialisation in place of those of the profile; may repeat, in the order of their upstream data.")]
Seeds = Annotated[int, typer.Option(min=1, help="Seeds, from 0.")]


@truth_app.command("attention")
def attention(
    data: Data,
    out: Out = Path("results/attention.parquet"),
    folder: Folder = Path(".cache/truth"),
    init: Inits = None,
    seeds: Seeds = 2,
) -> None:
    """Measure where heat maps look on X-rays with radiologists' masks. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.study import truth
    from cxrlib.study.pages.attention import measure, read, together
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder)
        dataset, tables = truth.masked(sets), []
        for record in truth.trained(truth.runs(sets, truth.APART, "03_test_performance", init, range(seeds))):
            kept = folder / "attention" / f"{record.key}-{dataset.fingerprint[:20]}.parquet"
            if (table := read(kept)) is None:
                table = measure(record, truth.APART, sets.store, dataset, sets.cache, set(), check=record.config["seed"] == 0)
                write_table(table, kept)
            tables.append(table)
        write_table(together(tables), out)
        typer.echo(f"maps of {len(tables)} runs in {out}")


@truth_app.command("across")
def across(
    data: Data,
    out: Annotated[Path, typer.Option(help="Table of records to write.")] = Path("results/across.parquet"),
    files: Annotated[Path, typer.Option(help="Table of image files to write.")] = Path("results/across-files.parquet"),
    folder: Folder = Path(".cache/truth"),
    seeds: Seeds = 3,
) -> None:
    """Train within one collection and across collections, and score each on the others. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.experiment.record_tables import write_table as write_records
    from cxrlib.study import truth
    from cxrlib.study.pages.across import describe_files
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder)
        write_table(describe_files(sets), files)
        records = []
        for name in (truth.APART, truth.EVENED, *truth.fold_names()):
            tests = {} if name.startswith(truth.FOLD) else sets.write_tests(evened=name == truth.EVENED)
            for record in truth.trained(truth.runs(sets, name, "06_shortcuts", seeds=range(seeds))):
                records.append(truth.with_scores(record, sets.store, sets.cache, tests))
        write_records(records, out)
        typer.echo(f"{len(records)} records in {out}")


@truth_app.command("failures")
def failures(
    data: Data,
    out: Out = Path("results/corruptions.parquet"),
    folder: Folder = Path(".cache/truth"),
    seeds: Seeds = 3,
) -> None:
    """Score spoiled pictures: blur, JPEG, contrast, noise and rotation in three strengths each."""
    from cxrlib.data.dataset import read_dataset
    from cxrlib.study import truth
    from cxrlib.study.pages.corruptions import measure
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder)
        records = truth.trained(truth.runs(sets, truth.APART, "06_shortcuts", seeds=range(seeds)))
        table = measure(records, sets.store, read_dataset(sets.folder / truth.APART, None, sets.cache, False), sets.cache)
        write_table(table, out)
        typer.echo(f"{len(table)} scores of {len(records)} runs in {out}")
