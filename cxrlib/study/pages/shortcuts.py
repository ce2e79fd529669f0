"""Disease or data source, from records to numbers: regions, sources, sources left out, and sentences that answer.

Everything is over test patients and seeds at once; where runs held out other patients for each seed, an image counts for
the seeds that had not trained on it. Comparisons are paired: the same images, seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.experiment.record import Record
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import auc_over_seeds, share_over_seeds
from cxrlib.study.pairs import points

NOT_RECORDED = "not recorded yet"
CLASSES = ("negative", "positive")
NAMES = {"whole": "whole image", "centre": "central square", "frame": "frame around it", "lungs": "lungs", "outside_lungs": "outside the lungs"}


@dataclass(frozen=True)
class Evidence:
    """The runs of notebook 06 on one data set.

    Attributes:
        title: what the data are, for figures.
        files: columns split, file, label, source of every image file (:mod:`cxrlib.study.pages.file_sizes`); None if that is not known.
        missing: what to say where there are no runs.
    """

    title: str
    records: list[Record]
    files: pd.DataFrame | None
    threshold: float = 0.5
    missing: str = NOT_RECORDED

    def arm(self, region: str = "whole", leave_out: str | None = None, sources: bool = False, held_out: bool = False) -> list[Record]:
        """The runs of one kind, in the order of their seeds."""

        def fits(config: dict) -> bool:
            asked = config.get("region", "whole"), config.get("leave_out"), config.get("sources") is not None
            return asked == (region, leave_out, sources) and (sources or (config["validation_fraction"] > 0) == held_out)

        return sorted((r for r in self.records if fits(r.config)), key=lambda record: record.config["seed"])

    def regions(self) -> list[str]:
        """The regions that are recorded, in a fixed order."""
        return [region for region in NAMES if self.arm(region)]

    def sources_left_out(self) -> list[str]:
        """The sources without which there are runs, sorted."""
        return sorted({r.config["leave_out"] for r in self.records if r.config.get("leave_out")})

    def source_of(self, folder: str) -> dict[str, str]:
        """Source by file of a split on disk; empty if it is not known."""
        if self.files is None:
            return {}
        rows = self.files[self.files["split"] == folder]
        return dict(zip(rows["file"], rows["source"], strict=True))


@dataclass(frozen=True)
class Scored:
    """Logits (seeds, images), NaN where a seed has no score, with labels (0 or 1) and patients of the images."""

    logits: np.ndarray
    files: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    def where(self, keep: np.ndarray) -> Scored:
        """The images where ``keep`` (images,) is true."""
        return Scored(self.logits[:, keep], self.files[keep], self.labels[keep], self.patients[keep])

    def right(self, threshold: float) -> np.ndarray:
        """1 where a run calls an image as it is labelled, 0 where not, NaN without a score; shape (seeds, images)."""
        called = expit(self.logits) > threshold
        return np.where(np.isfinite(self.logits), called == (self.labels == 1), np.nan)


def scored(records: list[Record], split: str = "test") -> Scored:
    """The predictions of a split over runs, whose images may differ."""
    tables = [record.table(split).set_index("file") for record in records]
    images = pd.concat(tables)[["label", "patient_id"]]
    images = images[~images.index.duplicated()].sort_index()
    logits = np.stack([table["logit"].reindex(images.index).to_numpy(float) for table in tables])
    return Scored(logits, images.index.to_numpy(str), images["label"].to_numpy(), images["patient_id"].to_numpy())


def auc(images: Scored) -> Estimate:
    """Mean AUC over seeds with its interval over patients and seeds; NaN without both classes."""
    return auc_over_seeds(images.logits, images.labels, images.patients)


def by_region(evidence: Evidence) -> pd.DataFrame:
    """Columns region, AUC, accuracy, change (of the AUC against the whole image, same seeds; None for it), runs.

    The change is of the AUC: accuracy also moves with where the threshold falls, which a grey half shifts.
    """
    rows = []
    for region in evidence.regions():
        arm = evidence.arm(region)
        images = scored(arm)
        row = {"region": region, "AUC": auc(images)}
        row["accuracy"] = share_over_seeds(images.right(evidence.threshold), images.patients)
        row["change"] = None if region == "whole" else _change(evidence.arm(), arm, evidence)
        rows.append(row | {"runs": len(arm)})
    return pd.DataFrame(rows, columns=["region", "AUC", "accuracy", "change", "runs"], dtype=object)


def _change(before: list[Record], after: list[Record], evidence: Evidence) -> Estimate | None:
    seeds = {r.config["seed"] for r in before} & {r.config["seed"] for r in after}
    if not seeds:
        return None
    first, second = (scored([r for r in arm if r.config["seed"] in seeds]) for arm in (before, after))
    one, two = (two_way.area(images.logits, images.labels, images.patients) for images in (first, second))
    return two_way.analyse(two - one).estimate()


def told_apart(evidence: Evidence) -> dict | None:
    """How well networks tell two sources apart on patients they never saw; None without such runs.

    Returns:
        sources (two names), within (class or None), AUC and balanced accuracy (Estimates; 0.5 is chance), patients, runs.
    """
    arm = evidence.arm(sources=True)
    if not arm:
        return None
    images = scored(arm)
    right = images.right(evidence.threshold)
    classes = [two_way.share(np.where(images.labels == label, right, np.nan), images.patients) for label in (0, 1)]
    balanced = two_way.analyse(sum(classes) / 2, bounded=True).estimate()
    config = arm[0].config
    found = {"sources": tuple(config["sources"]), "within": config.get("within"), "AUC": auc(images), "balanced accuracy": balanced}
    return found | {"patients": len(np.unique(images.patients)), "runs": len(arm)}


def by_source(evidence: Evidence) -> pd.DataFrame:
    """Share of images called right, by source and class, of networks that saw whole images of every source.

    Returns:
        Columns images ('test' or 'held out': training patients that the run did not see), source, label, right (Estimate),
        patients, runs. Without known sources the frame is empty.
    """
    rows = []
    for name, split, folder, arm in (("test", "test", "test", evidence.arm()), ("held out", "validation", "train", evidence.arm(held_out=True))):
        known = evidence.source_of(folder)
        if not arm or not known:
            continue
        images = scored(arm, split)
        sources = np.array([known.get(file, "unknown") for file in images.files])
        for label, called in enumerate(CLASSES):
            for source in sorted(set(sources[images.labels == label])):
                part = images.where((sources == source) & (images.labels == label))
                row = {"images": name, "source": source, "label": called, "right": share_over_seeds(part.right(evidence.threshold), part.patients)}
                rows.append(row | {"patients": len(np.unique(part.patients)), "runs": len(arm)})
    return pd.DataFrame(rows, columns=["images", "source", "label", "right", "patients", "runs"], dtype=object)


def left_out(evidence: Evidence) -> pd.DataFrame:
    """What networks make of images of a source when they trained without it, against networks that trained with it.

    Both have held out the same patients, seed by seed, and are scored on the same images: those of held-out patients of
    the source. The measure is the share of each class called right, or the AUC: of those images alone if they hold both
    classes, else against the test images of the other class.

    Returns:
        Columns source, measure, trained_with, trained_without and change (Estimates; without less with), patients, runs.
    """
    known, rows = evidence.source_of("train"), []
    for source in evidence.sources_left_out() if known else ():
        pair = [{r.config["seed"]: r for r in evidence.arm(leave_out=out, held_out=True)} for out in (None, source)]
        seeds = sorted(pair[0].keys() & pair[1].keys())
        if not seeds:
            continue
        arms = [[members[seed] for seed in seeds] for members in pair]
        held = scored(arms[0], "validation")
        held = held.where(np.array([known.get(file) == source for file in held.files]))
        if not held.files.size:  # no seed holds out a patient of a rare source
            continue
        other = scored(arms[1], "left_out")
        place = {file: number for number, file in enumerate(other.files)}
        columns = [place[file] for file in held.files]
        logits = np.where(np.isfinite(held.logits), other.logits[:, columns], np.nan)
        both = [held, Scored(logits, held.files, held.labels, held.patients)]
        for label, called in enumerate(CLASSES):
            if (held.labels == label).any():
                parts = [images.where(held.labels == label) for images in both]
                right = [two_way.share(p.right(evidence.threshold), p.patients, pooled=True) for p in parts]
                ends = [share_over_seeds(p.right(evidence.threshold), p.patients) for p in parts]
                rows.append(_row(source, f"{called} images called {called}", ends, two_way.analyse(right[1] - right[0]).estimate(), parts[0], seeds))
        both = [_with_other_class(images, scored(arm)) for images, arm in zip(both, arms, strict=True)]
        areas = [two_way.area(images.logits, images.labels, images.patients) for images in both]
        change = two_way.analyse(areas[1] - areas[0]).estimate()
        against = "" if len(set(held.labels)) == 2 else f" against {CLASSES[1 - held.labels[0]]} test images"
        rows.append(_row(source, f"AUC{against}", [auc(images) for images in both], change, held, seeds))
    return pd.DataFrame(rows, columns=["source", "measure", "trained_with", "trained_without", "change", "patients", "runs"], dtype=object)


def _with_other_class(images: Scored, test: Scored) -> Scored:
    """Some images and, of a class that they lack, those of the test split, for an AUC."""
    other = test.where(~np.isin(test.labels, images.labels))
    joined = [np.concatenate([getattr(part, name) for part in (images, other)], axis=-1) for name in ("logits", "files", "labels", "patients")]
    return Scored(*joined)


def _row(source: str, measure: str, ends: list[Estimate], change: Estimate, images: Scored, seeds: list[int]) -> dict:
    return {"source": source, "measure": measure, "trained_with": ends[0], "trained_without": ends[1], "change": change, "patients": len(np.unique(images.patients)), "runs": len(seeds)}


# Answers


def beyond(estimate: Estimate, chance: float = 0.5) -> str:
    """'yes', 'no' or 'not clear': whether the interval lies above, below or around ``chance``."""
    return "yes" if estimate.low > chance else "no" if estimate.high < chance else "not clear"


def answers(evidence: Evidence, guess: Estimate | None) -> dict[str, str]:
    """One sentence for each question of the page, from the records of one data set; what is missing says so."""
    found = {"size": evidence.missing if guess is None else f"{beyond(guess)}: {guess.percent()} % of test images right, averaged over the classes; 50 is chance"}
    apart = told_apart(evidence)
    if apart is None:
        found["source"] = evidence.missing
    else:
        names = f"the sources {' and '.join(apart['sources'])}{', among ' + apart['within'] + 's' if apart['within'] else ''}"
        found["source"] = f"{beyond(apart['AUC'])}: {names}, AUC {apart['AUC'].percent()} %, balanced accuracy {apart['balanced accuracy'].percent()} %; 50 is chance"
    regions = by_region(evidence).set_index("region")
    for region in ("frame", "centre", "outside_lungs", "lungs"):
        if region in regions.index:
            row = regions.loc[region]
            less = "" if row["change"] is None else f"; against the whole image {points(row['change'])} of AUC"
            found[region] = f"{beyond(row['AUC'])}: AUC {row['AUC'].percent()} %, where 50 is chance{less}"
        else:
            found[region] = evidence.missing if region in ("frame", "centre") else "no lung masks, or not recorded yet"
    changes = [row for row in left_out(evidence).itertuples(index=False) if row.measure.startswith("AUC")]
    said = [f"{row.source}: {'yes' if row.change.high < 0 else 'no, it rises' if row.change.low > 0 else 'not clear'}, AUC {points(row.change)}" for row in changes]
    found["left_out"] = "; ".join(said) or evidence.missing
    return found


def sentence(evidence: Evidence) -> str:
    """What the frame and the sources tell of the class on one data set, for the home page."""
    found = answers(evidence, None)
    return (
        f"On {evidence.title}: does the frame alone, without the centre of the chest, tell the class? {found['frame']}. "
        f"Can two sources be told apart within one class? {found['source']}."
    )
