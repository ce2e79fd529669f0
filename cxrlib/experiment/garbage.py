"""Cleaning a store of records: what no record needs, and how it goes while runs may be under way."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cxrlib.experiment.external import is_scores, kept_scores
from cxrlib.experiment.record import KEY, OtherVersionError, read
from cxrlib.experiment.store import held
from cxrlib.files import lock_file

UNHELD = "lock that nobody holds"


@dataclass(frozen=True)
class Garbage:
    """A file that no record needs, or an empty folder."""

    path: Path
    bytes: int
    reason: str


def _garbage_of(store: Path, key: str, weights: bool, unfinished: bool, days: float) -> list[Garbage]:
    """What can go from the folder of one run, whose lock is held."""
    folder = store / key
    if folder.is_symlink():  # what lies behind it belongs to another store
        return []
    files = {}
    for path in sorted(folder.glob("*")):
        with suppress(FileNotFoundError):  # without the lock, a run may finish meanwhile
            files[path] = path.stat()
    record, damaged = None, False
    try:
        record = read(store, key)
    except OtherVersionError:
        return []  # whose record it is knows what the other files are
    except ValueError:
        damaged = True
    recorded = record is not None
    age = (time.time() - max((about.st_mtime for about in files.values()), default=0.0)) / 86400
    reasons: dict[Path, str] = {}
    for path in files:
        if not path.is_file():
            continue
        if path.name.startswith("."):
            reasons[path] = "temporary file of a process that was ended"
        elif damaged and path.name in ("record.json", "weights.safetensors"):
            reasons[path] = "damaged record" if path.name == "record.json" else "weights of a damaged record"
        elif is_scores(path) and (record is None or kept_scores(path, record) is None):
            reasons[path] = "external scores that are damaged, or of no record here"
        elif recorded and path.name == "checkpoint.safetensors":
            reasons[path] = "checkpoint of a finished run"
        elif recorded and weights and path.name == "weights.safetensors":
            reasons[path] = "weights"
        elif not recorded and not damaged and unfinished and age > days:
            reasons[path] = f"unfinished run, untouched for {age:.1f} days"
    found = [Garbage(path, files[path].st_size, reason) for path, reason in reasons.items()]
    if folder.is_dir() and len(files) == len(found):
        found.append(Garbage(folder, 0, "folder left empty"))
    return found


def garbage(
    store: Path, *, delete: bool = False, weights: bool = False, unfinished: bool = False, days: float = 7.0
) -> tuple[list[Garbage], list[str]]:
    """Find, and if asked delete, what no record needs.

    Always: damaged records, temporary files, checkpoints of finished runs, scores on an external set
    (:mod:`cxrlib.experiment.external`) that are damaged or whose record or weights are others now, lock files that nobody holds. A run that is
    under way, in this or another process, is left alone with all its files. Anything whose name is not a key stays.

    Args:
        store: folder of records; need not exist.
        delete: remove what was found; otherwise nothing is changed.
        weights: also the weights of finished runs. Their records stay.
        unfinished: also the files of runs without a record that nothing has touched for ``days`` days.

    Returns:
        What can go, or is gone; and the keys of runs that are under way.

    Raises:
        OSError: if the store cannot be written.
    """
    store = Path(store)
    if not store.is_dir():
        return [], []
    locks = {path.name[1:-5]: path for path in store.glob(".*.lock")}
    keys = sorted(key for key in {path.name for path in store.iterdir()} | set(locks) if KEY.fullmatch(key))
    found: list[Garbage] = []
    busy = []
    for key in keys:
        with held(store, key, create=delete) as free:
            if not free:
                busy.append(key)
                continue
            items = _garbage_of(store, key, weights, unfinished, days)
            lock = lock_file(store / key)
            if delete:
                for item in items:
                    item.path.rmdir() if item.path.is_dir() else item.path.unlink(missing_ok=True)
                # Whoever waits for this lock finds its file unlinked and takes a new one (filelock from 3.21 on).
                lock.unlink(missing_ok=True)
            if key in locks:
                items.append(Garbage(lock, 0, UNHELD))
            found += items
    return found, busy
