"""Section 4.3 of the paper: accuracy by the number of labelled training images (Figure 7)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import pairs, paper
from cxrlib.study.figures import captions, style
from cxrlib.study.pages.chapter import Asked
from cxrlib.study.pairs import points
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


def fewest_and_most(table: pd.DataFrame, records: list[Record]) -> str:
    """The answer to the title: what the most upstream data gain over none with the fewest images and with all of them, and whether the one is more."""
    few = table["images_per_class"].dropna() if len(table) else []
    if not len(few):
        return "Nothing is recorded with few images yet."
    names = style.in_order(table["init"])
    least, most = names[0], names[-1]
    fewest = int(min(few))
    gains = {size: gained(records, most, least, size) for size in (fewest, None)}
    if least == most or None in gains.values():
        return f"What {style.named(most)} gain with few images and with all is {NOT_RECORDED}."
    more = {seed: gains[fewest][seed] - gain for seed, gain in gains[None].items() if seed in gains[fewest]}

    def estimated(found: dict[int, np.ndarray]) -> Estimate:
        nested = pairs.pretrainings(sorted((r for r in records if r.config["seed"] in found), key=lambda r: r.config["seed"]))
        return two_way.analyse(np.stack(list(found.values())), nested).estimate()

    with_few, with_all, estimate = (estimated(found) for found in (*gains.values(), more))
    word = "more" if estimate.low > 0 else "less" if estimate.high < 0 else "not told from the same"
    return (
        f"From {style.named(most)} instead of {style.named(least)} it is {points(with_few)} with {fewest} images per class and {points(with_all)} with all of them. "
        f"With few labels that is {word}: {points(estimate)} between the two gains, plain intervals."
    )


def gained(records: list[Record], most: str, least: str, size: int | None) -> dict[int, np.ndarray] | None:
    """By seed, the contributions (patients) to the accuracy from one start less that from another; None if no seed has both."""
    first, second = pairs.partners(records, {"init": most, "images_per_class": size}, {"init": least, "images_per_class": size})
    if not first:
        return None
    (a, patients), (b, _) = map(pairs.correctness, (first, second))
    return dict(sorted(zip(pairs.seeds_of(first), two_way.share(a.astype(float) - b, patients), strict=True)))
