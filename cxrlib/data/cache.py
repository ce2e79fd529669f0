"""Images resized once, shared by all runs as a memory-mapped file.

Rows are written in place by several processes, beside a list of which are done; the file gets its name when all are. So
an interrupted build goes on where it was, and a reader never sees half of one. Rows are written with plain writes, not
through the map: on a full disk a write fails with a message, a map kills the process.

Behind the array, where a reader of ``.npy`` does not look, stand a checksum of every row and one of these checksums.
Each process verifies a cache when it first opens it; a damaged one is built again, and so is one of other decoders.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import math
import os
import shutil
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrlib import PROTOCOL_VERSION
from cxrlib.data.decode import ImageError, squared
from cxrlib.files import atomic_write, file_state, locked
from cxrlib.processes import run_tasks, usable_cores

if TYPE_CHECKING:
    import pandas as pd

DECODER_VERSION = 4  # to be raised with every change of what cxrlib.data.decode makes of a file
CHUNK = 16  # images per task; a worker holds one decoded image and this many resized ones
SAVE_EVERY = 2.0  # seconds between saves of the done list: what a kill or a power cut can cost


@dataclass(frozen=True)
class ImageCache:
    """Images of an index at one size.

    Attributes:
        images: read-only memory map, uint8 luma 0 ... 255, shape (N, size, size); row i is index row i.
        path: the ``.npy`` file behind it.
    """

    images: np.memmap
    path: Path

    @classmethod
    def open_or_build(
        cls,
        index: pd.DataFrame,
        folder: Path | str,
        size: int,
        cache_folder: Path | str,
        fingerprint: str,
        workers: int | None = None,
        progress: bool = True,
        contents: Mapping[str, str] | None = None,
    ) -> ImageCache:
        """Open the cache of these images at ``size``, building what is missing of it.

        Images are squeezed to squares (:func:`cxrlib.data.decode.squared`). Of several processes that want the same cache
        one builds it and the others wait.

        Args:
            index: rows with ``file`` and ``split``; their order is the order of the images.
            folder: data folder.
            size: side in pixels.
            cache_folder: where caches lie; made if needed.
            fingerprint: :func:`cxrlib.data.provenance.fingerprint`, so that changed images make another cache. Another choice or
                order of rows does too.
            workers: processes; default one per usable core. With 1, or few images, this process does the work.
            progress: print counts and time left to stderr.
            contents: SHA-256 of every image behind the fingerprint, by ``SPLIT/FILE`` (:func:`cxrlib.data.provenance.contents`):
                an image that has changed since is refused, so that nothing is cached under the fingerprint of another.

        Raises:
            ImageError: naming every image that cannot be decoded, or has changed. What was done stays, and is not done again.
            DataError: if a path leads out of the folder.
            OSError: the disk is full or cannot be written.
            ValueError: if there are no rows or ``size`` is not positive.
        """
        if len(index) == 0 or size < 1:
            raise ValueError(f"a cache of {len(index)} images at {size} px is empty; give at least one row and one pixel")
        rows = "\n".join(index["split"] + "/" + index["file"])
        key = f"{fingerprint[:20]}-{hashlib.sha256((fingerprint + rows + decoders()).encode()).hexdigest()[:12]}"
        path = Path(cache_folder) / f"images-{key}-{size}px.npy"
        shape = (len(index), size, size)
        images = _open_sound(path, shape)
        if images is None:
            with locked(path):
                images = _open_sound(path, shape, tell=True)
                if images is None:
                    expected = None if contents is None else [contents[name] for name in index["split"] + "/" + index["file"]]
                    _build(_paths(index, folder), expected, size, path, workers or usable_cores(), progress)
                    images = _open_sound(path, shape, tell=True)
                if images is None:
                    raise OSError(f"{path} does not hold what was written to it; check the disk, or choose another cache folder")
        return cls(images, path)


@functools.cache
def decoders() -> str:
    """What turns files into pixels, and from which version on caches of another are not used."""
    from PIL import features

    packages = {name: importlib.metadata.version(name) for name in ("pillow", "pydicom")}
    packages["jpeg"] = features.version("libjpeg_turbo") or features.version("jpg")
    return f"decoder {DECODER_VERSION}, protocol {PROTOCOL_VERSION}, {packages}"


def _open(path: Path, shape: tuple[int, int, int]) -> np.memmap | None:
    """The array of a finished or unfinished cache, or None if there is none or the file is of another size."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = images.shape == shape and images.dtype == np.uint8 and images.flags.c_contiguous
        return images if fits and path.stat().st_size == images.offset + images.size + _behind(len(images)) else None
    except Exception:  # a damaged header may raise anything that parsing Python does
        return None


def _behind(rows: int) -> int:
    """Bytes behind the array: a CRC-32 for each row, then the SHA-256 of these."""
    return 4 * rows + 32


def _sums(path: Path, rows: int) -> tuple[np.ndarray, bytes]:
    """The checksums of rows, uint32 (rows,), and their digest."""
    with path.open("rb") as file:
        file.seek(-_behind(rows), os.SEEK_END)
        content = file.read()
    return np.frombuffer(content[:-32], dtype="<u4"), content[-32:]


def _open_sound(path: Path, shape: tuple[int, int, int], tell: bool = False) -> np.memmap | None:
    """The finished cache; None if there is none or it is damaged, which ``tell`` says on stderr."""
    images = _open(path, shape)
    if images is not None and not _verified(path, *file_state(path), shape):
        _verified.cache_clear()  # what is built in its place may get the same size and time
        images = None
    if images is None and tell and path.exists():
        print(f"{path} is damaged or was cut short; it is built again", file=sys.stderr, flush=True)
    return images


