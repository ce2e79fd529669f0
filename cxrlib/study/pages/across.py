"""Disease or data source, with truth: networks trained in one collection and tested in others, beside what files alone tell.

Three trainings: on ``covidx-mini`` without the patients of the other sets; on the same with the pictures evened out
(:func:`cxrlib.data.derive.evened`); and inside ``same-source``, where both classes come from one collection, by patient-wise
cross-validation. Each is tested on its own test set and on sets of other sources. Positive is a probability above 0.5, fixed by
section 4.2 before any of these images was seen. Intervals are over patients and seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib.data.extent import extra_columns
from cxrlib.experiment.record import Record, code_version
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import share_over_seeds
from cxrlib.study.pages.file_sizes import measure
from cxrlib.study.pages.shortcuts import Scored, auc, scored
from cxrlib.study.tables import read_table
from cxrlib.study.truth import APART, EVENED, FOLD, HOSPITAL, SAME, TruthSets, open_any

OWN, COLLECTION, BALANCED, ONE_HOSPITAL = "own test set", "Cohen's collection", "Cohen's collection, balanced part", "Hannover"
TESTS = (OWN, COLLECTION, BALANCED, ONE_HOSPITAL)
"""In plain words. Own: of covidx-mini. Cohen's collection: ``same-source``. Its balanced part: its 80 test images, of whose channels each has as many positives as negatives."""
TRAININGS = {APART: "as usual", EVENED: "evened out", FOLD: "inside one collection"}
TYPES = dict.fromkeys(("set", "split", "file", "patient_id", "label", "source", "view", "finding"), "str")
TYPES |= {"width": "int64", "height": "int64", "age": "float64"}


# What files alone tell


def describe_files(sets: TruthSets) -> pd.DataFrame:
    """Every image file of the training data (without patients of the other sets) and of the other sets: columns as in ``TYPES``.

    ``view`` and ``finding`` are empty and ``age`` (years) is NaN where ``labels_extra.csv`` does not say. ``attrs['about']`` has the fingerprints.
    """
    tables, about = [], {"code_version": code_version()}
    folders = {APART: sets.write(APART), SAME: sets.beside(SAME), HOSPITAL: sets.beside(HOSPITAL)}
    for name, folder in folders.items():
        dataset = open_any(folder, sets.cache, ("test",) if name == HOSPITAL else ("train", "test"))
        extra = extra_columns(sets.data if name == APART else folder, dataset.index).reindex(columns=["view", "finding", "age"], fill_value="")
        tables.append(pd.concat([measure(dataset).assign(set=name), extra.reset_index(drop=True)], axis=1))
        about[name] = dataset.fingerprint
    table = pd.concat(tables, ignore_index=True)
    table = table.assign(age=pd.to_numeric(table["age"], errors="coerce"))
    table = table[list(TYPES)].astype(TYPES)
    table.attrs = {"about": about}
    return table


def read_files(path: Path) -> pd.DataFrame | None:
    """A table of :func:`describe_files`; None if there is no such file. ValueError if it is damaged."""
    return read_table(path, TYPES, "table of image files", "cxr truth across")


