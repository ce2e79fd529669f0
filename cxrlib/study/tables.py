"""Small committed tables with a description of where they come from: Parquet files that pandas reads, ``attrs`` and all."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.files import atomic_write, check_unpacked, unpacked_limit


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table, its ``attrs`` too (values that JSON can hold), with a checksum for each page of the file.

    Raises:
        OSError: the disk is full or cannot be written; an older file then still stands.
    """
    content = io.BytesIO()
    table.to_parquet(content, index=False, compression="zstd", write_page_checksum=True)
    atomic_write(path, content.getvalue())


def _text_bytes(table: Any) -> int:
    """Bytes of the texts of a table that is read as dictionaries, each text as often as it occurs."""
    import pyarrow as pa
    from pyarrow import compute

    total = 0
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            lengths = compute.binary_length(chunk.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
            total += int(lengths[chunk.indices.drop_null().to_numpy(zero_copy_only=False)].sum())
    return total


def read_table(path: Path, types: dict[str, str], what: str, way_out: str, described: bool = True) -> pd.DataFrame | None:
    """A table of :func:`write_table`; None if there is no such file.

    Args:
        types: the columns that it must have, in order, with their types.
        what: such as 'table of Grad-CAM heat', for the error.
        way_out: the command that makes one.
        described: whether it must say in ``attrs['about']`` where it comes from.

    Raises:
        ValueError: if the file is something else, or damaged; names it and the way out.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not Path(path).is_file():
        return None
    try:
        size = Path(path).stat().st_size
        present = parquet.read_schema(path).names
        if lacking := [name for name in types if name not in present]:
            raise ValueError(f"it has no column {', '.join(lacking)}")
        texts = [name for name, kind in types.items() if kind in ("str", "string")]
        file = parquet.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts)  # each text once in memory
        check_unpacked(file, size)
        arrow = file.read()
        if (unpacked := _text_bytes(arrow)) > unpacked_limit(size):
            raise ValueError(f"its texts unpack to {unpacked:,} bytes, more than any of ours")
        table = arrow.to_pandas()[list(types)].astype(types)
        if described and "about" not in table.attrs:  # as tables were written before pandas kept attrs
            table.attrs["about"] = json.loads(arrow.schema.metadata[b"about"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no {what} ({reason}); '{way_out}' makes one") from None
    return table
