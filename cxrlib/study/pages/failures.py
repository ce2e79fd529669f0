"""Where networks fail, from committed scores: by source, view, age, finding and size of the file, by how much of the lung is opaque, and calibration.

Only images of other collections than the training's count: at home the class and the source are one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.metrics.inference import share_over_seeds
from cxrlib.study.pages.across import COLLECTION, ONE_HOSPITAL, OWN, TESTS, Across, together
from cxrlib.study.pages.corruptions import UNITS
from cxrlib.study.pages.looking import arrays, chosen
from cxrlib.study.pages.shortcuts import NOT_RECORDED, Scored, beyond
from cxrlib.study.pairs import points
from cxrlib.study.truth import APART, HOSPITAL, SAME

FEWEST = 5
"""Patients below which a group is not listed."""
AGES = (0, 50, 65, 200)
SEVERITY = (0, 0.15, 0.5, np.inf)


def outside(across: Across, training: str = APART) -> tuple[Scored, pd.DataFrame]:
    """Scores of a training on the images of other collections, and what is known of each image, row by row."""
    hospital, collection = (across.scores(training, test) for test in (ONE_HOSPITAL, COLLECTION))
    # An image may lie in both sets, under one name but another patient id: it counts once, with the hospital's.
    collection = collection.where(~np.isin(collection.files, hospital.files))
    images = together([hospital, collection])
    about = across.files[across.files["set"].isin((HOSPITAL, SAME))].sort_values("set", key=lambda names: names != HOSPITAL, kind="stable")
    return images, about.drop_duplicates("file").set_index("file").loc[images.files]


def groups(about: pd.DataFrame) -> dict[str, pd.Series]:
    """Names of the group of each image, by what divides them; missing where it is not known."""
    ages = pd.cut(about["age"], AGES, right=False, labels=[f"{low} to {high - 1} years" if high < 200 else f"{low} years and more" for low, high in zip(AGES, AGES[1:])])
    short = about[["width", "height"]].min(axis=1)
    return {
        "view": about["view"].replace("", np.nan),
        "age": ages.astype(object),
        "finding": about["finding"].replace("", np.nan),
        "source": about["source"],
        "short side of the file": pd.Series(np.where(short >= 512, "512 pixels", "less than 512 pixels"), index=about.index),
    }


def by_group(across: Across, training: str = APART) -> pd.DataFrame:
    """Share called right in each group of positives and of negatives.

    Returns:
        Columns by, group, label, right (Estimate over patients and seeds), images, patients; groups of fewer than ``FEWEST`` patients are left out.
    """
    images, about = outside(across, training)
    rows = []
    for by, names in groups(about).items():
        for label, called in enumerate(("negative", "positive")):
            for group in sorted(names[images.labels == label].dropna().unique()):
                part = images.where(((names == group) & (images.labels == label)).to_numpy())
                patients = len(np.unique(part.patients))
                if patients >= FEWEST:
                    right = share_over_seeds(part.right(across.threshold), part.patients)
                    rows.append({"by": by, "group": group, "label": called, "right": right, "images": len(part.files), "patients": patients})
    return pd.DataFrame(rows, columns=["by", "group", "label", "right", "images", "patients"], dtype=object)


def by_severity(heat: pd.DataFrame, training: str = APART) -> pd.DataFrame:
    """Share of positives called positive by how much of their lungs is opaque, from the table of heat maps.

    Returns:
        Columns init, severity, right (Estimate), images.
    """
    rows = []
    for init in dict.fromkeys(heat["init"]):
        maps = chosen(heat, training, init)
        (called, label, opaque, lungs), patients = arrays(maps, ("predicted", "label", "area_opacities", "area_lungs"))
        positive = label[0] == 1
        severity = np.nan_to_num(opaque[0] / lungs[0])
        for low, high in zip(SEVERITY, SEVERITY[1:]):
            keep = positive & (severity >= low) & (severity < high)
            name = f"{percentage(low):.0f} % and more" if high > 1 else f"{percentage(low):.0f} to {percentage(high):.0f} % of the lungs"
            if keep.any():
                rows.append({"init": init, "severity": name, "right": share_over_seeds(called[:, keep], patients[keep]), "images": int(keep.sum())})
    return pd.DataFrame(rows, dtype=object)


def calibration(across: Across, training: str = APART) -> pd.DataFrame:
    """How far the mean probability lies above the share of positives, on each test set: columns test, probability, positives, excess (Estimates).

    A set of positives only is left out: no probability below 1 fits it, so its excess says nothing of the network.
    """
    found = {test: across.scores(training, test) for test in TESTS}
    return pd.DataFrame([_calibrated(test, images) for test, images in found.items() if images is not None and len(set(images.labels)) == 2], dtype=object)


def calibration_by_source(across: Across, training: str = APART) -> pd.DataFrame:
    """The same for each source of other collections of which both classes have ``FEWEST`` patients."""
    images, about = outside(across, training)
    rows = []
    for source in sorted(about["source"].unique()):
        part = images.where((about["source"] == source).to_numpy())
        if all(len(np.unique(part.patients[part.labels == label])) >= FEWEST for label in (0, 1)):
            rows.append(_calibrated(f"source: {source}", part))
    return pd.DataFrame(rows, columns=["test", "probability", "positives", "excess"], dtype=object)


def _calibrated(test: str, images: Scored) -> dict:
    observed = np.broadcast_to(images.labels.astype(float), images.logits.shape)
    parts = [two_way.share(values, images.patients) for values in (expit(images.logits), observed)]
    probability, positives = (two_way.analyse(part, bounded=True).estimate() for part in parts)
    return {"test": test, "probability": probability, "positives": positives, "excess": two_way.analyse(parts[0] - parts[1]).estimate()}


def net_benefit(across: Across, test: str, thresholds: np.ndarray, training: str = APART) -> pd.DataFrame:
    """Decision curve (Vickers and Elkin 2006): true positives less false positives weighed by the odds of the threshold, per image.

    The package dcurves computes the same; its releases need an older pandas than the one that is locked here.

    Args:
        thresholds: probabilities in (0, 1) from which a reader would act.

    Returns:
        Columns threshold, network (mean over seeds), all (everybody counts as positive); nobody is 0. At the test set's own share of positives.
    """
    images = across.scores(training, test)
    odds = thresholds / (1 - thresholds)
    positive = images.labels == 1
    called = expit(images.logits)[:, :, None] > thresholds
    gained = called[:, positive].sum(axis=1) - called[:, ~positive].sum(axis=1) * odds
    everybody = positive.mean() - (~positive).mean() * odds
    return pd.DataFrame({"threshold": thresholds, "network": gained.mean(axis=0) / positive.size, "all": everybody})


def benefit(across: Across, test: str, threshold: float, training: str = APART) -> tuple[Estimate, Estimate, Estimate]:
    """Net benefit per image at one threshold, of the network, of calling everybody positive, and the first less the second.

    Each is a mean over images of +1 for a true positive and -odds for a false one, so intervals are over patients and seeds.

    Args:
        threshold: at most 0.5, so that the odds are at most 1 and no value lies beyond 1.
    """
    images = across.scores(training, test)
    worth = np.where(images.labels == 1, 1.0, -threshold / (1 - threshold))
    called = expit(images.logits) > threshold
    network, everybody = (two_way.share(values, images.patients) for values in (called * worth, np.broadcast_to(worth, called.shape)))
    found = [two_way.analyse(part).estimate() for part in (network, everybody, network - everybody)]
    return found[0], found[1], found[2]


def decided(across: Across, threshold: float = 0.5) -> str:
    """What acting on the network gains at a threshold, at home and elsewhere, beside calling everybody positive, and what follows."""
    said, words = [], {"yes": "better", "no": "worse", "not clear": "not clearly other"}
    for test in (COLLECTION, OWN):
        network, everybody, more = benefit(across, test, threshold)
        said.append(
            f"{test}: {network.percent()} per 100 images, calling everybody positive {everybody.percent()}, "
            f"so the network is {words[beyond(more, 0)]} ({points(more)})"
        )
    return f"Net benefit at a threshold of {100 * threshold:g} %, in true positives less false positives at these odds: {'; '.join(said)}"


def answers(across: Across | None, heat: pd.DataFrame | None, lost: pd.DataFrame | None) -> dict[str, str]:
    """The sentence that a reader should take away of each part of the page; ``lost`` is of :func:`cxrlib.study.pages.corruptions.losses`."""
    said = dict.fromkeys(("group", "severity", "calibration", "corruption", "decision"), NOT_RECORDED)
    if across is not None:
        found = by_group(across)
        part = found[(found["by"] == "source") & (found["label"] == "positive")].sort_values("right")
        if len(part) > 1:
            worst, best = part.iloc[0], part.iloc[-1]
            said["group"] = (
                f"from {worst['right'].percent()} % of the positives are found ({worst['group']}) to {best['right'].percent()} % ({best['group']}); "
                f"these are the two ends of {len(part)} sources, so a part of the distance is chance"
            )
        excess = calibration(across).set_index("test")["excess"]
        said["calibration"] = "; ".join(f"{test}: {_above(excess[test])}, {points(excess[test])}" for test in excess.index)
        said["decision"] = decided(across)
    if heat is not None:
        found = by_severity(heat)
        part = found[found["init"] == list(found["init"])[-1]]
        said["severity"] = "; ".join(f"{row.severity}: {row.right.percent()} %" for row in part.itertuples())
    if lost is not None:
        worst = lost.sort_values("loss").iloc[-1]
        said["corruption"] = f"{worst['corruption']}, {worst['strength']:g} {UNITS[worst['corruption']]}, costs most: {points(worst['loss'])} of AUC"
    return said


def _above(excess: Estimate) -> str:
    return {"yes": "probabilities too high on average", "no": "probabilities too low on average", "not clear": "not clear"}[beyond(excess, 0)]


# For the page


def group_rows(across: Across) -> list[tuple[str, dict[str, Estimate]]]:
    """Rows of a figure: for each group the share called right, of positives (sensitivity) and of negatives (specificity)."""
    found = by_group(across)
    names = dict.fromkeys(zip(found["by"], found["group"], strict=True))
    shown = {"positive": "sensitivity", "negative": "specificity"}
    return [(f"{by}: {group}", {shown[row.label]: row.right for row in found[(found["by"] == by) & (found["group"] == group)].itertuples()}) for by, group in names]


def corruption_rows(lost: pd.DataFrame) -> list[tuple[str, dict[str, Estimate]]]:
    """Rows of a figure: what each corruption costs, of :func:`cxrlib.study.pages.corruptions.losses`."""
    return [(f"{row.corruption}: {row.strength:g} ({UNITS[row.corruption]})", {"AUC lost": row.loss}) for row in lost.itertuples() if row.corruption in UNITS]
