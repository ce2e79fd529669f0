"""Table 1: the paper's rows, ours below them, and what is lost on another test set."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cxrlib import markup
from cxrlib.metrics import classifier, two_way
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.metrics.inference import verdict
from cxrlib.metrics.operating import METRICS, Scores, contributions, performance_of
from cxrlib.study import paper
from cxrlib.study.pairs import points

ANSWERS = {"holds": "clearly lower on the external set", "contradicted": "clearly higher on the external set", "not seen": "no clear difference"}


def markdown(ours: Mapping[str, Mapping[str, Estimate]], nothing: str = "no runs", papers: bool = True) -> str:
    """Table 1 as a Markdown table.

    The paper's rows bear the 95 % intervals that their counts imply (Wilson); its AUCs and a row that contradicts itself
    have none.

    Args:
        ours: rows of ours, such as those of :func:`cxrlib.study.thresholds.performance`, by what stands in the first column: a
            text, or Markdown of :mod:`cxrlib.markup`.
        nothing: what to say if there are none.
        papers: whether the paper's rows stand above.
    """
    rows = []
    for row in paper.TABLE_1.values() if papers else ():
        implied = classifier.from_counts(**vars(row.counts)) if row.counts else None
        rows.append([f"{row.network} (paper)", *(_printed(getattr(row, name), name, implied) for name in METRICS)])
    rows += [[label, *(values[name].percent() for name in METRICS)] for label, values in ours.items()]
    return markup.table(_columns(), rows if ours else [*rows, ["ours", nothing, *[""] * (len(METRICS) - 1)]])


def _printed(value: float | None, name: str, implied: classifier.Evaluation | None) -> str:
    if value is None:
        return "–"
    if implied is None or name == "auc":
        return f"{value:.1f}"
    interval = getattr(implied, name)
    return f"{value:.1f} ({percentage(interval.low):.1f} to {percentage(interval.high):.1f})"


def _columns() -> list[str]:
    return ["network", *(name.upper() if name in ("ppv", "npv", "auc") else name for name in METRICS)]


def drops_markdown(drops: Mapping[str, Mapping[str, Estimate]]) -> str:
    """What :func:`drop` found, in percentage points, a row for each key of ``drops``, and below it how to read them."""
    rows = [[label, *("–" if np.isnan(found[name]) else points(found[name]) for name in METRICS)] for label, found in drops.items()]
    answers: dict[str, list[str]] = {}
    for label, found in drops.items():
        answers.setdefault(ANSWERS[verdict(found["auc"])], []).append(label if isinstance(label, markup.Inline) else markup.text(label))
    auc = "; ".join(f"{answer} for {', '.join(labels)}" for answer, labels in answers.items())
    explained = (
        "Here minus external, with 95 % intervals: the runs are the same on both sets and the patients are others, so nothing "
        "is paired over images. Accuracy, PPV and NPV also follow the share of positive images, which two sets need not have in common; "
        f"sensitivity, specificity and AUC do not. **AUC:** {auc}."
    )
    return f"{markup.table(_columns(), rows)}\n\n{explained}"


def drop(inside: Scores, outside: Scores, threshold: float = 0.5) -> dict[str, Estimate]:
    """How much greater each metric of Table 1 is on one test set than on another, for the same runs.

    The runs are the same networks, tested twice, and are paired; the patients are not, since the sets share none
    (:func:`cxrlib.metrics.two_way.less`). Where a metric is 0, or 1, in every run of one of the sets, the two intervals are
    combined instead (MOVER: Newcombe 1998; Zou & Donner 2008, Statistics in Medicine 27, 1693), because no fault seen is no
    proof of none.

    Args:
        inside, outside: logits of the same runs, in the same order.

    Returns:
        Inside minus outside, in [-1, 1], for each of ``METRICS``; NaN where a set has no such ratio.

    Raises:
        ValueError: if the two do not have equally many runs.
    """
    if len(inside.logits) != len(outside.logits):
        raise ValueError(f"{len(inside.logits)} runs were tested on the one set and {len(outside.logits)} on the other; give the same runs")
    found, rows = {}, [performance_of(data, threshold) for data in (inside, outside)]
    for name in METRICS:
        one, other = rows[0][name], rows[1][name]
        if {float(one), float(other)} & {0.0, 1.0}:
            down, up = math.hypot(one - one.low, other.high - other), math.hypot(one.high - one, other - other.low)
            found[name] = Estimate(one - other, one - other - down, one - other + up)
        else:
            found[name] = two_way.analyse(two_way.less(*(contributions(data, name, threshold) for data in (inside, outside)))).estimate()
    return found
