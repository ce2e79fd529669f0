"""The committed simulation of coverage: complete, inside the band, and what the page says of it."""

import json

import pytest
from common import ROOT

from cxrlib.metrics import coverage
from cxrlib.study import committed, thresholds
from cxrlib.study.comparisons import design_of_paper, family_size
from cxrlib.study.figures import real
from cxrlib.study.pages import certainty

TABLE = ROOT / "results" / "coverage.json"


@pytest.fixture(scope="module")
def table():
    return certainty.read(TABLE)


def test_every_cell_is_there_and_covers_93_to_97_percent(table):
    own = table[table["method"] == certainty.METHOD]
    for population in (certainty.ALL, certainty.FEW):
        part = own[own["population"] == population]
        cells = {(row.of, row.metric, row.seeds, row.spread) for row in part.itertuples()}
        assert cells == {(of, metric, seeds, spread) for of in ("value", "difference") for metric in coverage.METRICS for seeds in (3, 5) for spread in (0, 0.03, 0.05)}
        assert (part["repeats"] >= 4000).all()
        assert part["covered"].between(0.93, 0.97).all(), part[["of", "metric", "seeds", "spread", "covered"]].to_string()
    assert (table["below"] + table["above"] + table["covered"]).to_numpy() == pytest.approx(1)


def test_a_cell_is_simulated_again_and_comes_out_the_same(table, monkeypatch):
    """The least dear cell to the last study: what is committed is what the code gives."""
    monkeypatch.chdir(ROOT)
    by_init = certainty.simulated_runs(ROOT / "results" / "quarter.parquet").by_init(committed.PERFORMANCE)
    last, first = (thresholds.scores(list(by_init.values())[place]) for place in (-1, 0))
    whole = coverage.population([last.logits, first.logits], last.labels, last.patients)
    again = coverage.simulate(whole, metrics=("accuracy",), seeds=(3,), spreads=(0.05,), repeats=4000)
    wanted = table[(table["method"] == certainty.METHOD) & (table["population"] == certainty.ALL) & (table["metric"] == "accuracy")]
    wanted = wanted[(wanted["seeds"] == 3) & (wanted["spread"] == 0.05)].set_index("of")
    for row in again.itertuples():
        assert row.covered == pytest.approx(wanted.at[row.of, "covered"], abs=0.0006), "a tie may fall to the other side on another machine"
        assert row.width == pytest.approx(wanted.at[row.of, "width"], rel=1e-4)


def test_two_seeds_and_the_intervals_of_verdicts_are_simulated_too(table, monkeypatch):
    two, adjusted = (table[table["method"] == method] for method in (certainty.TWO_SEEDS, certainty.ADJUSTED))
    assert set(two["seeds"]) == {2} and set(adjusted["seeds"]) == {2, 3, 5} and len(two) == 18 and len(adjusted) == 54
    assert (adjusted["repeats"] >= 8000).all() and (adjusted["covered"] > 0.985).all() and (adjusted.loc[adjusted["seeds"] > 2, "covered"] > 0.99).all()
    said = certainty.texts(table)
    assert said["coverage_two"] == f"{100 * two['covered'].min():.1f} to {100 * two['covered'].max():.1f} %"
    few, usual = (part["covered"] for part in (adjusted[adjusted["seeds"] == 2], adjusted[adjusted["seeds"] > 2]))
    assert said["coverage_adjusted"] == (
        f"{100 * usual.min():.2f} to {100 * usual.max():.2f} % of studies with three and five seeds, and in {100 * few.min():.2f} to {100 * few.max():.2f} % with two"
    )
    assert said["coverage_wanted"] == f"{100 - 5 / family_size(design_of_paper()):.2f}"
    assert said["coverage_misses"] == f"{(1 - usual.min()) * family_size(design_of_paper()) / 0.05:.1f} times"
    low = table[(table["method"] == certainty.METHOD) & (table["population"] == certainty.ALL) & (table["metric"] == "auc") & (table["of"] == "difference") & (table["seeds"] == 5)]
    assert said["coverage_low"].startswith(f"{100 * low['covered'].min():.1f} to {100 * low['covered'].max():.1f} % for differences in AUC")
    assert low["covered"].min() == table[(table["method"] == certainty.METHOD) & (table["population"] == certainty.ALL)]["covered"].min(), "the page says that it is least there"
    monkeypatch.chdir(ROOT)
    by_init = certainty.simulated_runs(ROOT / "results" / "quarter.parquet").by_init(committed.PERFORMANCE)
    last, first = (thresholds.scores(list(by_init.values())[place]) for place in (-1, 0))
    whole = coverage.population([last.logits, first.logits], last.labels, last.patients)
    for row in coverage.simulate(whole, metrics=("accuracy",), seeds=(2,), spreads=(0.05,), repeats=4000).itertuples():
        wanted = two[(two["metric"] == "accuracy") & (two["spread"] == 0.05) & (two["of"] == row.of)].iloc[0]
        assert row.covered == pytest.approx(wanted["covered"], abs=0.0006) and row.width == pytest.approx(wanted["width"], rel=1e-4)


def test_the_page_says_what_the_table_holds(table, tmp_path):
    said = certainty.texts(table)
    own = table[(table["method"] == certainty.METHOD) & (table["population"] == certainty.ALL)]
    assert (said["coverage_least"], said["coverage_greatest"]) == (f"{100 * own['covered'].min():.1f}", f"{100 * own['covered'].max():.1f}")
    assert (said["coverage_cells"], said["coverage_repeats"]) == ("36", "4,000")
    none = certainty.read(tmp_path / "none.json")
    assert none.empty and certainty.texts(none)["coverage_least"] == "not recorded yet"
    assert real.coverage(none, "t").get_suptitle() == "t"
    (tmp_path / "bad.json").write_text(json.dumps({"rows": [{"a": 1}]}))
    with pytest.raises(ValueError, match="no table of coverage"):
        certainty.read(tmp_path / "bad.json")


def test_the_figure_draws_every_cell(table):
    figure = real.coverage(table, "t")
    drawn = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines if line.get_linestyle() == "None")
    assert drawn == (~table["method"].isin([certainty.TWO_SEEDS, certainty.ADJUSTED])).sum()
    assert 100 * table["covered"].min() > figure.axes[0].get_xlim()[0], "nothing lies off the axis"
