"""What one does with a whole store of records: find, filter, compare, carry elsewhere. Cleaning is :mod:`cxrlib.experiment.garbage`.

A store is a folder with a folder per run, named by the run's key (:mod:`cxrlib.experiment.record`), and a lock file
``.KEY.lock`` that a process holds while it computes that run. Nothing here touches a run that is under way.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.config import ParameterError, unknown_name
from cxrlib.experiment.record import (
    OtherVersionError,
    Record,
    all_records,
    has_weights,
    load,
    read,
    save_without_weights,
)
from cxrlib.experiment.record_tables import summary, table_rows, write_table
from cxrlib.files import check_replaceable, lock_file, locked

IMPORT_WAIT = 2.0  # seconds for another import to let go of a run


def find(store: Path, prefix: str) -> Record:
    """The record whose key is ``prefix`` or begins with it.

    Raises:
        ValueError: if none or several fit, or the record is damaged.
    """
    store = Path(store)
    keys = sorted(path.parent.name for path in store.glob("*/record.json") if path.parent.name.startswith(prefix))
    if len(keys) != 1:
        found = f"{len(keys)} fit ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''})" if keys else "none fits"
        raise ValueError(f"record '{prefix}': {found} in {store}; 'cxr runs list --store {store}' lists the keys")
    try:
        record = read(store, keys[0])
    except OtherVersionError as error:
        raise ValueError(f"the record {store / keys[0]} cannot be used: {error}; use that version") from None
    except ValueError as error:
        raise ValueError(f"the record {store / keys[0]} is damaged ({error}); run it again, or clean it away with 'cxr runs gc'") from None
    if record is None:
        raise ValueError(f"the record {store / keys[0]} is gone; run it again")
    return record


def select(records: list[Record], filters: dict[str, Any]) -> list[Record]:
    """Records whose parameters equal the filters.

    Args:
        records: of one store or table.
        filters: values by name: fields of the config, and columns of :func:`cxrlib.experiment.record_tables.summary`; ``init`` is the
            name of the initialisation, ``data`` that of the data folder. A schedule is a list, or text joined by ``-``.

    Raises:
        ParameterError: if no record has a parameter of that name.
    """
    kept = []
    known: dict[str, Any] = {}
    for record in records:
        values = record.config | summary(record)
        known |= values
        schedules = (record.config.get("schedule"), values["schedule"])
        if all(name in values and (values[name] == wanted or (name == "schedule" and wanted in schedules)) for name, wanted in filters.items()):
            kept.append(record)
    for name in filters:
        if records and name not in known:
            raise ParameterError(unknown_name(name, known))
    return kept


@dataclass(frozen=True)
class Difference:
    """Two records side by side.

    Attributes:
        fields: what differs, columns ``field, first, second``; empty if only metrics could differ.
        metrics: metrics of the last evaluation, columns ``metric, first, second, difference``.
        images: test images that both scored.
        decided_differently: on how many of these the two are on different sides of probability 0.5.
    """

    fields: pd.DataFrame
    metrics: pd.DataFrame
    images: int
    decided_differently: int


def difference(first: Record, second: Record) -> Difference:
    """Compare config, data, initial weights, versions, machine, metrics and decisions of two records."""
    parts = []
    for record in (first, second):
        groups = {name: getattr(record, name) for name in ("config", "data", "initialisation", "packages", "machine")}
        values = {f"{group}.{name}": value for group, content in groups.items() for name, value in content.items()}
        parts.append(values | {"code_version": record.code_version, "protocol_version": record.protocol_version})
    one, two = parts
    differing = [name for name in [*one, *(n for n in two if n not in one)] if one.get(name) != two.get(name)]
    fields = pd.DataFrame([(name, one.get(name), two.get(name)) for name in differing], columns=["field", "first", "second"], dtype=object)
    last = [record.history[-1] if record.history else {} for record in (first, second)]
    shared = [name for name in last[0] if name in last[1] and name.rpartition("_")[0]]
    rows = [(name, last[0][name], last[1][name], last[1][name] - last[0][name]) for name in shared if name != "learning_rate"]
    metrics = pd.DataFrame(rows, columns=["metric", "first", "second", "difference"])
    tables = [record.table()[["file", "patient_id", "logit"]] for record in (first, second)]
    both = tables[0].merge(tables[1], on=["file", "patient_id"], suffixes=("_first", "_second"))
    different = int(((both["logit_first"] > 0) != (both["logit_second"] > 0)).sum())
    return Difference(fields, metrics, len(both), different)


@contextmanager
def held(store: Path, key: str, create: bool = True) -> Iterator[bool]:
    """Hold the lock of a run without waiting for it; False if another process has it.

    Args:
        create: make the lock file if there is none. Otherwise a lock without a file, or on a read-only disk, counts as
            held by nobody, and one that may not be opened as held by somebody.

    Raises:
        OSError: if ``create`` and the store cannot be written.
    """
    run = Path(store) / key
    with ExitStack() as stack:
        try:
            there = create or lock_file(run).exists()
            free = stack.enter_context(locked(run, wait=False)) if there else True
        except OSError as error:
            if create:
                raise
            free = error.errno == errno.EROFS
        yield free


@dataclass(frozen=True)
class Imported:
    """What became of the rows of a table: keys, and for refused ones the reason."""

    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def export_table(store: Path, path: Path, filters: dict[str, Any] | None = None) -> int:
    """Write the records of a store that fit ``filters`` to one Parquet table; returns how many.

    Raises:
        ValueError: if there are none, or ``path`` is a file that is no such table: it is not written over.
        ParameterError: see :func:`select`. OSError: if ``path`` cannot be written.
    """
    chosen = select(all_records(store), filters or {})
    if not chosen:
        raise ValueError(f"no record of {store} fits; 'cxr runs list --store {store}' lists them")
    check_replaceable(path, "table of records", _is_table)
    write_table(chosen, path)
    return len(chosen)


def _is_table(path: Path) -> bool:
    try:
        table_rows(path)
    except ValueError:
        return False
    return True


def import_table(path: Path, store: Path) -> Imported:
    """Add the records of a table to a store.

    A record that the store has is kept as it is, with its weights. A damaged row is refused and the others go in. So is
    the row of a run that is being computed just now, and one in whose place another version of cxrlib has written.

    Raises:
        ValueError: if the file is not a table of records. OSError: if the store cannot be written.
    """
    store = Path(store)
    result = Imported()
    for key, row in table_rows(path):
        if isinstance(row, ValueError):
            result.refused[key] = str(row)
        else:
            outcome = _import_row(row, store)
            if outcome in ("added", "kept"):
                getattr(result, outcome).append(key)
            else:
                result.refused[key] = outcome
    return result


def _import_row(record: Record, store: Path) -> str:
    """'added', 'kept', or why a record is refused. Another import holds a run for a moment only, so this one waits."""
    until = time.monotonic() + IMPORT_WAIT
    while True:
        try:
            if load(store, record.key) is not None:
                return "kept"
            read(store, record.key)
        except OtherVersionError as error:
            return f"the store has this run already: {error}"
        except ValueError:
            pass  # damaged: this one takes its place
        with held(store, record.key) as free:
            if free:
                if load(store, record.key) is not None:
                    return "kept"
                save_without_weights(record, store)
                return "added"
        if time.monotonic() > until:
            return "this run is being computed just now"
        time.sleep(0.05)


def overview(store: Path, filters: dict[str, Any] | None = None) -> pd.DataFrame:
    """One row per record that fits, in the order of keys: :func:`cxrlib.experiment.record_tables.summary` and ``weights`` (bool)."""
    rows = [summary(record) | {"weights": has_weights(record, store)} for record in select(all_records(store), filters or {})]
    return pd.DataFrame(rows)
