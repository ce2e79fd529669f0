"""A book that is made again: what was read is kept while only text changes, and only then; a text has changed if its bytes have."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrlib.book import again, render
from cxrlib.book.notebooks import BookError

BUILDER = """
import sys
from pathlib import Path
work = Path(sys.argv[sys.argv.index("--path-output") + 1]) / "_build"
for name in ("html/_static", ".doctrees"):
    (work / name).mkdir(parents=True, exist_ok=True)
with (work / ".doctrees" / "builds").open("a") as builds:
    builds.write("x")
text = Path("book/a.md").read_text()
(work / "html" / "index.html").write_text(f"{text} {(work / '.doctrees' / 'builds').read_text()}")
if "fault" in text:
    print("book/a.md: WARNING: a fault")
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "BUILDER", BUILDER)
    for name in ("_config.yml", "_toc.yml", "pyproject.toml", "profiles/a.yaml", "results/a.parquet", "book/a.md", "book/tasks/a.md", "book/a.bib", "book/executed/a.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def built(root: Path, force: bool = False) -> str:
    """What the first page says: its text, and an x for each build since the last one that began anew."""
    assert render.render(root, root / "_build" / "html", force)
    return (root / "_build" / "html" / "index.html").read_text()


def test_only_a_changed_text_keeps_what_was_read(root):
    assert built(root) == "book/a.md x"
    assert not render.render(root, root / "_build" / "html", force=False)
    (root / "book" / "a.md").write_text("other")
    assert built(root) == "other xx"
    (root / "book" / "tasks" / "a.md").write_text("other")
    assert built(root) == "other xxx"
    for name in ("_config.yml", "_toc.yml", "profiles/a.yaml", "results/a.parquet", "book/a.bib", "book/executed/a.ipynb"):
        (root / name).write_text("other")
        assert built(root) == "other x", name
        (root / "book" / "tasks" / "a.md").write_text(name)
        assert built(root) == "other xx", name
    assert built(root, force=True) == "other x"


def test_a_fault_is_found_again_by_the_next_build(root):
    built(root)
    (root / "book" / "a.md").write_text("fault")
    with pytest.raises(BookError, match="a fault"):
        built(root)
    with pytest.raises(BookError, match="a fault"):
        built(root)
    (root / "book" / "a.md").write_text("mended")
    assert built(root) == "mended x", "nothing is kept of a build that failed"


def test_a_text_has_changed_if_its_bytes_have(tmp_path):
    for name in ("a.md", "b.md", "executed/c.md", "tasks/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    app = SimpleNamespace(srcdir=str(tmp_path))
    env = SimpleNamespace(found_docs={"a", "b", "executed/c"}, doc2path=lambda page: str(tmp_path / f"{page}.md"))

    def found() -> set[str]:
        return set(again.outdated(app, env, set(), set(), set()))

    assert found() == env.found_docs
    assert found() == set()
    for path in tmp_path.rglob("*.md"):
        os.utime(path)
    assert found() == set(), "a new time is no change"
    state = (tmp_path / "a.md").stat()
    (tmp_path / "a.md").write_text("A.md")
    os.utime(tmp_path / "a.md", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert found() == {"a"}, "an old time is no excuse"
    (tmp_path / "tasks" / "c.md").unlink()
    assert found() == {"executed/c"}
    assert again.texts(tmp_path) == [tmp_path / "a.md", tmp_path / "b.md"]


def test_what_follows_from_the_library_is_made_once(tmp_path):
    app, made = SimpleNamespace(doctreedir=str(tmp_path)), []

    def make() -> str:
        made.append(1)
        return "text"

    assert [again.kept(app, "a.html", make) for _ in range(2)] == ["text", "text"]
    assert len(made) == 1
