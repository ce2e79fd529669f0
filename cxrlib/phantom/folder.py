"""Chest X-ray phantoms in the on-disk layout of COVIDx: images computed from an anatomical model, never from patients.

    train/ test/                     8-bit grey PNG, all of one size
    train.txt test.txt               patientid filename class source
    masks/lungs|opacities/<split>/   8-bit PNG, 255 inside
    findings.csv                     finding, stratum, severity (Wong score 0 to 8), projection, ... of each image
    phantom.json                     every parameter; written last

The folder appears at once when it is complete: it is built beside its final place and renamed.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import secrets
import shutil
import time
from pathlib import Path

from cxrlib.files import locked
from cxrlib.phantom.findings import DEFAULT_STRATA, RANGES
from cxrlib.phantom.imaging import SOURCES
from cxrlib.phantom.render import (
    EFFUSION_SHARE,
    IMAGES_PER_PATIENT,
    LABELS,
    MAX_SIZE,
    MIN_SIZE,
    Exam,
    Phantom,
    PhantomError,
    render,
    stream,
)
from cxrlib.phantom.workers import COLUMNS, produce, reported

__all__ = ["Exam", "Phantom", "PhantomError", "generate", "plan", "render"]

GENERATOR_VERSION = 2  # raised whenever the same parameters would give other images; older sets are then made anew


def plan(seed: int, counts: dict[str, dict[str, int]]) -> list[Exam]:
    """Images of every split and label, patient after patient, until `counts[split][label]` images are planned.

    Some patients have several images (positives 1.6 on average, as in COVIDx); no patient is in two splits.
    """
    exams = []
    for split, per_label in counts.items():
        for label in LABELS:
            patient, left = 0, per_label[label]
            while left > 0:
                chances = IMAGES_PER_PATIENT[label]
                images = 1 + int(stream(seed, split, label, patient, "images").choice(len(chances), p=chances))
                exams += [Exam(split, label, patient, number) for number in range(min(images, left))]
                patient, left = patient + 1, left - images
    return exams


def generate(
    folder: str | os.PathLike,
    seed: int = 0,
    train_positive: int = 260,
    train_negative: int = 1660,
    test_per_class: int = 100,
    size: int = 224,
    source_confounding: float = 0.0,
    workers: int | None = None,
    progress: bool = True,
    severity: dict[str, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a phantom data set to `folder` and return its path.

    The defaults have the paper's imbalance in training (1 : 6.4) and a balanced test set whose negatives are half
    without finding, half lobar pneumonia or effusion.

    seed: whole number >= 0. train_positive, train_negative, test_per_class: images, at least 1. size: pixels, 32 to 2048.
    source_confounding: 0 to 1, the probability that the acquisition style follows the label instead of chance.
    severity: shares of 'faint', 'mild', 'moderate' and 'severe' among images with a finding; scaled to sum 1.
    workers: processes, default one per available core; the result does not depend on it.

    A complete folder with the same parameters is kept as it is (made anew if an older generator wrote it). Raises PhantomError if a parameter is out of range, or
    if the folder holds something else (`overwrite=True` replaces another phantom set, never anything else).
    """
    strata = _checked_strata(severity)
    for name, value, low, high in (
        ("seed", seed, 0, 2**63), ("train_positive", train_positive, 1, 10**6), ("train_negative", train_negative, 1, 10**6),
        ("test_per_class", test_per_class, 1, 10**6), ("size", size, MIN_SIZE, MAX_SIZE),
        ("workers", 1 if workers is None else workers, 1, 1024),
    ):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise PhantomError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    if isinstance(source_confounding, bool) or not isinstance(source_confounding, (int, float)) \
            or not 0 <= source_confounding <= 1:  # fmt: skip
        raise PhantomError(f"source_confounding must be a number from 0 to 1, not {source_confounding!r}")
    for name, value in (("progress", progress), ("overwrite", overwrite)):
        if not isinstance(value, bool):
            raise PhantomError(f"{name} must be true or false, not {value!r}")
    parameters = {
        "seed": seed, "train_positive": train_positive, "train_negative": train_negative, "test_per_class": test_per_class,
        "size": size, "source_confounding": float(source_confounding), "severity": strata,
    }  # fmt: skip
    folder = Path(folder).absolute()
    with locked(folder):
        if _is_kept(folder, parameters, overwrite):
            return folder
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = folder.parent / f".{folder.name}.partial-{secrets.token_hex(6)}"
        partial.mkdir()
        try:
            _build(partial, parameters, workers, progress)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _checked_strata(severity: dict[str, float] | None) -> dict[str, float]:
    shares = DEFAULT_STRATA if severity is None else severity
    if not isinstance(shares, dict):
        raise PhantomError(f"severity must be shares by name, such as {{{', '.join(f'{name}: 1' for name in RANGES)}}}, not {severity!r}")
    if set(shares) != set(RANGES):
        raise PhantomError(f"severity must name exactly {', '.join(RANGES)}; it names {', '.join(map(str, shares)) or 'none'}")
    if wrong := next((name for name, share in shares.items() if isinstance(share, bool) or not isinstance(share, int | float)), None):
        raise PhantomError(f"severity: the share of {wrong} must be a number, not {shares[wrong]!r}")
    total = sum(float(share) for share in shares.values())
    if not total > 0 or any(not float(share) >= 0 for share in shares.values()) or total == float("inf"):
        raise PhantomError(f"severity shares must be finite, not negative and not all zero: {shares}")
    return {key: float(shares[key]) / total for key in RANGES}


