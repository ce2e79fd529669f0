"""How often a 95 % interval holds the truth: the simulation of ``make coverage``, as a table and in words."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from cxrlib.metrics.estimate import percentage
from cxrlib.study import committed
from cxrlib.study.comparisons import design_of_paper, family_size
from cxrlib.study.verdicts import ALPHA

METHOD = "two-way analysis"
STARTS = ("random", "fractal-s", "fractal-m")
TWO_SEEDS, ADJUSTED = "two-way analysis, two seeds", "two-way analysis, adjusted as for verdicts"
"""The same method in other cells than those of the figure: with two seeds, and with the confidence of the intervals that decide verdicts."""
ALL, FEW = "all training images", "32 images per class"
COLUMNS = ["population", "method", "of", "metric", "seeds", "spread", "repeats", "covered", "below", "above", "width"]


def simulated_runs(results: Path) -> committed.Recorded:
    """The recorded runs whose patients and logits are simulated: of the starts of ``STARTS``, five seeds. They stay, whatever the profile asks for by now."""
    return committed.read(results, "quarter", inits=STARTS, seeds=tuple(range(5)))


def read(path: Path) -> pd.DataFrame:
    """A row per cell: population, method, of ('value' or 'difference'), metric, seeds, spread (a share), repeats, covered,
    below, above (shares of studies) and width (mean, a share). Empty if there is no such file.

    Raises:
        ValueError: if the file is something else.
    """
    if not Path(path).is_file():
        return pd.DataFrame(columns=COLUMNS)
    try:
        return pd.DataFrame(json.loads(Path(path).read_text(encoding="utf-8"))["rows"])[COLUMNS]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no table of coverage ({' '.join(str(error).split())}); 'make coverage' makes one") from None


def texts(table: pd.DataFrame) -> dict[str, str]:
    """Least and greatest coverage of the book's method in percent, how many cells and how many studies in each; for the page."""
    found = {}
    for name, population in (("coverage", ALL), ("coverage_few", FEW)):
        part = table[(table["method"] == METHOD) & (table["population"] == population)]
        for which, value in (("least", part["covered"].min()), ("greatest", part["covered"].max())):
            found[f"{name}_{which}"] = f"{percentage(value):.1f}" if len(part) else "not recorded yet"
    own = table[(table["method"] == METHOD) & (table["population"] == ALL)]
    found |= {"coverage_cells": str(len(own)), "coverage_repeats": f"{own['repeats'].max():,}" if len(own) else "no"}
    return found | _elsewhere(table, own)


def _elsewhere(table: pd.DataFrame, own: pd.DataFrame) -> dict[str, str]:
    """Where coverage is least, and what two seeds and the intervals of verdicts cover."""
    meant = 1 - ALPHA / family_size(design_of_paper())
    found = {"coverage_wanted": f"{percentage(meant):.2f}", "coverage_misses": "not recorded yet", "coverage_low": "not recorded yet", "coverage_two": "not recorded yet", "coverage_adjusted": "not recorded yet"}
    if len(own):
        low = own[(own["of"] == "difference") & (own["metric"] == "auc") & (own["seeds"] == 5)]["covered"]
        error = 100 * (0.95 * 0.05 / own["repeats"].max()) ** 0.5
        found["coverage_low"] = f"{percentage(low.min()):.1f} to {percentage(low.max()):.1f} % for differences in AUC with five seeds, where the simulation itself has a standard error of {error:.2f} points"
    two, adjusted = (table[table["method"] == method] for method in (TWO_SEEDS, ADJUSTED))
    if len(two):
        found["coverage_two"] = _range(two, 1)
    if len(adjusted):
        few, usual = (adjusted[(adjusted["seeds"] < 3) == fewer] for fewer in (True, False))
        found["coverage_adjusted"] = f"{_range(usual, 2)} of studies with three and five seeds, and in {_range(few, 2)} with two"
        found["coverage_misses"] = f"{(1 - usual['covered'].min()) / (1 - meant):.1f} times"
    return found


def _range(part: pd.DataFrame, digits: int) -> str:
    return f"{100 * part['covered'].min():.{digits}f} to {100 * part['covered'].max():.{digits}f} %"
