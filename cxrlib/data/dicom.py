"""One-frame DICOM images to 8-bit grey: rescale, window or VOI table, polarity (PS3.3 C.11.1, C.11.2, C.7.6.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrlib.data.dicom_header import Header, number, read_dataset, read_header
from cxrlib.data.grey import FEWEST_LEVELS, ImageError, bits_in_use, to_8_bits
from cxrlib.data.jpeg import refuse_damaged_jpeg


def decode_dicom(path: Path) -> np.ndarray:
    """Decode a DICOM file with one frame.

    Modality transform (rescale slope and intercept, or table), then the first VOI table or the first window, which maps
    to 0 ... 255; without either, :func:`cxrlib.data.grey.to_8_bits`. The white of a table is the largest number of the bits
    that its entries use. MONOCHROME1, or a presentation shape INVERSE, or both, are inverted once, so that bone is bright.
    Pixels that PixelPaddingValue names are no part of the picture: they become 0 and decide nothing.

    Returns:
        uint8 array of shape (H, W).

    Raises:
        ImageError: no pixels, several frames, too large, damaged, a header value that is not a number or is a slope of
            zero, bits outside of those that the header names, or a compression that no installed decoder reads.
    """
    dataset = read_dataset(path)
    header = read_header(path, dataset)
    values = _pixels(path, dataset)
    if values.ndim > 3 or (values.ndim == 3 and header.samples == 1):
        raise ImageError(f"{path}: it holds {len(values)} frames, a chest X-ray is one; save the frame as a file of its own")
    if values.ndim == 3:
        return _colour(values)
    if header.photometric == "PALETTE COLOR":
        return _colour(_palette(path, values, dataset))
    padding = _padding(path, values, dataset, header)
    picture = None if padding is None else ~padding
    values = _in_place(path, values, dataset, header, picture)
    try:
        grey = _presented(path, values, dataset, header, picture)
    except ImageError:
        raise
    except Exception as error:  # pydicom raises many kinds for tables and windows that contradict the pixels
        message = f"its rescale, window or table cannot be applied ({error}); export it as PNG"
        raise ImageError(f"{path}: {message}") from None
    if padding is not None:
        grey[padding] = 0
    return grey


def _pixels(path: Path, dataset: Any) -> np.ndarray:
    """Stored values with all bits as they are, shape (H, W), or (H, W, 3) for colour."""
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
        encapsulated = syntax.is_compressed
    except ValueError:
        message = f"its transfer syntax '{syntax}' is unknown; export it again, for example as Explicit VR Little Endian"
        raise ImageError(f"{path}: {message}") from None
    if encapsulated:
        _refuse_damaged_frame(path, dataset, syntax)
    try:
        dataset.pixel_array_options(correct_unused_bits=False)
        return dataset.pixel_array
    except Exception as error:  # missing decoders, truncation and contradictions each have kinds of their own
        if encapsulated and not _has_decoder(syntax):
            message = _no_decoder(syntax.name)
        else:
            reason = (str(error) or type(error).__name__).replace("\n", " ")
            message = f"truncated or damaged pixel data ({reason}); export it again or remove its row"
        raise ImageError(f"{path}: {message}") from None


def _no_decoder(name: str) -> str:
    return (
        f"compressed as '{name}', for which no decoder is installed; "
        "'pip install pylibjpeg[all]' or decompress the file (dcmdjpeg, gdcmconv --raw)"
    )


def _refuse_damaged_frame(path: Path, dataset: Any, syntax: Any) -> None:
    """ImageError if the frame is a JPEG that was cut or overwritten, or of more bits than the installed decoder reads."""
    from pydicom.encaps import generate_frames
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

    if syntax not in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return
    try:
        frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    except Exception as error:  # damaged items; pydicom raises several kinds
        raise ImageError(f"{path}: truncated or damaged pixel data ({error}); export it again or remove its row") from None
    refuse_damaged_jpeg(path, frame, deep=_no_decoder(f"{syntax.name} of 12 bits"))


def _has_decoder(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _padding(path: Path, values: np.ndarray, dataset: Any, header: Header) -> np.ndarray | None:
    """Where the file says that there is no picture, bool (H, W); None if it says so of no pixel. PS3.3 C.7.5.1.1.2."""
    value = number(path, dataset, "PixelPaddingValue")
    if value is None:
        return None
    last = number(path, dataset, "PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if last is None else last)))
    stored = values.view(f"u{values.dtype.itemsize}")  # so that a negative value written as a positive number is the same
    padding = stored - stored.dtype.type(low % 2 ** header.bits_allocated) <= high - low
    return padding if padding.any() and not padding.all() else None


def _in_place(path: Path, values: np.ndarray, dataset: Any, header: Header, picture: np.ndarray | None) -> np.ndarray:
    """Values whose lowest bit is bit 0, as if HighBit were BitsStored - 1."""
    seen = values if picture is None else values[picture]
    bits, limit = header.bits_stored, 2**header.bits_stored
    low, high = (-limit // 2, limit // 2 - 1) if header.signed else (0, limit - 1)
    if seen.size == 0 or (seen.min() >= low and seen.max() <= high):
        return values
    unused = seen >> bits  # of a signed value they may repeat the sign
    if header.high_bit == bits - 1 and not _overlays_in_pixels(dataset) and unused.any() and not np.isin(unused, (0, -1)).all():
        needed = max(int(seen.max()).bit_length(), int(~seen.min()).bit_length() if header.signed else 0)
        message = f"its header says {bits} bits and its pixels use {needed}, so one of them is wrong; export it again"
        raise ImageError(f"{path}: {message}")
    size = values.dtype.itemsize * 8
    return (values << (size - 1 - header.high_bit)) >> (size - bits)


def _overlays_in_pixels(dataset: Any) -> bool:
    """Whether unused bits hold overlays, as in old files (PS3.5 8.1.2)."""
    return any((group << 16 | 0x0102) in dataset and dataset[group, 0x0102].value for group in range(0x6000, 0x6020, 2))


def _palette(path: Path, values: np.ndarray, dataset: Any) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    try:
        return to_8_bits(apply_color_lut(values, dataset))
    except Exception as error:  # a palette that contradicts the pixels
        raise ImageError(f"{path}: its palette cannot be applied ({error}); export it as PNG") from None


def _colour(values: np.ndarray) -> np.ndarray:
    """Luma of (H, W, 3) values; of the colour spaces that are let through, pydicom has turned those with luma into RGB."""
    if values.dtype != np.uint8:
        values = to_8_bits(values)
    return np.array(Image.fromarray(np.ascontiguousarray(values[..., :3])).convert("L"))


def _presented(path: Path, values: np.ndarray, dataset: Any, header: Header, picture: np.ndarray | None) -> np.ndarray:
    """Values through modality, VOI and presentation transform, as uint8; bone is bright."""
    window = _window(path, dataset)
    if dataset.get("VOILUTSequence"):
        reason = "its VOI table"
    else:
        reason = "" if window is None else f"its window (centre {window[0]:g}, width {window[1]:g})"

    def shaded(stored: np.ndarray) -> np.ndarray:
        rescaled = _rescaled(path, stored, dataset, header)
        if dataset.get("VOILUTSequence"):
            return _to_bytes(_as_fractions(look_up(rescaled, dataset, "VOILUTSequence", header.signed)))
        return _to_bytes(apply_window(rescaled, *window, function=dataset.get("VOILUTFunction") or "LINEAR"))

    size = values.dtype.itemsize
    if not reason and header.bits_stored < 8 and not header.signed:
        grey = _to_bytes(values / (2**header.bits_stored - 1))
    elif not reason:
        grey = to_8_bits(_rescaled(path, values, dataset, header), picture)
    elif size > 2:
        grey = shaded(values)
    else:  # each of the 256 or 65,536 numbers that a pixel can be is computed once
        grey = shaded(np.arange(256**size, dtype=f"u{size}").view(values.dtype))[values.view(f"u{size}")]
    seen = (grey, values) if picture is None else (grey[picture], values[picture])
    if reason and np.ptp(seen[0]) == 0 and np.ptp(seen[1]) > 0:
        raise ImageError(f"{path}: {reason} leaves one grey value of the picture; export it again without, or as PNG")
    levels = np.count_nonzero(np.bincount(seen[0].ravel(), minlength=256)) if reason else 256
    if levels < FEWEST_LEVELS and np.ptp(seen[1]) > 4 * FEWEST_LEVELS:
        raise ImageError(f"{path}: {reason} leaves {levels} grey values of the picture; export it again without, or as PNG")
    if dataset.get("PresentationLUTSequence"):  # its output is brightness, whatever the polarity of the pixels
        last = (int(dataset.PresentationLUTSequence[0].LUTDescriptor[0]) or 2**16) - 1
        return _to_bytes(_as_fractions(look_up(np.rint(grey / 255 * last), dataset, "PresentationLUTSequence", False)))
    return 255 - grey if header.inverse else grey


def _rescaled(path: Path, values: np.ndarray, dataset: Any, header: Header) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut

    slope = number(path, dataset, "RescaleSlope")
    number(path, dataset, "RescaleIntercept")
    if slope == 0:
        raise ImageError(f"{path}: its RescaleSlope is 0, which leaves one grey value; export the image again or remove its row")
    if dataset.get("ModalityLUTSequence"):
        return look_up(values, dataset, "ModalityLUTSequence", header.signed)[0]
    return apply_modality_lut(values, dataset)


def look_up(values: np.ndarray, dataset: Any, sequence: str, signed: bool) -> tuple[np.ndarray, int]:
    """Values through a table of a DICOM sequence; values beyond its ends take its first and last entry.

    pydicom's own functions keep the positions in the type of the entries, so that a table of 8-bit entries wraps round.

    Args:
        values: whole numbers, any shape.
        dataset: of pydicom.
        sequence: keyword of the sequence whose first item has ``LUTDescriptor`` (entries, first value, bits) and ``LUTData``.
        signed: whether the pixels are; a first value above 32767 is then a negative one written without its sign.

    Returns:
        The entries, uint16 of the shape of ``values``, and the bits that the entries of the table use, 8 ... 16.

    Raises:
        ValueError: if the table is empty or shorter than it says.
    """
    item = dataset[sequence][0]
    entries, first, _ = (int(value) for value in item.LUTDescriptor)
    entries = entries or 2**16
    first = first - 2**16 if signed and first >= 2**15 else first
    data = item.LUTData
    if isinstance(data, bytes):
        wide = "<u2" if dataset.original_encoding[1] else ">u2"
        kind = np.dtype(np.uint8 if len(data) < 2 * entries else wide)
        data = np.frombuffer(data[: entries * kind.itemsize], dtype=kind)
    table = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if len(table) < entries:
        raise ValueError(f"a table says {entries} entries and holds {len(table)}")
    positions = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[positions], bits_in_use(table)


def _as_fractions(looked_up: tuple[np.ndarray, int]) -> np.ndarray:
    values, bits = looked_up
    return values.astype(np.float64) / (2**bits - 1)


def _window(path: Path, dataset: Any) -> tuple[float, float] | None:
    """Centre and width of the first window, or None if there is none that the standard allows."""
    centre, width = (number(path, dataset, name, position=0) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    allowed = width >= 1 or (width > 0 and dataset.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID"))
    return (centre, width) if allowed else None


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
