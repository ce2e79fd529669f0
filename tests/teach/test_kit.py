"""The bundle for a class: whole, the same twice, and nothing in the students' folder gives an answer away."""

import hashlib
import json
import zipfile

import pytest
from common import ROOT

from cxrlib import phantom
from cxrlib.book.notebooks import BookError
from cxrlib.teach import classroom, editions, kit, slides


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both zip files, from a book of one page, tiny phantoms and a stand-in for the wheel of cxrlib."""
    folder = tmp_path_factory.mktemp("kit")
    pages = folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<html><body>Book</body></html>")
    for level in classroom.LEVELS:
        few = {"train_positive": 2, "train_negative": 2, "test_per_class": 2, "size": 32}
        phantom.generate(folder / "ready" / f"phantoms-{level:g}", source_confounding=level, workers=1, progress=False, **few)

    def wheel(_root, place, _all):
        place.mkdir()
        (place / "cxrlib-0.1.0-py3-none-any.whl").write_bytes(b"wheel")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit, "collect_wheels", wheel)
        patch.setattr(slides.sys.modules["cxrlib.book.publish"], "browser", lambda: None)
        first = kit.make(ROOT, pages, folder / "out", ready=folder / "ready")
    with zipfile.ZipFile(folder / "out" / "cxrlib-class.zip") as packed:
        packed.extractall(folder / "unpacked")
    assert kit.pack(folder / "unpacked" / kit.NAME, folder / "again.zip") == next(iter(first.values())), "the same files give the same archive"
    return folder, first


def test_the_students_zip_is_whole_and_gives_nothing_away(made):
    folder, digests = made
    path = folder / "out" / "cxrlib-class.zip"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digests[path] == path.with_name(f"{path.name}.sha256").read_text().split()[0]
    with zipfile.ZipFile(path) as packed:
        names = {name.removeprefix("cxrlib-class/") for name in packed.namelist()}
        texts = {name: packed.read(name).decode(errors="replace") for name in packed.namelist()}
    wanted = {"README.txt", "LICENSE", "LICENSES/LicenseRef-ImageNet-Research.txt", "slides.html", "handout.html", "quiz.html", "book/index.html", "profiles/quarter.yaml", "wheels/cxrlib-0.1.0-py3-none-any.whl"}
    wanted |= {f"labs/{lab.name}" for lab in editions.sources()} | {f"results/{name}" for name in kit.RECORDS} | {f"data/class/phantoms-{level:g}/phantom.json" for level in classroom.LEVELS}
    assert wanted <= names
    assert not any("teacher" in name or "key" in name for name in names)
    assert not any(editions.SECRETS.search(text) for text in texts.values())
    assert '<aside class="notes"' not in texts["cxrlib-class/slides.html"]
    for lab in editions.sources():
        notebook = json.loads(texts[f"cxrlib-class/labs/{lab.name}"])
        assert any("raise NotImplementedError()" in "".join(cell["source"]) for cell in notebook["cells"])


def test_the_teachers_zip_has_the_rest(made):
    with zipfile.ZipFile(made[0] / "out" / "cxrlib-class-teacher.zip") as packed:
        texts = {name.removeprefix("cxrlib-class-teacher/"): packed.read(name).decode() for name in packed.namelist()}
    assert {"slides.html", "quiz_key.html"} | {f"labs/{lab.name}" for lab in editions.sources()} == set(texts)
    assert "BEGIN HIDDEN TESTS" in texts[f"labs/{editions.sources()[0].name}"] and "☒" in texts["quiz_key.html"] and '<aside class="notes"' in texts["slides.html"]


def test_the_readme_starts_a_class_in_three_lines(made):
    with zipfile.ZipFile(made[0] / "out" / "cxrlib-class.zip") as packed:
        text = packed.read("cxrlib-class/README.txt").decode()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert commands == ["python3 -m venv env", 'env/bin/python -m pip install --find-links wheels "cxrlib[lab]"', "env/bin/python -m jupyterlab labs"]
    assert "Not for diagnosis" in text and "phantoms" in text and "fetches packages from the network" in text


def test_a_book_that_is_not_built_or_holds_a_solution_is_refused(tmp_path, monkeypatch):
    with pytest.raises(BookError, match="run `make book STUDENT=1` first"):
        kit.gather(ROOT, tmp_path / "nowhere", tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.html").write_text("<summary>Solution to Exercise 3</summary>")
    (tmp_path / "book" / "b.html").write_text("<p>Exercise 3</p>")
    assert kit.secrets_in(tmp_path) == ["book/a.html"]


def test_every_wheel_that_a_class_needs_is_pinned():
    names = kit.needed(ROOT)
    assert {"torch", "jupyterlab", "sphinx-exercise", "numpy"} <= names and not {"nbgrader", "pytest", "ruff"} & names
    pins = kit.pinned((ROOT / "requirements.lock").read_text(), names)
    assert pins.count("\n    --hash=sha256:") >= len(names) and "torch==2.14.1" in pins
    lock = "a==1 ; python_version < '3' \\\n    --hash=sha256:0\na==2 \\\n    --hash=sha256:1\nb==3 \\\n    --hash=sha256:2\n"
    assert kit.pinned(lock, {"a"}) == lock[: lock.index("b==3")], "for each Python its own version"
    with pytest.raises(BookError, match="does not have nowhere; run `make lock`"):
        kit.pinned("a==1 \\\n    --hash=sha256:0\n", {"nowhere"})
