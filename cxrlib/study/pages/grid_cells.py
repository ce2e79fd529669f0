"""Cells of the paper's own grid (Figure 4) with the paper's network, BiT-R50x1, on real X-rays: what is said of any of them, from committed records.

What such cells can say of the paper's sentences is decided by the rules of :mod:`cxrlib.study.parts`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import percentage
from cxrlib.study import committed, pairs
from cxrlib.study.comparisons import family_size
from cxrlib.study.pages.chapter import RealStudy, Shown
from cxrlib.study.parts import MIXUP, named
from cxrlib.study.verdicts import NOT_RECORDED, Verdict
from cxrlib.weights.registry import BIT_PHOTO

ARMS = {"init": ("pretraining on photographs", {"init": BIT_PHOTO}, {"init": "random"}), "mixup": ("mixup", {"mixup": "beta"}, {"mixup": "off"})}
"""What is compared, by axis: its name, the runs with it, and those without."""
HEADS = {"resolution": "size, px", "init": "start", "mixup": "mixup"}
"""What an axis is called at the head of a table."""


def start(init: str) -> str:
    """An initialisation in words, without the network where that is one for all."""
    return named(init).partition(", ")[0]


def value_name(axis: str, value: Any) -> str:
    """A value of an axis of :data:`HEADS` in words: 'with mixup', 'random weights', '224 px' for ``(256, 224)``."""
    return f"{value[1]} px" if axis == "resolution" else MIXUP[value] if axis == "mixup" else start(value)


@dataclass(frozen=True)
class Cells:
    """The recorded runs of some cells of the grid.

    Attributes:
        BY: the axes that tell one cell from another.
        CLAIMS: numbers of the paper's claims that these cells can be asked about.
    """

    BY: ClassVar[tuple[str, ...]]
    CLAIMS: ClassVar[tuple[int, ...]]

    real: RealStudy

    @cached_property
    def records(self) -> list[Record]:
        return self.real.runs.of(committed.SENSITIVITY)

    @property
    def shown(self) -> Shown:
        return self.real.shown

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the runs say of the paper's sentences that :attr:`CLAIMS` names."""
        return self.real.verdicts(self.CLAIMS)

    @property
    def planned(self) -> int:
        """How many runs the cells have."""
        return self.real.runs.by_study()[committed.SENSITIVITY][1]

    def counted(self) -> str:
        """How many runs are recorded, in words: '12 of 12 runs are recorded'."""
        return f"{len(self.records)} of {self.planned} runs are recorded"

    def unfinished(self) -> str:
        """That the rules of the verdicts are not asked while runs are missing, since a part of them would give another word; empty if all are there."""
        return f"By the verdicts' rules: {NOT_RECORDED} ({self.counted()})." if len(self.records) < self.planned else ""

    def family(self) -> str:
        """For how many comparisons a deciding interval is adjusted, in words."""
        return f"the {family_size(self.real.design)} comparisons of the paper's design"

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Accuracy and AUC of each cell: the columns of :attr:`BY`, then measure, score (Estimate), runs."""
        rows = []
        for values, members in pairs.grouped(self.records, self.BY).items():
            right, patients = pairs.correctness(members, self.real.threshold)
            accuracy = pairs.accuracy_over_seeds(right, patients, seeds=pairs.seeds_of(members))
            rows += [(*values, name, score, len(members)) for name, score in (("accuracy", accuracy), ("AUC", pairs.auc_over_seeds(members)))]
        return pd.DataFrame(rows, columns=[*self.BY, "measure", "score", "runs"], dtype=object)

    def table(self) -> str:
        """The cells as a Markdown table, the mean over runs with its 95 % interval."""
        found = self.cells
        if found.empty:
            return NOT_RECORDED
        lines = [
            [*(value_name(axis, value).removesuffix(" px") for axis, value in zip(self.BY, values, strict=True)), *(score.percent() for score in part["score"]), part["runs"].iloc[0]]
            for values, part in found.groupby(list(self.BY), sort=False)
        ]
        return markup.table([*(HEADS[axis] for axis in self.BY), "accuracy (95 % interval)", "AUC (95 % interval)", "runs"], lines)

    def line(self, name: str, better: dict, worse: dict) -> list:
        """A row of a table of differences; empty if there are no such pairs."""
        return self.row(name, *pairs.partners(self.records, better, worse))

    def row(self, name: str, first: Sequence[Record], second: Sequence[Record]) -> list:
        """As :meth:`line`, of pairs that are given."""
        return [name, *self.changes(first, second), len(first)] if first else []

    def changes(self, first: Sequence[Record], second: Sequence[Record]) -> tuple[str, str]:
        """By how much ``first`` has more accuracy and AUC than ``second``, in points with plain 95 % intervals."""
        return pairs.points(pairs.compare(first, second, self.real.threshold).estimate()), pairs.points(pairs.auc_difference(first, second))

    def mixup_lines(self, **only: object) -> list[list]:
        """What mixup changes from each start, over the runs with the values ``only``."""
        starts = dict.fromkeys(pairs.setting(record)["init"] for record in self.records)
        return [self.line(f"mixup against none, from {start(init)}", {"init": init, "mixup": "beta", **only}, {"init": init, "mixup": "off", **only}) for init in starts]

    def start_lines(self, **only: object) -> list[list]:
        """What pretraining changes without and with mixup, likewise."""
        return [
            self.line(f"photographs against random weights, {MIXUP[mixup]}", {"init": BIT_PHOTO, "mixup": mixup, **only}, {"init": "random", "mixup": mixup, **only})
            for mixup in ("off", "beta")
        ]

    def change(self, axis: str, **only: object) -> str:
        """What a key of :data:`ARMS` changes over all runs with the values ``only``, in words; that it is not recorded, if so."""
        name, better, worse = ARMS[axis]
        first, second = pairs.partners(self.records, better | only, worse | only)
        if not first:
            return f"what {name} changes is {NOT_RECORDED}"
        accuracy, area = self.changes(first, second)
        return f"{name} changes test accuracy by {accuracy} and the AUC by {area}"

    def changed(self, axes: Iterable[str] = ARMS, **only: object) -> str:
        """:meth:`change` of several axes, in one sentence."""
        return f"{'; '.join(self.change(axis, **only) for axis in axes)} (95 % intervals, none adjusted for the others)."

    def remade_lines(self, name: str, first: Sequence[Record], second: Sequence[Record]) -> list[list]:
        """As :meth:`row`, a row for each start: what is made otherwise may change one and not the other."""
        return [self.row(f"{name}, from {init}", *arms) for init, arms in by_start(first, second).items()]

    def called_otherwise(self, first: Sequence[Record], second: Sequence[Record], where: str) -> str:
        """How many test images ``second``, made otherwise, calls otherwise than ``first``: 'In float32, from random weights 3 runs call 72 of 600 test images otherwise.'"""
        said = []
        for init, arms in by_start(first, second).items():
            runs = len(arms[0])
            right, _ = pairs.correctness([*arms[0], *arms[1]], self.real.threshold)  # of two calls of one image that differ, one is right
            changed, images = int(np.sum(right[:runs] != right[runs:])), right[:runs].size
            said.append(f"from {markup.text(init)} {runs} {'run calls' if runs == 1 else 'runs call'} {changed:,} of {images:,} test images otherwise")
        return f"{where}, {'; '.join(said)}." if said else f"{where}: {NOT_RECORDED}."

    def calls(self, records: Iterable[Record] | None = None) -> str:
        """How often each start calls an image rightly at the threshold, by class, in one sentence: AUC does not see where a threshold falls."""
        said = []
        for (init,), members in pairs.grouped(self.records if records is None else records, ("init",)).items():
            found, kept = (pairs.correctness(members, self.real.threshold, positive)[0].mean() for positive in (True, False))
            of = ("of the positive images", "of the negative ones") if not said else ("", "")
            shares = (f"{percentage(share):.1f} % {what}".strip() for share, what in zip((found, 1 - kept), of, strict=True))
            said.append(f"from {markup.text(start(init))} {' and '.join(shares)}")
        if not said:
            return ""
        threshold = f"{percentage(self.real.threshold):g} %"
        return f"At the threshold of {threshold}, networks call positive: {'; '.join(said)}. Accuracy hangs on where scores lie about the threshold, the AUC does not."


def remade(first: Iterable[Record], second: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Runs, and those of others that are the same but for precision, machine or pretraining, pair by pair."""
    ours, others = (pairs.by_setting(records, "precision") for records in (first, second))
    shared = [run for run in ours if run in others]
    return [ours[run] for run in shared], [others[run] for run in shared]


def by_start(first: Sequence[Record], second: Sequence[Record]) -> dict[str, tuple[list[Record], list[Record]]]:
    """Pairs of runs by the start of the first, in words."""
    found: dict[str, tuple[list[Record], list[Record]]] = {}
    for pair in zip(first, second, strict=True):
        for arm, record in zip(found.setdefault(start(pairs.setting(pair[0])["init"]), ([], [])), pair, strict=True):
            arm.append(record)
    return found


def ruled(verdicts: Iterable[Verdict], claim: int) -> str:
    """The first recorded comparison of a claim by the rules: '+17.3 points (+2.7 to +32.0), p = 0.013: holds'; empty without one."""
    return next((f"{answer.result}: {answer.word}" for row in verdicts if row.number == claim for answer in row.parts if answer.interval is not None), "")


def differences(lines: Iterable[list]) -> str:
    """Rows of :meth:`Cells.row` as a Markdown table, without those that are empty."""
    kept = [line for line in lines if line]
    return markup.table(["difference", "accuracy (95 % interval)", "AUC (95 % interval)", "pairs of runs"], kept) if kept else NOT_RECORDED
