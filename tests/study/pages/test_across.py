"""Within and across collections: scores are put together from folds and splits as they lie, falls have their sign, and files alone are judged fairly."""

import numpy as np
import pandas as pd
import pytest
from common import ROOT

from cxrlib.experiment.record import Record
from cxrlib.experiment.record_tables import read_table
from cxrlib.study.pages import across as pages
from cxrlib.study.pages import across_tables as tables
from cxrlib.study.pages import corruptions, failures
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
    for seed in range(4):
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
    return Across(records, files)


def test_a_network_that_knows_its_source_only_falls_to_chance_elsewhere(made):
    assert made.row(APART, pages.OWN)["AUC"] > 0.97
    assert made.row(APART, pages.COLLECTION)["AUC"] == pytest.approx(0.5, abs=0.12)
    assert made.fall(APART, pages.COLLECTION).low > 0.2
    assert made.rescued(pages.COLLECTION).low > 0.1  # the other training still tells the classes apart there


def test_folds_are_put_together_so_that_every_image_is_scored_once_a_seed(made):
    images_ = made.scores(FOLD, pages.COLLECTION)
    assert images_.logits.shape == (4, 120) and np.isfinite(images_.logits).all()
    of_fold = made.of(FOLD)[0].table().set_index("file")["logit"]
    place = {file: n for n, file in enumerate(images_.files)}
    assert images_.logits[0, [place[file] for file in of_fold.index]] == pytest.approx(of_fold.to_numpy())
    assert made.scores(FOLD, pages.OWN) is None
    half = [record for record in made.records if record.data["name"] != f"{FOLD}-1-of-2" or record.config["seed"] != 1]
    assert Across(half, made.files).scores(FOLD, pages.COLLECTION).logits.shape == (3, 120)  # a seed with a fold missing waits


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
    said = tables.answers(made)
    assert said["fall"].startswith(f"{pages.COLLECTION}: yes") and said["rescue"].startswith("yes") and said["inside"].startswith("yes")
    assert len(tables.dots(made)) == 3 and len(tables.lines(made)) == 10


def test_a_guess_is_learned_on_other_folds_than_it_is_tested_on(made):
    """If every source were in one fold only, nothing would be known of it."""
    own = made.files.assign(source=made.files["file"])
    assert Across(made.records, own).by_files().set_index(["training", "test", "knows"]).at[(FOLD, pages.COLLECTION, "source"), "AUC"] == 0.5


# Where it fails


def test_an_image_of_both_sets_counts_once_with_the_hospital_and_small_groups_are_left_out(made):
    twice = made.files[(made.files["set"] == HOSPITAL)].iloc[:4]["file"].tolist()
    renamed = dict(zip([file for file, _, label in images("a", 8, 1)][:4], twice))
    records = [r.model_copy(update={"predictions": r.predictions | {"file": [renamed.get(f, f) for f in r.predictions["file"]]}}) for r in made.records]
    both = Across(records, made.files.assign(file=made.files["file"].replace(renamed)))
    found, about = failures.outside(both)
    assert len(found.files) == len(set(found.files)) == 120 + 30 - 4
    assert set(about.loc[twice, "patient_id"]) == {"h-1-0", "h-1-1"} == set(found.patients[np.isin(found.files, twice)])
    assert failures.by_group(both)["patients"].min() >= failures.FEWEST


def test_calibration_and_net_benefit_are_what_they_are_by_hand(made):
    sure = [r.model_copy(update={"predictions": r.predictions | {"logit": [8.0 if label else -8.0 for label in r.predictions["label"]]}}) for r in made.records]
    perfect = Across(sure, made.files)
    row = failures.calibration(perfect).set_index("test").loc[pages.OWN]
    assert row["probability"] == pytest.approx(0.5, abs=1e-3) and row["excess"] == pytest.approx(0, abs=1e-3)
    curve = failures.net_benefit(perfect, pages.COLLECTION, np.array([0.2, 0.5, 0.8]))
    assert curve["network"].tolist() == pytest.approx([70 / 120] * 3)  # all positives found, nobody called falsely
    assert curve["all"].tolist() == pytest.approx([70 / 120 - 50 / 120 * odds for odds in (0.25, 1, 4)])
    assert set(failures.calibration(perfect)["test"]) == {pages.OWN, pages.COLLECTION, pages.BALANCED}, "positives only say nothing of calibration"
    for threshold, place in ((0.2, 0), (0.5, 1)):
        network, everybody, more = failures.benefit(perfect, pages.COLLECTION, threshold)
        assert (network, everybody) == (pytest.approx(curve["network"][place]), pytest.approx(curve["all"][place])) and more == pytest.approx(network - everybody)
        assert everybody.low < everybody < everybody.high and more.low > 0  # patients are a sample, so what everybody is worth varies too
    said = failures.decided(perfect)
    assert said.count("so the network is better") == 2 and "threshold of 50 %" in said
    assert perfect.row(APART, pages.OWN)["sensitivity"] == 1


@pytest.mark.parametrize("corruption", [name for name in corruptions.STRENGTHS if name != corruptions.NONE])
def test_every_corruption_changes_a_picture_the_more_the_stronger_and_keeps_its_kind(corruption):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    grid = (120 + 60 * np.sin(np.mgrid[:96, :96] / 6).sum(axis=0) / 2 + random.normal(0, 4, (2, 1, 96, 96))).clip(0, 255).astype(np.uint8)
    pictures = torch.from_numpy(grid)
    changed = [corruptions.spoiled(pictures, corruption, strength) for strength in corruptions.STRENGTHS[corruption]]
    assert all(picture.shape == pictures.shape and picture.dtype == torch.uint8 for picture in changed)
    distance = [(picture.float() - pictures).abs().mean().item() for picture in changed]
    assert 0 < distance[0] < distance[1] < distance[2]
    assert (corruptions.spoiled(pictures, corruption, corruptions.STRENGTHS[corruption][0]) == changed[0]).all()
    with pytest.raises(ValueError, match="there is no corruption"):
        corruptions.spoiled(pictures, "fog", 1)


def test_what_is_lost_is_the_auc_untouched_less_the_auc():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    rows = [
        {"corruption": name, "strength": strength, "seed": seed, "file": f"{n}", "patient_id": f"{n // 2}", "label": label, "logit": shift * label + random.normal()}
        for name, strength, shift in ((corruptions.NONE, 0, 9), ("blur", 4, 0)) for seed in (0, 1) for n, label in enumerate(labels)
    ]  # fmt: skip
    lost = corruptions.losses(pd.DataFrame(rows)).set_index("corruption")
    assert lost.at[corruptions.NONE, "loss"] == 0 and lost.at["blur", "loss"] == pytest.approx(0.5, abs=0.15) and lost.at["blur", "loss"].low > 0.2
    assert lost.at["blur", "called"] == pytest.approx(-0.25, abs=0.15)  # three quarters were called positive, then half


@pytest.mark.skipif(not TABLE.is_file(), reason="the table is not committed yet")
def test_the_committed_records_hold_nobody_twice_and_every_image_once():
    files = pages.read_files(FILES)
    across = Across(read_table(TABLE), files)
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
