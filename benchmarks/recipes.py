"""The other side of every pair about training and scoring: how others feed a network on a processor.

Each recipe sees the same images in the same batches, the same mixup partners and weights, and the same learning rates as
:func:`cxrlib.train.finetune.train`; only the random crops differ. Torch is imported before anything of cxrlib, so its
threads wait for each other as PyTorch and the C library come. Settings are those of :func:`run_config`.
"""

from __future__ import annotations

import itertools
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

PROTOCOL = {"base_lr": 0.05, "mixup": "beta", "device": "cpu"}
WORKERS = 2  # processes that read images


def run_config(arch: str, channels: int, size: int, batch: int, steps: int, seed: int, **more):
    """The settings of a run of the bench: crops of `size` pixels out of images an eighth larger, warm-up over an eighth of the steps."""
    from cxrlib.config import RunConfig

    schedule = (max(1, steps // 8), steps) if steps > 8 else (0, steps)
    rate = {"base_lr": 0.003} if arch != "resnetv2_laptop" else {}
    margin = size // 8
    return RunConfig(
        arch=arch, image_channels=channels, resize=size + margin, crop=size, batch_size=batch, schedule=schedule, seed=seed,
        eval_every=max(1, steps // 8), **(PROTOCOL | rate | more),
    )  # fmt: skip


def times_of(function: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return times


def _plain_model(config):
    """The model as timm builds it, in a process whose C library works as it comes."""
    import torch

    from cxrlib.model import network as model

    model.reuse_memory = model.pool_without_copy = bool  # does nothing
    torch.manual_seed(config.seed)
    return model.create_model(config.arch, "random", config.image_channels).train()


def _labelled(folder: str, split: str) -> tuple[list[Path], np.ndarray]:
    """Paths and labels (0 or 1) of a split, as its label file has them."""
    rows = [line.split()[:3] for line in (Path(folder) / f"{split}.txt").read_text().splitlines()]
    return [Path(folder) / split / row[1] for row in rows], np.array([row[2] == "positive" for row in rows], dtype=np.int64)


def _batches(config, labels: np.ndarray) -> list[np.ndarray]:
    """The rows of every batch of the run, as cxrlib's trainer draws them."""
    from cxrlib.train import sampling

    return [sampling.batch_indices(step, labels, config.batch_size, config.seed) for step in range(config.schedule[-1])]


def _mode(channels: int) -> str:
    return "RGB" if channels == 3 else "L"


def _files(paths: list[Path], labels: np.ndarray, channels: int):
    """A map-style data set of image files; every image is decoded each time it is wanted."""
    from PIL import Image
    from torch.utils.data import Dataset

    class Files(Dataset):
        transform: Callable = staticmethod(lambda image: image)

        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int):
            return self.transform(Image.open(paths[i]).convert(_mode(channels))), int(labels[i])

    return Files()


def _transform(config, training: bool):
    """torchvision's transforms on Pillow images, as BiT's own code has them."""
    from torchvision import transforms

    augment = [transforms.Resize((config.resize,) * 2), transforms.RandomCrop(config.crop), transforms.RandomHorizontalFlip()]
    channels = config.image_channels
    scale = [transforms.ToTensor(), transforms.Normalize([0.5] * channels, [0.5] * channels)]
    return transforms.Compose([*(augment if training else [transforms.Resize((config.crop,) * 2)]), *scale])


def _optimizer(model, config):
    import torch

    return torch.optim.SGD(model.parameters(), lr=config.base_lr, momentum=config.momentum)


def _learn(model, config, optimizer, batches: Iterable, after: Callable[[int, float], object] = lambda step, loss: None) -> list[float]:
    """The loop that all have in common; the loss of every step. `after` is what a recipe does with it."""
    from cxrlib.train import sampling
    from cxrlib.train.finetune import learning_rate, mixup_loss

    losses = []
    for step, (images, target) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.schedule, config.base_lr)
        weight, partners = sampling.mixup_plan(step, config.batch_size, config.mixup, config.mixup_value, config.seed)
        if weight != 1:
            images = weight * images + (1 - weight) * images[partners]
        loss = mixup_loss(model(images), target.float(), target[partners].float(), weight)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after(step, losses[-1])
    return losses


def _result(started: float, config, losses: list[float], **more) -> dict:
    seconds = time.perf_counter() - started
    assert len(losses) == config.schedule[-1], f"{len(losses)} steps of {config.schedule[-1]}"
    return {"seconds": seconds, "images": len(losses) * config.batch_size, "loss": float(np.mean(losses[-len(losses) // 4 :])), **more}


def _begun(folder: str, settings: dict) -> tuple:
    """What each recipe on image files begins with: settings, model, the time at which files are first looked at, files to decode, and batches of their rows."""
    config = run_config(**settings)
    model = _plain_model(config)
    started = time.perf_counter()
    paths, labels = _labelled(folder, "train")
    files = _files(paths, labels, config.image_channels)
    files.transform = _transform(config, training=True)
    return config, model, started, files, _batches(config, labels)


def standard_training(folder: str, **settings) -> dict:
    """The standard recipe: torchvision's transforms, a DataLoader, the model as timm builds it."""
    import torch.utils.data

    config, model, started, files, batches = _begun(folder, settings)
    loader = torch.utils.data.DataLoader(files, batch_sampler=batches, num_workers=WORKERS)
    return _result(started, config, _learn(model, config, _optimizer(model, config), loader))


def bit_training(folder: str, **settings) -> dict:
    """As the training script of the BiT authors (Kolesnikov et al. 2020, ``bit_pytorch/train.py``) does it.

    Eight worker processes, a loader that is begun again after every pass over the images, a data-parallel wrapper around
    the model, and a line of text at every step.
    """
    import torch.utils.data

    config, model, started, files, batches = _begun(folder, settings)
    model, plan = torch.nn.DataParallel(model), iter(batches)

    def passes() -> Iterator:
        while one := list(itertools.islice(plan, max(1, len(files) // config.batch_size))):
            yield from torch.utils.data.DataLoader(files, batch_sampler=one, num_workers=8)

    with tempfile.TemporaryFile("w") as log:
        losses = _learn(model, config, _optimizer(model, config), passes(), lambda step, loss: print(f"[step {step}]: loss={loss:.5f}", file=log, flush=True))
    return _result(started, config, losses)


def timm_training(folder: str, **settings) -> dict:
    """With the parts of timm's ``train.py``: its loader that collates bytes and scales them per batch, its optimiser and its meter."""
    import torch
    from timm.data import create_loader
    from timm.data.transforms import ToNumpy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter
    from torch.utils.data import Subset
    from torchvision import transforms

    config, model, started, files, batches = _begun(folder, settings)
    channels, crop = config.image_channels, config.crop
    loader = create_loader(
        Subset(files, np.concatenate(batches).tolist()), (channels, crop, crop), config.batch_size, is_training=False,
        mean=(0.5,) * channels, std=(0.5,) * channels, num_workers=WORKERS, device=torch.device("cpu"), persistent_workers=False,
    )  # fmt: skip
    files.transform = transforms.Compose([*files.transform.transforms[:3], ToNumpy()])
    optimizer, meter = create_optimizer_v2(model, "sgd", lr=config.base_lr, momentum=config.momentum, weight_decay=0), AverageMeter()
    losses = _learn(model, config, optimizer, loader, lambda _, loss: meter.update(loss, config.batch_size))
    return _result(started, config, losses)


def webdataset_training(folder: str, **settings) -> dict:
    """With webdataset: tar files read from end to end. They are written before the clock starts, which is in its favour."""
    import torch  # noqa: F401
    import webdataset

    config = run_config(**settings)
    model = _plain_model(config)
    paths, labels = _labelled(folder, "train")
    with tempfile.TemporaryDirectory() as tars:
        shards = _write_shards(Path(tars), paths, labels, _batches(config, labels))
        started = time.perf_counter()
        transform, mode = _transform(config, training=True), "pil" + _mode(config.image_channels).lower().replace("rgb", "")
        images = webdataset.WebDataset(shards, shardshuffle=False).decode(mode).to_tuple("jpg;png", "cls").map_tuple(transform, int)
        loader = webdataset.WebLoader(images.batched(config.batch_size), batch_size=None, num_workers=len(shards))
        losses = _learn(model, config, _optimizer(model, config), loader)
        return _result(started, config, losses)


def _write_shards(folder: Path, paths: list[Path], labels: np.ndarray, batches: list[np.ndarray]) -> list[str]:
    """A tar file for every worker with every image as often as it is wanted; workers take turns, so batch b lies in file b mod :data:`WORKERS`."""
    import io

    shards = [folder / f"{worker}.tar" for worker in range(WORKERS)]
    for worker, shard in enumerate(shards):
        with tarfile.open(shard, "w") as tar:
            for number, row in enumerate(np.concatenate(batches[worker::WORKERS])):
                for ending, content in ((paths[row].suffix, paths[row].read_bytes()), (".cls", b"%d" % labels[row])):
                    member = tarfile.TarInfo(f"{number:08d}{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return [str(shard) for shard in shards]


def standard_evaluation(folder: str, **settings) -> dict:
    """A test set scored by the standard recipe: files, DataLoader, eager model; the median of three evaluations after a first."""
    import torch.utils.data

    from cxrlib.metrics.classifier import evaluate

    config = run_config(**settings, seed=0)
    model = _plain_model(config).eval()
    paths, labels = _labelled(folder, "test")
    files = _files(paths, labels, config.image_channels)
    files.transform = _transform(config, training=False)

    @torch.inference_mode()
    def score() -> None:
        loader = torch.utils.data.DataLoader(files, batch_size=config.batch_size, num_workers=WORKERS)
        logits = torch.cat([model(images).reshape(-1) for images, _ in loader])
        evaluate(labels, torch.sigmoid(logits).numpy())

    return {"seconds": float(np.median(times_of(score, 4)[1:])), "images": len(paths)}


def pillow_resize(folder: str, size: int, count: int) -> dict:
    """Decode and resize in one process with Pillow, into an array."""
    from PIL import Image

    paths = sorted((Path(folder) / "train").iterdir())[:count]
    started = time.perf_counter()
    out = np.empty((len(paths), size, size), dtype=np.uint8)
    for row, path in enumerate(paths):
        out[row] = np.asarray(Image.open(path).convert("L").resize((size, size), Image.Resampling.BILINEAR))
    return {"seconds": time.perf_counter() - started, "images": len(paths)}


if __name__ == "__main__":
    import sys

    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
