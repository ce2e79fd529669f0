"""Fast paths compute what the plain ones do."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from cxrlib.model.memory import BorderedMaxPool, channels_first, channels_last, layout, pool_without_copy, reuse_memory
from cxrlib.model.network import LAPTOP, create_model, normalise


@pytest.mark.parametrize(("arch", "channels"), [(LAPTOP, 1), (LAPTOP, 3), ("resnetv2_50x1_bit", 3), ("tf_efficientnet_lite0", 3)])
def test_logits_and_gradients_are_those_of_the_plain_layout(arch, channels):
    torch.manual_seed(0)
    model = create_model(arch, image_channels=channels).double()
    torch.nn.init.normal_(model.get_classifier().weight)
    images = torch.randn(4, channels, 64, 64, dtype=torch.float64)
    results = []
    for inputs in (images, channels_last(images)):
        model.zero_grad()
        logits = model(inputs).reshape(-1)
        functional.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 1, 0, 1], dtype=torch.float64)).backward()
        results.append([logits.detach(), *(p.grad.clone() for p in model.parameters())])
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_reaches_the_pooling(channels):
    """Of one channel both layouts have the same bytes; the strides must tell the convolution which is meant."""
    images = torch.randint(0, 256, (2, 32, 48), dtype=torch.uint8)
    inputs = normalise(images, 0.5, 0.5, channels)
    expected = images[:, None].expand(-1, channels, -1, -1).float() / 127.5 - 1
    torch.testing.assert_close(inputs, expected)
    model, seen = create_model(LAPTOP, image_channels=channels), []
    model.stem.conv.register_forward_hook(lambda _m, _i, output: seen.append(output.stride()))
    model(inputs)
    assert seen[0][1] == 1, "the channels of a pixel are side by side"
    mixed = 0.3 * inputs + 0.7 * inputs[torch.tensor([1, 0])]
    model(channels_last(mixed))
    assert seen[1][1] == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_bfloat16_on_a_cpu_normalises_groups_channel_by_channel(channels):
    """The same output from another layout, which reaches the last block; batch normalisation and other devices keep theirs."""
    torch.manual_seed(0)
    model, seen = create_model(LAPTOP, image_channels=channels), []
    model.stages[-1].register_forward_hook(lambda _m, _i, output: seen.append(output.is_contiguous()))
    images = channels_last(torch.randn(2, channels, 32, 48))
    cpu = torch.device("cpu")
    arranged = layout(model, "bf16", cpu)
    assert arranged is channels_first and layout(model, "fp32", cpu) is channels_last
    assert layout(model, "bf16", torch.device("cuda")) is channels_last
    assert layout(torch.nn.Sequential(torch.nn.BatchNorm2d(4)), "bf16", cpu) is channels_last
    torch.testing.assert_close(arranged(images), images, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = model.forward_features(images), model.forward_features(arranged(images))
    assert seen == [False, True]
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_normalisation_by_channel_is_in_the_layout_too():
    inputs = normalise(torch.zeros(2, 8, 8, dtype=torch.uint8), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), 3)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inputs[0, :, 0, 0], torch.tensor([-2.0, -2.5, -3.0]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep their C library's ways")
def test_kept_memory_is_not_asked_for_again():
    """Counted in page faults: each page of a tensor costs one if its memory was given back before."""
    script = """
import resource, sys, torch
from cxrlib.model.memory import reuse_memory
told = reuse_memory() if sys.argv[1] == "keep" else None
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MiB, above every limit up to which glibc keeps blocks by itself
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(told, sum(faults[20:]))
"""
    plain, kept = (subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True).stdout.split() for how in ("plain", "keep"))
    if kept[0] == "False":
        pytest.skip("this C library cannot be told")
    assert int(plain[1]) > 20 * 30, "in pages of 4 KiB or of 2 MiB"
    assert int(kept[1]) < int(plain[1]) / 4


def test_asking_twice_is_asking_once():
    assert reuse_memory() is reuse_memory()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 32), (48, 47), (5, 7)])
def test_the_pooling_without_a_copy_is_the_padded_one(height, width):
    plain = nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2, 0))
    images = torch.randn(3, 4, height, width, dtype=torch.float64) - 0.5  # zero wins at some edges
    upstream, results = None, []
    for pool in (plain, BorderedMaxPool()):
        inputs = images.clone().requires_grad_(True)
        pooled = pool(inputs)
        upstream = torch.randn_like(pooled) if upstream is None else upstream
        pooled.backward(upstream)
        results.append((pooled.detach(), inputs.grad))
    assert (results[0][0][:, :, 0] == 0).any()
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_only_the_stem_of_bit_is_changed():
    for arch in (LAPTOP, "resnetv2_50x1_bit"):
        assert isinstance(create_model(arch).stem.pool, BorderedMaxPool)
    other = create_model("resnet18")
    pooling = other.maxpool
    pool_without_copy(other)
    assert other.maxpool is pooling
