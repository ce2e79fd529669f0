"""Text from data does nothing on a page: a book built from hostile names, and every page of it walked.

All notebooks are executed on a folder whose sources, patients, files and own name are made of what Markdown, MyST, HTML,
MathJax, a template engine or a plotting library would act upon, beside committed tables and weights files of such names.
The pages are then those of any book: they hold the texts, letter for letter, and nothing that came alive.
"""

import html.parser
import os
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import warm
from common import ROOT
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from cxrlib import markup
from cxrlib.book import figures, render
from cxrlib.book import notebooks as book_notebooks
from cxrlib.book.fold import fold_code
from cxrlib.experiment import record_tables
from cxrlib.study import committed
from cxrlib.study.parameters import STUDIES, Profile

MARK = "evil"  # in every active part of every hostile text
SECRET = "the-content-of-a-file-of-this-machine"

# Sources, patients and file names have no white space, no backslash in file names.
HOSTILE = [
    "{{evil.__globals__['os'].popen('touch${IFS}evil-was-run').read()}}",
    "{%evil%}{{7*7}}",
    "{download}`/SECRET/evil.txt`",
    "{download}`evil</SECRET/evil.txt>`",
    "{include}`/SECRET/evil.txt`",
    "{paper}`evil.__class__.__init__.__globals__`",
    "{glue:text}`evil`",
    "{cxr}`evil.build`",
    "{math}`evil`",
    "<script>evil()</script>",
    "<img/src=evil/onerror=evil()>",
    "<svg/onload=evil()>",
    "<iframe/src=javascript:evil()></iframe>",
    "<!--evil",
    "[evil](javascript:evil())",
    "![evil](/SECRET/evil.png)",
    "[evil]:javascript:evil()",
    "<javascript:evil()>",
    "https://evil.example/",
    "www.evil.example",
    "evil@evil.example",
    "$evil_{$",
    "$$evil^2$$",
    "\\(evil\\)\\[evil\\]",
    "a|evil|c|d",
    "|",
    "%evil",
    "[[evil]]",
    "[^evil]",
    "[^evil]:x",
    ":evil",
    "(evil)=",
    "***evil***~~evil~~",
    "`evil``evil```",
    "```{raw}evil",
    ":::{include}evil",
    "#evil",
    "-[x]evil",
    "1.evil",
    "&lt;evil&#62;&amp;",
    "x'evil'--\"evil\"...",
    "_evil_",
    "+++evil",
    "1e5",
    "0x10",
    "nan",
    "evil{0}{evil}%s%(evil)s",
]
FOLDER = "{{7*7}}<img src=evil onerror=evil()>$$evil^2$$\\(evil\\)`|{download}`evil` 'x'--\"y\""
EXTERNAL = "<b onclick=evil()>{{7*7}}[evil](javascript:evil())|$evil_{$"
DATA_NAME = "{{evil.__globals__['os'].popen('touch evil-was-run').read()}}|<script>evil()</script>{download}`/SECRET/evil.txt` real"
WEIGHTS = "<img src=evil onerror=evil()>`|$evil_{$.safetensors"
UNESCAPED = "08_speed"  # gets outputs that were not escaped; the pages must hold them off all the same
MULTILINE = [
    "```{include} /SECRET/evil.txt\n```",
    "```{eval-rst}\n.. include:: /SECRET/evil.txt\n.. raw:: html\n\n   <script>evil()</script>\n```",
    ":::{raw} html\n<script>evil()</script>\n:::",
    "<script>\nevil()\n</script>",
    "evil\n: {download}`evil </SECRET/evil.txt>`",
    "$$\nevil\n$$",
    "\\begin{equation}evil\\end{equation}",
    "[evil]\n\n[evil]: javascript:evil()",
    "![evil][evil]\n\n[evil]: /SECRET/evil.png",
    "---\nevil: evil\n---",
]


