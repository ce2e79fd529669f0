"""Rates on a GPU, as the page on speed tells them: of a made result whose answer is known, and of the committed one."""

import html
import json

import pytest
from common import ROOT, script

from cxrlib.study.pages import gpu_speed
from cxrlib.study.verdicts import NOT_RECORDED

LAPTOP, BIT = "resnetv2_laptop", "resnetv2_50x1_bit"


def result(rates: dict[tuple[str, int, str], float]) -> dict:
    rows = [
        {"arch": arch, "crop": crop, "batch": 64, "way": way, "rate": {"median": rate, "low": rate / 2, "high": 2 * rate}} for (arch, crop, way), rate in rates.items()
    ]
    return {"made": "2026-01-02", "device": "NVIDIA X", "torch": "2.0", "cxrlib": "0.1.0", "rows": rows}


@pytest.fixture
def made() -> dict:
    rates = {(LAPTOP, 64, "trainer, fp32"): 4000, (LAPTOP, 128, "trainer, fp32"): 3900, (LAPTOP, 64, "trainer, bf16"): 3200, (LAPTOP, 128, "trainer, bf16"): 1000}
    rates |= {(BIT, 128, "trainer, fp32"): 1000, (BIT, 128, "trainer, bf16"): 1500, (BIT, 128, "trainer, bf16, compiled"): 1800, (BIT, 224, "trainer, fp32"): 500}
    return result(rates | {(BIT, 224, "resident, bf16, channels last, compiled"): 600, (BIT, 128, "resident, fp32"): 700})


def test_rates_are_told(made, tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(made))
    found = gpu_speed.read(path)
    assert found.model_dump() == made
    lines = html.unescape(gpu_speed.table(found)).splitlines()
    assert lines[2].startswith("| laptop network (ResNet-v2), 64 px | 4,000 (2,000 to 8,000) | 3,200 (1,600 to 6,400) | not measured |")
    assert lines[5].startswith("| BiT-R50x1, 224 px | 500 (250 to 1,000) | not measured | not measured | not measured | 600 (300 to 1,200) |") and len(lines) == 6
    said = html.unescape(gpu_speed.sentences(found))
    assert said.startswith("Measured on one NVIDIA X, nothing else on it, in batches of 64 (PyTorch 2.0, cxrlib 0.1.0, 2026-01-02).")
    assert "Times as fast: bfloat16 against float32, laptop network 0.26 to 0.80, BiT-R50x1 1.50; compiled against not, in bfloat16, BiT-R50x1 1.20. Larger" in said
    assert "at most 10 % more time an image: laptop network, from 64 to 128 px in float32. There" in said


def test_without_a_gpu_there_is_no_word_about_its_speed(tmp_path):
    assert gpu_speed.read(tmp_path / "gpu.json") is None
    assert gpu_speed.table(None) == NOT_RECORDED and gpu_speed.sentences(None) == f"Rates on a GPU: {NOT_RECORDED}."
    (tmp_path / "gpu.json").write_text(json.dumps(result({(LAPTOP, 64, "trainer, fp32"): 10})))
    bare = gpu_speed.sentences(gpu_speed.read(tmp_path / "gpu.json"))
    assert "as fast" not in bare and "Larger images" not in bare


DAMAGES = {
    "nothing": lambda made: None, "a list": lambda made: [made], "no rows": lambda made: made | {"rows": []}, "rows that are a text": lambda made: made | {"rows": ""},
    "no device": lambda made: made | {"device": ""}, "a number as device": lambda made: made | {"device": 1},
    "a rate of nothing": lambda made: _with(made, rate={"median": 0, "low": 0, "high": 1}), "a rate that is none": lambda made: _with(made, rate={"median": float("nan"), "low": 1, "high": 1}),
    "a rate without end": lambda made: _with(made, rate={"median": 1, "low": 1, "high": float("inf")}), "a tiny rate": lambda made: _with(made, rate={"median": 1, "low": 5e-324, "high": 2}),
    "a long rate": lambda made: _with(made, rate={"median": 10**400, "low": 1, "high": 10**400}), "a rate that is true": lambda made: _with(made, rate={"median": True, "low": True, "high": True}),
    "a rate as text": lambda made: _with(made, rate={"median": "1", "low": "1", "high": "1"}), "a median out of its range": lambda made: _with(made, rate={"median": 9, "low": 1, "high": 2}),
    "half a pixel": lambda made: _with(made, crop=64.5), "no pixel": lambda made: _with(made, crop=0), "a size as text": lambda made: _with(made, crop="64"), "a size that is true": lambda made: _with(made, crop=True),
    "a network that is a list": lambda made: _with(made, arch=["x"]), "no network": lambda made: _with(made, arch=None), "another batch": lambda made: _with(made, batch=8),
    "a row twice": lambda made: made | {"rows": [*made["rows"], made["rows"][0]]}, "unknown ways only": lambda made: made | {"rows": [made["rows"][0] | {"way": "by hand"}]},
}  # fmt: skip


def _with(made: dict, **values: object) -> dict:
    """The result with one row that is changed."""
    return made | {"rows": [made["rows"][0] | values, *made["rows"][1:]]}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_result_gets_a_sentence(made, tmp_path, damage):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(DAMAGES[damage](made)))
    with pytest.raises(ValueError, match=r"gpu.json is no result of a benchmark on a GPU \(.+\); python benchmarks/gpu.py writes one"):
        gpu_speed.read(path)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"{}", b'{"rows": 3', b"\x00" * 10])
def test_a_file_of_other_content_gets_a_sentence(tmp_path, content):
    (tmp_path / "gpu.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"gpu.json is no result of a benchmark on a GPU \(.+\); python benchmarks/gpu.py writes one"):
        gpu_speed.read(tmp_path / "gpu.json")


def test_a_folder_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="is no file; give what python benchmarks/gpu.py wrote"):
        gpu_speed.read(tmp_path)


def test_names_from_the_file_are_text(made, tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(_with(made | {"device": "<script>alert(1)</script>"}, arch="[x](javascript:1)")))
    found = gpu_speed.read(path)
    shown = gpu_speed.paragraph(found) + gpu_speed.table(found)
    assert "<script" not in shown and "](" not in shown and gpu_speed.sentences(found) in html.unescape(shown)
    path.write_text(json.dumps(made | {"rows": [*made["rows"], made["rows"][0] | {"arch": "unknown", "way": "by hand"}]}))
    assert "unknown" not in gpu_speed.table(gpu_speed.read(path)), "a network of which nothing is shown has no row"


def test_the_committed_rates_are_of_the_ways_that_are_shown():
    bench, found = script("benchmarks/gpu.py"), gpu_speed.read(ROOT / "results" / "gpu.json")
    assert set(gpu_speed.COLUMNS) < set(bench.WAYS) and {way for _, *both in gpu_speed.GAINS for way in both} <= set(gpu_speed.COLUMNS)
    cases = {(case["arch"], case["crop"]) for case in bench.CASES}
    measured = {(row.arch, row.crop, row.way) for row in found.rows}
    assert {(*case, way) for case in cases for way in gpu_speed.COLUMNS} - measured == {(*case, "resident, bf16, channels last, compiled") for case in cases if case[0] == BIT}
    assert gpu_speed.table(found).count("not measured") == 2 and "dirty" not in found.cxrlib
