"""The command line ``cxr``. Heavy imports happen inside the commands, so that help stays quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrlib import DISCLAIMER
from cxrlib.cli.common import Cache, Labels, Setting, Store, Strict, Workers, plain_errors, settings
from cxrlib.cli.evidence import evidence_app
from cxrlib.cli.runs import plan, runs_app
from cxrlib.cli.shortcuts import shortcuts_app
from cxrlib.cli.truth import truth_app
from cxrlib.cli.verify import verify

app = typer.Typer(help=f"Reproduce COVID-19 detection from chest X-rays. {DISCLAIMER}", no_args_is_help=True, add_completion=False)
data_app = typer.Typer(help="Check, prepare or generate data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(runs_app, name="runs")
app.add_typer(shortcuts_app, name="shortcuts")
app.add_typer(truth_app, name="truth")
app.add_typer(evidence_app, name="evidence")
app.command()(plan)
app.command()(verify)

Folder = Annotated[Path, typer.Argument(help="Folder in the COVIDx layout: train/, test/ and their label files.")]


@data_app.command("check")
def data_check(
    folder: Folder,
    labels: Labels = None,
    strict: Annotated[bool, typer.Option(help="Fail on any problem.")] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="Of a folder that is a test set: look at test/ alone.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every problem, not the first ten of each kind.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with every problem, for programs.")] = False,
) -> None:
    """Find every problem of a data folder: by kind, with counts, file and line, and how to mend it.

    Exit status: 0 if the folder can be used (with --strict: if nothing is wrong with it), otherwise 1.
    """
    from cxrlib.data.folder import SPLITS, check

    splits = ("test",) if test_only else SPLITS
    with plain_errors():
        report = check(folder, labels, progress=not as_json, splits=splits)
        typer.echo(report.as_json() if as_json else report.text(everything))
        lacking = report.lacking(splits)
        if lacking:
            typer.secho(f"error: {folder}: no usable image of: {', '.join(lacking)}; each split needs both classes", fg="red", err=True)
    if lacking or (strict and report.problems):
        raise typer.Exit(1)


@data_app.command("adopt")
def data_adopt(
    folder: Annotated[Path, typer.Argument(help="Folder of a public collection, or with images in folders of their classes.")],
    out: Annotated[Path, typer.Argument(help="New folder in the COVIDx layout.")],
    patient: Annotated[str | None, typer.Option(help="Column with the patient; or 'each-image'; or a regular expression for file names with one group.")] = None,
    table: Annotated[Path | None, typer.Option(help="CSV or Excel table, or label file, if there are several.")] = None,
    positive: Annotated[list[str] | None, typer.Option(help="Class that becomes positive; may repeat. Default those of COVID-19.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Class to leave out; may repeat.")] = None,
    test_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of the patients for test, if the data have no splits.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of test patients.")] = 0,
) -> None:
    """Make a folder in the COVIDx layout of Cohen's collection, COVID-QU-Ex, the Radiography Database and their like."""
    from cxrlib.data.adopt import adopt

    with plain_errors():
        for line in adopt(folder, out, patient, table, positive or (), drop or (), test_share, seed):
            typer.echo(line)


