"""The image cache: exact, parallel, resumable after a kill, built once, and clear about what it cannot do."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from PIL import Image

from cxrlib.data import cache
from cxrlib.data.cache import ImageCache
from cxrlib.data.decode import ImageError, squared
from cxrlib.processes import run_tasks


def make_images(folder: Path, count: int) -> pd.DataFrame:
    (folder / "train").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (20 + number % 3, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"{number}.png")
    return pd.DataFrame({"file": [f"{number}.png" for number in range(count)], "split": "train"})


@pytest.fixture
def images(tmp_path):
    return tmp_path / "set", make_images(tmp_path / "set", 40)


def expected(folder: Path, index: pd.DataFrame, size: int) -> np.ndarray:
    return np.stack([squared(folder / "train" / name, size) for name in index["file"]])


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_follow_the_index(images, tmp_path, workers, monkeypatch, capfd):
    monkeypatch.setattr(cache, "CHUNK", 4)
    folder, index = images
    index = index.sample(frac=1, random_state=1)
    built = ImageCache.open_or_build(index, folder, 16, tmp_path / "cache", "f" * 64, workers=workers)
    assert isinstance(built.images, np.memmap) and built.images.dtype == np.uint8 and not built.images.flags.writeable
    np.testing.assert_array_equal(built.images, expected(folder, index, 16))
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) in ([".lock", ".npy"], [".npy"])
    progress = capfd.readouterr().err
    assert "40/40" in progress and "image/s" in progress and progress.isascii()


def test_an_existing_cache_is_opened_not_built(images, tmp_path, monkeypatch, capfd):
    folder, index = images
    first = ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("it was built again"))
    again = ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64)
    assert again.path == first.path


def test_another_size_content_order_or_choice_is_another_cache(images, tmp_path):
    folder, index = images
    paths = {
        ImageCache.open_or_build(rows, folder, size, tmp_path, name, workers=1, progress=False).path
        for rows, size, name in [
            (index, 16, "f" * 64),
            (index, 17, "f" * 64),
            (index, 16, "e" * 64),
            (index, 16, "f" * 32 + "-test"),
            (index[:9], 16, "f" * 64),
            (index[::-1], 16, "f" * 64),
        ]
    }
    assert len(paths) == 6


def test_failed_images_are_named_and_the_rest_is_kept(images, tmp_path, monkeypatch):
    folder, index = images
    good = (folder / "train" / "7.png").read_bytes()
    (folder / "train" / "7.png").write_bytes(good[:50])
    (folder / "train" / "30.png").write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    message = str(caught.value)
    assert "2 of 40 images" in message and "7.png: truncated" in message and "30.png: the file is empty" in message
    assert not list(tmp_path.glob("*.npy"))
    for name in ("7.png", "30.png"):
        (folder / "train" / name).write_bytes(good)
    asked = []
    monkeypatch.setattr(cache, "squared", lambda path, size: asked.append(Path(path).name) or squared(path, size))
    built = ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    assert sorted(asked) == ["30.png", "7.png"]
    np.testing.assert_array_equal(built.images, expected(folder, index, 16))


BUILD = """
import sys, time
import pandas as pd
from cxrlib.data import cache, decode as images

cache.SAVE_EVERY, cache.CHUNK = 0.0, 2
index = pd.DataFrame({"file": [f"{n}.png" for n in range(40)], "split": "train"})
if sys.argv[3] == "1":
    plain = cache.squared
    cache.squared = lambda path, size: time.sleep(0.1) or plain(path, size)
