"""Batches as pure functions of (seed, step): no sampler state, so a resumed or a distributed run sees the same batches.

Every random choice of a training step (which images, where cropped, flipped or not, mixed with whom) is drawn from a
generator seeded with ``(seed, step, purpose)``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ORDER, _DRAW, _AUGMENT, _MIXUP = range(4)


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, _ORDER, stream, epoch]).permutation(size)


def _draw(members: np.ndarray, count: int, step: int, seed: int, stream: int) -> np.ndarray:
    """``count`` members for ``step``: an endless shuffled pass, or drawn with replacement if there are fewer than that."""
    size = len(members)
    if size < count:
        return members[np.random.default_rng([seed, _DRAW, stream, step]).integers(size, size=count)]
    positions = np.arange(step * count, (step + 1) * count)
    epochs, offsets = np.divmod(positions, size)
    chosen = [_permutation(seed, stream, int(epoch), size)[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
    return members[np.concatenate(chosen)]


def batch_indices(step: int, labels: np.ndarray, batch_size: int, seed: int, rebalance: bool = True) -> np.ndarray:
    """Rows of the training set in the batch of ``step``.

    With ``rebalance`` exactly half the batch is positive (section 3.3). Each class is passed through in shuffled order
    before any image returns; a class smaller than its share of the batch is drawn with replacement, as in BiT.

    Args:
        step: 0, 1, 2, ...
        labels: shape (N,), 0 or 1.
        batch_size: even if ``rebalance``.
        seed: seed of the run.

    Returns:
        Integer array of shape (batch_size,), positives and negatives interleaved so that any contiguous even split of
        the batch (micro-batches, devices) is balanced too.

    Raises:
        ValueError: if a class is missing, or the batch cannot be halved.
    """
    labels = np.asarray(labels)
    if not rebalance:
        if len(labels) == 0:
            raise ValueError("the training set is empty")
        return _draw(np.arange(len(labels)), batch_size, step, seed, stream=2)
    if batch_size % 2:
        raise ValueError(f"batch_size {batch_size} is odd; a rebalanced batch needs an even size")
    batch = np.empty(batch_size, dtype=np.int64)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        if len(members) == 0:
            name = ("negative", "positive")[label]
            raise ValueError(f"the training set has no {name} image; rebalance=False trains without balancing")
        batch[label::2] = _draw(members, batch_size // 2, step, seed, stream=label)
    return batch


def augmentation(step: int, batch_size: int, resize: int, crop: int, seed: int, flip: bool = True) -> tuple[np.ndarray, ...]:
    """Crop corners and flips of a batch, drawn for each image.

    Returns:
        ``(tops, lefts, flips)``, each of shape (batch_size,); corners in 0 ... resize - crop pixels, flips boolean.
    """
    generator = np.random.default_rng([seed, _AUGMENT, step])
    tops, lefts = generator.integers(resize - crop + 1, size=(2, batch_size))
    flips = generator.random(batch_size) < 0.5 if flip else np.zeros(batch_size, dtype=bool)
    return tops, lefts, flips


def crop_batch(
    images: np.ndarray, indices: np.ndarray, crop: int, tops: np.ndarray, lefts: np.ndarray, flips: np.ndarray
) -> np.ndarray:
    """Cut the batch out of the cached images.

    Args:
        images: uint8, shape (N, resize, resize), possibly memory-mapped.
        indices: rows to take, shape (B,).

    Returns:
        uint8 array of shape (B, crop, crop).
    """
    images = np.asarray(images)  # a memory map's own slicing takes twice as long
    batch = np.empty((len(indices), crop, crop), dtype=np.uint8)
    for slot, (index, top, left, flipped) in enumerate(zip(indices, tops, lefts, flips, strict=True)):
        window = images[index, top : top + crop, left : left + crop]
        batch[slot] = window[:, ::-1] if flipped else window
    return batch


def mixup_plan(step: int, batch_size: int, mixup: str, value: float, seed: int) -> tuple[float, np.ndarray]:
    """Weight and partners of equation (1): ``mixed = weight * batch + (1 - weight) * batch[partners]``.

    The paper sets lambda = 0.1 "as in Kolesnikov et al.", who draw lambda from Beta(0.1, 0.1) once a batch. Both are here.

    Args:
        mixup: 'off' (weight 1), 'fixed' (weight ``value``) or 'beta' (weight drawn from Beta(value, value)).
        value: lambda in [0, 1] if 'fixed', alpha > 0 if 'beta'.

    Returns:
        The weight in [0, 1] and a permutation of shape (batch_size,).

    Raises:
        ValueError: if ``mixup`` is unknown or ``value`` out of range.
    """
    generator = np.random.default_rng([seed, _MIXUP, step])
    if mixup == "off":
        return 1.0, np.arange(batch_size)
    if mixup == "fixed":
        if not 0 <= value <= 1:
            raise ValueError(f"mixup_value {value} is not in [0, 1], as a fixed lambda must be")
        weight = float(value)
    elif mixup == "beta":
        if value <= 0:
            raise ValueError(f"mixup_value {value} is not positive, as alpha of Beta(alpha, alpha) must be")
        weight = float(generator.beta(value, value))
    else:
        raise ValueError(f"mixup '{mixup}' is unknown; use 'off', 'beta' or 'fixed'")
    return weight, generator.permutation(batch_size)
