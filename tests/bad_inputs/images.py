"""Image files: each takes the place of the first training image of a sound folder."""

import hashlib
import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from bad_inputs import Bad
from cxrlib.data.grey import ImageError
from cxrlib.data.jpeg import refuse_damaged_jpeg

IMAGE = partial(Bad, "image")
PLACE = "set/train/train-negative-0.png"
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)


def content(data: bytes | None):
    """Other bytes in the image file; None puts a pipe there."""

    def make(place: Path) -> None:
        (place / PLACE).unlink()
        if data is None:
            os.mkfifo(place / PLACE)
        else:
            (place / PLACE).write_bytes(data)

    return make


def encoded(kind: str, values: np.ndarray = NOISE, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def zeroed(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def frames(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[Image.fromarray(255 - NOISE)])


def bomb(side: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def deep_jpeg() -> bytes:
    data = encoded("JPEG")
    place = data.index(b"\xff\xc0") + 4
    return (data[:place] + b"\x0c" + data[place + 1 :]).replace(b"\xff\xc0", b"\xff\xc1", 1)


def folder(place: Path) -> None:
    (place / PLACE).unlink()
    (place / PLACE).mkdir()


def another_picture() -> tuple[bytes, bytes]:
    """A JPEG, and the same with one byte changed in a way that no decoder notices."""
    sound = encoded("JPEG", quality=90)
    pixels = np.asarray(Image.open(io.BytesIO(sound)))
    for place in range(len(sound) // 2, len(sound) - 2):
        changed = sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :]
        try:
            refuse_damaged_jpeg("a.jpg", changed)
        except ImageError:
            continue
        if (np.asarray(Image.open(io.BytesIO(changed))) != pixels).any():
            return sound, changed
    raise AssertionError("every change is noticed")


def sums(change=None, name: str = "SHA256SUMS"):
    """A checksum file of the sound folder, then a change of the folder."""

    def make(place: Path) -> None:
        sound, changed = another_picture()
        (place / PLACE).write_bytes(sound)
        paths = sorted(path for path in (place / "set").rglob("*") if path.is_file())
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} *{path.relative_to(place / 'set')}" for path in paths]
        (place / "set" / name).write_text("\n".join(lines) + "\n")
        if change is None:
            (place / PLACE).write_bytes(changed)
        else:
            change(place / "set")

    return make


def swapped(folder: Path) -> None:
    """Two images under each other's name."""
    first, second = folder / "train" / "train-negative-0.png", folder / "train" / "train-positive-0.png"
    first.rename(folder / "train" / "x")
    second.rename(first)
    (folder / "train" / "x").rename(second)


def edited(name: str, change):
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


TRAIN = ("train", "-p", "data=set", "-p", "cache=../c")
CHECKSUMS = partial(Bad, "checksum file")
NAN = np.where(np.arange(4096).reshape(64, 64) == 7, np.nan, NOISE).astype(np.float32)
BAD = ("train.txt:1", "train-negative-0.png", "unreadable image")
AGAIN = "download or copy it again"
JPEG = encoded("JPEG", quality=90)
ROWS = [
    IMAGE("it is empty", content(b""), (*BAD, "the file is empty", AGAIN)),
    IMAGE("its second half is missing", content(encoded("PNG")[:2000]), (*BAD, "truncated or damaged", AGAIN)),
    IMAGE("a byte of a PNG is damaged", content(flipped(encoded("PNG"))), (*BAD, "truncated or damaged", AGAIN)),
    IMAGE("the second half of a JPEG is missing and an end marker is there", content(JPEG[: len(JPEG) // 2] + b"\xff\xd9"), (*BAD, "damaged JPEG data", AGAIN)),
    IMAGE("the middle third of a JPEG is zero", content(zeroed(JPEG)), (*BAD, "damaged JPEG data", AGAIN)),
    IMAGE("the middle third of a progressive JPEG is zero", content(zeroed(encoded("JPEG", progressive=True))), (*BAD, "damaged JPEG data")),
    IMAGE("part of a JPEG stands there twice", content(JPEG[: len(JPEG) // 2] + JPEG[len(JPEG) // 3 :]), (*BAD, "damaged JPEG data")),
    IMAGE("a JPEG has no end", content(JPEG[: len(JPEG) // 2]), (*BAD, "damaged")),
    IMAGE("a JPEG has 12 bits", content(deep_jpeg()), (*BAD, "more than 8 bits", "convert it to PNG")),
    IMAGE("half of a TIFF is missing", content(encoded("TIFF")[:2000]), (*BAD, "truncated or damaged", AGAIN)),
    IMAGE("a compressed TIFF is damaged", content(zeroed(encoded("TIFF", compression="tiff_adobe_deflate"))), (*BAD, "truncated or damaged")),
    IMAGE("half of a WebP is missing", content(encoded("WEBP")[:700]), (*BAD, "truncated or damaged")),
    IMAGE("half of a BMP is missing", content(encoded("BMP")[:2000]), (*BAD, "truncated or damaged")),
    IMAGE("half of a GIF is missing", content(encoded("GIF")[:2000]), (*BAD, "truncated")),
    IMAGE("half of a JPEG 2000 is missing", content(encoded("JPEG2000")[:1500]), (*BAD, "damaged")),
    IMAGE("it is text", content(b"hello, no image"), (*BAD, "not an image of a known format", "convert it to PNG")),
    IMAGE("it is a web page", content(b"<!DOCTYPE html><html>404</html>"), (*BAD, "a web page", "download the image again")),
    IMAGE("it is an error message in JSON", content(b'{"error": "quota exceeded"}'), (*BAD, "JSON", "download the image again")),
    IMAGE("it is a Git LFS pointer", content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), (*BAD, "a Git LFS pointer", "git lfs pull")),
    IMAGE("it is a git-annex pointer", content(b"/annex/objects/SHA256E-s9--0.png\n"), (*BAD, "git-annex pointer", "git annex get")),
    IMAGE("it is a DVC pointer", content(b"outs:\n- md5: 0\n"), (*BAD, "DVC pointer", "dvc pull")),
    IMAGE("it is a PDF", content(b"%PDF-1.7\n"), (*BAD, "a PDF document", "save the page as PNG")),
    IMAGE("it is a zip archive", content(b"PK\x03\x04" + bytes(30)), (*BAD, "a zip archive", "unpack it")),
    IMAGE("it is compressed by gzip", content(b"\x1f\x8b\x08" + bytes(30)), (*BAD, "gzip", "unpack it")),
    IMAGE("it is a NumPy array", content(b"\x93NUMPY\x01\x00" + bytes(30)), (*BAD, "a NumPy array", "save it as PNG")),
    IMAGE("it is a HEIC photograph", content(b"\0\0\0\x18ftypheic" + bytes(30)), (*BAD, "HEIC", "convert it to PNG")),
    IMAGE("it is an AVIF picture", content(b"\0\0\0\x18ftypavif" + bytes(30)), (*BAD, "AVIF", "convert it to PNG")),
    IMAGE("it is a JPEG XL picture", content(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)), (*BAD, "JPEG XL", "convert it to PNG")),
    IMAGE("it is a Photoshop file", content(b"8BPS\0\1" + bytes(30)), (*BAD, "a Photoshop file", "save it as PNG")),
    IMAGE("it is a drawing in SVG", content(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), (*BAD, "a drawing", "save it as PNG")),
    IMAGE("it is a Windows shortcut", content(b"L\0\0\0\x01\x14\x02\0" + bytes(30)), (*BAD, "a Windows shortcut", "copy the image itself")),
    IMAGE("it is all zeros", content(bytes(5000)), (*BAD, "nothing but zeros", AGAIN)),
    IMAGE("it has two frames (GIF)", content(frames("GIF")), (*BAD, "2 frames", "save the frame as a file")),
    IMAGE("it has two frames (WebP)", content(frames("WEBP")), (*BAD, "2 frames")),
    IMAGE("it has two pages (TIFF)", content(frames("TIFF")), (*BAD, "2 frames")),
    IMAGE("it is white", content(encoded("PNG", np.full((64, 64), 255, np.uint8))), (*BAD, "one grey value (255)", "export it again or remove its row")),
    IMAGE("it is black", content(encoded("PNG", np.zeros((64, 64), np.uint8))), (*BAD, "one grey value (0)")),
    IMAGE("it is white with one dark pixel", content(encoded("PNG", np.where(np.arange(4096).reshape(64, 64) == 9, 0, 255).astype(np.uint8))), (*BAD, "hardly more than one grey value")),
    IMAGE("it is black with a label", content(encoded("PNG", np.where(np.arange(4096).reshape(64, 64) < 100, 255, 3).astype(np.uint8))), (*BAD, "one grey value (3) with letters or marks", "export it again or remove its row")),
    IMAGE("it is a black JPEG", content(encoded("JPEG", np.zeros((64, 64), np.uint8))), (*BAD, "one grey value (0)")),
    IMAGE("it holds four grey levels", content(encoded("PNG", NOISE // 64)), (*BAD, "hardly more than one grey value (0 ... 3 of 255)")),
    IMAGE("it is one pixel", content(encoded("PNG", NOISE[:1, :1])), (*BAD, "1 x 1 pixels", "at least 16 on each side")),
    IMAGE("it is one pixel high", content(encoded("PNG", NOISE[:1])), (*BAD, "64 x 1 pixels")),
    IMAGE("a value is not a number", content(tiff(NAN)), (*BAD, "not numbers or infinite", "export the image again")),
    IMAGE("a value is infinite", content(tiff(np.where(np.isnan(NAN), np.inf, NAN))), (*BAD, "not numbers or infinite")),
    IMAGE("it has inks of 16 bits", content(tiff(np.repeat(NOISE[..., None].astype(np.uint16), 4, 2), photometric="separated")), (*BAD, "save it as grey of 16 bits")),
    IMAGE("it says 400 million pixels", content(bomb(20_000)), (*BAD, "over the limit of 80,000,000", "remove its row")),
    IMAGE("it says 4 billion pixels", content(bomb(65_000)), (*BAD, "over the limit of 80,000,000")),
    IMAGE("it is a folder", folder, ("train.txt:1", "no file 'train-negative-0.png'")),
    IMAGE("it is a pipe", content(None), ("train.txt:1", "no file 'train-negative-0.png'")),
    CHECKSUMS("a byte of a JPEG was changed and it still decodes", sums(), ("train.txt:1", "checksum differs", "is another file than SHA256SUMS:", "download or copy it again")),
    CHECKSUMS("a byte of a JPEG was changed and a training begins", sums(), ("1 image(s) are others than their checksums say", "train-negative-0.png", "write the checksum file anew"), TRAIN),
    CHECKSUMS("two images were exchanged", sums(swapped, "images.sha256"), ("train.txt:1", "train.txt:5", "is another file than images.sha256:")),
    CHECKSUMS("a label file was changed", sums(edited("test.txt", lambda old: old.replace("testnegative0", "other"))), ("checksum differs", "set/test.txt: 'test.txt' is another file than")),
    CHECKSUMS("a line of it is cut short", sums(edited("SHA256SUMS", lambda old: old[8:])), ("SHA256SUMS:1", "unreadable checksum", "write the file anew with sha256sum")),
    CHECKSUMS("it names a file twice", sums(edited("SHA256SUMS", lambda old: old + "0" * 64 + "  train.txt\n")), ("SHA256SUMS:15", "'train.txt' has another checksum in SHA256SUMS:", "delete the wrong one")),
    CHECKSUMS("it is empty", sums(edited("SHA256SUMS", lambda old: "")), ("SHA256SUMS:1", "it names no file", "write it anew with sha256sum, or delete it")),
    CHECKSUMS("it has comments only", sums(edited("SHA256SUMS", lambda old: "# made by hand\n\n")), ("SHA256SUMS:1", "it names no file")),
    CHECKSUMS("it is saved as UTF-16", sums(lambda folder: (folder / "SHA256SUMS").write_bytes("a".encode("utf-16"))), ("SHA256SUMS", "is not UTF-8")),
]
