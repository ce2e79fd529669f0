"""Where the threshold falls: sensitivity at equal specificity, calibration, and predictive values at any prevalence.

All over several runs (seeds) of one setting. Resamples draw patients, with all their images, and runs, one unit fewer
than there is (see :mod:`cxrlib.metrics.inference`). The same seed draws the same patients and runs for every initialisation, so
differences of draws are paired.

Sources: Youden 1950 and Altman & Bland 1994 (predictive values depend on prevalence); Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.experiment.record import Record
from cxrlib.metrics.classifier import fit_temperature, ppv_npv_at_prevalence
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.operating import (
    METRICS,
    Drawn,
    Scores,
    cuts,
    drawn_of,
    patients_behind,
    performance_of,
    resampled,
    sensitivity_at,
)


def scores(records: list[Record]) -> Scores:
    """Logits of the test images. ValueError if the runs were tested on different images."""
    return scores_of([record.table() for record in sorted(records, key=lambda record: record.config["seed"])])


def scores_of(tables: list[pd.DataFrame]) -> Scores:
    """Logits of the tables of several runs, in the order of their seeds: columns file, patient_id, label and logit."""
    if any(not table["file"].equals(tables[0]["file"]) for table in tables):
        raise ValueError("the runs were tested on different images")
    first = tables[0]
    return Scores(np.stack([t["logit"].to_numpy(float) for t in tables]), first["label"].to_numpy(), first["patient_id"].to_numpy())


def drawn_metrics(records: list[Record], threshold: float = 0.5, resamples: int = 4000) -> Drawn:
    """:func:`mean_metrics` resampled; drawn once for the same predictions, as tables and tests of a page share them."""
    return drawn_of(scores(records), threshold, resamples)


def performance(records: list[Record], threshold: float = 0.5, resamples: int = 4000) -> dict[str, Estimate]:
    """A row of Table 1 over seeds: :func:`performance_of` on the test images of the records."""
    return performance_of(scores(records), threshold, resamples)


def trade_off(records: list[Record], specificities: np.ndarray) -> pd.DataFrame:
    """Sensitivity of each run at given specificities: columns specificity, mean, least, greatest over the runs."""
    data = scores(records)
    ones = data.logits[:, data.labels == 1]
    curve = np.array([(ones > cuts(data.logits, data.labels, s)[:, None]).mean(axis=1) for s in specificities])
    return pd.DataFrame({"specificity": specificities, "mean": curve.mean(axis=1), "least": curve.min(axis=1), "greatest": curve.max(axis=1)})


def validation_fitted(records: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Test logits of each run divided by a temperature that was fitted on the run's own validation images.

    Returns:
        Scaled logits (runs, images) in the order of :func:`scores`, and temperatures (runs, 1).

    Raises:
        ValueError: if a run held out no validation images of one of the classes.
    """
    ordered = sorted(records, key=lambda record: record.config["seed"])
    held_out = [record.table("validation") for record in ordered]
    fitted = np.array([[fit_temperature(table["logit"].to_numpy(float), table["label"].to_numpy())] for table in held_out])
    return scores(ordered).logits / fitted, fitted


def predictive_values(records: list[Record], prevalences: tuple[float, ...], threshold: float = 0.5, resamples: int = 4000) -> pd.DataFrame:
    """PPV and NPV where a share of people is ill: columns prevalence, PPV, NPV (Estimates), from resampled sensitivity and specificity."""
    data, drawn = scores(records), drawn_metrics(records, threshold, resamples)
    columns = [METRICS.index("sensitivity"), METRICS.index("specificity")]
    value, draws = drawn.value[columns], drawn.draws[:, columns]
    for column, metric in enumerate(("sensitivity", "specificity")):
        if draws[:, column].min() == 1:  # no fault in any draw is no proof of none: Jeffreys' posterior of n of n
            draws[:, column] = np.random.default_rng(0).beta(patients_behind(data, metric) + 0.5, 0.5, size=len(draws))
    rows = []
    for prevalence in prevalences:
        values = ppv_npv_at_prevalence(*value, prevalence)
        spread = ppv_npv_at_prevalence(draws[:, 0], draws[:, 1], prevalence)
        ends = [Estimate(value, *np.nanquantile(draw, [0.025, 0.975])) for value, draw in zip(values, spread)]
        rows.append({"prevalence": prevalence, "PPV": ends[0], "NPV": ends[1]})
    return pd.DataFrame(rows, dtype=object)


def at_specificity(by_init: dict[str, list[Record]], specificity: float, resamples: int = 4000) -> pd.DataFrame:
    """Sensitivity of each initialisation where all have the same specificity, each run at a threshold of its own.

    The thresholds are read off the test set, so this describes a curve and is no performance to expect. Not for a
    specificity of 1: there the threshold is the greatest of the negatives, and no bootstrap holds for an extreme.

    Returns:
        Columns init, threshold (mean over runs, Estimate whose ends are the least and the greatest), sensitivity, and gain:
        its difference from the first initialisation, with p-value (None in the first row).
    """
    rows, first = [], None
    for init, records in by_init.items():
        data = scores(records)
        drawn = resampled(data, lambda logits, labels: sensitivity_at(logits, labels, specificity), resamples)
        cut = expit(cuts(data.logits, data.labels, specificity))
        row = {"init": init, "threshold": Estimate(cut.mean(), cut.min(), cut.max()), "sensitivity": drawn.estimate()}
        rows.append(row | {"gain": None if first is None else drawn.minus(first)})
        first = first or drawn
    return pd.DataFrame(rows, dtype=object)
