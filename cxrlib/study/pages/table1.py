"""Table 1: the paper's rows, ours below them, and what is lost on another test set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cxrlib import markup
from cxrlib.metrics import classifier
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import verdict
from cxrlib.metrics.operating import METRICS, Scores, drawn_images, images_by_patient, mean_metrics, patients_behind
from cxrlib.study import paper
from cxrlib.study.pairs import points

ANSWERS = {"holds": "clearly lower on the external set", "contradicted": "clearly higher on the external set", "not seen": "no clear difference"}


def markdown(ours: Mapping[str, Mapping[str, Estimate]], nothing: str = "no runs") -> str:
    """Table 1 as a Markdown table.

    The paper's rows bear the 95 % intervals that their counts imply (Wilson); its AUCs and a row that contradicts itself
    have none.

    Args:
        ours: rows of ours, such as those of :func:`cxrlib.study.thresholds.performance`, by what stands in the first column: a
            text, or Markdown of :mod:`cxrlib.markup`.
        nothing: what to say if there are none.
    """
    rows = []
    for row in paper.TABLE_1.values():
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
    return f"{value:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


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
        "Here minus external, with 95 % intervals: the patients of the two sets are resampled apart and the runs together, so nothing "
        "is paired over images. Accuracy, PPV and NPV also follow the share of positive images, which two sets need not have in common; "
        f"sensitivity, specificity and AUC do not. **AUC:** {auc}."
    )
    return f"{markup.table(_columns(), rows)}\n\n{explained}"


def drop(inside: Scores, outside: Scores, threshold: float = 0.5, resamples: int = 4000, seed: int = 0) -> dict[str, Estimate]:
    """How much greater each metric of Table 1 is on one test set than on another, for the same runs.

    A resample draws the runs once, since the same networks are tested twice, and the patients of each set on their own,
    since the sets share none; of both, one fewer than there are (:mod:`cxrlib.metrics.inference`). A ratio that does not vary
    in one of the sets is drawn from Jeffreys' posterior for all, or none, of its patients; an AUC that does not vary
    leaves the difference without an interval.

    Args:
        inside, outside: logits of the same runs, in the same order.

    Returns:
        Inside minus outside, in [-1, 1], for each of ``METRICS``; NaN where a set has no such ratio.

    Raises:
        ValueError: if the two do not have equally many runs.
    """
    runs, sets = len(inside.logits), (inside, outside)
    if runs != len(outside.logits):
        raise ValueError(f"{runs} runs were tested on the one set and {len(outside.logits)} on the other; give the same runs")
    random = np.random.default_rng(seed)
    members = [images_by_patient(data.patients) for data in sets]
    draws = np.empty((2, resamples, len(METRICS)))
    for number in range(resamples):
        chosen = random.integers(runs, size=max(runs - 1, 1))
        for which, data in enumerate(sets):
            images = drawn_images(data.labels, members[which], random)
            if images is None:  # one patient of each class
                draws[which, number] = np.nan
                continue
            draws[which, number] = mean_metrics(data.logits[np.ix_(chosen, images)], data.labels[images], threshold)
    values = [mean_metrics(data.logits, data.labels, threshold) for data in sets]
    found = {}
    for column, name in enumerate(METRICS):
        one, other = (_varied(draws[which, :, column], values[which][column], name, sets[which], random) for which in (0, 1))
        ends = np.nanquantile(one - other, [0.025, 0.975]) if np.isfinite(one - other).any() else ()
        found[name] = Estimate(values[0][column] - values[1][column], *ends)
    return found


def _varied(draws: np.ndarray, value: float, name: str, data: Scores, random: np.random.Generator) -> np.ndarray:
    """Draws of a metric; if they are all 0, or all 1, those of a posterior in their place, and for an AUC none."""
    if value not in (0, 1) or (np.isfinite(draws).any() and np.nanmin(draws) < np.nanmax(draws)):
        return draws
    if name == "auc":
        return np.full_like(draws, np.nan)
    patients = patients_behind(data, name)
    return random.beta(value * patients + 0.5, (1 - value) * patients + 0.5, size=len(draws))
