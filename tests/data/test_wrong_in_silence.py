"""Files that decode to a wrong picture elsewhere: here the right one, or a refusal. The measure is the sound picture."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from dicom_files import write
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit

from cxrlib.data.decode import ImageError, check_image, decode_image, decode_xray, squared

H, W = 96, 80


def chest() -> np.ndarray:
    """Fractions 0 ... 1, shape (96, 80): two dark lungs in bright tissue with ribs, brighter to the right."""
    yy, xx = np.mgrid[:H, :W] / np.array([H, W]).reshape(2, 1, 1)
    lungs = sum(np.exp(-(((xx - centre) / 0.14) ** 2) - ((yy - 0.5) / 0.3) ** 2) for centre in (0.28, 0.72))
    picture = 0.75 - 0.6 * lungs + 0.06 * np.sin(40 * yy) + 0.15 * xx
    return (picture - picture.min()) / np.ptp(picture)


CHEST = chest()
DEEP = np.rint(CHEST * 4095).astype(np.uint16)


def likeness(path, truth=CHEST, where=slice(None)) -> float:
    """Correlation with the sound picture; 0 for one that is so dark that eight bits hold little of it."""
    decoded = decode_xray(path)
    assert decoded.shape == truth.shape
    if np.ptp(decoded[where]) < 100:
        return 0.0
    return float(np.corrcoef(decoded[where].ravel(), truth[where].ravel())[0, 1])


def png(path, values: np.ndarray, colour_type: int, chunks: bytes = b""):
    """A PNG of 16 bits a channel; Pillow writes none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


# Negatives


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_a_tiff_whose_zero_is_white_is_inverted(tmp_path, kind, order):
    whole = 1.0 if kind[0] == "f" else 255 if kind == "u1" else 4095
    values = ((1 - CHEST) * whole).astype(order + kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite", byteorder=order)
    assert likeness(tmp_path / "a.tif") > 0.99
    tifffile.imwrite(tmp_path / "b.tif", (CHEST * whole).astype(order + kind), photometric="minisblack", byteorder=order)
    assert likeness(tmp_path / "b.tif") > 0.99


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("kind", "low", "high"), [("u4", 0, 2**32 - 1), ("u4", 2**30, 2**32 - 9), ("i1", -128, 127), ("i1", -50, 90), ("i4", -(2**31), 2**31 - 1)])
def test_large_and_signed_numbers_do_not_wrap(tmp_path, kind, low, high, compression, photometric):
    picture = CHEST if photometric == "minisblack" else 1 - CHEST
    values = np.rint(low + picture * (high - low)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, compression=compression)
    assert likeness(tmp_path / "a.tif") > 0.99


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY", None])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": "2048", "WindowWidth": "4096"}])
def test_dicom_is_inverted_once(tmp_path, photometric, shape, window):
    negative = photometric == "MONOCHROME1" or shape == "INVERSE"
    fields = {"PhotometricInterpretation": photometric} | ({"PresentationLUTShape": shape} if shape else {}) | window
    path = write(tmp_path / "a.dcm", values=4095 - DEEP if negative else DEEP, **fields)
    assert likeness(path) > 0.99


# Nearly black


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda: np.where(np.arange(H * W).reshape(H, W) == 5, 1.02, CHEST), id="one pixel at 1.02"),
        pytest.param(lambda: np.where(np.arange(H * W).reshape(H, W) == 5, 900.0, CHEST), id="one dead pixel"),
        pytest.param(lambda: CHEST * 1.06, id="overshoot of an interpolation"),
        pytest.param(lambda: CHEST * 3.2, id="optical density"),
        pytest.param(lambda: CHEST * 0.03, id="attenuation"),
        pytest.param(lambda: np.where(np.arange(H * W).reshape(H, W) == 5, -5e4, CHEST), id="one dead negative pixel"),
        pytest.param(lambda: CHEST * 255, id="8 bits"),
        pytest.param(lambda: CHEST * 4095, id="12 bits"),
    ],
)
def test_float_pictures_are_not_black(tmp_path, values):
    Image.fromarray(values().astype(np.float32)).save(tmp_path / "a.tif")
    assert likeness(tmp_path / "a.tif") > 0.99


