"""How much a test set can tell: differences between published counts, how many images would be enough, and what choosing on it costs.

Sources: Newcombe 1998 (Statistics in Medicine 17, 873, method 10: difference of two proportions); McNemar 1947, exact form;
Connor 1987 (Biometrics 43, 207: images for a paired comparison); Cawley & Talbot 2010 (JMLR 11, 2079: optimism of selection).
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrlib.estimates import Estimate, normal_quantile
from cxrlib.metrics import wilson
from cxrlib.operating import halves
from cxrlib.records import Record
from cxrlib.study import correctness, setting


def newcombe(right_a: int, n_a: int, right_b: int, n_b: int) -> Estimate:
    """Share a minus share b of independent samples: Newcombe's interval from Wilson's, and Fisher's exact p-value."""
    from scipy.stats import fisher_exact

    a, b = wilson(right_a, n_a), wilson(right_b, n_b)
    low = a - b - math.hypot(a - a.low, b.high - b)
    high = a - b + math.hypot(a.high - a, b - b.low)
    return Estimate(a - b, low, high, fisher_exact([[right_a, n_a - right_a], [right_b, n_b - right_b]]).pvalue)


def mcnemar_bounds(right_a: int, right_b: int, n: int) -> tuple[float, float]:
    """Least and greatest exact McNemar p-value of two models on the same n images, over all ways in which their errors may overlap.

    A paper that prints only totals leaves open which images each model got wrong; the p-value cannot lie outside.
    """
    from scipy.stats import binomtest

    gap = right_a - right_b
    found = []
    for only_a in range(max(gap, 0), min(right_a, n - right_b) + 1):
        only_b = only_a - gap
        if 0 <= only_b <= min(right_b, n - right_a):
            found.append(binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    return float(min(found)), float(max(found))


def images_independent(share_a: float, share_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test images for each of two models, on two sets of images, to find the difference (two-sided, arcsine transformed)."""
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    return math.ceil(NormalIndPower().solve_power(proportion_effectsize(share_a, share_b), alpha=alpha, power=power))


def images_paired(share_a: float, share_b: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test images that both models see (Connor 1987), if on a share ``discordant`` of them exactly one is right.

    ValueError if ``discordant`` is below the difference of the shares, which cannot be.
    """
    gap = abs(share_a - share_b)
    if not gap - 1e-12 <= discordant <= 1:
        raise ValueError(f"discordant must lie between the difference {gap:.4g} and 1, not {discordant}")
    root = normal_quantile(1 - alpha) * math.sqrt(discordant) + normal_quantile(2 * power - 1) * math.sqrt(max(discordant - gap**2, 0))
    return math.ceil(root**2 / gap**2)


def _cells(records: list[Record]) -> dict[tuple, list[Record]]:
    """Records that differ in their seed only, for the seeds that every cell has; cells with fewer seeds than most are left out."""
    found: dict[tuple, dict[int, Record]] = {}
    for record in records:
        axes = setting(record)
        found.setdefault(tuple((k, v) for k, v in axes.items() if k != "seed"), {})[axes["seed"]] = record
    if not found:
        return {}
    most = max(len(runs) for runs in found.values())
    full = [key for key, runs in found.items() if len(runs) == most]
    shared = set.intersection(*(set(found[key]) for key in full))
    return {key: [found[key][seed] for seed in sorted(shared)] for key in full} if shared else {}


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


def by_validation(records: list[Record], axis: str = "base_lr", threshold: float = 0.5) -> pd.DataFrame:
    """The value of one axis chosen on validation images beside the one chosen on test images, for groups alike in all else.

    Args:
        records: any; those without validation images, and groups with one value of the axis, are left out.
        axis: a field of the configuration.

    Returns:
        Columns arch, init, runs, chosen on validation, its test accuracy, chosen on test, its test accuracy there (two
        accuracies are means over seeds). Empty if no record held out validation images.
    """
    groups: dict[str, dict[object, list[Record]]] = {}
    for record in records:
        if record.config["validation_fraction"]:
            alike = {k: v for k, v in record.config.items() if k not in ("seed", axis)} | {"init": record.initialisation["name"]}
            groups.setdefault(json.dumps(alike, sort_keys=True), {}).setdefault(record.config[axis], []).append(record)
    rows = []
    for key, values in sorted(groups.items()):
        if len(values) > 1:
            scored = {v: [np.mean([_accuracy(r, split, threshold) for r in runs]) for split in ("validation", "test")] for v, runs in values.items()}
            valid, test = (max(scored, key=lambda v, i=i: scored[v][i]) for i in (0, 1))
            alike = json.loads(key)
            rows.append(
                {"arch": alike["arch"], "init": alike["init"], "runs": sum(map(len, values.values())), "chosen on validation": valid}
                | {"its test accuracy": scored[valid][1], "chosen on test": test, "its test accuracy there": scored[test][1]}
            )
    return pd.DataFrame(rows)


def _accuracy(record: Record, split: str, threshold: float) -> float:
    table = record.table(split)
    return float(((table["probability"] > threshold) == (table["label"] == 1)).mean())