def _is_kept(folder: Path, parameters: dict, overwrite: bool) -> bool:
    """True if the folder already holds this very set; PhantomError if it holds something that must not be touched."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / "phantom.json"
    if not record.is_file():
        raise PhantomError(f"{folder} is not empty and holds no phantom.json: give a new folder name")
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        same, version = found["parameters"] == parameters, found["generator_version"]
    except (ValueError, KeyError, TypeError):
        found, same, version = {}, False, None
    if same and version != GENERATOR_VERSION:
        return False
    if same:
        expected = {split: sum(counts.values()) for split, counts in found["counts"].items()}
        places = [(folder / start / split, count) for split, count in expected.items()
                  for start in (".", "masks/lungs", "masks/opacities")]  # fmt: skip
        files = all((folder / name).is_file() for name in ("train.txt", "test.txt", "findings.csv"))
        if files and all(sum(1 for _ in place.glob("*.png")) == count for place, count in places):
            return True
        if not overwrite:
            raise PhantomError(f"{folder} has lost some of its files: delete it, or pass overwrite=True to make it anew")
    if not overwrite:
        old = found.get("parameters", {})
        changed = [f"{key}: {old.get(key)} there, {value} asked" for key, value in parameters.items() if old.get(key) != value]
        raise PhantomError(
            f"{folder} holds other phantoms ({'; '.join(changed)}): give a new folder name, or pass overwrite=True"
        )
    return False


def _build(folder: Path, parameters: dict, workers: int | None, progress: bool) -> None:
    counts = {
        "train": {"positive": parameters["train_positive"], "negative": parameters["train_negative"]},
        "test": dict.fromkeys(LABELS, parameters["test_per_class"]),
    }
    exams = plan(parameters["seed"], counts)
    for split in counts:
        for place in (".", "masks/lungs", "masks/opacities"):
            (folder / place / split).mkdir(parents=True)
    started = time.perf_counter()
    rows = list(reported(produce(folder, parameters, exams, workers), len(exams), progress))
    # Identifiers are hashes, so sorting by them mixes the labels.
    rows.sort(key=lambda row: (row["split"], row["file"]))
    for split in counts:
        lines = [f"{r['patient_id']} {r['file']} {r['label']} {r['source']}\n" for r in rows if r["split"] == split]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    with open(folder / "findings.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    record = {
        "kind": "chest X-ray phantoms, computed, of no patient",
        "generator_version": GENERATOR_VERSION,
        "parameters": parameters,
        "counts": counts,
        "severity_ranges": {key: {"extent": extent, "density": density} for key, (extent, density) in RANGES.items()},
        "images_per_patient": IMAGES_PER_PATIENT,
        "effusion_share_of_negative_findings": EFFUSION_SHARE,
        "sources": SOURCES,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (folder / "phantom.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