@pytest.mark.parametrize(("values", "mark"), [(DEEP, 65535), (DEEP // 4, 65535), (CHEST.astype("f4"), -9999), (CHEST.astype("f4"), -1e30), (CHEST.astype("f4"), 65535), (DEEP.astype("i4") - 1024, -(2**31))])
@pytest.mark.parametrize("share", [0.002, 0.05, 0.4])
def test_what_stands_for_no_value_decides_nothing(tmp_path, values, mark, share):
    """A value far from all others that many pixels have: letters, or the frame of a detector."""
    marked = np.arange(values.size).reshape(values.shape) >= (1 - share) * values.size
    tifffile.imwrite(tmp_path / "a.tif", np.where(marked, mark, values).astype(values.dtype))
    assert likeness(tmp_path / "a.tif", where=~marked) > 0.99
    assert set(decode_image(tmp_path / "a.tif")[marked]) == {255 if mark > 0 else 0}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_a_channel_keeps_its_depth(tmp_path, bits, colour_type, channels):
    values = np.repeat(np.rint(CHEST * (2**bits - 1)).astype(np.uint16)[..., None], channels, axis=2)
    if channels in (2, 4):
        values[..., -1] = 65535
    assert likeness(png(tmp_path / "a.png", values, colour_type)) > 0.99


@pytest.mark.parametrize("largest", [0, 1, 255, 4095, 65535])
def test_alpha_of_16_bits(tmp_path, largest):
    values = np.stack([DEEP, DEEP, DEEP, np.full_like(DEEP, largest)], axis=2)
    assert likeness(png(tmp_path / "a.png", values, 6)) > 0.99


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}], ids=str)
def test_colour_tiff_of_16_bits_keeps_its_depth(tmp_path, bits, options):
    values = np.repeat(np.rint(CHEST * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)[..., None], 3, axis=2)
    if options.get("planarconfig"):
        values = np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", **options)
    assert likeness(tmp_path / "a.tif") > 0.99


@pytest.mark.parametrize("maximum", [1023, 4095, 65535])
def test_colour_ppm_of_16_bits_keeps_its_depth(tmp_path, maximum):
    values = np.repeat(np.rint(CHEST * min(maximum, 4095)).astype(">u2")[..., None], 3, axis=2)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# made\n%d %d\n%d\n" % (W, H, maximum) + values.tobytes())
    assert likeness(tmp_path / "a.ppm") > 0.99


def test_a_turned_deep_picture_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    values = np.repeat(DEEP[..., None], 3, axis=2)
    assert likeness(png(tmp_path / "a.png", values, 2, chunk), truth=CHEST.T[:, ::-1]) > 0.99


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("alpha", [0, 1, 255])
def test_a_wholly_clear_alpha_is_ignored(tmp_path, mode, alpha):
    image = Image.fromarray(np.rint(CHEST * 255).astype(np.uint8)).convert("RGB")
    image.putalpha(alpha)
    image = image.convert("LA") if mode == "LA" else image.convert("RGB").quantize(64) if mode == "PA" else image
    image.save(tmp_path / "a.png", **({"transparency": bytes([alpha] * 64)} if mode == "PA" else {}))
    assert likeness(tmp_path / "a.png") > 0.99


def table(entries: np.ndarray, bits: int, first: int = 0) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.LUTData = entries.astype(np.uint16).tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


@pytest.mark.parametrize(("says", "holds"), [(16, 12), (16, 8), (16, 16), (12, 12), (8, 8), (8, 12), (14, 10)])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_bits_that_a_table_uses_decide(tmp_path, says, holds, sequence):
    entries = np.rint(np.arange(4096) / 4095 * (2**holds - 1))
    fields = {sequence: [table(entries, says)]} | ({"ModalityLUTType": "US"} if sequence.startswith("M") else {})
    assert likeness(write(tmp_path / "a.dcm", values=DEEP, **fields)) > 0.99


def test_a_presentation_table_decides_the_polarity(tmp_path):
    entries = 4095 - np.arange(4096)
    path = write(tmp_path / "a.dcm", values=4095 - DEEP, PresentationLUTSequence=[table(entries, 12)])
    assert likeness(path) > 0.99


