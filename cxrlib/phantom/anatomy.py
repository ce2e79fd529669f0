"""Path lengths through body, lungs, heart and airways of one chest phantom.

Every map is float32 of shape (size, size) and holds a path length along the beam in cm unless stated otherwise;
coordinates as in :mod:`cxrlib.phantom.patient`.
"""

from __future__ import annotations

import numpy as np

from cxrlib.phantom.patient import Anatomy, Frame, View, half_circle, smoothstep


class Thorax:
    """All smooth path lengths of one patient in one view.

    `body`, `lung` (what is left of it beside the heart), `heart`, `air` (trachea, gas): cm, (size, size).
    `across` (0 medial, 1 lateral), `along` (0 apex, 1 base) and `side` (-1 patient's right, +1 left): lung coordinates.
    `lung_mask`: bool, the lung seen in projection (not behind heart or diaphragm).
    """

    def __init__(self, anatomy: Anatomy, view: View, frame: Frame):
        self.anatomy, self.view, self.frame = anatomy, view, frame
        self.supine = view.projection == "AP"
        x, y = frame.x, frame.y
        self.front = float(8.0 * np.sin(np.radians(view.yaw)))  # how far the sternum lies beside the spine
        self.spine_x = frame.of_y(lambda h: anatomy.scoliosis * np.sin((h - 4) / 7.0))
        self.apex = 3.9
        self.width = anatomy.lung_width
        self.base = self.apex + anatomy.lung_height * (0.86 + 0.14 * view.inspiration)
        self.drop = 3.6 if self.supine else 4.6
        middle = self.base - self.drop
        self.dome = {-1: middle - anatomy.dome_difference / 2, 1: middle + anatomy.dome_difference / 2}
        self.lift = self.base - (self.apex + 27.0)  # negative: a high diaphragm pushes heart and hila up
        self.body = self._body(x, y)
        self.heart = self._heart(anatomy.heart * (1.13 if self.supine else 1.0))
        self._lungs(x, y)
        self.air = self._airways(x, y)

    def lateral_edge(self, y):
        """Half width of the rib cage (cm from the spine) at height y."""
        v = np.clip((y - self.apex) / (self.base - self.apex), 0, 1.1)
        p = np.clip(v / 0.66, 0, 1)
        return 4.4 + (self.width - 4.4) * (1 - (1 - p) ** 2) ** 0.72 + 0.35 * np.clip(v - 0.66, 0, None)

    def _body(self, x, y):
        anatomy = self.anatomy
        fat = 1.1 * (anatomy.habitus + 0.6)
        knots = np.array([-6, 0, 2, 3.6, 5, 6.4, 8.2, 11, 14, 16.5, 20, 26, 33, 44], float)
        knots[1:7] += -1.1 if self.supine else 0.3
        edge = self.width + 1.9 + fat
        half = [5.6, 6.0, 7.2, 9.6, 13.0, 16.6, 18.8, 19.6, 18.9, edge + 1.0, edge + 0.3, edge, edge + 0.5, edge + 1.6]
        kernel = np.hanning(65) / np.hanning(65).sum()
        width = self.frame.of_y(lambda h: np.convolve(np.pad(np.interp(h, knots, half), 32, mode="edge"), kernel, "valid"))
        depth = self.frame.of_y(lambda h: np.interp(h, [-6, 0, 5, 10, 16, 24, 40], [10.5, 11.5, 14.5, 19, 21.5, 22.5, 24]))
        q = x / width
        q *= q
        wall = np.clip(1 - q * np.sqrt(np.sqrt(q)), 0, None)  # 1 - |x/width|^2.5
        body = (1 + 0.11 * anatomy.habitus) * depth * np.sqrt(wall)
        # The arm: a limb beside the trunk, closer to it when the patient lies.
        arm = self.frame.of_y(lambda h: 20.4 + (0.0 if self.supine else 1.3) + 0.06 * (h - 10))
        limb = half_circle(((np.abs(x) - arm) / 4.0) ** 2) * self.frame.of_y(lambda h: smoothstep(h, 6, 11))
        body = np.maximum(body, 8.0 * limb)
        if anatomy.breast > 0.05:
            middle = 19.6 + 1.2 * anatomy.habitus + 0.4 * min(anatomy.breast, 3) - (1.0 if self.supine else 0)
            dy = self.frame.of_y(lambda h: np.where(h > middle, 1.5, 0.55) * ((h - middle) / 5.2) ** 2)
            for side in (-1, 1):
                dx = (x - side * 7.4 - 0.3 * self.front) / 6.2
                mound = np.maximum(1 - dx * dx - dy, 0)
                body += anatomy.breast * np.sqrt(mound * np.sqrt(mound)) * (wall > 0)
        return body

    def _heart(self, scale: float) -> np.ndarray:
        """Soft union of chambers and great vessels; the left ventricle points to the image's right. cm."""
        frame, lift, knob = self.frame, self.lift, self.anatomy.aorta
        heart, offset = np.zeros_like(frame.x), 0.75 * self.front
        box = frame.box(offset - 5, offset + 11, -8, 44)
        x, y = frame.x[box] - offset, frame.y[box]
        cy, turn = 22.0 + 0.85 * lift, np.radians(33 - 8 * (1 - self.view.inspiration))
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        dx, dy = x - 2.1, y - cy
        parts = [
            9.5 * half_circle(((dx * cos + dy * sin) / (6.9 * scale)) ** 2 + ((dy * cos - dx * sin) / (4.7 * scale)) ** 2),
            7.5 * half_circle(((x + 0.6) / (3.0 * scale)) ** 2 + ((dy + 0.9) / (5.6 * scale)) ** 2),
        ]
        edges = [2.6, 2.5, 2.6, 2.9, 2.9, 2.6]
        wide = frame.of_y(lambda h: 1 / (np.interp(h, [0, 4, 8, 13, 17, 22], edges) * (0.85 + 0.15 * knob)), box)
        fade = frame.of_y(lambda h: 8 * smoothstep(h, 22, 16) * (0.5 + 0.5 * smoothstep(h, 3.0, 8.0)), box)
        parts.append(half_circle(np.square(np.square((x - 0.1) * wide))) * fade)
        parts.append(7.0 * half_circle(((x - 1.7) ** 2 + (y - 11.2 - 0.3 * lift) ** 2) / (1.75 * knob) ** 2))
        parts.append(6.5 * half_circle(((x - 2.0) / 2.0) ** 2 + ((y - 15.6 - 0.5 * lift) / 3.2) ** 2))
        parts.append(half_circle(((x - 1.6 * knob) / 1.25) ** 2) * frame.of_y(lambda h: 4 * smoothstep(h, 11, 13), box))
        total = np.zeros_like(x)
        for part in parts:
            total += np.square(np.square(part))
        union = np.sqrt(np.sqrt(total))
        heart[box] = union * smoothstep(union, -2.0, 7.0)  # the beating border is not sharp
        return heart

    def _lungs(self, x, y):
        frame, apex, base, width, drop = self.frame, self.apex, self.base, self.width, self.drop
        along = frame.of_y(lambda h: np.clip((h - apex) / (base - apex), 0, 1.2))
        outer = frame.of_y(self.lateral_edge)
        medial = frame.of_y(lambda h: 4.4 - 3.0 * np.sqrt(1 - (1 - np.clip((h - apex) / (base - apex) / 0.16, 0, 1)) ** 2))
        depth = frame.of_y(lambda h: 16.5 * np.sqrt(np.clip((h - apex) / (base - apex) / 0.42, 0.02, 1)) * smoothstep(h, apex - 0.1, apex + 0.7))
        reach = frame.of_y(lambda h: smoothstep(h, base + 1.5, base - 1.5))
        right = x <= self.spine_x
        self.side = np.where(right, -1, 1).astype(np.int8)
        self.lateral = lateral = np.abs(x - self.spine_x)
        peak = 0.44 * width
        out = np.clip((lateral - peak) / (width - peak), 0, 1.1)
        inn = np.clip((peak - lateral) / peak, 0, 1)
        floor = np.where(right, np.float32(self.dome[-1]), np.float32(self.dome[1]))
        floor += np.float32(drop + 0.4) * out * out * np.sqrt(out) + 1.0 * inn * inn
        u = (lateral - medial) / np.maximum(outer - medial, 0.2)
        c = np.abs(2 * np.clip(u, 0, 1) - 1)
        wide = np.sqrt(np.clip(1 - c * c * np.sqrt(c), 0, 1))
        height = floor - y
        above = smoothstep(height, -0.14, 0.18)
        # Behind the dome a wedge of lung goes on downwards, thinner and thinner.
        wedge = 0.17 * np.exp(np.clip(height, -9, 0) / 1.8) * reach
        shallow = 1 - 0.3 * np.exp(-np.clip(height, 0, 9) / 1.6)
        inside = depth * wide * (above * shallow + (1 - above) * wedge)
        full = np.minimum(inside, np.clip(self.body - 3.2, 0, None))
        self.lung = full * np.clip(1 - self.heart / 9.6, 0.1, 1)
        self.across, self.along, self.above_floor = np.clip(u, 0, 1), along, height
        self.lung_mask = (above > 0.5) & (u > 0) & (u < 1) & (self.lung > 2.6) & (self.heart < 5.0)

    def _airways(self, x, y):
        """Trachea, main bronchi and gas below the diaphragm. cm."""
        rng = np.random.default_rng(self.anatomy.texture_seed)
        frame, carina, air = self.frame, 13.2, np.zeros_like(x)
        middle = frame.of_y(lambda h: -0.35 * smoothstep(h, 6, 12) + 0.4 * self.front * smoothstep(h, 4, 12)) + self.spine_x
        fade = frame.of_y(lambda h: smoothstep(h, carina + 0.5, carina - 1.0))
        air = 1.5 * half_circle(((x - middle) / 0.95) ** 2) * fade
        box = frame.box(-6, 6, carina - 2, carina + 6)
        for side, slope in ((-1, 0.9), (1, 1.35)):
            if box is None:
                break
            run = side * (x[box] + 0.35 - 0.4 * self.front)
            near = smoothstep(run, -0.6, 0.2) * smoothstep(run, 4.2, 2.2)
            across = (y[box] - carina - 0.1 - run / slope) / 0.85
            air[box] = np.maximum(air[box], 1.05 * half_circle(across * across) * near)
        air = np.minimum(air, self.body * 0.3)
        amount = rng.uniform(0, 1)
        bubbles = []
        if amount > 0.25:
            size = rng.uniform(1.4, 3.4) * (0.6 + 0.5 * amount), rng.uniform(0.9, 1.9)
            bubbles.append((rng.uniform(4.2, 7.5), self.dome[1] + rng.uniform(2.2, 3.4), *size, 4.5 * amount))
        for _ in range(rng.integers(0, 6)):
            bubbles.append((rng.uniform(-4, 13), self.base + rng.uniform(0.5, 6.5), *rng.uniform(0.6, 1.7, 2).tolist(), rng.uniform(0.5, 2)))
        for number, (gx, gy, rx, ry, thick) in enumerate(bubbles):
            box = frame.box(gx - rx, gx + rx, gy - ry, gy + ry)
            if box is None:
                continue
            gas = thick * half_circle(((x[box] - gx) / rx) ** 2 + ((y[box] - gy) / ry) ** 2)
            if number == 0 and amount > 0.25 and not self.supine:  # upright: a fluid level closes the bubble from below
                gas = gas * smoothstep(y[box], gy + 0.5 * ry + 0.12, gy + 0.5 * ry - 0.12)
            air[box] += gas * smoothstep(self.above_floor[box], -0.5, -1.3)
        return air
