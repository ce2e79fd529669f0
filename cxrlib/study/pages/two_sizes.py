"""The cell of the paper's grid and the one at the paper's next resolution, run on a GPU with the paper's network: what the size of the images does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.study import committed, pairs
from cxrlib.study.figures import captions
from cxrlib.study.pages.chapter import RealStudy
from cxrlib.study.pages.grid_cells import Cells, by_start, differences, remade, ruled, start, value_name
from cxrlib.study.pages.papers_cell import ONE_PRETRAINING, PapersCell
from cxrlib.study.parts import MIXUP
from cxrlib.study.verdicts import NOT_RECORDED


@dataclass(frozen=True)
class TwoSizes(Cells):
    """The recorded runs of both cells.

    Attributes:
        full: runs at the smaller size in float32.
    """

    BY: ClassVar[tuple[str, ...]] = ("resolution", "init", "mixup")
    CLAIMS: ClassVar[tuple[int, ...]] = (1, 2, 4)

    full: RealStudy

    @classmethod
    def on_gpu(cls, cell: PapersCell) -> TwoSizes:
        """The runs on a GPU that lie beside those of the cell."""
        return cls(cell.again["gpu"], cell.again["gpu-fp32"])

    @cached_property
    def in_float32(self) -> list[Record]:
        return self.full.runs.of(committed.SENSITIVITY)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smaller resolution and the larger one."""
        return self.real.design.resolutions[0], self.real.design.resolutions[-1]

    @cached_property
    def larger(self) -> str:
        """The larger size in words."""
        return value_name("resolution", self.sizes[1])

    def _step(self, init: str) -> tuple[list[Record], list[Record]]:
        return pairs.partners(self.records, {"init": init, "resolution": self.sizes[1]}, {"init": init, "resolution": self.sizes[0]})

    def drawn(self) -> pd.DataFrame:
        """:attr:`cells` for the figure: the size, and measure and mixup together, in words."""
        found = self.cells
        return found.assign(
            size=[value_name("resolution", size) for size in found["resolution"]],
            measure=[f"{measure}, {MIXUP[mixup]}" for measure, mixup in zip(found["measure"], found["mixup"], strict=True)],
        )

    def finding(self) -> str:
        """What the figure shows."""
        found = self.cells
        chosen = found[(found["measure"] == "accuracy") & (found["mixup"] == self.real.design.mixups[-1])]
        said = [
            f"at {value_name('resolution', size)}, {captions.each(dict(zip(part['init'], part['score'], strict=True)))}" for size, part in chosen.groupby("resolution", sort=True)
        ]
        return f"Mean test accuracy {MIXUP[self.real.design.mixups[-1]]} {'; '.join(said)}." if said else "Nothing is recorded of these cells yet."

    def answer(self) -> str:
        """What the larger size changes from each start, and what pretraining and mixup change there, in two sentences."""
        said, words = [], ("test accuracy changes by", "the AUC by")
        for init in self.real.design.inits:
            first, second = self._step(init)
            if not first:
                said.append(f"from {start(init)} {NOT_RECORDED}")
                continue
            accuracy, area = self.changes(first, second)
            said.append(f"from {start(init)} {words[0]} {accuracy} and {words[1]} {area}")
            words = ("by", "by")
        return f"{self.larger} in place of {self.sizes[0][1]}: {'; '.join(said)}. At {self.larger}, {self.changed(resolution=self.sizes[1])}"

    def pretraining(self) -> str:
        """What pretraining changes at the larger size, in one sentence."""
        return f"{self.change('init', resolution=self.sizes[1])} (95 % intervals, neither adjusted for the other)."

    def by_the_rules(self) -> str:
        """The paper's sentences on upstream data and on resolution by the rules of the verdicts, in one sentence."""
        if unfinished := self.unfinished():
            return unfinished
        at = f"at {value_name('resolution', self.real.design.resolution)} {MIXUP[self.real.design.mixup]}"
        parts = ((1, f"{at}, pretraining"), (2, f"over both starts, {self.larger} in place of {self.sizes[0][1]}"))
        said = [f"{name} changes the accuracy by {word}" for number, name in parts if (word := ruled(self.verdicts, number))]
        return f"By the verdicts' rules, adjusted for {self.family()}: {'; '.join(said)}."

    def calls_there(self) -> str:
        """:meth:`calls` at the larger size."""
        return self.calls(record for record in self.records if pairs.setting(record)["resolution"] == self.sizes[1])

    def differences(self) -> str:
        """What the size changes, what pretraining and mixup change at the larger one, and the precision at the smaller one, as a Markdown table of plain 95 % intervals."""
        steps = {f"{self.larger} against {self.sizes[0][1]}, from {start(init)}": self._step(init) for init in self.real.design.inits}
        precise = {f"bfloat16 against float32, {self.sizes[0][1]} px, without mixup, from {init}": arms for init, arms in by_start(*self.precise()).items()}
        there = [[f"{self.larger}: {line[0]}", *line[1:]] for line in (*self.start_lines(resolution=self.sizes[1]), *self.mixup_lines(resolution=self.sizes[1])) if line]
        return differences([*self._rows(steps), *there, *self._rows(precise)])

    def _rows(self, found: dict[str, tuple[list[Record], list[Record]]]) -> list[list]:
        """Rows of pairs by their name, which says so where the two were made on different machines."""
        return [self.row(f"{name}{_on_another(*arms)}", *arms) for name, arms in found.items()]

    def precise(self) -> tuple[list[Record], list[Record]]:
        """Runs in bfloat16 and the same ones in float32."""
        return remade(self.records, self.in_float32)

    def title(self) -> str:
        return self.shown.title(f"BiT-R50x1 at {self.sizes[0][1]} and at {self.larger}")

    def method(self) -> str:
        """On what the runs were made, and what bfloat16 does there."""
        if not self.records:
            return f"The runs on a GPU: {NOT_RECORDED}."
        full = f", and {len(self.in_float32)} in float32" if self.in_float32 else ""
        return f"**How.** {self.counted()}{full}: {self._machines()}. {self.called_otherwise(*self.precise(), 'In float32')} {ONE_PRETRAINING}"

    def _machines(self) -> str:
        """Which of the runs were made on which device, and whether the network was compiled first."""
        found: dict[str, dict[str, None]] = {}
        for record in [*self.records, *self.in_float32]:
            axes = pairs.setting(record)
            what = f"{value_name('resolution', axes['resolution'])} from {start(axes['init'])}{' in float32' if axes['precision'] == 'fp32' else ''}"
            found.setdefault(_kind(record), {})[what] = None
        return markup.text("; ".join(f"on one {kind}: {', '.join(what)}" for kind, what in found.items()))


def _kind(record: Record) -> str:
    """The device of a run in words, and whether the network was compiled first."""
    return f"{record.machine.get('device')}{', compiled' if record.machine.get('compiled') else ''}"


def _on_another(first: Sequence[Record], second: Sequence[Record]) -> str:
    """That two arms were made on different machines, for the name of their difference; empty if on one kind, compiled or not alike."""
    return "" if set(map(_kind, first)) == set(map(_kind, second)) else ", on another kind of GPU"