@pytest.mark.parametrize("window", [{}, {"WindowCenter": "2048", "WindowWidth": "4096"}])
@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [("u2", 65535, 65535), ("u2", 4095, 4095), ("u2", 0, 0), ("i2", -32768, -32768), ("i2", -2000, -2000), ("i2", -32768, 32768)],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_no_brightness(tmp_path, window, kind, value, written, photometric):
    inside = np.hypot(*(np.mgrid[:H, :W] - np.array([H / 2, W / 2]).reshape(2, 1, 1))) < 38
    stored = np.clip(4095 - DEEP if photometric == "MONOCHROME1" else DEEP, 1, 4094).astype(kind)
    stored[~inside] = value
    fields = {"PixelPaddingValue": written, "BitsStored": 16, "HighBit": 15, "PhotometricInterpretation": photometric}
    path = write(tmp_path / "a.dcm", values=stored, **(fields | {"PixelPaddingValue": value}), **window)
    if written != value:  # a negative value under the number that its bits spell without a sign
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\x28\0\x20\x01SS", b"\x28\0\x20\x01US"))
    assert likeness(path, where=inside) > 0.99
    assert (decode_image(path)[~inside] == 0).all()


def test_a_range_of_padding(tmp_path):
    stored = DEEP.copy()
    stored[:20] = np.random.default_rng(0).integers(60000, 65536, (20, W))
    path = write(tmp_path / "a.dcm", values=stored, PixelPaddingValue=60000, PixelPaddingRangeLimit=65535, BitsStored=16, HighBit=15)
    assert likeness(path, where=slice(20, None)) > 0.99


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_fractions_in_colour(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", np.repeat(CHEST.astype(kind)[..., None], 3, 2), photometric="rgb")
    assert likeness(tmp_path / "a.tif") > 0.99


def test_inks_of_16_bits_are_refused(tmp_path):
    inks = np.stack([0 * DEEP, 0 * DEEP, 0 * DEEP, 4095 - DEEP], 2)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    with pytest.raises(ImageError, match="a.tif: colour of more than 8 bits a channel.*save it as grey"):
        decode_xray(tmp_path / "a.tif")


def test_luma_and_chroma_become_grey_once(tmp_path):
    colours = np.stack([CHEST, 1 - CHEST, CHEST / 2], 2) * 255
    image = Image.fromarray(np.rint(colours).astype(np.uint8))
    stored = np.ascontiguousarray(np.asarray(image.convert("YCbCr")))
    path = write(tmp_path / "a.dcm", values=stored, PhotometricInterpretation="YBR_FULL")
    assert np.abs(decode_image(path).astype(int) - np.asarray(image.convert("L"))).max() <= 2
    with pytest.raises(ImageError, match="'YBR_PARTIAL_422' is no colour that is read"):
        decode_image(write(tmp_path / "b.dcm", values=stored, PhotometricInterpretation="YBR_PARTIAL_422"))


# Bits in the wrong place


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_bits_at_the_top_are_shifted(tmp_path, bits, kind):
    values = np.rint(CHEST * (2**bits - 1)).astype(np.uint16) - (0 if kind == "u2" else 2 ** (bits - 1))
    stored = (values.astype(np.uint16) << (16 - bits)).view(kind)
    path = write(tmp_path / "a.dcm", values=stored, BitsStored=bits, HighBit=15)
    assert likeness(path) > 0.99


@pytest.mark.parametrize(("bits", "high"), [(6, 7), (6, 5), (4, 3)])
def test_fewer_than_8_bits_are_not_dark(tmp_path, bits, high):
    stored = np.rint(CHEST * (2**bits - 1)).astype(np.uint8) << (high - bits + 1)
    assert likeness(write(tmp_path / "a.dcm", values=stored, BitsStored=bits, HighBit=high)) > 0.99


def test_more_bits_than_the_header_says_are_refused(tmp_path):
    path = write(tmp_path / "a.dcm", values=DEEP * 15, BitsStored=12, HighBit=11)
    with pytest.raises(ImageError, match="a.dcm: its header says 12 bits and its pixels use 16"):
        decode_image(path)


def test_old_overlays_in_unused_bits_are_left_out(tmp_path):
    stored = DEEP | (np.random.default_rng(0).integers(0, 2, DEEP.shape).astype(np.uint16) << 12)
    dataset = {"BitsStored": 12, "HighBit": 11}
    import pydicom

    path = write(tmp_path / "a.dcm", values=stored, **dataset)
    content = pydicom.dcmread(path)
    content.add_new(0x60000102, "US", 12)
    content.save_as(path)
    assert likeness(path) > 0.99


@pytest.mark.parametrize("kind", ["not extended", "extended"])
def test_signs_of_12_bits(tmp_path, kind):
    signed = DEEP.astype(np.int16) - 2048
    stored = signed & 0x0FFF if kind == "not extended" else signed
    assert likeness(write(tmp_path / "a.dcm", values=stored)) > 0.99


# Flat pictures


@pytest.mark.parametrize("look", [decode_xray, lambda path: squared(path, 16)])
@pytest.mark.parametrize(
    "values", [np.full((H, W), 255), np.zeros((H, W)), np.full((H, W), 128), np.where(np.arange(H * W).reshape(H, W) == 3, 0, 255)]
)
def test_one_grey_value_is_refused(tmp_path, values, look):
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a.png: it holds (hardly more than )?one grey value"):
        look(tmp_path / "a.png")


@pytest.mark.parametrize(("ground", "letters"), [(0, 255), (100, 255), (255, 0)])
def test_letters_on_an_empty_picture_are_no_picture(tmp_path, ground, letters):
    values = np.full((H, W), ground, np.uint8)
    values[4:12, 4:30] = letters
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=f"holds one grey value .{ground}. with letters or marks and no picture"):
        decode_xray(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (15, 300)])
