"""Images resized once, shared by all runs as a memory-mapped file.

Rows are written in place by several processes, beside a list of which are done; the file gets its name when all are. So
an interrupted build goes on where it was, and a reader never sees half of one. Rows are written with plain writes, not
through the map: on a full disk a write fails with a message, a map kills the process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from cxrlib.files import atomic_write
from cxrlib.data.decode import ImageError, squared
from cxrlib.processes import run_tasks, usable_cores

if TYPE_CHECKING:
    import pandas as pd

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

        Raises:
            ImageError: naming every image that cannot be decoded. What was done stays, and is not done again.
            DataError: if a path leads out of the folder.
            OSError: the disk is full or cannot be written.
            ValueError: if there are no rows or ``size`` is not positive.
        """
        if len(index) == 0 or size < 1:
            raise ValueError(f"a cache of {len(index)} images at {size} px is empty; give at least one row and one pixel")
        rows = "\n".join(index["split"] + "/" + index["file"])
        key = f"{fingerprint[:20]}-{hashlib.sha256((fingerprint + rows).encode()).hexdigest()[:12]}"
        path = Path(cache_folder) / f"images-{key}-{size}px.npy"
        shape = (len(index), size, size)
        images = _open(path, shape)
        if images is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(path, progress):
                images = _open(path, shape)
                if images is None:
                    _build(_paths(index, folder), size, path, workers or usable_cores(), progress)
                    images = _open(path, shape)
        return cls(images, path)


def _open(path: Path, shape: tuple[int, int, int]) -> np.memmap | None:
    """The finished cache, or None if there is none or it was cut short."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _paths(index: pd.DataFrame, folder: Path | str) -> list[str]:
    from cxrlib.data.labels import image_path

    return [str(image_path(folder, row)) for row in index[["file", "split"]].itertuples(index=False)]


@contextmanager
def _lock(path: Path, progress: bool) -> Iterator[None]:
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"another process is building {path.name}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(paths: list[str], size: int, path: Path, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    unfinished, done_file = path.with_suffix(".partial"), path.with_suffix(".done")
    done = _resume(unfinished, done_file, (len(paths), size, size))
    offset = unfinished.stat().st_size - len(paths) * size * size
    todo = np.flatnonzero(~done)
    chunks = [todo[start : start + CHUNK].tolist() for start in range(0, len(todo), CHUNK)]
    tasks = ((rows, [paths[row] for row in rows], str(unfinished), offset, size) for rows in chunks)
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
    os.replace(unfinished, path)
    done_file.unlink(missing_ok=True)


def _resume(unfinished: Path, done_file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Which rows an earlier build finished, bool (N,); a new unfinished file if there is none that fits."""
    images = _open(unfinished, shape)
    if images is not None and done_file.is_file():
        done = np.frombuffer(done_file.read_bytes(), dtype=np.uint8)
        if len(done) == shape[0]:
            return done == 1
    needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(unfinished.parent).free
    if needed > free:
        message = f"the cache needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free"
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


def _write_rows(
    rows: list[int], paths: list[str], unfinished: str, offset: int, size: int
) -> tuple[list[int], dict[int, str]]:
    """Decode, resize and write some rows; returns them, and the reason for each that failed."""
    failed = {}
    with open(unfinished, "r+b") as file:
        for row, path in zip(rows, paths, strict=True):
            try:
                image = squared(path, size)
            except ImageError as error:
                failed[row] = str(error)
                continue
            file.seek(offset + row * size * size)
            file.write(image.tobytes())
    return rows, failed
