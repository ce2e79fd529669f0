"""From records to numbers on records made by hand, so that every answer is known; and the figures that draw them."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import shortcuts as drawings
from cxrlib.study.pages import shortcuts
from cxrlib.study.pages.shortcuts import Evidence

matplotlib.use("Agg")

# Training: positives of two sources, negatives of a third; the test split has one source for each class.
TRAIN = [(f"p{source}{i}.png", "positive", source) for source in "ab" for i in range(20)] + [(f"n{i}.png", "negative", "c") for i in range(40)]
TEST = [(f"tp{i}.png", "positive", "a") for i in range(30)] + [(f"tn{i}.png", "negative", "c") for i in range(30)]
FILES = pd.DataFrame([(split, *row) for split, rows in (("train", TRAIN), ("test", TEST)) for row in rows], columns=["split", "file", "label", "source"])


def made(seed: int, splits: dict[str, list], wrong=lambda file, source: False, noise: float = 0.01, **fields) -> Record:
    """A run that is right about every image but those that ``wrong`` names."""
    config = RunConfig(seed=seed, init="random", **fields)
    generator = np.random.default_rng(seed)
    predictions: dict[str, list] = {"split": [], "file": [], "patient_id": [], "label": [], "logit": []}
    for split, rows in splits.items():
        for file, label, source in rows:
            positive = (source == config.sources[1]) if config.sources else label == "positive"
            sign = (1 if positive else -1) * (-1 if wrong(file, source) else 1)
            for name, value in {"split": split, "file": file, "patient_id": file, "label": int(positive), "logit": 2.0 * sign + noise * generator.normal()}.items():
                predictions[name].append(value)
    return Record(
        key=f"{seed}{config.identity()}", protocol_version=1, config=config.identity(), data={"name": "made", "fingerprint": "0"}, initialisation={"name": "random"},
        code_version="0", packages={}, machine={}, history=[{}], predictions=predictions, wall_seconds=1, weights_sha256="",
    )  # fmt: skip


def held(seed: int) -> list:
    """Half of the training files, others for each seed."""
    chosen = np.random.default_rng([7, seed]).permutation(len(TRAIN))[: len(TRAIN) // 2]
    return [TRAIN[i] for i in sorted(chosen)]


def evidence(blind: bool = True) -> Evidence:
    """Without source b, 'blind' networks call every image of it negative; the frame is worth a coin."""
    runs = []
    for seed in range(3):
        coin = np.random.default_rng(seed)
        of_b = [row for row in TRAIN if row[2] == "b"]
        others = [row for row in held(seed) if row[2] != "b"]
        runs.append(made(seed, {"test": TEST}))
        runs.append(made(seed, {"test": TEST}, lambda *_, coin=coin: coin.random() < 0.5, region="frame"))
        runs.append(made(seed, {"test": TEST}, lambda file, _: file.endswith("0.png"), region="centre"))
        runs.append(made(seed, {"validation": held(seed), "test": TEST}, validation_fraction=0.3))
        runs.append(made(seed, {"validation": others, "test": TEST, "left_out": of_b}, lambda _, source: blind and source == "b", leave_out="b", validation_fraction=0.3))
        runs.append(made(seed, {"test": [row for row in held(seed) if row[1] == "positive"]}, sources=("a", "b"), within="positive", validation_fraction=0.3))
    return Evidence("made", runs, FILES)


def test_regions_are_compared_with_the_whole_image_seed_by_seed():
    rows = shortcuts.by_region(evidence()).set_index("region")
    assert list(rows.index) == ["whole", "centre", "frame"]
    assert rows.loc["whole", "accuracy"] == 1 and rows.loc["whole", "accuracy"].low < 1, "no fault in 60 patients is no proof of none"
    assert rows.loc["whole", "change"] is None
    assert rows.loc["centre", "accuracy"] == pytest.approx(54 / 60)
    assert rows.loc["centre", "change"] == pytest.approx(rows.loc["centre", "AUC"] - rows.loc["whole", "AUC"])
    assert rows.loc["centre", "change"].high < 0
    frame = rows.loc["frame", "AUC"]
    assert frame.low < 0.5 < frame.high
    assert (rows["runs"] == 3).all()


def test_sources_told_apart_are_those_of_the_runs():
    found = shortcuts.told_apart(evidence())
    assert (found["sources"], found["within"], found["runs"]) == (("a", "b"), "positive", 3)
    assert found["AUC"] == 1 and found["balanced accuracy"] == 1
    assert found["patients"] == len({row[0] for seed in range(3) for row in held(seed) if row[1] == "positive"})
    assert shortcuts.told_apart(Evidence("none", [], None)) is None


def test_a_source_left_out_is_compared_on_the_same_images():
    blind = shortcuts.left_out(evidence()).set_index("measure")
    row = blind.loc["positive images called positive"]
    assert (row["source"], row["trained_with"], row["trained_without"], row["change"]) == ("b", 1, 0, -1)
    assert row["patients"] == len({file for seed in range(3) for file, _, source in held(seed) if source == "b"}), "held out of both, in some seed"
    assert blind.loc["AUC against negative test images", "trained_with"] == 1
    assert blind.loc["AUC against negative test images", "change"].high < 0
    seeing = shortcuts.left_out(evidence(blind=False)).set_index("measure")
    assert seeing.loc["positive images called positive", "change"] == 0


def test_sources_have_shares_of_their_own():
    rows = shortcuts.by_source(evidence())
    places = {(row.images, row.source, row.label): row for row in rows.itertuples()}
    assert set(places) == {("test", "c", "negative"), ("test", "a", "positive")} | {("held out", s, label) for s, label in (("c", "negative"), ("a", "positive"), ("b", "positive"))}
    assert all(row.right == 1 and row.right.low < 1 for row in places.values())
    assert shortcuts.by_source(Evidence("unknown", evidence().records, None)).empty


def test_answers_follow_the_intervals():
    found = shortcuts.answers(evidence(), Estimate(0.97, 0.95, 0.99))
    assert found["size"].startswith("yes: 97.0 (95.0 to 99.0) %")
    assert found["source"].startswith("yes: the sources a and b, among positives, AUC 100.0")
    assert found["frame"].startswith("not clear: AUC")
    assert found["left_out"].startswith("b: yes, AUC -")
    assert "no lung masks" in found["lungs"]
    nothing = shortcuts.answers(Evidence("none", [], None), None)
    assert {nothing[name] for name in ("size", "source", "frame", "centre", "left_out")} == {"not recorded yet"}


def test_figures_have_a_panel_for_each_data_set_and_say_what_is_missing():
    rows = [("whole image", {"AUC": Estimate(0.9, 0.8, 0.95), "accuracy": Estimate(0.8, 0.7, 0.9)}), ("frame", {"AUC": Estimate(0.6, 0.4, 0.7)})]
    figure = drawings.dots({"phantoms": rows, "real X-rays": "not recorded yet"}, "Regions", "test score (%)", 0.5)
    titles = [ax.get_title("left") or ax.get_title() for ax in figure.axes]  # the book's style, which another test may have set, has them on the left
    assert titles == ["phantoms", "real X-rays"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["whole image", "frame"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"AUC", "accuracy", "chance"}
    assert figure.axes[1].texts[0].get_text() == "not recorded yet"
    note = drawings.dots({"a": "no masks", "b": []}, "Nothing", "x")
    assert "no masks" in note.axes[0].texts[0].get_text()
    table = pd.DataFrame([{"level": level, "measure": m, "own": Estimate(0.9, 0.8, 1), "unconfounded": Estimate(0.6, 0.5, 0.7)} for level in (0.0, 1.0) for m in ("AUC", "accuracy")], dtype=object)
    assert len(drawings.confounding(table, "Phantoms").axes) == 2
