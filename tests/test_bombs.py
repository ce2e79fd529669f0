"""Small files that unpack to gigabytes, and files that name more than they have: refused before memory is spent (U4, C5)."""

import functools
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from common import ROOT
from pyarrow import parquet

from cxrlib.files import check_unpacked
from cxrlib.study import tables
from cxrlib.weights import bit
from cxrlib.weights.source import WeightsError

COLUMNS = ("key", "record", "sha256")
GIB = 2**30


def in_a_small_process(code: str, *arguments: str) -> str:
    """What a process says that may have one GiB more than Python with its libraries; it fails if it needs more."""
    limit = f"import resource; import numpy, pandas, pyarrow, pyarrow.parquet; size = int(open('/proc/self/statm').read().split()[0]) * {resource.getpagesize()}; "
    limit += f"resource.setrlimit(resource.RLIMIT_AS, (size + {GIB}, size + {GIB})); import sys\n"
    done = subprocess.run([sys.executable, "-c", limit + code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def dictionary_bomb(path, column: str) -> None:
    """One long text in many rows: kilobytes in the file, gigabytes in memory."""
    rows = 6000
    values = {name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array(["a" * 20])) for name in COLUMNS}
    values[column] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array(["x" * 1_000_000]))
    parquet.write_table(pa.table(values), path, compression="zstd")


def page_bomb(path, column: str) -> None:
    """One text of 300 million equal letters."""
    values = {name: ["a" * 20] for name in COLUMNS} | {column: ["x" * 300_000_000]}
    parquet.write_table(pa.table(values), path, compression="zstd", use_dictionary=False)


def row_bomb(path, column: str) -> None:
    """Millions of rows that are all nothing."""
    empty = pa.nulls(50_000_000, pa.string())
    parquet.write_table(pa.table({name: empty for name in COLUMNS}), path, compression="zstd")


@functools.cache
def bomb_bytes(bomb, column: str) -> bytes:
    """The file of a bomb, which takes seconds to pack."""
    with tempfile.TemporaryDirectory() as folder:
        bomb(Path(folder) / "t.parquet", column)
        return (Path(folder) / "t.parquet").read_bytes()


READ = """
from cxrlib.experiment import record_tables
try:
    print(len(record_tables.table_rows(sys.argv[1])))
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("column", ["record", "key"])
@pytest.mark.parametrize("bomb", [dictionary_bomb, page_bomb, row_bomb], ids=lambda f: f.__name__)
def test_a_table_of_records_that_unpacks_to_gigabytes_is_refused(tmp_path, bomb, column):
    path = tmp_path / "t.parquet"
    path.write_bytes(bomb_bytes(bomb, column))
    assert path.stat().st_size < 1_000_000
    said = in_a_small_process(READ, str(path))
    assert said.strip() == "6000" or ("is not a table of records (it" in said and "'cxr runs export' makes one" in said)


TABLE = """
from cxrlib.study import tables
try:
    tables.read_table(sys.argv[1], {"key": "str", "record": "str", "sha256": "str"}, "table of tests", "cxr test")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("bomb", [dictionary_bomb, page_bomb, row_bomb], ids=lambda f: f.__name__)
def test_so_is_any_other_table(tmp_path, bomb):
    (tmp_path / "t.parquet").write_bytes(bomb_bytes(bomb, "record"))
    said = in_a_small_process(TABLE, str(tmp_path / "t.parquet"))
    assert "is no table of tests (it" in said and "'cxr test' makes one" in said


def test_the_committed_tables_are_far_from_the_limits():
    for path in (ROOT / "results").glob("*.parquet"):
        table = parquet.ParquetFile(path)
        check_unpacked(table, path.stat().st_size)
    frame = pd.DataFrame({"a": ["x", "y"], "b": [1.5, 2.5]})
    frame.attrs["about"] = {"made": "here"}


