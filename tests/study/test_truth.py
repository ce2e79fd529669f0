"""The sets of the experiments with truth: who is left out, what is held out, and a set of one class."""

import shutil

import pandas as pd
import pytest
from common import write_folder

from cxrlib.data.derive import OVERLAP_COLUMNS
from cxrlib.data.folder import read_index
from cxrlib.data.labels import DataError
from cxrlib.study import truth


@pytest.fixture
def sets(tmp_path):
    """The four sets in small, with one training patient in each of the others."""
    data = write_folder(tmp_path / "covidx-mini", train=12, test=4)
    for number, name in enumerate((truth.SAME, truth.MASKED, truth.HOSPITAL)):
        folder = write_folder(tmp_path / name, train=12, test=4, seed=number + 1)
        row = ("x.png", "covidx-mini", "train", f"train-positive-{2 * number}.png")
        pd.DataFrame([row], columns=OVERLAP_COLUMNS).to_csv(folder / "overlap.csv", index=False)
    # Names within the collection differ from split to split, as in the real one; the hospital has a test split with positives only.
    hospital = tmp_path / truth.HOSPITAL
    shutil.rmtree(hospital / "train")
    (hospital / "train.txt").unlink()
    rows = [line for line in (hospital / "test.txt").read_text().splitlines() if " positive " in line]
    (hospital / "test.txt").write_text("\n".join(rows) + "\n")
    return truth.TruthSets(data, tmp_path / "made")


def test_patients_of_the_other_sets_are_left_out_of_training_and_test_stays(sets):
    index = read_index(sets.write(truth.APART))
    assert (index["split"] == "test").sum() == 8
    train = index[index["split"] == "train"]
    assert len(train) == 24 - 3 * 2 and set(train.loc[train["label"] == "positive", "patient_id"]) == {"trainpositive3", "trainpositive4", "trainpositive5"}


def test_every_patient_of_the_collection_is_held_out_in_one_fold(sets, monkeypatch):
    monkeypatch.setattr(truth, "FOLDS", 4)
    held = []
    for name in truth.fold_names():
        index = read_index(sets.write(name))
        parts = {split: set(index.loc[index["split"] == split, "patient_id"]) for split in ("train", "test")}
        assert not parts["train"] & parts["test"] and len(index) == 32
        held += index.loc[index["split"] == "test", "file"].tolist()
    assert len(held) == len(set(held)) == 32


def test_a_set_of_one_class_can_be_scored_and_an_empty_one_is_named(sets, tmp_path):
    tests = sets.write_tests(evened=True)
    assert tests[truth.HOSPITAL].index["label"].unique().tolist() == ["positive"]
    assert tests[truth.SAME].index["split"].nunique() == 2
    assert tests[truth.HOSPITAL].images("test", 32, sets.cache).shape == (4, 32, 32)
    empty = tmp_path / "empty"
    (empty / "test").mkdir(parents=True)
    (empty / "test.txt").write_text("p nothing.png positive s\n")
    with pytest.raises(DataError, match="no usable image"):
        truth.open_any(empty, sets.cache, ("test",))


def test_runs_are_those_of_the_profile_and_a_missing_set_is_named(sets, tmp_path):
    found = truth.runs(sets, truth.APART, "03_test_performance", ("fractal-m", "random"), (0, 1))
    assert {(config.init, config.seed) for config in found} == {("fractal-m", 0), ("fractal-m", 1), ("random", 0), ("random", 1)}
    assert all(config.region == "whole" and config.data.name == truth.APART and config.crop == 120 for config in found)
    shutil.rmtree(tmp_path / truth.MASKED)
    with pytest.raises(DataError, match=truth.MASKED):
        truth.TruthSets(sets.data)


def test_strict_refuses_a_problem_in_any_of_the_sets(sets):
    truth.TruthSets(sets.data, sets.folder, strict=True)
    broken = sets.beside(truth.MASKED) / "test" / "test-negative-1.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    truth.TruthSets(sets.data, sets.folder)
    with pytest.raises(DataError, match=r"covid-masks: 1 problem\(s\)") as found:
        truth.TruthSets(sets.data, sets.folder, strict=True)
    assert broken.name in str(found.value)
