"""What makes a step fast and leaves its result alone. Each choice was measured: see the page on speed and ``make bench``."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # names of mallopt(3)
KEEP_BYTES, GROW_BYTES = 2**31 - 1, 2**27


@functools.cache
def reuse_memory() -> bool:
    """Let this process keep the memory that it frees, for its next step; True if its C library can be told so.

    A step allocates the same large tensors again and again. glibc takes each from the system and gives it back, and the
    system fills every page with zeros before it hands it out: at 128 px that is a third of the step. Other C libraries
    are left as they are. What a process needs at its peak does not change; it only keeps it until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, KEEP_BYTES), mallopt(_TOP_PAD, GROW_BYTES)])


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """The same images, shape (N, C, H, W), with the channels of a pixel side by side in memory.

    Convolutions pass that layout on, and theirs and the pooling's kernels are faster in it. Of one channel nothing has to
    move, but its strides must say so, or the first convolution goes back to the other layout.
    """
    import torch

    count, channels, height, width = images.shape
    if channels > 1:
        return images.contiguous(memory_format=torch.channels_last)
    return images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))
