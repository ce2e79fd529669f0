"""The protocol of section 3.3: schedule, mixup targets, and a loop that repeats, resumes and stops as it should."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from cxrlib.config import RunConfig
from cxrlib.model.network import create_model
from cxrlib.train.finetune import NonFiniteLossError, learning_rate, mixup_loss, train
from cxrlib.train.score import ImageSet, predict
from cxrlib.weights.source import Initialisation

PAPER_SCHEDULES = [(100, 200, 300, 400, 500), (500, 1500, 3000, 4500, 10000), (500, 6000, 12000, 18000, 20000)]


@pytest.mark.parametrize("schedule", PAPER_SCHEDULES)
def test_the_papers_schedules_at_every_step(schedule):
    warmup, first, second, third, end = schedule
    expected = [0.003 * step / warmup for step in range(warmup)]
    expected += [0.003] * (first - warmup) + [0.0003] * (second - first) + [0.00003] * (third - second) + [0.000003] * (end - third)
    rates = [learning_rate(step, schedule) for step in range(end)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert learning_rate(end, schedule) is None
    assert learning_rate(end + 1000, schedule) is None


def test_schedule_without_warm_up_starts_at_the_base_rate():
    assert learning_rate(0, (0, 5), base_lr=0.1) == 0.1


def test_mixup_loss_is_cross_entropy_against_mixed_labels():
    logits = torch.tensor([[0.3], [-1.2]])
    labels, partners = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    probability = torch.sigmoid(logits.reshape(-1))
    targets = torch.tensor([0.7, 0.0])
    by_hand = -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()
    assert torch.isclose(mixup_loss(logits, labels, partners, 0.7), by_hand)
    # Equation 1 is linear in the label, so the loss is the same mixture of two plain losses.
    plain = [mixup_loss(logits, y, y, 1.0) for y in (labels, partners)]
    assert torch.isclose(mixup_loss(logits, labels, partners, 0.7), 0.7 * plain[0] + 0.3 * plain[1])


def image_set(count=16, size=36, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 120, (count, size, size), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[labels == 1, 8:24, 8:24] += 100
    return ImageSet(images, labels, np.arange(count))


def config(**changes):
    base = {"arch": "resnetv2_laptop", "image_channels": 1, "resize": 36, "crop": 32, "batch_size": 8, "base_lr": 0.02}
    base |= {"schedule": (1, 5, 6, 8), "eval_every": 4, "device": "cpu"}
    return RunConfig(**(base | changes))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(settings, training=None, **options):
    torch.manual_seed(settings.seed)
    model = create_model(settings.arch, "random", settings.image_channels)
    test = image_set(size=settings.crop, seed=9)
    return train(model, settings, training or image_set(), {"test": test}, Initialisation("random"), **options)


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    (first, state), (again, state_again), (other, _) = run(config()), run(config()), run(config(seed=1))
    assert torch.equal(weights(first), weights(again))
    assert state.history == state_again.history
    assert not torch.equal(weights(first), weights(other))


def test_one_batch_can_be_learned_by_heart():
    settings = config(schedule=(2, 60, 61, 62), mixup="off", flip=False, resize=32, base_lr=0.05, eval_every=62)
    batch = image_set(count=8, size=32)
    model, state = run(settings, training=batch)
    assert state.history[-1]["train_loss"] < 0.3
    logits = predict(model, batch, Initialisation("random"), 1)
    assert ((logits > 0) == batch.labels).all()


class StoppedHere(Exception):
    pass


@pytest.mark.parametrize("stop_at", [3, 4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, stop_at):
    settings = config(checkpoint_every=2)
    whole, state = run(settings)

    def stop(step):
        if step == stop_at:
            raise StoppedHere

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedHere):
        run(settings, checkpoint=checkpoint, key="k", on_step=stop)
    steps = []
    resumed, state_resumed = run(settings, checkpoint=checkpoint, key="k", on_step=steps.append)
    assert steps[0] == stop_at - stop_at % 2 + 1
    assert torch.equal(weights(whole), weights(resumed))
    assert state.history == state_resumed.history


def without_checksum(content: bytes) -> bytes:
    """A checkpoint as it was written before checkpoints had a checksum."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    del header["__metadata__"]["sha256"]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


