"""All notebooks of a book: what they train in one sweep, with one time left, and then the notebooks, two at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrlib.book.notebooks import execute, is_current, minutes
from cxrlib.processes import CORES_VARIABLE, run_tasks, usable_cores

AT_ONCE = 2
"""Notebooks side by side; most of what is left of them after the sweep is imports and drawing, on one core each."""

# What the children of a build run first: they end with the process that started them, whose end closes their input.
ENDS_WITH_PARENT = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
"""
SWEEPER = ENDS_WITH_PARENT + "from cxrlib.cli.main import app\napp()\n"


@dataclass(frozen=True)
class Chapter:
    """A notebook with all that decides what its page shows; fields as in :func:`cxrlib.book.notebooks.execute`."""

    template: Path
    destination: Path
    parameters: Mapping[str, Any]
    states: Mapping[str, str]
    about: Mapping[str, Any]

    def current(self, root: Path) -> bool:
        """Whether its page needs no execution."""
        return is_current(self.template, self.parameters, self.states, self.about, root)


def sweep(chapters: Sequence[Chapter], profile: str, data: str, root: Path) -> None:
    """Run what the notebooks of `chapters` train, so that they only read records.

    Not those that need the weights of their runs, which a sweep leaves out, nor what a parameter adds to the profile. A
    run that fails is no failure here: its notebook says so on its page, or in its own sentence.

    Args:
        data: folder in the COVIDx layout, relative to `root`.
    """
    from cxrlib.study.parameters import STUDIES, Study

    given = {chapter.template.stem: chapter.parameters for chapter in chapters}
    wanted = [name for name, parameters in given.items() if issubclass(STUDIES[name], Study) and not STUDIES[name].keeps_weights(parameters)]
    if len(wanted) < 2:
        return  # one notebook says for itself how far it is
    command = [sys.executable, "-c", SWEEPER, "sweep", f"--profile={profile}", f"--data={data}", *(f"--study={name}" for name in wanted)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sweeper:
        try:
            sweeper.wait()
        except BaseException:
            sweeper.kill()
            raise


def execute_all(chapters: Sequence[Chapter], root: Path, force: bool = False, done: Callable[[str], None] = print) -> None:
    """Bring every page up to date, :data:`AT_ONCE` at a time where there are cores; one line for each to `done`.

    Raises:
        BookError: of the first notebook that fails; see :func:`cxrlib.book.notebooks.execute`.
    """
    # Those that only have to be put back are quick, and need no process.
    current = [] if force else [chapter for chapter in chapters if chapter.current(root)]
    for chapter in current:
        executed(chapter, root, force, None)
    due = [chapter for chapter in chapters if chapter not in current]
    number = min(AT_ONCE, usable_cores(), len(due))
    share = max(1, usable_cores() // number) if number > 1 else None
    for name, seconds in run_tasks(executed, ((chapter, root, force, share) for chapter in due), number):
        done(f"  {name} done in {minutes(seconds)}")
    if current:
        done(f"  nothing changed in {len(current)} of {len(chapters)} notebooks")


def executed(chapter: Chapter, root: Path, force: bool, cores: int | None) -> tuple[str, float]:
    """Execute one notebook; `cores` is its share of the machine, None for all of it. Returns its name and the seconds."""
    if cores is not None:  # in a process of its own
        os.environ[CORES_VARIABLE] = os.environ["OMP_NUM_THREADS"] = str(cores)
    started = time.monotonic()
    execute(chapter.template, chapter.destination, chapter.parameters, chapter.states, chapter.about, root, force)
    return chapter.template.stem, time.monotonic() - started
