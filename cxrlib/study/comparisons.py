"""The comparisons behind the parts of the paper's claims, over records: which runs, and what is measured on them.

What they say of a claim is decided in :mod:`cxrlib.study.verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cxrlib.experiment.record import Record
from cxrlib.metrics import operating, two_way
from cxrlib.metrics.auc import FEW
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.two_way import Measured
from cxrlib.study import paper
from cxrlib.study.committed import Design
from cxrlib.study.pairs import behind, correctness, partners, pretrainings, seeds_of, setting
from cxrlib.study.parts import PARTS, Part, named
from cxrlib.study.thresholds import performance, scores_of


@dataclass(frozen=True)
class Arms:
    """Two sides of a comparison by the values of their axes; ``worse`` is empty where a value is tested and no difference."""

    name: str
    better: dict
    worse: dict


@dataclass(frozen=True)
class Compared:
    """One comparison of a part of a claim.

    Attributes:
        measured: None while its runs are missing, or if they cannot tell.
        pairs: pairs of runs, or runs.
        settled: a word that needs no interval, such as one false positive against "none"; ``value`` is then what is shown.
        cannot: why these runs can never tell, such as one seed for a spread over seeds.
    """

    part: Part
    name: str
    measured: Measured | None = None
    pairs: int = 0
    settled: str = ""
    value: Estimate | None = None
    cannot: str = ""


def _upstreams(steps: Iterable[tuple[str, str]]) -> list[Arms]:
    return [Arms(f"{named(b)} against {named(a)}", {"init": b}, {"init": a}) for a, b in steps]


def _lengthening(design: Design, number: int) -> list[Arms]:
    """The first or second lengthening of the schedule."""
    return [
        Arms(f"{b[-1]:,} steps against {a[-1]:,} steps", {"schedule": b}, {"schedule": a})
        for place, (a, b) in enumerate(pairwise(design.schedules)) if place == number
    ]  # fmt: skip


def _on(design: Design) -> str | None:
    """The kind of mixup that a design compares with none."""
    return next((name for name in design.mixups if name != "off"), None) if "off" in design.mixups else None


def _pretrained(design: Design) -> list[tuple[str, str]]:
    return [(design.inits[0], init) for init in design.inits[1:]]


CONTRASTS: dict[str, Callable[[Design], list[Arms]]] = {
    "next upstream": lambda d: _upstreams(pairwise(d.inits)),
    "largest upstream": lambda d: _upstreams(_pretrained(d)[-1:]),
    "every pair": lambda d: _upstreams([*pairwise(d.inits), *([(d.inits[0], d.inits[-1])] if len(d.inits) > 2 else [])]),
    "pretrained": lambda d: [Arms(f"{named(a)} less {named(b)}", {"init": b}, {"init": a}) for a, b in _pretrained(d)],
    "every upstream": lambda d: [Arms(named(init), {"init": init}, {}) for init in d.inits],
    "next resolution": lambda d: [Arms(f"{b[1]} px against {a[1]} px", {"resolution": b}, {"resolution": a}) for a, b in pairwise(d.resolutions)],
    "first lengthening": lambda d: _lengthening(d, 0),
    "second lengthening": lambda d: _lengthening(d, 1),
    "bend": lambda d: [
        Arms(f"gain up to {b[-1]:,} steps less the gain after", {"schedule": b}, {"schedule": a, "longer": c}) for a, b, c in [d.schedules[:3]] if len(d.schedules) > 2
    ] if len(d.schedules) > 2 else [],
    "mixup": lambda d: [Arms("mixup against none", {"mixup": on}, {"mixup": "off"}) for on in [_on(d)] if on],
    "mixup less pretraining": lambda d: [
        Arms(f"{named(a)} with mixup against {named(b)} without", {"mixup": on, "init": a}, {"mixup": "off", "init": b}) for on in [_on(d)] if on for a, b in _pretrained(d)
    ],
    "pretrained at every size": lambda d: [
        Arms(f"{size} per class: {named(b)} against {named(a)}", {"init": b, "images_per_class": size}, {"init": a, "images_per_class": size})
        for size in d.sizes for a, b in _pretrained(d)
    ],
    "64 per class": lambda d: [Arms("64 against 128 per class", {"images_per_class": 64}, {"images_per_class": 128})] if {64, 128} <= set(d.sizes) else [],
    "COVID-Net": lambda d: [Arms("512 per class against COVID-Net", {}, {})],
    "positive less negative": lambda d: [Arms("heat on the chest, positive less negative", {"heat": "chest"}, {})],
    "negative less positive": lambda d: [Arms("heat on the edges, negative less positive", {"heat": "edges"}, {})],
    "called alike": lambda d: [Arms(f"the same among images called {name}", {"heat": f"called {name}"}, {}) for name in ("negative", "positive")],
}  # fmt: skip
"""What a part compares, for a design: a name and the values on both sides. No entry where the design has one value."""

SHOWN = {"sensitivity": "sensitivity, ", "npv": "NPV, ", "auc": "AUC, ", "change": "change between evaluations, ", "false positives": "negative images, "}
"""What stands before the names of comparisons that are not of accuracy."""


def design_of_paper() -> Design:
    """The axes of the paper's own experiments."""
    grid = paper.FIGURE_4
    return Design(grid.inits, grid.resolutions, grid.schedules, ("off", "beta"), paper.DATA_SIZES, paper.CHOSEN_RESOLUTION, paper.CHOSEN_SCHEDULE, "beta")


