"""What ``benchmarks/gpu.py`` measured on a GPU, as a table and sentences for the page on speed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Rate(_Strict):
    """Images a second over the steps of a training."""

    median: float = Field(ge=1e-3, le=1e9)
    low: float = Field(ge=1e-3, le=1e9)
    high: float = Field(ge=1e-3, le=1e9)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"a median of {self.median:g} is not between {self.low:g} and {self.high:g}")
        return self


class Row(_Strict):
    """One way of training one network."""

    arch: str = Field(min_length=1)
    crop: int = Field(ge=1, le=10_000)
    batch: int = Field(ge=1, le=1_000_000)
    way: str
    rate: Rate


class Measured(_Strict):
    """A result of the benchmark, each row of it once."""

    made: str = Field(min_length=1)
    device: str = Field(min_length=1)
    torch: str = Field(min_length=1)
    cxrlib: str = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        names = [(row.arch, row.crop, row.way) for row in self.rows]
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise ValueError(f"{', '.join(map(str, twice))} is there twice")
        if len({row.batch for row in self.rows}) > 1:
            raise ValueError("batches of several sizes cannot be compared")
        if not any(row.way in COLUMNS for row in self.rows):
            raise ValueError(f"it has none of the ways {'; '.join(COLUMNS)}")
        return self

    @cached_property
    def rates(self) -> dict[tuple[str, int], dict[str, Rate]]:
        """Rates by network and size, then by way, without ways that are not shown."""
        found: dict[tuple[str, int], dict[str, Rate]] = {}
        for row in self.rows:
            if row.way in COLUMNS:
                found.setdefault((row.arch, row.crop), {})[row.way] = row.rate
        return found


def read(path: Path) -> Measured | None:
    """The result of the benchmark; None if nothing lies there.

    Raises:
        ValueError: if it is something else. OSError: if the file cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        return None
    if not path.is_file():
        raise ValueError(f"{path} is no file; give what python benchmarks/gpu.py wrote")
    try:
        return Measured.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} is no result of a benchmark on a GPU ({where and f'{where}: '}{first['msg']}); python benchmarks/gpu.py writes one") from None


def table(measured: Measured | None) -> str:
    """Images a second in training, median and range over steps, as a Markdown table: a row for each network and size, a column for each way."""
    if measured is None:
        return NOT_RECORDED
    lines = [
        [f"{network(arch)}, {crop} px", *(spread_text(rates[way].model_dump(), ",.0f") if way in rates else "not measured" for way in COLUMNS)]
        for (arch, crop), rates in measured.rates.items()
    ]
    return markup.table(["", *COLUMNS.values()], lines)


def sentences(measured: Measured | None) -> str:
    """On what it was measured; what bfloat16 and compiling gain; and which larger images cost no more, as a GPU that waits shows."""
    if measured is None:
        return f"Rates on a GPU: {NOT_RECORDED}."
    rates = measured.rates
    said = [
        f"Measured on one {measured.device}, nothing else on it, in batches of {measured.rows[0].batch} (PyTorch {measured.torch}, cxrlib {measured.cxrlib}, {measured.made}).",
        *_faster(rates), *_waiting(rates),
    ]  # fmt: skip
    return " ".join(said)


def paragraph(measured: Measured | None) -> str:
    """:func:`sentences` as Markdown, names of the file as text."""
    return markup.text(sentences(measured))


def _faster(rates: dict[tuple[str, int], dict[str, Rate]]) -> list[str]:
    """What each way of :data:`GAINS` gains, in one sentence, or none."""
    faster: list[str] = []
    for name, more, less in GAINS:
        gains = _by_network((arch, of[more].median / of[less].median) for (arch, _), of in rates.items() if {more, less} <= of.keys())
        told = [f"{name_of} {' to '.join(dict.fromkeys(f'{gain:.2f}' for gain in (min(found), max(found))))}" for name_of, found in gains.items()]
        faster += [f"{name}, {', '.join(told)}"] if told else []
    return [f"Times as fast: {'; '.join(faster)}."] if faster else []


def _waiting(rates: dict[tuple[str, int], dict[str, Rate]]) -> list[str]:
    """Which larger images cost hardly more, in one sentence, or none."""
    waits = _by_network(
        (small[0], f"from {small[1]} to {large[1]} px in {COLUMNS[way]}")
        for small, large in pairwise(sorted(rates))
        for way in ("trainer, fp32", "trainer, bf16")
        if small[0] == large[0] and way in rates[small] and way in rates[large] and rates[small][way].median <= NO_DEARER * rates[large][way].median
    )
    told = "; ".join(f"{name}, {' and '.join(found)}" for name, found in waits.items())
    margin = f"{100 * (NO_DEARER - 1):.0f} %"
    return [f"Larger images cost at most {margin} more time an image: {told}. There the device probably waits for the program that starts its many small computations."] if told else []


def _by_network(found: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Values by the network that they are of, in words, in the order in which these first occur."""
    grouped: dict[str, list[Any]] = {}
    for arch, value in found:
        grouped.setdefault(network(arch).partition(" (")[0], []).append(value)
    return grouped
