"""What is measured: each function is one process of its own, ``python benchmarks/tasks.py NAME ARGUMENTS_AS_JSON``.

The last line of its output is its result as JSON. ``seconds`` never contains imports: both sides of a pair need them.
What cxrlib's training is compared with is in ``recipes.py``.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from recipes import run_config, times_of

import cxrlib  # noqa: F401  before torch, so that threads wait as in the project


def our_training(folder: str, cache: str, **settings) -> dict:
    """The same run by cxrlib, from label file to last step, the cache of resized images included."""
    import torch

    from cxrlib.experiment import one_run as experiment
    from cxrlib.model.network import create_model
    from cxrlib.train.finetune import train
    from cxrlib.train.score import ImageSet
    from cxrlib.weights.resolve import resolve_initialisation

    config = run_config(**settings, data=Path(folder), cache=Path(cache))
    torch.manual_seed(config.seed)
    model = create_model(config.arch, "random", config.image_channels)
    started = time.perf_counter()
    dataset = experiment.open_dataset(config)
    table = dataset.index[dataset.index["split"] == "train"]  # the other side has no test set either
    images = dataset.images("train", config.resize, config.cache)
    training = ImageSet(images, (table["label"] == "positive").to_numpy(dtype=np.int64), table["row"].to_numpy())
    prepared = time.perf_counter() - started
    _, progress = train(model, config, training, {}, resolve_initialisation("random"))
    seconds = time.perf_counter() - started
    last = [row["train_loss"] for row in progress.history if row["step"] > config.schedule[-1] * 3 // 4]
    return {"seconds": seconds, "images": config.schedule[-1] * config.batch_size, "loss": float(np.mean(last)), "prepared": prepared}


def _random_set(count: int, size: int):
    from cxrlib.train.score import ImageSet

    images = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    return ImageSet(images, np.arange(count) % 2, np.arange(count))


def _stepper(model, config, inputs):
    """A function that does one optimised step on one resident batch."""
    import torch

    from cxrlib.train.finetune import mixup_loss

    labels = torch.arange(len(inputs)).remainder(2).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=config.momentum)

    def step() -> None:
        mixup_loss(model(inputs), labels, labels.flip(0), 0.9).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training_against_compute(rounds: int, **settings) -> dict:
    """Steps of the trainer on cached images, and of compute alone on one batch that stays; in turns, in one process."""
    import torch

    from cxrlib.model.network import create_model, normalise
    from cxrlib.train.finetune import train
    from cxrlib.weights.source import Initialisation

    config = run_config(**settings, seed=0)
    model = create_model(config.arch, "random", config.image_channels).train()
    images = _random_set(8 * config.batch_size, config.resize)
    resident = normalise(torch.from_numpy(images.images[: config.batch_size, : config.crop, : config.crop].copy()), 0.5, 0.5, config.image_channels)
    step = _stepper(model, config, resident)
    ours, theirs = [], []
    for _ in range(rounds):
        stamps: list[float] = []
        train(model, config, images, {}, Initialisation("random"), on_step=lambda _: stamps.append(time.perf_counter()))  # noqa: B023
        ours.append(float(np.median(np.diff(stamps))))
        model.train()
        step()
        times = times_of(step, config.schedule[-1] - 1)
        theirs.append(float(np.median(times)))
    return {"ours": ours, "theirs": theirs, "batch": config.batch_size}


def one_step(kind: str, **settings) -> dict:
    """Seconds of a step on a resident batch with one idea switched on or off, and of the first one."""
    import torch

    from cxrlib.model import network as models
    from cxrlib.model.memory import channels_last

    ideas = kind.split("+")
    config = run_config(**settings, seed=0)
    if "keep" not in ideas:
        models.reuse_memory = bool
    if "pool" not in ideas:
        models.pool_without_copy = bool
    model = models.create_model(config.arch, "random", config.image_channels).train()
    inputs = torch.randn(config.batch_size, config.image_channels, config.crop, config.crop)
    inputs = channels_last(inputs) if "last" in ideas else inputs
    if "weights" in ideas:
        model = model.to(memory_format=torch.channels_last)
    called = torch.compile(model) if "compile" in ideas else model
    labels = torch.arange(config.batch_size).remainder(2).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused="fused" in ideas)
    parts = 4 if "micro" in ideas else 1

    def step() -> None:
        for images, target in zip(inputs.chunk(parts), labels.chunk(parts)):
            with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in ideas):
                logits = called(images)
            torch.nn.functional.binary_cross_entropy_with_logits(logits.reshape(-1).float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    first = times_of(step, 1)[0]
    step()
    return {"times": times_of(step, config.schedule[-1]), "first": first, "images": config.batch_size}


def our_evaluation(folder: str, cache: str, **settings) -> dict:
    """The same test set scored from the cache; the median of three evaluations after a first, which fills caches and imports."""
    import torch

    from cxrlib.experiment import one_run as experiment
    from cxrlib.metrics.classifier import evaluate
    from cxrlib.model.network import create_model
    from cxrlib.train.score import predict
    from cxrlib.weights.source import Initialisation

    config = run_config(**settings, seed=0, data=Path(folder), cache=Path(cache))
    torch.manual_seed(0)
    model = create_model(config.arch, "random", config.image_channels)
    test = experiment.image_sets(config, experiment.open_dataset(config))[1]["test"]

    def score() -> None:
        logits = predict(model, test, Initialisation("random"), config.image_channels)
        evaluate(test.labels, 1 / (1 + np.exp(-logits.astype(float))))

    return {"seconds": float(np.median(times_of(score, 4)[1:])), "images": len(test.labels)}


def folded_evaluation(batches: int, **settings) -> dict:
    """Evaluation with weights standardised at every call, as built, and with the standardised weights put in their place."""
    import torch
    from timm.layers import StdConv2d

    from cxrlib.model.network import create_model, normalise

    config = run_config(**settings, seed=0)
    model = create_model(config.arch, "random", config.image_channels).eval()
    inputs = normalise(torch.from_numpy(_random_set(config.batch_size, config.crop).images), 0.5, 0.5, config.image_channels)
    with torch.inference_mode():
        model(inputs)
        built = times_of(lambda: model(inputs), batches)
        for module in model.modules():
            if isinstance(module, StdConv2d):
                weight = module.weight
                flat = weight.reshape(1, len(weight), -1)
                module.weight.data = torch.nn.functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=module.eps).reshape_as(weight)
                module.forward = torch.nn.Conv2d.forward.__get__(module)
        folded = times_of(lambda: model(inputs), batches)
    return {"built": built, "folded": folded, "images": config.batch_size}


def cache_build(folder: str, cache: str, size: int, count: int) -> dict:
    """Build the cache of the first training images; also the memory at the peak, of this process and of its largest worker."""
    from cxrlib import data
    from cxrlib.data.cache import ImageCache

    index = data.read_index(folder)
    index = index[index["split"] == "train"].sort_values("file").iloc[:count]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    ImageCache.open_or_build(index, folder, size, cache, "0" * 40, progress=False)
    seconds = time.perf_counter() - started
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": seconds, "images": len(index), "own_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "worker_mb": worker}


def _cam_inputs(images: int, **settings):
    import torch

    from cxrlib.model.network import create_model, normalise

    config = run_config(**settings, seed=0)
    torch.manual_seed(0)
    model = create_model(config.arch, "random", config.image_channels).eval()
    torch.nn.init.normal_(model.get_classifier().weight)
    return model, normalise(torch.from_numpy(_random_set(images, config.crop).images), 0.5, 0.5, config.image_channels)


def library_grad_cam(out: str, images: int, **settings) -> dict:
    """pytorch-grad-cam, one image at a time."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    from cxrlib.explain import default_target_layer

    model, inputs = _cam_inputs(images, **settings)
    layer = dict(model.named_modules())[default_target_layer(model, inputs)]
    started = time.perf_counter()
    with GradCAM(model=model, target_layers=[layer]) as cam:
        maps = [cam(input_tensor=inputs[i : i + 1], targets=[BinaryClassifierOutputTarget(1)])[0] for i in range(images)]
    seconds = time.perf_counter() - started
    np.save(out, np.stack(maps))
    return {"seconds": seconds, "images": images}


