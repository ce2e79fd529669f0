"""What leaves a built book leaves nothing out that is seen: drawings, pages, downloads; one drawing has the colours of both themes."""

import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from cxrlib.book import drawings, publish, slim
from cxrlib.book.source import lighter
from cxrlib.study.figures import style
from cxrlib.study.figures.captions import FRAMES

CHROMIUM = next(filter(None, map(shutil.which, publish.BROWSERS)), None)
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
NAME = 'style="fill: red" > <b>  & 1.23456'


@pytest.fixture(scope="module")
def drawing() -> str:
    """Lines, markers that are used again, bars, a picture, a clip, and a text that looks like markup."""
    style.use_style()
    figure, (left, right) = plt.subplots(1, 2)
    left.errorbar(np.linspace(0, 1, 7) ** 3, np.linspace(3, 4, 7), yerr=0.123, color=style.ACCENT, marker="s", label=NAME)
    left.bar([0.2, 0.4], [1, 2], color=style.FAINT, edgecolor="#ffffff")
    left.legend()
    right.imshow(np.arange(12).reshape(3, 4), cmap="gray")
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    return stream.getvalue()


def elements(text: str) -> list[ET.Element]:
    """Elements that draw, in their order."""
    return [element for element in ET.fromstring(text.encode()).iter() if element.tag.removeprefix(SVG) in ("path", "use", "text", "image", "rect", "line")]


def places(element: ET.Element) -> list[float]:
    found = " ".join(element.get(name, "") for name in ("d", "x", "y", "width", "height", "points"))
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", found)]


def test_a_compact_drawing_draws_the_same(drawing):
    small = drawings.compact(drawing)
    assert len(small) < 0.8 * len(drawing)
    assert drawings.compact(small) == small
    before, after = elements(drawing), elements(small)
    assert [element.tag for element in after] == [element.tag for element in before]
    for old, new in zip(before, after, strict=True):
        assert (old.text or "").strip() == (new.text or "").strip()
        assert re.sub("[^A-Za-z]", "", old.get("d", "")) == re.sub("[^A-Za-z]", "", new.get("d", ""))
        assert places(new) == pytest.approx(places(old), abs=0.0051)
        for name in ("clip-path", LINK):
            assert old.get(name) == new.get(name)
        assert re.sub(": ", ":", old.get("style", "")).replace("; ", ";") == new.get("style", "")
    assert NAME in [element.text for element in after], "a text is no markup"


def test_transformations_and_named_groups_stay():
    text = '<svg xmlns="http://www.w3.org/2000/svg"><g id="a"><g id="b"><path d="M 0.12345 1" transform="scale(0.0078125)"/></g></g><use href="#b" transform="rotate(-90 1.23456 2)"/><g clip-path="url(#c)"><path d="M 0 -0.001"/></g></svg>'
    assert drawings.compact(text) == '<svg xmlns="http://www.w3.org/2000/svg"><g id="b"><path d="M0.12 1" transform="scale(0.0078125)"/></g><use href="#b" transform="rotate(-90 1.23456 2)"/><g clip-path="url(#c)"><path d="M0 0"/></g></svg>'


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_one_drawing_has_the_colours_of_both_themes(drawing, theme):
    both = drawings.both_themes(drawing)
    assert len(both) < 0.7 * len(drawing)
    sheet = re.search(r"<style>(svg\{.*?)</style>", both)[1]
    blocks = dict(re.findall(r"([\w:.]+)\{([^}]*)\}", sheet))
    values = dict(pair.split(":") for pair in blocks["svg" if theme == "light" else "svg:target"].split(";"))
    wanted = style.dark_copy(drawing) if theme == "dark" else drawing
    for old, new in zip(elements(wanted), elements(both), strict=True):
        declared = re.sub(r"var\((--\d+)\)", lambda name: values[name[1]], blocks.get(f".{new.get('class')}", ""))
        assert declared == re.sub(r"([:;]) +", r"\1", old.get("style", ""))
    ids = {element.get("id") for element in ET.fromstring(both.encode()).iter()} - {None}
    assert drawings.DARK_TARGET in ids
    assert set(drawings.REFERENCE.findall(both)) == ids - {drawings.DARK_TARGET}


