"""Section 4.2 of the paper: one setting from several starts. Table 1, Figures 5 and 6, and what lies beyond the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics import classifier, operating
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.model.network import create_model, describe_unit
from cxrlib.study import pairs, paper, thresholds
from cxrlib.study.figures import captions, style
from cxrlib.study.pages import table1
from cxrlib.study.pages.chapter import Asked, Shown
from cxrlib.study.pages.second_set import SecondSet
from cxrlib.study.verdicts import NOT_RECORDED, p_text

QUESTIONS = (Asked("pretraining", 1, 0, 0), Asked("ten times more of it", 1, 0, 1))
ByInit = Mapping[str, list[Record]]
NOTHING = "Nothing is recorded of these runs yet."


def by_init(records: list[Record], inits: list[str]) -> dict[str, list[Record]]:
    """Records by upstream set, in the order of ``inits``."""
    return {init: [record for record in records if pairs.setting(record)["init"] == init] for init in inits}


def estimates(runs: ByInit, threshold: float = 0.5) -> dict[str, dict[str, Estimate]]:
    """A row of Table 1 for each initialisation."""
    return {init: thresholds.performance(members, threshold) for init, members in runs.items()}


def best_start(values: Mapping[str, Mapping[str, Estimate]]) -> str:
    """The answer's second sentence: accuracy from the least and the most upstream data, here and in the paper."""
    if not values:
        return NOTHING
    names = list(values)
    ends = [f"{percentage(values[name]['accuracy']):.1f} % from {style.named(name)}" for name in dict.fromkeys((names[0], names[-1]))]
    return f"Test accuracy is {' and '.join(ends)}; the paper prints {paper.TABLE_1['Random'].accuracy} % and {paper.TABLE_1['BiT-M'].accuracy} %, on another test set."


def finding(values: Mapping[str, Mapping[str, Estimate]], lead: str) -> str:
    """Accuracy by initialisation, behind a lead such as 'On real X-rays'."""
    return f"{lead} test accuracy is {captions.each({init: row['accuracy'] for init, row in values.items()})}." if values else NOTHING


def table(values: Mapping[str, Mapping[str, Estimate]], runs: ByInit, shown: Shown, others: Mapping[str, Mapping[str, Estimate]] | None = None) -> str:
    """Table 1: the paper's rows above recorded ones, and ours with their data; ``others`` are further rows by label."""
    rows = {markup.Inline(f"{markup.bold(style.named(init))} ({markup.text(shown.name)}, {len(runs[init])} seeds)"): row for init, row in values.items()}
    return table1.markdown(rows | dict(others or {}), NOT_RECORDED, papers=shown.recorded)


def outside(second: SecondSet | None, runs: ByInit, store, cache) -> dict[str, operating.Scores]:
    """Scores of the runs on the external set; empty if there is none."""
    return {} if second is None else {init: second.scores(members, store, cache) for init, members in runs.items()}


def external_rows(second: SecondSet | None, scored: Mapping[str, operating.Scores], threshold: float) -> dict[str, dict[str, Estimate]]:
    """Rows of Table 1 on the external set."""
    return {
        markup.Inline(f"{markup.bold(style.named(init))} (external: {markup.text(second.name)})"): operating.performance_of(seen, threshold)
        for init, seen in scored.items()
    }  # fmt: skip


def external_text(second: SecondSet | None, runs: ByInit, scored: Mapping[str, operating.Scores], threshold: float) -> str:
    """What the external set holds, and what is lost on it."""
    if second is None:
        return "This copy has none: `make book EXTERNAL=path/to/folder` adds the test split of any folder in the COVIDx layout to Table 1."
    drops = {markup.bold(style.named(init)): table1.drop(thresholds.scores(runs[init]), seen, threshold) for init, seen in scored.items()}
    return f"{second.about()}\n\n{table1.drops_markdown(drops)}"


def curves(runs: ByInit) -> pd.DataFrame | None:
    """Every run's evaluations with columns init and seed added; None without runs."""
    found = [record.curve().assign(init=init, seed=record.config["seed"]) for init, members in runs.items() for record in members]
    return pd.concat(found) if found else None


