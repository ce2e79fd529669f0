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
        model: a timm model, as from ``cxrlib.model.create_model``.
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
    batch_size: int = 16,
) -> np.ndarray:
    """Heat maps of the regions that raise the score of a class.

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
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    model.eval()
    name = target_layer or default_target_layer(model, images)
    modules = dict(model.named_modules())
    if name not in modules or not name:
        raise ValueError(f"the model has no layer '{name}'; for example: {', '.join(list(modules)[-5:])}")
    if classes is None:
        with torch.inference_mode():
            classes = torch.cat([model(batch).reshape(-1) > 0 for batch in images.split(batch_size)]).long().numpy(force=True)
    if len(classes) != len(images):
        raise ValueError(f"{len(classes)} classes were given for {len(images)} images")
    maps = []
    with GradCAM(model=model, target_layers=[modules[name]]) as cam:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            targets = [BinaryClassifierOutputTarget(int(label)) for label in classes[start : start + batch_size]]
            maps.append(cam(input_tensor=batch.contiguous(), targets=targets))
    model.zero_grad(set_to_none=True)
    # The library divides by max + 1e-7, so a maximum of 1 is missed by rounding only.
    return np.clip(np.concatenate(maps), 0, 1).astype(np.float32) if maps else np.empty((0, *images.shape[2:]), np.float32)


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
