"""Pictures that Pillow reads at less than their depth, or not at all: colour of 16 bits, and rare kinds of TIFF.

Of colour with 16 bits a channel Pillow keeps the upper eight. If the file uses 12 of its 16 bits, which no header says,
that leaves the grey values 0 ... 15.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from cxrlib.data.grey import ImageError, check_pixels, to_8_bits

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's
_DARK = 128  # a picture that uses its highest bit has pixels at least this bright


def is_deep_colour(file: BinaryIO, image: Image.Image) -> bool:
    """Whether Pillow reads this opened image at 8 bits a channel though the file has more."""
    start = _start(file, 26)
    if image.format == "PNG":
        return start[24] == 16 and start[25] in (2, 4, 6)
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))
        return max(bits) > 8 and image.mode not in ("F", "I") and not image.mode.startswith("I;")
    if image.format == "PPM":
        return start[:2] in (b"P6", b"P3") and _maximum_of_ppm(file) > 255
    return image.format == "JPEG2000" and image.mode in ("RGB", "RGBA", "LA") and _bits_of_jpeg2000(file) > 8


def other_integers(image: Image.Image) -> np.ndarray | None:
    """Values of a loaded TIFF whose numbers Pillow takes for others, (H, W): unsigned ones of 32 bits, signed ones of 8; otherwise None."""
    if image.format != "TIFF":
        return None
    bits, kind = image.tag_v2.get(258, (1,))[0], image.tag_v2.get(339, (1,))[0]
    if image.mode == "I" and (bits, kind) == (32, 1):
        return np.asarray(image).view(np.uint32)
    # That Pillow inverts the bytes of a negative is right for signed ones too.
    return np.asarray(image).view(np.int8) if image.mode == "L" and (bits, kind) == (8, 2) else None


def is_dark(grey: Image.Image) -> bool:
    """Whether all but 0.1 % of the pixels of an image of mode 'L' leave the highest bit unused."""
    return sum(grey.histogram()[_DARK:]) <= grey.width * grey.height // 1000


def deep_luma(path: Path, file: BinaryIO, image: Image.Image) -> Image.Image:
    """An image for which :func:`is_deep_colour` holds, decoded at its full depth and brought to mode 'L'.

    Raises:
        ImageError: if it is of a kind that only Pillow reads here.
    """
    try:
        if image.format == "PNG":
            values = _png(file)
        elif image.format == "TIFF":
            if image.mode == "CMYK":
                raise ValueError("inks")
            values = _tiff_page(path, file)[0]
        elif image.format == "PPM":
            values = _ppm(file, image.size)
        else:
            raise ValueError("no reader")
    except ImageError:
        raise
    except Exception as error:  # what the readers cannot do they say in many ways
        message = f"colour of more than 8 bits a channel, which cannot be read at its depth ({error})"
        raise ImageError(f"{path}: {message}; save it as grey of 16 bits, or of 8") from None
    return Image.fromarray(to_8_bits(_on_black(values)))


def rare_tiff(path: Path, file: BinaryIO) -> tuple[Image.Image, int]:
    """A TIFF of a kind that Pillow does not open (64-bit floats, inverted 16 bits big endian, ...) as mode 'L', and its EXIF orientation.

    Raises:
        ImageError: several frames, too large, or a kind that is not read here either.
    """
    try:
        values, inverted, orientation = _tiff_page(path, file)
        grey = to_8_bits(_on_black(values) if values.ndim == 3 else values)
    except ImageError:
        raise
    except Exception as error:  # as above
        message = f"truncated or damaged, or a rare kind of TIFF ({error}); convert it to PNG, copy it again, or remove its row"
        raise ImageError(f"{path}: {message}") from None
    return Image.fromarray(255 - grey if inverted else grey), orientation


def _start(file: BinaryIO, length: int) -> bytes:
    file.seek(0)
    return file.read(length)


def _png(file: BinaryIO) -> np.ndarray:
    import torch
    from torchvision.io import ImageReadMode, decode_png

    file.seek(0)
    content = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    return decode_png(content, mode=ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0)


def _tiff_page(path: Path, file: BinaryIO) -> tuple[np.ndarray, bool, int]:
    """Values of the only page, (H, W) or (H, W, channels), whether they are negative, and the EXIF orientation."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        if len(tiff.pages) > 1:
            message = f"it holds {len(tiff.pages)} frames, a chest X-ray is one; save the frame as a file of its own"
            raise ImageError(f"{path}: {message}")
        page = tiff.pages[0]
        check_pixels(path, page.imagewidth, page.imagelength)
        values = page.asarray()
        if values.ndim == 3 and page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)
        if values.ndim not in (2, 3) or values.shape[:2] != (page.imagelength, page.imagewidth):
            raise ValueError(f"values of shape {values.shape}")
        orientation = getattr(page.tags.get("Orientation"), "value", 1)
        return values, page.photometric == 0, orientation if orientation in range(1, 9) else 1


def _ppm(file: BinaryIO, size: tuple[int, int]) -> np.ndarray:
    maximum = _maximum_of_ppm(file)
    file.seek(0)
    content = file.read()
    if content[:2] != b"P6":
        raise ValueError("PPM as text")
    count = size[0] * size[1] * 3
    values = np.frombuffer(content[-2 * count :], dtype=">u2")
    if maximum < 65535:
        values = values.astype(np.float64) * (65535 / maximum)
    return values.reshape(size[1], size[0], 3)


def _maximum_of_ppm(file: BinaryIO) -> int:
    lines = [line.split(b"#")[0] for line in _start(file, 4096).split(b"\n")]
    return int(b" ".join(lines).split()[3])


def _bits_of_jpeg2000(file: BinaryIO) -> int:
    """Bits a sample that the codestream says (ISO 15444-1, A.5.1)."""
    start = _start(file, 1 << 16)
    place = start.find(b"\xff\x4f\xff\x51")
    return (start[place + 42] & 127) + 1 if 0 <= place < len(start) - 42 else 8


def _on_black(values: np.ndarray) -> np.ndarray:
    """Luma of (H, W, 2 ... 4) values, clear pixels black; an alpha channel that is 0 throughout says nothing."""
    channels = values.shape[2]
    colours = values[..., : 1 if channels < 3 else 3].astype(np.float32)
    grey = colours[..., 0] if channels < 3 else colours @ LUMA.astype(np.float32)
    if values.dtype.kind != "f":
        grey = np.rint(grey)
    if channels not in (2, 4):
        return grey
    alpha = values[..., -1]
    largest = float(alpha.max())
    whole = max(largest, 1.0) if values.dtype.kind == "f" else 2 ** max(1, int(largest).bit_length()) - 1
    return grey if largest <= 0 else grey * (alpha / np.float32(whole))
