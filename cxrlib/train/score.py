"""Scoring a split with a model: logits in the order of the labels, and a row of the training history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from scipy.special import expit
from torch import nn

from cxrlib.metrics.classifier import evaluate
from cxrlib.model.network import normalise
from cxrlib.weights.source import Initialisation


@dataclass(frozen=True)
class ImageSet:
    """Images and labels of one split.

    Attributes:
        images: uint8, shape (M, S, S), usually a read-only memory map.
        labels: int64, shape (N,), 0 or 1.
        rows: int64, shape (N,): the row of ``images`` that each label belongs to.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


@torch.inference_mode()
def predict(
    model: nn.Module, images: ImageSet, initialisation: Initialisation, image_channels: int, batch_size: int | None = None
) -> np.ndarray:
    """Logits of a split, each image once, in the order of its labels.

    In a distributed run each process scores its share of the images, and every process returns all logits.

    Args:
        model: on any device; its mode is restored afterwards.
        images: at the test size.
        initialisation: whose normalisation to use.
        batch_size: images at a time; by default as many as make half a million pixels, which also bounds the memory.

    Returns:
        float32 array of shape (N,).
    """
    batch_size = batch_size or max(1, 2**19 // images.images[0].size)
    processes = PartialState() if PartialState._shared_state else None
    rows = np.array_split(images.rows, processes.num_processes)[processes.process_index] if processes else images.rows
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits = []
    for start in range(0, len(rows), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(images.images[rows[start : start + batch_size]]))
        inputs = normalise(batch.to(device, non_blocking=True), initialisation.mean, initialisation.std, image_channels)
        logits.append(model(inputs).reshape(-1).float())
    model.train(was_training)
    scores = torch.cat(logits).cpu().numpy() if logits else np.empty(0, dtype=np.float32)
    return np.concatenate(gather_object([scores])) if processes and processes.num_processes > 1 else scores


def evaluation_row(model: nn.Module, splits: dict[str, ImageSet], initialisation: Initialisation, channels: int) -> dict:
    row = {}
    for name, split in splits.items():
        logits = predict(model, split, initialisation, channels).astype(np.float64)
        result = evaluate(split.labels, expit(logits))
        row[f"{name}_loss"] = float(np.mean(np.logaddexp(0, logits) - split.labels * logits))
        for metric in ("accuracy", "sensitivity", "specificity", "auc"):
            row[f"{name}_{metric}"] = float(getattr(result, metric))
    return row
