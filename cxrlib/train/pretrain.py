"""Pretraining as a classifier: learning rate, augmentation, training loop. Used by `cxrlib.train.upstream`.

Every random choice is a function of (seed, step), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from cxrlib.model.memory import compiled, keep_single_precision, layout
from cxrlib.model.network import normalise
from cxrlib.train import sampling
from cxrlib.train.checkpoints import Progress, load_checkpoint, save_checkpoint
from cxrlib.train.finetune import NonFiniteLossError

MEAN = STD = 0.5
_AUGMENT = 11
WORKERS = 6
"""Processes that augment batches while a GPU trains on earlier ones; a CPU has no time to spare."""


def upstream_rate(step: int, steps: int, base_lr: float, warmup: int) -> float:
    """Learning rate of a step: linear warm-up from base_lr / warmup to `base_lr`, then a cosine to 0 at `steps`."""
    if step < warmup:
        return base_lr * (step + 1) / warmup
    return base_lr / 2 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def augment(images: np.ndarray, crop: int, step: int, seed: int) -> np.ndarray:
    """Random crop, horizontal flip, contrast, brightness and noise, different for each image.

    Never inverted: radiographs have one polarity, and in a trial with 80 classes inversion lowered the accuracy after
    225 steps from 0.21 to 0.08.

    Args:
        images: uint8 (B, S, S).
        crop: pixels on a side of the result, at most S.
        step: with `seed` decides every random choice.

    Returns:
        uint8 (B, crop, crop).
    """
    rng = np.random.default_rng([seed, _AUGMENT, step])
    count, size, _ = images.shape
    tops, lefts = rng.integers(0, size - crop + 1, (2, count))
    batch = sampling.crop_batch(images, np.arange(count), crop, tops, lefts, rng.random(count) < 0.5).astype(np.float32)
    contrast = rng.uniform(0.7, 1.2, (count, 1, 1)).astype(np.float32)
    brightness = rng.uniform(-20, 20, (count, 1, 1)).astype(np.float32)
    noise = rng.uniform(0, 5, (count, 1, 1)).astype(np.float32) * rng.standard_normal(batch.shape, dtype=np.float32)
    return ((batch - 127.5) * contrast + 127.5 + brightness + noise).clip(0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Batches(Dataset):
    """The augmented batch of each step: uint8 (B, crop, crop) and classes (B,). Whoever makes it, a step has one batch."""

    images: np.ndarray
    labels: np.ndarray
    size: int
    crop: int
    seed: int

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = sampling.batch_indices(step, self.labels, self.size, self.seed, rebalance=False)
        return torch.from_numpy(augment(self.images[chosen], self.crop, step, self.seed)), torch.from_numpy(self.labels[chosen])

    def loader(self, first: int, end: int, workers: int = 0, pin_memory: bool = False) -> DataLoader:
        """The batches of steps ``first`` to ``end - 1`` in order."""
        own = torch.Generator()  # torch's global one stays as it is
        return DataLoader(self, batch_size=None, sampler=range(first, end), num_workers=workers, pin_memory=pin_memory, generator=own)


def pretrain(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    batch_size: int = 64,
    base_lr: float = 0.1,
    seed: int = 0,
    *,
    crop: int | None = None,
    warmup: int = 500,
    weight_decay: float = 1e-4,
    image_channels: int = 1,
    precision: str = "fp32",
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    log_every: int = 100,
    key: str = "",
    stop_after: float | None = None,
    on_log: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train `model` in place to tell the classes apart, by cross entropy.

    Args:
        model: any module whose `get_classifier()` already has as many outputs as there are classes; trains on its device.
        images: uint8 (N, S, S), may be a memory map.
        labels: int64 (N,), 0 to classes - 1.
        steps: optimiser steps.
        base_lr: rate after `warmup` steps; then a cosine to 0.
        crop: pixels of the random crop; all of the image if None.
        precision: 'fp32', or 'bf16' for the forward pass in bfloat16 where torch.autocast holds it safe; weights stay float32.
        checkpoint: file to go on from, bit for bit on a CPU, written every `checkpoint_every` steps; not removed here.
        key: what the run is; a checkpoint of another key is ignored.
        stop_after: seconds after which to stop early (for trials; a checkpoint is written).
        on_log: called every `log_every` steps, after a row (step, learning_rate, loss, accuracy) joined the history.

    Raises:
        NonFiniteLossError: with the step and what to try.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=base_lr, momentum=0.9, weight_decay=weight_decay)
    progress = (checkpoint and load_checkpoint(checkpoint, key, model, optimizer, None)) or Progress()
    device = next(model.parameters()).device
    arranged = layout(model, precision, device)
    keep_single_precision(precision)
    called = compiled(model, device)
    loss_sum, right = torch.zeros((), device=device, dtype=torch.float64), torch.zeros((), device=device, dtype=torch.int64)
    batches = Batches(images, labels, batch_size, crop or images.shape[1], seed)

    def check_finite(loss: torch.Tensor, where: str) -> None:
        if not torch.isfinite(loss):
            raise NonFiniteLossError(f"the loss is {loss.item()} {where} step {progress.step}; lower base_lr from {base_lr:g}")

    loader = batches.loader(progress.step, steps, 0 if device.type == "cpu" else WORKERS, device.type == "cuda")
    started = time.perf_counter()
    already = progress.seconds
    model.train()
    for batch, target in loader:
        for group in optimizer.param_groups:
            group["lr"] = upstream_rate(progress.step, steps, base_lr, warmup)
        batch, target = (part.to(device, non_blocking=True) for part in (batch, target))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = called(arranged(normalise(batch, MEAN, STD, image_channels)))
        loss = functional.cross_entropy(logits.float(), target)
        loss_sum += loss.detach()
        right += (logits.argmax(1) == target).sum()
        if device.type == "cpu":  # to look at the loss makes a GPU wait: there it is done where a row is written
            check_finite(loss, "at")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.step += 1
        progress.loss_count += 1
        progress.seconds = already + time.perf_counter() - started
        last = progress.step == steps or (stop_after is not None and time.perf_counter() - started > stop_after)
        if progress.step % log_every == 0 or last:
            check_finite(loss_sum, "before")
            progress.history.append(
                {
                    "step": progress.step,
                    "learning_rate": optimizer.param_groups[0]["lr"],
                    "loss": float(loss_sum) / progress.loss_count,
                    "accuracy": int(right) / (progress.loss_count * batch_size),
                }
            )
            progress.loss_count = 0
            loss_sum.zero_()
            right.zero_()
            if on_log:
                on_log(progress)
        # Checkpoints fall on log steps, so that the sums above are empty and need no saving.
        if checkpoint and (last or progress.step % (log_every * -(-checkpoint_every // log_every)) == 0):
            save_checkpoint(checkpoint, key, model, optimizer, progress, None)
        if last:
            break
    return progress


@torch.inference_mode()
def top1(model: nn.Module, images: np.ndarray, labels: np.ndarray, image_channels: int = 1) -> float:
    """Share of images whose class gets the highest logit, in [0, 1]; images uint8 (N, S, S), not augmented."""
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(labels), 256):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + 256])).to(device)
        logits = model(normalise(batch, MEAN, STD, image_channels))
        right += int((logits.argmax(1).cpu().numpy() == labels[start : start + 256]).sum())
    return right / len(labels)
