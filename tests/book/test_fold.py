"""One bar opens the code of a page; what a cell shows stays where it was."""

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cxrlib.book.fold import TITLES, fold_code


def test_code_goes_to_the_end_and_outputs_stay():
    shown = new_output("display_data", data={"text/markdown": "x"})
    cells = [
        new_markdown_cell("# A"), new_code_cell("seed = 0", metadata={"tags": ["parameters", "hide-input"]}), new_code_cell("a()", outputs=[shown], metadata={"tags": ["hide-input"]}),
        new_code_cell("b = '```'", outputs=[shown], metadata={"tags": ["hide-cell"]}), new_code_cell("c()"), new_code_cell("d()", metadata={"tags": ["remove-cell"]}),
    ]  # fmt: skip
    notebook = new_notebook(cells=cells)
    for _ in range(2):
        fold_code(notebook)
    tags = [cell.metadata.get("tags") for cell in notebook.cells]
    assert tags == [None, ["parameters", "remove-cell"], ["remove-input"], ["remove-input", "hide-output"], None, ["remove-cell"], None, None], "and once more changes nothing"
    assert [cell.get("outputs") for cell in notebook.cells[2:4]] == [[shown], [shown]]
    assert "seed = 0" in notebook.cells[-2].source and "a()" in notebook.cells[-1].source and "seed" not in notebook.cells[-1].source
    assert [cell.id for cell in notebook.cells[-2:]] == list(TITLES)
    assert notebook.cells[3].metadata.mystnb.code_prompt_show == "Show the table"


def test_the_fold_holds_all_code_whatever_it_contains():
    notebook = new_notebook(cells=[new_code_cell("a = '```'", metadata={"tags": ["hide-input"]}), new_code_cell("b()", metadata={"tags": ["hide-cell"]})])
    fold_code(notebook)
    (last,) = notebook.cells[2:]
    assert last.source == f"`````{{dropdown}} {TITLES['all-code']}\n````python\na = '```'\n\n\nb()\n````\n`````"
    fold_code(new_notebook(cells=[]))
