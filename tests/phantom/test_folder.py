"""Phantom sets: determinism, layout, masks, hardness without shortcuts, confounding, and clear errors."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrlib.phantom.findings import RANGES
from cxrlib.phantom.folder import PhantomError, generate, plan, render
from cxrlib.phantom.render import LABELS, Exam, source_of

SMALL = dict(train_positive=8, train_negative=22, test_per_class=6, size=48, progress=False)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("set") / "phantom", workers=1, **SMALL)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "phantom.json"
    }


def label_rows(folder: Path, split: str) -> list[list[str]]:
    return [line.split(" ") for line in (folder / f"{split}.txt").read_text().splitlines()]


def test_same_bytes_from_one_process_and_from_two(phantoms, tmp_path):
    assert digests(generate(tmp_path / "two", workers=2, **SMALL)) == digests(phantoms)


def test_another_seed_gives_other_images():
    assert not np.array_equal(render(seed=0, size=48).image, render(seed=1, size=48).image)
    assert np.array_equal(render(seed=1, size=48).image, render(seed=1, size=48).image)


def test_larger_set_contains_the_smaller_one(phantoms, tmp_path):
    more = digests(generate(tmp_path / "more", workers=1, **{**SMALL, "train_negative": 30}))
    fewer = digests(phantoms)
    images = {name for name in fewer if name.endswith(".png")}
    assert images and all(more[name] == fewer[name] for name in images)


def test_label_files_have_the_layout_of_covidx(phantoms):
    for split, counts in (("train", (8, 22)), ("test", (6, 6))):
        rows = label_rows(phantoms, split)
        assert all(len(row) == 4 and row[2] in LABELS and row[3] in ("phantom-a", "phantom-b") for row in rows)
        assert tuple(sum(row[2] == label for row in rows) for label in LABELS) == counts
        assert {row[1] for row in rows} == {path.name for path in (phantoms / split).iterdir()}
    patients = [{row[0] for row in label_rows(phantoms, split)} for split in ("train", "test")]
    assert not patients[0] & patients[1]


def test_label_files_are_read_by_the_loader(phantoms):
    data = pytest.importorskip("cxrlib.data.folder")
    index = data.read_index(phantoms, strict=True)
    assert len(index) == 42 and set(index["label"]) == set(LABELS)


def test_masks_and_findings_belong_to_the_images(phantoms):
    with open(phantoms / "findings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 42
    for row in rows:
        image, lungs, opacities = (
            np.asarray(Image.open(phantoms / place / row["split"] / row["file"]))
            for place in (".", "masks/lungs", "masks/opacities")
        )
        assert image.dtype == np.uint8 and image.shape == lungs.shape == opacities.shape == (48, 48)
        assert set(np.unique(lungs)) == {0, 255} and 0.1 < (lungs > 0).mean() < 0.6
        assert set(np.unique(opacities)) <= {0, 255} and not (opacities & ~lungs).any()
        assert (row["finding"] == "no finding") == (opacities.max() == 0) == (row["severity"] == "0")
        assert (row["label"] == "positive") == (row["finding"] == "COVID-19")


def test_phantom_record_names_every_parameter(phantoms):
    record = json.loads((phantoms / "phantom.json").read_text())
    assert record["parameters"]["train_negative"] == 22 and record["parameters"]["source_confounding"] == 0
    assert set(record["parameters"]["severity"]) == set(record["severity_ranges"]) == set(RANGES)


def test_default_plan_has_the_imbalance_of_the_paper_and_patients_with_several_images():
    exams = plan(0, {"train": {"positive": 260, "negative": 1660}, "test": dict.fromkeys(LABELS, 100)})
    train = [exam for exam in exams if exam.split == "train"]
    positive = [exam for exam in train if exam.label == "positive"]
    assert len(positive) == 260 and (len(train) - 260) / 260 == pytest.approx(13793 / 2158, rel=0.02)
    assert 1.35 < 260 / len({exam.patient for exam in positive}) < 1.8
    assert len(set(exams)) == len(exams)


def test_anatomy_is_drawn_as_on_a_chest_radiograph():
    size = 96
    for patient in range(4):
        phantom = render("negative", finding="no finding", patient=2 * patient, size=size, projection="PA", source="phantom-a")
        lungs, image = phantom.lungs, phantom.image.astype(float)
        left, right = lungs[:, : size // 2], lungs[:, size // 2 :]
        assert left.any() and right.any()
        below = image[-size // 8 :, size // 3 : -size // 3]
        assert below.mean() > image[lungs].mean() + 60  # a bright abdomen, dark lungs
        # The patient's left is on the right of the image: there the heart takes room from the lung.
        assert left.sum() > right.sum()


def test_opacities_brighten_their_place_and_grow_with_the_stratum():
    healthy = render("negative", patient=3, finding="no finding", size=64, source="phantom-a", projection="PA")
    rises = []
    for stratum in RANGES:
        sick = render("negative", patient=3, finding="lobar pneumonia", stratum=stratum, size=64, source="phantom-a",
                      projection="PA")  # fmt: skip
        where = sick.opacities
        rises.append(sick.image[where].mean() - healthy.image[where].mean())
    assert rises[0] > 0 and rises[-1] > 25 and rises == sorted(rises)


def test_covid_is_mostly_bilateral_and_in_the_lower_zones():
    phantoms = [render("positive", patient=patient, size=48) for patient in range(40)]
    both = [min(p.extent) > 0 for p in phantoms]
    assert 0.75 < np.mean(both) < 1
    heights = []
    for p in phantoms:
        lung, sick = np.nonzero(p.lungs)[0].mean(), np.nonzero(p.opacities)[0].mean()
        heights.append(sick - lung)
    assert np.mean(np.array(heights) > 0) > 0.75
    assert max(p.severity for p in phantoms) >= 6 and min(p.severity for p in phantoms) <= 2


def test_without_confounding_nothing_outside_the_lungs_tells_the_label():
    """Same technique for both labels: border pixels and the share of AP views, devices and sources do not differ."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = {label: [render(label, patient=n, size=32) for n in range(150)] for label in LABELS}
    pixels, y = [], np.repeat([1, 0], 150)
    for label in LABELS:
        for p in groups[label]:
            image = p.image.astype(float)
            border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            pixels.append([*np.quantile(border, np.linspace(0, 1, 11)), border.std(), *image.shape])
    scores = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression(C=0.1)), np.array(pixels), y, cv=5)
    assert 0.38 < (scores == y).mean() < 0.62
    for value in (lambda p: p.view.projection == "AP", lambda p: p.source == "phantom-b", lambda p: p.view.photons > 9e4):
        shares = [np.mean([value(p) for p in groups[label]]) for label in LABELS]
        assert abs(shares[0] - shares[1]) < 0.2


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_confounding_ties_the_source_to_the_label(strength):
    share = {
        label: np.mean([source_of(0, Exam("train", label, n, 0), strength) == "phantom-b" for n in range(600)])
        for label in LABELS
    }
    assert share["positive"] - share["negative"] == pytest.approx(strength, abs=0.09)


