"""DICOM files: each takes the place of the first training image of a sound folder."""

import io
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from dicom_files import write
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from bad_inputs import Bad
from bad_inputs.images import JPEG, PLACE, deep_jpeg, zeroed

DICOM = partial(Bad, "DICOM file")
DEEP = (np.random.default_rng(0).integers(0, 4096, (64, 64))).astype(np.uint16)
GREY = (DEEP // 16).astype(np.uint8)


def fields(values: np.ndarray = DEEP, change=None, **given):
    """A sound file but for these header fields; ``change`` is applied to its bytes."""

    def make(place: Path) -> None:
        write(place / PLACE, values=values, **given)
        if change is not None:
            (place / PLACE).write_bytes(change((place / PLACE).read_bytes()))

    return make


def raw(tag: bytes, kind: bytes, value: bytes):
    """The bytes of one short element instead of those that pydicom would write."""

    def change(content: bytes) -> bytes:
        start = content.index(tag + kind)
        length = int.from_bytes(content[start + 6 : start + 8], "little")
        value_padded = value + b" " * (len(value) % 2)
        return content[: start + 6] + len(value_padded).to_bytes(2, "little") + value_padded + content[start + 8 + length :]

    return change


def without(name: str):
    def make(place: Path) -> None:
        write(place / PLACE, values=DEEP)
        dataset = pydicom.dcmread(place / PLACE)
        del dataset[name]
        dataset.save_as(place / PLACE)

    return make


def compressed(syntax, frame: bytes, values: np.ndarray = GREY):
    return fields(values, syntax=syntax, PixelData=encapsulate([frame]), BitsStored=8 * values.itemsize, HighBit=8 * values.itemsize - 1)


def deflated(damage):
    def make(place: Path) -> None:
        write(place / PLACE, values=DEEP)
        dataset = pydicom.dcmread(place / PLACE)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(place / PLACE)
        content = (place / PLACE).read_bytes()
        start = content.index(b"DICM") + 16 + int.from_bytes(content[140:144], "little")
        (place / PLACE).write_bytes(content[:start] + damage(content[start:]))

    return make


def inflating(_: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(deflate.compress(bytes(1 << 22)) for _ in range(150)) + deflate.flush()


def table(entries: np.ndarray, says: int | None = None) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [says or len(entries), 0, 16]
    item.LUTData = entries.astype(np.uint16).tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


def run_lengths() -> bytes:
    return (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + bytes([200, 5]) * 40


def lossless() -> bytes:
    return JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1)


def rgb() -> np.ndarray:
    return np.ascontiguousarray(np.repeat(GREY[..., None], 3, 2))


def preview() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GREY[:16, :16]).save(buffer, "JPEG")
    return buffer.getvalue()


NUMBER = "is not a number"
BAD = ("train.txt:1", "train-negative-0.png", "unreadable image")
ROWS = [
    DICOM("NumberOfFrames is 'one'", fields(NumberOfFrames="1", change=raw(b"\x28\0\x08\0", b"IS", b"one")), (*BAD, "NumberOfFrames, 'one'", NUMBER, "export the image again")),
    DICOM("NumberOfFrames is '1A'", fields(NumberOfFrames="1", change=raw(b"\x28\0\x08\0", b"IS", b"1A")), (*BAD, "NumberOfFrames, '1A'", NUMBER)),
    DICOM("Rows has two values", fields(change=raw(b"\x28\0\x10\0", b"US", b"\x40\0\x40\0")), (*BAD, "Rows", NUMBER)),
    DICOM("Columns has one byte", fields(change=raw(b"\x28\0\x11\0", b"US", b"@  ")), (*BAD, "Columns")),
    DICOM("Rows is 0", fields(Rows=0), (*BAD, "without an image", "remove its row")),
    DICOM("it has no pixels", without("PixelData"), (*BAD, "without an image", "remove its row")),
    DICOM("it has no Rows", without("Rows"), (*BAD, "without an image")),
    DICOM("it has no BitsAllocated", without("BitsAllocated"), (*BAD, "BitsAllocated 0", "export it again")),
    DICOM("it does not say whether bone is bright", without("PhotometricInterpretation"), (*BAD, "does not say whether bone is bright", "MONOCHROME2")),
    DICOM("it has two frames", fields(NumberOfFrames="2", PixelData=DEEP.tobytes() * 2), (*BAD, "2 frames", "save the frame as a file of its own")),
    DICOM("it has 20 frames and does not say so", fields(PixelData=DEEP.tobytes() * 20), (*BAD, "20 frames", "save the frame as a file of its own")),
    DICOM("it says 60,000 x 60,000 pixels", fields(Rows=60_000, Columns=60_000), (*BAD, "over the limit of 80,000,000")),
    DICOM("its pixels are cut off", fields(PixelData=DEEP.tobytes()[:100]), (*BAD, "truncated or damaged pixel data")),
    DICOM("it is cut off in the header", fields(change=lambda content: content[:300]), (*BAD, "export")),
    DICOM("it is cut off in the first tag", fields(change=lambda content: content[:134]), (*BAD, "DICOM")),
    DICOM("its transfer syntax is unknown", fields(change=lambda content: content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1)), (*BAD, "export")),
    DICOM("SamplesPerPixel is 7", fields(SamplesPerPixel=7), (*BAD, "SamplesPerPixel 7", "contradicts itself")),
    DICOM("BitsAllocated is 12", fields(BitsAllocated=12), (*BAD, "BitsAllocated 12")),
    DICOM("BitsStored is more than BitsAllocated", fields(BitsStored=20), (*BAD, "BitsStored 20")),
    DICOM("HighBit is below BitsStored", fields(HighBit=3), (*BAD, "HighBit 3", "contradicts itself")),
    DICOM("its pixels use more bits than it says", fields(DEEP * 15), (*BAD, "12 bits and its pixels use 16", "export it again")),
    DICOM("RescaleSlope is 0", fields(RescaleSlope="0", RescaleIntercept="5"), (*BAD, "RescaleSlope is 0", "one grey value")),
    DICOM("RescaleSlope is NaN", fields(RescaleSlope="1", RescaleIntercept="0", change=raw(b"\x28\0\x53\x10", b"DS", b"NaN ")), (*BAD, "RescaleSlope, 'NaN'", NUMBER)),
    DICOM("RescaleIntercept is infinite", fields(RescaleSlope="1", RescaleIntercept="0", change=raw(b"\x28\0\x52\x10", b"DS", b"inf ")), (*BAD, "RescaleIntercept, 'inf'", NUMBER)),
    DICOM("RescaleSlope has two values", fields(RescaleSlope=["1", "2"], RescaleIntercept="0"), (*BAD, "RescaleSlope", NUMBER)),
    DICOM("RescaleSlope has a decimal comma", fields(RescaleSlope="1", RescaleIntercept="0", change=raw(b"\x28\0\x53\x10", b"DS", b"1,5 ")), (*BAD, "RescaleSlope, '1,5'", NUMBER)),
    DICOM("WindowCenter is NaN", fields(WindowCenter="5", WindowWidth="9", change=raw(b"\x28\0\x50\x10", b"DS", b"NaN ")), (*BAD, "WindowCenter, 'NaN'", NUMBER)),
    DICOM("WindowWidth is text", fields(WindowCenter="5", WindowWidth="9", change=raw(b"\x28\0\x51\x10", b"DS", b"wide")), (*BAD, "WindowWidth, 'wide'", NUMBER)),
    DICOM("its window lies beside its values", fields(WindowCenter="90000", WindowWidth="10"), (*BAD, "its window (centre 90000, width 10)", "one grey value")),
    DICOM("its first window is one grey value wide", fields(WindowCenter=["2000", "2048"], WindowWidth=["1", "4096"]), (*BAD, "its window (centre 2000, width 1) leaves 2 grey values", "export it again without, or as PNG")),
    DICOM("its VOI table is a staircase", fields(VOILUTSequence=[table(np.arange(4096) // 512 * 8000)]), (*BAD, "its VOI table leaves 8 grey values")),
    DICOM("its window is of an unknown kind", fields(WindowCenter="2000", WindowWidth="100", VOILUTFunction="CUBIC"), (*BAD, "'CUBIC' is unknown", "export it as PNG")),
    DICOM("its VOI table makes all pixels equal", fields(VOILUTSequence=[table(np.full(4096, 7))]), (*BAD, "its VOI table leaves one grey value")),
    DICOM("its VOI table is shorter than it says", fields(VOILUTSequence=[table(np.arange(100), 4096)]), (*BAD, "4096 entries and holds")),
    DICOM("PixelPaddingValue is text", fields(PixelPaddingValue=0, change=raw(b"\x28\0\x20\x01", b"US", b"none  ")), (*BAD, "PixelPaddingValue", NUMBER)),
    DICOM("all its pixels are equal", fields(np.full((64, 64), 700, np.uint16)), (*BAD, "one grey value")),
    DICOM("it is one pixel", fields(DEEP[:1, :1]), (*BAD, "1 x 1 pixels")),
    DICOM("its colour is of a retired kind", fields(rgb(), PhotometricInterpretation="YBR_PARTIAL_422"), (*BAD, "YBR_PARTIAL_422", "export it again, as grey")),
    DICOM("its palette is missing", fields(GREY, PhotometricInterpretation="PALETTE COLOR"), (*BAD, "its palette cannot be applied")),
    DICOM("the JPEG inside is cut off", compressed(JPEGBaseline8Bit, JPEG[: len(JPEG) // 2] + b"\xff\xd9"), (*BAD, "damaged JPEG data")),
    DICOM("the JPEG inside is zero in its middle", compressed(JPEGBaseline8Bit, zeroed(JPEG)), (*BAD, "damaged JPEG data")),
    DICOM("the JPEG inside is smaller than it says", compressed(JPEGBaseline8Bit, preview()), (*BAD, "damaged pixel data")),
    DICOM("the JPEG inside has 12 bits", compressed(JPEGExtended12Bit, deep_jpeg(), DEEP), (*BAD, "for which no decoder is installed", "pip install")),
    DICOM("the JPEG inside is lossless", compressed(JPEGLosslessSV1, lossless(), DEEP), (*BAD, "for which no decoder is installed", "pip install")),
    DICOM("the run lengths inside are damaged", compressed(RLELossless, run_lengths()), (*BAD, "damaged pixel data")),
    DICOM("the compressed pixels have no items", fields(GREY, syntax=JPEGBaseline8Bit, PixelData=b"\xfe\xff\0\xe0" + bytes(4), BitsStored=8, HighBit=7), (*BAD, "damaged")),
    DICOM("it is deflated and damaged", deflated(lambda content: content[:20] + bytes(40) + content[60:]), (*BAD, "damaged DICOM file")),
    DICOM("it is deflated and cut off", deflated(lambda content: content[: len(content) // 2]), (*BAD, "export")),
    DICOM("it is deflated from 600 MB", deflated(inflating), (*BAD, "a deflated DICOM file of more than 480 MB")),
    DICOM("it is text under the name of a DICOM file", lambda place: (place / PLACE).write_bytes(bytes(128) + b"DICM" + b"text" * 90), (*BAD, "export")),
]
