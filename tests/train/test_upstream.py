"""Pretraining learns, resumes exactly, and saves what create_model loads."""

import copy
import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cxrlib.model.network import create_model
from cxrlib.train import fractals, pretrain, sampling, upstream
from cxrlib.train.finetune import NonFiniteLossError
from cxrlib.weights.resolve import resolve_initialisation

TINY = upstream.Upstream(classes=3, instances=12, size=32, crop=32, steps=12, batch_size=12, warmup=2, base_lr=0.05)


@pytest.fixture(scope="module")
def data():
    return fractals.dataset(3, 12, 32, workers=1, progress=False)


def make():
    torch.manual_seed(0)
    model = create_model("resnetv2_laptop", image_channels=1)
    model.reset_classifier(3)
    return model


def test_rate_warms_up_and_falls_to_zero():
    rates = [pretrain.upstream_rate(step, 100, 0.1, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == rates[9] == rates[10] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[10:])) and rates[100] == pytest.approx(0, abs=1e-12)


def test_augmentation_is_a_function_of_step_and_seed():
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)
    first = pretrain.augment(images, 24, 3, 0)
    assert first.dtype == np.uint8 and first.shape == (8, 24, 24)
    assert np.array_equal(first, pretrain.augment(images, 24, 3, 0))
    assert not np.array_equal(first, pretrain.augment(images, 24, 4, 0))
    assert not np.array_equal(first, pretrain.augment(images, 24, 3, 1))