def planned(design: Design, claims: Iterable[int] | None = None) -> list[tuple[Part, Arms | None]]:
    """Every comparison of every part, in order; None for a part of which the design has one value only."""
    wanted = [part for part in PARTS if claims is None or part.claim in claims]
    return [(part, arms and replace(arms, name=f"{SHOWN.get(part.measure, '')}{arms.name}")) for part in wanted for arms in CONTRASTS[part.contrast](design) or [None]]


def family_size(design: Design) -> int:
    """Comparisons that intervals are adjusted for: all that the paper's own design gives, or this one if it gives more.

    It does not depend on what is recorded, on other pages or on results.
    """
    return max(
        sum(arms is not None and part.runs != "none" and part.measure != "false positives" for part, arms in planned(either)) for either in (design, design_of_paper())
    )


def contributions(records: list[Record], measure: str, threshold: float) -> np.ndarray:
    """Contributions (seeds, patients) to a metric of Table 1, averaged over the settings of each seed, in the order of the seeds."""
    values = operating.contributions(scores_of([record.table() for record in records]), measure, threshold)
    return two_way.over_seeds(values, seeds_of(records))


def measure(records: list[Record], arms: Arms, metric: str, threshold: float) -> tuple[Measured | None, int]:
    """A metric of Table 1, ``better`` less ``worse`` or alone, and how many pairs of runs, or runs, there are."""
    if not arms.worse:
        chosen = [record for record in records if all(setting(record)[name] == value for name, value in arms.better.items())]
        return (_analysed(contributions(chosen, metric, threshold), chosen, metric, threshold, pretrainings(chosen), bounded=True) if chosen else None), len(chosen)
    longer = arms.worse.get("longer")
    first, second = partners(records, arms.better, {name: value for name, value in arms.worse.items() if name != "longer"})
    if longer is not None:  # twice the middle less both ends: the bend of three schedules
        third = {_but_schedule(middle): end for middle, end in zip(*partners(records, arms.better, {"schedule": longer}), strict=True)}
        kept = [place for place, record in enumerate(first) if _but_schedule(record) in third]
        first, second = ([arm[place] for place in kept] for arm in (first, second))
        third = [third[_but_schedule(record)] for record in first]
    if not first:
        return None, 0
    found = contributions(first, metric, threshold) - contributions(second, metric, threshold)
    if longer is not None:
        found = found + contributions(first, metric, threshold) - contributions(third, metric, threshold)
    return _analysed(found, first + second, metric, threshold, pretrainings(first, second), reach=2 if longer is not None else 1), len(first)


