"""Decoding what people really have into 8-bit grey: any common raster format, whatever its name says, and DICOM.

The format is told by content, never by extension. Colour becomes luma (ITU-R BT.601), transparency is laid on black, the
EXIF orientation is applied. Every error is an :class:`ImageError` that names the file and says what to do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxrlib.data import deep
from cxrlib.data.foreign import what_it_is
from cxrlib.data.grey import ImageError, refuse_flat, to_8_bits, two_levels
from cxrlib.data.jpeg import refuse_damaged_jpeg
from cxrlib.data.opening import is_dicom, open_file, with_image

ORIENTATION = 0x0112
"""The tag of the EXIF orientation."""
DAMAGED_EXIF = (SyntaxError, ValueError, KeyError, TypeError, OSError)
"""What Pillow raises for it."""


def decode_image(path: Path | str) -> np.ndarray:
    """Decode an image file to 8-bit luma.

    Grey values deeper than 8 bits are scaled by :func:`to_8_bits`, negatives (TIFF's WhiteIsZero, DICOM's MONOCHROME1 or
    INVERSE) are inverted once. Of a file with transparency, clear pixels become black; an alpha channel that is wholly
    clear says nothing and is ignored. A picture for several viewers in one file (MPO, from cameras) gives the first.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000 or PNM under any name, or DICOM with or without its preamble.

    Returns:
        uint8 array of shape (H, W), 0 ... 255; bone is bright.

    Raises:
        ImageError: missing, empty, truncated, damaged, more than 80 million pixels, several frames, or not an image.
    """
    return np.array(_grey(path))


def decode_xray(path: Path | str) -> np.ndarray:
    """As :func:`decode_image`, refusing what decodes but holds no picture (:func:`cxrlib.data.grey.refuse_flat`)."""
    return np.array(_xray(path))


def _xray(path: Path | str) -> Image.Image:
    image = _grey(path)
    refuse_flat(path, image)
    return image


def _grey(path: Path | str) -> Image.Image:
    """As :func:`decode_image`, a Pillow image of mode 'L': nothing is copied on the way that need not be."""
    path = Path(path)
    with open_file(path) as file:
        if is_dicom(file, path):
            from cxrlib.data.dicom import decode_dicom

            return Image.fromarray(decode_dicom(path))
        if file.read(3) == b"\xff\xd8\xff":
            file.seek(0)
            refuse_damaged_jpeg(path, file.read())
        try:
            return with_image(path, file, _decoded)
        except UnidentifiedImageError:
            file.seek(0)
            start = file.read(1000)
            if start[:4] in (b"II*\0", b"MM\0*"):
                return _turned(*deep.rare_tiff(path, file))
            words = what_it_is(start)
            raise ImageError(f"{path}: {words}" if words.startswith("not") else f"{path}: not an image but {words}") from None


def _decoded(path: Path, file: BinaryIO, image: Image.Image) -> Image.Image:
    """A freshly opened image as mode 'L', turned as its EXIF says."""
    # Of TIFF the tag is gone once the pixels are loaded and turned; of PNG asking for it loads them, and hides that they are damaged.
    before = _orientation(image) if image.format == "TIFF" else None
    image.load()
    orientation = _orientation(image) if before is None else before
    grey = _whole_depth(path, file, image)
    if grey is None:
        _turn(image)
        return to_luma(image, path)
    return _turned(grey, orientation)


def _whole_depth(path: Path, file: BinaryIO, image: Image.Image) -> Image.Image | None:
    """Mode 'L' of a loaded image of deep colour that Pillow cannot show: dark at 8 bits, or mixed up; otherwise None."""
    if not deep.is_deep_colour(file, image):
        return None
    # Of channels one after the other Pillow makes noise; of ink, dark is bright.
    other = image.format == "TIFF" and (image.tag_v2.get(284) == 2 or image.mode == "CMYK")
    return deep.deep_luma(path, file, image) if other or deep.is_dark(to_luma(image, path)) else None


def _turned(grey: Image.Image, orientation: int) -> Image.Image:
    """A picture that was read without its EXIF orientation, turned as it says."""
    grey.getexif()[ORIENTATION] = orientation
    _turn(grey)
    return grey


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except DAMAGED_EXIF:
        return 1


def _turn(image: Image.Image) -> None:
    """Apply the EXIF orientation in place."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except DAMAGED_EXIF:
        pass  # damaged EXIF does not say how to turn the picture, and the pixels are sound