def test_sources_look_different_but_show_the_same_patient():
    a, b = (render("negative", patient=5, size=64, source=source) for source in ("phantom-a", "phantom-b"))
    assert np.array_equal(a.lungs, b.lungs) and np.array_equal(a.opacities, b.opacities)
    assert np.abs(a.image.astype(int) - b.image).mean() > 4


def test_complete_folder_is_kept_and_another_one_never_overwritten(phantoms, tmp_path):
    before = (phantoms / "phantom.json").stat().st_mtime_ns
    assert generate(phantoms, **SMALL) == phantoms
    assert (phantoms / "phantom.json").stat().st_mtime_ns == before
    with pytest.raises(PhantomError, match="seed: 0 there, 1 asked"):
        generate(phantoms, seed=1, **SMALL)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(PhantomError, match="not empty"):
        generate(photos, overwrite=True, **SMALL)
    assert (photos / "holiday.jpg").exists()


def test_damaged_set_is_noticed_and_made_anew_on_request(tmp_path):
    tiny = dict(train_positive=1, train_negative=2, test_per_class=1, size=32, progress=False)
    folder = generate(tmp_path / "set", **tiny)
    next((folder / "train").iterdir()).unlink()
    with pytest.raises(PhantomError, match="lost some of its files"):
        generate(folder, **tiny)
    assert len(list((generate(folder, overwrite=True, **tiny) / "train").iterdir())) == 3


def test_set_of_an_older_generator_is_made_anew(tmp_path, monkeypatch):
    tiny = dict(train_positive=1, train_negative=1, test_per_class=1, size=32, progress=False)
    monkeypatch.setattr("cxrlib.phantom.folder.GENERATOR_VERSION", 0)
    folder = generate(tmp_path / "set", **tiny)
    monkeypatch.undo()
    assert json.loads((generate(folder, **tiny) / "phantom.json").read_text())["generator_version"] > 0


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("cxrlib.phantom.workers.write_image", broken)
    with pytest.raises(OSError, match="No space left"):
        generate(tmp_path / "set", workers=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_failing_worker_process_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("cxrlib.phantom.folder.plan", lambda *given: [replace(exam, split="nowhere") for exam in plan(*given)])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        generate(tmp_path / "set", workers=2, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 8}, "size must be a whole number from 32"),
        ({"train_positive": 0}, "train_positive must be a whole number from 1"),
        ({"seed": 1.5}, "seed must be"),
        ({"source_confounding": 1.2}, "source_confounding must be a number from 0 to 1"),
        ({"source_confounding": float("nan")}, "source_confounding must be"),
        ({"severity": {"mild": 1}}, "severity must name exactly"),
        ({"severity": dict.fromkeys(RANGES, -1)}, "not negative"),
        ({"workers": 0}, "workers must be"),
    ],
)
def test_wrong_parameter_is_named(tmp_path, wrong, message):
    with pytest.raises(PhantomError, match=message):
        generate(tmp_path / "set", **{**SMALL, **wrong})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "wrong", [{"label": "ill"}, {"finding": "pleural effusion"}, {"stratum": "huge"}, {"projection": "LL"}, {"source": "nih"}]
)
def test_render_names_the_choices(wrong):
    with pytest.raises(PhantomError, match="choose one of"):
        render(**wrong)
