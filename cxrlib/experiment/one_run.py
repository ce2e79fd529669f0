"""One validated config in, one record out. A run that is already recorded is loaded, not repeated.

A record (:mod:`cxrlib.experiment.record`) is found by its key, a digest of the config, the data
fingerprint, the initial weights and the protocol version, so the same question always finds the same answer.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import PROTOCOL_VERSION
from cxrlib.config import PHANTOM_FOLDER, ParameterError, Parameters, RunConfig, is_classical
from cxrlib.data import views
from cxrlib.data.dataset import Dataset, read_dataset
from cxrlib.data.splits import few_shot
from cxrlib.experiment.record import Record, check_place, code_version, content_key, recorded
from cxrlib.experiment.record import save as save_record
from cxrlib.files import locked, safetensors_bytes
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import Initialisation, to_metadata

RECORDED_PACKAGES = ("torch", "timm", "accelerate", "numpy", "pillow", "scikit-learn", "scikit-image", "torchvision")


def open_dataset(parameters: Parameters, strict: bool = False) -> Dataset:
    """Read, check and fingerprint ``parameters.data``; the default phantom set is generated if it is not there.

    Rows with a problem are left out and counted; with ``strict``, or the parameter of that name, they are a reason to
    refuse the folder.
    """
    if parameters.data == PHANTOM_FOLDER and not (PHANTOM_FOLDER / "phantom.json").is_file():
        from cxrlib import phantom

        phantom.generate(PHANTOM_FOLDER)
    return read_dataset(parameters.data, parameters.labels, parameters.cache, strict or parameters.strict)


@dataclass(frozen=True)
class Resolved:
    """A config with all that it names, found once and handed down.

    Attributes:
        fingerprint: of the data that the run sees, see :func:`cxrlib.data.views.data_fingerprint`.
        identity: the fields of the config that decide the numbers.
        key: of the run, see :func:`cxrlib.experiment.record.content_key`.
    """

    config: RunConfig
    dataset: Dataset
    fingerprint: str
    identity: dict[str, Any]
    initialisation: Initialisation
    key: str


def resolve(config: RunConfig) -> Resolved:
    """Find the data and the initial weights of a run, and the key that follows from them.

    Raises:
        ParameterError, WeightsError, DataError: saying what to change.
    """
    dataset = open_dataset(config)
    fingerprint = views.data_fingerprint(config, dataset.fingerprint, dataset.index)
    identity = config.identity()
    initialisation = resolve_initialisation(config.init, seed=config.seed)
    normalisation = initialisation.normalisation()
    key = content_key(identity, fingerprint, initialisation.sha256, normalisation=normalisation)
    return Resolved(config, dataset, fingerprint, identity, initialisation, key)


def key_of(config: RunConfig) -> str:
    """The key of a run, from its data and weights as they are here."""
    return resolve(config).key


def run(config: RunConfig | dict[str, Any], progress: bool = True, weights: bool = False, on_step: Callable[[int], None] | None = None) -> Record:
    """Train, evaluate and record one run, or load it if it is recorded.

    An interrupted run goes on from its last checkpoint. Of two processes that want the same run one trains and the
    other waits for the record. Under ``accelerate launch`` the processes train one run together.

    Args:
        config: the run.
        progress: show a progress bar.
        weights: train again if the record is without its weights (it was imported) or they are damaged.
        on_step: called with the number of finished steps.

    Raises:
        ParameterError, WeightsError, NonFiniteLossError, cxrlib.data.folder errors: saying what to change.
        OSError: if the store cannot be written.
    """
    resolved = resolve(config if isinstance(config, RunConfig) else RunConfig.parse(config))
    store, key = resolved.config.store, resolved.key

    def look() -> Record | None:
        return recorded(store, key, resolved.initialisation, weights)

    def compute() -> Record:
        found = look()
        if found is None:
            check_place(store, key)
        return found or _train_and_record(resolved, progress, on_step)

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return _run_together(resolved, look, compute)
    found = look()
    if found is not None:
        return found
    with locked(store / key):
        return compute()


def _run_together(resolved: Resolved, look: Callable[[], Record | None], compute: Callable[[], Record]) -> Record:
    """One run by all processes of ``accelerate launch``: the first holds the lock and writes, all get the record."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from cxrlib.train.finetune import on_cpu

    state = PartialState(cpu=on_cpu(resolved.config))
    with locked(resolved.config.store / resolved.key) if state.is_main_process else nullcontext():
        (found,) = broadcast_object_list([look() if state.is_main_process else None])
        (record,) = broadcast_object_list([found or compute()])
    return record


def _train_and_record(resolved: Resolved, progress: bool, on_step: Callable[[int], None] | None) -> Record:
    import torch
    from accelerate import PartialState

    from cxrlib.model.network import check_size, create_model, device_name

    config, initialisation = resolved.config, resolved.initialisation
    training, splits, tables = image_sets(config, resolved.dataset)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = create_model(config.arch, initialisation, config.image_channels)
    check_size(model, config.arch, config.crop, config.image_channels)
    checkpoint = config.store / resolved.key / "checkpoint.safetensors"
    model, state = _fit(model, resolved, training, splits, tables["train"], checkpoint, progress, on_step)
    predictions = _predictions(model, resolved, splits, tables)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = to_metadata(initialisation, config.arch)
    weights = safetensors_bytes(tensors, metadata)
    record = _record(resolved, training, predictions, state, weights, device_name(model))
    if PartialState().is_main_process:
        save_record(record, weights, config.store)
        checkpoint.unlink(missing_ok=True)
    return record


