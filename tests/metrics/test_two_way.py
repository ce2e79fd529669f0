"""The analytic inference: against statsmodels, against 100,000 bootstrap draws, against simulated truth, and its edges."""

import math

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cxrlib.metrics import coverage, operating, two_way
from cxrlib.metrics.two_way import Measured, analyse
from cxrlib.study import committed, thresholds
from cxrlib.study.pages import certainty

METRICS = ("accuracy", "npv", "auc")


@pytest.fixture(scope="module")
def runs():
    """Scores of the five seeds of Table 1 by initialisation, from the committed records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        found = certainty.simulated_runs(ROOT / "results" / "quarter.parquet").by_init(committed.PERFORMANCE)
    return {init: thresholds.scores(records) for init, records in found.items()}


def compared(runs, metric: str) -> np.ndarray:
    """Contributions to a difference between the initialisation with most upstream data and the one with none."""
    worse, better = list(runs)[0], list(runs)[-1]
    first, second = (operating.contributions(runs[init], metric) for init in (better, worse))
    return first - second


def squares(values: np.ndarray) -> np.ndarray:
    """Mean squares of runs, patients and rest by ordinary least squares in statsmodels."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    table = pd.DataFrame([(run, patient, value) for (run, patient), value in np.ndenumerate(values)], columns=["run", "patient", "value"])
    found = anova_lm(ols("value ~ C(run) + C(patient)", table).fit())
    return found["mean_sq"].loc[["C(run)", "C(patient)", "Residual"]].to_numpy()


# Agreement with other code


@pytest.mark.parametrize("metric", METRICS)
def test_the_error_is_that_of_statsmodels_analysis_of_variance(runs, metric):
    values = compared(runs, metric)[:, ::4]  # a quarter of the patients: its least squares have a column for each
    of_runs, of_patients, rest = squares(values)
    variance = (max(of_runs, rest) + max(of_patients, rest) - rest) / values.size
    assert analyse(values).error == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_the_error_is_that_of_a_mixed_model_with_crossed_effects():
    from statsmodels.regression.mixed_linear_model import MixedLM

    random = np.random.default_rng(5)
    values = 0.8 + 0.15 * random.normal(size=(5, 1)) + 0.3 * random.normal(size=(1, 40)) + 0.2 * random.normal(size=(5, 40))
    table = pd.DataFrame([(run, patient, value) for (run, patient), value in np.ndenumerate(values)], columns=["run", "patient", "value"])
    parts = {"run": "0 + C(run)", "patient": "0 + C(patient)"}
    fitted = MixedLM.from_formula("value ~ 1", table.assign(all=1), groups="all", vc_formula=parts, re_formula="0").fit()
    found = analyse(values)
    assert found.value == pytest.approx(fitted.params["Intercept"], abs=1e-6)
    assert found.error == pytest.approx(fitted.bse["Intercept"], rel=0.01)


@pytest.mark.parametrize("metric", METRICS)
def test_a_hundred_thousand_bootstrap_draws_agree(runs, metric):
    """A crossed bootstrap has the variance (MS_runs + MS_patients + MS_rest) / (S P): ours and the interaction twice more (Owen 2007)."""
    worse, better = list(runs)[0], list(runs)[-1]
    data = [runs[init] for init in (better, worse)]
    draws = crossed_bootstrap(data, metric, 100_000)
    found, rest = analyse(compared(runs, metric)), squares_of(compared(runs, metric))[2]
    assert rest > 0
    assert found.value == pytest.approx(draws.mean(), abs=0.003), "half a percentage point would be a bias"
    expected = math.sqrt(found.error**2 + 2 * rest / compared(runs, metric).size)
    assert draws.std() == pytest.approx(expected, rel=0.06)
    low, high = np.quantile(draws, [0.025, 0.975])
    estimate = found.estimate()
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.012), "within 1.2 points"


def squares_of(values: np.ndarray) -> tuple[float, float, float]:
    runs, patients = values.shape
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    of_runs, of_patients = patients * values.mean(axis=1).var(ddof=1), runs * values.mean(axis=0).var(ddof=1)
    return of_runs, of_patients, (rest**2).sum() / ((runs - 1) * (patients - 1))


def crossed_bootstrap(data, metric: str, resamples: int) -> np.ndarray:
    """Differences between two groups over resampled runs and patients, one of each fewer than there are (Rao & Wu 1988)."""
    random, (seeds, _), labels = np.random.default_rng(0), data[0].logits.shape, data[0].labels
    _, patient = np.unique(data[0].patients, return_inverse=True)
    count = patient.max() + 1

    def by_patient(values):
        return np.stack([np.bincount(patient, weights=row, minlength=count) for row in values])

    found = []
    for _ in range(resamples // 1000):
        run = random.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=1000) / (seeds - 1)
        people = random.multinomial(count - 1, np.full(count, 1 / count), size=1000).astype(float)
        drawn = []
        for group in data:
            called = group.logits > 0
            if metric == "auc":
                groups = np.eye(count)[patient]
                each = []
                for row in group.logits:
                    above = (row[labels == 1][:, None] > row[labels == 0][None]) + 0.5 * (row[labels == 1][:, None] == row[labels == 0][None])
                    wins = groups[labels == 1].T @ above @ groups[labels == 0]
                    each.append(((people @ wins) * people).sum(axis=1))
                pairs = (people @ groups[labels == 1].sum(axis=0)) * (people @ groups[labels == 0].sum(axis=0))
                drawn.append((run * np.stack(each, axis=1)).sum(axis=1) / pairs)
            else:
                top, bottom = (called == (labels == 1), np.ones_like(called)) if metric == "accuracy" else (~called & (labels == 0), ~called)
                drawn.append((run * (people @ by_patient(top).T) / (people @ by_patient(bottom).T)).sum(axis=1))
        found.append(drawn[0] - drawn[1])
    return np.concatenate(found)


