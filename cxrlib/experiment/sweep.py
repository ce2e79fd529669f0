"""Many runs on a Dask cluster: processes of this machine by default, any cluster that `dask worker` can join.

What a run needs is in its config, and what it leaves is in the store, so a worker, the driver or the whole cluster may
be killed at any time: the same call goes on with what is missing. See the book's page on large sweeps.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from cxrlib.config import RunConfig
from cxrlib.experiment.cluster import TOPIC, connect, gpus, reporter
from cxrlib.experiment.one_run import describe, image_sets, key_of, open_dataset, resolve, run
from cxrlib.experiment.record import Record, load, recorded, save_without_weights
from cxrlib.processes import usable_cores
from cxrlib.weights.source import WeightsError

REPORT_EVERY = 5.0  # seconds between messages of a worker about its step
SHOW_EVERY = 30.0  # seconds between lines about a sweep in which no run ended


class RunsFailedError(RuntimeError):
    """Some runs of a sweep failed; the message lists each with its reason."""


def run_all(
    configs: list[RunConfig], workers: int | None = None, scheduler: str | None = None, gpu: bool | None = None, weights: bool = False
) -> list[Record]:
    """Run what is not recorded yet and return all records in the order of ``configs``.

    Prints to stderr a line per finished run with the share done and the time left, and the traceback of a failed one,
    which does not stop the others; every half minute a line too while no run ends. Interrupted (Ctrl-C) or killed, the
    same call goes on, and a cluster's workers end the runs that nobody waits for any more at their next step.

    Args:
        configs: runs; one that occurs twice is run once.
        workers: processes on this machine, one run each; by default one per GPU, or one per core. With 1 the runs take
            place in this process. Each run has its share of the cores as threads: of ``workers``, or of all runs of the
            sweep if they are fewer, however many of them are still missing.
        scheduler: a Dask scheduler whose workers take the runs: its address, such as 'tcp://node1:8786', or its file.
        gpu: take only workers that declare the resource GPU, one run for each GPU; by default if there are any.
        weights: also run again what is recorded without its weights, or with damaged ones.

    Raises:
        RunsFailedError: after the last run, listing what failed and why, also for lack of initial weights.
        ConnectionError: if no scheduler answers at the address, or it is gone in mid-sweep.
    """
    found, records, refused = _looked_up(configs, weights)
    tasks = _Tasks(dict(found), records, weights)
    print(f"{len(tasks.configs)} runs: {len(tasks.records)} recorded, {len(tasks.missing)} to do", file=sys.stderr, flush=True)
    # The threads of a run follow from the whole plan, so that a sweep that was stopped ends as it would have ended: sums
    # over other numbers of threads differ in their last digits.
    planned = min(workers or gpus() or usable_cores(), max(1, len(tasks.configs)))
    threads = max(1, usable_cores() // planned)
    workers = min(planned, len(tasks.missing))
    try:
        if tasks.missing and scheduler is None and workers == 1:
            with nullcontext() if len(tasks.missing) == 1 else _heartbeat(tasks):  # a single run has a bar of its own
                for key, config in tasks.missing.items():
                    on_step = functools.partial(tasks.reached, key)
                    tasks.finish(key, functools.partial(run_one, config, key, threads, weights, len(tasks.missing) == 1, on_step))
        elif tasks.missing:
            _fill_caches(tasks.missing.values())
            with connect(scheduler, workers) as client, _heartbeat(tasks):
                # Those of a foreign worker are the business of who started it.
                _submit(client, tasks, threads if scheduler is None else None, gpu)
    except BaseException:
        done = sum(key in tasks.records for key in tasks.missing)
        print(f"stopped after {done} of {len(tasks.missing)} runs; the same command goes on", file=sys.stderr, flush=True)
        raise
    failures = [*tasks.failures.values(), *refused]
    if failures:
        raise RunsFailedError(f"{len(failures)} of {len(tasks.missing) + len(refused)} runs failed:\n" + "\n".join(failures))
    return [tasks.records[key] for key, _ in found]


def _looked_up(configs: list[RunConfig], weights: bool) -> tuple[list[tuple[str, RunConfig]], dict[str, Record], list[str]]:
    """Keys with their configs, the records that are there, and why some runs have no key: weights that are not here, or do not fit."""
    found, records, refused = [], {}, {}
    for config in configs:
        try:
            resolved = resolve(config)
        except WeightsError as error:
            refused[describe(config)] = f"{describe(config)}: {error}"
            continue
        found.append((resolved.key, config))
        if resolved.key not in records and (record := recorded(config.store, resolved.key, resolved.initialisation, weights)):
            records[resolved.key] = record
    return found, records, list(refused.values())


def _fill_caches(configs: Iterable[RunConfig]) -> None:
    """Resize all images once, before workers ask for them side by side."""
    for config in configs:
        try:
            image_sets(config, open_dataset(config))
        except ValueError:
            pass  # such as too few images for its training set: the run itself will say so


def run_one(
    config: RunConfig,
    key: str,
    threads: int | None,
    weights: bool = False,
    progress: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Record:
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
    return run(config, progress, weights, on_step=on_step)


def _remote(config: dict[str, Any], key: str, threads: int | None, weights: bool, report_every: float) -> str:
    """A run on a worker, from and to plain values, so that versions of pydantic may differ."""
    return run_one(RunConfig.parse(config), key, threads, weights, on_step=reporter(key, report_every)).model_dump_json()


class _Tasks:
    """The runs of a sweep: recorded, missing, failed, and how far each one is."""

    def __init__(self, configs: dict[str, RunConfig], records: dict[str, Record], weights: bool) -> None:
        self.configs, self.records, self.weights = configs, records, weights
        missing = {key: config for key, config in configs.items() if key not in self.records}
        self.cost = {key: config.schedule[-1] * config.batch_size * config.crop**2 for key, config in missing.items()}
        # Long runs first, so that no worker is left with one at the end.
        self.missing = {key: missing[key] for key in sorted(missing, key=lambda key: -self.cost[key])}
        self.failures: dict[str, str] = {}
        self.steps: dict[str, int] = {}  # that a run told last
        self.begun: dict[str, int] = {}  # of the checkpoint that it went on from
        self.given_up: dict[str, list[int]] = {key: [] for key in self.missing}  # told when its workers had died too often
        self.started = self.shown = time.monotonic()

    def reached(self, key: str, step: int) -> None:
        """Note the step that a run tells, from whatever thread; the first one follows its checkpoint."""
        if key in self.missing:
            self.begun[key] = min(self.begun.get(key, step), step - 1)
            self.steps[key] = step

    def finish(self, key: str, outcome: Callable[[], Record]) -> None:
        """Take the record that ``outcome`` returns, or note the error that it raises."""
        config = self.missing[key]
        try:
            self.records[key] = record = outcome()
            note = f"accuracy {record.history[-1]['test_accuracy']:.3f}"
        except Exception as error:
            self.failures[key] = f"{describe(config)}: {type(error).__name__}: {error}"
            note = "FAILED\n" + "".join(traceback.format_exception(error)).rstrip()
        done = sum(key in self.records or key in self.failures for key in self.missing)
        self.show(f"run {done}/{len(self.missing)}  {describe(config)}: {note}")

    def advanced(self, key: str) -> bool:
        """Whether a run that the scheduler gave up got further since it was last given up."""
        step = self.steps.get(key, 0)
        advanced = step > max(self.given_up[key], default=-1)
        self.given_up[key].append(step)
        return advanced

    def under_way(self) -> int:
        """How many runs have told a step and are neither recorded nor failed."""
        return sum(key not in self.records and key not in self.failures for key in self.steps.copy())

    def work(self) -> tuple[float, float, float]:
        """All that is to be recorded, what of it is done, and what this call computed: not what lay in checkpoints."""
        steps, begun = self.steps.copy(), self.begun.copy()  # another thread goes on filling them
        ends = {key: config.schedule[-1] for key, config in self.missing.items()}
        steps |= {key: end for key, end in ends.items() if key in self.records}
        wanted = [key for key in self.missing if key not in self.failures]
        share = {key: self.cost[key] / ends[key] for key in self.missing}
        done = sum(share[key] * steps.get(key, 0) for key in wanted)
        computed = sum(share[key] * (steps.get(key, first) - first) for key, first in begun.items())
        return sum(self.cost[key] for key in wanted), done, computed

    def show(self, text: str) -> None:
        """Print ``text`` with the share of the work that is done, the time since the start and the time left."""
        self.shown = time.monotonic()
        seconds = self.shown - self.started
        total, done, computed = self.work()
        left = f", {duration(seconds * (total - done) / computed)} left" if computed > 0 else ""
        share = f"{100 * done / total:.0f} % of the work, " if total else ""
        print(f"{text}  ({share}{duration(seconds)}{left})", file=sys.stderr, flush=True)


def _submit(client, tasks: _Tasks, threads: int | None, gpu: bool | None) -> None:
    """Send out what is missing and take in what comes back.

    A run whose workers were killed more often than the scheduler allows is sent out again, as long as it got further in
    between: so go jobs that reach their wall time. One that kills its workers at the same step each time fails.

    Raises:
        ConnectionError: if the scheduler is gone.
    """
    from distributed import KilledWorker, as_completed

    if gpu is None:
        gpu = any("GPU" in worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    client.subscribe_topic(TOPIC, lambda event: tasks.reached(event[1]["key"], event[1]["step"]))
    ranks = {key: rank for rank, key in enumerate(tasks.missing)}

    def send(key: str):
        return client.submit(
            _remote, tasks.missing[key].model_dump(mode="json"), key, threads, tasks.weights, REPORT_EVERY,
            key=f"cxr-{key}-{len(tasks.given_up[key])}", priority=-ranks[key], resources={"GPU": 1} if gpu else None, pure=True,
        )  # fmt: skip

    futures = {send(key): key for key in tasks.missing}
    completed = as_completed(list(futures))
    try:
        for future in completed:
            key = futures.pop(future)
            if future.cancelled():
                logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it would log how it closes, in tracebacks
                raise ConnectionError("the scheduler is gone; start it and its workers again, and the same command goes on")
            if isinstance(future.exception(), KilledWorker) and tasks.advanced(key):
                again = send(key)
                futures[again] = key
                completed.add(again)
                continue
            tasks.finish(key, lambda future=future, key=key: _record(future, tasks.missing[key]))
            future.release()
    except ConnectionError:
        raise
    except BaseException:
        client.cancel(list(futures))
        raise


def _record(future, config: RunConfig) -> Record:
    """The record a worker returned; kept here too if the worker's store is another."""
    record = Record.model_validate_json(future.result())
    if load(config.store, record.key) is None:
        save_without_weights(record, config.store)
    return record


@contextmanager
def _heartbeat(tasks: _Tasks) -> Iterator[None]:
    """Meanwhile a line every so often about a sweep in which no run ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(min(1, SHOW_EVERY)):
            if time.monotonic() - tasks.shown > SHOW_EVERY:
                count = tasks.under_way()
                tasks.show(f"{count} run{'s' if count != 1 else ''} under way")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Seconds as people say them: '40 s', '12 min', '3 h 20 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
