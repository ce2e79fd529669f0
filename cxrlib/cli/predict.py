"""Scores for one's own images from a recorded model. Not a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cxrlib import DISCLAIMER
from cxrlib.config import is_classical
from cxrlib.data.decode import squared
from cxrlib.experiment.record import Record, load_model
from cxrlib.experiment.store import find
from cxrlib.model.network import normalise


def find_record(model: str, store: Path) -> tuple[Record, Path]:
    """The record that ``model`` names (a key, its first digits, or a folder of a store) and its store.

    Raises:
        ValueError: if none or several fit, or the record is damaged.
    """
    path = Path(model)
    if (path / "record.json").is_file():
        store, model = path.parent, path.name
    return find(store, model), Path(store)


def predict_files(files: list[Path], model: str, store: Path = Path("runs"), explain: Path | None = None) -> Iterator[str]:
    """Score image files.

    Args:
        files: of any format that ``cxrlib.data.decode`` decodes.
        model: see :func:`find_record`.
        store: folder of records.
        explain: PNG to write, with each image beside its Grad-CAM.

    Yields:
        A line per file: its name, the model's probability of the positive class, and the side of 0.5 it is on.
    """
    record, store = find_record(model, store)
    if explain is not None and is_classical(record.config["arch"]):
        raise ValueError(f"record {record.key} is a support vector machine, which has no feature map to explain; leave --explain out")
    network = load_model(record, store)
    size = record.config["crop"]
    grey = [squared(file, size) for file in files]
    origin = record.initialisation
    inputs = normalise(torch.from_numpy(np.stack(grey)), origin["mean"], origin["std"], record.config["image_channels"])
    with torch.inference_mode():
        probabilities = torch.sigmoid(network(inputs).reshape(-1)).numpy()
    if record.data["is_phantom"]:
        yield "note: this model was trained on phantoms; its scores of real X-rays mean nothing"
    for file, probability in zip(files, probabilities, strict=True):
        yield f"{file}\t{probability:.4f}\t{'positive' if probability > 0.5 else 'negative'} at threshold 0.5"
    if explain is not None:
        from cxrlib.explain import grad_cam
        from cxrlib.study.figures import common

        titles = [f"{file.name}\nscore {probability:.2f}" for file, probability in zip(files, probabilities, strict=True)]
        figure = common.cam_grid(np.stack(grey), grad_cam(network, inputs), titles, f"Grad-CAM. {DISCLAIMER}")
        figure.savefig(explain, dpi=120)
        yield f"wrote {explain}"
