"""Many runs on a Dask cluster: processes of this machine by default, any cluster that `dask worker` can join.

What a run needs is in its config, and what it leaves is in the store, so a worker, the driver or the whole cluster may
be killed at any time: the same call goes on with what is missing. See the book's page on large sweeps.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrlib.checksums import WeightsError
from cxrlib.config import RunConfig
from cxrlib.experiment import describe, image_sets, key_of, open_dataset, run
from cxrlib.processes import main_hidden, usable_cores
from cxrlib.records import Record, load, save_without_weights

TOPIC = "cxr-steps"
REPORT_EVERY = 5.0  # seconds between messages of a worker about its step
SHOW_EVERY = 30.0  # seconds between lines about a sweep in which no run ended


class RunsFailedError(RuntimeError):
    """Some runs of a sweep failed; the message lists each with its reason."""


def run_all(
    configs: list[RunConfig], workers: int | None = None, scheduler: str | None = None, gpu: bool | None = None, weights: bool = False
) -> list[Record]:
    """Run what is not recorded yet and return all records in the order of ``configs``.

    Prints to stderr a line per finished run with the share done and the time left, and the traceback of a failed one,
    which does not stop the others. Interrupted (Ctrl-C) or killed, the same call goes on.

    Args:
        configs: runs; one that occurs twice is run once.
        workers: processes on this machine, one run each; by default one per GPU, or one per core. With 1 the runs take
            place in this process.
        scheduler: a Dask scheduler whose workers take the runs: its address, such as 'tcp://node1:8786', or its file.
        gpu: take only workers that declare the resource GPU, one run for each GPU; by default if there are any.
        weights: also run again what is recorded without its weights, or with damaged ones.

    Raises:
        RunsFailedError: after the last run, listing what failed and why, also for lack of initial weights.
        ConnectionError: if no scheduler answers at the address.
    """
    found, refused = _keys(configs)
    tasks = _Tasks(dict(found), weights)
    print(f"{len(tasks.configs)} runs: {len(tasks.records)} recorded, {len(tasks.missing)} to do", file=sys.stderr, flush=True)
    workers = min(workers or _gpus() or usable_cores(), len(tasks.missing))
    try:
        if tasks.missing and scheduler is None and workers == 1:
            for key, config in tasks.missing.items():
                tasks.finish(key, functools.partial(run_one, config, key, usable_cores(), weights, len(tasks.missing) == 1))
        elif tasks.missing:
            _fill_caches(tasks.missing.values())
            with _client(scheduler, workers) as (client, threads):
                _submit(client, tasks, threads, gpu)
    except BaseException:
        done = sum(key in tasks.records for key in tasks.missing)
        print(f"stopped after {done} of {len(tasks.missing)} runs; the same command goes on", file=sys.stderr, flush=True)
        raise
    failures = [*tasks.failures.values(), *refused]
    if failures:
        raise RunsFailedError(f"{len(failures)} of {len(tasks.missing) + len(refused)} runs failed:\n" + "\n".join(failures))
    return [tasks.records[key] for key, _ in found]


def _keys(configs: list[RunConfig]) -> tuple[list[tuple[str, RunConfig]], list[str]]:
    """Keys with their configs, and why some have none: initial weights that are not here, or do not fit."""
    found, refused = [], {}
    for config in configs:
        try:
            found.append((key_of(config), config))
        except WeightsError as error:
            refused[describe(config)] = f"{describe(config)}: {error}"
    return found, list(refused.values())


def _fill_caches(configs: Iterable[RunConfig]) -> None:
    """Resize all images once, before workers ask for them side by side."""
    for config in configs:
        try:
            image_sets(config, open_dataset(config))
        except ValueError:
            pass  # such as too few images for its training set: the run itself will say so


def run_one(config: RunConfig, key: str, threads: int | None, weights: bool = False, progress: bool = False) -> Record:
    """One run in this process; ``threads`` None leaves torch as it was started.

    Raises:
        RuntimeError: if data, weights or code here differ from those where ``key`` was made.
    """
    import torch

    if threads:
        torch.set_num_threads(config.threads or threads)
    here = key_of(config)
    if here != key:
        raise RuntimeError(f"this worker would compute run {here}, not {key}: its data, weights or version of cxrlib differ from the driver's")
    return run(config, progress, weights, on_step=_reporter(key))


def _remote(config: dict[str, Any], key: str, threads: int | None, weights: bool) -> str:
    """A run on a worker, from and to plain values, so that versions of pydantic may differ."""
    return run_one(RunConfig.parse(config), key, threads, weights).model_dump_json()


def _reporter(key: str) -> Callable[[int], None] | None:
    """Tells the scheduler the step of a run every few seconds; None outside a Dask worker."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return None
    last = [time.monotonic()]

    def report(step: int) -> None:
        if time.monotonic() - last[0] > REPORT_EVERY:
            last[0] = time.monotonic()
            worker.log_event(TOPIC, {"key": key, "step": step})

    return report


