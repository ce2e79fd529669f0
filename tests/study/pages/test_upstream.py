"""Tables and curves of the pretrainings on photographs: from shipped records and from made-up ones."""

import html
import json

import pytest
from common import ROOT

from cxrlib.study.pages import upstream
from cxrlib.train.photographs import FAMILIES
from cxrlib.weights.registry import PHOTOGRAPHS


def made_up(accuracies, seed=0):
    history = [{"step": 10 * (place + 1), "validation_accuracy": value} for place, value in enumerate(accuracies)]
    settings = {"classes": 20, "instances": 500, "steps": 10 * len(accuracies), "batch_size": 100, "seed": seed}
    ends = {"held_out_accuracy": accuracies[-1], "held_out_accuracy_float16": accuracies[-1] + 0.001}
    return {"settings": settings, "history": history, "seconds": 90.0, **ends}


def test_the_late_gain_is_that_of_the_last_fifth():
    assert upstream.late_gain(made_up([0.1, 0.2, 0.3, 0.4, 0.42])) == pytest.approx(2)
    assert upstream.late_gain(made_up([0.1] * 8 + [0.4, 0.4])) == pytest.approx(30)
    assert upstream.late_gain(made_up([0.5, 0.5, 0.5, 0.5, 0.4])) == pytest.approx(-10)


def test_curves_and_table_say_what_the_records_say():
    made = {"photo-s": [made_up([0.1, 0.3, 0.2, 0.4, 0.5]), made_up([0.2, 0.2, 0.2, 0.2, 0.6], seed=1)]}
    curves = upstream.curves(made)
    assert curves["step"].tolist() == [20, 40, 60, 80, 100] * 2 and curves["seed"].tolist() == [0] * 5 + [1] * 5
    assert curves["accuracy"].tolist() == pytest.approx([10, 30, 20, 40, 50, 20, 20, 20, 20, 60])
    table = upstream.rungs(made)
    lines = [table.splitlines()[0], *table.splitlines()[2:]]
    row = [html.unescape(line.strip("|").split("|")[-1].strip()) for line in lines]
    assert row == ["`photo-s`", "20", "10,000", "0.5", "50", "2", "50.0, 60.0", "5.0", "+10.0, +40.0", "0.10", "3"]


def test_the_shipped_pretrainings_are_finished_and_flat_at_the_end():
    made = upstream.pretrainings()
    assert {name: len(records) for name, records in made.items()} == PHOTOGRAPHS
    for name, records in made.items():
        assert [record["settings"]["seed"] for record in records] == list(range(len(records)))
        for record in records:
            assert record["steps_done"] == FAMILIES[name].steps and record["name"] == f"{name}-{record['settings']['seed']}"
            assert record["held_out_accuracy"] > 5 / record["settings"]["classes"], "far above chance"
            assert abs(record["held_out_accuracy_float16"] - record["held_out_accuracy"]) < 0.01
            assert abs(upstream.late_gain(record)) < 4, "points; three standard errors of 1,000 photographs are 4.6"
    assert len({record["archive_sha256"] for records in made.values() for record in records}) == 1
    assert "validation accuracy" in upstream.rungs(made) and len(upstream.curves(made)) >= 20 * sum(map(len, made.values()))


def test_trials_are_listed_best_first():
    path = ROOT / "results" / "photo-trials.json"
    rows = [line.strip("|").split("|") for line in upstream.trials(path).splitlines()[2:]]
    accuracies = [float(row[-1]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and len(accuracies) == len(json.loads(path.read_text())["trials"])
    chosen = next(trial for trial in json.loads(path.read_text())["trials"] if trial["what"] == "the settings chosen")
    settings = FAMILIES["photo-s"]
    assert [chosen[key] for key in ("size", "crop", "base_lr", "weight_decay")] == [settings.size, settings.crop, settings.base_lr, settings.weight_decay]


def test_missing_records_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="photo-s-0.json"):
        upstream.pretrainings(tmp_path)
    with pytest.raises(FileNotFoundError):
        upstream.trials(tmp_path / "none.json")