def _analysed(found: np.ndarray, records: list[Record], metric: str, threshold: float, groups: list, bounded: bool = False, reach: int = 1) -> Measured:
    """:func:`cxrlib.metrics.two_way.analyse`, but no error where too few patients are behind an AUC; ``reach``: by how much a patient can move the value."""
    patients = behind(records, metric, threshold)
    if metric == "auc" and patients < FEW:
        return Measured(float(found.mean()), bounded=bounded)
    return two_way.analyse(found, groups, bounded, patients // reach)


def _but_schedule(record: Record) -> tuple:
    return tuple((name, value) for name, value in setting(record).items() if name != "schedule")


def calmness(records: list[Record], arms: Arms) -> tuple[Measured | None, int]:
    """Mean change of test accuracy between evaluations in the first half of training: ``worse`` less ``better``; t over seeds."""
    first, second = partners(records, arms.better, arms.worse)
    if len(first) < 2:
        return None, len(first)
    gaps = np.array([_swing(b) - _swing(a) for a, b in zip(first, second, strict=True)])
    if not np.isfinite(gaps).all():
        return None, len(first)
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return Measured(float(gaps.mean()), error if error > 0 else math.nan, len(gaps) - 1), len(first)


def _swing(record: Record) -> float:
    curve = record.curve()
    return float(curve.loc[curve["step"] <= record.config["schedule"][-1] / 2, "test_accuracy"].diff().abs().mean())


def compared(
    records: list[Record], design: Design, threshold: float = 0.5, heat: Mapping[str, np.ndarray] | None = None, claims: Iterable[int] | None = None
) -> list[Compared]:
    """Every comparison of every part of the claims.

    Args:
        records: runs of one data set; those that no part asks for do no harm.
        heat: contributions to differences in Grad-CAM's heat, of :func:`cxrlib.study.pages.heat.differences`, for claim 9.
        claims: numbers of the claims; all nine by default.
    """
    full = [r for r in records if r.config["images_per_class"] is None]
    chosen = {"resolution": design.resolution, "schedule": design.schedule, "mixup": design.mixup}
    runs = {"grid": full, "few": [r for r in records if r.config["images_per_class"] is not None], "none": []}
    runs["setting"] = [r for r in full if all(setting(r)[name] == value for name, value in chosen.items())]
    found = []
    for part, arms in planned(design, claims):
        if part.runs == "none" or arms is None:
            found.append(Compared(part, arms.name if arms else part.says, cannot=part.note if part.runs == "none" else "these runs have one value of this axis"))
        elif part.measure == "false positives":
            found.append(_false_positives(part, arms, runs["setting"], threshold))
        elif part.runs == "heat":
            values = (heat or {}).get(arms.better["heat"])
            found.append(Compared(part, arms.name) if values is None else Compared(part, arms.name, two_way.analyse(values), len(values)))
        elif part.measure == "change":
            measured, count = calmness(runs["setting"], arms)
            found.append(Compared(part, arms.name, measured, count, cannot="too few evaluations or seeds" if measured is None and count else ""))
        else:
            found.append(Compared(part, arms.name, *measure(runs[part.runs], arms, part.measure, threshold)))
    return found


def _false_positives(part: Part, arms: Arms, records: list[Record], threshold: float) -> Compared:
    """Whether any negative image was called positive by any run: one is enough to settle it."""
    chosen = [record for record in records if setting(record)["init"] == arms.better["init"]]
    if not chosen:
        return Compared(part, arms.name)
    wrong = int((~correctness(chosen, threshold, positive=False)[0]).sum())
    return Compared(part, arms.name, None, len(chosen), "contradicted" if wrong else "holds", performance(chosen, threshold)["specificity"])


def against(found: Mapping[str, list[Record]], reference: str, threshold: float = 0.5) -> dict[str, dict[str, Estimate]]:
    """Accuracy and AUC of each group of runs less those of a reference, over the seeds that both have.

    Intervals and p-values are adjusted for the number of groups (Bonferroni), so that all hold at once.

    Args:
        found: runs by name, those of the reference among them.

    Returns:
        By name 'accuracy' and 'AUC'; groups without a seed of the reference are left out.
    """
    others = {record.config["seed"]: record for record in found.get(reference, [])}
    arms = {}
    for name, members in found.items():
        shared = [(record, others[record.config["seed"]]) for record in members if record.config["seed"] in others]
        if name != reference and shared:
            arms[name] = [list(arm) for arm in zip(*shared, strict=True)]
    answers: dict[str, dict[str, Estimate]] = {}
    for name, (first, second) in arms.items():
        for shown, metric in (("accuracy", "accuracy"), ("AUC", "auc")):
            difference = contributions(first, metric, threshold) - contributions(second, metric, threshold)
            estimate = two_way.analyse(difference, pretrainings(first, second), behind=behind(first + second, metric, threshold)).estimate(1 - 0.05 / len(arms))
            p_value = min(1.0, len(arms) * estimate.p_value)
            answers.setdefault(name, {})[shown] = Estimate(estimate, estimate.low, estimate.high, p_value)
    return answers
