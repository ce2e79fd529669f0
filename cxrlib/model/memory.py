"""What makes a step fast and leaves its result alone. Each choice was measured: see the page on speed and ``make bench``."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # names of mallopt(3)
_HUGE_PAGES, _HUGE_PAGE_BYTES = 14, 2**21  # of madvise(2)
KEEP_BYTES, GROW_BYTES, HUGE_BYTES = 2**31 - 1, 2**27, 2**30


@functools.cache
def reuse_memory() -> bool:
    """Let this process keep the memory that it frees, for its next step; True if its C library can be told so.

    A step allocates the same large tensors again and again. glibc takes each from the system and gives it back, and the
    system fills every page with zeros before it hands it out: at 128 px that is a third of the step. The first GiB is
    also asked for in huge pages, of which a step touches fewer. Other C libraries are left as they are. What a process
    needs at its peak hardly changes; it only keeps it until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    told = all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, KEEP_BYTES), mallopt(_TOP_PAD, GROW_BYTES)])
    if told:
        _ask_for_huge_pages(library)
    return told


def _ask_for_huge_pages(library: ctypes.CDLL) -> None:
    """Mark addresses that malloc will use next; no memory is taken before it is written to, and a refusal changes nothing."""
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    block = library.malloc(HUGE_BYTES)
    if block:
        start = -(-block // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
        library.madvise(start, HUGE_BYTES - 2 * _HUGE_PAGE_BYTES, _HUGE_PAGES)
        library.free(block)


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """The same images, shape (N, C, H, W), with the channels of a pixel side by side in memory.

    Convolutions pass that layout on, and theirs and the pooling's kernels are faster in it. Of one channel nothing has to
    move, but its strides must say so, or the first convolution goes back to the other layout.
    """
    count, channels, height, width = images.shape
    if channels > 1:
        return images.contiguous(memory_format=torch.channels_last)
    return images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))


def channels_first(images: torch.Tensor) -> torch.Tensor:
    """The same images, shape (N, C, H, W), with each channel in one piece; of one channel again only the strides change."""
    count, channels, height, width = images.shape
    return images.contiguous().as_strided(images.shape, (channels * height * width, height * width, width, 1))


def layout(model: nn.Module, precision: str, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The layout of images, :func:`channels_last` or :func:`channels_first`, in which a step of this model is fastest.

    In bfloat16 on a CPU torch's group normalisation is slow with channels last: BiT-R50x1 trains 1.15 to 1.4 times as fast
    with channels first. Everywhere else channels last is faster.

    Args:
        precision: 'fp32', 'bf16' or 'fp16', as in a run's config.
    """
    grouped = any(isinstance(module, nn.GroupNorm) for module in model.modules())
    return channels_first if grouped and precision == "bf16" and device.type == "cpu" else channels_last


def keep_single_precision(precision: str) -> None:
    """With 'fp32' let float32 mean float32 on a GPU too, where torch rounds the factors of convolutions to 10 bits (TF32) unless told otherwise."""
    torch.backends.cudnn.allow_tf32 = precision != "fp32"


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` as a caller for training, compiled where that is quicker: on a CUDA device for which Triton is installed.

    Group normalisation, standardised weights and what lies between convolutions then pass through a GPU's memory once in
    place of many times. Parameters stay those of `model`, whose own call stays as it was. On a CPU compiling gained nothing.
    """
    return torch.compile(model) if device.type == "cuda" and importlib.util.find_spec("triton") else model


class BorderedMaxPool(nn.Module):
    """Max pooling, 3 x 3 with stride 2, of an image with a border of zeros one pixel wide, without a copy that has the border.

    Torch's own padding lies below every value; where a window reaches over the edge, zero is therefore put in afterwards.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = functional.max_pool2d(images, 3, stride=2, padding=1)
        edges = [pooled[:, :, 0], pooled[:, :, :, 0]]
        edges += [pooled.select(axis, -1) for axis in (2, 3) if images.shape[axis] % 2]  # an even side ends inside
        for edge in edges:
            edge.clamp_(min=0)
        return pooled


def pool_without_copy(model: nn.Module) -> None:
    """Put :class:`BorderedMaxPool` into the stem of a BiT network of timm, in place; any other model is left as it is."""
    stem = getattr(model, "stem", None)
    pad, pool = getattr(stem, "pad", None), getattr(stem, "pool", None)
    if isinstance(pad, nn.ConstantPad2d) and isinstance(pool, nn.MaxPool2d):
        if (pad.padding, pad.value, pool.kernel_size, pool.stride, pool.padding) == ((1, 1, 1, 1), 0.0, 3, 2, 0):
            stem.pad, stem.pool = nn.Identity(), BorderedMaxPool()
