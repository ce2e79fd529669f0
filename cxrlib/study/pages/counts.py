"""Images and patients of a data folder beside the counts that the paper prints (section 3.1)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cxrlib.study.paper import DATASET_COUNTS


def compare_with_paper(index: pd.DataFrame) -> pd.DataFrame:
    """Counts of an index beside every one printed in section 3.1, difference by difference.

    Args:
        index: columns ``patient_id, label, split``; images are not needed.

    Returns:
        Columns ``count of, paper, here, difference, remark``. ``here`` and ``difference`` are missing (pd.NA) where the
        label files cannot tell: COVIDx CXR-2 does not say which negatives have a pneumonia of another cause.
    """
    rows = []
    for group, printed in DATASET_COUNTS.items():
        part, _, detail = group.partition(", ")
        members = index[index["label"] == part.removeprefix("test ")]
        if part.startswith("test "):
            members = members[members["split"] == "test"]
        for unit, paper, here in (
            ("images", printed.images, len(members)),
            ("patients", printed.patients, members["patient_id"].nunique()),
        ):
            if paper is not None:
                rows.append((f"{part} {unit}{', ' + detail if detail else ''}", paper, pd.NA if detail else here))
    both = index.groupby("patient_id")["split"].nunique().gt(1).sum()
    rows.append(("patients in both splits", 0, int(both)))
    table = pd.DataFrame(rows, columns=["count of", "paper", "here"]).astype({"paper": "Int64", "here": "Int64"})
    table["difference"] = table["here"] - table["paper"]
    return table.assign(remark=[_remark(*row) for row in table.itertuples(index=False)])


def _remark(name: str, paper: int, here: Any, difference: Any) -> str:
    if here is pd.NA:
        return "the label files do not tell kinds of negatives apart"
    if difference == 0:
        return "equal"
    if name == "negative images" and difference == 1:
        return "one row more than printed; the later V9B label files drop one image of a patient with several"
    return f"{abs(difference):,} {'more' if difference > 0 else 'fewer'} than printed"
