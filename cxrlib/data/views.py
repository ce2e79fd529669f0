"""Disease or data source? What a run sees of an image, and what it is asked to tell apart.

A run may see a region of the images only; it may train without the images of one source; or it may be asked for the
source of an image in place of its class. :mod:`cxrlib.experiment.one_run` calls this module for every run; for an ordinary one
nothing changes. DeGrave et al. 2021 and Zech et al. 2018 are the reasons to ask.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.config import CENTRE_SHARE, ParameterError, RunConfig
from cxrlib.data import splits
from cxrlib.data.grey import ImageError
from cxrlib.data.labels import LABELS
from cxrlib.data.masks import mask_paths, squared_masks
from cxrlib.files import tree_state

GREY = 128
"""What is written over the hidden part of every image, 0 to 255."""

MASKED = ("lungs", "outside_lungs")


# What a run sees


def central_square(size: int, share: float = CENTRE_SHARE) -> np.ndarray:
    """True in the central square whose side is ``share`` of the image's, shape (size, size); at least one pixel is not."""
    width = min(max(round(share * size), 1), size - 1)
    start = (size - width) // 2
    mask = np.zeros((size, size), dtype=bool)
    mask[start : start + width, start : start + width] = True
    return mask


def mask_folder(data: Path, masks: Path | None) -> Path:
    """Where the lung masks of a run on the folder ``data`` lie: in ``masks``, or in the phantoms' own place if that is None."""
    return masks or data / "masks" / "lungs"


def data_fingerprint(config: RunConfig, fingerprint: str, index: pd.DataFrame) -> str:
    """Digest of the data of a run: that of the images, and of the lung masks too if the run sees only what they show.

    Raises:
        ParameterError: if there is no folder of masks, or a file has none.
    """
    if config.region not in MASKED:
        return fingerprint
    files, folder = tuple((index["split"] + "/" + index["file"]).tolist()), mask_folder(config.data, config.masks)
    return hashlib.sha256(f"{fingerprint} {_masks_digest(folder, files, tree_state([folder]))}".encode()).hexdigest()


@functools.lru_cache(maxsize=4)
def _masks_digest(folder: Path, files: tuple[str, ...], _state: str) -> str:
    digest = hashlib.sha256()
    for path in _masks(folder, files):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _masks(folder: Path, files: tuple[str, ...]) -> list[Path]:
    """The mask of each 'SPLIT/NAME'."""
    if not folder.is_dir():
        raise ParameterError(f"masks: there is no folder '{folder}'; name one with SPLIT/STEM.png for every image, or another region")
    try:
        return mask_paths(folder, files)
    except ImageError as error:
        raise ParameterError(f"masks: {error}, or choose another region") from None


@functools.lru_cache(maxsize=4)
def _lung_masks(folder: Path, images: Path, files: tuple[str, ...], size: int, _state: str) -> np.ndarray:
    """Masks at one size, bool (N, size, size), squeezed to squares as the images are.

    Raises:
        ParameterError: if one marks nothing or everything, so that a run would see all of an image or nothing.
        ImageError: as :func:`cxrlib.data.masks.squared_masks`.
    """
    paths = _masks(folder, files)
    masks = squared_masks(paths, [images / file for file in files], size)
    share = masks.mean(axis=(1, 2))
    for path, marked in zip(paths, share, strict=True):
        if marked in (0, 1):
            what = "nothing" if marked == 0 else "every pixel"
            raise ParameterError(f"masks: {path} marks {what}, so of its image all or nothing would be hidden; make it again, or remove the row")
    return masks


def hidden(images: np.ndarray, config: RunConfig, split: str, files: pd.Series) -> np.ndarray:
    """Images of a folder as a run sees them: outside its region every pixel is ``GREY``.

    Args:
        images: uint8, shape (N, S, S), all images of ``split`` on disk at one size.
        split: 'train' or 'test', the folder on disk.
        files: of these images, in their order.

    Returns:
        ``images`` itself for the whole image; otherwise a changed copy, which lies in memory (N x S x S bytes).

    Raises:
        ParameterError: if a mask is missing, or marks nothing or everything.
        ImageError: if a mask cannot be read, is of another shape than its image, or has more than two levels.
    """
    if config.region == "whole":
        return images
    size = images.shape[1]
    if config.region in MASKED:
        folder = mask_folder(config.data, config.masks)
        seen = _lung_masks(folder, config.data, tuple(f"{split}/{file}" for file in files), size, tree_state([folder]))
    else:
        seen = central_square(size, config.centre_share)
    if config.region in ("frame", "outside_lungs"):
        seen = ~seen
    return np.where(seen, images, np.uint8(GREY))


# What a run is asked


def recast(index: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """The rows of a run: its splits and its labels.

    Adds the column ``folder``, the split on disk. Held-out patients are split 'validation', or 'test' where sources are
    told apart and the test split lacks one of them. With ``leave_out`` that source's training images are split
    'left_out', whether held out or not, so that two runs of one seed, with and without the source, hold out the same patients.

    Raises:
        ParameterError: if a source does not exist, or training or test is left with one class.
    """
    index = index.assign(folder=index["split"])
    for source in config.sources or ((config.leave_out,) if config.leave_out is not None else ()):
        if source not in set(index["source"]):
            raise ParameterError(f"there is no source '{source}' in these data; there are: {', '.join(sorted(set(index['source'])))}")
    renamed = None
    if config.sources is not None:
        index, renamed = _sources_as_classes(index, config)
    if config.validation_fraction:
        index = splits.validation_split(index, config.validation_fraction, config.seed)
        if renamed:
            index = index.assign(split=index["split"].replace("validation", renamed))
    if config.leave_out is not None:
        out = (index["split"] != "test") & (index["source"] == config.leave_out)
        if not out.any():
            raise ParameterError(f"leave_out: no training image is of source '{config.leave_out}'")
        index = index.assign(split=index["split"].mask(out, "left_out"))
        _both_classes(index, "train", f"without source '{config.leave_out}'")
    return index


def _sources_as_classes(index: pd.DataFrame, config: RunConfig) -> tuple[pd.DataFrame, str | None]:
    """Rows of the two sources with the second as 'positive', and what held-out patients are called if not 'validation'."""
    kept = index["source"].isin(config.sources) & (index["label"].eq(config.within) if config.within else True)
    index = index[kept].assign(label=lambda rows: np.where(rows["source"] == config.sources[1], "positive", "negative"))
    what = f"{' and '.join(config.sources)}{f' among {config.within} images' if config.within else ''}"
    _both_classes(index, "train", f"of {what}")
    tested = set(index.loc[index["split"] == "test", "label"])
    if len(tested) == len(LABELS):
        return index, None
    if not config.validation_fraction:
        raise ParameterError(f"the test split does not have both of {what}; hold training patients out with validation_fraction, such as 0.3")
    return index[index["split"] != "test"], "test"


def _both_classes(index: pd.DataFrame, split: str, what: str) -> None:
    lacking = [label for label in LABELS if not ((index["split"] == split) & (index["label"] == label)).any()]
    if lacking:
        raise ParameterError(f"{what} the {split} split has no {' and no '.join(lacking)} image; choose other sources")


# What can be asked of some data


