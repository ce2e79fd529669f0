"""What a run sees and what it is asked: regions, sources left out, sources told apart; and what follows from the records."""

import shutil

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from PIL import Image

from cxrlib.config import ParameterError, RunConfig
from cxrlib.data import views
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables
from cxrlib.experiment.one_run import image_sets, open_dataset, run
from cxrlib.study import plan
from cxrlib.study.derived import derived
from cxrlib.study.parameters import Shortcuts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Positives of two sources in training and one in the test split; negatives of a third; masks of the left half."""
    root = tmp_path_factory.mktemp("sources") / "two"
    generator = np.random.default_rng(0)
    groups = [("train", "positive", "a", 8), ("train", "positive", "b", 8), ("train", "negative", "c", 12), ("test", "positive", "a", 6), ("test", "negative", "c", 6)]
    lines = {"train": [], "test": []}
    for split, label, source, count in groups:
        for place in (root / split, root / "masks" / "lungs" / split):
            place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = f"{split}-{label}-{source}-{number}"
            Image.fromarray(generator.integers(0, 256, (40, 40), dtype=np.uint8)).save(root / split / f"{name}.png")
            mask = np.zeros((80, 80), dtype=np.uint8)
            mask[:, :40] = 255
            Image.fromarray(mask).save(root / "masks" / "lungs" / split / f"{name}.png")
            lines[split].append(f"{split}{label}{source}{number // 2} {name}.png {label} {source}")
    for split, rows in lines.items():
        (root / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def two(one_run, folder):
    return one_run | {"data": folder}


def sets(values):
    config = RunConfig.parse(values)
    return image_sets(config, open_dataset(config))


# Regions


@pytest.mark.parametrize("region", ["centre", "frame", "lungs", "outside_lungs"])
def test_what_is_hidden_is_grey_and_what_is_seen_is_as_it_was(two, region):
    whole, seen = sets(two), sets(two | {"region": region})
    for before, after in ((whole[0], seen[0]), (whole[1]["test"], seen[1]["test"])):
        size = before.images.shape[1]
        kept = views.central_square(size)
        if "lungs" in region:
            kept = np.broadcast_to(np.arange(size) < size // 2, (size, size))
        if region in ("frame", "outside_lungs"):
            kept = ~kept
        assert np.array_equal(after.images[:, kept], before.images[:, kept])
        assert (after.images[:, ~kept] == views.GREY).all()
        assert np.array_equal(before.labels, after.labels)


def test_centre_and_frame_share_the_image_in_halves():
    for size in (48, 56, 96, 120):
        assert views.central_square(size).mean() == pytest.approx(0.5, abs=0.02)
    assert views.central_square(16, 0.99).mean() < 1


def test_what_a_network_cannot_see_changes_no_prediction(two, folder, tmp_path):
    """Two folders that differ in the centre of their test images: the same scores with 'frame', others with 'whole'."""
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    for path in (changed / "test").glob("*.png"):
        image = np.asarray(Image.open(path)).copy()
        image[12:28, 12:28] = 255 - image[12:28, 12:28]
        Image.fromarray(image).save(path)
    logits = {}
    for region in ("whole", "frame"):
        for data in (folder, changed):
            record = run(two | {"data": data, "region": region}, progress=False)
            logits[region, data] = record.table()["logit"].to_numpy()
    assert np.array_equal(logits["frame", folder], logits["frame", changed])
    assert not np.allclose(logits["whole", folder], logits["whole", changed])


def test_the_key_follows_the_masks_only_where_they_are_used(two, folder, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(folder / "masks" / "lungs", masks)
    keys = {region: experiment.key_of(RunConfig.parse(two | {"region": region})) for region in ("whole", "lungs")}
    assert experiment.key_of(RunConfig.parse(two | {"region": "lungs", "masks": masks})) == keys["lungs"], "where masks lie does not count"
    path = next((masks / "test").glob("*.png"))
    Image.fromarray(np.full((80, 80), 255, dtype=np.uint8)).save(path)
    assert experiment.key_of(RunConfig.parse(two | {"region": "lungs", "masks": masks})) != keys["lungs"]
    assert experiment.key_of(RunConfig.parse(two | {"masks": masks})) == keys["whole"]
    record = run(two | {"region": "lungs"}, progress=False)
    assert records.load(two["store"], record.key) == record
    assert record.data["images"] == open_dataset(RunConfig.parse(two)).fingerprint != record.data["fingerprint"]


# Sources


def test_a_source_left_out_is_not_trained_on_and_is_scored(two):
    record = run(two | {"leave_out": "b", "validation_fraction": 0.3}, progress=False)
    training, _, tables = sets(two | {"leave_out": "b", "validation_fraction": 0.3})
    assert set(tables["train"]["source"]) == {"a", "c"}
    assert len(training.labels) == len(tables["train"]) == sum(record.data["training_images"].values())
    assert set(tables["left_out"]["source"]) == {"b"}
    assert record.table("left_out")["file"].tolist() == tables["left_out"]["file"].tolist()
    assert len(record.table("left_out")) == 8, "held-out images of the source too"
    assert "left_out_accuracy" not in record.history[-1]
    _, _, beside = sets(two | {"validation_fraction": 0.3})
    same = beside["validation"]["file"][beside["validation"]["source"] != "b"]
    assert set(tables["validation"]["file"]) == set(same), "both hold out the same patients of the other sources"
    assert set(beside["train"]["source"]) == {"a", "b", "c"}


def test_sources_are_told_apart_on_patients_never_seen(two):
    record = run(two | {"sources": ("a", "b"), "within": "positive", "validation_fraction": 0.5}, progress=False)
    _, _, tables = sets(two | {"sources": ("a", "b"), "within": "positive", "validation_fraction": 0.5})
    test, train = tables["test"], tables["train"]
    assert set(test["file"]) == set(record.table()["file"])
    assert not set(test["patient_id"]) & set(train["patient_id"])
    assert all("-positive-" in file for file in [*test["file"], *train["file"]])
    assert all((label == "positive") == (source == "b") for label, source in zip(train["label"], train["source"]))
    labels = record.table()["label"].to_numpy()
    assert set(labels) == {0, 1}
    assert np.array_equal(labels == 1, record.table()["file"].str.contains("-b-").to_numpy())


def test_a_test_split_with_both_sources_is_used_as_it_is(two, folder, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(folder, both)
    text = (both / "test.txt").read_text()
    (both / "test.txt").write_text(text.replace("a-5.png positive a", "a-5.png positive b"))
    _, evaluated, tables = sets(two | {"data": both, "sources": ("a", "b")})
    assert set(tables["test"]["folder"]) == {"test"}
    assert evaluated["test"].labels.sum() == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"leave_out": "d"}, "no source 'd' in these data; there are: a, b, c"),
        ({"leave_out": "c"}, "without source 'c' the train split has no negative image"),
        ({"sources": ("a", "x")}, "no source 'x'"),
        ({"sources": ("a", "c"), "within": "positive"}, "has no negative image|has no positive image|no positive"),
        ({"sources": ("a", "b")}, "hold training patients out with validation_fraction"),
        ({"sources": ("a", "a")}, "named twice"),
        ({"sources": ("a", "b"), "leave_out": "a"}, "set one of them"),
        ({"region": "lungs", "masks": "no/such"}, "there is no folder 'no/such'"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(two, values, says):
    with pytest.raises(ParameterError, match=says):
        run(two | values, progress=False)


def test_a_missing_mask_is_named(two, folder, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(folder / "masks" / "lungs", masks)
    path = next((masks / "train").glob("*.png"))
    path.unlink()
    with pytest.raises(ParameterError, match=f"{path.name}' is missing, the mask of train/{path.stem}"):
        run(two | {"region": "lungs", "masks": masks}, progress=False)


# Identity and plan


def test_new_fields_leave_every_committed_key_alone():
    for table in ("quarter", "upstream"):
        for record in record_tables.read_table(ROOT / "results" / f"{table}.parquet")[:3]:
            values = {name: value for name, value in record.config.items() if name in RunConfig.model_fields}
            if values["mixup_value"] is None:
                del values["mixup_value"]
            config = RunConfig.parse(values)
            assert records.content_key(config.identity(), record.data["fingerprint"], record.initialisation["sha256"]) == record.key
    assert RunConfig(centre_share=0.5).identity() == RunConfig(within="positive").identity() == RunConfig().identity()
    assert RunConfig(region="centre", centre_share=0.5).identity() != RunConfig(region="centre").identity()


def test_what_is_null_is_derived_from_the_data(folder, covidx_folder):
    index = open_dataset(RunConfig.parse({"data": folder})).index
    found = derived(Shortcuts.parse({"data": folder}), index)
    assert found.regions == ("whole", "centre", "frame", "lungs", "outside_lungs")
    assert found.leave_out == ("a", "b")
    assert set(found.sources) == {"a", "b"} and found.within == "positive"
    assert len(found.runs()) == 5 + 3 + 1
    # With one source there is nothing to ask, and nothing is planned.
    one = open_dataset(RunConfig.parse({"data": covidx_folder})).index
    found = derived(Shortcuts.parse({"data": covidx_folder}), one)
    assert (found.regions, found.leave_out, found.sources) == (("whole", "centre", "frame"), (), None)
    assert len(found.runs()) == 3
    given = Shortcuts.parse({"data": folder, "leave_out": [], "sources": ["a", "b"], "regions": ["whole"]})
    assert derived(given, index).runs() == given.runs()


def test_the_profile_names_its_runs_and_shares_those_of_the_grid(monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = [planned for planned in plan.profile_runs("quarter") if "06_shortcuts" in planned.studies]
    assert len(runs) == 5 * (3 + 3 + 1)
    shared = [planned for planned in runs if len(planned.studies) > 1]
    assert {planned.config.region for planned in shared} == {"whole"}
    assert {planned.config.seed for planned in shared} == {0, 1, 2}
    assert pd.Series([planned.config.leave_out for planned in runs]).value_counts().to_dict() == {"cxnet": 5, "talo-cohen": 5}
