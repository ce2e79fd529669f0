"""What ``make bench`` measured beside the pairs of :mod:`cxrlib.study.pages.speed`: other ways of feeding a network, and other work on the machine."""

from __future__ import annotations

from typing import Any

from cxrlib import markup
from cxrlib.metrics.estimate import percentage
from cxrlib.study.pages.speed import spread_text

BUSY, SAME = 0.6, 0.97
"""Share of the idle rate to be kept beside one busy process, and share of the rate of spinning threads to be reached on an idle machine."""


def peer_table(measured: dict[str, Any]) -> str:
    """Training from files by each way of feeding a network, cxrlib first: images per second, how many times as fast cxrlib is, and the loss."""
    lines = []
    for row in measured["peers"]:
        ratio = "1" if row["name"] == "our" else spread_text(row["ratio"], ".2f", bold=True)
        lines.append([row["what"], spread_text(row["rate"], ",.0f"), ratio, spread_text(row["loss"], ".3f")])
    return markup.table(["fed by", "images/s (range)", "cxrlib is faster by", "loss at the end"], lines)


def peer_sentence(measured: dict[str, Any]) -> str:
    """The least and the greatest of these ratios, and over how many steps."""
    others = [row for row in measured["peers"] if row["name"] != "our"]
    least, most = (choose(others, key=lambda row: row["ratio"]["median"]) for choose in (min, max))
    return (
        f"Over {least['steps']} steps of {least['size']} px, cxrlib is {least['ratio']['median']:.1f} times as fast as the nearest of {len(others)} others "
        f"({least['what'].partition(':')[0]}) and {most['ratio']['median']:.1f} times as fast as the furthest."
    )


def bound_sentence(measured: dict[str, Any]) -> str:
    """How many times as fast as the standard recipe a loader that costs nothing would be: the step alone against the recipe."""
    rows = {row["name"]: row for row in measured["rows"]}
    training, alone = rows["train-64"], rows["compute-64"]["theirs"]["median"]
    bound = alone / training["theirs"]["median"]
    return (
        f"The step alone, on a batch that stays in memory, does {alone:,.0f} images/s at 64 px. So reading that costs nothing would be {bound:.1f} times as fast as "
        f"the standard recipe; cxrlib's {training['ratio']['median']:.1f} times are {percentage(training['ratio']['median'] / bound):.0f} % of that, its cache included."
    )


def waiting_table(measured: dict[str, Any]) -> str:
    """Training rates by how threads wait: on an idle machine, beside one busy process, and the share that is kept."""
    lines = [
        [row["name"], *(spread_text(row[state], ",.0f") for state in ("idle", "busy", "crowded")), spread_text(row["kept"], ".2f"), spread_text(row["against_spinning"], ".2f")]
        for row in measured["waiting"]
    ]
    return markup.table(["threads", "idle, images/s", "beside one busy process", "beside three", "share kept beside one", "idle, against threads that spin"], lines)


def waiting_sentence(measured: dict[str, Any]) -> str:
    """What the way of waiting keeps and costs, against what was aimed at, and what one thread keeps."""
    spins, ours, _, one = measured["waiting"]
    kept, against = ours["kept"]["median"], ours["against_spinning"]["median"]
    aimed = "as was aimed at" if kept >= BUSY else f"where {BUSY} was aimed at"
    return (
        f"Beside three busy processes, threads that spin shortly and then sleep are {ours['crowded']['median'] / spins['crowded']['median']:.1f} times as fast as threads that spin. "
        f"Beside one they keep {kept:.2f} of their idle rate, {aimed}; threads that spin keep {spins['kept']['median']:.2f}, and one thread {one['kept']['median']:.2f}. "
        f"On an idle machine they reach {percentage(against):.0f} % of the rate of threads that spin, where {percentage(SAME):.0f} % was aimed at, and one thread {percentage(one['against_spinning']['median']):.0f} %."
    )
