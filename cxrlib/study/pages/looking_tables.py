"""What the pages show of the table of :mod:`cxrlib.study.pages.attention`: rows of figures, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cxrlib import markup
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.study.pages.attention import CAM, REGIONS, UNTRAINED
from cxrlib.study.pages.looking import NAMES, QUESTIONS, chosen, mean, networks, shares, side_agreement
from cxrlib.study.pages.shortcuts import NOT_RECORDED
from cxrlib.study.pairs import points
from cxrlib.study.parts import layer_name, named
from cxrlib.study.truth import APART, PUBLISHED


def dots(found: dict[str, pd.DataFrame], regions: Sequence[str] = tuple(NAMES)) -> list[tuple[str, dict[str, Estimate]]]:
    """Rows of a figure: for each region the heat of every network, and of the last one's images the area, centre blob and untrained network."""
    if not found:
        return []
    last = list(found.values())[-1].set_index("region")
    rows = []
    for region, name in ((region, NAMES[region]) for region in regions):
        values = {init: table.set_index("region").at[region, "heat"] for init, table in found.items()}
        values |= {"centre blob": last.at[region, "blob"], "untrained": last.at[region, "untrained"], "share of the area": last.at[region, "area"]}
        rows.append((name, values))
    return rows


def lines(found: dict[str, pd.DataFrame]) -> list[list[str]]:
    """Rows of a table: region, network, heat and area in per cent, heat less area, blob and untrained in points, images."""
    return [
        [NAMES[row.region], named(init), row.heat.percent(), f"{percentage(row.area):.1f}", *(points(getattr(row, f"over_{other}")) for other in ("area", "blob", "untrained")), str(row.images)]
        for region in REGIONS for init, table in found.items() for row in table[table["region"] == region].itertuples()
    ]  # fmt: skip


def checks(table: pd.DataFrame, training: str = APART) -> list[list[str]]:
    """Rows of a table: network, method and layer, heat in lungs and opacities, hottest pixel in the opacities, heat on the side with more opacity."""
    rows = []
    for init in networks(table):
        part = table[(table["training"] == training) & (table["init"] == init)]
        for method, layer in dict.fromkeys(zip(part["method"], part["layer"], strict=True)):
            maps = part[(part["method"] == method) & (part["layer"] == layer)]
            seeds = str(maps["seed"].nunique())
            heat = [mean(maps, column).percent() for column in ("lungs", "opacities", "point_opacities")]
            rows.append([named(init), f"{method}, {layer_name(layer)}" if layer else method, *heat, side_agreement(maps)[0].percent(), seeds])
    return rows


def unseen_table(table: pd.DataFrame | None) -> str:
    """Heat less area with and without the images that a network's training had, of networks that had some, in Markdown."""
    seen = None if table is None else table[table["training"] == PUBLISHED]
    if seen is None or seen.empty:
        return NOT_RECORDED
    rows = []
    for init in networks(seen):
        for unseen, images in ((False, "all"), (True, "those that it had not")):
            maps, other = (chosen(seen, PUBLISHED, init, method, unseen=unseen) for method in (CAM, UNTRAINED))
            found = shares(maps, other).set_index("region")
            over = [points(found.at[region, "over_area"]) for region in ("lungs", "opacities")]
            rows.append([named(init), images, maps["file"].nunique(), *over])
    return markup.table(["network", "images", "number", "heat in the lungs less area", "heat on the opacities less area"], rows)


def shares_table(found: dict[str, pd.DataFrame]) -> str:
    """Every region and network, in Markdown."""
    columns = ["region", "network", "heat, % (95 % interval)", "area, %", "heat less area", "less centre blob", "less untrained", "images"]
    return markup.table(columns, lines(found)) if found else NOT_RECORDED


def checks_table(table: pd.DataFrame | None) -> str:
    """Every layer and method, in Markdown."""
    columns = [
        "network", "method", "heat in the lungs, % (95 % interval)", "on the opacities, %", "hottest pixel on an opacity, %", "heat on the side with more opacity, %", "runs",
    ]  # fmt: skip
    return NOT_RECORDED if table is None else markup.table(columns, checks(table))


def answers_table(said: dict[str, str], names: Sequence[str] = tuple(QUESTIONS)) -> str:
    """Questions and answers of :func:`answers`, in Markdown."""
    return markup.table(["question", "answer (95 % interval)"], [[QUESTIONS[name], said.get(name, NOT_RECORDED)] for name in names])
