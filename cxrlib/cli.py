"""The command line ``cxr``. Heavy imports happen inside the commands, so that help stays quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cxrlib import DISCLAIMER

app = typer.Typer(help=f"Reproduce COVID-19 detection from chest X-rays. {DISCLAIMER}", no_args_is_help=True, add_completion=False)
data_app = typer.Typer(help="Check, prepare or generate data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Folder = Annotated[Path, typer.Argument(help="Folder in the COVIDx layout: train/, test/ and their label files.")]
Labels = Annotated[Path | None, typer.Option(help="Folder with the label files, if not beside the images.")]
Store = Annotated[Path, typer.Option(help="Folder of run records.")]
Cache = Annotated[Path, typer.Option(help="Folder of resized images.")]
Setting = Annotated[list[str] | None, typer.Option("-p", "--parameter", help="NAME=VALUE, value in YAML; may repeat.")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors that carry a sentence for the user are printed as that sentence, with exit status 1."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


@data_app.command("check")
def data_check(folder: Folder, labels: Labels = None, strict: Annotated[bool, typer.Option(help="Fail on any problem.")] = False) -> None:
    """List every problem of a data folder with file and line, and count images and patients."""
    from cxrlib import data

    with _plain_errors():
        report = data.check(folder, labels, progress=True)
        typer.echo(report)
    if strict and report.problems:
        raise typer.Exit(1)


@data_app.command("prepare")
def data_prepare(
    folder: Folder,
    size: Annotated[list[int], typer.Option(help="Side in pixels; may repeat.")],
    labels: Labels = None,
    cache: Cache = Path(".cache"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
) -> None:
    """Decode and resize every image once, into memory-mapped files that all runs share."""
    from cxrlib.config import Parameters
    from cxrlib.experiment import open_dataset

    with _plain_errors():
        dataset = open_dataset(Parameters.parse({"data": folder, "labels": labels, "cache": cache}))
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

    with _plain_errors():
        settings = _settings(setting)
        check_arguments(phantom.generate, settings, "cxr data phantom", apart=("folder", "seed"))
        typer.echo(phantom.generate(folder, seed=seed, **settings))


@app.command()
def train(
    config: Annotated[Path | None, typer.Option(help="YAML file with the parameters of one run.")] = None,
    setting: Setting = None,
) -> None:
    """Train one run, or load it if it is recorded; parameters as in cxrlib.config.RunConfig."""
    from cxrlib.config import RunConfig
    from cxrlib.experiment import run

    with _plain_errors():
        values: Any = {}
        if config is not None:
            values = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
            if not isinstance(values, dict):
                raise ValueError(f"{config} must hold 'name: value' lines")
        parameters = RunConfig.parse(values | _settings(setting))
        record = run(parameters)
        last = record.history[-1]
        typer.echo(f"record {record.key}: test accuracy {last['test_accuracy']:.3f}, AUC {last['test_auc']:.3f}")
        typer.echo(str(parameters.store / record.key / "record.json"))


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files of any supported format.")],
    model: Annotated[str, typer.Option(help="Key of a record, its first digits, or its folder.")],
    store: Store = Path("runs"),
    explain: Annotated[Path | None, typer.Option(help="Write Grad-CAM overlays to this PNG.")] = None,
) -> None:
    """Score images with a recorded model, one line each. A score, not a diagnosis."""
    from cxrlib import predict as prediction

    with _plain_errors():
        for line in prediction.predict_files(images, model, store, explain):
            typer.echo(line)
        typer.secho(DISCLAIMER, fg="yellow", err=True)


@app.command()
def runs(store: Store = Path("runs")) -> None:
    """List the records of a store."""
    from cxrlib.records import all_records

    records = all_records(store)
    for record in records:
        c, last = record.config, record.history[-1]
        size = c["images_per_class"] or "all"
        typer.echo(
            f"{record.key}  {record.data['name']:<12} {record.initialisation['name']:<10} {c['resize']:>4}/{c['crop']:<4}"
            f"steps {c['schedule'][-1]:<6} mixup {c['mixup']:<6} per class {size!s:<5} seed {c['seed']:<3}"
            f"accuracy {last['test_accuracy']:.3f}"
        )
    typer.echo(f"{len(records)} records in {store}")


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="Parameter set: a file in profiles/.")] = "demo",
    data: Annotated[Path | None, typer.Option(help="Folder in the COVIDx layout; default the embedded phantoms.")] = None,
    force: Annotated[bool, typer.Option(help="Execute the notebooks even if nothing changed.")] = False,
) -> None:
    """Execute the notebooks with papermill and render the book."""
    from cxrlib import book as pipeline

    with _plain_errors():
        pipeline.build(profile, data=data, force=force)


def _settings(settings: list[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dictionary, the values read as YAML."""
    values = {}
    for text in settings or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"'{text}' is not NAME=VALUE, such as -p resize=64")
        try:
            values[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"'{text}': the value is not YAML; lists look like [1, 2]") from None
    return values
