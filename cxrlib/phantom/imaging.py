"""From path lengths to a display image: attenuation, scatter, quantum noise, display curve, and the look of each source."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cxrlib.phantom.patient import Frame, View, smoothstep
from cxrlib.phantom.skeleton import Canvas

# Effective linear attenuation (1/cm) near 65 keV: water-like tissue, inflated lung, and bone beyond the tissue it replaces.
SOFT, LUNG, BONE = 0.19, 0.052, 0.27
FLATTEN = 0.42  # share of the wide background that digital systems take out
LEAD = 2.2  # attenuation of a side marker
BILINEAR = Image.Resampling.BILINEAR
SOURCES = ("phantom-a", "phantom-b")


@dataclass(frozen=True)
class Style:
    """Acquisition style of one source. Lengths in cm; `texture` is a JPEG quality, 0 for none."""

    source: str
    gamma: float
    contrast: float
    sharpen: float
    blur: float
    noise: float
    border: float
    marker: str
    texture: int


def sample_style(source: str, rng: np.random.Generator) -> Style:
    """Styles vary inside a source, so that the source is a tendency and not a stamp."""
    if source == SOURCES[0]:  # a fixed room: soft curve, little noise, wide open collimator, plain letter
        return Style(source, rng.normal(0.98, 0.05), rng.normal(1.0, 0.07), rng.uniform(0.35, 0.7), rng.uniform(0.04, 0.07),
                     rng.uniform(0.8, 1.2), 0.0, "letter", 0)
    if source == SOURCES[1]:  # mobile unit, exported pictures: hard curve, more noise, collimated, boxed letter, compressed
        return Style(source, rng.normal(1.17, 0.06), rng.normal(1.16, 0.07), rng.uniform(0.8, 1.4), rng.uniform(0.07, 0.11),
                     rng.uniform(1.3, 1.8), float(rng.uniform(0.2, 1.0)), "box", int(rng.integers(45, 75)))
    raise ValueError(f"unknown source {source!r}: choose one of {', '.join(SOURCES)}")


def resized(image: np.ndarray, size: int, method=Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image, np.float32)).resize((size, size), method))


def wide_blur(image: np.ndarray, sigma_pixels: float) -> np.ndarray:
    """Gaussian blur of a large radius, done on a coarse grid."""
    from scipy.ndimage import gaussian_filter

    size = image.shape[0]
    step = max(1, int(sigma_pixels / 2.5))
    coarse = max(8, size // step)
    small = resized(image, coarse, Image.Resampling.BOX)
    return resized(gaussian_filter(small, sigma_pixels * coarse / size, mode="nearest", truncate=3), size, BILINEAR)


def cloud(rng: np.random.Generator, size: int, grains=(4, 8, 16, 32), fall: float = 0.62) -> np.ndarray:
    """Smooth random field of unit variance: octaves of noise, coarsest first (grains: cells across the image)."""
    total, weight, power = np.zeros((1, 1), np.float32), 1.0, 0.0
    for grain in grains:
        if grain < 32:  # smoothed noise on a finer grid: blobs without a preference for the axes
            cells, scale = 2 * grain + 6, 2.67
            noise = rng.standard_normal((cells + 2, cells + 2), np.float32)
            noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
            noise = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / 16
        else:
            cells, scale = grain + 3, 1.3
            noise = rng.standard_normal((cells, cells), np.float32)
        total = resized(total, cells) + np.float32(weight * scale) * noise
        power, weight = power + weight**2, weight * fall
    return resized(total, size) / np.float32(np.sqrt(power))


_GLYPHS = {
    "R": [[(0, 1), (0, 0), (0.55, 0), (0.7, 0.22), (0.55, 0.48), (0, 0.48)], [(0.3, 0.48), (0.72, 1)]],
    "L": [[(0, 0), (0, 1), (0.62, 1)]],
}


def side_marker(frame: Frame, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Lead letter beside the patient's shoulder: L on the image's right or R on its left. Map in [0, 1]."""
    canvas = Canvas(frame, 1.0)
    left = rng.random() < 0.6
    height, turn = rng.uniform(1.0, 1.6), rng.normal(0, 0.12)
    half = frame.cm * frame.size / 2
    corner = np.array([(1 if left else -1) * rng.uniform(0.74, 0.86) * half, rng.uniform(-0.88, -0.6) * half])
    corner = corner + np.asarray(frame.centre)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for stroke in _GLYPHS["L" if left else "R"]:
        canvas.line(corner + (np.array(stroke) * height) @ rotation, 0.26 * height / 1.3, 1.0)
    if style.marker == "box":
        box = np.array([(-0.4, -0.35), (1.05, -0.35), (1.05, 1.35), (-0.4, 1.35), (-0.4, -0.35)])
        canvas.line(corner + (box * height) @ rotation, 0.14, 1.0)
    return canvas.map()


