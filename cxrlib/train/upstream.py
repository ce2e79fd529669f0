"""Pretraining on fractals: what ImageNet is to BiT-S and BiT-M, formula-driven images are to fractal-s and fractal-m.

Both see the same model, optimiser and number of steps; fractal-m has ten times the upstream images (Kataoka et al. 2020
for the data; ILSVRC-2012 and ImageNet-21k differ about as much, 1.28 and 14.2 million images).
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from cxrlib import __version__
from cxrlib.files import atomic_write, file_digest, safetensors_bytes
from cxrlib.model.network import LAPTOP, create_model, device_name
from cxrlib.train import fractals
from cxrlib.train.checkpoints import Progress
from cxrlib.train.pretrain import MEAN, STD, pretrain, top1
from cxrlib.weights.source import WEIGHTS_FOLDER


@dataclass(frozen=True)
class Upstream:
    """A pretraining run: data (classes, instances of each, size and random crop in px) and optimisation (SGD)."""

    classes: int
    instances: int
    size: int = 64
    crop: int = 48
    steps: int = 3_000
    batch_size: int = 64
    base_lr: float = 0.1
    warmup: int = 200
    weight_decay: float = 1e-4
    seed: int = 0
    arch: str = LAPTOP
    image_channels: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"

    def described(self) -> dict:
        """The fields as JSON values; the precision, younger than the weights that ship, only where it is not fp32."""
        values = asdict(self)
        return values if self.precision != "fp32" else {name: value for name, value in values.items() if name != "precision"}


UPSTREAMS: dict[str, Upstream] = {
    "fractal-s": Upstream(classes=32, instances=80),
    "fractal-m": Upstream(classes=256, instances=100),
}


def named(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """The pretrainings in `known` that `wanted` names: itself, or as the family of NAME-0, NAME-1 ...; all if it names none.

    Raises:
        ValueError: for a name that is neither.
    """
    known = list(known)
    found = {name: [each for each in known if each == name or each.rpartition("-")[0] == name] for name in wanted}
    for name, members in found.items():
        if not members:
            raise ValueError(f"there is no upstream '{name}'; there are: {', '.join(known)}")
    return list(dict.fromkeys(each for members in found.values() for each in members)) or known


def backbone(model: nn.Module, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """The weights without the head, rounded to `dtype`.

    Raises:
        ValueError: if a weight does not fit into `dtype`.
    """
    head = {id(parameter) for parameter in model.get_classifier().parameters()}
    skipped = {name for name, parameter in model.named_parameters() if id(parameter) in head}
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name not in skipped:
            tensors[name] = (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
            if not torch.isfinite(tensors[name]).all():
                raise ValueError(f"'{name}' does not fit into {dtype}; save as torch.float32")
    return tensors


def rounded(model: nn.Module) -> nn.Module:
    """A copy with the backbone as :func:`save_backbone` writes it; the head, which is not written, stays as it is."""
    changed = copy.deepcopy(model)
    changed.load_state_dict(model.state_dict() | backbone(model))
    return changed


def save_backbone(path: Path, model: nn.Module, metadata: dict, dtype: torch.dtype = torch.float16) -> str:
    """Write :func:`backbone`, `metadata` as strings, and PATH.sha256 beside them; returns the SHA-256.

    Raises:
        ValueError: if a weight does not fit into `dtype`.
    """
    content = safetensors_bytes(backbone(model, dtype), {name: str(value) for name, value in metadata.items()})
    digest = hashlib.sha256(content).hexdigest()
    atomic_write(path, content)
    atomic_write(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
    return digest


def finished(name: str, folder: Path, settings: Upstream, about: dict) -> dict | None:
    """The record of weights that `folder` has, if this code made them so; None if they must be made.

    Args:
        about: see :func:`pretrain_and_save`.
    """
    path = Path(folder) / f"{name}.safetensors"
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        made = {key: record[key] for key in ("settings", "code_version", "sha256", *about)}
        wanted = {"settings": settings.described(), "code_version": __version__, "sha256": file_digest(path), **about}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if made == wanted else None


def build(
    name: str,
    folder: Path = WEIGHTS_FOLDER,
    cache: Path = Path(".cache/upstream"),
    settings: Upstream | None = None,
    threads: int | None = None,
    workers: int | None = None,
    stop_after: float | None = None,
) -> dict:
    """Make the fractals, pretrain and save NAME.safetensors, NAME.sha256 and NAME.json (the record) in `folder`.

    Interrupted, the same call goes on where the last checkpoint stands; :func:`finished`, it returns the record that is
    there. Prints progress with the time left.

    Args:
        name: of the weights; 'fractal-s' and 'fractal-m' have settings of their own in `UPSTREAMS`.
        cache: folder for images and checkpoint.
        settings: replaces those of `UPSTREAMS`.
        threads: CPU threads of the training; torch's default if None.
        workers: processes that draw images; one for each core by default.
        stop_after: seconds of training after which to stop and save nothing but the checkpoint.

    Returns:
        The record, see :func:`pretrain_and_save`. The weights that ship were made before the accuracy of the rounded
        weights was recorded.

    Raises:
        KeyError: for an unknown name without `settings`.
    """
    settings = settings or UPSTREAMS[name]
    about = {"rendering_version": fractals.RENDERING_VERSION}
    if record := finished(name, folder, settings, about):
        return record
    images, labels = fractals.dataset(settings.classes, settings.instances, settings.size, settings.seed, workers, cache)

    def unseen() -> tuple[np.ndarray, np.ndarray]:
        held_out = [
            fractals.render_class(label, 2, settings.size, settings.seed, settings.instances)
            for label in range(settings.classes)
        ]
        return np.concatenate(held_out), np.repeat(np.arange(settings.classes), 2)

    return pretrain_and_save(
        name, folder, cache, settings, (images, labels), unseen, "fractal", about, threads=threads, stop_after=stop_after
    )


def pretrain_and_save(
    name: str,
    folder: Path,
    cache: Path,
    settings: Upstream,
    training: tuple[np.ndarray, np.ndarray],
    unseen: Callable[[], tuple[np.ndarray, np.ndarray]],
    data: str,
    about: dict,
    *,
    log_every: int = 100,
    watch: bool = False,
    threads: int | None = None,
    stop_after: float | None = None,
) -> dict:
    """Pretrain a network on labelled images and save its backbone with its record in `folder`.

    Args:
        training: images, uint8 (N, S, S), and their classes, int64 (N,).
        unseen: makes images of the same classes that no step trained on, likewise.
        data: what the images are, in a word, for the metadata of the weights.
        about: what besides settings and version decides the images, as JSON values; part of record and metadata.
        log_every: steps between rows of the history.
        watch: whether each row also gets the accuracy on the unseen images, ``validation_accuracy``.
        threads, stop_after: see :func:`build`.

    Returns:
        The record: settings, history, device, seconds, checksum, versions, and the accuracy on the unseen images, twice: of the
        model as trained (``held_out_accuracy``), and with the backbone rounded to float16 as it is written
        (``held_out_accuracy_float16``), which says whether rounding cost anything.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(settings.seed)
    model = create_model(settings.arch, image_channels=settings.image_channels)
    model.reset_classifier(settings.classes)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    key = json.dumps(settings.described() | about | {"version": __version__}, sort_keys=True)
    checkpoint = Path(cache) / f"{name}.checkpoint.safetensors"

    def show(progress: Progress) -> None:
        row, minutes = progress.history[-1], progress.seconds / progress.step * (settings.steps - progress.step) / 60
        done = f"step {progress.step}/{settings.steps}, loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}"
        if watch:
            row["validation_accuracy"] = top1(model, *unseen(), settings.image_channels)
            model.train()
            done += f", of unseen images {row['validation_accuracy']:.3f}"
        print(f"{name}: {done}, {minutes:.0f} min left", file=sys.stderr, flush=True)

    progress = pretrain(
        model,
        *training,
        settings.steps,
        settings.batch_size,
        settings.base_lr,
        settings.seed,
        crop=settings.crop,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        image_channels=settings.image_channels,
        precision=settings.precision,
        checkpoint=checkpoint,
        key=key,
        log_every=log_every,
        stop_after=stop_after,
        on_log=show,
    )
    record = {
        "name": name,
        "settings": settings.described(),
        "steps_done": progress.step,
        "seconds": progress.seconds,
        "images_per_second": progress.step * settings.batch_size / progress.seconds,
        "device": device_name(model),
        "threads": torch.get_num_threads(),
        "history": progress.history,
        "code_version": __version__,
        **about,
        "torch": torch.__version__,
    }
    if progress.step < settings.steps:
        return record
    held_out = unseen()
    record["held_out_accuracy"] = top1(model, *held_out, settings.image_channels)
    record["held_out_accuracy_float16"] = top1(rounded(model), *held_out, settings.image_channels)
    metadata = settings.described() | {"mean": MEAN, "std": STD, "data": data, "code_version": __version__} | about
    record["sha256"] = save_backbone(Path(folder) / f"{name}.safetensors", model, metadata)
    atomic_write(Path(folder) / f"{name}.json", json.dumps(record, indent=1) + os.linesep)
    checkpoint.unlink(missing_ok=True)
    return record
