"""Records of runs: what they hold, where they lie, and how they are read back.

A record lies in ``store/KEY/record.json`` with its own checksum, usually beside ``weights.safetensors``. Many records
without weights fit into one Parquet table (:func:`write_table`). What one does with a whole store is in
:mod:`cxrlib.experiment.store`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib import PROTOCOL_VERSION, __version__
from cxrlib.files import atomic_write, check_unpacked, file_digest, seal, text_digest, unpacked_limit, unseal

if TYPE_CHECKING:
    from cxrlib.weights.source import Initialisation

KEY = re.compile(r"[0-9a-f]{20}")
TABLE_NOTE = {b"cxrlib": b"table of run records, version 1"}
ROWS_TOGETHER = 32  # rows that share a compressed block of a table, and a fault of the disk
TABLE_COLUMNS = {
    **dict.fromkeys(("key", "data", "data_fingerprint", "init", "arch", "schedule", "mixup", "code_version"), "string"),
    **dict.fromkeys(("protocol_version", "resize", "crop", "images_per_class", "seed", "batch_size", "steps"), "int64"),
    **dict.fromkeys(("base_lr", "test_accuracy", "test_sensitivity", "test_specificity", "test_auc", "wall_seconds"), "float64"),
    **{"freeze": "bool", "record": "string", "sha256": "string"},
}


LARGEST = 2**28  # bytes of a record's file; ours have some hundred thousand


class OtherVersionError(ValueError):
    """A record is whole, by its checksum, and not of the form that this version of cxrlib knows."""


class Record(BaseModel):
    """The answer of one run. ``config`` holds the fields that decided it; ``history`` one row per evaluation."""

    # An undefined metric is NaN; JSON has no word for it, so it is written as the constant that json reads back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    key: str
    protocol_version: int
    config: dict[str, Any]
    data: dict[str, Any]
    initialisation: dict[str, Any]
    code_version: str
    packages: dict[str, str]
    machine: dict[str, Any]
    history: list[dict[str, float]]
    predictions: dict[str, list]
    wall_seconds: float
    weights_sha256: str

    def table(self, split: str = "test") -> pd.DataFrame:
        """Per-image predictions of a split: file, patient_id, label (0 or 1), logit, probability (0 to 1)."""
        from scipy.special import expit

        table = pd.DataFrame(self.predictions)
        table = table[table["split"] == split].drop(columns="split").reset_index(drop=True)
        return table.assign(probability=expit(table["logit"].astype(float)))

    def curve(self) -> pd.DataFrame:
        """The history as a table with a row per evaluation."""
        return pd.DataFrame(self.history)


def content_key(
    config: dict[str, Any], fingerprint: str, weights_sha256: str | None, protocol: int = PROTOCOL_VERSION, normalisation: dict[str, Any] | None = None
) -> str:
    """20 hexadecimal digits that name a run by its content.

    Args:
        config: ``RunConfig.identity()``. If there are initial weights their digest counts and not their name.
        fingerprint: of the data.
        weights_sha256: digest of the initial weights, None for random.
        protocol: version of the code that decides numbers.
        normalisation: mean and std of the initial weights where their digest does not decide them
            (:meth:`cxrlib.weights.source.Initialisation.normalisation`); without them the key is what it always was.
    """
    identity = {"protocol": protocol, "data": fingerprint, "weights": weights_sha256} | ({"normalisation": normalisation} if normalisation else {})
    identity |= {"config": config | ({"init": None} if weights_sha256 else {})}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _checked(body: str, key: str) -> Record:
    """The record in ``body``, whose checksum is right; ValueError with the reason if it is not the one that ``key`` promises.

    Raises:
        OtherVersionError: if the form is another.
    """
    try:
        record = Record.model_validate_json(body)
        content = key  # how an older or newer protocol made its keys is not known here
        if record.protocol_version == PROTOCOL_VERSION:
            origin = record.initialisation
            normalisation = {name: origin[name] for name in origin.get("in_key", ())}
            content = content_key(record.config, record.data["fingerprint"], origin["sha256"], normalisation=normalisation)
    except ValidationError as error:
        fields = sorted({".".join(map(str, problem["loc"][:1])) for problem in error.errors()} - {""})
        if not fields or json.loads(body).get("key") != key:
            raise ValueError("it is no record") from None
        raise OtherVersionError(f"it was written by another version of cxrlib, which has {_listed(fields)} otherwise") from None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no record: {type(error).__name__} {error}") from None
    if record.key != key or content != key:
        raise ValueError("its content belongs to another key")
    return record


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save(record: Record, weights: bytes, store: Path) -> None:
    """Write weights, then the record: where the record stands, everything it speaks of stands too.

    Raises:
        OSError: the disk is full or cannot be written; an older record then still stands.
    """
    atomic_write(Path(store) / record.key / "weights.safetensors", weights)
    save_without_weights(record, store)


def save_without_weights(record: Record, store: Path) -> None:
    """Write a record alone, such as one that was trained elsewhere."""
    atomic_write(record_file(store, record.key), seal(record.model_dump_json(), "record"))


def load(store: Path, key: str, weights: bool = False) -> Record | None:
    """A record by its key; None if it is missing or of no use, which is told on stderr.

    Args:
        weights: also None if the trained weights beside it are missing or are not the ones recorded.
    """
    try:
        return read(store, key, weights)
    except OtherVersionError as error:
        print(f"{record_file(store, key)} is left alone: {error}", file=sys.stderr)
    except ValueError as error:
        print(f"{record_file(store, key)} is damaged ({error}) and counts as not there", file=sys.stderr)
    return None


def read(store: Path, key: str, weights: bool = False) -> Record | None:
    """A record by its key; None if there is none.

    Args:
        weights: whether the trained weights beside it must be the ones recorded; None if they are missing.

    Raises:
        OtherVersionError: if another version of cxrlib wrote it. ValueError: with the reason if it is damaged.
        OSError: if it may not be read.
    """
    path = record_file(store, key)
    try:
        if path.is_dir():
            raise ValueError("it is a folder")
        if not path.is_file():  # nor wait for a pipe
            return None
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, more than any record")
        record = _checked(unseal(path.read_bytes(), "record"), key)
        if weights and file_digest(_weights_file(record, store)) != record.weights_sha256:
            raise ValueError("its weights are not the ones recorded")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OtherVersionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error) if type(error) is ValueError else f"it is no record: {type(error).__name__}") from None


def recorded(store: Path, key: str, initialisation: Initialisation, weights: bool = False) -> Record | None:
    """The record of a run, as :func:`load`; None too if it was made with another mean or std than ``initialisation`` has.

    Records of older versions are: a file of weights had one key as ``timm:TAG`` and by its path.
    """
    record = load(store, key, weights)
    if record is not None and record.initialisation.get("sha256") is not None:
        wanted = json.loads(json.dumps([initialisation.mean, initialisation.std]))
        if wanted != [record.initialisation["mean"], record.initialisation["std"]]:
            return None
    return record


def check_place(store: Path, key: str) -> None:
    """Raise :class:`OtherVersionError` if a record would be written over that another version of cxrlib made."""
    try:
        read(store, key)
    except OtherVersionError as error:
        raise OtherVersionError(f"{record_file(store, key)} is not overwritten: {error}; use that version, or another store") from None
    except ValueError:
        pass  # damaged: it is made again


def record_file(store: Path, key: str) -> Path:
    """Where the record of a run lies."""
    return Path(store) / key / "record.json"


def all_records(store: Path) -> list[Record]:
    """Every readable record of a store, in the order of their keys."""
    found = (load(store, path.parent.name) for path in sorted(Path(store).glob("*/record.json")))
    return [record for record in found if record is not None]


def has_weights(record: Record, store: Path) -> bool:
    """Whether a file of trained weights lies beside the record; :func:`load` and :func:`load_model` also verify it."""
    return _weights_file(record, store).is_file()


def _weights_file(record: Record, store: Path) -> Path:
    return Path(store) / record.key / "weights.safetensors"


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
                    found.append((key, _checked(str(body), key)))
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


def load_model(record: Record, store: Path):
    """The trained model of a record, in evaluation mode on the CPU.

    Raises:
        WeightsError: if the weights are gone or not the ones recorded.
    """
    from safetensors.torch import load as load_tensors

    from cxrlib.model.network import create_model
    from cxrlib.weights.source import WeightsError

    path = _weights_file(record, store)
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing: the record was imported, or its weights were cleaned away; copy the file from where it was "
            f"trained, or delete {path.parent} and run it again"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise WeightsError(f"{path} is not the file recorded; delete {path.parent} and run the record again")
    model = create_model(record.config["arch"], "random", record.config["image_channels"])
    model.load_state_dict(load_tensors(content))
    return model.eval()


@functools.cache
def code_version() -> str:
    """Version of the package with the commit it stands at, marked ``-dirty`` if the package differs from it.

    Only of a repository that tracks the package: the environment of another project may lie inside its repository, and
    ``GIT_DIR`` may point to any.
    """
    import cxrlib

    folder = Path(cxrlib.__file__).parent
    git = shutil.which("git")
    if git:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        try:
            run_git = functools.partial(subprocess.run, cwd=folder, env=environment, capture_output=True, text=True, timeout=10, check=True)
            run_git([git, "ls-files", "--error-unmatch", "--", "__init__.py"])
            commit = run_git([git, "rev-parse", "--short=12", "HEAD"]).stdout.strip()
            dirty = run_git([git, "status", "--porcelain", "--", "."]).stdout.strip()
            return f"{__version__}+{commit}{'-dirty' if dirty else ''}"
        except (subprocess.SubprocessError, OSError):
            pass
    return __version__
