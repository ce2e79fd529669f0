"""A sample of recorded runs, trained again."""

import pytest
from common import ROOT

from cxrlib.config import RunConfig
from cxrlib.evidence import retrain
from cxrlib.experiment.one_run import run
from cxrlib.experiment.record import write_table


@pytest.fixture
def recorded(one_run):
    return run(RunConfig.parse(one_run), progress=False)


def spoiled(record, **history):
    return record.model_copy(update={"history": [*record.history[:-1], record.history[-1] | history]})


def test_a_run_gives_the_same_answer_bit_for_bit(recorded, covidx_folder, tmp_path):
    write_table([recorded], tmp_path / "results" / "quarter.parquet")
    (check,) = retrain.again(retrain.real(tmp_path / "results", covidx_folder), tmp_path / "again")
    assert check.verified and "bit for bit" in check.claim and recorded.key in check.record


def test_another_answer_fails_and_a_close_one_says_that_it_is_not_the_same(recorded):
    auc = recorded.history[-1]["test_auc"]
    close = retrain.compare(spoiled(recorded, test_auc=auc - 0.01), recorded, "a run", "", "")
    assert close.verified and "not bit for bit" in close.claim
    far = retrain.compare(spoiled(recorded, test_auc=auc - 0.03), recorded, "a run", "", "")
    assert far.verified is False and "test AUC 0.0300" in far.note and "logits 0.0e+00 apart" in far.note


def test_one_logit_that_differs_is_not_bit_for_bit(recorded):
    predictions = {name: list(values) for name, values in recorded.predictions.items()}
    predictions["logit"][0] += 1e-7
    assert retrain.same_bits(recorded, recorded) and not retrain.same_bits(recorded.model_copy(update={"predictions": predictions}), recorded)


def test_other_images_are_not_checked_if_real_and_fail_if_computed(recorded, tmp_path, covidx_folder):
    from common import write_folder

    other = write_folder(tmp_path / "other", seed=1)
    for phantom, wanted in ((False, None), (True, False)):
        record = recorded.model_copy(update={"data": recorded.data | {"is_phantom": phantom}})
        (check,) = retrain.again([retrain.Sampled("quarter", record, lambda _: other)], tmp_path / "again")
        assert check.verified is wanted and "other images" in check.note


def test_the_sample_is_by_key_and_of_short_runs():
    sample = retrain.phantoms(ROOT / "results", runs=2)
    assert [each.table for each in sample] == ["confounding"] * 2 + ["upstream"] * 2
    assert all(each.record.data["is_phantom"] and each.record.wall_seconds <= retrain.LONGEST for each in sample)
    assert [each.record.key for each in sample[:2]] == sorted(each.record.key for each in sample[:2])
    real = retrain.real(ROOT / "results", ROOT)
    assert len(real) == 9 and not any(each.record.data["is_phantom"] for each in real)