def finding_curves(drawn: pd.DataFrame | None) -> str:
    """Test accuracy at the last step."""
    if drawn is None:
        return NOTHING
    last = drawn[drawn["step"] == drawn["step"].max()].groupby("init", sort=False)["test_accuracy"].mean()
    return f"At the last step test accuracy is {captions.each(dict(last))}."


def confusion(runs: ByInit, threshold: float = 0.5) -> tuple[classifier.Evaluation, str] | None:
    """The evaluation of the first seed from the most upstream data, and what to call it; None without runs."""
    if not runs or not any(runs.values()):
        return None
    init, members = list(runs.items())[-1]
    first = members[0].table()
    found = classifier.evaluate(first["label"], first["probability"], threshold, patients=first["patient_id"])
    return found, f"{style.named(init)}, seed {members[0].config['seed']}"


def finding_confusion(found: tuple[classifier.Evaluation, str] | None) -> str:
    if found is None:
        return NOTHING
    matrix = found[0].confusion.matrix
    return f"Of {matrix[0].sum():g} negative images {matrix[0, 1]:g} are called positive, of {matrix[1].sum():g} positive ones {matrix[1, 0]:g} negative."


def all_thresholds(runs: ByInit, values: Mapping[str, Mapping[str, Estimate]]) -> tuple[dict, dict]:
    """ROC and precision-recall curves of all seeds pooled, for :func:`cxrlib.study.figures.common.curve_pair`."""
    roc, precision_recall = {}, {}
    for init, members in runs.items():
        pooled = pd.concat([member.table() for member in members])
        curve = classifier.roc_curve(pooled["label"], pooled["probability"])
        found = classifier.precision_recall(pooled["label"], pooled["probability"])
        roc[init] = (curve.false_positive_rate, curve.true_positive_rate, f"{init}, AUC {values[init]['auc'].percent()}")
        precision_recall[init] = (found.recall, found.precision, f"{init}, average precision {percentage(found.average_precision):.1f}")
    return roc, precision_recall


def finding_thresholds(values: Mapping[str, Mapping[str, Estimate]]) -> str:
    return f"Over all thresholds the AUC is {captions.each({init: row['auc'] for init, row in values.items()})}." if values else NOTHING


def calibration(runs: ByInit) -> tuple[dict[str, pd.DataFrame], str]:
    """Observed share of positives by predicted probability, seeds pooled, and what it shows."""
    errors = {}
    for init, members in runs.items():
        pooled = pd.concat([member.table() for member in members])
        errors[init] = classifier.calibration(pooled["label"], pooled["probability"], bins=5).expected_error
    bins = {init: operating.reliability(thresholds.scores(members)) for init, members in runs.items()}
    said = ", ".join(f"{percentage(errors[init]):.1f} points from {style.named(init)}" for init in style.in_order(errors))
    return bins, f"Expected calibration error in 5 bins, the mean distance of a score from the observed share: {said}."


def differences(runs: ByInit, threshold: float = 0.5) -> str:
    """Each initialisation against the one before: paired difference over seeds, and McNemar's test of the first seed."""
    lines = []
    for less, more in pairwise(runs):
        part = pairs.effect([*runs[less], *runs[more]], "init", more, less, threshold)
        a, b = runs[more][0].table(), runs[less][0].table()
        test = classifier.mcnemar(a["label"], a["probability"] > threshold, b["probability"] > threshold)
        lines.append([f"{style.named(more)} against {style.named(less)}", pairs.points(part), f"{test.only_a_right} / {test.only_b_right}", p_text(test.p_value).removeprefix("= ")])
    mcnemar = "McNemar, first seed: only the first right / only the second right"
    return markup.table(["comparison", "difference in accuracy (95 % interval)", mcnemar, "p"], lines) if lines else NOT_RECORDED


def papers_unit() -> list[tuple[str, str]]:
    """The layers of a residual unit of BiT-R50x1, read off its modules."""
    return describe_unit(create_model("resnetv2_50x1_bit"))
