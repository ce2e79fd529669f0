"""The experiments with truth: folders made of the shared real sets, the runs on them, and scores on sets of other sources.

Four folders are needed: the training data (``covidx-mini``), and beside it ``same-source`` (both classes from one
collection), ``covid-masks`` (radiologists' masks) and ``hannover`` (one hospital, positives only). Everything that is made lies
below one folder, images too, which git must not see. What is recorded is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.config import RunConfig
from cxrlib.data import derive
from cxrlib.data.dataset import Dataset, read_dataset
from cxrlib.data.extent import open_any
from cxrlib.data.folder import SPLITS, check, read_index
from cxrlib.data.labels import DataError
from cxrlib.experiment.record import Record, load, load_model
from cxrlib.study import plan

PROFILE = "quarter"
SEEDS = (0, 1, 2)
FOLDS = 5
APART, EVENED, FOLD = "covidx-mini-apart", "covidx-mini-evened", "same-source-fold"
"""Names of the folders that runs are trained on: without the patients of the other sets; the same, pictures evened out; and each fold."""
PUBLISHED = "covidx-mini"
"""The training data as they are, with images of the other sets among them."""
SAME, HOSPITAL, MASKED = "same-source", "hannover", "covid-masks"


@dataclass(frozen=True)
class TruthSets:
    """Where the sets lie.

    Attributes:
        data: the training data; the other sets lie beside it, under their names.
        folder: what is made of them: folders, resized images, records.
        strict: refuse sets with any problem (DataError); otherwise rows with one are left out.
    """

    data: Path
    folder: Path = Path(".cache/truth")
    strict: bool = False

    def __post_init__(self) -> None:
        sets = {self.data: SPLITS, self.beside(SAME): SPLITS, self.beside(MASKED): ("test",), self.beside(HOSPITAL): ("test",)}
        for path in sets:
            if not path.is_dir():
                raise DataError(f"{path}: there is no such folder; the sets {SAME}, {MASKED} and {HOSPITAL} must lie beside the data folder")
        for path, splits in sets.items() if self.strict else ():
            if problems := check(path, splits=splits).problems:
                raise DataError(f"{path}: {len(problems)} problem(s) in the data set:", problems)

    def beside(self, name: str) -> Path:
        """The folder of another set."""
        return self.data.resolve().parent / name

    @property
    def store(self) -> Path:
        """Records and trained weights."""
        return self.folder / "runs"

    @property
    def cache(self) -> Path:
        """Resized images."""
        return self.folder / "cache"

    def apart(self) -> pd.DataFrame:
        """Index with paths of the training data without patients of whom an image lies in one of the other sets."""
        index = derive.with_paths(read_index(self.data), self.data)
        return derive.without_patients_of(index, derive.shared_with(self.data, [self.beside(name) for name in (SAME, MASKED, HOSPITAL)]))

    def masked_in_training(self) -> set[str]:
        """Files of ``covid-masks`` that the training data as they are have among their training images, by its ``overlap.csv``."""
        table = derive.overlap_of(self.beside(MASKED))
        return set(table.loc[(table["other_set"] == self.data.resolve().name) & (table["other_split"] == "train"), "filename"])

    def collection(self) -> pd.DataFrame:
        """Index with paths of ``same-source``, both splits."""
        return derive.with_paths(read_index(self.beside(SAME)), self.beside(SAME))

    def hospital(self) -> pd.DataFrame:
        """Index with paths of ``hannover``."""
        return derive.with_paths(check(self.beside(HOSPITAL), decode=False, splits=("test",)).index, self.beside(HOSPITAL))

    def write(self, name: str) -> Path:
        """Write the training folder of that name; returns where it is."""
        if name == PUBLISHED:
            return self.data
        if name == APART:
            return derive.write_folder(self.folder / name, self.apart())
        if name == EVENED:
            return derive.write_folder(self.folder / name, self.apart(), derive.evened, ".jpg")
        rows = self.collection()
        held = derive.fold_of(rows, FOLDS) == int(name.removeprefix(FOLD).split("-")[1])
        return derive.write_folder(self.folder / name, rows.assign(split=["test" if one else "train" for one in held]))

    def write_tests(self, evened: bool) -> dict[str, Dataset]:
        """The sets of other sources, by name, evened out or as they are."""
        found = {}
        for name, splits in ((SAME, SPLITS), (HOSPITAL, ("test",))):
            folder = self.beside(name)
            if evened:
                rows = self.collection() if name == SAME else self.hospital()
                folder = derive.write_folder(self.folder / f"{name}-evened", rows, derive.evened, ".jpg")
            found[name] = open_any(folder, self.cache, splits)
        return found


def fold_names() -> list[str]:
    """Names of the folders of the cross-validation inside ``same-source``."""
    return [f"{FOLD}-{number}-of-{FOLDS}" for number in range(FOLDS)]


def runs(sets: TruthSets, name: str, notebook: str, inits: Sequence[str] | None = None, seeds: Sequence[int] = SEEDS) -> list[RunConfig]:
    """The plain runs of a notebook of the profile, on the training folder of that name: whole images, all of them, nothing held out.

    Args:
        inits: initialisations in place of those of the profile, for a notebook that compares several.
    """
    places: dict = {"data": sets.write(name), "store": sets.store, "cache": sets.cache}
    found = [run.config for run in plan.profile_runs(PROFILE, only=(notebook,), **places, **({"inits": tuple(inits)} if inits else {}))]
    return [
        config.model_copy(update={"threads": 1})
        for config in found
        if (config.region, config.leave_out, config.sources, config.validation_fraction) == ("whole", None, None, 0)
        and config.seed in seeds
    ]  # fmt: skip


def with_scores(record: Record, store: Path, cache: Path, tests: dict[str, Dataset], seen: Callable[[np.ndarray, str, pd.Series], np.ndarray] | None = None) -> Record:
    """The record with what its model says of other sets, as further splits 'SET/SPLIT'.

    Args:
        seen: what the model sees of the images of a split, from images, split and files; default all.
    """
    from cxrlib.train.score import ImageSet, predict
    from cxrlib.weights.source import Initialisation

    model = load_model(record, store)
    predictions = {name: list(values) for name, values in record.predictions.items()}
    for name, dataset in tests.items():
        for split in dataset.index["split"].unique():
            rows = dataset.index[dataset.index["split"] == split]
            labels = (rows["label"] == "positive").to_numpy(dtype=np.int64)
            pictures = dataset.images(split, record.config["crop"], cache)
            images = ImageSet(pictures if seen is None else seen(pictures, split, rows["file"]), labels, rows["row"].to_numpy())
            logits = predict(model, images, Initialisation(**record.initialisation), record.config["image_channels"])
            added = {"split": [f"{name}/{split}"] * len(rows), "file": rows["file"].tolist(), "patient_id": rows["patient_id"].tolist()}
            added |= {"label": labels.tolist(), "logit": [float(logit) for logit in logits]}
            predictions = {column: values + added[column] for column, values in predictions.items()}
    return record.model_copy(update={"predictions": predictions})


def trained(configs: list[RunConfig]) -> list[Record]:
    """The runs with their weights: recorded, or trained now, one after the other in this process."""
    from cxrlib.experiment.sweep import run_all

    records = run_all(configs, workers=1)
    if all(load(config.store, record.key, weights=True) for config, record in zip(configs, records, strict=True)):
        return records
    return run_all(configs, workers=1, weights=True)


def masked(sets: TruthSets) -> Dataset:
    """The set with radiologists' masks."""
    return read_dataset(sets.beside(MASKED), None, sets.cache, False, ("test",))
