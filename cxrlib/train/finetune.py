"""The fine-tuning protocol of section 3.3 as a training loop on accelerate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import nn
from torch.nn import functional

from cxrlib.config import RunConfig
from cxrlib.model.memory import keep_single_precision, layout
from cxrlib.model.network import normalise
from cxrlib.train import sampling
from cxrlib.train.checkpoints import Progress, load_checkpoint, save_checkpoint
from cxrlib.train.score import ImageSet, evaluation_row
from cxrlib.weights.source import Initialisation


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number."""


def _not_finite(config: RunConfig, what: str, step: int, rate: float) -> NonFiniteLossError:
    place = f"at step {step} (learning rate {rate:.2g}, {config.init} at {config.crop} px)"
    damped = f", or weight_decay from {config.weight_decay:g}" if config.weight_decay else ""
    return NonFiniteLossError(f"{what} {place}; lower base_lr from {config.base_lr:g}{damped}, lengthen the warm-up, or use precision fp32")


def learning_rate(step: int, schedule: tuple[int, ...], base_lr: float = 0.003) -> float | None:
    """Learning rate of a step (sections 3.3 and 4.1).

    Linear warm-up from 0 at step 0 to ``base_lr`` at ``schedule[0]``; divided by 10 from each middle step on.
    BiT's code divides one step later (``s < step``); here the rate at the named step is already the lower one.

    Args:
        step: 0, 1, 2, ...
        schedule: last warm-up step, steps of division, end step.
        base_lr: rate after warm-up.

    Returns:
        The rate, or None from the end step on.
    """
    warmup, *decays, end = schedule
    if step >= end:
        return None
    if step < warmup:
        return base_lr * step / warmup
    return base_lr / 10 ** sum(step >= decay for decay in decays)


def mixup_loss(logits: torch.Tensor, labels: torch.Tensor, partner_labels: torch.Tensor, weight: float) -> torch.Tensor:
    """Binary cross entropy (equation 2) against the mixed labels of equation 1, mean over the batch.

    Args:
        logits: shape (B, 1) or (B,).
        labels: float 0 or 1, shape (B,).
        partner_labels: labels of the images mixed in, shape (B,).
        weight: lambda in [0, 1]; 1 means no mixup.
    """
    targets = weight * labels + (1 - weight) * partner_labels
    return functional.binary_cross_entropy_with_logits(logits.reshape(-1).float(), targets)


def on_cpu(config: RunConfig) -> bool:
    """Whether accelerate must be told to use the CPU: it does not find out by itself in several processes."""
    return config.device == "cpu" or (int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.cuda.is_available())


def make_accelerator(config: RunConfig) -> Accelerator:
    """An accelerator for one run; state of an earlier run with another precision is dropped."""
    AcceleratorState._reset_state(reset_partial_state=True)
    keep_single_precision(config.precision)
    return Accelerator(
        cpu=on_cpu(config),
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        gradient_accumulation_steps=config.accumulation_steps,
        log_with=None if config.tracker == "off" else config.tracker,
        project_dir=config.store / config.tracker,
        dynamo_backend="inductor" if config.compiled else None,
    )


