"""Resized images, decoded once and shared by all runs as a memory-mapped file.

The file is built in parallel, in place, beside a record of which rows are done, and renamed when complete: an interrupted build
goes on, and a reader never sees half of one.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from cxrlib.data import image_path
from cxrlib.images import ImageError, decode_image

_CHUNK = 32


@dataclass(frozen=True)
class ImageCache:
    """Images of an index at one size.

    Attributes:
        images: read-only memory map, uint8, shape (N, size, size); row i is index row i.
        path: the ``.npy`` file behind it.
    """

    images: np.ndarray
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
        """Open the cache of ``fingerprint`` at ``size``, building what is missing of it.

        Images are squeezed to a square, as BiT does; the aspect ratio is not kept.

        Args:
            index: rows with ``file`` and ``split``; their order is the order of the images.
            folder: data folder.
            size: side in pixels.
            cache_folder: where caches lie.
            fingerprint: names the data; give another for other rows.
            workers: processes; default one per core. One works in this process.
            progress: print counts and time left to stderr.

        Raises:
            ImageError: naming the images that cannot be decoded; what was done stays and is used next time.
        """
        path = Path(cache_folder) / f"{fingerprint}-{size}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.is_file():
                    _build(index, Path(folder), size, path, workers or os.cpu_count() or 1, progress)
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.shape != (len(index), size, size):
            raise ValueError(f"{path} has shape {images.shape}, not {(len(index), size, size)}; delete it to build it again")
        return cls(images, path)


def resized(path: Path, size: int) -> np.ndarray:
    """Decode and squeeze one image to uint8 (size, size), bilinear with antialiasing."""
    image = Image.fromarray(decode_image(path))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _build(index: pd.DataFrame, folder: Path, size: int, path: Path, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    partial_file, done_file = path.with_suffix(".partial"), path.with_suffix(".done")
    shape = (len(index), size, size)
    done = _resume(partial_file, done_file, shape)
    paths = [image_path(folder, row) for row in index[["file", "split"]].to_dict("records")]
    todo = np.flatnonzero(~done)
    chunks = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    failures: list[str] = []
    bar = tqdm(total=len(paths), initial=int(done.sum()), unit="image", ascii=True, disable=not progress, file=sys.stderr, desc=f"{size} px cache", mininterval=1)

    def finish(rows: np.ndarray, failed: dict[int, str]) -> None:
        failures.extend(failed.values())
        done[[row for row in rows if row not in failed]] = True
        done.flush()
        bar.update(len(rows))

    work = partial(_fill, partial_file, size)
    with bar:
        if workers == 1 or len(chunks) < 4:
            for rows in chunks:
                finish(rows, work(rows, [paths[row] for row in rows]))
        else:
            # forkserver: a notebook kernel with torch threads cannot be forked safely.
            context = get_context("forkserver" if "forkserver" in _methods() else "spawn")
            with ProcessPoolExecutor(min(workers, len(chunks)), context) as pool:
                futures = {pool.submit(work, rows, [paths[row] for row in rows]): rows for rows in chunks}
                for future in as_completed(futures):
                    finish(futures[future], future.result())
    if failures:
        raise ImageError(f"{len(failures)} image(s) cannot be decoded:\n" + "\n".join(sorted(failures)[:50]))
    os.replace(partial_file, path)
    done_file.unlink(missing_ok=True)


def _methods() -> list[str]:
    from multiprocessing import get_all_start_methods

    return get_all_start_methods()


def _resume(partial_file: Path, done_file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Which rows an earlier build finished, as a writable memory map; both files are made anew if they do not fit."""
    try:
        done = np.load(done_file, mmap_mode="r+", allow_pickle=False)
        if done.shape == shape[:1] and np.load(partial_file, mmap_mode="r", allow_pickle=False).shape == shape:
            return done
    except (OSError, ValueError):
        pass
    try:
        np.lib.format.open_memmap(partial_file, "w+", dtype=np.uint8, shape=shape).flush()
        return np.lib.format.open_memmap(done_file, "w+", dtype=bool, shape=shape[:1])
    except OSError as error:
        raise OSError(error.errno, f"cannot write {partial_file} ({error.strerror}); free space or choose another cache folder") from None


def _fill(partial_file: Path, size: int, rows: np.ndarray, paths: list[Path]) -> dict[int, str]:
    """Decode some rows into the file; returns the rows that failed, with the reason."""
    images = np.load(partial_file, mmap_mode="r+", allow_pickle=False)
    failed = {}
    for row, path in zip(rows, paths, strict=True):
        try:
            images[row] = resized(path, size)
        except ImageError as error:
            failed[int(row)] = str(error)
    images.flush()
    return failed
