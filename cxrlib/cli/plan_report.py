"""A plan as text: a line per study, network, resolution and schedule, or a line per run, with totals and what they assume."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cxrlib.processes import usable_cores
from cxrlib.study.parameters import Profile
from cxrlib.study.plan import plan


def report(profile: str, throughput: float | None = None, every: bool = False, **overrides: Any) -> str:
    """:func:`cxrlib.study.plan.plan` as text: a line per study, network, resolution and schedule with totals, or with ``every`` a line per run."""
    table = plan(profile, throughput, **overrides)
    missing = table[~table["recorded"]]
    scale, unit = (1e15, "PFLOP") if (table["training_flops"] + table["evaluation_flops"]).sum() > 1e16 else (1e12, "TFLOP")
    table = table.assign(flops=(table["training_flops"] + table["evaluation_flops"]) / scale, study=table["studies"].map(lambda s: _words(s[0])))
    table = table.assign(pixels=table["resize"].map("{:>4}".format) + "/" + table["crop"].astype(str), left=table["hours"].where(~table["recorded"], 0))
    lines = [" ".join(Profile.load(profile).description.split()), ""]
    lines += [_listed(table, unit) if every else _grouped(table, unit), ""]
    lines.append(f"{len(table)} distinct runs: {len(table) - len(missing)} recorded, {len(missing)} missing")
    if not every:
        lines += [f"  {line}" for line in _shared(table)]
    reasons = missing["reason"].str.split("; ").explode()
    lines += [f"  {count} of the missing: {reason}" for reason, count in reasons[reasons.astype(bool)].value_counts().items()]
    lines.append(f"Counted for {table.attrs['data']}. FLOPs: forward and backward of training, forward of evaluation; a multiply-add is two.")
    if throughput:
        lines.append(f"Hours: on one device that sustains {throughput:g} TFLOP/s, which is a part of what its maker states.")
    else:
        lines.append(_machine(float(missing["hours"].sum())))
    return "\n".join(lines)


def _words(notebook: str) -> str:
    return notebook.partition("_")[2].replace("_", " ")


def _machine(left: float) -> str:
    import torch

    if torch.cuda.is_available():
        return f"Hours: measured on this machine's {torch.cuda.get_device_name()}, one run at a time, images at hand."
    cores = usable_cores()
    text = "Hours: of one thread, from a few steps measured on this machine with random images; whatever else runs now slows them."
    return f"{text}\nThe missing runs, {cores} at a time on its {cores} cores: about {left / cores:,.2g} hours."


def _grouped(table: pd.DataFrame, unit: str) -> str:
    columns = ["study", "arch", "resize/crop", "schedule", "runs", "recorded", "missing", "steps", "training images", "evaluated", unit, "hours", "hours left"]
    rows = []

    def add(first: list[str], part: pd.DataFrame) -> None:
        recorded = int(part["recorded"].sum())
        counts = [len(part), recorded, len(part) - recorded, *(int(part[c].sum()) for c in ("steps", "training_images", "evaluated_images"))]
        rows.append([*first, *(f"{count:,}" for count in counts), *(_number(part[c].sum()) for c in ("flops", "hours", "left"))])

    for study, of_study in table.groupby("study", sort=False):
        groups = of_study.groupby(["arch", "pixels", "schedule"], sort=False)
        for (arch, pixels, schedule), part in groups:
            add([study, arch, pixels, "-".join(map(str, schedule))], part)
        if groups.ngroups > 1:
            add([study, "all", "", ""], of_study)
    add(["total", "", "", ""], table)
    return aligned(columns, rows, left=4)


def _listed(table: pd.DataFrame, unit: str) -> str:
    columns = ["key", "state", "studies", "arch", "init", "resize/crop", "schedule", "mixup", "per class", "seed", "steps", unit, "hours", "why"]
    rows = []
    for row in table.itertuples():
        numbers = [str(row.steps), _number(row.flops), _number(row.hours)]
        size = "all" if pd.isna(row.images_per_class) else f"{row.images_per_class:.0f}"
        rows.append([
            row.key or "-", "recorded" if row.recorded else "missing", ", ".join(map(_words, row.studies)), row.arch, row.init, row.pixels,
            "-".join(map(str, row.schedule)), row.mixup, size, str(row.seed), *numbers, row.reason,
        ])  # fmt: skip
    return aligned(columns, rows, left=8, last_left=True)


def _shared(table: pd.DataFrame) -> list[str]:
    """How many runs each study asks for, and how many of them an earlier one asks for too."""
    lines = []
    for study in dict.fromkeys(study for studies in table["studies"] for study in studies):
        asked = [studies for studies in table["studies"] if study in studies]
        again = sum(studies[0] != study for studies in asked)
        lines.append(f"{_words(study)}: {len(asked)}" + (f", of which {again} are above already" if again else ""))
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def aligned(columns: list[str], rows: list[list[str]], left: int, last_left: bool = False) -> str:
    """A table as text: the first ``left`` columns (and the last) flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    flush = [i < left or (last_left and i == len(columns) - 1) for i in range(len(columns))]
    lines = [[text.ljust(w) if f else text.rjust(w) for text, w, f in zip(row, widths, flush, strict=True)] for row in [columns, *rows]]
    return "\n".join("  ".join(line).rstrip() for line in lines)