def _fit(model, resolved: Resolved, training, splits: dict, table: pd.DataFrame, checkpoint: Path, progress: bool, on_step):
    """The trained model and its progress; ``table`` has the rows of the training images."""
    import torch
    from tqdm import tqdm

    from cxrlib.train import machine
    from cxrlib.train.finetune import train

    config, initialisation = resolved.config, resolved.initialisation
    silent = not progress or os.environ.get("RANK", "0") != "0"
    with tqdm(total=config.schedule[-1], unit="step", disable=silent, ascii=True, desc=describe(config)) as bar:

        def advance(step: int) -> None:
            bar.update(step - bar.n)
            if on_step is not None:
                on_step(step)

        # What was left out may be most of the data: it is scored once, at the end.
        followed = {name: split for name, split in splits.items() if name != "left_out"}
        if is_classical(config.arch):
            fitted = machine.fit(model, config, training, followed, table["patient_id"].to_numpy(), initialisation)
            advance(config.schedule[-1])
            return fitted
        try:
            return train(model, config, training, followed, initialisation, checkpoint, resolved.key, advance)
        except RuntimeError as error:
            if config.compiled and isinstance(error, torch._dynamo.exc.TorchDynamoException):
                reason = str(error).strip().splitlines()[0]
                raise ParameterError(f"parameter 'compiled': torch cannot compile {config.arch} here ({reason}); set compiled to false") from None
            raise


def _predictions(model, resolved: Resolved, splits: dict, tables: dict[str, pd.DataFrame]) -> dict[str, list]:
    """A logit for every image of every evaluated split, in the columns of a record."""
    from cxrlib.train.score import predict

    found: dict[str, list] = {"split": [], "file": [], "patient_id": [], "label": [], "logit": []}
    for name, split in splits.items():
        logits = predict(model, split, resolved.initialisation, resolved.config.image_channels)
        found["split"] += [name] * len(logits)
        found["file"] += tables[name]["file"].tolist()
        found["patient_id"] += tables[name]["patient_id"].tolist()
        found["label"] += split.labels.tolist()
        found["logit"] += [float(logit) for logit in logits]
    return found


def _record(resolved: Resolved, training, predictions: dict[str, list], state, weights: bytes, device: str) -> Record:
    """What is kept of a run: all that decided it, and what came of it."""
    import torch
    from accelerate import PartialState

    dataset, initialisation, fingerprint = resolved.dataset, resolved.initialisation, resolved.fingerprint
    return Record(
        key=resolved.key,
        protocol_version=PROTOCOL_VERSION,
        config=resolved.identity | {"init": initialisation.name},  # of a file its name, not where it lies
        data={
            "name": dataset.folder.resolve().name,
            "fingerprint": fingerprint,
            "is_phantom": dataset.is_phantom,
            "training_images": {"negative": int((training.labels == 0).sum()), "positive": int((training.labels == 1).sum())},
        }
        | ({} if fingerprint == dataset.fingerprint else {"images": dataset.fingerprint})  # of the images without the masks
        | ({"left_out": dict(dataset.left_out)} if dataset.left_out else {}),
        initialisation={"name": initialisation.name, "sha256": initialisation.sha256}
        | {"mean": initialisation.mean, "std": initialisation.std}
        | ({"in_key": list(initialisation.in_key)} if initialisation.in_key else {}),
        code_version=code_version(),
        packages={name: importlib.metadata.version(name) for name in RECORDED_PACKAGES} | {"python": platform.python_version()},
        machine={
            "device": device,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "processes": PartialState().num_processes,
        }
        | ({"compiled": True} if resolved.config.compiled and not is_classical(resolved.config.arch) else {}),
        history=state.history,
        predictions=predictions,
        wall_seconds=state.seconds,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )


def image_sets(config: RunConfig, dataset: Dataset):
    """Training set, evaluated sets and their tables, for one run."""
    from cxrlib.train.score import ImageSet

    index = views.recast(dataset.index, config)
    chosen = index if config.images_per_class is None else few_shot(index, config.images_per_class, config.seed)
    tables = {name: index[index["split"] == name] for name in ("validation", "test", "left_out") if (index["split"] == name).any()}
    tables["train"] = chosen[chosen["split"] == "train"]
    sets = {}
    for name, table in tables.items():
        size = config.resize if name == "train" else config.crop
        (folder,) = table["folder"].unique()
        files = dataset.index.loc[dataset.index["split"] == folder, "file"]
        images = views.hidden(dataset.images(folder, size, config.cache), config, folder, files)
        labels = (table["label"] == "positive").to_numpy(dtype=np.int64)
        sets[name] = ImageSet(images, labels, table["row"].to_numpy())
    return sets.pop("train"), sets, tables


def describe(config: RunConfig) -> str:
    """A run in a few words, for progress and tables."""
    size = f"{config.images_per_class}/class " if config.images_per_class else ""
    size += "" if config.region == "whole" else f"{config.region} "
    size += f"without {config.leave_out} " if config.leave_out else f"{' against '.join(config.sources)} " if config.sources else ""
    network = "" if config.arch == "resnetv2_laptop" else f"{config.arch} from "
    return f"{network}{config.init} {size}{config.resize}/{config.crop} px, {config.schedule[-1]} steps, mixup {config.mixup}, seed {config.seed}"
