"""Can lungs be found on real X-rays? A small U-Net, trained on masks and boxes of radiologists and tried on patients it has not seen.

**The bar, set before anything was measured:** it ships if, over five folds of patients, the 95 % interval of its mean Dice over
all images with masks lies above :data:`BAR` (images whose masks are in doubt count too). Below that the boxes stay.

The images of ``covid-masks`` are images of ``same-source`` too: folds are drawn over the patients of ``same-source``, so that
nobody who is held out lends a mask or a box. Images with a box only are scored by the box around what is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data import derive
from cxrlib.data.extent import extra_columns, open_any
from cxrlib.data.labels import DataError
from cxrlib.experiment.record import code_version
from cxrlib.files import atomic_write
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import share_over_seeds
from cxrlib.model.segmentation import SIZE, dice, load_segmenter, lung_box, lung_probability, lungs_of
from cxrlib.study.pages.shortcuts import NOT_RECORDED
from cxrlib.study.tables import read_table, write_table
from cxrlib.study.truth import FOLDS, MASKED, SAME, SPLITS, TruthSets
from cxrlib.train.segment import STEPS, fit_segmenter

BAR = 0.90
"""Dice above which the whole 95 % interval must lie."""
OPAQUE = (0, 0.15, 0.5, 1.01)
FEWEST = 5
"""Patients below which a group is not drawn."""
NAMES = {"dice": "Dice of the masks", "box": "overlap of the boxes"}
TYPES = dict.fromkeys(("file", "patient_id", "label", "view"), "str") | {"fold": "int64", "doubt": "bool"}
TYPES |= dict.fromkeys(("dice", "box", "opaque", "area"), "float64")


@dataclass(frozen=True)
class Drawn:
    """Images of ``same-source`` with what radiologists drew on them, a row for each.

    Attributes:
        index: columns split, file, patient_id, label, and mask_file, the name in ``covid-masks`` (missing where there is no mask).
        images: uint8 (N, SIZE, SIZE).
        masks: of lungs, bool (N, SIZE, SIZE); all False where there is none.
        boxes: filled boxes around lungs, likewise.
        masked: whether an image has a mask, (N,).
    """

    index: pd.DataFrame
    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    masked: np.ndarray


def drawn(sets: TruthSets) -> Drawn:
    """Every image of ``same-source`` with its box, and the mask that ``covid-masks`` has of it, as its ``overlap.csv`` says.

    Raises:
        DataError: if an image with a mask is not in ``same-source``, so that its patient could be in two folds.
    """
    collection, marked = open_any(sets.beside(SAME), sets.cache, SPLITS), open_any(sets.beside(MASKED), sets.cache, ("test",))
    index = collection.index[["split", "file", "patient_id", "label"]].reset_index(drop=True)
    images, boxes = (np.concatenate(parts) for parts in zip(*(
        (np.array(collection.images(split, SIZE, sets.cache)), collection.masks("lung-boxes", split, SIZE)) for split in dict.fromkeys(collection.index["split"])
    ), strict=True))  # fmt: skip
    place = {(row.split, row.file): number for number, row in enumerate(index.itertuples())}
    same = derive.overlap_of(sets.beside(MASKED)).query("other_set == @SAME").drop_duplicates("filename").set_index("filename")
    known = {file: place.get((row.other_split, row.other_filename)) for file, row in same.iterrows()}
    if lost := [file for file in marked.index["file"] if known.get(file) is None]:
        raise DataError(f"{sets.beside(MASKED)}: {len(lost)} images, such as {lost[0]}, are not in {SAME} by overlap.csv, so nobody knows whose they are; take them out")
    rows = np.array([known[file] for file in marked.index["file"]])
    index["mask_file"] = pd.Series(marked.index["file"].to_numpy(), index=rows)
    masks = np.zeros_like(boxes)
    masks[rows] = marked.masks("lungs", "test", SIZE)
    return Drawn(index, images, masks, boxes, np.isin(np.arange(len(index)), rows))


def cross_validated(sets: TruthSets, steps: int = STEPS, on_step: Callable[[str, int, float], None] | None = None) -> pd.DataFrame:
    """Each image scored by a network that has seen nothing of its patient; what is done of it in ``sets.folder`` is not done again.

    Args:
        on_step: called with the fold in words, the number of finished steps and the loss.

    Returns:
        A row per image, columns as in ``TYPES``: dice (NaN without a mask), box (overlap of the box around what was found with the
        drawn one, intersection over union), opaque (share of the lungs that radiologists drew as opaque), area (share of the image found).
    """
    material = drawn(sets)
    folds = derive.fold_of(material.index, FOLDS)
    found = np.empty_like(material.masks)
    for fold in range(FOLDS):
        held = folds == fold
        model = load_segmenter(_trained(sets, f"fold-{fold}-of-{FOLDS}", material, ~held, steps, on_step))
        found[held] = lungs_of(lung_probability(model, material.images[held]))
    table = material.index.assign(
        fold=folds, area=found.mean(axis=(1, 2)), dice=np.where(material.masked, dice(found, material.masks), np.nan),
        box=[_overlap(one, other) for one, other in zip(found, material.boxes, strict=True)],
    )  # fmt: skip
    marked = open_any(sets.beside(MASKED), sets.cache, ("test",)).index
    about = extra_columns(sets.beside(MASKED), marked).assign(mask_file=marked["file"])
    table = table.assign(view=extra_columns(sets.beside(SAME), material.index)["view"])
    table = table.merge(about[["mask_file", "opacity_share", "doubt"]], on="mask_file", how="left")
    table = table.assign(opaque=pd.to_numeric(table["opacity_share"], errors="coerce"), doubt=table["doubt"].fillna("") != "")
    table = table[list(TYPES)].astype(TYPES)
    table.attrs["about"] = {"data": MASKED, "folds": FOLDS, "steps": steps, "size": SIZE, "bar": BAR, "code_version": code_version()}
    return table


def final(sets: TruthSets, steps: int = STEPS, on_step: Callable[[str, int, float], None] | None = None) -> Path:
    """Train on everybody; returns the file of weights."""
    material = drawn(sets)
    return _trained(sets, "everybody", material, np.ones(len(material.index), bool), steps, on_step)


def _trained(sets: TruthSets, name: str, material: Drawn, kept: np.ndarray, steps: int, on_step) -> Path:
    """The weights of a training in ``sets.folder``, made now unless they are there."""
    from cxrlib.model.segmentation import weights_of

    path = sets.folder / "lungs" / f"{name}-{steps}.safetensors"
    if not path.with_suffix(".sha256").is_file():
        mine, boxed = kept & material.masked, kept & ~material.masked
        told = None if on_step is None else lambda step, loss: on_step(name, step, loss)
        model = fit_segmenter(material.images[mine], material.masks[mine], material.images[boxed], material.boxes[boxed], steps, on_step=told)
        content, digest = weights_of(model)
        atomic_write(path, content)
        atomic_write(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
    return path


def _overlap(mask: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of the box around a mask with the box around filled boxes, both (H, W); NaN where nothing is drawn."""
    if not box.any():
        return np.nan
    found, wanted = (np.zeros_like(box) for _ in range(2))
    for target, source in ((found, mask), (wanted, box)):
        if source.any():
            top, bottom, left, right = lung_box(source, 0)
            target[top:bottom, left:right] = True
    return float((found & wanted).sum() / (found | wanted).sum())


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table of :func:`cross_validated`."""
    write_table(table, path)


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`cross_validated`; None if there is no such file. ValueError if it is damaged."""
    return read_table(path, TYPES, "table of lungs found", "cxr truth lungs")


