"""Taking the book along: links inside, one page for printing, an archive with its checksum, and what archives read about it."""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
import zipfile

import pytest
import yaml
from common import ROOT

from cxrlib.book import lab, publish
from cxrlib.book.notebooks import BookError

CHROMIUM = next(filter(None, map(shutil.which, publish.BROWSERS)), None)


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "_build" / "html"
    (folder / "executed").mkdir(parents=True)
    (folder / "_images").mkdir()
    (folder / "_images" / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    page = '<html><head><title>t</title></head><body><nav class="bd-links">{nav}</nav><article class="bd-article"><h1 id="top">{title}</h1>{body}</article></body></html>'
    nav = '<a href="#">Home</a><a href="executed/a.html">A</a><a href="https://example.org/x.html">x</a>'
    (folder / "index.html").write_text(page.format(nav=nav, title="Home", body='<a href="executed/a.html#part">part</a><img src="_images/a.svg">'))
    (folder / "executed" / "a.html").write_text(page.format(nav="", title="A", body='<h2 id="part">Part</h2><a href="../index.html">home</a><a href="#part">here</a><img src="../_images/a.svg">'))
    return folder


def test_links_that_lead_nowhere_are_named(pages):
    assert publish.broken_links(pages) == []
    page = pages / "executed" / "a.html"
    page.write_text(page.read_text() + '<a href="../nowhere.html">x</a><a href="#gone">x</a><a href="../index.html#gone">x</a><img src="b.png"><a href="https://example.org/404">x</a>')
    assert publish.broken_links(pages) == [f"executed/a.html: {link}" for link in ("#gone", "../index.html#gone", "../nowhere.html", "b.png")]
    assert publish.main(["links", str(pages)]) == 1


def test_one_page_holds_all_and_links_inside_it(pages):
    text = publish.one_page(pages)
    assert text.index("Home</h1>") < text.index("A</h1>")
    assert 'id="executed-a-html--part"' in text
    assert 'href="#executed-a-html--part"' in text and 'href="#index-html"' in text
    assert text.count('src="_images/a.svg"') == 2
    ids = [part.split('"')[0] for part in text.split('id="')[1:]]
    assert len(ids) == len(set(ids))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_pdf_with_bookmarks(pages):
    assert publish.main(["pdf", str(pages)]) == 0
    content = (pages.parent / "cxrlib-book.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/Outlines" in content, "headings are bookmarks"
    assert not (pages / publish.PRINT).exists(), "nothing is left in the book"


def test_without_a_browser_a_sentence(pages, monkeypatch):
    monkeypatch.setenv("PATH", str(pages))
    with pytest.raises(BookError, match="no Chromium was found.*CXR_BROWSER"):
        publish.pdf(pages, pages.parent / "a.pdf")


def test_the_archive_is_the_same_for_the_same_pages_and_its_checksum_is_right(pages, capsys):
    output = pages.parent / "cxrlib-book.zip"
    assert publish.main(["archive", str(pages)]) == 0
    first = output.read_bytes()
    for path in pages.rglob("*"):
        os.utime(path, (1, 1))
    publish.archive(pages, output)
    assert output.read_bytes() == first
    digest, name = (pages.parent / "cxrlib-book.zip.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(first).hexdigest(), output.name)
    assert digest in capsys.readouterr().out
    with zipfile.ZipFile(output) as packed:
        assert sorted(packed.namelist()) == [f"cxrlib-book/{name}" for name in ("_images/a.svg", "executed/a.html", "index.html")]
    assert publish.main(["archive", str(pages / "executed")]) == 1


def test_what_archives_read_agrees_with_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    zenodo, codemeta = (json.loads((ROOT / name).read_text(encoding="utf-8")) for name in (".zenodo.json", "codemeta.json"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {zenodo["version"], codemeta["version"], str(citation["version"])} == {project["version"]}
    first, *others = project["license"].split(" AND ")
    assert zenodo["license"] == first == citation["license"] and codemeta["license"].endswith(f"/{first}")
    assert others and "non-commercial" in zenodo["notes"], "the fields of archives hold one licence of the SPDX list"
    assert codemeta["description"] == project["description"]
    assert "10.3390/diagnostics11101887" in json.dumps(zenodo) and "10.3390/diagnostics11101887" in json.dumps(codemeta)


def test_pages_are_published_by_a_fork_that_asks_for_it_only():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8"))
    assert "PUBLISH_PAGES == 'true'" in flow["jobs"]["build"]["if"]
    assert flow["jobs"]["deploy"]["needs"] == "build"
    runs = [step.get("run") for step in flow["jobs"]["build"]["steps"]]
    assert runs.index("make book") < runs.index("make links")


def test_a_notebook_is_opened_with_the_parameters_of_a_profile(tmp_path, covidx_folder):
    for name in ("notebooks", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    target = lab.copy("03_test_performance", "tiny", data=str(covidx_folder), root=tmp_path)
    assert target == tmp_path / "lab-03_test_performance.ipynb"
    cells = json.loads(target.read_text())["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    place = tags.index(["parameters"])
    assert tags[place + 1] == ["injected-parameters"]
    assert f'data = "{covidx_folder}"' in "".join(cells[place + 1]["source"])
    target.write_text("mine")
    assert lab.copy("03_test_performance.ipynb", "tiny", root=tmp_path).read_text() == "mine"
    with pytest.raises(BookError, match="there is no notebook '33_x'; there are: 00_upstream"):
        lab.copy("33_x", "tiny", root=tmp_path)


def test_make_passes_names_letter_for_letter():
    shown = subprocess.run(["make", "-n", "archive", "PAGES=_build/a b$$(x)"], cwd=ROOT, capture_output=True, text=True).stdout
    assert 'cxrlib.book.publish archive "$CXR_PAGES"' in shown