class _Tasks:
    """The runs of a sweep: recorded, missing, failed, and how far each one is."""

    def __init__(self, configs: dict[str, RunConfig], weights: bool) -> None:
        self.configs, self.weights = configs, weights
        self.records = {key: record for key, config in configs.items() if (record := load(config.store, key, weights)) is not None}
        missing = {key: config for key, config in configs.items() if key not in self.records}
        self.cost = {key: config.schedule[-1] * config.batch_size * config.crop**2 for key, config in missing.items()}
        # Long runs first, so that no worker is left with one at the end.
        self.missing = {key: missing[key] for key in sorted(missing, key=lambda key: -self.cost[key])}
        self.failures: dict[str, str] = {}
        self.steps: dict[str, int] = {}
        self.started = self.shown = time.monotonic()

    def finish(self, key: str, outcome: Callable[[], Record]) -> None:
        """Take the record that ``outcome`` returns, or note the error that it raises."""
        config = self.missing[key]
        try:
            self.records[key] = record = outcome()
            note = f"accuracy {record.history[-1]['test_accuracy']:.3f}"
        except Exception as error:
            self.failures[key] = f"{describe(config)}: {type(error).__name__}: {error}"
            note = "FAILED\n" + "".join(traceback.format_exception(error)).rstrip()
        self.steps[key] = config.schedule[-1]
        done = sum(key in self.records or key in self.failures for key in self.missing)
        self.show(f"run {done}/{len(self.missing)}  {describe(config)}: {note}")

    def show(self, text: str) -> None:
        self.shown = time.monotonic()
        seconds = self.shown - self.started
        share = sum(self.cost[key] * step / self.missing[key].schedule[-1] for key, step in self.steps.items()) / sum(self.cost.values())
        left = f", {duration(seconds / share - seconds)} left" if share else ""
        print(f"{text}  ({100 * share:.0f} % of the work, {duration(seconds)}{left})", file=sys.stderr, flush=True)


def _submit(client, tasks: _Tasks, threads: int | None, gpu: bool | None) -> None:
    from distributed import as_completed

    if gpu is None:
        gpu = any("GPU" in worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    client.subscribe_topic(TOPIC, lambda event: tasks.steps.update({event[1]["key"]: event[1]["step"]} if event[1]["key"] in tasks.missing else {}))
    ended = threading.Event()
    threading.Thread(target=_heartbeat, args=(tasks, ended), daemon=True).start()
    futures = {}
    for rank, (key, config) in enumerate(tasks.missing.items()):
        future = client.submit(
            _remote, config.model_dump(mode="json"), key, threads, tasks.weights,
            key=f"cxr-{key}", priority=-rank, resources={"GPU": 1} if gpu else None, pure=True,
        )  # fmt: skip
        futures[future] = key
    try:
        for future in as_completed(futures):
            tasks.finish(futures[future], lambda future=future: _record(future, tasks.missing[futures[future]]))
            future.release()
    except BaseException:
        client.cancel(list(futures))
        raise
    finally:
        ended.set()


def _record(future, config: RunConfig) -> Record:
    """The record a worker returned; kept here too if the worker's store is another."""
    record = Record.model_validate_json(future.result())
    if load(config.store, record.key) is None:
        save_without_weights(record, config.store)
    return record


def _heartbeat(tasks: _Tasks, ended: threading.Event) -> None:
    while not ended.wait(1):
        if time.monotonic() - tasks.shown > SHOW_EVERY:
            tasks.show(f"{sum(1 for key in tasks.steps if key not in tasks.records and key not in tasks.failures)} runs under way")


@contextmanager
def _client(scheduler: str | None, workers: int) -> Iterator[tuple[Any, int | None]]:
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
        device = {"env": {"CUDA_VISIBLE_DEVICES": _visible(number)}, "resources": {"GPU": 1}} if _gpus() else {}
        return {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard": False, "silence_logs": 50} | device

    specification = {number: {"cls": Nanny, "options": options(number)} for number in range(workers)}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    return SpecCluster(workers=specification, scheduler=scheduler, silence_logs=50)


def _gpus() -> int:
    """CUDA devices, counted without starting CUDA in this process."""
    import torch

    return torch.cuda.device_count()


def _visible(number: int) -> str:
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return names[number % len(names)] if names else str(number % max(1, _gpus()))


def duration(seconds: float) -> str:
    """Seconds as people say them: '40 s', '12 min', '3 h 20 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
