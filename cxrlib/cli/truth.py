"""The commands ``cxr truth ...``: the committed tables behind the pages with truth on real X-rays, computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import IS_TABLE, Out, Records, Strict, plain_errors, replacing

truth_app = typer.Typer(help="Recompute what the pages with truth on real X-rays draw.", no_args_is_help=True)

WEIGHTS = replacing("weights file (safetensors)", lambda start: start[8:] == b"{")
Data = Annotated[Path, typer.Option(help="covidx-mini; same-source, covid-masks and hannover lie beside it.")]
Folder = Annotated[Path, typer.Option(help="Where derived folders, resized images and records lie; git must not see it.")]
Inits = Annotated[list[str] | None, typer.Option("--init", help="Initialisation in place of those of the profile; may repeat, in the order of their upstream data.")]
Seeds = Annotated[int, typer.Option(min=1, help="Seeds, from 0.")]


@truth_app.command("attention")
def attention(
    data: Data,
    out: Out = Path("results/attention.parquet"),
    folder: Folder = Path(".cache/truth"),
    strict: Strict = False,
    init: Inits = None,
    seeds: Seeds = 3,
    published: Annotated[int, typer.Option(min=0, help="Seeds of networks that had some of these images in training, for a comparison with and without them.")] = 1,
) -> None:
    """Measure where heat maps look on X-rays with radiologists' masks. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.study import truth
    from cxrlib.study.pages.attention import OCCLUSION, measure, read, together
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
        dataset, tables = truth.masked(sets), []
        for name in (truth.APART, *((truth.PUBLISHED,) if published else ())):
            seen = set() if name == truth.APART else sets.masked_in_training()
            for record in truth.trained(truth.runs(sets, name, "03_test_performance", init, range(published if seen else seeds))):
                kept = folder / "attention" / f"{record.key}-{dataset.fingerprint[:20]}.parquet"
                if (table := read(kept)) is None or OCCLUSION not in set(table["method"]):
                    table = measure(record, name, sets.store, dataset, sets.cache, seen, check=True)
                    write_table(table, kept)
                tables.append(table)
        write_table(together(tables), out)
        typer.echo(f"maps of {len(tables)} runs in {out}")


@truth_app.command("across")
def across(
    data: Data,
    out: Records = Path("results/across.parquet"),
    files: Annotated[Path, typer.Option(help="Table of image files to write.", callback=IS_TABLE)] = Path("results/across-files.parquet"),
    folder: Folder = Path(".cache/truth"),
    strict: Strict = False,
    seeds: Seeds = 3,
) -> None:
    """Train within one collection and across collections, and score each on the others. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.experiment.record_tables import write_table as write_records
    from cxrlib.study import truth
    from cxrlib.study.pages.across import describe_files
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
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
    strict: Strict = False,
    seeds: Seeds = 3,
) -> None:
    """Score spoiled pictures: blur, JPEG, contrast, noise and rotation in three strengths each."""
    from cxrlib.data.dataset import read_dataset
    from cxrlib.study import truth
    from cxrlib.study.pages.corruptions import measure
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
        records = truth.trained(truth.runs(sets, truth.APART, "06_shortcuts", seeds=range(seeds)))
        table = measure(records, sets.store, read_dataset(sets.folder / truth.APART, None, sets.cache, False), sets.cache)
        write_table(table, out)
        typer.echo(f"{len(table)} scores of {len(records)} runs in {out}")


@truth_app.command("embedding")
def embedding(
    data: Data,
    out: Out = Path("results/embedding.parquet"),
    folder: Folder = Path(".cache/truth"),
    strict: Strict = False,
) -> None:
    """Put every image on a plane by the features of one network, and see what linear probes read from them."""
    from cxrlib.data.dataset import read_dataset
    from cxrlib.study import truth
    from cxrlib.study.pages.embedding import measure
    from cxrlib.study.tables import write_table

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
        record = truth.trained(truth.runs(sets, truth.APART, "06_shortcuts", seeds=(0,)))[0]
        own = read_dataset(sets.folder / truth.APART, None, sets.cache, False)
        table = measure(record, sets.store, {truth.APART: own} | sets.write_tests(evened=False), sets.cache)
        write_table(table, out)
        typer.echo(f"{len(table)} images in {out}")


@truth_app.command("lungs")
def lungs(
    data: Data,
    out: Out = Path("results/lungs.parquet"),
    folder: Folder = Path(".cache/truth"),
    strict: Strict = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Write the weights of a network trained on everybody here, such as cxrlib/model/lungs.safetensors, if it is good enough.", callback=WEIGHTS)] = None,
) -> None:
    """Train a small network that finds lungs, and try it on patients that it has not seen. Stop it with Ctrl-C; the folds that are done stay."""
    from cxrlib.files import atomic_write
    from cxrlib.study import truth
    from cxrlib.study.pages import lungs as page
    from cxrlib.train.segment import STEPS

    def told(name: str, step: int, loss: float) -> None:
        if step % 50 == 0:
            typer.echo(f"{name}: step {step} of {steps or STEPS}, loss {loss:.3f}")

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
        table = page.cross_validated(sets, steps or STEPS, told)
        page.write(table, out)
        typer.echo(page.answer(table))
        if weights is not None and page.good_enough(table):
            made = page.final(sets, steps or STEPS, told)
            atomic_write(weights, made.read_bytes())
            atomic_write(weights.with_suffix(".sha256"), f"{made.with_suffix('.sha256').read_text().split()[0]}  {weights.name}\n")
            typer.echo(f"weights in {weights}")


@truth_app.command("regions")
def regions(
    data: Data,
    out: Records = Path("results/lung-regions.parquet"),
    folder: Folder = Path(".cache/truth"),
    strict: Strict = False,
    seeds: Seeds = 3,
) -> None:
    """Train on the lungs that were found, and on everything but them, and score both at home and on another collection."""
    from cxrlib.experiment.record import write_table as write_records
    from cxrlib.study import truth
    from cxrlib.study.pages import lung_regions

    with plain_errors():
        sets = truth.TruthSets(data, folder, strict)
        masks = lung_regions.places(sets)
        configs = lung_regions.runs(sets, masks, range(seeds))
        records = [lung_regions.with_scores(record, config, sets, masks) for record, config in zip(truth.trained(configs), configs, strict=True)]
        write_records(records, out)
        typer.echo(f"{len(records)} records in {out}")
