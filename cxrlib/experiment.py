"""One validated config in, one record out. A run that is already recorded is loaded, not repeated.

A record (:mod:`cxrlib.records`) is found by its key, a digest of the config, the data
fingerprint, the initial weights and the protocol version, so the same question always finds the same answer.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from cxrlib import PROTOCOL_VERSION, data, subsets
from cxrlib.cache import ImageCache
from cxrlib.config import PHANTOM_FOLDER, Parameters, RunConfig
from cxrlib.images import decode_mask
from cxrlib.processes import run_tasks, usable_cores
from cxrlib.records import Record, code_version, load
from cxrlib.records import save as save_record

RECORDED_PACKAGES = ("torch", "timm", "accelerate", "numpy", "pillow", "scikit-learn")


class RunsFailedError(RuntimeError):
    """Some runs of a study failed; the message lists each with its reason."""


@dataclass(frozen=True)
class Dataset:
    """An index with its fingerprint, as :func:`open_dataset` found it.

    Attributes:
        index: columns of ``cxrlib.data.read_index`` and ``row``, the position within the split on disk.
        fingerprint: hexadecimal digest of labels and image contents.
        folder: where the images are.
        is_phantom: True if the folder was written by ``cxrlib.phantom``.
    """

    index: pd.DataFrame
    fingerprint: str
    folder: Path
    is_phantom: bool

    def images(self, split: str, size: int, cache: Path, workers: int | None = None) -> np.ndarray:
        """Resized images of a split on disk ('train' or 'test'), uint8 (N, size, size), memory-mapped."""
        rows = self.index[self.index["split"] == split]
        return ImageCache.open_or_build(
            rows, self.folder, size, cache, f"{self.fingerprint[:32]}-{split}", workers=workers
        ).images

    def masks(self, name: str, split: str, size: int) -> np.ndarray | None:
        """Masks of a split from ``folder/masks/NAME/SPLIT``, bool (N, size, size); None if the folder has none."""
        from PIL import Image

        folder = self.folder / "masks" / name / split
        if not folder.is_dir():
            return None
        files = self.index.loc[self.index["split"] == split, "file"]
        masks = [Image.fromarray(decode_mask(folder / f"{Path(file).stem}.png")) for file in files]
        return np.stack([np.asarray(mask.resize((size, size), Image.Resampling.NEAREST)) for mask in masks])


def open_dataset(parameters: Parameters, strict: bool = False) -> Dataset:
    """Read, check and fingerprint ``parameters.data``; the default phantom set is generated if it is not there."""
    if parameters.data == PHANTOM_FOLDER and not (PHANTOM_FOLDER / "phantom.json").is_file():
        from cxrlib import phantom

        phantom.generate(PHANTOM_FOLDER)
    return _open_dataset(parameters.data, parameters.labels, parameters.cache, strict)


@functools.lru_cache(maxsize=4)
def _open_dataset(folder: Path, labels: Path | None, cache: Path, strict: bool) -> Dataset:
    index = data.read_index(folder, labels, strict=strict)
    index = index.assign(row=index.groupby("split").cumcount())
    return Dataset(index, data.fingerprint(index, folder, cache), folder, (folder / "phantom.json").is_file())


def run_key(config: RunConfig, fingerprint: str, weights_sha256: str | None) -> str:
    """20 hexadecimal digits that name a run."""
    identity = {"protocol": PROTOCOL_VERSION, "data": fingerprint, "weights": weights_sha256}
    identity |= {"config": config.identity() | ({"init": None} if weights_sha256 else {})}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def run(config: RunConfig | dict[str, Any], progress: bool = True) -> Record:
    """Train, evaluate and record one run, or load it if it is recorded.

    An interrupted run goes on from its last checkpoint. Of two processes that want the same run one trains and the
    other waits for the record.

    Raises:
        ParameterError, WeightsError, NonFiniteLossError, cxrlib.data errors: saying what to change.
    """
    from cxrlib.model import resolve_initialisation

    config = config if isinstance(config, RunConfig) else RunConfig.parse(config)
    dataset = open_dataset(config)
    initialisation = resolve_initialisation(config.init)
    key = run_key(config, dataset.fingerprint, initialisation.sha256)
    recorded = load(config.store, key)
    if recorded is not None:
        return recorded
    config.store.mkdir(parents=True, exist_ok=True)
    with FileLock(config.store / f".{key}.lock"):
        return load(config.store, key) or _train_and_record(config, dataset, initialisation, key, progress)


def _train_and_record(config: RunConfig, dataset: Dataset, initialisation, key: str, progress: bool) -> Record:
    import torch
    from safetensors.torch import save as to_bytes
    from tqdm import tqdm

    from cxrlib.model import create_model
    from cxrlib.train import predict, train

    if config.threads:
        torch.set_num_threads(config.threads)
    training, splits, tables = _image_sets(config, dataset)
    checkpoint = config.store / key / "checkpoint.safetensors"
    torch.manual_seed(config.seed)
    model = create_model(config.arch, config.init, config.image_channels)
    with tqdm(total=config.schedule[-1], unit="step", disable=not progress, ascii=True, desc=describe(config)) as bar:
        model, state = train(
            model, config, training, splits, initialisation, checkpoint, key, on_step=lambda step: bar.update(step - bar.n)
        )
    predictions: dict[str, list] = {"split": [], "file": [], "patient_id": [], "label": [], "logit": []}
    for name, split in splits.items():
        logits = predict(model, split, initialisation, config.image_channels)
        predictions["split"] += [name] * len(logits)
        predictions["file"] += tables[name]["file"].tolist()
        predictions["patient_id"] += tables[name]["patient_id"].tolist()
        predictions["label"] += split.labels.tolist()
        predictions["logit"] += [float(logit) for logit in logits]
    weights = to_bytes({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})
    record = Record(
        key=key,
        protocol_version=PROTOCOL_VERSION,
        config=config.identity(),
        data={
            "name": dataset.folder.resolve().name,
            "fingerprint": dataset.fingerprint,
            "is_phantom": dataset.is_phantom,
            "training_images": {"negative": int((training.labels == 0).sum()), "positive": int((training.labels == 1).sum())},
        },
        initialisation={"name": initialisation.name, "sha256": initialisation.sha256}
        | {"mean": initialisation.mean, "std": initialisation.std},
        code_version=code_version(),
        packages={name: importlib.metadata.version(name) for name in RECORDED_PACKAGES} | {"python": platform.python_version()},
        machine={
            "device": torch.cuda.get_device_name() if next(model.parameters()).is_cuda else platform.machine(),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
        },
        history=state.history,
        predictions=predictions,
        wall_seconds=state.seconds,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    save_record(record, weights, config.store)
    checkpoint.unlink(missing_ok=True)
    return record


def _image_sets(config: RunConfig, dataset: Dataset):
    """Training set, evaluated sets and their tables, for one run."""
    from cxrlib.train import ImageSet

    index = dataset.index
    if config.validation_fraction:
        index = subsets.validation_split(index, config.validation_fraction, config.seed)
    chosen = index if config.images_per_class is None else subsets.few_shot(index, config.images_per_class, config.seed)
    tables = {name: index[index["split"] == name] for name in ("validation", "test") if (index["split"] == name).any()}
    tables["train"] = chosen[chosen["split"] == "train"]
    sets = {}
    for name, table in tables.items():
        size = config.resize if name == "train" else config.crop
        images = dataset.images("test" if name == "test" else "train", size, config.cache)
        labels = (table["label"] == "positive").to_numpy(dtype=np.int64)
        sets[name] = ImageSet(images, labels, table["row"].to_numpy())
    return sets.pop("train"), sets, tables


def describe(config: RunConfig) -> str:
    """A run in a few words, for progress and tables."""
    size = f"{config.images_per_class}/class " if config.images_per_class else ""
    return f"{config.init} {size}{config.resize}/{config.crop} px, {config.schedule[-1]} steps, mixup {config.mixup}, seed {config.seed}"


def run_all(configs: list[RunConfig], workers: int | None = None) -> list[Record]:
    """Run what is not recorded yet, several at a time, and return all records in the order of ``configs``.

    Prints one line to stderr per finished run, with counts and the time left. A failed run does not stop the others.

    Raises:
        RunsFailedError: after the last run, listing what failed and why.
    """
    from cxrlib.model import resolve_initialisation

    keys = [run_key(c, open_dataset(c).fingerprint, resolve_initialisation(c.init).sha256) for c in configs]
    records = {key: record for key, c in zip(keys, configs, strict=True) if (record := load(c.store, key)) is not None}
    missing = {key: c for key, c in zip(keys, configs, strict=True) if key not in records}
    print(f"{len(set(keys))} runs: {len(records)} recorded, {len(missing)} to do", file=sys.stderr)
    if not missing:
        return [records[key] for key in keys]
    workers = min(workers or _default_workers(), len(missing))
    threads = max(1, usable_cores() // workers)
    for c in missing.values():
        _image_sets(c, open_dataset(c))  # fill the image cache once, before workers ask for it side by side
    # Long runs first, so that no worker is left with one at the end.
    order = sorted(missing, key=lambda key: -missing[key].schedule[-1] * missing[key].crop ** 2)
    failures: dict[str, str] = {}
    started = time.perf_counter()
    tasks = [(key, missing[key], threads, len(missing) == 1) for key in order]
    for done, (key, record, failure) in enumerate(run_tasks(_attempt, tasks, workers), start=1):
        if record is None:
            failures[key] = f"{describe(missing[key])}: {failure}"
            note = "FAILED"
        else:
            records[key] = record
            note = f"accuracy {record.history[-1]['test_accuracy']:.3f}"
        elapsed = time.perf_counter() - started
        left = elapsed / done * (len(missing) - done)
        print(f"run {done}/{len(missing)}  {describe(missing[key])}: {note}  ({elapsed:.0f} s, {left:.0f} s left)", file=sys.stderr)
    if failures:
        raise RunsFailedError(f"{len(failures)} of {len(missing)} runs failed:\n" + "\n".join(failures.values()))
    return [records[key] for key in keys]


def _default_workers() -> int:
    import torch

    return 1 if torch.cuda.is_available() else usable_cores()


def _attempt(key: str, config: RunConfig, threads: int, progress: bool) -> tuple[str, Record | None, str]:
    """A run that reports its failure instead of raising it, so that the others go on."""
    import torch

    torch.set_num_threads(threads)
    try:
        return key, run(config, progress), ""
    except Exception as error:
        return key, None, f"{type(error).__name__}: {error}"
