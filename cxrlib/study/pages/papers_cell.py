"""One cell of the paper's own grid (Figure 4) on real X-rays: its network, batch, learning rate, image size and schedule, from committed records.

What such a cell can say of the paper's sentences is decided by the rules of :mod:`cxrlib.study.parts`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record, images_of
from cxrlib.metrics.estimate import percentage
from cxrlib.study import committed, pairs, paper
from cxrlib.study.figures import captions, style
from cxrlib.study.pages import upstream
from cxrlib.study.pages.chapter import RealStudy, Shown
from cxrlib.study.parts import MIXUP, named
from cxrlib.study.verdicts import NOT_RECORDED, Verdict
from cxrlib.weights.registry import BIT_PHOTO
from cxrlib.weights.source import WEIGHTS_FOLDER

PROFILE = "bit"
AGAIN = {"fp32": "bit-fp32", "gpu": PROFILE, "short": PROFILE}
"""Tables beside that of the cell with some of its runs made otherwise, and the profile of each: in float32, on a GPU, and from a shorter pretraining."""
ARMS = {"init": ("pretraining on photographs", {"init": BIT_PHOTO}, {"init": "random"}), "mixup": ("mixup", {"mixup": "beta"}, {"mixup": "off"})}
"""What is compared, by axis: its name, the runs with it, and those without."""
CLAIMS = (1, 4)
"""What runs of one resolution and one schedule can be asked: what pretraining and mixup do."""


def _from_photographs(record: Record) -> bool:
    return pairs.setting(record)["init"] == BIT_PHOTO


@dataclass(frozen=True)
class PapersCell:
    """The recorded runs of the cell.

    Attributes:
        again: runs of the cell that were made otherwise, by the keys of :data:`AGAIN`.
        pretraining: record of the pretraining on photographs; None while there is none.
        shorter: the same of the shorter one.
    """

    real: RealStudy
    again: dict[str, list[Record]]
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
        beside = {name: results.with_name(f"{results.stem}-{name}.parquet") for name in AGAIN}
        again = {name: committed.read(beside[name], profile).of(committed.SENSITIVITY) for name, profile in AGAIN.items()}
        real = RealStudy.read(results, PROFILE)
        for name, records in again.items():
            images = [{images_of(record) for record in arm} for arm in (real.runs.records, records)]
            if all(images) and images[0] != images[1]:
                raise ValueError(f"{beside[name]} is about other images than {results}; move it away, or take both from one data set")
        made = upstream.of_large_network(folder / f"{BIT_PHOTO}.json"), upstream.of_large_network(beside["short"].with_suffix(".json"))
        starts = [{record.initialisation["sha256"] for record in arm if _from_photographs(record)} for arm in (real.runs.records, again["short"])]
        return cls(real, again, *(record if record and used <= {record["sha256"]} else None for record, used in zip(made, starts, strict=True)))

    @cached_property
    def records(self) -> list[Record]:
        return self.real.runs.of(committed.SENSITIVITY)

    @property
    def shown(self) -> Shown:
        return self.real.shown

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the runs say of the paper's sentences about pretraining and mixup."""
        return self.real.verdicts(CLAIMS)

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

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Accuracy and AUC of each start with and without mixup: columns init, mixup, measure, score (Estimate), runs."""
        rows = []
        for (init, mixup), members in pairs.grouped(self.records, ("init", "mixup")).items():
            right, patients = pairs.correctness(members, self.real.threshold)
            accuracy = pairs.accuracy_over_seeds(right, patients, seeds=pairs.seeds_of(members))
            rows += [(init, mixup, name, score, len(members)) for name, score in (("accuracy", accuracy), ("AUC", pairs.auc_over_seeds(members)))]
        return pd.DataFrame(rows, columns=["init", "mixup", "measure", "score", "runs"], dtype=object)

    def drawn(self) -> pd.DataFrame:
        """:attr:`cells` with mixup in words, for the figure."""
        found = self.cells
        return found.assign(mixup=[MIXUP[mixup] for mixup in found["mixup"]])

    def table(self) -> str:
        """The cells as a Markdown table, the mean over runs with its 95 % interval."""
        found = self.cells
        if found.empty:
            return NOT_RECORDED
        lines = [
            [style.named(init), MIXUP[mixup], part["runs"].iloc[0], *(score.percent() for score in part["score"])]
            for (init, mixup), part in found.groupby(["init", "mixup"], sort=False)
        ]
        return markup.table(["start", "mixup", "runs", "accuracy (95 % interval)", "AUC (95 % interval)"], lines)

    def finding(self) -> str:
        """What the figure shows."""
        found = self.cells
        said = [
            f"{MIXUP[mixup]}, {captions.each(dict(zip(part['init'], part['score'], strict=True)))}"
            for mixup, part in found[found["measure"] == "accuracy"].groupby("mixup", sort=False)
        ]
        return f"Mean test accuracy {'; '.join(said)}." if said else "Nothing is recorded of this cell yet."

    def differences(self) -> str:
        """What mixup, pretraining and the precision change, as a Markdown table of plain 95 % intervals over patients and seeds."""
        lines = []
        for init in dict.fromkeys(pairs.setting(record)["init"] for record in self.records):
            lines.append(self._line(f"mixup against none, from {named(init)}", {"init": init, "mixup": "beta"}, {"init": init, "mixup": "off"}))
        for mixup in ("off", "beta"):
            lines.append(self._line(f"photographs against random weights, {MIXUP[mixup]}", {"init": BIT_PHOTO, "mixup": mixup}, {"init": "random", "mixup": mixup}))
        lines += [self._row(name, *self._pairs(again)) for again, name in self._names().items()]
        kept = [line for line in lines if line]
        return markup.table(["difference", "pairs of runs", "accuracy (95 % interval)", "AUC (95 % interval)"], kept) if kept else NOT_RECORDED

    def _line(self, name: str, better: dict, worse: dict) -> list:
        return self._row(name, *pairs.partners(self.records, better, worse))

    def _row(self, name: str, first: list[Record], second: list[Record]) -> list:
        return first and [name, len(first), pairs.points(pairs.compare(first, second, self.real.threshold).estimate()), pairs.points(pairs.auc_difference(first, second))]

    def _names(self) -> dict[str, str]:
        """What is compared with the runs made otherwise, by the keys of :data:`AGAIN`."""
        passes = [f"{upstream.epochs(record['settings']):g}" if record else "fewer" for record in (self.pretraining, self.shorter)]
        return {
            "fp32": "bfloat16 against float32, from random weights, without mixup",
            "gpu": "one core against a GPU, from photographs",
            "short": f"{passes[0]} passes of pretraining against {passes[1]}",
        }

    def _pairs(self, again: str) -> tuple[list[Record], list[Record]]:
        """Runs of the cell, and the same ones made otherwise."""
        first, second = (pairs.by_setting(records, "precision") for records in (self.records, self.again[again]))
        shared = [run for run in first if run in second]
        return [first[run] for run in shared], [second[run] for run in shared]

    def otherwise(self) -> str:
        """How far runs in bfloat16 on a core are from the same ones in float32, and on a GPU, image by image."""
        return " ".join(self._otherwise(again, where, than) for again, where, than in (("fp32", "In float32", "bfloat16"), ("gpu", "On a GPU", "one core")))

    def _otherwise(self, again: str, where: str, than: str) -> str:
        first, second = self._pairs(again)
        if not first:
            return f"{where}: {NOT_RECORDED}."
        calls = [[record.table()["probability"].to_numpy() > self.real.threshold for record in arm] for arm in (first, second)]
        changed, images = int(np.sum(np.array(calls[0]) != np.array(calls[1]))), sum(map(len, calls[0]))
        gap = pairs.compare(first, second, self.real.threshold).estimate()
        nothing = ", which may be nothing" if gap.low <= 0 <= gap.high else ""
        said = f"{len(first)} {'run calls' if len(first) == 1 else 'runs call'} {changed:,} of {images:,} test images otherwise"
        return f"{where}, {said}; against it, {than} changes the accuracy by {pairs.points(gap)}{nothing}."

    def longer(self) -> str:
        """What a longer pretraining of the same network on the same photographs changed, in one sentence; empty if it is not recorded."""
        first, second = self._pairs("short")
        if not (first and self.pretraining and self.shorter):
            return ""
        accuracy, area = pairs.compare(first, second, self.real.threshold).estimate(), pairs.auc_difference(first, second)
        rule = self._by_the_rules(self.before.verdicts, " With these, by the rules of the verdicts,") if self.before else ""
        return (
            f"After {upstream.epochs(self.shorter['settings']):g} passes ({percentage(self.shorter['held_out_accuracy']):.1f} % of the validation photographs) the same runs were made too: "
            f"the longer pretraining changes their accuracy by {pairs.points(accuracy)} and the AUC by {pairs.points(area)}.{rule}"
        )

    @cached_property
    def before(self) -> PapersCell | None:
        """The cell as it was with the shorter pretraining; None unless each of its runs from photographs is there from that one too."""
        others = [record for record in self.records if not _from_photographs(record)]
        if len(self._pairs("short")[0]) < max(1, len(self.records) - len(others)):
            return None
        return replace(self, real=replace(self.real, runs=self.real.runs.with_records([*others, *self.again["short"]])))

    def answer(self, axes: Iterable[str] = ("init", "mixup")) -> str:
        """What pretraining and mixup change in test accuracy and AUC, each over all that is recorded, in one sentence."""
        said = []
        for name, better, worse in (ARMS[axis] for axis in axes):
            first, second = pairs.partners(self.records, better, worse)
            if first:
                accuracy = pairs.compare(first, second, self.real.threshold).estimate()
                said.append(f"{name} changes test accuracy by {pairs.points(accuracy)} and the AUC by {pairs.points(pairs.auc_difference(first, second))}")
            else:
                said.append(f"what {name} changes is {NOT_RECORDED}")
        return f"{'; '.join(said)} (95 % intervals, none adjusted for the others)."

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
        said = [f"{answer.result}: {answer.word}" for row in verdicts if row.number == 1 for answer in row.parts if answer.interval is not None]
        return f"{begun} pretraining changes the accuracy by {said[0]}." if said else ""

    def calls(self) -> str:
        """How often each start calls an image rightly at the threshold, by class, in one sentence: AUC does not see where a threshold falls."""
        said = []
        for (init,), members in pairs.grouped(self.records, ("init",)).items():
            found, kept = (pairs.correctness(members, self.real.threshold, positive)[0].mean() for positive in (True, False))
            said.append(f"from {named(init).partition(', ')[0]} {percentage(found):.1f} % of the positive images and {percentage(1 - kept):.1f} % of the negative ones")
        return f"At {percentage(self.real.threshold):g} % the networks, with and without mixup, call positive: {'; '.join(said)}. Accuracy hangs on where that threshold falls, the AUC does not." if said else ""

    def title(self) -> str:
        return self.shown.title("BiT-R50x1 in one cell of the paper's grid")

    def method(self) -> str:
        """How the runs were made: data, pretraining, precision, time."""
        if not self.records:
            return f"The runs of this cell: {NOT_RECORDED}."
        trained, planned = sum(self.records[0].data["training_images"].values()), self.real.runs.by_study()[committed.SENSITIVITY][1]
        theirs = sum(paper.training_images(label) for label in ("positive", "negative"))
        return (
            f"**How.** {len(self.records)} of {planned} runs are recorded, with {trained:,} training images (the paper has {theirs:,}) and {len(self.records[0].table())} test images. "
            f"{self.made()} The quickest run took {self.minutes()} minutes with one thread. {self.otherwise()} {self.longer()} All runs from photographs start "
            "from the same pretraining, so their intervals do not hold its chance."
        )
