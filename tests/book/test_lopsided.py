"""Notebooks run to their end on any small or uneven folder, and say what it does not allow."""

import nbformat
import papermill
import pytest
from common import ROOT
from lopsided import KINDS, write_lopsided

from cxrlib.study.parameters import STUDIES, Profile

ON_DATA = [name for name in STUDIES if name[:2] in ("01", "02", "03", "04", "05", "06", "07")]
QUICK = {("06_shortcuts", "a source of one patient"), ("04_data_size", "three images of each class")}


def text_of(path) -> str:
    notebook = nbformat.read(path, 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("data", {}).get("text/markdown", "") or output.get("text", "") for output in outputs)


def executed(name: str, kind: str, folder, monkeypatch) -> str:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = ROOT / "notebooks" / f"{name}.ipynb"
    where = {"data": str(write_lopsided(folder / "set", kind)), "store": str(folder / "runs"), "cache": str(folder / "cache"), "workers": 1}
    values = Profile.load("tiny").parameters(name)
    declared = papermill.inspect_notebook(path)
    values |= {key: value for key, value in where.items() if key in declared}
    papermill.execute_notebook(path, folder / "out.ipynb", values, cwd=ROOT, progress_bar=False)
    return text_of(folder / "out.ipynb")


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(name, kind, marks=() if (name, kind) in QUICK else pytest.mark.slow) for name in ON_DATA for kind in KINDS],
)
def test_a_notebook_runs_on_a_lopsided_folder(name, kind, tmp_path, monkeypatch, forked):
    said = executed(name, kind, tmp_path, monkeypatch)
    if (name, kind) == ("04_data_size", "three images of each class"):
        assert "Left out: 4, 8 images per class, since the smaller class has 3." in said.replace("&#46;", ".").replace("&#58;", ":")
