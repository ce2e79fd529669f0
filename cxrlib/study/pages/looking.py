"""What the table of :mod:`cxrlib.study.pages.attention` says: shares against what no network would score, pointing, sides, and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.metrics.inference import share_over_seeds
from cxrlib.study.pages.attention import CAM, OCCLUSION, REGIONS, UNTRAINED
from cxrlib.study.pages.shortcuts import NOT_RECORDED, beyond
from cxrlib.study.pairs import points
from cxrlib.study.parts import named
from cxrlib.study.truth import APART

CLEAR_SIDE = 0.2
"""Difference of the two halves' shares of opacity, over their sum, from which an image has a side."""
NAMES = {
    "lungs": "lungs", "opacities": "opacities", "mediastinum": "mediastinum", "devices": "tubes and lines",
    "elsewhere": "outside lungs and mediastinum", "frame": "outer eighth of the image",
}  # fmt: skip


def last_layer(table: pd.DataFrame) -> str:
    """The layer of the untrained network's maps, which is the last one."""
    return table.loc[table["method"] == UNTRAINED, "layer"].iloc[0]


def chosen(table: pd.DataFrame, training: str, init: str | None = None, method: str = CAM, layer: str | None = None, unseen: bool = False) -> pd.DataFrame:
    """The rows of one training, initialisation (None: all), method and layer (None: the last); ``unseen``: of images that it did not have."""
    layer = ("" if method == OCCLUSION else last_layer(table)) if layer is None else layer
    keep = (table["training"] == training) & (table["method"] == method) & (table["layer"] == layer)
    if init is not None:
        keep &= table["init"] == init
    return table[keep & ~table["seen"]] if unseen else table[keep]


