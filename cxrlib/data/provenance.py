"""Which data is this? A fingerprint of labels and image contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from cxrlib.data.labels import image_path
from cxrlib.files import atomic_write, seal, unseal

_FIELDS = ["patient_id", "file", "label", "source", "split"]


def fingerprint(index: pd.DataFrame, folder: Path | str, cache_folder: Path | str | None = None) -> str:
    """Digest of the label rows, in their order, and of the content of every image; the same wherever the folder lies.

    The order counts because batches are drawn by row number.

    Args:
        index: rows of :func:`cxrlib.data.read_index`.
        folder, cache_folder: as :func:`contents`.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        DataError, OSError: as :func:`contents`.
    """
    return fingerprint_of(index, contents(index, folder, cache_folder))


def fingerprint_of(index: pd.DataFrame, contents: Mapping[str, str]) -> str:
    """:func:`fingerprint` from the digests of the images that :func:`contents` found."""
    digest = hashlib.sha256()
    for row in index[_FIELDS].itertuples(index=False):
        digest.update(json.dumps([*row, contents[f"{row.split}/{row.file}"]]).encode() + b"\n")
    return digest.hexdigest()


def contents(index: pd.DataFrame, folder: Path | str, cache_folder: Path | str | None = None) -> dict[str, str]:
    """SHA-256 of every image, by ``SPLIT/FILE``; remembered as :func:`digests` does.

    Args:
        index: rows of :func:`cxrlib.data.folder.read_index`.
        folder: where the images are.
        cache_folder: made if needed.

    Raises:
        DataError: if a path leads out of the folder.
        OSError: if an image cannot be read or the cache folder not written.
    """
    rows = index[_FIELDS].itertuples(index=False)
    return digests({f"{row.split}/{row.file}": image_path(folder, row) for row in rows}, folder, cache_folder)


def digests(paths: Mapping[str, Path], folder: Path | str, cache_folder: Path | str | None = None) -> dict[str, str]:
    """SHA-256 of every file of ``paths``, by its name there.

    They are remembered in a file of ``cache_folder`` by path, size, modification and change time, so that unchanged
    images are read once. The file bears its own checksum; a damaged one is not used.

    Args:
        paths: files by names that tell them apart within ``folder``.
        folder: the data folder, whose files are remembered together.
        cache_folder: made if needed.

    Raises:
        OSError: if a file cannot be read or the cache folder not written.
    """
    root = Path(folder).resolve()
    memory_file = None
    if cache_folder is not None:
        # One file per data folder: sets used in turn do not overwrite each other's memory.
        name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        memory_file = Path(cache_folder) / f"contents-{name}.json"
    known = _read_memory(memory_file)

    def content(item: tuple[str, Path]) -> tuple[str, list]:
        name, path = item
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entry = known.get(name)
        if entry is not None and entry[:3] == state:
            return name, entry
        with path.open("rb") as file:
            return name, [*state, hashlib.file_digest(file, "sha256").hexdigest()]

    with ThreadPoolExecutor() as pool:
        entries = list(pool.map(content, paths.items()))
    if memory_file is not None and any(known.get(name) != entry for name, entry in entries):
        atomic_write(memory_file, seal(json.dumps(known | dict(entries)), "contents"))
    return {name: entry[3] for name, entry in entries}


def _read_memory(file: Path | None) -> dict[str, list]:
    """Remembered digests; nothing if the file is absent or damaged, since they can be computed again."""
    try:
        known = json.loads(unseal(file.read_bytes(), "contents")) if file is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    sound = isinstance(known, dict) and all(isinstance(entry, list) and len(entry) == 4 for entry in known.values())
    return known if sound else {}