def collimator(frame: Frame, style: Style, rng: np.random.Generator) -> np.ndarray | None:
    """Shaded border of a beam narrower than the detector; map in [0, 1], 1 inside the beam."""
    edges = rng.uniform(-0.6, 1.0, 4) * style.border * 1.6  # cm hidden on each side; negative: none
    if style.border == 0 or (edges <= 0).all():
        return None
    line = (np.arange(frame.size, dtype=np.float32) + 0.5) * np.float32(frame.cm)
    full = frame.size * frame.cm
    column = smoothstep(line, edges[0] - 0.1, edges[0] + 0.1) * smoothstep(full - line, edges[1] - 0.1, edges[1] + 0.1)
    row = smoothstep(line, edges[2] - 0.1, edges[2] + 0.1) * smoothstep(full - line, edges[3] - 0.1, edges[3] + 0.1)
    return (row[:, None] * column[None, :]).astype(np.float32)


def expose(
    healthy: np.ndarray, extra: np.ndarray, view: View, style: Style, frame: Frame, rng: np.random.Generator
) -> np.ndarray:
    """Attenuation maps (size, size), unitless, to an 8-bit image of the same shape.

    `extra` is what the finding adds. The display window is taken from `healthy` alone: it is set by the technique,
    not by the disease, so brightness outside the lungs tells nothing about the label.
    """
    from scipy.ndimage import gaussian_filter

    marker = LEAD * side_marker(frame, style, rng)
    gate = collimator(frame, style, rng)
    scatter_sigma = 3.5 / frame.cm
    primary = np.exp(-(healthy + extra + marker))
    beam = primary if gate is None else primary * gate
    spread = wide_blur(np.minimum(beam, 0.6), scatter_sigma)
    reached = beam + np.float32(view.scatter) * spread
    per_pixel = view.photons * (256 * frame.cm * frame.size / (34.0 * frame.size)) ** 2 / style.noise**2
    noisy = reached + np.sqrt(reached / np.float32(per_pixel)) * rng.standard_normal(reached.shape, np.float32)
    density = -np.log(np.maximum(noisy, 0.004))
    sigma = style.blur / frame.cm
    if sigma > 0.4:
        density = gaussian_filter(density, sigma, truncate=2.5)
    local = gaussian_filter(density, 0.22 / frame.cm, truncate=2.5)
    density = density + np.float32(style.sharpen) * (density - local)
    # A part of the wide background is taken out, as digital systems do: lungs and mediastinum fit one window.
    density = density - np.float32(FLATTEN) * (wide_blur(density, 2.6 / frame.cm) - 2.4)

    # The same chain on a coarse copy of the healthy chest gives the window.
    clean = np.exp(-resized(healthy, 64, Image.Resampling.BOX))
    coarse = frame.cm * frame.size / 64
    reference = -np.log(clean + np.float32(view.scatter) * wide_blur(np.minimum(clean, 0.6), 3.5 / coarse))
    reference -= np.float32(FLATTEN) * (wide_blur(reference, 2.6 / coarse) - 2.4)
    middle = reference[8:-8, 8:-8]
    low, high = np.percentile(middle, [3, 99])
    span = (high - low) / style.contrast
    low, high = low - (0.17 + view.window_low) * span, low + (1.06 + view.window_high) * span
    # The display curve as a table: a power with a soft shoulder instead of burnt-out white.
    levels = np.linspace(0, 1.5, 3001)
    table = (255 * np.clip(levels / (1 + levels**6) ** (1 / 6), 0, 1) ** style.gamma).astype(np.float32)
    grey = np.take(table, ((density - low) * (2000 / (high - low))).astype(np.intp), mode="clip")
    if gate is not None:
        grey = grey * (0.04 + 0.96 * gate)
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return recompressed(image, style.texture) if style.texture else image


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The block texture that a lossy export leaves in a picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("L"))
