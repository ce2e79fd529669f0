"""Every notebook runs on a tiny profile, and stops in its first cell with a sentence when a parameter is wrong."""

import ast
import json
import re

import nbformat
import papermill
import pytest
from common import ROOT

from cxrlib.book import figures as drawn
from cxrlib.study.figures import captions
from cxrlib.study.parameters import STUDIES, Profile

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_is_a_notebook_for_every_study():
    assert [path.stem for path in NOTEBOOKS] == sorted(STUDIES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_templates_are_clean_and_their_parameters_documented(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    declared = dict(re.findall(r"^(\w+) = (.+?)(?:  #.*)?$", parameters.source, re.M))
    assert set(declared) <= set(STUDIES[path.stem].model_fields), "a declared parameter is not one of the study"
    for line in parameters.source.splitlines():
        name = line.split(" =")[0]
        assert "#" in line or STUDIES[path.stem].model_fields[name].description, f"{name} is not explained"
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {})
        if "figure" in figure:
            assert figure["figure"]["caption"]
            assert figure["image"]["alt"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_template_defaults_are_the_demo_profile(path):
    """A notebook run on its own does what the book shows."""
    (cell,) = [cell for cell in nbformat.read(path, 4).cells if "parameters" in cell.metadata.get("tags", [])]
    defaults = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    study = STUDIES[path.stem]
    assert study.parse(defaults) == study.parse(defaults | Profile.load("demo").parameters(path.stem))


@pytest.fixture(scope="module")
def tiny(covidx_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    where = {"data": str(covidx_folder), "store": str(folder / "runs"), "cache": str(folder / "cache")}
    return folder, where


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_on_a_tiny_profile(path, tiny, monkeypatch, forked):
    folder, where = tiny
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    values = Profile.load("tiny").parameters(path.stem)
    extra = {"workers": 1, "device": "cpu"} if "workers" in STUDIES[path.stem].model_fields else {}
    declared = papermill.inspect_notebook(path)
    values |= {k: v for k, v in (where | extra).items() if k in declared}
    out = folder / path.name
    papermill.execute_notebook(path, out, values, cwd=ROOT, progress_bar=False)
    notebook = nbformat.read(out, 4)
    glued = {key for cell in notebook.cells for output in cell.get("outputs", []) if (key := output.get("metadata", {}).get("scrapbook", {}).get("name"))}
    used = {key for cell in notebook.cells if cell.cell_type == "markdown" for key in re.findall(r"glue:text\}`(\w+)", cell.source)}
    assert used <= glued, f"glued nowhere: {used - glued}"
    figures = [cell for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {})]
    for cell in figures:
        images = [output for output in cell.outputs if "image/svg+xml" in output.get("data", {})]
        skipped = any("skipped" in output.get("data", {}).get(captions.MIME, {}) for output in cell.outputs)
        assert len(images) == (not skipped), f"{cell.metadata.mystnb.figure.name} shows {len(images)} images"
    drawn.adopt_findings(notebook)
    assert drawn.unfinished(notebook, path.name) == [], "caption, finding, badge and source of every figure"
    assert drawn.bare_tables(notebook, path.name) == [], "a badge on every table and verdict"


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("03_test_performance", {"resize": 64, "crop": 128}, "crop 128 is larger than resize 64"),
        ("03_test_performance", {"sedes": [1]}, "did you mean 'seeds'"),
        ("02_hyperparameter_sensitivity", {"batch_size": "many"}, "valid integer"),
        ("01_data_exploration", {"data": "no/such/folder"}, "'no/such/folder' does not exist"),
    ],
)
def test_a_wrong_parameter_stops_the_first_cell(name, values, says, tmp_path, forked):
    out = tmp_path / "out.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match=says):
        papermill.execute_notebook(ROOT / "notebooks" / f"{name}.ipynb", out, values, cwd=ROOT, progress_bar=False)
    executed = json.loads(out.read_text())
    codes = [cell for cell in executed["cells"] if cell["cell_type"] == "code" and cell["execution_count"]]
    # papermill's own two cells, then the one that validates
    assert "from_notebook" in "".join(codes[-1]["source"])
