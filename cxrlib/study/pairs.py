"""From the records of a study to the numbers that a notebook shows: cells of a grid, paired differences, claims.

A grid cell is a set of records that differ in their seed only. Effects are paired: the same images and, row by row, the
same setting and seed in both arms.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd

from cxrlib.experiment.record import Record
from cxrlib.metrics import inference, operating, two_way
from cxrlib.metrics.estimate import TOO_FEW, Estimate, percentage
from cxrlib.metrics.inference import accuracy_over_seeds
from cxrlib.study.parts import upstream
from cxrlib.study.thresholds import scores_of


def setting(record: Record) -> dict:
    """All that decides a run, so that two records of one setting differ in nothing: the axes of a study, then the rest.

    The initialisation by the short name of its upstream set; ``mixup_value`` only where there is mixup, as it goes with it.
    """
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in record.config.items()}
    axes = {
        "init": upstream(record.initialisation["name"]),
        "resolution": (config.pop("resize"), config.pop("crop")),
        **{name: config.pop(name) for name in ("schedule", "mixup", "images_per_class", "seed")},
    }
    return axes | config | {"init": axes["init"], "data": record.data.get("fingerprint")}


GOES_WITH = {"mixup": ("mixup_value",)}
"""Fields that mean nothing without an axis, so that records which differ in the axis may differ in them too."""


def by_setting(records: Iterable[Record], *except_: str) -> dict[tuple, Record]:
    """Records by their :func:`setting`, leaving out the axes ``except_`` and what goes with them.

    Raises:
        ValueError: if two records have one setting: one would take the other's place in silence.
    """
    left_out = {*except_, *(name for axis in except_ for name in GOES_WITH.get(axis, ()))}
    found: dict[tuple, Record] = {}
    for record in records:
        name = tuple((axis, value) for axis, value in setting(record).items() if axis not in left_out)
        if (other := found.setdefault(name, record)).key != record.key:
            raise ValueError(f"records {other.key} and {record.key} differ in {' and '.join(except_) or 'nothing'} only; keep one of them")
    return found


def correctness(records: Iterable[Record], threshold: float = 0.5, positive: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which test images each run got right.

    Args:
        records: at least one; all of one data set.
        threshold: positive if the probability is greater.
        positive: True for positive images only (their mean is the sensitivity), False for negative ones (specificity).

    Returns:
        Boolean array of shape (runs, images) and the patients, shape (images,).

    Raises:
        ValueError: if there are no records, or two are of other test images or have them in another order.
    """
    records = list(records)
    if not records:
        raise ValueError("no records were given")
    tables = [record.table("test") for record in records]
    for record, table in zip(records, tables, strict=True):
        if not table["file"].equals(tables[0]["file"]):
            raise ValueError(f"records {records[0].key} and {record.key} are of other test images, or have them in another order; compare runs on the same images")
    if positive is not None:
        tables = [table[table["label"] == int(positive)] for table in tables]
    right = [((table["probability"] > threshold) == (table["label"] == 1)).to_numpy() for table in tables]
    return np.stack(right), tables[0]["patient_id"].to_numpy()


