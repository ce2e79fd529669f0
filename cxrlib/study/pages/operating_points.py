"""What a threshold decides: sensitivity against specificity, equal specificity, calibration, and predictive values where few are ill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics import classifier, operating
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study import committed, pairs, paper, thresholds
from cxrlib.study.figures import style
from cxrlib.study.pages.performance import NOTHING, ByInit
from cxrlib.study.verdicts import NOT_RECORDED

Values = Mapping[str, Mapping[str, Estimate]]
STRICT = 0.9
"""A second specificity at which the starts are compared."""


def equal_specificity(values: Values) -> float:
    """The specificity of the first start at its threshold; 1 if nothing is recorded."""
    return float(next(iter(values.values()))["specificity"]) if values else 1.0


def trade_off(runs: ByInit, values: Values) -> tuple[dict[str, pd.DataFrame], dict[str, tuple[float, float]]]:
    """Curves, and the marks of the threshold, for :func:`cxrlib.study.figures.real.trade_off`."""
    curves = {init: thresholds.trade_off(members, np.linspace(0.6, 1, 81)) for init, members in runs.items()}
    return curves, {init: (float(row["specificity"]), float(row["sensitivity"])) for init, row in values.items()}


def finding_trade_off(values: Values) -> str:
    said = ", ".join(
        f"{percentage(row['specificity']):.1f} % specificity and {percentage(row['sensitivity']):.1f} % sensitivity from {style.named(init)}" for init, row in values.items()
    )
    return f"The threshold 50 % falls at another place of each curve: {said}." if values else NOTHING


def at_equal_specificity(runs: ByInit, values: Values, resamples: int, threshold: float = 0.5) -> tuple[str, str]:
    """The starts at equal specificity, as a Markdown table, and whether their order comes from the threshold, in a sentence."""
    if len(runs) < 2:
        return NOT_RECORDED, NOT_RECORDED
    shared = set.intersection(*({record.config["seed"] for record in members} for members in runs.values()))
    paired = {init: [record for record in members if record.config["seed"] in shared] for init, members in runs.items()}
    if paired != runs:
        values = {init: thresholds.performance(members, threshold) for init, members in paired.items()} if shared else {}
    if not shared or np.isnan(equal := equal_specificity(values)):
        return NOT_RECORDED, NOT_RECORDED
    runs, first, last = paired, list(runs)[0], list(runs)[-1]
    # There the threshold would hang on one image, the negative that looks most positive, or least.
    none = f"at {percentage(threshold):g} % {'no' if equal == 1 else 'every'} negative image of the test set is called positive from {style.named(first)}"
    lines, beside, said = [], "", f"{none}, so sensitivities at that specificity cannot be compared"
    equal = STRICT if np.isclose(equal, STRICT) else equal
    for specificity in dict.fromkeys((STRICT, equal) if 0 < equal < 1 else (STRICT,)):
        matched = thresholds.at_specificity(runs, specificity, resamples, threshold)
        for row in matched.itertuples():
            half = values[row.init]
            cut = f"{percentage(specificity):.1f} %: {row.threshold.percent(0)} %"
            gain = "–" if row.gain is None else pairs.points(row.gain)
            lines.append([style.named(row.init), half["specificity"].percent(), half["sensitivity"].percent(), cut, row.sensitivity.percent(), gain])
        if specificity != equal:
            beside = f" (at {percentage(specificity):g} %: {pairs.points(matched['more'].iloc[-1])} more)"
        else:
            half = pairs.effect(sum(runs.values(), []), "init", last, first, threshold, positive=True)
            gain, more = matched["gain"].iloc[-1], matched["more"].iloc[-1]
            said = (
                f"Sensitivity from {style.named(last)} less that from {style.named(first)}, at 50 %: {pairs.points(half)}; at a specificity of {percentage(specificity):.1f} %: "
                f"{pairs.points(gain)}, which is {pairs.points(more)} more{beside}; {operating.threshold_answer(half, gain, more, specificity)}"
            )
    columns = ["start", "at threshold 50 %: specificity", "sensitivity", "at equal specificity: threshold (least to greatest)", "sensitivity"]
    return markup.table([*columns, "against the first (95 % interval)"], lines), said


class Change(NamedTuple):
    """One measure of calibration of one start: a value for each run, before and after the logits were divided by a temperature."""

    init: str
    fitted_on: str
    temperatures: np.ndarray
    measure: str
    before: pd.Series
    after: pd.Series


class Calibrated(NamedTuple):
    """Panels for :func:`cxrlib.study.figures.real.reliability_pair`, and what changed."""

    panels: dict[str, dict[str, pd.DataFrame]]
    changes: list[Change]

    @property
    def finding(self) -> str:
        """Each measure before and after, averaged over starts and seeds."""
        said = []
        for measure in dict.fromkeys(change.measure for change in self.changes):
            ends = [[end.mean() for end in (change.before, change.after)] for change in self.changes if change.measure == measure]
            before, after = np.mean(ends, axis=0)
            said.append(f"{measure} {before:.3f} before, {after:.3f} after")
        return f"Mean over starts and seeds: {'; '.join(said)}." if said else NOTHING


def calibrate(runs: ByInit, fitted: Callable[[list[Record]], tuple[np.ndarray, np.ndarray]], fitted_on: str) -> Calibrated:
    """Reliability before and after temperature scaling.

    Args:
        fitted: from records to scaled logits and temperatures, such as :func:`cross_fitted`.
        fitted_on: on what, in words.
    """
    panels: dict[str, dict[str, pd.DataFrame]] = {"before": {}, "after temperature scaling": {}}
    changes = []
    for init, members in runs.items():
        scored, (scaled, temperatures) = thresholds.scores(members), fitted(members)
        for panel, logits in zip(panels, (scored.logits, scaled), strict=True):
            panels[panel][init] = operating.reliability(scored._replace(logits=logits))
        before, after = (operating.calibration_errors(logits, scored.labels) for logits in (scored.logits, scaled))
        changes += [Change(init, fitted_on, temperatures, measure, before[measure], after[measure]) for measure in before]
    return Calibrated(panels, changes)


def cross_fitted(members: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Scaled logits and temperatures, fitted on the other half of the test patients."""
    return operating.cross_fitted(thresholds.scores(members))


