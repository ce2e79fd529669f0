"""The built book in a real browser: axe-core on every page, both themes, two widths; search and explorer opened from disk.

Needs a built book under ``_build/``, Chromium, Node, and ``npm ci --prefix tests/browser``, as in CI; skipped without one of them.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from common import ROOT

from cxrlib.book.access import REPAIRS, searchable

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOOLS = ROOT / "tests" / "browser"
BOOKS = [page.parent for page in ROOT.glob("_build/*/index.html")]
BOOK = max(BOOKS, key=lambda folder: (folder.name == "html", folder.stat().st_mtime), default=None)
MISSING = [
    what
    for what, there in {
        "a built book": BOOK, "Chromium": CHROMIUM, "Node": shutil.which("node"), "npm packages": (TOOLS / "node_modules" / "axe-core").is_dir(),
    }.items() if not there
]  # fmt: skip
in_browser = pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}")


def node(script: str, *arguments: str, timeout: int = 900) -> list:
    """What a script of ``tests/browser`` printed, a value for each line."""
    command = ["node", str(TOOLS / script), CHROMIUM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ | {"NODE_NO_WARNINGS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def shown() -> list[str]:
    return sorted(path.relative_to(BOOK).as_posix() for path in [*BOOK.glob("*.html"), *BOOK.glob("executed/*.html")])


@pytest.mark.browser
@in_browser
def test_no_page_has_a_serious_finding_an_error_or_a_body_that_is_too_wide():
    assert len(shown()) > 15
    found = node("check.mjs", str(BOOK), *shown())
    assert found == [], "\n".join(map(str, found[:30]))


@pytest.mark.browser
@in_browser
def test_the_check_notices(tmp_path):
    (tmp_path / "a.html").write_text('<html><head><title>a</title></head><body><img src="a.png"><div style="width: 9000px">x</div><script>throw Error("no")</script></body></html>')
    found = {row["what"] for row in node("check.mjs", str(tmp_path), "a.html")}
    assert {"html-has-lang", "image-alt", "overflow", "error"} <= found


@pytest.mark.browser
@in_browser
def test_search_shows_excerpts_from_disk():
    (answer,) = node("search.mjs", str(BOOK), "prevalence")
    assert answer["errors"] == []
    excerpts = [result["excerpt"] for result in answer["results"] if result["excerpt"]]
    assert len(excerpts) >= 2
    assert any("prevalence" in excerpt.lower() for excerpt in excerpts)


@pytest.mark.browser
@in_browser
def test_the_explorer_moves_by_keyboard_and_its_numbers_are_right():
    (answer,) = node("explorer.mjs", str(BOOK))
    assert answer["errors"] == []
    numbers = {key: dict(re.findall(r"(sensitivity|specificity|PPV|NPV) ([\d.]+) %", answer[key])) for key in ("first", "threshold", "prevalence")}
    assert numbers["first"]["specificity"] != numbers["threshold"]["specificity"], "the threshold was moved"
    assert numbers["threshold"]["sensitivity"] == numbers["prevalence"]["sensitivity"], "prevalence is no property of the network"
    assert numbers["threshold"]["PPV"] != numbers["prevalence"]["PPV"]
    for key, prevalence in (("first", 0.1), ("prevalence", 0.3)):
        one, other = (float(numbers[key][name]) / 100 for name in ("sensitivity", "specificity"))
        expected = one * prevalence / (one * prevalence + (1 - other) * (1 - prevalence))
        assert float(numbers[key]["PPV"]) / 100 == pytest.approx(expected, abs=0.01)
    if answer["viewer"]:
        first, second = answer["viewer"]
        assert first["src"] != second["src"] and first["width"] > 100 and first["alt"].startswith("Truly ")


@pytest.mark.browser
@in_browser
def test_widgets_move_by_keyboard_and_say_right_numbers():
    (answer,) = node("widgets.mjs", str(BOOK), "primer.html")
    assert answer["errors"] == [] and len(answer["widgets"]) == 4
    for name, widget in answer["widgets"].items():
        assert widget["drawn"] and len(set(widget["said"])) == len(widget["said"]) > 1, name
    for said in answer["widgets"]["cxr-widget-prevalence"]["said"][:2]:
        ppv, prevalence = (float(number) / 100 for number in re.findall(r"([\d.]+) %", said))
        assert ppv == pytest.approx(0.9 * prevalence / (0.9 * prevalence + 0.1 * (1 - prevalence)), abs=0.002)
    assert "0.325" in answer["widgets"]["cxr-widget-mixup"]["said"][0]
    assert "at steps 1500, 3000 and 4500" in answer["widgets"]["cxr-widget-schedule"]["said"][0]


def test_the_text_of_a_page_for_the_search():
    body = '<section id="a"><h1>One &amp; <em>two</em></h1><script>evil()</script><p>x  < y</p><svg><text>no</text></svg></section>'
    assert searchable(body) == '<div role="main"><section id="a"><h1>One &amp; two</h1>x &lt; y</section></div>'


def test_roles_and_names_are_mended():
    body = '<summary aria-label="Toggle hidden content">Show</summary><div role="list"><div role="doc-biblioentry">a</div></div>'
    for found, instead in REPAIRS:
        body = found.sub(instead, body)
    assert body == '<summary>Show</summary><div role="list"><div role="listitem">a</div></div>'
