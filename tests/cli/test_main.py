import shutil
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from cxrlib.cli.main import app
from cxrlib.experiment import record as records


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
    listed = invoke("runs", "list", "--store", one_run["store"], "-p", "seed=5", "-p", "mixup=beta")
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
        (["runs", "show", "abc", "--store", "nowhere"], "none fits"),
        (["runs", "diff", "abc", "def", "--store", "nowhere"], "none fits"),
        (["runs", "export", "x.parquet", "--store", "nowhere"], "no record of nowhere fits"),
        (["runs", "import", "pyproject.toml", "--store", "nowhere"], "is not a table of records"),
        (["runs", "import", "nowhere.parquet", "--store", "nowhere"], "nowhere.parquet"),
        (["plan", "--profile", "papper"], "no profile 'papper'"),
        (["plan", "--profile", "paper", "-p", "sedes=[1]"], "did you mean 'seeds'"),
        (["plan", "--profile", "paper", "--data", "no/such/folder"], "does not exist"),
        (["plan", "--profile", "paper", "--throughput", "0"], "not positive"),
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


@pytest.fixture
def two_runs(config_file, one_run):
    for seed in (0, 1):
        trained = invoke("train", "--config", config_file, "-p", f"seed={seed}", "-p", "mixup=off")
        assert trained.exit_code == 0, trained.output
    return {record.config["seed"]: record for record in records.all_records(one_run["store"])}


def test_runs_are_listed_shown_compared_carried_and_cleaned(two_runs, one_run, tmp_path):
    store, table = one_run["store"], tmp_path / "all.parquet"
    first, second = two_runs[0], two_runs[1]
    listed = invoke("runs", "list", "--store", store, "-p", "seed=1", "-p", "mixup=off")
    assert second.key in listed.output
    assert first.key not in listed.output
    assert {"freeze", "arch", "data", "weights"} <= set(listed.output.split())
    shown = invoke("runs", "show", first.key[:8], "--store", store)
    assert shown.exit_code == 0, shown.output
    for text in (first.key, first.data["fingerprint"], "weights.safetensors", f"{first.history[-1]['test_accuracy']:.6g}", first.code_version):
        assert text in shown.output
    compared = invoke("runs", "diff", first.key, second.key[:8], "--store", store)
    assert compared.exit_code == 0, compared.output
    assert "config.seed" in compared.output
    assert "config.mixup" not in compared.output
    assert "of 12 test images" in compared.output
    exported = invoke("runs", "export", table, "--store", store)
    assert f"2 records in {table}" in exported.output
    imported = invoke("runs", "import", table, "--store", tmp_path / "other")
    assert "2 records added, 0 were there, 0 refused" in imported.output
    assert "no weights here" in invoke("runs", "show", first.key, "--store", tmp_path / "other").output
    assert "0 records added, 2 were there" in invoke("runs", "import", table, "--store", tmp_path / "other").output
    weights = store / first.key / "weights.safetensors"
    dry = invoke("runs", "gc", "--store", store, "--weights")
    assert "--yes deletes them" in dry.output
    assert weights.is_file()
    cleaned = invoke("runs", "gc", "--store", store, "--weights", "--yes")
    assert cleaned.exit_code == 0, cleaned.output
    assert "deleted 4 files" in cleaned.output  # two weights and two locks
    assert not weights.exists()
    assert len(records.all_records(store)) == 2
    assert "nothing to clean" in invoke("runs", "gc", "--store", store, "--weights").output


def test_a_refused_row_is_named_and_is_a_failure(two_runs, one_run, tmp_path):
    import pandas as pd

    table = tmp_path / "all.parquet"
    invoke("runs", "export", table, "--store", one_run["store"])
    content = pd.read_parquet(table)
    content.loc[0, "record"] += " "
    content.to_parquet(table)
    result = invoke("runs", "import", table, "--store", tmp_path / "other")
    assert result.exit_code == 1
    assert f"refused {content.loc[0, 'key']}: its checksum differs" in result.output
    assert "1 records added, 0 were there, 1 refused" in result.output


def test_the_paper_is_planned_without_data(tmp_path):
    planned = invoke("plan", "--profile", "paper", "--throughput", "100", "--store", tmp_path)
    assert planned.exit_code == 0, planned.output
    assert "87 distinct runs: 0 recorded, 87 missing" in planned.output
    assert "PFLOP" in planned.output
    assert "100 TFLOP/s" in planned.output
    fewer = invoke("plan", "--profile", "paper", "--throughput", "100", "-p", "mixups=[off]", "-p", "inits=[random]", "--list")
    assert fewer.exit_code == 0, fewer.output
    assert sum(" missing " in line for line in fewer.output.splitlines() if "distinct" not in line) == 12 + 6 + 1  # and Grad-CAM's BiT-M


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
    script = "import sys, cxrlib, cxrlib.cli.main; print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_upstream_goes_on_where_it_was_stopped_and_says_how_to_use_it(tmp_path, monkeypatch):
    from cxrlib.train import upstream
    from cxrlib.weights.resolve import resolve_initialisation

    tiny = upstream.Upstream(classes=3, instances=6, size=32, crop=32, steps=6, batch_size=6, warmup=2, base_lr=0.05)
    monkeypatch.setattr(upstream, "UPSTREAMS", {"fractal-s": tiny})
    stopped = upstream.build("fractal-s", tmp_path, tmp_path, threads=1, workers=1, stop_after=0)
    assert 0 < stopped["steps_done"] < 6 and not (tmp_path / "fractal-s.safetensors").exists()
    done = CliRunner().invoke(app, ["upstream", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    path = tmp_path / "fractal-s.safetensors"
    assert f"use it with -p init={path}" in done.output.replace("\n", "")
    assert resolve_initialisation(str(path)).path == path
    unknown = CliRunner().invoke(app, ["upstream", "fractal-x"])
    assert unknown.exit_code == 1 and "there is no upstream 'fractal-x'" in unknown.output
