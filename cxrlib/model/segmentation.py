"""Lungs on an X-ray: a small U-Net (Ronneberger et al. 2015), its weights that ship with the package, and what its masks give.

The network is that of ``segmentation_models_pytorch`` (the extra ``lungs``, imported when a network is made and not
before) on a narrow ten-layer ResNet, without pretrained weights. It sees 96 x 96 pixels, standardised image by image, so
that neither brightness nor contrast of the film counts. How well it finds lungs, and whether that was good enough to
ship it, stands in :mod:`cxrlib.study.pages.lungs`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cxrlib.files import safetensors_bytes
from cxrlib.weights.source import WeightsError, checked_digest, stated_digest

SIZE = 96
ENCODER, DECODER = (24, 48, 96, 128), (64, 48, 32, 16, 8)
"""Channels of the four stages of the ResNet, and of the five steps back to the size of the image."""
SHIPPED = Path(__file__).with_name("lungs.safetensors")
"""Trained on the 98 masks of ``covid-masks`` (CC BY 4.0) and the boxes of ``same-source`` (CC BY 4.0), whose X-rays have licences of
their own: for research, not for diagnosis."""
SMALLEST_LUNG = 0.01
"""Share of the image below which a connected part of a mask is no lung."""


def create_segmenter() -> nn.Module:
    """The network with random weights of torch's global generator: float images (N, 1, SIZE, SIZE) to logits of the same shape.

    Raises:
        WeightsError: without the package ``segmentation-models-pytorch``.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise WeightsError("the network that finds lungs needs the package segmentation-models-pytorch; install cxrlib with the extra 'lungs'") from None
    return smp.Unet("tu-resnet10t", encoder_weights=None, decoder_channels=DECODER, in_channels=1, classes=1, channels=ENCODER, stem_width=8)


def load_segmenter(path: Path | None = None) -> nn.Module:
    """The network with trained weights, in evaluation mode on the CPU.

    Args:
        path: a file of half-precision weights with its digest beside it, ``STEM.sha256``; default the one that ships.

    Raises:
        WeightsError: if a file is missing, or the weights are not those of the digest.
    """
    from safetensors.torch import load

    path, way_out = path or SHIPPED, "'cxr truth lungs' trains the network that finds lungs"
    if not path.is_file() or stated_digest(path) is None:
        raise WeightsError(f"{path} or the .sha256 file beside it is missing; {way_out}")
    checked_digest(path, None, way_out)
    model = create_segmenter()
    model.load_state_dict({name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load(path.read_bytes()).items()})
    return model.eval()


def weights_of(model: nn.Module) -> tuple[bytes, str]:
    """The content of a file of half-precision weights, and its SHA-256, for :func:`load_segmenter`."""
    tensors = {name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = safetensors_bytes(tensors, {"size": str(SIZE)})
    return content, hashlib.sha256(content).hexdigest()


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Float images (N, 1, H, W), each with mean 0 and standard deviation 1; a flat image becomes zero."""
    mean, std = images.mean(dim=(2, 3), keepdim=True), images.std(dim=(2, 3), keepdim=True)
    return (images - mean) / std.clamp(min=1e-3)


@torch.inference_mode()
def lung_probability(model: nn.Module, images: np.ndarray, size: int | tuple[int, int] | None = None, batch_size: int = 32) -> np.ndarray:
    """Probability that a pixel is lung, averaged over the image and its mirror image.

    Args:
        model: of :func:`load_segmenter`.
        images: uint8, shape (N, SIZE, SIZE), of whole films squeezed to squares.
        size: height and width of the result, or one number for both; default SIZE.

    Returns:
        float32, shape (N, height, width), values in [0, 1].
    """
    height, width = (size, size) if isinstance(size, int) else size or (SIZE, SIZE)
    model.eval()
    found = []
    for start in range(0, len(images), batch_size):
        batch = standardised(torch.from_numpy(np.array(images[start : start + batch_size])).float()[:, None])
        values = (model(batch).sigmoid() + model(batch.flip(3)).sigmoid().flip(3)) / 2
        found.append(nn.functional.interpolate(values, size=(height, width), mode="bilinear", align_corners=False).squeeze(1))
    return torch.cat(found).numpy() if found else np.empty((0, height, width), np.float32)


def lungs_of(probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Masks of at most two lungs: the two largest connected parts above ``threshold`` that are no crumbs, holes filled.

    Args:
        probability: of :func:`lung_probability`, shape (N, H, W).

    Returns:
        bool, shape (N, H, W); all False where nothing is found.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import label

    masks = np.zeros(probability.shape, dtype=bool)
    for mask, values in zip(masks, probability):
        parts = label(values > threshold, connectivity=1)
        sizes = np.bincount(parts.ravel())[1:]
        kept = [number + 1 for number in np.argsort(-sizes)[:2] if sizes[number] >= SMALLEST_LUNG * values.size]
        if kept:
            mask[:] = binary_fill_holes(np.isin(parts, kept))
    return masks


def lung_box(mask: np.ndarray, margin: float = 0.03) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) of the box around a mask (H, W), wider by ``margin`` of its sides; the whole image if it is empty."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, height, 0, width
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    tall, wide = round(margin * (bottom - top)), round(margin * (right - left))
    return max(0, top - tall), min(height, bottom + tall), max(0, left - wide), min(width, right + wide)


def dice(masks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Overlap of each mask with its truth, 2 |A and B| / (|A| + |B|), bool (N, H, W) both; NaN where both are empty.

    Raises:
        ValueError: if the shapes differ.
    """
    masks, truths = np.asarray(masks, bool), np.asarray(truths, bool)
    if masks.shape != truths.shape:
        raise ValueError(f"masks {masks.shape} and truths {truths.shape} differ in shape")
    both = (masks & truths).sum(axis=(1, 2))
    total = masks.sum(axis=(1, 2)) + truths.sum(axis=(1, 2))
    return np.divide(2 * both, total, out=np.full(len(masks), np.nan), where=total > 0)
