"""A book that is made again: what has changed is noticed, what was made is not lost, and a kill leaves no builder behind."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from common import write_folder
from nbformat.v4 import new_code_cell, new_notebook

from cxrlib.book import build, render
from cxrlib.book.notebooks import BookError, execute, folder_state, stamp
from cxrlib.config import ParameterError
from cxrlib.phantom import folder as phantoms
from cxrlib.study.parameters import Profile


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "data", train=3, test=2)


def swap(first: Path, second: Path) -> None:
    """Exchange two files of equal size, with their times as they were in each place."""
    states = [path.stat() for path in (first, second)]
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    for path, state in zip((first, second), states, strict=True):
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def swapped_labels(folder: Path) -> None:
    (folder / "phantom.json").write_text("{}")
    text = (folder / "train.txt").read_text()
    (folder / "train.txt").write_text(text.replace("negative made", "X").replace("positive made", "negative made").replace("X", "positive made"))


def two_images(folder: Path) -> None:
    names = [folder / "train" / f"train-{label}-0.png" for label in ("negative", "positive")]
    size = max(path.stat().st_size for path in names)
    for path in names:
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    folder_state(folder, folder.parent / "cache")
    swap(*names)


def one_byte(folder: Path) -> None:
    path = folder / "test" / "test-negative-0.png"
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def a_mask(folder: Path) -> None:
    (folder / "masks").mkdir()
    (folder / "masks" / "a.png").write_bytes(b"1")


@pytest.mark.parametrize("phantom", [False, True])
@pytest.mark.parametrize("change", [swapped_labels, two_images, one_byte, a_mask], ids=lambda f: f.__name__)
def test_a_changed_folder_has_another_state(folder, tmp_path, change, phantom):
    """S5: also a folder of phantoms, also at equal size and time, also with the digests remembered."""
    if phantom:
        (folder / "phantom.json").write_text("{}")
    first = folder_state(folder, tmp_path / "cache")
    assert folder_state(folder, tmp_path / "cache") == first
    change(folder)
    assert folder_state(folder, tmp_path / "cache") != first
    assert folder_state(folder, tmp_path / "cache") == folder_state(folder)


def test_a_folder_with_an_undecodable_file_name_has_a_state(folder, tmp_path):
    name = os.fsencode(folder / "train") + b"/\xff.png"
    first = folder_state(folder, tmp_path / "cache")
    with open(name, "wb") as file:
        file.write(b"1")
    second = folder_state(folder, tmp_path / "cache")
    assert second != first
    os.rename(name, name.replace(b"\xff", b"\xfe"))
    assert folder_state(folder, tmp_path / "cache") != second


def test_a_folder_whose_name_is_no_text_is_named(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/d\xff")
    write_folder(Path(place), train=1, test=1)
    with pytest.raises(BookError, match=r"d\\udcff is not UTF-8; rename it"):
        build._state(Path(place), tmp_path)


def test_the_labels_folder_the_profile_and_the_weights_join_the_state_of_a_page(tmp_path):
    """S5: whatever a parameter names; lists too."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "train.txt").write_text("a")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "quarter.yaml").write_text("description: a")
    (tmp_path / "mine.safetensors").write_bytes(b"1")
    given = {"labels": "labels", "init": "mine.safetensors", "masks": "labels"}
    before = build.file_states("06_shortcuts", given, tmp_path)
    assert set(before) == {str(tmp_path / name) for name in ("labels", "profiles/quarter.yaml", "mine.safetensors")}
    for path in ("labels/train.txt", "profiles/quarter.yaml", "mine.safetensors"):
        (tmp_path / path).write_bytes(b"another")
        after = build.file_states("06_shortcuts", given, tmp_path)
        assert after != before, path
        before = after
    listed = build.file_states("03_test_performance", {"inits": ["random", "mine.safetensors"]}, tmp_path)
    assert str(tmp_path / "mine.safetensors") in listed
    assert any("fractal-s" in path for path in build.file_states("03_test_performance", {"inits": ["random", "fractal-s"]}, tmp_path))


def template(path: Path) -> Path:
    cells = [new_code_cell("number = 1  # a number", metadata={"tags": ["parameters"]}), new_code_cell("print(number)")]
    path.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}), path)
    return path


def test_shipped_weights_join_the_stamp(tmp_path, monkeypatch):
    from cxrlib.book import notebooks

    notebook = template(tmp_path / "n" / "a.ipynb")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "fractal-s.safetensors").write_bytes(b"1")
    monkeypatch.setattr(notebooks, "LIBRARY", tmp_path)
    first = stamp(notebook, {}, {}, {})
    (tmp_path / "weights" / "fractal-s.safetensors").write_bytes(b"2")
    assert stamp(notebook, {}, {}, {}) != first


@pytest.mark.parametrize("damage", ["content", "digest", "cut", "gone"])
def test_a_damaged_execution_is_made_again(tmp_path, damage):
    """S2's kind: what was kept of a page is shown only as it was kept."""
    source = template(tmp_path / "notebooks" / "01_first.ipynb")
    destination = tmp_path / "book" / "executed" / "01_first.ipynb"
    given = ({"number": 2}, {}, {"data": "x"}, tmp_path)
    assert execute(source, destination, *given)
    (kept,) = tmp_path.glob(".cache/book/executed/*/*.ipynb")
    if damage == "content":
        kept.write_text(kept.read_text().replace('"2\\n"', '"3\\n"'))
    elif damage == "cut":
        kept.write_text(kept.read_text()[:-20])
    else:
        kept.with_suffix(".sha256").write_text("0" * 64) if damage == "digest" else kept.with_suffix(".sha256").unlink()
    assert execute(source, destination, *given) is True
    assert "2\n" in json.dumps(json.loads(destination.read_text())) or "2\\n" in destination.read_text()
    assert execute(source, destination, *given) is False


