"""Masks beside the images: which file belongs to which image, and that the two are of one shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cxrlib.data.decode import ImageError, decode_mask, image_size


def mask_paths(folder: Path, files: Sequence[str]) -> list[Path]:
    """The mask of each image: ``FOLDER/SPLIT/SUBFOLDER/STEM.png``, or without the subfolder where no other image has that stem.

    Args:
        folder: of masks.
        files: 'SPLIT/NAME' of all images, as in the index; NAME may have subfolders.

    Raises:
        ImageError: if a mask is missing, or is that of two images.
    """
    own = [PurePosixPath(file).with_suffix(".png") for file in files]
    flat = [PurePosixPath(path.parts[0], path.name) for path in own]
    own_count, flat_count = Counter(own), Counter(flat)
    paths = []
    for file, nested, bare in zip(files, own, flat, strict=True):
        if own_count[nested] > 1:
            raise ImageError(f"{folder / nested}: the mask of {own_count[nested]} images, one of them {file}; give each image a stem of its own")
        path = folder / nested
        if not path.is_file() and flat_count[bare] == 1:
            path = folder / bare
        if not path.is_file():
            raise ImageError(f"'{folder / nested}' is missing, the mask of {file}; add it")
        paths.append(path)
    return paths


def squared_masks(paths: Sequence[Path], images: Sequence[Path], size: int) -> np.ndarray:
    """Masks at one size, bool (N, size, size), squeezed to squares as the images are.

    Args:
        paths: of the masks.
        images: of the images that they belong to.
        size: side in pixels.

    Raises:
        ImageError: if one cannot be read, has more than two levels, or is not of the shape of its image. A mask at another
            scale is taken if width and height agree with the image's to a pixel.
    """
    masks = np.empty((len(paths), size, size), dtype=bool)
    for row, (path, image) in enumerate(zip(paths, images, strict=True)):
        mask = decode_mask(path)
        width, height = image_size(image)
        if abs(mask.shape[1] * height - mask.shape[0] * width) > max(width, height, *mask.shape):  # more than rounding by a pixel
            shapes = f"{mask.shape[1]} x {mask.shape[0]} pixels, and its image {image.name} {width} x {height}"
            raise ImageError(f"{path}: the mask has {shapes}, which is another shape; its regions would lie elsewhere, so make it from this image")
        masks[row] = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    return masks
