"""Weights files: where they come from, what they say of themselves, and whether they are what they should be. Needs no torch."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cxrlib.files import file_digest


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and the way out."""


def stated_digest(path: Path) -> str | None:
    """The SHA-256 in the ``.sha256`` file beside `path`, as sha256sum writes it; None if there is no such file.

    Raises:
        WeightsError: if that file holds no digest.
    """
    beside = path.with_suffix(".sha256")
    if not beside.is_file():
        return None
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise WeightsError(f"{beside} holds no SHA-256; get {path.name} and its checksum again")
    return words[0].lower()


def checked_digest(path: Path, stated: str | None, way_out: str) -> str:
    """SHA-256 of `path`, which must equal `stated` and the ``.sha256`` file beside it, where there are such.

    Raises:
        WeightsError: naming the file, both digests and the way out.
    """
    digest = file_digest(path)
    for expected in (stated, stated_digest(path)):
        if expected is not None and digest != expected:
            raise WeightsError(f"{path} has SHA-256 {digest}, not {expected}; it is damaged or was changed: {way_out}")
    return digest


WEIGHTS_FOLDER = Path(__file__).parent


WEIGHTS_VARIABLE = "CXR_WEIGHTS_DIR"


TIMM_PREFIX = "timm:"


BIT_ADDRESS = "https://storage.googleapis.com/bit_models/"


BIT_M_TAG = "resnetv2_50x1_bit.goog_in21k"


Normalisation = float | tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """An entry of the registry.

    Attributes:
        name: what a run gives as ``init``.
        arch: the architecture that the weights belong to; None for any.
        data: upstream data in words.
        images: how many upstream images; None if the source does not say.
        classes: how many upstream classes; None if the source does not say.
        mean: what is subtracted from grey values in [0, 1]; one value for all channels, or one each.
        std: what the difference is divided by.
        licence: of the weights.
        origin: where they come from: 'shipped', a package or an address.
        file: name under which the weights are looked for; None if there is none.
        others: names of further pretrainings of the same kind, from other random weights.
        sha256: known in advance; None if its publisher names none (then the record states what was used).
    """

    name: str
    arch: str | None
    data: str
    images: int | None
    classes: int | None
    mean: Normalisation = 0.5
    std: Normalisation = 0.5
    licence: str = "MIT"
    origin: str = "shipped"
    file: str | None = None
    sha256: str | None = None
    others: tuple[str, ...] = ()

    def file_for(self, seed: int) -> str | None:
        """The file that runs of a seed start from: of n pretrainings number seed modulo n, so that each gets its share of them."""
        return [self.file, *self.others][seed % (1 + len(self.others))]


@dataclass(frozen=True)
class Initialisation:
    """Where one model's weights start: a :class:`Source` whose file was found.

    Attributes:
        name: 'random', a named initialisation, ``timm:MODEL.TAG``, or a file name.
        path: weights file, or None for random.
        sha256: hexadecimal digest of the file, or None.
        mean: what the weights expect to be subtracted from grey values in [0, 1]; one value, or one per channel.
        std: what they expect the difference to be divided by.
        arch: the architecture that the weights belong to; None if they do not say, and only their shapes tell.
        in_key: 'mean' and 'std' where the same file under another name would be used with others: then its digest does
            not decide the numbers of a run, and they join the key.
    """

    name: str
    path: Path | None = None
    sha256: str | None = None
    mean: Normalisation = 0.5
    std: Normalisation = 0.5
    arch: str | None = None
    in_key: tuple[str, ...] = ()

    def normalisation(self) -> dict[str, Normalisation]:
        """What joins the key of a run beside the digest; empty where the file itself says how it is used."""
        return {name: getattr(self, name) for name in self.in_key}


def weights_folder() -> Path:
    """Where weights that do not ship are looked for and put: ``CXR_WEIGHTS_DIR``, else ``.cache/weights``."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or ".cache/weights")


def to_metadata(initialisation: Initialisation, arch: str) -> dict[str, str]:
    """What a weights file says of itself when a model of `arch`, trained from `initialisation`, becomes an initialisation."""
    metadata = {"arch": arch.partition(".")[0]}
    for name, value in (("mean", initialisation.mean), ("std", initialisation.std)):
        metadata[name] = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return metadata


def file_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; WeightsError if it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or not safetensors ({error}); get the file again") from None


def stated_normalisation(path: Path, metadata: dict[str, str]) -> tuple[Normalisation, Normalisation]:
    """Mean and std in the metadata of a safetensors file: one number each, or three separated by spaces; else 0.5."""
    found = []
    for name in ("mean", "std"):
        try:
            values = tuple(float(word) for word in metadata.get(name, "0.5").split())
            found.append(per_channel(values))
        except ValueError:
            raise WeightsError(f"{path}: metadata '{name}' = '{metadata[name]}' is neither one number nor three") from None
    if min(found[1] if isinstance(found[1], tuple) else (found[1],)) <= 0:
        raise WeightsError(f"{path}: metadata 'std' = '{metadata['std']}' must be positive")
    for name, value in zip(("mean", "std"), found, strict=True):
        if not all(0 <= each <= 1 for each in (value if isinstance(value, tuple) else (value,))):
            raise WeightsError(f"{path}: metadata '{name}' = '{metadata[name]}' is no share of the brightest value, from 0 to 1; divide it by 255 if it is one of 255")
    return found[0], found[1]


def per_channel(values: tuple[float, ...]) -> Normalisation:
    """One number if all channels share it, else three. Raises ValueError for any other count, or if one is not finite."""
    if len(values) not in (1, 3) or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{values} are neither one number nor three")
    return values[0] if len(set(values)) == 1 else (values[0], values[1], values[2])


def check_architecture(initialisation: Initialisation, arch: str) -> None:
    """Raise :class:`WeightsError` if the weights belong to another architecture than `arch`."""
    fits = initialisation.arch
    if fits is not None and arch.partition(".")[0] != fits:
        raise WeightsError(f"init '{initialisation.name}' belongs to arch '{fits}', not to '{arch}'; set arch to '{fits}', or init to 'random'")