# The statistics themselves


def test_contributions_have_the_metric_as_their_mean_and_add_up_over_a_patients_images():
    random = np.random.default_rng(0)
    logits, labels, patients = random.normal(size=(3, 60)).round(1), random.integers(2, size=60), random.integers(25, size=60)
    called = logits > 0
    assert two_way.area(logits, labels, patients).mean(axis=1) == pytest.approx([roc_auc_score(labels, row) for row in logits])
    assert two_way.share(called == labels, patients).mean(axis=1) == pytest.approx((called == labels).mean(axis=1))
    found = two_way.ratio(~called & (labels == 0), ~called, patients)
    assert found.shape == (3, len(np.unique(patients)))
    assert found.mean(axis=1) == pytest.approx((~called & (labels == 0)).sum(axis=1) / (~called).sum(axis=1))
    # One more image alike changes a patient's influence as the metric itself changes, to first order.
    heavy = np.r_[patients, np.repeat(patients[0], 1)]
    more = two_way.share(np.c_[called == labels, (called == labels)[:, 0]], heavy)
    assert more.mean(axis=1) == pytest.approx(((called == labels).sum(axis=1) + (called == labels)[:, 0]) / 61)


def test_an_auc_of_independent_images_has_delongs_error():
    from cxrlib.metrics.auc import delong_placements

    random = np.random.default_rng(1)
    labels = np.arange(400) % 2
    scores = random.normal(size=400) + labels
    below, above = delong_placements(labels, scores)
    delong = math.sqrt(below.var(ddof=1) / 200 + above.var(ddof=1) / 200)
    assert analyse(two_way.area(scores[None], labels)).error == pytest.approx(delong, rel=0.005)


def test_one_run_is_about_patients_alone_and_a_proportion_has_the_binomial_error():
    found = analyse(two_way.share(np.arange(400)[None] < 360))
    assert found.error == pytest.approx(math.sqrt(0.9 * 0.1 / 399))
    assert found.freedom == 399
    four = analyse(two_way.share(np.repeat(np.arange(100)[None] < 80, 4, axis=1), np.repeat(np.arange(100), 4)))
    assert four.error == pytest.approx(math.sqrt(0.8 * 0.2 / 99)), "four images of a patient are one observation"


def test_what_a_run_has_not_seen_is_left_out_and_pooled_ratios_weigh_runs_by_it():
    values = np.array([[1, 1, 0, np.nan], [0, np.nan, np.nan, np.nan], [np.nan] * 4])
    each, pooled = two_way.share(values), two_way.share(values, pooled=True)
    assert np.isnan(each[2]).all() and pooled[2] == pytest.approx(2 / 4)
    assert analyse(each).value == pytest.approx((2 / 3 + 0) / 2)
    assert analyse(pooled).value == pytest.approx(2 / 4)
    assert math.isnan(analyse(np.full((2, 3), np.nan)).value)
    assert np.isnan(two_way.area(np.array([[1.0, np.nan]]), np.array([1, 0]))).all(), "one class alone has no AUC"


def test_two_test_sets_without_common_patients_add_their_variances():
    random = np.random.default_rng(2)
    one, other = random.normal(size=(1, 50)), random.normal(size=(1, 80))
    found = analyse(two_way.less(one, other))
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert found.error == pytest.approx(math.sqrt(one.var(ddof=1) / 50 + other.var(ddof=1) / 80), rel=0.01)
    with pytest.raises(ValueError, match="give the same runs"):
        two_way.less(one, np.repeat(other, 2, axis=0))


def test_settings_of_a_seed_are_one_observation():
    random = np.random.default_rng(3)
    effect = random.normal(size=(3, 1))
    rows = np.concatenate([effect + 0.01 * random.normal(size=(3, 40)) for _ in range(6)])
    seeds = list(range(3)) * 6
    averaged, pretended = analyse(two_way.over_seeds(rows, seeds)), analyse(rows)
    assert averaged.value == pytest.approx(pretended.value)
    assert averaged.error > 2 * pretended.error
    assert averaged.freedom < 3


# From one distribution: interval, p-value, word


