"""What a DICOM header says of its image, read so that every value that cannot be used is named.

pydicom reads values when they are asked for, and raises whatever it meets there; limits are checked before any memory is
taken for pixels.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from cxrlib.data.grey import ImageError, check_pixels

# A frame of the largest size, three channels of 16 bits.
MAXIMUM_BYTES = 480_000_000

COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


class Header(NamedTuple):
    """The values that decide how stored pixels are read; PS3.3 C.7.6.3."""

    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    inverse: bool  # bright stored values are shown dark


def read_dataset(path: Path) -> Any:
    """The file as a pydicom ``Dataset``, with or without its preamble.

    Raises:
        ImageError: not DICOM, damaged, or deflated to more than 480 MB.
    """
    import pydicom

    try:
        _check_deflated(path)
        return pydicom.dcmread(path, force=True)
    except ImageError:
        raise
    except Exception as error:  # on damaged data pydicom raises almost anything, from struct.error to RecursionError
        message = f"not an image, or a damaged DICOM file ({_words(error)}); export it again or remove its row"
        raise ImageError(f"{path}: {message}") from None


def _check_deflated(path: Path) -> None:
    """Refuse a deflated file that grows beyond the limit; pydicom would inflate it in one piece."""
    import pydicom
    from pydicom.filereader import read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        try:
            if read_preamble(file, force=True) is None:
                return
            meta = pydicom.filereader._read_file_meta_info(file)
        except Exception:  # reading the file itself will say what is wrong
            return
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflate.eof and (block := inflate.unconsumed_tail or file.read(1 << 16)):
            size += len(inflate.decompress(block, 1 << 22))
            if size > MAXIMUM_BYTES:
                message = f"a deflated DICOM file of more than {MAXIMUM_BYTES // 10**6} MB; remove its row or export the image again"
                raise ImageError(f"{path}: {message}")


def read_header(path: Path, dataset: Any) -> Header:
    """The header of a file with one frame, every value checked.

    Raises:
        ImageError: no image, several frames, too large, or a value that cannot be read or contradicts the others.
    """
    if "PixelData" not in dataset or not number(path, dataset, "Rows") or not number(path, dataset, "Columns"):
        what = "a DICOM file without an image" if text(dataset, "SOPClassUID") else "not an image, or a damaged DICOM file"
        raise ImageError(f"{path}: {what}; remove its row or export the image again")
    rows, columns = (int(number(path, dataset, name)) for name in ("Rows", "Columns"))
    if min(rows, columns) < 1:
        raise ImageError(f"{path}: its size, {columns} x {rows} pixels, is impossible; export it again or remove its row")
    check_pixels(path, columns, rows)
    frames = int(number(path, dataset, "NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"{path}: it holds {frames} frames, a chest X-ray is one; save the frame as a file of its own")
    samples = int(number(path, dataset, "SamplesPerPixel") or 1)
    allocated = int(number(path, dataset, "BitsAllocated") or 0)
    stored = int(number(path, dataset, "BitsStored") or allocated)
    high = number(path, dataset, "HighBit")
    high = stored - 1 if high is None else int(high)
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if samples not in (1, 3, 4) or allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        said = f"SamplesPerPixel {samples}, BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}"
        raise ImageError(f"{path}: its header contradicts itself or is not of an X-ray ({said}); export it again")
    if samples == 1 and photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"):
        message = f"its PhotometricInterpretation '{photometric}' does not say whether bone is bright; export it again, as MONOCHROME2"
        raise ImageError(f"{path}: {message}")
    if samples > 1 and photometric not in COLOUR:
        message = f"its PhotometricInterpretation '{photometric}' is no colour that is read ({', '.join(COLOUR)}); export it again, as grey"
        raise ImageError(f"{path}: {message}")
    if rows * columns * samples * allocated // 8 > MAXIMUM_BYTES:
        raise ImageError(f"{path}: over the limit of {MAXIMUM_BYTES // 10**6} MB of pixels; scale it down or remove its row")
    inverse = photometric == "MONOCHROME1" or text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    return Header(samples, allocated, stored, high, bool(number(path, dataset, "PixelRepresentation")), photometric, inverse)


def number(path: Path, dataset: Any, name: str, position: int | None = None) -> float | None:
    """A header value as a finite number, None where it is absent or empty.

    Args:
        path: for the message.
        dataset: of pydicom.
        name: keyword of the element.
        position: which of several values to take; by default several are an error.

    Raises:
        ImageError: if the value is not a number, not finite, or several.
    """
    try:
        value = dataset.get(name)
        if value is None or isinstance(value, (str, bytes)) and not value:
            return None
        if hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
            if not len(value):
                return None
            if len(value) > 1 and position is None:
                raise ValueError("several values")
            value = value[position or 0]
        result = float(value)
    except Exception:  # a value that pydicom cannot convert raises on access
        result = math.nan
    if not math.isfinite(result):
        raise ImageError(f"{path}: its {name}, {_raw(dataset, name)}, is not a number; export the image again or remove its row")
    return result


def text(dataset: Any, name: str) -> str:
    """A header value as text without blanks; '' where it is absent or cannot be read."""
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # as in `number`
        return ""


def _raw(dataset: Any, name: str) -> str:
    """A value as it stands in the file, shortened."""
    try:
        value = dataset.get_item(name).value
        shown = value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value)
    except Exception:  # it is damaged, and this is for a message
        shown = "which is damaged"
    return repr(shown[:40])


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
