"""Makes the images of a phantom set in several processes and says how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cxrlib.phantom.render import Exam, patient_id, render
from cxrlib.processes import run_tasks, usable_cores

COLUMNS = ("file", "split", "patient_id", "label", "source", "finding", "stratum", "severity", "extent_right",
           "extent_left", "projection", "sex", "age", "devices")  # fmt: skip


def produce(folder: Path, parameters: dict, exams: list[Exam], workers: int | None) -> Iterator[dict]:
    """Yield one row a finished image, in any order.

    Raises:
        OSError: if an image cannot be written. RuntimeError: if a worker is killed.
    """
    number = min(workers or usable_cores(), max(1, len(exams) // 12))
    yield from run_tasks(write_image, ((folder, parameters, exam) for exam in exams), number)


def write_image(folder: Path, parameters: dict, exam: Exam) -> dict:
    """Write image and masks of one place in the plan; returns its row of findings.csv."""
    from PIL import Image

    seed = parameters["seed"]
    phantom = render(exam.label, seed, parameters["size"], patient=exam.patient, number=exam.number, split=exam.split,
                     source_confounding=parameters["source_confounding"], severity=parameters["severity"])  # fmt: skip
    patient = patient_id(seed, exam)
    name = f"{patient}_{exam.number}.png"
    for place, pixels in ((".", phantom.image), ("masks/lungs", phantom.lungs), ("masks/opacities", phantom.opacities)):
        grey = pixels.astype("uint8") * 255 if pixels.dtype == bool else pixels
        Image.fromarray(grey).save(folder / place / exam.split / name, compress_level=1, compress_type=3)  # 3: run lengths
    values = (name, exam.split, patient, exam.label, phantom.source, phantom.finding, phantom.stratum, phantom.severity,
              round(phantom.extent[0], 4), round(phantom.extent[1], 4), phantom.view.projection, phantom.anatomy.sex,
              phantom.anatomy.age, int(phantom.view.devices))  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def reported(rows: Iterable[dict], total: int, progress: bool) -> Iterator[dict]:
    """Pass rows on and say how far it is: one line that is rewritten on a terminal, a line now and then elsewhere."""
    started = last = time.monotonic()
    live = sys.stderr.isatty()
    for count, row in enumerate(rows, 1):
        yield row
        now = time.monotonic()
        if progress and (now - last > (0.5 if live else 10) or count == total):
            last = now
            left = (now - started) / count * (total - count)
            text = f"phantoms: {count} of {total} images, {left:.0f} s left"
            if count == total:
                text = f"phantoms: {total} images in {now - started:.0f} s"
            end = "\n" if count == total or not live else ""
            print(("\r" if live else "") + text.ljust(60 if live else 0), end=end, file=sys.stderr, flush=True)
