"""Whether a built book asks for anything from another host: it must open from disk, on a closed network."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path

LOADING_ATTRIBUTES = {"src", "srcset", "data", "poster", "background", "xlink:href"}


LOADING_LINKS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "icon", "shortcut", "manifest"}


REMOTE = re.compile(r"(?:https?:)?//[\w.-]+\.\w", re.IGNORECASE)


REMOTE_STYLE = re.compile(r"(?:@import\s+|url\()\s*['\"]?\s*((?:https?:)?//[^'\")\s;]+)", re.IGNORECASE)


REMOTE_SCRIPT = re.compile(r"['\"]((?:https?:)?//[^'\"\s]+\.(?:m?js|css|json|woff2?|wasm)(?:\?[^'\"]*)?)['\"]", re.IGNORECASE)


class _RequestFinder(html.parser.HTMLParser):
    """Collects what a browser would fetch from another host when it shows the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("script", "style") else ""
        loading = [name for name in values if name in LOADING_ATTRIBUTES]
        if tag == "link" and LOADING_LINKS & set(values.get("rel", "").lower().split()):
            loading.append("href")
        if tag in ("image", "use"):
            loading.append("href")
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            loading.append("content")
        for name in loading:
            # A data: address carries its content; an XML namespace in it is no request.
            address = values.get(name, "")
            if not address.startswith("data:") and REMOTE.search(address):
                self.found.append(f"<{tag} {name}={address[:120]}>")
        self.found += REMOTE_STYLE.findall(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.found += REMOTE_STYLE.findall(data)
        elif self._inside == "script":
            self.found += REMOTE_SCRIPT.findall(data)


def external_requests(html_folder: Path) -> list[str]:
    """What the pages, style sheets and drawings in a built folder would fetch from another host.

    Links that a reader may click do not count. Scripts in files are not read: they are those of the pinned theme, and the
    book is also opened in a browser without network by the tests.

    Args:
        html_folder: folder with HTML files, searched with all folders in it.

    Returns:
        One ``file: address`` line per request, sorted; empty if the folder is self-contained.
    """
    found = []
    for path in sorted(Path(html_folder).rglob("*")):
        if path.suffix in (".html", ".svg"):
            finder = _RequestFinder()
            finder.feed(path.read_text(encoding="utf-8", errors="replace"))
            requests = finder.found
        elif path.suffix == ".css":
            requests = REMOTE_STYLE.findall(path.read_text(encoding="utf-8", errors="replace"))
        else:
            continue
        found += [f"{path.relative_to(html_folder).as_posix()}: {request}" for request in requests]
    return sorted(found)
