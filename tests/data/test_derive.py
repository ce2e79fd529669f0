"""Folders made of other folders: what is left out is left out, nobody is in two folds, and pictures evened out are alike."""

import io

import numpy as np
import pandas as pd
import pytest
from common import write_folder
from PIL import Image

from cxrlib.data import derive
from cxrlib.data.folder import read_index
from cxrlib.data.labels import DataError


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "origin", train=12, test=4)


def write_overlap(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=derive.OVERLAP_COLUMNS).to_csv(folder / "overlap.csv", index=False)
    return folder


def test_training_patients_with_an_image_elsewhere_go_with_all_their_images_and_test_stays(folder, tmp_path):
    other = write_overlap(tmp_path / "other", [
        ("a.jpg", "origin", "train", "train-positive-2.png"), ("b.jpg", "origin", "test", "test-negative-0.png"), ("c.jpg", "third", "train", "train-negative-0.png"),
    ])  # fmt: skip
    index = read_index(folder)
    left = derive.without_patients_of(index, derive.shared_with(folder, [other]))
    gone = set(index["file"]) - set(left["file"])
    assert gone == {"train-positive-2.png", "train-positive-3.png"}  # both images of the patient, and of nobody else
    assert (left["split"] == "test").sum() == (index["split"] == "test").sum()


def test_a_patient_of_the_test_set_who_is_elsewhere_takes_the_training_images_along():
    index = pd.DataFrame({"patient_id": ["p", "p", "q"], "file": ["1", "2", "3"], "label": "positive", "source": "s", "split": ["train", "test", "train"]})
    assert derive.without_patients_of(index, {("test", "2")})["file"].tolist() == ["2", "3"]


@pytest.mark.parametrize("rows, says", [(None, "missing"), ("filename,other_set\n", "other_split")])
def test_an_overlap_that_cannot_be_read_is_named(folder, tmp_path, rows, says):
    other = tmp_path / "other"
    other.mkdir()
    if rows is not None:
        (other / "overlap.csv").write_text(rows)
    with pytest.raises(DataError, match=says):
        derive.shared_with(folder, [other])


def test_each_patient_is_in_one_fold_and_classes_are_spread(folder):
    index = read_index(folder)
    index = index[index["split"] == "train"].reset_index(drop=True)
    folds = derive.fold_of(index, 3)
    assert index.assign(fold=folds).groupby("patient_id")["fold"].nunique().max() == 1
    counts = pd.crosstab(folds, index["label"]).to_numpy()
    assert counts.shape == (3, 2) and (counts == 4).all()
    with pytest.raises(ValueError, match="fewer folds"):
        derive.fold_of(index, 7)


def test_a_folder_is_written_that_reads_as_the_rows_say(folder, tmp_path):
    index = derive.with_paths(read_index(folder), folder)
    held = derive.fold_of(index, 2) == 0
    out = derive.write_folder(tmp_path / "fold", index.assign(split=np.where(held, "test", "train")))
    again = read_index(out)
    assert set(again.loc[again["split"] == "test", "file"]) == set(index.loc[held, "file"])
    row = again.iloc[0]
    assert (out / row["split"] / row["file"]).read_bytes() == index.set_index("file").at[row["file"], "path"].read_bytes()


def test_pictures_evened_out_are_of_one_size_and_brightness_and_lose_their_border(folder, tmp_path):
    values = np.random.default_rng(0).normal(60, 10, (300, 200)).clip(0, 255).astype(np.uint8)
    paths = []
    for number, picture in enumerate((values, np.clip(values.astype(int) + 90, 0, 255).astype(np.uint8))):
        picture = picture.copy()
        picture[:20], picture[:, :12] = 255 * number, 255 * number  # a frame in the part that is cut off
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    one, two = (Image.open(io.BytesIO(derive.evened(path))) for path in paths)
    assert one.size == two.size == (derive.EVEN_SIZE, derive.EVEN_SIZE) and one.format == "JPEG"
    a, b = np.asarray(one, float), np.asarray(two, float)
    assert abs(a.mean() - b.mean()) < 4 and abs(a - b).mean() < 8  # brightness and frame are gone, the picture is not
    assert min(a.std(), b.std()) > 60  # contrast is stretched: it was 10
