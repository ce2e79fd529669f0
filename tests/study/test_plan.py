"""What a profile asks for, counted without data, weights or network."""

import inspect
import json
import math

import pytest
import torch
from torch import nn

from cxrlib.cli.plan_report import report
from cxrlib.config import ParameterError, RunConfig
from cxrlib.experiment import costs
from cxrlib.experiment import one_run as experiment
from cxrlib.model.network import create_model
from cxrlib.phantom import folder
from cxrlib.study import plan
from cxrlib.study.parameters import DataSize, GradCam, Performance, Profile, Sensitivity
from cxrlib.train import score
from cxrlib.weights.source import WeightsError

SENSITIVITY, PERFORMANCE, SIZE, CAM = "02_hyperparameter_sensitivity", "03_test_performance", "04_data_size", "05_grad_cam"
SHORTCUTS, RELATED = "06_shortcuts", "07_related_work"


@pytest.fixture
def no_data(monkeypatch):
    """No phantoms, none made, and nothing measured."""
    monkeypatch.setattr(folder, "generate", lambda *_, **__: pytest.fail("generated phantoms"))
    monkeypatch.setattr(plan, "data_is_here", lambda _folder: False)
    monkeypatch.setattr(costs, "image_seconds", lambda _config: pytest.fail("measured this machine"))


