"""What a training run costs: images, floating-point operations, and seconds on this machine."""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from cxrlib.config import RunConfig, is_classical
from cxrlib.experiment.record import Record
from cxrlib.model.network import create_model
from cxrlib.weights.source import Initialisation

MEASURED_STEPS = 5
BUDGET_SECONDS = 6.0  # after which a measurement ends, if it has at least one step beyond the warm-up
BUDGET_FLOPS = 2e10  # of the largest batch measured on a CPU: a second or two


@dataclass(frozen=True)
class ImageCost:
    """Of one image: FLOPs of the forward and of the backward pass, or seconds of a training step and of an evaluation.

    Attributes:
        train: both passes.
        evaluate: the forward pass.
    """

    train: float
    evaluate: float


def evaluation_count(end_step: int, eval_every: int) -> int:
    """How often a run scores the evaluated images: at every ``eval_every`` steps, at the end, and for its predictions."""
    return end_step // eval_every + (end_step % eval_every > 0) + 1


def _conv_backward(grad_out, x, weight, _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, mask, **_):
    """FLOPs of a convolution's backward pass: each of the two gradients costs as much as the forward pass.

    torch 2.14's own count forgets groups, which makes depthwise convolutions look up to a thousand times as dear.
    """
    forward = conv_flop_count(x, weight, grad_out, transposed=transposed)
    return forward * (bool(mask[0]) + bool(mask[1]))


@functools.lru_cache(maxsize=8)
def _bare_model(arch: str, image_channels: int, device: str) -> nn.Module:
    with torch.device(device):
        return create_model(arch, "random", image_channels).train()


@functools.cache
def image_flops(arch: str, image_channels: int, crop: int, freeze: bool = False) -> ImageCost:
    """FLOPs per image, counted by torch as two per multiplication and addition of convolutions and matrix products.

    Normalisation, activation and the optimiser's step are left out, as is usual; for these networks they are below two
    per cent. Nothing is computed: the model lives on torch's meta device.

    Args:
        arch, image_channels: as in :func:`cxrlib.model.network.create_model`.
        crop: pixels.
        freeze: only the head is trained, so only the head has a backward pass.

    Raises:
        ValueError: if ``arch`` is unknown.
    """
    try:
        return _count(arch, image_channels, crop, freeze, "meta")
    except (NotImplementedError, RuntimeError):  # an operation without a meta kernel
        return _count(arch, image_channels, crop, freeze, "cpu")


def _count(arch: str, image_channels: int, crop: int, freeze: bool, device: str) -> ImageCost:
    model = _bare_model(arch, image_channels, device)
    model.requires_grad_(not freeze).get_classifier().requires_grad_(True)
    images = torch.zeros(2, image_channels, crop, crop, device=device)
    mapping = {torch.ops.aten.convolution_backward: _conv_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        logits = model(images).reshape(-1)
        forward = counter.get_total_flops()
        functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
    model.zero_grad()
    return ImageCost(counter.get_total_flops() / 2, forward / 2)


class _EnoughError(Exception):
    """Ends a measurement."""


def image_seconds(config: RunConfig) -> ImageCost:
    """Seconds per image on this machine, measured with a few real training steps and one evaluation of random images.

    On a CPU with one thread, so that runs side by side on as many cores take about this long each. Where a batch would
    take long on a CPU, a smaller one is measured, and if need be smaller images; the time per FLOP is taken to be the
    same. The median of the steps after the first counts. Kept for this process.
    """
    shared = config.arch, config.image_channels
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    wanted = image_flops(*shared, config.crop, config.freeze)
    crop, measured = config.crop, wanted
    while on_cpu and 2 * measured.train > BUDGET_FLOPS and crop > 64:
        crop = max(64, crop // 2 // 32 * 32)
        measured = image_flops(*shared, crop, config.freeze)
    batch = min(config.batch_size, max(2, int(BUDGET_FLOPS / measured.train) // 2 * 2)) if on_cpu else config.batch_size
    scored = max(1, min(64, int(BUDGET_FLOPS / 2 / measured.evaluate)))
    seconds = _measured(*shared, crop, batch, scored, config.precision, config.device, config.freeze)
    return ImageCost(seconds.train * wanted.train / measured.train, seconds.evaluate * wanted.evaluate / measured.evaluate)


@functools.cache
def _measured(arch, image_channels, crop, batch, scored, precision, device, freeze) -> ImageCost:
    from cxrlib.train.finetune import train
    from cxrlib.train.score import ImageSet, predict

    random = np.random.default_rng(0)
    labels = np.arange(max(batch, 2)) % 2
    training = ImageSet(random.integers(0, 256, (len(labels), crop, crop), dtype=np.uint8), labels, np.arange(len(labels)))
    test = ImageSet(random.integers(0, 256, (scored, crop, crop), dtype=np.uint8), np.arange(scored) % 2, np.arange(scored))
    config = RunConfig(
        arch=arch, image_channels=image_channels, resize=crop, crop=crop, batch_size=batch, precision=precision, device=device,
        freeze=freeze, schedule=(0, MEASURED_STEPS + 1), base_lr=1e-6, eval_every=MEASURED_STEPS + 1,
    )  # fmt: skip
    stamps: list[float] = []
    began = time.perf_counter()

    def note(_step: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())
        if len(stamps) > 1 and stamps[-1] - began > BUDGET_SECONDS:
            raise _EnoughError

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        model = create_model(arch, "random", image_channels)
        start = Initialisation("random")
        try:
            model, _ = train(model, config, training, {}, start, on_step=note)
        except _EnoughError:
            pass
        predict(model, test, start, image_channels)
        before = time.perf_counter()
        predict(model, test, start, image_channels)
        evaluate = (time.perf_counter() - before) / scored
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    step = statistics.median(np.diff(stamps).tolist())
    return ImageCost(step / batch, evaluate)


def trained_images(config: RunConfig, available: int) -> int:
    """Images that pass through the network in training: of a support vector machine each of the ``available`` once."""
    return available if is_classical(config.arch) else config.schedule[-1] * config.batch_size


def run_cost(config: RunConfig, trained: int, evaluated: int, per_image: ImageCost) -> float:
    """Cost of a whole run from that of an image: FLOPs or seconds.

    Of a support vector machine it is that of the features; fitting it takes seconds and is left out.

    Args:
        config: the run.
        trained: see :func:`trained_images`.
        evaluated: images scored at each evaluation.
        per_image: of :func:`image_flops` or :func:`image_seconds`.
    """
    training = trained * (per_image.evaluate if is_classical(config.arch) else per_image.train)
    return training + evaluation_count(config.schedule[-1], config.eval_every) * evaluated * per_image.evaluate


def seconds_like(config: RunConfig, recorded: Record) -> float:
    """Seconds that a network's run may take where another took what its record says: its FLOPs at the pace of the other's."""
    evaluated = len(recorded.table())
    other = RunConfig(**{name: value for name, value in recorded.config.items() if value is not None} | {"init": "random"})
    flops = [run_cost(c, trained_images(c, 0), evaluated, image_flops(c.arch, c.image_channels, c.crop, c.freeze)) for c in (config, other)]
    return recorded.wall_seconds * flops[0] / flops[1]
