"""The statements that a glued value hangs on: all of them, and none that trains."""

import json

import pytest
from common import ROOT

from cxrlib.evidence import slices


def notebook(path, *cells):
    content = [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "rate = 1", "outputs": []}]
    content += [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    path.write_text(json.dumps({"cells": content}))
    return path


def kept(path):
    """For each glued statement the sources of the cells of its slice, one statement a cell."""
    _, found = slices.statements(path)
    return [[found[place].cell - 1 for place in places] for _, places in slices.slices(found)], found


CASES = {
    "what is assigned": (["a = 1", "b = 2", "glue('x', a)"], [0, 2]),
    "the last value only": (["a = 1", "a = 2", "glue('x', a)"], [1, 2]),
    "a value built from its own": (["a = 1", "a = a + 1", "glue('x', a)"], [0, 1, 2]),
    "a list that grows": (["a = []", "b = []", "a.append(1)", "b.append(2)", "glue('x', a)"], [0, 2, 4]),
    "a dictionary that is filled": (["a = {}", "a['k'] = 1", "glue('x', a['k'])"], [0, 1, 2]),
    "an attribute that is set": (["a = object()", "a.b = 1", "glue('x', a)"], [0, 1, 2]),
    "a sum that is added to": (["a = 1", "a += 1", "glue('x', a)"], [0, 1, 2]),
    "a name that a branch may set": (["a = 1", "if flag: a = 2", "glue('x', a)"], [0, 1, 2]),
    "what a function reads when it is called": (["a = 1", "def f(): return a", "a = 2", "glue('x', f())"], [1, 2, 3]),
    "what a lambda reads": (["a = 1", "f = lambda b: a + b", "glue('x', f(1))"], [0, 1, 2]),
    "a function's own names": (["b = 1", "def f(b): c = b; return c", "glue('x', f(2))"], [1, 2]),
    "a comprehension's own names": (["row = 1", "a = [row for row in range(3)]", "glue('x', a)"], [1, 2]),
    "a loop's own names": (["row = 1", "for row in range(3): glue('x', row)"], [1]),
    "imports": (["import math", "import json", "glue('x', math.pi)"], [0, 2]),
    "a picture that is drawn": (["import figures", "a = [1]", "figures.draw(a)", "glue('x', a)"], [1, 3]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_slice_holds(case, tmp_path):
    cells, wanted = CASES[case]
    (found,), _ = kept(notebook(tmp_path / "n.ipynb", *cells))
    assert found == wanted


def test_what_trains_or_reads_the_data_of_the_book_is_live(tmp_path):
    cells = ["records = sweep.run_all(runs)", "glue('a', len(records))", "table = read(parameters.results)", "glue('b', table)", "glue('c', str(parameters.data))"]
    places, found = kept(notebook(tmp_path / "n.ipynb", *cells))
    assert [slices.is_live(found, each) for each in places] == [True, False, True]
    assert [slices.used_parameters(found, each) for each in places] == [set(), {"results"}, {"data"}]


def test_the_book_has_values_of_both_kinds():
    """Were the rule wrong, one of them would be empty: 09 draws records only, 02 trains as well."""
    kinds = {}
    for name in ("09_real_xrays", "02_hyperparameter_sensitivity"):
        _, found = slices.statements(ROOT / "notebooks" / f"{name}.ipynb")
        kinds[name] = {slices.is_live(found, places) for _, places in slices.slices(found)}
    assert kinds == {"09_real_xrays": {False}, "02_hyperparameter_sensitivity": {True, False}}
