"""Image files to measure with: computed chest X-ray phantoms in the layout of COVIDx, with the grain that a real film has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cxrlib import phantom
from cxrlib.processes import run_tasks, usable_cores

BASE_SIZE = 512
GRAIN = 3.0  # grey levels; makes files about as large as COVIDx's of the same size


def base(folder: Path, train: int, test: int) -> Path:
    """Phantoms that every other set is made of; kept if they are there."""
    return phantom.generate(folder, 0, train // 2, train - train // 2, test // 2, BASE_SIZE, overwrite=True, progress=False)


def variant(source: Path, folder: Path, size: int, kind: str, train: int, distinct: int | None = None, test: int | None = None) -> Path:
    """The same images at ``size`` pixels as ``kind`` ('jpeg' or 'png'), with grain; kept if they are there.

    Args:
        source: of :func:`base`.
        train: how many training images; more than the source has are repeated with other grain.
        distinct: how many files are written for them; the others are hard links to these, in turn. None writes all.
        test: how many test images; None takes all that the source has.
    """
    wanted = list(_rows(source, train, test))
    if (folder / "complete").is_file() and (folder / "complete").read_text() == str(len(wanted)):
        return folder
    distinct = distinct or train
    shutil.rmtree(folder, ignore_errors=True)
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    ending = "jpg" if kind == "jpeg" else "png"
    lines: dict[str, list[str]] = {"train": [], "test": []}
    tasks, links = [], []
    for number, (split, patient, file, label) in enumerate(wanted):
        name = f"{number}.{ending}"
        lines[split].append(f"{patient} {name} {label} phantom\n")
        if split == "train" and number >= distinct:
            links.append((folder / split / f"{number % distinct}.{ending}", folder / split / name))
        else:
            tasks.append((str(source / split / file), str(folder / split / name), size, kind, number))
    for _ in run_tasks(_write, _chunks(tasks), usable_cores()):
        pass
    for original, link in links:
        link.hardlink_to(original)
    for split, rows in lines.items():
        (folder / f"{split}.txt").write_text("".join(rows))
    (folder / "complete").write_text(str(len(wanted)))
    return folder


def _rows(source: Path, train: int, test: int | None) -> Iterator[tuple[str, str, str, str]]:
    for split in ("train", "test"):
        rows = sorted((line.split()[:3] for line in (source / f"{split}.txt").read_text().splitlines()), key=lambda row: row[2])
        # Positive and negative in turn, so that any first part of them has both.
        rows = [rows[(i // 2) if i % 2 else -(i // 2) - 1] for i in range(len(rows))]
        count = train if split == "train" else len(rows) if test is None else test
        for number in range(count):
            patient, file, label = rows[number % len(rows)]
            yield split, patient if number < len(rows) else f"{patient}x{number // len(rows)}", file, label


def _chunks(tasks: list[tuple]) -> Iterator[tuple]:
    for start in range(0, len(tasks), 64):
        yield (tasks[start : start + 64],)


def _write(tasks: list[tuple]) -> None:
    for source, destination, size, kind, seed in tasks:
        image = Image.open(source).resize((size, size), Image.Resampling.BICUBIC)
        grain = np.random.default_rng(seed).normal(0, GRAIN, (size, size)).astype(np.float32)
        image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
        image.save(destination, quality=92) if kind == "jpeg" else image.save(destination)
