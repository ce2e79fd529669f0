"""Where do heat maps look on real X-rays, with truth? Shares of heat by radiologists' masks, against what no network would score.

For every image with masks, every run, method and layer: the share of the map's heat in the lungs, in the opacities, in the
mediastinum, on tubes and lines, elsewhere, and in the outer eighth of the image. A share means little by itself: beside it stand

* the region's share of the image, which an even map scores;
* the share of a *centre blob*: the same values of heat, the largest moved to the centre of the image, which a map scores
  that knows nothing but where a chest usually is;
* the map of an *untrained* network: the same layers with random weights (Adebayo et al. 2018).

*Pointing* is whether the hottest pixel lies in the region. *Side* compares the two halves of the chest: which has more opacity, which more heat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cxrlib.data.dataset import Dataset
from cxrlib.data.extent import extra_columns
from cxrlib.experiment.record import Record, code_version, load_model
from cxrlib.explain import default_target_layer, energy_inside, frame_mask, grad_cam, randomise_from_top
from cxrlib.model.network import normalise
from cxrlib.study.tables import read_table

MASKS = ("lungs", "opacities", "mediastinum", "devices")
REGIONS = (*MASKS, "elsewhere", "frame")
CAM, OCCLUSION, UNTRAINED = "Grad-CAM", "occlusion", "untrained"
EARLIER_LAYERS = ("stages.1", "stages.2")
"""Of the laptop model: 15 x 15 and 8 x 8 cells at 120 px; the last layer has 8 x 8."""
WINDOW, STRIDE = 24, 24
"""Of occlusion, in pixels."""
TYPES = dict.fromkeys(("training", "init", "method", "layer", "file", "patient_id"), "str") | dict.fromkeys(("seed", "label", "predicted"), "int64")
TYPES |= dict.fromkeys(("seen", "doubt"), "bool")
TYPES |= dict.fromkeys((f"{part}{region}" for part in ("", "area_", "blob_") for region in REGIONS), "float64")
TYPES |= dict.fromkeys(("point_lungs", "point_opacities", "heat_side", "opacity_side"), "float64")


def regions_of(dataset: Dataset, size: int) -> dict[str, np.ndarray]:
    """Masks of the test images by region, bool (N, size, size).

    'elsewhere' is what is neither lung nor mediastinum: chest wall, shoulders, belly, letters and the air around.

    Raises:
        ValueError: if the folder lacks one of the masks.
    """
    masks = {name: dataset.masks(name, "test", size) for name in MASKS}
    if lacking := [name for name, mask in masks.items() if mask is None]:
        raise ValueError(f"{dataset.folder / 'masks'} has no {', no '.join(lacking)}; give a folder with masks of {', '.join(MASKS)}")
    masks["elsewhere"] = ~(masks["lungs"] | masks["mediastinum"])
    masks["frame"] = np.broadcast_to(frame_mask(size), masks["lungs"].shape)
    return masks


def centre_blobs(maps: np.ndarray) -> np.ndarray:
    """Each map with its values moved: the largest at the centre of the image, the smaller the further out. Shape (N, S, S), as given."""
    size = maps.shape[1]
    yy, xx = np.mgrid[:size, :size] - (size - 1) / 2
    order = np.argsort(np.hypot(yy, xx), axis=None, kind="stable")
    blobs = np.empty((len(maps), size * size), maps.dtype)
    blobs[:, order] = -np.sort(-maps.reshape(len(maps), -1), axis=1)
    return blobs.reshape(maps.shape)


def sides(values: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Whether ``values`` in the lungs lie right or left in the picture: (right - left) / (right + left), shape (N,), in [-1, 1].

    The halves part at the middle column of the lungs' box. NaN where there are no lungs, or nothing in them.
    """
    found = np.full(len(values), np.nan)
    for row, (value, mask) in enumerate(zip(values, lungs, strict=True)):
        columns = np.flatnonzero(mask.any(axis=0))
        if columns.size:
            middle = (columns[0] + columns[-1] + 1) // 2
            left, right = ((value * mask)[:, part].sum(dtype=float) for part in (slice(None, middle), slice(middle, None)))
            if left + right > 0:
                found[row] = (right - left) / (right + left)
    return found


def pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """1 where the hottest pixel lies in the mask, 0 where not; NaN where the map is all zero or the mask empty. Shape (N,)."""
    hottest = maps.reshape(len(maps), -1).argmax(axis=1)
    hit = masks.reshape(len(masks), -1)[np.arange(len(maps)), hottest].astype(float)
    return np.where((maps.max(axis=(1, 2)) > 0) & masks.any(axis=(1, 2)), hit, np.nan)


