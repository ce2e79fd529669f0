"""What the page on disease or data source compares: committed records on real X-rays, and runs on the data of the copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrlib import markup
from cxrlib.data.dataset import Dataset
from cxrlib.data.extent import EXTRA, extra_columns
from cxrlib.experiment.one_run import key_of, open_dataset
from cxrlib.experiment.sweep import run_all
from cxrlib.metrics.inference import share_over_seeds
from cxrlib.study import committed
from cxrlib.study.derived import derived, lung_masks
from cxrlib.study.pages import file_sizes
from cxrlib.study.pages.holdings import MOST, REPEATED
from cxrlib.study.pages.maps import lacking
from cxrlib.study.pages.second_set import SecondSet
from cxrlib.study.pages.shortcuts import Evidence, scored
from cxrlib.study.parameters import Shortcuts
from cxrlib.study.parts import named, network, upstream
from cxrlib.study.thresholds import performance_of

STUDY = "06_shortcuts"
ONE_SOURCE = "cannot be tested on these data: no class has images of two sources"
FEWEST = 5
"""Patients below which a group is not listed."""
SHOWN = ("auc", "accuracy", "sensitivity", "specificity")


def recorded(results: Path, profile: str, files: Path, threshold: float) -> tuple[Evidence, tuple[int, int]]:
    """The evidence of committed records on real X-rays, and how many of the runs of the profile are recorded and planned.

    Raises:
        ValueError: if a table is damaged.
    """
    table = committed.read(results, profile)
    return Evidence(f"real X-rays ({table.data_name()})", table.of(STUDY), file_sizes.read(files), threshold), table.by_study()[STUDY]


@dataclass(frozen=True)
class TwoSets:
    """The evidence of the page, real X-rays first.

    Attributes:
        parameters: with what was derived from the data.
        live: None where nothing can be trained on the data of the copy; ``lacking`` then says why.
        planned: recorded and planned runs on real X-rays.
    """

    parameters: Shortcuts
    real: Evidence
    live: Evidence | None
    dataset: Dataset | None
    planned: tuple[int, int]
    lacking: str = ""

    @classmethod
    def trained(cls, parameters: Shortcuts, recorded: tuple[Evidence, tuple[int, int]]) -> TwoSets:
        """Train what is missing on the data of the copy.

        Args:
            recorded: of :func:`recorded`.

        Raises:
            DataError, ParameterError, WeightsError: saying what to change.
        """
        real, planned = recorded
        if reason := lacking(parameters):
            return cls(parameters, real, None, None, planned, reason)
        dataset = open_dataset(parameters)
        parameters = derived(parameters, dataset.index)
        title = f"{'phantoms' if dataset.is_phantom else 'X-rays'} ({dataset.folder.resolve().name})"
        live = Evidence(title, run_all(parameters.runs(), parameters.workers), file_sizes.measure(dataset), parameters.threshold, ONE_SOURCE)
        return cls(parameters, real, live, dataset, planned)

    @property
    def both(self) -> Sequence[Evidence]:
        """What there is, in the order of every figure and table."""
        return (self.real,) if self.live is None else (self.real, self.live)

    @property
    def badge(self) -> str:
        """Of a figure with all of it, a key of :data:`cxrlib.study.figures.captions.BADGES`."""
        return "both" if self.dataset is not None and self.dataset.is_phantom else "real"

    def about(self) -> str:
        """What is shown, in Markdown."""
        parameters, (have, planned) = self.parameters, self.planned
        text = f"**Data shown on this page:** {markup.text(self.real.title)}, {have} of {planned} runs of the profile {markup.code(parameters.profile)} recorded"
        if self.live is None:
            return f"{text}. {markup.bold('Not computed for this copy:')} {markup.text(self.lacking)}."
        text += f"; and {markup.text(self.live.title)}, {len(self.live.records)} runs ({markup.text(network(parameters.arch))}, from {markup.text(named(upstream(parameters.init)))}; seeds {', '.join(map(str, parameters.seeds))})."
        masks = lung_masks(parameters)
        return text if masks is None else f"{text} Where its lungs lie is known from {markup.code(masks.name)}{', boxes and no outlines' if 'box' in masks.name else ''}."

    def by_column(self) -> str:
        """Share of test images called right by each column of ``labels_extra.csv`` that has few values, as a Markdown table; or why there is none.

        Of the networks that see whole images; groups of fewer than ``FEWEST`` patients are left out.
        """
        if self.live is None or self.dataset is None:
            return "No network was trained for this copy."
        images = scored(self.live.arm())
        test = self.dataset.index[self.dataset.index["split"] == "test"].set_index("file").loc[images.files].reset_index()
        extra, rows = extra_columns(self.dataset.folder, test.assign(split="test")), []
        for name in (name for name in extra if name not in REPEATED and 1 < extra[name].nunique() <= MOST):
            for value in sorted(set(extra[name]) - {""}):
                for label, called in enumerate(("negative", "positive")):
                    part = images.where(((extra[name] == value).to_numpy()) & (images.labels == label))
                    if (patients := len(set(part.patients))) >= FEWEST:
                        right = share_over_seeds(part.right(self.parameters.threshold), part.patients)
                        rows.append([name, value, called, right.percent(), len(part.files), patients])
        if not rows:
            return f"{markup.code(self.dataset.folder.resolve().name)} says nothing else of its images, or of too few patients: no {markup.code(EXTRA)} with columns of few values."
        return markup.table(["column", "value", "true class", "called right, % (95 % interval)", "images", "patients"], rows)

    def external(self) -> str:
        """How the networks of this page that see whole images score another folder, in Markdown."""
        if self.live is None or self.dataset is None or (second := SecondSet.of(self.parameters, self.dataset)) is None:
            return "No other folder was given for this copy." if self.live is not None else "No network was trained for this copy."
        wanted = {record.key for record in self.live.arm()}
        runs = [config for config in self.parameters.runs() if key_of(config) in wanted]
        whole = run_all(runs, self.parameters.workers, weights=True)
        row = performance_of(second.scores(whole, self.parameters.store, self.parameters.cache), self.parameters.threshold)
        scores = ", ".join(f"{name} {row[name].percent()}" for name in SHOWN)
        return f"{second.about()}\n\n{len(whole)} networks, in per cent (95 % interval): {scores}."
