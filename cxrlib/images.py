"""Decoding what people really have into 8-bit grey: any Pillow format, whatever its name says, and DICOM.

Colour becomes luma, transparency is laid on black, EXIF rotation is applied. Errors are :class:`ImageError` with the file's name.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# A chest X-ray has about 10 million pixels; more than this is a decompression bomb or a mistake.
MAXIMUM_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = MAXIMUM_PIXELS // 2  # Pillow raises at twice this value, and warns above it


class ImageError(ValueError):
    """An image file cannot be used; the message names it and says what to do."""


def decode_image(path: Path | str) -> np.ndarray:
    """Decode an image file.

    16-bit, 32-bit and floating-point grey values are scaled from the image's own minimum and maximum to 0 ... 255: such files hold 10, 12, 14
    or 16 used bits without saying which, and a fixed shift would leave most of them nearly black.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, ... under any name, or DICOM (one frame).

    Returns:
        uint8 array of shape (H, W); black is air, white is bone.

    Raises:
        ImageError: missing, empty, truncated, too large or not an image.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); check the name and the permissions") from None
    if not start:
        raise ImageError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if start[128:132] == b"DICM" or (path.suffix.lower() in (".dcm", ".dicom") and not _is_raster(path)):
        return _decode_dicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAXIMUM_PIXELS:
                    raise Image.DecompressionBombError
                image.load()
                return to_grey(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image in a known format; convert it to PNG or remove its row") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more than {MAXIMUM_PIXELS:,} pixels; scale it down or remove its row") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, MemoryError) as error:
        raise ImageError(f"{path}: truncated or damaged ({error}); copy or download it again") from None


def _is_raster(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def to_grey(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 luma, shape (H, W)."""
    mode = image.mode
    if mode == "L" and "transparency" not in image.info:
        return np.array(image)
    if mode == "1":
        return np.array(image.convert("L"))
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _scale(np.array(image, dtype=np.float64))
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, (0, 0, 0, 255))
        flat.alpha_composite(coloured)
        return np.array(flat.convert("L"))
    return np.array((image if mode in ("RGB", "L") else image.convert("RGB")).convert("L"))


def _scale(values: np.ndarray) -> np.ndarray:
    """Linear map of the finite minimum and maximum to 0 and 255; a constant image becomes 0."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / (high - low))
    return np.round(scaled).astype(np.uint8)


def _decode_dicom(path: Path) -> np.ndarray:
    """One frame of a DICOM file: rescale slope and intercept, window or VOI table, MONOCHROME1 inverted."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    try:
        # Files without the preamble are common; force reads them and the checks below refuse what is no image.
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset or "Rows" not in dataset:
            raise ImageError(f"{path}: a DICOM file without pixel data, or not DICOM; remove its row")
        if int(dataset.Rows) * int(dataset.Columns) > MAXIMUM_PIXELS:
            raise ImageError(f"{path}: more than {MAXIMUM_PIXELS:,} pixels; scale it down or remove its row")
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            raise ImageError(f"{path}: {dataset.NumberOfFrames} frames, and a chest X-ray is one; extract the frame")
        if dataset.get("SamplesPerPixel", 1) == 3:
            return np.array(Image.fromarray(dataset.pixel_array.astype(np.uint8)).convert("L"))
        values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises many kinds for damaged or compressed data
        raise ImageError(f"{path}: DICOM that cannot be decoded ({error}); convert it to PNG, or to an uncompressed transfer syntax") from None
    grey = _scale(values)
    return 255 - grey if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def decode_mask(path: Path | str) -> np.ndarray:
    """A mask image as bool (H, W): true where brighter than mid-grey. :class:`ImageError` as :func:`decode_image`."""
    return decode_image(path) > 127
