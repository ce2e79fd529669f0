"""What the labs of the class call: ready phantoms, recorded runs, a training that tells its time left, checks that answer at once.

A lab lies somewhere below the class folder, which is the repository or an unpacked bundle; :func:`start` goes there, so
that a lab runs the same in both. Phantoms are computed images of an anatomical model; nothing here is for diagnosis.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import DISCLAIMER, phantom
from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record, load, load_model, read_table
from cxrlib.study.pages import confounding

PHANTOMS = Path("data/class")
"""Folder of the phantoms of the class, below the class folder: ``phantoms-0`` and ``phantoms-1``, by the share of images whose style follows the label."""
LEVELS = (0.0, 1.0)
STORE, CACHE = Path("runs/class"), Path(".cache/class")
RECORDS = Path("results/confounding.parquet")
RUN: dict[str, Any] = confounding.RUN | {"init": "photo-m", "schedule": (15, 72, 96, 110, 120), "eval_every": 10}
"""A training of the class: the small network at 48 pixels, 120 steps, about ten seconds on two cores."""


def home(start: Path | None = None) -> Path:
    """The class folder: the nearest one at or above ``start`` (default: the working directory) that holds the records.

    Raises:
        FileNotFoundError: if there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / RECORDS).is_file():
            return folder
    raise FileNotFoundError(f"neither {start} nor a folder above it holds {RECORDS}; open the lab inside the unpacked class folder")


def start(data: str | Path | None = None, ready: str | Path = PHANTOMS) -> Path:
    """Go to the class folder, set the style of figures, say what the lab shows, and give the folder of images to work on.

    Args:
        data: folder of real X-rays in the layout of COVIDx; None: phantoms whose style tells nothing of the label.
        ready: folder of the phantoms of the class.
    """
    from cxrlib.study.figures import style

    os.chdir(home())
    style.use_style()
    if data is not None:
        if not Path(data).is_dir():
            raise FileNotFoundError(f"data: there is no folder '{data}'; name a folder in the layout of COVIDx, or None for the phantoms")
        print(f"REAL X-RAYS from {Path(data).name}. {DISCLAIMER}")
        return Path(data)
    print(f"PHANTOMS: computed images of an anatomical model, of no patient. {DISCLAIMER}")
    return phantoms(0.0, ready)


def phantoms(level: float, ready: str | Path = PHANTOMS) -> Path:
    """Folder of the phantoms of the class whose acquisition style follows the label with probability ``level``.

    They show the same anatomies at every level and are those of ``results/confounding.parquet``. A set that is not there
    is made, which takes half a minute on two cores and says how long is left.
    """
    folder = Path(ready) / f"phantoms-{level:g}"
    if not (folder / "phantom.json").is_file():
        phantom.generate(folder, source_confounding=float(level), **confounding.PHANTOMS)
    return folder


def setting(data: str | Path, **changes: Any) -> RunConfig:
    """The training of the class on a folder, with changes by the names of the parameters of :class:`~cxrlib.config.RunConfig`."""
    return RunConfig.parse(RUN | {"data": data, "store": STORE, "cache": CACHE} | changes)


def train(data: str | Path, **changes: Any) -> Record:
    """Train one network of the class and say how long it took; the bar shows the steps and the time left.

    A training that was done before with the same settings is loaded.

    Args:
        data: folder in the layout of COVIDx.
        changes: what differs from :data:`RUN`.
    """
    from cxrlib.experiment.one_run import key_of, run

    config = setting(data, **changes)
    known = load(config.store, key_of(config)) is not None
    started = time.monotonic()
    record = run(config, weights=True)
    print("done before: loaded" if known else f"trained {config.schedule[-1]} steps in {time.monotonic() - started:.0f} s")
    return record


def scores_on(record: Record, data: str | Path) -> pd.DataFrame:
    """Scores of a trained network on the test images of another folder.

    Args:
        record: as :func:`train` gave it.

    Returns:
        A row for each test image: file, patient_id, source, label (0 or 1), logit, probability (0 to 1).
    """
    from scipy.special import expit

    from cxrlib.experiment.one_run import image_sets, open_dataset
    from cxrlib.train.score import predict
    from cxrlib.weights.source import Initialisation

    config = setting(data, **{name: record.config[name] for name in ("arch", "image_channels", "resize", "crop", "region") if name in record.config})
    _, splits, tables = image_sets(config, open_dataset(config))
    logits = predict(load_model(record, STORE), splits["test"], Initialisation(**record.initialisation), config.image_channels)
    table = tables["test"][["file", "patient_id", "source"]].reset_index(drop=True)
    return table.assign(label=splits["test"].labels, logit=logits.astype(float), probability=expit(logits.astype(float)))


