"""Grad-CAM (Selvaraju et al. 2017) as in section 4.4, scores for where it looks, and a check that it looks at the model.

A heat map says which regions moved the logit. It does not say that the reason is a medical one.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn


def default_target_layer(model: nn.Module, images: torch.Tensor) -> str:
    """Name of the module that puts out the last feature map before global pooling.

    For a pre-activation ResNet that is the final group norm and ReLU: what the linear head averages and weighs, so that
    Grad-CAM there equals the head's own class activation map (Zhou et al. 2016). A layer inside the last block would
    leave out the identity path.

    Args:
        model: a timm model, as from ``cxrlib.model.network.create_model``.
        images: one normalised image is enough, shape (N, C, H, W).

    Raises:
        ValueError: if that map is a single cell, as with too small an image.
    """
    found: list[tuple[str, int, int]] = []
    handles = []

    def hook(name: str):
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                found.append((name, *output.shape[2:]))

        return note

    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_hook(hook(name)))
    try:
        with torch.no_grad():
            extent = tuple(model.forward_features(images[:1]).shape[2:])
    finally:
        for handle in handles:
            handle.remove()
    if extent == (1, 1):
        raise ValueError(f"no feature map with spatial extent is left of {tuple(images.shape[2:])} px; use a larger crop")
    return [name for name, *size in found if tuple(size) == extent][-1]


def grad_cam(
    model: nn.Module,
    images: torch.Tensor,
    target_layer: str | None = None,
    classes: np.ndarray | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Heat maps of the regions that raise the score of a class.

    At the default layer the backbone runs once, forward: the gradient there is that of the head alone. Any other layer
    goes through ``pytorch_grad_cam``; the maps are the same (the tests compare them).

    Args:
        model: one-logit classifier; left as it was, without hooks.
        images: normalised float images, shape (N, C, H, W).
        target_layer: module name; default :func:`default_target_layer`.
        classes: 0 (negative, the logit's sign turned) or 1 for each image; default the predicted class.
        batch_size: images at a time.

    Returns:
        float32 array of shape (N, H, W), each map scaled to [0, 1]; all zero where nothing spoke for the class.

    Raises:
        ValueError: unknown layer, or ``classes`` of another length.
    """
    model.eval()
    modules = dict(model.named_modules())
    if target_layer is not None and (target_layer not in modules or not target_layer):
        raise ValueError(f"the model has no layer '{target_layer}'; for example: {', '.join(list(modules)[-5:])}")
    if classes is not None and len(classes) != len(images):
        raise ValueError(f"{len(classes)} classes were given for {len(images)} images")
    if not len(images):
        return np.empty((0, *images.shape[2:]), np.float32)
    default = default_target_layer(model, images)
    target = modules[target_layer or default]
    method = _head_maps if target is modules[default] else _layer_maps
    maps = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        maps.append(method(model, images[part], target, None if classes is None else classes[part]))
    # Scaling divides by max + 1e-7, so a maximum of 1 is missed by rounding only.
    return np.clip(np.concatenate(maps), 0, 1).astype(np.float32)


def _head_maps(model: nn.Module, images: torch.Tensor, _target: nn.Module, classes: np.ndarray | None) -> np.ndarray:
    """Maps at the features that the head pools, from one forward pass; steps and scaling as in ``pytorch_grad_cam``."""
    with torch.no_grad():
        features = model.forward_features(images)
    with torch.enable_grad():
        features.requires_grad_(True)
        logits = model.forward_head(features).reshape(-1)
        (gradient,) = torch.autograd.grad(logits.sum(), features)
    signs = torch.where(logits > 0, 1.0, -1.0) if classes is None else torch.from_numpy(np.asarray(classes) * 2.0 - 1).to(logits)
    with torch.no_grad():
        weights = gradient.mean(dim=(2, 3), keepdim=True) * signs.reshape(-1, 1, 1, 1)
        maps = (weights * features).sum(dim=1, keepdim=True).clamp_(min=0)
        resized = nn.functional.interpolate(_scaled(maps), size=images.shape[2:], mode="bilinear", align_corners=False)
        return _scaled(resized).squeeze(1).numpy(force=True)


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Each map, shape (N, 1, h, w), from its least to its greatest value brought to [0, 1]."""
    maps = maps - maps.amin(dim=(2, 3), keepdim=True)
    return maps / (maps.amax(dim=(2, 3), keepdim=True) + 1e-7)


def _layer_maps(model: nn.Module, images: torch.Tensor, target: nn.Module, classes: np.ndarray | None) -> np.ndarray:
    """Maps at any layer, by the library."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    if classes is None:
        with torch.inference_mode():
            classes = (model(images).reshape(-1) > 0).long().numpy(force=True)
    with GradCAM(model=model, target_layers=[target]) as cam:
        maps = cam(input_tensor=images.contiguous(), targets=[BinaryClassifierOutputTarget(int(label)) for label in classes])
    model.zero_grad(set_to_none=True)
    return maps


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's total that lies inside its mask (energy-based pointing game, Wang et al. 2020).

    Args:
        maps: non-negative, shape (N, H, W).
        masks: boolean, same shape.

    Returns:
        Values in [0, 1], shape (N,); NaN where the map is all zero or the mask is empty. Compare with the mask's share of the area, which a
        map without preference would score.
    """
    maps, masks = np.asarray(maps, dtype=np.float64), np.asarray(masks, dtype=bool)
    if maps.shape != masks.shape:
        raise ValueError(f"maps {maps.shape} and masks {masks.shape} differ in shape")
    total = maps.sum(axis=(1, 2))
    usable = (total > 0) & masks.any(axis=(1, 2))
    return np.divide((maps * masks).sum(axis=(1, 2)), total, out=np.full(len(maps), np.nan), where=usable)


def frame_mask(size: int, share: float = 0.125) -> np.ndarray:
    """The image edge: True within ``share`` of the side from the border, shape (size, size)."""
    if not 0 < share < 0.5:
        raise ValueError(f"share {share} must lie between 0 and 0.5")
    width = max(1, round(size * share))
    mask = np.ones((size, size), dtype=bool)
    mask[width:-width, width:-width] = False
    return mask


def randomise_from_top(model: nn.Module, share: float, seed: int = 0) -> nn.Module:
    """A copy whose last layers are random again (cascading randomisation, Adebayo et al. 2018).

    Args:
        model: left as it is.
        share: fraction in [0, 1] of the layers with weights that are redrawn, counted from the output.

    Returns:
        The copy. If Grad-CAM shows what the model learned, its maps must change with ``share``.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is not between 0 and 1")
    changed = copy.deepcopy(model)
    layers = [module for module in changed.modules() if hasattr(module, "reset_parameters") and list(module.parameters(False))]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in layers[len(layers) - round(share * len(layers)) :]:
            layer.reset_parameters()
    return changed


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman correlation of each pair of maps, shape (N,), in [-1, 1]; NaN where a map is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.reshape(m, (len(m), -1)), axis=1) for m in (maps, others)]
    centred = [r - r.mean(axis=1, keepdims=True) for r in ranks]
    scale = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide((centred[0] * centred[1]).sum(axis=1), scale, out=np.full(len(maps), np.nan), where=scale > 0)