@pytest.fixture
def small_profile(one_run, tmp_path, monkeypatch):
    """A profile of three runs that take a second each, on the small folder, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    common = {name: list(value) if isinstance(value, tuple) else value for name, value in one_run.items() if not hasattr(value, "parts")}
    common |= {"resolutions": [[36, 32]], "schedules": [[1, 4, 5, 6]], "mixups": ["beta"], "inits": ["random"], "sizes": [4], "init": "random", "systems": []}
    profile = {"description": "small", "common": common, "notebooks": {SENSITIVITY: {"seeds": [0, 1]}}}
    (tmp_path / "profiles" / "small.yaml").write_text(json.dumps(profile))
    return {name: value for name, value in one_run.items() if hasattr(value, "parts")}


def test_the_paper_is_87_runs_counted_without_data_in_one_table(no_data):
    runs = plan.profile_runs("paper")
    assert len(runs) == 87
    asked = {name: [run for run in runs if name in run.studies] for name in (SENSITIVITY, PERFORMANCE, SIZE, CAM)}
    assert {name: len(found) for name, found in asked.items()} == {SENSITIVITY: 72, PERFORMANCE: 3, SIZE: 18, CAM: 1}
    assert asked[CAM][0].studies == (SENSITIVITY, PERFORMANCE, SIZE, CAM, SHORTCUTS)
    assert asked[CAM][0].config.init == "bit-m"
    assert len({json.dumps(run.config.identity()) for run in runs}) == 87
    table = plan.plan("paper", throughput=100)
    assert len(table) == 87
    assert not table["recorded"].any()
    assert table["reason"].str.contains("data folder not here").all()
    # 36 sensitivity cells x 3 initialisations of 500, 10,000 and 20,000 steps, and 15 data-size runs of 10,000.
    assert table["steps"].sum() == 24 * (500 + 10_000 + 20_000) + 15 * 10_000
    assert table["training_images"].sum() == 64 * table["steps"].sum()
    longest = table[table["steps"] == 20_000].iloc[0]
    assert longest["evaluated_images"] == (200 + 1) * 400
    flops = table["training_flops"] + table["evaluation_flops"]
    assert table["hours"].tolist() == pytest.approx((flops / 1e14 / 3600).tolist())
    # ResNet-50 takes about 4.1 billion multiply-adds at 224 px, thrice that with the backward pass.
    at_224 = table[table["crop"] == 224].iloc[0]
    assert at_224["training_flops"] / at_224["training_images"] == pytest.approx(2 * 3 * 4.1e9, rel=0.05)


def test_missing_weights_are_named(no_data, monkeypatch):
    def resolve(init, download, seed):
        assert not download
        if init != "random":
            raise WeightsError(f"no {init}")

    monkeypatch.setattr(plan, "resolve_initialisation", resolve)
    table = plan.plan("paper", throughput=1, inits=["random", "bit-m", "mine.safetensors"], init="bit-m")
    reasons = table.groupby("init")["reason"].unique().map(list).to_dict()
    assert reasons == {
        "random": ["data folder not here"],
        "bit-m": ["weights of bit-m are not here; data folder not here"],
        "mine.safetensors": ["no mine.safetensors; data folder not here"],
    }


def test_the_quarter_profile_is_the_papers_grid_scaled(no_data):
    quarter = Profile.load("quarter")
    study = Sensitivity.parse(quarter.parameters(SENSITIVITY))
    paper = Sensitivity()
    assert study.resolutions == tuple((resize / 4, crop / 4) for resize, crop in paper.resolutions)
    assert study.schedules == tuple(tuple(step / 20 for step in schedule) for schedule in paper.schedules)
    assert (study.mixups, study.mixup_value, study.batch_size) == (paper.mixups, paper.mixup_value, paper.batch_size / 2)
    assert (study.arch, study.image_channels, study.inits) == ("resnetv2_laptop", 1, ("random", "photo-s", "photo-m"))
    assert len(study.seeds) == 3
    for model, notebook in ((Performance, PERFORMANCE), (DataSize, SIZE), (GradCam, CAM)):
        scaled, original = model.parse(quarter.parameters(notebook)), model()
        assert (scaled.resize, scaled.crop) == (original.resize / 4, original.crop / 4)
        assert scaled.schedule == tuple(step / 20 for step in original.schedule)
        assert scaled.mixup == original.mixup
    assert DataSize.parse(quarter.parameters(SIZE)).sizes == DataSize().sizes
    assert GradCam.parse(quarter.parameters(CAM)).init == "photo-m"
    # 72 cells x 3 seeds; the three further seeds of Table 1; 5 sizes x 3 initialisations x 6 seeds.
    papers = [run for run in plan.profile_runs("quarter") if {SENSITIVITY, PERFORMANCE, SIZE, CAM} & set(run.studies)]
    assert len(papers) == 72 * 3 + 3 * 3 + 5 * 3 * 6
    for notebook in (PERFORMANCE, SIZE):
        seeds = {run.config.seed for run in plan.profile_runs("quarter") if notebook in run.studies}
        assert seeds == {0, 1, 2, 3, 4, 5}


def test_an_override_reaches_every_study_that_has_it(no_data):
    runs = plan.profile_runs("paper", inits=["random"], seeds=[7], init="random")
    assert {run.config.seed for run in runs} == {7}
    assert len(runs) == 24 + 5
    with pytest.raises(ParameterError, match="profile 'paper': there is no parameter 'sedes'; did you mean 'seeds'"):
        plan.profile_runs("paper", sedes=[1])
    with pytest.raises(ParameterError, match="no parameter 'seed'"):
        plan.profile_runs("paper", seed=1)
    with pytest.raises(ParameterError, match="no profile 'none'"):
        plan.profile_runs("none")


def test_only_the_runs_of_chosen_studies_are_planned(no_data):
    every = plan.profile_runs("quarter")
    for notebook in (SIZE, RELATED):
        chosen = plan.profile_runs("quarter", [notebook])
        assert {run.studies for run in chosen} == {(notebook,)}
        found, expected = ({run.config.model_dump_json() for run in runs if notebook in run.studies} for runs in (chosen, every))
        assert found == expected and len(found) == len(chosen)
    assert plan.profile_runs("quarter", ["08_speed"]) == []


def test_what_each_system_decides_is_no_parameter_of_their_comparison(no_data):
    with pytest.raises(ParameterError, match="'mixup' is decided by each system"):
        plan.profile_runs("quarter", [RELATED], mixup="off")
    runs = plan.profile_runs("quarter", [PERFORMANCE, RELATED], mixup="off")
    assert {run.config.mixup for run in runs if PERFORMANCE in run.studies} == {"off"}
    assert "beta" in {run.config.mixup for run in runs if RELATED in run.studies}


def test_a_support_vector_machine_costs_one_forward_pass_of_every_image(monkeypatch):
    monkeypatch.setattr(plan, "data_is_here", lambda _folder: False)
    table = plan.plan("quarter", throughput=1, systems=["lite0-svm", "efficientnet-lite0"])
    machine = table[table["arch"] == "svm:tf_efficientnet_lite0"].iloc[0]
    network = table[table["arch"] == "tf_efficientnet_lite0"].iloc[0]
    phantoms = inspect.signature(folder.generate).parameters
    assert machine["training_images"] == phantoms["train_positive"].default + phantoms["train_negative"].default
    assert network["training_images"] == network["steps"] * Profile.load("quarter").common["batch_size"]
    forward = [row["evaluation_flops"] / row["evaluated_images"] for row in (machine, network)]
    assert forward[0] == pytest.approx(forward[1], rel=0.01)
    assert machine["training_flops"] == pytest.approx(machine["training_images"] * forward[0])
    assert network["training_flops"] > 2 * network["training_images"] * forward[1]


def convolution_flops(model: nn.Module, images: torch.Tensor) -> tuple[int, int]:
    """Forward FLOPs of every convolution and linear layer from its output's shape, and those of the first alone."""
    counts = []

    def note(layer, _inputs, output):
        taps = layer.weight[0].numel()  # inputs that one output value sees, per group
        counts.append(2 * output.numel() * taps)

    handles = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.inference_mode():
        model.eval()(images)
    for handle in handles:
        handle.remove()
    return sum(counts), counts[0]


