"""The records behind a verdict are those that its comparison used."""

import contextlib

import pytest
from common import ROOT

from cxrlib.evidence import behind, glued
from cxrlib.evidence.check import as_json, table

ROWS = glued.read(ROOT)["values"]["09_real_xrays"]["verdicts"]["value"]


@pytest.fixture(scope="module")
def keys():
    with contextlib.chdir(ROOT):
        return behind.keys(ROOT / "results" / "quarter.parquet")


def test_every_comparison_of_runs_names_as_many_records_as_it_has_pairs(keys):
    """Two records a pair, three for the bend of three schedules, one where a value is tested and no difference."""
    for row in ROWS:
        found = keys.get((row["claim"], row["part"], row["compared"]), [])
        if row["claim"] == 9 or not row["pairs"]:
            assert not found
        else:
            assert len(found) in (row["pairs"], 2 * row["pairs"], 3 * row["pairs"]), row["compared"]
            assert len(set(found)) == len(found)


def test_the_records_of_a_comparison_differ_where_it_says_so(keys):
    from cxrlib.experiment.record import read_table

    records = {record.key: record for record in read_table(ROOT / "results" / "quarter.parquet")}
    chosen = [records[key] for key in keys[4, "mixup helps", "mixup against none"]]
    mixups = [record.config["mixup"] for record in chosen]
    assert mixups.count("off") == mixups.count("beta") == len(chosen) / 2
    sizes = {records[key].config["images_per_class"] for key in keys[8, "pretrained models beat random weights at every size", ROWS_OF_EIGHT[0]]}
    assert sizes == {32}


ROWS_OF_EIGHT = [row["compared"] for row in ROWS if row["claim"] == 8]


def test_rows_show_some_keys_and_programs_get_all(keys):
    import json

    again = [glued.Glued("09_real_xrays", "verdicts", json.dumps(ROWS), ())]
    checks = glued.compare(again, {"values": {"09_real_xrays": {"verdicts": {"value": ROWS, "from": ["results/quarter.parquet"]}}}}, keys)
    (mixup,) = [check for check in checks if check.claim.endswith("mixup against none")]
    assert f"{mixup.keys[0]}, {mixup.keys[1]} and {len(mixup.keys) - 2} more" in table([mixup])
    assert json.loads(as_json([mixup]))[0]["keys"] == list(mixup.keys) and json.loads(as_json([mixup]))[0]["word"] == "verified"
