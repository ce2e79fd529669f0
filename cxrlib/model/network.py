"""Models of section 3.2: ResNet-v2 with group normalisation and weight standardisation, one logit, and where they start.

``resnetv2_50x1_bit`` is the paper's BiT-R50x1. ``resnetv2_laptop`` is the same design at half a million parameters.
"""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.layers import GroupNormAct, StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

from cxrlib.config import CLASSICAL_PREFIX, is_classical
from cxrlib.model import backbones
from cxrlib.model.machine import LBP, FeatureMachine
from cxrlib.model.memory import channels_last, pool_without_copy, reuse_memory
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import Initialisation, Normalisation, WeightsError, check_architecture

LAPTOP = "resnetv2_laptop"
_HEAD_SUFFIXES = ("head.fc.", "head.", "classifier.", "fc.")


def create_model(arch: str, init: str | Initialisation = "random", image_channels: int = 3) -> nn.Module:
    """Build a binary classifier with one logit and a zero-initialised head, as in BiT.

    Random weights come from torch's global generator: seed it first with ``torch.manual_seed``.

    Args:
        arch: ``resnetv2_laptop``, any timm model name, such as ``resnetv2_50x1_bit``, a name of :mod:`cxrlib.model.backbones`, or a
            support vector machine of :mod:`cxrlib.model.machine`.
        init: a name, see :mod:`cxrlib.weights.resolve`, or what that found.
        image_channels: 1 or 3. One grey channel gets the sum of the first convolution's three, as timm does it; with
            standardised weights (BiT) that keeps the filters up to a factor each, so prefer 3 there.

    Returns:
        Module from float images (N, image_channels, H, W), normalised, to logits (N, 1).

    Raises:
        WeightsError: if the weights are not here, are damaged, or do not fit the architecture.
        ValueError: if ``arch`` is unknown.
    """
    reuse_memory()
    initialisation = resolve_initialisation(init) if isinstance(init, str) else init
    if is_classical(arch):
        return _create_machine(arch, initialisation, image_channels)
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
    elif arch in backbones.NAMES:
        model = backbones.create(arch, image_channels)
    elif timm.is_model(arch):
        model = timm.create_model(arch, pretrained=False, num_classes=1, in_chans=image_channels)
    else:
        close = timm.list_models(f"*{arch}*")[:5] or timm.list_models("resnetv2_50*")[:5]
        known = ", ".join((LAPTOP, *backbones.NAMES))
        raise ValueError(f"arch '{arch}' is neither a timm model, for example {', '.join(close)}, nor one of: {known}")
    pool_without_copy(model)
    check_architecture(initialisation, arch)
    if initialisation.path is not None:
        _load_backbone(model, initialisation, image_channels)
    head = model.get_classifier()
    if not isinstance(head, nn.Module) or not hasattr(head, "weight"):
        raise ValueError(f"arch '{arch}' has no single classification layer; choose a convolutional timm model")
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return model


def check_size(model: nn.Module, arch: str, size: int, channels: int) -> None:
    """Raise ``ValueError`` if a network takes images of another size than ``size`` pixels only, as most transformers do, or of more."""
    embedding = getattr(model, "patch_embed", None)
    wanted = getattr(embedding, "img_size", None)
    if wanted is not None and getattr(embedding, "strict_img_size", True) and tuple(wanted) != (size, size):
        raise ValueError(f"arch '{arch}' takes images of {wanted[0]} px only, and crop is {size}; set crop to {wanted[0]}, or choose a convolutional timm model")
    if arch == LAPTOP or is_classical(arch):  # take any size
        return
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, channels, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:  # timm has no one way to say so
        raise ValueError(f"arch '{arch}' cannot take images of {size} px ({str(error).splitlines()[0]}); set crop to more, such as 224, or choose another arch") from None
    finally:
        model.train(training)