@pytest.mark.parametrize(("arch", "channels"), [("resnetv2_laptop", 1), ("resnetv2_50x1_bit", 3), ("tf_efficientnet_lite0", 3)])
def test_flops_are_those_of_the_layers(arch, channels):
    forward, first = convolution_flops(create_model(arch, "random", channels), torch.zeros(1, channels, 64, 64))
    counted = costs.image_flops(arch, channels, 64)
    assert counted.evaluate == forward
    # Backwards each layer has two gradients, the first only that of its weights: images need none.
    assert counted.train == 3 * forward - first
    frozen = costs.image_flops(arch, channels, 64, freeze=True)
    assert frozen.evaluate == forward
    assert forward < frozen.train < 1.01 * forward


@pytest.mark.parametrize(("schedule", "every"), [((1, 4, 5, 6), 3), ((1, 4, 5, 6), 4), ((1, 2, 3), 100)])
def test_evaluations_are_those_that_a_run_makes(one_run, monkeypatch, schedule, every):
    calls = []
    predict = score.predict
    monkeypatch.setattr(score, "predict", lambda *arguments, **named: calls.append(1) or predict(*arguments, **named))
    experiment.run(one_run | {"schedule": schedule, "eval_every": every}, progress=False)
    assert len(calls) == costs.evaluation_count(schedule[-1], every)


def test_recorded_runs_are_found_by_their_key(small_profile):
    runs = plan.profile_runs("small", **small_profile)
    assert [run.studies for run in runs] == [(SENSITIVITY, PERFORMANCE, SIZE, CAM, SHORTCUTS), (SENSITIVITY,), (SIZE,)]
    before = plan.plan("small", throughput=1, **small_profile)
    assert not before["recorded"].any()
    assert (before["reason"] == "").all()
    assert (before["evaluated_images"] == 3 * 12).all()
    record = experiment.run(runs[1].config, progress=False)
    after = plan.plan("small", throughput=1, **small_profile)
    assert after.loc[after["recorded"], "key"].tolist() == [record.key]
    assert after["key"].tolist() == before["key"].tolist()
    text = report("small", throughput=1, **small_profile)
    assert "3 distinct runs: 1 recorded, 2 missing" in text
    assert "data size: 2, of which 1 are above already" in text
    (total,) = [line.split() for line in text.splitlines() if line.startswith("total")]
    assert float(total[-1]) == pytest.approx(float(total[-2]) * 2 / 3, rel=0.02)  # three runs alike, two left


def test_validation_images_and_too_small_classes_are_counted(small_profile, one_run):
    table = plan.plan("small", throughput=1, validation_fraction=0.4, **small_profile)
    held_out = len(experiment.run(one_run | {"validation_fraction": 0.4}, progress=False).table("validation"))
    assert table.loc[0, "evaluated_images"] == 3 * (12 + held_out)
    table = plan.plan("small", throughput=1, sizes=[500], **small_profile)
    assert table["reason"].tolist() == ["", "", "fewer than 500 training images of a class"]


def test_hours_come_from_steps_measured_here(small_profile):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    table = plan.plan("small", **small_profile)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    config = plan.profile_runs("small", **small_profile)[0].config
    each = costs.image_seconds(config)
    assert each.train > each.evaluate > 0
    assert table["hours"].tolist() == pytest.approx([(6 * 8 * each.train + 3 * 12 * each.evaluate) / 3600] * 3)
    # Kept in memory: asking again gives the very same numbers.
    assert plan.plan("small", **small_profile)["hours"].tolist() == table["hours"].tolist()


def test_large_images_are_estimated_from_smaller_ones(monkeypatch):
    monkeypatch.setattr(costs, "BUDGET_FLOPS", 4 * costs.image_flops("resnetv2_laptop", 1, 64).train)
    crops = []
    monkeypatch.setattr(costs, "_measured", lambda arch, channels, crop, batch, *_: crops.append((crop, batch)) or costs.ImageCost(1.0, 0.5))
    config = RunConfig(arch="resnetv2_laptop", image_channels=1, resize=256, crop=256, device="cpu")
    estimate = costs.image_seconds(config)
    assert crops == [(64, 4)]
    large, small = (costs.image_flops("resnetv2_laptop", 1, crop) for crop in (256, 64))
    assert estimate.train == pytest.approx(large.train / small.train)
    assert estimate.evaluate == pytest.approx(large.evaluate / small.evaluate / 2)


@pytest.mark.parametrize("throughput", [0, -1, math.nan])
def test_a_throughput_is_positive(no_data, throughput):
    with pytest.raises(ValueError, match="not positive"):
        plan.plan("paper", throughput=throughput)


def test_report_is_aligned_and_complete(no_data):
    lines = report("paper", throughput=100).splitlines()
    start, end = next(i for i, line in enumerate(lines) if line.startswith("study")), lines.index("", 3)
    table = lines[start:end]
    assert len({len(line) for line in table}) == 1
    assert table[-1].split()[:4] == ["total", "87", "0", "87"]
    groups = [line for line in table[1:-1] if "/" in line]
    assert sum(int(line.split()[-9]) for line in groups) == 87
    listed = report("paper", throughput=100, every=True).splitlines()
    assert sum(" missing " in line for line in listed if not line.startswith("87")) == 87
