"""The runs that a page trains itself, or finds in its store, on the data of this copy: records, verdicts, and what Table 1 needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cxrlib.config import Parameters
from cxrlib.data.dataset import Dataset
from cxrlib.data.folder import check
from cxrlib.data.report import Report
from cxrlib.experiment import one_run, sweep
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import pairs, verdicts
from cxrlib.study.committed import Design
from cxrlib.study.derived import fitted
from cxrlib.study.pages import performance
from cxrlib.study.pages.chapter import Shown
from cxrlib.study.pages.second_set import SecondSet
from cxrlib.study.verdicts import NOT_RECORDED, Verdict, markdown, packed

__all__ = ["NOT_RECORDED", "Performed", "Trained", "markdown", "packed"]


@dataclass(frozen=True)
class Trained:
    """The runs of one page.

    Attributes:
        parameters: of the notebook; sizes that the data do not allow are gone.
        records: one for each run, in their order.
        left_out: a sentence about sizes that are gone, or ''.
    """

    parameters: Any
    dataset: Dataset
    records: list[Record]
    left_out: str = ""

    @classmethod
    def trained(cls, parameters: Parameters) -> Trained:
        """Train what is not recorded yet.

        Raises:
            DataError, ImageError: saying what is wrong with the data folder.
        """
        dataset = one_run.open_dataset(parameters)
        parameters, left_out = fitted(parameters, dataset.index)
        return cls(parameters, dataset, sweep.run_all(parameters.runs(), parameters.workers), left_out)

    @property
    def shown(self) -> Shown:
        return Shown.of(self.dataset)

    @property
    def inits(self) -> list[str]:
        """Upstream sets from least to most, as the parameters name them."""
        return pairs.ordered_inits(self.records, self.parameters.inits)

    @property
    def design(self) -> Design:
        return Design.of_notebook(self.parameters, self.inits)

    @property
    def minutes(self) -> float:
        """Of training, all runs together."""
        return sum(record.wall_seconds for record in self.records) / 60

    def verdicts(self, claims: Iterable[int]) -> list[Verdict]:
        """By the same rules and in the same family as those of the recorded study."""
        return verdicts.of_chapter(self.parameters, self.records, claims=claims)


@dataclass(frozen=True)
class Performed(Trained):
    """The runs of section 4.2, with the external test set if there is one."""

    second: SecondSet | None = None

    @classmethod
    def trained(cls, parameters: Parameters) -> Performed:
        """As :meth:`Trained.trained`; with an external folder the runs need their weights, and every image of it is decoded first."""
        dataset = one_run.open_dataset(parameters)
        second = SecondSet.of(parameters, dataset)
        return cls(parameters, dataset, sweep.run_all(parameters.runs(), parameters.workers, weights=second is not None), "", second)

    @cached_property
    def by_init(self) -> dict[str, list[Record]]:
        return performance.by_init(self.records, self.inits)

    @cached_property
    def values(self) -> dict[str, dict[str, Estimate]]:
        """A row of Table 1 for each initialisation."""
        return performance.estimates(self.by_init, self.parameters.threshold)

    @cached_property
    def outside(self) -> dict:
        """Scores on the external set by initialisation."""
        return performance.outside(self.second, self.by_init, self.parameters.store, self.parameters.cache)

    def best(self) -> dict[str, str]:
        """The start with the most upstream data and its accuracy, for other pages."""
        return {"init_best": self.inits[-1], "accuracy_best": self.values[self.inits[-1]]["accuracy"].percent()}

    def table(self) -> str:
        """Table 1."""
        rows = performance.external_rows(self.second, self.outside, self.parameters.threshold)
        return performance.table(self.values, self.by_init, self.shown, rows)

    def differences(self) -> str:
        """Of neighbouring starts."""
        return performance.differences(self.by_init, self.parameters.threshold)

    def external_text(self) -> str:
        """What the external set holds and what is lost on it."""
        return performance.external_text(self.second, self.by_init, self.outside, self.parameters.threshold)


def checked(parameters: Parameters) -> tuple[Dataset, Report]:
    """The data of this copy, and the check of its labels and images.

    Raises:
        DataError, ImageError: saying what is wrong with the data folder.
    """
    return one_run.open_dataset(parameters), check(parameters.data, parameters.labels)
