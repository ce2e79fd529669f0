"""How far one test set can be trusted: differences of single images, settings chosen on it, and how often an interval holds the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record, read_table
from cxrlib.metrics import proportions
from cxrlib.metrics.estimate import percentage
from cxrlib.study import pairs, paper, parts, selection
from cxrlib.study.figures import style
from cxrlib.study.verdicts import NOT_RECORDED

LEAST_POWER = 0.02
"""Share of a test set on which two similar models disagree."""


def apart() -> dict[str, Any]:
    """BiT-M against COVID-Net CXR-2 on the paper's test set: counts, tests, and how many images would tell them apart."""
    a, b = (paper.TABLE_1[name].counts for name in ("BiT-M", "COVID-Net CXR-2"))
    n = 2 * paper.TEST_IMAGES_PER_CLASS
    right_a, right_b = a.tp + a.tn, b.tp + b.tn
    gap = proportions.newcombe(right_a, n, right_b, n)
    least, greatest = proportions.mcnemar_bounds(right_a, right_b, n)
    most = min(n - right_b, right_a) + min(n - right_a, right_b)
    if least > 0.05 and gap.p_value > 0.05:
        told = "It cannot be told from these counts"
    else:
        told = "That depends on which images they are" if greatest > 0.05 else "Yes"
    shares = {"least": gap, "some": LEAST_POWER, "most": most / n}
    return {
        "right_a": right_a,
        "right_b": right_b,
        "right_n": n,
        "same_gap": pairs.points(gap),
        "same_fisher": gap.p_value,
        "same_mcnemar": f"is {least:.2f} throughout" if least == greatest else f"lies between {least:.2g} and {greatest:.2g}",
        "same_answer": told,
        "n_independent": f"{proportions.images_independent(right_a / n, right_b / n):,}",
        "discordant_most": 100 * most / n,
    } | {f"n_paired_{name}": f"{proportions.images_paired(right_a / n, right_b / n, share):,}" for name, share in shares.items()}


def optimism(found: selection.Optimism | None) -> str:
    """What the best setting on one half of the test patients has on the other, in words."""
    if found is None:
        return f"{NOT_RECORDED}: the grid has no second setting to choose from"
    return (
        f"the best of {found.cells} settings ({found.runs} runs) has {percentage(found.chosen_on):.1f} % on the half it was chosen on and {percentage(found.other):.1f} % on the other: "
        f"choosing made it look {percentage(found.gain):.1f} points better than it is (middle 95 % of splits: {percentage(found.gain.low):.1f} to {percentage(found.gain.high):.1f}); "
        f"{found.winners} settings were chosen at least once"
    )


