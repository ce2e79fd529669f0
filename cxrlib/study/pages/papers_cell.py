"""One cell of the paper's own grid (Figure 4) on real X-rays: its network, batch, learning rate, image size and schedule, and its runs made otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from cxrlib.experiment.record import Record, images_of
from cxrlib.metrics.estimate import percentage
from cxrlib.study import pairs, paper
from cxrlib.study.figures import captions
from cxrlib.study.pages import upstream
from cxrlib.study.pages.chapter import RealStudy
from cxrlib.study.pages.grid_cells import Cells, differences, ruled
from cxrlib.study.parts import MIXUP
from cxrlib.study.verdicts import NOT_RECORDED, Verdict
from cxrlib.weights.registry import BIT_PHOTO
from cxrlib.weights.source import WEIGHTS_FOLDER

PROFILE = "bit"
AGAIN = {"fp32": ("fp32", "bit-fp32"), "gpu": ("gpu", "bit-gpu"), "gpu-fp32": ("gpu", "bit-fp32"), "short": ("short", PROFILE)}
"""Runs of the cell made otherwise: in float32, on a GPU, on a GPU in float32, and from a shorter pretraining. The end of the name of each table beside that
of the cell, and the profile whose runs it is read for."""


def beside(results: Path, again: str) -> Path:
    """The table beside that of the cell with the runs of a key of :data:`AGAIN`: ``bit-gpu.parquet`` beside ``bit.parquet``."""
    return results.with_name(f"{results.stem}-{AGAIN[again][0]}.parquet")


def _from_photographs(record: Record) -> bool:
    return pairs.setting(record)["init"] == BIT_PHOTO


@dataclass(frozen=True)
class PapersCell(Cells):
    """The recorded runs of the cell.

    Attributes:
        again: studies with runs of the cell that were made otherwise, by the keys of :data:`AGAIN`; they may hold other runs too.
        pretraining: record of the pretraining on photographs; None while there is none.
        shorter: the same of the shorter one.
    """

    again: dict[str, RealStudy]
    pretraining: dict | None
    shorter: dict | None = None

    @classmethod
    def read(cls, results: Path, folder: Path = WEIGHTS_FOLDER) -> PapersCell:
        """The runs in ``results``, such as ``bit.parquet``, and those of ``bit-fp32.parquet``, ``bit-gpu.parquet`` and so on beside it.

        The record of a pretraining counts where the runs started from its weights.

        Raises:
            ValueError: as :func:`cxrlib.study.committed.read`, if a table beside it is about other images, or if the record of a pretraining is damaged.
        """
        if results.is_dir():
            raise ValueError(f"cell: {results} is a folder; name a table of runs, such as results/bit.parquet")
        real, again = RealStudy.read(results, PROFILE), {name: RealStudy.read(beside(results, name), profile) for name, (_, profile) in AGAIN.items()}
        for name, study in again.items():
            images = [{images_of(record) for record in arm.runs.records} for arm in (real, study)]
            if all(images) and images[0] != images[1]:
                raise ValueError(f"{beside(results, name)} is about other images than {results}; move it away, or take both from one data set")
        made = upstream.of_large_network(folder / f"{BIT_PHOTO}.json"), upstream.of_large_network(beside(results, "short").with_suffix(".json"))
        starts = [{record.initialisation["sha256"] for record in study.runs.records if _from_photographs(record)} for study in (real, again["short"])]
        return cls(real, again, *(record if record and used <= {record["sha256"]} else None for record, used in zip(made, starts, strict=True)))

    def minutes(self) -> str:
        """Of one core for the quickest run, in the precision of the cell; others waited for other work."""
        spent = [record.wall_seconds * record.machine["threads"] / 60 for record in self.records]
        return f"{min(spent):.0f}" if spent else NOT_RECORDED

    def made(self) -> str:
        """How BiT-R50x1 was pretrained here, in one sentence; what is missing if it was not."""
        if self.pretraining is None:
            return f"The pretraining on photographs: {NOT_RECORDED}."
        record, settings = self.pretraining, self.pretraining["settings"]
        return (
            f"BiT-R50x1 saw {settings['classes'] * settings['instances']:,} photographs of {settings['classes']} classes at {settings['crop']} px {upstream.epochs(settings):g} times "
            f"({upstream.spent(record)} in bfloat16) and then put {percentage(record['held_out_accuracy']):.1f} % of the validation photographs into "
            f"their class; the last fifth of the steps changed that by {upstream.late_gain(record):+.1f} points. BiT-S had 1.28 million photographs of 224 px for 90 passes."
        )

    def drawn(self) -> pd.DataFrame:
        """:attr:`cells` with mixup in words, for the figure."""
        found = self.cells
        return found.assign(mixup=[MIXUP[mixup] for mixup in found["mixup"]])

    def finding(self) -> str:
        """What the figure shows."""
        found = self.cells
        said = [
            f"{MIXUP[mixup]}, {captions.each(dict(zip(part['init'], part['score'], strict=True)))}"
            for mixup, part in found[found["measure"] == "accuracy"].groupby("mixup", sort=False)
        ]
        return f"Mean test accuracy {'; '.join(said)}." if said else "Nothing is recorded of this cell yet."

    def differences(self) -> str:
        """What mixup, pretraining, the precision, the machine and the length of the pretraining change, as a Markdown table of plain 95 % intervals over patients and seeds."""
        return differences([*self.mixup_lines(), *self.start_lines(), *(self.row(name, *self.remade(again)) for again, name in self._names().items())])

    def _names(self) -> dict[str, str]:
        """What is compared with the runs made otherwise, by the keys of :data:`AGAIN`."""
        passes = [f"{upstream.epochs(record['settings']):g}" if record else "fewer" for record in (self.pretraining, self.shorter)]
        return {
            "fp32": "bfloat16 against float32, from random weights, without mixup",
            "gpu": "one core against a GPU",
            "short": f"{passes[0]} passes of pretraining against {passes[1]}",
        }

    def remade(self, again: str) -> tuple[list[Record], list[Record]]:
        """Runs of the cell, and the same ones made otherwise."""
        first, second = (pairs.by_setting(records, "precision") for records in (self.records, self.again[again].runs.records))
        shared = [run for run in first if run in second]
        return [first[run] for run in shared], [second[run] for run in shared]

    def otherwise(self) -> str:
        """How far runs in bfloat16 on a core are from the same ones in float32, and on a GPU, image by image."""
        return " ".join(self.called_otherwise(*self.remade(again), where, than) for again, where, than in (("fp32", "In float32", "bfloat16"), ("gpu", "On a GPU", "one core")))

    def longer(self) -> str:
        """What a longer pretraining of the same network on the same photographs changed, in one sentence; empty if it is not recorded."""
        first, second = self.remade("short")
        if not (first and self.pretraining and self.shorter):
            return ""
        accuracy, area = self.changes(first, second)
        rule = self._by_the_rules(self.before.verdicts, " With these, by the rules of the verdicts,") if self.before else ""
        return (
            f"After {upstream.epochs(self.shorter['settings']):g} passes ({percentage(self.shorter['held_out_accuracy']):.1f} % of the validation photographs) the same runs were made too: "
            f"the longer pretraining changes their accuracy by {accuracy} and the AUC by {area}.{rule}"
        )

    @cached_property
    def before(self) -> PapersCell | None:
        """The cell as it was with the shorter pretraining; None unless each of its runs from photographs is there from that one too."""
        others = [record for record in self.records if not _from_photographs(record)]
        if len(self.remade("short")[0]) < max(1, len(self.records) - len(others)):
            return None
        return replace(self, real=replace(self.real, runs=self.real.runs.with_records([*others, *self.again["short"].runs.records])))

    def answer(self, axes: Iterable[str] = ("init", "mixup")) -> str:
        """What pretraining and mixup change in test accuracy and AUC, each over all that is recorded, in one sentence."""
        return f"{'; '.join(self.change(axis) for axis in axes)} (95 % intervals, none adjusted for the others)."

    def by_the_rules(self) -> str:
        """What the accuracy with mixup says of more upstream data by the rules of the verdicts, in one sentence; empty without runs of both starts."""
        said = self._by_the_rules(self.verdicts, "By the verdicts' rules, with mixup and adjusted for all comparisons,")
        before = self.before
        if not (said and before and self.shorter and self.pretraining):
            return said
        word, before = ({answer.word for row in found for answer in row.parts if row.number == 1} for found in (self.verdicts, before.verdicts))
        if word != before:
            said += f" From a pretraining of {upstream.epochs(self.shorter['settings']):g} passes in place of {upstream.epochs(self.pretraining['settings']):g} it was {' and '.join(before)}."
        return said

    @staticmethod
    def _by_the_rules(verdicts: list[Verdict], begun: str) -> str:
        said = ruled(verdicts, 1)
        return f"{begun} pretraining changes the accuracy by {said}." if said else ""

    def title(self) -> str:
        return self.shown.title("BiT-R50x1 in one cell of the paper's grid")

    def method(self) -> str:
        """How the runs were made: data, pretraining, precision, time."""
        if not self.records:
            return f"The runs of this cell: {NOT_RECORDED}."
        trained = sum(self.records[0].data["training_images"].values())
        theirs = sum(paper.training_images(label) for label in ("positive", "negative"))
        return (
            f"**How.** {self.counted()}, with {trained:,} training images (the paper has {theirs:,}) and {len(self.records[0].table())} test images. "
            f"{self.made()} The quickest run took {self.minutes()} minutes with one thread. {self.otherwise()} {self.longer()} All runs from photographs start "
            "from the same pretraining, so their intervals do not hold its chance."
        )
