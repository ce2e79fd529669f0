"""What a phantom shows: COVID-like opacities, lobar pneumonia, pleural effusion, and harmless variants.

An opacity is a map in [0, 1]: the share of the lung along the beam whose air is replaced by fluid or cells. COVID-like disease
is mostly bilateral, peripheral and in the lower zones (Wong et al. 2020, Radiology 296:E72); its severity is scored as there,
0 to 4 for each lung by the extent involved, 0 to 8 together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxrlib.phantom.anatomy import Thorax
from cxrlib.phantom.imaging import BILINEAR, cloud, resized
from cxrlib.phantom.patient import smoothstep

FINDINGS = {"positive": ("COVID-19",), "negative": ("no finding", "lobar pneumonia", "pleural effusion")}

# Shares of the four strata among all images with a finding, whatever their label.
DEFAULT_STRATA = {"faint": 0.09, "mild": 0.21, "moderate": 0.40, "severe": 0.30}
# stratum: (extent as a share of the lung, density as a share of the path), both from - to
RANGES = {
    "faint": ((0.14, 0.36), (0.08, 0.17)),
    "mild": ((0.32, 0.54), (0.26, 0.40)),
    "moderate": ((0.44, 0.70), (0.38, 0.58)),
    "severe": ((0.54, 0.90), (0.48, 0.82)),
}
LOBES = {"right upper": -1, "right middle": -1, "right lower": -1, "left upper": 1, "left lower": 1}


@dataclass(frozen=True)
class Finding:
    """One drawn finding: `extent` is the wished share of each lung (right, left), `density` the share of the path."""

    label: str
    name: str
    stratum: str
    extent: tuple[float, float]
    density: float
    place: str


def sample_finding(name: str, rng: np.random.Generator, strata: dict[str, float], stratum: str | None = None) -> Finding:
    """Draw extent, density and place of the named finding. `strata`: share of each stratum, summing to 1."""
    label = "positive" if name in FINDINGS["positive"] else "negative"
    drawn = str(rng.choice(list(RANGES), p=[strata[key] for key in RANGES]))
    if name == "no finding":
        return Finding(label, name, "none", (0.0, 0.0), 0.0, "")
    stratum = stratum or drawn
    (low, high), dense = RANGES[stratum]
    extent, density = float(rng.uniform(low, high)), float(rng.uniform(*dense))
    if name == "COVID-19":
        weaker = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.92 else 0.0  # 0: one lung only
        sides = (extent, extent * weaker) if rng.random() < 0.55 else (extent * weaker, extent)
        place = "peripheral" if rng.random() < 0.85 else "diffuse"
        return Finding(label, name, stratum, sides, density, place)
    if name == "lobar pneumonia":
        if rng.random() < 0.08:  # several patches in both lungs, the closest look-alike
            return Finding(label, name, stratum, (extent * 0.6, extent * float(rng.uniform(0.2, 0.6))), density, "patchy")
        lobe = str(rng.choice(list(LOBES)))
        extent *= 0.48  # a lobe is a part of a lung
        return Finding(label, name, stratum, (extent, 0.0) if LOBES[lobe] < 0 else (0.0, extent), density, lobe)
    if name == "pleural effusion":
        extent *= 0.75
        other = float(rng.uniform(0.4, 1)) if rng.random() < 0.3 else 0.0
        sides = (extent, extent * other) if rng.random() < 0.55 else (extent * other, extent)
        return Finding(label, name, stratum, sides, min(1.2, 0.35 + 1.5 * density), "")
    known = [one for group in FINDINGS.values() for one in group]
    raise ValueError(f"unknown finding {name!r}: choose one of {', '.join(known)}")


def _lobe(place: str, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Preference map of a lobe, seen from the front."""
    if place.endswith("upper"):
        border = 0.5 if place.startswith("right") else 0.62
        return 2.2 * smoothstep(along, border + 0.02, border - 0.03) + 0.5 * along
    if place == "right middle":
        return 2.0 * smoothstep(along, 0.46, 0.50) * smoothstep(along, 0.95, 0.75) + 1.0 * (1 - across)
    return 1.6 * smoothstep(along, 0.42, 0.75) + 0.4 * (1 - np.abs(2 * across - 1))


