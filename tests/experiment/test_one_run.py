"""One config in, one record out: computed once, found again, resumed, and safe against damage."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import warm

from cxrlib.config import ParameterError, RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.experiment.one_run import key_of, open_dataset, run
from cxrlib.weights.source import WeightsError


def test_a_record_holds_what_is_needed_to_believe_it(one_run):
    record = run(one_run, progress=False)
    assert record.config["schedule"] == [1, 4, 5, 6]
    assert [row["step"] for row in record.history] == [3, 6]
    assert record.data["name"] == "made"
    assert not record.data["is_phantom"]
    assert record.data["training_images"] == {"negative": 12, "positive": 12}
    assert {"torch", "timm", "python"} <= set(record.packages)
    assert record.code_version
    table = record.table()
    assert len(table) == 12
    assert set(table["label"]) == {0, 1}
    accuracy = ((table["probability"] > 0.5) == table["label"]).mean()
    assert accuracy == pytest.approx(record.history[-1]["test_accuracy"])
    assert str(one_run["data"]) not in record.model_dump_json()


def test_a_recorded_run_is_loaded_not_repeated(one_run, monkeypatch):
    first = run(one_run, progress=False)
    monkeypatch.setattr(experiment, "_train_and_record", lambda *_: pytest.fail("trained again"))
    assert run(one_run, progress=False) == first
    # Another name for the same folder, another cache: still the same run.
    assert run(one_run | {"cache": one_run["cache"].parent / "other"}, progress=False) == first


def test_a_machine_without_a_compiler_says_how_to_do_without(one_run, monkeypatch):
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/no/compiler"))
    assert key_of(RunConfig.parse(one_run | {"compiled": True})) == key_of(RunConfig.parse(one_run)), "how a run is computed makes it no other run"
    with pytest.raises(ParameterError, match="'compiled': torch cannot compile resnetv2_laptop here .*; set compiled to false"):
        run(one_run | {"compiled": True}, progress=False)


def test_two_stores_get_the_same_numbers(one_run, tmp_path):
    first = run(one_run, progress=False)
    second = run(one_run | {"store": tmp_path / "elsewhere"}, progress=False)
    assert first.history == second.history
    assert first.predictions == second.predictions
    assert first.weights_sha256 == second.weights_sha256


CHANGES = [
    *({"seed": 1}, {"mixup": "fixed"}, {"mixup": "off"}, {"mixup_value": 0.4}, {"flip": False}, {"base_lr": 0.01}),
    *({"momentum": 0.5}, {"weight_decay": 0.01}, {"rebalance": False}, {"resize": 40}, {"crop": 30}, {"batch_size": 6}),
    *({"schedule": (2, 4, 5, 6)}, {"images_per_class": 4}, {"validation_fraction": 0.4}, {"image_channels": 3}),
    *({"precision": "bf16"}, {"arch": "resnet10t"}, {"init": "fractal-s"}, {"init": "fractal-m"}),
    {"freeze": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_parameter_of_the_protocol_changes_the_numbers(one_run, reference, change):
    changed = run(one_run | change, progress=False)
    assert changed.key != reference.key
    assert changed.predictions["logit"] != reference.predictions["logit"]


def test_no_parameter_is_without_effect():
    """What is not in CHANGES is the same sum in smaller parts, or changes the history; tests in test_train show both.

    What a run sees of an image and which sources it trains on is tested in test_shortcuts, on data with several sources.
    """
    changed = {name for change in CHANGES for name in change} | {"region", "centre_share", "leave_out", "sources", "within"}
    assert changed | {"accumulation_steps", "eval_every"} == set(RunConfig.model_fields) - RunConfig.NOT_IDENTITY


@pytest.fixture(scope="module")
def reference(covidx_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    config = {"data": covidx_folder, "store": folder / "runs", "cache": folder / "cache", "arch": "resnetv2_laptop", "image_channels": 1}
    config |= {"base_lr": 0.02, "batch_size": 8, "resize": 36, "crop": 32, "schedule": (1, 4, 5, 6), "eval_every": 3, "device": "cpu", "threads": 1}
    return run(config, progress=False)


def test_validation_patients_are_held_out_and_evaluated(one_run):
    record = run(one_run | {"validation_fraction": 0.4}, progress=False)
    held_out, tested = record.table("validation"), record.table("test")
    assert 0 < len(held_out) < 24
    assert sum(record.data["training_images"].values()) == 24 - len(held_out)
    assert not set(held_out["file"]) & set(tested["file"])
    assert "validation_accuracy" in record.history[-1]


def test_few_shot_runs_train_on_that_many(one_run):
    record = run(one_run | {"images_per_class": 3}, progress=False)
    assert record.data["training_images"] == {"negative": 3, "positive": 3}


def test_a_damaged_record_is_noticed_and_computed_again(one_run, capsys):
    first = run(one_run, progress=False)
    path = one_run["store"] / first.key / "record.json"
    path.write_text(path.read_text().replace('"wall_seconds', '"wall_secondz'))
    assert records.load(one_run["store"], first.key) is None
    assert "damaged" in capsys.readouterr().err
    again = run(one_run, progress=False)
    assert again.predictions == first.predictions


def test_weights_come_back_and_must_be_the_recorded_ones(one_run):
    record = run(one_run, progress=False)
    model = records.load_model(record, one_run["store"])
    dataset = open_dataset(RunConfig.parse(one_run))
    from cxrlib.train.score import ImageSet, predict
    from cxrlib.weights.resolve import resolve_initialisation

    images = dataset.images("test", 32, one_run["cache"])
    test = ImageSet(images, np.zeros(len(images)), np.arange(len(images)))
    np.testing.assert_allclose(predict(model, test, resolve_initialisation("random"), 1), record.table()["logit"], atol=1e-6)
    path = one_run["store"] / record.key / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="not the file recorded"):
        records.load_model(record, one_run["store"])
    path.unlink()
    with pytest.raises(WeightsError, match="missing"):
        records.load_model(record, one_run["store"])


def test_the_key_follows_the_images_not_the_folder_name(one_run, covidx_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(covidx_folder, copy)
    keys = []
    for folder in (covidx_folder, copy):
        config = RunConfig.parse(one_run | {"data": folder})
        keys.append(key_of(config))
    assert keys[0] == keys[1]
    image = next((copy / "train").glob("*.png"))
    image.write_bytes(next((copy / "test").glob("*.png")).read_bytes())
    config = RunConfig.parse(one_run | {"data": copy})
    assert key_of(config) != keys[0]


def test_a_killed_run_goes_on_from_its_checkpoint(one_run, tmp_path):
    """A process killed in mid-training leaves a checkpoint; the next call ends with the numbers of an unbroken run."""
    settings = one_run | {"schedule": (1, 30, 40, 50), "eval_every": 10, "checkpoint_every": 2}
    whole = run(settings | {"store": tmp_path / "whole"}, progress=False)
    script = (
        "import json, os, sys\n"
        "from cxrlib.experiment import one_run as experiment\nfrom cxrlib.train import finetune as train\n"
        "save = train.save_checkpoint\n"
        "def save_and_die(path, key, model, optimizer, progress, scaler):\n"
        "    save(path, key, model, optimizer, progress, scaler)\n"
        "    if progress.step >= 24: os.kill(os.getpid(), 9)\n"
        "train.save_checkpoint = save_and_die\n"
        "experiment.run(json.loads(sys.argv[1]), progress=False)\n"
    )
    arguments = json.dumps({k: str(v) if hasattr(v, "parts") else v for k, v in settings.items()})
    killed = subprocess.run(warm.python("-c", script, arguments), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not list(one_run["store"].glob("*/record.json"))
    assert len(list(one_run["store"].glob("*/checkpoint.safetensors"))) == 1
    resumed = run(settings, progress=False)
    assert resumed.predictions == whole.predictions
    assert resumed.history == whole.history
    assert not list(one_run["store"].glob("*/checkpoint.safetensors"))


def test_of_two_processes_that_want_one_run_at_once_exactly_one_trains(one_run):
    """Both have looked for the record before either trains; one then waits for the lock, and reads."""
    settings = one_run | {"schedule": (1, 8, 9, 10), "eval_every": 5}
    script = (
        "import json, sys\n"
        "from cxrlib.experiment import one_run as experiment\n"
        "train, lock = experiment._train_and_record, experiment.locked\n"
        "def noted(*arguments):\n"
        "    print('trains', flush=True)\n"
        "    return train(*arguments)\n"
        "def together(*arguments):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    return lock(*arguments)\n"
        "experiment._train_and_record, experiment.locked = noted, together\n"
        "print(experiment.run(json.loads(sys.argv[1]), progress=False).model_dump_json())\n"
    )
    command = warm.python("-c", script, json.dumps(settings, default=str))
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    said = sorted((process.communicate(timeout=120)[0].splitlines() for process in both), key=len)
    assert [process.returncode for process in both] == [0, 0]
    assert [len(lines) for lines in said] == [1, 2]
    assert said[1] == ["trains", *said[0]]


def test_tensorboard_curves_are_written_only_if_asked_for(one_run):
    quiet = run(one_run, progress=False)
    assert not (one_run["store"] / "tensorboard").exists()
    shutil.rmtree(one_run["store"] / quiet.key)
    tracked = run(one_run | {"tracker": "tensorboard"}, progress=False)
    assert tracked.key == quiet.key and tracked.predictions == quiet.predictions
    assert list((one_run["store"] / "tensorboard" / tracked.key).rglob("events.out.tfevents.*"))
