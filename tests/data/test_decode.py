"""Decoding of what people really have. Images are made here; nothing real is needed."""

import io

import numpy as np
import pytest
from PIL import Image

from cxrlib.data.decode import ImageError, check_image, decode_image, decode_mask, image_size, squared
from cxrlib.data.grey import to_8_bits

H, W = 24, 40
RAMP = np.linspace(0, 255, H * W).round().astype(np.uint8).reshape(H, W)


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def luma(red, green, blue) -> int:
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pgm", "gif"])
def test_8_bit_grey_is_kept_exactly(tmp_path, suffix):
    decoded = decode_image(save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP)))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RAMP)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jfif", "JPEG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP"), ("a.png", "JPEG"), ("a.jpg", "PNG"), ("a", "PNG"), ("a.dcm", "PNG"), ("a.jp2", "JPEG2000")],
)
def test_content_decides_not_the_name(tmp_path, name, kind):
    decoded = decode_image(save(tmp_path / name, Image.fromarray(RAMP).convert("RGB"), format=kind))
    assert decoded.shape == (H, W)
    assert np.abs(decoded.astype(int) - RAMP).mean() < 3


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_modes_of_a_grey_picture_agree(tmp_path, mode):
    source = Image.fromarray(np.where(RAMP > 127, 255, 0).astype(np.uint8) if mode == "1" else RAMP)
    converted = source.convert(mode) if mode in ("LA", "P", "1") else source.convert("RGB").convert(mode)
    decoded = decode_image(save(tmp_path / "a.tif", converted))
    assert np.abs(decoded.astype(int) - np.asarray(source)).max() <= (2 if mode == "YCbCr" else 1)


def test_palette_entries_become_luma(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([200, 100, 50, 0, 0, 0, 255, 255, 255])
    assert decode_image(save(tmp_path / "a.png", image)).tolist() == [[luma(200, 100, 50), 0, 255]]


def test_cmyk_jpeg(tmp_path):
    decoded = decode_image(save(tmp_path / "a.jpg", Image.fromarray(RAMP).convert("CMYK"), quality=95))
    assert np.abs(decoded.astype(int) - RAMP).max() < 12


def test_colour_becomes_luma(tmp_path):
    decoded = decode_image(save(tmp_path / "a.png", Image.new("RGB", (3, 2), (200, 100, 50))))
    assert (decoded == luma(200, 100, 50)).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparency_is_laid_on_black(tmp_path, mode):
    colours = [(200, 255), (200, 128), (200, 0)]
    image = Image.new("RGBA", (3, 1))
    for column, (grey, alpha) in enumerate(colours):
        image.putpixel((column, 0), (grey, grey, grey, alpha))
    if mode == "PA":
        image = image.quantize()
    path = save(tmp_path / "a.png", image.convert("LA") if mode == "LA" else image)
    np.testing.assert_allclose(decode_image(path)[0], [200, 100, 0], atol=1)


def test_transparent_grey_level_of_png(tmp_path):
    decoded = decode_image(save(tmp_path / "a.png", Image.fromarray(np.array([[10, 200, 255]], np.uint8)), transparency=200))
    assert decoded.tolist() == [[10, 0, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    turned = {
        1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.T,
        6: RAMP.T[:, ::-1], 7: RAMP.T[::-1, ::-1], 8: RAMP.T[::-1],
    }  # fmt: skip
    np.testing.assert_array_equal(decode_image(path), turned[orientation])


def test_exif_orientation_of_16_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", Image.fromarray(RAMP.astype(np.uint16) * 257), exif=exif)
    np.testing.assert_array_equal(decode_image(path), RAMP.T[:, ::-1])


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"II*\0" + b"\xff" * 40, b"MM\0*\0\0\0\x08\0\x01\x01\x12"])
def test_damaged_exif_refuses_no_picture(tmp_path, suffix, exif):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP), exif=exif)
    assert decode_image(path).shape == RAMP.shape and image_size(path) == RAMP.shape[::-1]


KINDS = ["8 bits", "16 bits", "64-bit float", "deep colour", "dark deep colour", "planar deep colour", "inverted 16 bits, big endian"]


def test_a_damaged_orientation_turns_nothing(tmp_path):
    import tifffile

    for number, (kind, count, value) in enumerate((("H", 2, (6, 6)), ("s", 0, "six"), ("H", 1, 300), ("2I", 1, (6, 1)))):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, RAMP / 255, extratags=[(274, kind, count, value, True)], metadata=None)
        assert decode_image(path).shape == RAMP.shape


