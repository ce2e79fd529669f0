"""A data folder as a run sees it: index, fingerprint, resized images and masks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data.cache import ImageCache
from cxrlib.data.decode import decode_mask
from cxrlib.data.folder import SPLITS, read_index
from cxrlib.data.provenance import contents, fingerprint_of


@dataclass(frozen=True)
class Dataset:
    """An index with its fingerprint, as :func:`read_dataset` found it.

    Attributes:
        index: columns of ``cxrlib.data.folder.read_index`` and ``row``, the position within the split on disk.
        fingerprint: hexadecimal digest of labels and image contents.
        folder: where the images are.
        is_phantom: True if the folder was written by ``cxrlib.phantom.folder``.
        contents: digest of every image behind the fingerprint, by ``SPLIT/FILE``.
    """

    index: pd.DataFrame
    fingerprint: str
    folder: Path
    is_phantom: bool
    contents: Mapping[str, str] | None = None

    def images(self, split: str, size: int, cache: Path, workers: int | None = None) -> np.ndarray:
        """Resized images of a split on disk ('train' or 'test'), uint8 (N, size, size), memory-mapped."""
        rows = self.index[self.index["split"] == split]
        return ImageCache.open_or_build(
            rows, self.folder, size, cache, f"{self.fingerprint[:32]}-{split}", workers=workers, contents=self.contents
        ).images

    def masks(self, name: str, split: str, size: int) -> np.ndarray | None:
        """Masks of a split from ``folder/masks/NAME/SPLIT``, bool (N, size, size); None if the folder has none."""
        from PIL import Image

        folder = self.folder / "masks" / name / split
        if not folder.is_dir():
            return None
        files = self.index.loc[self.index["split"] == split, "file"]
        masks = [Image.fromarray(decode_mask(folder / f"{Path(file).stem}.png")) for file in files]
        return np.stack([np.asarray(mask.resize((size, size), Image.Resampling.NEAREST)) for mask in masks])


@functools.lru_cache(maxsize=4)
def read_dataset(folder: Path, labels: Path | None, cache: Path, strict: bool, splits: tuple[str, ...] = SPLITS) -> Dataset:
    """Read, check and fingerprint a folder in the COVIDx layout; read once a process.

    Args:
        labels: folder with the label files, if they do not lie beside the images.
        cache: where the digests of the images are remembered.
        strict: whether any fault is an error, see :func:`cxrlib.data.folder.read_index`.
        splits: that the folder must have.

    Raises:
        DataError: see :func:`cxrlib.data.folder.read_index`.
    """
    index = read_index(folder, labels, strict=strict, splits=splits)
    index = index.assign(row=index.groupby("split").cumcount())
    found = contents(index, folder, cache)
    return Dataset(index, fingerprint_of(index, found), folder, (folder / "phantom.json").is_file(), found)
