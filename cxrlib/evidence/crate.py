"""Executed notebooks as RO-Crates of the profile Process Run Crate (Leo et al. 2024, PLoS ONE 19, e0309210; version 0.5).

One crate for each notebook, and one for a whole book: what was run (the template), on what (data with their fingerprint,
records with their SHA-256, parameters), what came of it (the executed copy), and in which environment. Made with
``rocrate``, which is in the extra ``evidence``. No times of day: the same execution is the same crate but for the date that
the standard wants of a publication, which is that of the sources' version.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrlib import __version__
from cxrlib.evidence import slices
from cxrlib.files import file_digest
from cxrlib.study.parameters import STUDIES, read_with

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LICENCE = "https://spdx.org/licenses/MIT"
PUBLISHED = "2026-01-01"
NAMED = ("torch", "torchvision", "numpy", "timm", "scikit-learn", "scipy", "pandas", "matplotlib", "papermill")


def write_all(root: Path, out: Path) -> list[Path]:
    """A crate for each executed notebook of a checkout, ``out/NAME``, and one of all of them, ``out/book``.

    Raises:
        ValueError: if there are none, or ``rocrate`` is not installed; says what to do.
    """
    executed = sorted((root / "book" / "executed").glob("*.ipynb"))
    if not executed:
        raise ValueError(f"{root / 'book' / 'executed'} holds no executed notebook; 'make book' executes them")
    made = [_write([path], root, out / path.stem, f"{path.stem}: an executed notebook of the book") for path in executed]
    return [*made, _write(executed, root, out / "book", "What holds of Zhao et al. 2021? Every executed notebook of the book")]


def _write(executed: list[Path], root: Path, folder: Path, name: str) -> Path:
    try:
        from rocrate.model.contextentity import ContextEntity
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise ValueError("crates need rocrate; install it with: .venv/bin/pip install 'rocrate>=0.15'") from None
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = name
    crate.description = "Fine-tuning for COVID-19 detection from chest X-rays, re-run (Zhao, Jiang and Qiu 2021). Research and teaching only; not for diagnosis."
    crate.license = crate.add(ContextEntity(crate, LICENCE, {"@type": "CreativeWork", "name": "MIT License", "description": "of code and text; pictures of real X-rays belong to their publishers"}))
    crate.datePublished = PUBLISHED
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}))
    crate.root_dataset["author"] = crate.root_dataset["publisher"] = crate.add(ContextEntity(crate, "#authors", {"@type": "Organization", "name": "the cxrlib authors"}))
    crate.root_dataset["citation"] = crate.add(ContextEntity(crate, "https://doi.org/10.3390/diagnostics11101887", {"@type": "ScholarlyArticle", "name": "Fine-Tuning Convolutional Neural Networks for COVID-19 Detection from Chest X-ray Images"}))
    crate.root_dataset["mentions"] = [_action(crate, path, root) for path in executed]
    shutil.rmtree(folder, ignore_errors=True)
    crate.write(folder)
    _without_times(folder / "ro-crate-metadata.json")
    return folder


def _action(crate: ROCrate, executed: Path, root: Path) -> Any:
    """The execution of a notebook as a ``CreateAction``: instrument, objects, results."""
    from rocrate.model.contextentity import ContextEntity

    notebook = json.loads(executed.read_text(encoding="utf-8"))
    about, stem = notebook["metadata"].get("cxr", {}), executed.stem
    template = root / "notebooks" / f"{stem}.ipynb"
    instrument = crate.add_file(template, f"notebooks/{stem}.ipynb", properties={"@type": ["File", "SoftwareSourceCode", "SoftwareApplication"], "name": f"template of {stem}", "url": "https://doi.org/10.3390/diagnostics11101887", "encodingFormat": "application/x-ipynb+json", "version": __version__, "softwareVersion": __version__, "sha256": file_digest(template), "softwareRequirements": [{"@id": each.id} for each in _environment(crate, about)]})
    result = crate.add_file(executed, f"executed/{stem}.ipynb", properties={"name": f"executed {stem}", "encodingFormat": "application/x-ipynb+json", "sha256": file_digest(executed)})
    objects = [crate.add(ContextEntity(crate, f"#data-{about.get('data', 'unknown')}", {"@type": "Dataset", "name": str(about.get("data", "unknown")), "description": "the data folder of this copy; its state is part of the stamp of the execution"}))]
    objects += [_record(crate, root / name) for name in _records(template, root)]
    objects += [crate.add(ContextEntity(crate, f"#{stem}-{name}", {"@type": "PropertyValue", "name": name, "value": json.dumps(value)})) for name, value in _parameters(notebook).items()]
    values = {"@type": "CreateAction", "name": f"execution of {stem} with papermill", "instrument": {"@id": instrument.id}, "object": [{"@id": each.id} for each in objects], "result": {"@id": result.id}, "actionStatus": "http://schema.org/CompletedActionStatus"}
    values |= {"agent": {"@id": "#authors"}, "description": f"profile {about.get('profile', 'unknown')}; stamp {about.get('stamp', 'unknown')}; {about.get('seconds', 'unknown')} s, {about.get('cpu_seconds', 'unknown')} CPU s"}
    return crate.add(ContextEntity(crate, f"#execution-{stem}", values))


def _environment(crate: ROCrate, about: dict[str, Any]) -> list[Any]:
    """Python and the packages that decide numbers, with the versions that the execution named, else those here."""
    from rocrate.model.contextentity import ContextEntity

    from cxrlib.book.notebooks import package_versions

    versions = about.get("versions") or package_versions()
    found = []
    for name in ("python", *NAMED):
        if name in versions:
            address = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
            found.append(crate.add(ContextEntity(crate, f"#{name}-{versions[name]}", {"@type": "SoftwareApplication", "name": name, "softwareVersion": versions[name], "url": address})))
    return found


def _records(template: Path, root: Path) -> list[str]:
    """Files of ``results/`` that a template reads by default."""
    given = slices.used_parameters(slices.statements(template)[1], list(range(len(slices.statements(template)[1]))))
    study = STUDIES[template.stem]
    values = {name: study.model_fields[name].default for name in sorted(given) if name in study.model_fields}
    named = [path for name, value in values.items() if isinstance(value, Path) and value.parts[0] == "results" for path in read_with(study, name, value)]
    return [path.as_posix() for path in named if (root / path).is_file()]


def _record(crate: ROCrate, path: Path) -> Any:
    identifier = f"results/{path.name}"
    return crate.get(identifier) or crate.add_file(path, identifier, properties={"name": path.name, "encodingFormat": "application/vnd.apache.parquet" if path.suffix == ".parquet" else "application/json", "sha256": file_digest(path)})


def _parameters(notebook: dict[str, Any]) -> dict[str, Any]:
    """Values that papermill injected; they are literals, written by papermill."""
    import ast

    cells = [cell for cell in notebook["cells"] if "injected-parameters" in cell["metadata"].get("tags", [])]
    body = ast.parse("".join(cells[0]["source"])).body if cells else []
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}


def _without_times(path: Path) -> None:
    """Take out what rocrate writes of the moment: the crate of an execution is the same on every day."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for entity in content["@graph"]:
        for name in ("dateModified", "contentSize", "sdDatePublished"):
            entity.pop(name, None)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
