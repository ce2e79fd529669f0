"""Fuzzing with Hypothesis: whatever a record, a table of records, an ``.npz`` or a safetensors file holds, it is used as it was written or refused by name.

No exception but ours, and nothing damaged is accepted. What was found once, and what is near to it, lies in the corpora and is
tried always; the long part is marked ``slow`` (``pytest -m slow``).
"""

import functools
import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cxrlib import PROTOCOL_VERSION
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables, store
from cxrlib.experiment.garbage import garbage
from cxrlib.files import text_digest
from cxrlib.weights import bit
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError

few = settings(max_examples=20, deadline=10_000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
CASES = 250
many = settings(few, max_examples=CASES, derandomize=False)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6
)  # fmt: skip


@functools.cache
def sound() -> records.Record:
    """A record with few predictions."""
    record = record_tables.read_table(ROOT / "results" / "quarter-lite.parquet")[0]
    return record.model_copy(update={"predictions": {name: values[:6] for name, values in record.predictions.items()}})


@functools.cache
def sound_table() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        record_tables.write_table([sound().model_copy(update={"key": f"{number:020x}", "protocol_version": 99}) for number in range(3)], Path(place) / "t.parquet")
        return (Path(place) / "t.parquet").read_bytes()


def safetensors(metadata: dict | None = None) -> bytes:
    header = {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}} | ({"__metadata__": metadata} if metadata else {})
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(12)


@functools.cache
def sound_archive() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **{"resnet/a": np.arange(6, dtype=np.float32), "resnet/root_block/standardized_conv2d/kernel": np.zeros((7, 7, 3, 64), dtype=np.float32)})
    return content.getvalue()


