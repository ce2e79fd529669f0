"""The bench: both sides of a pair do the same work, and the page's tables follow from what was measured."""

import copy
import json
import sys

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from PIL import Image

from cxrlib import data
from cxrlib.model import network
from cxrlib.study.pages import speed as tables

RESULT = ROOT / "results" / "bench.json"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import bench
    import files
    import tasks

    yield bench, files, tasks
    sys.path.remove(str(ROOT / "benchmarks"))


SETTINGS = {"arch": "resnetv2_laptop", "channels": 1, "size": 32, "batch": 8, "steps": 16, "seed": 1}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_both_sides_of_a_training_pair_learn_the_same(scripts, covidx_folder, tmp_path, monkeypatch):
    """Same start, images, mixup and rates; the crops differ, so the losses do a little."""
    tasks = scripts[2]
    for name in ("reuse_memory", "pool_without_copy"):  # given back after the standard side
        monkeypatch.setattr(network, name, getattr(network, name))
    standard = tasks.standard_training(str(covidx_folder), **SETTINGS)
    ours = tasks.our_training(str(covidx_folder), str(tmp_path), **SETTINGS)
    assert standard["images"] == ours["images"] == 16 * 8
    assert ours["seconds"] > ours["prepared"] > 0
    assert 0 < standard["loss"] < 2
    assert abs(standard["loss"] - ours["loss"]) < 0.25


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_both_sides_of_an_evaluation_score_the_same_images(scripts, covidx_folder, tmp_path, monkeypatch):
    tasks = scripts[2]
    for name in ("reuse_memory", "pool_without_copy"):
        monkeypatch.setattr(network, name, getattr(network, name))
    shared = {name: value for name, value in SETTINGS.items() if name != "seed"}
    assert tasks.standard_evaluation(str(covidx_folder), **shared)["images"] == 12
    assert tasks.our_evaluation(str(covidx_folder), str(tmp_path), **shared)["images"] == 12


def test_folding_the_weights_changes_no_logit(scripts):
    """What is timed as folded is the same network."""
    import torch

    tasks = scripts[2]
    seen = []
    plain = tasks._times
    try:
        tasks._times = lambda function, count: seen.append(function()) or plain(function, count)
        tasks.folded_evaluation(batches=1, **{k: v for k, v in SETTINGS.items() if k != "seed"})
    finally:
        tasks._times = plain
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-5)


def test_image_files_can_be_read_and_repeated(scripts, covidx_folder, tmp_path):
    files = scripts[1]
    folder = files.variant(covidx_folder, tmp_path / "png", 40, "png", train=60, distinct=20)
    index = data.read_index(folder)
    assert index.groupby(["split", "label"]).size().to_dict() == {
        ("test", "negative"): 6, ("test", "positive"): 6, ("train", "negative"): 30, ("train", "positive"): 30,
    }  # fmt: skip
    inodes = {path.stat().st_ino for path in (folder / "train").iterdir()}
    assert len(inodes) == 20
    with Image.open(folder / "train" / "59.png") as image:
        assert image.size == (40, 40)


def test_a_pair_is_timed_in_turns_and_its_ratio_is_of_pairs(scripts, tmp_path):
    bench = scripts[0].Bench(tmp_path / "out.json", quick=False)
    order = []
    times = {"ours": iter([1.0, 2.0, 4.0]), "theirs": iter([2.0, 8.0, 12.0])}

    def side(name):
        return lambda repeat: order.append(name) or {"seconds": next(times[name]), "images": 8}

    bench.pair("a", 2, "x", "y", side("ours"), side("theirs"))
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert row["ours"] == {"median": 4.0, "low": 2.0, "high": 8.0}
    again = scripts[0].Bench(tmp_path / "out.json", quick=True, only=("a",))
    once = {"seconds": 1.0, "images": 8}
    again.pair("a", 2, "x", "y", lambda _: once, lambda _: once)
    again.pair("b", 2, "x", "y", side("ours"), side("theirs"))
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["ratio"]["median"] == 1.0


def test_a_process_that_fails_says_why(scripts):
    with pytest.raises(RuntimeError, match="(?s)one_step.*arch 'nothing'"):
        scripts[0].run("one_step", kind="plain", **{name: value for name, value in SETTINGS.items() if name != "seed"} | {"arch": "nothing"})


def test_the_committed_result_is_complete_and_says_what_was_reached():
    measured = tables.read(RESULT)
    assert not measured["quick"]
    table = tables.ratios(measured)
    assert len(table) == 12
    for row in table.itertuples():
        assert row.low <= row.ratio <= row.high
        assert (row.verdict == "reached") == (row.ratio >= row.target)
    grad_cam = next(row for row in measured["rows"] if row["name"] == "grad-cam")
    assert grad_cam["largest_difference"] < 1e-4
    assert list(tables.losses(measured)["training"]) == ["64", "128", "png", "bit"]
    scale = pd.DataFrame(measured["scale"])
    assert scale["train"].tolist() == [1_000, 3_000, 10_000, 30_482]
    memory = pd.DataFrame(measured["memory"])
    for _, part in memory.groupby("kind"):
        assert part["worker_mb"].max() < 1.2 * part["worker_mb"].min(), "memory grows with the number of images"


def test_short_of_a_target_is_said_with_its_gap():
    measured = tables.read(RESULT)
    changed = copy.deepcopy(measured)
    changed["rows"][0]["ratio"] = {"median": 1.5, "low": 1.4, "high": 1.6}
    assert tables.ratios(changed).iloc[0]["verdict"] == "short by 50 %"


def test_a_straight_line_has_no_bend():
    images = np.array([1000, 3000, 10_000, 30_000])
    lines = tables.cost_lines(pd.DataFrame({"images": images} | {cost: 0.5 + images * 1e-3 for cost in tables.COSTS}))
    np.testing.assert_allclose(lines["per_image"], 1e-3)
    np.testing.assert_allclose(lines["fixed"], 0.5, atol=1e-9)
    np.testing.assert_allclose(lines["bend"], 1)
    bent = tables.cost_lines(pd.DataFrame({"images": images} | {cost: images**1.5 for cost in tables.COSTS}))
    assert (bent["bend"] > 1.3).all()


def test_a_million_images_on_paper_are_in_proportion():
    measured = tables.read(RESULT)
    one, two = (tables.on_paper(measured, count).set_index("what")["how much"] for count in (1_000_000, 2_000_000))
    head = tables.paper_table(measured, [1_654, 1_000_000]).splitlines()[0]
    assert head.index("1,654") < head.index("1,000,000"), "the page calls the data of its copy the first column"
    assert one["cache on disk"] == "262 GB"
    assert two["cache on disk"] == "524 GB"


@pytest.mark.parametrize(("text", "says"), [("nonsense", "no result of a bench"), ('{"rows": [1]}', "lacks ideas, scale"), ("[]", "no result of a bench")])
def test_a_wrong_or_unfinished_result_is_refused(tmp_path, text, says):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        tables.read(path)
