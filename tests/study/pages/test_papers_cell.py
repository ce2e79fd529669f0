"""The cell of the paper's grid with its own network: what is said of made runs whose answer is known, and of the committed ones."""

import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from common import ROOT

from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record, content_key
from cxrlib.experiment.record_tables import read_table, write_table
from cxrlib.study import committed, pairs, paper
from cxrlib.study.committed import Design
from cxrlib.study.pages import papers_cell, two_sizes
from cxrlib.study.pages.chapter import RealStudy
from cxrlib.study.pages.papers_cell import AGAIN, PROFILE, PapersCell
from cxrlib.study.pages.two_sizes import TwoSizes
from cxrlib.study.parameters import Sensitivity, profiles_of, read_with
from cxrlib.study.plan import profile_runs
from cxrlib.study.verdicts import NOT_RECORDED
from cxrlib.weights.registry import registry

WRONG = {("random", "off"): 40, ("random", "beta"): 20, ("bit-photo", "off"): 10, ("bit-photo", "beta"): 10}


@pytest.fixture(autouse=True)
def profiles_are_found(monkeypatch):
    monkeypatch.chdir(ROOT)


def name(config: RunConfig) -> str:
    return json.dumps(config.identity(), sort_keys=True)


def record(config: RunConfig, wrong: int, images: int = 200) -> Record:
    """A run that gets the first `wrong` images wrong, and one more for each seed."""
    labels = np.arange(images) % 2
    logits = np.where(labels == 1, 2.0, -2.0) * np.where(np.arange(images) < wrong + config.seed, -1, 1)
    predictions = {"split": ["test"] * images, "file": [f"{i}.png" for i in range(images)], "patient_id": [f"p{i}" for i in range(images)]}
    predictions |= {"label": labels.tolist(), "logit": logits.tolist()}
    weights = None if config.init == "random" else "1" * 64
    return Record(
        key=f"{config.identity()}", protocol_version=1, config=config.identity(), data={"name": "made", "fingerprint": "0", "training_images": {"positive": 800, "negative": 854}},
        initialisation={"name": config.init, "sha256": weights}, code_version="0", packages={}, machine={"threads": 2}, history=[], predictions=predictions, wall_seconds=600, weights_sha256="",
    )  # fmt: skip


def cell(keep=lambda config: True, full: int | None = 40) -> PapersCell:
    planned = profile_runs(PROFILE)
    wanted = [run.config for run in planned if committed.SENSITIVITY in run.studies and keep(run.config)]
    runs = committed.Recorded(planned, {name(c): record(c, WRONG[c.init, c.mixup]) for c in wanted})
    others = [run.config for run in profile_runs(AGAIN["fp32"][1], [committed.SENSITIVITY]) if run.config.init == "random"]
    photographs = [config for config in wanted if config.init == "bit-photo"]
    again = {"fp32": [record(c, full) for c in others if full is not None], "gpu": [record(c, 20) for c in photographs], "gpu-fp32": [], "short": [record(c, 40) for c in photographs]}
    made = [pretraining(steps, value) if photographs else None for steps, value in ((10_000, 0.35), (2_000, 0.19))]
    return PapersCell(RealStudy(runs, Design.of_profile(PROFILE)), {name: study(AGAIN[name][1], records) for name, records in again.items()}, *made)


def study(profile: str, records: list[Record]) -> RealStudy:
    """These runs of a profile."""
    return RealStudy(committed.Recorded(profile_runs(profile), {}).with_records(records), Design.of_profile(profile))


