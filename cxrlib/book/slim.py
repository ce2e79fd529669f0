"""A built book without what no reader's browser asks for: the same pages in two thirds of the size."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cxrlib.book import drawings
from cxrlib.study.figures.captions import FRAMES

UNASKED = ("**/*.map", "locales/**/*", "*-macros.html", "scripts/fontawesome.js", "vendor/fontawesome/webfonts/*.ttf")
"""In ``_static``: maps from packed scripts to their sources, texts and templates that the theme used while it wrote the pages,
a script that draws the icons of the theme once more than its style sheet does, and fonts for browsers without WOFF2."""
OLD_FONT = re.compile(r',url\([^)]*\.ttf\) format\("truetype"\)')
ICON_SCRIPT = re.compile(r'\s*<!-- So that users can add custom icons -->|\s*<script[^>]* src="[^"]*scripts/fontawesome\.js[^"]*"></script>')
AS_IT_IS = re.compile(r"(<(pre|script|style|textarea)\b.*?</\2>)", re.DOTALL)
EMPTY = re.compile(r"[ \t]*\n\s*")
DRAWING = "image/svg+xml"


def slim(built: Path) -> None:
    """Take out of a built book, in place, what is never shown: files, scripts, empty lines, and data behind a download."""
    static = built / "_static"
    for path in [path for pattern in UNASKED for path in static.glob(pattern) if path.is_file()]:
        path.unlink()
    for path in (static / "styles").glob("*.css"):
        path.write_text(OLD_FONT.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in [path for path in built.rglob("*.html") if static not in path.parents]:
        path.write_text(slim_page(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (built / "_images").glob("*.svg"):
        path.write_text(drawings.both_themes(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (built / "_sources").rglob("*.ipynb"):
        path.write_text(slim_notebook(path.read_text(encoding="utf-8")), encoding="utf-8")


def slim_page(text: str) -> str:
    """A page without the script of icons and without empty lines and indentation, but where they are seen."""
    parts = AS_IT_IS.split(ICON_SCRIPT.sub("", text))
    return "".join(part if place % 3 == 1 else EMPTY.sub("\n", part) for place, part in enumerate(parts) if place % 3 < 2)


def slim_notebook(text: str) -> str:
    """An executed notebook with compact drawings, and without the pictures of a viewer that is on another page."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(FRAMES, None)  # its text stays, and says where the viewer is
            if DRAWING in data:
                data[DRAWING] = drawings.compact("".join(data[DRAWING]))
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