@functools.lru_cache(maxsize=64)
def _verified(path: Path, _inode: int, _size: int, _changed: int, _moved: int, shape: tuple[int, int, int]) -> bool:
    """Whether every row is what its checksum says; read once by a process for as long as the file stays the same."""
    images = _open(path, shape)
    sums, digest = _sums(path, shape[0])
    if images is None or hashlib.sha256(sums.tobytes()).digest() != digest:
        return False
    return all(zlib.crc32(image) == sum for image, sum in zip(images, sums.tolist(), strict=True))


def _paths(index: pd.DataFrame, folder: Path | str) -> list[str]:
    from cxrlib.data.labels import image_path

    return [str(image_path(folder, row)) for row in index[["file", "split"]].itertuples(index=False)]


def _build(paths: list[str], expected: list[str] | None, size: int, path: Path, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    unfinished, done_file = path.with_suffix(".partial"), path.with_suffix(".done")
    done = _resume(unfinished, done_file, (len(paths), size, size))
    offset = unfinished.stat().st_size - len(paths) * size * size - _behind(len(paths))
    todo = np.flatnonzero(~done)
    chunks = [todo[start : start + CHUNK].tolist() for start in range(0, len(todo), CHUNK)]
    digests = [None] * len(paths) if expected is None else expected
    tasks = ((rows, [paths[row] for row in rows], [digests[row] for row in rows], str(unfinished), offset, size, len(paths)) for rows in chunks)
    failures: dict[int, str] = {}
    saved = time.monotonic()
    bar = tqdm(
        total=len(paths), initial=int(done.sum()), desc=f"resize to {size} px", unit="image",
        ascii=True, ncols=90, mininterval=0.5, disable=not progress, file=sys.stderr,
    )  # fmt: skip
    try:
        with bar:
            for rows, failed in run_tasks(_write_rows, tasks, min(workers, len(chunks) // 2)):
                failures |= failed
                done[[row for row in rows if row not in failed]] = True
                bar.update(len(rows) - len(failed))
                if time.monotonic() - saved > SAVE_EVERY:
                    _save_done(unfinished, done_file, done)
                    saved = time.monotonic()
    finally:
        _save_done(unfinished, done_file, done)
    if failures:
        listed = [failures[row] for row in sorted(failures)[:50]]
        more = [f"... and {len(failures) - 50} more"] if len(failures) > 50 else []
        headline = f"{len(failures)} of {len(paths)} images cannot be used (the others are done and kept):"
        raise ImageError("\n".join([headline, *listed, *more]))
    with unfinished.open("r+b") as file:
        sums = _sums(unfinished, len(paths))[0]
        file.seek(-32, os.SEEK_END)
        file.write(hashlib.sha256(sums.tobytes()).digest())
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    done_file.unlink(missing_ok=True)


def _resume(unfinished: Path, done_file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Which rows an earlier build finished, bool (N,); a new unfinished file if there is none that fits."""
    images = _open(unfinished, shape)
    if images is not None and done_file.is_file():
        done = np.frombuffer(done_file.read_bytes(), dtype=np.uint8)
        if len(done) == shape[0]:
            sums = _sums(unfinished, shape[0])[0].tolist()
            return np.array([flag == 1 and zlib.crc32(image) == sum for flag, image, sum in zip(done, images, sums, strict=True)])
    needed, free = math.prod(shape) + _behind(shape[0]), shutil.disk_usage(unfinished.parent).free
    if needed > free:
        message = f"the cache needs {amount(needed)} and {amount(free)} are free"
        raise OSError(f"{unfinished.parent}: {message}; free space, or choose a smaller size or another cache folder")
    done_file.unlink(missing_ok=True)
    try:
        with unfinished.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + needed)
    except OSError as error:
        message = f"cannot write {unfinished} ({error.strerror}); free space or choose another cache folder"
        raise OSError(error.errno, message) from None
    return np.zeros(shape[0], dtype=bool)


def _save_done(unfinished: Path, done_file: Path, done: np.ndarray) -> None:
    """Save the done list after the rows it speaks of, so that it is never ahead of them."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    atomic_write(done_file, done.astype(np.uint8).tobytes())


def amount(count: int) -> str:
    """Bytes as people say them: '17 kB', '2.40 GB'."""
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= unit), (1, "bytes"))
    return f"{count / unit:.2f} {name}" if name == "GB" else f"{count / unit:.0f} {name}"


def _write_rows(
    rows: list[int], paths: list[str], digests: list[str | None], unfinished: str, offset: int, size: int, count: int
) -> tuple[list[int], dict[int, str]]:
    """Decode, resize and write some rows and their checksums; returns them, and the reason for each that failed."""
    failed = {}
    with open(unfinished, "r+b") as file:
        for row, path, digest in zip(rows, paths, digests, strict=True):
            try:
                image = squared(path, size)
            except ImageError as error:
                failed[row] = str(error)
            try:
                if digest is not None and _digest(path) != digest:  # after decoding, so that a change in between is seen
                    failed[row] = f"{path}: the file has changed since the data were read; run the command again"
            except ImageError as error:
                failed.setdefault(row, str(error))
            if row in failed:
                continue
            content = image.tobytes()
            file.seek(offset + row * size * size)
            file.write(content)
            file.seek(offset + count * size * size + 4 * row)
            file.write(zlib.crc32(content).to_bytes(4, "little"))
    return rows, failed


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); run the command again") from None
