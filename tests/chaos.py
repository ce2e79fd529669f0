"""A sweep on a real cluster of processes whose parts are killed; used by test_sweep.py and by ``make soak``.

Scheduler, workers and driver are processes of their own, started as a user would start them and ended with SIGKILL. With
``--full-disk`` the store lies on a small disk of its own (a tmpfs, which only root can mount) that is full part of the time.
The result goes to a JSON file that the page on large sweeps draws.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from cxrlib.experiment.record import Record, all_records, code_version
from cxrlib.experiment.sweep import run_all
from cxrlib.study.parameters import Performance

PARTS = ("scheduler", "worker-0", "worker-1", "driver")


MEGABYTES_A_RUN = 4  # of a record, its weights and a checkpoint, with room to spare


class Chaos:
    """A scheduler, two workers and a driver that sweeps ``runs`` tiny runs into ``folder/runs``.

    Args:
        settings: of the runs; what it does not name is chosen here.
        parts: what to start, in this order. ``gpu-N`` is a worker that declares the resource GPU, ``worker-N`` one that
            does not.
        environment: variables for all parts.

    Attributes:
        seen: record files as they were first seen; a run that is trained twice would change its own.
    """

    def __init__(self, folder: Path, settings: dict, runs: int, parts: tuple[str, ...] = PARTS, environment: dict[str, str] | None = None) -> None:
        self.folder, self.runs, self.names = folder, runs, parts
        self.environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | (environment or {})
        steps = {"schedule": [1, 30, 40, 50], "eval_every": 25, "checkpoint_every": 5}
        self.settings = steps | settings | {"inits": ["random"], "seeds": list(range(runs)), "threads": 1}
        self.store = folder / "runs"
        self.address = folder / "scheduler.json"
        self.seen: dict[str, bytes] = {}
        self.parts: dict[str, subprocess.Popen] = {}
        self.restarts = 0
        self.forgiving = False  # whether a driver that ends with an error is started again: the disk may be full
        self.driver_failures = 0

    def __enter__(self) -> Chaos:
        for name in self.names:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts.values():
            part.kill()
            part.wait()

    def start(self, name: str) -> None:
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        dask += ["--dashboard-address", "127.0.0.1:0"]
        if name == "scheduler":
            self.address.unlink(missing_ok=True)
            command = [*dask, "--scheduler-file", str(self.address)]
        elif name == "driver":
            values = self.settings | {"store": self.store}
            chosen = [f"-p{key}={json.dumps(value, default=str)}" for key, value in values.items()]
            command = [sys.executable, "-m", "cxrlib", "sweep", "--profile", "tiny", "--study", "03_test_performance", "--scheduler", str(self.address), *chosen]
        else:
            # Without a nanny, so that a killed worker stays away until another is started. Two threads of a worker with the
            # resource GPU would take two runs at once, but for the resource.
            kind = ["--nthreads", "2", "--resources", "GPU=1"] if name.startswith("gpu") else ["--nthreads", "1"]
            command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(self.address), *kind]
            command += ["--no-nanny", "--no-dashboard", "--local-directory", str(self.folder), "--death-timeout", "60"]
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self.parts[name] = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)
        if name == "scheduler":
            self.wait_for(self.address.exists, 60)

    def kill(self, name: str) -> None:
        """End a part without warning and start another in its place."""
        self.parts[name].send_signal(signal.SIGKILL)
        self.parts[name].wait()
        self.start(name)
        self.restarts += 1
        if name == "scheduler":  # what was connected to it has nothing to do any more
            for other in ("worker-0", "worker-1", "driver"):
                self.parts[other].kill()
                self.parts[other].wait()
                self.start(other)

    def look(self) -> int:
        """Remember every record as it is now, and return how many there are."""
        for path in self.store.glob("*/record.json"):
            self.seen.setdefault(path.parent.name, path.read_bytes())
        return len(self.seen)

    def runs_of(self, name: str) -> list[str]:
        """Keys of the runs that a worker holds the lock of."""
        files = psutil.Process(self.parts[name].pid).open_files()
        return [Path(file.path).name[1:-5] for file in files if file.path.endswith(".lock") and Path(file.path).parent == self.store]

    def in_mid_run(self, name: str | None = None) -> bool:
        """Whether a worker, or any, has a run of which there is a checkpoint and no record."""
        workers = [name] if name else [part for part in self.parts if part.startswith(("worker", "gpu"))]
        begun = {path.parent.name for path in self.store.glob("*/checkpoint.safetensors") if not (path.parent / "record.json").exists()}
        return any(begun.intersection(self.runs_of(worker)) for worker in workers)

    def wait_for(self, condition, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            failed = "driver" in self.parts and self.parts["driver"].poll() not in (None, 0)
            if failed and self.forgiving:
                self.driver_failures += 1
                time.sleep(2)
                self.start("driver")
                continue
            if failed or time.monotonic() > end:
                logs = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{'the driver failed' if failed else 'too slow'}, not within {seconds:.0f} s; {self.look()} of {self.runs} runs recorded\n{logs}")
            self.look()
            time.sleep(0.05)

    def finish(self, seconds: float) -> None:
        """Wait for the driver to end well."""
        self.wait_for(lambda: self.parts["driver"].poll() == 0 if self.forgiving else self.parts["driver"].poll() is not None, seconds)
        self.look()
        if self.parts["driver"].returncode:
            raise RuntimeError((self.folder / "driver.log").read_text()[-5000:])

    def wait_for_another(self, seconds: float) -> bool:
        """Wait until one more run is recorded; False if the driver ended first."""
        before = len(self.seen)
        self.wait_for(lambda: self.look() > before or self.parts["driver"].poll() is not None, seconds)
        return self.parts["driver"].poll() is None

    def faults(self) -> dict[str, int]:
        """How the store differs from that of a sequential sweep in this process: records lost, duplicated, different."""
        whole = run_all(Performance.parse(self.settings | {"store": self.folder / "sequential"}).runs(), workers=1)
        found = {record.key: record for record in all_records(self.store)}
        files = {key: self.store / key / "record.json" for key in self.seen}
        again = [key for key, content in self.seen.items() if files[key].exists() and files[key].read_bytes() != content]

        def answer(record: Record) -> tuple:
            return record.history, record.predictions, record.weights_sha256

        return {
            "lost": sum(record.key not in found for record in whole),
            "duplicated": len(again) + len(set(found) - {record.key for record in whole}),
            "different": sum(record.key in found and answer(found[record.key]) != answer(record) for record in whole),
        }


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int):
    """A disk of that size at ``folder``.

    Raises:
        SystemExit: if this user may not mount one.
    """
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"--full-disk needs a disk of its own, and none can be mounted ({done.stderr.strip()}); run it as root, or leave it out")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, seconds: float) -> None:
    """Leave not a byte of a disk free for a while."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        time.sleep(seconds)
    finally:
        filler.unlink()