def pretraining(steps: int, reached: float) -> dict:
    """The record of one that rose by five points in the last fifth of its steps."""
    history = [{"step": steps // 2, "validation_accuracy": reached - 0.05}, {"step": steps, "validation_accuracy": reached}]
    settings = {"classes": 200, "instances": 500, "crop": 40, "steps": steps, "batch_size": 100}
    return {"settings": settings, "seconds": 7200, "threads": 2, "held_out_accuracy": reached, "history": history, "sha256": "1" * 64}


def test_the_cell_is_one_of_the_papers_grid():
    runs = profile_runs(PROFILE, [committed.SENSITIVITY])
    theirs = RunConfig()
    for config in (run.config for run in runs):
        assert (config.arch, config.base_lr, config.batch_size, config.image_channels, config.mixup_value) == (theirs.arch, theirs.base_lr, theirs.batch_size, 3, theirs.mixup_value)
        assert (config.resize, config.crop) == paper.FIGURE_4.resolutions[0] and config.schedule == paper.FIGURE_4.schedules[0]
        assert config.init == "random" or registry()[config.init].arch == config.arch
    assert len(runs) == 12 and {(c.config.init, c.config.mixup, c.config.seed) for c in runs} == {(i, m, s) for i, m in WRONG for s in range(3)}


def test_the_runs_in_full_precision_differ_from_the_cell_in_nothing_else():
    half = {name(run.config) for run in profile_runs(PROFILE, [committed.SENSITIVITY])}
    full = [run.config for run in profile_runs(AGAIN["fp32"][1], [committed.SENSITIVITY])]
    assert len(full) == 6
    for config in full:
        assert config.precision == "fp32" and name(config.model_copy(update={"precision": "bf16"})) in half


def test_the_two_sizes_are_the_cell_and_the_next_of_the_papers_grid():
    both = [run.config for run in profile_runs(AGAIN["gpu"][1], [committed.SENSITIVITY])]
    cell = {name(run.config) for run in profile_runs(PROFILE, [committed.SENSITIVITY])}
    small, large = paper.FIGURE_4.resolutions[:2]
    assert len(both) == 24 and {(c.resize, c.crop) for c in both} == {small, large} and cell < {name(c) for c in both}
    assert {name(c.model_copy(update={"resize": small[0], "crop": small[1]})) for c in both} == cell


def test_tables_say_what_the_runs_show():
    made = cell()
    assert made.table().count("| 3 |") == 4
    rows = {line.split(" | ")[0].strip("| "): line for line in html.unescape(made.differences()).splitlines()}
    assert "+10.0 points (" in rows["mixup against none, from random weights"]
    assert "+0.0 points (" in rows["mixup against none, from many photographs"]
    assert "+15.0 points (" in rows["photographs against random weights, without mixup"] and "+5.0 points (" in rows["photographs against random weights, with mixup"]
    assert "+0.0 points (" in rows["bfloat16 against float32, without mixup, from random weights"]
    assert made.answer().startswith("pretraining on photographs changes test accuracy by +10.0 points (+6.5 to +13.5) and the AUC by +")
    assert "; mixup changes test accuracy by +5.0 points (+3.0 to +7.0) and the AUC by +" in made.answer()
    assert "call positive: from random weights 84.7 % of the positive images and 15.7 % of the negative ones; from many photographs 94.7 % and " in made.calls()
    assert made.by_the_rules().startswith("By the verdicts' rules, with mixup and adjusted for the 36 comparisons of the paper's design, pretraining changes the accuracy by +5.0 points (")
    assert ": holds. Those from an earlier pretraining: -10.0 points (" in made.by_the_rules() and made.by_the_rules().endswith(": contradicted.")
    assert "The same runs on GPUs" not in made.by_the_rules() and made.words_on_gpu() == f"The same runs on GPUs: {NOT_RECORDED}.", "not all twelve are there"
    assert "mixup" not in made.answer(["init"]) and made.answer().startswith(made.answer(["init"]).partition(" (95 %")[0])
    assert "+5.0 points (" in rows["one core against a GPU, from many photographs"] and "| 6 |" in rows["pretraining of 10 passes against the earlier one of 2, from many photographs"]
    assert made.otherwise() == "In float32, from random weights 3 runs call 0 of 600 test images otherwise. On a GPU, from many photographs 6 runs call 60 of 1,200 test images otherwise."
    assert made.longer().startswith("An earlier pretraining of 2 passes (steps 2,000 in place of 10,000) reached 19.0 % of the validation photographs; the same runs were made from it first: ")
    assert made.longer().endswith(")." ) and "this one changes their accuracy by +15.0 points (" in made.longer()
    assert made.otherwise() in made.method() and made.longer() in made.method()
    assert "12 of 12 runs" in made.method() and "1,654 training images (the paper has 15,951) and 200 test images" in made.method() and "The quickest run took 20 minutes" in made.method()
    assert made.finding() == (
        "Mean test accuracy without mixup, 79.5 % from random weights, 94.5 % from many photographs, BiT-R50x1; with mixup, 89.5 % from random weights, 94.5 % from many photographs, BiT-R50x1."
    )
    words = {part.part.says: part.word for row in made.verdicts for part in row.parts}
    assert set(words) == {"accuracy rises from one upstream set to the next larger one", "mixup helps", "mixup gains more than pretraining"}
    assert words["mixup gains more than pretraining"] == "contradicted"


def sizes(keep=lambda config: True) -> TwoSizes:
    """At 224 px twenty images fewer are wrong than at 128, but none from random weights without mixup."""
    gained = {("random", "off"): 0, ("random", "beta"): 20, ("bit-photo", "off"): 10, ("bit-photo", "beta"): 10}
    wanted = [run.config for run in profile_runs(AGAIN["gpu"][1], [committed.SENSITIVITY]) if keep(run.config)]
    records = [record(c, WRONG[c.init, c.mixup] - gained[c.init, c.mixup] * (c.crop == 224)) for c in wanted]
    full = [record(run.config, WRONG[run.config.init, "off"] + 4) for run in profile_runs(AGAIN["gpu-fp32"][1], [committed.SENSITIVITY]) if keep(run.config)]
    for one in (*records, *full):
        one.machine.update({"device": f"GPU {one.config['seed'] % 2}"} | ({"compiled": True} if one.config["seed"] % 2 else {}))
    return TwoSizes(study(AGAIN["gpu"][1], records), study(AGAIN["gpu-fp32"][1], full))


def test_two_sizes_say_what_the_runs_show():
    made = sizes()
    assert made.table().count("| 3 |") == 8 and [line.split(" | ")[0] for line in made.table().splitlines()[2:]] == ["| 128"] * 4 + ["| 224"] * 4
    rows = {line.split(" | ")[0].strip("| "): line for line in html.unescape(made.differences()).splitlines()}
    assert all("+5.0 points (" in rows[f"224 px against 128, from {start}"] and "| 6 |" in rows[f"224 px against 128, from {start}"] for start in ("random weights", "many photographs"))
    assert "+20.0 points (" in rows["224 px: photographs against random weights, without mixup"] and "+0.0 points" in rows["224 px: photographs against random weights, with mixup"]
    assert "| +20.0 points (" in rows["224 px: mixup against none, from random weights"]
    assert "| +2.0 points (" in rows["bfloat16 against float32, 128 px, without mixup, from many photographs"]
    assert made.answer().startswith("224 px in place of 128: from random weights test accuracy changes by +5.0 points (") and "; from many photographs by +5.0 points (" in made.answer()
    assert "At 224 px, pretraining on photographs changes test accuracy by +10.0 points (" in made.answer() and made.pretraining().partition(" (95 %")[0] in made.answer()
    assert "at 224 px with mixup, pretraining changes the accuracy by +0.0 points" in made.by_the_rules() and "over both starts, 224 px in place of 128 changes the accuracy by +5.0 points (" in made.by_the_rules()
    assert made.calls_there().startswith("At the threshold of 50 %, networks call positive: from random weights ") and "; from many photographs 99.7 % and 0.7 %." in made.calls_there()
    assert made.finding().startswith("Mean test accuracy with mixup at 128 px, 89.5 % from random weights") and "; at 224 px, 99.5 % from random weights" in made.finding()
    assert set(made.drawn()["size"]) == {"128 px", "224 px"} and len(set(made.drawn()["measure"])) == 4
    assert made.method().startswith("**How.** 24 of 24 runs are recorded, and 6 in float32: ")
    told = html.unescape(made.method())
    assert "on one GPU 0: 128 px from random weights, " in told and "; on one GPU 1, compiled: 128 px from random weights, " in told and "128 px from many photographs in float32" in told
    assert "In float32, from random weights 3 runs call 12 of 600 test images otherwise; from many photographs 3 runs call 12 of 600 test images otherwise." in made.method()
    assert {row.number for row in made.verdicts} == {1, 2, 4} and "128 and at 224 px" in made.title()


def test_two_sizes_that_are_not_recorded_yet_say_so():
    nothing = sizes(lambda config: False)
    for said in (nothing.answer(), nothing.table(), nothing.differences(), nothing.method(), nothing.pretraining()):
        assert NOT_RECORDED in said
    assert nothing.by_the_rules().endswith("(0 of 24 runs are recorded).") and nothing.calls_there() == "" and nothing.drawn().empty and nothing.finding() == "Nothing is recorded of these cells yet."
    small = sizes(lambda config: config.crop == 128)
    assert small.answer().count(NOT_RECORDED) == 4 and "224 px:" not in small.differences() and "12 of 24 runs" in small.method() and NOT_RECORDED in small.by_the_rules()
    assert small.answer().startswith(f"224 px in place of 128: from random weights {NOT_RECORDED}; from many photographs {NOT_RECORDED}. At 224 px, what ")
    one = sizes(lambda config: config.init == "random")
    assert one.by_the_rules() == f"By the verdicts' rules: {NOT_RECORDED} (12 of 24 runs are recorded)."
    assert one.answer().startswith("224 px in place of 128: from random weights test accuracy changes by +5.0 points (")


def test_what_was_made_on_two_machines_is_named():
    made = sizes()
    moved = [one.model_copy(update={"machine": one.machine | {"device": "GPU 9"}}) for one in made.records if one.config["crop"] == 128 and one.config["init"] == "bit-photo"]
    other = TwoSizes(study(AGAIN["gpu"][1], [*(one for one in made.records if one not in moved and (one.config["crop"], one.config["init"]) != (128, "bit-photo")), *moved]), made.full)
    rows = html.unescape(other.differences())
    assert "| 224 px against 128, from many photographs, on another kind of GPU |" in rows and "| 224 px against 128, from random weights |" in rows
    assert "another kind" not in made.differences() and "on one GPU 9: 128 px from many photographs" in html.unescape(other.method())


def test_names_from_records_are_text_and_no_markup():
    made = sizes()
    for one in made.records:
        one.machine["device"] = "</td><script>alert(1)</script> [x](javascript:alert(1))"
        if one.config["init"] == "bit-photo":
            one.initialisation["name"] = "<b>x</b>"
    assert not any(mark in made.method() + made.calls_there() for mark in ("<script", "<b>", "]("))


def test_what_is_not_recorded_yet_is_said():
    nothing = cell(lambda config: False, full=None)
    for said in (nothing.table(), nothing.differences(), nothing.method(), nothing.made(), nothing.otherwise(), nothing.minutes()):
        assert NOT_RECORDED in said
    assert nothing.longer() == "" and nothing.otherwise().count(NOT_RECORDED) == 2
    assert nothing.drawn().empty and cell().drawn()["mixup"].unique().tolist() == ["without mixup", "with mixup"]
    assert nothing.cells.empty and NOT_RECORDED in nothing.answer() and nothing.finding() == "Nothing is recorded of this cell yet."
    part = cell(lambda config: config.init == "random" and config.seed == 0)
    assert part.differences().count("| 1 |") == 2 and "photographs against random weights" not in part.differences()
    assert f"what pretraining on photographs changes is {NOT_RECORDED}" in part.answer() and "2 of 12 runs" in part.method()
    assert part.by_the_rules() == f"By the verdicts' rules: {NOT_RECORDED} (2 of 12 runs are recorded)."


def test_the_pretraining_is_told_from_its_record(tmp_path):
    record = pretraining(10_000, 0.351)
    for device, spent in (({}, "4.0 hours of one core"), ({"device": "x86_64"}, "4.0 hours of one core"), ({"device": "NVIDIA H100"}, "120 minutes on one NVIDIA H100")):
        (tmp_path / "bit-photo.json").write_text(json.dumps(record | device))
        made = PapersCell.read(tmp_path / "none.parquet", tmp_path).made()
        assert f"100,000 photographs of 200 classes at 40 px 10 times ({spent} in bfloat16)" in made and "35.1 %" in made and "changed that by +5.0 points" in made


def test_runs_from_two_pretrainings_do_not_pass_for_one_cell(tmp_path):
    both = [[r for r in read_table(ROOT / "results" / f"{name}.parquet") if r.config["init"] == "bit-photo"] for name in ("bit", "bit-short")]
    write_table(both[0], tmp_path / "bit.parquet")
    assert len(PapersCell.read(tmp_path / "bit.parquet").records) == 6
    write_table([*both[0], both[1][0]], tmp_path / "bit.parquet")
    with pytest.raises(ValueError, match="bit.parquet holds one run twice, .*; keep one of them"):
        PapersCell.read(tmp_path / "bit.parquet")


def test_a_part_of_the_shorter_pretrainings_runs_gives_no_word():
    """Merged with runs of the longer one they would be neither."""
    made = cell()
    assert made.as_remade("short") is not None
    made.again["short"] = study(PROFILE, [record for record in made.again["short"].runs.records if record.config["mixup"] == "off"])
    part = PapersCell(made.real, made.again, made.pretraining, made.shorter)
    assert part.as_remade("short") is None and part.by_the_rules().endswith(": holds.") and "| 3 |" in part.differences().splitlines()[-1]
    bare = PapersCell(made.real, cell().again, None, None)
    assert bare.longer() == "" and NOT_RECORDED in bare.made()


def test_words_that_other_machines_would_give_are_told():
    """From all twelve runs: a word that changes is named with its interval; from fewer nothing is said."""
    made = cell()
    for wrong, said in ((lambda c: WRONG[c.init, c.mixup], "The same runs on GPUs give the same words."), (lambda c: 20, "accuracy rises from one upstream set to the next larger one: +0.0 points (")):
        runs = [record(run.config, wrong(run.config)) for run in profile_runs(AGAIN["gpu"][1], [committed.SENSITIVITY]) if run.config.crop == 128]
        made.again["gpu"] = study(AGAIN["gpu"][1], runs)
        assert said in made.words_on_gpu() and "The same runs on GPUs: +" in made.by_the_rules()
    made.again["gpu"] = study(AGAIN["gpu"][1], runs[1:])
    assert NOT_RECORDED in made.words_on_gpu() and "on GPUs" not in made.by_the_rules()


def test_what_lies_beside_the_cell_is_about_the_same_runs(tmp_path):
    for name in ("bit", "bit-gpu", "bit-short"):
        shutil.copy(ROOT / "results" / f"{name}.parquet", tmp_path)
    shutil.copy(ROOT / "results" / "bit-short.json", tmp_path)
    found = PapersCell.read(tmp_path / "bit.parquet")
    assert found.pretraining and found.shorter and found.pretraining["sha256"] != found.shorter["sha256"]
    other = PapersCell.read(tmp_path / "bit-short.parquet")
    assert other.pretraining is None and NOT_RECORDED in other.made(), "the record is of other weights than these runs started from"
    shutil.copy(ROOT / "cxrlib" / "weights" / "bit-photo.json", tmp_path / "bit-short.json")
    assert PapersCell.read(tmp_path / "bit.parquet").shorter is None
    for content in ("", "[]", "{}", '{"settings": 1'):
        (tmp_path / "bit-short.json").write_text(content)
        with pytest.raises(ValueError, match=r"bit-short.json is .*; restore it with git checkout"):
            PapersCell.read(tmp_path / "bit.parquet")
    (tmp_path / "bit-short.json").unlink()
    records = read_table(tmp_path / "bit-gpu.parquet")
    keys = [content_key(record.config, "f" * 64, record.initialisation["sha256"], normalisation={}) for record in records]
    moved = [record.model_copy(update={"key": key, "data": record.data | {"fingerprint": "f" * 64}}) for key, record in zip(keys, records, strict=True)]
    write_table(moved, tmp_path / "bit-gpu.parquet")
    with pytest.raises(ValueError, match=r"bit-gpu.parquet is about other images than .*bit.parquet"):
        PapersCell.read(tmp_path / "bit.parquet")
    with pytest.raises(ValueError, match="is a folder; name a table of runs"):
        PapersCell.read(tmp_path)
    (tmp_path / "bit-gpu.parquet").unlink()
    (tmp_path / "bit-gpu.parquet").mkdir()
    with pytest.raises(ValueError, match=r"bit-gpu.parquet is no file; move it away"):
        PapersCell.read(tmp_path / "bit.parquet")


def again_from(record: Record, digest: str) -> Record:
    """The record as it would be from other initial weights."""
    key = content_key(record.config, record.data["fingerprint"], digest, normalisation={})
    return record.model_copy(update={"key": key, "initialisation": record.initialisation | {"sha256": digest}})


@pytest.mark.parametrize("which", ["all", "one size", "float32"])
def test_a_table_beside_the_cell_from_another_pretraining_is_refused(tmp_path, which):
    shutil.copy(ROOT / "results" / "bit.parquet", tmp_path)
    moved = {"all": lambda c: True, "one size": lambda c: c["crop"] == 224, "float32": lambda c: c["precision"] == "fp32"}[which]
    records = read_table(ROOT / "results" / "bit-gpu.parquet")
    assert [record.key for record in records if record.config["init"] == "bit-photo"]
    write_table([again_from(r, "e" * 64) if r.config["init"] == "bit-photo" and moved(r.config) else r for r in records], tmp_path / "bit-gpu.parquet")
    with pytest.raises(ValueError, match=r"bit-gpu.parquet holds runs from other weights of 'bit-photo' than .*bit.parquet, or from several; move it away"):
        PapersCell.read(tmp_path / "bit.parquet")


def test_runs_of_a_processor_do_not_pass_for_those_of_a_gpu(tmp_path):
    for name in ("bit", "bit-gpu"):
        shutil.copy(ROOT / "results" / "bit.parquet", tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"bit-gpu.parquet holds run \w+, which was made on a processor; keep runs of a GPU there"):
        PapersCell.read(tmp_path / "bit.parquet")


def test_runs_on_other_images_are_not_compared():
    made = cell()
    first = made.again["gpu"].runs.records[0]
    shuffled = first.model_copy(update={"predictions": {name: values[::-1] for name, values in first.predictions.items()}})
    made.again["gpu"] = study(AGAIN["gpu"][1], [shuffled, *made.again["gpu"].runs.records[1:]])
    with pytest.raises(ValueError, match="of other test images, or have them in another order"):
        made.otherwise()


def test_the_tables_that_are_read_with_the_cell_are_known_to_the_book():
    """To its stamps, to the values that it glues and to what it tells of an execution."""
    named = read_with(Sensitivity, "cell", Path("results/bit.parquet"))
    assert set(named) == {Path("results/bit.parquet"), Path("results/bit-short.json"), *(papers_cell.beside(Path("results/bit.parquet"), name) for name in AGAIN)}
    assert set(profiles_of(Sensitivity)) == {PROFILE, *(profile for _, profile in AGAIN.values())}
    assert read_with(Sensitivity, "results", Path("a/b.parquet")) == [Path("a/b.parquet")] == read_with(Sensitivity, "nothing", Path("a/b.parquet"))
    assert read_with(Sensitivity, "cell", Path("x/b[1]*.parquet"))[1] == Path("x/b[1]*-fp32.parquet")


def test_the_committed_runs_are_pairs_of_the_cell():
    committed_cell = PapersCell.read(ROOT / "results" / "bit.parquet")
    records = committed_cell.records
    assert records and {record.config["precision"] for record in records} == {"bf16"} and {record.data["name"] for record in records} == {"covidx-mini"}
    weights = {record.initialisation["sha256"] for record in records if pairs.setting(record)["init"] == papers_cell.BIT_PHOTO}
    assert weights == {committed_cell.pretraining["sha256"]}
    longer, shorter = committed_cell.pretraining["sha256"], committed_cell.shorter["sha256"]
    for again, starts, runs in (("fp32", {None}, 3), ("gpu", {None, longer}, 12), ("short", {shorter}, 6)):
        first, second = committed_cell.remade(again)
        assert len(first) == runs and {record.initialisation["sha256"] for record in second} == starts, "every run made otherwise has its partner"
    lent = {record.machine["device"] for again in ("gpu", "gpu-fp32") for record in committed_cell.again[again].runs.records}
    assert lent and all("NVIDIA" in device for device in lent) and not lent & {record.machine["device"] for record in records}
    assert committed_cell.pretraining["device"] in lent
    found = two_sizes.TwoSizes.on_gpu(committed_cell)
    assert len(found.records) == 24 and len(found.precise()[0]) == 6 and NOT_RECORDED not in "".join((found.answer(), found.table(), found.differences(), found.method(), found.by_the_rules()))
