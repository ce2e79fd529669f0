"""What every image reader shares: the error, the size limit, and grey values of any depth brought to 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Detectors have at most about 20 million pixels. Below Pillow's own limit of 89 million, so that ours speaks first.
MAXIMUM_PIXELS = 80_000_000

# Share of the pixels that may saturate when the used bits of a deep image are found: dead pixels, burnt-in letters.
SATURATED_SHARE = 0.001


class ImageError(ValueError):
    """An image file cannot be used; the message names it and says what to do."""


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuse sizes that only a mistake or a decompression bomb has, before any memory is taken for them."""
    if width * height > MAXIMUM_PIXELS:
        size = f"{width} x {height} pixels, over the limit of {MAXIMUM_PIXELS:,}"
        raise ImageError(f"{path}: {size}; scale it down, or remove its row if it is not a chest X-ray")


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale grey values of more than 8 bits to 0 ... 255.

    Files say '16 bits' and hold 10, 12, 14 or 16, so a fixed shift leaves most of them nearly black, while stretching
    each to its own minimum and maximum removes exposure and lets one dead pixel decide. Here the brightest value, the
    top 0.1 % of the pixels aside, gives the number of bits in use, 8 ... 32, and white is the largest number of that
    many bits: a file that uses all 16 bits is divided by 65535, a 12-bit one by 4095, an 8-bit one stored as 16 bits
    by 255. Fractions in 0 ... 1 are multiplied by 255. With negative values there is no such convention, and minimum and
    brightest value (as above) become 0 and 255.

    Args:
        values: integers or floats, any shape with at least one element.

    Returns:
        uint8 array of the same shape, rounded; the brightest 0.1 % may saturate.

    Raises:
        ValueError: if a value is not finite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers or infinite; export the image again")
    darkest = float(values.min())
    position = int(np.ceil((1 - SATURATED_SHARE) * (values.size - 1)))
    brightest = float(np.partition(values, position, axis=None)[position])
    if darkest < 0:
        low, high = darkest, brightest
    elif values.dtype.kind == "f" and values.max() <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = 0.0, float(2 ** max(8, int(np.ceil(brightest)).bit_length()) - 1)
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)
