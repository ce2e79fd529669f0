"""Decoding what people really have into 8-bit grey: any common raster format, whatever its name says, and DICOM.

The format is told by content, never by extension. Colour becomes luma (ITU-R BT.601), transparency is laid on black, the
EXIF orientation is applied. Every error is an :class:`ImageError` that names the file and says what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxrlib.data.grey import MAXIMUM_PIXELS, ImageError, check_pixels, to_8_bits

# Named, because Pillow would otherwise also hand files to external programs (EPS) and to rarely tested readers.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")


def decode_image(path: Path | str) -> np.ndarray:
    """Decode an image file to 8-bit luma.

    Grey values deeper than 8 bits are scaled by :func:`to_8_bits`. Of a file with transparency, clear pixels become
    black. A picture for several viewers in one file (MPO, from cameras) gives the first.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000 or PNM under any name, or DICOM with or without its preamble.

    Returns:
        uint8 array of shape (H, W), 0 ... 255; as in the file, except that DICOM's MONOCHROME1 is inverted, so that
        bone is bright.

    Raises:
        ImageError: missing, empty, truncated, damaged, more than 80 million pixels, several frames, or not an image.
    """
    return np.array(_grey(path))


def _grey(path: Path | str) -> Image.Image:
    """As :func:`decode_image`, a Pillow image of mode 'L': nothing is copied on the way that need not be."""
    path = Path(path)
    with _open(path) as file:
        if _is_dicom(file, path):
            from cxrlib.data.dicom import decode_dicom

            return Image.fromarray(decode_dicom(path))
        with _pillow_errors(path), _opened(file, path) as image:
            image.load()
            try:
                ImageOps.exif_transpose(image, in_place=True)
            except (SyntaxError, ValueError, KeyError, TypeError, OSError):
                pass  # damaged EXIF does not say how to turn the picture, and the pixels are sound
            return to_luma(image, path)


def decode_mask(path: Path | str) -> np.ndarray:
    """Decode a mask to bool (H, W): true where brighter than half of its brightest value.

    Masks saved as 0 and 1 work as well as 0 and 255. Raises :class:`ImageError` as :func:`decode_image`.
    """
    values = decode_image(path)
    return values > int(values.max()) // 2


def squared(path: Path | str, size: int) -> np.ndarray:
    """Decode an image and squeeze it to uint8 (size, size), bilinear with antialiasing; as in BiT, its shape is lost."""
    return np.asarray(_grey(path).resize((size, size), Image.Resampling.BILINEAR))


def check_image(path: Path | str) -> None:
    """Look for what is wrong with a file at the cost of reading its two ends.

    Finds missing, empty, cut off, oversized and foreign files. A PNG or JPEG with a sound beginning and end passes, so
    damage in the middle is only found by :func:`decode_image`; other formats are decoded.

    Raises:
        ImageError: as :func:`decode_image`.
    """
    path = Path(path)
    with _open(path) as file:
        if not _is_dicom(file, path):
            with _pillow_errors(path), _opened(file, path) as image:
                kind = image.format
            file.seek(max(0, os.fstat(file.fileno()).st_size - 12))
            tail = file.read()
            if (kind == "PNG" and tail[4:8] == b"IEND") or (kind == "JPEG" and tail.endswith(b"\xff\xd9")):
                return
    decode_image(path)


def to_luma(image: Image.Image, path: Path | str = "image") -> Image.Image:
    """A loaded Pillow image of any mode as one of mode 'L'; ``path`` is for the message of :class:`ImageError`."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        try:
            return Image.fromarray(to_8_bits(np.asarray(image)))
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, (0, 0, 0, 255))
        flat.alpha_composite(colour)
        return flat.convert("L")
    if mode == "L":
        return image
    if mode not in ("1", "RGB"):
        image = image.convert("RGB")
    return image.convert("L")


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading, known to be a regular one with content."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file; correct the name or remove its row") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read ({reason}); check the name and the permissions") from None
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); download or copy it again, or remove its row")
        yield file


def _is_dicom(file: BinaryIO, path: Path) -> bool:
    """DICOM by its mark at byte 128; without the preamble by its first tag (group 2 or 8), or by its name."""
    start = file.read(132)
    file.seek(0)
    if start[128:] == b"DICM" or start[:2] in (b"\x02\x00", b"\x08\x00"):
        return True
    raster = start.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8"))
    return path.suffix.lower() in (".dcm", ".dicom") and not raster


@contextmanager
def _opened(file: BinaryIO, path: Path) -> Iterator[Image.Image]:
    """The Pillow image, its header read and its size and number of frames accepted."""
    with Image.open(file, formats=FORMATS) as image:
        check_pixels(path, *image.size)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise ImageError(f"{path}: it holds {frames} frames, a chest X-ray is one; save the frame as a file of its own")
        yield image


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image of a known format; convert it to PNG or remove its row") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        message = f"over the limit of {MAXIMUM_PIXELS:,} pixels; scale it down or remove its row"
        raise ImageError(f"{path}: {message}") from None
    except Exception as error:  # on damaged data Pillow's readers raise almost anything, from EOFError to zlib.error
        message = f"truncated or damaged ({error or type(error).__name__}); download or copy it again, or remove its row"
        raise ImageError(f"{path}: {message}") from None
