"""BiT-S and BiT-M (Kolesnikov et al. 2020): finding the official weights, verifying them, and turning them into timm's.

The official checkpoints are ``.npz`` archives of named arrays: convolution kernels as (height, width, in, out), each
followed by weight standardisation in use; group norms as ``gamma`` and ``beta``. Unit ``resnet/blockB/unitUU`` holds the
three convolutions ``a``, ``b``, ``c``, each with the group norm that *precedes* it, and the first unit of a block also
``a/proj``. timm's ``resnetv2_50x1_bit`` is the same network under other names, so conversion is renaming and transposing.

Their publisher states no checksum, and none was found elsewhere. So a file is trusted on first use: when all its arrays
have the right names and shapes and finite values, its SHA-256 is written beside it (``NAME.sha256``) and compared ever
after; put a digest that you trust there before, and it must match from the start. Every record states the digest used.
"""

from __future__ import annotations

import functools
import math
import shutil
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from cxrlib.files import atomic_write, file_digest, locked, written_beside
from cxrlib.weights.source import (
    BIT_ADDRESS,
    BIT_M_TAG,
    WEIGHTS_VARIABLE,
    Source,
    WeightsError,
    checked_digest,
    stated_digest,
    weights_folder,
)

ARCH = "resnetv2_50x1_bit"
UNITS = (3, 4, 6, 3)
LARGEST = 512 * 2**20  # bytes of all arrays; those of BiT-M with its 21,843 classes have 278 million
_HEAD = ("resnet/head/conv2d/kernel", "resnet/head/conv2d/bias")


@functools.cache
def layout() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every array of the official R50x1 but the head: its name -> timm's name and the shape in the archive."""
    arrays: dict[str, tuple[str, tuple[int, ...]]] = {}

    def norm(theirs: str, ours: str, channels: int) -> None:
        arrays[f"{theirs}group_norm/gamma"] = (f"{ours}.weight", (channels,))
        arrays[f"{theirs}group_norm/beta"] = (f"{ours}.bias", (channels,))

    def convolution(theirs: str, ours: str, *shape: int) -> None:
        arrays[f"{theirs}standardized_conv2d/kernel"] = (f"{ours}.weight", shape)

    convolution("resnet/root_block/", "stem.conv", 7, 7, 3, 64)
    width = 64
    for block, units in enumerate(UNITS):
        middle, out = 64 * 2**block, 256 * 2**block
        for unit in range(units):
            theirs, ours = f"resnet/block{block + 1}/unit{unit + 1:02d}/", f"stages.{block}.blocks.{unit}."
            norm(f"{theirs}a/", f"{ours}norm1", width)
            convolution(f"{theirs}a/", f"{ours}conv1", 1, 1, width, middle)
            norm(f"{theirs}b/", f"{ours}norm2", middle)
            convolution(f"{theirs}b/", f"{ours}conv2", 3, 3, middle, middle)
            norm(f"{theirs}c/", f"{ours}norm3", middle)
            convolution(f"{theirs}c/", f"{ours}conv3", 1, 1, middle, out)
            if unit == 0:
                convolution(f"{theirs}a/proj/", f"{ours}downsample.conv", 1, 1, width, out)
            width = out
    norm("resnet/", "norm", width)
    return arrays


