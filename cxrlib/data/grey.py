"""What every image reader shares: the error, the size limit, and grey values of any depth brought to 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

# Detectors have at most about 20 million pixels. Below Pillow's own limit of 89 million, so that ours speaks first.
MAXIMUM_PIXELS = 80_000_000

# Share of the pixels that may saturate when the used bits of a deep image are found: dead pixels, burnt-in letters.
SATURATED_SHARE = 0.001

# Fractional values that all lie below this are no grey levels of 8 bits: shares, percent of a few, optical densities.
SMALL_NUMBERS = 32.0

SMALLEST_SIDE = 16
LETTERS_SHARE = 0.03  # of the pixels, at each end: letters on an empty picture
FEWEST_LEVELS = 20  # what 12 bits leave of 8 where the upper half of 16 was kept is 16
FEWEST_BESIDE_LETTERS = 5


class ImageError(ValueError):
    """An image file cannot be used; the message names it and says what to do."""


class ImageReadError(ImageError):
    """An image file is there and the system did not give its content; it may at another time."""


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuse sizes that only a mistake or a decompression bomb has, before any memory is taken for them."""
    if width * height > MAXIMUM_PIXELS:
        size = f"{width} x {height} pixels, over the limit of {MAXIMUM_PIXELS:,}"
        raise ImageError(f"{path}: {size}; scale it down, or remove its row if it is not a chest X-ray")


def bits_in_use(values: np.ndarray) -> int:
    """Bits that the largest of some non-negative numbers needs, at least 8."""
    return max(8, int(np.ceil(float(values.max()))).bit_length())


def to_8_bits(values: np.ndarray, picture: np.ndarray | None = None) -> np.ndarray:
    """Scale grey values of more than 8 bits to 0 ... 255.

    Files say '16 bits' and hold 10, 12, 14 or 16, so a fixed shift leaves most of them nearly black, while stretching
    each to its own minimum and maximum removes exposure and lets one dead pixel decide. Here the brightest value, the
    top 0.1 % of the pixels aside, gives the number of bits in use, 8 ... 32, and white is the largest number of that
    many bits: a file that uses all 16 bits is divided by 65535, a 12-bit one by 4095, an 8-bit one stored as 16 bits
    by 255. Fractions in 0 ... 1 are multiplied by 255; of those that end a little above 1, or at some other small number
    (optical densities, attenuations), the brightest value becomes 255. With negative values there is no such convention, and minimum
    and brightest value (as above) become 0 and 255; a minimum that lies farther below all but 0.1 % of the pixels than
    those reach is a dead pixel. A value far from all others that many pixels have, above (65535 over 12 bits) or below
    (-9999), is a mark: burnt-in letters, or what stands for no value. It decides nothing.

    Args:
        values: integers or floats, any shape with at least one element.
        picture: bool, same shape; the other values are no part of the picture and decide nothing. Default all.

    Returns:
        uint8 array of the same shape, rounded; the brightest 0.1 % may saturate.

    Raises:
        ValueError: if a value is not finite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers or infinite; export the image again")
    seen = _without_marks(values if picture is None else values[picture])
    darkest, brightest = float(seen.min()), _quantile(seen, 1 - SATURATED_SHARE)
    if darkest < 0:
        usual = _quantile(seen, SATURATED_SHARE)
        low, high = usual if usual - darkest > brightest - usual else darkest, brightest
    elif values.dtype.kind == "f" and brightest < SMALL_NUMBERS:
        low, high = 0.0, 1.0 if 0.1 <= brightest <= 1 else brightest
    else:
        low, high = 0.0, float(2 ** max(8, int(np.ceil(brightest)).bit_length()) - 1)
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _without_marks(values: np.ndarray) -> np.ndarray:
    """The values but for a largest that is four times all others, and a smallest that lies four times their range below them."""
    for mark, above in ((values.max(), True), (values.min(), False)):
        others = values[values != mark]
        if others.size == 0 or not SATURATED_SHARE < 1 - others.size / values.size < 0.5:
            continue
        low, high = float(others.min()), float(others.max())
        if high > low and (float(mark) > 4 * high > 0 if above else low - float(mark) > 4 * (high - low)):
            values = others
    return values


def _quantile(values: np.ndarray, share: float) -> float:
    """The value that this share of the pixels does not exceed; from the upper half one pixel at least lies beyond none."""
    place = share * (values.size - 1)
    position = int(np.ceil(place) if share > 0.5 else np.floor(place))
    return float(np.partition(values, position, axis=None)[position])


def refuse_flat(path: Path | str, grey: Image.Image) -> None:
    """Refuse what cannot be an X-ray, however well it decodes: tiny pictures and those of (nearly) one grey value.

    A network gives them a score like any other. Real X-rays span more than 100 of the 255 grey levels.

    Args:
        path: for the message.
        grey: of mode 'L'.

    Raises:
        ImageError: if a side is shorter than 16 pixels, or all but 0.2 % of the pixels lie within 20 grey levels, or all but
            6 % within 4, as of an empty picture with letters.
    """
    width, height = grey.size
    if min(height, width) < SMALLEST_SIDE:
        message = f"{width} x {height} pixels, and an X-ray has at least {SMALLEST_SIDE} on each side"
        raise ImageError(f"{path}: {message}; download or export it again, or remove its row")
    share = np.cumsum(grey.histogram()) / (width * height)
    first, last = int(np.argmax(share > 0)), int(np.argmax(share == 1))
    low, high = (int(np.argmax(share > limit)) for limit in (SATURATED_SHARE, 1 - SATURATED_SHARE))
    if high - low < FEWEST_LEVELS:
        values = f"holds one grey value ({first})" if first == last else f"holds hardly more than one grey value ({low} ... {high} of 255)"
        raise ImageError(f"{path}: it {values} and no picture; export it again or remove its row")
    low, high = (int(np.argmax(share > limit)) for limit in (LETTERS_SHARE, 1 - LETTERS_SHARE))
    if high - low < FEWEST_BESIDE_LETTERS:
        raise ImageError(f"{path}: it holds one grey value ({low}) with letters or marks and no picture; export it again or remove its row")


def two_levels(path: Path | str, values: np.ndarray) -> np.ndarray:
    """What a mask marks: the pixels brighter than half of its brightest value.

    Edges may be soft, as scaling and JPEG leave them. A third level, such as a class of its own or the greys of a picture,
    would be cut off at one half without a word.

    Args:
        path: for the message.
        values: uint8, shape (H, W).

    Returns:
        bool, same shape; nothing marked if all is 0.

    Raises:
        ImageError: if areas of one grey between black and the brightest value make up a hundredth of what is marked, or
            all pixels between are more than those that are marked.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    brightest = int(values.max())
    marked = values > brightest // 2
    between = (values > brightest / 8) & (values < brightest * 7 / 8)
    if between.any():
        wide = minimum_filter(between, 3)  # an edge as scaling leaves it is hardly wider than one pixel
        level = wide & (maximum_filter(values, 3) - minimum_filter(values, 3) <= brightest / 50)
        if level.sum() > marked.sum() / 100 or (wide.any() and between.sum() > marked.sum()):
            grey = int(np.bincount(values[level if level.any() else between]).argmax())
            message = f"a mask has two levels, and this has others too, such as {grey} between 0 and {brightest}"
            raise ImageError(f"{path}: {message}; write what is marked as {brightest} and all else as 0")
    return marked
