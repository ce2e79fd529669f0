"""Every claim of the book, verified: records, weights, glued values, the built book where there is one, and a sample trained again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from cxrlib.evidence import audit, behind, glued
from cxrlib.evidence.check import Check
from cxrlib.model.segmentation import SHIPPED as LUNGS
from cxrlib.weights.source import WEIGHTS_FOLDER


def without_training(root: Path = Path("."), weights: Path = WEIGHTS_FOLDER, lungs: Path = LUNGS) -> list[Check]:
    """All that needs no training: about a minute on one core.

    Args:
        root: the checkout: ``results/``, ``notebooks/``, ``profiles/``, and ``book/executed/`` if the book is built.
        weights: folder of the weights of the upstreams.
        lungs: weights of the network that finds lungs.
    """
    checks = [*audit.records(root / "results"), *audit.weights(weights), audit.as_stated(lungs)]
    try:
        stated = glued.read(root)
    except ValueError as error:
        return [*checks, Check("glued", f"{glued.STATED} states what the book says", "", str(glued.STATED), False, str(error))]
    checks += glued.files_as_stated(stated, root)
    try:
        checks += glued.compare(glued.recompute(root), stated, _behind(root))
    except ValueError as error:  # such as a damaged table: no value of it can be computed
        checks.append(Check("glued", "the values that the book glues can be computed again", "", "results/", False, str(error)))
    return [*checks, *glued.in_book(stated, root / "book" / "executed")]


def _behind(root: Path) -> dict[behind.Name, list[str]]:
    """Keys of the records behind the verdicts; none where there is no such table."""
    table = Path("results/quarter.parquet")
    with contextlib.chdir(root):
        return behind.keys(table) if table.is_file() else {}


def trained_again(root: Path, folder: Path, data: Path | None = None, runs: int = 1, say: Callable[[str], None] = lambda text: None) -> list[Check]:
    """The sample of runs on phantoms, and with ``data`` those on real X-rays, trained again below ``folder``.

    Args:
        data: folder of the real X-rays of the tables, covidx-mini.
        runs: of each table on phantoms; three times as many of each table on real X-rays, which are shorter.
    """
    from cxrlib.evidence import retrain

    try:
        samples = retrain.phantoms(root / "results", runs) + ([] if data is None else retrain.real(root / "results", data, 3 * runs))
    except ValueError as error:
        return [Check("retrained", "a sample of the recorded runs gives the same answers", "", "results/", False, str(error))]
    return retrain.again(samples, folder, say)