def our_grad_cam(out: str, images: int, **settings) -> dict:
    """The same maps by cxrlib."""
    from cxrlib.explain import grad_cam

    model, inputs = _cam_inputs(images, **settings)
    started = time.perf_counter()
    maps = grad_cam(model, inputs, classes=np.ones(images, dtype=int))
    seconds = time.perf_counter() - started
    np.save(out, maps)
    return {"seconds": seconds, "images": images}


def one_run(folder: str, cache: str, store: str, **settings) -> dict:
    """One recorded run, and how long after the start of the function its first step was done."""
    from cxrlib.experiment.one_run import run

    stamps: list[float] = []
    started = time.perf_counter()
    run(run_config(**settings, data=Path(folder), cache=Path(cache), store=Path(store)), progress=False, on_step=lambda _: stamps.append(time.perf_counter()))
    return {"seconds": time.perf_counter() - started, "first_step": stamps[0] - started}


def sweep_of(folder: str, cache: str, store: str, runs: int, **settings) -> dict:
    """The same runs by one sweep."""
    from cxrlib.experiment.sweep import run_all

    configs = [run_config(**settings, seed=seed, data=Path(folder), cache=Path(cache), store=Path(store)) for seed in range(runs)]
    started = time.perf_counter()
    run_all(configs)
    return {"seconds": time.perf_counter() - started, "runs": runs}