def hostile_folder(folder: Path, texts: list[str]) -> Path:
    """A data folder in which every text is a source, a patient and (without its slashes) a file; two files are twice there."""
    generator = np.random.default_rng(0)
    lines = {"train": [], "test": []}
    for number, text in enumerate(texts):
        for split, count in (("train", 4 if number else 16), ("test", 2)):
            for copy in range(count):
                label = ("negative", "positive")[copy % 2]
                name = f"{number}-{copy}-{text.replace('/', '').replace(chr(92), '')}.png"
                pixels = generator.normal(90 + 60 * (copy % 2), 20, (24, 24)).clip(0, 255).astype(np.uint8)
                if number in (0, 9) and copy == 0:  # near duplicates of both splits, so that the page lists them
                    pixels = (np.arange(576).reshape(24, 24) * (number + 1) % 251).astype(np.uint8)
                (folder / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / split / name)
                lines[split].append(f"{split}{number}{copy // 2}{text} {name} {label} {text}")
    lines["test"].append(f"{texts[0]} no-such-{texts[0].replace('/', '')}.png positive {texts[0]}")  # a problem, named on page 01
    for split, rows in lines.items():
        (folder / f"{split}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def renamed(table: Path, out: Path, keep) -> Path:
    """A table of records under another data name, with right checksums."""
    rows = [record for record in record_tables.read_table(table) if keep(record)]
    record_tables.write_table([record.model_copy(update={"data": record.data | {"name": DATA_NAME}}) for record in rows], out)
    return out


def parameters(folder: Path, tmp: Path) -> dict[str, dict]:
    """Small parameters of every notebook, on hostile files."""
    tiny = Profile.load("tiny", ROOT / "profiles")
    weights = tmp / WEIGHTS
    shutil.copy(ROOT / "cxrlib" / "weights" / "fractal-s.safetensors", weights)
    quarter, upstream = tmp / "quarter.parquet", tmp / "upstream.parquet"
    wanted = {record.key for record in committed.read(ROOT / "results" / "quarter.parquet", "quarter").of(committed.PERFORMANCE)}
    renamed(ROOT / "results" / "quarter.parquet", quarter, lambda record: record.key in wanted and record.config["seed"] < 2)
    renamed(ROOT / "results" / "upstream.parquet", upstream, lambda record: record.config["seed"] < 2 and not record.data["is_phantom"])
    short = {"resize": 20, "crop": 16, "schedule": [1, 2, 3, 4], "seeds": [0]}
    own = {
        "00_upstream": {"results": str(upstream), "probe_seeds": [0], "examples": 2},
        "02_hyperparameter_sensitivity": {"resolutions": [[20, 16]], "schedules": [[1, 2]], "seeds": [0], "inits": ["random", str(weights)], "mixups": ["off"], "results": str(quarter)},
        "03_test_performance": short | {"inits": ["random", str(weights)], "external": str(tmp / EXTERNAL), "results": str(quarter)},
        "04_data_size": short | {"inits": ["random", str(weights)], "sizes": [4], "results": str(quarter)},
        "05_grad_cam": {"resize": 36, "crop": 32, "schedule": [1, 2, 3, 4], "init": str(weights)},
        "06_shortcuts": short | {"init": str(weights), "leave_out": [HOSTILE[0]], "sources": [HOSTILE[9], HOSTILE[24]], "within": "positive",
                                 "external": str(tmp / EXTERNAL), "results": str(quarter)},
        "07_related_work": short | {"systems": ["laptop-fractal-m"], "results": str(quarter)},
        "09_real_xrays": {"results": str(quarter), "lite": "none.parquet"},
        "12_operating_points": {"results": str(quarter), "validation": "none.parquet", "resamples": 100},
        "13_selection": {"results": str(quarter), "validation": "none.parquet", "trials": str(upstream)},
    }
    where = {"data": str(folder), "store": str(tmp / "runs"), "cache": str(tmp / "cache"), "workers": 1, "device": "cpu"}
    values = {}
    for name in STUDIES:
        declared = book_notebooks.declared_parameters(ROOT / "notebooks" / f"{name}.ipynb")
        values[name] = tiny.parameters(name) | own.get(name, {}) | {key: value for key, value in where.items() if key in declared}
    return values


FRESH = """for _name in [name for name in globals() if not name.startswith("_") and name not in ("In", "Out", "exit", "quit", "get_ipython", "open")]:
    del globals()[_name]"""


def executed(values: dict[str, dict], about: dict, out: Path, texts: list[str]) -> None:
    """Every notebook executed, one after the other in one process, as :func:`cxrlib.book.notebooks.execute` leaves them.

    One of them gets outputs that nobody escaped.
    """
    from nbclient import NotebookClient

    notebooks = {name: nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4) for name in values}
    for name, notebook in notebooks.items():
        notebook.cells.insert(0, new_code_cell(FRESH, metadata={"tags": ["remove-cell"]}))
        place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        given = "\n".join(f"{key} = {value!r}" for key, value in values[name].items())
        notebook.cells.insert(place + 1, new_code_cell(given, metadata={"tags": ["injected-parameters"]}))
    whole = nbformat.v4.new_notebook(cells=[cell for notebook in notebooks.values() for cell in notebook.cells])
    client = NotebookClient(whole, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    with warm.everywhere():
        client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    for name, notebook in notebooks.items():
        figures.adopt_findings(notebook)
        book_notebooks.clean(notebook, {})
        fold_code(notebook)
        notebook.cells.pop(0)
        notebook.metadata["cxr"] = about | {"seconds": 1.0}
        if name == UNESCAPED:
            outputs = [new_output("display_data", data={"text/markdown": text}) for text in texts]
            outputs += [new_output("display_data", data={"text/html": text}) for text in texts if text.startswith("<")]
            notebook.cells.append(new_code_cell("unescaped", outputs=outputs))
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out / f"{name}.ipynb")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of pages made from hostile data, and the texts with the place of the secret file put in."""
    tmp = tmp_path_factory.mktemp("hostile")
    secret = tmp / "secret"
    secret.mkdir()
    (secret / "evil.txt").write_text(SECRET)
    Image.new("L", (8, 8)).save(secret / "evil.png")
    texts = [text.replace("/SECRET", str(secret)) for text in HOSTILE]
    folder = hostile_folder(tmp / FOLDER, texts)
    hostile_folder(tmp / EXTERNAL, texts[9:13])
    shutil.rmtree(tmp / EXTERNAL / "train")
    root = tmp / "book"
    for name in ("_config.yml", "_toc.yml", "pyproject.toml"):
        root.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "profiles", root / "profiles")
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("executed"))
    about = {"profile": "<u onclick=evil()>$$evil$$", "data": FOLDER, "external": EXTERNAL}
    executed(parameters(folder, tmp), about, root / "book" / "executed", texts + [text.replace("/SECRET", str(secret)) for text in MULTILINE])
    with warm.everywhere():
        assert render.render(root, root / "_build" / "html", force=True) is True
    assert not list(tmp.rglob("evil-was-run")) and not (ROOT / "evil-was-run").exists()
    return root / "_build" / "html", texts


class Walker(html.parser.HTMLParser):
    """What of a page bears the mark outside of its text, the text itself, and text that MathJax would read."""

    VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
    HARMLESS = {"title", "alt", "content", "id", "data-clipboard-text"}  # an id is made of letters and hyphens

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[str] = []
        self.text: list[str] = []
        self.mathematics: list[str] = []
        self.open: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if MARK in tag:
            self.alive.append(f"<{tag}>")
        for name, value in attrs:
            if MARK in name or (MARK in (value or "") and name not in self.HARMLESS):
                self.alive.append(f"<{tag} {name}={value}>")
            if (value or "").strip().lower().startswith(("javascript:", "vbscript:", "data:text")):
                self.alive.append(f"<{tag} {name}={value}>")
        if tag not in self.VOID:
            self.open.append((tag, values.get("class") or ""))

    def handle_endtag(self, tag):
        if tag in [name for name, _ in self.open]:
            while self.open.pop()[0] != tag:
                pass

    def handle_comment(self, data):
        if MARK in data:
            self.alive.append(f"<!--{data}-->")

    def handle_data(self, data):
        tags = {tag for tag, _ in self.open}
        classes = " ".join(classes for _, classes in self.open).split()
        if tags & {"script", "style"}:
            if MARK in data:
                self.alive.append(data)
            return
        self.text.append(data)
        ignored = tags & {"code", "pre", "textarea", "title"} or {"tex2jax_ignore", "mathjax_ignore"} & set(classes)
        if MARK in data and ("math" in classes or not ignored):
            self.mathematics.append(data)


def walked(page: Path) -> Walker:
    walker = Walker()
    walker.feed(page.read_text(encoding="utf-8"))
    walker.close()
    return walker


def test_nothing_from_data_is_alive_on_any_page(built):
    pages, _ = built
    shown = [page for page in pages.rglob("*.html") if "_static" not in page.parts]
    assert len(shown) > 15
    for page in shown:
        walker = walked(page)
        assert walker.alive == [], page.name
        assert walker.mathematics == [], f"{page.name}: MathJax would read this"
    drawn = (pages / "executed" / "01_data_exploration.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img class="cxr-drawing cxr-light" src="[^"]+_images/\w+\.svg"', drawn)) == 5, "figures are drawn, of the recorded files and of this copy, whose files have one size"


def test_no_file_of_the_machine_reaches_the_pages(built):
    pages, _ = built
    for path in pages.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
            assert path.name not in ("evil.txt", "evil.png"), path


def test_texts_arrive_letter_for_letter(built):
    pages, texts = built
    said = {page.stem: "".join(walked(page).text) for page in (pages / "executed").glob("*.html")}
    table = (pages / "executed" / "01_data_exploration.html").read_text(encoding="utf-8")
    cells = [html.unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", table, re.S)]
    for text in texts:
        assert text in cells, f"{text!r} is no cell of the table of sources"
    for name in STUDIES:
        if name not in ("00_upstream", "08_speed", "09_real_xrays", "10_truth", "11_failures", "12_operating_points", "13_selection"):  # these show committed records only
            assert FOLDER in said[name], f"page {name} does not name the folder"
    for page in (pages / "index.html", pages / "primer.html"):
        assert FOLDER in "".join(walked(page).text) and EXTERNAL in "".join(walked(page).text), "the banner"
    assert all(DATA_NAME in said[name] for name in ("00_upstream", "06_shortcuts", "07_related_work", "09_real_xrays"))
    assert EXTERNAL in said["03_test_performance"] and EXTERNAL in said["06_shortcuts"]
    assert WEIGHTS in said["05_grad_cam"]
    assert f"no-such-{texts[0].replace('/', '')}.png" in said["01_data_exploration"], "the problem list names the file"
    assert f"0-0-{texts[0].replace('/', '')}.png" in said["01_data_exploration"], "the table of duplicates names the files"


def test_the_check_sees_what_is_alive(tmp_path):
    """The walker would notice: each of these is alive."""
    for line in (
        "<p><script>evil()</script>", "<img src=evil>", "<b onclick=evil()>x</b>", "<a href='javascript:evil()'>x</a>",
        "<a href=' JavaScript:x()'>x</a>", "<!--evil-->", "<evil>", "<a href='https://evil.example/'>x</a>",
    ):  # fmt: skip
        (tmp_path / "page.html").write_text(line)
        assert walked(tmp_path / "page.html").alive, line
    for line in ("<p>$evil$</p>", "<div class='math tex2jax_ignore'>evil</div>"):
        (tmp_path / "page.html").write_text(line)
        assert walked(tmp_path / "page.html").mathematics, line


@pytest.mark.parametrize("text", [*HOSTILE, FOLDER, DATA_NAME, "a\nb", "\ud800", "a\u200bb\u202e", "    code", "* * *", "1. x", "- x", "> x", "| a | b |\n|---|---|"])
def test_escaped_text_is_one_paragraph_of_text(text):
    """Markdown with everything that the book's own pages switch on reads the escaped text as text, and code as code."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.colon_fence import colon_fence_plugin
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.footnote import footnote_plugin
    from mdit_py_plugins.front_matter import front_matter_plugin
    from mdit_py_plugins.myst_blocks import myst_block_plugin
    from mdit_py_plugins.myst_role import myst_role_plugin
    from mdit_py_plugins.substitution import substitution_plugin
    from mdit_py_plugins.tasklists import tasklists_plugin

    parser = MarkdownIt("commonmark", {"linkify": True}).enable(["table", "strikethrough", "linkify"])
    for plugin in (front_matter_plugin, myst_block_plugin, myst_role_plugin, footnote_plugin, dollarmath_plugin, colon_fence_plugin,
                   amsmath_plugin, deflist_plugin, tasklists_plugin, substitution_plugin):  # fmt: skip
        parser = parser.use(plugin)
    shown = markup.visible(text)

    def inner(source):
        opening, inline, closing = parser.parse(source)
        assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
        return inline.children

    (only,) = inner(markup.text(text))
    assert (only.type, only.content) == ("text", shown)
    (only,) = inner(markup.code(text))
    assert (only.type, only.content) == ("code_inline", shown)
    first, second, *_ = [token for token in parser.parse(markup.table([text, markup.code(text)], [[markup.code(text), text]])) if token.type == "inline"][2:]
    assert [(child.type, child.content) for child in first.children] == [("code_inline", shown)]
    assert [(child.type, child.content) for child in second.children] == [("text", shown)]


