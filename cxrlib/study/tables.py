"""Small committed tables with a description of where they come from: Parquet files that pandas reads, ``attrs`` and all."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd

from cxrlib.files import atomic_write


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table, its ``attrs`` too (values that JSON can hold), with a checksum for each page of the file.

    Raises:
        OSError: the disk is full or cannot be written; an older file then still stands.
    """
    content = io.BytesIO()
    table.to_parquet(content, index=False, compression="zstd", write_page_checksum=True)
    atomic_write(path, content.getvalue())


def read_table(path: Path, types: dict[str, str], what: str, way_out: str) -> pd.DataFrame | None:
    """A table of :func:`write_table`; None if there is no such file.

    Args:
        types: the columns that it must have, in order, with their types.
        what: such as 'table of Grad-CAM heat', for the error.
        way_out: the command that makes one.

    Raises:
        ValueError: if the file is something else, or damaged; names it and the way out.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not Path(path).is_file():
        return None
    try:
        arrow = parquet.read_table(path, page_checksum_verification=True)
        table = arrow.to_pandas()[list(types)].astype(types)
        if "about" not in table.attrs:  # as tables were written before pandas kept attrs
            table.attrs["about"] = json.loads(arrow.schema.metadata[b"about"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no {what} ({reason}); '{way_out}' makes one") from None
    return table
