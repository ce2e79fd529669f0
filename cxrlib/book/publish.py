"""A built book to take along: one PDF with bookmarks, or one archive with its checksum; and a check of every link inside.

``make pdf``, ``make archive`` and ``make links`` call this with the folder of a built book.
"""

from __future__ import annotations

import hashlib
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cxrlib.book.notebooks import BookError
from cxrlib.files import atomic_write

PRINT = "print.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in an archive, so that the same pages give the same archive."""
STYLE = """<style>
.bd-header-announcement, .headerlink, .copybtn, .toggle-details, .prev-next-footer, .cxr-explorer, .cxr-viewer button, .cxr-viewer fieldset, .tb-fork { display: none !important; }
article { break-before: page; } article:first-of-type { break-before: auto; } figure, table { break-inside: avoid; }
body { max-width: none; padding: 0; font-size: 10pt; } .cxr-replaced { display: block !important; } pre { white-space: pre-wrap; }
.bd-article figure { overflow: visible; } .bd-article table.table { font-size: 8pt; } @page { size: A4; margin: 18mm 16mm; }
</style>"""


class _Page(html.parser.HTMLParser):
    """The ids and links of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]


def broken_links(pages: Path) -> list[str]:
    """Links and pictures of a built book that lead nowhere inside it, as ``page: address``; addresses of other hosts are not tried."""
    found: dict[Path, _Page] = {}
    for path in sorted(pages.rglob("*.html")):
        if "_static" not in path.relative_to(pages).parts:
            found[path.resolve()] = page = _Page()
            page.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in found.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("#pst-") or link in ("#", "#top"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.exists() or (fragment and target in found and fragment not in found[target].ids):
                broken.append(f"{path.relative_to(pages.resolve()).as_posix()}: {link}")
    return sorted(set(broken))


def order(pages: Path) -> list[str]:
    """Pages in the order of the book: the first, then as its table of contents in the margin names them."""
    text = (pages / "index.html").read_text(encoding="utf-8")
    navigation = re.search(r'<nav class="bd-links.*?</nav>', text, re.DOTALL)
    if navigation is None:
        raise BookError(f"{pages / 'index.html'} has no table of contents; is this a built book?")
    named = re.findall(r'href="([^"#:]+\.html)"', navigation[0])
    return list(dict.fromkeys(["index.html", *named]))


def one_page(pages: Path) -> str:
    """All pages as one, with links between them turned into links inside, for printing."""
    first = (pages / "index.html").read_text(encoding="utf-8")
    head = re.search(r"<head>.*?</head>", first, re.DOTALL)[0].replace("</head>", f"{STYLE}</head>")
    articles = []
    for name in order(pages):
        text = (pages / name).read_text(encoding="utf-8")
        article = re.search(r'<article class="bd-article".*?</article>', text, re.DOTALL)
        if article is None:
            raise BookError(f"{pages / name} has no article; is this a built book?")
        articles.append(_placed(article[0].replace("<details", "<details open"), name, set(order(pages))))
    return f'<!DOCTYPE html><html lang="en" data-theme="light" data-content_root="./">{head}<body class="cxr-print">{"".join(articles)}</body></html>'


def _placed(article: str, page: str, known: set[str]) -> str:
    """An article with ids of its own in the one page, and addresses that start at the book's root."""
    folder, mark = os.path.dirname(page), re.sub(r"\W", "-", page)

    def address(found: re.Match) -> str:
        attribute, link = found[1], found[2]
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return found[0]
        target = os.path.normpath(os.path.join(folder, parts.path)) if parts.path else page
        if target in known and attribute == "href":
            other = re.sub(r"\W", "-", target)
            return f'href="#{other}--{parts.fragment}"' if parts.fragment else f'href="#{other}"'
        return f'{attribute}="{target}"'

    article = re.sub(r'\bid="([^"]+)"', lambda found: f'id="{mark}--{found[1]}"', article)
    article = re.sub(r'\b(href|src)="([^"]+)"', address, article)
    return article.replace("<article", f'<article id="{mark}"', 1)


def browser() -> str | None:
    """The Chromium of this machine, or the one named in CXR_BROWSER; None if there is none."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXR_BROWSER", ""), *BROWSERS))), None)


def printed(page: Path, output: Path) -> Path:
    """Print one HTML file to PDF: vector drawings, mathematics, bookmarks from headings.

    Raises:
        BookError: if there is no Chromium, or it fails.
    """
    program = browser()
    if program is None:
        raise BookError(f"no Chromium was found ({', '.join(BROWSERS)}); install one, or name it in CXR_BROWSER")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "book.pdf"
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", f"--user-data-dir={folder}/profile"]
        command += ["--no-pdf-header-footer", "--generate-pdf-document-outline", "--export-tagged-pdf", "--virtual-time-budget=60000"]
        done = subprocess.run([*command, f"--print-to-pdf={made}", page.resolve().as_uri()], capture_output=True, text=True, timeout=600)
        if done.returncode or not made.is_file():
            raise BookError(f"{program} printed nothing: {done.stderr.strip()[-400:]}")
        atomic_write(output, made.read_bytes())
    return output


def pdf(pages: Path, output: Path) -> Path:
    """Print a built book to one PDF, see :func:`printed`."""
    source = pages / PRINT
    atomic_write(source, one_page(pages).encode())
    try:
        return printed(source, output)
    finally:
        source.unlink(missing_ok=True)


def archive(pages: Path, output: Path) -> str:
    """Put a built book into a zip file, the same bytes for the same pages, and its SHA-256 into a file beside it.

    Returns:
        The checksum.
    """
    if not (pages / "index.html").is_file():
        raise BookError(f"{pages} holds no index.html; run `make book` first")
    with tempfile.TemporaryFile() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(path for path in pages.rglob("*") if path.is_file()):
                about = zipfile.ZipInfo(f"{output.stem}/{path.relative_to(pages).as_posix()}", EPOCH)
                about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                packed.writestr(about, path.read_bytes())
        stream.seek(0)
        content = stream.read()
    digest = hashlib.sha256(content).hexdigest()
    atomic_write(output, content)
    atomic_write(output.with_name(f"{output.name}.sha256"), f"{digest}  {output.name}\n".encode())
    return digest


def main(arguments: list[str]) -> int:
    """``python -m cxrlib.book.publish (links | pdf | archive) FOLDER``."""
    try:
        task, pages = arguments[0], Path(arguments[1])
        if not (pages / "index.html").is_file():
            raise BookError(f"{pages} holds no index.html; run `make book` first, or name another folder with PAGES=_build/NAME")
        if task == "links":
            broken = broken_links(pages)
            print("\n".join(broken) if broken else f"every link inside {pages} leads somewhere")
            return int(bool(broken))
        name = "cxrlib-book" if pages.name == "html" else f"cxrlib-book-{pages.name}"
        output = pages.parent / f"{name}.{'pdf' if task == 'pdf' else 'zip'}"
        print(pdf(pages, output) if task == "pdf" else f"{output}  SHA-256 {archive(pages, output)}")
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
