"""Linear probes: what each layer of a frozen network knows (Alain & Bengio 2016), for the primer's question of what transfers.

Features of a layer, averaged over the image, go into a logistic regression. A layer whose probe is no better than that
of a random network brought nothing along.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cxrlib.config import RunConfig
from cxrlib.data.dataset import Dataset
from cxrlib.experiment.one_run import image_sets
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import auc_over_seeds
from cxrlib.model.network import create_model, normalise
from cxrlib.study.parts import named
from cxrlib.study.tables import read_table
from cxrlib.train.score import ImageSet
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import Initialisation

LAYERS = ("stem", "stage 1", "stage 2", "stage 3", "stage 4")
TYPES = {"data": "str", "fingerprint": "str", "init": "str", "layer": "str", "images_per_class": "int64", "seed": "int64"}
TYPES |= {"file": "str", "patient_id": "str", "label": "int64", "score": "float64"}


@torch.inference_mode()
def pooled_features(model: nn.Module, images: ImageSet, initialisation: Initialisation, image_channels: int) -> dict[str, np.ndarray]:
    """Features after the stem and each stage, averaged over the image.

    Args:
        model: a ResNet-v2 of timm, such as ``resnetv2_laptop``.
        images: uint8, at the test size.

    Returns:
        For each of :data:`LAYERS` a float32 array of shape (N, channels of that layer).
    """
    found: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, layer=layer: found[layer].append(output.mean(dim=(2, 3)).numpy()))
        for layer, module in zip(LAYERS, (model.stem, *model.stages), strict=True)
    ]
    model.eval()
    try:
        for start in range(0, len(images.rows), 256):
            batch = torch.from_numpy(np.ascontiguousarray(images.images[images.rows[start : start + 256]]))
            model(normalise(batch, initialisation.mean, initialisation.std, image_channels))
    finally:
        for handle in handles:
            handle.remove()
    return {layer: np.concatenate(parts) for layer, parts in found.items()}


def linear_probe(features: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Log-odds of ``tested`` by a logistic regression (L2, C = 1) on standardised features.

    Args:
        features: shape (N, C). labels: 0 or 1, shape (N,). tested: shape (M, C).

    Returns:
        Shape (M,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels).decision_function(tested)


def probe(dataset: Dataset, settings: RunConfig, inits: tuple[str, ...], seeds: tuple[int, ...]) -> pd.DataFrame:
    """Probe every layer of networks as they are initialised, not fine-tuned.

    Args:
        settings: architecture, crop (both splits are resized to it), images per class, cache and data.
        inits: initialisations; each seed draws another training subset, and another network if the init is 'random'.

    Returns:
        Columns ``data, fingerprint, init, layer, images_per_class, seed, file, patient_id, label, score``; one row per
        test image and probe.
    """
    tables = []
    for seed in seeds:
        config = settings.model_copy(update={"seed": seed, "resize": settings.crop})
        training, splits, index = image_sets(config, dataset)
        for init in inits:
            initialisation = resolve_initialisation(init, seed=seed)
            torch.manual_seed(seed)
            model = create_model(config.arch, initialisation, config.image_channels)
            seen, tested = (pooled_features(model, part, initialisation, config.image_channels) for part in (training, splits["test"]))
            about = {"data": dataset.folder.resolve().name, "fingerprint": dataset.fingerprint, "init": initialisation.name, "seed": seed}
            for layer in LAYERS:
                scores = linear_probe(seen[layer], training.labels, tested[layer])
                rows = index["test"][["file", "patient_id"]].assign(label=splits["test"].labels, score=scores, layer=layer, **about)
                tables.append(rows.assign(images_per_class=config.images_per_class))
    return pd.concat(tables, ignore_index=True)


def read(path: Path) -> pd.DataFrame:
    """A kept table of :func:`probe`, such as ``results/probe.parquet``: the columns of ``TYPES``, without rows if there is no such file.

    Raises:
        ValueError: if the file is something else or damaged, names a layer that is none of :data:`LAYERS`, has a score that
            is no number, a class that is neither 0 nor 1, or an image twice in one probe.
    """
    way_out = "cxrlib.study.pages.probes.probe"
    table = read_table(path, TYPES, "table of linear probes", way_out, described=False)
    if table is None:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in TYPES.items()})
    wrong = {
        "a layer that is none": ~table["layer"].isin(LAYERS),
        "a score that is no number": ~np.isfinite(table["score"]),
        "a class that is neither 0 nor 1": ~table["label"].isin((0, 1)),
        "an image twice in one probe": table.duplicated(["data", "init", "layer", "seed", "file"]),
    }
    for what, rows in wrong.items():
        if rows.any():
            raise ValueError(f"{path} is no table of linear probes (row {int(np.argmax(rows)) + 1} has {what}); '{way_out}' makes one")
    return table


def probe_aucs(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of every probe over seeds, with 95 % intervals over patients and seeds: columns data, layer, init, AUC."""
    rows = []
    for (data, layer, init), part in table.groupby(["data", "layer", "init"], sort=False):
        rows.append({"data": data, "layer": layer, "init": init, "AUC": _auc(part)})
    return pd.DataFrame(rows, dtype=object)


def _auc(part: pd.DataFrame) -> Estimate:
    runs = [run.sort_values("file") for _, run in part.groupby("seed")]
    scores = np.stack([run["score"].to_numpy(float) for run in runs])
    return auc_over_seeds(scores, runs[0]["label"].to_numpy(), runs[0]["patient_id"].to_numpy())


def recorded_ends(table: Path) -> str:
    """AUC of the last stage of each initialisation on the real X-rays of a committed table of probes, or that there is none."""
    if not Path(table).is_file():
        return "not measured"
    kept = read(table)
    last = probe_aucs(kept[kept["layer"] == LAYERS[-1]])
    return "; ".join(f"{named(row['init'])} {row['AUC'].percent()}" for _, row in last.iterrows())
