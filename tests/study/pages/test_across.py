"""Within and across collections: scores are put together from folds and splits as they lie, falls have their sign, and files alone are judged fairly."""

import numpy as np
import pandas as pd
import pytest
from common import ROOT

from cxrlib.experiment.record import Record, read_table
from cxrlib.study.pages import across as pages
from cxrlib.study.pages.across import Across
from cxrlib.study.truth import APART, EVENED, FOLD, HOSPITAL, SAME

TABLE, FILES = ROOT / "results" / "across.parquet", ROOT / "results" / "across-files.parquet"


def images(prefix, count, label):
    return [(f"{prefix}-{label}-{n}.jpg", f"{prefix}-{label}-{n // 2}", label) for n in range(count)]


def record(name, seed, splits, strength):
    """A record of made logits: positives lie ``strength`` standard deviations above negatives."""
    generator = np.random.default_rng([seed, len(name)])
    predictions = {column: [] for column in ("split", "file", "patient_id", "label", "logit")}
    for split, rows in splits.items():
        for file, patient, label in rows:
            row = (split, file, patient, label, float(generator.normal(strength[split] * (label - 0.5), 1)))
            for column, value in zip(predictions, row, strict=True):
                predictions[column].append(value)
    return Record(
        key="0" * 20, protocol_version=1, config={"seed": seed}, data={"name": name, "fingerprint": "f"}, initialisation={"name": "x", "sha256": None},
        code_version="", packages={}, machine={}, history=[], predictions=predictions, wall_seconds=0, weights_sha256="",
    )  # fmt: skip


@pytest.fixture
def made():
    own = images("own", 40, 0) + images("own", 40, 1)
    parts = {"train": images("a", 30, 0) + images("a", 50, 1), "test": images("b", 20, 0) + images("b", 20, 1)}
    hospital = images("h", 30, 1)
    records = []
    for seed in (0, 1):
        for name, outside in ((APART, 0.0), (EVENED, 2.0)):
            tests = {"test": own, f"{SAME}/train": parts["train"], f"{SAME}/test": parts["test"], f"{HOSPITAL}/test": hospital}
            records.append(record(name, seed, tests, dict.fromkeys(tests, outside) | {"test": 4.0}))
        both = parts["train"] + parts["test"]
        for fold in (0, 1):
            held = [row for n, row in enumerate(both) if n % 4 // 2 == fold]
            records.append(record(f"{FOLD}-{fold}-of-2", seed, {"test": held}, {"test": 2.0}))
    rows = [(APART, "test", *row) for row in own] + [(APART, "train", f"t{row[0]}", f"t{row[1]}", row[2]) for row in own]
    rows += [(SAME, split, *row) for split, some in parts.items() for row in some] + [(HOSPITAL, "test", *row) for row in hospital]
    files = pd.DataFrame(rows, columns=["set", "split", "file", "patient_id", "label"])
    files["label"] = np.where(files["label"] == 1, "positive", "negative")
    # In the training data negatives are square; in the collection shape says nothing, and one channel is all negative but in the test split.
    square = (files["set"] == APART) & (files["label"] == "negative") | (files["set"] != APART) & (np.arange(len(files)) % 2 == 0)
    files = files.assign(width=100, height=np.where(square, 100, 130), view="", finding="", age=np.nan)
    alone = (files["set"] == SAME) & (files["split"] == "train") & (files["label"] == "negative")
    files["source"] = np.where(files["set"] == SAME, np.where(alone, "alone", "mixed"), files["set"])
    return Across(records, files, resamples=300)


def test_a_network_that_knows_its_source_only_falls_to_chance_elsewhere(made):
    assert made.row(APART, pages.OWN)["AUC"] > 0.97
    assert made.row(APART, pages.COLLECTION)["AUC"] == pytest.approx(0.5, abs=0.12)
    assert made.fall(APART, pages.COLLECTION).low > 0.2
    assert made.rescued(pages.COLLECTION).low > 0.1  # the other training still tells the classes apart there


def test_folds_are_put_together_so_that_every_image_is_scored_once_a_seed(made):
    images_ = made.scores(FOLD, pages.COLLECTION)
    assert images_.logits.shape == (2, 120) and np.isfinite(images_.logits).all()
    of_fold = made.of(FOLD)[0].table().set_index("file")["logit"]
    place = {file: n for n, file in enumerate(images_.files)}
    assert images_.logits[0, [place[file] for file in of_fold.index]] == pytest.approx(of_fold.to_numpy())
    assert made.scores(FOLD, pages.OWN) is None


def test_the_balanced_part_is_the_test_split_and_one_class_has_no_auc(made):
    row = made.row(FOLD, pages.BALANCED)
    assert row["images"] == 40 and row["patients"] == 20
    hospital = made.row(APART, pages.ONE_HOSPITAL)
    assert np.isnan(hospital["AUC"]) and np.isnan(hospital["specificity"]) and 0.3 < hospital["sensitivity"] < 0.7


def test_files_alone_tell_the_class_where_shapes_and_sources_follow_it_and_nowhere_else(made):
    found = made.by_files().set_index(["training", "test", "knows"])["AUC"]
    assert found[APART, pages.OWN, "shape"] == 1
    assert found[APART, pages.COLLECTION, "shape"] == pytest.approx(0.5, abs=0.1)
    assert found[APART, pages.COLLECTION, "source"] == 0.5  # sources that the training does not know
    assert found[FOLD, pages.COLLECTION, "source"] > 0.7 and found[FOLD, pages.BALANCED, "source"] == 0.5


def test_answers_follow_the_numbers(made):
    said = pages.answers(made)
    assert said["fall"].startswith("same-source: yes") and said["rescue"].startswith("yes") and said["inside"].startswith("yes")
    assert len(pages.dots(made)) == 3 and len(pages.lines(made)) == 10


def test_a_guess_is_learned_on_other_folds_than_it_is_tested_on(made):
    """If every source were in one fold only, nothing would be known of it."""
    own = made.files.assign(source=made.files["file"])
    assert Across(made.records, own, resamples=100).by_files().set_index(["training", "test", "knows"]).at[(FOLD, pages.COLLECTION, "source"), "AUC"] == 0.5


@pytest.mark.skipif(not TABLE.is_file(), reason="the table is not committed yet")
def test_the_committed_records_hold_nobody_twice_and_every_image_once():
    files = pages.read_files(FILES)
    across = Across(read_table(TABLE), files, resamples=200)
    collection = files[files["set"] == SAME]
    for training in (APART, EVENED, FOLD):
        found = across.scores(training, pages.COLLECTION)
        assert len(found.files) == len(collection) == 501 and np.isfinite(found.logits).all()
    for rec in across.of(FOLD):
        held = rec.table()
        others = collection[~collection["file"].isin(held["file"])]
        assert not set(held["patient_id"]) & set(others["patient_id"])
        assert sum(rec.data["training_images"].values()) == len(others)
    trained = files[(files["set"] == APART) & (files["split"] == "train")]
    assert sum(across.of(APART)[0].data["training_images"].values()) == len(trained)
    assert not set(trained["file"]) & set(files.loc[files["set"].isin([SAME, HOSPITAL]), "file"])
