"""A book of a folder on which nothing can be trained: every page is there, and says what it cannot compute."""

import json
import shutil

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from common import ROOT, write_folder
from PIL import Image

from cxrlib.book import build, figures, partial
from cxrlib.data.extent import extent
from cxrlib.study.pages import holdings
from cxrlib.study.parameters import STUDIES, Profile


@pytest.fixture
def positives(tmp_path):
    """Six positives of three patients in a test split, with masks and further columns, as the sets of hospitals come."""
    folder = write_folder(tmp_path / "clinic", train=2, test=6)
    shutil.rmtree(folder / "train")
    (folder / "train.txt").unlink()
    (folder / "test.txt").write_text("".join(line for line in (folder / "test.txt").read_text().splitlines(keepends=True) if " positive " in line))
    index = extent(folder).index
    pd.DataFrame({"filename": index["file"], "view": ["AP"] * 4 + ["PA"] * 2, "age": [40, 50, 60, 70, 80, ""], "note": ""}).to_csv(folder / "labels_extra.csv", index=False)
    for name in index["file"]:
        (folder / "masks" / "lungs" / "test").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 48), 255, np.uint8)).save(folder / "masks" / "lungs" / "test" / name)
    return folder


def built(root, data, monkeypatch):
    """What a build executes and what it writes itself, without the pages."""
    for name in ("_toc.yml", "profiles", "notebooks"):
        (root / name).symlink_to(ROOT / name)
    executed = []
    monkeypatch.setattr(build, "execute_all", lambda chapters, *rest: executed.extend(chapters))
    monkeypatch.setattr(build, "sweep", lambda *_: pytest.fail("nothing is trained in advance"))
    monkeypatch.setattr(build, "render", lambda *_: True)
    monkeypatch.chdir(root)
    build.build("tiny", data=data, root=root)
    return {chapter.template.stem: chapter for chapter in executed}, {path.stem: nbformat.read(path, 4) for path in (root / "book" / "executed").glob("*.ipynb")}


def test_notebooks_that_train_are_pages_that_say_why_not_and_the_others_run(positives, tmp_path, monkeypatch, capsys):
    executed, written = built(tmp_path, positives, monkeypatch)
    assert set(written) == {name for name, study in STUDIES.items() if getattr(study, "BOTH_CLASSES", False)}
    assert sorted([*executed, *written]) == sorted(STUDIES)
    assert {"05_grad_cam", "06_shortcuts", "10_truth", "11_failures"} <= set(executed)
    assert {name: chapter.parameters["data"] == str(positives) for name, chapter in executed.items()} == {name: name not in partial.ON_PHANTOMS for name in executed}
    assert "clinic has no train split and no negative image" in capsys.readouterr().out
    for name, notebook in written.items():
        text = "\n".join(cell.source for cell in notebook.cells)
        assert "no train split and no negative image" in text and notebook.metadata.cxr.lacking == extent(positives).sentence
        assert [line for line in text.splitlines() if line in partial.headings(ROOT / "notebooks" / f"{name}.ipynb")], "links to sections still lead somewhere"
        assert "nan" not in text.casefold().replace("finance", "")
    again, _ = partial.write(ROOT / "notebooks" / "02_hyperparameter_sensitivity.ipynb", tmp_path / "x.ipynb", extent(positives), {}), None
    assert again and not partial.write(ROOT / "notebooks" / "02_hyperparameter_sensitivity.ipynb", tmp_path / "x.ipynb", extent(positives), {})


def test_the_page_of_the_data_has_counts_further_columns_and_masks(positives):
    text = holdings.markdown(positives, extent(positives).index)
    for words in ("6 images of 3 patients", "| test | made | positive | 6 | 3 |", "| view | AP 4, PA 2 | 6 |", "| age | 40 1, ", "| note | nothing | 0 |", "| lungs | 6 | 6 |"):
        assert words in text, words


def test_a_folder_that_lacks_by_a_fault_is_refused_as_ever(positives, tmp_path, monkeypatch):
    (positives / "train.txt").write_text("")
    with pytest.raises(build.BookError, match="DATA: .*no usable image"):
        built(tmp_path, positives, monkeypatch)


@pytest.mark.parametrize("name", ["05_grad_cam", "06_shortcuts"])
def test_a_chapter_with_records_shows_them_and_says_what_it_does_not_draw(name, positives, tmp_path, monkeypatch, forked):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    values = Profile.load("tiny").parameters(name) | {"data": str(positives), "store": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}
    papermill.execute_notebook(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "out.ipynb", values, cwd=ROOT, progress_bar=False)
    notebook = nbformat.read(tmp_path / "out.ipynb", 4)
    figures.adopt_findings(notebook)
    assert figures.unfinished(notebook, name) == [], "no figure is empty"
    outputs = json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code" and "figure" not in cell.metadata.get("mystnb", {})])
    assert "no train split and no negative image" in outputs and "nan" not in outputs.casefold()
    assert not (tmp_path / "runs").exists(), "nothing was trained"
