"""A folder as far as it goes: splits and classes that are lacking by design, further columns, masks."""

import shutil

import numpy as np
import pandas as pd
import pytest
from common import write_folder
from PIL import Image

from cxrlib.data.extent import extent, extra_columns, masks_of, open_any
from cxrlib.data.folder import read_index
from cxrlib.data.labels import DataError


def only(folder, split, label):
    """Leave rows of one class in a label file."""
    file = folder / f"{split}.txt"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if f" {label} " in line))


def without(folder, split):
    shutil.rmtree(folder / split)
    (folder / f"{split}.txt").unlink()


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", train=4, test=4)


def test_a_whole_folder_lacks_nothing_and_has_the_index_of_any_reader(folder):
    known = extent(folder)
    assert known.lacking == () and known.sentence == ""
    pd.testing.assert_frame_equal(known.index, read_index(folder))


def test_a_test_set_of_positives_says_what_it_lacks_and_what_follows(folder):
    without(folder, "train")
    assert extent(folder).sentence == "set has no train split: nothing can be trained on it"
    only(folder, "test", "positive")
    known = extent(folder)
    assert known.lacking == ("train negative", "train positive", "test negative") and len(known.index) == 4
    assert known.sentence == "set has no train split and no negative image: nothing can be trained on it, and AUC, accuracy and a comparison of classes need both"


def test_one_class_in_one_split_and_no_test_split(folder):
    only(folder, "train", "positive")
    assert extent(folder).sentence == "set has no negative image in train: nothing can be trained on it"
    write_folder(folder.parent / "other", train=4, test=4)
    without(folder.parent / "other", "test")
    assert extent(folder.parent / "other").sentence == "other has no test split: what is trained on it cannot be tested"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "test.txt").write_text(""), "no usable image of: test negative, test positive"),
        (lambda f: [path.unlink() for path in (f / "test").glob("test-negative*")], "no usable image of: test negative"),
        (lambda f: (f / "train.txt").rename(f / "Train.txt"), "rename it to train.txt"),
        (lambda f: (f / "train.txt").unlink(), r"one train\*.txt is needed"),
    ],
    ids=["empty label file", "missing images", "misnamed label file", "images without label file"],
)  # fmt: skip
def test_what_is_lacking_by_a_fault_is_an_error(folder, spoil, says):
    spoil(folder)
    with pytest.raises(DataError, match=says):
        extent(folder)


def test_further_columns_come_in_the_order_of_the_index_and_are_empty_where_nothing_is_said(folder):
    index = read_index(folder)
    table = pd.DataFrame({"filename": index["file"], "split": index["split"], "view": "PA", "age": range(len(index))}).iloc[::-1].iloc[1:]
    table.to_csv(folder / "labels_extra.csv", index=False)
    found = extra_columns(folder, index)
    assert list(found) == ["view", "age"] and found["age"].tolist() == [*map(str, range(len(index) - 1)), ""]
    test = index[index["split"] == "test"]
    assert extra_columns(folder, test)["age"].tolist() == [*map(str, test.index[:-1]), ""]


@pytest.mark.parametrize(("content", "says"), [("file,view\na,PA\n", "no column 'filename'"), ("filename,view\na,PA\na,AP\n", "csv:3: 'a' has a second row"), ("", "cannot be read as a table")])
def test_a_table_of_further_columns_that_is_none_is_named(folder, content, says):
    (folder / "labels_extra.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        extra_columns(folder, read_index(folder))
    (folder / "labels_extra.csv").unlink()
    assert extra_columns(folder, read_index(folder)).shape == (16, 0)


def test_masks_are_counted_by_kind(folder):
    index = read_index(folder)
    assert masks_of(folder, index).empty
    for name in index.loc[index["split"] == "test", "file"].iloc[:3]:
        (folder / "masks" / "lungs" / "test").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 48), 255, np.uint8)).save(folder / "masks" / "lungs" / "test" / name)
    assert masks_of(folder, index).to_numpy().tolist() == [["lungs", 3, 16]]


def test_one_class_is_enough_to_be_scored(folder, tmp_path):
    without(folder, "train")
    only(folder, "test", "positive")
    assert open_any(folder, tmp_path, ("test",)).images("test", 32, tmp_path).shape == (4, 32, 32)