def soak(kills: int, runs: int, seed: int, full_disk: bool = False) -> dict[str, int]:
    """``kills`` random SIGKILLs while a sweep of ``runs`` runs goes on, then the comparison with a sequential sweep.

    Args:
        full_disk: fill the disk of the store for some seconds at every fourth kill or so.

    Returns:
        What :meth:`Chaos.faults` finds; and with ``full_disk`` how often the disk was filled and how often the driver ended
        for it and was started again.
    """
    from common import write_folder

    generator = random.Random(seed)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if full_disk:
            stack.enter_context(small_disk(folder / "runs", MEGABYTES_A_RUN * runs))
        filled = 0
        data = write_folder(folder / "made")
        settings = {"data": data, "cache": folder / "cache", "resize": 36, "crop": 32, "batch_size": 8, "base_lr": 0.02, "device": "cpu"}
        with Chaos(folder, settings | {"arch": "resnetv2_laptop", "image_channels": 1}, runs) as chaos:
            chaos.forgiving = full_disk
            while chaos.restarts < kills:
                if full_disk and generator.random() < 0.25:
                    filled += 1
                    print(f"the disk is full, for the {filled}. time", flush=True)
                    fill(folder / "runs", generator.uniform(2, 6))
                # Each kill hits a sweep that is going again: a run was finished since the last one, another is under way.
                chaos.wait_for_another(1200)
                time.sleep(generator.uniform(0, 2))
                victim = generator.choice(["worker-0", "worker-1"] * 3 + ["driver", "driver", "scheduler"])
                print(f"kill {chaos.restarts + 1}/{kills}: {victim}; {chaos.look()}/{runs} runs recorded", flush=True)
                if chaos.parts["driver"].poll() == 0:
                    raise SystemExit(f"the sweep ended after {chaos.restarts} kills; give it more --runs")
                chaos.kill(victim)
            chaos.finish(3600)
            found = chaos.faults()
            return found | ({"disk_filled": filled, "driver_restarted": chaos.driver_failures} if full_disk else {})


def written(result: dict, path: Path) -> None:
    """Put the result of a soak into the file of all of them, by whether the disk was full."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[result["kind"]] = result
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=soak.__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-disk", action="store_true", help="fill the disk of the store part of the time; needs root")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    began = time.monotonic()
    result = soak(arguments.kills, arguments.runs, arguments.seed, arguments.full_disk)
    print(f"{arguments.kills} kills, {arguments.runs} runs:", ", ".join(f"{count} {what}" for what, count in result.items()))
    if arguments.out:
        about = {"kind": "full disk" if arguments.full_disk else "kills", "kills": arguments.kills, "runs": arguments.runs, "seed": arguments.seed}
        about |= {"minutes": round((time.monotonic() - began) / 60, 1), "code_version": code_version(), "made": time.strftime("%Y-%m-%d"), "system": platform.system()}
        written(about | {"found": result}, arguments.out)
    sys.exit(any(result[name] for name in ("lost", "duplicated", "different")))