def arrays(table: pd.DataFrame, columns: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """Columns as arrays (runs, images), a run for each initialisation and seed, and the patients of the images."""
    wide = table.pivot(index=["init", "seed"], columns="file", values=list(columns))
    files = wide[columns[0]].columns
    patients = table.drop_duplicates("file").set_index("file").loc[files, "patient_id"].to_numpy()
    return [wide[column].to_numpy(float) for column in columns], patients


def shares(table: pd.DataFrame, untrained: pd.DataFrame) -> pd.DataFrame:
    """Heat by region against what no network would score; ``table`` and ``untrained`` hold the same runs and images (:func:`chosen`).

    Returns:
        A row per region: heat, area, blob and untrained (Estimates of shares), over_area, over_blob and over_untrained (heat less
        each, paired, with p-value), images (that have the region). Intervals over patients, and over runs if there are several.
    """
    rows = []
    for region in REGIONS:
        arms, patients = arrays(table, (region, f"area_{region}", f"blob_{region}"))
        (other,), _ = arrays(untrained, (region,))
        kinds = dict(zip(("heat", "area", "blob", "untrained"), [*arms, other], strict=True))
        parts = {name: two_way.share(values, patients, pooled=True) for name, values in kinds.items()}
        row: dict = {"region": region}
        row |= {name: share_over_seeds(values, patients) for name, values in kinds.items()}
        row |= {f"over_{name}": two_way.analyse(parts["heat"] - parts[name]).estimate() for name in ("area", "blob", "untrained")}
        rows.append(row | {"images": int(np.isfinite(arms[1]).any(axis=0).sum())})
    return pd.DataFrame(rows, dtype=object)


def difference(one: pd.DataFrame, two: pd.DataFrame, column: str) -> Estimate:
    """Mean of a column in ``one`` less that in ``two``, the same seeds and images of two networks, methods or layers."""
    (first,), patients = arrays(one.assign(init=""), (column,))
    (second,), _ = arrays(two.assign(init=""), (column,))
    a, b = (two_way.share(values, patients, pooled=True) for values in (first, second))
    return two_way.analyse(a - b).estimate()


def mean(table: pd.DataFrame, column: str) -> Estimate:
    """Mean of a column over runs and images, with its interval over patients (and runs)."""
    (values,), patients = arrays(table, (column,))
    return share_over_seeds(values, patients)


def side_agreement(table: pd.DataFrame) -> tuple[Estimate, int]:
    """Share of images with a side (``CLEAR_SIDE``) whose lungs have more heat on it, and how many images those are; 0.5 is chance."""
    (heat, opacity), patients = arrays(table, ("heat_side", "opacity_side"))
    known = np.isfinite(heat) & (np.abs(opacity) >= CLEAR_SIDE)
    agreed = np.where(known, (heat > 0) == (opacity > 0), np.nan)
    return share_over_seeds(agreed, patients), int(known.any(axis=0).sum())


def _within(table: pd.DataFrame) -> tuple[list[np.ndarray], np.ndarray]:
    """Of the heat in the lungs the share on opacities, and of the lungs' area, (runs, images) each, and the patients."""
    (heat, lungs, area, size), patients = arrays(table, ("opacities", "lungs", "area_opacities", "area_lungs"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [np.minimum(part / whole, 1) for part, whole in ((heat, lungs), (area, size))]  # an opacity may reach over the lung's border
    known = np.isfinite(ratios).all(axis=0)
    return [np.where(known, ratio, np.nan) for ratio in ratios], patients


def within_contrast(table: pd.DataFrame) -> np.ndarray:
    """Contributions (runs, patients) to the share of the lungs' heat on opacities less the share of their area."""
    (inside, even), patients = _within(table)
    return two_way.share(inside, patients, pooled=True) - two_way.share(even, patients, pooled=True)


def within_lungs(table: pd.DataFrame) -> tuple[Estimate, Estimate, Estimate]:
    """Of the heat in the lungs the share on opacities, of the lungs' area the same, and the first less the second.

    Means over images with opacities: a network that finds the lungs but not the disease has a difference of 0.
    """
    (inside, even), patients = _within(table)
    return share_over_seeds(inside, patients), share_over_seeds(even, patients), two_way.analyse(within_contrast(table)).estimate()


def contrasts(table: pd.DataFrame | None) -> dict[str, np.ndarray]:
    """Contributions (runs, patients) to what claim 9 says, with truth: 'lungs', heat there of positives less negatives; 'frame', of negatives less positives."""
    if table is None or table["label"].nunique() < 2:
        return {}
    found, labels = {}, table.drop_duplicates("file").set_index("file")["label"].sort_index().to_numpy()
    for region, sign in (("lungs", 1), ("frame", -1)):
        (values,), patients = arrays(table, (region,))
        well, ill = (two_way.share(np.where(labels == label, values, np.nan), patients, pooled=True) for label in (0, 1))
        found[region] = sign * (ill - well)
    return found


def differences(table: pd.DataFrame | None) -> dict[str, Estimate]:
    """:func:`contrasts` as estimates, by what they are in words; none without both classes."""
    names = {"lungs": "heat in the lungs, positive less negative", "frame": "heat in the outer eighth, negative less positive"}
    return {names[region]: two_way.analyse(values).estimate() for region, values in contrasts(table).items()}


def networks(table: pd.DataFrame) -> list[str]:
    """Initialisations in the order in which the table has them."""
    return list(dict.fromkeys(table["init"]))


def by_network(table: pd.DataFrame | None, training: str = APART) -> dict[str, pd.DataFrame]:
    """:func:`shares` of each initialisation; empty without a table."""
    return {} if table is None else {init: shares(chosen(table, training, init), chosen(table, training, init, UNTRAINED)) for init in networks(table)}


def answers(table: pd.DataFrame | None, training: str = APART) -> dict[str, str]:
    """A sentence for each question in ``QUESTIONS``, from the last network, which has the most upstream data, and from all; none without a table."""
    if table is None:
        return {}
    found = by_network(table, training)
    largest, smallest = list(found)[-1], list(found)[0]
    said = {}
    for region in ("lungs", "opacities"):
        row = found[largest].set_index("region").loc[region]
        said[region] = f"{beyond(row['over_area'], 0)}: {row['heat'].percent()} % of the heat on {percentage(row['area']):.1f} % of the area"
        for other, name in (("blob", "a centre blob"), ("untrained", "an untrained network")):
            said[f"{region}_{other}"] = f"{beyond(row[f'over_{other}'], 0)}: {points(row[f'over_{other}'])} against {name}"
    for name, other in (("pretraining", smallest), ("upstream", list(found)[-2] if len(found) > 2 else None)):
        gains = {} if other is None else {region: difference(chosen(table, training, largest), chosen(table, training, other), region) for region in ("lungs", "opacities")}
        said[name] = "; ".join(f"{region}: {beyond(gain, 0)}, {named(largest)} less {named(other)} {points(gain)} of the heat" for region, gain in gains.items()) or NOT_RECORDED
    maps = chosen(table, training, largest)
    pointed, area = mean(maps, "point_opacities"), mean(maps, "area_opacities")
    said["pointing"] = f"{beyond(pointed, area)}: in {pointed.percent()} % of images with opacities; {percentage(area):.1f} % for a pixel at random"
    inside, even, more = within_lungs(maps)
    said["within"] = f"{beyond(more, 0)}: {inside.percent()} % of the lungs' heat, {percentage(even):.1f} % of their area, {points(more)}"
    agreed, images = side_agreement(maps)
    said["side"] = f"{beyond(agreed)}: in {agreed.percent()} % of {images} images with a side; 50 is chance"
    said["claim"] = "; ".join(f"{name}: {points(gap)}" for name, gap in differences(maps).items())
    return said


QUESTIONS = {
    "lungs": "More heat in the lungs than their area?",
    "lungs_blob": "More than a centre blob?",
    "lungs_untrained": "More than an untrained network?",
    "opacities": "More heat on the opacities than their area?",
    "opacities_blob": "More than a centre blob?",
    "opacities_untrained": "More than an untrained network?",
    "within": "Of the heat in the lungs, is more on opacities than of their area?",
    "pointing": "Does the hottest pixel lie on an opacity?",
    "side": "Is more heat in the lung with more opacity?",
    "pretraining": "Does pretraining move heat onto lungs and opacities?",
    "upstream": "Do more upstream images move heat onto lungs and opacities?",
    "claim": "Claim 9 with truth",
}


def told(said: dict[str, str]) -> str:
    """What the figure of :func:`dots` shows, from :func:`answers`."""
    return f"More heat than their area asks for? Lungs: {said['lungs']}. Opacities: {said['opacities']}." if said else "Nothing is recorded of this yet."


def headline(table: pd.DataFrame | None, training: str = APART) -> str:
    """The answer of the Grad-CAM page in two sentences, from the network with the most upstream data; that it is not recorded, without a table."""
    if table is None:
        return f"The answer is {NOT_RECORDED}."
    init = networks(table)[-1]
    maps = chosen(table, training, init)
    row = shares(maps, chosen(table, training, init, UNTRAINED)).set_index("region").loc["lungs"]
    inside, _, more = within_lungs(maps)
    drawn = {"yes": "the opacities draw it", "no": "it avoids the opacities", "not clear": "the opacities do not clearly draw it"}[beyond(more, 0)]
    return (
        f"Of the heat {percentage(row['heat']):.0f} % lies in the lungs that radiologists drew. The same heat put blindly into the middle of the picture would have {percentage(row['blob']):.0f} % there: "
        f"heat less blind spot {points(row['over_blob'])}. "
        f"Within the lungs {drawn}: {percentage(inside):.0f} % of the heat there is on them, and they are {percentage(inside - more):.0f} % of the lungs."
    )
