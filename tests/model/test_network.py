import pytest
import torch
from safetensors.torch import save_file
from timm.layers import GroupNormAct, StdConv2d

from cxrlib.model import network as models
from cxrlib.model.network import LAPTOP, create_model, normalise
from cxrlib.weights.source import WeightsError


@pytest.mark.parametrize(("arch", "channels"), [(LAPTOP, 1), (LAPTOP, 3), ("resnetv2_50x1_bit", 3), ("resnet18", 3), ("efficientnet_lite0", 1)])
def test_one_logit_from_a_zero_head(arch, channels):
    model = create_model(arch, image_channels=channels)
    logits = model.eval()(torch.randn(2, channels, 64, 64))
    assert logits.shape == (2, 1)
    assert (logits == 0).all()


def test_the_paper_model_and_its_sibling_share_the_design():
    for arch in ("resnetv2_50x1_bit", LAPTOP):
        model = create_model(arch)
        convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m is not model.head.fc]
        assert all(isinstance(m, StdConv2d) for m in convolutions)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
        assert any(isinstance(m, GroupNormAct) for m in model.modules())
        # Pre-activation: normalisation and ReLU come before the first convolution of the unit.
        assert models.describe_unit(model)[0][0] == "norm"
    assert 23_000_000 < models.count_parameters(create_model("resnetv2_50x1_bit")) < 24_000_000
    assert 450_000 < models.count_parameters(create_model(LAPTOP, image_channels=1)) < 550_000


def test_weights_are_standardised():
    """Scaling and shifting a filter must not change what the convolution computes (Qiao et al. 2019)."""
    convolution = next(m for m in create_model(LAPTOP).modules() if isinstance(m, StdConv2d))
    image = torch.randn(1, convolution.in_channels, 16, 16)
    before = convolution(image)
    with torch.no_grad():
        convolution.weight.mul_(7).add_(3)
    torch.testing.assert_close(convolution(image), before, rtol=1e-3, atol=1e-4)


def test_unknown_architecture_names_alternatives():
    with pytest.raises(ValueError, match="resnetv2_50x1"):
        create_model("resnetv2_50x1_bitt")


@pytest.fixture
def weights_file(tmp_path):
    torch.manual_seed(5)
    state = {k: v.clone() for k, v in create_model(LAPTOP, image_channels=1).state_dict().items()}
    path = tmp_path / "mine.safetensors"
    save_file({k: v for k, v in state.items() if not k.startswith("head")}, path, metadata={"mean": "0.4", "std": "0.3"})
    return path, state


def test_a_local_file_initialises_all_but_the_head(weights_file):
    path, state = weights_file
    model = create_model(LAPTOP, str(path), image_channels=1)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name.startswith("head") else state[name]), name


def test_grey_weights_serve_three_equal_channels(weights_file):
    path, _ = weights_file
    grey, colour = create_model(LAPTOP, str(path), 1), create_model(LAPTOP, str(path), 3)
    image = torch.randn(1, 1, 32, 32)
    # Standardisation divides by the filter's spread, which tripling a filter does not change: features agree up to scale.
    torch.testing.assert_close(
        grey.stem.conv.weight.sum(1), colour.stem.conv.weight.sum(1), rtol=1e-5, atol=1e-6
    )
    assert colour.forward_features(image.expand(-1, 3, -1, -1)).shape == grey.forward_features(image).shape


def test_weights_that_do_not_fit_are_refused(weights_file, tmp_path):
    path, state = weights_file
    with pytest.raises(WeightsError, match="does not fit"):
        create_model("resnet18", str(path), 1)
    save_file({k: v for k, v in state.items() if "stages.3" not in k}, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        create_model(LAPTOP, str(tmp_path / "part.safetensors"), 1)
    wrong = {k: (v[:, :1] if k == "stages.3.blocks.0.conv1.weight" else v).contiguous() for k, v in state.items()}
    save_file(wrong, tmp_path / "shape.safetensors")
    with pytest.raises(WeightsError, match="has shape"):
        create_model(LAPTOP, str(tmp_path / "shape.safetensors"), 1)


def test_normalise_maps_grey_values_as_bit_does():
    images = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    torch.testing.assert_close(normalise(images, 0.5, 0.5, 1), torch.tensor([[[[-1.0, 1.0]]]]))
    assert normalise(images, 0.5, 0.5, 3).shape == (1, 3, 1, 2)


def test_normalise_takes_a_mean_and_a_std_for_each_channel():
    images = torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
    expected = torch.tensor([[[[-2.0, -1.2, 2.0]], [[-2.0, -1.0, 3.0]], [[-3.0, -1.0, 7.0]]]])
    torch.testing.assert_close(normalise(images, mean, std, 3), expected)
    # As they come back from a record in JSON; and equal values must do what one value does.
    torch.testing.assert_close(normalise(images, list(mean), list(std), 3), expected)
    torch.testing.assert_close(normalise(images, [0.5] * 3, 0.5, 3), normalise(images, 0.5, 0.5, 3))
    # One channel gets the averages, 0.4 and 0.55 / 3.
    torch.testing.assert_close(normalise(images, mean, std, 1), (torch.tensor([[[[0.0, 0.2, 1.0]]]]) - 0.4) * 3 / 0.55)
