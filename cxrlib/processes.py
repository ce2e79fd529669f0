"""Work in several processes that start and end cleanly, also from a notebook and after a kill."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import current_process, get_context, parent_process
from typing import Any

CORES_VARIABLE = "CXR_CORES"
"""Environment variable with a process's share of the cores, for those that work side by side."""


def usable_cores() -> int:
    """Cores this process may use, which a scheduler or :data:`CORES_VARIABLE` can make fewer than the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES_VARIABLE, "")
    return min(cores, max(1, int(share))) if share.isdecimal() else cores


def run_tasks(function: Callable, tasks: Iterable[tuple], workers: int) -> Iterator[Any]:
    """Results of ``function(*task)`` as they come, with two tasks per worker under way.

    Args:
        function: of a module that can be imported. Workers start afresh and import only that module.
        tasks: argument tuples, taken from the iterable as they are needed.
        workers: processes; 1 or less works in this process, in the order of the tasks, and so does a worker of Dask,
            which may have no children.

    Raises:
        RuntimeError: if a worker is killed.
    """
    tasks = iter(tasks)
    if workers <= 1 or current_process().daemon:
        for task in tasks:
            yield function(*task)
        return
    # A notebook kernel with threads (torch, ZeroMQ) cannot be forked safely.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)

    def submit(count: int) -> set[Future]:
        with main_hidden():  # submitting is what starts workers
            return {pool.submit(function, *task) for task in itertools.islice(tasks, count)}

    try:
        pending = submit(2 * workers)
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            pending |= submit(2 * workers - len(pending))
    except BrokenProcessPool:
        message = "a worker process was ended, perhaps for lack of memory; call again to go on, with workers=1"
        raise RuntimeError(message) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def main_hidden() -> Iterator[None]:
    """Keep spawned workers from running the caller's main script again: they need nothing of it.

    Without this a script that lacks ``if __name__ == "__main__"``, or comes from stdin, would break its own workers.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        for name in kept:
            setattr(main, name, None)
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _end_with_parent() -> None:
    """In a worker: end when the parent is killed. Pool workers otherwise wait for tasks for ever."""

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
