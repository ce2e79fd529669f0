"""Bones, pulmonary vessels and devices of one chest phantom: path lengths in cm on the pixel grid of a `Frame`."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from cxrlib.phantom.anatomy import Thorax
from cxrlib.phantom.patient import Frame, half_circle, smoothstep


class Canvas:
    """An 8-bit drawing at twice the resolution whose grey level stands for cm (`full` cm at 255)."""

    def __init__(self, frame: Frame, full: float):
        self.frame, self.full = frame, full
        self.image = Image.new("L", (2 * frame.size, 2 * frame.size))
        self.pen = ImageDraw.Draw(self.image)

    def level(self, thickness: float) -> int:
        return int(np.clip(round(255 * thickness / self.full), 1, 255))

    def line(self, points, width_cm: float, thickness: float) -> None:
        pixels = self.frame.to_pixels(np.asarray(points, float), 2)
        width = max(1, round(2 * width_cm / self.frame.cm))
        self.pen.line(pixels.ravel().tolist(), fill=self.level(thickness), width=width)

    def polygon(self, points, thickness: float) -> None:
        pixels = self.frame.to_pixels(np.asarray(points, float), 2)
        self.pen.polygon(pixels.ravel().tolist(), fill=self.level(thickness))

    def map(self, blur_cm: float = 0.0) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        grey = np.asarray(self.image.reduce(2), np.float32) * (self.full / 255)
        sigma = blur_cm / self.frame.cm
        return gaussian_filter(grey, sigma, truncate=2.5) if sigma > 0.6 else grey


def curve(points, count: int = 24) -> np.ndarray:
    """A smooth curve through control points (n, 2): quadratic or higher Bezier."""
    points = np.asarray(points, float)
    t, n = np.linspace(0, 1, count)[:, None], len(points) - 1
    return sum(math.comb(n, k) * t**k * (1 - t) ** (n - k) * points[k] for k in range(n + 1))


def _shell(d, half):
    """Relative path length through a tube with a dense wall; d is the distance to the axis in units of `half`."""
    square = np.square(d * (1 / half))
    outer, inner = half_circle(square), half_circle(square * (1 / 0.74**2))
    return outer - 0.56 * inner


def ribs(thorax: Thorax) -> np.ndarray:
    """Ribs 1 to 10: each projects to a ring, its upper half the posterior arc, its lower half the anterior one."""
    anatomy, view, frame = thorax.anatomy, thorax.view, thorax.frame
    rng = np.random.default_rng(anatomy.texture_seed + 1)
    bone = np.zeros_like(frame.x)
    lateral_front = np.abs(frame.x - thorax.spine_x - np.float32(0.8 * thorax.front))  # anterior ends turn with the sternum
    flat = anatomy.rib_tilt * (0.9 if thorax.supine else 1.0)  # the beam's angle flattens the ribs of an AP view
    for number in range(10):
        start = thorax.apex - 0.1 + anatomy.rib_pitch * number * (0.93 + 0.07 * view.inspiration)
        back = _at(number, [0, 1, 3, 6, 9], [2.1, 3.0, 4.4, 5.6, 6.0]) * flat
        front = _at(number, [0, 1, 3, 6, 9], [1.9, 3.6, 5.6, 6.2, 5.0]) * flat
        reach = float(thorax.lateral_edge(start + back)) + 0.25
        half = _at(number, [0, 1, 9], [0.72, 0.6, 0.62]) * rng.uniform(0.94, 1.06)
        junction = _at(number, [0, 1, 5, 9], [3.4, 4.2, 6.0, 9.5])
        middle = start + back + rng.normal(0, 0.12)
        _arc(bone, frame, thorax.lateral, middle, reach, back, half, None)
        if number < 9:
            _arc(bone, frame, lateral_front, middle, reach, front, 1.08 * half, junction)
    return bone * anatomy.bone


def _arc(bone, frame, lateral, middle, reach, tall, half, junction) -> None:
    """Add half an ellipse: the posterior arcs above `middle`, or the anterior ones below it, out from `junction`.

    `lateral`: distance of each pixel from the midline, so both sides are drawn at once.
    """
    posterior = junction is None
    box = frame.box(-reach - 2.5, reach + 2.5, *((middle - tall - 1.2, middle) if posterior else (middle, middle + tall + 1)))
    if box is None:
        return
    y, lateral = (middle - frame.y[box] if posterior else frame.y[box] - middle), lateral[box]
    a, b = lateral * (1 / reach), y * (1 / tall)
    if posterior:  # a slight rise beside the spine, as the neck of a rib has it
        b += 0.45 * a * np.square(1 - np.minimum(a, 1))
    square = a * a + b * b
    near = np.flatnonzero((np.abs(square - 1) < 2.3 * half / tall + 0.1) & (y >= 0) & (lateral > 0.4))
    a, b, lateral = a.ravel()[near], b.ravel()[near], lateral.ravel()[near]
    radius = np.sqrt(square.ravel()[near])
    distance = (radius - 1) * radius / np.sqrt(np.square(a * (1 / reach)) + np.square(b * (1 / tall)))
    steep = 0.95 / np.sqrt(np.minimum(b, 1) ** 2 + 0.14)  # the beam runs along the rib at the lateral edge
    weight = smoothstep(lateral, 0.4, 1.7) if posterior else 0.74 * smoothstep(lateral, junction - 0.7, junction + 1.3)
    patch = np.zeros(square.size, np.float32)
    patch[near] = _shell(distance, half) * weight * steep
    bone[box] += patch.reshape(square.shape)


def _at(number: int, numbers: list, values: list) -> float:
    return float(np.interp(number, numbers, values))


def spine(thorax: Thorax) -> np.ndarray:
    """Vertebral bodies with dense end plates, pedicles and spinous processes."""
    frame, anatomy = thorax.frame, thorax.anatomy
    bone = np.zeros_like(frame.x)
    box = frame.box(-4.5, 4.5, -8, 46)
    x, y = np.abs(frame.x[box] - thorax.spine_x[box]), frame.y[box]
    phase = (y - thorax.apex) / (anatomy.rib_pitch * (1 + 0.012 * (y - 10)))
    place = phase - np.floor(phase)  # 0 at the top of a vertebra, 1 at the top of the next one
    half = 1.45 + 0.02 * (y - 6) - 0.6 * place * (1 - place)
    body = half_circle(((x / half) ** 2) ** 2)
    plate = np.exp(-(((place - 0.07) / 0.06) ** 2)) + np.exp(-(((place - 0.80) / 0.06) ** 2))
    disc = smoothstep(np.abs(place - 0.94), 0.03, 0.10)
    shaft = body * (1.0 + 0.4 * plate) * (0.55 + 0.45 * disc)
    pedicle = np.exp(-(((x - 0.95) / 0.33) ** 2 + ((place - 0.34) * 5.5) ** 2))
    spinous = np.exp(-((x / 0.3) ** 2 + ((place - 0.68) * 3.8) ** 2))
    process = np.exp(-(((place - 0.36) * 5.5) ** 2)) * smoothstep(x, 3.3, 2.3)
    bone[box] = (0.55 * shaft + 0.45 * pedicle + 0.6 * spinous + 0.3 * process) * anatomy.bone
    return bone


def shoulder_girdle(thorax: Thorax) -> np.ndarray:
    """Clavicles, scapulae (inside the lung fields in AP views) and humeral heads."""
    frame, anatomy = thorax.frame, thorax.anatomy
    rng = np.random.default_rng(anatomy.texture_seed + 2)
    bone = np.zeros_like(frame.x)
    blade = Canvas(frame, 2.0)
    medial_height, rise = (6.6, 1.7) if thorax.supine else (7.6, 2.1)
    for side in (-1, 1):
        rise_here, drop = rise + rng.normal(0, 0.25), rng.normal(0, 0.3)
        start = 1.5 + side * thorax.front
        box = frame.box(*sorted((side * (start - 1), side * 16.5)), medial_height - 5, medial_height + 3)
        if box is not None:
            x, y = side * frame.x[box], frame.y[box]
            t = np.clip((x - start) / (15.6 - start), 0, 1)
            course = medial_height - rise_here * t + 0.85 * np.sin(5.78 * t) * (0.6 + 0.4 * t)
            slope = (-rise_here + 3.9 * np.cos(5.78 * t)) / 14.0
            half = 0.5 + 0.36 * np.exp(-t / 0.07) + 0.22 * t * t
            ends = smoothstep(x, start - 0.3, start + 0.25) * smoothstep(x, 15.9, 15.2)
            bone[box] += 1.5 * _shell((y - course) / np.sqrt(1 + slope * slope), half) * ends
        # Scapula: thin blade, dense borders. Rolled away from the lungs in a PA view.
        away = 0.0 if thorax.supine else 3.3
        top, tip = np.array([9.2 + away, 5.9 + drop]), np.array([11.6 + away * 0.95, 18.6 + drop])
        socket, neck = np.array([15.4 + away * 0.3, 8.4 + drop]), np.array([14.4 + away * 0.5, 10.6 + drop])
        flip = np.array([side, 1.0])
        medial = curve([top, (top + tip) / 2 + [-0.9, 0.3], tip]) * flip
        outer = curve([tip, (tip + neck) / 2 + [0.3, 0.5], neck, socket]) * flip
        upper = curve([socket, (socket + top) / 2 + [0, -0.9], top]) * flip
        blade.polygon(np.concatenate([medial, outer, upper]), 0.3)
        blade.line(medial, 0.3, 0.6)
        blade.line(outer, 0.75, 0.9)
        blade.line(curve([top + [0.6, 1.9], (top + socket) / 2 + [0, 0.2], socket + [1.4, -3.0]]) * flip, 0.7, 0.8)
        coracoid = curve([socket + [-0.6, -0.6], socket + [-1.9, -1.6], socket + [-1.4, -0.2]]) * flip
        blade.line(coracoid, 0.9, 0.75)
        head = socket + [2.5, 0.3]
        box = frame.box(*sorted((side * (head[0] - 2.6), side * (head[0] + 9))), head[1] - 2.6, head[1] + 14)
        if box is not None:
            x, y = side * frame.x[box], frame.y[box]
            ball = half_circle(((x - float(head[0])) ** 2 + (y - float(head[1])) ** 2) / 2.35**2)
            along = x - float(head[0] + 0.8) - 0.1 * (y - float(head[1]))
            bone[box] += 1.6 * ball + 2.2 * _shell(along, 1.25) * smoothstep(y, float(head[1]), float(head[1]) + 2.0)
    return (bone + blade.map(0.13)) * anatomy.bone


def vessels(thorax: Thorax) -> np.ndarray:
    """Arteries and veins that branch from the hila to the periphery; path length in cm."""
    anatomy, frame = thorax.anatomy, thorax.frame
    rng = np.random.default_rng(anatomy.texture_seed + 3)
    lift = 0.5 * thorax.lift
    branches, thickness = [], []
    for side in (-1, 1):
        hilum = np.array([side * 3.1 + 0.5 * thorax.front, (15.9 if side == -1 else 15.0) + lift])
        # Angles: 0 points laterally, positive downwards; the lower zones get the larger vessels.
        aims = np.radians([-78, -58, -36, -16, 2, 20, 36, 52, 66, 80]) + rng.normal(0, 0.10, 10)
        widths = np.array([0.42, 0.4, 0.34, 0.3, 0.34, 0.42, 0.52, 0.62, 0.66, 0.5]) * rng.uniform(0.85, 1.15, 10)
        place = hilum + np.stack([side * rng.uniform(-0.2, 0.8, 10), 1.1 * np.sin(aims) + rng.normal(0, 0.3, 10)], 1)
        aim, width, length = aims, widths, np.full(10, 2.9)
        for _ in range(6):
            course = [place]
            for _ in range(3):
                aim = aim + rng.normal(0, 0.13, len(aim))
                place = place + (length / 3)[:, None] * np.stack([side * np.cos(aim), np.sin(aim)], 1)
                course.append(place)
            branches.append(np.stack(course, 1))
            thickness.append(width)
            width = width * 0.87
            spread = rng.uniform(0.18, 0.62, len(aim))
            major = np.where(rng.random(len(aim)) < 0.5, 1, -1)
            aim = np.concatenate([aim + 0.45 * spread * major, aim - 1.1 * spread * major])
            place = np.concatenate([place, place])
            width = np.concatenate([width * 0.82, width * 0.62])
            length = np.concatenate([length * 0.92, length * 0.78]) * rng.uniform(0.8, 1.2, len(aim))
            inside = side * place[:, 0] < thorax.lateral_edge(place[:, 1])
            keep = (width > 0.065) & inside & (place[:, 1] > thorax.apex) & (place[:, 1] < thorax.base)
            aim, place, width, length = aim[keep], place[keep], width[keep], length[keep]
    widths = np.concatenate(thickness)
    order = np.argsort(widths, kind="stable")  # large vessels are drawn over small ones
    widths, lines = widths[order], frame.to_pixels(np.concatenate(branches)[order], 2).reshape(len(order), 8)
    canvas, pixel = Canvas(frame, 2.4), frame.cm / 2
    # A vessel thinner than a pixel keeps its width and loses thickness, so the image does not depend on size.
    levels = np.clip(255 / 2.4 * 3.4 * widths * np.minimum(1, widths / pixel), 1, 255).astype(int).tolist()
    pens = np.maximum(1, np.rint(widths / pixel)).astype(int).tolist()
    for line, level, pen in zip(lines.tolist(), levels, pens):
        canvas.pen.line(line, fill=level, width=pen)
    drawn = canvas.map(0.08)
    for side in (-1, 1):
        hx, hy = side * 3.3 + 0.5 * thorax.front, (16.4 if side == -1 else 15.3) + lift
        box = frame.box(hx - 2.2, hx + 2.2, hy - 4.4, hy + 4.4)
        if box is not None:
            drawn[box] += 2.6 * np.exp(-(((frame.x[box] - hx) / 1.0) ** 2 + ((frame.y[box] - hy) / 2.0) ** 2))
    return drawn * anatomy.vessel_weight


def devices(thorax: Thorax, rng: np.random.Generator) -> np.ndarray:
    """Now and then: electrodes with leads, a central line, a tracheal tube, a gastric tube. Metal-like path in cm of bone."""
    canvas = Canvas(thorax.frame, 4.0)
    front = thorax.front
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(2, 4))):
            spot = np.array([rng.uniform(-12, 12), rng.uniform(6, 26)])
            way = [spot, spot + rng.normal(0, 4, 2), [rng.uniform(-16, 16), rng.uniform(20, 36)]]
            canvas.line(curve(way), 0.16, 0.55)
            ring = spot + 0.55 * np.stack([np.cos(np.linspace(0, 6.3, 16)), np.sin(np.linspace(0, 6.3, 16))], 1)
            canvas.line(ring, 0.22, 1.1)
    if rng.random() < 0.4:
        canvas.line(curve([[-6.5, -1], [-4, 5], [-1.8, 8], [-2.2 + front, 14.5]]), 0.2, 0.7)
    if rng.random() < 0.35:
        canvas.line(curve([[rng.uniform(-1, 1), -1], [0.1, 4], [-0.2 + 0.3 * front, 10.3]]), 0.3, 0.6)
    if rng.random() < 0.3:
        canvas.line(curve([[0.8, -1], [0.2, 10], [0.4, 20], [3.5, 27]]), 0.22, 0.6)
    return canvas.map(0.05)