def opacity(thorax: Thorax, finding: Finding, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Opacity in [0, 1] and the mask of where it lies inside the lungs, both (size, size)."""
    size = thorax.frame.size
    mask = np.zeros((size, size), bool)
    if finding.name == "no finding":
        return np.zeros((size, size), np.float32), mask
    if finding.name == "pleural effusion":
        return _effusion(thorax, finding, rng)
    # Opacities are smooth: the field is computed on every second pixel.
    step = 2 if size >= 128 else 1
    coarse = np.s_[::step, ::step]
    across, along, floor = thorax.across[coarse], thorax.along[coarse], thorax.above_floor[coarse]
    side_map, lungs = thorax.side[coarse], thorax.lung_mask[coarse]
    share = np.zeros(along.shape, np.float32)
    patches, grain = cloud(rng, len(along), (4, 8, 16), 0.5), cloud(rng, len(along), (16, 32, 64))
    peripheral, lower = rng.uniform(1.6, 3.0), rng.uniform(1.0, 2.4)
    soft = rng.uniform(0.35, 0.8) if finding.name == "COVID-19" else rng.uniform(0.2, 0.7)
    if finding.place == "peripheral":
        field = 0.85 * patches + lower * smoothstep(along, 0.2, 0.85)
        field += peripheral * np.maximum(across * across, 0.8 * smoothstep(floor, 7.0, 0.5))
    elif finding.place == "diffuse":
        field = 1.2 * patches + 0.8 * smoothstep(along, 0.2, 0.85)
    elif finding.place == "patchy":
        field = 1.2 * patches + 0.9 * (1 - across) + 0.6 * along
    else:
        field = 0.5 * patches + _lobe(finding.place, along + 0.05 * patches + 0.1 * (across - 0.5), across)
    for side, extent in ((-1, finding.extent[0]), (1, finding.extent[1])):
        half = side_map == side
        values = field[lungs & half]
        if extent <= 0 or not values.size:
            continue
        edge, core = np.quantile(values[:: max(1, values.size // 2000)], [1 - extent, 1 - 0.35 * extent]).tolist()
        fill = smoothstep(field, edge - soft, edge + soft)
        if finding.stratum in ("moderate", "severe"):  # ground glass around a consolidated core
            fill *= 0.72 + 0.75 * smoothstep(field, core - 0.3, core + 0.5)
        share += half * fill
        mask |= thorax.lung_mask & (thorax.side == side) & (resized(field - edge, size) > 0)
    share *= np.float32(finding.density) * np.maximum(1 + 0.17 * grain, 0.4)
    return resized(np.minimum(share, 0.95), size, BILINEAR), mask


def _effusion(thorax: Thorax, finding: Finding, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fluid: a meniscus that climbs the chest wall when upright, a veil over the lower lung when lying."""
    share, mask = np.zeros_like(thorax.lung), np.zeros(thorax.lung.shape, bool)
    ripple = cloud(rng, thorax.frame.size, (4, 8))
    for side, extent in ((-1, finding.extent[0]), (1, finding.extent[1])):
        if extent <= 0:
            continue
        half, height = thorax.side == side, 1.2 + 15.0 * extent
        if thorax.supine:
            fill = 0.75 * finding.density * smoothstep(thorax.along, 0.95 - 1.1 * extent - 0.3, 1.0)
            seen = fill > 0.15 * finding.density
        else:
            top = thorax.base - height * (0.55 + 0.45 * thorax.across**3) + 0.25 * ripple
            depth = thorax.frame.y - top
            fill = finding.density * smoothstep(depth, -0.5, 2.4)
            seen = depth > 0.3
        share += np.where(half, fill, 0).astype(np.float32)
        mask |= half & seen & thorax.lung_mask
    return np.clip(share, 0, 0.97), mask


def variants(thorax: Thorax, rng: np.random.Generator) -> np.ndarray:
    """Opacity of harmless variants, drawn the same way for every label: haze of a shallow breath, plate-like bands, a granuloma."""
    share = np.zeros_like(thorax.lung)
    haze = rng.gamma(1.2, 0.012)
    base = smoothstep(thorax.along, rng.uniform(0.1, 0.5), 1.0)
    share += np.float32(haze) * base * np.clip(1 + 0.5 * cloud(rng, thorax.frame.size, (3, 6, 12)), 0, 2.5)
    if rng.random() < 0.10:  # congestion around the hila
        middle = np.exp(-(((thorax.across - 0.2) / 0.3) ** 2 + ((thorax.along - 0.55) / 0.25) ** 2))
        share += np.float32(rng.uniform(0.03, 0.10)) * middle
    x, y = thorax.frame.x, thorax.frame.y
    for _ in range(int(rng.random() < 0.22) + int(rng.random() < 0.08)):
        side = -1 if rng.random() < 0.5 else 1
        cx, cy = side * rng.uniform(5, 10), thorax.dome[side] - rng.uniform(0.8, 4.0)
        turn, long = rng.normal(0, 0.25), rng.uniform(1.2, 3.0)
        box = thorax.frame.box(cx - 5, cx + 5, cy - 3, cy + 3)
        if box is not None:
            dx, dy = x[box] - cx, y[box] - cy
            share[box] += np.float32(rng.uniform(0.08, 0.25)) * np.exp(-((dx / long) ** 4) - ((dy - turn * dx) / 0.22) ** 2)
    if rng.random() < 0.08:
        cx, cy, radius = rng.uniform(-10, 10), rng.uniform(7, 22), rng.uniform(0.2, 0.45)
        box = thorax.frame.box(cx - 2, cx + 2, cy - 2, cy + 2)
        if box is not None:
            share[box] += np.float32(0.35) * np.exp(-((x[box] - cx) ** 2 + (y[box] - cy) ** 2) / radius**2)
    return share


def wong_score(opacities: np.ndarray, lungs: np.ndarray, side: np.ndarray) -> tuple[int, float, float]:
    """Severity 0 to 8 and the involved share of the right and the left lung, from (size, size) masks."""
    shares, score = [], 0
    for one in (-1, 1):
        here = lungs & (side == one)
        share = float((opacities & here).sum() / max(1, here.sum()))
        shares.append(share)
        score += 0 if share == 0 else 1 + min(3, int(share / 0.25))
    return score, shares[0], shares[1]
