"""Training the network that finds lungs, from masks drawn by radiologists and from boxes around lungs.

A mask says of every pixel what it is: cross-entropy and the Dice loss. A box says less: outside of it there is no lung,
and each of its rows and columns meets one (the projection term of BoxInst, Tian et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from cxrlib.model.segmentation import create_segmenter, standardised

STEPS = 400
BATCH, BOXED = 8, 4
"""Images with masks in a batch, and with boxes."""
LEARNING_RATE = 3e-3
BOX_WEIGHT = 0.5


def fit_segmenter(
    images: np.ndarray,
    masks: np.ndarray,
    boxed: np.ndarray,
    boxes: np.ndarray,
    steps: int = STEPS,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train from random weights.

    Args:
        images, masks: uint8 and bool, shape (N, S, S).
        boxed, boxes: images with the filled boxes around their lungs, uint8 and bool, shape (M, S, S); M may be 0.
        steps: of AdamW, the rate rising for a tenth of them and then falling as a cosine.
        on_step: called with the number of finished steps and the loss.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ValueError: if there is no image with a mask, or the arrays differ in shape.
    """
    if not len(images) or images.shape != masks.shape or boxed.shape != boxes.shape:
        raise ValueError(f"images {images.shape} and masks {masks.shape}, boxed {boxed.shape} and boxes {boxes.shape} must agree, with one mask at least")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        model = create_segmenter().train()
        optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
        drawn = _batches(random, len(images), BATCH), _batches(random, len(boxed), BOXED)
        for step in range(steps):
            pairs = _changed(images, masks, next(drawn[0]), turned=True)
            pairs += _changed(boxed, boxes, next(drawn[1]), turned=False) if len(boxed) else []
            shown, wanted = (torch.stack(part).float() for part in zip(*pairs, strict=True))
            logits = model(standardised(_noisy(shown)))
            loss = mask_loss(logits[:BATCH], wanted[:BATCH])
            if len(boxed):
                loss = loss + BOX_WEIGHT * box_loss(logits[BATCH:], wanted[BATCH:])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if on_step is not None:
                on_step(step + 1, float(loss.detach()))
    return model.eval()


def _batches(random: np.random.Generator, count: int, size: int) -> Iterator[np.ndarray]:
    """Rows of batches without end, each image once before any comes again."""
    waiting = np.empty(0, dtype=int)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def _changed(images: np.ndarray, targets: np.ndarray, rows: np.ndarray, turned: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and targets, (1, S, S) each, changed at random; those with boxes are not turned, as a turned box is none."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    moves = v2.Compose([
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(degrees=10 if turned else 0, translate=(0.08, 0.08), scale=(0.8, 1.2), shear=4 if turned else 0, interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.3, contrast=0.3),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}),
        v2.RandomApply([v2.GaussianBlur(3, (0.3, 1.2))], 0.2),
    ])  # fmt: skip
    return [moves(tv_tensors.Image(torch.from_numpy(np.array(images[row]))[None]), tv_tensors.Mask(torch.from_numpy(targets[row].astype(np.uint8))[None])) for row in rows]


def _noisy(images: torch.Tensor) -> torch.Tensor:
    """Images with noise whose strength is drawn for each, up to a standard deviation of 6 grey values."""
    return images + 6 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)


def mask_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice loss of logits against masks of 0 and 1, both (n, 1, S, S)."""
    from segmentation_models_pytorch.losses import DiceLoss

    return nn.functional.binary_cross_entropy_with_logits(logits, masks) + DiceLoss("binary")(logits, masks)


def box_loss(logits: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """What a filled box says of logits, both (n, 1, S, S): cross-entropy outside of it, and Dice loss of its rows and columns."""
    from segmentation_models_pytorch.losses import DiceLoss

    outside = nn.functional.softplus(logits) * (1 - boxes)
    rows, columns = (DiceLoss("binary")(logits.amax(dim=side), boxes.amax(dim=side)) for side in (3, 2))
    return outside.mean() + (rows + columns) / 2
