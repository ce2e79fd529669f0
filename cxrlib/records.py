"""Records of runs: what they hold, where they lie, and how they are read back.

A record lies in ``store/KEY/record.json`` with its own checksum, beside ``weights.safetensors``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib import __version__
from cxrlib.files import atomic_write


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
        table = pd.DataFrame(self.predictions)
        table = table[table["split"] == split].drop(columns="split").reset_index(drop=True)
        return table.assign(probability=1 / (1 + np.exp(-table["logit"].astype(float))))

    def curve(self) -> pd.DataFrame:
        """The history as a table with a row per evaluation."""
        return pd.DataFrame(self.history)


def save(record: Record, weights: bytes, store: Path) -> None:
    """Write weights, then the record: where the record stands, everything it speaks of stands too."""
    folder = Path(store) / record.key
    atomic_write(folder / "weights.safetensors", weights)
    body = record.model_dump_json()
    atomic_write(folder / "record.json", json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "record": body}))


def load(store: Path, key: str) -> Record | None:
    """A record by its key; None if it is missing or damaged (then it is computed again)."""
    path = Path(store) / key / "record.json"
    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
        body = envelope["record"]
        if hashlib.sha256(body.encode()).hexdigest() != envelope["sha256"]:
            raise ValueError("checksum differs")
        return Record.model_validate_json(body)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        print(f"{path} is damaged ({type(error).__name__}) and will be computed again", file=sys.stderr)
        return None


def all_records(store: Path) -> list[Record]:
    """Every readable record of a store, in the order of their keys."""
    found = (load(store, path.parent.name) for path in sorted(Path(store).glob("*/record.json")))
    return [record for record in found if record is not None]


def load_model(record: Record, store: Path):
    """The trained model of a record, in evaluation mode on the CPU.

    Raises:
        WeightsError: if the weights are gone or not the ones recorded.
    """
    from safetensors.torch import load as load_tensors

    from cxrlib.model import WeightsError, create_model

    path = Path(store) / record.key / "weights.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path} is missing; delete {path.parent} and run the record again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise WeightsError(f"{path} is not the file recorded; delete {path.parent} and run the record again")
    model = create_model(record.config["arch"], "random", record.config["image_channels"])
    model.load_state_dict(load_tensors(content))
    return model.eval()


@functools.cache
def code_version() -> str:
    """Version of the package with the commit it stands at, marked ``-dirty`` if the package differs from it."""
    folder = Path(__file__).parent
    git = shutil.which("git")
    if git:
        try:
            run_git = functools.partial(subprocess.run, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
            commit = run_git([git, "rev-parse", "--short=12", "HEAD"]).stdout.strip()
            dirty = run_git([git, "status", "--porcelain", "--", "."]).stdout.strip()
            return f"{__version__}+{commit}{'-dirty' if dirty else ''}"
        except (subprocess.SubprocessError, OSError):
            pass
    return __version__
