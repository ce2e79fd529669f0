"""Why one start has several scores in this book: every setting in which all training images were used, with its scores side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxrlib import markup
from cxrlib.experiment.record import Record, read_table
from cxrlib.metrics.estimate import percentage
from cxrlib.study import pairs, thresholds
from cxrlib.study.committed import PERFORMANCE, Recorded
from cxrlib.study.figures import style
from cxrlib.study.truth import APART
from cxrlib.study.verdicts import NOT_RECORDED

COLUMNS = ["page", "start", "images, px", "steps", "training images", "seeds", "accuracy, % (95 % interval)", "AUC, %"]
WHOLE: dict[str, Any] = {"freeze": False, "images_per_class": None, "region": "whole", "leave_out": None, "sources": None, "validation_fraction": 0}
"""What a run has that learned from all training images as they are, all weights free; a field that it lacks, or that is None, counts as this."""


def of_book(runs: Recorded, data: str, upstream: Path, across: Path) -> dict[str, list[Record]]:
    """The recorded runs on real X-rays by the page that shows them.

    Args:
        runs: of the profile whose runs answer the claims.
        data: name of their data set.
        upstream, across: tables of records of the upstream study and of trainings across collections; left out if there is no such file.

    Raises:
        ValueError: if a table is damaged.
    """
    tables = [read_table(path) if path.is_file() else [] for path in (upstream, across)]
    return {
        "Does pretraining help?": runs.of(PERFORMANCE),
        "disease or data source": runs.of("06_shortcuts"),
        "other systems": runs.of("07_related_work"),
        "upstream data": [record for record in tables[0] if record.data["name"] == data],
        "truth, without shared patients": [record for record in tables[1] if record.data["name"].startswith(APART)],
    }


def ordinary(records: Iterable[Record], arch: str) -> list[Record]:
    """The runs of one network that learned from all training images as they are."""
    return [r for r in records if r.config["arch"] == arch and all(r.config.get(name) in (value, None) for name, value in WHOLE.items())]


def table(pages: Mapping[str, Iterable[Record]], arch: str, threshold: float = 0.5) -> str:
    """Scores of one network by page and setting, as a Markdown table.

    Args:
        pages: records by the name of the page that shows them.
        threshold: positive if the probability is greater.
    """
    lines = []
    for page, records in pages.items():
        groups: dict[tuple, list[Record]] = {}
        for record in ordinary(records, arch):
            found = pairs.setting(record)
            images = sum(record.data["training_images"].values())
            groups.setdefault((found["init"], found["resolution"][1], found["schedule"][-1], images, found["mixup"]), []).append(record)
        order = style.in_order(init for init, *_ in groups)
        for (init, pixels, steps, images, _), runs in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
            scores = thresholds.performance(runs, threshold)
            lines.append([page, style.named(init), pixels, f"{steps:,}", f"{images:,}", len(runs), scores["accuracy"].percent(), f"{percentage(scores['auc']):.1f}"])
    return markup.table(COLUMNS, lines) if lines else NOT_RECORDED
