"""One bar opens the code of a page; what a cell shows stays where it was."""

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cxrlib.book.fold import ID, TITLE, fold_code


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
    assert tags == [None, ["parameters", "hide-input"], ["remove-input"], ["remove-input", "hide-output"], None, ["remove-cell"], None], "and once more changes nothing"
    assert [cell.get("outputs") for cell in notebook.cells[2:4]] == [[shown], [shown]]
    assert notebook.cells[3].metadata.mystnb.code_prompt_show == "Show the table"


def test_the_fold_holds_all_code_whatever_it_contains():
    notebook = new_notebook(cells=[new_code_cell("a = '```'", metadata={"tags": ["hide-input"]}), new_code_cell("b()", metadata={"tags": ["hide-cell"]})])
    fold_code(notebook)
    last = notebook.cells[-1]
    assert last.id == ID and last.source == f"`````{{dropdown}} {TITLE}\n````python\na = '```'\n\n\nb()\n````\n`````"
    fold_code(new_notebook(cells=[]))