def test_tiny_pictures_are_refused(tmp_path, size):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="at least 16 on each side"):
        decode_xray(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "RescaleSlope is 0"),
        ({"RescaleSlope": "nan", "RescaleIntercept": "0"}, "RescaleSlope, 'nan', is not a number"),
        ({"RescaleSlope": "1", "RescaleIntercept": "inf"}, "RescaleIntercept, 'inf', is not a number"),
        ({"WindowCenter": "nan", "WindowWidth": "100"}, "WindowCenter, 'nan', is not a number"),
        ({"WindowCenter": "10", "WindowWidth": "inf"}, "WindowWidth, 'inf', is not a number"),
        ({"WindowCenter": "90000", "WindowWidth": "10"}, "its window .centre 90000, width 10. leaves one grey value"),
        ({"VOILUTSequence": [table(np.full(4096, 7), 16)]}, "its VOI table leaves one grey value"),
        ({"VOILUTSequence": [table(np.arange(10), 16)], "PixelRepresentation": 0, "WindowCenter": "1"}, "its VOI table|one grey"),
    ],
)
def test_values_that_flatten_a_dicom_are_named(tmp_path, fields, words):
    with pytest.raises(ImageError, match=words):
        decode_xray(write(tmp_path / "a.dcm", values=DEEP, **fields))


# Damaged JPEG


def jpeg(**options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 6, (H * 4, W * 4))
    grey = np.kron(CHEST, np.ones((4, 4))) * 235 + 10 + noise
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert(options.pop("mode", "L")).save(buffer, "JPEG", **options)
    return buffer.getvalue()


