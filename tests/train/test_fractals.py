"""Iterated function systems contract, pictures are deterministic, data sets nest, caches are whole."""

import numpy as np
import pytest

from cxrlib.train import fractals


def test_sampled_systems_contract_and_fill():
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(30):
        transforms, probabilities = fractals.sample_ifs(rng)
        sizes.add(len(transforms))
        assert transforms.shape == (len(probabilities), 2, 3) and 2 <= len(transforms) <= 8
        assert probabilities.sum() == pytest.approx(1) and (probabilities > 0).all()
        assert np.linalg.svd(transforms[:, :, :2], compute_uv=False).max() <= fractals.MAX_SINGULAR_VALUE + 1e-9
        varied, _ = fractals.perturb(transforms, rng)
        assert np.linalg.svd(varied[:, :, :2], compute_uv=False).max() <= fractals.MAX_SINGULAR_VALUE + 1e-9
        assert not np.array_equal(varied, transforms)
        assert fractals.filling_rate(transforms, probabilities, np.random.default_rng(1)) > fractals.MIN_FILLING_RATE / 2
    assert len(sizes) > 4


def test_chaos_game_draws_the_sierpinski_triangle():
    corners = np.array([[0, 0], [1, 0], [0, 1]])
    transforms = np.concatenate([np.tile(np.eye(2) / 2, (3, 1, 1)), corners[:, :, None] / 2], axis=2)
    points = fractals.chaos_game(transforms, np.full(3, 1 / 3), 20_000, np.random.default_rng(0))
    assert points.shape == (20_000, 2) and points.min() >= 0 and points.max() <= 1
    # No point of the triangle has a binary digit 1 in both coordinates at the same place.
    cells = (points * 16).astype(int)
    assert not (cells[:, 0] & cells[:, 1]).any() and len(np.unique(cells, axis=0)) == 3**4


def test_render_is_deterministic_and_varies():
    ifs = fractals.sample_ifs(np.random.default_rng(3))
    images = [fractals.render(ifs, 48, rng=np.random.default_rng(k)) for k in (1, 1, 2)]
    assert images[0].dtype == np.uint8 and images[0].shape == (48, 48)
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])
    assert all(image.max() == 255 and len(np.unique(image)) > 20 for image in images)
    plain = fractals.render(ifs, 48, vary=False)
    assert np.array_equal(plain, fractals.render(ifs, 48, vary=False)) and plain.min() == 0


def test_data_set_nests_and_does_not_depend_on_workers(tmp_path):
    small, labels = fractals.dataset(2, 3, 16, seed=5, workers=1, progress=False)
    assert small.shape == (6, 16, 16) and labels.tolist() == [0, 0, 0, 1, 1, 1]
    large, _ = fractals.dataset(3, 4, 16, seed=5, workers=2, cache=tmp_path, progress=False)
    large = large.reshape(3, 4, 16, 16)
    assert np.array_equal(large[:2, :3], small.reshape(2, 3, 16, 16))
    assert np.array_equal(fractals.render_class(1, 1, 16, 5, first=3)[0], large[1, 3])
    assert not np.array_equal(fractals.dataset(2, 3, 16, seed=6, workers=1, progress=False)[0], small)


def test_cache_is_read_back_and_never_half_written(tmp_path, monkeypatch):
    images, _ = fractals.dataset(2, 2, 16, workers=1, cache=tmp_path, progress=False)
    assert isinstance(images, np.memmap) and not images.flags.writeable
    monkeypatch.setattr(fractals, "render_class", lambda *a, **k: pytest.fail("made again"))
    again, _ = fractals.dataset(2, 2, 16, workers=1, cache=tmp_path, progress=False)
    assert np.array_equal(images, again)

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fractals, "render_class", fail)
    with pytest.raises(KeyboardInterrupt):
        fractals.dataset(2, 2, 16, seed=9, workers=1, cache=tmp_path, progress=False)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".sha256"]


def test_progress_and_wrong_numbers(capsys):
    fractals.dataset(2, 1, 8, workers=1)
    assert "class 2/2" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least 1"):
        fractals.dataset(0, 1, 8)
