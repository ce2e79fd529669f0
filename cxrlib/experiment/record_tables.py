"""Many records in one Parquet file, without their weights: a line each for people, and the record itself to the last bit."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cxrlib.experiment.contents import KEY, Record, checked
from cxrlib.files import atomic_write, check_unpacked, text_digest, unpacked_limit

TABLE_NOTE = {b"cxrlib": b"table of run records, version 1"}
ROWS_TOGETHER = 32  # rows that share a compressed block of a table, and a fault of the disk
TABLE_COLUMNS = {
    **dict.fromkeys(("key", "data", "data_fingerprint", "init", "arch", "schedule", "mixup", "code_version"), "string"),
    **dict.fromkeys(("protocol_version", "resize", "crop", "images_per_class", "seed", "batch_size", "steps"), "int64"),
    **dict.fromkeys(("base_lr", "test_accuracy", "test_sensitivity", "test_specificity", "test_auc", "wall_seconds"), "float64"),
    **{"freeze": "bool", "record": "string", "sha256": "string"},
}


def summary(record: Record) -> dict[str, Any]:
    """A record on one line: what was run, and the metrics of its last evaluation.

    The schedule is text such as ``15-72-96-110-120``; ``images_per_class`` is None for all images. What the record of
    another protocol does not have is None.
    """
    config, last = record.config, record.history[-1] if record.history else {}
    schedule = config.get("schedule") or ()
    schedule = schedule if isinstance(schedule, list | tuple) else (schedule,)
    values = {
        "key": record.key,
        "protocol_version": record.protocol_version,
        "data": record.data.get("name"),
        "data_fingerprint": record.data.get("fingerprint"),
        "init": record.initialisation.get("name"),
        **{name: config.get(name) for name in ("arch", "resize", "crop")},
        "schedule": "-".join(map(str, schedule)) or None,
        **{name: config.get(name) for name in ("mixup", "images_per_class")},
        "freeze": config.get("freeze", False),
        **{name: config.get(name) for name in ("seed", "base_lr", "batch_size")},
        "steps": schedule[-1] if schedule else None,
        **{f"test_{name}": last.get(f"test_{name}") for name in ("accuracy", "sensitivity", "specificity", "auc")},
        "wall_seconds": record.wall_seconds,
        "code_version": record.code_version,
    }
    return {name: value if _fits(value, TABLE_COLUMNS[name]) else None for name, value in values.items()}


def _fits(value: Any, kind: str) -> bool:
    """Whether a value can stand in a column of a table; what another protocol meant by a name may be of another type."""
    wanted = {"string": str, "int64": int, "float64": int | float, "bool": bool}[kind]
    return isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool)) and (kind != "int64" or abs(value) < 2**63)


def write_table(records: Iterable[Record], path: Path) -> None:
    """Write records, without weights, to one Parquet file, sorted by key.

    The columns of :func:`summary` are for people and pandas. ``record`` holds the record itself as JSON, and ``sha256``
    the digest of that text: :func:`read_table` needs these two and ``key`` only. Numbers come back to the last bit.

    Raises:
        OSError: the disk is full or cannot be written; an older file then still stands.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows = []
    for record in sorted({record.key: record for record in records}.values(), key=lambda record: record.key):
        body = record.model_dump_json()
        rows.append(summary(record) | {"record": body, "sha256": text_digest(body)})
    order = rows[0] if rows else TABLE_COLUMNS
    schema = pa.schema([(name, pa.type_for_alias(TABLE_COLUMNS[name])) for name in order], TABLE_NOTE)
    table = pa.Table.from_pylist(rows, schema)
    content = io.BytesIO()
    settings = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True, "row_group_size": ROWS_TOGETHER}
    parquet.write_table(table, content, **settings)
    atomic_write(path, content.getvalue())


def table_rows(path: Path) -> list[tuple[str, Record | ValueError]]:
    """Every row of a table of :func:`write_table`: its key, and its record or what is wrong with it.

    Raises:
        ValueError: if the file is not such a table. OSError: if it cannot be opened.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with Path(path).open("rb") as file:
        try:
            table, size = parquet.ParquetFile(file), Path(path).stat().st_size
            needed = {"key", "record", "sha256"}
            if missing := needed - {field.name for field in table.schema_arrow if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)}:
                raise ValueError(f"it has no column {', '.join(sorted(missing))}")
            check_unpacked(table, size)
            # A text that occurs in many rows stands once in the file, and as a dictionary once in memory.
            table = parquet.ParquetFile(file, page_checksum_verification=True, read_dictionary=sorted(needed))
        except (ValueError, OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} is not a table of records ({reason}); 'cxr runs export' makes one") from None
        found: list[tuple[str, Record | ValueError]] = []
        unpacked = 0
        for group in range(table.num_row_groups):
            keys = [f"{number} of block {group}" for number in range(table.metadata.row_group(group).num_rows)]
            try:
                keys = table.read_row_group(group, ["key"])["key"]
                rows = table.read_row_group(group, ["record", "sha256"])
            except (ValueError, OSError, pa.ArrowException):
                keys = keys if isinstance(keys, list) else keys.to_pylist()
                found += [(key, ValueError("its block of the file is damaged")) for key in keys]
                continue
            for number in range(len(keys)):  # one at a time, as all together may be more than memory holds
                key, body, sha256 = (column[number].as_py() for column in (keys, rows["record"], rows["sha256"]))
                unpacked += len(str(key)) + len(str(body)) + len(str(sha256))
                if unpacked > unpacked_limit(size):
                    raise ValueError(f"{path} is not a table of records (its rows unpack to more than {unpacked_limit(size):,} bytes); 'cxr runs export' makes one")
                try:
                    if not KEY.fullmatch(str(key)):
                        raise ValueError("that is no key")
                    if text_digest(str(body)) != sha256:
                        raise ValueError("its checksum differs")
                    found.append((key, checked(str(body), key)))
                except ValueError as error:
                    found.append((key, error))
    return found


def read_table(path: Path) -> list[Record]:
    """The records of a table of :func:`write_table`, in the order of their keys.

    Raises:
        ValueError: if the file is not such a table, or any row is damaged. OSError: if it cannot be opened.
    """
    rows = table_rows(path)
    damaged = [f"{key}: {found}" for key, found in rows if isinstance(found, ValueError)]
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        raise ValueError(f"{path} has damaged records ({'; '.join(damaged[:3])}{more}); get the file again")
    return [found for _, found in rows if isinstance(found, Record)]