def _setting(choice: tuple) -> str:
    return f"{choice[0]}/{choice[1]} px, {choice[2][-1]} steps, {'no mixup' if choice[3] == 'off' else 'mixup'}"


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows by column; ``to_dict`` would make an Estimate a bare float."""
    return (dict(zip(table, values, strict=True)) for values in table.itertuples(index=False, name=None))


def chosen(held_out: list[Record], threshold: float) -> str:
    """The setting chosen on validation images beside that chosen on test images, as a Markdown table."""
    found = selection.by_validation(held_out, ("resize", "crop", "schedule", "mixup"), threshold)
    lines = []
    for row in _rows(found):
        accuracies = f"{percentage(row['its validation accuracy']):.1f} / {percentage(row['its test accuracy']):.1f}"
        added = "nothing: the same setting" if row["chosen on test"] == row["chosen on validation"] else pairs.points(row["cost"])
        on_test = [_setting(row["chosen on test"]), f"{percentage(row['its test accuracy there']):.1f}", added]
        lines.append([style.named(row["init"]), f"{row['settings']}, {row['runs']}", _setting(row["chosen on validation"]), accuracies, *on_test])
    columns = ["start", "settings, runs", "chosen on validation", "its accuracy, validation / test (%)", "chosen on test", "its accuracy there (%)"]
    return markup.table([*columns, "what choosing on test adds (95 % interval)"], lines) if lines else NOT_RECORDED


def both_tests(split: selection.Optimism | None, held_out: list[Record], threshold: float) -> str:
    """What the two tests of choosing on the test set say together, in a sentence or two."""
    rows = list(_rows(selection.by_validation(held_out, ("resize", "crop", "schedule", "mixup"), threshold)))
    if split is None or not rows:
        return NOT_RECORDED
    same = sum(row["chosen on test"] == row["chosen on validation"] for row in rows)
    most = max(row["settings"] for row in rows)
    return (
        f"choosing among {split.cells} settings on half of the test images flatters by {split.gain.percent()} points; choosing among {most} settings of one start "
        f"on all of them takes the setting that validation takes too for {same} of {len(rows)} starts, and so adds nothing there. "
        "The more settings and the fewer images, the more the choice is luck"
    )


def agreement(held_out: list[Record], threshold: float) -> str:
    """Whether validation and test order the settings alike, in words."""
    likeness = selection.agreement(held_out, threshold)
    if likeness is None:
        return NOT_RECORDED
    correlation = likeness.correlation
    return f"{correlation:.2f} ({correlation.low:.2f} to {correlation.high:.2f}) over {likeness.settings} settings; validation less test accuracy: {pairs.points(likeness.gap)}"


def rate_used(grid: list[Record]) -> str:
    """The learning rates of the runs of the grid, in words."""
    return " and ".join(f"{rate:g}" for rate in sorted({record.config["base_lr"] for record in grid})) or NOT_RECORDED


def rates(trials: Path, threshold: float) -> str:
    """The trials for the learning rate, chosen both ways, as a Markdown table."""
    found = selection.by_validation(read_table(trials) if trials.is_file() else [], ("base_lr",), threshold)
    lines = [
        [
            parts.network(row["arch"]), style.named(row["init"]), row["runs"], row["chosen on validation"][0], f"{percentage(row['its test accuracy']):.1f}", row["chosen on test"][0],
            f"{percentage(row['its test accuracy there']):.1f}",
        ]
        for row in _rows(found)
    ]  # fmt: skip
    columns = ["network", "start", "runs", "rate chosen on validation, by accuracy", "its test accuracy, %", "rate chosen on test", "its test accuracy, %"]
    return markup.table(columns, lines) if lines else NOT_RECORDED


def finding_coverage(texts: dict[str, str]) -> str:
    """Of :func:`cxrlib.study.pages.certainty.texts`."""
    if texts["coverage_cells"] == "0":
        return "Nothing is simulated yet for this figure."
    return f"With all training images the intervals of this book hold the truth in {texts['coverage_least']} to {texts['coverage_greatest']} % of made-up studies."


def settings(grid: list[Record], threshold: float = 0.5) -> pd.DataFrame:
    """Every setting of the grid with its accuracy, best first: columns init, resolution, schedule, mixup, accuracy, runs."""
    if not grid:
        return pd.DataFrame()
    table = pairs.cells(grid, ["init", "resolution", "schedule", "mixup"], threshold)
    return table.sort_values("accuracy", key=lambda column: -column.astype(float), kind="stable", ignore_index=True)


def finding_settings(table: pd.DataFrame) -> str:
    """How many settings this test set cannot tell from the best: those whose interval holds the best one's accuracy."""
    if table.empty:
        return "Nothing is recorded of this grid yet."
    best = table["accuracy"].iloc[0]
    near = sum(value.high >= float(best) for value in table["accuracy"])
    return f"Of {len(table)} settings the best has {percentage(best):.1f} % test accuracy, and the intervals of {near} reach as far."


def answer(found: dict[str, Any], chosen: selection.Optimism | None) -> str:
    """What the page answers, in two sentences of Markdown."""
    said = NOT_RECORDED if chosen is None else f"the best of {chosen.cells} looks {chosen.gain.percent()} points better than it is"
    return (
        f"{markup.text(found['right_a'])} against {found['right_b']} of {found['right_n']} images, the paper's lead over the model before it: {markup.text(found['same_answer'].lower())}. "
        f"If a setting is chosen on half of the test patients and scored on the other half, {said}."
    )