def agreement(table: pd.DataFrame, column: str = "dice") -> Estimate:
    """Mean of ``dice`` or ``box`` over the images that have it, with its 95 % interval over patients."""
    part = table[table[column].notna()]
    return share_over_seeds(part[column].to_numpy(float)[None], part["patient_id"].to_numpy())


def good_enough(table: pd.DataFrame) -> bool:
    """Whether the network passes the bar that was set beforehand."""
    return bool(agreement(table).low >= BAR)


# For the page


def groups(table: pd.DataFrame | None) -> list[tuple[str, dict[str, Estimate]]] | str:
    """Rows of a figure: Dice of masks and overlap of boxes, over all images, by opacity of the lungs, by view; or that nothing is recorded."""
    if table is None:
        return NOT_RECORDED
    parts = {"all images": np.ones(len(table), bool), "masks not in doubt": ~table["doubt"]}
    parts |= {f"{100 * low:g} to {min(100, 100 * high):g} % of the lungs opaque": (table["opaque"] >= low) & (table["opaque"] < high) for low, high in zip(OPAQUE, OPAQUE[1:], strict=False)}
    parts |= {f"view {view}": table["view"] == view for view in sorted(set(table["view"]) - {""})}
    rows = []
    for name, keep in parts.items():
        part = table[np.asarray(keep)]
        values = {shown: agreement(part, column) for column, shown in NAMES.items() if part.loc[part[column].notna(), "patient_id"].nunique() >= FEWEST}
        rows += [(name, values)] if values else []
    return rows


def answer(table: pd.DataFrame | None) -> str:
    """Whether lungs are found well enough, in a sentence with the bar."""
    if table is None:
        return f"The answer is {NOT_RECORDED}; the bar is a Dice of {BAR:.2f}, below which no part of its 95 % interval may lie."
    found, word = agreement(table), "good enough" if good_enough(table) else "not good enough"
    images, patients = int(table["dice"].notna().sum()), table.loc[table["dice"].notna(), "patient_id"].nunique()
    return (
        f"On {images} images of {patients} patients that it has not seen, the network finds the lungs with a Dice of {found:.3f} ({found.low:.3f} to {found.high:.3f}): "
        f"{word}, as the bar is an interval above {BAR:.2f}. The box around what it finds overlaps the drawn one by {agreement(table, 'box'):.2f} over {int(table['box'].notna().sum())} images."
    )
