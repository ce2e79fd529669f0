"""The external set of a page: what it holds, what is left out of it, and the scores of the page's runs on the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxrlib import markup
from cxrlib.config import ParameterError, Parameters
from cxrlib.data.dataset import Dataset
from cxrlib.experiment.external import open_external, overlap, scores, unseen
from cxrlib.experiment.record import Record
from cxrlib.metrics.classifier import evaluate
from cxrlib.metrics.operating import Scores
from cxrlib.study.thresholds import scores_of
from cxrlib.weights.source import WeightsError

WORDS = {"patient": "patient id and source", "image": "pixels"}


@dataclass(frozen=True)
class SecondSet:
    """The external set of a page, without what it has in common with the training data of that page.

    Attributes:
        dataset: of :func:`open_external`.
        found: of :func:`overlap`.
    """

    dataset: Dataset
    found: pd.DataFrame

    @classmethod
    def of(cls, parameters: Parameters, dataset: Dataset) -> SecondSet | None:
        """That of a page's parameters ``external`` and ``external_labels``; None if there is none.

        Every image is decoded here, so that a faulty one is named before anything is trained.

        Raises:
            DataError, ImageError: saying what is wrong with the folder.
        """
        if parameters.external is None:
            return None
        opened = open_external(parameters.external, parameters.external_labels, parameters.cache)
        found = overlap(dataset, opened, parameters.cache)
        unseen(opened.index, found)
        return cls(opened, found)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.dataset.folder.resolve().name

    def scores(self, records: list[Record], store: Path, cache: Path) -> Scores:
        """Logits of runs that differ in their seed, in its order, on the images that they have not seen."""
        ordered = sorted(records, key=lambda record: record.config["seed"])
        return scores_of([unseen(scores(record, store, self.dataset, cache), self.found) for record in ordered])

    def about(self, plain: bool = False) -> str:
        """What is in the set, and what was left out and why, in sentences of Markdown, or plain ones for a terminal."""
        index = self.dataset.index
        left = unseen(index, self.found)
        kind = "phantoms" if self.dataset.is_phantom else "X-rays"
        classes = " and ".join(f"{(left['label'] == label).sum()} {label}" for label in ("positive", "negative"))
        counts = f"{_count(len(left), 'test image')} of {_count(left['patient_id'].nunique(), 'patient')}, {classes}"
        sources = ", ".join(map(markup.visible if plain else markup.text, sorted(left["source"].unique())))
        name = markup.visible(self.name) if plain else markup.code(self.name)
        text = [f"{name} ({kind}): {counts}, from the sources {sources}."]
        table = pd.crosstab(left["source"], left["label"])
        text.append(
            f"Guessing of each source its commoner class is right on {table.max(axis=1).sum()} of them, guessing one class for all on "
            f"{table.sum().max()}: the further apart, the more the sources give the class away here too."
        )
        gone = index[~index["file"].isin(left["file"])]
        if len(gone):
            reasons = self.found[self.found["split"] == "train"].groupby("reason")["file"].nunique()
            why = ", ".join(f"{count} by their {WORDS[reason]}" for reason, count in reasons.items())
            text.append(
                f"Left out, because the training data has them: {_count(len(gone), 'image')} of "
                f"{_count(gone['patient_id'].nunique(), 'patient')} (recognised: {why})."
            )
        else:
            text.append("None of its patients or images was found in the training data, so nothing is left out.")
        if shared := self.found.loc[self.found["split"] == "test", "file"].nunique():
            text.append(f"{_count(shared, 'image')} belong to the patients or images of the internal test set too: the two sets are not independent.")
        if problems := self.dataset.index.attrs.get("problems", []):
            text.append(f"{_count(len(problems), 'row')} of its label file cannot be used; `cxr data check --test-only` says why.")
        return " ".join(text)


def scored(records: list[Record], store: Path, second: SecondSet, cache: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Each run on its own on the external images that it has not seen, at threshold 0.5.

    Returns:
        A row per run: columns key, init, seed, ``accuracy here`` (of the internal test images), and accuracy, sensitivity,
        specificity and auc on the external ones, as :class:`~cxrlib.metrics.estimate.Estimate` over images, the AUC over patients.
        And for each run that cannot be scored, as its weights are gone or it is of another kind, its key and the reason.

    Raises:
        ImageError: naming the images that cannot be decoded. DataError: if no image of a class is left.
    """
    rows, refused = [], {}
    for record in records:
        try:
            every = scores(record, store, second.dataset, cache)
        except (WeightsError, ParameterError) as error:
            refused[record.key] = str(error)
            continue
        table = unseen(every, second.found)
        found = evaluate(table["label"], table["probability"], patients=table["patient_id"])
        row = {"key": record.key, "init": record.initialisation["name"], "seed": record.config["seed"]}
        row |= {"accuracy here": record.history[-1]["test_accuracy"]}
        rows.append(row | {name: getattr(found, name) for name in ("accuracy", "sensitivity", "specificity", "auc")})
    return pd.DataFrame(rows, dtype=object), refused


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
