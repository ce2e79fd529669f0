"""Models of section 3.2: ResNet-v2 with group normalisation and weight standardisation, one logit, and where they start.

``resnetv2_50x1_bit`` is the paper's BiT-R50x1. ``resnetv2_laptop`` is the same design at half a million parameters.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.layers import GroupNormAct, StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

LAPTOP = "resnetv2_laptop"
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
_HEAD_SUFFIXES = ("head.fc.", "head.", "classifier.", "fc.")


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and the way out."""


@dataclass(frozen=True)
class Initialisation:
    """Where a model's weights start.

    Attributes:
        name: 'random', a named initialisation, or a file name.
        path: weights file, or None for random.
        sha256: hexadecimal digest of the file, or None.
        mean: what the weights expect to be subtracted from grey values in [0, 1].
        std: what they expect the difference to be divided by.
    """

    name: str
    path: Path | None = None
    sha256: str | None = None
    mean: float = 0.5
    std: float = 0.5


def named_initialisations() -> dict[str, Path]:
    """Initialisations that ship with the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"))}


def resolve_initialisation(init: str) -> Initialisation:
    """Find the weights that ``init`` names and read what they expect.

    Args:
        init: 'random', a name from :func:`named_initialisations`, or the path of a ``.safetensors`` file.

    Raises:
        WeightsError: unknown name, missing or unreadable file, or a file that is not what its checksum says.
    """
    if init == "random":
        return Initialisation("random")
    shipped = named_initialisations()
    path = shipped.get(init, Path(init))
    if not path.is_file():
        raise WeightsError(f"init '{init}' is neither a file nor one of: random, {', '.join(shipped)}")
    if path.suffix != ".safetensors":
        raise WeightsError(f"init: {path} is not a .safetensors file; other formats may hold code and are not loaded")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if init in shipped:
        stated = path.with_suffix(".sha256").read_text(encoding="ascii").split()[0]
        if digest != stated:
            raise WeightsError(f"{path} has SHA-256 {digest}, not {stated}; restore it with git checkout")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or not safetensors ({error}); get the file again") from None
    mean, std = float(metadata.get("mean", 0.5)), float(metadata.get("std", 0.5))
    return Initialisation(init if init in shipped else path.name, path, digest, mean, std)


def create_model(arch: str, init: str = "random", image_channels: int = 3) -> nn.Module:
    """Build a binary classifier with one logit and a zero-initialised head, as in BiT.

    Random weights come from torch's global generator: seed it first with ``torch.manual_seed``.

    Args:
        arch: ``resnetv2_laptop`` or any timm model name, such as ``resnetv2_50x1_bit``.
        init: see :func:`resolve_initialisation`.
        image_channels: 1 or 3.

    Returns:
        Module from float images (N, image_channels, H, W), normalised, to logits (N, 1).

    Raises:
        WeightsError: if the weights do not fit the architecture.
        ValueError: if ``arch`` is unknown.
    """
    if arch == LAPTOP:
        model: nn.Module = ResNetV2(
            layers=[1, 1, 1, 1],
            channels=(64, 128, 256, 512),
            stem_chs=32,
            num_classes=1,
            in_chans=image_channels,
            # The last stage keeps its resolution: 8 x 8 features at 128 px, enough for a class activation map.
            output_stride=16,
            stem_type="fixed",
            conv_layer=partial(StdConv2d, eps=1e-8),
            norm_layer=partial(GroupNormAct, num_groups=8),
        )
    elif timm.is_model(arch):
        model = timm.create_model(arch, pretrained=False, num_classes=1, in_chans=image_channels)
    else:
        close = timm.list_models(f"*{arch}*")[:5] or timm.list_models("resnetv2_50*")[:5]
        raise ValueError(f"arch '{arch}' is neither '{LAPTOP}' nor a timm model; for example: {', '.join(close)}")
    initialisation = resolve_initialisation(init)
    if initialisation.path is not None:
        _load_backbone(model, initialisation.path, image_channels)
    head = model.get_classifier()
    if not isinstance(head, nn.Module) or not hasattr(head, "weight"):
        raise ValueError(f"arch '{arch}' has no single classification layer; choose a convolutional timm model")
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return model


def _load_backbone(model: nn.Module, path: Path, image_channels: int) -> None:
    """Load everything but the head, in place; one-channel and three-channel first convolutions are converted."""
    from timm.models import adapt_input_conv

    head = {id(parameter) for parameter in model.get_classifier().parameters()}
    head_names = {name for name, parameter in model.named_parameters() if id(parameter) in head}
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in head_names}
    weights = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
            weights[name] = file.get_tensor(name).float()
    extra = [name for name in weights if name not in expected and not name.startswith(_HEAD_SUFFIXES)]
    missing = [name for name in expected if name not in weights]
    if extra or missing:
        found = f"missing {missing[:3]}" if missing else f"unknown {extra[:3]}"
        raise WeightsError(f"{path} does not fit this architecture ({found}); use the arch it was made with")
    for name, tensor in expected.items():
        loaded = weights[name]
        if loaded.ndim == 4 and loaded.shape[1] != tensor.shape[1] and loaded.shape[1] in (1, 3) and tensor.shape[1] in (1, 3):
            loaded = adapt_input_conv(image_channels, loaded if loaded.shape[1] == 3 else loaded.repeat(1, 3, 1, 1) / 3)
        if loaded.shape != tensor.shape:
            raise WeightsError(
                f"{path}: '{name}' has shape {tuple(loaded.shape)}, the model {tuple(tensor.shape)}; use the arch it was made with"
            )
        weights[name] = loaded
    model.load_state_dict({name: weights[name] for name in expected}, strict=False)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def normalise(images: torch.Tensor, mean: float, std: float, image_channels: int) -> torch.Tensor:
    """Turn cached grey images into what a model takes, on whatever device they are.

    Args:
        images: uint8, shape (N, H, W).
        mean: in [0, 1]; BiT's is 0.5.
        std: positive; BiT's is 0.5, which maps to [-1, 1].

    Returns:
        float32 of shape (N, image_channels, H, W).
    """
    scaled = images.unsqueeze(1).float().div_(255 * std).sub_(mean / std)
    return scaled.expand(-1, image_channels, -1, -1) if image_channels > 1 else scaled


def describe_unit(model: nn.Module) -> list[tuple[str, str]]:
    """The layers of a residual unit in the order in which data pass them, read off the real modules (Figure 3b).

    Args:
        model: a pre-activation ResNet of timm (``resnetv2_*``).

    Returns:
        ``(kind, text)`` pairs in order of execution; kind is 'norm' or 'conv'.
    """
    block = model.stages[-1].blocks[-1]
    order: list[tuple[str, str]] = []
    handles = []

    def note(module: nn.Module, _inputs: object, _output: object) -> None:
        if isinstance(module, GroupNormAct):
            order.append(("norm", f"group norm ({module.num_groups} groups), ReLU"))
        elif isinstance(module, StdConv2d):
            size = module.kernel_size[0]
            order.append(("conv", f"{size}×{size} conv, standardised, {module.in_channels} → {module.out_channels}"))

    for module in block.modules():
        handles.append(module.register_forward_hook(note))
    channels = next(m for m in block.modules() if isinstance(m, StdConv2d)).in_channels
    try:
        with torch.inference_mode():
            block(torch.zeros(1, channels, 4, 4))
    finally:
        for handle in handles:
            handle.remove()
    return order
