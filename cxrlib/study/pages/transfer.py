"""Does pretraining transfer? From committed records to the tables and sentences of notebook 00.

Records come from ``results/upstream.parquet``. They differ in data, architecture, initialisation, images per class,
seed, and in whether the backbone was frozen; those with a validation split are the trials that chose a learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import accuracy_over_seeds, verdict
from cxrlib.study.pairs import auc_difference, auc_over_seeds, correctness, effect, points
from cxrlib.weights.registry import registry

FULL = "full set"
METRICS = ("accuracy", "AUC")
LADDER = ("random", "fractal-s", "fractal-m", "photo-s", "photo-60", "photo-m")
"""Starts of the laptop network, from nothing to the largest upstream."""
CONTROLS = ("photo-s-long", "photo-m-short")
"""The data of photo-s for the steps of photo-m, and the other way round."""


def is_trial(record: Record) -> bool:
    """Whether a record is a trial for a learning rate, with validation images held out of training."""
    return bool(record.config["validation_fraction"])


def size_of(record: Record) -> str:
    """Training images per class in words."""
    return str(record.config["images_per_class"] or FULL)


def select(records: Iterable[Record], data: str, arch: str, freeze: bool = False) -> list[Record]:
    """The runs of one data set and architecture that are no trials, in the order of size, initialisation and seed."""
    chosen = [
        record
        for record in records
        if record.data["name"] == data and record.config["arch"] == arch and record.config.get("freeze", False) == freeze and not is_trial(record)
    ]
    order = {name: place for place, name in enumerate((*LADDER, *CONTROLS, "imagenet-lite"))}
    return sorted(chosen, key=lambda r: (r.config["images_per_class"] or 10**9, order.get(r.initialisation["name"], len(order)), r.config["seed"]))


def curves(records: list[Record]) -> pd.DataFrame:
    """Accuracy and AUC of each size and initialisation, over seeds: columns size, init, accuracy, AUC, runs."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((size_of(record), record.initialisation["name"]), []).append(record)
    rows = []
    for (size, init), runs in groups.items():
        estimates = {"accuracy": accuracy_over_seeds(*correctness(runs)), "AUC": auc_over_seeds(runs)}
        rows.append({"images per class": size, "init": init, **estimates, "runs": len(runs)})
    return pd.DataFrame(rows, dtype=object)


def over_upstream(records: list[Record], sizes: tuple[str, ...] = ("64", FULL)) -> pd.DataFrame:
    """Accuracy and AUC by how much the network saw upstream: :func:`curves` of the rungs of `LADDER`, with column 'upstream'.

    Args:
        records: runs of one data set, see :func:`select`.
        sizes: images per class, in words as :func:`size_of` says them.

    Returns:
        Rows in the order of the ladder; 'upstream' says images and kind in two lines, such as '10,000 photographs'.
    """
    sources = registry()
    table = curves([r for r in records if r.initialisation["name"] in LADDER and size_of(r) in sizes])
    if table.empty:
        return table.assign(upstream=[])
    table = table.sort_values("init", key=lambda column: column.map(LADDER.index), kind="stable")
    kinds = [(sources[name].images, sources[name].data.split()[-1]) for name in table["init"]]
    return table.assign(upstream=[f"{images:,}\n{kind}" if images else "none" for images, kind in kinds])


def arms(records: list[Record], better: str, worse: str) -> tuple[list[Record], list[Record]]:
    """Runs of two initialisations, paired by size and seed; what has no partner is left out."""
    found: dict[str, dict[tuple, Record]] = {better: {}, worse: {}}
    for record in records:
        if record.initialisation["name"] in found:
            found[record.initialisation["name"]][(record.config["images_per_class"], record.config["seed"])] = record
    shared = [key for key in found[better] if key in found[worse]]
    return [found[better][key] for key in shared], [found[worse][key] for key in shared]


def comparison(records: list[Record], better: str, worse: str) -> pd.DataFrame:
    """Paired differences ``better`` minus ``worse`` for each size and over all sizes.

    Returns:
        Columns ``images per class``, ``accuracy``, ``AUC`` (Estimates of differences), ``pairs``; the last row is 'all
        sizes'. Empty if no run of one has a partner in the other.
    """
    sizes = list(dict.fromkeys(size_of(record) for record in records))
    rows = []
    for size in [*sizes, "all sizes"]:
        first, second = arms([r for r in records if size in (size_of(r), "all sizes")], better, worse)
        if first:
            accuracy = effect([*first, *second], "init", better, worse)
            rows.append({"images per class": size, "accuracy": accuracy, "AUC": auc_difference(first, second), "pairs": len(first)})
    return pd.DataFrame(rows, dtype=object)


def sentence(better: str, worse: str, table: pd.DataFrame) -> str:
    """What a comparison shows over all sizes, and at how many single sizes, in words that follow from the intervals."""
    overall, single = table.iloc[-1], table.iloc[:-1]
    said = []
    for metric in METRICS:
        difference: Estimate = overall[metric]
        word = {"holds": "better", "contradicted": "worse", "not seen": "no clear difference"}[verdict(difference)]
        clear = [sum(verdict(value) == side for value in single[metric]) for side in ("holds", "contradicted")]
        said.append(f"{metric} {points(difference)}, {word} (of {len(single)} sizes clearly better at {clear[0]}, clearly worse at {clear[1]})")
    return f"{better} against {worse}, {overall['pairs']} pairs of runs: " + "; ".join(said) + "."


def conclusion(better: str, worse: str, table: pd.DataFrame) -> str:
    """The verdicts of :func:`sentence` without its numbers, such as 'fractal-m is better than fractal-s in AUC'."""
    verdicts = {metric: verdict(table.iloc[-1][metric]) for metric in METRICS}
    words = {
        "holds": f"{better} is better than {worse}",
        "contradicted": f"{better} is worse than {worse}",
        "not seen": f"there is no clear difference between {better} and {worse}",
    }
    said = []
    for found, phrase in words.items():
        metrics = [metric for metric in METRICS if verdicts[metric] == found]
        if metrics:
            said.append(f"{phrase} in {' and '.join(metrics)}")
    return ", and ".join(said)


def learning_rates(records: Iterable[Record]) -> pd.DataFrame:
    """Mean validation AUC of the trials by architecture and learning rate, and which rate it chose."""
    trials = [record for record in records if is_trial(record)]
    rows = [
        {
            "arch": record.config["arch"],
            "learning rate": record.config["base_lr"],
            "validation AUC": record.history[-1]["validation_auc"],
            "init": record.initialisation["name"],
        }
        for record in trials
    ]
    if not rows:
        return pd.DataFrame(columns=["arch", "learning rate", "validation AUC", "runs", "chosen"])
    table = pd.DataFrame(rows).groupby(["arch", "learning rate"])["validation AUC"].agg(["mean", "count"]).reset_index()
    table.columns = ["arch", "learning rate", "validation AUC", "runs"]
    best = table.groupby("arch")["validation AUC"].transform("max")
    return table.assign(chosen=(table["validation AUC"] == best).map({True: "yes", False: ""}))
