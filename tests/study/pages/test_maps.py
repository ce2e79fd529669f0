"""Where maps look by the masks that lie in a folder, and pages for data that have none or too little."""

import numpy as np
import pytest
from common import write_folder
from PIL import Image

from cxrlib.data.dataset import read_dataset
from cxrlib.metrics.estimate import Estimate
from cxrlib.study.derived import derived, lung_masks
from cxrlib.study.pages import maps
from cxrlib.study.parameters import Shortcuts


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", train=4, test=2)


def write_masks(folder, name):
    for split in ("train", "test"):
        place = folder / "masks" / name / split
        place.mkdir(parents=True)
        for image in (folder / split).iterdir():
            mask = np.zeros((48, 48), np.uint8)
            mask[12:36, 6:20] = 255
            Image.fromarray(mask).save(place / image.name)


@pytest.mark.parametrize(("drawn", "chest"), [((), maps.CENTRE), (("lung-boxes",), "boxes around the lungs"), (("lung-boxes", "lungs", "opacities"), "lungs")])
def test_the_best_masks_that_there_are_stand_for_the_chest(folder, tmp_path, drawn, chest):
    for name in drawn:
        write_masks(folder, name)
    found = maps.regions(read_dataset(folder, None, tmp_path, False), 32)
    assert set(found) == {maps.EDGE, chest} | ({maps.OPACITIES} if "opacities" in drawn else set())
    assert all(masks.shape == (4, 32, 32) for masks in found.values())
    assert found[chest][0].mean() == pytest.approx(24 * 14 / 48**2 if drawn else 0.5, abs=0.03)


def test_boxes_stand_for_lungs_where_there_are_no_outlines(folder):
    parameters = Shortcuts.parse({"data": folder, "init": "random"})
    index = read_dataset(folder, None, folder.parent, False).index
    assert lung_masks(parameters) is None and derived(parameters, index).regions == ("whole", "centre", "frame")
    write_masks(folder, "lung-boxes")
    found = derived(parameters, index)
    assert found.masks == folder / "masks" / "lung-boxes" and "outside_lungs" in found.regions
    write_masks(folder, "lungs")
    assert derived(parameters, index).masks is None and lung_masks(parameters) == folder / "masks" / "lungs"


def test_images_of_a_patient_count_together():
    values, patients = np.array([0.8, 1.4, 1.1, 0.9]), np.array(["a", "b", "c", "d"])
    once = maps.over_patients(values, patients)
    thrice = maps.over_patients(np.repeat(values, 3), np.repeat(patients, 3))
    assert once == thrice == pytest.approx(values.mean()) and (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert once.high > once + 0.4, "not cut off at 1, as a share would be"
    assert np.isnan(maps.over_patients(values, np.repeat("a", 4)).low)


def test_only_regions_with_both_classes_are_drawn_and_no_nan_is_said():
    one = Estimate(1.2, 1.0, 1.4)
    found = {("edge", "negative"): (one, 3), ("edge", "positive"): (one, 2), ("lungs", "positive"): (one, 2)}
    assert maps.paired(found)[1] == ["edge"] and maps.paired({})[1] == []
    assert maps.said_of_preferences(found) == "Mean preference (1: none). edge: 1.20 in negative images, 1.20 in positive images; lungs: 1.20 in positive images."
    assert "nan" not in maps.said_of_randomisation([Estimate(np.nan)]) and "0.10 with" in maps.said_of_randomisation([Estimate(0.1)])