def guess_by_shape(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Probability of 'positive' from width, height and their ratio alone, by a tree of at most 8 leaves learned on ``train``; shape (len(test),)."""
    from sklearn.tree import DecisionTreeClassifier

    def shapes(table: pd.DataFrame) -> np.ndarray:
        return np.stack([table["width"], table["height"], table["width"] / table["height"]], axis=1)

    tree = DecisionTreeClassifier(max_leaf_nodes=8, class_weight="balanced", random_state=0)
    return tree.fit(shapes(train), train["label"] == "positive").predict_proba(shapes(test))[:, 1]


def guess_by_source(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Share of positives that a source or channel has in ``train``, for each row of ``test``; 0.5 for one that ``train`` does not know."""
    positives = (train["label"] == "positive").groupby(train["source"]).mean()
    return test["source"].map(positives).fillna(0.5).to_numpy()


# What networks make of it


@dataclass(frozen=True)
class Across:
    """Records of ``results/across.parquet`` and the files that they were trained and tested on."""

    records: list[Record]
    files: pd.DataFrame
    threshold: float = 0.5

    def of(self, training: str) -> list[Record]:
        """The runs on one training folder, or on all folds."""
        found = [record for record in self.records if record.data["name"].startswith(training)]
        return sorted(found, key=lambda record: (record.config["seed"], record.data["name"]))

    def scores(self, training: str, test: str) -> Scored | None:
        """Logits of a training on a test set, a row for each seed; None where there are none.

        Inside the collection each image has the logit of the network whose fold it was held out in, and there is no test set but that.
        """
        records = self.of(training)
        if not records or (training == FOLD and test in (OWN, ONE_HOSPITAL)):
            return None
        if training == FOLD:
            images = self._folds(records)
        else:
            split = {OWN: ("test",), ONE_HOSPITAL: (f"{HOSPITAL}/test",)}.get(test, (f"{SAME}/train", f"{SAME}/test"))
            images = together([scored(records, name) for name in split])
        if test != BALANCED:
            return images
        chosen = self.files[(self.files["set"] == SAME) & (self.files["split"] == "test")]
        return images.where(np.isin(_stems(images.files), _stems(chosen["file"])))

    def _folds(self, records: list[Record]) -> Scored:
        seeds = sorted({record.config["seed"] for record in records})
        parts = [scored([r for r in records if r.config["seed"] == seed]) for seed in seeds]
        whole = max(len(part.files) for part in parts)
        parts = [part for part in parts if len(part.files) == whole]  # a seed of which folds are missing waits for them
        first = parts[0]
        # Each file is held out in one fold, so that one row of a seed's folds has it.
        order = [np.argsort(part.files) for part in parts]
        logits = np.stack([np.nanmax(part.logits[:, rows], axis=0) for part, rows in zip(parts, order, strict=True)])
        return Scored(logits, first.files[order[0]], first.labels[order[0]], first.patients[order[0]])

    def row(self, training: str, test: str) -> dict | None:
        """AUC, sensitivity and specificity (Estimates; NaN without the class), images, patients and runs; None where nothing is recorded."""
        images = self.scores(training, test)
        if images is None:
            return None
        positive = images.labels == 1
        row: dict = {"training": training, "test": test, "AUC": auc(images)}
        for name, chosen in (("sensitivity", positive), ("specificity", ~positive)):
            part = images.where(chosen)
            row[name] = share_over_seeds(part.right(self.threshold), part.patients) if chosen.any() else Estimate(np.nan)
        return row | {"images": images.labels.size, "patients": len(np.unique(images.patients)), "runs": len(images.logits)}

    def table(self) -> pd.DataFrame:
        """Every training on every test set, see :meth:`row`."""
        rows = [self.row(training, test) for training in TRAININGS for test in TESTS]
        return pd.DataFrame([row for row in rows if row is not None], dtype=object)

    def fall(self, training: str, test: str) -> Estimate:
        """AUC on the own test set less that on another, whose patients are others; NaN where one is missing."""
        found = self.losses(training, test)
        return Estimate(np.nan) if found is None else two_way.analyse(found).estimate()

    def losses(self, training: str, test: str) -> np.ndarray | None:
        """Contributions (seeds, patients of both) to :meth:`fall`; None where one is missing."""
        pair = [self.scores(training, name) for name in (OWN, test)]
        return None if None in pair else _fall(*pair)

    def area(self, training: str, test: str) -> np.ndarray | None:
        """Contributions (seeds, patients) to the AUC on a test set; None where nothing is recorded."""
        images = self.scores(training, test)
        return None if images is None else two_way.area(images.logits, images.labels, images.patients)

    def inside_gain(self, test: str) -> Estimate:
        """AUC of the networks trained inside the collection less that of those from outside, on the same images there, paired by image and seed."""
        inside, outside = (self.scores(training, test) for training in (FOLD, APART))
        if inside is None or outside is None:
            return Estimate(np.nan)
        seeds = min(len(inside.logits), len(outside.logits))
        order = pd.Series(np.arange(len(outside.files)), index=_stems(outside.files)).loc[_stems(inside.files)].to_numpy()
        logits = (inside.logits[:seeds], outside.logits[:seeds, order])
        one, other = (two_way.area(values, inside.labels, inside.patients) for values in logits)
        return two_way.analyse(one - other).estimate()

    def rescued(self, test: str) -> Estimate:
        """How much less the AUC falls with pictures evened out than as published: fall as published less fall evened out, paired by image and seed."""
        seeds = {r.config["seed"] for r in self.of(APART)} & {r.config["seed"] for r in self.of(EVENED)}
        same = replace(self, records=[r for r in self.records if r.config["seed"] in seeds])
        found = []
        for training in (APART, EVENED):
            pair = [same.scores(training, name) for name in (OWN, test)]
            if None in pair:
                return Estimate(np.nan)
            found.append(_fall(*pair))
        return two_way.analyse(found[0] - found[1]).estimate()

    def by_files(self) -> pd.DataFrame:
        """AUC of what sees no picture: columns training, test, knows ('shape' or 'source'), AUC.

        Pictures that are evened out have one shape, which is 0.5. Inside the collection the guess is learned on the other folds; for its
        balanced part on its other part, as folds of a balanced part are anticorrelated: what is held out of a channel lacks in what is left.
        """
        train = self.files[(self.files["set"] == APART) & (self.files["split"] == "train")]
        rows = []
        for knows, guess in (("shape", guess_by_shape), ("source", guess_by_source)):
            for test in TESTS:
                files = self._files_of(test)
                rows.append({"training": APART, "test": test, "knows": knows, "AUC": self._guessed(files, guess(train, files))})
            whole = self._files_of(COLLECTION)
            for test, guesses in ((COLLECTION, self._by_folds(whole, guess)), (BALANCED, guess(whole[whole["split"] == "train"], self._files_of(BALANCED)))):
                rows.append({"training": FOLD, "test": test, "knows": knows, "AUC": self._guessed(self._files_of(test), guesses)})
        return pd.DataFrame(rows, dtype=object)

    def _files_of(self, test: str) -> pd.DataFrame:
        name = {OWN: APART, ONE_HOSPITAL: HOSPITAL}.get(test, SAME)
        found = self.files[self.files["set"] == name]
        return found if test == COLLECTION else found[found["split"] == "test"]

    def _by_folds(self, test: pd.DataFrame, guess: Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]) -> np.ndarray:
        """The guess for each row of ``test``, learned on the folds that it was not held out in."""
        everything = self.files[self.files["set"] == SAME]
        fold = {file: record.data["name"] for record in self.of(FOLD) for file in record.table()["file"]}
        place = everything["file"].map(fold)
        values = pd.Series(np.nan, index=test.index)
        for name in place.dropna().unique():
            held = test[test["file"].map(fold) == name]
            if len(held):
                values[held.index] = guess(everything[place.notna() & (place != name)], held)
        return values.to_numpy()

    def _guessed(self, test: pd.DataFrame, guesses: np.ndarray) -> Estimate:
        labels = (test["label"] == "positive").to_numpy().astype(int)
        if len(set(labels)) < 2 or not np.isfinite(guesses).any():
            return Estimate(np.nan)
        return auc(Scored(guesses[None], test["file"].to_numpy(str), labels, test["patient_id"].to_numpy()))


def _fall(own: Scored, other: Scored) -> np.ndarray:
    """Contributions (seeds, patients of both) to the AUC on the own test set less that on another, of the same runs."""
    return two_way.less(*(two_way.area(images.logits, images.labels, images.patients) for images in (own, other)))


def together(parts: list[Scored]) -> Scored:
    """Several sets of images with the same runs as one."""
    return Scored(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("logits", "files", "labels", "patients")))


def _stems(files) -> list[str]:
    """Names without their extension: pictures that are evened out have another one."""
    return [str(file).rsplit(".", 1)[0] for file in files]
