"""What is given to ``make`` reaches ``cxr`` letter for letter, whatever a shell or make would read in it (U5)."""

import shutil
import subprocess

import pytest
from common import ROOT

CXR = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word" >> called; done
"""


@pytest.fixture
def checkout(tmp_path):
    """The Makefile with an environment that only notes how it was called."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    stamp = subprocess.run("cksum < requirements.lock | tr ' ' '-'", shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / f".installed-{stamp}").touch()
    for name in ("cxr", "python"):
        (tmp_path / ".venv" / "bin" / name).write_text(CXR)
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    return tmp_path


def called(checkout, *arguments: str) -> list[str]:
    subprocess.run(["make", *arguments], cwd=checkout, check=True, capture_output=True, text=True)
    return (checkout / "called").read_bytes().decode().split("\0")[:-1]


HOSTILE = ["`touch evil`", '"; touch evil; "', "'; touch evil; '", "$(touch evil)", "$(shell touch evil)", "${shell touch evil}", "a b", "a  b*", "$HOME", "#x", "-x", "a\\b", "$$", "%", "ä"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_folder_of_any_name_is_data(checkout, text):
    assert called(checkout, "book", f"DATA={text}", f"EXTERNAL={text}") == ["book", "--profile=demo", f"--data={text}", f"--external={text}"]
    assert not (checkout / "evil").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_so_is_every_other_variable(checkout, text):
    assert called(checkout, "results", f"DATA={text}", f"TABLE={text}", f"STUDY={text}") == ["results", f"--data={text}", f"--table={text}", f"--study={text}"]
    (checkout / "called").unlink()
    assert called(checkout, "book", f"PROFILE={text}") == ["book", f"--profile={text}"]
    (checkout / "called").unlink()
    assert called(checkout, "bench", f"BENCH={text}")[-1] == f"--out={text}"
    assert not (checkout / "evil").exists()


def test_without_data_nothing_is_given(checkout):
    assert called(checkout, "book") == ["book", "--profile=demo"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        called(checkout, "results")
    assert "name the data folder: make results DATA=" in caught.value.stderr


def test_a_students_edition_and_a_class_are_asked_for(checkout):
    assert called(checkout, "book", "STUDENT=1") == ["book", "--profile=demo", "--student"]
    (checkout / "called").unlink()
    assert called(checkout, "class") == ["book", "--student", "-m", "cxrlib.teach.kit"]
    (checkout / "called").unlink()
    assert called(checkout, "class", "WHEELS=1")[-1] == "--wheels"