def test_tables_align_numbers_and_refuse_ragged_rows():
    assert markup.table(["a", "b"], [["x", 1.23456789], ["y", 10]]) == "| a | b |\n|---|---:|\n| x | 1.23457 |\n| y | 10 |"
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        markup.table(["a", "b"], [["x"]])


def test_figures_draw_dollars_as_dollars():
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    from cxrlib.study.figures import common

    with plt.rc_context():
        common.use_style()
        figure = common.image_grid({"$x_{$": [np.zeros((4, 4))]}, {"$x_{$": ["$a$"]}, "$x_{$")
        figure.canvas.draw()
        drawn = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert {text.get_text() for text in drawn} == {"$x_{$", "$a$"}, "title, row and caption are there, letter for letter"
        for text in drawn:
            plain = figure.text(0, 0, text.get_text(), parse_math=False, fontproperties=text.get_fontproperties(), rotation=text.get_rotation())
            assert text.get_window_extent().width == pytest.approx(plain.get_window_extent().width)
        plt.close(figure)


@pytest.mark.parametrize(
    "text",
    [
        "TABLE_1.__class__", "TABLE_1[BiT-M].__class__", "TABLE_1[BiT-M].counts", "dataclass", "__builtins__", "Count", "DATASET_COUNTS",
        "TABLE_1[BiT-M].accuracy.real", "TABLE_1[nothing].accuracy", "NO_SUCH", "TEST_IMAGES_PER_CLASS:{evil}", "annotations",
        "printed_percent", "TABLE_1[BiT-M].accuracy:9999f", "FIGURE_4.runs.__doc__", "TABLE_1[BiT-M].accuracy!r", "", "{TABLE_1}",
    ],
)  # fmt: skip
def test_the_paper_role_reaches_numbers_only(text):
    from cxrlib.book.pages import paper_value

    with pytest.raises((LookupError, TypeError, ValueError)):
        paper_value(text)


def test_the_paper_role_reads_what_the_pages_ask():
    from cxrlib.book.pages import paper_value

    assert paper_value("TEST_IMAGES_PER_CLASS") == "200"
    assert paper_value("TABLE_1[BiT-M].accuracy") == "96.5"
    assert paper_value("TABLE_1[COVID-Net CXR-2].accuracy:.1f") == "96.3"
    asked = set()
    for page in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]:
        asked |= set(re.findall(r"\{paper\}`([^`]+)`", page.read_text(encoding="utf-8")))
    assert len(asked) > 3
    for text in asked:
        assert re.fullmatch(r"[\d.,]+|[A-Z][\w /.-]+", paper_value(text)), text
