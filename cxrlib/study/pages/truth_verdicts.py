"""Two verdicts that need truth: claim 9 against masks that radiologists drew, and whether a network tells the disease or the source.

They follow the rules of :mod:`cxrlib.study.parts`: an interval that is adjusted for all comparisons of the paper's design and
for these, and a word that follows from it. The second is no claim of the paper, which does not ask; its title speaks of detection.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cxrlib.metrics import two_way
from cxrlib.study.claims import WITH_TRUTH
from cxrlib.study.comparisons import Compared, design_of_paper, family_size
from cxrlib.study.pages import looking
from cxrlib.study.pages.across import BALANCED, COLLECTION, Across
from cxrlib.study.parts import SAME, Part
from cxrlib.study.truth import APART
from cxrlib.study.verdicts import Verdict, judge, overall

HEAT, SOURCE = 9, 10
EVIDENCE = {HEAT: "Figure 8: four images", SOURCE: "no test set of another source"}
NAMES = {
    "lungs": "heat in the lungs, positive less negative", "frame": "heat in the outer eighth, negative less positive", "within": "share of the lungs' heat less share of their area",
    "fall": "AUC at home less elsewhere", "auc": "AUC in the balanced part",
}  # fmt: skip
"""What is compared, by the measure of a part."""
PARTS: tuple[Part, ...] = (
    Part(
        HEAT, "positive images have more of the heat in the lungs that radiologists drew",
        "for the SARS-CoV-2-positive cases, the region of interest in the chest could be well localized", "4.4", "lungs", "positive less negative", "heat",
        note="the negatives are other pneumonias",
    ),
    Part(
        HEAT, "negative images with masks have more of the heat on the edges",
        "for the SARS-CoV-2-negative cases, the model appeared more interested in the edges", "4.4", "frame", "negative less positive", "heat",
    ),
    Part(
        HEAT, "of the heat in the lungs more lies on opacities than of their area", "a map that lies on the lungs need not lie on the disease",
        "4.4", "within", "heat less area", "heat", ours=True,
    ),
    Part(
        SOURCE, "the AUC falls by no more than a point in another collection, which holds both classes", "COVID-19 Detection from Chest X-ray Images", "title",
        "fall", "at home less elsewhere", "truth", -math.inf, SAME,
        note="that collection was put together from many channels, and its negatives are mostly other pneumonias, which are harder",
    ),
    Part(
        SOURCE, "it tells the classes apart where each channel has as many of either", "COVID-19 Detection from Chest X-ray Images", "title",
        "auc", "balanced", "truth", 0.5, note="50 % is chance",
    ),
)  # fmt: skip


def compared(heat: pd.DataFrame | None, across: Across | None) -> list[Compared]:
    """Every part with what was measured; None where its records are missing.

    Args:
        heat: of :func:`cxrlib.study.pages.attention.read`; the network with the most upstream data counts.
        across: of :func:`cxrlib.study.pages.across_tables.opened`; networks trained as usual count.
    """
    found = {}
    if heat is not None:
        maps = looking.chosen(heat, APART, looking.networks(heat)[-1])
        found |= looking.contrasts(maps) | {"within": looking.within_contrast(maps)}
    if across is not None:
        values = {"fall": across.losses(APART, COLLECTION), "auc": across.area(APART, BALANCED)}
        found |= {name: value for name, value in values.items() if value is not None}
    return [Compared(part, NAMES[part.measure]) if part.measure not in found else _compared(part, found[part.measure]) for part in PARTS]


def _compared(part: Part, contributions: np.ndarray) -> Compared:
    runs = len(contributions)
    name = f"{NAMES[part.measure]}, {runs} {'network' if runs == 1 else 'networks'}"
    return Compared(part, name, two_way.analyse(contributions, bounded=part.measure == "auc"), runs)


def verdicts(heat: pd.DataFrame | None, across: Across | None) -> list[Verdict]:
    """Both verdicts."""
    answers = judge(compared(heat, across), family_size(design_of_paper()) + len(PARTS))
    rows = []
    for claim in WITH_TRUTH:
        mine = tuple(answer for answer in answers if answer.part.claim == claim.number)
        rows.append(Verdict(claim.number, claim.title, EVIDENCE[claim.number], mine, overall(answer.word for answer in mine if not answer.part.ours)))
    return rows
