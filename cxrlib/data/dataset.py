"""A data folder as a run sees it: index, fingerprint, resized images and masks."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data.cache import ImageCache
from cxrlib.data.checksums import refuse_changed
from cxrlib.data.folder import SPLITS, read_index
from cxrlib.data.masks import mask_paths, squared_masks
from cxrlib.data.provenance import contents, fingerprint_of
from cxrlib.data.report import left_out_sentence
from cxrlib.files import tree_state


@dataclass(frozen=True)
class Dataset:
    """An index with its fingerprint, as :func:`read_dataset` found it.

    Attributes:
        index: columns of ``cxrlib.data.folder.read_index`` and ``row``, the position within the split on disk.
        fingerprint: hexadecimal digest of labels and image contents.
        folder: where the images are.
        is_phantom: True if the folder was written by ``cxrlib.phantom.folder``.
        contents: digest of every image behind the fingerprint, by ``SPLIT/FILE``.
        left_out: rows of the label files that are not in the index, counted by reason.
    """

    index: pd.DataFrame
    fingerprint: str
    folder: Path
    is_phantom: bool
    contents: Mapping[str, str] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def images(self, split: str, size: int, cache: Path, workers: int | None = None) -> np.ndarray:
        """Resized images of a split on disk ('train' or 'test'), uint8 (N, size, size), memory-mapped."""
        rows = self.index[self.index["split"] == split]
        return ImageCache.open_or_build(
            rows, self.folder, size, cache, f"{self.fingerprint[:32]}-{split}", workers=workers, contents=self.contents
        ).images

    def masks(self, name: str, split: str, size: int) -> np.ndarray | None:
        """Masks of a split from ``folder/masks/NAME/SPLIT``, bool (N, size, size); None if the folder has none."""
        folder = self.folder / "masks" / name
        if not (folder / split).is_dir():
            return None
        files = [f"{split}/{file}" for file in self.index.loc[self.index["split"] == split, "file"]]
        return squared_masks(mask_paths(folder, files), [self.folder / file for file in files], size)


def read_dataset(folder: Path, labels: Path | None, cache: Path, strict: bool, splits: tuple[str, ...] = SPLITS) -> Dataset:
    """Read, check and fingerprint a folder in the COVIDx layout; read once a process for as long as no file of it changes.

    Rows with a problem are left out, which one line on stderr says.

    Args:
        labels: folder with the label files, if they do not lie beside the images.
        cache: where the digests of the images are remembered.
        strict: whether any fault is an error, see :func:`cxrlib.data.folder.read_index`.
        splits: that the folder must have.

    Raises:
        DataError: see :func:`cxrlib.data.folder.read_index`; and if an image is another than a checksum file of the folder
            says (:mod:`cxrlib.data.checksums`).
    """
    around = [path for place in {folder, labels or folder} if place.is_dir() for path in sorted(place.iterdir()) if path.is_file()]
    return _read(folder, labels, cache, strict, splits, tree_state([*around, *(folder / split for split in splits)]))


@functools.lru_cache(maxsize=4)
def _read(folder: Path, labels: Path | None, cache: Path, strict: bool, splits: tuple[str, ...], _state: str) -> Dataset:
    index = read_index(folder, labels, strict=strict, splits=splits)
    left_out = index.attrs.get("left_out", {})
    if left_out and multiprocessing.parent_process() is None and os.environ.get("RANK", "0") == "0":
        sentence = left_out_sentence(left_out, index.attrs["rows"])
        print(f"{folder}: {sentence} ('cxr data check' lists them, --strict refuses)", file=sys.stderr)
    index = index.assign(row=index.groupby("split").cumcount())
    found = contents(index, folder, cache)
    refuse_changed(folder, found)
    return Dataset(index, fingerprint_of(index, found), folder, (folder / "phantom.json").is_file(), found, left_out)
