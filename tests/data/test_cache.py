"""The image cache: exact, parallel, resumable after a kill, built once, and clear about what it cannot do."""

from common import ROOT
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
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
