"""What the book glues from committed records: stated, computed again, and red at one changed digit."""

import copy
import json
import re
import shutil

import pytest
from common import ROOT

from cxrlib.book.glue import glued_values
from cxrlib.evidence import glued
from cxrlib.evidence.check import counts

STATED = glued.read(ROOT)


def of(notebook):
    return {"files": STATED["files"], "values": {notebook: STATED["values"][notebook]}}


def wrong(checks):
    return [check for check in checks if not check.verified]


@pytest.mark.parametrize("notebook", STATED["values"])
def test_every_value_is_stated_as_it_is_computed(notebook):
    """If this fails you changed what the book says: read the rows, and if they are meant, run 'cxr verify --write'."""
    found = glued.recompute(ROOT, [notebook])
    assert wrong(glued.compare(found, of(notebook))) == []


def test_the_files_behind_the_values_are_the_stated_ones():
    assert wrong(glued.files_as_stated(STATED, ROOT)) == [], "if a table is meant to be new, run 'cxr verify --write'"


def test_every_notebook_with_values_from_records_is_stated():
    assert {"00_upstream", "06_shortcuts", "07_related_work", "08_speed", "09_real_xrays", "10_truth"} <= set(STATED["values"])
    assert sum(map(len, STATED["values"].values())) > 100
    assert {row["claim"] for row in STATED["values"]["09_real_xrays"]["verdicts"]["value"]} == set(range(1, 10))


@pytest.fixture(scope="module")
def speed():
    return glued.recompute(ROOT, ["08_speed"])


@pytest.mark.parametrize("name", ["reached", "folding"])
def test_one_changed_digit_of_a_stated_value_fails(speed, name):
    stated = copy.deepcopy(of("08_speed"))
    entry = stated["values"]["08_speed"][name]
    text = json.dumps(entry["value"])
    digit = next(letter for letter in text if letter.isdigit())
    entry["value"] = json.loads(text.replace(digit, str((int(digit) + 1) % 10 or 1), 1))
    (row,) = wrong(glued.compare(speed, stated))
    assert row.claim == f"08_speed::{name}" and "computed again" in row.note


def test_a_value_that_nobody_stated_or_nobody_glues_fails(speed):
    stated = copy.deepcopy(of("08_speed"))
    stated["values"]["08_speed"]["gone"] = stated["values"]["08_speed"].pop("pairs")
    assert {row.claim for row in wrong(glued.compare(speed, stated))} == {"08_speed::gone", "08_speed::pairs"}


def test_one_changed_word_or_digit_of_a_verdict_fails():
    rows = STATED["values"]["09_real_xrays"]["verdicts"]["value"]
    for field, value in (("word", "holds" if rows[3]["word"] != "holds" else "contradicted"), ("result", re.sub(r"\d", lambda found: str((int(found[0]) + 1) % 10), rows[3]["result"], count=1)), ("claim_word", "holds")):
        changed = copy.deepcopy(rows)
        assert changed[3][field] != value
        changed[3][field] = value
        again = [glued.Glued("09_real_xrays", "verdicts", json.dumps(rows), ())]
        stated = {"values": {"09_real_xrays": {"verdicts": {"value": changed, "from": []}}}}
        (row,) = wrong(glued.compare(again, stated))
        assert row.subject == "verdict" and field in row.note


def test_numbers_may_differ_by_the_stated_tolerance_and_no_more():
    assert glued.same(0.5, 0.5 * (1 + 1e-10)) and not glued.same(0.5, 0.5 * (1 + 1e-8))
    assert glued.same(float("nan"), float("nan"))
    assert not glued.same(3, 3.0000001) and not glued.same("3", 3)


def executed(path, values, profile="demo"):
    outputs = [{"output_type": "display_data", "metadata": {"scrapbook": {"name": name}}, "data": {"application/papermill.record/text/plain": text}} for name, text in values.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metadata": {"cxr": {"profile": profile, "data": "phantoms"}}, "cells": [{"outputs": outputs}]}))


def test_a_built_book_that_shows_another_value_fails(tmp_path):
    stated = of("08_speed")
    values = {name: repr(entry["value"]) for name, entry in stated["values"]["08_speed"].items()}
    executed(tmp_path / "08_speed.ipynb", values)
    assert wrong(glued.in_book(stated, tmp_path)) == [] and len(glued.in_book(stated, tmp_path)) == len(values) == 4
    executed(tmp_path / "08_speed.ipynb", values | {"pairs": repr(stated["values"]["08_speed"]["pairs"]["value"] + 1)})
    (row,) = wrong(glued.in_book(stated, tmp_path))
    assert row.claim == "08_speed::pairs in the built book"
    executed(tmp_path / "08_speed.ipynb", values, profile="tiny")  # not the default book: says nothing of what is stated
    assert glued.in_book(stated, tmp_path) == []


def test_executed_values_are_read_as_python_wrote_them(tmp_path):
    executed(tmp_path / "n.ipynb", {"a": "'9 nanometres (1)'", "b": "3", "c": "np.float64(0.25)", "d": "nan", "e": "0.1"})
    found = glued_values(tmp_path / "n.ipynb")
    assert found.pop("d") != found.get("d")
    assert found == {"a": "9 nanometres (1)", "b": 3, "c": 0.25, "e": 0.1}


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one page: that on speed, whose values come from results/bench.json."""
    for name in ("profiles", "results/bench.json", "notebooks/08_speed.ipynb", "CITATION.cff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_command_is_green_and_turns_red(checkout, monkeypatch):
    """From writing the values to the exit status, with one digit of the file behind them changed."""
    import yaml
    from typer.testing import CliRunner

    from cxrlib.cli.main import app

    monkeypatch.chdir(checkout)
    run = lambda *words: CliRunner().invoke(app, ["verify", *words])  # noqa: E731
    assert run("--write").exit_code == 0
    green = run("--runs", "0")
    assert green.exit_code == 0 and "08_speed::folding" in green.output and "0 failed" in green.output
    before = yaml.safe_load((checkout / "codecheck.yml").read_text())
    assert before["manifest"][0]["file"] == "results/glued.json" and before["version"].startswith("https://codecheck.org.uk/spec/config/1.0")
    assert before["paper"]["authors"] and before["cxrlib_verify"]["failed"] == [] and "codechecker" not in before
    path = checkout / "results" / "bench.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    red = run("--runs", "0", "--failed")
    assert red.exit_code == 1 and "SHA-256 here" in red.output
    assert yaml.safe_load((checkout / "codecheck.yml").read_text())["cxrlib_verify"]["failed"]


def test_counts_tell_what_was_not_checked():
    from cxrlib.evidence.check import Check

    rows = [Check("a", "x", "1", "r", value) for value in (True, True, False, None)]
    assert counts(rows) == {"a": {"verified": 2, "FAILED": 1, "not checked": 1}}


def test_a_value_names_the_tables_beside_its_own():
    """Those that a page reads without a parameter of their own, found by the name of the one that has it."""
    stated = json.loads((ROOT / "results" / "glued.json").read_text())
    cell = stated["values"]["02_hyperparameter_sensitivity"]["sizes_word"]["from"]
    assert cell == sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "results").glob("bit*")) and set(cell) <= set(stated["files"])
    assert stated["values"]["02_hyperparameter_sensitivity"]["recorded"]["from"] == ["results/quarter.parquet"]