def decode_mask(path: Path | str) -> np.ndarray:
    """Decode a mask to bool (H, W): true where brighter than half of its brightest value.

    Masks saved as 0 and 1 work as well as 0 and 255. Raises :class:`ImageError` as :func:`decode_image`, and if there are
    more levels than two (:func:`cxrlib.data.grey.two_levels`).
    """
    return two_levels(path, decode_image(path))


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height of the decoded image in pixels, from the head of the file.

    Raises:
        ImageError: as :func:`decode_image`, as far as the head tells.
    """
    path = Path(path)
    with open_file(path) as file:
        if is_dicom(file, path):
            return decode_image(path).shape[::-1]

        def size(_path: Path, _file: BinaryIO, image: Image.Image) -> tuple[int, int]:
            turned = _orientation(image) in (5, 6, 7, 8) and image.format != "TIFF"  # whose size is that after turning
            return image.size[::-1] if turned else image.size

        try:
            return with_image(path, file, size)
        except UnidentifiedImageError:
            return decode_image(path).shape[::-1]


def squared(path: Path | str, size: int) -> np.ndarray:
    """Decode an X-ray and squeeze it to uint8 (size, size), bilinear with antialiasing; as in BiT, its shape is lost.

    Raises:
        ImageError: as :func:`decode_xray`.
    """
    return np.asarray(_xray(path).resize((size, size), Image.Resampling.BILINEAR))


def check_image(path: Path | str) -> None:
    """Look for what is wrong with a file at the cost of reading its two ends.

    Finds missing, empty, cut off, oversized and foreign files. A PNG or JPEG with a sound beginning and end passes, so
    damage in the middle is only found by :func:`decode_image`; other formats are decoded.

    Raises:
        ImageError: as :func:`decode_image`.
    """
    path = Path(path)
    with open_file(path) as file:
        if not is_dicom(file, path):
            try:
                kind = with_image(path, file, lambda _path, _file, image: image.format)
            except UnidentifiedImageError:
                kind = None  # decoding says what it is instead
            file.seek(max(0, os.fstat(file.fileno()).st_size - 12))
            tail = file.read()
            if (kind == "PNG" and tail[4:8] == b"IEND") or (kind == "JPEG" and tail.endswith(b"\xff\xd9")):
                return
    decode_image(path)


def to_luma(image: Image.Image, path: Path | str = "image") -> Image.Image:
    """A loaded Pillow image of any mode as one of mode 'L'; ``path`` is for the message of :class:`ImageError`."""
    mode = image.mode
    values = deep.other_integers(image)
    if values is not None and mode == "L":
        return Image.fromarray(to_8_bits(values))
    if mode in ("I", "F") or mode.startswith("I;"):
        values = np.asarray(image) if values is None else values
        clear = image.info.get("transparency")
        try:
            grey = to_8_bits(values)
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None
        if _white_is_zero(image):  # Pillow inverts such files up to 8 bits only
            grey = 255 - grey
        if isinstance(clear, int) and not (values == clear).all():
            grey[values == clear] = 0
        return Image.fromarray(grey)
    if image.has_transparency_data:
        return _on_black(image.convert("RGBA"))
    if mode == "L":
        return image
    if mode not in ("1", "RGB"):
        image = image.convert("RGB")
    return image.convert("L")


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF says that its smallest value is white (PhotometricInterpretation 0)."""
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


def _on_black(image: Image.Image) -> Image.Image:
    """An RGBA image on black, as mode 'L'. Alpha of 0 throughout is ignored, alpha of 0 and 1 is taken as 0 and 255."""
    _, largest = image.getchannel("A").getextrema()
    if largest == 0:
        return image.convert("RGB").convert("L")
    if largest == 1:
        image.putalpha(image.getchannel("A").point(lambda value: 255 * value))
    flat = Image.new("RGBA", image.size, (0, 0, 0, 255))
    flat.alpha_composite(image)
    return flat.convert("L")
