"""Patient, view and pixel grid of one chest phantom: everything that is drawn at random before any pixel is computed.

Coordinates are centimetres in the detector plane: x grows to the right of the image (the patient's left), y downwards.
The numbers are those of a schematic adult thorax, chosen by eye; nothing is taken from any patient's image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIELD_CM = 33.0  # side of the square field of view before zoom


@dataclass(frozen=True)
class Anatomy:
    """What stays the same over all images of one patient. Lengths in cm, shapes relative to 1."""

    sex: str
    age: int
    habitus: float  # -1 slim ... +1 heavy
    lung_width: float
    lung_height: float
    heart: float
    breast: float  # thickness at its thickest point
    bone: float
    scoliosis: float
    aorta: float
    dome_difference: float
    rib_pitch: float
    rib_tilt: float
    vessel_weight: float
    texture_seed: int  # vessel tree and bowel gas are the patient's own


@dataclass(frozen=True)
class View:
    """How one image was taken. `yaw` (degrees) turns the patient, `tilt` (degrees) the detector."""

    projection: str
    yaw: float
    tilt: float
    zoom: float
    shift_x: float
    shift_y: float
    inspiration: float  # 0 poor ... 1 full
    photons: float  # per pixel of a 256-pixel detector, unattenuated
    scatter: float
    window_low: float
    window_high: float
    devices: bool


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    sex = "F" if rng.random() < 0.5 else "M"
    age = int(rng.integers(22, 90))
    habitus = float(np.clip(rng.normal(0.1, 0.45), -1, 1))
    small = 0.94 if sex == "F" else 1.0
    return Anatomy(
        sex=sex,
        age=age,
        habitus=habitus,
        lung_width=float(small * rng.normal(12.7, 0.45)),
        lung_height=float(small * rng.normal(27.0, 1.1)),
        heart=float(np.clip(rng.normal(0.97 + 0.0016 * (age - 50), 0.075), 0.8, 1.25)),
        breast=float(rng.uniform(0.6, 3.2) * (1 + 0.35 * habitus)) if sex == "F" else float(rng.uniform(0, 0.3)),
        bone=float(np.clip(rng.normal(1.12 - 0.004 * (age - 40), 0.12), 0.65, 1.4)),
        scoliosis=float(rng.normal(0, 0.35)),
        aorta=float(np.clip(rng.normal(0.9 + 0.005 * (age - 40), 0.12), 0.7, 1.4)),
        dome_difference=float(rng.normal(1.1, 0.45)),
        rib_pitch=float(rng.normal(2.32, 0.08)),
        rib_tilt=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3)),
        vessel_weight=float(np.clip(rng.normal(1.0, 0.18), 0.6, 1.5)),
        texture_seed=int(rng.integers(2**31)),
    )


def sample_view(rng: np.random.Generator, projection: str | None = None) -> View:
    """Projection is AP for 40 in 100 images. It never depends on the label (only `source_confounding` ties looks to it)."""
    drawn = "AP" if rng.random() < 0.4 else "PA"
    projection = projection or drawn
    supine = projection == "AP"
    return View(
        projection=projection,
        yaw=float(rng.normal(0, 4.0 if supine else 2.0)),
        tilt=float(rng.normal(0, 2.0 if supine else 0.8)),
        zoom=float(np.clip(rng.normal(1.0, 0.05), 0.9, 1.14)),
        shift_x=float(rng.normal(0, 0.9 if supine else 0.5)),
        shift_y=float(rng.normal(0.0, 0.9)),
        inspiration=float(np.clip(rng.normal(0.42 if supine else 0.82, 0.2), 0, 1)),
        photons=float(np.exp(rng.normal(np.log(9e4), 0.5))),
        scatter=float(np.clip(rng.normal(0.34 if supine else 0.17, 0.06), 0.06, 0.5)),
        window_low=float(rng.normal(0, 0.04)),
        window_high=float(rng.normal(0, 0.04)),
        devices=bool(rng.random() < (0.35 if supine else 0.03)),
    )


class Frame:
    """Pixel grid of a view. `x`, `y`: cm maps (size, size), float32; `to_pixels` is the inverse for drawn shapes."""

    def __init__(self, view: View, size: int):
        self.size = size
        self.cm = FIELD_CM / view.zoom / size  # cm per pixel
        line = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32) * np.float32(FIELD_CM / view.zoom)
        angle = np.radians(view.tilt)
        self.cos, self.sin = float(np.cos(angle)), float(np.sin(angle))
        self.centre = (view.shift_x, FIELD_CM / 2 + view.shift_y)
        self.x = self.cos * line[None, :] + self.sin * line[:, None] + np.float32(self.centre[0])
        self.y = -self.sin * line[None, :] + self.cos * line[:, None] + np.float32(self.centre[1])
        self._heights = np.arange(-12, 52, 1 / 32, dtype=np.float32)
        self._row = np.clip((self.y + 12) * 32, 0, len(self._heights) - 1).astype(np.intp)

    def of_y(self, function: Callable[[np.ndarray], np.ndarray], box=...) -> np.ndarray:
        """Map (size, size), or its part `box`, of a function of y alone, from a table in steps of 1/32 cm."""
        return np.take(np.asarray(function(self._heights), np.float32), self._row[box], mode="clip")

    def box(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice] | None:
        """Index of the pixels around a rectangle given in cm; None if it lies outside the image."""
        left, right, top, bottom = left - self.centre[0], right - self.centre[0], top - self.centre[1], bottom - self.centre[1]
        across = sorted((-self.sin * top, -self.sin * bottom)), sorted((self.sin * left, self.sin * right))
        half, scale, size = self.size / 2, 1 / self.cm, self.size
        c0 = max(0, math.floor((self.cos * left + across[0][0]) * scale + half))
        c1 = min(size, math.ceil((self.cos * right + across[0][1]) * scale + half) + 1)
        r0 = max(0, math.floor((self.cos * top + across[1][0]) * scale + half))
        r1 = min(size, math.ceil((self.cos * bottom + across[1][1]) * scale + half) + 1)
        return (slice(r0, r1), slice(c0, c1)) if r1 > r0 and c1 > c0 else None

    def to_pixels(self, points: np.ndarray, scale: int = 1) -> np.ndarray:
        """Points (..., 2) in cm to (column, row) on a canvas `scale` times finer."""
        dx, dy = points[..., 0] - self.centre[0], points[..., 1] - self.centre[1]
        column = (self.cos * dx - self.sin * dy) / self.cm + self.size / 2
        row = (self.sin * dx + self.cos * dy) / self.cm + self.size / 2
        return np.stack([column, row], -1) * scale


def smoothstep(value, low: float, high: float):
    """0 below `low`, 1 above `high`, smooth in between (low > high turns it round)."""
    t = np.minimum(np.maximum((value - low) * (1 / (high - low)), 0), 1)
    return t * t * (3 - 2 * t)


def half_circle(q):
    """sqrt(1 - q), 0 where q > 1: relative path length through an ellipsoid."""
    return np.sqrt(np.maximum(1 - q, 0))
