"""Phantoms with known confounding: how much of a test score is the source and not the disease?

The phantoms of all levels have the same anatomy, image by image; only the acquisition style follows the label with the
probability ``source_confounding`` and chance otherwise. A model is trained on each level and tested twice: on its own
test set, which is confounded as its training set is, and on the test set of level 0, where the style tells nothing.
What it loses there is what it owed to the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import phantom
from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record, load
from cxrlib.experiment.record_tables import write_table
from cxrlib.metrics.estimate import percentage
from cxrlib.metrics.inference import auc_difference, auc_over_seeds, difference_over_seeds, share_over_seeds

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2)
PHANTOMS: dict[str, Any] = {"seed": 0, "train_positive": 200, "train_negative": 200, "test_per_class": 60, "size": 96}
RUN: dict[str, Any] = {
    "arch": "resnetv2_laptop", "image_channels": 1, "base_lr": 0.05, "batch_size": 32, "init": "fractal-m", "mixup": "beta",
    "resize": 56, "crop": 48, "schedule": (25, 120, 160, 180, 200), "eval_every": 50,
}  # fmt: skip
SPLIT = "unconfounded"


def configs(folder: Path, level: float, seeds: tuple[int, ...] = SEEDS, run: dict[str, Any] = RUN) -> list[RunConfig]:
    """The runs of a level; data, records and resized images lie below ``folder``."""
    places = {"data": folder / f"phantoms-{level:g}", "store": folder / "runs", "cache": folder / "cache"}
    return [RunConfig.parse(run | places | {"seed": seed}) for seed in seeds]


def compute(
    folder: Path,
    out: Path,
    levels: tuple[float, ...] = LEVELS,
    seeds: tuple[int, ...] = SEEDS,
    phantoms: dict[str, Any] = PHANTOMS,
    run: dict[str, Any] = RUN,
    workers: int | None = None,
) -> list[Record]:
    """Make the phantoms, train and test on every level, and write the table of records; what is there is not done again.

    The records have a second test split, 'unconfounded', beside 'test', and ``data['source_confounding']``.

    Raises:
        ValueError: if level 0, whose test set all levels are tested on, is not among ``levels``.
    """
    from cxrlib.experiment.sweep import run_all

    if 0 not in levels:
        raise ValueError(f"levels {list(levels)} lack 0, the level whose test set serves all; add it")
    for level in levels:
        phantom.generate(folder / f"phantoms-{level:g}", source_confounding=float(level), **phantoms)
    wanted = [config for level in levels for config in configs(folder, level, seeds, run)]
    records = run_all(wanted, workers)
    if any(load(folder / "runs", record.key, weights=True) is None for record in records):
        records = run_all(wanted, workers, weights=True)
    plain = next(config for config in wanted if config.data.name == "phantoms-0")
    tested = [tested_elsewhere(record, config, plain) for record, config in zip(records, wanted, strict=True)]
    write_table(tested, out)
    return tested


def tested_elsewhere(record: Record, config: RunConfig, plain: RunConfig) -> Record:
    """The record with the scores of its model on the test set of ``plain`` as split 'unconfounded'."""
    from cxrlib.experiment.one_run import image_sets, open_dataset
    from cxrlib.experiment.record import load_model
    from cxrlib.train.score import predict
    from cxrlib.weights.source import Initialisation

    _, splits, tables = image_sets(plain, open_dataset(plain))
    logits = predict(load_model(record, config.store), splits["test"], Initialisation(**record.initialisation), config.image_channels)
    rows = tables["test"]
    added = {"split": [SPLIT] * len(rows), "file": rows["file"].tolist(), "patient_id": rows["patient_id"].tolist()}
    added |= {"label": splits["test"].labels.tolist(), "logit": [float(logit) for logit in logits]}
    predictions = {name: values + added[name] for name, values in record.predictions.items()}
    level = float(config.data.name.removeprefix("phantoms-"))
    return record.model_copy(update={"predictions": predictions, "data": record.data | {"source_confounding": level}})


def curve(records: list[Record], threshold: float = 0.5) -> pd.DataFrame:
    """What each level scores on its own and on the unconfounded test set.

    Returns:
        Columns level, measure ('AUC' or 'accuracy'), own, unconfounded and gap (own less unconfounded, with p-value), each an
        Estimate over patients and seeds, and runs. Own and unconfounded images show the same patients: the gap is paired.
    """
    rows = []
    for level in sorted({record.data["source_confounding"] for record in records}):
        members = [record for record in records if record.data["source_confounding"] == level]
        tables = {split: [record.table(split).set_index("file").sort_index() for record in members] for split in ("test", SPLIT)}
        first = tables["test"][0]
        patients, labels = first["patient_id"].to_numpy(), first["label"].to_numpy()
        right = [np.stack([(t["probability"] > threshold) == (t["label"] == 1) for t in tables[split]]) for split in tables]
        scored = [np.stack([t["logit"].to_numpy(float) for t in tables[split]]) for split in tables]
        areas = [auc_over_seeds(scores, labels, patients) for scores in scored]
        shares = [share_over_seeds(values, patients) for values in right]
        gaps = [auc_difference(*scored, labels, patients), difference_over_seeds(*right, patients)]
        for measure, (own, unconfounded), gap in zip(("AUC", "accuracy"), (areas, shares), gaps, strict=True):
            rows.append({"level": level, "measure": measure, "own": own, "unconfounded": unconfounded, "gap": gap, "runs": len(members)})
    return pd.DataFrame(rows, dtype=object)


def answer(table: pd.DataFrame) -> str:
    """What :func:`curve` says of the strongest confounding, in a sentence with intervals."""
    last = table[(table["level"] == table["level"].max()) & (table["measure"] == "AUC")].iloc[0]
    gap = last["gap"]
    verdict = "Yes" if gap.low > 0 else "No" if gap.high < 0 else "Not clear"
    return (
        f"{verdict}: at confounding {last['level']:g} the AUC is {last['own'].percent()} % on the own test set and {last['unconfounded'].percent()} % where the style "
        f"tells nothing, a gap of {percentage(gap):.1f} points ({percentage(gap.low):.1f} to {percentage(gap.high):.1f})"
    )
