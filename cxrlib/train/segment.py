"""Training the network that finds lungs, from masks drawn by radiologists and from boxes around lungs.

A mask says of every pixel what it is: cross-entropy and the Dice loss. A box says less: outside of it there is no lung,
and each of its rows and columns meets one (the projection term of BoxInst, Tian et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cxrlib.model.segmentation import create_segmenter, standardised

STEPS = 250
BATCH = 8
"""Images with masks in a batch, and as many with boxes."""
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
        drawn = _batches(random, len(images)), _batches(random, len(boxed))
        for step in range(steps):
            loss = mask_loss(*_scored(model, images, masks, next(drawn[0]), turned=True))
            if len(boxed):
                loss = loss + BOX_WEIGHT * box_loss(*_scored(model, boxed, boxes, next(drawn[1]), turned=False))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if on_step is not None:
                on_step(step + 1, float(loss.detach()))
    return model.eval()


def _batches(random: np.random.Generator, count: int):
    """Rows of batches without end, each image once before any comes again."""
    waiting = np.empty(0, dtype=int)
    while True:
        while len(waiting) < BATCH:
            waiting = np.concatenate([waiting, random.permutation(count)])
        yield waiting[:BATCH]
        waiting = waiting[BATCH:]


def _scored(model: nn.Module, images: np.ndarray, targets: np.ndarray, rows: np.ndarray, turned: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets (n, 1, S, S) of images changed at random; boxes are not turned, as a turned box is none."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    moves = v2.Compose([
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(degrees=10 if turned else 0, translate=(0.08, 0.08), scale=(0.85, 1.2), shear=4 if turned else 0, interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.3, contrast=0.3),
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}),
        v2.RandomApply([v2.GaussianBlur(3, (0.3, 1.2))], 0.2),
    ])  # fmt: skip
    pairs = [moves(tv_tensors.Image(torch.from_numpy(np.array(images[row]))[None]), tv_tensors.Mask(torch.from_numpy(targets[row].astype(np.uint8))[None])) for row in rows]
    batch = torch.stack([image for image, _ in pairs])
    noisy = batch + 6 * torch.rand(len(batch), 1, 1, 1) * torch.randn_like(batch)
    return model(standardised(noisy)), torch.stack([mask for _, mask in pairs]).float()


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
