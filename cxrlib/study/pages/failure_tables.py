"""The page on failures, from committed tables: what its figures and tables show, and the sentence to take away from each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.metrics.estimate import percentage
from cxrlib.study.pages import across_tables, attention, corruptions, embedding, failures
from cxrlib.study.pages.across import BALANCED, COLLECTION, OWN, Across
from cxrlib.study.pages.shortcuts import NOT_RECORDED
from cxrlib.study.pairs import points
from cxrlib.study.parameters import Failures as Parameters
from cxrlib.study.parts import named

PARTS = {
    "group": "Source by source", "severity": "By how much of the lungs is opaque, found", "embedding": "What it sees", "calibration": "How sure",
    "decision": "Of use?", "corruption": "Spoiled pictures",
}  # fmt: skip
THRESHOLDS = np.linspace(0.05, 0.95, 91)


@dataclass(frozen=True)
class Shown:
    """What is recorded of the networks of the page; None where a table is not there."""

    across: Across | None
    heat: pd.DataFrame | None
    lost: pd.DataFrame | None
    plane: pd.DataFrame | None

    @classmethod
    def of(cls, parameters: Parameters) -> Shown:
        """Read the tables.

        Raises:
            ValueError: if one is damaged.
        """
        scores = corruptions.read(parameters.corruptions)
        across = across_tables.opened(parameters.across, parameters.files, parameters.threshold)
        return cls(across, attention.read(parameters.attention), None if scores is None else corruptions.losses(scores), embedding.read(parameters.embedding))

    @cached_property
    def said(self) -> dict[str, str]:
        """A sentence for each of ``PARTS``."""
        return failures.answers(self.across, self.heat, self.lost) | {"embedding": embedding.answer(self.plane)}

    def headline(self) -> str:
        """The answer of the page in two sentences."""
        if self.across is None:
            return f"The answer is {NOT_RECORDED}."
        found = failures.by_group(self.across)
        part = found[(found["by"] == "source") & (found["label"] == "positive")].sort_values("right")
        excess = failures.calibration(self.across).set_index("test")["excess"][COLLECTION]
        worst, best = part.iloc[0], part.iloc[-1]
        low, high = sorted(abs(100 * end) for end in (excess.low, excess.high))
        sure = f"In {COLLECTION} its probabilities lie {abs(100 * excess):.0f} points ({low:.0f} to {high:.0f}) {'below' if excess < 0 else 'above'} the share of positives"
        if not excess.low * excess.high > 0:
            sure = f"In {COLLECTION} its probabilities less the share of positives are {points(excess)}"
        return (
            f"Of the positives of other collections a network finds from {percentage(worst['right']):.0f} % to {percentage(best['right']):.0f} % over {len(part)} sources, "
            f"the two ends of many, so partly by chance. {sure}. A score may follow the source of an image in place of the disease, so nothing here is a rate to expect anywhere."
        )

    def take_away(self) -> str:
        """All sentences as a table in Markdown."""
        return markup.table(["part of this page", "take away (95 % interval)"], [[text, self.said[name]] for name, text in PARTS.items()])

    def groups(self) -> dict:
        """The panel of the groups."""
        return {"real X-rays of other collections": NOT_RECORDED if self.across is None else failures.group_rows(self.across)}

    def severity_table(self) -> str:
        """Positives found by how much of their lungs is opaque, in Markdown."""
        if self.heat is None:
            return NOT_RECORDED
        rows = [[named(row.init), row.severity, row.right.percent(), row.images] for row in failures.by_severity(self.heat).itertuples()]
        return markup.table(["network", "opaque", "found, % (95 % interval)", "images"], rows)

    def planes(self) -> dict:
        """The panels of the features on a plane; none without a table."""
        return {} if self.plane is None else embedding.groups(self.plane)

    def calibration_table(self) -> str:
        """Mean probability against the share of positives, by test set and by source with both classes, in Markdown."""
        if self.across is None:
            return NOT_RECORDED
        found = pd.concat([failures.calibration(self.across), failures.calibration_by_source(self.across)], ignore_index=True)
        rows = [[row.test, row.probability.percent(), f"{percentage(row.positives):.1f}", points(row.excess)] for row in found.itertuples()]
        return markup.table(["test set or source", "mean probability, % (95 % interval)", "positives, %", "excess"], rows)

    def decisions(self) -> dict[str, pd.DataFrame]:
        """A decision curve for each test set with both classes; none without records."""
        if self.across is None:
            return {}
        return {test: failures.net_benefit(self.across, test, THRESHOLDS) for test in (OWN, COLLECTION, BALANCED)}

    def corruptions(self) -> dict:
        """The panel of the spoiled pictures."""
        return {"real X-rays (covidx-mini, own test set)": NOT_RECORDED if self.lost is None else failures.corruption_rows(self.lost)}