@pytest.mark.parametrize("kind", KINDS)
def test_orientation_of_every_kind_of_tiff(tmp_path, kind):
    import tifffile

    wide = np.add.outer(np.arange(60) * 2, np.arange(40) * 3).astype(np.uint16)
    wide[:20, :10] = 0
    values, more = {
        "8 bits": (wide.astype(np.uint8), {}), "16 bits": (wide * 200, {}), "64-bit float": (wide / 255, {}),
        "deep colour": (np.dstack([wide * 200] * 3), {"photometric": "rgb"}), "dark deep colour": (np.dstack([wide * 10] * 3), {"photometric": "rgb"}),
        "planar deep colour": (np.stack([wide * 200] * 3), {"photometric": "rgb", "planarconfig": "separate"}),
        "inverted 16 bits, big endian": (60000 - wide * 200, {"photometric": "miniswhite", "byteorder": ">"}),
    }[kind]  # fmt: skip
    path = tmp_path / "a.tif"
    for orientation, turns in ((1, 0), (6, -1), (3, 2), (8, 1)):
        tifffile.imwrite(path, values, extratags=[(274, "H", 1, orientation, True)], metadata=None, **more)
        decoded, wanted = decode_image(path), np.rot90(wide, turns)
        assert decoded.shape == wanted.shape and image_size(path) == wanted.shape[::-1]
        assert np.corrcoef(decoded.ravel(), wanted.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_are_scaled_by_the_bits_they_use(tmp_path, bits, suffix):
    deep = np.round(RAMP / 255 * (2**bits - 1)).astype(np.uint16)
    decoded = decode_image(save(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    assert np.abs(decoded.astype(int) - RAMP).max() <= 1


def test_exposure_of_deep_images_is_kept_and_hot_pixels_do_not_darken():
    dim = np.linspace(0, 2500, 10_000).astype(np.uint16)
    assert to_8_bits(dim).max() == round(2500 / 4095 * 255), "12 bits in use, not stretched to white"
    hot = dim.copy()
    hot[:5] = 65535
    np.testing.assert_array_equal(to_8_bits(hot)[5:], to_8_bits(dim)[5:])
    assert (to_8_bits(hot)[:5] == 255).all()


def test_other_depths(tmp_path):
    for values in (RAMP.astype(np.float32) / 255, RAMP.astype(np.float32), RAMP.astype(np.int32) * 257):
        decoded = decode_image(save(tmp_path / "a.tif", Image.fromarray(values)))
        assert np.abs(decoded.astype(int) - RAMP).max() <= 1
    hounsfield = decode_image(save(tmp_path / "b.tif", Image.fromarray(RAMP.astype(np.float32) * 8 - 1024)))
    assert (hounsfield.min(), hounsfield.max()) == (0, 255)
    assert (to_8_bits(np.zeros((2, 2), np.uint16)) == 0).all()
    bad = RAMP.astype(np.float32)
    bad[0, 0] = np.nan
    with pytest.raises(ImageError, match="c.tif: it holds values that are not numbers"):
        decode_image(save(tmp_path / "c.tif", Image.fromarray(bad)))


def encoded(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (64, 64), dtype=np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("look", [decode_image, check_image])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files(tmp_path, kind, share, look):
    content = encoded(kind)
    path = tmp_path / "cut.png"
    path.write_bytes(content[: max(6, int(len(content) * share))])
    with pytest.raises(ImageError, match=r"cut\.png: (truncated or damaged|not an image)"):
        look(path)


@pytest.mark.parametrize("look", [decode_image, check_image])
def test_files_that_are_no_images(tmp_path, look):
    for name, content, words in [
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"hello, this is not an image", "not an image"),
        ("page.jpg", b"<!DOCTYPE html><html>404</html>", "not an image"),
        ("text.dcm", b"x" * 400, "not an image"),
        ("short.dcm", b"\x08\x00", "not an image"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name}: .*{words}.*;"):
            look(tmp_path / name)
    with pytest.raises(ImageError, match="gone.png: there is no such file"):
        look(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="cannot be read"):
        look(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        look("a\0.png")


@pytest.mark.parametrize("look", [decode_image, check_image])
@pytest.mark.parametrize("side", [9_200, 20_000])
def test_decompression_bombs_are_refused_before_decoding(tmp_path, side, look):
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(ImageError, match="bomb.png: .*over the limit of 80,000,000"):
        look(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="2 frames"):
        decode_image(path)


def test_sound_files_pass_the_quick_check(tmp_path):
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        (tmp_path / "a").write_bytes(encoded(kind))
        check_image(tmp_path / "a")
    (tmp_path / "a").write_bytes(encoded("JPEG") + b"trailing bytes")
    check_image(tmp_path / "a")


def test_masks_of_any_value(tmp_path):
    truth = RAMP > 100
    for value in (1, 128, 255):
        path = save(tmp_path / "mask.png", Image.fromarray((truth * value).astype(np.uint8)))
        mask = decode_mask(path)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, truth)
    assert not decode_mask(save(tmp_path / "none.png", Image.fromarray(np.zeros((4, 4), np.uint8)))).any()


@pytest.mark.parametrize("size", [16, 48, 200, 640])
@pytest.mark.parametrize("quality", [None, 60])
def test_soft_edges_of_a_mask_are_no_third_level(tmp_path, size, quality):
    row, column = np.mgrid[:96, :96]
    truth = (((column - 30) / 16) ** 2 + ((row - 48) / 34) ** 2 < 1) | (((column - 66) / 16) ** 2 + ((row - 48) / 34) ** 2 < 1)
    scaled = Image.fromarray((255 * truth).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    path = save(tmp_path / "mask", scaled, **({"format": "PNG"} if quality is None else {"format": "JPEG", "quality": quality}))
    mask = decode_mask(path)
    back = np.asarray(Image.fromarray(mask).resize((96, 96), Image.Resampling.NEAREST))
    overlap = (back & truth).sum() / (back | truth).sum()
    assert overlap > (0.8 if size == 16 else 0.95)


def test_squared_squeezes_with_antialiasing(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 64))
    square = squared(save(tmp_path / "a.png", Image.fromarray(stripes)), 16)
    assert square.shape == (16, 16) and square.dtype == np.uint8
    assert np.abs(square.astype(int) - 127).max() < 12, "fine stripes average out instead of aliasing"


@pytest.mark.parametrize(("suffix", "mode"), [("png", "L"), ("png", "RGB"), ("png", "P"), ("jpg", "L"), ("jpg", "RGB")])
def test_squared_is_what_pillow_makes_of_the_file(tmp_path, suffix, mode):
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise).convert(mode))
    with Image.open(path) as image:
        plain = image.convert("RGB").convert("L") if mode == "P" else image.convert("L")
        np.testing.assert_array_equal(squared(path, 32), np.asarray(plain.resize((32, 32), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(decode_image(path), np.asarray(plain))
