"""Pretraining on computed fractals, from the records that ship beside the weights to the pictures, tables and curves of notebook 00."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.metrics.estimate import percentage
from cxrlib.study.figures import style
from cxrlib.train import fractals
from cxrlib.weights.registry import registry
from cxrlib.weights.source import WEIGHTS_FOLDER

FRACTALS = ("fractal-s", "fractal-m")


def fractal_records() -> dict[str, dict[str, Any]]:
    """What was written down when the fractal weights were made."""
    return {name: json.loads((WEIGHTS_FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in FRACTALS}


def fractal_images(made: dict[str, dict[str, Any]], classes: int, seed: int) -> tuple[dict[str, list[np.ndarray]], dict[str, list[str]]]:
    """Two images of each of some classes, and what stands below them."""
    drawn = [fractals.render_class(label, 2, made["fractal-m"]["settings"]["size"], seed) for label in range(classes)]
    rows = {f"image {number + 1}": [pair[number] for pair in drawn] for number in range(2)}
    return rows, {name: [f"class {label}" for label in range(classes)] for name in rows}


def fractal_table(made: dict[str, dict[str, Any]]) -> str:
    """Classes, images and steps of the fractal pretrainings, as a Markdown table."""
    rows = []
    for name, record in made.items():
        settings = record["settings"]
        images, accuracy = settings["classes"] * settings["instances"], record["held_out_accuracy"]
        rows.append([style.named(name), settings["classes"], f"{images:,}", f"{record['steps_done']:,}", settings["batch_size"], f"{percentage(accuracy):.1f} %"])
    return markup.table(["", "classes", "images", "steps", "images a step", "accuracy on unseen images of its classes"], rows)


def fractal_histories(made: dict[str, dict[str, Any]]) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Histories, and accuracies on unseen images."""
    return {name: pd.DataFrame(record["history"]) for name, record in made.items()}, {name: record["held_out_accuracy"] for name, record in made.items()}


def upstream_ratio() -> float:
    """How many times as many fractals the larger set has."""
    known = registry()
    return known["fractal-m"].images / known["fractal-s"].images
