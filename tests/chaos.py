"""A sweep on a real cluster of processes whose parts are killed; used by test_sweep.py and by ``make soak``.

Scheduler, workers and driver are processes of their own, started as a user would start them and ended with SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cxrlib.config import Performance
from cxrlib.records import Record, all_records
from cxrlib.sweep import run_all


class Chaos:
    """A scheduler, two workers and a driver that sweeps ``runs`` tiny runs into ``folder/runs``.

    Attributes:
        seen: record files as they were first seen; a run that is trained twice would change its own.
    """

    def __init__(self, folder: Path, settings: dict, runs: int) -> None:
        self.folder, self.runs = folder, runs
        steps = {"schedule": [1, 30, 40, 50], "eval_every": 25, "checkpoint_every": 5}
        self.settings = settings | steps | {"inits": ["random"], "seeds": list(range(runs)), "threads": 1}
        self.store = folder / "runs"
        self.seen: dict[str, bytes] = {}
        self.parts: dict[str, subprocess.Popen] = {}
        self.restarts = 0

    def __enter__(self) -> Chaos:
        for name in ("scheduler", "worker-0", "worker-1", "driver"):
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts.values():
            part.kill()
            part.wait()

    def start(self, name: str) -> None:
        address = self.folder / "scheduler.json"
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        dask += ["--dashboard-address", "127.0.0.1:0"]
        if name == "scheduler":
            address.unlink(missing_ok=True)
            command = [*dask, "--scheduler-file", str(address)]
        elif name == "driver":
            values = self.settings | {"store": self.store}
            chosen = [f"-p{key}={json.dumps(value, default=str)}" for key, value in values.items()]
            command = [sys.executable, "-m", "cxrlib", "sweep", "--profile", "tiny", "--study", "03_test_performance", "--scheduler", str(address), *chosen]
        else:
            # Without a nanny, so that a killed worker stays away until another is started.
            command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1"]
            command += ["--no-nanny", "--no-dashboard", "--local-directory", str(self.folder), "--death-timeout", "60"]
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            self.parts[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        if name == "scheduler":
            self.wait_for(address.exists, 60)

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

    def in_mid_run(self) -> bool:
        return any(not (path.parent / "record.json").exists() for path in self.store.glob("*/checkpoint.safetensors"))

    def wait_for(self, condition, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            failed = "driver" in self.parts and self.parts["driver"].poll() not in (None, 0)
            if failed or time.monotonic() > end:
                logs = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{'the driver failed' if failed else 'too slow'}, not within {seconds:.0f} s; {self.look()} of {self.runs} runs recorded\n{logs}")
            self.look()
            time.sleep(0.05)

    def finish(self, seconds: float) -> None:
        """Wait for the driver to end well."""
        self.wait_for(lambda: self.parts["driver"].poll() is not None, seconds)
        self.look()
        if self.parts["driver"].returncode:
            raise RuntimeError((self.folder / "driver.log").read_text()[-5000:])

    def faults(self) -> dict[str, int]:
        """How the store differs from that of a sequential sweep in this process: records lost, duplicated, different."""
        whole = run_all(Performance.parse(self.settings | {"store": self.folder / "sequential"}).runs(), workers=1)
        found = {record.key: record for record in all_records(self.store)}
        again = [key for key, content in self.seen.items() if (self.store / key / "record.json").read_bytes() != content]

        def answer(record: Record) -> tuple:
            return record.history, record.predictions, record.weights_sha256

        return {
            "lost": sum(record.key not in found for record in whole),
            "duplicated": len(again) + len(set(found) - {record.key for record in whole}),
            "different": sum(record.key in found and answer(found[record.key]) != answer(record) for record in whole),
        }


def soak(kills: int, runs: int, seed: int) -> dict[str, int]:
    """``kills`` random SIGKILLs while a sweep of ``runs`` runs goes on, then the comparison with a sequential sweep."""
    from conftest import write_folder

    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_folder(folder / "made")
        settings = {"data": data, "cache": folder / "cache", "resize": 36, "crop": 32, "batch_size": 8, "base_lr": 0.02, "device": "cpu"}
        with Chaos(folder, settings | {"arch": "resnetv2_laptop", "image_channels": 1}, runs) as chaos:
            while chaos.restarts < kills:
                # Each kill hits a sweep that is going again: a run was finished since the last one, another is under way.
                before = len(chaos.seen)
                chaos.wait_for(lambda before=before: chaos.look() > before, 300)
                time.sleep(generator.uniform(0, 2))
                victim = generator.choice(["worker-0", "worker-1"] * 3 + ["driver", "driver", "scheduler"])
                print(f"kill {chaos.restarts + 1}/{kills}: {victim}; {chaos.look()}/{runs} runs recorded", flush=True)
                if chaos.parts["driver"].poll() == 0 and len(chaos.seen) == runs:
                    raise SystemExit(f"the sweep ended after {chaos.restarts} kills; give it more --runs")
                chaos.kill(victim)
            chaos.finish(3600)
            return chaos.faults()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=soak.__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = soak(arguments.kills, arguments.runs, arguments.seed)
    print(f"{arguments.kills} kills, {arguments.runs} runs:", ", ".join(f"{count} {what}" for what, count in result.items()))
    sys.exit(any(result.values()))