print(cache.ImageCache.open_or_build(index, sys.argv[1], 16, sys.argv[2], "f" * 64, workers=int(sys.argv[3])).path)
"""


def start(folder: Path, cache_folder: Path, workers: int) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # From stdin: workers must not need the main script.
    process = subprocess.Popen(
        [sys.executable, "-", str(folder), str(cache_folder), str(workers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    process.stdin.write(BUILD)
    process.stdin.close()
    process.stdin = None
    return process


def done_rows(folder: Path) -> int:
    return sum(sum(path.read_bytes()) for path in folder.glob("*.done"))


def test_kill_and_resume(images, tmp_path, monkeypatch):
    folder, index = images
    process = start(folder, tmp_path / "cache", workers=1)
    until = time.monotonic() + 60
    while done_rows(tmp_path / "cache") < 6 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = done_rows(tmp_path / "cache")
    assert 6 <= done < 40 and not list((tmp_path / "cache").glob("*.npy"))
    asked = []
    monkeypatch.setattr(cache, "squared", lambda path, size: asked.append(path) or squared(path, size))
    built = ImageCache.open_or_build(index, folder, 16, tmp_path / "cache", "f" * 64, workers=1, progress=False)
    assert len(asked) == 40 - done
    np.testing.assert_array_equal(built.images, expected(folder, index, 16))


def test_two_processes_build_one_cache(images, tmp_path):
    folder, index = images
    both = [start(folder, tmp_path / "cache", workers=2), start(folder, tmp_path / "cache", workers=1)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    built = np.load(outputs[0][0].strip(), mmap_mode="r")
    np.testing.assert_array_equal(built, expected(folder, index, 16))


@pytest.mark.parametrize("damage", ["done", "partial", "npy"])
def test_damaged_files_are_built_again(images, tmp_path, damage):
    folder, index = images
    whole = (folder / "train" / "3.png").read_bytes()
    if damage != "npy":
        (folder / "train" / "3.png").write_bytes(b"")
        with pytest.raises(ImageError):
            ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
        (folder / "train" / "3.png").write_bytes(whole)
    else:
        ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    file = next(tmp_path.glob(f"*.{damage}"))
    file.write_bytes(file.read_bytes()[:-1])
    built = ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    np.testing.assert_array_equal(built.images, expected(folder, index, 16))


def test_a_full_disk_is_told_before_the_work(images, tmp_path, monkeypatch):
    folder, index = images
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10, 9, 1))
    with pytest.raises(OSError, match="the cache needs 10 kB and 1 bytes are free; free space"):
        ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)


def test_what_cannot_be_cached_is_refused(images, tmp_path):
    folder, index = images
    with pytest.raises(ValueError, match="at least one row"):
        ImageCache.open_or_build(index[:0], folder, 16, tmp_path, "f")
    outside = pd.DataFrame({"file": ["../../secret.png"], "split": ["train"]})
    with pytest.raises(ValueError, match="climbs out"):
        ImageCache.open_or_build(outside, folder, 16, tmp_path, "f")


def test_a_killed_worker_is_told():
    with pytest.raises(RuntimeError, match="a worker process was ended"):
        list(run_tasks(os._exit, [(3,), (3,)], workers=2))


def test_decoding_and_workers_do_not_import_torch():
    code = "import sys, cxrlib.data.cache, cxrlib.data.decode; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 0


# Damage


def built_here(folder: Path, index: pd.DataFrame, cache_folder: Path, **options) -> ImageCache:
    cache._verified.cache_clear()  # as a new process
    return ImageCache.open_or_build(index, folder, 16, cache_folder, "f" * 64, workers=1, progress=False, **options)


def flip(content: bytearray) -> None:
    content[200] ^= 1


def zeros(content: bytearray) -> None:
    content[400:1000] = bytes(600)


def other_order(content: bytearray) -> None:
    content[:] = content.replace(b"False", b"True ", 1)


def other_shape(content: bytearray) -> None:
    content[:] = content.replace(b"(40, 16, 16)", b"(16, 40, 16)", 1)


def swapped_rows(content: bytearray) -> None:
    content[128:384], content[384:640] = content[384:640], content[128:384]


def in_the_sums(content: bytearray) -> None:
    content[-40] ^= 1


def in_the_last_digest(content: bytearray) -> None:
    content[-1] ^= 1


def no_sums(content: bytearray) -> None:
    del content[-(4 * 40 + 32) :]


def bad_header(content: bytearray) -> None:
    content[10:40] = b"{'descr': " + b"[" * 20


@pytest.mark.parametrize(
    "damage", [flip, zeros, other_order, other_shape, swapped_rows, in_the_sums, in_the_last_digest, no_sums, bad_header], ids=lambda f: f.__name__
)
def test_a_damaged_cache_is_never_used(images, tmp_path, damage, capfd):
    """S2: whatever was damaged, also with size and modification time put back."""
    folder, index = images
    path = built_here(folder, index, tmp_path).path
    status = path.stat()
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    built = ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64, workers=1, progress=False)
    np.testing.assert_array_equal(built.images, expected(folder, index, 16))
    assert "is damaged or was cut short; it is built again" in capfd.readouterr().err


def test_a_process_that_verified_a_cache_does_not_read_it_again(images, tmp_path, monkeypatch):
    folder, index = images
    built_here(folder, index, tmp_path)
    monkeypatch.setattr(cache.zlib, "crc32", lambda *_: pytest.fail("it was read again"))
    ImageCache.open_or_build(index, folder, 16, tmp_path, "f" * 64)


def test_rows_damaged_before_a_build_goes_on_are_made_again(images, tmp_path):
    folder, index = images
    whole = (folder / "train" / "3.png").read_bytes()
    (folder / "train" / "3.png").write_bytes(b"")
    with pytest.raises(ImageError):
        built_here(folder, index, tmp_path)
    (folder / "train" / "3.png").write_bytes(whole)
    (unfinished,) = tmp_path.glob("*.partial")
    content = bytearray(unfinished.read_bytes())
    content[128 + 7 * 256 + 5] ^= 255
    unfinished.write_bytes(content)
    (done,) = tmp_path.glob("*.done")
    done.write_bytes(b"\1" * 40)  # and a list that says too much
    np.testing.assert_array_equal(built_here(folder, index, tmp_path).images, expected(folder, index, 16))


def test_images_that_changed_since_they_were_read_are_refused(images, tmp_path):
    """S3: nothing is cached under the fingerprint of other images, and the right cache is made once they are back."""
    from cxrlib.data.provenance import contents

    folder, index = images
    index = index.assign(patient_id="p", label="positive", source="s")
    known = contents(index, folder)
    image = folder / "train" / "5.png"
    whole = image.read_bytes()
    Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(image)
    with pytest.raises(ImageError, match=r"(?s)1 of 40 images.*5.png: the file has changed since the data were read; run the command again"):
        built_here(folder, index, tmp_path / "cache", contents=known)
    image.write_bytes(whole)
    np.testing.assert_array_equal(built_here(folder, index, tmp_path / "cache", contents=known).images, expected(folder, index, 16))


def test_a_data_set_hands_the_digests_behind_its_fingerprint_to_its_caches(covidx_folder, tmp_path):
    from cxrlib.data.dataset import read_dataset

    folder = tmp_path / "data"
    shutil.copytree(covidx_folder, folder)
    dataset = read_dataset(folder, None, tmp_path / "cache", False)
    image = folder / "train" / dataset.index["file"][0]
    Image.fromarray(np.zeros((48, 48), dtype=np.uint8)).save(image)
    with pytest.raises(ImageError, match="has changed since the data were read"):
        dataset.images("train", 16, tmp_path / "cache")


@pytest.mark.parametrize("name", ["DECODER_VERSION", "PROTOCOL_VERSION"])
def test_other_decoders_make_another_cache(images, tmp_path, monkeypatch, name):
    """S4: a change of what decoding means, or of the protocol, does not meet old pixels."""
    folder, index = images
    first = built_here(folder, index, tmp_path).path
    cache.decoders.cache_clear()
    monkeypatch.setattr(cache, name, getattr(cache, name) + 1)
    second = built_here(folder, index, tmp_path).path
    cache.decoders.cache_clear()
    assert first != second
    assert all(word in cache.decoders() for word in ("pillow", "pydicom", "jpeg"))


def test_a_damaged_memory_of_digests_changes_no_fingerprint(images, tmp_path):
    """S2's kind: one digit of a remembered digest would be another data set, and another key of every run."""
    from cxrlib.data.provenance import fingerprint

    folder, index = images
    index = index.assign(patient_id="p", label="positive", source="s")
    first = fingerprint(index, folder, tmp_path)
    (memory,) = tmp_path.glob("contents-*.json")
    text = memory.read_text()
    for place in (len(text) // 2, len(text) - 60, 70):
        digit = next(i for i in range(place, len(text)) if text[i] in "0123456789")
        memory.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
        assert fingerprint(index, folder, tmp_path) == first


def test_amounts_are_read_at_a_glance():
    assert [cache.amount(n) for n in (12, 10_000, 16_700_000, 2_400_000_000)] == ["12 bytes", "10 kB", "17 MB", "2.40 GB"]
