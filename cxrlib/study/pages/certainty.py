"""How often a 95 % interval holds the truth: the simulation of ``make coverage``, as a table and in words."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

METHOD = "two-way analysis"
ALL, FEW = "all training images", "32 images per class"
COLUMNS = ["population", "method", "of", "metric", "seeds", "spread", "repeats", "covered", "below", "above", "width"]


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
            found[f"{name}_{which}"] = f"{100 * value:.1f}" if len(part) else "not recorded yet"
    own = table[(table["method"] == METHOD) & (table["population"] == ALL)]
    found |= {"coverage_cells": str(len(own)), "coverage_repeats": f"{own['repeats'].max():,}" if len(own) else "no"}
    return found