def test_the_old_pages_stand_until_the_new_ones_are_beside_them(tmp_path, monkeypatch):
    """L1: the cache on another disk, and that disk, or this one, full."""
    pages, built = tmp_path / "_build" / "html", tmp_path / "cache" / "html"
    for path, text in ((pages, "old"), (built, "new")):
        path.mkdir(parents=True)
        (path / "index.html").write_text(text)

    def other_disk(source, target, *_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", other_disk)
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(BookError, match="cannot write .*No space left on device.*the old pages still stand"):
            render._put_in_place(built, pages)
    assert (pages / "index.html").read_text() == "old"
    assert [path.name for path in pages.parent.iterdir()] == ["html"]
    render._put_in_place(built, pages)
    assert (pages / "index.html").read_text() == "new"
    assert [path.name for path in pages.parent.iterdir()] == ["html"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second disk at hand")
def test_pages_move_from_one_disk_to_another(tmp_path):
    other = Path("/dev/shm") / f"cxr-test-{os.getpid()}"
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is the same disk")
    other.mkdir()
    try:
        (other / "index.html").write_text("new")
        render._put_in_place(other, tmp_path / "_build" / "html")
    finally:
        shutil.rmtree(other, ignore_errors=True)
    assert (tmp_path / "_build" / "html" / "index.html").read_text() == "new"


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "/etc/x", "", "x\0y", "-x", ".hidden", "a b", "x\n"])
def test_a_profile_is_a_name(name, tmp_path):
    """L5: it also names folders that are replaced."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "x.yaml").write_text("description: outside")
    with pytest.raises(ParameterError, match="is no name of a profile; give that of a file in"):
        Profile.load(name, tmp_path / "profiles")


def test_books_of_two_folders_of_one_name_lie_apart(tmp_path):
    """L5: and each finds its own again."""
    first, second = (tmp_path / place / "covid" for place in ("a", "b"))
    for path in (first, second):
        path.mkdir(parents=True)
    one = build.pages_folder(tmp_path, "demo-covid", [first])
    two = build.pages_folder(tmp_path, "demo-covid", [second])
    assert one == tmp_path / "_build" / "demo-covid"
    assert two.parent == one.parent and two.name.startswith("demo-covid-") and two != one
    assert build.pages_folder(tmp_path, "demo-covid", [first]) == one
    assert build.pages_folder(tmp_path, "demo-covid", [second]) == two
    assert build.pages_folder(tmp_path, "demo-covid", [first, second]) not in (one, two)
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "_build").iterdir())


@pytest.mark.parametrize("name", ["*", "[ab]*", "?"])
def test_making_phantoms_deletes_nothing_that_a_pattern_would_fit(tmp_path, name):
    """L5: a folder may be called '*'."""
    others = [tmp_path / ".a.partial-1", tmp_path / ".ab.partial-2"]
    for other in others:
        other.mkdir()
        (other / "kept").write_text("x")
    made = phantoms.generate(tmp_path / name, train_positive=1, train_negative=1, test_per_class=1, size=32, workers=1, progress=False)
    assert made == tmp_path / name and all((other / "kept").is_file() for other in others)


STARTER = """
import subprocess, sys, os
from cxrlib.book import render
code = render.BUILDER.replace("from jupyter_book.cli.main import main", "def main():\\n    import time\\n    while True:\\n        open(__import__('sys').argv[1], 'a').write('x')\\n        time.sleep(0.05)")
with subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], stdin=subprocess.PIPE) as builder:
    print(builder.pid, flush=True)
    builder.wait()
"""


def test_the_page_builder_ends_with_the_process_that_was_killed(tmp_path):
    """C8: an orphan went on writing beside the next build."""
    written = tmp_path / "written"
    parent = subprocess.Popen([sys.executable, "-c", STARTER, str(written)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    until = time.monotonic() + 60
    while not written.exists() and time.monotonic() < until:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    size = written.stat().st_size
    time.sleep(0.3)
    assert written.stat().st_size == size


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_made_as_the_umask_says(tmp_path, umask):
    """U5."""
    from cxrlib.files import atomic_write

    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "deep" / "file", "x")
        (tmp_path / "plain").write_text("x")
        phantoms.generate(tmp_path / "phantom", train_positive=1, train_negative=1, test_per_class=1, size=32, workers=1, progress=False)
    finally:
        os.umask(before)
    for path in (tmp_path / "deep" / "file", tmp_path / "phantom" / "phantom.json"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask == (tmp_path / "plain").stat().st_mode & 0o777
    assert (tmp_path / "phantom").stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    from cxrlib.files import atomic_write

    atomic_write(tmp_path / "a", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write .*No space left"):
        atomic_write(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_damaged_cache_of_fractals_is_drawn_again(tmp_path):
    """S2's kind."""
    from cxrlib.train import fractals

    images, _ = fractals.dataset(2, 2, 16, 0, workers=1, cache=tmp_path, progress=False)
    first = images.copy()
    (path,) = tmp_path.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    images, _ = fractals.dataset(2, 2, 16, 0, workers=1, cache=tmp_path, progress=False)
    assert (images == first).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.with_suffix(".sha256").read_text()
