"""The Dask cluster of a sweep: processes of this machine, or a scheduler that was started elsewhere."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrlib.processes import main_hidden

TOPIC = "cxr-steps"
PATIENCE = 30.0  # seconds in which a scheduler must answer


@contextmanager
def connect(scheduler: str | None, workers: int) -> Iterator[Any]:
    """A Dask client of the scheduler at an address or of a file, or of ``workers`` processes on this machine.

    Raises:
        ConnectionError: if no scheduler answers.
    """
    import dask
    from distributed import Client

    if scheduler is not None:
        known, address = {"address": scheduler}, scheduler
        if os.path.lexists(scheduler):
            known, address = {"scheduler_file": scheduler}, check_scheduler_file(Path(scheduler))
        reason = _no_answer(address)
        if not reason:
            try:
                client = Client(timeout=PATIENCE, **known)
            except Exception as error:  # whatever a wrong address, another server, or TLS without a key makes of it
                reason = _in_words(error)
        if reason:
            raise ConnectionError(f"no Dask scheduler answers at {scheduler} ({reason}); start one with: dask scheduler")
        with client:
            yield client
        return
    with dask.config.set({"distributed.scheduler.allowed-failures": 5, "distributed.worker.daemon": True}):
        with main_hidden():
            cluster = _local_cluster(workers)
        with cluster, Client(cluster, security=cluster.security) as client:
            yield client


def _no_answer(address: str) -> str:
    """Empty if a scheduler answers at an address, else why not.

    Asked before a client is made: a client waits for ever for a server of something else that is silent, and one that could
    not connect may be ended by Python while another is starting, where both wait for one lock of distributed.
    """
    from distributed.comm import connect as reach
    from distributed.security import Security

    found: list[str] = []

    async def greet() -> None:
        greeting = reach(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        (await asyncio.wait_for(greeting, PATIENCE)).abort()

    def ask() -> None:
        try:
            asyncio.run(greet())
            found.append("")
        except Exception as error:
            found.append(_in_words(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE + 2)
    return found[0] if found else "silence"


def _in_words(error: Exception) -> str:
    """The first line of what an error says, such as 'missing port number in address'; its kind if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def check_scheduler_file(file: Path) -> str:
    """The address in a file that ``dask scheduler --scheduler-file`` wrote; raise if it is no such file, or not yet.

    Raises:
        ValueError: naming the file.
    """
    try:
        content = json.loads(file.read_bytes())
        address = content["address"]
        if not isinstance(address, str) or "://" not in address:
            raise ValueError(f"its address is {address!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        way_out = "start 'dask scheduler --scheduler-file FILE', wait until it is written, and give FILE"
        raise ValueError(f"{file} is no scheduler file, or half of one ({error}); {way_out}") from None
    return address


def _local_cluster(workers: int):
    """One process per run on this machine; where there are GPUs each process sees one of them.

    A scheduler runs whatever it is sent, and its port is open to every user of the machine. So this one speaks TLS only,
    with a key that is made for this cluster, stays in the memory of its processes, and is asked of whoever connects.
    """
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    security = Security.temporary()
    private: dict[str, Any] = {"security": security, "protocol": "tls://"}

    def options(number: int) -> dict[str, Any]:
        device = {"env": {"CUDA_VISIBLE_DEVICES": _visible(number)}, "resources": {"GPU": 1}} if gpus() else {}
        return {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False, "silence_logs": 50} | private | device

    specification = {number: {"cls": Nanny, "options": options(number)} for number in range(workers)}
    options_of_scheduler = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"} | private
    return SpecCluster(workers=specification, scheduler={"cls": Scheduler, "options": options_of_scheduler}, security=security, silence_logs=50)


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
