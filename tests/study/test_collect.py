"""Completing a committed table: only what is missing is run, the table grows, and nothing that it has is lost."""

import pytest
from common import ROOT
from typer.testing import CliRunner

from cxrlib.cli.main import app
from cxrlib.config import ParameterError, RunConfig
from cxrlib.experiment import record_tables
from cxrlib.experiment.record import all_records, content_key, save_without_weights
from cxrlib.experiment.sweep import RunsFailedError
from cxrlib.study import collect, plan
from cxrlib.study.committed import DATA_SIZE, PERFORMANCE
from cxrlib.weights.source import Initialisation


@pytest.fixture
def small(monkeypatch, tmp_path, one_run):
    """A table of two runs of a second each, one of them in two notebooks."""
    runs = []

    def profile_runs(profile, only, **overrides):
        assert profile == "small"
        made = [RunConfig(**one_run | overrides | {"seed": seed}) for seed in (0, 1)]
        runs[:] = made
        asked = [plan.PlannedRun(made[0], (PERFORMANCE, DATA_SIZE)), plan.PlannedRun(made[1], (DATA_SIZE,))]
        return [run for run in asked if set(run.studies) & set(only)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collect, "profile_runs", profile_runs)
    monkeypatch.setitem(collect.TABLES, "small", (PERFORMANCE, DATA_SIZE))
    return one_run["data"]


def test_a_table_grows_by_what_is_missing(small, tmp_path, capfd):
    assert collect.collect("small", small, [PERFORMANCE], workers=1) == (0, 1)
    (first,) = record_tables.read_table(tmp_path / "results" / "small.parquet")
    for path in (tmp_path / ".cache" / "small").glob("*/*"):
        path.unlink()
    capfd.readouterr()
    assert collect.collect("small", small, workers=1) == (1, 2)
    assert "2 runs: 1 recorded, 1 to do" in capfd.readouterr().err
    found = record_tables.read_table(tmp_path / "results" / "small.parquet")
    assert first in found
    assert {record.config["seed"] for record in found} == {0, 1}
    assert collect.collect("small", small, workers=1) == (2, 2)


def test_a_table_from_other_weights_is_not_mixed_with_runs_from_those_here(small, tmp_path, monkeypatch):
    collect.collect("small", small, [PERFORMANCE], workers=1)
    before = (tmp_path / "results" / "small.parquet").read_bytes()
    monkeypatch.setattr(collect, "resolve_initialisation", lambda *_, **__: Initialisation("random", None, "f" * 64))
    with pytest.raises(ParameterError, match=r"small.parquet holds runs from 'random' .*; put the old weights back, or move .*small.parquet and .cache/small away"):
        collect.collect("small", small, workers=1)
    assert (tmp_path / "results" / "small.parquet").read_bytes() == before


def test_a_complete_table_needs_no_weights(small, tmp_path, monkeypatch, capfd):
    """As where the weights of a table do not ship: what is recorded stays, and only what is missing asks for them."""
    from cxrlib.weights.source import WeightsError

    collect.collect("small", small, [PERFORMANCE], workers=1)
    before = record_tables.read_table(tmp_path / "results" / "small.parquet")

    def gone(*_, **__):
        raise WeightsError("not here")

    monkeypatch.setattr(collect, "resolve_initialisation", gone)
    monkeypatch.setattr("cxrlib.experiment.one_run.resolve_initialisation", gone)
    capfd.readouterr()
    assert collect.collect("small", small, [PERFORMANCE], workers=1) == (1, 1)
    assert "kept as recorded, since their initial weights are not here: 1 of 1 runs" in capfd.readouterr().err
    with pytest.raises(RunsFailedError, match="1 of 1 runs failed"):
        collect.collect("small", small, workers=1)
    assert record_tables.read_table(tmp_path / "results" / "small.parquet") == before
    monkeypatch.setattr(collect, "PROTOCOL_VERSION", 10**6)
    with pytest.raises(RunsFailedError, match="2 of 2 runs failed"):
        collect.collect("small", small, workers=1)


@pytest.mark.parametrize("table", [True, False])
def test_a_store_with_runs_from_other_weights_does_not_spoil_a_table(small, tmp_path, table):
    """As after another pretraining, or a new table over an old store."""
    collect.collect("small", small, workers=1)
    file, store = tmp_path / "results" / "small.parquet", tmp_path / ".cache" / "small"
    first = all_records(store)[0]
    key = content_key(first.config, first.data["fingerprint"], "e" * 64, normalisation={})
    save_without_weights(first.model_copy(update={"key": key, "initialisation": first.initialisation | {"sha256": "e" * 64}}), store)
    before = file.read_bytes()
    if not table:
        file.unlink()
    with pytest.raises(ParameterError, match=r"hold one run twice, .*, from other initial weights; move away what is older"):
        collect.collect("small", small, workers=1)
    assert file.read_bytes() == before if table else not file.exists()


def test_what_was_computed_is_written_though_a_run_fails(small, tmp_path, monkeypatch):
    def half(configs, workers):
        from cxrlib.experiment.sweep import run_all

        run_all(configs[:1], workers)
        raise RunsFailedError("the other one")

    monkeypatch.setattr(collect, "run_all", half)
    with pytest.raises(RunsFailedError):
        collect.collect("small", small, workers=1)
    assert len(record_tables.read_table(tmp_path / "results" / "small.parquet")) == 1


def test_a_damaged_table_is_not_written_over(small, tmp_path):
    collect.collect("small", small, [PERFORMANCE], workers=1)
    file = tmp_path / "results" / "small.parquet"
    (record,) = record_tables.read_table(file)
    record_tables.write_table([record.model_copy(update={"key": "0" * 20})], file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="damaged record"):
        collect.collect("small", small, workers=1)
    assert file.read_bytes() == before


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ParameterError, match="no table 'quart'; did you mean 'quarter'"):
        collect.chosen("quart")
    with pytest.raises(ParameterError, match="no study '04'; there are: 02_"):
        collect.chosen("quarter", ["04"])
    assert collect.chosen("quarter-lite", [DATA_SIZE]) == ()
    answer = CliRunner().invoke(app, ["results", "--data", str(tmp_path / "none"), "--table", "quarter"])
    assert answer.exit_code == 1
    assert "does not exist" in answer.output


@pytest.mark.parametrize("table", ["quarter", "quarter-lite", "quarter-validation"])
def test_every_table_has_a_profile_with_runs(table, monkeypatch):

    monkeypatch.chdir(ROOT)
    studies = {name for run in plan.profile_runs(table) for name in run.studies}
    assert set(collect.chosen(table)) <= studies
