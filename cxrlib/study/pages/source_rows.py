"""The page on disease or data source: what each of its figures and tables shows, and says, for several data sets one below the other.

Every function takes the :class:`~cxrlib.study.pages.shortcuts.Evidence` of each data set. Figures get panels by data set and
a sentence, tables get Markdown; what cannot be asked of a data set is said in its panel or row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study.figures.captions import panel
from cxrlib.study.figures.shortcuts import Rows
from cxrlib.study.pages import confounding, file_sizes, heat
from cxrlib.study.pages.shortcuts import (
    NAMES,
    NOT_RECORDED,
    Evidence,
    answers,
    by_region,
    by_source,
    left_out,
    told_apart,
)
from cxrlib.study.pairs import points

Panels = dict[str, Rows | str]
QUESTIONS = {
    "size": "Do the width and the height of the file tell the class?",
    "source": "Can two sources be told apart within one class?",
    "frame": "Does the frame alone, without the centre of the chest, tell the class?",
    "centre": "Does the central square alone?",
    "outside_lungs": "Does the image outside the lungs alone?",
    "lungs": "Do the lungs alone?",
    "left_out": "Is a source that was left out of training recognised less well?",
}
PARTS = {"centre": "central region", "frame": "outer eighth"}
"""Of the heat of Grad-CAM. The frame that networks are trained on is another region, half of the image."""


def _told(both: Sequence[Evidence], found: Sequence[Any], say: Callable[[Any], str]) -> str:
    """A sentence for each data set: of what was found, or that it cannot be asked."""
    known = [one is not None and len(one) > 0 for one in found]
    return " ".join(panel(e.title, say(one) if there else f"{e.missing}.") for e, one, there in zip(both, found, known, strict=True))


def sizes(both: Sequence[Evidence]) -> tuple[Panels, str]:
    """The class from the size of a file: one panel with a dot for each data set."""
    guesses = [None if e.files is None else file_sizes.guess(e.files) for e in both]
    known = [(e.title, {"decision tree": guess}) for e, guess in zip(both, guesses, strict=True) if guess is not None]
    panels: Panels = {"width and height of the file": known or "; ".join(dict.fromkeys(e.missing for e in both))}
    said = [f"{e.missing}." if guess is None else _guessed(guess) for e, guess in zip(both, guesses, strict=True)]
    return panels, " ".join(panel(e.title, one) for e, one in zip(both, said, strict=True))


def _guessed(guess: Estimate) -> str:
    if math.isnan(guess.low):
        return f"the tree gives every image the same answer, which is right for {guess.percent()} % (the mean of both classes), by chance."
    return f"guessing from width and height is right for {guess.percent()} % (the mean of both classes)."


def sources(both: Sequence[Evidence]) -> tuple[Panels, str]:
    """Two sources told apart within one class: AUC and balanced accuracy."""
    found = [told_apart(e) for e in both]
    panels: Panels = {
        e.title: e.missing if one is None else [(measure, {"network": one[measure]}) for measure in ("AUC", "balanced accuracy")]
        for e, one in zip(both, found, strict=True)
    }
    return panels, _told(both, found, lambda one: f"two sources are told apart with an AUC of {one['AUC'].percent()} %.")


def sources_table(both: Sequence[Evidence]) -> str:
    """The same with the names of the sources, patients and runs, in Markdown."""
    rows = []
    for e, one in ((e, told_apart(e)) for e in both):
        if one is None:
            rows.append([e.title, e.missing, *[""] * 5])
        else:
            scores = [one[measure].percent() for measure in ("AUC", "balanced accuracy")]
            rows.append([e.title, " against ".join(one["sources"]), one["within"] or "both classes", *scores, one["patients"], one["runs"]])
    return markup.table(["data", "sources", "within", "AUC, % (95 % interval)", "balanced accuracy, %", "patients", "runs"], rows)


def regions(both: Sequence[Evidence]) -> tuple[Panels, str]:
    """The class from a part of the image: AUC and accuracy by region."""
    found = [by_region(e) for e in both]
    panels: Panels = {e.title: [(NAMES[row.region], {"AUC": row.AUC, "accuracy": row.accuracy}) for row in rows.itertuples()] or e.missing for e, rows in zip(both, found, strict=True)}
    return panels, _told(both, found, lambda rows: f"AUC by what is seen: {'; '.join(f'{NAMES[row.region]} {row.AUC.percent()} %' for row in rows.itertuples())}.")


def regions_table(both: Sequence[Evidence]) -> str:
    """The same with the change against the whole image, in Markdown."""
    rows = []
    for e, found in ((e, by_region(e)) for e in both):
        for row in found.itertuples():
            rows.append([e.title, NAMES[row.region], row.AUC.percent(), row.accuracy.percent(), "–" if row.change is None else points(row.change), row.runs])
        rows += [] if len(found) else [[e.title, e.missing, *[""] * 4]]
    return markup.table(["data", "what is seen", "AUC, % (95 % interval)", "accuracy, %", "AUC against the whole image, same seeds", "runs"], rows)


def by_each_source(both: Sequence[Evidence]) -> tuple[Panels, str]:
    """Share called right for each source and class, of test images and of held-out patients."""
    found = [by_source(e) for e in both]
    panels: Panels = {}
    for e, rows in zip(both, found, strict=True):
        names = dict.fromkeys((row.source, row.label) for row in rows.itertuples())
        panels[e.title] = [
            (f"{source}, {label}", {row.images: row.right for row in rows.itertuples() if (row.source, row.label) == (source, label)}) for source, label in names
        ] or (NOT_RECORDED if e.records else e.missing)  # fmt: skip
    return panels, _told(both, found, lambda rows: f"from {percentage(min(map(float, rows['right']))):.1f} % to {percentage(max(map(float, rows['right']))):.1f} % of images are called right, by source.")


def without_sources(both: Sequence[Evidence]) -> tuple[Panels, str]:
    """Images of a source, scored by networks that trained with it and without it."""
    found = [left_out(e) for e in both]
    panels: Panels = {
        e.title: [(f"{row.source}: {row.measure}", {"trained with it": row.trained_with, "trained without it": row.trained_without}) for row in rows.itertuples()] or e.missing
        for e, rows in zip(both, found, strict=True)
    }

    def say(rows: pd.DataFrame) -> str:
        areas = [row for row in rows.itertuples() if row.measure.startswith("AUC")]
        return f"AUC without the source less that with it: {'; '.join(f'{row.source} {points(row.change)}' for row in areas)}."

    return panels, _told(both, found, say)


def without_sources_table(both: Sequence[Evidence]) -> str:
    """The same with the change, and with the sources of which no patient was held out, in Markdown."""
    rows = []
    for e, found in ((e, left_out(e)) for e in both):
        for row in found.itertuples():
            rows.append([e.title, row.source, row.measure, row.trained_with.percent(), row.trained_without.percent(), points(row.change), row.patients, row.runs])
        unseen = [source for source in e.sources_left_out() if source not in set(found["source"])]
        rows += [[e.title, source, "no patient of it was held out", *["–"] * 5] for source in unseen]
        rows += [] if len(found) or unseen else [[e.title, e.missing, *[""] * 6]]
    return markup.table(["data", "source", "measure", "with it, % (95 % interval)", "without it, %", "change", "patients", "runs"], rows)


def known_confounding(records: list[Record], threshold: float) -> tuple[pd.DataFrame, str]:
    """The phantoms' curve, empty without records, and what its strongest level says."""
    if not records:
        return pd.DataFrame(), "Nothing is recorded of these runs yet."
    curve = confounding.curve(records, threshold)
    strongest = curve[curve["level"] == curve["level"].max()]
    said = " ".join(f"{row.measure} {row.own.percent()} % on images confounded alike, {row.unconfounded.percent()} % on unconfounded ones." for row in strongest.itertuples())
    return curve, f"Where the source tells the class: {said}"