DAMAGES = {
    "half": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "last tenth": lambda data: data[: len(data) * 9 // 10] + b"\xff\xd9",
    "middle third zero": lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) // 3 * 2 :],
    "middle third out": lambda data: data[: len(data) // 3] + data[len(data) // 3 * 2 :],
    "middle third twice": lambda data: data[: len(data) // 3 * 2] + data[len(data) // 3 :],
    "middle third of another": lambda data: data[: len(data) // 3] + np.random.default_rng(1).bytes(len(data) // 3).replace(b"\xff", b"\xfe") + data[len(data) // 3 * 2 :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 8}, {"mode": "RGB"}, {"mode": "CMYK"}], ids=str)
def test_damaged_jpeg_is_refused(tmp_path, damage, options):
    whole = jpeg(**dict(options))
    (tmp_path / "a.jpg").write_bytes(whole)
    decode_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(DAMAGES[damage](whole))
    with pytest.raises(ImageError, match="a.jpg: (truncated or damaged|.*; )"):
        decode_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("damage", ["half", "middle third zero", "middle third out"])
def test_damaged_jpeg_inside_dicom_is_refused(tmp_path, damage):
    whole = jpeg()
    grey = np.zeros((H * 4, W * 4), np.uint8)
    fields = {"syntax": JPEGBaseline8Bit, "BitsStored": 8, "HighBit": 7}
    decode_image(write(tmp_path / "a.dcm", values=grey, PixelData=encapsulate([whole]), **fields))
    path = write(tmp_path / "b.dcm", values=grey, PixelData=encapsulate([DAMAGES[damage](whole)]), **fields)
    with pytest.raises(ImageError, match="b.dcm: truncated or damaged"):
        decode_image(path)


def test_jpeg_of_12_bits_names_the_missing_decoder(tmp_path):
    frame = jpeg()
    place = frame.index(b"\xff\xc0") + 4
    deep = frame[:place] + b"\x0c" + frame[place + 1 :]
    deep = deep.replace(b"\xff\xc0", b"\xff\xc1", 1)
    grey = np.zeros((H * 4, W * 4), np.uint16)
    with pytest.raises(ImageError, match="a.dcm: compressed as 'JPEG Extended.* of 12 bits', for which no decoder is installed.*pip install"):
        decode_image(write(tmp_path / "a.dcm", values=grey, syntax=JPEGExtended12Bit, PixelData=encapsulate([deep])))
    (tmp_path / "b.jpg").write_bytes(deep)
    with pytest.raises(ImageError, match="b.jpg: .*more than 8 bits.*convert it to PNG"):
        decode_image(tmp_path / "b.jpg")


# What is sound and was refused


@pytest.mark.parametrize("look", [decode_image, check_image])
@pytest.mark.parametrize("where", ["text", "ztext", "itext", "profile", "many"])
def test_png_with_large_remarks_is_read(tmp_path, where, look):
    information = PngImagePlugin.PngInfo()
    options = {"pnginfo": information}
    if where == "profile":
        options["icc_profile"] = bytes(3_000_000)
    elif where == "many":
        for number in range(90):
            information.add_text(f"n{number}", "x" * 900_000, zip=True)
    elif where == "itext":
        information.add_itxt("note", "x" * 3_000_000, zip=True)
    else:
        information.add_text("note", "x" * 3_000_000, zip=where == "ztext")
    Image.fromarray(np.rint(CHEST * 255).astype(np.uint8)).save(tmp_path / "a.png", **options)
    look(tmp_path / "a.png")
    assert likeness(tmp_path / "a.png") > 0.99


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s9--00.png\n", "git-annex pointer.*git annex get"),
        (b"outs:\n- md5: 0\n", "DVC pointer"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"%PDF-1.4", "PDF document"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"PK\x03\x04" + bytes(20), "zip archive"),
        (bytes(4000), "nothing but zeros"),
        (b'{"error": "quota"}', "JSON"),
    ],
)
def test_foreign_files_are_told_apart(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    for look in (decode_image, check_image):
        with pytest.raises(ImageError, match=f"a.png: .*{words}"):
            look(tmp_path / "a.png")


# Memory


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path):
    import resource

    import pydicom

    plain = write(tmp_path / "a.dcm", values=DEEP)
    content = pydicom.dcmread(plain)
    content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content.save_as(tmp_path / "sound.dcm")
    assert likeness(tmp_path / "sound.dcm") > 0.99
    head = (tmp_path / "sound.dcm").read_bytes()
    start = head.index(b"DICM") + 4
    start += 12 + int.from_bytes(head[start + 8 : start + 12], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    with (tmp_path / "bomb.dcm").open("wb") as file:
        file.write(head[:start])
        for _ in range(600):
            file.write(deflate.compress(bytes(1 << 20)))
        file.write(deflate.flush())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="bomb.dcm: a deflated DICOM file of more than 480 MB"):
        decode_image(tmp_path / "bomb.dcm")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB more than before"


def test_a_pipe_is_no_image(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", "/dev/zero"):
        with pytest.raises(ImageError, match="neither a file nor a folder"):
            decode_image(path)
