"""What of a profile lies in a table of records, and what is still missing. Needs no data folder and trains nothing.

A table such as ``results/quarter.parquet`` grows while the runs are computed; whatever part of the profile it holds can
be drawn, and what it lacks is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record, images_of
from cxrlib.experiment.record_tables import read_table
from cxrlib.study.parameters import STUDIES, DataSize, GradCam, Performance, Profile, Sensitivity
from cxrlib.study.parts import upstream
from cxrlib.study.plan import PlannedRun, profile_runs

SENSITIVITY, PERFORMANCE, DATA_SIZE = "02_hyperparameter_sensitivity", "03_test_performance", "04_data_size"
PAPER = (SENSITIVITY, PERFORMANCE, DATA_SIZE)
"""The notebooks whose runs answer the paper's claims."""


@dataclass(frozen=True)
class Design:
    """The axes of a profile, each from least to most: what its records should answer.

    ``resolution``, ``schedule`` and ``mixup`` are the one setting of section 4.2; the plural fields are Figure 4's.
    """

    inits: tuple[str, ...]
    resolutions: tuple[tuple[int, int], ...]
    schedules: tuple[tuple[int, ...], ...]
    mixups: tuple[str, ...]
    sizes: tuple[int, ...]
    resolution: tuple[int, int]
    schedule: tuple[int, ...]
    mixup: str

    @classmethod
    def of_profile(cls, profile: str) -> Design:
        """Read ``profiles/PROFILE.yaml``; :class:`~cxrlib.config.ParameterError` if there is none."""
        loaded = Profile.load(profile)
        grid = Sensitivity.parse(loaded.parameters(SENSITIVITY))
        single = Performance.parse(loaded.parameters(PERFORMANCE))
        few = DataSize.parse(loaded.parameters(DATA_SIZE))
        return cls(
            inits=tuple(dict.fromkeys(map(upstream, single.inits))),
            resolutions=tuple(sorted(grid.resolutions)),
            schedules=tuple(sorted(grid.schedules, key=lambda schedule: schedule[-1])),
            mixups=grid.mixups,
            sizes=tuple(sorted(few.sizes)),
            resolution=(single.resize, single.crop),
            schedule=single.schedule,
            mixup=single.mixup,
        )

    @classmethod
    def of_notebook(cls, parameters: Sensitivity | Performance | DataSize | GradCam, inits: Sequence[str]) -> Design:
        """The design of one notebook that trains: axes that it does not vary have one value, sizes none.

        Args:
            inits: upstream sets as recorded, from least to most.
        """
        resolutions = getattr(parameters, "resolutions", None) or ((parameters.resize, parameters.crop),)
        schedules = getattr(parameters, "schedules", None) or (parameters.schedule,)
        mixups = getattr(parameters, "mixups", None) or (parameters.mixup,)
        return cls(
            inits=tuple(inits),
            resolutions=tuple(sorted(resolutions)),
            schedules=tuple(sorted(schedules, key=lambda schedule: schedule[-1])),
            mixups=tuple(mixups),
            sizes=tuple(sorted(getattr(parameters, "sizes", ()))),
            resolution=max(resolutions),
            schedule=max(schedules, key=lambda schedule: schedule[-1]),
            mixup=mixups[-1],
        )


@dataclass(frozen=True)
class Recorded:
    """The runs of a profile and the records that there are of them."""

    planned: list[PlannedRun]
    found: dict[str, Record]

    @property
    def records(self) -> list[Record]:
        """Every record of the profile, in the order in which the notebooks ask for them."""
        return [self.found[name] for run in self.planned if (name := run_name(run.config.identity())) in self.found]

    def of(self, *notebooks: str) -> list[Record]:
        """The records that some notebooks ask for, each once; a run may belong to several notebooks."""
        runs = (run for run in self.planned if set(notebooks) & set(run.studies))
        return [self.found[name] for run in runs if (name := run_name(run.config.identity())) in self.found]

    def answers(self, configs: list[RunConfig]) -> list[Record]:
        """The records of some runs, those that there are."""
        return [self.found[name] for config in configs if (name := run_name(config.identity())) in self.found]

    def with_records(self, records: Iterable[Record]) -> Recorded:
        """The same planned runs with these records of them, and no others."""
        return Recorded(self.planned, {run_name(record.config): record for record in records})

    def of_paper(self) -> tuple[list[Record], int]:
        """The records behind the paper's claims, and how many runs these need."""
        return self.of(*PAPER), sum(bool(set(PAPER) & set(run.studies)) for run in self.planned)

    def counts(self) -> pd.DataFrame:
        """Columns study, planned, recorded, missing; a row for each notebook that asks for runs, and 'all' (each run once)."""
        names = [name for name in STUDIES if any(name in run.studies for run in self.planned)]
        rows = [(name, sum(name in run.studies for run in self.planned), len(self.of(name))) for name in names]
        rows.append(("all", len(self.planned), len(self.records)))
        return pd.DataFrame([(*row, row[1] - row[2]) for row in rows], columns=["study", "planned", "recorded", "missing"])

    def by_study(self) -> dict[str, tuple[int, int]]:
        """Recorded and planned runs of each notebook."""
        return {row.study: (row.recorded, row.planned) for row in self.counts().itertuples()}

    def by_init(self, notebook: str) -> dict[str, list[Record]]:
        """The records of one notebook by upstream set, in the order of the profile."""
        records = self.of(notebook)
        names = dict.fromkeys(upstream(record.initialisation["name"]) for record in records)
        return {name: [r for r in records if upstream(r.initialisation["name"]) == name] for name in names}

    def data_name(self) -> str:
        """Name of the data set of the records; 'no records' if there are none."""
        return next((record.data["name"] for record in self.records), "no records")


def run_name(identity: dict) -> str:
    """What tells a run from every other but for its data and initial weights: its configuration as text."""
    return json.dumps(identity, sort_keys=True)


def twice(records: Iterable[Record]) -> tuple[Record, Record] | None:
    """The first two records of one configuration, which are of other initial weights or another protocol; None if there are none."""
    found: dict[str, Record] = {}
    for record in records:
        if (other := found.setdefault(run_name(record.config), record)) is not record:
            return other, record
    return None


def read(results: Path, profile: str, **overrides: Any) -> Recorded:
    """The records in ``results`` that answer a run of ``profile``; none if there is no such file.

    Args:
        overrides: parameters in place of those of the profile, as in :func:`cxrlib.study.plan.profile_runs`.

    Raises:
        ValueError: if they come from more than one data set, hold a run twice, or the file is damaged.
    """
    planned = profile_runs(profile, **overrides)
    wanted = {run_name(run.config.identity()) for run in planned}
    records = [r for r in (read_table(results) if Path(results).is_file() else []) if run_name(r.config) in wanted]
    data = {(record.data["name"], images_of(record)) for record in records}
    if len(data) > 1:
        raise ValueError(f"{results} holds runs of several data sets ({', '.join(sorted(name for name, _ in data))}); one page shows one")
    if both := twice(records):
        first, second = (record.key for record in both)
        same = "the same record" if first == second else "the same configuration from other initial weights or by another protocol"
        raise ValueError(f"{results} holds one run twice, {first} and {second}: {same}; keep one of them")
    return Recorded(planned, {run_name(record.config): record for record in records})
