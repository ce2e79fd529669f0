"""Photographs come out of a zip in the public layout, and every wrong zip gets a sentence."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from cxrlib.data import photographs
from cxrlib.data.photographs import ArchiveError

CLASSES = ("n03000001", "n01000002", "n02000003")  # in no order, as in the public wnids.txt


def jpeg(colour, size=64):
    buffer = io.BytesIO()
    Image.new("RGB" if isinstance(colour, tuple) else "L", (size, size), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def contents(colour=False, size=64, instances=3):
    """A small archive as a dictionary: class c, photograph i is of grey 40 c + 5 i, or red with that much of it."""
    files = {"wnids.txt": "\n".join(CLASSES), "words.txt": "n00000000\tentity"}
    annotations = []
    for label, wnid in enumerate(CLASSES):
        for number in range(instances):
            value = 40 * label + 5 * number
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = jpeg((value, 0, 0) if colour else value, size)
        for number in (2 * label, 2 * label + 1):
            files[f"val/images/val_{number}.JPEG"] = jpeg(200 + label, size)
            annotations.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
    return files | {"val/val_annotations.txt": "\n".join(reversed(annotations))}


def write(path, files, root="tiny-imagenet-200/", extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(root + name, content)
        for name, content in extra:
            archive.writestr(name, content)
    return path


def test_classes_come_in_the_order_of_the_list_and_photographs_by_number(tmp_path):
    files = contents(instances=12)  # 10 and 11 follow 9, though 'x_10' sorts before 'x_2'
    training, unseen = photographs.read(write(tmp_path / "a.zip", files), 2, 11, 32, unseen_size=24)
    assert training.images.shape == (22, 32, 32) and training.images.dtype == np.uint8 and training.classes == CLASSES[:2]
    assert training.labels.tolist() == [0] * 11 + [1] * 11 and training.labels.dtype == np.int64
    np.testing.assert_allclose(training.images.mean((1, 2)), [40 * c + 5 * i for c in range(2) for i in range(11)], atol=1)
    assert unseen.images.shape == (4, 24, 24) and unseen.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(unseen.images.mean((1, 2)), [200, 200, 201, 201], atol=1)


def test_fewer_classes_are_among_more(tmp_path):
    path = write(tmp_path / "a.zip", contents())
    few, many = photographs.read(path, 2, 2, 16)[0], photographs.read(path, 3, 2, 16)[0]
    assert many.classes[:2] == few.classes and np.array_equal(many.images[:4], few.images)


def test_colour_becomes_luma_at_any_size(tmp_path):
    training, _ = photographs.read(write(tmp_path / "a.zip", contents(colour=True)), 3, 3, 40)
    assert training.images.shape == (9, 40, 40)
    np.testing.assert_allclose(training.images.mean((1, 2)), [0.299 * (40 * c + 5 * i) for c in range(3) for i in range(3)], atol=1.5)


def test_size_is_bicubic_and_only_changed_where_it_differs(tmp_path):
    pattern = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pattern).save(buffer, "PNG")
    files = contents(size=32) | {f"train/{CLASSES[0]}/images/{CLASSES[0]}_0.JPEG": buffer.getvalue()}
    path = write(tmp_path / "a.zip", files)
    assert np.array_equal(photographs.read(path, 2, 1, 32)[0].images[0], pattern)
    larger = np.asarray(Image.fromarray(pattern).resize((48, 48), Image.Resampling.BICUBIC))
    assert np.array_equal(photographs.read(path, 2, 1, 48)[0].images[0], larger)


def check(path, match, classes=3, instances=3):
    with pytest.raises(ArchiveError, match=match) as caught:
        photographs.read(path, classes, instances, 32)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_no_file_no_zip_and_a_folder(tmp_path):
    check(tmp_path / "none.zip", "no such file.*PHOTOS=")
    (tmp_path / "page.zip").write_text("<html>404</html>")
    check(tmp_path / "page.zip", "not a zip.*get tiny-imagenet-200.zip again")
    (tmp_path / "empty.zip").touch()
    check(tmp_path / "empty.zip", "not a zip")
    check(tmp_path, "no such file")


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_zip_that_was_cut_off(tmp_path, kept):
    whole = write(tmp_path / "whole.zip", contents()).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(len(whole) * kept)])
    check(tmp_path / "cut.zip", "not a zip, cut off or damaged")


def test_damage_inside_is_found(tmp_path):
    path = write(tmp_path / "a.zip", contents())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"tiny-imagenet-200/train/{CLASSES[1]}/images/{CLASSES[1]}_1.JPEG")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + 40] ^= 0xFF
    path.write_bytes(data)
    check(path, "damaged")


def test_another_archive(tmp_path):
    check(write(tmp_path / "a.zip", contents(), root="cifar/"), "no folder 'tiny-imagenet-200'")
    files = contents()
    for name in ("wnids.txt", "val/val_annotations.txt"):
        check(write(tmp_path / "b.zip", {key: value for key, value in files.items() if key != name}), f"{name}' is missing")
    check(write(tmp_path / "c.zip", files | {"wnids.txt": "cat\ndog\nbird"}), "names no class.*'cat'")
    check(write(tmp_path / "d.zip", files | {"wnids.txt": "\n".join(CLASSES[:1] * 3)}), "twice")


def test_missing_classes_and_photographs_are_named(tmp_path):
    files = contents()
    path = write(tmp_path / "a.zip", files)
    check(path, "has 3 classes and 4 are needed", classes=4)
    check(path, f"class {CLASSES[0]} has 3 of 4 photographs", instances=4)
    without = {name: value for name, value in files.items() if not name.startswith(f"train/{CLASSES[1]}")}
    path = write(tmp_path / "b.zip", without)
    check(path, f"class {CLASSES[1]} has 0 of 3 photographs")
    check(write(tmp_path / "c.zip", {k: v for k, v in files.items() if k != "val/images/val_3.JPEG"}), "'val/images/val_3.JPEG' is missing")
    check(write(tmp_path / "d.zip", files | {"val/val_annotations.txt": f"val_0.JPEG\t{CLASSES[0]}"}), "names none of its photographs")


@pytest.mark.parametrize("name", ["../../home/x.txt", "/etc/x", "tiny-imagenet-200/../../x", "..\\x", "C:\\x", "C:x"])
def test_members_that_lead_out_are_refused_before_anything_is_read(tmp_path, name, monkeypatch):
    path = write(tmp_path / "a.zip", contents(), extra=[(name, b"x")])
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("read from a hostile archive"))
    check(path, "leads out of the archive")
    assert sorted(tmp_path.iterdir()) == [path]


def test_bombs_cost_neither_memory_nor_time(tmp_path, monkeypatch):
    photograph = f"train/{CLASSES[0]}/images/{CLASSES[0]}_0.JPEG"
    zeros = bytes(photographs.MAXIMUM_BYTES + 1)
    check(write(tmp_path / "a.zip", contents() | {photograph: zeros}), "bytes, over the limit")
    check(write(tmp_path / "b.zip", contents() | {"wnids.txt": bytes(photographs.MAXIMUM_TEXT + 1)}), "wnids.txt' has .* over the limit")
    check(write(tmp_path / "c.zip", contents() | {photograph: jpeg(0, 2_000)}), "2000 x 2000 pixels, over the limit of 512")
    monkeypatch.setattr(photographs, "MAXIMUM_MEMBERS", 10)
    check(write(tmp_path / "d.zip", contents()), "another archive, or a bomb")


def test_a_list_that_states_less_than_there_is(tmp_path):
    """A member whose stated size lies is read to the stated size, and then its checksum does not fit."""
    photograph = f"tiny-imagenet-200/train/{CLASSES[0]}/images/{CLASSES[0]}_0.JPEG"
    path = write(tmp_path / "a.zip", contents() | {photograph.partition("/")[2]: bytes(10_000_000)})
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2" , data.index(b"PK\1\2"))
    while data[entry + 46 : entry + 46 + len(photograph)] != photograph.encode():
        entry = data.index(b"PK\1\2", entry + 4)
    struct.pack_into("<I", data, entry + 24, 1000)  # uncompressed size
    path.write_bytes(data)
    check(path, "damaged")


def test_encrypted_members_and_pictures_that_are_none(tmp_path):
    path = write(tmp_path / "a.zip", contents() | {f"train/{CLASSES[2]}/images/{CLASSES[2]}_2.JPEG": b"GIF89a no photograph"})
    check(path, f"{CLASSES[2]}_2.JPEG' is damaged or no photograph")
    path = write(tmp_path / "b.zip", contents())
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    check(path, "encrypted")


def test_numbers_out_of_range(tmp_path):
    path = write(tmp_path / "a.zip", contents())
    for numbers in ((1, 3, 32), (3, 0, 32), (3, 3, 4), (3, 3, 32, 4)):
        with pytest.raises(ValueError, match="nothing to train on"):
            photographs.read(path, *numbers)
