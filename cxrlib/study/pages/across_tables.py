"""Disease or data source, with truth: what the pages show and say of :class:`cxrlib.study.pages.across.Across`, or that nothing is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cxrlib import markup
from cxrlib.experiment.record import read_table
from cxrlib.metrics.estimate import Estimate
from cxrlib.study.pages.across import BALANCED, COLLECTION, ONE_HOSPITAL, OWN, TESTS, TRAININGS, Across, read_files
from cxrlib.study.pages.shortcuts import NOT_RECORDED, beyond
from cxrlib.study.pairs import points
from cxrlib.study.truth import APART, EVENED, FOLD


def opened(records: Path, files: Path, threshold: float = 0.5) -> Across | None:
    """The committed records of these trainings and the files that they are about; None if either is not there.

    Raises:
        ValueError: if one is damaged.
    """
    table = read_files(files)
    return None if table is None or not records.is_file() else Across(read_table(records), table, threshold)


def dots(across: Across | None) -> list[tuple[str, dict[str, Estimate]]] | str:
    """Rows of a figure: for each test set with both classes the AUC of every training, and of what files alone tell; or that nothing is recorded."""
    if across is None:
        return NOT_RECORDED
    found, files = across.table(), across.by_files()
    rows = []
    for test in TESTS:
        values = {TRAININGS[row.training]: row.AUC for row in found[found["test"] == test].itertuples() if np.isfinite(row.AUC)}
        for knows in ("shape", "source"):
            # What is best known of the files: inside the collection where that is the question, else from the training data.
            known = files[(files["test"] == test) & (files["knows"] == knows)].set_index("training")["AUC"]
            value = known.get(FOLD, known.get(APART)) if test in (COLLECTION, BALANCED) else known.get(APART)
            if np.isfinite(value):
                values[f"{knows} of the file alone"] = value
        if values:
            rows.append((f"{test} ({int(found.loc[found['test'] == test, 'images'].iloc[0])} images)", values))
    return rows


def at_threshold(across: Across | None) -> list[tuple[str, dict[str, Estimate]]] | str:
    """Rows of a figure: sensitivity and specificity of every training on every test set, at the threshold that was fixed beforehand."""
    if across is None:
        return NOT_RECORDED
    return [
        (f"{row.test}, {TRAININGS[row.training]}", {name: value for name in ("sensitivity", "specificity") if np.isfinite(value := getattr(row, name))})
        for row in across.table().itertuples()
    ]


def told_at_threshold(across: Across | None) -> str:
    """What the figure of :func:`at_threshold` shows, in a sentence."""
    rows = {} if across is None else {test: across.row(APART, test) for test in (OWN, COLLECTION, ONE_HOSPITAL)}
    if None in (*rows.values(), across):
        return "Nothing is recorded of this yet."
    said = "; ".join(f"{test} {row['sensitivity'].percent()} %" for test, row in rows.items())
    return f"Trained as usual, positives found at a threshold of {100 * across.threshold:g} %: {said}."


QUESTIONS = {
    "fall": "Does the AUC fall outside, trained as usual?",
    "across_balanced": "Does it tell the classes apart in the balanced part of the other collection?",
    "fall_evened": "Does it fall outside, trained on pictures evened out?",
    "rescue": "Does evening the pictures out make the fall smaller?",
    "inside": "Can the classes be told apart inside one collection?",
    "inside_balanced": "And in its balanced part?",
    "inside_gain": "Do networks trained inside it do better there than those from outside?",
    "files": "What do source and shape of a file tell inside the collection (AUC)?",
    "hospital": "How many of the positives of another hospital are found?",
}


def answers_table(said: Mapping[str, str]) -> str:
    """Questions and answers of :func:`answers`, in Markdown."""
    return markup.table(["question", "answer (95 % interval)"], [[text, said.get(name, NOT_RECORDED)] for name, text in QUESTIONS.items()])


def scores_table(across: Across | None) -> str:
    """Every training on every test set, in Markdown."""
    columns = ["training", "test set", "AUC, % (95 % interval)", "sensitivity, %", "specificity, %", "images", "patients", "runs"]
    return NOT_RECORDED if across is None else markup.table(columns, lines(across))


def lines(across: Across) -> list[list[str]]:
    """Rows of a table: training, test set, AUC, sensitivity and specificity in per cent, images, patients, runs."""
    return [
        [TRAININGS[row.training], row.test, row.AUC.percent(), row.sensitivity.percent(), row.specificity.percent(), str(row.images), str(row.patients), str(row.runs)]
        for row in across.table().itertuples()
    ]  # fmt: skip


def answers(across: Across | None) -> dict[str, str]:
    """A sentence for each of ``QUESTIONS``; what has no records says so, and without any there is none."""
    said: dict[str, str] = {}
    if across is None:
        return said
    for name, training in (("fall", APART), ("fall_evened", EVENED)):
        falls = {test: across.fall(training, test) for test in (COLLECTION, BALANCED)}
        said[name] = "; ".join(f"{test}: {beyond(fall, 0)}, {points(fall)} of AUC" for test, fall in falls.items() if np.isfinite(fall)) or NOT_RECORDED
    rescue = across.rescued(COLLECTION)
    more = Estimate(-rescue, -rescue.high, -rescue.low)
    said["rescue"] = f"{beyond(rescue, 0)}: with evened pictures the AUC outside falls by {points(more)} more" if np.isfinite(rescue) else NOT_RECORDED
    for name, training, test in (("inside", FOLD, COLLECTION), ("inside_balanced", FOLD, BALANCED), ("across_balanced", APART, BALANCED)):
        row = across.row(training, test)
        said[name] = NOT_RECORDED if row is None else f"{beyond(row['AUC'])}: AUC {row['AUC'].percent()} %, where 50 is chance"
    gains = {test: across.inside_gain(test) for test in (COLLECTION, BALANCED)}
    said["inside_gain"] = "; ".join(f"{test}: {beyond(gain, 0)}, {points(gain)} of AUC" for test, gain in gains.items() if np.isfinite(gain)) or NOT_RECORDED
    files = across.by_files().set_index(["training", "test", "knows"])["AUC"]
    said["files"] = "; ".join(f"{test}, by {knows}: {files[FOLD, test, knows].percent()} %" for test in (COLLECTION, BALANCED) for knows in ("source", "shape"))
    row = across.row(APART, ONE_HOSPITAL)
    said["hospital"] = NOT_RECORDED if row is None else f"sensitivity {row['sensitivity'].percent()} % on {row['images']} images of {row['patients']} patients"
    return said


def told(across: Across | None) -> str:
    """What the figure of :func:`dots` shows, in a sentence."""
    return "Nothing is recorded of this yet." if across is None else f"Does the AUC fall in another collection? {answers(across)['fall']}."


def headline(across: Across | None) -> str:
    """The answer of the page in three sentences; that it is not recorded, where it is not."""
    if across is None:
        return f"The answer is {NOT_RECORDED}."
    home, away = (across.row(APART, test) for test in (OWN, COLLECTION))
    if home is None or away is None:
        return f"The answer is {NOT_RECORDED}."
    said = [
        f"A small network, trained on these X-rays as usual, tells the classes apart with an AUC of {home['AUC'].percent()} % on its own test set, and of "
        f"{away['AUC'].percent()} % in a collection that it has not seen"
    ]
    balanced, inside = across.fall(APART, BALANCED), across.row(FOLD, COLLECTION)
    if np.isfinite(balanced):
        loses = {"yes": "it loses", "no": "it loses nothing:", "not clear": "whether it loses anything is not clear:"}[beyond(balanced, 0)]
        said.append(f"On the {len(across.scores(APART, BALANCED).files)} images there whose source tells nothing {loses} {points(balanced)}")
    if inside is not None:
        better = beyond(across.inside_gain(COLLECTION), 0) == "yes"
        reason = "so it is not the question there that is hard" if better else (
            "no clear gain. So these data cannot separate a source that was learned from a harder question: the negatives there are mostly other pneumonias"
        )
        said.append(f"Networks trained inside that collection reach {inside['AUC'].percent()} %, {reason}")
    return ". ".join(said) + "."