def _create_machine(arch: str, initialisation: Initialisation, image_channels: int) -> FeatureMachine:
    """Build the system that ``arch`` names, with the initial weights in its network; not fitted yet.

    Raises:
        ValueError: if the features are not 'lbp', a network, or 'lbp+' and a network; or if weights are given and nothing takes them.
    """
    names = arch.removeprefix(CLASSICAL_PREFIX).split("+")
    patterns = names[0] == LBP
    networks = names[1:] if patterns else names
    if len(networks) > 1 or any(not name or name == LBP or is_classical(name) for name in networks):
        raise ValueError(f"arch '{arch}' is none of 'svm:lbp', 'svm:NETWORK' and 'svm:lbp+NETWORK'")
    if not networks and initialisation.path is not None:
        raise ValueError(f"arch '{arch}' has no network for the weights of init '{initialisation.name}'; set init to 'random'")
    network = create_model(networks[0], initialisation, image_channels) if networks else None
    return FeatureMachine(patterns, network, initialisation)


def _read(initialisation: Initialisation) -> dict[str, torch.Tensor]:
    """The tensors of a weights file under timm's names."""
    path = initialisation.path
    if path.suffix == ".npz":
        from cxrlib.weights import bit

        return {name: torch.from_numpy(array) for name, array in bit.read(path).items()}
    if initialisation.name == "imagenet-lite":
        from cxrlib.weights import imagenet_lite

        return imagenet_lite.load(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is not a mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or not safetensors ({error}); get the file again") from None


def _sound(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as float32.

    Raises:
        WeightsError: if one holds whole numbers (counters aside), or a value that is not finite; or if all kernels are 0.
    """
    weights = {}
    for name, tensor in tensors.items():
        if tensor.ndim and not tensor.is_floating_point():
            raise WeightsError(f"{path}: '{name}' holds {str(tensor.dtype).removeprefix('torch.')} and no weights; get the file again")
        weights[name] = tensor.float()
        if count := int((~torch.isfinite(weights[name])).sum()):
            raise WeightsError(f"{path}: {count} of {tensor.numel()} values of '{name}' are not finite; get the file again, or pretrain again")
    kernels = [tensor for tensor in weights.values() if tensor.ndim > 1]
    if kernels and not any(tensor.any() for tensor in kernels):
        raise WeightsError(f"{path}: all its kernels are 0, which no training leaves; get the file again")
    return weights


def _load_backbone(model: nn.Module, initialisation: Initialisation, image_channels: int) -> None:
    """Load everything but the head, in place; one-channel and three-channel first convolutions are converted."""
    from timm.models import adapt_input_conv

    path = initialisation.path
    head = {id(parameter) for parameter in model.get_classifier().parameters()}
    head_names = {name for name, parameter in model.named_parameters() if id(parameter) in head}
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in head_names}
    weights = _sound(path, _read(initialisation))
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


def device_name(model: nn.Module) -> str:
    """Where a model is: the GPU's name, or the processor's architecture."""
    return torch.cuda.get_device_name() if next(model.parameters()).is_cuda else platform.machine()


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def normalise(images: torch.Tensor, mean: Normalisation, std: Normalisation, image_channels: int) -> torch.Tensor:
    """Turn cached grey images into what a model takes, on whatever device they are.

    Grey is repeated over three channels, then each is normalised as the weights expect. Where they expect three means
    and only one channel is fed, it gets their average: without a bias in the first convolution no single number is exact.

    Args:
        images: uint8, shape (N, H, W).
        mean: in [0, 1], one number or one per channel; BiT's is 0.5.
        std: positive, one number or one per channel; BiT's is 0.5, which maps to [-1, 1].

    Returns:
        float32 of shape (N, image_channels, H, W), :func:`~cxrlib.model.memory.channels_last` in memory.
    """
    if isinstance(mean, list | tuple) or isinstance(std, list | tuple):
        means, stds = (torch.tensor(v, device=images.device).expand(3).reshape(1, 3, 1, 1) for v in (mean, std))
        if image_channels == 1:
            means, stds = means.mean(1, keepdim=True), stds.mean(1, keepdim=True)
        return channels_last((images.unsqueeze(1).float() / 255 - means) / stds)
    scaled = images.unsqueeze(1).float().div_(255 * std).sub_(mean / std)
    return channels_last(scaled.expand(-1, image_channels, -1, -1))


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
