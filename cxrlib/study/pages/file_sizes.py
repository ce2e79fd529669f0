"""Sizes and sources of image files: what the class can be guessed from without looking at a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data.dataset import Dataset
from cxrlib.data.decode import decode_image
from cxrlib.data.labels import image_path
from cxrlib.experiment.record import code_version
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate
from cxrlib.study.tables import read_table

TYPES = dict.fromkeys(("split", "file", "patient_id", "label", "source"), "str") | dict.fromkeys(("width", "height"), "int64")


def measure(dataset: Dataset) -> pd.DataFrame:
    """Columns split, file, patient_id, label ('positive' or 'negative'), source, width and height in pixels, in the order of the index."""
    from PIL import Image

    sizes = []
    for row in dataset.index[["file", "split"]].itertuples(index=False):
        path = image_path(dataset.folder, row)
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:  # DICOM: Pillow cannot read its header
            sizes.append(decode_image(path).shape[::-1])
    width, height = np.array(sizes).T
    table = dataset.index.assign(width=width, height=height)[list(TYPES)].reset_index(drop=True)
    table.attrs = {"about": {"data": dataset.folder.resolve().name, "fingerprint": dataset.fingerprint, "code_version": code_version()}}
    return table


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`measure` as :func:`cxrlib.study.tables.write_table` wrote it, ``attrs`` and all; None if there is no such file.

    Raises:
        ValueError: if the file is something else, or damaged.
    """
    return read_table(path, TYPES, "table of image files", "cxr shortcuts files")


def guess(files: pd.DataFrame, by: str = "size") -> Estimate:
    """Balanced test accuracy of a small decision tree that sees no picture.

    The tree is fitted on the training split and has at most 8 leaves. The interval is over test patients; 0.5 is chance. Where it
    gives every image one answer it is right by chance whatever the patients, and the 0.5 has no interval.

    Args:
        by: 'size', width and height of the file, or 'source', its name.
    """
    from sklearn.tree import DecisionTreeClassifier

    positive, train, test = files["label"] == "positive", files["split"] == "train", files["split"] == "test"
    seen = pd.get_dummies(files["source"]).to_numpy() if by == "source" else files[["width", "height"]].to_numpy()
    tree = DecisionTreeClassifier(max_leaf_nodes=8, class_weight="balanced", random_state=0).fit(seen[train], positive[train])
    truth = positive[test].to_numpy()
    called = tree.predict(seen[test])
    if len(set(called)) == 1 and len(set(truth)) == 2:
        return Estimate(0.5)
    right = (called == truth).astype(float)[None]
    patients = files.loc[test, "patient_id"].to_numpy()
    classes = [two_way.share(np.where(truth == label, right, np.nan), patients) for label in (False, True)]
    return two_way.analyse(sum(classes) / 2, bounded=True).estimate()
