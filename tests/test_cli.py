import shutil
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from cxrlib import records
from cxrlib.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def config_file(one_run, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({k: list(v) if isinstance(v, tuple) else str(v) if hasattr(v, "parts") else v for k, v in one_run.items()}))
    return path


def test_train_list_predict_and_explain(config_file, one_run, tmp_path):
    trained = invoke("train", "--config", config_file, "-p", "seed=5", "-p", "schedule=[1, 2, 3, 4]")
    assert trained.exit_code == 0, trained.output
    (record,) = records.all_records(one_run["store"])
    assert record.config["seed"] == 5
    assert record.config["schedule"] == [1, 2, 3, 4]
    listed = invoke("runs", "--store", one_run["store"])
    assert record.key in listed.output
    assert "1 records" in listed.output
    image = next((one_run["data"] / "test").glob("*.png"))
    predicted = invoke("predict", image, image, "--model", record.key[:8], "--store", one_run["store"], "--explain", tmp_path / "cam.png")
    assert predicted.exit_code == 0, predicted.output
    lines = [line for line in predicted.output.splitlines() if line.startswith(str(image))]
    assert len(lines) == 2
    score = float(lines[0].split("\t")[1])
    assert score == pytest.approx(record.table().set_index("file").at[image.name, "probability"], abs=0.02)
    assert "Not for diagnosis" in predicted.output
    assert (tmp_path / "cam.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "-p", "sede=3"], "did you mean 'seed'"),
        (["train", "-p", "nonsense"], "is not NAME=VALUE"),
        (["train", "-p", "schedule=[1, 2"], "not YAML"),
        (["data", "phantom", "nowhere", "-p", "sise=64"], "did you mean 'size'"),
        (["train", "-p", "data=no/such/folder"], "does not exist"),
        (["predict", "x.png", "--model", "abc", "--store", "nowhere"], "none fits"),
        (["data", "check", "no/such/folder"], "no/such/folder"),
    ],
)
def test_errors_are_one_sentence(arguments, says):
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output


def test_predict_names_the_unreadable_file(config_file, one_run, tmp_path):
    invoke("train", "--config", config_file)
    (record,) = records.all_records(one_run["store"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    result = invoke("predict", broken, "--model", one_run["store"] / record.key)
    assert result.exit_code == 1
    assert "broken.png" in result.output


def test_data_check_and_prepare(covidx_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(covidx_folder, copy)
    assert invoke("data", "check", copy, "--strict").exit_code == 0
    prepared = invoke("data", "prepare", copy, "--size", 16, "--size", 32, "--cache", tmp_path / "cache", "--workers", 1)
    assert prepared.exit_code == 0, prepared.output
    assert "24 images at 32 x 32 px" in prepared.output
    (copy / "train" / "train-negative-0.png").unlink()
    checked = invoke("data", "check", copy, "--strict")
    assert checked.exit_code == 1
    assert "train-negative-0.png" in checked.output


def test_help_and_import_stay_light():
    script = "import sys, cxrlib, cxrlib.cli; print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
