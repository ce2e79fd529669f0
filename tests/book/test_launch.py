"""Buttons for Binder and Colab are off, go on with one address, and go off again without a trace."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from common import ROOT

from cxrlib.book import launch
from cxrlib.book.notebooks import BookError, stamp

FORK = "https://github.com/somebody/cxr-fork"


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "_config.yml", tmp_path)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, tmp_path / "notebooks")
    return tmp_path


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_one_address_switches_all_on_and_none_switches_all_off(copy):
    before = contents(copy)
    assert b'cxr_fork: ""' in before[next(path for path in before if path.name == "_config.yml")], "off by default"
    launch.switch(FORK, copy)
    assert f'cxr_fork: "{FORK}"' in (copy / "_config.yml").read_text()
    for path in (copy / "notebooks").glob("*.ipynb"):
        assert path.read_text().count(f'_fork = \\"{FORK}\\"') == 1, path.name
        assert stamp(path, {}, {}, {}) == stamp(ROOT / "notebooks" / path.name, {}, {}, {}), "no experiment runs again for a button"
    launch.switch("", copy)
    assert contents(copy) == before


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://github.com/a/b'; rm -rf /", 'https://github.com/a/b"', "http://github.com/a/b"])
def test_what_is_no_address_changes_nothing(copy, address):
    before = contents(copy)
    with pytest.raises(BookError, match="is no address such as"):
        launch.switch(address, copy)
    assert contents(copy) == before


def test_a_page_has_buttons_only_with_a_fork_and_only_for_a_notebook():
    def shown(fork, page):
        context = {"body": "<section><h1>Title</h1><p>x</p><h1>b</h1></section>"}
        launch.buttons(SimpleNamespace(config=SimpleNamespace(cxr_fork=fork)), page, "", context, None)
        return context["body"]

    assert "cxr-launch" not in shown("", "executed/03_test_performance") + shown(FORK, "primer")
    body = shown(FORK, "executed/03_test_performance")
    assert body.count("cxr-launch") == 1 and body.index("cxr-launch") < body.index("<p>x")
    for address in launch.addresses(FORK, "03_test_performance").values():
        assert f'href="{address}"' in body
        assert "somebody/cxr-fork" in address and address.endswith("03_test_performance.ipynb")


def test_the_first_cell_does_nothing_here_and_finds_the_root_elsewhere(tmp_path):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        (cell,) = [cell for cell in cells if cell["id"] == "hosted"]
        assert "".join(cell["source"]) == launch.CELL, path.name
    env = {name: value for name, value in os.environ.items() if name not in ("COLAB_RELEASE_TAG", "BINDER_REPO_URL")} | {"PYTHONPATH": str(ROOT)}
    code = f"{launch.CELL}\nimport os\nprint(os.getcwd(), [name for name in dir() if not name.startswith('_')])"
    here = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert here.stdout.strip() == f"{tmp_path} ['os']", "no name that would count as a parameter"
    assert list(tmp_path.iterdir()) == []


def test_ready_goes_to_the_root_and_says_where_there_is_none(tmp_path, monkeypatch):
    from cxrlib.study import plan

    made = []
    monkeypatch.setattr(plan, "make_phantoms", lambda profile, root: made.append((profile, root)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BookError, match="is not in the book's repository"):
        launch.ready()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert launch.ready() == tmp_path
    assert os.getcwd() == str(tmp_path) and made == [("demo", tmp_path)]
