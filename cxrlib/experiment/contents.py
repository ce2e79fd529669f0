"""What a record holds, the key that follows from it, and whether a text is the record that a key promises."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib import PROTOCOL_VERSION

KEY = re.compile(r"[0-9a-f]{20}")
_SHARES = frozenset(("accuracy", "sensitivity", "specificity", "auc"))


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

        known, table = self._tables.get(split, (None, None))
        if table is None or known is not self.predictions:  # a copy with other predictions has the tables of its model
            wanted = [name == split for name in self.predictions["split"]]  # before pandas looks for the type of every text
            columns = {name: [value for value, kept in zip(values, wanted, strict=True) if kept] for name, values in self.predictions.items() if name != "split"}
            table = pd.DataFrame(columns if any(wanted) else self.predictions, columns=list(columns)).iloc[: sum(wanted)]
            table = table.assign(probability=expit(table["logit"].astype(float)))
            self._tables[split] = self.predictions, table
        return table.copy()

    @functools.cached_property
    def _tables(self) -> dict[str, tuple[dict[str, list], pd.DataFrame]]:
        """What :meth:`table` made, with the predictions that it made it of: a verdict asks for it in every comparison of a run."""
        return {}

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


def checked(body: str, key: str) -> Record:
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
    if record.protocol_version == PROTOCOL_VERSION and (reason := _impossible(record)):
        raise ValueError(reason)
    return record


def _impossible(record: Record) -> str:
    """What no run records, in words: a checksum says that a record is as it was written, not by whom; '' if there is nothing."""
    predictions = record.predictions
    logits, labels = predictions.get("logit", []), predictions.get("label", [])
    if len({len(column) for column in predictions.values()}) > 1:
        return "its predictions are columns of several lengths"
    if not logits or not all(isinstance(logit, (int, float)) and math.isfinite(logit) for logit in logits):
        return "a logit is missing or no finite number"
    if not {0, 1} >= set(labels):
        return "a label is neither 0 nor 1"
    if not record.history:
        return "it has no evaluation"
    for row in record.history:
        for name, value in row.items():
            if name.rpartition("_")[2] in _SHARES and not (math.isnan(value) or 0 <= value <= 1):
                return f"its {name} is {value:g}, no share from 0 to 1"
    return ""


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