@data_app.command("prepare")
def data_prepare(
    folder: Folder,
    size: Annotated[list[int], typer.Option(help="Side in pixels; may repeat.")],
    labels: Labels = None,
    cache: Cache = Path(".cache"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
    strict: Strict = False,
) -> None:
    """Decode and resize every image once, into memory-mapped files that all runs share."""
    from cxrlib.config import Parameters
    from cxrlib.experiment.one_run import open_dataset

    with plain_errors():
        dataset = open_dataset(Parameters.parse({"data": folder, "labels": labels, "cache": cache, "strict": strict}))
        for side in size:
            for split in dataset.index["split"].unique():
                images = dataset.images(split, side, cache, workers)
                typer.echo(f"{split}: {len(images)} images at {side} x {side} px")


@data_app.command("phantom")
def data_phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write the phantom set.")] = Path("data/phantom"),
    seed: int = 0,
    setting: Setting = None,
) -> None:
    """Generate chest X-ray phantoms in the COVIDx layout (computed images, not patients)."""
    from cxrlib import phantom
    from cxrlib.config import check_arguments

    with plain_errors():
        values = settings(setting)
        check_arguments(phantom.generate, values, "cxr data phantom", apart=("folder", "seed"))
        typer.echo(phantom.generate(folder, seed=seed, **values))


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="YAML file with the parameters of one run.")] = None,
    strict: Strict = False,
    setting: Setting = None,
) -> None:
    """Train one run, or load it if it is recorded; parameters as in cxrlib.config.RunConfig."""
    from cxrlib.config import RunConfig
    from cxrlib.experiment.one_run import run
    from cxrlib.parameter_files import read_parameters

    with plain_errors():
        values: Any = {}
        if config is not None:
            values = read_parameters(config)
        parameters = RunConfig.parse(values | ({"strict": True} if strict else {}) | settings(setting))
        record = run(parameters)
        if os.environ.get("RANK", "0") != "0":
            return  # of the processes of accelerate launch one speaks
        last = record.history[-1]
        typer.echo(f"record {record.key}: test accuracy {last['test_accuracy']:.3f}, AUC {last['test_auc']:.3f}")
        typer.echo(str(parameters.store / record.key / "record.json"))


