import numpy as np
import pytest

from cxrlib.train import sampling


def test_every_rebalanced_batch_is_half_positive_and_so_is_each_even_part():
    labels = np.r_[np.zeros(300), np.ones(41)].astype(int)
    for step in range(50):
        batch = labels[sampling.batch_indices(step, labels, 64, seed=3)]
        assert batch.sum() == 32
        assert all(part.sum() == 8 for part in np.split(batch, 4))


def test_a_class_is_used_up_before_an_image_returns():
    labels = np.r_[np.zeros(40), np.ones(24)].astype(int)
    drawn = np.concatenate([sampling.batch_indices(step, labels, 16, seed=0) for step in range(15)])
    positives = drawn[labels[drawn] == 1]
    for start in range(0, 120, 24):
        assert len(set(positives[start : start + 24])) == 24
    negatives = drawn[labels[drawn] == 0]
    assert [len(set(negatives[start : start + 40])) for start in (0, 40, 80)] == [40, 40, 40]
    assert list(negatives[:40]) != list(negatives[40:80])


def test_a_class_smaller_than_its_share_is_drawn_with_replacement():
    labels = np.r_[np.zeros(100), np.ones(5)].astype(int)
    batch = sampling.batch_indices(0, labels, 64, seed=0)
    assert labels[batch].sum() == 32
    assert set(batch[labels[batch] == 1]) <= set(range(100, 105))


def test_without_rebalancing_the_imbalance_stays():
    labels = np.r_[np.zeros(90), np.ones(10)].astype(int)
    drawn = np.concatenate([sampling.batch_indices(step, labels, 20, seed=0, rebalance=False) for step in range(5)])
    assert sorted(drawn) == list(range(100))


def test_batches_depend_on_seed_and_step_only():
    labels = np.arange(64) % 2
    first = sampling.batch_indices(7, labels, 16, seed=1)
    sampling.batch_indices(3, labels, 16, seed=1)
    np.testing.assert_array_equal(first, sampling.batch_indices(7, labels, 16, seed=1))
    assert not np.array_equal(first, sampling.batch_indices(7, labels, 16, seed=2))


def test_a_missing_class_and_an_odd_batch_are_errors():
    with pytest.raises(ValueError, match="no positive image"):
        sampling.batch_indices(0, np.zeros(10, dtype=int), 4, seed=0)
    with pytest.raises(ValueError, match="odd"):
        sampling.batch_indices(0, np.arange(10) % 2, 5, seed=0)


def test_crops_reach_every_corner_and_flips_are_per_image():
    tops, lefts, flips = (np.concatenate(x) for x in zip(*(sampling.augmentation(s, 64, 10, 8, seed=0) for s in range(20)), strict=True))
    assert set(tops) == set(lefts) == {0, 1, 2}
    assert 0.4 < flips.mean() < 0.6
    assert not sampling.augmentation(0, 64, 10, 8, seed=0, flip=False)[2].any()


def test_crop_batch_cuts_the_window_it_was_told():
    images = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6)
    batch = sampling.crop_batch(images, np.array([1, 0]), 4, np.array([2, 0]), np.array([1, 2]), np.array([False, True]))
    np.testing.assert_array_equal(batch[0], images[1, 2:6, 1:5])
    np.testing.assert_array_equal(batch[1], images[0, 0:4, 2:6][:, ::-1])


def test_mixup_weights_follow_their_law():
    fixed, partners = sampling.mixup_plan(0, 32, "fixed", 0.1, seed=0)
    assert fixed == 0.1
    assert sorted(partners) == list(range(32))
    weight, partners = sampling.mixup_plan(0, 32, "off", 0.1, seed=0)
    assert weight == 1
    assert list(partners) == list(range(32))
    drawn = np.array([sampling.mixup_plan(step, 2, "beta", 0.1, seed=0)[0] for step in range(3000)])
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)).
    assert abs(drawn.mean() - 0.5) < 0.03
    assert abs(drawn.var() - 1 / 4.8) < 0.01


@pytest.mark.parametrize(("mixup", "value"), [("fixed", 1.5), ("beta", 0.0), ("often", 0.1)])
def test_impossible_mixup_is_an_error(mixup, value):
    with pytest.raises(ValueError, match="mixup"):
        sampling.mixup_plan(0, 4, mixup, value, seed=0)