def index(data: str | Path) -> pd.DataFrame:
    """The label files of a folder as a table: split, patient_id, file, label ('negative' or 'positive'), source."""
    from cxrlib.data.folder import read_index

    return read_index(Path(data))[["split", "patient_id", "file", "label", "source"]]


def recorded(level: float) -> list[Record]:
    """The recorded runs on phantoms whose style follows the label with probability ``level``, one for each seed.

    They have a second test split, 'unconfounded': the same phantoms in a style that tells nothing.
    """
    return [record for record in read_table(RECORDS) if math.isclose(record.data["source_confounding"], level)]


def of_table_1(init: str, images_per_class: int | None = None) -> list[Record]:
    """Recorded runs on real X-rays at a quarter of the paper's resolution, one for each seed; scores only, no images.

    Args:
        init: 'random', 'photo-s' or 'photo-m'.
        images_per_class: training images; None: all of them, as in the paper's Table 1.
    """
    from cxrlib.study import committed

    study = committed.PERFORMANCE if images_per_class is None else committed.DATA_SIZE
    records = committed.read(Path("results/quarter.parquet"), "quarter").of(study)
    return sorted((r for r in records if r.config["init"] == init and r.config["images_per_class"] == images_per_class), key=lambda r: r.config["seed"])


def matrix(records: list[Record], column: str, split: str = "test") -> np.ndarray:
    """One column of the scores of several runs as an array (runs, images): 'logit', 'probability', or 'right' at a threshold of one half."""
    tables = [record.table(split).sort_values("file") for record in records]
    return np.stack([((t["probability"] > 0.5) == (t["label"] == 1)).to_numpy() if column == "right" else t[column].to_numpy(float) for t in tables])


def frozen_on_real(init: str) -> tuple[list[Record], list[Record]]:
    """Recorded runs on all training X-rays, head only and fine-tuned, that differ in nothing else: the same seeds in the same order.

    Args:
        init: 'random', 'fractal-s', 'fractal-m', 'photo-s' or 'photo-m'.
    """
    runs = [r for r in read_table(Path("results/upstream.parquet")) if r.data["name"] == "covidx-mini" and r.config["init"] == init]
    pairs = []
    for frozen in (r for r in runs if r.config.get("freeze") and r.config["images_per_class"] is None):
        twin = {name: value for name, value in frozen.config.items() if name != "freeze"}
        pairs += [(frozen, other) for other in runs if other.config == twin][:1]
    pairs.sort(key=lambda pair: pair[0].config["seed"])
    return [frozen for frozen, _ in pairs], [tuned for _, tuned in pairs]


def of_transfer(init: str, images_per_class: int | None = None, real: bool = False) -> list[Record]:
    """Recorded fine-tuning of the small network, one run for each seed; scores only.

    Args:
        init: 'random', 'fractal-s', 'fractal-m', 'photo-s' or 'photo-m'.
        images_per_class: training images, 32 to 512; None: all.
        real: on real X-rays instead of phantoms; both test sets have 200 images.
    """
    wanted = {"init": init, "images_per_class": images_per_class, "arch": RUN["arch"], "crop": RUN["crop"], "schedule": list(RUN["schedule"]), "base_lr": RUN["base_lr"]}
    name = "covidx-mini" if real else "phantom-transfer"
    found: dict[int, Record] = {}
    for record in read_table(Path("results/upstream.parquet")):
        if record.data["name"] == name and not record.config.get("freeze") and wanted.items() <= record.config.items():
            found.setdefault(record.config["seed"], record)
    return [found[seed] for seed in sorted(found)]


def check(right: Any, otherwise: str) -> None:
    """Say at once whether an answer is right.

    Raises:
        AssertionError: with a hint, if it is not.
    """
    if not bool(right):
        raise AssertionError(otherwise)
    print("✓ right")


def near(value: Any, wanted: float, within: float = 1e-6) -> bool:
    """Whether an answer is a number close to the one wanted; False, not an error, for anything that is no number."""
    try:
        return bool(abs(float(value) - wanted) <= within)
    except (TypeError, ValueError):
        return False
