"""Opening image files: regular ones with content, by their content and not their names, with errors that say what to do."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError

from cxrlib.data.grey import MAXIMUM_PIXELS, ImageError, ImageReadError, check_pixels

# Named, because Pillow would otherwise also hand files to external programs (EPS) and to rarely tested readers.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")

_Result = TypeVar("_Result")


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading, known to be a regular one with content."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: cannot be read, it is a folder; give the image files in it")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path}: neither a file nor a folder but a device or a pipe; give an image file")
        file = path.open("rb")
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file; correct the name or remove its row") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        lasting = not isinstance(error, OSError) or error.errno in (errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.EINVAL)
        kind = ImageError if lasting else ImageReadError
        raise kind(f"{path}: cannot be read ({reason}); check the name and the permissions") from None
    with file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); download or copy it again, or remove its row")
        yield file


def is_dicom(file: BinaryIO, path: Path) -> bool:
    """DICOM by its mark at byte 128; without the preamble by its first tag (group 2 or 8), or by its name."""
    start = file.read(132)
    file.seek(0)
    if start[128:] == b"DICM" or start[:2] in (b"\x02\x00", b"\x08\x00"):
        return True
    raster = start.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8"))
    return path.suffix.lower() in (".dcm", ".dicom") and not raster


def with_image(path: Path, file: BinaryIO, use: Callable[[Path, BinaryIO, Image.Image], _Result]) -> _Result:
    """``use(path, file, image)`` of a file that Pillow opens; whatever Pillow raises becomes an :class:`ImageError`.

    Of a PNG whose colour profile or remarks are larger than Pillow allows, those are left out.
    """
    with _pillow_errors(path):
        try:
            with _opened(file, path) as image:
                return use(path, file, image)
        except ValueError as error:
            if not any(words in str(error) for words in ("Decompressed data too large", "memory used in text chunks")):
                raise
        plain = _without_remarks(file)
        with _opened(plain, path) as image:
            return use(path, plain, image)


@contextmanager
def _opened(file: BinaryIO, path: Path) -> Iterator[Image.Image]:
    """The Pillow image, its header read and its size and number of frames accepted."""
    file.seek(0)
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
    except (ImageError, UnidentifiedImageError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        message = f"over the limit of {MAXIMUM_PIXELS:,} pixels; scale it down or remove its row"
        raise ImageError(f"{path}: {message}") from None
    except OSError as error:
        if error.errno:  # the system's; Pillow's own have no number
            raise ImageReadError(f"{path}: cannot be read now ({error.strerror}); mend the disk or network and run again") from None
        message = f"truncated or damaged ({error}); download or copy it again, or remove its row"
        raise ImageError(f"{path}: {message}") from None
    except Exception as error:  # on damaged data Pillow's readers raise almost anything, from EOFError to zlib.error
        message = f"truncated or damaged ({error or type(error).__name__}); download or copy it again, or remove its row"
        raise ImageError(f"{path}: {message}") from None


def _without_remarks(file: BinaryIO) -> BinaryIO:
    """A PNG without its colour profile and texts."""
    file.seek(0)
    kept = [file.read(8)]
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:] in (b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            file.seek(length + 4, os.SEEK_CUR)
        else:
            kept += [head, file.read(length + 4)]
    return io.BytesIO(b"".join(kept))
