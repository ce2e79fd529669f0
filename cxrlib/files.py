"""Writing files so that a reader never sees half of one, that two do not write at once, and that the same content is the same bytes."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` through a temporary file beside it and one rename.

    Raises:
        OSError: naming ``path``, if the disk is full or the folder cannot be written; the old file then still stands.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as temporary, temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path} ({error.strerror}); free space or choose another folder") from None


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A new empty file beside ``path`` that takes its name at the end, or goes if the block fails.

    It may be read by whom the umask allows, as any file that a program makes.

    Raises:
        OSError: if the folder cannot be written.
    """
    temporary = path.parent / f".{path.name[:200]}.{secrets.token_hex(6)}"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_replaceable(path: Path, what: str, fits: Callable[[Path], bool]) -> None:
    """Refuse to write over what is not ours: an image, a label file, a folder.

    Args:
        path: where a file is to be written.
        what: it is, such as 'table of records'.
        fits: whether the file that is there is one.

    Raises:
        ValueError: if ``path`` is a folder, or a file of another kind; says what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")
    if path.exists() and not (path.is_file() and fits(path)):
        raise ValueError(f"{path} is there and is no {what}, so it is not written over; choose another name")


def lock_file(path: Path) -> Path:
    """Where the lock of a file or folder lies: ``.NAME.lock`` beside it."""
    return path.parent / f".{path.name}.lock"


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file or folder, which need not be there, so that of several processes one works on it.

    The lock goes when this process ends, however it ends; its file (:func:`lock_file`) stays.

    Args:
        wait: until the lock is free, which a line on stderr tells; otherwise the block runs at once, and is told whether it
            has the lock.

    Yields:
        Whether the lock is held; always True if ``wait``.

    Raises:
        OSError: naming the folder, if it cannot be written.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    lock = FileLock(lock_file(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait:
                print(f"another process is working on {path}; waiting for it", file=sys.stderr, flush=True)
                lock.acquire()
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path.parent} ({error.strerror}); free space or choose another folder") from None
    try:
        yield lock.is_locked
    finally:
        lock.release()


def check_unpacked(table: Any, size: int) -> None:
    """ValueError if a Parquet file claims to unpack to more than files of its size do: a few kilobytes may hold gigabytes.

    Args:
        table: a ``pyarrow.parquet.ParquetFile``.
        size: bytes of the file.
    """
    groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
    claimed = sum(group.column(number).total_uncompressed_size for group in groups for number in range(group.num_columns))
    most = unpacked_limit(size)
    if claimed > most or table.metadata.num_rows * max(1, table.metadata.num_columns) > most // 8:
        raise ValueError(f"it claims {table.metadata.num_rows:,} rows and {claimed:,} bytes from a file of {size:,}, more than any of ours unpacks to")


def unpacked_limit(size: int) -> int:
    """Bytes that a file of ours of ``size`` bytes may hold when it is unpacked: 200 times as many, and 64 MiB in any case."""
    return max(64 * 2**20, 200 * size)


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def seal(text: str, name: str) -> str:
    """A text beside its own SHA-256, for a file that must not be used if it is damaged: JSON with ``sha256`` and ``name``."""
    return json.dumps({"sha256": text_digest(text), name: text})


def unseal(content: bytes, name: str) -> str:
    """The text that :func:`seal` put under ``name``.

    Raises:
        ValueError: with the reason, if the content is anything else or is damaged.
    """
    digest, line, rest = content.partition(b"\n")
    if line and digest == hashlib.sha256(rest).hexdigest().encode():
        return rest.decode()  # as earlier versions of cxrlib sealed what they remember
    try:
        envelope = json.loads(content)
        text, digest = envelope[name], envelope["sha256"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no {name}: {type(error).__name__}") from None
    if not isinstance(text, str) or text_digest(text) != digest:
        raise ValueError("its checksum differs")
    return text


def safetensors_bytes(tensors: dict, metadata: dict[str, str]) -> bytes:
    """A safetensors file that depends on nothing but what it holds.

    The library writes the metadata in an order that chance decides, and a checksum would follow it; here they are sorted.

    Args:
        tensors: torch tensors by name, contiguous and on the CPU.
        metadata: text by name.
    """
    from safetensors.torch import save

    content = save(tensors, metadata=metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, computed once for as long as it is the same file with the same size and times of change."""
    return _file_digest(path.resolve(), *file_state(path))


def file_state(path: Path | str) -> tuple[int, ...]:
    """Inode, size and times of change: as long as they are the same, the content is. OSError if there is no file."""
    about = os.stat(path)
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def tree_state(paths: Iterable[Path]) -> str:
    """Digest of :func:`file_state` of files, and of all files below folders; of what is not there, that it is not."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files_below(os.path.realpath(path)):
            try:
                state = file_state(file)
            except OSError:
                state = None
            digest.update(f"{file} {state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files_below(path: str) -> list[str]:
    """A file, or all files below a folder, also in folders that are links, each folder once."""
    if not os.path.isdir(path):
        return [path]
    seen, found = set(), []
    for root, folders, names in os.walk(path, followlinks=True):
        whole = os.path.realpath(root)
        if whole in seen:
            folders.clear()
            continue
        seen.add(whole)
        found += [os.path.join(root, name) for name in names]
    return sorted(found)


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