def read(path: Path, classes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of an official archive without its head, under timm's names and in timm's layout (out, in, height, width).

    Args:
        path: ``.npz`` of BiT-R50x1, of any size of head.
        classes: outputs that the head must have, which tells BiT-S (1,000) from BiT-M (21,843); None for any.

    Returns:
        float32 arrays.

    Raises:
        WeightsError: if the archive is truncated or damaged, or not a BiT-R50x1 in names, shapes or values; with the
            SHA-256 of what was refused.
    """
    official = "it is not an official BiT-R50x1"
    try:
        arrays = _arrays(path)
    except Exception as error:  # zip, zlib, bzip2 and lzma have errors of their own, and a damaged header raises what parsing Python does
        raise _refused(path, f" is truncated, damaged or no .npz archive ({error or type(error).__name__})") from None
    head = {name: arrays.pop(name) for name in _HEAD if name in arrays}
    missing = [name for name in (*layout(), *_HEAD) if name not in arrays and name not in head]
    if missing:
        raise _refused(path, f" lacks {len(missing)} arrays, such as '{missing[0]}'; {official}")
    extra = [name for name in arrays if name not in layout()]
    if extra:
        raise _refused(path, f" has {len(extra)} arrays too many, such as '{extra[0]}'; {official}")
    outputs = head[_HEAD[1]].size if classes is None else classes
    shapes = {name: shape for name, (_, shape) in layout().items()}
    shapes |= {_HEAD[0]: (1, 1, 2048, outputs), _HEAD[1]: (outputs,)}
    converted = {}
    for name, array in (arrays | head).items():
        if array.shape != shapes[name]:
            raise _refused(path, f": '{name}' has shape {array.shape}, not {shapes[name]}; {official}")
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise _refused(path, f": '{name}' holds values that are not finite numbers; {official}")
        if name not in head:
            oriented = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            converted[layout()[name][0]] = np.ascontiguousarray(oriented, dtype=np.float32)
    return converted


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the network. None is decompressed that is larger than any of BiT-R50x1, whatever its header says."""
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        # Optimiser state or counters outside the network would be no reason to refuse a file.
        entries = [entry for entry in archive.infolist() if entry.filename.startswith("resnet/")]
        if (total := sum(entry.file_size for entry in entries)) > LARGEST:
            raise ValueError(f"its arrays would take {total:,} bytes, and those of BiT-R50x1 at most {LARGEST:,}")
        for entry in entries:
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
                if header is None:
                    raise ValueError(f"'{entry.filename}' has version {version} of the array format")
                shape, _, dtype = header(file)
                if math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"'{entry.filename}' claims the shape {shape} and has {entry.file_size:,} bytes")
            with archive.open(entry) as file:
                arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def _refused(path: Path, reason: str) -> WeightsError:
    """The error for a file that is not used: what is wrong with it, which file it was, and the way out."""
    try:
        digest = file_digest(path)
    except OSError:
        digest = "unknown, it cannot be read"
    return WeightsError(f"{path}{reason}; its SHA-256 is {digest}; get the file again")


def verify(path: Path, classes: int | None = None) -> None:
    """Raise :class:`WeightsError` unless `path` is a sound BiT-R50x1; read once for as long as the file stays the same."""
    about = path.stat()
    _verify(path, about.st_size, about.st_mtime_ns, classes)


@functools.lru_cache(maxsize=16)
def _verify(path: Path, _size: int, _changed: int, classes: int | None) -> None:
    read(path, classes)


def locate(source: Source, download: bool = True) -> tuple[Path, str]:
    """Path and SHA-256 of BiT-S or BiT-M.

    Looked for in this order: the official archive in :func:`cxrlib.weights.source.weights_folder`; for BiT-M the hub's
    cache and the hub; for BiT-S the official address.

    Args:
        source: entry 'bit-s' or 'bit-m' of the registry.
        download: whether it may be fetched.

    Raises:
        WeightsError: if the weights are not here and may not or cannot be fetched (saying which file to put where), or
            are truncated, changed or not BiT-R50x1.
    """
    folder = weights_folder()
    path = folder / str(source.file)
    address = f"{BIT_ADDRESS}{source.file}"
    if not path.is_file():
        try:
            if source.name == "bit-m":
                from cxrlib.weights import hub

                return hub.find(f"timm/{BIT_M_TAG}", download)
            if not download:
                raise WeightsError("it was not fetched")
            _fetch(address, path, source.classes)
        except (WeightsError, OSError) as error:
            raise WeightsError(
                f"init '{source.name}': {source.file} is not in {folder}, and {error}; get it from {address} and put it there, "
                f"or name the folder that has it in the environment variable {WEIGHTS_VARIABLE}"
            ) from None
    way_out = f"delete it and {path.with_suffix('.sha256').name}, and get it again from {address}"
    digest = checked_digest(path, source.sha256, way_out)
    verify(path, source.classes)
    if stated_digest(path) is None:
        try:
            atomic_write(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
        except OSError:
            pass  # A shared folder may be read-only; the record states the digest all the same.
    return path, digest


def _fetch(address: str, path: Path, classes: int | None) -> None:
    """Download to a file beside `path`, verify, and only then give it its name; of several processes one downloads.

    Not by ``torch.hub.download_url_to_file``: it waits for a silent server for ever, and takes what came before a
    connection broke for the whole.
    """
    with locked(path):
        if path.is_file():
            return
        try:
            with written_beside(path) as part:
                with part.open("wb") as file, urllib.request.urlopen(address, timeout=30) as answer:
                    shutil.copyfileobj(answer, file, 2**20)
                    size, length = file.tell(), answer.headers.get("Content-Length")
                if length and size != int(length):
                    raise OSError(f"the download broke off after {size:,} of {int(length):,} bytes")
                try:
                    read(part, classes)
                except WeightsError as error:
                    raise OSError(f"what came is no BiT-R50x1: {error}") from None
        except OSError as error:
            raise OSError(f"it could not be fetched ({error})") from None
