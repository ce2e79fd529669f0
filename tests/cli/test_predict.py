"""Scores for one's own images: what can be scored is, nothing is overwritten, memory does not grow with the number."""

import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrlib.cli import predict
from cxrlib.cli.main import app
from cxrlib.experiment.one_run import run


@pytest.fixture(scope="module")
def model(covidx_folder, tmp_path_factory):
    """Store and key of a run that takes a second."""
    folder = tmp_path_factory.mktemp("model")
    values = {"data": covidx_folder, "store": folder / "runs", "cache": folder / "cache", "arch": "resnetv2_laptop", "image_channels": 1}
    values |= {"batch_size": 8, "resize": 36, "crop": 32, "schedule": (1, 2, 3), "eval_every": 3, "device": "cpu", "threads": 1}
    return folder / "runs", run(values).key


@pytest.fixture
def images(covidx_folder, tmp_path):
    files = []
    for number, path in enumerate(sorted((covidx_folder / "test").glob("*.png"))[:6]):
        files.append(tmp_path / f"x{number}.png")
        shutil.copy(path, files[-1])
    return files


def invoke(model, *arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--model", model[1], "--store", str(model[0])])


def scores(output: str) -> dict[str, float]:
    return {line.split("\t")[0]: float(line.split("\t")[1]) for line in output.splitlines() if "\t" in line}


def test_sound_images_are_scored_beside_bad_ones(model, images, tmp_path):
    whole = scores(invoke(model, *images).output)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<html>")
    white = tmp_path / "white.png"
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(white)
    result = invoke(model, *images[:3], bad, tmp_path / "gone.png", white, tmp_path, *images[3:])
    assert result.exit_code == 1
    assert scores(result.output) == whole, "and in the same order"
    for words in ("4 of 10 images cannot be used", "bad.png: not an image but a web page", "gone.png: there is no such file", "white.png: it holds one grey value (255)", "it is a folder", "Not for diagnosis"):
        assert words in result.output
    strict = invoke(model, *images[:3], bad, "--strict")
    assert strict.exit_code == 1 and not scores(strict.output)


def test_batches_do_not_change_scores(model, images, monkeypatch):
    whole = scores(invoke(model, *images).output)
    monkeypatch.setattr(predict, "BATCH", 2)
    parts = scores(invoke(model, *images).output)
    assert parts == pytest.approx(whole, abs=1e-4) and list(parts) == list(whole)


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg", ""])
def test_explanations_are_written_where_it_is_said(model, images, tmp_path, ending):
    result = invoke(model, *images[:2], "--explain", tmp_path / f"o1{ending}")
    assert result.exit_code == 0, result.output
    written = tmp_path / f"o1{ending or '.png'}"
    assert f"wrote {written}" in result.output.replace("\n", "") and written.stat().st_size > 5000
    before = written.read_bytes()
    again = invoke(model, *images[:2], "--explain", tmp_path / f"o1{ending}")
    assert again.exit_code == 1 and "exists" in again.output and written.read_bytes() == before
    assert invoke(model, *images[:1], "--explain", written, "--overwrite").exit_code == 0
    assert written.read_bytes() != before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_image_is_never_overwritten(model, images, tmp_path):
    (tmp_path / "link.png").symlink_to(images[0])
    (tmp_path / "hard.png").hardlink_to(images[1])
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    for arguments in (
        [images[0], "--explain", images[0]], [images[0], images[1], "--explain", images[1], "--overwrite"], ["--explain", images[0], images[1]],
        [images[0], "--explain", tmp_path / "link.png", "--overwrite"], [images[1], "--explain", tmp_path / "hard.png", "--overwrite"], [images[0], "--explain", tmp_path],
    ):  # fmt: skip
        result = invoke(model, *arguments)
        assert result.exit_code == 1 and not scores(result.output)
        assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["a$x_{$.png", "$$.png", "a^b_c\\d.png", "Ж é.png"])
def test_any_file_name_can_be_explained(model, images, tmp_path, name):
    odd = tmp_path / name
    shutil.copy(images[0], odd)
    result = invoke(model, odd, "--explain", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.png").stat().st_size > 5000
