"""Open a notebook in JupyterLab with its parameters at hand: ``make lab NOTEBOOK=03_test_performance PROFILE=demo``.

The copy ``lab-NAME.ipynb`` lies in the root of the repository, where the folders that its parameters name are found. The
template keeps no output, and a copy that is there already is opened as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cxrlib.book.notebooks import BookError, declared_parameters


def copy(name: str, profile: str, data: str | None = None, root: Path | None = None) -> Path:
    """A copy of a notebook with the parameters of a profile in a cell of their own, below those that it declares.

    Args:
        name: of a file in ``notebooks/``, with or without ``.ipynb``.
        profile: name of a file in ``profiles/``.
        data: folder in the COVIDx layout; by default the profile's phantoms are made.

    Raises:
        BookError: if there is no such notebook. ``cxrlib.config.ParameterError`` for a faulty profile.
    """
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from cxrlib.files import atomic_write
    from cxrlib.study.parameters import Profile
    from cxrlib.study.plan import make_phantoms

    root = root or Path.cwd()
    stem = name.removesuffix(".ipynb")
    template, target = root / "notebooks" / f"{stem}.ipynb", root / f"lab-{stem}.ipynb"
    if not template.is_file():
        there = ", ".join(path.stem for path in sorted((root / "notebooks").glob("*.ipynb")))
        raise BookError(f"there is no notebook '{stem}'; there are: {there}")
    if target.is_file():
        return target
    folder = data or str(make_phantoms(profile, root))
    given = Profile.load(profile, root / "profiles").parameters(stem, data=folder)
    declared = declared_parameters(template)
    notebook = parameterize_notebook(load_notebook_node(str(template)), {key: value for key, value in given.items() if key in declared})
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
    atomic_write(target, nbformat.writes(notebook))
    return target


def main() -> int:
    """Make the copy that the environment asks for, and become JupyterLab."""
    name, profile, data = (os.environ.get(f"CXR_{what}", "") for what in ("NOTEBOOK", "PROFILE", "DATA"))
    try:
        target = copy(name or "03_test_performance", profile or "demo", data or None)
    except (BookError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target}: change the parameters in its first code cells and run all; delete the file to start afresh", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(target)])


if __name__ == "__main__":
    sys.exit(main())
