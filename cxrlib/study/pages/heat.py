"""Where Grad-CAM looks, image by image: the share of each map's heat in the central region and in the frame.

The real X-rays of the committed records have no lung masks. The *central region* is the central square that covers half
of the image, the region of :mod:`cxrlib.data.views`; it holds most of the lungs, and the heart, the spine and whatever
was written over them. The *frame* is the outer eighth on each side, one cell of the laptop model's feature map. The two
nearly cover the image, so what one of them gains the other loses.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.config import CENTRE_SHARE
from cxrlib.data.dataset import Dataset
from cxrlib.data.views import central_square
from cxrlib.experiment.record import Record, code_version, load_model
from cxrlib.explain import energy_inside, frame_mask, grad_cam
from cxrlib.metrics import two_way
from cxrlib.study.tables import read_table

FRAME_SHARE = 0.125
REGIONS = ("centre", "frame")
TYPES = {"seed": "int64", "file": "str", "patient_id": "str", "label": "int64", "predicted": "int64"}
TYPES |= dict.fromkeys(("centre", "frame", "centre_area", "frame_area"), "float64")


def measure(records: Iterable[Record], store: Path, dataset: Dataset, cache: Path) -> pd.DataFrame:
    """The heat of every test image of every run, explaining the class that the run predicts, as in notebook 05.

    Args:
        records: with their trained weights in ``store``.

    Returns:
        A row per run and image: seed, file, patient_id, label and predicted class (0 or 1), centre and frame (share of the
        map's total in [0, 1]; NaN where the map is all zero), centre_area and frame_area (share of the image).
        ``attrs['about']`` says of which data, runs and code.

    Raises:
        WeightsError: if the weights of a record are missing or damaged.
    """
    import torch

    from cxrlib.model.network import normalise

    rows, keys = [], {}
    records = list(records)
    for record in records:
        size, origin = record.config["crop"], record.initialisation
        test = record.table()
        grey = np.array(dataset.images("test", size, cache))
        inputs = normalise(torch.from_numpy(grey), origin["mean"], origin["std"], record.config["image_channels"])
        maps = grad_cam(load_model(record, store), inputs)
        masks = {"centre": central_square(size, CENTRE_SHARE), "frame": frame_mask(size, FRAME_SHARE)}
        values = {name: energy_inside(maps, np.broadcast_to(mask, maps.shape)) for name, mask in masks.items()}
        areas = {f"{name}_area": mask.mean() for name, mask in masks.items()}
        table = test[["file", "patient_id", "label"]].assign(seed=record.config["seed"], predicted=(test["logit"] > 0).astype(int))
        rows.append(table.assign(**values, **areas))
        keys[str(record.config["seed"])] = record.key
    table = pd.concat(rows, ignore_index=True)[list(TYPES)].astype(TYPES)
    first = records[0]
    table.attrs["about"] = {
        "data": first.data["name"], "fingerprint": dataset.fingerprint, "is_phantom": dataset.is_phantom, "code_version": code_version(),
        "init": first.initialisation["name"], "crop": first.config["crop"], "steps": first.config["schedule"][-1], "records": keys,
    }  # fmt: skip
    return table


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`measure` as :func:`cxrlib.study.tables.write_table` wrote it, ``attrs`` and all; None if there is no such file.

    Raises:
        ValueError: if the file is something else, or damaged.
    """
    return read_table(path, TYPES, "table of Grad-CAM heat", "cxr shortcuts grad-cam")


def _values(table: pd.DataFrame, region: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of heat (seeds, images), labels (images,) and patients (images,)."""
    wide = table.pivot(index="seed", columns="file", values=region)
    images = table.drop_duplicates("file").set_index("file").loc[wide.columns]
    return wide.to_numpy(float), images["label"].to_numpy(), images["patient_id"].to_numpy()


def by_class(table: pd.DataFrame, region: str) -> list[np.ndarray]:
    """Contributions (seeds, patients) to the mean share of negatives, and of positives, over all maps that are not all zero."""
    values, labels, patients = _values(table, region)
    return [two_way.share(np.where(labels == label, values, np.nan), patients, pooled=True) for label in (0, 1)]


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Columns region, label ('negative' or 'positive'), heat (Estimate over patients and runs), area, images (mean number scored a run)."""
    rows = []
    for region in REGIONS:
        for label, (name, values) in enumerate(zip(("negative", "positive"), by_class(table, region), strict=True)):
            scored = table.loc[table["label"] == label, region].notna().sum() / table["seed"].nunique()
            row = {"region": region, "label": name, "heat": two_way.analyse(values, bounded=True).estimate()}
            rows.append(row | {"area": float(table[f"{region}_area"].iloc[0]), "images": float(scored)})
    return pd.DataFrame(rows, dtype=object)


def called_alike(table: pd.DataFrame, prediction: int) -> list[np.ndarray]:
    """Contributions (seeds, patients) to the heat in the central region of negatives, and of positives, that were called ``prediction``.

    Seeds call few images wrong, so the mean is over all of them at once and not over the seeds' means.
    """
    values, labels, patients = _values(table, "centre")
    called = table.pivot(index="seed", columns="file", values="predicted").to_numpy()
    return [two_way.share(np.where((labels == label) & (called == prediction), values, np.nan), patients, pooled=True) for label in (0, 1)]


def by_prediction(table: pd.DataFrame) -> pd.DataFrame:
    """Heat in the central region by predicted and by true class: does it follow what an image is, or what it is called?

    A map explains the predicted class, and a negative prediction is explained by what speaks for negative.

    Returns:
        A row for each predicted class: predicted ('negative' or 'positive'), negative and positive (Estimates, share of heat
        of images of that true class), difference (positive less negative, with p-value) and images (mean number a run, of
        each true class). NaN where no image was called so.
    """
    rows = []
    counts = table.groupby(["predicted", "label"])["centre"].count() / table["seed"].nunique()
    for prediction, name in enumerate(("negative", "positive")):
        both = called_alike(table, prediction)
        row = {"predicted": name} | {true: two_way.analyse(values, bounded=True).estimate() for true, values in zip(("negative", "positive"), both, strict=True)}
        row["difference"] = two_way.analyse(both[1] - both[0]).estimate()
        rows.append(row | {"images": tuple(float(counts.get((prediction, label), 0)) for label in (0, 1))})
    return pd.DataFrame(rows, dtype=object)


def differences(table: pd.DataFrame | None) -> dict[str, np.ndarray]:
    """Contributions (seeds, patients) to the differences that claim 9 is about; none if a class is missing.

    'chest': share of heat in the central region, positive less negative images; 'edges': in the frame, negative less
    positive; 'called negative' and 'called positive': the first among images that were called alike, if both classes occur.
    """
    if table is None or table["label"].nunique() < 2:
        return {}
    (well, ill), (none, some) = (by_class(table, region) for region in REGIONS)
    found = {"chest": ill - well, "edges": none - some}
    for prediction, name in enumerate(("negative", "positive")):
        alike = called_alike(table, prediction)
        if all(np.isfinite(values).any() for values in alike):
            found[f"called {name}"] = alike[1] - alike[0]
    return found
