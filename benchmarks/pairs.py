"""Timing in pairs and in turns, each side in a fresh process, and the file that the results go to."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import recipes  # noqa: E402

from cxrlib.experiment.record import code_version  # noqa: E402
from cxrlib.files import atomic_write  # noqa: E402
from cxrlib.processes import usable_cores  # noqa: E402

PACKAGES = ("torch", "torchvision", "timm", "pillow", "numpy", "grad-cam")


STANDARD = "torchvision in a DataLoader with 2 workers, eager model"
SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""How long threads that wait keep a core busy before they sleep, if nobody says: GNU's OpenMP as it comes."""


def run(task: str, environment: dict[str, str] | None = None, **arguments) -> dict:
    """The result of a function of ``tasks.py`` or ``recipes.py`` in a process of its own; RuntimeError with the end of what it said if it fails."""
    return result(start(task, environment, **arguments))


def result(process: subprocess.Popen) -> dict:
    out, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args[1:])} failed:\n" + "\n".join(said.splitlines()[-15:]))
    return json.loads(out.splitlines()[-1])


def start(task: str, environment: dict[str, str] | None = None, **arguments) -> subprocess.Popen:
    """A process for a function, whose threads wait as nobody told them here, but as ``environment`` may say."""
    script = Path(__file__).with_name("recipes.py" if hasattr(recipes, task) else "tasks.py")
    command = [sys.executable, str(script), task, json.dumps(arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    environment = kept | {"PYTHONPATH": str(ROOT)} | (environment or {})
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Bench:
    """Collects rows, and writes them after each, so that an interrupted bench has lost nothing but the row under way."""

    def __init__(self, out: Path, quick: bool, only: tuple[str, ...] = ()) -> None:
        """``only``: names of pairs to measure again; everything else in ``out`` stays as it is."""
        self.out, self.quick, self.only = out, quick, only
        self.repeats = 1 if quick else 3
        self.result: dict = {
            "made": datetime.date.today().isoformat(),
            "quick": quick,
            "machine": machine(),
            "versions": {"cxrlib": code_version(), "python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
            "repeats": self.repeats,
            "rows": [],
            "ideas": [],
            "scale": [],
            "memory": [],
            "peers": [],
            "waiting": [],
        }
        if only:
            self.result |= json.loads(out.read_text())

    def wanted(self, name: str) -> bool:
        return not self.only or name in self.only

    def add(self, table: str, row: dict) -> None:
        rows = self.result[table]
        places = [place for place, old in enumerate(rows) if old["name"] == row["name"]] if self.only else []
        if places:
            rows[places[0]] = row
        else:
            rows.append(row)
        atomic_write(self.out, json.dumps(self.result, indent=1) + "\n")
        ratio = f"  {row['ratio']['median']:.2f}{f' of {target}' if (target := row.get('target')) else ''}" if row.get("ratio") else ""
        print(f"{table}: {row['name']}{ratio}", flush=True)

    def pair(
        self, name: str, target: float, what: str, against: str, ours: Callable[[int], dict], theirs: Callable[[int], dict], repeats: int = 3, **more
    ) -> None:
        """Time both sides in turns and add a row; ``images`` (or ``runs``) over ``seconds`` is what is compared."""
        if not self.wanted(name):
            return
        results: tuple[list[dict], list[dict]] = ([], [])
        for repeat in range(min(repeats, self.repeats)):
            for side in (0, 1) if repeat % 2 else (1, 0):
                results[side].append((ours, theirs)[side](repeat))
        if "loss" in results[0][0]:
            more["loss"] = {"ours": spread([r["loss"] for r in results[0]]), "theirs": spread([r["loss"] for r in results[1]])}
        ours_, theirs_ = ([r.get("images", r.get("runs", 1)) / r["seconds"] for r in side] for side in results)
        self.compare(name, target, what, against, ours_, theirs_, **more)

    def compare(self, name: str, target: float, what: str, against: str, ours: list[float], theirs: list[float], unit: str = "images/s", **more) -> None:
        """Add a row about rates that were measured in turns."""
        row = {"name": name, "what": what, "against": against, "unit": unit, "target": target, "cxrlib": code_version()}
        row |= {"ours": spread(ours), "theirs": spread(theirs), "ratio": spread([a / b for a, b in zip(ours, theirs)])}
        self.add("rows", row | more)

    def training(self, name: str, target: float, folder: Path, cache: Path, label: str, repeats: int = 3, **settings) -> None:
        def ours(repeat: int) -> dict:
            shutil.rmtree(cache, ignore_errors=True)
            return run("our_training", folder=str(folder), cache=str(cache), seed=repeat, **settings)

        self.pair(
            name, target, f"training from image files, {label}", STANDARD,
            ours, lambda repeat: run("standard_training", folder=str(folder), seed=repeat, **settings), repeats, steps=settings["steps"],
        )  # fmt: skip


def machine() -> dict:
    """Cores, processor and memory; nothing that names the machine."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), None)
    return {"processor": model, "cores": usable_cores(), "memory_gib": memory and round(memory, 1), "system": platform.system()}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