def confounding_table(curve: pd.DataFrame) -> str:
    """The curve in Markdown."""
    if curve.empty:
        return NOT_RECORDED
    rows = [[row.level, row.measure, row.own.percent(), row.unconfounded.percent(), points(row.gap), row.runs] for row in curve.itertuples()]
    return markup.table(["confounding", "measure", "own test set, % (95 % interval)", "unconfounded test set, %", "gap", "runs"], rows)


def confounding_answer(curve: pd.DataFrame) -> str:
    """Whether a confounded test set flatters, in a sentence."""
    return NOT_RECORDED if curve.empty else confounding.answer(curve)


def with_answer(answer: str, table: str) -> str:
    """A table in Markdown below the sentence that it is to show."""
    return f"{markup.bold('Does a confounded test set flatter?')} {markup.text(answer)}.\n\n{table}"


def heat_shares(table: pd.DataFrame | None) -> tuple[Rows | str, str]:
    """Heat of Grad-CAM by region and true class as rows of a figure, of :func:`cxrlib.study.pages.heat.read`."""
    if table is None:
        return NOT_RECORDED, "Nothing is recorded of these maps yet."
    looks = heat.shares(table)
    rows = [
        (f"{name} ({percentage(part['area'].iloc[0]):.0f} % of the area)", dict(zip(part["label"], part["heat"], strict=True)))
        for region, name in PARTS.items() if len(part := looks[looks["region"] == region])
    ]  # fmt: skip
    said = "; ".join(f"{name}: " + ", ".join(f"{e.percent()} % in {label} images" for label, e in values.items()) for name, values in rows)
    return rows, f"Share of the heat. {said}."