def grouped(records: Iterable[Record], by: Iterable[str]) -> dict[tuple, list[Record]]:
    """Records by the values that some axes have in their :func:`setting`, in the order in which these first occur."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        axes = setting(record)
        groups.setdefault(tuple(axes[name] for name in by), []).append(record)
    return groups


def cells(records: list[Record], by: list[str], threshold: float = 0.5) -> pd.DataFrame:
    """One row per cell of the grid ``by`` with its accuracy: columns of ``by``, 'accuracy' (Estimate) and 'runs'."""
    rows = []
    for values, members in grouped(records, by).items():
        estimate = accuracy_over_seeds(*correctness(members, threshold), seeds=seeds_of(members))
        rows.append(dict(zip(by, values, strict=True)) | {"accuracy": estimate, "runs": len(members)})
    # As objects: pandas would turn an Estimate into a bare float, and the interval would be gone.
    return pd.DataFrame(rows, dtype=object)


def partners(records: Iterable[Record], better: dict, worse: dict) -> tuple[list[Record], list[Record]]:
    """Runs that have the values ``better`` and their partners with ``worse``, alike in every other axis and the seed."""
    records = list(records)
    arms = [by_setting((record for record in records if setting(record).items() >= values.items()), *values) for values in (better, worse)]
    shared = [key for key in arms[0] if key in arms[1]]
    return [arms[0][key] for key in shared], [arms[1][key] for key in shared]


def effect(records: list[Record], axis: str, better: object, worse: object, threshold: float = 0.5, positive: bool | None = None) -> Estimate:
    """Accuracy with ``axis`` at ``better`` minus at ``worse``, over all settings and seeds that both have.

    Raises:
        ValueError: if no setting occurs with both values, or one occurs twice with one of them.
    """
    first, second = partners(records, {axis: better}, {axis: worse})
    if not first:
        raise ValueError(f"no two records differ in {axis} only, {better} against {worse}")
    return compare(first, second, threshold, positive).estimate()


def compare(first: list[Record], second: list[Record], threshold: float = 0.5, positive: bool | None = None) -> two_way.Measured:
    """Accuracy of ``first`` minus that of ``second``: the same settings and seeds in the same order, on the same images.

    Settings are averaged within a seed, and seeds that started from the same pretrained weights are nested in them.
    """
    right, patients = correctness([*first, *second], threshold, positive)
    return inference.compare_correct(right[: len(first)], right[len(first) :], patients, seeds_of(first), pretrainings(first, second))


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent values (one per seed) with Student's t interval; NaN bounds for fewer than two values."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def auc_difference(first: list[Record], second: list[Record]) -> Estimate:
    """Mean AUC of ``first`` minus that of ``second``, in [-1, 1], with its interval over patients and seeds.

    Args:
        first, second: runs of the same settings and seeds, in the same order, on the same test images.
    """
    a, b = (area_of(arm) for arm in (first, second))
    return two_way.analyse(two_way.over_seeds(a - b, seeds_of(first)), pretrainings(first, second), behind=behind(first, "auc")).estimate()


def auc_over_seeds(records: list[Record]) -> Estimate:
    """Mean AUC of runs that differ in their seed, with its interval over patients and seeds; NaN if the test set lacks a class."""
    table = records[0].table()
    return inference.auc_over_seeds(_logits(records), table["label"].to_numpy(), table["patient_id"].to_numpy())


def area_of(records: list[Record]) -> np.ndarray:
    """Contributions (runs, patients) to the AUC of runs on the same test images, in the order given."""
    table = records[0].table()
    return two_way.area(_logits(records), table["label"].to_numpy(), table["patient_id"].to_numpy())


def behind(records: list[Record], metric: str, threshold: float = 0.5) -> int:
    """Test patients behind a metric of Table 1, see :func:`cxrlib.metrics.operating.patients_behind`; all runs have the same test images."""
    return operating.patients_behind(scores_of([record.table() for record in records]), metric, threshold)


def _logits(records: list[Record]) -> np.ndarray:
    return np.stack([record.table()["logit"].to_numpy(float) for record in records])


def seeds_of(records: list[Record]) -> list[int]:
    """The seed of each run."""
    return [record.config["seed"] for record in records]


def pretrainings(*arms: list[Record]) -> list[Hashable]:
    """For each seed, in the order in which seeds first occur, which pretrained weights the runs of all arms started from.

    Seeds that started from the same weights have the same label; see :func:`cxrlib.metrics.two_way.analyse`.
    """
    found: dict[int, set] = {}
    for record in itertools.chain(*arms):
        found.setdefault(record.config["seed"], set()).add(record.initialisation.get("sha256"))
    return [frozenset(weights) for weights in found.values()]


def points(difference: Estimate) -> str:
    """A difference of proportions as percentage points with its interval, such as '+3.1 points (+0.8 to +5.2)'.

    An interval over half of all differences, or more, says nothing and gives way to :data:`cxrlib.metrics.estimate.TOO_FEW`.
    """
    if np.isnan(difference.low):
        return f"{_signed(difference)} points (no interval)"
    if difference.high - difference.low >= 1:
        return f"{_signed(difference)} points ({TOO_FEW})"
    return f"{_signed(difference)} points ({_signed(difference.low)} to {_signed(difference.high)})"


def _signed(share: float) -> str:
    """In points with a sign and one decimal; two where one would leave a zero that has a sign but no side."""
    short = f"{percentage(share):+.1f}"
    return f"{percentage(share):+.2f}" if share and float(short) == 0 else short


def ordered_inits(records: list[Record], wanted: Iterable[str]) -> list[str]:
    """Upstream sets as recorded, in the order in which the study named them (a path becomes its file name)."""
    present = {setting(record)["init"] for record in records}
    names = [upstream(name) if upstream(name) in present else name.replace("\\", "/").rsplit("/", 1)[-1] for name in wanted]
    return [name for name in dict.fromkeys(names) if name in present]
