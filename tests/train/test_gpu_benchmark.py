"""The benchmark for a GPU, on the processor: the steps on the device are the trainer's steps."""

import sys

import numpy as np
import pytest
import torch
from common import script

from cxrlib.config import RunConfig
from cxrlib.model.network import create_model
from cxrlib.train import sampling
from cxrlib.train.finetune import train
from cxrlib.train.score import ImageSet
from cxrlib.weights.source import Initialisation


@pytest.fixture(scope="module")
def gpu():
    return script("benchmarks/gpu.py")


def test_batches_cut_on_the_device_are_those_of_the_trainer(gpu):
    images = np.random.default_rng(0).integers(0, 256, (7, 40, 40), dtype=np.uint8)
    rows = np.array([6, 0, 3, 3, 1])
    corners = sampling.augmentation(2, 5, 40, 32, seed=1)
    assert corners[2].any() and not corners[2].all(), "both flipped and not"
    found = gpu.crops(torch.from_numpy(images), rows, 32, *corners)
    np.testing.assert_array_equal(found.numpy(), sampling.crop_batch(images, rows, 32, *corners))


def test_training_on_the_device_ends_where_the_trainer_ends(gpu):
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (32, 36, 36), dtype=np.uint8)
    training = ImageSet(images, np.arange(32) % 2, np.arange(32))
    config = RunConfig(
        arch="resnetv2_laptop", image_channels=1, resize=36, crop=32, batch_size=8, schedule=(1, 5), eval_every=5, base_lr=0.02, mixup="beta", device="cpu"
    )
    ends = []
    for way in ("trainer", "resident"):
        torch.manual_seed(0)
        model = create_model(config.arch, "random", 1)
        if way == "trainer":
            train(model, config, training, {}, Initialisation("random"))
        else:
            gpu.resident(model, config, training, "cpu", lambda _: None)
        ends.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


def test_every_way_gives_a_row(gpu, monkeypatch):
    case = {"arch": "resnetv2_laptop", "image_channels": 1, "crop": 32, "base_lr": 0.02}
    ways = {name: way for name, way in gpu.WAYS.items() if not way.get("compiled")}
    kept = []
    rows = gpu.measure("cpu", 4, 4, (case,), ways, keep=lambda rows: kept.append(len(rows)))
    assert kept == list(range(1, len(ways) + 1)), "what is measured is kept if the next way fails"
    assert [row["way"] for row in rows] == list(ways) and all(row["rate"]["low"] > 0 for row in rows)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no CUDA device"):
            gpu.main()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70 * 2**30, 80 * 2**30))
    with pytest.raises(SystemExit, match="10.0 GiB of the device are in use by other work"):
        gpu.main()
