"""Records of runs: where they lie, and how they are read back.

A record lies in ``store/KEY/record.json`` with its own checksum, usually beside ``weights.safetensors``. What it holds
is in :mod:`cxrlib.experiment.contents`; many records without weights fit into one table
(:mod:`cxrlib.experiment.record_tables`). Both are handed on from here. What one does with a whole store is in
:mod:`cxrlib.experiment.store`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cxrlib import __version__
from cxrlib.experiment.contents import KEY, OtherVersionError, Record, checked, content_key
from cxrlib.experiment.record_tables import read_table, summary, table_rows, write_table
from cxrlib.files import atomic_write, file_digest, seal, unseal

if TYPE_CHECKING:
    from cxrlib.weights.source import Initialisation

__all__ = [
    "KEY", "OtherVersionError", "Record", "all_records", "check_place", "code_version", "content_key", "has_weights", "load", "load_model", "read",
    "read_table", "record_file", "recorded", "save", "save_without_weights", "summary", "table_rows", "write_table",
]  # fmt: skip
LARGEST = 2**28  # bytes of a record's file; ours have some hundred thousand


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
        record = checked(unseal(path.read_bytes(), "record"), key)
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


def images_of(record: Record) -> str:
    """Fingerprint of the images of a record, whatever masks lay over them."""
    return record.data.get("images", record.data["fingerprint"])


def all_records(store: Path) -> list[Record]:
    """Every readable record of a store, in the order of their keys."""
    found = (load(store, path.parent.name) for path in sorted(Path(store).glob("*/record.json")))
    return [record for record in found if record is not None]


def has_weights(record: Record, store: Path) -> bool:
    """Whether a file of trained weights lies beside the record; :func:`load` and :func:`load_model` also verify it."""
    return _weights_file(record, store).is_file()


def _weights_file(record: Record, store: Path) -> Path:
    return Path(store) / record.key / "weights.safetensors"


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