def test_interval_and_p_value_come_from_one_distribution():
    for made in (Measured(0.03, 0.012, 7.3), Measured(0.9, 0.03, 11, bounded=True), Measured(-0.2, 0.1, 2)):
        for at in (0.85, 0.93) if made.bounded else (0.0, 0.01):
            p = made.estimate(at=at).p_value
            edge = made.estimate(1 - p, at)
            assert min(abs(edge.low - at), abs(edge.high - at)) < 1e-9, "at the confidence 1 - p the interval ends at the hypothesis"
    below, above = Measured(0.5, 0.1, 5).one_sided(0.4)
    assert below + above == pytest.approx(1) and above < 0.5


def test_nothing_varies_and_nothing_is_known():
    same = analyse(np.zeros((3, 10))).estimate()
    assert (same, same.p_value) == (0, 1) and -same.low == same.high == pytest.approx(1 - 0.025**0.1)
    full = analyse(np.ones((3, 10))).estimate()
    assert full.high == 1 and full.low == pytest.approx(1 - 2 * (1 - 0.025**0.1)) and full.p_value == pytest.approx(2 * 0.5**10)
    share, exact = analyse(np.ones((3, 10)), bounded=True), binomtest(10, 10).proportion_ci(0.95, "exact")
    assert (share.estimate().low, share.estimate().high) == pytest.approx((exact.low, exact.high))
    assert share.one_sided(0.8) == (1.0, pytest.approx(binomtest(10, 10, 0.8, "greater").pvalue)) and share.one_sided(1.0) == (1.0, 1.0)
    assert analyse(np.ones((3, 10)), bounded=True, behind=4).estimate().low == pytest.approx(binomtest(4, 4).proportion_ci(0.95, "exact").low)
    for at in (0.1, 0.35, -0.2):  # interval and p-value agree
        level = 1 - 2 * min(analyse(np.zeros((2, 30))).one_sided(at))
        assert abs(at) == pytest.approx(analyse(np.zeros((2, 30))).estimate(level).high)
    alone = analyse(np.array([[0.3]])).estimate()
    assert math.isnan(alone.low) and math.isnan(alone.p_value)
    for wrong in (np.zeros(3), np.zeros((0, 3))):
        with pytest.raises(ValueError, match="shape"):
            analyse(wrong)
    with pytest.raises(ValueError, match="2 entries for 3 runs"):
        analyse(np.zeros((3, 4)), groups=["a", "b"])


def test_the_variance_is_floored_as_stated():
    random = np.random.default_rng(4)
    for scale in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values = scale[0] * random.normal(size=(4, 1)) + scale[1] * random.normal(size=(1, 30)) + random.normal(size=(4, 30))
        of_runs, of_patients, rest = squares_of(values)
        assert analyse(values).error ** 2 == pytest.approx((max(of_runs, rest) + max(of_patients, rest) - rest) / 120)


# Pretrainings as a source of variation


def test_pretrainings_that_differ_widen_the_interval_and_equal_ones_do_not():
    random = np.random.default_rng(6)
    groups = [0, 1, 2, 0, 1]
    people = random.normal(size=(1, 80))
    apart = np.array([-1.0, 0, 1])[groups][:, None] + 0.05 * random.normal(size=(5, 1)) + people + 0.1 * random.normal(size=(5, 80))
    assert analyse(apart, groups).error > 1.2 * analyse(apart).error
    assert analyse(apart, groups).freedom < analyse(apart).freedom
    assert analyse(apart, [0] * 5) == analyse(apart), "one pretraining is no source of variation that can be counted"
    assert analyse(apart, list("abcde")) == analyse(apart), "one run of each: the run is the pretraining"
    assert analyse(apart[:, ::-1], groups[::1]).error == pytest.approx(analyse(apart, groups).error)


def test_intervals_over_three_pretrainings_cover():
    random, groups, covered, plain = np.random.default_rng(7), [0, 1, 2, 0, 1], [], []
    for _ in range(1500):
        values = random.normal(size=3)[groups][:, None] + 0.5 * random.normal(size=(5, 1)) + 2 * random.normal(size=(1, 60)) + random.normal(size=(5, 60))
        for found, store in ((analyse(values, groups), covered), (analyse(values), plain)):
            estimate = found.estimate()
            store.append(estimate.low <= 0 <= estimate.high)
    assert 0.925 < np.mean(covered) < 0.98
    assert np.mean(plain) < np.mean(covered) - 0.02, "as if five pretrainings were there"


# Coverage


def test_intervals_cover_on_the_patients_of_the_records(runs):
    """A small version of results/coverage.json: 600 studies a cell, whose share has a standard error of 0.9 points."""
    worse, better = list(runs)[0], list(runs)[-1]
    whole = coverage.population([runs[init].logits for init in (better, worse)], runs[worse].labels, runs[worse].patients)
    table = coverage.simulate(whole, seeds=(3,), spreads=(0, 0.05), repeats=600, start=1)
    assert len(table) == 12
    assert table["covered"].between(0.92, 0.98).all(), table.to_string()
    assert 0.935 < table["covered"].mean() < 0.965
    assert (table["below"] + table["above"] + table["covered"]).to_numpy() == pytest.approx(1)
