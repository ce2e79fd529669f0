"""Records and weights against themselves: one changed digit turns the audit red, also behind a checksum made anew."""

import shutil

import numpy as np
import pytest
from common import ROOT
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from cxrlib.evidence import audit
from cxrlib.evidence.verify import LUNGS
from cxrlib.experiment.record import read_table, write_table
from cxrlib.weights.source import WEIGHTS_FOLDER

TABLE = ROOT / "results" / "confounding.parquet"


def test_committed_records_and_shipped_weights_are_verified():
    checks = [*audit.records(ROOT / "results"), *audit.weights()]
    assert [check.note for check in checks if not check.verified] == []
    assert {check.record for check in checks} >= {"quarter.parquet", "upstream.parquet", "photo-m-1.json"}


def test_weights_without_a_record_are_held_against_their_checksum(tmp_path):
    for end in (".safetensors", ".sha256"):
        shutil.copy(LUNGS.with_suffix(end), tmp_path)
    copy = tmp_path / LUNGS.name
    assert audit.as_stated(LUNGS).verified and audit.as_stated(copy).verified
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert audit.as_stated(copy).verified is False and "git checkout" in audit.as_stated(copy).note
    copy.with_suffix(".sha256").unlink()
    assert "lungs.sha256 is missing" in audit.as_stated(copy).note
    copy.unlink()
    assert audit.as_stated(copy).verified is False


def test_metrics_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, logits = generator.integers(0, 2, 200), generator.normal(size=200).round(1)  # with ties
    found = audit.metrics(labels, logits)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert found["loss"] == pytest.approx(log_loss(labels, expit(logits)), abs=1e-12)
    assert found["accuracy"] == np.mean((expit(logits) > 0.5) == labels)


@pytest.fixture(scope="module")
def record():
    return read_table(TABLE)[0]


def changed(record, number, digits):
    predictions = {name: list(values) for name, values in record.predictions.items()}
    predictions["logit"][number] = float(digits(repr(predictions["logit"][number])))
    return record.model_copy(update={"predictions": predictions})


def next_digit(text):
    """The third significant digit, one more."""
    places = [place for place, letter in enumerate(text) if letter.isdigit() and text[: place + 1].strip("-0.")]
    place = places[2]
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def test_one_changed_digit_of_a_logit_contradicts_the_loss(record, tmp_path):
    number = record.predictions["split"].index("test")
    assert audit.faults_of(record) == []
    spoiled = changed(record, number, next_digit)
    assert any("test_loss" in fault for fault in audit.faults_of(spoiled))
    write_table([spoiled], tmp_path / "spoiled.parquet")  # with a checksum that fits
    (check,) = audit.records(tmp_path)
    assert check.verified is False and record.key in check.note


def test_one_changed_digit_of_a_metric_or_a_setting_is_found(record):
    last = record.history[-1]
    for name in ("test_accuracy", "test_auc", "test_loss"):
        history = [*record.history[:-1], last | {name: float(next_digit(repr(last[name])))}]
        assert any(name in fault for fault in audit.faults_of(record.model_copy(update={"history": history})))
    assert audit.faults_of(record.model_copy(update={"config": record.config | {"base_lr": 0.06}})) == ["its key does not follow from its configuration"]


def test_one_changed_byte_of_a_table_is_found(tmp_path):
    content = bytearray(TABLE.read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "confounding.parquet").write_bytes(content)
    (check,) = audit.records(tmp_path)
    assert check.verified is False and check.note


def test_a_table_without_a_readable_head_and_one_without_records_are_found(tmp_path):
    (tmp_path / "a.parquet").write_bytes(TABLE.read_bytes()[:1000])
    write_table([], tmp_path / "b.parquet")
    assert [check.verified for check in audit.records(tmp_path)] == [False, False]


@pytest.mark.parametrize("suffix", [".safetensors", ".sha256", ".json"])
def test_one_changed_digit_of_a_shipped_weight_or_its_digest_is_found(suffix, tmp_path):
    for end in (".safetensors", ".json", ".sha256"):
        shutil.copy(WEIGHTS_FOLDER / f"photo-s-0{end}", tmp_path)
    (check,) = audit.weights(tmp_path)
    assert check.verified
    path = tmp_path / f"photo-s-0{suffix}"
    content = bytearray(path.read_bytes())
    # The last byte of a weight; the first digit of the digest; in the record a digit of the digest at its end.
    place = len(content) - 1 if suffix == ".safetensors" else 0 if suffix == ".sha256" else content.rindex(b'"', 0, content.rindex(b'"')) + 1
    content[place] = ord("1") if content[place] == ord("0") else ord("0")
    path.write_bytes(content)
    (check,) = audit.weights(tmp_path)
    assert check.verified is False and "git checkout" in check.note
