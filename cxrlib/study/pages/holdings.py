"""What a data folder holds, read where it lies: images and patients by split, class and source, further columns, and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.data.extent import EXTRA, extra_columns, masks_of
from cxrlib.data.labels import LABELS

MOST = 8
"""Values of a further column that are counted one by one; of a column with more only their number is said."""
REPEATED = {"class", "patientid", "source"}
"""Columns of ``labels_extra.csv`` that the label files have too."""


def counts(index: pd.DataFrame) -> str:
    """Images and patients by split, source and class, as a Markdown table.

    Args:
        index: of :func:`cxrlib.data.extent.extent`.
    """
    found = index.groupby(["split", "source", "label"], sort=True)
    rows = [[*names, len(part), part["patient_id"].nunique()] for names, part in found]
    rows += [["all", "", label, len(part), part["patient_id"].nunique()] for label in LABELS if len(part := index[index["label"] == label])]
    return markup.table(["split", "source", "class", "images", "patients"], rows)


def columns(folder: Path, index: pd.DataFrame) -> str:
    """What ``labels_extra.csv`` says, a row for each of its columns, as a Markdown table; empty without such a file or column.

    Raises:
        DataError: see :func:`cxrlib.data.extent.extra_columns`.
    """
    extra = extra_columns(folder, index)
    rows = [[name, _summary(extra[name]), int((extra[name] != "").sum())] for name in extra if name not in REPEATED]
    return markup.table(["column", "says", "images"], rows) if rows else ""


def _summary(values: pd.Series) -> str:
    said = values[values != ""]
    if said.nunique() <= MOST:
        return ", ".join(f"{value} {count}" for value, count in said.value_counts().items()) or "nothing"
    numbers = pd.to_numeric(said, errors="coerce")
    if numbers.notna().all():
        low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
        return f"median {middle:g}, quartiles {low:g} and {high:g}"
    common = ", ".join(f"{value} {count}" for value, count in said.value_counts().head(3).items())
    return f"{said.nunique()} values, most often {common}"


def masks(folder: Path, index: pd.DataFrame) -> str:
    """Kinds of masks in ``masks/`` as a Markdown table; empty if there are none."""
    found = masks_of(folder, index)
    return markup.table(["masks of", "images that have one", "of"], found.to_numpy().tolist()) if len(found) else ""


def markdown(folder: Path, index: pd.DataFrame) -> str:
    """All of it, with a sentence before each table."""
    name = markup.code(folder.resolve().name)
    texts = [f"{name} has {len(index):,} images of {index['patient_id'].nunique():,} patients.", counts(index)]
    if further := columns(folder, index):
        texts += [f"Further columns, from {markup.code(EXTRA)}:", further]
    if drawn := masks(folder, index):
        texts += [f"Masks, from {markup.code('masks')}:", drawn]
    return "\n\n".join(texts)
