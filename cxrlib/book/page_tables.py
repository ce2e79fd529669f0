"""``{cxr-table}``: tables that are made from files when a page is built."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cxrlib.book import verdict_tables
from cxrlib.book.notebooks import minutes, package_versions


def executed(book: Path) -> dict[str, dict[str, Any]]:
    """What every executed notebook says of itself."""
    found = {}
    for path in sorted(book.glob("executed/*.ipynb")):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("cxr", {})
    return found


def _execution_rows(root: Path) -> list[list[str]]:
    rows = [["Notebook", "Profile", "Data", "Execution (min:s)", "CPU (min:s)", "With"]]
    before = None
    for name, about in executed(root / "book").items():
        data = about.get("data", "?") + (f", external {about['external']}" if "external" in about else "")
        versions = about.get("versions", {})
        shown = ", ".join(f"{each} {versions[each]}" for each in ("python", "torch", "numpy") if each in versions)
        cpu = minutes(about["cpu_seconds"]) if "cpu_seconds" in about else "?"
        rows.append([name, about.get("profile", "?"), data, minutes(about.get("seconds", 0)), cpu, "the same" if shown and shown == before else shown or "?"])
        before = shown
    return rows


def _profile_rows(root: Path) -> list[list[str]]:
    rows = [["Profile", "What it is for"]]
    for path in sorted(root.glob("profiles/*.yaml")):
        rows.append([path.stem, str(yaml.safe_load(path.read_text(encoding="utf-8")).get("description", ""))])
    return rows


def _version_rows(root: Path) -> list[list[str]]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [re.match(r"[\w.-]+", requirement)[0].lower() for requirement in project["dependencies"]]
    versions = package_versions()
    return [["Package", "Version"], *([name, versions.get(name, "not installed")] for name in ["python", *direct])]


def _choice_rows(_: Path) -> list[list[str]]:
    from cxrlib.study.claims import CHOICES

    rows = [["Topic", "The paper", "Our choice", "Parameter"]]
    return rows + [[c.topic, f"{c.paper} (§{c.section})", c.choice, c.parameter or "–"] for c in CHOICES]


def _initialisation_rows(_: Path) -> list[list[str]]:
    from cxrlib.weights.registry import table

    return table()


def _plan_rows(root: Path) -> list[list[str]]:
    from cxrlib.study.plan import plan

    with contextlib.chdir(root):
        table = plan("paper", throughput=100.0).assign(flops=lambda runs: runs["training_flops"] + runs["evaluation_flops"])
    rows = [["Crop (px)", "Runs", "Optimiser steps", "Training images", "PFLOP", "GPU-hours"]]
    groups = [*table.groupby("crop"), ("all", table)]
    for crop, part in groups:
        counts = [f"{part[name].sum():,.0f}" for name in ("steps", "training_images")]
        rows.append([str(crop), str(len(part)), *counts, f"{part['flops'].sum() / 1e15:,.0f}", f"{part['hours'].sum():.1f}"])
    return rows


def _soak_rows(root: Path) -> list[list[str]]:
    rows = [["Soak", "Kills", "Runs", "Disk filled", "Lost", "Twice", "Different", "Minutes", "Made, by version"]]
    path = root / "results" / "soak.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for kind, name in (("kills", "processes killed"), ("full disk", "and the disk full part of the time")):
        made = known.get(kind)
        if made is None:
            rows.append([name, "not run yet", *[""] * 7])
            continue
        found = made["found"]
        counts = [made["kills"], made["runs"], found.get("disk_filled", "–"), found["lost"], found["duplicated"], found["different"], made["minutes"]]
        rows.append([name, *map(str, counts), f"{made['made']}, {made['code_version']}"])
    return rows


class TableDirective(SphinxDirective):
    """A table made from files when the page is built."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        book = Path(self.env.srcdir)
        makers = {
            "choices": _choice_rows,
            "initialisations": _initialisation_rows,
            "executions": _execution_rows,
            "plan": _plan_rows,
            "profiles": _profile_rows,
            "soak": _soak_rows,
            "versions": _version_rows,
            **verdict_tables.MAKERS,
        }
        if self.arguments[0] not in makers:
            raise self.error(f"no table '{self.arguments[0]}'; there are: {', '.join(makers)}")
        return [verdict_tables.table(makers[self.arguments[0]](book.parent))]
