"""What an interrupted run goes on from: weights, momenta and progress in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from cxrlib.files import atomic_write


@dataclass
class Progress:
    """What a run has done so far; with the weights and the optimiser, all that a resumed run needs."""

    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, key: str, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, scaler) -> None:
    """Write weights, momenta and progress to one safetensors file with a checksum, atomically.

    Args:
        scaler: the fp16 loss scaler or None.

    Raises:
        OSError: if the file cannot be written; an older checkpoint then still stands.
    """
    tensors = {f"model.{name}": tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        if state.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = state["momentum_buffer"].detach().cpu().contiguous()
    metadata = {"key": key, "progress": json.dumps(vars(progress)), "scaler": json.dumps(scaler.state_dict() if scaler else None)}
    atomic_write(path, save(tensors, metadata=metadata | {"sha256": _digest(tensors, metadata)}))


def load_checkpoint(path: Path, key: str, model: nn.Module, optimizer: torch.optim.Optimizer, scaler) -> Progress | None:
    """Restore a run in place; None if there is no checkpoint of this very run, or it is damaged or has no checksum."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata())
            stated = metadata.pop("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is not a mapping
        if metadata["key"] != key or stated != _digest(tensors, metadata):
            return None
        progress, scaler_state = Progress(**json.loads(metadata["progress"])), json.loads(metadata["scaler"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    state = optimizer.state_dict()
    momenta = {name: t for name, t in tensors.items() if name.startswith("momentum.")}
    state["state"] = {int(name.removeprefix("momentum.")): {"momentum_buffer": t} for name, t in momenta.items()}
    optimizer.load_state_dict(state)
    if scaler and scaler_state:
        scaler.load_state_dict(scaler_state)
    return progress


def _digest(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes of contiguous tensors on the CPU, and of the texts beside them."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
