import numpy as np
import pytest
import torch
from torch import nn

from cxrlib import explain
from cxrlib.model.network import LAPTOP, create_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_model(LAPTOP, image_channels=1)
    nn.init.normal_(model.head.fc.weight)
    return model.eval()


def test_maps_have_the_images_shape_and_range_and_leave_no_hook(model):
    images = torch.randn(5, 1, 64, 48)
    maps = explain.grad_cam(model, images, batch_size=2)
    assert maps.shape == (5, 64, 48)
    assert maps.min() >= 0
    assert maps.max() <= 1
    np.testing.assert_allclose(maps.reshape(5, -1).max(axis=1), 1, atol=1e-4)
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_default_layer_is_the_last_feature_map(model):
    assert explain.default_target_layer(model, torch.randn(1, 1, 64, 64)) == "norm"
    other = create_model("resnet18")
    assert explain.default_target_layer(other, torch.randn(1, 3, 64, 64)).startswith("layer4")


def test_at_the_default_layer_grad_cam_is_the_heads_own_evidence(model):
    """With a linear head after average pooling, Grad-CAM is the class activation map of Zhou et al. 2016."""
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        features = model.forward_features(images)
        evidence = torch.einsum("nchw,c->nhw", features, model.head.fc.weight.reshape(-1)).clamp(min=0)
    evidence = evidence / evidence.amax(dim=(1, 2), keepdim=True)
    wanted = nn.functional.interpolate(evidence[:, None], size=(64, 64), mode="bilinear")[:, 0].numpy()
    maps = explain.grad_cam(model, images, classes=np.array([1, 1]))
    for ours, theirs in zip(maps, wanted, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("arch", [LAPTOP, "resnet18", "tf_efficientnet_lite0"])
def test_maps_from_one_forward_pass_are_those_of_the_library(arch):
    """One image at a time, as its users do it."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    torch.manual_seed(1)
    channels = 1 if arch == LAPTOP else 3
    network = create_model(arch, image_channels=channels).eval()
    nn.init.normal_(network.get_classifier().weight)
    images, classes = torch.randn(6, channels, 96, 64), np.array([1, 0, 1, 0, 1, 1])
    layer = dict(network.named_modules())[explain.default_target_layer(network, images)]
    with GradCAM(model=network, target_layers=[layer]) as cam:
        wanted = [cam(input_tensor=image[None], targets=[BinaryClassifierOutputTarget(int(label))])[0] for image, label in zip(images, classes)]
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(explain.grad_cam(network, images, classes=classes, batch_size=4), wanted, atol=1e-4)


def test_another_layer_is_the_librarys(model):
    images = torch.randn(3, 1, 64, 64)
    maps = explain.grad_cam(model, images, "stages.1")
    assert maps.shape == (3, 64, 64)
    assert not np.allclose(maps, explain.grad_cam(model, images))
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


def test_classes_decide_the_sign(model):
    images = torch.randn(2, 1, 64, 64)
    positive, negative = (explain.grad_cam(model, images, classes=np.full(2, c)) for c in (1, 0))
    assert not np.allclose(positive, negative)
    with torch.no_grad():
        predicted = (model(images).reshape(-1) > 0).long().numpy()
    np.testing.assert_allclose(explain.grad_cam(model, images), np.where(predicted[:, None, None] == 1, positive, negative), atol=1e-5)


def test_unknown_layer_and_wrong_lengths_are_errors(model):
    images = torch.randn(2, 1, 64, 64)
    with pytest.raises(ValueError, match="no layer 'nowhere'"):
        explain.grad_cam(model, images, "nowhere")
    with pytest.raises(ValueError, match="1 classes"):
        explain.grad_cam(model, images, classes=np.array([1]))
    with pytest.raises(ValueError, match="larger crop"):
        explain.default_target_layer(create_model(LAPTOP, image_channels=1), torch.randn(1, 1, 4, 4))


def test_energy_inside_measures_the_share():
    maps = np.zeros((3, 4, 4))
    maps[0, :2] = 1
    maps[1, 0, 0] = 3
    maps[1, 3, 3] = 1
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:, :2] = True
    np.testing.assert_allclose(explain.energy_inside(maps, masks), [1, 0.75, np.nan])
    assert np.isnan(explain.energy_inside(np.ones((1, 4, 4)), np.zeros((1, 4, 4), dtype=bool)))[0]
    with pytest.raises(ValueError, match="differ in shape"):
        explain.energy_inside(maps, masks[:2])


def test_a_frame_is_the_border():
    frame = explain.frame_mask(16)
    assert frame.sum() == 16 * 16 - 12 * 12
    assert not frame[8, 8]
    with pytest.raises(ValueError, match="share"):
        explain.frame_mask(16, 0.7)


def test_randomisation_starts_at_the_output_and_changes_maps(model):
    images = torch.randn(3, 1, 64, 64)
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    same, part, whole = (explain.randomise_from_top(model, share) for share in (0, 0.2, 1))
    changed = [k for k, v in part.state_dict().items() if not torch.equal(v, kept[k])]
    assert "head.fc.weight" in changed
    assert "stem.conv.weight" not in changed
    assert "stem.conv.weight" in [k for k, v in whole.state_dict().items() if not torch.equal(v, kept[k])]
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    classes = np.ones(3, dtype=int)
    original = explain.grad_cam(model, images, classes=classes)
    np.testing.assert_allclose(explain.rank_correlation(original, explain.grad_cam(same, images, classes=classes)), 1, atol=1e-6)
    assert (explain.rank_correlation(original, explain.grad_cam(whole, images, classes=classes)) < 0.95).all()
