"""Makes the images of a phantom set in several processes and says how far it is."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cxrlib.processes import usable_cores

from .phantom_render import Exam, patient_id, render

COLUMNS = ("file", "split", "patient_id", "label", "source", "finding", "stratum", "severity", "extent_right",
           "extent_left", "projection", "sex", "age", "devices")  # fmt: skip


def produce(folder: Path, parameters: dict, exams: list[Exam], workers: int | None) -> Iterator[dict]:
    """Yield one row a finished image. Workers are plain interpreters fed through a pipe: safe in notebooks and scripts
    without a main guard, whatever threads the parent holds."""
    number = min(workers or usable_cores(), max(1, len(exams) // 12))
    if number == 1:
        for exam in exams:
            yield write_image(folder, parameters, exam)
        return
    single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")}
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-c", "from cxrlib.phantom_workers import work; work()"]
    done: queue.Queue = queue.Queue()
    processes, errors = [], []
    try:
        for first in range(number):
            errors.append(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors[-1],
                                       env={**os.environ, **single, "PYTHONPATH": path})  # fmt: skip
            processes.append(process)
            job = {"folder": str(folder), "parameters": parameters, "exams": [vars(exam) for exam in exams[first::number]]}
            threading.Thread(target=_converse, args=(process, json.dumps(job).encode(), first, done), daemon=True).start()
        running = number
        while running:
            row, first = done.get()
            if row is not None:
                yield row
                continue
            running -= 1
            if processes[first].wait():
                errors[first].seek(0)
                text = errors[first].read().decode(errors="replace").strip()
                raise RuntimeError(f"a phantom worker failed (exit status {processes[first].returncode}):\n{text[-2000:]}")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for file in errors:
            file.close()


def _converse(process: subprocess.Popen, job: bytes, first: int, done: queue.Queue) -> None:
    try:
        process.stdin.write(job)
        process.stdin.close()
        for line in process.stdout:
            done.put((json.loads(line), first))
    except (OSError, ValueError):
        pass  # the worker died; its exit status and stderr tell why
    finally:
        done.put((None, first))


def work() -> None:
    """Main function of a worker process."""
    job = json.load(sys.stdin)
    for exam in job["exams"]:
        row = write_image(Path(job["folder"]), job["parameters"], Exam(**exam))
        print(json.dumps(row), flush=True)


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
