"""Fuzzing with Hypothesis: whatever a label file, a parameter file, an image or a DICOM file holds, it is read or refused by name.

No exception but ours, no hang over 10 s, no memory over 1 GiB. What was found once lies in ``CORPUS`` and is tried always; the
long part is marked ``slow`` (``pytest -m slow``).
"""

import io
import random
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrlib.config import ParameterError, RunConfig
from cxrlib.data.decode import ImageError, check_image, decode_image, decode_xray
from cxrlib.data.folder import check
from cxrlib.data.labels import DataError, LabelError, parse_labels
from cxrlib.parameter_files import read_parameters, read_value

GIBIBYTE = 1 << 30
PEAK = Path("/proc/self/clear_refs")  # Linux: forgets what earlier tests held at most; elsewhere memory is not measured
CASES = 500
few = settings(max_examples=25, deadline=10_000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
many = settings(few, max_examples=CASES, derandomize=False)

# Label files that were found to break something, and their like.
LABEL_CORPUS = [
    b"", b"\n", b"\r", b"\x00", b"\xef\xbb\xbf", b"p a.png positive s", b'"" "" "" ""', b"' ' ' '", b'"p" "a b.png" positive s', b'p" "a.png positive s',
    b"p \xe2\x80\xa8a.png positive s", b"\xc2\xa0 \xc2\xa0 positive s", b"p . positive s", b"p .. positive s", b"p / positive s", b"p //a positive s",
    b"p a/./b.png positive s", b"p \xf0\x9f\xa9\xbb.png negative s", b"1 1 a.png positive s\n2 1 b.png positive s", b"0) p a positive s\n1) p b positive s",
    b"p a\x0b.png positive s", b"\x1c\x1d\x1e positive s", b"p " + b"a" * 5000 + b".png positive s", b"p a.png " * 5000 + b"positive s",
    b'\x00\x1c.\x1epositive\x1e"', b'p a.png positive ""', b'p "" positive s', b"\x00 a.png positive s",
    "٣ a.png positive s\n٤ b.png positive s".encode(), "² x a.png positive s\n³ x b.png positive s".encode(),
]  # fmt: skip

PARAMETER_CORPUS = [
    "", "~", "[]", "{}", "a:", ": a", "? a", "- - - a", "seed: 1\nseed: 1", "&a [*a]", "&a {b: *a}", "<<: {seed: 1}", "<<: [1]", "seed: !!int x", "seed: !!float ''",
    "seed: !!binary x", "seed: !!timestamp 2001-99-99[", "seed: !!bool x", "seed: !!null x", "seed: !!float x", "seed: !!int ''", "seed: !!timestamp 2001-99-99", "seed: !!set {a}", "seed: !!omap [a]", "seed: 1e999", "seed: " + "9" * 5000, "seed: -", "seed: .", "seed: ._", "seed: 1_",
    "{[1]: 2}", "{{a: 1}: 2}", "%YAML 9.9\n---\na", "a: |\n  b", "schedule: [1, .nan, 3]", "base_lr: .inf", "data: [1]", "masks: {}", "sources: [a]", "\ud800" if False else "a: \"\\ud800\"",
]  # fmt: skip


def sound(kind: str) -> bytes:
    """A small sound file of a kind."""
    values = np.random.default_rng(0).integers(0, 256, (24, 20)).astype(np.uint8)
    buffer = io.BytesIO()
    name, _, depth = kind.partition("-")
    image = Image.fromarray(values.astype(np.uint16) * 200 if depth == "16" else values)
    image = image.convert(depth) if depth in ("P", "RGBA", "CMYK", "LA") else image
    options = {"progressive": True} if depth == "progressive" else {"compression": depth} if name == "TIFF" and depth.startswith("tiff") else {}
    image.save(buffer, name, **options)
    return buffer.getvalue()


KINDS = [
    "PNG", "PNG-16", "PNG-P", "PNG-RGBA", "PNG-LA", "JPEG", "JPEG-progressive", "JPEG-CMYK", "WEBP", "TIFF", "TIFF-16", "TIFF-tiff_lzw", "TIFF-tiff_adobe_deflate",
    "TIFF-CMYK", "BMP", "GIF", "JPEG2000", "PPM",
]  # fmt: skip
WHOLE = {kind: sound(kind) for kind in KINDS}


def damaged(content: bytes, seed: int, head: bool) -> bytes:
    """Bytes changed, cut, doubled or zeroed as ``seed`` says; ``head`` keeps to the first 200 bytes."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        end = min(len(data), 200) if head else len(data)
        if end < 4:
            break
        place = draw.randrange(end)
        action = draw.randrange(6)
        if action == 0:
            data[place] = draw.randrange(256)
        elif action == 1:
            data[place] ^= 1 << draw.randrange(8)
        elif action == 2:
            data[place : place + 4] = struct.pack(draw.choice("<>") + "I", draw.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65535, 1 << 20]))
        elif action == 3:
            data[place : place + draw.randint(1, 40)] = b""
        elif action == 4:
            data[place:place] = data[place : place + draw.randint(1, 40)]
        else:
            data[place:] = b""
    return bytes(data)


def mended(content: bytes) -> bytes:
    """A PNG with its checksums made right, so that damage gets past them."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return content
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        parts.append(content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join(parts)


def resident(name: str) -> int:
    """Bytes of memory that this process holds (``VmRSS``), or held at most since that was last forgotten (``VmHWM``)."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def tried(path, content: bytes) -> None:
    path.write_bytes(content)
    if PEAK.exists():
        PEAK.write_text("5")
    before = resident("VmRSS") if PEAK.exists() else 0
    for look in (check_image, decode_image, decode_xray):
        try:
            look(path)
        except ImageError as error:
            assert str(path) in str(error)
    assert not PEAK.exists() or resident("VmHWM") - before < GIBIBYTE, "more than a decoded picture of this size needs"


# Label files

_word = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=0, max_size=12)
_blank = st.sampled_from([" ", "\t", "  ", "\xa0", "\u2003", "\n", "\r\n", "\x0b", "\x1c", ""])
_field = st.one_of(_word, st.sampled_from(["positive", "negative", "a.png", "sub/a.png", "../a", "/a", "~", '"', "'", '"p 1"', "\ufeff", "1", "2", "COVID 1", "."]))
_line = st.lists(st.tuples(_field, _blank), max_size=8).map(lambda parts: "".join(word + blank for word, blank in parts))
label_files = st.one_of(st.binary(max_size=300), st.lists(_line, max_size=12).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")))


def read_label_file(folder, content: bytes) -> None:
    for split in ("train", "test"):
        (folder / split).mkdir(exist_ok=True)
    (folder / "test.txt").write_text("t0 t.png negative s\nt1 u.png positive s\n")
    (folder / "train.txt").write_bytes(content)
    try:
        rows, problems = parse_labels(folder / "train.txt")
        assert all(row.patient_id and row.file and row.label in ("positive", "negative") and row.source for row in rows)
        assert all(problem.line >= 0 and problem.message for problem in problems)
    except LabelError as error:
        assert "train.txt" in str(error)
    try:
        report = check(folder, decode=False)
        assert report.text() and report.as_json()
        assert len(report.index) == 0, "no image is there"
    except DataError as error:
        assert "train.txt" in str(error)


@pytest.mark.parametrize("content", LABEL_CORPUS, ids=lambda content: repr(content[:20]))
def test_label_files_that_were_found(tmp_path, content):
    read_label_file(tmp_path, content)


@few
@given(content=label_files)
def test_label_files(tmp_path_factory, content):
    read_label_file(tmp_path_factory.mktemp("labels"), content)


@pytest.mark.slow
@many
@given(content=label_files)
def test_many_label_files(tmp_path_factory, content):
    read_label_file(tmp_path_factory.mktemp("labels"), content)


# Parameter files

_scalar = st.one_of(
    st.integers().map(str), st.floats().map(str), _word, st.sampled_from(["~", "null", "010", "0x1", "1:30", "*a", "&a 1", "!!int x", "off", "2021-01-01", "[", "{", "- "])
)
_value = st.recursive(_scalar, lambda inner: st.one_of(st.lists(inner, max_size=3).map(lambda v: f"[{', '.join(v)}]"), st.tuples(_word, inner).map(lambda v: f"{{{v[0]}: {v[1]}}}")))
_name = st.one_of(st.sampled_from(sorted(RunConfig.model_fields)), _word)
parameter_files = st.one_of(
    st.binary(max_size=200), st.lists(st.tuples(_name, _value), max_size=6).map(lambda pairs: "\n".join(f"{n}: {v}" for n, v in pairs).encode("utf-8", "surrogatepass"))
)


def read_parameter_file(file, content: bytes) -> None:
    file.write_bytes(content)
    try:
        values = read_parameters(file)
    except ValueError as error:
        assert file.name in str(error)
        return
    try:
        RunConfig.parse(values)
    except ParameterError as error:
        assert str(error)


@pytest.mark.parametrize("content", PARAMETER_CORPUS, ids=lambda content: content[:20])
def test_parameter_files_that_were_found(tmp_path, content):
    read_parameter_file(tmp_path / "run.yaml", content.encode())
    try:
        read_value(content)
    except ValueError as error:
        assert str(error)


@few
@given(content=parameter_files)
def test_parameter_files(tmp_path_factory, content):
    read_parameter_file(tmp_path_factory.mktemp("parameters") / "run.yaml", content)


@pytest.mark.slow
@many
@given(content=parameter_files)
def test_many_parameter_files(tmp_path_factory, content):
    read_parameter_file(tmp_path_factory.mktemp("parameters") / "run.yaml", content)


# Images


@few
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10**9), head=st.booleans())
def test_images(tmp_path_factory, kind, seed, head):
    tried(tmp_path_factory.mktemp("images") / "a.png", mended(damaged(WHOLE[kind], seed, head)))


@pytest.mark.slow
@many
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10**9), head=st.booleans())
def test_many_images(tmp_path_factory, kind, seed, head):
    tried(tmp_path_factory.mktemp("images") / "a.png", mended(damaged(WHOLE[kind], seed, head)))


# DICOM

_numbers = st.one_of(st.sampled_from(["0", "1", "-1", "1A", "nan", "inf", "1e400", "", "1\\2", "2147483648", "-0", "one"]), st.integers(-(2**31), 2**31 - 1).map(str))
_headers = st.fixed_dictionaries(
    {},
    optional={
        **{name: _numbers for name in ("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")},
        **{name: st.integers(0, 65535) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration")},
        "PixelPaddingValue": st.integers(0, 65535),
        "PhotometricInterpretation": st.sampled_from(["MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "", "x"]),
        "PresentationLUTShape": st.sampled_from(["INVERSE", "IDENTITY", "LIN OD", ""]),
        "VOILUTFunction": st.sampled_from(["LINEAR", "SIGMOID", "LINEAR_EXACT", "x", ""]),
    },
)


def dicom(path, header: dict, seed: int, damage: bool) -> bytes:
    values = np.random.default_rng(seed % 7).integers(0, 4096, (24, 20)).astype(np.uint16)
    write(path, values=values)
    import pydicom

    dataset = pydicom.dcmread(path)
    for name, value in header.items():
        if isinstance(value, str):  # as the bytes of a file, which pydicom does not check before they are asked for
            tag = pydicom.datadict.tag_for_keyword(name)
            kind = pydicom.datadict.dictionary_VR(tag)
            dataset[name] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(tag), kind, len(value), value.encode(), 0, False, True)
        else:
            setattr(dataset, name, value)
    buffer = io.BytesIO()
    try:
        dataset.save_as(buffer)
    except Exception:  # pydicom refuses to write it
        return damaged(path.read_bytes(), seed, head=True)
    return damaged(buffer.getvalue(), seed, head=False) if damage else buffer.getvalue()


@few
@given(header=_headers, seed=st.integers(0, 10**9), damage=st.booleans())
@example(header={"NumberOfFrames": "1A"}, seed=0, damage=False)
@example(header={"RescaleSlope": "1e400", "RescaleIntercept": "0"}, seed=0, damage=False)
@example(header={"Rows": 65535, "Columns": 65535}, seed=0, damage=False)
@example(header={"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, seed=0, damage=False)
@example(header={"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "Rows": 12, "Columns": 20, "PixelPaddingValue": 5}, seed=0, damage=False)
def test_dicom(tmp_path_factory, header, seed, damage):
    path = tmp_path_factory.mktemp("dicom") / "a.dcm"
    tried(path, dicom(path, header, seed, damage))


@pytest.mark.slow
@many
@given(header=_headers, seed=st.integers(0, 10**9), damage=st.booleans())
def test_many_dicom(tmp_path_factory, header, seed, damage):
    path = tmp_path_factory.mktemp("dicom") / "a.dcm"
    tried(path, dicom(path, header, seed, damage))
