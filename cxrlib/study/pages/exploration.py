"""Section 3.1 of the paper and what a network could learn that is not the disease: examples, counts, sources, sizes of files, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.data import splits
from cxrlib.data.dataset import Dataset
from cxrlib.data.decode import decode_image
from cxrlib.data.labels import image_path
from cxrlib.data.report import Report
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study.figures import captions
from cxrlib.study.pages import file_sizes
from cxrlib.study.pages.chapter import Shown
from cxrlib.study.pages.counts import compare_with_paper
from cxrlib.study.parameters import Exploration
from cxrlib.study.verdicts import NOT_RECORDED

LABELS = ("negative", "positive")
CHANCE = 0.5
"""Of two classes; a guess without a picture whose whole interval is above it is a warning."""
NOTHING = "Nothing is recorded of these files yet."


def examples(dataset: Dataset, count: int, seed: int) -> tuple[dict[str, list[np.ndarray]], dict[str, list[str]]]:
    """Images drawn at random from both splits, and what stands below each, by class."""
    generator, index = np.random.default_rng(seed), dataset.index
    images, below = {}, {}
    for label in LABELS:
        chosen = index[index["label"] == label]
        chosen = chosen.iloc[np.sort(generator.choice(len(chosen), min(count, len(chosen)), replace=False))]
        images[label] = [decode_image(image_path(dataset.folder, row)) for _, row in chosen.iterrows()]
        below[label] = [markup.visible(row.source) for row in chosen.itertuples()]
    return images, below


def counts(files: pd.DataFrame | None) -> pd.DataFrame:
    """Images and patients by split and class: columns split, label, count, kind; of an index or of :func:`file_sizes.read`."""
    if files is None:
        return pd.DataFrame(columns=["split", "label", "count", "kind"])
    grouped = files.groupby(["split", "label"])
    images = grouped.size().rename("count").reset_index().assign(kind="images")
    return pd.concat([images, grouped["patient_id"].nunique().rename("count").reset_index().assign(kind="patients")])


def finding_counts(table: pd.DataFrame) -> str:
    if table.empty:
        return NOTHING
    said = []
    for split, part in table.groupby("split", sort=False):
        numbers = ", ".join(f"{number:,} {label} {kind}" for kind, label, number in zip(part["kind"], part["label"], part["count"], strict=True))
        said.append(captions.panel(split, f"{numbers}."))
    return " ".join(said)


def sources(files: pd.DataFrame | None) -> str:
    """Images by source, split and class, as a Markdown table."""
    if files is None:
        return NOT_RECORDED
    table = pd.crosstab(files["source"], [files["split"], files["label"]])
    table.columns = [f"{split} {label}" for split, label in table.columns]
    return markup.frame_table(table.reset_index())


def shapes(files: pd.DataFrame | None) -> pd.DataFrame:
    """Sizes of files by class with the number of images that share them: columns width, height, class, images."""
    if files is None:
        return pd.DataFrame(columns=["width", "height", "class", "images"])
    return files[["width", "height", "label"]].rename(columns={"label": "class"}).value_counts().rename("images").reset_index()


def finding_shapes(table: pd.DataFrame) -> str:
    """How many sizes there are, how many of them occur in both classes, and how many files of each class have the commonest one."""
    if table.empty:
        return NOTHING
    of = [set(zip(part["width"], part["height"], strict=True)) for _, part in table.groupby("class")]
    every, shared = len(set.union(*of)), len(set.intersection(*of))
    if every == 1:
        return "Every file has the same size, so the size tells nothing."
    commonest = table.groupby(["width", "height"])["images"].sum().idxmax()
    at = table[(table["width"] == commonest[0]) & (table["height"] == commonest[1])].set_index("class")["images"]
    of_class = "; ".join(f"{at.get(name, 0):,} of {count:,} {name}" for name, count in table.groupby("class")["images"].sum().items())
    return (
        f"There are {every:,} sizes of file, and {shared:,} of them {'occurs' if shared == 1 else 'occur'} in both classes. "
        f"The commonest is {commonest[0]} × {commonest[1]} pixels: {of_class} images have it."
    )


def guesses(files: pd.DataFrame | None) -> dict[str, Estimate] | None:
    """Balanced test accuracy of a small decision tree from the source alone and from width and height alone; None without files."""
    if files is None:
        return None
    return {"the source": file_sizes.guess(files, by="source"), "width and height": file_sizes.guess(files)}


def finding_guesses(found: Iterable[tuple[Shown, dict[str, Estimate] | None]]) -> str:
    """What can be guessed without the picture, by data set."""
    said = [captions.panel(shown.place, f"{' and '.join(f'{percentage(value):.1f} % from {name}' for name, value in values.items())}.") for shown, values in found if values]
    return f"Test images whose class is guessed without the picture. {' '.join(said)}" if said else NOTHING


def answer(found: dict[str, Estimate] | None, shown: Shown) -> str:
    """What the page answers, in two sentences of Markdown."""
    if found is None:
        return NOT_RECORDED
    source, size = (100 * float(found[name]) for name in ("the source", "width and height"))
    said = f"On {shown.place} the width and height of a file, without the picture, tell the class of {size:.1f} % of the test images, and the name of the source of {source:.1f} %, where 50 % is chance."
    high = any(value.low > CHANCE for value in found.values())
    return markup.text(f"{said} {'A high score of any network on these images proves little about the disease.' if high else 'Neither is told from chance here.'}")


def rows(found: Iterable[tuple[Shown, dict[str, Estimate] | None]]) -> dict[str, Any]:
    """Panels of :func:`cxrlib.study.figures.shortcuts.dots`: what can be guessed from the source and from the size, by data set."""
    return {shown.title("guessed without the picture"): [(f"from {name}", {"accuracy": value}) for name, value in values.items()] if values else NOT_RECORDED for shown, values in found}


def duplicates(dataset: Dataset, size: int, distance: int, correlation: float, cache) -> tuple[pd.DataFrame, dict[str, int]]:
    """Candidate pairs of near duplicates, and how many there are, cross the splits, and patients in both splits."""
    index = dataset.index
    ordered = pd.concat([index[index["split"] == split] for split in ("train", "test")])
    small = np.concatenate([dataset.images(split, size, cache) for split in ("train", "test")])
    found = splits.find_duplicates(small, ordered, distance, correlation)
    both = set.intersection(*(set(index.loc[index["split"] == split, "patient_id"]) for split in ("train", "test")))
    return found, {"duplicate_pairs": len(found), "leaking_pairs": int(found["cross_split"].sum()), "leaking_patients": len(both)}


def soundness(report: Report) -> str:
    """What is wrong with the files, the first ten of each kind, and what is worth knowing of them, in Markdown."""
    seen: Counter[str] = Counter()
    rows = []
    for problem in report.problems:
        seen[problem.kind] += 1
        if seen[problem.kind] <= 10:
            rows.append([problem.kind, problem.place, problem.message])
    said = f"{len(report.problems)} problems in {report.rows:,} rows of the label files." if rows else f"No problem was found in {report.rows:,} rows of the label files."
    lines = [markup.text(said), markup.frame_table(report.counts), markup.table(["problem", "where", "what"], rows) if rows else ""]
    return "\n\n".join(filter(None, [*lines, "\n".join(f"- {markup.text(remark)}" for remark in report.remarks)]))


def pair_table(pairs: pd.DataFrame) -> str:
    """The first ten candidates, as a Markdown table."""
    return markup.frame_table(pairs.head(10)) if len(pairs) else "No two images are that alike."


def described(dataset: Dataset, cache: Path) -> pd.DataFrame:
    """The table of image files of :func:`cxrlib.study.pages.file_sizes.measure`, with what a search for near duplicates found in ``attrs['about']``."""
    files, how = file_sizes.measure(dataset), Exploration()
    _, found = duplicates(dataset, how.duplicate_size, how.duplicate_distance, how.duplicate_correlation, cache)
    files.attrs["about"] |= {"images": len(files), **found}
    return files


def duplicates_said(files: pd.DataFrame | None) -> str:
    """What :func:`described` found in the recorded files, in words."""
    about = {} if files is None else files.attrs["about"]
    if "duplicate_pairs" not in about:
        return NOT_RECORDED
    return f"{about['duplicate_pairs']} candidate pairs among {about['images']:,} images, {about['leaking_pairs']} of them across the splits, and {about['leaking_patients']} patients in both splits"


def recorded(path: Path) -> tuple[pd.DataFrame | None, Shown]:
    """Sizes and sources of the recorded real X-rays, and their name."""
    files = file_sizes.read(path)
    name = "no records" if files is None else files.attrs["about"]["data"]
    return files, Shown("real", name, recorded=True)


def measured(dataset: Dataset) -> tuple[pd.DataFrame, Shown]:
    """The same of the data of this copy."""
    return file_sizes.measure(dataset), Shown.of(dataset)


def handed(dataset: Dataset, found: dict[str, Estimate], problems: int) -> dict[str, Any]:
    """Numbers for the text of pages."""
    index, shown = dataset.index, Shown.of(dataset)
    kind = "phantoms (computed images, no patients)" if dataset.is_phantom else "X-rays"
    scores = {"source_score": 100 * float(found["the source"]), "shape_score": 100 * float(found["width and height"])}
    return scores | {"data_name": f"{shown.name}: {kind}", "image_count": len(index), "patient_count": int(index["patient_id"].nunique()), "problem_count": problems}


def data_line(dataset: Dataset, real: Shown) -> str:
    """Whose data the page shows."""
    shown, kind = Shown.of(dataset), "phantoms (computed images, no patients)" if dataset.is_phantom else "X-rays"
    live = f"{markup.code(shown.name)}, {len(dataset.index):,} {kind}, fingerprint `{dataset.fingerprint[:12]}`"
    return f"**Data shown on this page:** the recorded files of {markup.text(real.kind)} ({markup.code(real.name)}), without their pictures, then {live}."


def beside_paper(index: pd.DataFrame | None) -> str:
    """Counts beside those that the paper prints, as a Markdown table."""
    return NOT_RECORDED if index is None else markup.frame_table(compare_with_paper(index).astype(object).fillna("–"))
