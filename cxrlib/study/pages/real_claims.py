"""The nine claims on real X-rays: what is recorded, the network with ImageNet weights, and what Grad-CAM adds to claim 9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from cxrlib import markup
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.metrics.operating import METRICS
from cxrlib.study import committed, comparisons, pairs, thresholds, verdicts
from cxrlib.study.figures import style
from cxrlib.study.pages import heat
from cxrlib.study.pages.chapter import RealStudy
from cxrlib.study.pages.performance import ByInit
from cxrlib.study.verdicts import NOT_RECORDED, Verdict

EXPERIMENTS = {
    committed.SENSITIVITY: "resolution, schedule and mixup", committed.PERFORMANCE: "one setting from each start", committed.DATA_SIZE: "few labelled images",
    "05_grad_cam": "Grad-CAM", "06_shortcuts": "disease or data source", "07_related_work": "related work", "all": "all, each run once",
}  # fmt: skip
"""What the runs of a notebook are for."""


def counts(runs: committed.Recorded) -> str:
    """How many runs of each experiment are recorded, as a Markdown table."""
    table = runs.counts()
    return markup.frame_table(table.assign(study=[EXPERIMENTS.get(name, name) for name in table["study"]]).rename(columns={"study": "experiment"}))


def about(real: RealStudy) -> dict[str, Any]:
    """For the text of pages: recorded and needed runs, training images, name of the data, test images and patients."""
    records, needed = real.runs.of_paper()
    tables = [record.table() for record in records]
    return {
        "recorded": f"{len(records)} of {needed}",
        "training_images": f"{max((sum(record.data['training_images'].values()) for record in records), default=0):,}",
        "data_name": real.runs.data_name(),
        "test_images": max(map(len, tables), default=0),
        "test_patients": max((table["patient_id"].nunique() for table in tables), default=0),
        "family": comparisons.family_size(real.design),
    }


def data_line(real: RealStudy) -> str:
    """Whose data the page shows."""
    found = about(real)
    return (
        f"**Data shown on this page:** real X-rays ({markup.code(found['data_name'])}), {found['test_images']} test images of {found['test_patients']} patients; "
        f"{found['recorded']} runs of the paper's experiments are recorded."
    )


def lite_table(runs: ByInit, threshold: float) -> str:
    """Scores of EfficientNet-Lite0 by start, as a Markdown table."""
    lines = []
    for init, members in runs.items():
        values = thresholds.performance(members, threshold)
        title = markup.Inline(f"{markup.bold(style.named(init))} ({markup.text(members[0].data['name'])}, {len(members)} seeds)")
        lines.append([title, *(values[name].percent() for name in METRICS)])
    columns = ["start of EfficientNet-Lite0", *(name.upper() if name in ("ppv", "npv", "auc") else name for name in METRICS)]
    return markup.table(columns, lines) if lines else NOT_RECORDED


def lite_answer(runs: ByInit, threshold: float) -> str:
    """What ImageNet weights gain over random ones, in words."""
    if not {"random", "imagenet-lite"} <= set(runs):
        return NOT_RECORDED
    better, worse = pairs.partners(sum(runs.values(), []), {"init": "imagenet-lite"}, {"init": "random"})
    gained = pairs.points(pairs.compare(better, worse, threshold).estimate())
    ranked = pairs.points(pairs.auc_difference(better, worse))
    return f"ImageNet weights less random weights, {len(better)} seeds: accuracy {gained}, AUC {ranked}"


def heat_rows(table: pd.DataFrame | None) -> list[tuple[str, dict[str, Estimate]]]:
    """Share of the heat in the central region and in the outer eighth by true class, for :func:`cxrlib.study.figures.shortcuts.dots`."""
    if table is None:
        return []
    looks, rows = heat.shares(table), []
    for region, name in (("centre", "central region"), ("frame", "outer eighth")):
        if len(part := looks[looks["region"] == region]):
            rows.append((f"{name} ({percentage(part['area'].iloc[0]):.0f} % of the area)", dict(zip(part["label"], part["heat"], strict=True))))
    return rows


def finding_heat(rows: list[tuple[str, Mapping[str, Estimate]]]) -> str:
    said = "; ".join(f"{name}: " + ", ".join(f"{share.percent()} % in {label} images" for label, share in values.items()) for name, values in rows)
    return f"Share of the heat. {said}." if rows else "Nothing is recorded of these maps yet."


def called_alike(table: pd.DataFrame | None) -> str:
    """Heat in the central region, truly positive less truly negative, among images that were called alike."""
    if table is None:
        return NOT_RECORDED
    seen = table.groupby(["predicted", "label"])["file"].nunique()
    said = []
    for number, row in enumerate(heat.by_prediction(table).itertuples()):
        images = [seen.get((number, label), 0) for label in (1, 0)]
        said.append(f"among images called {row.predicted} {pairs.points(row.difference)}, from {images[0]} truly positive and {images[1]} truly negative images that at least one network calls so")
    return "; ".join(said) or NOT_RECORDED


def evidence(rows: Iterable[Verdict]) -> str:
    """What the paper itself has for each claim, as a Markdown table."""
    return markup.table(["claim", "the paper, with intervals from its counts"], [[f"{row.number}. {row.title}", row.evidence] for row in rows])


def handed(rows: list[Verdict], family: int) -> dict[str, str]:
    """The verdicts for other pages, their summary, and what Holm's procedure would tell apart."""
    return {
        "verdicts": verdicts.packed(rows), "summary": verdicts.summary(rows), "holm": "; ".join(verdicts.otherwise_with_holm(rows, family)) or "nothing",
    }  # fmt: skip
