"""From the records of a study to the numbers that a notebook shows: cells of a grid, paired differences, claims.

A grid cell is a set of records that differ in their seed only. Effects are paired: the same images and, row by row, the
same setting and seed in both arms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import accuracy_over_seeds, difference_over_seeds, verdict
from cxrlib.metrics.operating import Scores, rank_auc, resampled


@dataclass(frozen=True)
class Finding:
    """What our evidence says of a claim of the paper: a short result with its interval, and a verdict."""

    result: str
    verdict: str


def setting(record: Record) -> dict:
    """The axes along which records of a study differ, with the initialisation by its short name."""
    config = record.config
    return {
        "init": record.initialisation["name"],
        "resolution": (config["resize"], config["crop"]),
        "schedule": tuple(config["schedule"]),
        "mixup": config["mixup"],
        "images_per_class": config["images_per_class"],
        "seed": config["seed"],
    }


def correctness(records: Iterable[Record], threshold: float = 0.5, positive: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which test images each run got right.

    Args:
        records: at least one; all of one data set.
        threshold: positive if the probability is greater.
        positive: True for positive images only (their mean is the sensitivity), False for negative ones (specificity).

    Returns:
        Boolean array of shape (runs, images) and the patients, shape (images,).
    """
    rows, patients = [], None
    for record in records:
        table = record.table("test")
        if positive is not None:
            table = table[table["label"] == int(positive)]
        rows.append(((table["probability"] > threshold) == (table["label"] == 1)).to_numpy())
        patients = table["patient_id"].to_numpy()
    if patients is None:
        raise ValueError("no records were given")
    return np.stack(rows), patients


def cells(records: list[Record], by: list[str], threshold: float = 0.5) -> pd.DataFrame:
    """One row per cell of the grid ``by`` with its accuracy: columns of ``by``, 'accuracy' (Estimate) and 'runs'."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        axes = setting(record)
        groups.setdefault(tuple(axes[name] for name in by), []).append(record)
    rows = []
    for values, members in groups.items():
        estimate = accuracy_over_seeds(*correctness(members, threshold))
        rows.append(dict(zip(by, values, strict=True)) | {"accuracy": estimate, "runs": len(members)})
    # As objects: pandas would turn an Estimate into a bare float, and the interval would be gone.
    return pd.DataFrame(rows, dtype=object)


def effect(records: list[Record], axis: str, better: object, worse: object, threshold: float = 0.5, positive: bool | None = None) -> Estimate:
    """Accuracy with ``axis`` at ``better`` minus at ``worse``, over all settings and seeds that both have.

    Raises:
        ValueError: if no setting occurs with both values.
    """
    arms: list[dict[tuple, Record]] = [{}, {}]
    for record in records:
        axes = setting(record)
        for arm, value in zip(arms, (better, worse), strict=True):
            if axes[axis] == value:
                arm[tuple((name, axes[name]) for name in axes if name != axis)] = record
    shared = [key for key in arms[0] if key in arms[1]]
    if not shared:
        raise ValueError(f"no two records differ in {axis} only, {better} against {worse}")
    first, patients = correctness([arms[0][key] for key in shared], threshold, positive)
    second, _ = correctness([arms[1][key] for key in shared], threshold, positive)
    return difference_over_seeds(first, second, patients)


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent values (one per seed) with Student's t interval; NaN bounds for fewer than two values."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def mean_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of ``first`` minus mean of ``second``, independent samples without NaN, with a bootstrap interval."""
    from scipy import stats

    first, second = (values[np.isfinite(values)] for values in (np.asarray(first), np.asarray(second)))
    if min(len(first), len(second)) < 2:
        return Estimate(float(first.mean() - second.mean()) if len(first) and len(second) else np.nan)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis=axis) - b.mean(axis=axis)

    result = stats.bootstrap((first, second), statistic, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed))
    return Estimate(first.mean() - second.mean(), *result.confidence_interval)


def auc_difference(first: list[Record], second: list[Record], resamples: int = 1000, seed: int = 0) -> Estimate:
    """Mean AUC of ``first`` minus that of ``second``, with a percentile interval over resampled patients and seeds.

    Args:
        first, second: runs of the same seeds, in the same order, on the same test images.

    Returns:
        Difference in [-1, 1]; NaN if the test set lacks a class.
    """
    table = first[0].table()
    scores = np.stack([[record.table()["logit"].to_numpy(float) for record in arm] for arm in (first, second)])
    return auc_contrast(scores, table["label"].to_numpy(), table["patient_id"].to_numpy(), (1, -1), resamples, seed)


def auc_over_seeds(records: list[Record], resamples: int = 1000, seed: int = 0) -> Estimate:
    """Mean AUC of runs that differ in their seed, with a percentile interval over resampled patients and seeds."""
    table = records[0].table()
    scores = np.stack([[record.table()["logit"].to_numpy(float) for record in records]])
    return auc_contrast(scores, table["label"].to_numpy(), table["patient_id"].to_numpy(), (1,), resamples, seed)


def auc_contrast(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, contrast: tuple[int, ...], resamples: int = 1000, seed: int = 0
) -> Estimate:
    """A weighted sum of mean AUCs with a 95 % percentile interval over resampled patients and runs.

    Drawn as in :func:`cxrlib.metrics.operating.resampled`; NaN unless both classes occur.

    Args:
        scores: shape (arms, runs, images), any monotone score; the runs of all arms are paired.
        labels: 0 or 1, shape (images,).
        patients: identifiers, shape (images,).
        contrast: a weight per arm, such as (1, -1).
    """
    def total(scores: np.ndarray, labels: np.ndarray) -> float:
        return float(np.dot(contrast, rank_auc(scores, labels).mean(axis=0)))

    return resampled(Scores(np.swapaxes(scores, 0, 1), labels, patients), total, resamples, seed).estimate()


def points(difference: Estimate) -> str:
    """A difference of proportions as percentage points with its interval, such as '+3.1 points (0.8 to 5.2)'."""
    if np.isnan(difference.low):
        return f"{100 * difference:+.1f} points (no interval)"
    return f"{100 * difference:+.1f} points ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def combine(parts: dict[str, Estimate], text: Callable[[Estimate], str] = points) -> Finding:
    """A claim made of several differences, each expected above zero.

    Holds if every part holds, holds partly if some do, is contradicted if none holds and one points clearly the other
    way, and is otherwise not seen.
    """
    return Finding("; ".join(f"{name}: {text(part)}" for name, part in parts.items()), overall([verdict(part) for part in parts.values()]))


def overall(verdicts: list[str]) -> str:
    """The verdict on a claim from those on its parts, as :func:`combine` says."""
    if all(v == "holds" for v in verdicts):
        return "holds"
    if "holds" in verdicts:
        return "holds partly"
    return "contradicted" if "contradicted" in verdicts else "not seen"


def ordered_inits(records: list[Record], wanted: Iterable[str]) -> list[str]:
    """Initialisation names as recorded, in the order in which the study named them (a path becomes its file name)."""
    present = {record.initialisation["name"] for record in records}
    names = [name if name in present else name.replace("\\", "/").rsplit("/", 1)[-1] for name in wanted]
    return [name for name in names if name in present]
