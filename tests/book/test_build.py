"""The pipeline from notebooks to pages: executions, stamps, cleaning, and pages that ask for nothing from outside."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import warm
from common import ROOT, write_folder
from nbformat.v4 import new_code_cell, new_notebook, new_output

from cxrlib.book import build, chapters, offline, render
from cxrlib.book.notebooks import BookError, clean, declared_parameters, execute, folder_state, stamp
from cxrlib.study import verdicts
from cxrlib.study.claims import WITH_TRUTH
from cxrlib.study.pages import truth_verdicts

ABOUT = {"profile": "test", "data": "phantoms"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# Requests


@pytest.mark.parametrize(
    "line",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<script src="//cdn.example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<img src="http://example.org/a.png">',
        '<img srcset="a.png 1x, https://example.org/a.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        '<style>@import "https://example.org/a.css";</style>',
        '<p style="background: url(https://example.org/a.png)">x</p>',
        '<script>const s = document.createElement("script"); s.src = "https://example.org/lib/index.js"</script>',
        '<meta http-equiv="refresh" content="0; url=https://example.org">',
        '<svg><image xlink:href="https://example.org/a.png"/></svg>',
    ],
)
def test_a_request_to_another_host_is_found(tmp_path, line):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "page.html").write_text(f"<html><body>\n{line}\n</body></html>")
    (found,) = offline.external_requests(tmp_path)
    assert found.startswith("sub/page.html: ")
    assert "example.org" in found


@pytest.mark.parametrize(
    "line",
    [
        '<a href="https://doi.org/10.3390/diagnostics11101887">paper</a>',
        '<script src="_static/a.js"></script>',
        '<link rel="stylesheet" href="../_static/a.css">',
        '<link rel="license" href="https://example.org/licence">',
        '<img src="data:image/svg+xml;utf8,<svg xmlns=&quot;http://www.w3.org/2000/svg&quot;/>">',
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>',
        "<script>const licence = 'https://example.org/licence'</script>",
        "<pre>curl https://example.org/a.js</pre>",
    ],
)
def test_links_and_own_files_are_no_requests(tmp_path, line):
    (tmp_path / "page.html").write_text(line)
    assert offline.external_requests(tmp_path) == []


def test_style_sheets_are_read(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url('https://fonts.example.org/a.woff2') }\nb { background: url(b.png) }")
    assert offline.external_requests(tmp_path) == ["a.css: https://fonts.example.org/a.woff2"]


# Notebooks


def write_template(path: Path, *sources: str, parameters: str = "number = 1  # a number") -> Path:
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *(new_code_cell(source) for source in sources)]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def texts(path: Path) -> str:
    return "\n".join(o.get("text", "") for c in nbformat.read(path, 4).cells if c.cell_type == "code" for o in c.outputs)


def test_a_notebook_is_executed_once_and_left_clean(tmp_path, capfd):
    source = "import sys, os\nprint('number', number, os.getcwd())\nprint('12 of 40 steps', file=sys.stderr)"
    template = write_template(tmp_path / "notebooks" / "01_first.ipynb", source)
    destination = tmp_path / "book" / "executed" / "01_first.ipynb"
    given = ({"number": 2}, {"data": "state"}, ABOUT, tmp_path)
    assert execute(template, destination, *given) is True
    out, err = capfd.readouterr()
    assert re.search(r"01_first  cell 1/3  0:0\d", out)
    assert "12 of 40 steps" in err, "progress must reach the terminal"
    content = destination.read_text()
    assert "number 2 ." in texts(destination)
    assert str(tmp_path) not in content
    assert "12 of 40 steps" not in texts(destination)
    assert not re.search(r'start_time|end_time|duration|"papermill": \{|iopub', content)
    tags = [cell.metadata.get("tags") for cell in nbformat.read(destination, 4).cells]
    assert tags[:2] == [["parameters", "remove-cell"], ["injected-parameters", "remove-cell"]], "both stand in a fold at the end"

    assert execute(template, destination, *given) is False
    assert destination.read_text() == content
    destination.unlink()
    assert execute(template, destination, *given) is False, "a kept execution is put back without running it"
    assert destination.read_text() == content


def test_a_failing_notebook_gives_its_own_sentence(tmp_path):
    template = write_template(tmp_path / "notebooks" / "01_first.ipynb", "raise ValueError('crop 128 is larger than resize 64')")
    destination = tmp_path / "book" / "executed" / "01_first.ipynb"
    with pytest.raises(BookError, match=r"^01_first.ipynb: crop 128 is larger than resize 64\n.*unfinished") as caught:
        execute(template, destination, {}, {}, ABOUT, tmp_path)
    assert "Traceback" not in str(caught.value)
    assert not destination.exists()
    assert (tmp_path / ".cache" / "book" / "unfinished" / "01_first.ipynb").is_file()


def test_an_undeclared_parameter_is_refused(tmp_path):
    template = write_template(tmp_path / "01_first.ipynb")
    with pytest.raises(BookError, match="no parameter 'nmuber'"):
        execute(template, tmp_path / "out.ipynb", {"nmuber": 2}, {}, ABOUT, tmp_path)


def test_parameters_with_quotes_in_their_comment_are_declared(tmp_path):
    template = write_template(tmp_path / "a.ipynb", parameters='a = ["x"]  # "x" or "y"\nb = None  # none')
    assert declared_parameters(template) == ["a", "b"]


def test_the_stamp_follows_all_that_matters_and_nothing_else(tmp_path):
    template = write_template(tmp_path / "a.ipynb", "1 + 1")
    given = [template, {"number": 1}, {"data": "s"}, ABOUT]
    first = stamp(*given)
    notebook = nbformat.read(template, 4)
    notebook.cells[1].outputs = [new_output("stream", text="old")]
    nbformat.write(notebook, template)
    assert stamp(*given) == first
    changes = [(1, {"number": 2}), (2, {"data": "t"}), (3, ABOUT | {"profile": "other"})]
    stamps = {stamp(*(change if i == place else value for i, value in enumerate(given))) for place, change in changes}
    write_template(template, "1 + 2")
    stamps.add(stamp(*given))
    assert len(stamps | {first}) == 5


def test_the_state_of_a_folder_follows_labels_and_images(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(b"12")
    (tmp_path / "train.txt").write_text("p a.png positive s\n")
    states = [folder_state(tmp_path)]
    assert folder_state(tmp_path) == states[0]
    (tmp_path / "train.txt").write_text("p a.png negative s\n")
    states.append(folder_state(tmp_path))
    (tmp_path / "train" / "a.png").write_bytes(b"123")
    states.append(folder_state(tmp_path))
    (tmp_path / "train" / "b.png").write_bytes(b"1")
    states.append(folder_state(tmp_path))
    assert len(set(states)) == 4


def test_new_records_execute_a_notebook_again(tmp_path):
    table = tmp_path / "results" / "quarter.parquet"
    assert build.file_states("09_real_xrays", {}, tmp_path) == {}
    table.parent.mkdir()
    table.write_bytes(b"1")
    before = build.file_states("09_real_xrays", {"data": "data/phantom"}, tmp_path)
    assert list(before) == [str(table)]
    table.write_bytes(b"2")
    assert build.file_states("09_real_xrays", {}, tmp_path) != before
    table.rename(tmp_path / "mine.parquet")
    assert list(build.file_states("09_real_xrays", {"results": "mine.parquet"}, tmp_path)) == [str(tmp_path / "mine.parquet")]


def test_tables_and_profiles_that_no_parameter_names_execute_a_notebook_again(tmp_path):
    for folder in ("results", "profiles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "results" / "bit.parquet").write_bytes(b"1")
    states = [build.file_states("02_hyperparameter_sensitivity", {}, tmp_path)]
    for path in ("results/bit-gpu.parquet", "results/bit-short.json", "profiles/bit-gpu.yaml"):
        (tmp_path / path).write_bytes(b"1")
        states.append(build.file_states("02_hyperparameter_sensitivity", {}, tmp_path))
    (tmp_path / "results" / "bit-notes.txt").write_bytes(b"1")
    assert [len(state) for state in states] == [1, 2, 3, 4] and build.file_states("02_hyperparameter_sensitivity", {}, tmp_path) == states[-1]
    (tmp_path / "results" / "bit.parquet").unlink()
    assert len(build.file_states("02_hyperparameter_sensitivity", {}, tmp_path)) == 3, "what lies beside a table that is gone is still read"


def test_clean_replaces_paths_in_text_only():
    output = new_output("display_data", data={"text/html": "<b>/home/x/data</b>", "image/png": "/home/x/"})
    notebook = new_notebook(cells=[new_code_cell("open('/home/x/data')", outputs=[output])])
    clean(notebook, {"/home/x/": "~/"})
    (cell,) = notebook.cells
    assert cell.source == "open('~/data')"
    assert cell.outputs[0].data == {"text/html": "<b>~/data</b>", "image/png": "/home/x/"}


def test_wrong_arguments_give_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(BookError, match=r"no _toc.yml; run this from the root"):
        build.build(root=tmp_path)
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match="no profile 'dmeo'; there are: .*demo"):
        build.build("dmeo")
    with pytest.raises(BookError, match="DATA: there is no folder 'nowhere'"):
        build.build("tiny", data=Path("nowhere"))
    with pytest.raises(BookError, match="EXTERNAL: .*nowhere: there is no such folder"):
        build.build("tiny", external=Path("nowhere"))
    with pytest.raises(BookError, match=r"(?s)EXTERNAL: .*one test\*.txt is needed"):
        build.build("tiny", external=tmp_path)


def test_an_external_folder_reaches_the_notebooks_that_take_one(tmp_path, monkeypatch):
    from cxrlib.study.parameters import STUDIES

    for name in ("_toc.yml", "profiles", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("inside", "outside"):
        write_folder(tmp_path / folder, train=2, test=2)
    shutil.rmtree(tmp_path / "outside" / "train")
    calls, pages = {}, []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "sweep", lambda *_: None)
    monkeypatch.setattr(chapters, "usable_cores", lambda: 1)
    monkeypatch.setattr(chapters, "execute", lambda template, _, parameters, states, about, *rest: calls.update({template.stem: (parameters, states, about)}))
    monkeypatch.setattr(build, "render", lambda root, folder, force: pages.append(folder))

    def built(**options):
        calls.clear()
        build.build("demo", root=tmp_path, **options)
        return {name: (parameters.get("external"), dict(states), about) for name, (parameters, states, about) in calls.items()}

    first = built(data=Path("inside"), external=Path("outside"))
    taking = {name for name, study in STUDIES.items() if "external" in study.model_fields}
    assert "03_test_performance" in taking
    assert {name for name, (given, _, _) in first.items() if given == "outside"} == taking
    assert {name for name, (_, _, about) in first.items() if about.get("external") == "outside"} == taking
    assert pages == [tmp_path / "_build" / "demo-inside-with-outside"]
    (tmp_path / "outside" / "test" / "new.png").write_bytes(b"1")
    second = built(data=Path("inside"), external=Path("outside"))
    assert {name for name in first if first[name] != second[name]} == taking, "only these are executed again"
    assert {given for given, _, _ in built(data=Path("inside")).values()} == {None}
    assert pages[-1] == tmp_path / "_build" / "demo-inside"


def test_rows_left_out_are_said_before_anything_is_executed_and_on_every_page(tmp_path, monkeypatch, capsys):
    for name in ("_toc.yml", "profiles", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = write_folder(tmp_path / "inside", train=4, test=2)
    said = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "sweep", lambda *_: None)
    monkeypatch.setattr(chapters, "usable_cores", lambda: 1)
    monkeypatch.setattr(chapters, "execute", lambda template, _, parameters, states, about, *rest: said.append(about))
    monkeypatch.setattr(build, "render", lambda *_: True)
    build.build("demo", data=Path("inside"), root=tmp_path)
    assert not any("left_out" in about for about in said)
    with (folder / "train.txt").open("a") as file:
        file.write("x gone.png negative made\ny <b>.png negative made\n")
    build.build("demo", data=Path("inside"), root=tmp_path)
    assert {about.get("left_out") for about in said[len(said) // 2 :]} == {"2 of 14 rows are left out: 2 x missing image"}
    assert "2 of 14 rows are left out: 2 x missing image" in capsys.readouterr().out
    (folder / "test.txt").write_text("")
    with pytest.raises(BookError, match="DATA: .*no usable image of: test negative, test positive"):
        build.build("demo", data=Path("inside"), root=tmp_path)


# Pages


CLAIMS_OF = {
    "02_hyperparameter_sensitivity": (2, 3, 4), "03_test_performance": (1, 5, 6, 7), "04_data_size": (8,), "05_grad_cam": (9,), "09_real_xrays": tuple(range(1, 10)),
}  # fmt: skip
"""The notebooks that hand on verdicts, and of which claims."""


def made_up_verdicts(claims) -> str:
    """What a notebook without any runs would hand on."""
    from cxrlib.study import comparisons

    design = comparisons.design_of_paper()
    return verdicts.packed(verdicts.verdicts(comparisons.compared([], design, claims=claims), comparisons.family_size(design)))


def stub_execution(template: Path, destination: Path) -> None:
    """The template with made-up outputs: every figure one white pixel, every glued value a one."""
    white = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII="
    notebook = nbformat.read(template, 4)
    keys = {*re.findall(r'glue\("(\w+)"', "".join(cell.source for cell in notebook.cells))}
    # Some are glued in a loop, under names that the source does not spell out; these are known by who asks for them.
    keys |= {*re.findall(r"glue:text\}`(\w+)", "".join(cell.source for cell in notebook.cells))}
    asking = "".join(path.read_text(encoding="utf-8") for path in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")])
    keys |= {*re.findall(rf"{template.name}::(\w+)", asking)}
    for cell in notebook.cells:
        if "figure" in cell.metadata.get("mystnb", {}):
            cell.outputs = [new_output("display_data", data={"image/png": white, "text/plain": "figure"})]
    prefix = "application/papermill.record/"
    claims = CLAIMS_OF.get(template.stem, ())
    values = dict.fromkeys(keys, "1") | ({"verdicts": repr(made_up_verdicts(claims))} if claims else {})
    values |= {"verdicts": repr(verdicts.packed(truth_verdicts.verdicts(None, None)))} if template.stem == "10_truth" else {}
    glued = [
        new_output("display_data", data={f"{prefix}text/plain": values[key]}, metadata={"scrapbook": {"mime_prefix": prefix, "name": key}})
        for key in sorted(values)
    ]
    notebook.cells.append(new_code_cell("", outputs=glued, metadata={"tags": ["remove-cell"]}))
    notebook.metadata["cxr"] = ABOUT | {"seconds": 1.0}
    destination.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, destination)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    for name in ("_config.yml", "_toc.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "profiles", root / "profiles")
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("executed"))
    for template in sorted((ROOT / "notebooks").glob("*.ipynb")):
        stub_execution(template, root / "book" / "executed" / template.name)
    folder = root / "_build" / "html"
    with warm.everywhere():
        assert render.render(root, folder, force=False) is True
    assert render.render(root, folder, force=False) is False, "nothing changed, so nothing is built"
    return folder


def test_chapters_the_recorded_study_and_home_show_the_same_parts(pages):
    """A claim with a part without a row fails, on any of the pages."""
    from cxrlib.study.parts import PARTS

    for name, claims in CLAIMS_OF.items():
        source = "".join(cell["source"] for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells if cell.cell_type == "code")
        assert re.search(r"\b(?:verdicts|live)\.packed\(|real_claims\.handed\(", source) and re.search(r"\b(?:verdicts|live)\.markdown\(", source)
        asked = re.search(r"\bclaims ?= ?\(([\d, ]+)\)", source)
        assert asked is None or {int(number) for number in re.findall(r"\d", asked[1])} == set(claims), name
        assert (asked is None) == (len(claims) == 9), name
    assert sorted(claim for claims in list(CLAIMS_OF.values())[:-1] for claim in claims) == list(range(1, 10))
    home = html.unescape(re.sub(r"<[^>]+>", "", (pages / "index.html").read_text(encoding="utf-8")))
    rules = html.unescape(re.sub(r"<[^>]+>", "", (pages / "method.html").read_text(encoding="utf-8")))
    for part in PARTS:
        shown = f"{part.claim}. {'Our reading: ' if part.ours else ''}{part.says}"
        assert home.count(shown) == 2, f"once for real X-rays and once for this copy: {shown}"
        assert part.says in rules
    for part in truth_verdicts.PARTS:
        assert home.count(part.says) == 1, "the verdicts with truth stand in the table of all parts"
    for claim in WITH_TRUTH:
        assert f"{claim.title}. {claim.text}" in home
    assert "<abbr title=" in (pages / "index.html").read_text(encoding="utf-8"), "a word explains itself"


def test_every_page_is_complete_and_asks_for_nothing(pages):
    assert offline.external_requests(pages) == []
    shown = [p for p in pages.rglob("*.html") if "_static" not in p.parts]
    assert {"index.html", "primer.html", "method.html", "reproducibility.html", "references.html"} <= {p.name for p in shown}
    templates = len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert len(list((pages / "executed").glob("*.html"))) == templates
    for page in shown:
        text = page.read_text(encoding="utf-8")
        assert "<strong>Not for diagnosis</strong>" in text, page.name
        assert "profile “test”" in text, page.name
        for address in re.findall(r'(?:src|href)="(?!https?:|mailto:|data:)([^"#?]+)', re.sub("<pre>.*?</pre>", "", text, flags=re.DOTALL)):
            target = page.parent / address
            assert target.exists(), f"{page.name} names {address}, which is not there"
    assert len(list((pages / "_sources" / "executed").glob("*.ipynb"))) == templates, "executed notebooks can be downloaded"


def test_links_to_functions_land_on_them(pages):
    method = (pages / "method.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(source/[\w.]+\.html)#([\w.]+)"', method)
    assert ("source/train.finetune.html", "learning_rate") in links
    for page, anchor in links:
        assert f'id="{anchor}"' in (pages / page).read_text(encoding="utf-8")


def test_a_name_that_is_passed_on_links_to_its_definition():
    from cxrlib.book.source import definitions, home_of

    assert home_of("book.build", "BookError") == "book.notebooks"
    assert home_of("book.build", "build") == "book.build"
    assert "build" in definitions("book.build")
    assert "BookError" not in definitions("book.build")


def test_a_faulty_page_stops_the_build_and_leaves_the_old_book(tmp_path, forked):
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    (tmp_path / "book" / "index.md").write_text("# Home\n\n{cxr}`train.finetune.no_such_function` {paper}`NO_SUCH_NUMBER`\n")
    pages = tmp_path / "_build" / "html"
    pages.mkdir(parents=True)
    (pages / "index.html").write_text("old")
    with pytest.raises(BookError, match=r"(?s)no cxrlib.train.finetune.no_such_function.*cxrlib.study.paper has no NO_SUCH_NUMBER"):
        render.render(tmp_path, pages, force=False)
    assert [path.name for path in pages.iterdir()] == ["index.html"] and (pages / "index.html").read_text() == "old"


def browse(address: str, folder: Path) -> tuple[str, list[str]]:
    """DOM of a page in a browser without network, and what the page asked of other hosts."""
    log = folder / "net.json"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--proxy-server=127.0.0.1:9", f"--log-net-log={log}"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=8000", "--dump-dom", address]
    dom = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120, check=True).stdout
    asked = []
    for event in json.loads(log.read_text())["events"]:
        values = event.get("params") or {}
        # The browser's own requests, for updates and the like, have no origin.
        if values.get("initiator", "not an origin") != "not an origin" and values.get("url", "").startswith("http"):
            asked.append(values["url"])
    return dom, asked


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_mathematics_is_rendered_without_network(pages, tmp_path):
    dom, asked = browse((pages / "method.html").as_uri(), tmp_path)
    assert asked == []
    assert dom.count("<mjx-container") > 10
    assert '<g data-mml-node="merror"' not in dom
    (tmp_path / "control.html").write_text('<img src="https://example.invalid/a.png">')
    _, asked = browse((tmp_path / "control.html").as_uri(), tmp_path)
    assert asked, "a page that does ask must be noticed, or this test proves nothing"
