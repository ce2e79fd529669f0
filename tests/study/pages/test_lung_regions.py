"""Lungs only or everything else: masks lie where a run looks for them, and regions are compared with the whole image, seed by seed."""

import numpy as np
import pytest
from common import ROOT, write_folder
from PIL import Image

from cxrlib.data.dataset import read_dataset
from cxrlib.experiment.record import Record
from cxrlib.study import truth
from cxrlib.study.pages import lung_regions as page

TABLE = ROOT / "results" / "lung-regions.parquet"


def test_masks_have_the_size_of_their_images_and_where_nothing_is_found_nothing_is_hidden(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "set", train=4, test=2)
    for image in (folder / "test").iterdir():
        Image.open(image).resize((60, 48)).save(image)
    monkeypatch.setattr(page, "load_segmenter", lambda weights: None)

    def found(_model, images):
        values = np.zeros((len(images), 96, 96), np.float32)
        values[1:, 20:80, 10:40] = values[1:, 20:80, 56:86] = 0.9  # nothing on the first image of each split
        return values

    monkeypatch.setattr(page, "lung_probability", found)
    dataset = read_dataset(folder, None, tmp_path / "cache", False)
    assert page.write_masks(dataset, tmp_path / "masks", tmp_path / "cache") == 2
    first, second = (np.asarray(Image.open(tmp_path / "masks" / "test" / f"test-negative-{n}.png")) for n in range(2))
    assert first.shape == second.shape == (48, 60) and set(np.unique(second)) == {0, 255}
    assert (first == 255).all() and (second > 0).mean() == pytest.approx(60 * 60 / 96**2, abs=0.02)


def record(region, seed, strength):
    """A record of made logits: positives lie ``strength`` standard deviations above negatives, at home and elsewhere."""
    columns = {column: [] for column in ("split", "file", "patient_id", "label", "logit")}
    for split, shift in zip(("test", f"{truth.SAME}/train", f"{truth.SAME}/test"), strength, strict=True):
        for number in range(60):
            image = np.random.default_rng([number, seed]).normal()  # of the image, whatever is seen of it
            for column, value in zip(columns, (split, f"{split}-{number}", f"{split}-{number // 2}", number % 2, image + shift * (number % 2)), strict=True):
                columns[column].append(value)
    return Record(
        key="0" * 20, protocol_version=1, config={"seed": seed, "region": region}, data={"name": truth.APART, "fingerprint": "f"}, initialisation={"name": "x", "sha256": None},
        code_version="", packages={}, machine={}, history=[], predictions=columns, wall_seconds=0, weights_sha256="",
    )  # fmt: skip


def test_regions_are_compared_with_the_whole_image_by_the_same_images_and_seeds():
    strengths = {"whole": (3.0, 1.0, 1.0), "lungs": (3.0, 2.0, 2.0), "outside_lungs": (2.0, 0.0, 0.0)}
    records = [record(region, seed, strength) for region, strength in strengths.items() for seed in (1, 0, 2)]
    assert [name for name, _ in page.rows(records)] == ["whole image", "lungs", "outside the lungs"]
    assert page.change(records, "lungs", page.COLLECTION).low > 0 and page.change(records, "outside_lungs", page.COLLECTION).high < 0
    assert page.scores(records, "lungs", page.COLLECTION).logits.shape == (3, 120)
    said = page.told(records)
    assert "at home? yes" in said and "than the whole image? yes" in said
    assert page.rows([]) == "not recorded yet" and "Nothing is recorded" in page.told([]) and np.isnan(page.change(records[:3], "lungs", page.OWN))


@pytest.mark.skipif(not TABLE.is_file(), reason="nothing is recorded yet")
def test_the_committed_records_have_every_region_with_the_same_images():
    records = page.read(TABLE)
    files = {region: set(page.scores(records, region, page.COLLECTION).files) for region in page.REGIONS}
    assert len(set(map(frozenset, files.values()))) == 1 and len(files["whole"]) == 501
    assert {len(page.scores(records, region, page.OWN).logits) for region in page.REGIONS} == {3}