def test_batches_made_by_processes_are_those_of_the_trainer(data):
    batches = pretrain.Batches(*data, size=5, crop=24, seed=3)
    state = torch.get_rng_state()
    alone, helped = (list(batches.loader(4, 11, workers)) for workers in (0, 2))
    assert len(alone) == 7 and torch.equal(state, torch.get_rng_state())
    for step, one, other in zip(range(4, 11), alone, helped, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
        chosen = sampling.batch_indices(step, data[1], 5, 3, rebalance=False)
        assert np.array_equal(one[0].numpy(), pretrain.augment(data[0][chosen], 24, step, 3)) and np.array_equal(one[1], data[1][chosen])


def test_pretraining_learns(data):
    torch.set_num_threads(1)
    model = make()
    progress = pretrain.pretrain(model, *data, steps=60, batch_size=12, base_lr=0.02, warmup=5, log_every=15)
    losses = [row["loss"] for row in progress.history]
    assert len(losses) == 4 and losses[-1] < 0.7 * losses[0]
    assert pretrain.top1(model, *data) > 0.7


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pretraining_on_a_gpu_sees_the_batches_of_the_processor(data, precision):
    torch.set_num_threads(1)
    options = {"steps": 20, "batch_size": 12, "base_lr": 0.02, "warmup": 5, "log_every": 5}
    here, there = make(), make().to("cuda")
    losses = [[row["loss"] for row in pretrain.pretrain(model, *data, **options, precision=kind).history] for model, kind in ((here, "fp32"), (there, precision))]
    assert next(there.parameters()).is_cuda and losses[0][0] == pytest.approx(losses[1][0], abs=0.01)
    assert losses[1][-1] < 0.75 * losses[1][0], "rounded otherwise, the later losses drift apart"
    assert pretrain.top1(there, *data) == pretrain.top1(there.cpu(), *data)


def test_resume_equals_uninterrupted(data, tmp_path):
    torch.set_num_threads(1)
    options = {"steps": 12, "batch_size": 12, "base_lr": 0.05, "warmup": 2, "log_every": 2, "checkpoint_every": 4}
    whole = make()
    history = pretrain.pretrain(whole, *data, **options).history
    checkpoint = tmp_path / "c.safetensors"

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    with pytest.raises(Killed):
        pretrain.pretrain(make(), *data, **options, checkpoint=checkpoint, key="k", on_log=kill)
    resumed = make()
    again = pretrain.pretrain(resumed, *data, **options, checkpoint=checkpoint, key="k")
    assert again.history == history
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = pretrain.pretrain(make(), *data, **options | {"steps": 2}, checkpoint=checkpoint, key="other")
    assert other.step == 2


def test_build_saves_what_create_model_loads(tmp_path):
    record = upstream.build("tiny", tmp_path / "w", tmp_path / "c", TINY, workers=1)
    path = tmp_path / "w" / "tiny.safetensors"
    stated = path.with_suffix(".sha256").read_text().split()
    assert stated == [record["sha256"], "tiny.safetensors"]
    assert json.loads((tmp_path / "w" / "tiny.json").read_text())["history"] == record["history"]
    assert 0 <= record["held_out_accuracy"] <= 1 and not list((tmp_path / "c").glob("*checkpoint*"))
    initialisation = resolve_initialisation(str(path))
    assert (initialisation.sha256, initialisation.mean, initialisation.std) == (record["sha256"], 0.5, 0.5)
    tensors = load_file(path)
    assert not any("head" in name for name in tensors) and tensors["stem.conv.weight"].dtype == torch.float16
    for channels in (1, 3):
        model = create_model("resnetv2_laptop", str(path), channels)
        assert torch.equal(model.norm.weight, tensors["norm.weight"].float())
        assert not model(torch.ones(2, channels, 32, 32)).any()


def test_what_is_made_is_not_made_again(tmp_path, monkeypatch):
    folder = tmp_path / "w"
    first = upstream.build("tiny", folder, tmp_path / "c", TINY, workers=1)
    before = (folder / "tiny.safetensors").read_bytes()

    class Again(Exception):
        pass

    def called(*_args, **_kwargs):
        raise Again

    monkeypatch.setattr(upstream, "pretrain", called)
    assert upstream.build("tiny", folder, tmp_path / "c", TINY, workers=1) == json.loads(json.dumps(first))
    assert (folder / "tiny.safetensors").read_bytes() == before
    with pytest.raises(Again):
        upstream.build("tiny", folder, tmp_path / "c", dataclasses.replace(TINY, steps=13), workers=1)
    monkeypatch.setattr(upstream, "__version__", "another")
    with pytest.raises(Again):
        upstream.build("tiny", folder, tmp_path / "c", TINY, workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(upstream, "pretrain", called)
    for spoil in (lambda path: path.write_bytes(before[:-1] + b"x"), lambda path: path.unlink()):
        spoil(folder / "tiny.safetensors")
        with pytest.raises(Again):
            upstream.build("tiny", folder, tmp_path / "c", TINY, workers=1)
    (folder / "tiny.safetensors").write_bytes(before)
    (folder / "tiny.json").write_text("[]")
    with pytest.raises(Again):
        upstream.build("tiny", folder, tmp_path / "c", TINY, workers=1)


def test_the_accuracy_of_the_rounded_weights_is_that_of_the_file(tmp_path, monkeypatch):
    scored = []

    def watched(model, *rest):
        scored.append((copy.deepcopy(model).state_dict(), pretrain.top1(model, *rest)))
        return scored[-1][1]

    monkeypatch.setattr(upstream, "top1", watched)
    record = upstream.build("tiny", tmp_path, tmp_path / "c", TINY, workers=1)
    (trained, exact), (as_written, rounded) = scored
    assert (record["held_out_accuracy"], record["held_out_accuracy_float16"]) == (exact, rounded)
    tensors = load_file(tmp_path / "tiny.safetensors")
    assert all(torch.equal(as_written[name], tensor.float()) for name, tensor in tensors.items())
    assert not torch.equal(trained["stem.conv.weight"], as_written["stem.conv.weight"])
    head = set(trained) - set(tensors)
    assert head and all(torch.equal(trained[name], as_written[name]) for name in head)


def test_build_stopped_early_goes_on(tmp_path):
    part = upstream.build("tiny", tmp_path, tmp_path / "c", TINY, workers=1, stop_after=0.0)
    assert part["steps_done"] == 1 and not list(tmp_path.glob("*.safetensors"))
    whole = upstream.build("tiny", tmp_path, tmp_path / "c", TINY, workers=1)
    assert whole["steps_done"] == TINY.steps and (tmp_path / "tiny.safetensors").is_file()


def test_errors_say_what_to_do(data, tmp_path):
    with pytest.raises(NonFiniteLossError, match="lower base_lr"):
        pretrain.pretrain(make(), *data, steps=30, batch_size=12, base_lr=1e30, warmup=0)
    model = make()
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    with pytest.raises(ValueError, match="torch.float32"):
        upstream.save_backbone(tmp_path / "x.safetensors", model, {})
    assert not list(tmp_path.iterdir())


def test_fractal_m_has_ten_times_the_data_and_the_same_steps():
    small, large = upstream.UPSTREAMS["fractal-s"], upstream.UPSTREAMS["fractal-m"]
    assert large.classes * large.instances == 10 * small.classes * small.instances
    same = (
        "steps",
        "batch_size",
        "base_lr",
        "warmup",
        "weight_decay",
        "size",
        "crop",
        "arch",
        "seed",
        "image_channels",
    )
    assert all(getattr(small, name) == getattr(large, name) for name in same)


def test_names_of_pretrainings_and_of_their_families():
    known = ["photo-s-0", "photo-s-1", "photo-s-long-0", "photo-m-0"]
    assert upstream.named([], known) == known
    assert upstream.named(["photo-s"], known) == ["photo-s-0", "photo-s-1"]
    assert upstream.named(["photo-m-0", "photo-s-1", "photo-s"], known) == ["photo-m-0", "photo-s-1", "photo-s-0"]
    with pytest.raises(ValueError, match="no upstream 'photo'; there are: photo-s-0"):
        upstream.named(["photo"], known)
