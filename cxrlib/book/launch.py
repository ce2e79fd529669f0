"""Notebooks on other people's computers: buttons for Binder and Colab, off until somebody names the address of a fork.

``make buttons FORK=https://github.com/OWNER/NAME`` switches them on, ``make buttons FORK=`` off again. The address then stands
in ``_config.yml``, from which the pages get their buttons, and in the first cell of each notebook, which gets the book on Colab
and finds its folder on Binder. Anywhere else that cell does nothing. A link is followed by whoever clicks it; no page asks for
anything by itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrlib.book.notebooks import HOSTED, BookError
from cxrlib.files import atomic_write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FORK = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
SETTING = re.compile(r'^( *cxr_fork: )"[^"]*"', re.MULTILINE)
CELL = """# On Colab this gets the book, on Binder it finds its folder. Anywhere else it does nothing.
import os as _os

_fork = ""  # make buttons FORK=https://github.com/OWNER/NAME
if _fork and "COLAB_RELEASE_TAG" in _os.environ and not _os.path.isdir("book"):
    _os.system(f"git clone -q --depth 1 {_fork} book && python -m pip install -q -e book")
if "COLAB_RELEASE_TAG" in _os.environ or "BINDER_REPO_URL" in _os.environ:
    from cxrlib.book.launch import ready as _ready

    _ready()"""
"""The first cell of each notebook; its names begin with an underscore, since every other name counts as a parameter."""


def ready() -> Path:
    """Go to the root of the repository and make the phantoms of the demonstration, unless they are there.

    Returns:
        The root.

    Raises:
        BookError: if neither this folder nor the one above nor ``book`` is the root.
    """
    from cxrlib.study.plan import make_phantoms

    here = Path.cwd()
    root = next((folder for folder in (here, here.parent, here / "book") if (folder / "_toc.yml").is_file()), None)
    if root is None:
        raise BookError(f"{here} is not in the book's repository; open the notebook from there")
    os.chdir(root)
    make_phantoms("demo", root)
    return root


def addresses(fork: str, notebook: str) -> dict[str, str]:
    """Where Binder and Colab open a notebook of a fork, by name of the button."""
    owner = fork.removeprefix("https://github.com/")
    return {
        "Binder": f"https://mybinder.org/v2/gh/{owner}/HEAD?urlpath=lab%2Ftree%2Fnotebooks%2F{notebook}.ipynb",
        "Colab": f"https://colab.research.google.com/github/{owner}/blob/HEAD/notebooks/{notebook}.ipynb",
    }


def switch(fork: str, root: Path) -> None:
    """Write the address of a fork, or '' for none, into the configuration and into the first cell of each notebook.

    Raises:
        BookError: if it is no address of a repository on GitHub.
    """
    if fork and not FORK.fullmatch(fork):
        raise BookError(f"FORK='{fork}' is no address such as https://github.com/OWNER/NAME")
    path = root / "_config.yml"
    text, found = SETTING.subn(lambda match: f'{match[1]}"{fork}"', path.read_text(encoding="utf-8"))
    if found != 1:
        raise BookError(f'{path} has no line \'cxr_fork: ""\'; put it back below sphinx: config:')
    atomic_write(path, text)
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))
        (cell,) = [cell for cell in cells["cells"] if cell["id"] == HOSTED]
        cell["source"] = CELL.replace('_fork = ""', f'_fork = "{fork}"').splitlines(keepends=True)
        atomic_write(notebook, json.dumps(cells, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def buttons(app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Below the title of a page that is a notebook, a link for each place that runs it; nothing without a fork."""
    fork, folder = app.config.cxr_fork, "executed/"
    if not fork or not page.startswith(folder) or not context.get("body"):
        return
    links = " · ".join(f'<a href="{address}">{name}</a>' for name, address in addresses(fork, page.removeprefix(folder)).items())
    context["body"] = context["body"].replace("</h1>", f'</h1>\n<p class="cxr-launch">Run this page yourself: {links}</p>', 1)


def _check(_app: Sphinx, config: Any) -> None:
    if config.cxr_fork and not FORK.fullmatch(config.cxr_fork):
        raise BookError(f"_config.yml: cxr_fork '{config.cxr_fork}' is no address such as https://github.com/OWNER/NAME")


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.add_config_value("cxr_fork", "", "html")
    app.connect("config-inited", _check)
    app.connect("html-page-context", buttons)


def main() -> int:
    """``make buttons``: the address is in the environment."""
    try:
        switch(os.environ.get("CXR_FORK", ""), Path.cwd())
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
