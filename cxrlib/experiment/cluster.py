"""The Dask cluster of a sweep: processes of this machine, or a scheduler that was started elsewhere."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrlib.processes import main_hidden, usable_cores

TOPIC = "cxr-steps"


@contextmanager
def connect(scheduler: str | None, workers: int) -> Iterator[tuple[Any, int | None]]:
    """A Dask client, and the threads of each run: those of a foreign worker are the business of who started it."""
    import dask
    from distributed import Client

    if scheduler is not None:
        try:
            client = Client(timeout=30, **({"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}))
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no Dask scheduler answers at {scheduler} ({type(error).__name__}); start one with: dask scheduler") from None
        with client:
            yield client, None
        return
    with dask.config.set({"distributed.scheduler.allowed-failures": 5, "distributed.worker.daemon": True}):
        with main_hidden():
            cluster = _local_cluster(workers)
        with cluster, Client(cluster) as client:
            yield client, max(1, usable_cores() // workers)


def _local_cluster(workers: int):
    """One process per run on this machine; where there are GPUs each process sees one of them."""
    from distributed import Nanny, Scheduler, SpecCluster

    def options(number: int) -> dict[str, Any]:
        device = {"env": {"CUDA_VISIBLE_DEVICES": _visible(number)}, "resources": {"GPU": 1}} if gpus() else {}
        return {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False, "silence_logs": 50} | device

    specification = {number: {"cls": Nanny, "options": options(number)} for number in range(workers)}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    return SpecCluster(workers=specification, scheduler=scheduler, silence_logs=50)


def gpus() -> int:
    """CUDA devices, counted without starting CUDA in this process."""
    import torch

    return torch.cuda.device_count()


def _visible(number: int) -> str:
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[number % len(names)] if names else str(number % max(1, gpus()))


def reporter(key: str, report_every: float) -> Callable[[int], None]:
    """What a run on a Dask worker calls after each step: tells the scheduler the first one, then one every few seconds.

    It ends the run if the task was cancelled: the driver was stopped or died. For that Dask has an exception which also
    does right if another driver wants the run again at this very moment.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    task = worker.get_current_task()
    last = -math.inf

    def report(step: int) -> None:
        nonlocal last
        state = worker.state.tasks.get(task)
        if state is None or state.state == "cancelled":
            raise Reschedule
        if time.monotonic() - last >= report_every:
            last = time.monotonic()
            worker.log_event(TOPIC, {"key": key, "step": step})

    return report