def occlusion(model: nn.Module, images: torch.Tensor, classes: np.ndarray) -> np.ndarray:
    """How much the score of a class falls when a square is covered with the image's mean (Zeiler and Fergus 2014), by captum.

    Args:
        images: normalised, shape (N, C, H, W).
        classes: 0 or 1 for each image, as for :func:`cxrlib.explain.grad_cam`.

    Returns:
        float32 (N, H, W), not negative: 0 where covering raises the score.
    """
    from captum.attr import Occlusion

    signs = torch.from_numpy(np.where(np.asarray(classes) == 1, 1.0, -1.0)).to(images)
    # All covered versions of one image differ from it in one window: captum asks for a batch of them at a time.
    method = Occlusion(lambda batch, sign: model(batch).reshape(-1) * sign)
    with torch.inference_mode():
        found = [
            method.attribute(
                image[None], sliding_window_shapes=(image.shape[0], WINDOW, WINDOW), strides=(image.shape[0], STRIDE, STRIDE),
                baselines=float(image.mean()), additional_forward_args=(sign,), perturbations_per_eval=32,
            )
            for image, sign in zip(images, signs, strict=True)
        ]  # fmt: skip
    return torch.cat(found).mean(dim=1).clamp(min=0).numpy()


def measure(
    record: Record, training: str, store: Path, dataset: Dataset, cache: Path, seen: set[str], layers: Sequence[str] = EARLIER_LAYERS, check: bool = False
) -> pd.DataFrame:
    """The heat of every image with masks in one run, explaining the class that the run predicts.

    Args:
        record: with its weights in ``store``.
        training: name of what it was trained on.
        dataset: of :func:`cxrlib.data.dataset.read_dataset`, with masks of its test split.
        seen: files of ``dataset`` that the training had among its images.
        layers: modules besides the last one; a network that lacks one goes without.
        check: measure :func:`occlusion` too.

    Returns:
        A row per method, layer and image, columns as in ``TYPES``: shares of heat by region (0 to 1; NaN where the map is all zero
        or the region empty), of area (``area_``) and of the centre blob (``blob_``), pointing, sides. ``attrs['about']`` says of which data, run and code.

    Raises:
        WeightsError: if the weights are missing or damaged. ValueError: if the folder lacks one of the masks.
    """
    size, origin, seed = record.config["crop"], record.initialisation, record.config["seed"]
    masks = regions_of(dataset, size)
    grey = np.array(dataset.images("test", size, cache))
    inputs = normalise(torch.from_numpy(grey), origin["mean"], origin["std"], record.config["image_channels"])
    model = load_model(record, store)
    with torch.inference_mode():
        called = np.concatenate([(model(part).reshape(-1) > 0).long().numpy() for part in inputs.split(32)])
    last, modules = default_target_layer(model, inputs), dict(model.named_modules())
    found = {(CAM, last): grad_cam(model, inputs, last, called)}
    found |= {(CAM, layer): grad_cam(model, inputs, layer, called) for layer in layers if layer in modules}
    found[UNTRAINED, last] = grad_cam(randomise_from_top(model, 1, seed), inputs, last, called)
    if check:
        found[OCCLUSION, ""] = occlusion(model, inputs, called)
    index = dataset.index[dataset.index["split"] == "test"]
    images = index[["file", "patient_id"]].assign(
        training=training, init=origin["name"], seed=seed, label=(index["label"] == "positive").astype(int), predicted=called,
        seen=index["file"].isin(seen), doubt=index["file"].isin(_doubts(dataset)), opacity_side=sides(masks["opacities"], masks["lungs"]),
    )  # fmt: skip
    rows = [images.assign(method=method, layer=layer, **_scores(maps, masks)) for (method, layer), maps in found.items()]
    table = pd.concat(rows, ignore_index=True)[list(TYPES)].astype(TYPES)
    table.attrs["about"] = {
        "data": dataset.folder.resolve().name, "fingerprint": dataset.fingerprint, "is_phantom": dataset.is_phantom,
        "code_version": code_version(), "records": {f"{training} {origin['name']} {seed}": record.key},
    }  # fmt: skip
    return table


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of :func:`measure` as one, which tells of all their records.

    Raises:
        ValueError: if they are of other images.
    """
    abouts = [table.attrs["about"] for table in tables]
    if len({about["fingerprint"] for about in abouts}) != 1:
        raise ValueError("these tables are of other images than one another; delete them and measure all again")
    found = pd.concat([table.assign() for table in tables], ignore_index=True)
    records = {name: key for about in abouts for name, key in about["records"].items()}
    found.attrs = {"about": abouts[-1] | {"records": records}}
    return found


def _doubts(dataset: Dataset) -> set[str]:
    """Files of whose masks ``labels_extra.csv`` says that they are in doubt; empty where it does not say."""
    extra = extra_columns(dataset.folder, dataset.index)
    return set(dataset.index.loc[extra["doubt"] != "", "file"]) if "doubt" in extra else set()


def _scores(maps: np.ndarray, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    blobs = centre_blobs(maps)
    found: dict[str, np.ndarray] = {}
    for region, mask in masks.items():
        found[region] = energy_inside(maps, mask)
        found[f"area_{region}"] = np.where(mask.any(axis=(1, 2)), mask.mean(axis=(1, 2)), np.nan)
        found[f"blob_{region}"] = energy_inside(blobs, mask)
    found |= {f"point_{region}": pointing(maps, masks[region]) for region in ("lungs", "opacities")}
    return found | {"heat_side": sides(maps, masks["lungs"])}


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`measure`, written by :func:`cxrlib.study.tables.write_table`; None if there is no such file.

    Raises:
        ValueError: if the file is something else, or damaged.
    """
    return read_table(path, TYPES, "table of heat by radiologists' masks", "cxr truth attention")
