"""Formula-driven upstream images: every class is an iterated function system, every image a variation of its fractal.

After FractalDB (Kataoka et al. 2020, "Pre-training without natural images", ACCV); the systems themselves are drawn by
their singular values as in Anderson & Farrell 2022 ("Improving fractal pre-training", WACV), which makes them contract.
Point density is shown on a logarithmic grey scale, which looks more like the soft shadows of a radiograph than points
in black and white. No image of anything real is involved.

Image i of class c depends on (seed, c, i) alone: a smaller data set is a part of a larger one with the same seed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from cxrlib.files import atomic_write, file_digest, written_beside
from cxrlib.processes import run_tasks, usable_cores

RENDERING_VERSION = 1
"""Part of the cache file's name. Raise it when a change of code changes pixels."""
MAX_SINGULAR_VALUE = 0.98
MIN_FILLING_RATE = 0.12
_CHAINS, _BURN_IN = 1024, 20


def sample_ifs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the iterated function system of a class.

    Two to eight affine maps, all contracting, whose singular values sum as Anderson & Farrell recommend, redrawn until
    at least `MIN_FILLING_RATE` of a 32 x 32 picture is touched (Kataoka et al.'s filling rate).

    Returns:
        transforms float64 (k, 2, 3), maps x -> A x + b, A with singular values at most `MAX_SINGULAR_VALUE`;
        probabilities (k,), proportional to |det A| with a floor, summing to 1.
    """
    while True:
        k = int(rng.integers(2, 9))
        first = rng.uniform(0, 1, k)
        second = first * rng.uniform(0, 1, k)
        scale = rng.uniform(5 + k, 6 + k) / 2 / (first + 2 * second).sum()
        if scale * first.max() > MAX_SINGULAR_VALUE:
            continue
        angles, signs = rng.uniform(0, 2 * np.pi, (2, k)), rng.choice([-1.0, 1.0], (k, 2))
        left, right = _rotations(angles[0]), _rotations(angles[1])
        singular = scale * np.stack([first, second], axis=1)
        linear = left * singular[:, None, :] @ right * signs[:, None, :]
        transforms = np.concatenate([linear, rng.uniform(-1, 1, (k, 2, 1))], axis=2)
        probabilities = _probabilities(transforms)
        if filling_rate(transforms, probabilities, rng) >= MIN_FILLING_RATE:
            return transforms, probabilities


def perturb(transforms: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A variation inside the class: one of the six coefficients of all maps times 0.8 to 1.2 (FractalDB's weights).

    Maps that no longer contract are shrunk to `MAX_SINGULAR_VALUE`. Shapes as in `sample_ifs`.
    """
    varied = transforms.copy()
    varied[:, rng.integers(2), rng.integers(3)] *= rng.uniform(0.8, 1.2)
    largest = np.linalg.svd(varied[:, :, :2], compute_uv=False)[:, 0]
    varied[:, :, :2] *= np.minimum(1, MAX_SINGULAR_VALUE / np.maximum(largest, 1e-12))[:, None, None]
    return varied, _probabilities(varied)


def chaos_game(transforms: np.ndarray, probabilities: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """`points` points of the attractor, float32 (points, 2), from many chains that are moved together."""
    steps = -(-points // _CHAINS) + _BURN_IN
    chosen = np.searchsorted(
        np.cumsum(probabilities)[:-1], rng.random((steps, _CHAINS), dtype=np.float32), side="right"
    )
    a, b, e, c, d, f = (coefficient[chosen] for coefficient in transforms.reshape(-1, 6).T.astype(np.float32))
    x = y = np.zeros(_CHAINS, dtype=np.float32)
    orbit = np.empty((steps, _CHAINS, 2), dtype=np.float32)
    for step in range(steps):
        x, y = a[step] * x + b[step] * y + e[step], c[step] * x + d[step] * y + f[step]
        orbit[step, :, 0], orbit[step, :, 1] = x, y
    return orbit[_BURN_IN:].reshape(-1, 2)[:points]


def filling_rate(transforms: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> float:
    """Share of the cells of a 32 x 32 picture that 4,096 points of the fractal touch, in [0, 1]."""
    points = chaos_game(transforms, probabilities, 4096, rng)
    return float((_count(_to_unit(points), 32) > 0).mean())


def render(
    ifs: tuple[np.ndarray, np.ndarray],
    size: int,
    points: int | None = None,
    rng: np.random.Generator | None = None,
    vary: bool = True,
) -> np.ndarray:
    """A picture of the fractal.

    Args:
        ifs: (transforms, probabilities) as from `sample_ifs`.
        size: pixels on a side.
        points: points drawn; six for a pixel by default.
        rng: source of all chance; a fixed one by default.
        vary: also draw the variation, turn, zoom, shift, flip, brush (point, or a random 3 x 3 patch), softness, grey
            curve and a faint background; if False the fractal fills the frame in plain logarithmic density.

    Returns:
        uint8 (size, size), 0 where no point fell and no background lies, 255 at the densest point.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    transforms, probabilities = perturb(ifs[0], rng) if vary else ifs
    unit = _to_unit(chaos_game(transforms, probabilities, points or 6 * size * size, rng))
    if not vary:
        return _to_uint8(np.log1p(_count(unit, size)))
    turn, zoom = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.4)
    flips = rng.choice([-1.0, 1.0], 2)
    view = (_rotations(np.array([turn]))[0] * zoom * flips).astype(np.float32)
    shift = 0.5 + rng.uniform(-0.12, 0.12, 2).astype(np.float32)
    # Written out, because the last bit of a matrix product may differ between machines.
    x, y = unit.T - np.float32(0.5)
    unit = np.stack([x * v + y * w + s for (v, w), s in zip(view, shift, strict=True)], axis=1)
    density = _count(unit, size).astype(np.float32)
    if rng.random() < 0.5:
        density = _stamp(density, rng.random((3, 3)) < 0.5)
    grey = np.log1p(density * rng.choice([0.3, 1.0, 3.0]))
    for _ in range(rng.integers(3)):
        grey = _soften(grey)
    grey = (grey / max(grey.max(), 1e-6)) ** rng.uniform(0.6, 1.6)
    return _to_uint8(grey + rng.uniform(0, 0.5) * _background(size, rng))


def render_class(label: int, instances: int, size: int, seed: int, first: int = 0) -> np.ndarray:
    """Images `first` to `first + instances` of a class, uint8 (instances, size, size)."""
    ifs = sample_ifs(np.random.default_rng([seed, label]))
    randoms = (np.random.default_rng([seed, label, 1 + first + index]) for index in range(instances))
    return np.stack([render(ifs, size, rng=rng) for rng in randoms])


def dataset(
    classes: int,
    instances: int,
    size: int = 64,
    seed: int = 0,
    workers: int | None = None,
    cache: Path | str | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """A labelled fractal data set; the same for any number of workers.

    Args:
        classes: number of iterated function systems.
        instances: images of each.
        size: pixels on a side.
        seed: of the whole set.
        workers: processes; one for each core by default.
        cache: folder for a ``.npy`` file that later calls map into memory, and its checksum: a damaged one is drawn again.
            None keeps the images in memory.
        progress: print one line that updates to standard error.

    Returns:
        images uint8 (classes * instances, size, size), a read-only memory map if cached; labels int64, class by class.

    Raises:
        ValueError: for numbers below 1.
    """
    if min(classes, instances, size) < 1:
        raise ValueError(f"classes, instances and size must be at least 1, not {classes}, {instances}, {size}")
    labels = np.repeat(np.arange(classes), instances)
    shape = (classes * instances, size, size)
    if cache is None:
        images = np.empty(shape, dtype=np.uint8)
        _fill(images, classes, instances, size, seed, workers, progress)
        return images, labels
    path = Path(cache) / f"fractal-v{RENDERING_VERSION}-seed{seed}-{classes}x{instances}-{size}px.npy"
    beside = path.with_suffix(".sha256")
    if not (path.is_file() and beside.is_file() and beside.read_text(errors="replace").strip() == file_digest(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as temporary:
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            _fill(images, classes, instances, size, seed, workers, progress)
            images.flush()
            atomic_write(beside, file_digest(temporary))
    return np.load(path, mmap_mode="r", allow_pickle=False), labels


def _fill(images, classes: int, instances: int, size: int, seed: int, workers: int | None, progress: bool) -> None:
    tasks = ((label, instances, size, seed) for label in range(classes))
    started = shown = time.monotonic()
    rendered = run_tasks(_render_labelled, tasks, min(workers or usable_cores(), classes))
    for done, (label, block) in enumerate(rendered, start=1):
        images[label * instances : (label + 1) * instances] = block
        now = time.monotonic()
        if progress and (now - shown > 1 or done == classes):
            shown, left = now, (now - started) / done * (classes - done)
            end = "\n" if done == classes else ""
            print(f"\rfractals: class {done}/{classes}, {left:.0f} s left ", end=end, file=sys.stderr, flush=True)


def _render_labelled(label: int, instances: int, size: int, seed: int) -> tuple[int, np.ndarray]:
    """A class with its number, as classes come back in any order."""
    return label, render_class(label, instances=instances, size=size, seed=seed)


def _rotations(angles: np.ndarray) -> np.ndarray:
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)


def _probabilities(transforms: np.ndarray) -> np.ndarray:
    # The floor keeps maps that flatten the plane from never being chosen.
    areas = np.maximum(np.abs(np.linalg.det(transforms[:, :, :2])), 0.01)
    return areas / areas.sum()


def _to_unit(points: np.ndarray) -> np.ndarray:
    """Scaled by one factor so that all but outlying points lie in the middle 90 % of the unit square."""
    low, high = np.quantile(points[:: max(1, len(points) // 4096)], [0.01, 0.99], axis=0)
    span = max(float((high - low).max()), 1e-6)
    return ((points - (low + high) / 2) * (0.9 / span) + 0.5).astype(np.float32)


def _count(unit: np.ndarray, size: int) -> np.ndarray:
    column, row = np.floor(unit.T * size).astype(np.int32)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    return np.bincount((row * size + column)[inside], minlength=size * size).reshape(size, size)


def _stamp(density: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return density
    return sum(np.roll(density, (row - 1, column - 1), axis=(0, 1)) for row, column in np.argwhere(mask))


def _soften(grey: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        padded = np.pad(grey, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        grey = (
            padded.take(range(padded.shape[axis] - 2), axis)
            + 2 * grey
            + padded.take(range(2, padded.shape[axis]), axis)
        ) / 4
    return grey


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Low-frequency shading in [0, 1], float32 (size, size): a sum of three slow cosine waves."""
    y, x = np.mgrid[:size, :size] / size
    waves = sum(np.cos(2 * np.pi * (u * x + v * y) + p) for u, v, p in rng.uniform(-1.2, 1.2, (3, 3)) * [1, 1, 2.6])
    return ((waves - waves.min()) / max(np.ptp(waves), 1e-6)).astype(np.float32)


def _to_uint8(grey: np.ndarray) -> np.ndarray:
    return np.round(grey * (255 / max(grey.max(), 1e-6))).astype(np.uint8)
