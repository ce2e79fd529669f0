"""Lungs only, or everything but the lungs, on real X-rays: networks that see one of them at home and in another collection.

The lungs are those that the network of :mod:`cxrlib.study.pages.lungs` finds, in place of a square in the middle of the
picture. Networks are trained and tested on one region of each image, the rest is one grey; the outline of the lungs is seen
either way, so "everything but the lungs" still shows their shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cxrlib.config import RunConfig
from cxrlib.data.dataset import Dataset
from cxrlib.data.decode import image_size
from cxrlib.data.extent import open_any
from cxrlib.data.labels import image_path
from cxrlib.data.views import MASKED, hidden
from cxrlib.experiment.record import Record, read_table
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate
from cxrlib.model.segmentation import SIZE, load_segmenter, lung_probability, lungs_of
from cxrlib.study import truth
from cxrlib.study.pages.across import COLLECTION, OWN, together
from cxrlib.study.pages.shortcuts import NAMES, NOT_RECORDED, Scored, auc, beyond, scored
from cxrlib.study.pairs import points

REGIONS = ("whole", *MASKED)
TESTS = {OWN: ("test",), COLLECTION: (f"{truth.SAME}/train", f"{truth.SAME}/test")}


def write_masks(dataset: Dataset, folder: Path, cache: Path, weights: Path | None = None) -> int:
    """Write the lungs that are found on every image as ``FOLDER/SPLIT/STEM.png``, of the image's size; those that are there stay.

    Where nothing is found the whole picture counts as lung, so that nothing is hidden.

    Args:
        weights: of :func:`cxrlib.model.segmentation.load_segmenter`.

    Returns:
        On how many images nothing was found.
    """
    model, empty = load_segmenter(weights), 0
    for split in dict.fromkeys(dataset.index["split"]):
        rows = dataset.index[dataset.index["split"] == split]
        found = lungs_of(lung_probability(model, dataset.images(split, SIZE, cache)))
        for row, mask in zip(rows.itertuples(), found, strict=True):
            empty += not mask.any()
            target = (folder / split / row.file).with_suffix(".png")
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shown = Image.fromarray(255 * (mask if mask.any() else ~mask).astype(np.uint8))
                shown.resize(image_size(image_path(dataset.folder, row)), Image.Resampling.NEAREST).save(target)
    return empty


def places(sets: truth.TruthSets, weights: Path | None = None) -> dict[str, Path]:
    """The folders of found lungs of the training data and of the other collection, made now unless they are there."""
    found = {}
    for name, folder in ((truth.APART, sets.write(truth.APART)), (truth.SAME, sets.beside(truth.SAME))):
        found[name] = sets.folder / "lung-masks" / name
        write_masks(open_any(folder, sets.cache), found[name], sets.cache, weights)
    return found


def runs(sets: truth.TruthSets, masks: dict[str, Path], seeds: Sequence[int]) -> list[RunConfig]:
    """The plain runs of notebook 06 without the patients of the other sets, seeing each of ``REGIONS``."""
    plain = truth.runs(sets, truth.APART, "06_shortcuts", seeds=seeds)
    return [config.model_copy(update={"region": region} | ({"masks": masks[truth.APART]} if region in MASKED else {})) for region in REGIONS for config in plain]


def with_scores(record: Record, config: RunConfig, sets: truth.TruthSets, masks: dict[str, Path]) -> Record:
    """The record with the scores of its model on the other collection, seen through the same region."""
    folder = sets.beside(truth.SAME)
    there = config.model_copy(update={"data": folder, "masks": masks[truth.SAME]})
    return truth.with_scores(record, sets.store, sets.cache, {truth.SAME: open_any(folder, sets.cache)}, lambda images, split, files: hidden(images, there, split, files))


# What they say


def read(path: Path) -> list[Record]:
    """The committed records; none if there is no such file.

    Raises:
        ValueError: if it is damaged.
    """
    return read_table(path) if path.is_file() else []


def scores(records: list[Record], region: str, test: str) -> Scored | None:
    """Logits of the runs that see a region on a test set, a row for each seed; None where there are none."""
    arm = sorted((record for record in records if record.config.get("region", "whole") == region), key=lambda record: record.config["seed"])
    return together([scored(arm, split) for split in TESTS[test]]) if arm else None


def change(records: list[Record], region: str, test: str) -> Estimate:
    """AUC of a region less that of the whole image, paired by image and seed; NaN where one is missing."""
    pair = [scores(records, name, test) for name in (region, "whole")]
    if None in pair:
        return Estimate(np.nan)
    one, other = (two_way.area(images.logits, images.labels, images.patients) for images in pair)
    return two_way.analyse(one - other).estimate()


def rows(records: list[Record]) -> list[tuple[str, dict[str, Estimate]]] | str:
    """Rows of a figure: AUC of each region, at home and in the other collection; or that nothing is recorded."""
    found = [(region, {test: images for test in TESTS if (images := scores(records, region, test)) is not None}) for region in REGIONS]
    return [(NAMES[region], {test: auc(images) for test, images in values.items()}) for region, values in found if values] or NOT_RECORDED


def told(records: list[Record]) -> str:
    """What the figure shows, in a sentence."""
    images = scores(records, "outside_lungs", OWN)
    if images is None:
        return "Nothing is recorded of this yet."
    value, less = auc(images), change(records, "lungs", COLLECTION)
    return (
        f"Does everything but the lungs tell the class at home? {beyond(value)}: AUC {value.percent()} %, where 50 is chance. "
        f"Do the lungs alone do better in the other collection than the whole image? {beyond(less, 0)}: {points(less)} of AUC."
    )
