"""Public collections as they are unpacked, made here in small, as folders in the COVIDx layout."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrlib.cli.main import app
from cxrlib.data.adopt import _is_covid, adopt
from cxrlib.data.folder import check, read_index
from cxrlib.data.labels import DataError


def picture(path, seed: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def radiography(tmp_path):
    """COVID-19 Radiography Database: classes with images/ and masks/, Excel tables without patients, no splits."""
    folder = tmp_path / "COVID-19_Radiography_Dataset"
    for kind, stem in (("COVID", "COVID"), ("Normal", "Normal"), ("Lung_Opacity", "Lung_Opacity"), ("Viral Pneumonia", "Viral Pneumonia")):
        for number in range(1, 9):
            picture(folder / kind / "images" / f"{stem}-{number}.png", number)
            picture(folder / kind / "masks" / f"{stem}-{number}.png", number)
        pd.DataFrame({"FILE NAME": [f"{stem}-{n}" for n in range(1, 9)], "FORMAT": "PNG"}).to_excel(folder / f"{kind}.metadata.xlsx", index=False)
    (folder / "README.md.txt").write_text("about")
    return folder


@pytest.fixture
def qu_ex(tmp_path):
    """COVID-QU-Ex: splits, three classes, lung masks, two folders down."""
    folder = tmp_path / "archive"
    inner = folder / "Lung Segmentation Data" / "Lung Segmentation Data"
    for split in ("Train", "Val", "Test"):
        for kind in ("COVID-19", "Non-COVID", "Normal"):
            for number in range(4):
                name = f"{kind}_{split}_{number}.png"
                picture(inner / split / kind / "images" / name, number)
                picture(inner / split / kind / "lung masks" / name, number)
    return folder


@pytest.fixture
def cohen(tmp_path):
    """Cohen et al.: metadata.csv, images/, CT and lateral views among them, several images of a patient."""
    folder = tmp_path / "covid-chestxray-dataset"
    rows = []
    for number in range(24):
        finding = ["Pneumonia/Viral/COVID-19", "Pneumonia/Bacterial", "todo"][number % 3]
        view, modality, place = ("L", "X-ray", "images") if number == 3 else ("Axial", "CT", "volumes") if number == 6 else ("PA", "X-ray", "images")
        rows.append({"patientid": number // 2, "finding": finding, "view": view, "modality": modality, "folder": place, "filename": f"i {number}.png"})
        if number != 9:
            picture(folder / place / f"i {number}.png", number)
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    return folder


def test_the_radiography_database(radiography, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="who is the patient of an image.*--patient.*never guessed"):
        list(adopt(radiography, out))
    assert not out.exists()
    said = "\n".join(adopt(radiography, out, patient="each-image"))
    assert "positive: COVID (8 images)" in said and "20 % of the patients" in said and "no check can see it" in said
    index = read_index(out, strict=True)
    assert len(index) == 32 and (index["label"] == "positive").sum() == 8
    assert index[index["split"] == "test"].groupby("label").size().to_dict() == {"negative": 5, "positive": 2}
    assert sorted(path.name for path in (out / "masks" / "lungs" / "test").iterdir()) == sorted(index.loc[index["split"] == "test", "file"])
    assert len(list(radiography.rglob("*.png"))) == 64, "the collection stays as it was"


def test_patients_from_file_names(radiography, tmp_path):
    list(adopt(radiography, tmp_path / "out", patient=r"(?:COVID|Normal|Opacity|Pneumonia)-(\d+)"))
    index = read_index(tmp_path / "out")
    assert set(index["patient_id"]) == {str(number) for number in range(1, 9)}
    assert not set(index.loc[index["split"] == "test", "patient_id"]) & set(index.loc[index["split"] == "train", "patient_id"])
    for wrong, words in [(r"(\d)(\d)", "2 groups"), (r"(\d", "no regular expression"), ("patient", "no such column"), (r"(X\d+)", "finds no patient in 32 of 32")]:
        with pytest.raises(DataError, match=words):
            list(adopt(radiography, tmp_path / "other", patient=wrong))


def test_covid_qu_ex_keeps_its_splits(qu_ex, tmp_path):
    said = "\n".join(adopt(qu_ex, tmp_path / "out", patient="each-image"))
    assert "positive: COVID-19 (12 images)" in said and "Non-COVID (12 images)" in said
    index = read_index(tmp_path / "out", strict=True)
    assert index.groupby(["split", "label"]).size().to_dict() == {
        ("test", "negative"): 8, ("test", "positive"): 4, ("train", "negative"): 16, ("train", "positive"): 8,
    }  # fmt: skip


def test_cohens_metadata(cohen, tmp_path):
    with pytest.raises(DataError, match="one of the columns patientid, finding, view"):
        list(adopt(cohen, tmp_path / "out"))
    said = "\n".join(adopt(cohen, tmp_path / "out", patient="patientid", test_share=0.3))
    for words in ("8 x no class is known", "1 x not a frontal view", "1 x not an X-ray", "1 x no such image file", "11 of 24 rows are left out"):
        assert words in said
    index = read_index(tmp_path / "out", strict=True)
    assert len(index) == 13 and index["patient_id"].nunique() < 13
    assert check(tmp_path / "out").problems == []


def test_label_files_of_three_classes(tmp_path):
    folder = tmp_path / "covidx3"
    for split in ("train", "test"):
        lines = []
        for number in range(6):
            picture(folder / split / f"{split}{number}.png", number)
            lines.append(f"COVID {split}{number // 2} {split}{number}.png {['normal', 'pneumonia', 'COVID-19'][number % 3]} sirm")
        (folder / f"{split}_COVIDx3.txt").write_text("\n".join(lines))
    list(adopt(folder, tmp_path / "out"))
    index = read_index(tmp_path / "out", strict=True)
    assert len(index) == 12 and index["patient_id"].iloc[0] == "COVID train0"
    list(adopt(folder, tmp_path / "two", positive=["pneumonia"], drop=["COVID-19"]))
    assert read_index(tmp_path / "two").groupby("label").size().to_dict() == {"negative": 4, "positive": 4}
    (folder / "train_COVIDx3.txt").write_text("1 ../../x.png normal s\n")
    with pytest.raises(DataError, match="train_COVIDx3.txt:1: .*climbs out"):
        list(adopt(folder, tmp_path / "three"))


@pytest.mark.parametrize("kind", ["csv", "semicolons", "xlsx", "tsv"])
def test_any_table_of_images(tmp_path, kind):
    folder = tmp_path / "own"
    rows = []
    for number in range(12):
        picture(folder / "png" / f"{number}.png", number)
        rows.append({"Image": str(number), "Subject": f"s{number // 2}", "Diagnosis": "COVID19" if number < 6 else "healthy", "Split": "training" if number % 6 < 4 else "testing"})
    table = pd.DataFrame(rows)
    if kind == "xlsx":
        table.to_excel(folder / "own.xlsx", index=False)
    else:
        table.to_csv(folder / ("own.tsv" if kind == "tsv" else "own.csv"), index=False, sep={"csv": ",", "semicolons": ";", "tsv": "\t"}[kind])
    list(adopt(folder, tmp_path / "out", patient="Subject"))
    index = read_index(tmp_path / "out", strict=True)
    assert index.groupby(["split", "label"]).size().tolist() == [2, 2, 4, 4]
    assert set(index["patient_id"]) == {f"s{number}" for number in range(6)}


def test_nothing_is_overwritten_or_led_out(radiography, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="exists; give a new folder"):
        list(adopt(radiography, tmp_path / "there", patient="each-image"))
    with pytest.raises(DataError, match="lies inside"):
        list(adopt(radiography, radiography / "out", patient="each-image"))
    secret = tmp_path / "secret.png"
    secret.write_text("secret")
    os.symlink(secret, radiography / "COVID" / "images" / "x.png")
    with pytest.raises(DataError, match="is a link that leads out"):
        list(adopt(radiography, tmp_path / "out", patient="each-image"))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_adopted_says_what_is_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder is empty"):
        list(adopt(tmp_path / "empty", tmp_path / "out"))
    (tmp_path / "two").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "two" / name).write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="2 tables .a.csv, b.csv.; name one with --table"):
        list(adopt(tmp_path / "two", tmp_path / "out"))
    with pytest.raises(DataError, match="which column is the class"):
        list(adopt(tmp_path / "two", tmp_path / "out", table=tmp_path / "two" / "a.csv"))


def test_the_command(radiography, tmp_path):
    asked = CliRunner().invoke(app, ["data", "adopt", str(radiography), str(tmp_path / "out")])
    assert asked.exit_code == 1 and "who is the patient" in asked.output
    done = CliRunner().invoke(app, ["data", "adopt", str(radiography), str(tmp_path / "out"), "--patient", "each-image", "--drop", "Normal"])
    assert done.exit_code == 0, done.output
    assert "8 of 32 rows are left out: 8 x class 'Normal', which --drop names" in done.output
    hint = CliRunner().invoke(app, ["data", "check", str(radiography)])
    assert hint.exit_code == 1 and "folders of their classes" in hint.output and "cxr data adopt" in hint.output


@pytest.mark.parametrize(
    ("kind", "positive"),
    [
        ("COVID-19", True), ("COVID-positive", True), ("Pneumonia/Viral/COVID-19", True), ("SARS-CoV-2", True), ("COVID-19, ARDS", True), ("COVID19_Pneumonia", True),
        ("Novel coronavirus COVID-19", True), ("2019-nCoV", True), ("covid_images", True), ("CovidPneumonia", True),
        ("Non-COVID", False), ("NotCovid", False), ("no covid", False), ("Lung_Opacity", False), ("Normal", False), ("noncovid pneumonia", False), ("Nosocomial", False),
        ("COVID-negative", None), ("Pneumonia non-COVID", None), ("Negative for COVID-19", None), ("covidNeg", None), ("COVID19_NEG", None),
        ("PneumoniaNonCovid", None), ("COVID-19 or pneumonia", None), ("suspected COVID", None), ("COVIDNegative", None), ("covidnegative", None), ("COVID-19 -ve", None),
        ("COVID (-)", None), ("COVID_False", None), ("COVID-19: 0", None), ("COVID controls", None), ("pre-COVID", None), ("COVID?", None), ("pneumonianoncovid", None),
        ("Nosocomial COVID-19", None), ("Norway_COVID", None), ("COVID-", None), ("COVID2", None),
    ],
)  # fmt: skip
def test_a_name_that_holds_the_disease_and_denies_it_is_asked_for(kind, positive):
    if positive is None:
        with pytest.raises(DataError, match="could be COVID-19 or something else.*; name the positive classes with --positive"):
            _is_covid(kind)
    else:
        assert _is_covid(kind) is positive


def test_an_image_that_a_table_names_twice_is_taken_once_or_not_at_all(tmp_path):
    """Once if both rows say the same, and not at all if one says COVID-19 and the other does not."""
    folder = tmp_path / "set"
    for number in range(12):
        picture(folder / f"{number}.png", number)
    rows = [(number // 2, f"{number}.png", "COVID-19" if number % 4 < 2 else "Normal") for number in range(12)]
    rows += [rows[0], (5, "11.png", "COVID-19"), (7, "10.png", rows[10][2])]
    pd.DataFrame(rows, columns=["patient", "file", "finding"]).to_csv(folder / "a.csv", index=False)
    said = "\n".join(adopt(folder, tmp_path / "out", "patient"))
    assert "5 of 15 rows are left out: 4 x image with two classes, patients or splits, 1 x row that stands twice" in said
    index = read_index(tmp_path / "out", strict=True)
    assert sorted(index["file"], key=lambda name: int(name[:-4])) == [f"{number}.png" for number in range(10)]


@pytest.mark.parametrize("nobody", ["nan", "-", "Unknown", "N/A"])
def test_a_word_for_no_patient_is_no_patient(tmp_path, nobody):
    folder = tmp_path / "set"
    for number in range(8):
        picture(folder / f"{number}.png", number)
    rows = [(nobody if number < 2 else number, f"{number}.png", "COVID-19" if number % 2 else "Normal") for number in range(8)]
    pd.DataFrame(rows, columns=["patient", "file", "finding"]).to_csv(folder / "a.csv", index=False)
    with pytest.raises(DataError, match="column 'patient' is empty for 2 of 8 images"):
        list(adopt(folder, tmp_path / "out", "patient"))