DAMAGES = {
    "another key": lambda content: content,
    "truncated": lambda content: content[:1000],
    "empty": lambda _: b"",
    "a tensor's byte": lambda content: flipped(content, len(content) - 1000),
    "a tensor's type": lambda content: content.replace(b'"F32"', b'"I32"', 1),
    "the name of a number in the progress": lambda content: content.replace(b"loss_count", b"loss_counu"),
    "a number in the progress": lambda content: content.replace(b'step\\": 6', b'step\\": 7', 1),
    "its checksum": lambda content: flipped(content, content.index(b'"sha256":"') + 12),
    "no checksum": without_checksum,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(tmp_path, damage):
    settings = config(checkpoint_every=2)
    checkpoint = tmp_path / "checkpoint.safetensors"
    whole, _ = run(settings, checkpoint=checkpoint, key="k")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(DAMAGES[damage](content))
    assert damage == "another key" or checkpoint.read_bytes() != content
    steps = []
    again, _ = run(settings, checkpoint=checkpoint, key="other" if damage == "another key" else "k", on_step=steps.append)
    assert steps[0] == 1
    assert torch.equal(weights(whole), weights(again))


def test_accumulated_micro_batches_make_the_same_step():
    whole, _ = run(config(mixup="fixed"))
    parts, _ = run(config(mixup="fixed", accumulation_steps=4))
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-3, atol=1e-5)


def test_bf16_autocast_trains_close_to_fp32():
    (_, plain), (_, half) = run(config()), run(config(precision="bf16"))
    assert plain.history != half.history
    assert abs(plain.history[-1]["train_loss"] - half.history[-1]["train_loss"]) < 0.05


def test_a_non_finite_loss_stops_with_advice():
    with pytest.raises(NonFiniteLossError, match="lower base_lr from 1e\\+30"):
        run(config(base_lr=1e30, schedule=(0, 5, 6, 8)))


def test_evaluation_comes_every_n_steps_and_at_the_end():
    _, state = run(config(eval_every=3))
    assert [row["step"] for row in state.history] == [3, 6, 8]
    assert {"test_accuracy", "test_auc", "test_sensitivity", "test_specificity", "test_loss", "train_loss", "learning_rate"} <= set(state.history[0])


def test_predictions_do_not_depend_on_the_batch_size():
    model, _ = run(config())
    test = image_set(size=32, seed=5)
    shuffled = dataclasses.replace(test, rows=test.rows[::-1].copy())
    one = predict(model, test, Initialisation("random"), 1, batch_size=1)
    np.testing.assert_allclose(one, predict(model, test, Initialisation("random"), 1, batch_size=16), atol=1e-5)
    np.testing.assert_allclose(one[::-1], predict(model, shuffled, Initialisation("random"), 1), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_a_gpu(precision, tmp_path):
    settings = config(device="auto", precision=precision, image_channels=3, checkpoint_every=2)
    model, state = run(settings, checkpoint=tmp_path / "c.safetensors", key="k")
    assert next(model.parameters()).is_cuda
    assert next(p for p in model.parameters() if p.ndim == 4).is_contiguous(memory_format=torch.channels_last)
    assert np.isfinite(state.history[-1]["train_loss"])
    _, plain = run(config(image_channels=3))
    assert abs(plain.history[-1]["train_loss"] - state.history[-1]["train_loss"]) < 0.05


@pytest.mark.gpu
def test_a_compiled_network_trains_as_the_plain_one_on_a_gpu():
    """Three in a process: torch would compile only so many."""
    plain, compiled = ([run(config(device="auto", compiled=way, seed=seed))[1].history[-1] for seed in range(3)] for way in (False, True))
    for one, other in zip(plain, compiled, strict=True):
        assert abs(one["train_loss"] - other["train_loss"]) < 0.02


def test_a_compiled_network_is_the_plain_one_to_rounding(monkeypatch):
    """Traced as on a GPU, but run by torch's own kernels, which need no compiler."""
    import accelerate

    made = accelerate.Accelerator
    monkeypatch.setattr("cxrlib.train.finetune.Accelerator", lambda **given: made(**given | {"dynamo_backend": given["dynamo_backend"] and "eager"}))
    plain, (compiled, state) = run(config()), run(config(compiled=True))
    assert type(compiled) is type(plain[0]) and list(compiled.state_dict()) == list(plain[0].state_dict()), "what is saved is the plain network"
    assert state.history[-1]["train_loss"] == pytest.approx(plain[1].history[-1]["train_loss"], abs=1e-5)
    for one, other in zip(plain[0].state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_frozen_backbone_stays_as_it_was_and_the_head_learns():
    """Batch statistics too: resnet10t has batch normalisation."""
    for arch in ("resnetv2_laptop", "resnet10t"):
        torch.manual_seed(0)
        model = create_model(arch, image_channels=1)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        head = {f"{name}.{part}" for name, module in model.named_modules() if module is model.get_classifier() for part in ("weight", "bias")}
        trained, _ = train(model, config(freeze=True, arch=arch), image_set(), {"test": image_set(8, 32)}, Initialisation("random"))
        changed = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == head
