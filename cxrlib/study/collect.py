"""The tables of records under ``results/`` that the book draws: which runs each answers for, and how it is completed.

A table holds records without weights and without images. What is missing of it is computed in a store of its own,
``.cache/TABLE``, so a collection can be stopped and taken up again over many sittings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cxrlib import PROTOCOL_VERSION
from cxrlib.config import ParameterError, RunConfig, unknown_name
from cxrlib.experiment.one_run import open_dataset
from cxrlib.experiment.record import Record, all_records, images_of
from cxrlib.experiment.record_tables import write_table
from cxrlib.experiment.store import import_table
from cxrlib.experiment.sweep import run_all
from cxrlib.study.committed import PERFORMANCE, SENSITIVITY, run_name, twice
from cxrlib.study.grids import Study
from cxrlib.study.parameters import STUDIES
from cxrlib.study.plan import profile_runs
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError

# A table is named like the profile whose runs it holds: those of these notebooks.
TABLES: dict[str, tuple[str, ...]] = {
    "quarter": tuple(name for name, study in STUDIES.items() if issubclass(study, Study)),
    "quarter-lite": (PERFORMANCE,),
    "quarter-validation": (SENSITIVITY,),
    "bit": (SENSITIVITY,),
    "bit-fp32": (SENSITIVITY,),
    "bit-gpu": (SENSITIVITY,),
}
LARGE = ("bit", "bit-fp32", "bit-gpu")
BY_DEFAULT = tuple(name for name in TABLES if name not in LARGE)
"""The tables that are completed when none is named; the others take hours, or a GPU, and weights that ``cxr upstream bit-photo --photos=…`` makes."""


def chosen(table: str, studies: Iterable[str] = ()) -> tuple[str, ...]:
    """The notebooks of a table, or those of ``studies`` that it has.

    Raises:
        ParameterError: unknown table or notebook.
    """
    if table not in TABLES:
        raise ParameterError(f"results: {unknown_name(table, TABLES, 'table')}")
    for study in studies:
        if study not in TABLES["quarter"]:
            raise ParameterError(f"there is no study '{study}'; there are: {', '.join(TABLES['quarter'])}")
    return tuple(name for name in TABLES[table] if not studies or name in studies)


def collect(
    table: str,
    data: Path,
    studies: Iterable[str] = (),
    labels: Path | None = None,
    results: Path = Path("results"),
    workers: int | None = None,
    strict: bool = False,
) -> tuple[int, int]:
    """Run what is missing of ``results/TABLE.parquet`` and write the table again; also when the runs are interrupted.

    Args:
        table: a key of ``TABLES``.
        data: the folder whose images the table is about.
        studies: notebooks; by default all that the table answers for.
        labels: folder with the label files, if they do not lie beside the images.
        results: folder of the tables.
        workers: runs at a time.
        strict: refuse data with any problem; otherwise rows with one are left out, which one line on stderr says.

    Returns:
        Records in the table before and after.

    Raises:
        ParameterError: see :func:`chosen`; and if the table is about other images than those of ``data``.
        DataError: see :func:`cxrlib.data.folder.read_index`.
        RunsFailedError: after the last run, when the table is written.
        ValueError: if the table holds a damaged record.
    """
    wanted = chosen(table, studies)
    file, store = results / f"{table}.parquet", Path(".cache") / table
    before = 0
    if file.is_file():
        there = import_table(file, store)
        if there.refused:
            key, reason = next(iter(there.refused.items()))
            raise ValueError(f"{file} holds a damaged record, {key} ({reason}); get the file again")
        before = len(there.added) + len(there.kept)
    after = before
    overrides = {"data": data, "labels": labels, "store": store, "checkpoint_every": 100, "strict": strict}
    runs = [run.config for run in profile_runs(table, wanted, **overrides)]
    images = open_dataset(runs[0]).fingerprint if runs else None
    stored = all_records(store)
    if runs and before and (other := next((record for record in stored if images_of(record) != images and record.key in {*there.added, *there.kept}), None)):
        raise ParameterError(
            f"{file} is about other images: those of '{other.data['name']}' (fingerprint {images_of(other)[:12]}), not those of {data} "
            f"({images[:12]}); give that folder, or collect in another checkout"
        )
    runs = _asked(file, store, runs, [record for record in stored if images_of(record) == images])
    try:
        run_all(runs, workers)
    finally:
        # The store may hold what an earlier call computed on other data.
        if mine := [record for record in all_records(store) if images_of(record) == images]:
            write_table(mine, file)
            after = len(mine)
    return before, after


def _asked(file: Path, store: Path, runs: list[RunConfig], there: list[Record]) -> list[RunConfig]:
    """The runs but for those that are ``there`` and whose initial weights are not here: what is recorded needs none.

    Raises:
        ParameterError: if a run in table or store started from other weights than another, or than it would here: it would be in the table twice.
    """
    if both := twice(there):
        keys = " and ".join(record.key for record in both)
        raise ParameterError(f"{file} and {store} hold one run twice, {keys}, from other initial weights; move away what is older, {store} or both, and run it again")
    digest = cache(lambda init, seed: resolve_initialisation(init, download=False, seed=seed).sha256)
    asked = {run_name(config.identity()): config for config in runs}
    kept: list[str] = []
    for record in there:
        name = run_name(record.config)
        if (config := asked.get(name)) is None:
            continue
        try:
            here = digest(config.init, config.seed)
        except WeightsError:
            if record.protocol_version == PROTOCOL_VERSION:
                kept.append(name)
            continue
        if here != (stated := record.initialisation["sha256"]):
            raise ParameterError(
                f"{file} holds runs from '{config.init}' with SHA-256 {str(stated)[:12]}…, and the weights that are here have {str(here)[:12]}…; "
                f"put the old weights back, or move {file} and {store} away and run all of it again"
            )
    if kept:
        print(f"kept as recorded, since their initial weights are not here: {len(kept)} of {len(runs)} runs", file=sys.stderr, flush=True)
    return [config for name, config in asked.items() if name not in kept]
