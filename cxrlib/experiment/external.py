"""A second test set in the layout of COVIDx: what recorded models score on it, and what of it they have seen in training.

An external set has a fingerprint as any data set has. The scores of a run on it lie beside the record, in
``store/KEY/external-FINGERPRINT.json``: they go where the record goes, and a second call reads them. They need the
trained weights once; after that the weights may be cleaned away. They name the decoders (:func:`cxrlib.data.cache.decoders`)
behind them: scores of others are computed again, or, without weights, taken with a sentence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.config import ParameterError
from cxrlib.data import splits
from cxrlib.data.cache import decoders
from cxrlib.data.dataset import Dataset, read_dataset
from cxrlib.data.folder import SPLITS
from cxrlib.data.labels import DataError
from cxrlib.experiment.record import Record, load_model
from cxrlib.files import atomic_write, locked, seal, unseal
from cxrlib.weights.source import WeightsError

SPLIT = "test"
TYPES = {"file": "str", "patient_id": "str", "label": "int64", "source": "str", "logit": "float64"}
COLUMNS = list(TYPES)
# As on the page on data exploration, so that both use one cache.
COPY_SIZE, COPY_DISTANCE, COPY_CORRELATION = 32, 4, 0.995


def open_external(folder: Path | str, labels: Path | str | None = None, cache: Path | str = ".cache", strict: bool = False) -> Dataset:
    """The test split of a folder in the COVIDx layout; a training split may be missing and is not looked at.

    Args:
        folder: with ``test/`` and one ``test*.txt``.
        labels: folder with that label file, if it does not lie beside the images.
        cache: folder of resized images.
        strict: also decode every image, and fail if anything is wrong. Otherwise rows with a problem are left out, and
            ``index.attrs['problems']`` lists them.

    Returns:
        A data set whose ``index`` has rows of split 'test' only, of both classes.

    Raises:
        DataError: if there is no such folder or label file, or no usable image of a class.
    """
    return read_dataset(Path(folder), None if labels is None else Path(labels), Path(cache), strict, (SPLIT,))


def scores(record: Record, store: Path | str, dataset: Dataset, cache: Path | str) -> pd.DataFrame:
    """What a recorded model says of every image of an external set, computed once and then read from the store.

    The images are resized to the crop size of the run and normalised for its initialisation, as its own test images
    were. Nothing is left out here; see :func:`overlap`. Kept scores of other decoders than today's are computed again;
    without weights they are taken as they are, which one line on stderr says.

    Args:
        record: of the run.
        store: where the record and, for a first call, its trained weights lie.
        dataset: of :func:`open_external`.
        cache: folder of resized images.

    Returns:
        Columns file, patient_id, label (0 or 1), source, logit, probability (0 to 1), in the order of ``dataset.index``.

    Raises:
        WeightsError: if the scores are not kept and the weights are gone or damaged.
        ParameterError: if the run sees a part of the image only, or tells sources apart in place of the classes.
        ImageError: naming the images that cannot be decoded. OSError: if the store cannot be written.
    """
    unusual = [name for name, usual in (("region", "whole"), ("sources", None)) if record.config.get(name, usual) != usual]
    if unusual:
        raise ParameterError(f"record {record.key} was trained with {unusual[0]} {record.config[unusual[0]]}; give one of whole images and classes")
    path = scores_file(record, store, dataset)
    table = kept_scores(path, record)
    if table is None or not _of_today(table):
        with locked(Path(store) / record.key):  # 'cxr runs gc' lets a held run alone
            table = kept_scores(path, record)
            if table is None or not _of_today(table):
                try:
                    table = _computed(record, Path(store), dataset, Path(cache))
                    _keep(table, path, record, dataset)
                except WeightsError:
                    if table is None:
                        raise
                    before = table.attrs["decoders"] or "decoders that they do not name"
                    reason = f"were computed with {before}, not with today's ({decoders()}), and its weights are gone"
                    print(f"{record.key}: its scores on {dataset.folder.resolve().name} {reason}; they are taken as they are", file=sys.stderr)
    return table.assign(probability=expit(table["logit"].to_numpy()))


def _of_today(table: pd.DataFrame) -> bool:
    """Whether kept scores are of images that were decoded as they are now."""
    return table.attrs["decoders"] == decoders()


def scores_file(record: Record, store: Path | str, dataset: Dataset) -> Path:
    """Where the scores of a run on an external set are kept."""
    return Path(store) / record.key / f"external-{dataset.fingerprint[:20]}.json"


def is_scores(path: Path) -> bool:
    """Whether a file in the folder of a record is named as scores on an external set are."""
    return path.name.startswith("external-") and path.suffix == ".json"


def kept_scores(path: Path, record: Record) -> pd.DataFrame | None:
    """The kept scores, with the columns of ``COLUMNS``; None if there are none, or they are damaged or of other weights.

    ``attrs['decoders']`` says what decoded the images; None of scores of an older cxrlib, which do not name it.
    """
    try:
        content = json.loads(unseal(path.read_bytes(), "scores"))
        if content["weights_sha256"] != record.weights_sha256 or content["fingerprint"][:20] != path.stem.removeprefix("external-"):
            return None
        table = pd.DataFrame(content["images"], columns=COLUMNS).astype(TYPES)
        table.attrs = {"decoders": content.get("decoders")}
        return table
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _computed(record: Record, store: Path, dataset: Dataset, cache: Path) -> pd.DataFrame:
    import torch

    from cxrlib.train.score import ImageSet, predict
    from cxrlib.weights.source import Initialisation

    origin = record.initialisation
    initialisation = Initialisation(**origin)
    model = load_model(record, store).to("cuda" if torch.cuda.is_available() else "cpu")
    index = dataset.index
    labels = (index["label"] == "positive").to_numpy(dtype=np.int64)
    images = dataset.images(SPLIT, record.config["crop"], cache)
    logits = predict(model, ImageSet(images, labels, index["row"].to_numpy()), initialisation, record.config["image_channels"])
    return index.assign(label=labels, logit=logits).reset_index(drop=True)[COLUMNS].astype(TYPES)


def _keep(table: pd.DataFrame, path: Path, record: Record, dataset: Dataset) -> None:
    about = {"fingerprint": dataset.fingerprint, "name": dataset.folder.resolve().name, "weights_sha256": record.weights_sha256, "decoders": decoders()}
    body = json.dumps(about | {"images": table.to_dict("list")})
    atomic_write(path, seal(body, "scores"))


def overlap(dataset: Dataset, external: Dataset, cache: Path | str) -> pd.DataFrame:
    """Images of an external set that a run on ``dataset`` has seen, or was tested on.

    Found are images of a patient with the same id *and* the same source name, and copies: the same pixels at 32 x 32, or
    near duplicates by :func:`cxrlib.data.splits.find_duplicates` (recompressed, scaled, brightened). All training rows of
    the data folder count, also those that a run held out or did not draw.

    Not found are copies that were cropped by more than a few per cent, flipped or turned; a patient who goes by another
    id or whose source has another name; and anything seen in pretraining only. Sets in which patients are numbered
    1, 2, 3 and the source bears one name are taken for one. So an empty table is no proof of independence.

    Returns:
        A row per external image, split in which it was found and reason: columns ``file``, ``split`` ('train' or 'test'
        of ``dataset``), ``reason`` ('patient' or 'image') and ``like``, the first file of ``dataset`` that it is like.
        What a test must leave out are the rows of split 'train' (:func:`unseen`).
    """
    ours, theirs = dataset.index.assign(side="data"), external.index.assign(side="external")
    people = ["patient_id", "source"]
    same = theirs[[*people, "file"]].merge(ours[[*people, "split", "file"]], on=people, suffixes=("", "_ours"))
    by_patient = pd.DataFrame({"file": same["file"], "split": same["split"], "reason": "patient", "like": same["file_ours"]})
    sets = [dataset.images(split, COPY_SIZE, Path(cache)) for split in SPLITS] + [external.images(SPLIT, COPY_SIZE, Path(cache))]
    rows = pd.concat([*(ours[ours["split"] == split] for split in SPLITS), theirs], ignore_index=True)
    named = rows.assign(file=rows["split"] + "/" + rows["file"])  # a file may bear one name in both splits
    pairs = splits.find_duplicates(np.concatenate(sets), named, COPY_DISTANCE, COPY_CORRELATION, across="side")
    place = [first.split("/", 1) for first in pairs["first"]]
    copies = [second.split("/", 1)[1] for second in pairs["second"]]
    by_image = pd.DataFrame({"file": copies, "split": [split for split, _ in place], "reason": "image", "like": [like for _, like in place]})
    table = pd.concat([by_patient, by_image], ignore_index=True).astype("str")
    return table.drop_duplicates(["file", "split", "reason"]).sort_values(["split", "file", "reason"], ignore_index=True)


def nothing_found() -> pd.DataFrame:
    """What :func:`overlap` gives for sets without anything in common."""
    return pd.DataFrame({"file": [], "split": [], "reason": [], "like": []}, dtype="str")


def unseen(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of an index or of scores whose image is not, by :func:`overlap`, in the training data.

    Raises:
        DataError: if no image of a class is left.
    """
    left = table[~table["file"].isin(found.loc[found["split"] == "train", "file"])].reset_index(drop=True)
    if left["label"].nunique() < table["label"].nunique():
        raise DataError(
            f"{len(table) - len(left)} of {len(table)} external images are in the training data too, and without them a class "
            "is empty; give a folder of other patients"
        )
    return left
