"""Section 4.3 of the paper: accuracy by the number of labelled training images (Figure 7)."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.study import pairs, paper
from cxrlib.study.figures import captions, style
from cxrlib.study.pages.chapter import Asked
from cxrlib.study.verdicts import NOT_RECORDED

FULL = "full set"
QUESTIONS = (Asked("pretraining at every size", 8),)


def sizes(records: list[Record], threshold: float = 0.5) -> pd.DataFrame:
    """Columns init, images_per_class (None for all), accuracy and runs; without columns if there are no records."""
    return pairs.cells(records, ["init", "images_per_class"], threshold) if records else pd.DataFrame()


def landmarks() -> dict[str, float]:
    """Accuracies that the paper prints, shares by what they are of."""
    found = {f"paper: {name} (full set)": paper.TABLE_1[name].accuracy / 100 for name in ("COVID-Net", "ResNet-50")}
    return found | {"paper: BiT-M, 512 per class": paper.FEW_SHOT_ACCURACY["bit-m"][512] / 100}


def finding(table: pd.DataFrame) -> str:
    """Accuracy with the fewest images and with all of them."""
    few = table["images_per_class"].dropna() if len(table) else []
    if not len(few):
        return "Nothing is recorded with few images yet."

    def of(part: pd.DataFrame) -> str:
        return captions.each(dict(zip(part["init"], part["accuracy"], strict=True)))

    fewest, full = table[table["images_per_class"] == min(few)], table[table["images_per_class"].isna()]
    return f"Test accuracy with {min(few):g} images per class: {of(fewest)}; with the full set: {of(full)}."


def accuracies(table: pd.DataFrame) -> str:
    """Accuracy with its interval, a row for each size and a column for each initialisation, as a Markdown table."""
    if table.empty:
        return NOT_RECORDED
    names = [FULL if pd.isna(size) else int(size) for size in table["images_per_class"]]
    shown = table.assign(accuracy=[estimate.percent() for estimate in table["accuracy"]], images_per_class=names)
    order = sorted(set(names), key=lambda name: 10**9 if name == FULL else name)
    wide = shown.pivot(index="images_per_class", columns="init", values="accuracy").loc[order, style.in_order(table["init"])]
    return markup.frame_table(wide.reset_index().rename(columns={"images_per_class": "images per class"} | {init: style.named(init) for init in wide}))


def gains(records: list[Record], inits: list[str], of: Iterable[int]) -> str:
    """Each initialisation less the first at every size, with plain 95 % intervals, as a Markdown table."""
    lines = []
    for size in [*sorted(of), None]:
        few = [record for record in records if record.config["images_per_class"] == size]
        have = {pairs.setting(record)["init"] for record in few}
        cells = [pairs.points(pairs.effect(few, "init", init, inits[0])) if {init, inits[0]} <= have else NOT_RECORDED for init in inits[1:]]
        lines.append([size or FULL, *cells])
    return markup.table(["images per class", *(f"{style.named(init)} against {style.named(inits[0])}" for init in inits[1:])], lines)


def fewest_and_most(table: pd.DataFrame) -> str:
    """The answer's second sentence: what the most upstream data gain over none with the fewest images and with all of them."""
    few = table["images_per_class"].dropna() if len(table) else []
    if not len(few):
        return "Nothing is recorded with few images yet."
    names = style.in_order(table["init"])
    least, most = names[0], names[-1]
    gains = []
    for part in (table[table["images_per_class"] == min(few)], table[table["images_per_class"].isna()]):
        values = dict(zip(part["init"], part["accuracy"], strict=True))
        gains.append(f"{100 * (float(values[most]) - float(values[least])):+.1f}" if {least, most} <= set(values) else NOT_RECORDED)
    return f"From {style.named(most)} instead of {style.named(least)} it is {gains[0]} points with {min(few):g} images per class and {gains[1]} with all of them."
