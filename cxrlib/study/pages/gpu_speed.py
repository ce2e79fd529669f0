"""What ``benchmarks/gpu.py`` measured on a GPU, as a table and sentences for the page on speed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from cxrlib import markup
from cxrlib.study.pages.speed import spread_text
from cxrlib.study.parts import network
from cxrlib.study.verdicts import NOT_RECORDED

COLUMNS = {
    "trainer, fp32": "float32", "trainer, bf16": "bfloat16", "trainer, bf16, compiled": "bfloat16, compiled",
    "resident, bf16, channels last": "bfloat16, all on the device", "resident, bf16, channels last, compiled": "bfloat16, compiled, all on the device",
}  # fmt: skip
"""The measured ways that are shown, in words: the trainer's own, and with all images on the device; all with channels last."""
GAINS = (
    ("bfloat16 against float32", "trainer, bf16", "trainer, fp32"),
    ("compiled against not, in bfloat16", "trainer, bf16, compiled", "trainer, bf16"),
    ("all images on the device against sent there", "resident, bf16, channels last", "trainer, bf16"),
    ("the same with the network compiled", "resident, bf16, channels last, compiled", "trainer, bf16, compiled"),
)
"""What is compared: in words, the way, and the way that it is held against."""
NO_DEARER = 1.1
"""Larger images are called no dearer if they come at a rate that is at most this many times lower."""


def read(path: Path) -> dict[str, Any] | None:
    """The result of the benchmark; None if there is no such file.

    Raises:
        ValueError: if the file is none. OSError: if it cannot be opened.
    """
    if not Path(path).is_file():
        return None
    try:
        measured = json.loads(Path(path).read_text(encoding="utf-8"))
        if any(not isinstance(measured[name], str) for name in ("made", "device", "torch", "cxrlib")):
            raise ValueError("what was measured, and on what, is no text")
        for row in measured["rows"]:
            if not 0 < float(row["rate"]["low"]) <= float(row["rate"]["median"]) <= float(row["rate"]["high"]) < float("inf"):
                raise ValueError(f"a rate of {row['way']} is none")
            _ = row["arch"], int(row["crop"]), int(row["batch"]), COLUMNS.get(row["way"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no result of a benchmark on a GPU ({error}); python benchmarks/gpu.py writes one") from None
    return measured


def _rates(measured: dict[str, Any]) -> dict[tuple[str, int], dict[str, dict[str, float]]]:
    """Images a second, by network and size, then by way."""
    found: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for row in measured["rows"]:
        found.setdefault((row["arch"], row["crop"]), {})[row["way"]] = row["rate"]
    return found


def table(measured: dict[str, Any] | None) -> str:
    """Images a second in training, median and range over steps, as a Markdown table: a row for each network and size, a column for each way."""
    if measured is None:
        return NOT_RECORDED
    lines = [
        [f"{network(arch)}, {crop} px", *(spread_text(rates[way], ",.0f") if way in rates else "not measured" for way in COLUMNS)]
        for (arch, crop), rates in _rates(measured).items()
    ]
    return markup.table(["", *COLUMNS.values()], lines)


def sentences(measured: dict[str, Any] | None) -> str:
    """On what it was measured; what bfloat16 and compiling gain; and which larger images cost no more, as a GPU that waits shows."""
    if measured is None:
        return f"Rates on a GPU: {NOT_RECORDED}."
    rates = _rates(measured)
    batches = " or ".join(str(batch) for batch in sorted({row["batch"] for row in measured["rows"]}))
    said = [f"Measured on one {measured['device']}, nothing else on it, in batches of {batches} (PyTorch {measured['torch']}, cxrlib {measured['cxrlib']}, {measured['made']})."]
    faster: list[str] = []
    for name, more, less in GAINS:
        gains = _by_network((arch, of[more]["median"] / of[less]["median"]) for (arch, _), of in rates.items() if {more, less} <= of.keys())
        told = [f"{name_of} {' to '.join(dict.fromkeys(f'{gain:.2f}' for gain in (min(found), max(found))))}" for name_of, found in gains.items()]
        faster += [f"{name}, {', '.join(told)}"] if told else []
    said += [f"Times as fast: {'; '.join(faster)}."] if faster else []
    waits = _by_network(
        (small[0], f"from {small[1]} to {large[1]} px in {COLUMNS[way]}")
        for small, large in pairwise(sorted(rates))
        for way in ("trainer, fp32", "trainer, bf16")
        if small[0] == large[0] and way in rates[small] and way in rates[large] and rates[small][way]["median"] <= NO_DEARER * rates[large][way]["median"]
    )
    told = [f"{name}, {' and '.join(found)}" for name, found in waits.items()]
    said += [
        f"Larger images cost at most {100 * (NO_DEARER - 1):.0f} % more time an image: {'; '.join(told)}. There the device probably waits for the program that starts its many small computations."
    ] if told else []
    return markup.text(" ".join(said))


def _by_network(found: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Values by the network that they are of, in words, in the order in which these first occur."""
    grouped: dict[str, list[Any]] = {}
    for arch, value in found:
        grouped.setdefault(network(arch).partition(" (")[0], []).append(value)
    return grouped
