"""Pretraining on photographs, from the records that ship beside the weights to the tables and curves of notebook 00."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.metrics.estimate import percentage
from cxrlib.study.figures import captions
from cxrlib.weights.registry import PHOTOGRAPHS
from cxrlib.weights.source import WEIGHTS_FOLDER

PROCESSORS = ("x86_64", "amd64", "aarch64", "arm64")
"""What records call a machine without a GPU."""
LAST = 0.2
"""Share of the steps at whose end a pretraining should no longer rise."""


def pretrainings(folder: Path = WEIGHTS_FOLDER) -> dict[str, list[dict]]:
    """The records of all pretrainings on photographs that ship, by the name of the initialisation.

    Raises:
        OSError, ValueError: if a record is missing or damaged.
    """
    return {
        name: [json.loads((folder / f"{name}-{number}.json").read_text(encoding="utf-8")) for number in range(count)]
        for name, count in PHOTOGRAPHS.items()
    }


def of_large_network(made: Path) -> dict | None:
    """The record of a pretraining whose weights do not ship, such as that of BiT-R50x1; None while there is none.

    Raises:
        ValueError: if the record is damaged.
    """
    if not made.is_file():
        return None
    try:
        record = json.loads(made.read_text(encoding="utf-8"))
        missing = [name for name in ("settings", "seconds", "threads", "held_out_accuracy", "history", "sha256") if name not in record]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{made} is damaged ({error}); restore it with git checkout") from None
    if not isinstance(record, dict) or missing:
        raise ValueError(f"{made} is no record of a pretraining (it lacks {', '.join(missing) or 'names'}); restore it with git checkout")
    return record


def epochs(settings: dict) -> float:
    """How often a pretraining sees each photograph."""
    return settings["steps"] * settings["batch_size"] / (settings["classes"] * settings["instances"])


def on_gpu(machine: dict) -> bool:
    """Whether a record of that machine was made on a GPU; older ones name no device and were made on a processor."""
    device = machine.get("device")
    return bool(device) and str(device).lower() not in PROCESSORS


def spent(record: dict) -> str:
    """How long a pretraining took: hours of one core, or minutes of the GPU that its record names."""
    if on_gpu(record):
        return f"{record['seconds'] / 60:.0f} minutes on one {record['device']}"
    return f"{record['seconds'] * record['threads'] / 3600:.1f} hours of one core"


def curves(made: dict[str, list[dict]]) -> pd.DataFrame:
    """Validation accuracy while pretraining: columns init, seed, step (share of all steps in percent), accuracy (percent)."""
    rows = [
        (name, record["settings"]["seed"], 100 * row["step"] / record["settings"]["steps"], 100 * row["validation_accuracy"])
        for name, records in made.items()
        for record in records
        for row in record["history"]
    ]
    return pd.DataFrame(rows, columns=["init", "seed", "step", "accuracy"])


def drawn(curves: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Of :func:`curves` with accuracy as a share, and what the figure shows."""
    shown = curves.assign(accuracy=curves["accuracy"] / 100)
    last = shown[shown["step"] == shown["step"].max()].groupby("init", sort=False)["accuracy"].mean()
    return shown, f"At the end {captions.each(dict(last), 'with')} of the validation photographs are put into their class: fewer classes are easier."


def late_gain(record: dict) -> float:
    """By how much the validation accuracy rose in the last fifth of the steps, in points."""
    steps = record["settings"]["steps"]
    early = [row["validation_accuracy"] for row in record["history"] if row["step"] <= (1 - LAST) * steps]
    return 100 * (record["history"][-1]["validation_accuracy"] - early[-1])


def rungs(made: dict[str, list[dict]]) -> str:
    """A table of the pretrainings, a column each: data, epochs, steps, validation accuracy, what rounding to float16 and the last fifth changed."""
    rows = []
    for name, records in made.items():
        settings = records[0]["settings"]
        images = settings["classes"] * settings["instances"]
        held_out = 100 * np.array([record["held_out_accuracy"] for record in records])
        rounding = max(abs(record["held_out_accuracy_float16"] - record["held_out_accuracy"]) for record in records)
        rows.append(
            [
                markup.code(name),
                settings["classes"],
                f"{images:,}",
                f"{epochs(settings):g}",
                f"{settings['steps']:,}",
                len(records),
                ", ".join(f"{value:.1f}" for value in held_out),
                f"{100 / settings['classes']:.1f}",
                ", ".join(f"{late_gain(record):+.1f}" for record in records),
                f"{percentage(rounding):.2f}",
                f"{sum(record['seconds'] for record in records) / 60:.0f}",
            ]
        )
    measures = [
        "classes", "images", "epochs", "steps", "pretrainings", "validation accuracy, %", "by chance, %", "gain in the last fifth, points", "changed by float16, points",
        "minutes on one core, all of them together",
    ]  # fmt: skip
    names, *columns = zip(*rows, strict=True)
    return markup.table(["", *names], [[measure, *column] for measure, column in zip(measures, columns, strict=True)])


def trials(path: Path) -> str:
    """The table of trials in ``results/photo-trials.json``, the best first.

    Raises:
        OSError, ValueError: if the file is missing or damaged.
    """
    found = json.loads(path.read_text(encoding="utf-8"))["trials"]
    rows = [
        [
            trial["what"],
            f"{trial['size']}, {trial['crop']}",
            trial["augmentation"],
            trial["batch_size"],
            f"{trial['base_lr']:g}",
            f"{trial['weight_decay']:g}",
            f"{percentage(trial['validation_accuracy']):.1f}",
        ]
        for trial in sorted(found, key=lambda trial: -trial["validation_accuracy"])
    ]
    return markup.table(["", "size and crop, px", "augmentation", "batch", "rate", "weight decay", "validation accuracy, %"], rows)