@app.command()
def sweep(
    profile: Annotated[str, typer.Option(help="Parameter set: a file in profiles/.")] = "demo",
    study: Annotated[list[str] | None, typer.Option(help="Only the runs of this notebook, such as 04_data_size; may repeat.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder in the COVIDx layout; default the phantoms of the profile.")] = None,
    labels: Labels = None,
    store: Annotated[Path | None, typer.Option(help="Folder of run records.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address or file of a Dask scheduler; default a cluster on this machine.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time on this machine; default one per GPU or core.")] = None,
    gpu: Annotated[bool | None, typer.Option(help="Take only workers with the resource GPU; default if there are any.")] = None,
    strict: Strict = False,
    setting: Setting = None,
) -> None:
    """Run what is missing of a profile, here or on a Dask cluster. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.config import ParameterError
    from cxrlib.data.folder import read_index
    from cxrlib.experiment.sweep import run_all
    from cxrlib.study import plan
    from cxrlib.study.parameters import STUDIES

    with plain_errors():
        for name in study or []:
            if name not in STUDIES:
                raise ParameterError(f"there is no study '{name}'; there are: {', '.join(STUDIES)}")
        given = {"data": data or settings(setting).get("data") or plan.make_phantoms(profile), "labels": labels, "store": store, "strict": strict or None}
        overrides = settings(setting) | {name: value for name, value in given.items() if value is not None}
        wanted = [run.config for run in plan.profile_runs(profile, study or (), **overrides)]
        if wanted and wanted[0].data.is_dir():  # a folder that is not there is the sweep's to say
            index = read_index(wanted[0].data, wanted[0].labels)
            wanted = [run.config for run in plan.profile_runs(profile, study or (), index, **overrides)]
        typer.echo(f"{len(run_all(wanted, workers, scheduler, gpu))} runs are recorded in {wanted[0].store}" if wanted else "nothing to run")


@app.command()
def results(
    data: Annotated[Path, typer.Option(help="Folder whose images the tables are about, such as covidx-mini.")],
    table: Annotated[list[str] | None, typer.Option(help="Only this table of results/, such as quarter; may repeat. Default all but those of BiT-R50x1 (bit, bit-fp32, bit-gpu), which take hours.")] = None,
    study: Annotated[list[str] | None, typer.Option(help="Only the runs of this notebook, such as 04_data_size; may repeat.")] = None,
    labels: Labels = None,
    workers: Workers = None,
    strict: Strict = False,
) -> None:
    """Complete the committed tables of records that the book draws. Stop it with Ctrl-C; the same command goes on."""
    with plain_errors():
        from cxrlib.study.collect import BY_DEFAULT, chosen, collect

        wanted = [each for each in table or BY_DEFAULT if chosen(each, study or ())]
        if not wanted:
            typer.echo(f"nothing to run: {', '.join(table or BY_DEFAULT)} has no runs of {', '.join(study or ())}")
        for name in wanted:
            before, after = collect(name, data, study or (), labels, workers=workers, strict=strict)
            typer.echo(f"results/{name}.parquet: {after} records, {after - before} of them new")


@app.command()
def upstream(
    name: Annotated[list[str] | None, typer.Argument(help="Of the weights: fractal-s, fractal-m; with --photos photo-s, photo-m-1, …; default all but bit-photo: half a day of one core, or minutes of a GPU.")] = None,
    photos: Annotated[Path | None, typer.Option(help="tiny-imagenet-200.zip: pretrain on its photographs instead of fractals.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights, records, images and checkpoints.")] = Path(".cache/upstream"),
    workers: Annotated[int | None, typer.Option(min=1, help="Pretrainings at a time; default as many as there are cores.")] = None,
) -> None:
    """Pretrain again: on fractals, about an hour on two cores, or on photographs, about three. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.processes import run_tasks, usable_cores
    from cxrlib.train import photographs
    from cxrlib.train import upstream as fractal_weights

    with plain_errors():
        if not photos and (asked := next((each for each in name or () if each in {*photographs.FAMILIES, *photographs.UPSTREAMS}), None)):
            raise ValueError(f"'{asked}' is pretrained on photographs; name their archive with --photos=path/to/tiny-imagenet-200.zip")
        names = fractal_weights.named(name or (photographs.FAMILIES if photos else []), photographs.UPSTREAMS if photos else fractal_weights.UPSTREAMS)
        at_once = min(workers or usable_cores(), len(names))
        threads = max(1, usable_cores() // at_once)
        if photos:
            build, tasks = photographs.build, [(each, photos, out, out, None, threads) for each in names]
        else:
            build, tasks = fractal_weights.build, [(each, out, out, None, threads, 1) for each in names]
        for record in run_tasks(build, tasks, at_once):
            where = out / f"{record['name']}.safetensors"
            typer.echo(f"{where}: {100 * record['held_out_accuracy']:.1f} % of unseen images right; use it with -p init={where}")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files of any supported format.")],
    model: Annotated[str, typer.Option(help="Key of a record, its first digits, or its folder.")],
    store: Store = Path("runs"),
    explain: Annotated[Path | None, typer.Option(help="Write Grad-CAM overlays to this new PNG, PDF or SVG file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --explain replace a file that is there; never an image.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Score nothing if one image cannot be used.")] = False,
) -> None:
    """Score images with a recorded model, one line each. A score, not a diagnosis. Exit status 1 if an image cannot be used."""
    from cxrlib.cli import predict as prediction

    with plain_errors():
        try:
            for line in prediction.predict_files(images, model, store, explain, overwrite, strict):
                typer.echo(line)
        finally:
            typer.secho(DISCLAIMER, fg="yellow", err=True)


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="Parameter set: a file in profiles/.")] = "demo",
    data: Annotated[Path | None, typer.Option(help="Folder in the COVIDx layout; default the embedded phantoms.")] = None,
    external: Annotated[Path | None, typer.Option(help="Folder in the COVIDx layout; its test split becomes a second test set.")] = None,
    force: Annotated[bool, typer.Option(help="Execute the notebooks even if nothing changed.")] = False,
    student: Annotated[bool, typer.Option("--student", help="The edition without solutions, beside the other.")] = False,
) -> None:
    """Execute the notebooks with papermill and render the book."""
    from cxrlib.book import build as pipeline

    with plain_errors():
        pipeline.build(profile, data=data, force=force, external=external, student=student)
