"""What a trained network makes of X-rays before it decides: the features that its last layer sees, as a map of two axes and as linear probes.

One network of ``results/across.parquet`` sees its own test images, those of another collection and those of one hospital. Its
512 features are drawn on a plane by t-SNE (van der Maaten and Hinton 2008), which keeps near what is near and says nothing of
distances; so beside the picture stand numbers: how well a linear probe, on patients that it has not seen, reads the class
from the features inside one collection, and how well it reads which set a positive comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cxrlib.data.dataset import Dataset
from cxrlib.experiment.record import Record, code_version, load_model
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import auc_over_seeds
from cxrlib.model.network import normalise
from cxrlib.study.pages.probes import linear_probe
from cxrlib.study.pages.shortcuts import NOT_RECORDED, beyond
from cxrlib.study.tables import read_table
from cxrlib.study.truth import APART, HOSPITAL, SAME

FOLDS = 5
OWN = APART
NAMES = {OWN: "own test set", SAME: "Cohen's collection", HOSPITAL: "Hannover"}
CLASS, SET = "class_probe", "set_probe"
TYPES = dict.fromkeys(("set", "split", "file", "patient_id", "label", "source"), "str") | dict.fromkeys(("x", "y", CLASS, SET), "float64")


@torch.inference_mode()
def features_of(model: nn.Module, images: np.ndarray, mean, std, image_channels: int) -> np.ndarray:
    """What the last layer of a timm network sees of uint8 images (N, S, S): float32, shape (N, channels)."""
    model.eval()
    parts = []
    for start in range(0, len(images), 128):
        batch = normalise(torch.from_numpy(np.array(images[start : start + 128])), mean, std, image_channels)
        parts.append(model.forward_head(model.forward_features(batch), pre_logits=True).flatten(1).numpy())
    return np.concatenate(parts)


def plane(features: np.ndarray) -> np.ndarray:
    """Features (N, C) on a plane, (N, 2), by t-SNE of their standardised values, begun at the two main axes; the same for the same features."""
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(StandardScaler().fit_transform(features)).astype(float)


def probed(features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Log-odds of label 1 for each row, by linear probes that have not seen its patient; NaN if a label has fewer patients than folds.

    Args:
        features: (N, C); labels: 0 or 1, (N,); patients: ids, (N,).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.full(len(features), np.nan)
    if any(len(set(patients[labels == label])) < FOLDS for label in (0, 1)):
        return found
    for train, held in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, labels, patients):
        found[held] = linear_probe(features[train], labels[train], features[held])
    return found


def measure(record: Record, store: Path, sets: Mapping[str, Dataset], cache: Path) -> pd.DataFrame:
    """Where one network puts every image, and what probes read from its features.

    Args:
        sets: by their keys in ``NAMES``; of the training's own set the test images count, of the others all.

    Returns:
        A row per image, columns as in ``TYPES``: x and y on the plane; 'class_probe', log-odds of positive by a probe inside ``same-source``
        (NaN elsewhere); 'set_probe', log-odds that a positive is of ``same-source`` and not of the own test set (NaN for all else). An image that
        is in ``hannover`` and in ``same-source`` counts with the hospital.

    Raises:
        WeightsError: if the weights are missing or damaged.
    """
    model, origin = load_model(record, store), record.initialisation
    tables, features = [], []
    for name, dataset in sets.items():
        for split in ("test",) if name == OWN else tuple(dataset.index["split"].unique()):
            rows = dataset.index[dataset.index["split"] == split]
            tables.append(rows[["split", "file", "patient_id", "label", "source"]].assign(set=name))
            features.append(features_of(model, dataset.images(split, record.config["crop"], cache), origin["mean"], origin["std"], record.config["image_channels"]))
    table, seen = pd.concat(tables, ignore_index=True), np.concatenate(features)
    twice = (table["set"] == SAME) & table["file"].isin(table.loc[table["set"] == HOSPITAL, "file"])
    table, seen = table[~twice].reset_index(drop=True), seen[~twice.to_numpy()]
    positive, patients = (table["label"] == "positive").to_numpy(), table["patient_id"].to_numpy()
    table = table.assign(**dict(zip("xy", plane(seen).T, strict=True)))
    for column, rows, labels in ((CLASS, table["set"] == SAME, positive), (SET, positive & table["set"].isin((OWN, SAME)), table["set"] == SAME)):
        rows, labels = np.asarray(rows), np.asarray(labels).astype(int)
        values = np.full(len(table), np.nan)
        values[rows] = probed(seen[rows], labels[rows], patients[rows])
        table[column] = values
    table = table[list(TYPES)].astype(TYPES)
    table.attrs["about"] = {"record": record.key, "init": origin["name"], "code_version": code_version()} | {name: dataset.fingerprint for name, dataset in sets.items()}
    return table


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`measure`; None if there is no such file. ValueError if it is damaged."""
    return read_table(path, TYPES, "table of features on a plane", "cxr truth embedding")


def told_apart(table: pd.DataFrame) -> dict[str, Estimate]:
    """AUC of both probes with its 95 % interval over patients: of the class inside one collection, and of the set among positives."""
    found = {}
    for column in (CLASS, SET):
        rows = table[table[column].notna()]
        labels = rows["label"] == "positive" if column == CLASS else rows["set"] == SAME
        found[column] = auc_over_seeds(rows[column].to_numpy()[None], labels.to_numpy().astype(int), rows["patient_id"].to_numpy()) if len(rows) else Estimate(np.nan)
    return found


def groups(table: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Points (n, 2) of the figure: in one panel by class, in the other by set."""
    by_class = {label: table.loc[table["label"] == label, ["x", "y"]].to_numpy() for label in ("negative", "positive")}
    by_set = {name: table.loc[table["set"] == key, ["x", "y"]].to_numpy() for key, name in NAMES.items()}
    return {"by class": by_class, "by set": by_set}


def answer(table: pd.DataFrame | None) -> str:
    """What a reader should take away, in a sentence."""
    if table is None:
        return NOT_RECORDED
    auc = told_apart(table)
    word = {"yes": "the set", "no": "the class", "not clear": "neither"}[_more(auc[SET], auc[CLASS])]
    return (
        f"from the same features a linear probe tells which set a positive comes from with AUC {auc[SET].percent()} %, and inside one collection "
        f"the class with {auc[CLASS].percent()} % ({beyond(auc[CLASS])}, above chance); {word} is read better as far as the intervals go"
    )


def _more(one: Estimate, other: Estimate) -> str:
    return "yes" if one.low > other.high else "no" if one.high < other.low else "not clear"
