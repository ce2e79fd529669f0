"""The grid of the paper's Figure 4: accuracy by resolution, schedule, mixup and initialisation, for real X-rays and for this copy alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import pairs, parts
from cxrlib.study.committed import Design
from cxrlib.study.figures import captions
from cxrlib.study.pages.chapter import Asked, Shown
from cxrlib.study.verdicts import NOT_RECORDED

QUESTIONS = (Asked("a higher resolution", 2), Asked("a longer schedule", 3), Asked("mixup", 4))
AXES = {"resolution": "resized to / cropped to (px)", "schedule": "end of the schedule (steps)"}
COLUMNS = ["init", "resolution", "schedule", "mixup"]


@dataclass(frozen=True)
class Grid:
    """The cells of a grid that are recorded, with the axes of its design.

    Attributes:
        cells: of :func:`cxrlib.study.pairs.cells`; empty if nothing is recorded.
    """

    cells: pd.DataFrame
    design: Design
    shown: Shown

    @classmethod
    def of(cls, records: list[Record], design: Design, shown: Shown, threshold: float = 0.5) -> Grid:
        empty = pd.DataFrame(columns=[*COLUMNS, "accuracy", "runs"])
        return cls(pairs.cells(records, COLUMNS, threshold) if records else empty, design, shown)

    def _part(self, axis: str) -> pd.DataFrame:
        """The cells that vary one axis while the other has its longest, or largest, value."""
        other, values = ("schedule", self.design.schedules) if axis == "resolution" else ("resolution", self.design.resolutions)
        return self.cells[self.cells[other] == values[-1]]

    def _name(self, axis: str, value: tuple[int, ...]) -> str:
        return f"{value[0]}/{value[1]}" if axis == "resolution" else f"{value[-1]:,}"

    def along(self, axis: str) -> dict[str, Any]:
        """The arguments of :func:`cxrlib.study.figures.real.grid` for the axis 'resolution' or 'schedule'."""
        design = self.design
        orders = {"resolution": design.resolutions, "schedule": design.schedules, "mixup": design.mixups, "init": design.inits}
        at = f"{design.schedules[-1][-1]:,} steps" if axis == "resolution" else f"{self._name('resolution', design.resolutions[-1])} pixels"
        title = self.shown.title(f"accuracy by {axis}, {at}")
        return {"table": self._part(axis), "x": axis, "orders": orders, "title": title, "xlabel": AXES[axis], "names": {value: self._name(axis, value) for value in orders[axis]}}

    def finding(self, axis: str) -> str:
        """What the figure along an axis shows: the first and the last value of each initialisation with the last kind of mixup."""
        part, values = self._part(axis), getattr(self.design, f"{axis}s")
        part = part[part["mixup"] == self.design.mixups[-1]]
        ends = [part[part[axis] == value].set_index("init")["accuracy"] for value in (values[0], values[-1])]
        if len(values) < 2 or ends[0].empty or ends[1].empty:
            return "Nothing is recorded of two values of this axis yet."
        unit = "px" if axis == "resolution" else "steps"
        first, last = (self._name(axis, value) for value in (values[0], values[-1]))
        mixup = "without mixup" if self.design.mixups[-1] == "off" else "with mixup"
        return f"Test accuracy {mixup}, at {first} {unit}: {captions.each(dict(ends[0]))}; at {last} {unit}: {captions.each(dict(ends[1]))}."


def gains(records: list[Record], inits: list[str]) -> str:
    """Each initialisation against the first, over all cells that differ in nothing else, as a Markdown table."""
    have = {pairs.setting(record)["init"] for record in records}
    lines = [
        [f"{parts.named(init)} against {parts.named(inits[0])}", pairs.points(pairs.effect(records, "init", init, inits[0]))]
        for init in inits[1:] if {init, inits[0]} <= have
    ]  # fmt: skip
    return markup.table(["comparison", "difference in test accuracy (95 % interval)"], lines) if lines else NOT_RECORDED


def gaps(resolutions: Iterable[tuple[int, int]]) -> str:
    """By how much a lung is larger in training than in the test at each resolution, size of the image over that of the crop: '1.25, 1.14 and 1.07'."""
    *first, last = (f"{resize / crop:.2f}" for resize, crop in resolutions)
    return f"{', '.join(first)} and {last}" if first else last


def steps(records: list[Record], design: Design) -> list[tuple[str, Estimate, Estimate]]:
    """Each step of resolution and schedule: its name, and what it changes in accuracy and in AUC over all cells that differ in nothing else, with plain intervals."""
    found = []
    for axis, name, unit in (("resolution", 1, "px"), ("schedule", -1, "steps")):
        values = getattr(design, f"{axis}s")
        for less, more in pairwise(values):
            first, second = pairs.partners(records, {axis: more}, {axis: less})
            if first:
                found.append((f"{more[name]:,} {unit} against {less[name]:,}", pairs.compare(first, second).estimate(), pairs.auc_difference(first, second)))
    return found


def step_table(found: list[tuple[str, Estimate, Estimate]]) -> str:
    """Of :func:`steps`, as a Markdown table; below it the steps that change the accuracy and not clearly the AUC."""
    lines = [[name, pairs.points(accuracy), pairs.points(auc)] for name, accuracy, auc in found]
    if not lines:
        return NOT_RECORDED
    unlike = [name for name, accuracy, auc in found if not accuracy.low <= 0 <= accuracy.high and auc.low <= 0 <= auc.high]
    said = f"\n\nClear in accuracy and not in AUC: {'; '.join(unlike)}." if unlike else ""
    return markup.table(["step", "accuracy (95 % interval)", "AUC (95 % interval)"], lines) + said
