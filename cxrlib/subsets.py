"""Parts of an index: a patient-wise validation split, few-shot training sets, and images that occur twice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cxrlib.data import LABELS


def validation_split(index: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """Move a share of the training patients to split 'validation', all images of a patient together.

    Patients are drawn within each group of labels they have, so the class balance stays; the draw depends on seed and patient
    ids, not on the order of rows.

    Raises:
        ValueError: if ``fraction`` is not in (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction {fraction} is not between 0 and 1")
    train = index[index["split"] == "train"]
    groups = train.groupby("patient_id")["label"].agg(lambda labels: "+".join(sorted(set(labels))))
    chosen: set[str] = set()
    for number, (_, patients) in enumerate(sorted(groups.groupby(groups), key=lambda group: group[0])):
        names = sorted(patients.index)
        count = round(fraction * len(names))
        chosen |= set(np.random.default_rng([seed, number]).permutation(names)[:count])
    moved = (index["split"] == "train") & index["patient_id"].isin(chosen)
    return index.assign(split=index["split"].mask(moved, "validation"))


def few_shot(index: pd.DataFrame, images_per_class: int, seed: int) -> pd.DataFrame:
    """Keep ``images_per_class`` random training images of each class (section 4.3); other splits stay.

    With one seed, a smaller set lies inside every larger one.

    Raises:
        ValueError: if a class has fewer images.
    """
    train = index[index["split"] == "train"]
    kept = [index[index["split"] != "train"]]
    for number, label in enumerate(LABELS):
        members = train[train["label"] == label].sort_values("file")
        if len(members) < images_per_class:
            raise ValueError(f"images_per_class {images_per_class} is more than the {len(members)} {label} training images; use a smaller size")
        kept.append(members.iloc[np.random.default_rng([seed, number]).permutation(len(members))[:images_per_class]])
    return pd.concat(kept).sort_index()


def find_duplicates(images: np.ndarray, index: pd.DataFrame, max_distance: int = 2) -> pd.DataFrame:
    """Pairs of images whose 64-bit difference hashes are nearly equal.

    Args:
        images: uint8, shape (N, S, S), in the order of ``index``.
        index: N rows with ``file, label, split``.
        max_distance: differing bits, 0 ... 64, up to which a pair is listed.

    Returns:
        One row per pair, nearest first: ``first, second`` (files), ``distance, same_label, cross_split``.
    """
    from PIL import Image

    if len(images) != len(index):
        raise ValueError(f"{len(images)} images were given for {len(index)} rows")
    small = [np.asarray(Image.fromarray(image).resize((9, 8), Image.Resampling.BOX), dtype=np.int16) for image in images]
    bits = np.array([image[:, 1:] > image[:, :-1] for image in small]).reshape(len(images), -1)
    hashes = np.packbits(bits, axis=1).view(np.uint64).reshape(-1)
    rows = []
    for start in range(0, len(hashes), 256):
        distances = np.bitwise_count(hashes[start : start + 256, None] ^ hashes[None, :])
        for offset, second in zip(*np.nonzero(distances <= max_distance), strict=True):
            if second > start + offset:
                rows.append((start + offset, second, int(distances[offset, second])))
    files, labels, splits = (index[name].to_numpy() for name in ("file", "label", "split"))
    table = [(files[a], files[b], d, labels[a] == labels[b], splits[a] != splits[b]) for a, b, d in sorted(rows, key=lambda row: row[2])]
    return pd.DataFrame(table, columns=["first", "second", "distance", "same_label", "cross_split"]).astype({"cross_split": bool})
