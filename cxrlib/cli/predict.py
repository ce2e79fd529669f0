"""Scores for one's own images from a recorded model. Not a diagnosis."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cxrlib import DISCLAIMER
from cxrlib.config import is_classical
from cxrlib.data.decode import squared
from cxrlib.data.grey import ImageError
from cxrlib.experiment.record import Record, load_model
from cxrlib.experiment.store import find
from cxrlib.files import atomic_write
from cxrlib.markup import visible
from cxrlib.model.network import normalise

BATCH = 16  # images in memory at a time
MOST_EXPLAINED = 40  # columns of a figure that can still be drawn and looked at
FIGURES = (".png", ".pdf", ".svg")


def find_record(model: str, store: Path) -> tuple[Record, Path]:
    """The record that ``model`` names (a key, its first digits, or a folder of a store) and its store.

    Raises:
        ValueError: if none or several fit, or the record is damaged.
    """
    path = Path(model)
    if (path / "record.json").is_file():
        store, model = path.parent, path.name
    return find(store, model), Path(store)


def predict_files(
    files: list[Path], model: str, store: Path = Path("runs"), explain: Path | None = None, overwrite: bool = False, strict: bool = False
) -> Iterator[str]:
    """Score image files.

    Args:
        files: of any format that ``cxrlib.data.decode`` decodes.
        model: see :func:`find_record`.
        store: folder of records.
        explain: PNG, PDF or SVG to write, with each image beside its Grad-CAM; without an ending it is a PNG.
        overwrite: whether ``explain`` may replace a file. Never one of ``files``.
        strict: score nothing if an image cannot be used.

    Yields:
        A line per usable file: its name, the model's probability of the positive class, and the side of 0.5 it is on.

    Raises:
        ImageError: after all lines, naming every file that cannot be used.
        ValueError: if ``explain`` cannot be written so, or the record does not fit.
    """
    figure = None if explain is None else _figure_file(Path(explain), files, overwrite)
    record, store = find_record(model, store)
    if figure is not None and is_classical(record.config["arch"]):
        raise ValueError(f"record {record.key} is a support vector machine, which has no feature map to explain; leave --explain out")
    network = load_model(record, store)
    if record.data["is_phantom"]:
        yield "note: this model was trained on phantoms; its scores of real X-rays mean nothing"
    failures: list[str] = []
    if strict:
        failures = [reason for file in files for _, reason in [_try(file, record.config["crop"])] if reason]
        if failures:
            raise _unusable(failures, len(files))
    explained: list[tuple[np.ndarray, np.ndarray, str]] = []
    for start in range(0, len(files), BATCH):
        read = [(file, *_try(file, record.config["crop"])) for file in files[start : start + BATCH]]
        failures += [reason for _, _, reason in read if reason]
        sound = [(file, grey) for file, grey, reason in read if reason is None]
        if sound:
            yield from _score(sound, record, network, None if figure is None else explained)
    if figure is not None and explained:
        yield _draw(explained, figure)
    if failures:
        raise _unusable(failures, len(files))


def _try(file: Path, size: int) -> tuple[np.ndarray | None, str | None]:
    """The squared image, or why there is none."""
    try:
        return squared(file, size), None
    except ImageError as error:
        return None, str(error)


def _unusable(failures: list[str], count: int) -> ImageError:
    return ImageError("\n".join([f"{len(failures)} of {count} images cannot be used:", *failures]))


def _score(sound: list[tuple[Path, np.ndarray]], record: Record, network: torch.nn.Module, explained: list | None) -> Iterator[str]:
    """The lines of one batch; with ``explained``, images, heat maps and captions are added to it."""
    grey = np.stack([image for _, image in sound])
    origin = record.initialisation
    inputs = normalise(torch.from_numpy(grey), origin["mean"], origin["std"], record.config["image_channels"])
    with torch.inference_mode():
        probabilities = torch.sigmoid(network(inputs).reshape(-1)).numpy()
    for (file, _), probability in zip(sound, probabilities, strict=True):
        yield f"{visible(file)}\t{probability:.4f}\t{'positive' if probability > 0.5 else 'negative'} at threshold 0.5"
    if explained is not None:
        from cxrlib.explain import grad_cam

        captions = [f"{visible(file.name)}\nscore {probability:.2f}" for (file, _), probability in zip(sound, probabilities, strict=True)]
        explained += zip(grey, grad_cam(network, inputs), captions, strict=True)


def _figure_file(explain: Path, files: list[Path], overwrite: bool) -> Path:
    """Where the figure goes, known to be no input, no folder and, unless that is wanted, no file that is there.

    Raises:
        ValueError: saying what to give instead.
    """
    if explain.is_dir() or explain.name in ("", ".", ".."):
        raise ValueError(f"--explain {explain} is a folder; give a file, such as {explain / 'explained.png'}")
    figure = explain if explain.suffix else explain.with_name(f"{explain.name}.png")
    if figure.suffix.lower() not in FIGURES or figure.name.startswith("."):
        raise ValueError(f"--explain {explain}: the name must end in {', '.join(FIGURES)}")
    for file in files:
        if figure.resolve() == Path(file).resolve() or (figure.exists() and Path(file).exists() and figure.samefile(file)):
            raise ValueError(f"--explain {figure} is one of the images to score and would be lost; give another file, then the images")
    if figure.exists() and not overwrite:
        raise ValueError(f"{figure} exists; give another file, or --overwrite to replace it")
    if len(files) > MOST_EXPLAINED:
        raise ValueError(f"--explain draws at most {MOST_EXPLAINED} images, here are {len(files)}; explain fewer at a time")
    return figure


def _draw(explained: list[tuple[np.ndarray, np.ndarray, str]], file: Path) -> str:
    """Write the figure, whole or not at all; returns the line that says so."""
    from cxrlib.study.figures import common as figures

    figures.use_style()
    images, maps, captions = zip(*explained, strict=True)
    figure = figures.cam_grid(np.stack(images), np.stack(maps), captions, f"Grad-CAM. {DISCLAIMER}")
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format=file.suffix.lower().removeprefix("."), facecolor="white")
    atomic_write(file, content.getvalue())
    return f"wrote {file}"