def validated(runs: committed.Recorded, design: committed.Design) -> tuple[dict[str, list[Record]], int | None]:
    """The runs of the chosen schedule and mixup that held out validation patients, at their largest resolution, and its pixels."""
    held_out = runs.of(committed.SENSITIVITY)
    chosen = {"schedule": design.schedule, "mixup": design.mixup, "resolution": max((pairs.setting(r)["resolution"] for r in held_out), default=None)}
    found = {}
    for init, members in runs.by_init(committed.SENSITIVITY).items():
        if alike := [record for record in members if all(pairs.setting(record)[axis] == value for axis, value in chosen.items())]:
            found[init] = alike
    return found, chosen["resolution"][1] if found else None


def calibration_table(changes: Sequence[Change]) -> str:
    """Temperatures and what they change, as a Markdown table."""
    lines = []
    for row in changes:
        change = pairs.mean_interval((row.after - row.before).to_numpy())
        fit = f"{row.temperatures.mean():.2f} ({row.temperatures.min():.2f} to {row.temperatures.max():.2f})"
        ends = [f"{row.before.mean():.3f}", f"{row.after.mean():.3f}", f"{change:+.3f} ({change.low:+.3f} to {change.high:+.3f})"]
        lines.append([style.named(row.init), row.fitted_on, fit, row.measure, *ends])
    columns = ["start", "fitted on", "temperature (range over fits)", "measure", "before", "after", "after less before (95 % interval over seeds)"]
    return markup.table(columns, lines) if lines else NOT_RECORDED


def temperature_answer(changes: Sequence[Change]) -> str:
    """In how many runs a temperature from validation patients lowers the cross entropy of the test images."""
    entropy = [(row.after - row.before).to_numpy() for row in changes if row.measure == "cross entropy"]
    helped = sum(int((change < 0).sum()) for change in entropy)
    return f"the cross entropy of the test images falls in {helped} of {sum(map(len, entropy))} runs" if entropy else NOT_RECORDED


def predictive_values(runs: ByInit, prevalences: Sequence[float], threshold: float = 0.5) -> str:
    """PPV and NPV by prevalence, as a Markdown table."""
    lines = [
        [style.named(init), f"{100 * row.prevalence:g} %", row.PPV.percent(), row.NPV.percent(2 if row.NPV.high > 0.995 else 1)]
        for init, members in runs.items()
        for row in thresholds.predictive_values(members, tuple(prevalences), threshold).itertuples()
    ]
    return markup.table(["start", "prevalence", "PPV, % (95 % interval)", "NPV, % (95 % interval)"], lines) if lines else NOT_RECORDED


def papers_specificity() -> dict[str, float]:
    """How low the specificity of BiT-M may be (percent), and its PPV at a prevalence of 1 % there."""
    published = classifier.from_counts(**vars(paper.TABLE_1["BiT-M"].counts))
    ppv = classifier.ppv_npv_at_prevalence(published.sensitivity, published.specificity.low, 0.01)[0]
    return {"paper_specificity_low": 100 * published.specificity.low, "paper_ppv_low": 100 * ppv}


def answer(runs: ByInit, values: Values, told: str) -> str:
    """What the page answers, in two sentences of Markdown: whether the order comes from the threshold, and PPV where one in a hundred is ill."""
    if not runs:
        return NOT_RECORDED
    init, members = list(runs.items())[-1]
    rare = thresholds.predictive_values(members, (0.01,)).iloc[0]
    row, last = values[init], told.rpartition("; ")[2]
    return markup.text(
        f"At a threshold of 50 % the network from {style.named(init)} finds {percentage(row['sensitivity']):.1f} % of the positive images and calls {percentage(1 - row['specificity']):.1f} % of the negative ones positive; "
        f"if these rates held where one person in a hundred is ill, which nothing here shows, {percentage(rare.PPV):.0f} % ({percentage(rare.PPV.low):.0f} to {percentage(rare.PPV.high):.0f}) of those it calls positive would be. "
        f"Does its gain in sensitivity over {style.named(next(iter(runs)))} come from the threshold? {last[:1].upper()}{last[1:]}."
    )
