"""The commands ``cxr runs ...`` and ``cxr plan``: what is recorded, and what a profile still asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrlib.cli.common import Cache, Labels, Setting, Store, Strict, plain_errors, settings
from cxrlib.markup import visible

runs_app = typer.Typer(help="List, compare, clean and carry records of runs.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="Key of a record, or its first digits.")]
Yes = Annotated[bool, typer.Option("--yes", help="Delete; without this the list of what would go is all that happens.")]


@runs_app.command("list")
def list_runs(store: Store = Path("runs"), setting: Setting = None) -> None:
    """List records, one line each; -p NAME=VALUE keeps those with that value."""
    with plain_errors():
        from cxrlib.experiment import store as stores

        table = stores.overview(store, settings(setting))
        if len(table):
            size = table["images_per_class"].map(lambda count: "all" if count != count or count is None else f"{count:.0f}")
            shown = table[["key", "data", "init", "arch"]].assign(
                pixels=table["resize"].astype(str) + "/" + table["crop"].astype(str),
                steps=table["steps"],
                mixup=table["mixup"],
                per_class=size,
                freeze=table["freeze"].map({True: "yes", False: "no"}),
                seed=table["seed"],
                accuracy=table["test_accuracy"].map("{:.3f}".format),
                auc=table["test_auc"].map("{:.3f}".format),
                weights=table["weights"].map({True: "yes", False: "no"}),
            )
            typer.echo("\n".join(map(visible, shown.to_string(index=False).split("\n"))))
        typer.echo(f"{len(table)} records in {store}")


@runs_app.command()
def show(key: Key, store: Store = Path("runs")) -> None:
    """Show what a record holds: parameters, data, initial weights, versions, last evaluation, files."""
    with plain_errors():
        from cxrlib.experiment import store as stores

        record = stores.find(store, key)
        parts = {
            "config": record.config,
            "data": record.data,
            "initialisation": record.initialisation,
            "versions": {"code": record.code_version, "protocol": record.protocol_version} | record.packages,
            "machine": record.machine | {"wall_seconds": round(record.wall_seconds, 1)},
            "last evaluation": {name: f"{value:.6g}" for name, value in record.history[-1].items()},
            "files": {path.name: f"{path.stat().st_size:,} bytes" for path in sorted((store / record.key).iterdir())},
        }
        typer.echo(f"record {record.key} in {store}")
        for title, values in parts.items():
            typer.echo(f"\n{title}")
            width = max(map(len, values), default=0)
            for name, value in values.items():
                typer.echo(f"  {name:<{width}}  {'' if value is None else visible(value)}".rstrip())
        if not stores.has_weights(record, store):
            typer.echo("\nno weights here: the record was imported, or its weights were cleaned away")


@runs_app.command()
def diff(first: Key, second: Key, store: Store = Path("runs")) -> None:
    """Compare two records: what differs, their metrics side by side, and on how many test images they decide differently."""
    with plain_errors():
        from cxrlib.experiment import store as stores

        one, two = stores.find(store, first), stores.find(store, second)
        found = stores.difference(one, two)
        typer.echo(f"{one.key} and {two.key}\n")
        typer.echo(found.fields.to_string(index=False) if len(found.fields) else "same config, data, initial weights and versions")
        numbers = found.metrics.to_string(index=False, float_format="{:.4f}".format)
        typer.echo(f"\n{numbers}\n")
        if found.images:
            typer.echo(f"decided differently on {found.decided_differently} of {found.images} test images (threshold 0.5)")
        else:
            typer.echo("they have no test image in common")


@runs_app.command()
def gc(
    store: Store = Path("runs"),
    weights: Annotated[bool, typer.Option("--weights", help="Also the weights of recorded runs; their records stay.")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also runs that were begun and not finished.")] = False,
    days: Annotated[float, typer.Option(min=0, help="With --unfinished: days for which nothing touched them.")] = 7.0,
    yes: Yes = False,
) -> None:
    """Find what no record needs: damaged records, temporary files, checkpoints of finished runs, locks nobody holds."""
    with plain_errors():
        from cxrlib.experiment.garbage import UNHELD, garbage

        found, busy = garbage(store, delete=yes, weights=weights, unfinished=unfinished, days=days)
        for item in found:
            if item.reason != UNHELD:
                typer.echo(f"{item.bytes:>12,} bytes  {item.path}  {item.reason}")
        if locks := sum(item.reason == UNHELD for item in found):
            typer.echo(f"{locks:>12,} times  {store / '.KEY.lock'}  {UNHELD}")
        if busy:
            typer.echo(f"{len(busy)} runs are under way and are left alone: {', '.join(busy)}")
        total = f"{len(found)} files, {sum(item.bytes for item in found):,} bytes"
        typer.echo(f"deleted {total}" if yes else f"{total} could go; --yes deletes them" if found else "nothing to clean")


@runs_app.command()
def external(
    folder: Annotated[Path, typer.Argument(help="Folder in the COVIDx layout; its test split is scored.")],
    labels: Labels = None,
    data: Annotated[Path | None, typer.Option(help="Folder that the runs were trained on: what it shares with the other is left out.")] = None,
    store: Store = Path("runs"),
    cache: Cache = Path(".cache"),
    strict: Strict = False,
    setting: Setting = None,
) -> None:
    """Test recorded models on another folder, one line each; -p NAME=VALUE keeps those with that value. No diagnosis."""
    with plain_errors():
        from cxrlib.config import Parameters
        from cxrlib.experiment import external as tests
        from cxrlib.experiment import record as records
        from cxrlib.experiment import store as stores
        from cxrlib.experiment.one_run import open_dataset
        from cxrlib.study.pages import second_set

        opened = tests.open_external(folder, labels, cache, strict)
        chosen = stores.select(records.all_records(store), settings(setting))
        found = tests.nothing_found()
        if data is not None:
            dataset = open_dataset(Parameters.parse({"data": data, "cache": cache, "strict": strict}))
            chosen = [record for record in chosen if record.data["fingerprint"] == dataset.fingerprint]
            found = tests.overlap(dataset, opened, cache)
        second = second_set.SecondSet(opened, found)
        table, refused = second_set.scored(chosen, store, second, cache)
        if len(table):
            percent = {name: table[name].map(lambda value: value.percent()) for name in ("accuracy", "sensitivity", "specificity", "auc")}
            shown = table.assign(**{"accuracy here": table["accuracy here"].map(lambda value: f"{100 * value:.1f}")}, **percent)
            typer.echo(shown.to_string(index=False))
        for key, reason in refused.items():
            typer.secho(f"not scored {key}: {reason}", fg="red", err=True)
        typer.echo(f"{len(table)} runs in {store}, percent with 95 % intervals over images (AUC: over patients)")
        if data is None:
            typer.echo("Whether the runs were trained on any of these images was not looked at; --data FOLDER does.")
        else:
            typer.echo(second.about(plain=True))


@runs_app.command("export")
def export_runs(
    file: Annotated[Path, typer.Argument(help="Parquet file to write.")], store: Store = Path("runs"), setting: Setting = None
) -> None:
    """Write records, without weights, to one Parquet table; -p NAME=VALUE keeps those with that value."""
    with plain_errors():
        from cxrlib.experiment import store as stores

        count = stores.export_table(store, file, settings(setting))
        typer.echo(f"{count} records in {file}, {file.stat().st_size:,} bytes")


@runs_app.command("import")
def import_runs(
    file: Annotated[Path, typer.Argument(help="Parquet file from 'cxr runs export'.")], store: Store = Path("runs")
) -> None:
    """Add the records of a table to a store. What the store has stays; damaged rows are named and left out."""
    with plain_errors():
        from cxrlib.experiment import store as stores

        result = stores.import_table(file, store)
        for key, reason in result.refused.items():
            typer.secho(f"refused {key}: {reason}", fg="red", err=True)
        typer.echo(f"{len(result.added)} records added, {len(result.kept)} were there, {len(result.refused)} refused")
    if result.refused:
        raise typer.Exit(1)


def plan(
    profile: Annotated[str, typer.Option(help="Parameter set: a file in profiles/.")] = "demo",
    data: Annotated[Path | None, typer.Option(help="Folder in the COVIDx layout; default the phantoms of the profile.")] = None,
    labels: Labels = None,
    store: Annotated[Path | None, typer.Option(help="Folder of run records.")] = None,
    throughput: Annotated[
        float | None, typer.Option(min=0, help="TFLOP/s that the device sustains; without it this machine is measured.")
    ] = None,
    every: Annotated[bool, typer.Option("--list", help="One line per run.")] = False,
    setting: Setting = None,
) -> None:
    """Count the runs of a profile: recorded, missing, steps, images, FLOPs, hours. Trains and downloads nothing."""
    with plain_errors():
        from cxrlib.cli.plan_report import report

        given = {"data": data, "labels": labels, "store": store}
        overrides = settings(setting) | {name: value for name, value in given.items() if value is not None}
        typer.echo(report(profile, throughput, every, **overrides))
