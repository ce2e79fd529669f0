"""The network that finds lungs: its file, its answer at any size, what of it is a lung, and that it learns from masks and from boxes."""

import numpy as np
import pytest
import torch

from cxrlib.model import segmentation
from cxrlib.train import segment
from cxrlib.weights.source import WeightsError

smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra 'lungs' is not installed")


def ellipses(count, seed=0):
    """Images with two dark ellipses on grey, and the masks of these, uint8 and bool (count, 96, 96)."""
    generator = np.random.default_rng(seed)
    yy, xx = np.mgrid[:96, :96]
    images, masks = generator.normal(150, 12, (count, 96, 96)), np.zeros((count, 96, 96), bool)
    for image, mask in zip(images, masks, strict=True):
        for centre in (30, 66):
            y, x = 48 + generator.integers(-6, 7), centre + generator.integers(-4, 5)
            mask |= ((yy - y) / 28) ** 2 + ((xx - x) / 12) ** 2 < 1
        image[mask] -= 70
    return images.clip(0, 255).astype(np.uint8), masks


def test_a_file_of_weights_gives_the_same_network_and_a_damaged_one_is_named(tmp_path):
    torch.manual_seed(0)
    model = segmentation.create_segmenter().eval()
    content, digest = segmentation.weights_of(model)
    assert len(content) <= 2 * 2**20, "small enough to ship"
    path = tmp_path / "lungs.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is missing"):
        segmentation.load_segmenter(path)
    path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n")
    images, _ = ellipses(2)
    one, other = (segmentation.lung_probability(network, images, (50, 70)) for network in (model, segmentation.load_segmenter(path)))
    assert one.shape == (2, 50, 70) and one.min() >= 0 and one.max() <= 1
    assert np.allclose(one, other, atol=0.02), "half precision"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged or was changed"):
        segmentation.load_segmenter(path)


def test_the_two_largest_parts_are_lungs_without_holes_and_crumbs_are_none():
    probability = np.zeros((2, 40, 40))
    probability[0, 5:35, 4:16] = probability[0, 5:35, 24:36] = 0.9
    probability[0, 15:20, 8:12] = 0.1  # a hole
    probability[0, 0:3, 18:22] = 0.9  # a third part
    probability[1, 0:2, 0:2] = 0.9  # a crumb
    found = segmentation.lungs_of(probability)
    assert found[0].sum() == 2 * 30 * 12 and not found[0, :3].any() and not found[1].any()
    assert segmentation.lung_box(found[0], 0) == (5, 35, 4, 36) and segmentation.lung_box(found[1]) == (0, 40, 0, 40)
    assert segmentation.lung_box(found[0], 0.1) == (2, 38, 1, 39)
    dice = segmentation.dice(found, np.stack([found[0] & (np.arange(40) < 20), np.zeros((40, 40), bool)]))
    assert dice[0] == pytest.approx(2 / 3) and np.isnan(dice[1])


def test_a_box_says_where_no_lung_is_and_that_each_of_its_rows_meets_one():
    box = torch.zeros(1, 1, 8, 8)
    box[..., 2:6, 1:7] = 1
    inside, outside, nothing = (torch.full((1, 1, 8, 8), -6.0) for _ in range(3))
    inside[..., 2:6, 2:3] = inside[..., 3:4, 1:7] = 6
    outside[..., 0:2, :] = 6
    losses = [float(segment.box_loss(logits, box)) for logits in (inside, outside, nothing)]
    assert losses[0] < 0.1 < losses[2] and losses[0] < losses[1]


def test_a_few_steps_learn_from_masks_and_the_same_seed_gives_the_same_network():
    images, masks = ellipses(8)
    boxed, _ = ellipses(4, seed=1)
    boxes = np.zeros((4, 96, 96), bool)
    boxes[:, 14:82, 14:82] = True
    first = []
    model = segment.fit_segmenter(images, masks, boxed, boxes, steps=12, on_step=lambda step, loss: first.append((step, loss)))
    assert [step for step, _ in first] == list(range(1, 13)) and first[-1][1] < 0.8 * first[0][1]
    again = segment.fit_segmenter(images[:8], masks, boxed, boxes, steps=2)
    other = segment.fit_segmenter(images[:8], masks, boxed, boxes, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), other.state_dict().values(), strict=True))
    assert not model.training
    with pytest.raises(ValueError, match="must agree"):
        segment.fit_segmenter(images[:0], masks[:0], boxed, boxes)


@pytest.mark.skipif(not segmentation.SHIPPED.is_file(), reason="no weights are shipped")
def test_the_shipped_network_finds_lungs_on_phantoms_that_it_has_never_seen(tmp_path):
    from cxrlib import phantom
    from cxrlib.data.dataset import read_dataset

    folder = phantom.generate(tmp_path / "phantoms", train_positive=2, train_negative=2, test_per_class=4, size=96)
    dataset = read_dataset(folder, None, tmp_path / "cache", False)
    found = segmentation.lungs_of(segmentation.lung_probability(segmentation.load_segmenter(), dataset.images("test", 96, tmp_path / "cache")))
    assert np.nanmean(segmentation.dice(found, dataset.masks("lungs", "test", 96))) > 0.6
