"""Committed records and shipped weights against their checksums, and against themselves.

A record says its metrics and the logits that they were computed from. Here the metrics are computed again from the logits
in another way than :mod:`cxrlib.metrics` does, so a digit that was changed, checksum and all, contradicts the others.

**Tolerance.** :data:`EXACT`. Accuracy, sensitivity and specificity are counts of images, the AUC is one of pairs, and the loss
is a mean in double precision of the logits that are recorded, so all of them agree but for the order of a sum.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cxrlib.config import RunConfig
from cxrlib.evidence.check import Check
from cxrlib.experiment.record import Record, content_key, table_rows
from cxrlib.files import file_digest
from cxrlib.weights.source import WEIGHTS_FOLDER, stated_digest

EXACT = 1e-12
HELD_OUT = ("test", "validation")


def tables(results: Path) -> list[Path]:
    """The tables of records in a folder; other Parquet files there hold images or probes and no runs."""
    import pyarrow as pa
    from pyarrow import parquet

    found = []
    for path in sorted(Path(results).glob("*.parquet")):
        try:
            names = set(parquet.read_schema(path).names)
        except (OSError, pa.ArrowException):
            names = {"record"}  # not even its head can be read: the audit of its rows says so
        if "record" in names:
            found.append(path)
    return found


def records(results: Path) -> list[Check]:
    """A row for each table of records: checksums, keys derived anew, and metrics from logits, for every record of it."""
    return [_of_table(path) for path in tables(results)]


def _of_table(path: Path) -> Check:
    claim = f"{path.name}: every record has its checksum and its key, and metrics that follow from its logits"
    try:
        rows = table_rows(path)
    except (ValueError, OSError) as error:
        return Check("records", claim, "", str(path), False, str(error))
    faults = [f"{key}: {fault}" for key, record in rows for fault in ([str(record)] if isinstance(record, ValueError) else faults_of(record))]
    note = "; ".join(faults[:3]) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
    return Check("records", claim, f"{len(rows)} records", path.name, not faults and bool(rows), note or ("" if rows else "it holds no record"))


def faults_of(record: Record) -> list[str]:
    """What contradicts itself in a record: its key, or a metric of its last evaluation; empty if nothing does."""
    faults = []
    # What mixup would have been is recorded as null where there is none.
    given = {name: value for name, value in record.config.items() if value is not None or name != "mixup_value"}
    identity = RunConfig.parse(given).identity()
    normalisation = {name: record.initialisation[name] for name in record.initialisation.get("in_key", ())}
    if content_key(identity, record.data["fingerprint"], record.initialisation["sha256"], normalisation=normalisation) != record.key:
        faults.append("its key does not follow from its configuration")
    last, predictions = record.history[-1], record.predictions
    splits, labels, logits = (np.array(predictions[name]) for name in ("split", "label", "logit"))
    for split in HELD_OUT:
        chosen = splits == split
        if not chosen.any():
            continue
        for name, value in metrics(labels[chosen], logits[chosen].astype(float)).items():
            stated = last.get(f"{split}_{name}")
            if stated is not None and not np.isclose(stated, value, rtol=0, atol=EXACT, equal_nan=True):
                faults.append(f"its {split}_{name} is {stated}, its logits give {value}")
    return faults


def metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Metrics from first principles: counts of images, and of pairs of a positive and a negative one.

    Args:
        labels: 0 or 1, shape (N,). logits: shape (N,).

    Returns:
        accuracy, sensitivity, specificity (a probability above 0.5 is called positive) and auc, shares; loss, the mean
        cross entropy in nats. NaN where a class has no image.
    """
    positive, called = labels == 1, logits > 0
    with np.errstate(invalid="ignore"):
        share = lambda right: float(right.mean()) if right.size else float("nan")  # noqa: E731
        difference = logits[positive][:, None] - logits[~positive][None, :]
        return {
            "accuracy": share(called == positive),
            "sensitivity": share(called[positive]),
            "specificity": share(~called[~positive]),
            "auc": share((difference > 0) + 0.5 * (difference == 0)),
            "loss": float(np.mean(np.logaddexp(0, np.where(positive, -logits, logits)))),
        }


def weights(folder: Path = WEIGHTS_FOLDER) -> list[Check]:
    """A row for each weights file that ships: its digest against the file beside it and the record of its pretraining."""
    checks = []
    for path in sorted(Path(folder).glob("*.safetensors")):
        claim, found = f"{path.name} is the file that its pretraining wrote", file_digest(path)
        try:
            record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            stated = {"its record": record["sha256"], f"{path.stem}.sha256": stated_digest(path)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            checks.append(Check("weights", claim, found, path.name, False, f"its record or checksum cannot be read ({error}); restore it with git checkout"))
            continue
        wrong = [f"{where} says {digest}" for where, digest in stated.items() if digest != found]
        checks.append(Check("weights", claim, f"SHA-256 {found}", f"{path.stem}.json", not wrong, f"{'; '.join(wrong)}; restore the file with git checkout" if wrong else ""))
    return checks


def as_stated(path: Path) -> Check:
    """A weights file that ships without a record of its training: its digest against the file beside it."""
    try:
        stated, found = stated_digest(path), file_digest(path)
    except (OSError, ValueError) as error:
        return Check("weights", f"{path.name} is the file of its checksum", "", path.name, False, f"it cannot be read ({error}); restore it with git checkout")
    wrong = "" if stated == found else f"{path.stem}.sha256 {f'says {stated}' if stated else 'is missing'}; restore the file with git checkout"
    return Check("weights", f"{path.name} is the file of its checksum", f"SHA-256 {found}", f"{path.stem}.sha256", not wrong, wrong)
