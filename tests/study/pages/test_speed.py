"""The bench: both sides of a pair do the same work, and the page's tables follow from what was measured."""

import contextlib
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
from cxrlib.study.pages import speed_beside

RESULT = ROOT / "results" / "bench.json"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import bench
    import files
    import recipes
    import tasks

    yield bench, files, tasks, recipes
    sys.path.remove(str(ROOT / "benchmarks"))


SETTINGS = {"arch": "resnetv2_laptop", "channels": 1, "size": 32, "batch": 8, "steps": 16, "seed": 1}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 8 worker processes")
def test_all_sides_of_a_training_learn_the_same(scripts, covidx_folder, tmp_path, monkeypatch):
    """Same start, images, mixup and rates; the crops differ, so the losses do a little."""
    _, _, tasks, recipes = scripts
    for name in ("reuse_memory", "pool_without_copy"):  # given back after the other sides
        monkeypatch.setattr(network, name, getattr(network, name))
    ours = tasks.our_training(str(covidx_folder), str(tmp_path), **SETTINGS)
    assert ours["images"] == 16 * 8
    assert ours["seconds"] > ours["prepared"] > 0
    others = [name for name in scripts[0].PEERS if name != "our_training"]
    assert set(others) == {name for name in vars(recipes) if name.endswith("_training")}
    for name in others:
        theirs = getattr(recipes, name)(str(covidx_folder), **SETTINGS)
        assert theirs["images"] == ours["images"]
        assert 0 < theirs["loss"] < 2
        assert abs(theirs["loss"] - ours["loss"]) < 0.25, name


def test_every_peer_sees_the_same_images_in_the_same_batches(scripts, covidx_folder, monkeypatch):
    """Without crops and flips, at one image a batch position, what reaches the network is equal to the last bit or rounding."""
    from torchvision import transforms

    recipes = scripts[3]
    for name in ("reuse_memory", "pool_without_copy"):
        monkeypatch.setattr(network, name, getattr(network, name))
    for name in ("RandomCrop", "RandomHorizontalFlip"):
        monkeypatch.setattr(transforms, name, lambda size=None: transforms.CenterCrop(size or SETTINGS["size"]))
    seen = {}

    def keep(model, config, optimizer, batches, after=None):
        taken = list(batches)
        seen[asking] = np.concatenate([images.numpy() for images, _ in taken]), np.concatenate([np.asarray(labels) for _, labels in taken])
        return [0.0] * len(taken)

    monkeypatch.setattr(recipes, "_learn", keep)
    for asking in [name for name in scripts[0].PEERS if name != "our_training"]:
        getattr(recipes, asking)(str(covidx_folder), **SETTINGS | {"steps": 5})
    images, labels = seen.pop("standard_training")
    assert images.shape == (40, 1, 32, 32) and len(np.unique(images.reshape(40, -1), axis=0)) > 20
    for name, (theirs, said) in seen.items():
        np.testing.assert_array_equal(said, labels, err_msg=name)
        np.testing.assert_allclose(theirs, images, atol=1e-5, err_msg=name)


def test_waiting_is_measured_idle_and_beside_busy_processes_in_turns(scripts, tmp_path, monkeypatch):
    bench = scripts[0].Bench(tmp_path / "out.json", quick=False)
    asked, beside = [], []
    rates = {"spin": (1000, 50, 20), "short": (980, 250, 200), "sleep": (650, 350, 200), "one": (590, 580, 300)}

    def run(task, environment, threads, **settings):
        way = "one" if threads == 1 else "spin" if environment == scripts[0].SPINNING else "sleep" if environment else "short"
        asked.append((way, len(beside)))
        return {"images": rates[way][{0: 0, 1: 1, 3: 2}[len(beside)]], "seconds": 1.0}

    @contextlib.contextmanager
    def busy_process():
        beside.append(True)
        yield
        beside.pop()

    monkeypatch.setattr(scripts[0], "run", run)
    monkeypatch.setattr(scripts[0], "busy_process", busy_process)
    monkeypatch.setattr(scripts[0], "usable_cores", lambda: 2)
    scripts[0].waiting(bench, {"size": 64, "batch": 64})
    assert asked == [(way, others) for others in (0, 1, 3) for way in ("spin", "short", "sleep", "one")] * 3
    spins, ours, sleeps, one = bench.result["waiting"]
    assert spins["kept"]["median"] == 0.05 and ours["against_spinning"]["median"] == 0.98 and one["kept"]["median"] == 580 / 590
    said = speed_beside.waiting_sentence(bench.result)
    assert said.startswith("Beside three busy processes, threads that spin shortly and then sleep are 10.0 times as fast as threads that spin.")
    assert "keep 0.26 of their idle rate, where 0.6 was aimed at; threads that spin keep 0.05, and one thread 0.98. On an idle machine they reach 98 %" in said
    bench.result["waiting"][1]["kept"]["median"] = 0.65
    assert "keep 0.65 of their idle rate, as was aimed at" in speed_beside.waiting_sentence(bench.result)
    assert "1 thread, as a sweep sets it" in speed_beside.waiting_table(bench.result)


def test_a_busy_process_is_ended(scripts):
    import psutil

    with scripts[0].busy_process():
        (child,) = [child for child in psutil.Process().children() if "while True" in " ".join(child.cmdline())]
    assert not child.is_running()


def test_the_nearest_and_the_furthest_peer_are_named():
    def row(name, ratio):
        return {"name": name, "what": f"{name}: as it comes", "ratio": {"median": ratio, "low": ratio, "high": ratio}, "steps": 9, "size": 64}

    measured: dict = {"peers": [row("our", 1.0), row("near", 1.6), row("far", 4.04)]}
    assert speed_beside.peer_sentence(measured) == "Over 9 steps of 64 px, cxrlib is 1.6 times as fast as the nearest of 2 others (near) and 4.0 times as fast as the furthest."


def test_the_step_alone_bounds_what_reading_can_gain():
    rows = [{"name": "train-64", "theirs": {"median": 500.0}, "ratio": {"median": 2.4}}, {"name": "compute-64", "theirs": {"median": 1500.0}}]
    assert speed_beside.bound_sentence({"rows": rows}).startswith("The step alone, on a batch that stays in memory, does 1,500 images/s at 64 px. So reading that costs nothing would be 3.0 times")
    assert "2.4 times are 80 % of that" in speed_beside.bound_sentence({"rows": rows})


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_both_sides_of_an_evaluation_score_the_same_images(scripts, covidx_folder, tmp_path, monkeypatch):
    _, _, tasks, recipes = scripts
    for name in ("reuse_memory", "pool_without_copy"):
        monkeypatch.setattr(network, name, getattr(network, name))
    shared = {name: value for name, value in SETTINGS.items() if name != "seed"}
    assert recipes.standard_evaluation(str(covidx_folder), **shared)["images"] == 12
    assert tasks.our_evaluation(str(covidx_folder), str(tmp_path), **shared)["images"] == 12


def test_folding_the_weights_changes_no_logit(scripts):
    """What is timed as folded is the same network."""
    import torch

    tasks = scripts[2]
    seen = []
    plain = tasks.times_of
    try:
        tasks.times_of = lambda function, count: seen.append(function()) or plain(function, count)
        tasks.folded_evaluation(batches=1, **{k: v for k, v in SETTINGS.items() if k != "seed"})
    finally:
        tasks.times_of = plain
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
    assert len(table) == 12 and list(table["name"]) == list(tables.LABELS)
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