def heat_tables(table: pd.DataFrame | None) -> str:
    """Heat by region and true class against the area, and by predicted and true class, in Markdown."""
    if table is None:
        return NOT_RECORDED
    rows = []
    for row in heat.shares(table).itertuples():
        preference = [value / row.area for value in (row.heat, row.heat.low, row.heat.high)]
        rows.append([PARTS[row.region], row.label, row.heat.percent(), f"{percentage(row.area):.1f}", "{:.2f} ({:.2f} to {:.2f})".format(*preference), f"{row.images:.0f}"])
    columns = ["region", "true class", "share of the heat, % (95 % interval)", "share of the area, %", "preference (1 = none)", "images scored a run"]
    called = [
        [row.predicted, row.negative.percent(), row.positive.percent(), points(row.difference), f"{row.images[0]:.0f} and {row.images[1]:.0f}"]
        for row in heat.by_prediction(table).itertuples()
    ]
    heads = ["called", "heat in the central region, %, truly negative", "truly positive", "positive less negative", "images a run"]
    return f"{markup.table(columns, rows)}\n\n{markup.table(heads, called)}"


def heat_sentences(table: pd.DataFrame | None) -> tuple[str, str]:
    """The differences that claim 9 is about, and what is left of the first among images that are called alike."""
    differences = heat.differences(table)
    named = {"chest": "heat in the central region, positive less negative", "edges": "heat in the outer eighth, negative less positive"}
    gaps = [f"{name}: {points(two_way.analyse(differences[key]).estimate())}" for key, name in named.items() if key in differences]
    alike = "" if table is None else ", and among those called ".join(f"{row.predicted} {points(row.difference)}" for row in heat.by_prediction(table).itertuples())
    return "; ".join(gaps) or NOT_RECORDED, f"Among images called {alike}" if alike else NOT_RECORDED


def heat_said(table: pd.DataFrame | None) -> str:
    """:func:`heat_sentences` in Markdown."""
    gaps, alike = heat_sentences(table)
    return f"{markup.bold('Differences.')} {markup.text(gaps)}.\n\n{markup.bold('Truly positive less truly negative, heat in the central region.')} {markup.text(alike)}."


def answered(both: Sequence[Evidence]) -> list[dict[str, str]]:
    """The answers of each data set, by the names in ``QUESTIONS``."""
    return [answers(e, None if e.files is None else file_sizes.guess(e.files)) for e in both]


def answers_table(both: Sequence[Evidence], found: list[dict[str, str]]) -> str:
    """Questions and answers, a column for each data set, in Markdown."""
    return markup.table(["question", *(e.title for e in both)], [[question, *(one[name] for one in found)] for name, question in QUESTIONS.items()])


def confounding_records(path: Path) -> list[Record]:
    """The records on phantoms with known confounding; none if there is no such file."""
    from cxrlib.experiment.record import read_table

    return read_table(path) if path.is_file() else []
