"""Where a model's weights may start: one registry of names, and the one place that turns a name into a file.

What a run may give as ``init``:

================================  ===================================================================================
a name of :func:`registry`        ``random``, ``bit-s``, ``bit-m``, ``imagenet-lite``, ``fractal-s``, ``fractal-m``,
                                  ``photo-s``, ``photo-60``, ``photo-m``, ``bit-photo``
``timm:MODEL.TAG``                a pretrained tag of timm, such as ``timm:resnet50.a1_in1k``
a path                            a ``.safetensors`` file, or an official ``.npz`` of BiT-R50x1
================================  ===================================================================================

Every file is identified by its SHA-256, which becomes part of the run's key and record. Where a ``.sha256`` file stands
beside the weights, they must be what it says. Nothing here needs torch, so a page can list the registry and a plan can
look for files without loading it.
"""

from __future__ import annotations

from pathlib import Path

from cxrlib.weights.registry import BIT_PHOTO, registry
from cxrlib.weights.source import (
    TIMM_PREFIX,
    WEIGHTS_FOLDER,
    Initialisation,
    Source,
    WeightsError,
    checked_digest,
    file_metadata,
    stated_normalisation,
    weights_folder,
)


def resolve_initialisation(init: str, download: bool = True, seed: int = 0) -> Initialisation:
    """Find the weights that `init` names, verify them and read what they expect.

    Args:
        init: see the module.
        download: whether weights that are not on this machine may be fetched; a plan says False.
        seed: of the run; where a name stands for several pretrainings it chooses one (:meth:`Source.file_for`).

    Raises:
        WeightsError: unknown name, weights that are not here, or a file that is damaged or not what its checksum says.
    """
    known = registry()
    if init == "random":
        return Initialisation("random")
    if init in ("bit-s", "bit-m"):
        from cxrlib.weights import bit

        path, digest = bit.locate(known[init], download)
        return Initialisation(init, path, digest, known[init].mean, known[init].std, known[init].arch)
    if init == "imagenet-lite":
        from cxrlib.weights import imagenet_lite

        path = imagenet_lite.locate(str(known[init].file))
        digest = checked_digest(path, known[init].sha256, "install the package again")
        return Initialisation(init, path, digest, known[init].mean, known[init].std, known[init].arch)
    if init.startswith(TIMM_PREFIX):
        from cxrlib.weights import hub

        return hub.resolve_tag(init, download)
    if init == BIT_PHOTO:
        return _not_shipped(known[init])
    if init in known:
        path = WEIGHTS_FOLDER / str(known[init].file_for(seed))
        if not path.is_file():
            raise WeightsError(f"{path} is missing; restore it with git checkout")
        digest = checked_digest(path, None, "restore it with git checkout")
        return Initialisation(init, path, digest, *stated_normalisation(path, file_metadata(path)), known[init].arch)
    return _local_file(init, known)


def _not_shipped(source: Source) -> Initialisation:
    """Weights that are made here and too large to ship, in the folder of weights or where ``cxr upstream`` puts them."""
    places = [folder / str(source.file) for folder in (weights_folder(), Path(".cache/upstream"))]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise WeightsError(f"init '{source.name}': {source.file} is neither in {places[0].parent} nor in {places[1].parent}; make it with {source.origin}")
    digest = checked_digest(path, None, f"make it again with {source.origin}")
    return Initialisation(source.name, path, digest, *stated_normalisation(path, file_metadata(path)), source.arch)


def _local_file(init: str, known: dict[str, Source]) -> Initialisation:
    path = Path(init)
    if not path.is_file():
        names = f"{', '.join(known)}, or {TIMM_PREFIX}MODEL.TAG"
        raise WeightsError(f"init '{init}' is neither a file nor one of: {names}")
    if path.suffix == ".npz":
        from cxrlib.weights import bit

        digest = checked_digest(path, None, "get the file again")
        bit.verify(path)
        return Initialisation(path.name, path, digest, arch=bit.ARCH)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"init: {path} is neither .safetensors nor an official BiT .npz; other formats may hold code and are not loaded"
        )
    digest = checked_digest(path, None, "get the file again")
    metadata = file_metadata(path)
    return Initialisation(path.name, path, digest, *stated_normalisation(path, metadata), metadata.get("arch") or None)
