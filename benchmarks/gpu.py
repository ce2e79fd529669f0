"""Training rates on a CUDA device: ``python benchmarks/gpu.py`` writes results/gpu.json; without such a device it says so and ends.

Two ways of feeding a network are timed on the same steps (the same images, crops, flips, mixup and learning rates):

- *trainer*: as cxrlib trains, batches cut out on the processor and sent over;
- *resident*: all training images lie on the device, and cropping, flipping and mixing happen there, as in airbench
  (Jordan 2024, arXiv:2404.00498).

In single precision, in bfloat16 and with a compiled step; the trainer always has channels last on a GPU, the other way with and without. Nothing here is part of a run's record: these are
rates, and they stand in the book only where somebody measured them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cxrlib.config import RunConfig  # noqa: E402
from cxrlib.experiment.record import code_version  # noqa: E402
from cxrlib.files import atomic_write  # noqa: E402
from cxrlib.model.memory import keep_single_precision  # noqa: E402
from cxrlib.model.network import create_model, normalise  # noqa: E402
from cxrlib.train import sampling  # noqa: E402
from cxrlib.train.finetune import learning_rate, mixup_loss, train  # noqa: E402
from cxrlib.train.score import ImageSet  # noqa: E402
from cxrlib.weights.source import Initialisation  # noqa: E402

WAYS: dict[str, dict] = {
    "trainer, fp32": {"resident": False},
    "trainer, bf16": {"resident": False, "bf16": True},
    "resident, fp32": {},
    "resident, bf16": {"bf16": True},
    "resident, bf16, channels last": {"bf16": True, "last": True},
    "trainer, bf16, compiled": {"resident": False, "bf16": True, "compiled": True},
    "resident, bf16, channels last, compiled": {"bf16": True, "last": True, "compiled": True},
}
BUSY_BYTES = 2**30
"""More in use before anything is measured means that something else runs there: the driver and this process take less."""
CASES = (
    {"arch": "resnetv2_laptop", "image_channels": 1, "crop": 64, "base_lr": 0.05},
    {"arch": "resnetv2_laptop", "image_channels": 1, "crop": 128, "base_lr": 0.05},
    {"arch": "resnetv2_50x1_bit", "image_channels": 3, "crop": 128},
    {"arch": "resnetv2_50x1_bit", "image_channels": 3, "crop": 224},
)


def crops(images: torch.Tensor, rows: np.ndarray, crop: int, tops: np.ndarray, lefts: np.ndarray, flips: np.ndarray) -> torch.Tensor:
    """What :func:`cxrlib.train.sampling.crop_batch` cuts out, on the device of `images`.

    Args:
        images: uint8 (N, S, S).
        rows: (B,), the images of the batch; tops, lefts, flips likewise.

    Returns:
        uint8 (B, crop, crop).
    """
    across = np.arange(crop)
    lines = tops[:, None] + across
    columns = lefts[:, None] + np.where(flips[:, None], across[::-1], across)
    where = [torch.from_numpy(np.ascontiguousarray(index)).to(images.device) for index in (rows[:, None, None], lines[:, :, None], columns[:, None, :])]
    return images[where[0], where[1], where[2]]


def resident(
    model: torch.nn.Module, config: RunConfig, training: ImageSet, device: str, on_step: Callable[[int], None],
    bf16: bool = False, last: bool = False, compiled: bool = False,
) -> None:  # fmt: skip
    """Train `model` in place with everything on the device, by the plans of :mod:`cxrlib.train.sampling`."""
    keep_single_precision(config.precision)
    memory = torch.channels_last if last else torch.contiguous_format
    model.to(device, memory_format=memory).train()
    called = torch.compile(model) if compiled else model
    images = torch.from_numpy(np.ascontiguousarray(training.images)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.base_lr, momentum=config.momentum, weight_decay=config.weight_decay)
    for step in range(config.schedule[-1]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.schedule, config.base_lr)
        torch.manual_seed(config.seed * 1_000_003 + step)
        chosen = sampling.batch_indices(step, training.labels, config.batch_size, config.seed, config.rebalance)
        corners = sampling.augmentation(step, config.batch_size, config.resize, config.crop, config.seed, config.flip)
        weight, partners = sampling.mixup_plan(step, config.batch_size, config.mixup, config.mixup_value, config.seed)
        inputs = normalise(crops(images, training.rows[chosen], config.crop, *corners), 0.5, 0.5, config.image_channels)
        labels = torch.from_numpy(training.labels[chosen]).float().to(device)
        others = torch.from_numpy(partners).to(device)
        inputs = (inputs if weight == 1 else weight * inputs + (1 - weight) * inputs[others]).contiguous(memory_format=memory)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            logits = called(inputs)
        mixup_loss(logits.float(), labels, labels[others], weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        on_step(step)


def steps_of(case: dict, way: dict, device: str, batch: int, steps: int) -> list[float]:
    """Seconds of each step after the first quarter, which compiles and warms up."""
    margin = case["crop"] // 8
    config = RunConfig(
        **case, resize=case["crop"] + margin, batch_size=batch, schedule=(1, steps), eval_every=steps, mixup="beta",
        precision="bf16" if way.get("bf16") else "fp32", device="cpu" if device == "cpu" else "auto", compiled=way.get("compiled", False),
    )  # fmt: skip
    torch.manual_seed(0)
    model = create_model(config.arch, "random", config.image_channels)
    images = np.random.default_rng(0).integers(0, 256, (8 * batch, config.resize, config.resize), dtype=np.uint8)
    training = ImageSet(images, np.arange(len(images)) % 2, np.arange(len(images)))
    stamps: list[float] = []

    def on_step(_: int) -> None:
        if device != "cpu":
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())

    if way.get("resident", True):
        resident(model, config, training, device, on_step, **{name: value for name, value in way.items() if name != "resident"})
    else:
        train(model, config, training, {}, Initialisation("random"), on_step=on_step)
    return list(np.diff(stamps)[steps // 4 :])


def measure(
    device: str, batch: int, steps: int, cases: tuple[dict, ...] = CASES, ways: dict[str, dict] = WAYS, keep: Callable[[list[dict]], None] = lambda rows: None
) -> list[dict]:
    """A row a way and case: images a second, median, least and greatest over the steps; `keep` gets all rows after each."""
    rows: list[dict] = []
    for name, way in ways.items():
        for case in cases:
            rates = [batch / seconds for seconds in steps_of(case, way, device, batch, steps)]
            row = {"arch": case["arch"], "crop": case["crop"], "batch": batch, "way": name}
            rows.append(row | {"rate": {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}})
            print(f"{case['arch']}, {case['crop']} px, {name}: {rows[-1]['rate']['median']:,.0f} images/s", flush=True)
            keep(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: these rates are about one; 'make bench' measures the processor")
    free, total = torch.cuda.mem_get_info()
    if total - free > BUSY_BYTES:
        sys.exit(f"{(total - free) / 2**30:.1f} GiB of the device are in use by other work, and rates beside it say little; measure when it has ended")
    about = {"made": datetime.date.today().isoformat(), "device": torch.cuda.get_device_name(), "torch": torch.__version__, "cxrlib": code_version()}
    measure("cuda", arguments.batch, arguments.steps, keep=lambda rows: atomic_write(arguments.out, json.dumps(about | {"rows": rows}, indent=1) + "\n"))
    print(arguments.out)


if __name__ == "__main__":
    main()
