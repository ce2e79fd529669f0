"""Which data is this? A fingerprint of labels and image contents."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.files import atomic_write
from cxrlib.data.labels import image_path

_FIELDS = ["patient_id", "file", "label", "source", "split"]


def fingerprint(index: pd.DataFrame, folder: Path | str, cache_folder: Path | str | None = None) -> str:
    """Digest of the label rows, in their order, and of the content of every image; the same wherever the folder lies.

    The order counts because batches are drawn by row number. Content digests are remembered in a file of
    ``cache_folder`` by path, size, modification and change time, so that unchanged images are read once.

    Args:
        index: rows of :func:`cxrlib.data.folder.read_index`.
        folder: where the images are.
        cache_folder: made if needed.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        DataError: if a path leads out of the folder.
        OSError: if an image cannot be read or the cache folder not written.
    """
    root = Path(folder).resolve()
    memory_file = None
    if cache_folder is not None:
        # One file per data folder: sets used in turn do not overwrite each other's memory.
        name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        memory_file = Path(cache_folder) / f"contents-{name}.json"
    known = _read_memory(memory_file)

    def content(row: Any) -> tuple[str, list]:
        path = image_path(folder, row)
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        name = f"{row.split}/{row.file}"
        entry = known.get(name)
        if entry is not None and entry[:3] == state:
            return name, entry
        with path.open("rb") as file:
            return name, [*state, hashlib.file_digest(file, "sha256").hexdigest()]

    with ThreadPoolExecutor() as pool:
        entries = list(pool.map(content, index[_FIELDS].itertuples(index=False)))
    if memory_file is not None and any(known.get(name) != entry for name, entry in entries):
        atomic_write(memory_file, json.dumps(known | dict(entries)))
    digest = hashlib.sha256()
    for row, (_, entry) in zip(index[_FIELDS].itertuples(index=False, name=None), entries, strict=True):
        digest.update(json.dumps([*row, entry[3]]).encode() + b"\n")
    return digest.hexdigest()


def _read_memory(file: Path | None) -> dict[str, list]:
    """Remembered digests; nothing if the file is absent or damaged, since they can be computed again."""
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    except (OSError, ValueError):
        return {}
    sound = isinstance(known, dict) and all(isinstance(entry, list) and len(entry) == 4 for entry in known.values())
    return known if sound else {}