def threaded_run(threads: int, **settings) -> dict:
    """Some training steps with a number of threads; started twice at once to see how two runs share two cores."""
    import torch

    from cxrlib.model.network import create_model
    from cxrlib.train.finetune import train
    from cxrlib.weights.source import Initialisation

    torch.set_num_threads(threads)
    config = run_config(**settings, seed=0)
    model = create_model(config.arch, "random", config.image_channels)
    images = _random_set(4 * config.batch_size, config.resize)
    stamps: list[float] = []
    train(model, config, images, {}, Initialisation("random"), on_step=lambda _: stamps.append(time.perf_counter()))
    return {"seconds": float(np.median(np.diff(stamps))), "images": config.batch_size}


def data_costs(folder: str, cache: str, **settings) -> dict:
    """Seconds for index, fingerprint, cache and one epoch of a folder, and the memory at the peak."""
    import torch

    from cxrlib import data
    from cxrlib.experiment import one_run as experiment
    from cxrlib.model.network import create_model
    from cxrlib.train.finetune import train
    from cxrlib.weights.source import Initialisation

    started = time.perf_counter()
    index = data.read_index(folder)
    indexed = time.perf_counter()
    data.fingerprint(index, Path(folder), cache)
    printed = time.perf_counter()
    count = int((index["split"] == "train").sum())
    batch = settings.pop("batch")
    config = run_config(**settings, batch=batch, steps=max(2, count // batch), seed=0, data=Path(folder), cache=Path(cache))
    dataset = experiment.open_dataset(config)
    opened = time.perf_counter()
    training = experiment.image_sets(config, dataset)[0]
    cached = time.perf_counter()
    torch.manual_seed(0)
    train(create_model(config.arch, "random", config.image_channels), config, training, {}, Initialisation("random"))
    seconds = {"index": indexed - started, "fingerprint": printed - indexed, "cache": cached - opened, "epoch": time.perf_counter() - cached}
    return {"images": len(index), **seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
