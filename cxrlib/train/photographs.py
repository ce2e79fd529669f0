"""Pretraining on photographs: to the laptop network what ImageNet is to BiT-S and BiT-M, in the same proportion of one to ten.

``photo-s`` has 20 classes of Tiny-ImageNet, ``photo-60`` has 60 and ``photo-m`` all 200, with 500 photographs each. BiT-M saw
its larger data for about as many epochs as BiT-S, so these three have the same number of epochs. With more data come then
more steps, which neither BiT nor the paper takes apart; two controls do. ``photo-s-long`` has the steps of photo-m on the
data of photo-s, ``photo-m-short`` the other way round.

Each is pretrained :data:`PRETRAININGS` times from other random weights in another order, so that chance upstream can be
told from the data: ``photo-s-0``, ``photo-s-1`` ... Settings were chosen by the accuracy on validation photographs alone.

``bit-photo`` is the paper's own network, BiT-R50x1, on the data of photo-m: half a day of one core, so it is made only when
named, and once; nearly fifty times the size of the others, it does not ship.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxrlib.data import photographs
from cxrlib.files import file_digest
from cxrlib.train.upstream import Upstream, finished, pretrain_and_save
from cxrlib.weights.bit import ARCH as BIT_ARCH

PRETRAININGS = 3
EPOCHS = 40
INSTANCES = 500
BATCH = 100
BIT_EPOCHS, BIT_BATCH = 60, 500
"""Some twelve hours of one core in bf16, or minutes of a GPU. BiT itself had 90 passes."""
_SMALL, _MIDDLE, _LARGE = 20, 60, 200
SOURCE = "Tiny-ImageNet: photographs of ImageNet, each with its own owner, for non-commercial research and education"


def _settings(classes: int, as_long_as: int | None = None) -> Upstream:
    """EPOCHS passes through `classes`, or as many steps as that makes for `as_long_as` classes."""
    steps = EPOCHS * (as_long_as or classes) * INSTANCES // BATCH
    return Upstream(classes, INSTANCES, size=48, crop=40, steps=steps, batch_size=BATCH, base_lr=0.1, warmup=steps // 12)


FAMILIES: dict[str, Upstream] = {
    "photo-s": _settings(_SMALL),
    "photo-60": _settings(_MIDDLE),
    "photo-m": _settings(_LARGE),
    "photo-m-short": _settings(_LARGE, as_long_as=_SMALL),
    "photo-s-long": _settings(_SMALL, as_long_as=_LARGE),
}
UPSTREAMS: dict[str, Upstream] = {
    f"{family}-{seed}": replace(settings, seed=seed) for family, settings in FAMILIES.items() for seed in range(PRETRAININGS)
}
UPSTREAMS["bit-photo"] = replace(
    FAMILIES["photo-m"],
    steps=BIT_EPOCHS * _LARGE * INSTANCES // BIT_BATCH,
    batch_size=BIT_BATCH,
    base_lr=0.3,
    warmup=600,
    weight_decay=5e-4,
    arch=BIT_ARCH,
    image_channels=3,
    precision="bf16",
)


def build(
    name: str,
    photos: Path,
    folder: Path,
    cache: Path = Path(".cache/upstream"),
    settings: Upstream | None = None,
    threads: int | None = None,
    stop_after: float | None = None,
) -> dict:
    """Pretrain on photographs and save NAME.safetensors, NAME.sha256 and NAME.json (the record) in `folder`.

    Interrupted, the same call goes on where the last checkpoint stands; finished, it returns the record that is there.
    Prints a line with the validation accuracy and the time left after each pass through the data, or through a
    twentieth of the steps where that is shorter.

    Args:
        name: a key of `UPSTREAMS`, such as 'photo-s-0'.
        photos: archive for :func:`cxrlib.data.photographs.read`.
        folder, cache, settings, threads, stop_after: as in :func:`cxrlib.train.upstream.build`.

    Returns:
        The record of :func:`cxrlib.train.upstream.pretrain_and_save`, with the source of the photographs and the SHA-256 of the archive.

    Raises:
        KeyError: for an unknown name without `settings`. ArchiveError: if the archive cannot be used.
    """
    settings = settings or UPSTREAMS[name]
    training, unseen = photographs.read(photos, settings.classes, settings.instances, settings.size)
    about = {"source": SOURCE, "archive_sha256": file_digest(Path(photos))}
    if record := finished(name, folder, settings, about):
        return record
    return pretrain_and_save(
        name,
        folder,
        cache,
        settings,
        (training.images, training.labels),
        lambda: (unseen.images, unseen.labels),
        "photographs",
        about,
        log_every=max(1, settings.steps // 20),
        watch=True,
        threads=threads,
        stop_after=stop_after,
    )