def test_colours_of_a_drawing_made_by_hand_follow_the_theme_too():
    both = drawings.both_themes(f'<svg xmlns="http://www.w3.org/2000/svg"><path fill="{style.INK}" stroke="#123456" d="M 0 0"/></svg>')
    assert f"svg{{--0:{style.INK}}}svg:target{{--0:{style.DARK[style.INK]}}}.c0{{fill:var(--0)}}" in both
    assert 'stroke="#123456"' in both
    assert drawings.both_themes("<svg><path/></svg>") == "<svg><path/></svg>"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_theme_that_the_address_names(tmp_path):
    square = f'<path id="m" d="M 0 0 L 40 0 L 40 40 L 0 40 z" style="fill: {style.ACCENT}"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="80" height="40"><defs>{square}</defs><use xlink:href="#m"/><path d="M 40 0 L 80 0 L 80 40 L 40 40 z" style="fill: {style.INK}"/></svg>'
    (tmp_path / "a.svg").write_text(drawings.both_themes(svg))
    (tmp_path / "a.html").write_text('<body style="margin:0"><img style="display:block" src="a.svg"><img style="display:block" src="a.svg#dark">')
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=300,300", f"--user-data-dir={tmp_path / 'profile'}"]
    subprocess.run([CHROMIUM, *options, f"--screenshot={tmp_path / 'a.png'}", (tmp_path / "a.html").as_uri()], capture_output=True, timeout=300, check=True)
    with Image.open(tmp_path / "a.png") as shown:
        seen = ["#{:02x}{:02x}{:02x}".format(*shown.convert("RGB").getpixel(place)) for place in ((20, 20), (60, 20), (20, 60), (60, 60))]
    assert seen == [style.ACCENT, style.INK, style.DARK[style.ACCENT], style.DARK[style.INK]], "also where an element is used again"


def test_a_page_keeps_what_is_seen():
    text = '<head>\n  <!-- So that users can add custom icons -->\n  <script defer src="../_static/scripts/fontawesome.js?digest=1"></script>\n\n  <script>\n\n let a;</script></head>\n\n    <p>one\n      two</p><pre>\n\n  x\n</pre>\n<textarea>\n\n a</textarea>'
    assert slim.slim_page(text) == '<head>\n<script>\n\n let a;</script></head>\n<p>one\ntwo</p><pre>\n\n  x\n</pre>\n<textarea>\n\n a</textarea>'


def test_source_is_marked_once_and_says_the_same():
    marked = '<span class="sd">"""A</span>\n\n<span class="sd">b &amp; c"""</span>\n<span class="n">a</span><span class="o">=</span><span class="sa">f</span><span class="s2">"</span><span class="si">{</span><span class="n">b</span><span class="si">}</span><span class="s2">"</span> <span class="k">if</span>'
    light = lighter(marked)
    assert light == '<span class="s">"""A\n\nb &amp; c"""</span>\na=<span class="s">f"{</span>b<span class="s">}"</span> <span class="k">if</span>'
    assert re.sub("<[^>]*>", "", light) == re.sub("<[^>]*>", "", marked)


def test_a_built_book_loses_what_nobody_asks_for(tmp_path, drawing):
    static, downloads = tmp_path / "_static", tmp_path / "_sources" / "executed"
    for folder in (static / "scripts", static / "styles", static / "locales" / "de", static / "vendor" / "fontawesome" / "webfonts", tmp_path / "_images", downloads):
        folder.mkdir(parents=True)
    gone = ["scripts/fontawesome.js", "scripts/a.js.map", "locales/de/a.mo", "webpack-macros.html", "vendor/fontawesome/webfonts/a.ttf"]
    kept = ["scripts/bootstrap.js", "vendor/fontawesome/webfonts/a.woff2"]
    for name in [*gone, *kept]:
        (static / name).write_text("x")
    (static / "styles" / "a.css").write_text('@font-face{src:url(../a.woff2) format("woff2"),url(../a.ttf) format("truetype")}')
    (tmp_path / "index.html").write_text("<p>a</p>\n\n\n<p>b</p>")
    (tmp_path / "_images" / "a.svg").write_text(drawing)
    outputs = [{"data": {"image/svg+xml": drawing.splitlines(keepends=True), "text/plain": "t"}}, {"data": {FRAMES: [{"pictures": {}}], "text/plain": "12 phantoms"}}]
    (downloads / "a.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": "1", "outputs": outputs}, {"cell_type": "markdown", "source": "é"}]}))
    slim.slim(tmp_path)
    there = {path.relative_to(static).as_posix() for path in static.rglob("*") if path.is_file()}
    assert there == {*kept, "styles/a.css"}
    assert (static / "styles" / "a.css").read_text() == '@font-face{src:url(../a.woff2) format("woff2")}'
    assert (tmp_path / "index.html").read_text() == "<p>a</p>\n<p>b</p>"
    assert (tmp_path / "_images" / "a.svg").read_text() == drawings.both_themes(drawing)
    cells = json.loads((downloads / "a.ipynb").read_text())["cells"]
    assert cells[0]["outputs"] == [{"data": {"image/svg+xml": drawings.compact(drawing), "text/plain": "t"}}, {"data": {"text/plain": "12 phantoms"}}]
    assert cells[1]["source"] == "é"
