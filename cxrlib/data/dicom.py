"""One-frame DICOM images to 8-bit grey: rescale, window or VOI table, polarity (PS3.3 C.11.1, C.11.2, C.7.6.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrlib.data.grey import ImageError, check_pixels, to_8_bits


def decode_dicom(path: Path) -> np.ndarray:
    """Decode a DICOM file with one frame.

    Modality transform (rescale slope and intercept, or table), then the first VOI table or the first window, which maps
    to 0 ... 255; without either, :func:`cxrlib.data.grey.to_8_bits`. MONOCHROME1 is inverted, so that bone is bright.

    Returns:
        uint8 array of shape (H, W).

    Raises:
        ImageError: no pixels, several frames, too large, damaged, or in a compression no installed decoder reads.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(path, force=True)
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError) as error:
        message = f"not an image, or a damaged DICOM file ({error}); export it again or remove its row"
        raise ImageError(f"{path}: {message}") from None
    _check_header(path, dataset)
    values = _pixels(path, dataset)
    try:
        if values.ndim == 3:
            return _colour(values, dataset)
        grey = _presented(values, dataset)
    except Exception as error:  # pydicom raises many kinds for tables and windows that contradict the pixels
        message = f"its rescale, window or table cannot be applied ({error}); export it as PNG"
        raise ImageError(f"{path}: {message}") from None
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    return 255 - grey if inverted else grey


def _check_header(path: Path, dataset: Any) -> None:
    if "PixelData" not in dataset or not dataset.get("Rows") or not dataset.get("Columns"):
        what = "a DICOM file without an image" if dataset.get("SOPClassUID") else "not an image, or a damaged DICOM file"
        raise ImageError(f"{path}: {what}; remove its row or export the image again")
    check_pixels(path, int(dataset.Columns), int(dataset.Rows))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"{path}: it holds {frames} frames, a chest X-ray is one; save the frame as a file of its own")


def _pixels(path: Path, dataset: Any) -> np.ndarray:
    """Stored values, shape (H, W), or (H, W, 3) for colour."""
    from pydicom.uid import ImplicitVRLittleEndian

    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta else None
    if syntax is None:
        # Files without their preamble are of this syntax unless their sender chose otherwise; pydicom found out.
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta = meta or FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
    try:
        return dataset.pixel_array
    except Exception as error:  # missing decoders, truncation and contradictions each have kinds of their own
        if syntax.is_compressed and not _has_decoder(syntax):
            message = (
                f"compressed as '{syntax.name}', for which no decoder is installed; "
                "'pip install pylibjpeg[all]' or decompress the file (dcmdjpeg, gdcmconv --raw)"
            )
        else:
            message = f"truncated or damaged pixel data ({error}); export it again or remove its row"
        raise ImageError(f"{path}: {message}") from None


def _has_decoder(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _colour(values: np.ndarray, dataset: Any) -> np.ndarray:
    from pydicom.pixels import convert_color_space

    kind = dataset.PhotometricInterpretation
    # pydicom already turns JPEG's YCbCr into RGB; what it leaves is uncompressed YBR_FULL.
    if kind.startswith("YBR_FULL") and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        values = convert_color_space(values, kind, "RGB")
    if values.dtype != np.uint8:
        values = to_8_bits(values)
    return np.array(Image.fromarray(np.ascontiguousarray(values[..., :3])).convert("L"))


def _presented(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Stored values through modality and VOI transform, as uint8."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _colour(to_8_bits(apply_color_lut(values, dataset)), dataset)
    values = apply_modality_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _to_bytes(apply_voi(values, dataset, index=0).astype(np.float64) / (2**bits - 1))
    window = _window(dataset)
    if window is None:
        return to_8_bits(values)
    return _to_bytes(apply_window(values, *window, function=dataset.get("VOILUTFunction") or "LINEAR"))


def _window(dataset: Any) -> tuple[float, float] | None:
    """Centre and width of the first window, or None if there is none that the standard allows."""
    first = []
    for name in ("WindowCenter", "WindowWidth"):
        value = dataset.get(name)
        if value is None or value == "":
            return None
        first.append(float(value if not hasattr(value, "__len__") or isinstance(value, str) else value[0]))
    centre, width = first
    return (centre, width) if width >= 1 or (width > 0 and dataset.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID")) else None


def apply_window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """The window of PS3.3 C.11.2.1.2 and C.11.2.1.3, onto 0 ... 1.

    Args:
        values: after the modality transform.
        function: 'LINEAR' (width >= 1), 'LINEAR_EXACT' or 'SIGMOID' (width > 0).

    Raises:
        ValueError: if ``function`` is another.
    """
    values = values.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise ValueError(f"VOI LUT function '{function}' is unknown")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _to_bytes(fractions: np.ndarray) -> np.ndarray:
    return np.rint(fractions.clip(0, 1) * 255).astype(np.uint8)
