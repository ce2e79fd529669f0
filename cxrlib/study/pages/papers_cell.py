"""One cell of the paper's own grid (Figure 4) on real X-rays: its network, batch, learning rate, image size and schedule, and its runs made otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pandas as pd

from cxrlib.experiment.record import Record, images_of
from cxrlib.metrics.estimate import percentage
from cxrlib.study import committed, pairs, paper
from cxrlib.study.figures import captions
from cxrlib.study.pages import upstream
from cxrlib.study.pages.chapter import RealStudy
from cxrlib.study.pages.grid_cells import ARMS, Cells, differences, remade, ruled
from cxrlib.study.parts import MIXUP
from cxrlib.study.verdicts import NOT_RECORDED
from cxrlib.weights.registry import BIT_PHOTO
from cxrlib.weights.source import WEIGHTS_FOLDER

PROFILE = "bit"
AGAIN = {"fp32": ("fp32", "bit-fp32"), "gpu": ("gpu", "bit-gpu"), "gpu-fp32": ("gpu", "bit-fp32"), "short": ("short", PROFILE)}
"""Runs of the cell made otherwise: in float32, on a GPU, on a GPU in float32, and from an earlier, shorter pretraining. The end of the name of each table beside that
of the cell, and the profile whose runs it is read for."""
HOW = {"steps": "steps", "batch_size": "batches of", "base_lr": "a rate of", "weight_decay": "a weight decay of"}
"""Settings of a pretraining that are told where two differ."""
ONE_PRETRAINING = "All runs from photographs start from one pretraining; what another would give is not in the intervals."


def beside(results: Path, again: str) -> Path:
    """The table beside that of the cell with the runs of a key of :data:`AGAIN`: ``bit-gpu.parquet`` beside ``bit.parquet``."""
    return results.with_name(f"{results.stem}-{AGAIN[again][0]}.parquet")


def _check(results: Path, cell: list[Record], again: str, records: list[Record]) -> None:
    """Raise ValueError if runs that lie beside those of the cell are about other images, started from other weights, or were made on another kind of machine."""
    table = beside(results, again)
    if table.exists() and not table.is_file():
        raise ValueError(f"{table} is no file; move it away, as a table of runs is read by that name")
    images = [{images_of(record) for record in arm} for arm in (cell, records)]
    if all(images) and images[0] != images[1]:
        raise ValueError(f"{table} is about other images than {results}; move it away, or take both from one data set")
    starts = {record.initialisation["sha256"] for arm in ((records,) if again == "short" else (cell, records)) for record in arm if _from_photographs(record)}
    if len(starts) > 1:
        raise ValueError(f"{table} holds runs from other weights of '{BIT_PHOTO}' than {results}, or from several; move it away, or make it again from the same")
    if again.startswith("gpu") and (other := next((record for record in records if not upstream.on_gpu(record.machine)), None)):
        raise ValueError(f"{table} holds run {other.key}, which was made on a processor; keep runs of a GPU there")


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

    BY: ClassVar[tuple[str, ...]] = ("init", "mixup")
    CLAIMS: ClassVar[tuple[int, ...]] = (1, 4)

    again: dict[str, RealStudy]
    pretraining: dict | None
    shorter: dict | None = None

    @classmethod
    def read(cls, results: Path, folder: Path = WEIGHTS_FOLDER) -> PapersCell:
        """The runs in ``results``, such as ``bit.parquet``, and those of ``bit-fp32.parquet``, ``bit-gpu.parquet`` and so on beside it.

        The record of a pretraining counts where the runs started from its weights.

        Raises:
            ValueError: as :func:`cxrlib.study.committed.read`; if a table beside it is about other images, from other weights, or not made on what its name
                says; or if the record of a pretraining is damaged.
        """
        if results.is_dir():
            raise ValueError(f"cell: {results} is a folder; name a table of runs, such as results/bit.parquet")
        real, again = RealStudy.read(results, PROFILE), {name: RealStudy.read(beside(results, name), profile) for name, (_, profile) in AGAIN.items()}
        for name, study in again.items():
            _check(results, real.runs.records, name, study.runs.records)
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
        """What mixup, pretraining, the precision, the machine and an earlier pretraining change, as a Markdown table of plain 95 % intervals over patients and seeds."""
        otherwise = [line for again, name in self._names().items() for line in self.remade_lines(name, *self.remade(again))]
        return differences([*self.mixup_lines(), *self.start_lines(), *otherwise])

    def _names(self) -> dict[str, str]:
        """What is compared with the runs made otherwise, by the keys of :data:`AGAIN`."""
        passes = [f"{upstream.epochs(record['settings']):g}" if record else "fewer" for record in (self.pretraining, self.shorter)]
        return {"fp32": "bfloat16 against float32, without mixup", "gpu": "one core against a GPU", "short": f"pretraining of {passes[0]} passes against the earlier one of {passes[1]}"}

    def remade(self, again: str) -> tuple[list[Record], list[Record]]:
        """Runs of the cell, and the same ones made otherwise."""
        return remade(self.records, self.again[again].runs.of(committed.SENSITIVITY))

    def otherwise(self) -> str:
        """How far runs in bfloat16 on a core are from the same ones in float32, and on a GPU, image by image."""
        return " ".join(self.called_otherwise(*self.remade(again), where) for again, where in (("fp32", "In float32"), ("gpu", "On a GPU")))

    def longer(self) -> str:
        """What an earlier pretraining of the same network on the same photographs was, in one sentence; empty if it is not recorded."""
        first, second = self.remade("short")
        if not (first and self.pretraining and self.shorter):
            return ""
        now, then = self.pretraining["settings"], self.shorter["settings"]
        told = [f"{name} {then[key]:,g} in place of {now[key]:,g}" for key, name in HOW.items() if then.get(key) != now.get(key)]
        accuracy, area = self.changes(first, second)
        return (
            f"An earlier pretraining of {upstream.epochs(then):g} passes ({', '.join(told)}) reached {percentage(self.shorter['held_out_accuracy']):.1f} % of the validation photographs; "
            f"the same runs were made from it first: this one changes their accuracy by {accuracy} and the AUC by {area}."
        )

    def as_remade(self, again: str) -> PapersCell | None:
        """The cell with those of its runs in place that were made otherwise; None unless all are there that can be: each, or each from photographs for an earlier pretraining."""
        first, second = self.remade(again)
        replaced = {record.key for record in first}
        others = [record for record in self.records if record.key not in replaced]
        if not first or any(again != "short" or _from_photographs(record) for record in others):
            return None
        return replace(self, real=replace(self.real, runs=self.real.runs.with_records([*others, *second])))

    def answer(self, axes: Iterable[str] = ARMS) -> str:
        """What pretraining and mixup change in test accuracy and AUC, each over all that is recorded, in one sentence."""
        return self.changed(axes)

    def by_the_rules(self) -> str:
        """What the accuracy with mixup says of pretraining by the rules of the verdicts, here and with runs made otherwise, in one sentence each."""
        if unfinished := self.unfinished():
            return unfinished
        said = [f"By the verdicts' rules, with mixup and adjusted for {self.family()}, pretraining changes the accuracy by {ruled(self.verdicts, 1)}."]
        for again, runs in (("gpu", "The same runs on GPUs"), ("short", "Those from an earlier pretraining")):
            made = self.as_remade(again)
            said += [f"{runs}: {other}."] if made and (other := ruled(made.verdicts, 1)) else []
        return " ".join(said)

    def words_on_gpu(self) -> str:
        """Which words of the verdicts are others with the same runs on GPUs, in one sentence."""
        made = self.as_remade("gpu")
        if made is None:
            return f"The same runs on GPUs: {NOT_RECORDED}."
        words = [{answer.part.says: answer for row in rows for answer in row.parts if answer.interval is not None} for rows in (self.verdicts, made.verdicts)]
        other = [f"{says}: {words[1][says].result}, {words[1][says].word}" for says in words[0] if says in words[1] and words[0][says].word != words[1][says].word]
        return f"The same runs on GPUs give other words where an interval ends near its bound: {'; '.join(other)}." if other else "The same runs on GPUs give the same words."

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
            f"{self.made()} The quickest run took {self.minutes()} minutes with one thread; others waited for other work. {self.otherwise()} {self.longer()} "
            f"{ONE_PRETRAINING}"
        )
