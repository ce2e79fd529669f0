"""Which records stand behind each comparison of a claim: their keys, found as the comparison finds its runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cxrlib.experiment.record import Record
from cxrlib.study import comparisons
from cxrlib.study.committed import Design, read
from cxrlib.study.comparisons import Arms
from cxrlib.study.pairs import partners, setting
from cxrlib.study.parts import Part

Name = tuple[int, str, str]
"""Number of a claim, what the part says, and the name of the comparison."""


def keys(results: Path, profile: str = "quarter") -> dict[Name, list[str]]:
    """Keys of the records behind every comparison of every part, sorted; none for parts that no run of the table answers."""
    records, _ = read(results, profile).of_paper()
    design = Design.of_profile(profile)
    return {
        (part.claim, part.says, arms.name): sorted({record.key for record in _chosen(part, arms, records, design)})
        for part, arms in comparisons.planned(design)
        if arms is not None
    }


def _chosen(part: Part, arms: Arms, records: list[Record], design: Design) -> Iterable[Record]:
    full = [record for record in records if record.config["images_per_class"] is None]
    chosen = {"resolution": design.resolution, "schedule": design.schedule, "mixup": design.mixup}
    runs = {"grid": full, "few": [record for record in records if record.config["images_per_class"] is not None]}
    runs["setting"] = [record for record in full if setting(record).items() >= chosen.items()]
    mine = runs.get(part.runs, [])
    if not arms.worse:
        return [record for record in mine if setting(record).items() >= arms.better.items()]
    worse = {name: value for name, value in arms.worse.items() if name != "longer"}
    first, second = partners(mine, arms.better, worse)
    third = partners(mine, arms.better, {"schedule": arms.worse["longer"]})[1] if "longer" in arms.worse else []
    return [*first, *second, *third]
