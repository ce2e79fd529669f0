"""Phantoms with known confounding, where Grad-CAM looks, and the sizes of files: measured, written, read back, and judged."""


import numpy as np
import pandas as pd
import pytest
from common import ROOT

from cxrlib.config import RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record_tables
from cxrlib.experiment.one_run import open_dataset
from cxrlib.study import comparisons, verdicts
from cxrlib.study.comparisons import design_of_paper
from cxrlib.study.pages import confounding, file_sizes
from cxrlib.study.pages import heat as cam_energy
from cxrlib.study.tables import write_table

RUN = {**confounding.RUN, "resize": 36, "crop": 32, "schedule": (1, 3, 4), "eval_every": 2, "batch_size": 8, "init": "random", "device": "cpu", "threads": 1}
PHANTOMS = {"seed": 0, "train_positive": 8, "train_negative": 8, "test_per_class": 6, "size": 48}


# Confounding


def test_every_level_shows_the_same_patients_and_is_tested_twice(tmp_path):
    made = confounding.compute(tmp_path / "work", tmp_path / "table.parquet", (0.0, 1.0), (0, 1), PHANTOMS, RUN, workers=1)
    table = record_tables.read_table(tmp_path / "table.parquet")
    assert sorted(record.key for record in table) == sorted(record.key for record in made)
    assert [record.data["source_confounding"] for record in made] == [0.0, 0.0, 1.0, 1.0]
    for record in made:
        own, plain = record.table().sort_values("file"), record.table(confounding.SPLIT).sort_values("file")
        assert own["file"].tolist() == plain["file"].tolist(), "the same images of the same patients"
        assert own["label"].tolist() == plain["label"].tolist()
        same = np.allclose(own["logit"], plain["logit"], atol=1e-5)
        assert same == (record.data["source_confounding"] == 0), "at level 0 the two test sets are one"
    found = confounding.curve(made).set_index(["level", "measure"])
    assert found.loc[(0.0, "AUC"), "gap"] == pytest.approx(0)
    by_hand = [np.mean((r.table()["probability"] > 0.5) == (r.table()["label"] == 1)) for r in made[2:]]
    assert found.loc[(1.0, "accuracy"), "own"] == pytest.approx(np.mean(by_hand))
    # The same command trains nothing again and gives the same table.
    again = confounding.compute(tmp_path / "work", tmp_path / "again.parquet", (0.0, 1.0), (0, 1), PHANTOMS, RUN, workers=1)
    assert [record.wall_seconds for record in again] == [record.wall_seconds for record in made]
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "table.parquet").read_bytes()
    with pytest.raises(ValueError, match="lack 0"):
        confounding.compute(tmp_path / "work", tmp_path / "x.parquet", (0.5,), (0,), PHANTOMS, RUN)


@pytest.mark.skipif(not (ROOT / "results" / "confounding.parquet").is_file(), reason="not recorded yet")
def test_the_committed_curve_is_complete_and_recomputed():
    stored = record_tables.read_table(ROOT / "results" / "confounding.parquet")
    assert sorted((r.data["source_confounding"], r.config["seed"]) for r in stored) == sorted((level, seed) for level in confounding.LEVELS for seed in confounding.SEEDS)
    assert all(record.data["is_phantom"] for record in stored)
    assert not any("dirty" in record.code_version for record in stored)
    found = confounding.curve(stored).set_index(["level", "measure"])
    for level in confounding.LEVELS:
        members = [r for r in stored if r.data["source_confounding"] == level]
        assert found.loc[(level, "AUC"), "own"] == pytest.approx(np.mean([r.history[-1]["test_auc"] for r in members]))


# Grad-CAM


@pytest.fixture
def heat():
    """Three seeds, 40 images of 40 patients: positives have more heat in the centre."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(3):
        for image in range(40):
            label = image % 2
            centre = 0.5 + 0.1 * label + 0.02 * generator.normal()
            rows.append((seed, f"{image}.png", f"p{image}", label, label, centre, 0.95 - centre, 0.5, 0.44))
    table = pd.DataFrame(rows, columns=list(cam_energy.TYPES)).astype(cam_energy.TYPES)
    table.attrs["about"] = {"data": "made", "records": {}}
    return table


DESIGN = design_of_paper()


def nine(table) -> dict[str, verdicts.Judged]:
    """Claim 9's comparisons by name, judged."""
    found = comparisons.compared([], DESIGN, heat=cam_energy.differences(table), claims=(9,))
    return {answer.compared.name: answer for answer in verdicts.judge(found, comparisons.family_size(DESIGN))}


def claim_nine(table) -> str:
    (row,) = verdicts.verdicts(comparisons.compared([], DESIGN, heat=cam_energy.differences(table), claims=(9,)), comparisons.family_size(DESIGN))
    return row.verdict


CHEST, EDGES = "heat on the chest, positive less negative", "heat on the edges, negative less positive"


def test_claim_nine_follows_the_heat(heat):
    found = nine(heat)
    assert [answer.compared.pairs for answer in found.values()] == [3, 3, 0, 0], "the maps of this table call every image rightly"
    means = heat.groupby("label")["centre"].mean()
    assert found[CHEST].interval == pytest.approx(means[1] - means[0])
    assert found[EDGES].interval == pytest.approx(-heat.groupby("label")["frame"].mean().diff()[1])
    assert claim_nine(heat) == "holds", "what is ours, and not recorded, decides nothing"
    assert claim_nine(heat.assign(label=1 - heat["label"])) == "contradicted"
    assert claim_nine(heat.assign(frame=0.4)) == "mixed"
    assert claim_nine(None) == "not recorded yet"