def test_a_table_comes_back_as_it_was(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y", "x", ""], "b": [1.5, 2.5, np.nan, 0.0]})
    frame.attrs["about"] = {"made": "here"}
    tables.write_table(frame, tmp_path / "t.parquet")
    again = tables.read_table(tmp_path / "t.parquet", {"a": "str", "b": "float64"}, "table", "x")
    pd.testing.assert_frame_equal(again, frame.astype({"a": "str"}))
    assert again.attrs["about"] == {"made": "here"}


def header(shape: tuple, descr: str = "<f4") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(path, entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)


BIT = """
from cxrlib.weights import bit
from pathlib import Path
try:
    bit.read(Path(sys.argv[1]))
except bit.WeightsError as error:
    print(error)
"""


def zeros_bomb(path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file, file.open("resnet/block1/unit01/a/x.npy", "w", force_zip64=True) as entry:
        entry.write(header((900_000_000,)))
        for _ in range(900):
            entry.write(bytes(4_000_000))


def shape_bomb(path) -> None:
    archive(path, {"resnet/a.npy": header((10**12,)) + bytes(100)})


def many_dimensions(path) -> None:
    archive(path, {"resnet/a.npy": header((2,) * 60) + bytes(100)})


def negative(path) -> None:
    archive(path, {"resnet/a.npy": header((-5,)) + bytes(100)})


def nested_header(path) -> None:
    archive(path, {"resnet/a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"(" * 60000})


def open_header(path) -> None:
    archive(path, {"resnet/a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 12) + b"{'descr': [\n"})


def objects(path) -> None:
    archive(path, {"resnet/a.npy": header((2,), "|O") + bytes(100)})


def damaged_lzma(path) -> None:
    archive(path, {"resnet/a.npy": header((1000,)) + np.random.default_rng(0).bytes(4000)}, zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)


def damaged_bzip2(path) -> None:
    archive(path, {"resnet/a.npy": header((1000,)) + np.random.default_rng(0).bytes(4000)}, zipfile.ZIP_BZIP2)
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)


def encrypted(path) -> None:
    archive(path, {"resnet/a.npy": header((2,)) + bytes(8)})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def new_version(path) -> None:
    archive(path, {"resnet/a.npy": b"\x93NUMPY\x09\x00" + bytes(100)})


def no_zip(path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1000))


BAD = [zeros_bomb, shape_bomb, many_dimensions, negative, nested_header, open_header, objects, damaged_lzma, damaged_bzip2, encrypted, new_version, no_zip]


@pytest.mark.parametrize("bad", BAD, ids=lambda f: f.__name__)
def test_an_archive_that_is_no_bit_is_refused_in_a_sentence(tmp_path, bad):
    path = tmp_path / "BiT-M-R50x1.npz"
    bad(path)
    said = in_a_small_process(BIT, str(path))
    assert said.startswith(f"{path} is truncated, damaged or no .npz archive (") and "get the file again" in said


def test_safetensors_that_claim_more_than_they_hold_are_refused(tmp_path):
    from cxrlib.weights.resolve import resolve_initialisation

    for number, content in enumerate([
        struct.pack("<Q", 2**63), struct.pack("<Q", 10) + b"{", struct.pack("<Q", 2) + b"{}x",
        (lambda text: struct.pack("<Q", len(text)) + text)(json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()),
        (lambda text: struct.pack("<Q", len(text)) + text)(b'{"a":' * 3000), (lambda text: struct.pack("<Q", len(text)) + text)(b"[" * 100_000), b"", b"\0" * 7,
    ]):  # fmt: skip
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"{number}.safetensors is damaged or not safetensors .*get the file again"):
            resolve_initialisation(str(path))


def test_an_official_archive_is_still_read():
    """Of the right names and shapes, compressed or not."""
    content = io.BytesIO()
    arrays = {name: np.zeros(shape, dtype=np.float16) for name, (_, shape) in bit.layout().items()}
    arrays |= {"resnet/head/conv2d/kernel": np.zeros((1, 1, 2048, 3), dtype=np.float16), "resnet/head/conv2d/bias": np.zeros(3, dtype=np.float16)}
    np.savez(content, **arrays)
    assert len(content.getvalue()) < bit.LARGEST
    assert set(name for name, _ in bit.layout().values())