damages = st.lists(
    st.tuples(st.sampled_from(["flip", "zero", "cut", "double", "swap", "insert"]), st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4
)  # fmt: skip


def damaged(content: bytes, how: list[tuple[str, float, int]]) -> bytes:
    """A file with some of its bytes changed, gone, or twice."""
    data = bytearray(content)
    for kind, where, value in how:
        place = int(where * max(len(data) - 1, 0))
        if not data:
            break
        if kind == "flip":
            data[place] ^= value or 1
        elif kind == "zero":
            data[place : place + value] = bytes(len(data[place : place + value]))
        elif kind == "cut":
            del data[place:]
        elif kind == "double":
            data[place:place] = data[place : place + value]
        elif kind == "insert":
            data[place:place] = bytes([value]) * value
        else:
            data[place : place + 16], data[:16] = data[:16], data[place : place + 16]
    return bytes(data)


# Records


def read_as_record(content: bytes, key: str) -> records.Record | None:
    """What a store with this file gives; every command that walks it must go on."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / key).mkdir()
        (folder / key / "record.json").write_bytes(content)
        found = records.load(folder, key)
        overview = store.overview(folder)
        assert len(overview) == (found is not None)
        garbage(folder, unfinished=True, days=0)
        return found


def envelope(body: str) -> bytes:
    return json.dumps({"sha256": text_digest(body), "record": body}).encode()


def check_damaged_record(how) -> None:
    body = sound().model_dump_json()
    content = damaged(envelope(body), how)
    found = read_as_record(content, sound().key)
    assert found is None or found.model_dump_json() == body, "something damaged was taken for a record"


def check_changed_record(name: str, value: object, protocol: int) -> None:
    """One field is anything, the checksum right: another version's, or this one's where the type fits."""
    whole = json.loads(sound().model_dump_json()) | {"protocol_version": protocol, name: value}
    try:
        body = json.dumps(whole)
        envelope(body)
    except (ValueError, UnicodeEncodeError):
        return
    found = read_as_record(envelope(body), sound().key)
    if found is not None and protocol == PROTOCOL_VERSION and name in ("config", "key"):
        assert json.loads(found.model_dump_json())[name] == json.loads(sound().model_dump_json())[name]
    if found is not None:
        with tempfile.TemporaryDirectory() as place:
            record_tables.write_table([found], Path(place) / "t.parquet")
            (row,) = record_tables.table_rows(Path(place) / "t.parquet")
            assert row[0] == found.key


FIELDS = [*records.Record.model_fields, "another"]
RECORD_CORPUS = [
    [("cut", 0.0, 0)], [("cut", 0.5, 0)], [("flip", 0.0, 1)], [("flip", 0.3, 4)], [("zero", 0.2, 200)], [("insert", 0.1, 91)], [("insert", 0.0, 123)],
    [("double", 0.5, 100)], [("swap", 0.9, 0)], [("flip", 1.0, 32)], [("insert", 0.0, 239)],
]  # fmt: skip
CHANGE_CORPUS = [
    ("config", {}, 99), ("history", [], 99), ("history", [{}], 99), ("data", {}, 99), ("data", {"name": 1}, 99), ("initialisation", {}, 99), ("initialisation", {"in_key": 3}, 1),
    ("initialisation", {"in_key": ["mean"], "sha256": None}, PROTOCOL_VERSION), ("config", {"schedule": None}, 99), ("config", {"schedule": 3}, 99), ("config", {"seed": 2**70}, 99),
    ("config", {"schedule": [2**70]}, 99), ("wall_seconds", float("nan"), 99), ("history", [{"test_auc": float("inf")}], 99), ("key", "x", 99), ("key", None, 99), ("another", 1, 1),
    ("protocol_version", "x", 99), ("protocol_version", 2**70, 99), ("predictions", {"split": [[]]}, 99), ("config", {"a": {"b": [1, {"c": None}]}}, 99), ("data", {"fingerprint": []}, 1),
    ("config", {"freeze": "x", "arch": "\ud800"}, 99), ("code_version", "\x00", 99),
]  # fmt: skip


@pytest.mark.parametrize("how", RECORD_CORPUS)
def test_records_that_were_found(how):
    check_damaged_record(how)


@pytest.mark.parametrize(("name", "value", "protocol"), CHANGE_CORPUS)
def test_changed_records_that_were_found(name, value, protocol):
    check_changed_record(name, value, protocol)


@few
@given(damages)
def test_damaged_records(how):
    check_damaged_record(how)


@pytest.mark.slow
@many
@given(damages)
def test_damaged_records_at_length(how):
    check_damaged_record(how)


@few
@given(st.sampled_from(FIELDS), json_values, st.sampled_from([PROTOCOL_VERSION, 0, 99]))
def test_changed_records(name, value, protocol):
    check_changed_record(name, value, protocol)


@pytest.mark.slow
@many
@given(st.sampled_from(FIELDS), json_values, st.sampled_from([PROTOCOL_VERSION, 0, 99]))
def test_changed_records_at_length(name, value, protocol):
    check_changed_record(name, value, protocol)


@few
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 50_000)
@example(b'{"record": {}, "sha256": []}')
@example(b'{"record": "\\ud800", "sha256": "x"}')
def test_any_file_is_no_record(content):
    assert read_as_record(content, sound().key) is None


# Tables


def check_table(content: bytes, whole: bool = False) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "t.parquet"
        path.write_bytes(content)
        try:
            rows = record_tables.table_rows(path)
        except ValueError as error:
            assert str(error).startswith(f"{path} is not a table of records (") and "'cxr runs export' makes one" in str(error)
            return
        for key, found in rows:
            assert isinstance(found, ValueError) or found.model_copy(update={"key": sound().key, "protocol_version": sound().protocol_version}) == sound(), key
        assert not whole or len(rows) == 3


def frame_bytes(frame: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.to_parquet(content)
    return content.getvalue()


TABLE_CORPUS = [
    b"", b"PAR1", b"PAR1" + bytes(8) + b"PAR1", b"PAR1" + struct.pack("<I", 2**31) + b"PAR1", b"key,record\n", frame_bytes(pd.DataFrame({"key": [None], "record": [None], "sha256": [None]})),
    frame_bytes(pd.DataFrame({"key": ["a"], "record": ["["], "sha256": ["b"]})), frame_bytes(pd.DataFrame({"key": [1], "record": [2], "sha256": [3]})),
    frame_bytes(pd.DataFrame({"key": [b"a"], "record": [b"\xff"], "sha256": [b"b"]})), frame_bytes(pd.DataFrame({"key": [["a"]], "record": [["b"]], "sha256": [["c"]]})),
    frame_bytes(pd.DataFrame({"key": [], "record": [], "sha256": []}).astype(str)), frame_bytes(pd.DataFrame({"key": ["0" * 20], "record": [None], "sha256": ["b"]})),
]  # fmt: skip


@pytest.mark.parametrize("content", TABLE_CORPUS)
def test_tables_that_were_found(content):
    check_table(content)


def test_the_sound_table_is_read():
    check_table(sound_table(), whole=True)


@few
@given(damages)
def test_damaged_tables(how):
    check_table(damaged(sound_table(), how))


@pytest.mark.slow
@many
@given(damages)
def test_damaged_tables_at_length(how):
    check_table(damaged(sound_table(), how))


# Weights


def check_weights(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        path.write_bytes(content)
        try:
            found = resolve_initialisation(str(path)) if name.endswith("safetensors") else bit.read(path)
        except WeightsError as error:
            assert str(path) in str(error)
        else:
            assert name.endswith("safetensors") and found.path == path, "an archive of two arrays is no BiT"


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


SAFETENSORS_CORPUS = [
    b"", b"\0" * 8, struct.pack("<Q", 2**63), struct.pack("<Q", 100_000_001), header(b"{}"), header(b"[]"), header(b"null"), header(b'{"a": 1}'), header(b'{"__metadata__": 1}'),
    header(b'{"a":' * 200), header(b'{"__metadata__": {"mean": "1e999"}}'), header(b'{"__metadata__": {"mean": ""}}'), header(b'{"__metadata__": {"std": "-0"}}'),
    header(b'{"__metadata__": {"std": "1 2 3 4"}}'), header(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}'), header(b'{"a": {"dtype": "X", "shape": [], "data_offsets": [0, 4]}}') + bytes(4),
    header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}') + bytes(4), safetensors({"mean": "0.5 0.5 nan"}), safetensors({"std": "1_0"}), safetensors({"arch": ""}),
]  # fmt: skip


def entry(text: bytes, version: bytes = b"\x01\x00") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("resnet/a.npy", b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + bytes(64))
    return content.getvalue()


ARCHIVE_CORPUS = [
    b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), entry(b""), entry(b"{'descr': [\n"), entry(b"("), entry(b"(" * 9000), entry(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**9,)}"),
    entry(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"), entry(b"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}\n"),
    entry(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n"), entry(b"{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': ()}\n"), entry(b"x", b"\x09\x09"), entry(b"\xff\xff"),
    entry(b"{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,)}\n"), entry(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2)}\n"), entry(b"__import__('os')\n"),
]  # fmt: skip


@pytest.mark.parametrize("content", SAFETENSORS_CORPUS)
def test_safetensors_that_were_found(content):
    check_weights(content, "w.safetensors")


@pytest.mark.parametrize("content", ARCHIVE_CORPUS)
def test_archives_that_were_found(content):
    check_weights(content, "w.npz")


metadata = st.dictionaries(st.sampled_from(["mean", "std", "arch", "x"]), st.text(max_size=12) | st.sampled_from(["0.5", "1 2 3", "-1", "nan", "inf", "0 0 0", "1e-400"]), max_size=3)


@few
@given(metadata, damages | st.just([]))
def test_damaged_safetensors(about, how):
    check_weights(damaged(safetensors(about), how), "w.safetensors")


@pytest.mark.slow
@many
@given(metadata, damages | st.just([]))
def test_damaged_safetensors_at_length(about, how):
    check_weights(damaged(safetensors(about), how), "w.safetensors")


@few
@given(damages | st.just([]))
def test_damaged_archives(how):
    check_weights(damaged(sound_archive(), how), "w.npz")


@pytest.mark.slow
@many
@given(damages | st.just([]))
def test_damaged_archives_at_length(how):
    check_weights(damaged(sound_archive(), how), "w.npz")
