"""Where the threshold falls: sensitivity at equal specificity, calibration, and predictive values at any prevalence.

All over several runs (seeds) of one setting, with the intervals of :mod:`cxrlib.metrics.two_way`. Only what has a threshold of its
own in each run is resampled; the same seed draws the same patients and runs for every initialisation, so differences of
draws are paired.

Sources: Youden 1950 and Altman & Bland 1994 (predictive values depend on prevalence); Guo et al. 2017 (temperature).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.experiment.record import Record
from cxrlib.metrics import two_way
from cxrlib.metrics.classifier import fit_temperature, ppv_npv_at_prevalence, wilson
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.operating import (
    Scores,
    contributions,
    cuts,
    logit_of,
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


def performance(records: list[Record], threshold: float = 0.5) -> dict[str, Estimate]:
    """A row of Table 1 over seeds: :func:`performance_of` on the test images of the records."""
    return performance_of(scores(records), threshold)


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


def predictive_values(records: list[Record], prevalences: tuple[float, ...], threshold: float = 0.5) -> pd.DataFrame:
    """PPV and NPV where a share of people is ill: columns prevalence, PPV, NPV (Estimates), from sensitivity and specificity.

    The logit of the PPV is log(sensitivity / (1 - specificity)) and a constant, that of the NPV log(specificity /
    (1 - sensitivity)) and a constant: the interval is symmetric there. Where sensitivity or specificity is 0 or 1 in every run,
    and so shows no spread, it reaches at least as far as Wilson's intervals of both shares together.
    """
    data = scores(records)
    share = {name: contributions(data, name, threshold) for name in ("sensitivity", "specificity")}
    rows = []
    for prevalence in prevalences:
        values = ppv_npv_at_prevalence(share["sensitivity"].mean(), share["specificity"].mean(), prevalence)
        row = {"prevalence": prevalence}
        for name, value, above, below in (("PPV", values[0], "sensitivity", "specificity"), ("NPV", values[1], "specificity", "sensitivity")):
            logs = share[above] / share[above].mean() + share[below] / (1 - share[below].mean()) if 0 < value < 1 else None
            around = None if logs is None else two_way.analyse(logs)
            row[name] = Estimate(value)
            if around is not None and not around.error == 0:
                row[name] = two_way.Measured(value, around.error * value * (1 - value), around.freedom, bounded=True).estimate()
            extreme = any(float(values.mean()) in (0, 1) for values in share.values())
            if extreme and not np.isnan(value):
                shares = (_reaching(float(share[one].mean()), patients_behind(data, one)) for one in ("sensitivity", "specificity"))
                ends = [ppv_npv_at_prevalence(*end, prevalence)[name == "NPV"] for end in zip(*shares, strict=True)]
                row[name] = Estimate(value, np.nanmin([row[name].low, ends[0]]), np.nanmax([row[name].high, ends[1]]))
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _reaching(share: float, patients: int) -> tuple[float, float]:
    """The ends of Wilson's interval of a share of patients."""
    found = wilson(round(share * patients), patients)
    return found.low, found.high


def at_specificity(by_init: dict[str, list[Record]], specificity: float, resamples: int = 4000, threshold: float = 0.5) -> pd.DataFrame:
    """Sensitivity of each initialisation where all have the same specificity, each run at a threshold of its own.

    The thresholds are read off the test set, so this describes a curve and is no performance to expect. Seeds that not all
    initialisations have are left out, since differences are paired.

    Raises:
        ValueError: for a specificity of 1, where the threshold is the greatest of the negatives and no bootstrap holds for an
            extreme; or if no seed is common to all.

    Returns:
        Columns init, threshold (mean over runs, Estimate whose ends are the least and the greatest), sensitivity, and its difference
        from the first initialisation (None in the first row): gain, with p-value, and more, by how much that is greater than the
        difference at the probability ``threshold``, on the same resamples.
    """
    if not 0 < specificity < 1:
        raise ValueError(f"the specificity must lie between 0 and 1, for example 0.9, not {specificity}")
    shared = set.intersection(*({record.config["seed"] for record in records} for records in by_init.values()))
    if not shared:
        raise ValueError(f"no seed is recorded of all of {', '.join(by_init)}")
    rows, first, fixed = [], None, logit_of(threshold)
    for init, records in by_init.items():
        data = scores([record for record in records if record.config["seed"] in shared])

        def both(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
            matched = sensitivity_at(logits, labels, specificity)
            return np.array([matched, matched - (logits[:, labels == 1] > fixed).mean()])

        drawn = resampled(data, both, resamples)
        cut = expit(cuts(data.logits, data.labels, specificity))
        row = {"init": init, "threshold": Estimate(cut.mean(), cut.min(), cut.max()), "sensitivity": drawn.estimate(0)}
        rows.append(row | {"gain": None if first is None else drawn.minus(first, 0), "more": None if first is None else drawn.minus(first, 1)})
        first = first or drawn
    return pd.DataFrame(rows, dtype=object)
