"""Damage inside JPEG data, which Pillow passes over: libjpeg fills what is missing with grey and only warns."""

from __future__ import annotations

from pathlib import Path

import simplejpeg

from cxrlib.data.grey import ImageError

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers


def refuse_damaged_jpeg(path: Path | str, content: bytes, deep: str | None = None) -> None:
    """Raise if libjpeg has to guess anything of a JPEG: data that end early, are overwritten, or do not decode.

    The entropy-coded data are read in full and only the inverse transform is skipped, at less than the cost of decoding.
    Bytes behind the end marker are no damage.

    Args:
        path: for the message.
        content: the file, or the frame of a DICOM file.
        deep: what to say of more than 8 bits a sample, for which Pillow has no decoder.

    Raises:
        ImageError: saying what libjpeg met.
    """
    if sample_bits(content) > 8:
        message = deep or "a JPEG of more than 8 bits, which is not read; convert it to PNG of 16 bits (gdcmconv, dcmdjpeg, ImageMagick)"
        raise ImageError(f"{path}: {message}")
    try:
        *_, space, _ = simplejpeg.decode_jpeg_header(content)
        simplejpeg.decode_jpeg(content, "CMYK" if space in ("CMYK", "YCCK") else "GRAY", min_height=1, min_width=1)
    except ValueError as error:
        reason = str(error).removeprefix("Corrupt JPEG data: ")
        message = f"truncated or damaged JPEG data ({reason}); download or copy it again, or remove its row"
        raise ImageError(f"{path}: {message}") from None


def sample_bits(content: bytes) -> int:
    """Bits a sample that the frame header says, 8 if there is none that can be read."""
    position = 2
    while position + 9 < len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            position += 1
            continue
        if marker in _FRAMES:
            return content[position + 4]
        if marker == 0xDA or 0xD0 <= marker <= 0xD9:
            break
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return 8
