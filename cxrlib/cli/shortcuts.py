"""The commands ``cxr shortcuts ...``: the committed tables behind notebook 06, computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import Cache, Labels, Out, Records, Strict, Workers, plain_errors

shortcuts_app = typer.Typer(help="Recompute what the page on disease or data source draws.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Folder in the COVIDx layout.")]


@shortcuts_app.command("confounding")
def confounding(
    out: Records = Path("results/confounding.parquet"),
    folder: Annotated[Path, typer.Option(help="Where phantoms, runs and resized images lie.")] = Path(".cache/confounding"),
    workers: Workers = None,
) -> None:
    """Train on phantoms whose source follows the label more and more. Stop it with Ctrl-C; the same command goes on."""
    from cxrlib.study.pages.confounding import compute

    with plain_errors():
        typer.echo(f"{len(compute(folder, out, workers=workers))} records in {out}")


@shortcuts_app.command("grad-cam")
def grad_cam(
    data: Data,
    store: Annotated[Path, typer.Option(help="Folder of run records; what has no weights is trained again.")] = Path("runs"),
    out: Out = Path("results/grad_cam.parquet"),
    profile: Annotated[str, typer.Option(help="Parameter set: the runs of notebook 03 from the initialisation of notebook 05.")] = "quarter",
    labels: Labels = None,
    cache: Cache = Path(".cache"),
    strict: Strict = False,
    workers: Workers = None,
) -> None:
    """Measure where Grad-CAM looks on every test image, for every seed."""
    from cxrlib.experiment.one_run import open_dataset
    from cxrlib.experiment.record import load
    from cxrlib.experiment.sweep import run_all
    from cxrlib.study import plan
    from cxrlib.study.committed import PERFORMANCE
    from cxrlib.study.pages import heat
    from cxrlib.study.parameters import GradCam, Profile
    from cxrlib.study.tables import write_table

    with plain_errors():
        init = GradCam.parse(Profile.load(profile).parameters("05_grad_cam")).init
        runs = plan.profile_runs(profile, data=data, labels=labels, store=store, cache=cache)
        configs = [run.config for run in runs if PERFORMANCE in run.studies and run.config.init == init]
        before = {record.key: record for record in run_all(configs, workers)}
        records = run_all(configs, workers, weights=True)
        same = sum(record.predictions == before[record.key].predictions for record in records)
        typer.echo(f"{same} of {len(records)} runs have the predictions that were recorded")
        table = heat.measure([load(store, record.key, weights=True) or record for record in records], store, open_dataset(configs[0], strict), cache)
        write_table(table, out)
        typer.echo(f"{len(table)} maps of {len(records)} runs in {out}")


@shortcuts_app.command("files")
def files(
    data: Data,
    out: Out = Path("results/files.parquet"),
    labels: Labels = None,
    cache: Cache = Path(".cache"),
    strict: Strict = False,
) -> None:
    """List the source, width and height of every image file, enough to guess the class without a picture, and look for near duplicates."""
    from cxrlib.config import Parameters
    from cxrlib.experiment.one_run import open_dataset
    from cxrlib.study.pages.exploration import described
    from cxrlib.study.tables import write_table

    with plain_errors():
        table = described(open_dataset(Parameters.parse({"data": data, "labels": labels, "cache": cache, "strict": strict})), cache)
        write_table(table, out)
        typer.echo(f"{len(table)} files in {out}")
