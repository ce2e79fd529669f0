"""How much a test set can tell: differences between published counts, how many images would be enough, and what choosing on it costs.

Sources: Newcombe 1998 (Statistics in Medicine 17, 873, method 10: difference of two proportions); McNemar 1947, exact form;
Connor 1987 (Biometrics 43, 207: images for a paired comparison); Cawley & Talbot 2010 (JMLR 11, 2079: optimism of selection).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate, normal_quantile
from cxrlib.metrics.operating import halves
from cxrlib.study.pairs import GOES_WITH, compare, correctness, mean_interval, setting


def _cells(records: list[Record]) -> dict[tuple, list[Record]]:
    """Records that differ in their seed only, for the seeds of :func:`_shared_seeds`."""
    found: dict[tuple, list[Record]] = {}
    for record in records:
        found.setdefault(tuple((k, v) for k, v in setting(record).items() if k != "seed"), []).append(record)
    return _shared_seeds(found)


def _shared_seeds(cells: dict[tuple, list[Record]]) -> dict[tuple, list[Record]]:
    """The runs of each cell in the order of the seeds that every cell has; if there is none, only cells with the most seeds."""
    found = {key: {record.config["seed"]: record for record in runs} for key, runs in cells.items()}
    if not found:
        return {}
    if not set.intersection(*map(set, found.values())):
        most = max(len(runs) for runs in found.values())
        found = {key: runs for key, runs in found.items() if len(runs) == most}
    shared = set.intersection(*map(set, found.values()))
    return {key: [runs[seed] for seed in sorted(shared)] for key, runs in found.items()} if shared else {}


def best_setting(records: list[Record], threshold: float = 0.5) -> list[Record]:
    """The runs of the setting with the highest mean accuracy on the test images: chosen on them, so its score there flatters. Empty without records."""
    return max(_cells(records).values(), key=lambda runs: correctness(runs, threshold)[0].mean(), default=[])


class Optimism(NamedTuple):
    """Mean accuracies of the cell chosen on one half of the test patients: on that half, and on the other; over the splits."""

    cells: int
    runs: int
    chosen_on: float
    other: float
    gain: Estimate
    winners: int


def optimism(records: list[Record], threshold: float = 0.5, repeats: int = 200, fewest: int = 2) -> Optimism | None:
    """What choosing the best setting on test images adds to its accuracy there; None with less than ``fewest`` complete settings.

    Test patients are split into halves again and again; the setting with the best mean accuracy on one half is scored on
    both. ``gain`` is the mean difference with the range of the middle 95 % of splits, which is no confidence interval: all
    splits are of one test set. ``winners`` counts the settings that were chosen at least once.
    """
    cells = _cells(records)
    if len(cells) < max(fewest, 2):
        return None
    shares = np.stack([correctness(runs, threshold)[0].mean(axis=0) for runs in cells.values()])
    table = next(iter(cells.values()))[0].table()
    labels, patients = table["label"].to_numpy(), table["patient_id"].to_numpy()
    here, there, best = [], [], set()
    for repeat in range(repeats):
        half = halves(labels, patients, repeat)
        for side in (0, 1):
            winner = int(shares[:, half == side].mean(axis=1).argmax())
            best.add(winner)
            here.append(shares[winner, half == side].mean())
            there.append(shares[winner, half != side].mean())
    # A half that is easier than the other would look like optimism; both sides of a split are taken, so it cancels.
    gain = (np.array(here) - np.array(there)).reshape(repeats, 2).mean(axis=1)
    runs = sum(len(members) for members in cells.values())
    return Optimism(len(cells), runs, float(np.mean(here)), float(np.mean(there)), Estimate(gain.mean(), *np.quantile(gain, [0.025, 0.975])), len(best))


def by_validation(records: list[Record], axes: Sequence[str] = ("base_lr",), threshold: float = 0.5) -> pd.DataFrame:
    """The values of some axes chosen on validation images beside those chosen on test images, for groups alike in all else.

    Args:
        records: any; those without validation images, and groups with one setting, are left out.
        axes: fields of the configuration that are chosen.

    Returns:
        Columns arch, init, settings, runs, chosen on validation, its validation accuracy, its test accuracy, chosen on test,
        its test accuracy there, and cost: the second test accuracy less the first (Estimate over patients and seeds, with
        both choices as given). Accuracies are means over the seeds that all settings of a group have; a choice is a tuple of
        values. Empty if no record held out validation images.
    """
    chosen = {*axes, "seed", *(name for axis in axes for name in GOES_WITH.get(axis, ()))}
    groups: dict[str, dict[tuple, list[Record]]] = {}
    for record in records:
        if record.config["validation_fraction"]:
            alike = {k: v for k, v in record.config.items() if k not in chosen} | {"init": record.initialisation["name"]}
            value = tuple(tuple(v) if isinstance(v := record.config[axis], list) else v for axis in axes)
            groups.setdefault(json.dumps(alike, sort_keys=True), {}).setdefault(value, []).append(record)
    rows = []
    for key, found in sorted(groups.items()):
        values = _shared_seeds(found)
        if len(values) > 1:
            scored = {v: [np.mean([_accuracy(r, split, threshold) for r in runs]) for split in ("validation", "test")] for v, runs in values.items()}
            valid, test = (max(scored, key=lambda v, i=i: scored[v][i]) for i in (0, 1))
            alike = json.loads(key)
            rows.append(
                {"arch": alike["arch"], "init": alike["init"], "settings": len(values), "runs": sum(map(len, values.values()))}
                | {"chosen on validation": valid, "its validation accuracy": scored[valid][0], "its test accuracy": scored[valid][1]}
                | {"chosen on test": test, "its test accuracy there": scored[test][1], "cost": _cost(values[test], values[valid], threshold)}
            )
    return pd.DataFrame(rows, dtype=object)


def _cost(chosen_on_test: list[Record], chosen_on_validation: list[Record], threshold: float) -> Estimate:
    """Paired difference in test accuracy over the same seeds; 0 if they are the same setting."""
    if chosen_on_test is chosen_on_validation:
        return Estimate(0.0, 0.0, 0.0, 1.0)
    return compare(chosen_on_test, chosen_on_validation, threshold).estimate()


class Agreement(NamedTuple):
    """How validation and test accuracy go together over settings: Spearman's correlation of the means over seeds, with the
    interval of Bonett & Wright (2000, Psychometrika 65, 23) over settings, and validation less test accuracy, with Student's
    t interval over seeds."""

    settings: int
    correlation: Estimate
    gap: Estimate


def agreement(records: list[Record], threshold: float = 0.5) -> Agreement | None:
    """Whether validation and test images order the settings alike; None with less than four settings that held out images."""
    from scipy.stats import spearmanr

    cells = _cells([record for record in records if record.config["validation_fraction"]])
    if len(cells) < 4:
        return None
    scored = np.array([[[_accuracy(r, split, threshold) for r in runs] for split in ("validation", "test")] for runs in cells.values()])
    rank = float(np.clip(spearmanr(*scored.mean(axis=2).T).statistic, -1, 1))
    half = normal_quantile(0.95) * math.sqrt((1 + rank**2 / 2) / (len(cells) - 3))
    with np.errstate(divide="ignore"):
        ends = np.tanh(np.arctanh(rank) + np.array([-half, half]))
    return Agreement(len(cells), Estimate(rank, *ends), mean_interval((scored[:, 0] - scored[:, 1]).mean(axis=0)))


def _accuracy(record: Record, split: str, threshold: float) -> float:
    table = record.table(split)
    return float(((table["probability"] > threshold) == (table["label"] == 1)).mean())
