"""What the pages of the paper's experiments have in common: whose data they show, the answer in words, and what differs from the paper.

Recorded runs on real X-rays come first (:class:`RealStudy`), then the runs that were trained as a page was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrlib import markup
from cxrlib.config import RunConfig
from cxrlib.data.dataset import Dataset
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import percentage
from cxrlib.model.network import count_parameters, create_model
from cxrlib.study import committed, paper, verdicts
from cxrlib.study.claims import CLAIMS
from cxrlib.study.comparisons import compared, family_size
from cxrlib.study.parts import Part, network, upstream
from cxrlib.study.verdicts import CANNOT, CONTRADICTED, HOLDS, MIXED, NOT_RECORDED, NOT_SEEN, Judged, Verdict
from cxrlib.weights.registry import registry

REPLIES = {HOLDS: "yes", CONTRADICTED: "no", NOT_SEEN: "not seen", MIXED: "in part", NOT_RECORDED: NOT_RECORDED, CANNOT: CANNOT}
"""A word as a reply to a question."""
PAPERS_NETWORK = "resnetv2_50x1_bit"
DIFFERENCES = (
    "size of the images, px", "training steps", "images a step", "passes through all training images", "learning rate", "weights of the network", "training images", "test images",
    "largest upstream set", "runs of a setting",
)  # fmt: skip
"""Rows of the table of what differs from the paper."""


@dataclass(frozen=True)
class Shown:
    """A data set as a page shows it.

    Attributes:
        badge: key of :data:`cxrlib.study.figures.captions.BADGES`.
        name: of the folder.
        recorded: whether its runs were made beforehand.
    """

    badge: str
    name: str
    recorded: bool = False

    @classmethod
    def of(cls, dataset: Dataset) -> Shown:
        """The data that a notebook opened."""
        return cls("phantom" if dataset.is_phantom else "real", dataset.folder.resolve().name)

    @property
    def kind(self) -> str:
        return "phantoms" if self.badge == "phantom" else "real X-rays"

    @property
    def place(self) -> str:
        """Where a result was seen, for a sentence."""
        return self.kind if self.recorded else "the phantoms of this copy" if self.badge == "phantom" else "the X-rays of this copy"

    def title(self, said: str) -> str:
        """Of a figure."""
        name = "" if self.name == self.badge else f" ({self.name})"  # "Phantoms (phantom)" says nothing more
        return f"{self.kind[0].upper()}{self.kind[1:]}{name}: {said}"


@dataclass(frozen=True)
class RealStudy:
    """The recorded runs of a profile on real X-rays, the axes of its design, and the threshold at which it is read."""

    runs: committed.Recorded
    design: committed.Design
    threshold: float = 0.5

    @classmethod
    def read(cls, results: Path, profile: str, threshold: float = 0.5) -> RealStudy:
        """Raises what :func:`cxrlib.study.committed.read` does."""
        return cls(committed.read(results, profile), committed.Design.of_profile(profile), threshold)

    @property
    def shown(self) -> Shown:
        return Shown("real", self.runs.data_name(), recorded=True)

    def verdicts(self, claims: Iterable[int] | None = None, heat: Mapping[str, np.ndarray] | None = None) -> list[Verdict]:
        """The verdicts on some claims, by default on all nine; ``heat`` as in :func:`cxrlib.study.comparisons.compared`."""
        found = compared(self.runs.of_paper()[0], self.design, self.threshold, heat, claims)
        return verdicts.verdicts(found, family_size(self.design), self.runs.by_study())


def data_line(live: Shown, records: Sequence[Record], real: Shown | None = None, recorded: Sequence[Record] = (), more: str = "") -> str:
    """Whose data a page shows, in one line: the recorded, then those of this copy."""
    first = "" if real is None else f"recorded {markup.text(real.kind)} ({markup.code(real.name)}, {len(recorded)} runs), then "
    networks = markup.text(" and ".join(dict.fromkeys(network(record.config["arch"]) for record in records)))
    seeds = ", ".join(str(seed) for seed in sorted({record.config["seed"] for record in records}))
    live_text = f"{markup.code(live.name)} ({live.kind}), {len(records)} runs ({networks}; seeds {seeds})"
    return f"**Data shown on this page:** {first}{live_text}, trained as this page was made.{more}"


@dataclass(frozen=True)
class Asked:
    """A question of a page, and which part of a claim answers it.

    Attributes:
        said: what is asked about, such as 'A longer schedule'.
        claim: number of the claim.
        part: place of the part among those of the paper's claim that are not ours.
        comparison: place of one comparison of the part; None for all of them.
    """

    said: str
    claim: int
    part: int = 0
    comparison: int | None = None


def reply(rows: Iterable[Verdict], asked: Asked) -> str:
    """One question answered in words and points: 'A longer schedule: yes, +10.8 points'."""
    parts: dict[Part, list[Judged]] = {}
    for one in (one for row in rows if row.number == asked.claim for one in row.parts if not one.part.ours):
        parts.setdefault(one.part, []).append(one)
    found = list(parts.values())[asked.part] if len(parts) > asked.part else []
    found = found if asked.comparison is None else found[asked.comparison : asked.comparison + 1]
    values = [percentage(one.interval) for one in found if one.interval is not None]
    if not values:
        return f"{asked.said}: {NOT_RECORDED}"
    points = f"{values[0]:+.1f}" if len(values) == 1 else f"single comparisons from {min(values):+.1f} to {max(values):+.1f}"
    return f"{asked.said}: {REPLIES[verdicts.overall(one.word for one in found)]}, {points} points"


def answer(rows: Sequence[Verdict], questions: Iterable[Asked], shown: Shown, then: str = "") -> str:
    """What a page answers for one data set, as Markdown: a reply to each question in one sentence, and a second one that is given."""
    said = "; ".join(reply(rows, asked) for asked in questions)
    return " ".join(filter(None, [f"On {shown.place}, in test accuracy: {markup.text(said)}.", markup.text(then)]))


def largest_step(rows: Iterable[Verdict]) -> str:
    """The comparison with the greatest difference among those that hold, as a sentence."""
    held = [one for row in rows for one in row.parts if one.word == HOLDS and not one.part.ours and one.interval is not None]
    if not held:
        return "No single step is told from chance."
    best = max(held, key=lambda one: abs(float(one.interval)))
    return f"The largest step is {best.compared.name}, {percentage(best.interval):+.1f} points."


def differs(real: Sequence[Record], live: Sequence[Record] = (), shown: Shown | None = None, grid: bool = False) -> str:
    """What differs from the paper in numbers, as a Markdown table: the paper, the recorded runs, those of this copy if there are any.

    Args:
        grid: whether the page shows the paper's whole grid (Figure 4), or its one setting.
    """
    crops = [crop for _, crop in paper.FIGURE_4.resolutions] if grid else [paper.CHOSEN_RESOLUTION[1]]
    steps = [schedule[-1] for schedule in paper.FIGURE_4.schedules] if grid else [paper.CHOSEN_SCHEDULE[-1]]
    trained = sum(paper.training_images(label) for label in ("positive", "negative"))
    largest, theirs = paper.INITIALISATIONS["bit-m"], RunConfig()
    papers = [
        _range(crops), _range(steps), f"{theirs.batch_size}", _range(count * theirs.batch_size / trained for count in steps), f"{theirs.base_lr:g}", _millions(_weights(PAPERS_NETWORK, 3)),
        f"{trained:,}", f"{2 * paper.TEST_IMAGES_PER_CLASS}", f"{largest.images:,} photographs", "1",
    ]  # fmt: skip
    columns, heads = [papers, _numbers(real)], ["", "the paper", "real X-rays, recorded"]
    if shown is not None:
        columns, heads = [*columns, _numbers(live)], [*heads, f"{shown.kind}, this copy"]
    return markup.table(heads, zip(DIFFERENCES, *columns, strict=True))


def _numbers(records: Sequence[Record]) -> list[str]:
    if not records:
        return [NOT_RECORDED] * len(DIFFERENCES)
    networks = {(record.config["arch"], record.config["image_channels"]) for record in records}
    whole = [record for record in records if record.config["images_per_class"] is None]  # a pass through a few images is none through all
    known = registry()
    seen = [known[name] for record in records if (name := upstream(record.initialisation["name"])) in known and known[name].images]
    most = max(seen, key=lambda source: source.images, default=None)
    return [
        _range(record.config["crop"] for record in records),
        _range(record.config["schedule"][-1] for record in records),
        _range(record.config["batch_size"] for record in records),
        _range(record.config["schedule"][-1] * record.config["batch_size"] / sum(record.data["training_images"].values()) for record in whole),
        ", ".join(f"{rate:g}" for rate in sorted({record.config["base_lr"] for record in records})),
        ", ".join(_millions(_weights(*network)) for network in sorted(networks)),
        f"{max(sum(record.data['training_images'].values()) for record in records):,}",
        f"{max(len(record.table()) for record in records):,}",
        f"{most.images:,} {most.data.split()[-1]}" if most else "–",
        str(len({record.config["seed"] for record in records})),
    ]


def _range(values: Iterable[float]) -> str:
    """The least and the greatest; of values below 10 with one decimal, such as passes through a training set."""
    shown = [f"{value:,.1f}".removesuffix(".0") if value < 10 else f"{value:,.0f}" for value in sorted(set(values))]
    if not shown:
        return "–"
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def _weights(arch: str, channels: int) -> int:
    import torch

    with torch.device("meta"):
        return count_parameters(create_model(arch, "random", channels))


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} million"


def quotes(numbers: Iterable[int]) -> str:
    """The paper's own words for some claims, as Markdown quotations."""
    said = [f"> “{claim.quote}” ({markup.text(f'Zhao, Jiang and Qiu 2021, section {claim.section}, CC BY 4.0')})" for claim in CLAIMS if claim.number in set(numbers)]
    return "\n\n".join(said)