def train(
    model: nn.Module,
    config: RunConfig,
    training: ImageSet,
    splits: dict[str, ImageSet],
    initialisation: Initialisation,
    checkpoint: Path | None = None,
    key: str = "",
    on_step: Callable[[int], None] | None = None,
) -> tuple[nn.Module, Progress]:
    """Fine-tune ``model`` to the end of ``config.schedule``.

    Args:
        model: freshly created; trained in place.
        config: the run.
        training: images at ``config.resize`` pixels.
        splits: sets evaluated every ``config.eval_every`` steps, at ``config.crop`` pixels.
        initialisation: whose normalisation to use.
        checkpoint: file from which an interrupted run goes on, bit for bit on a CPU; removed by the caller.
        key: the run's key; a checkpoint of another key is ignored.
        on_step: called with the number of finished steps.

    Returns:
        The unwrapped model and its progress; ``progress.history`` has one row per evaluation.

    Raises:
        NonFiniteLossError: naming step, loss and what to try.
        ValueError: if ``training`` lacks a class that rebalancing needs.
    """
    if config.compiled:
        torch._dynamo.reset()  # a process may train many networks, and only the first few would be compiled
    accelerator = make_accelerator(config)
    device = accelerator.device
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    if config.freeze:
        model.requires_grad_(False).get_classifier().requires_grad_(True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=config.base_lr, momentum=config.momentum, weight_decay=config.weight_decay)
    if config.tracker != "off":
        accelerator.init_trackers(key)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    arranged = layout(bare, config.precision, device)
    progress = Progress()
    if checkpoint is not None:
        progress = load_checkpoint(checkpoint, key, bare, optimizer, accelerator.scaler) or progress
        if len(set(gather_object([progress.step]))) > 1:
            raise RuntimeError(f"the processes do not see the same {checkpoint}; put the store where all of them can read it")
    loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    micro = config.batch_size // (accelerator.num_processes * config.accumulation_steps)
    if micro * accelerator.num_processes * config.accumulation_steps != config.batch_size:
        raise ValueError(
            f"batch_size {config.batch_size} does not divide over {accelerator.num_processes} processes x "
            f"{config.accumulation_steps} accumulation steps; choose a multiple of their product"
        )
    first = accelerator.process_index * micro * config.accumulation_steps
    parts = [slice(first + k * micro, first + (k + 1) * micro) for k in range(config.accumulation_steps)]
    # Reading the loss makes a GPU wait; on a CPU it is free.
    check_every = 1 if device.type == "cpu" else 25
    started = time.perf_counter() - progress.seconds
    model.train(not config.freeze)  # a frozen backbone keeps its batch statistics too
    while (rate := learning_rate(progress.step, config.schedule, config.base_lr)) is not None:
        step = progress.step
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(config.seed * 1_000_003 + step)
        images, labels, partners, weight = _assemble(step, config, training, initialisation, device)
        for part in parts:
            with accelerator.accumulate(model):
                inputs = images[part]
                if weight != 1:
                    inputs = weight * inputs + (1 - weight) * images[partners[part]]
                logits = model(arranged(inputs))
                loss = mixup_loss(logits, labels[part], labels[partners[part]], weight)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                loss_sum += loss.detach().to(loss_sum) / config.accumulation_steps
        progress.step += 1
        progress.loss_count += 1
        last = progress.step == config.schedule[-1]
        if (progress.step % check_every == 0 or last) and not torch.isfinite(loss_sum):
            raise _not_finite(config, f"the loss is {loss.item():.3g}", step, rate)
        if progress.step % config.eval_every == 0 or last:
            mean_loss = float(accelerator.reduce(loss_sum, "mean")) / progress.loss_count
            row = {"step": progress.step, "learning_rate": rate, "train_loss": mean_loss}
            if not all(torch.isfinite(parameter).all() for parameter in bare.parameters()):
                raise _not_finite(config, "the weights are no numbers any more", step, rate)
            progress.history.append(row | evaluation_row(bare, splits, initialisation, config.image_channels))
            accelerator.log(progress.history[-1], step=progress.step)
            loss_sum.zero_()
            progress.loss_count = 0
        if checkpoint is not None and progress.step % config.checkpoint_every == 0 and not last:
            progress.loss_sum = float(accelerator.reduce(loss_sum, "mean"))
            progress.seconds = time.perf_counter() - started
            if accelerator.is_main_process:
                save_checkpoint(checkpoint, key, bare, optimizer, progress, accelerator.scaler)
        if on_step is not None:
            on_step(progress.step)
    progress.seconds = time.perf_counter() - started
    for tracker in accelerator.trackers:  # end_training would also end the process group, still needed for predictions
        tracker.finish()
    return bare, progress


def _assemble(step: int, config: RunConfig, training: ImageSet, initialisation: Initialisation, device: torch.device):
    """The normalised batch of a step on the device: images, labels, mixup partners and mixup weight."""
    chosen = sampling.batch_indices(step, training.labels, config.batch_size, config.seed, config.rebalance)
    corners = sampling.augmentation(step, config.batch_size, config.resize, config.crop, config.seed, config.flip)
    batch = torch.from_numpy(sampling.crop_batch(training.images, training.rows[chosen], config.crop, *corners))
    weight, partners = sampling.mixup_plan(step, config.batch_size, config.mixup, config.mixup_value, config.seed)
    if device.type == "cuda":
        batch = batch.pin_memory()
    images = normalise(batch.to(device, non_blocking=True), initialisation.mean, initialisation.std, config.image_channels)
    labels = torch.from_numpy(training.labels[chosen]).float().to(device)
    return images, labels, torch.from_numpy(partners).to(device), weight