def test_a_map_of_zeros_is_left_out_not_counted_as_none(heat):
    heat.loc[heat.index[:4], ["centre", "frame"]] = np.nan
    found = cam_energy.shares(heat).set_index(["region", "label"])
    assert found.loc[("centre", "positive"), "heat"] == pytest.approx(heat.loc[heat["label"] == 1, "centre"].mean())
    assert found.loc[("centre", "negative"), "images"] == pytest.approx(58 / 3)


def test_heat_that_follows_the_prediction_is_told_from_heat_that_follows_the_class(heat):
    generator = np.random.default_rng(3)
    called = heat["predicted"].where(generator.random(len(heat)) < 0.9, 1 - heat["predicted"])
    follows = heat.assign(predicted=called, centre=0.5 + 0.1 * called + 0.02 * generator.normal(size=len(heat)))
    found = cam_energy.by_prediction(follows)
    assert nine(follows)[CHEST].compared.measured.estimate().low > 0, "claim 9 sees a difference between the true classes"
    assert all(row.difference.low < 0 < row.difference.high for row in found.itertuples()), "there is none at one prediction"
    assert {answer.word for answer in nine(follows).values() if answer.part.ours} == {"not seen"}
    group = follows[(follows["label"] == 1) & (follows["predicted"] == 0)]
    assert found.loc[0, "positive"] == pytest.approx(group["centre"].mean())
    assert found.loc[0, "images"][1] == pytest.approx(len(group) / 3)
    assert all(row.difference.low > 0 for row in cam_energy.by_prediction(heat.assign(predicted=called)).itertuples())


def test_heat_is_measured_written_and_read_back(one_run, tmp_path):
    found = [experiment.run(one_run | {"seed": seed}, progress=False) for seed in (0, 1)]
    config = RunConfig.parse(one_run)
    table = cam_energy.measure(found, config.store, open_dataset(config), config.cache)
    assert len(table) == 24 and set(table["seed"]) == {0, 1}
    assert table["centre_area"].iloc[0] == pytest.approx(0.5, abs=0.03)
    assert (table["centre"].dropna() <= 1).all() and (table["centre"] + table["frame"]).dropna().le(1.0001).all()
    assert table["predicted"].tolist() == [int(x > 0) for record in found for x in record.table()["logit"]]
    write_table(table, tmp_path / "heat.parquet")
    back = cam_energy.read(tmp_path / "heat.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert back.attrs["about"] == table.attrs["about"]
    assert back.attrs["about"]["records"] == {"0": found[0].key, "1": found[1].key}
    assert cam_energy.read(tmp_path / "none.parquet") is None
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="no table of Grad-CAM heat"):
        cam_energy.read(tmp_path / "bad.parquet")


@pytest.mark.skipif(not (ROOT / "results" / "grad_cam.parquet").is_file(), reason="not recorded yet")
def test_the_committed_heat_belongs_to_committed_records():
    table = cam_energy.read(ROOT / "results" / "grad_cam.parquet")
    about = table.attrs["about"]
    stored = {record.key: record for record in record_tables.read_table(ROOT / "results" / "quarter.parquet")}
    assert len(about["records"]) == table["seed"].nunique() == 6
    for seed, key in about["records"].items():
        record = stored[key]
        assert record.config["seed"] == int(seed)
        assert record.data["fingerprint"] == about["fingerprint"]
        of = table[table["seed"] == int(seed)].set_index("file")
        theirs = record.table().set_index("file")
        assert of["label"].to_dict() == theirs["label"].to_dict()
        assert of["predicted"].to_dict() == (theirs["logit"] > 0).astype(int).to_dict()
    answers = nine(table)
    centre, frame = answers[CHEST].interval, answers[EDGES].interval
    by_class = table.groupby(["label", "seed"])[["centre", "frame"]].mean().groupby("label").mean()
    assert centre == pytest.approx(by_class.loc[1, "centre"] - by_class.loc[0, "centre"], abs=0.02)
    assert frame == pytest.approx(by_class.loc[0, "frame"] - by_class.loc[1, "frame"], abs=0.02)
    text = (ROOT / "results" / "grad_cam.parquet").read_bytes()
    assert b"/work/" not in text and b"/tmp/" not in text and "dirty" not in about["code_version"]


# Sizes of files


def test_sizes_give_the_class_away_only_if_they_differ(tmp_path):
    rows = [(split, f"{split}{i}.png", f"{split}{i}", "positive" if i % 2 else "negative", "s", 100 + 10 * (i % 2), 100) for split in ("train", "test") for i in range(40)]
    files = pd.DataFrame(rows, columns=list(file_sizes.TYPES))
    assert file_sizes.guess(files) == 1
    same = file_sizes.guess(files.assign(width=100))
    assert same == 0.5 and np.isnan(same.low), "one answer for every image is chance, whoever the patients are"
    files.attrs["about"] = {"data": "made"}
    write_table(files, tmp_path / "files.parquet")
    pd.testing.assert_frame_equal(file_sizes.read(tmp_path / "files.parquet"), files, check_dtype=False)
    assert file_sizes.read(tmp_path / "none.parquet") is None


@pytest.mark.skipif(not (ROOT / "results" / "files.parquet").is_file(), reason="not recorded yet")
def test_the_committed_sizes_are_those_of_the_records_data():
    files = file_sizes.read(ROOT / "results" / "files.parquet")
    record = record_tables.read_table(ROOT / "results" / "quarter.parquet")[0]
    assert files.attrs["about"]["fingerprint"] == record.data["fingerprint"]
    tested = files[files["split"] == "test"].set_index("file")
    assert (tested["label"] == "positive").astype(int).to_dict() == record.table().set_index("file")["label"].to_dict()
    assert file_sizes.guess(files) > 0.9, "size and shape alone tell the class"
