"""Verdicts on records made by hand, so that every answer is known, and on the committed ones, so that none is typed."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from common import ROOT
from scipy.stats import norm, t

from cxrlib import markup
from cxrlib.config import RunConfig
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables
from cxrlib.experiment.record import Record
from cxrlib.metrics import operating, proportions
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.two_way import Measured
from cxrlib.study import committed as recorded
from cxrlib.study import comparisons, pairs, paper, parts, selection, thresholds, verdicts
from cxrlib.study.claims import CLAIMS
from cxrlib.study.pages import heat as cam_energy
from cxrlib.study.parts import PARTS

TABLE = ROOT / "results" / "quarter.parquet"
SHORT, MIDDLE, LONG = (1, 10), (1, 100), (1, 200)
DESIGN = recorded.Design(
    inits=("random", "s", "m"),
    resolutions=((40, 32), (64, 56)),
    schedules=(SHORT, MIDDLE, LONG),
    mixups=("off", "beta"),
    sizes=(32, 64, 128),
    resolution=(64, 56),
    schedule=MIDDLE,
    mixup="beta",
)


def record(wrong: float, init="random", seed=0, resolution=(64, 56), images=200, swing=0.0, logits=None, **fields) -> Record:
    """A run that gets about a share ``wrong`` of positive images wrong, each seed others, and all negative ones right."""
    values = {"schedule": MIDDLE, "mixup": "beta", "resize": resolution[0], "crop": resolution[1]} | fields
    config = RunConfig(init=init, seed=seed, **values)
    labels = np.arange(images) % 2
    if logits is None:
        generator = np.random.default_rng([seed, config.crop, config.schedule[-1], len(init), config.images_per_class or 0])
        miss = (labels == 1) & (generator.permutation(images // 2).repeat(2) < round(wrong * images / 2))
        logits = np.where(labels == 1, 2.0, -2.0) * np.where(miss, -1, 1) + 0.01 * generator.normal(size=images)
    predictions = {"split": ["test"] * images, "file": [f"{i}.png" for i in range(images)], "patient_id": [f"p{i}" for i in range(images)]}
    predictions |= {"label": labels.tolist(), "logit": np.asarray(logits, dtype=float).tolist()}
    end = config.schedule[-1]
    history = [{"step": float(s), "test_accuracy": 0.8 + (swing if k % 2 else 0) + 0.001 * seed * k} for k, s in enumerate(np.linspace(1, end, 11))]
    return Record(
        key=f"{wrong}{config.identity()}", protocol_version=1, config=config.identity(), data={"name": "made", "fingerprint": "0"},
        initialisation={"name": init}, code_version="0", packages={}, machine={}, history=history, predictions=predictions, wall_seconds=1, weights_sha256="",
    )  # fmt: skip


def performance(wrong: dict[str, float], seeds=range(5), **fields) -> list[Record]:
    return [record(share, init, seed, **fields) for init, share in wrong.items() for seed in seeds]


FAMILY = comparisons.family_size(DESIGN)


def judge(made: list[Record], design=DESIGN, claims=range(1, 9)) -> dict[int, verdicts.Verdict]:
    rows = verdicts.verdicts(comparisons.compared(made, design, claims=claims), comparisons.family_size(design))
    return {row.number: row for row in rows}


def words(row: verdicts.Verdict) -> dict[str, set[str]]:
    """The words of each part."""
    found: dict[str, set[str]] = {}
    for answer in row.parts:
        found.setdefault(answer.part.says, set()).add(answer.word)
    return found


# Verdicts


def test_a_clear_order_holds_and_the_opposite_is_contradicted():
    up = judge(performance({"random": 0.6, "s": 0.3, "m": 0.02}))
    assert up[1].verdict == "holds"
    assert up[1].result.startswith("s against random weights: +15.0 points (")
    assert up[5].verdict == "holds", "no false positive, and sensitivity and NPV rise"
    down = judge(performance({"random": 0.02, "s": 0.3, "m": 0.6}))
    assert down[1].verdict == "contradicted"
    half = judge(performance({"random": 0.6, "s": 0.3, "m": 0.3}))[1]
    assert half.verdict == "mixed"
    assert verdicts.reasons(half) == (
        "holds: accuracy rises from one upstream set to the next larger one (s against random weights). "
        "not seen: accuracy rises from one upstream set to the next larger one (m against s)"
    )


def test_no_difference_is_not_seen():
    same = judge(performance({"random": 0.3, "s": 0.3, "m": 0.3}))
    assert same[1].verdict == "not seen" and verdicts.reasons(same[1]) == ""
    assert "p = 1.00" in same[1].result


def test_what_has_no_records_says_so_and_no_number_is_made_up():
    nothing = judge([])
    assert {row.verdict for row in nothing.values()} == {"not recorded yet"}
    assert all(not any(sign in row.result for sign in ("points", "p =")) for row in nothing.values())
    some = judge(performance({"random": 0.6, "s": 0.3}))
    assert some[1].verdict == "not recorded yet", "a claim of two parts needs both"
    assert "m against s: not recorded yet" in some[1].result


def test_one_false_positive_contradicts_none():
    made = performance({"random": 0.5, "s": 0.5, "m": 0.5})
    wrong = dict(made[3].predictions) | {"logit": [3.0, *made[3].predictions["logit"][1:]]}
    found = judge([*made[:3], made[3].model_copy(update={"predictions": wrong}), *made[4:]])
    facts = [answer.word for answer in found[5].parts if answer.part.measure == "false positives"]
    assert facts == ["contradicted", "holds", "holds"], "one image of one run, and only for its initialisation"
    assert found[5].verdict == judge(made)[5].verdict == "mixed"


def test_equal_aucs_hold_only_if_shown_to_be_equal_and_are_our_reading():
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2

    def made(strengths: dict[str, float], spread: float) -> list[Record]:
        shared = generator.normal(size=200)
        return [
            record(0, init, seed, logits=strength * (2 * labels - 1) + shared + spread * generator.normal(size=200))
            for init, strength in strengths.items()
            for seed in range(5)
        ]

    def alike(found) -> set[str]:
        return {answer.word for answer in found[6].parts if answer.part.ours}

    same = judge(made({"random": 1, "s": 1, "m": 1}, 0.01))
    assert alike(same) == {"holds"} and "for lying within the margins (two one-sided tests) p < 0.001" in same[6].parts[-1].result
    apart = judge(made({"random": 0.2, "s": 0.9, "m": 2}, 0.1))
    assert alike(apart) == {"contradicted"}
    assert alike(judge(made({"random": 0.5, "s": 0.5, "m": 0.5}, 1.5))) == {"not seen"}, "too noisy to call equal"
    assert apart[6].verdict == "mixed" or {answer.word for answer in apart[6].parts if not answer.part.ours} == {apart[6].verdict}, "ours decides nothing"


def test_a_good_auc_is_at_least_ninety_nine_percent():
    labels = np.arange(200) % 2
    noise = np.random.default_rng(0).normal(size=(5, 200))
    for strength, word in ((4.5, "holds"), (0.8, "contradicted")):
        rows = [record(0, init, seed, logits=strength * (2 * labels - 1) / 2 + noise[seed]) for init in DESIGN.inits for seed in range(5)]
        found = judge(rows)[6]
        assert {answer.word for answer in found.parts if not answer.part.ours} == {word} == {found.verdict}


def test_two_one_sided_tests_take_the_larger_p_and_agree_with_their_interval():
    part = next(part for part in PARTS if part.contrast == "every pair")
    for value in (0.0, 0.004, 0.0065, 0.0078, 0.012, 0.03):
        measured = Measured(value, 0.001, 12)
        (answer,) = verdicts.judge([comparisons.Compared(part, "x", measured, 5)], 10)
        by_hand = max(t.sf((value + 0.01) / 0.001, 12), t.cdf((value - 0.01) / 0.001, 12))
        assert answer.interval.p_value == pytest.approx(min(1, 10 * by_hand)), "the larger of the two, not twice that"
        assert (answer.word == "holds") == (10 * by_hand < 0.05)
        half = t.ppf(1 - 0.05 / 10, 12) * 0.001
        assert (answer.interval.low, answer.interval.high) == pytest.approx((value - half, value + half))


def grid(share) -> list[Record]:
    return [
        record(share(init, resolution, schedule, mixup), init, seed, resolution, schedule=schedule, mixup=mixup)
        for init in DESIGN.inits
        for resolution in DESIGN.resolutions
        for schedule in DESIGN.schedules
        for mixup in DESIGN.mixups
        for seed in range(3)
    ]


def test_the_grid_answers_claims_two_to_four():
    made = grid(lambda init, resolution, schedule, mixup: 0.1 + 0.3 * (resolution[1] == 32) + 0.3 * (schedule == SHORT) + 0.2 * (mixup == "off"))
    found = judge(made)
    assert [found[n].verdict for n in (2, 4)] == ["holds"] * 2
    assert [words(found[3])[part.says] for part in PARTS if part.claim == 3] == [{"holds"}, {"holds"}, {"not seen"}], "three seeds cannot show that little is little"
    assert "100 steps against 10 steps: +15.0 points" in found[3].result
    assert "gain up to 100 steps less the gain after: +15.0 points" in found[3].result
    assert len(found[4].parts) == 3, "mixup against both pretrained models"
    steady = judge(grid(lambda init, resolution, schedule, mixup: 0.9 - 0.3 * DESIGN.schedules.index(schedule)))[3]
    assert steady.verdict == "mixed", "it helps, but the gain does not fade"
    assert words(steady)["the second lengthening gains little"] == {"contradicted"}
    assert "contradicted: the second lengthening gains little" in verdicts.reasons(steady)
    assert words(steady)["the first lengthening gains more than the second"] == {"not seen"}


def test_settings_that_share_a_seed_are_no_independent_runs():
    """The grid of three seeds has three observations of a seed's luck, not three times the number of settings."""
    lucky = {0: 0.1, 1: 0.3, 2: 0.5}
    made = [
        record(lucky[seed] if mixup == "beta" else 0.3, init, seed, resolution, schedule=schedule, mixup=mixup)
        for init in DESIGN.inits for resolution in DESIGN.resolutions for schedule in DESIGN.schedules for mixup in DESIGN.mixups for seed in range(3)
    ]  # fmt: skip
    (mixup, *_) = judge(made)[4].parts
    assert mixup.compared.pairs == 54
    assert mixup.compared.measured.freedom < 3
    assert mixup.word == "not seen"


def test_few_images_and_steadiness():
    sizes = [record(0.2 if init == "m" else 0.5, init, seed, images_per_class=size) for init in DESIGN.inits for size in DESIGN.sizes for seed in range(5)]
    found = judge(sizes)
    assert found[8].verdict == "mixed"
    assert found[8].result.count("points") == 7, "both pretrained models at three sizes, and the peak at 64"
    assert "COVID-Net is not trained here (cannot be tested here)" in found[8].result
    calm = [record(0.3, init, seed, swing=0.1 if init == "random" else 0.02 * (1 + 0.1 * seed)) for init in DESIGN.inits for seed in range(5)]
    assert judge(calm)[7].verdict == "holds"
    assert judge(calm[::5])[7].verdict == "cannot be tested here", "one seed has no spread"
    begun = verdicts.verdicts(comparisons.compared(calm[::5], DESIGN, claims=(7,)), FAMILY, {recorded.PERFORMANCE: (3, 15)})
    assert begun[0].verdict == "not recorded yet", "the other seeds are still to come"
    whole = verdicts.verdicts(comparisons.compared(calm[::5], DESIGN, claims=(7,)), FAMILY, {recorded.PERFORMANCE: (3, 3)})
    assert whole[0].verdict == "cannot be tested here"


@pytest.mark.parametrize("missing", [SHORT, MIDDLE, LONG])
def test_the_bend_takes_three_runs_that_belong_together(missing):
    """A run that is missing leaves its seed out; the runs after it were taken for others."""
    lengths = {SHORT: 0.8, MIDDLE: 0.6, LONG: 0.5}
    made = [record(share - 0.1 * seed, "m", seed, schedule=schedule) for seed in range(4) for schedule, share in lengths.items()]
    bent = comparisons.Arms("bend", {"schedule": MIDDLE}, {"schedule": SHORT, "longer": LONG})
    value, pairs_of_runs = comparisons.measure([one for one in made if (one.config["seed"], tuple(one.config["schedule"])) != (0, missing)], bent, "accuracy", 0.5)
    alone, _ = comparisons.measure([one for one in made if one.config["seed"]], bent, "accuracy", 0.5)
    assert pairs_of_runs == 3 and value == alone and value.value == pytest.approx(0.05)


def test_runs_without_any_spread_decide_nothing_by_themselves():
    """Six images ranked perfectly by two runs had an AUC of at least 99 %, p < 0.001."""
    few = [record(0.0, init, seed, images=6) for init in DESIGN.inits for seed in range(2)]
    found = judge(few)
    assert {answer.word for answer in found[6].parts if answer.part.measure == "auc"} == {"cannot be tested here"}
    some = [record(0.0, init, seed, images=60) for init in DESIGN.inits for seed in range(2)]
    assert {answer.word for answer in judge(some)[6].parts if answer.part.measure == "auc"} == {"not seen"}
    apart = [record(0, init, seed, images=4, logits=[-2, 2, -2, 2] if init == "m" else [2, -2, 2, -2]) for init in DESIGN.inits for seed in range(2)]
    assert all(answer.word != "holds" for row in judge(apart).values() for answer in row.parts if answer.part.measure != "false positives")
    many = [record(0.0, init, seed, images=8000) for init in DESIGN.inits for seed in range(2)]
    assert {answer.word for answer in judge(many)[6].parts if answer.part.measure == "auc"} == {"holds"}, "4,000 patients of each class do"


def test_a_word_and_its_interval_never_disagree(committed):
    found = verdicts.judge(comparisons.compared(committed.of_paper()[0], recorded.Design.of_profile("quarter")), FAMILY)
    assert len(found) > 35
    for answer in found:
        if answer.compared.settled or answer.interval is None:
            continue
        low, high = answer.part.low, answer.part.high
        inside, outside = low < answer.interval.low and answer.interval.high < high, answer.interval.high < low or high < answer.interval.low
        assert answer.word == ("holds" if inside else "contradicted" if outside else "not seen")
        if answer.part.contrast != "every pair":
            assert (answer.interval.p_value < 0.05) == (answer.word != "not seen")
        assert 0 <= answer.interval.p_value <= 1


def test_the_family_is_known_before_any_result():
    assert comparisons.family_size(comparisons.design_of_paper()) == 36
    assert comparisons.family_size(replace(DESIGN, resolutions=((64, 56),), sizes=())) == 36, "a smaller study is adjusted for as many"
    assert comparisons.family_size(replace(comparisons.design_of_paper(), sizes=(32, 64, 128, 256, 512, 1024))) == 38
    narrow = comparisons.Compared(PARTS[0], "a", Measured(0.02, 0.009, 100), 5)
    assert verdicts.judge([narrow], 1)[0].word == "holds"
    (among,) = verdicts.judge([narrow], 3)
    assert among.word == "not seen" and among.interval.p_value == pytest.approx(3 * narrow.measured.estimate().p_value)


def test_an_axis_of_one_value_cannot_be_tested():
    assert judge([], replace(DESIGN, resolutions=((64, 56),)))[2].verdict == "cannot be tested here"
    assert judge([], replace(DESIGN, mixups=("beta",)))[4].verdict == "cannot be tested here"


def test_nine_rows_in_order_and_provisional_where_runs_are_missing():
    made = performance({"random": 0.6, "s": 0.3, "m": 0.02})
    rows = verdicts.verdicts(comparisons.compared(made, DESIGN), FAMILY, {recorded.PERFORMANCE: (15, 20)})
    assert [row.number for row in rows] == [claim.number for claim in CLAIMS] == list(range(1, 10))
    assert rows[0].result.startswith("provisional, 15 of 20 runs: ")
    assert rows[8].verdict == "not recorded yet"


# Parts


def test_every_part_of_every_claim_has_a_row_whatever_the_design():
    assert {part.claim for part in PARTS} == {claim.number for claim in CLAIMS}
    small = replace(DESIGN, inits=("random",), resolutions=((64, 56),), schedules=(MIDDLE,), mixups=("beta",), sizes=())
    for design in (DESIGN, small, comparisons.design_of_paper()):
        table = verdicts.table(verdicts.verdicts(comparisons.compared([], design), FAMILY))
        assert list(dict.fromkeys((row["claim"], row["part"]) for row in table)) == [(part.claim, part.says) for part in PARTS]
    for part in PARTS:
        assert part.contrast in comparisons.CONTRASTS
        assert part.low < part.high


def test_a_parts_words_stand_in_the_paper():
    text = ROOT.parent / "shared" / "paper" / "paper.md"
    if not text.is_file():
        pytest.skip("the paper's text is not beside this checkout")
    said = " ".join(text.read_text(encoding="utf-8").split())
    for part in PARTS:
        assert part.ours or part.words in said, part.words


def test_names_of_either_upstream_are_looked_up_in_one_place():
    for small, large in (("fractal-s", "fractal-m"), ("photo-s", "photo-m"), ("bit-s", "bit-m")):
        design = replace(DESIGN, inits=("random", small, large))
        names = [arms.name for _, arms in comparisons.planned(design, (1,))]
        assert names == [f"{parts.named(small)} against random weights", f"{parts.named(large)} against {parts.named(small)}"]
    assert (parts.upstream("photo-s-1"), parts.upstream("photo-60"), parts.upstream("mine")) == ("photo-s", "photo-60", "mine")
    made = [record(0.3, f"photo-s-{seed % 3}", seed) for seed in range(5)] + [record(0.3, "random", seed) for seed in range(5)]
    assert len(pairs.partners(made, {"init": "photo-s"}, {"init": "random"})[0]) == 5


def test_three_pretrainings_are_a_source_of_variation_of_their_own():
    lucky = (0.1, 0.3, 0.5)

    def made(weights) -> list[Record]:
        runs = [record(lucky[seed % 3], f"photo-s-{seed % 3}", seed) for seed in range(5)]
        runs = [run.model_copy(update={"initialisation": run.initialisation | {"sha256": weights(seed)}}) for seed, run in enumerate(runs)]
        return runs + performance({"random": 0.3})

    design = replace(DESIGN, inits=("random", "photo-s", "photo-m"))
    nested, single = (judge(made(weights), design)[1].parts[0].compared.measured for weights in (lambda seed: f"w{seed % 3}", lambda seed: "w"))
    assert nested.value == pytest.approx(single.value)
    assert nested.error > 1.2 * single.error and nested.freedom < single.freedom


def test_the_words_are_explained_and_the_changes_dated():
    assert set(verdicts.VERBS) == set(verdicts.MEANING)
    for change in parts.CHANGES:
        assert date.fromisoformat(change.date) and change.rule and change.reason
    assert [change.date for change in parts.CHANGES] == sorted(change.date for change in parts.CHANGES)


def test_a_table_shows_every_comparison_with_its_words():
    rows = list(judge(performance({"random": 0.6, "s": 0.3, "m": 0.02}), claims=range(1, 10)).values())
    shown = verdicts.markdown(rows)
    for answer in (answer for row in rows for answer in row.parts):
        assert markup.text(answer.compared.name) in shown
        assert markup.text(answer.part.words) in shown
    assert shown.count("our reading") >= 2


# The paper's numbers


def test_intervals_of_published_counts_agree_with_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

    for a, b in (((186, 200), (171, 200)), ((386, 400), (385, 400)), ((200, 200), (200, 200))):
        ours = proportions.newcombe(*a, *b)
        assert (ours.low, ours.high) == pytest.approx(confint_proportions_2indep(*a, *b, method="newcomb"), abs=1e-9)
    evidence = verdicts.paper_evidence()
    for name, row in paper.TABLE_1.items():
        if row.ours:
            low, high = proportion_confint(row.counts.tp + row.counts.tn, 400, method="wilson")
            assert f"{name} {row.accuracy:.1f} ({100 * low:.1f} to {100 * high:.1f}) %" in evidence[1]
            low, high = proportion_confint(row.counts.tp, 200, method="wilson")
            assert f"{name} {row.sensitivity:.1f} ({100 * low:.1f} to {100 * high:.1f}) %" in evidence[5]


def test_bounds_of_mcnemar_cover_every_overlap():
    from scipy.stats import binomtest

    assert proportions.mcnemar_bounds(386, 385, 400) == (1.0, 1.0), "no overlap of errors makes one image a difference"
    low, high = proportions.mcnemar_bounds(386, 371, 400)
    assert low == pytest.approx(binomtest(15, 15).pvalue)
    assert high == pytest.approx(binomtest(29, 43).pvalue)


def test_sample_sizes_agree_with_other_formulas():
    a, b, z = 0.965, 0.9625, norm.ppf(0.975) + norm.ppf(0.8)
    mean = (a + b) / 2
    assert proportions.images_independent(a, b) == pytest.approx(2 * mean * (1 - mean) * z**2 / (a - b) ** 2, rel=0.01)
    for share in (0.01, 0.02, 0.07):
        n = proportions.images_paired(a, b, share)
        # Power of the normal approximation to McNemar's test at that size.
        gap = a - b
        power = norm.cdf((gap * math.sqrt(n) - norm.ppf(0.975) * math.sqrt(share)) / math.sqrt(share - gap**2))
        assert power == pytest.approx(0.8, abs=0.001)
    with pytest.raises(ValueError, match="between the difference"):
        proportions.images_paired(a, b, 0.001)


def test_the_summary_counts_every_verdict_once():
    given = ["mixed", "not seen", "holds", "mixed", "contradicted", verdicts.CANNOT]
    rows = [verdicts.Verdict(number, "", "", (), verdict) for number, verdict in enumerate(given, 1)]
    assert verdicts.summary(rows) == "of 6 claims, 1 holds (3), 2 are mixed (1, 4), 1 is not seen (2), 1 is contradicted (5), 1 cannot be tested here (6)"


# Choosing on the test set


def test_choosing_among_equals_is_optimistic_and_one_clear_best_is_not():
    equal = [record(0.3, "random", seed, (16 + 2 * k, 16 + k)) for k in range(12) for seed in range(2)]
    found = selection.optimism(equal, repeats=50)
    assert found.cells == 12
    assert found.gain.low > 0
    clear = [record(0.6, "random", seed, (16 + 2 * k, 16 + k)) for k in range(4) for seed in range(2)] + [record(0.0, "m", seed) for seed in range(2)]
    assert selection.optimism(clear, repeats=50).gain == pytest.approx(0, abs=1e-9)
    assert selection.optimism(clear[-2:]) is None


def test_selection_on_validation_stands_beside_selection_on_test():
    trials = record_tables.read_table(ROOT / "results" / "upstream.parquet")
    table = selection.by_validation(trials, ("base_lr",))
    assert len(table) > 0
    assert (table["its test accuracy"] <= table["its test accuracy there"]).all()
    assert selection.by_validation([record(0.1)]).empty


def held_out(on_validation: float, on_test: float, seed: int, **fields) -> Record:
    """A run with other shares of errors on validation images than on test images."""
    made = record(on_test, "m", seed, validation_fraction=0.2, **fields)
    other = record(on_validation, "m", seed + 100, **fields).predictions
    both = {name: made.predictions[name] + other[name] for name in made.predictions}
    both["split"] = ["test"] * 200 + ["validation"] * 200
    return made.model_copy(update={"predictions": both})


def test_the_setting_is_chosen_on_validation_images_alone():
    lucky = [held_out(0.5, 0.1, seed, schedule=SHORT) for seed in range(3)]
    honest = [held_out(0.2, 0.3, seed, schedule=LONG) for seed in range(3)]
    table = selection.by_validation(lucky + honest, ("schedule", "mixup"))
    (row,) = (dict(zip(table, values, strict=True)) for values in table.itertuples(index=False))
    assert (row["chosen on validation"], row["chosen on test"]) == ((LONG, "beta"), (SHORT, "beta"))
    assert [row["its validation accuracy"], row["its test accuracy"], row["its test accuracy there"]] == pytest.approx([0.9, 0.85, 0.95])
    assert row["cost"] == pytest.approx(0.1)
    assert row["cost"].low < 0.1 < row["cost"].high
    same = selection.by_validation(honest + [held_out(0.9, 0.9, seed) for seed in range(3)], ("schedule",))["cost"].iloc[0]
    assert same == same.low == same.high == 0
    assert selection.by_validation(honest, ("schedule",)).empty, "one setting leaves no choice"


def test_a_choice_is_among_settings_with_and_without_mixup_over_the_seeds_that_all_have():
    uneven = [held_out(0.2, 0.2, seed, mixup=mixup, schedule=schedule) for mixup in ("beta", "off") for schedule in (SHORT, LONG) for seed in (0, 1)]
    uneven.append(held_out(0.9, 0.9, 2, mixup="off", schedule=SHORT))
    table = selection.by_validation(uneven, ("schedule", "mixup"))
    assert table[["settings", "runs"]].values.tolist() == [[4, 8]]
    assert table["its validation accuracy"].iloc[0] == pytest.approx(0.9)


def test_agreement_of_validation_and_test():
    def made(order) -> list[Record]:
        pairs = zip((SHORT, MIDDLE, LONG, (1, 300)), (0.1, 0.3, 0.5, 0.7), order, strict=True)
        return [held_out(valid, test, seed, schedule=schedule) for schedule, valid, test in pairs for seed in range(3)]

    alike, opposite = (selection.agreement(made(order)) for order in ((0.2, 0.4, 0.6, 0.8), (0.8, 0.6, 0.4, 0.2)))
    assert (alike.settings, alike.correlation, opposite.correlation) == (4, pytest.approx(1), pytest.approx(-1))
    assert alike.gap == pytest.approx(0.05), "ten points of the positive half"
    assert selection.agreement(made((0.2, 0.4, 0.6, 0.8))[:9]) is None, "three settings"
    some = selection.agreement(made((0.4, 0.2, 0.6, 0.8))).correlation
    assert some == pytest.approx(0.8)
    half = 1.959964 * math.sqrt((1 + 0.8**2 / 2) / (4 - 3))
    assert (some.low, some.high) == pytest.approx((math.tanh(math.atanh(0.8) - half), math.tanh(math.atanh(0.8) + half)))
    assert selection.agreement([record(0.1, schedule=(1, end)) for end in range(2, 9)]) is None, "nothing was held out"


# Thresholds and calibration


def test_a_temperature_from_validation_images_is_applied_to_the_test_images():
    generator = np.random.default_rng(0)
    runs, factors = [], (3.0, 0.5)
    for seed, factor in enumerate(factors):
        made = record(0, "m", seed, validation_fraction=0.2)
        logits = generator.normal(size=2000) * 2
        labels = (generator.random(2000) < 1 / (1 + np.exp(-logits))).astype(int)
        other = {"split": ["validation"] * 2000, "file": [f"v{i}.png" for i in range(2000)], "patient_id": [f"v{i}" for i in range(2000)]}
        other |= {"label": labels.tolist(), "logit": (factor * logits).tolist()}
        runs.append(made.model_copy(update={"predictions": {name: made.predictions[name] + other[name] for name in other}}))
    scaled, temperatures = thresholds.validation_fitted(runs[::-1])
    assert temperatures.shape == (2, 1)
    assert temperatures[:, 0] == pytest.approx(factors, rel=0.15), "in the order of the seeds, whatever the order given"
    assert scaled == pytest.approx(thresholds.scores(runs).logits / temperatures)
    with pytest.raises(ValueError):
        thresholds.validation_fitted([record(0, "m", 0)])


def test_cross_fitting_finds_the_temperature_of_logits_that_are_too_sure():
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, (2, 4000))
    labels = (generator.random(4000) < 1 / (1 + np.exp(-true[0]))).astype(int)
    data = thresholds.Scores(3 * true[:1], labels, np.arange(4000) // 2)
    scaled, temperatures = operating.cross_fitted(data)
    assert temperatures == pytest.approx(3, rel=0.12)
    before, after = (operating.calibration_errors(logits, labels)["cross entropy"][0] for logits in (data.logits, scaled))
    assert after < before


def test_halves_keep_patients_together_and_classes_apart():
    labels = np.r_[np.ones(60), np.zeros(60)].astype(int)
    patients = np.arange(120) // 3
    half = operating.halves(labels, patients)
    assert all(len(set(half[patients == p])) == 1 for p in set(patients))
    assert half[labels == 1].mean() == half[labels == 0].mean() == 0.5


def test_a_threshold_alone_is_told_from_ranking():
    generator = np.random.default_rng(1)
    labels = np.arange(200) % 2
    ranked = [1.5 * (2 * labels - 1) + generator.normal(size=200) for _ in range(5)]
    shifted = {"random": [record(0, "random", s, logits=z - 1.5) for s, z in enumerate(ranked)], "m": [record(0, "m", s, logits=z) for s, z in enumerate(ranked)]}
    at_half = pairs.compare(shifted["m"], shifted["random"], positive=True).estimate()
    assert at_half > 0.2
    table = thresholds.at_specificity(shifted, 0.9, resamples=300)
    assert table["gain"].iloc[1] == pytest.approx(0)
    assert "come from the threshold" in operating.threshold_answer(at_half, table["gain"].iloc[1], table["more"].iloc[1], 0.9)
    assert table["more"].iloc[1] == pytest.approx(table["gain"].iloc[1] - at_half) and table["more"].iloc[1].high < 0
    gain, clear = Estimate(0.2, 0.1, 0.3), "the threshold alone does not explain it"
    assert operating.threshold_answer(gain, gain, Estimate(0.02, -0.1, 0.1), 0.9).startswith("whether the gain is larger or smaller at a specificity of 90.0 %") and clear in operating.threshold_answer(gain, gain, Estimate(0.1, 0.05, 0.2), 0.9)
    assert operating.threshold_answer(gain, Estimate(0.1, 0.05, 0.2), Estimate(-0.1, -0.15, -0.05), 0.9).startswith("the gain shrinks to 50 %")
    cut = thresholds.cuts(np.stack(ranked), labels, 0.9)
    assert all((z[labels == 0] <= c).mean() >= 0.9 for z, c in zip(ranked, cut))


def test_metrics_over_runs_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

    run = record(0.3)
    table = run.table()
    called = (table["probability"] > 0.5).astype(int)
    truth = table["label"]
    expected = [accuracy_score(truth, called), recall_score(truth, called), precision_score(truth, called)]
    expected += [recall_score(truth, called, pos_label=0), precision_score(truth, called, pos_label=0), roc_auc_score(truth, table["logit"])]
    row = thresholds.performance([run])
    assert list(row.values()) == pytest.approx(expected)
    assert row["specificity"].low < 0.99, "no fault in 100 images is no proof of none"


def test_equal_specificity_is_paired_and_not_asked_at_one():
    made = {init: performance({init: share}) for init, share in (("random", 0.4), ("m", 0.2))}
    whole = thresholds.at_specificity(made, 0.9, resamples=200)
    with_more = {"random": made["random"], "m": made["m"][:4]}
    four = thresholds.at_specificity({init: members[:4] for init, members in made.items()}, 0.9, resamples=200)
    assert thresholds.at_specificity(with_more, 0.9, resamples=200)["gain"].iloc[1] == four["gain"].iloc[1] != whole["gain"].iloc[1]
    with pytest.raises(ValueError, match="no seed is recorded of all of random, m"):
        thresholds.at_specificity({"random": made["random"][:2], "m": made["m"][2:]}, 0.9)
    with pytest.raises(ValueError, match="between 0 and 1, for example 0.9, not 1"):
        thresholds.at_specificity(made, 1.0)


def test_predictive_values_reach_as_far_as_the_few_patients_of_a_class_allow():
    none = [record(0, seed=seed, images=20, logits=np.full(20, -2.0)) for seed in range(2)]
    one_class = [one.model_copy(update={"predictions": one.predictions | {"label": [0] * 20}}) for one in none]
    assert np.isnan(thresholds.predictive_values(one_class, (0.1,)).iloc[0].PPV)
    rare = np.where(np.arange(42) < 2, 2.0, np.where(np.arange(42) < 16, 1.0, -2.0))  # 2 ill people, both found; 14 of 40 well ones called positive
    labels = (np.arange(42) < 2).astype(int).tolist()
    made = [record(0, seed=seed, images=42, logits=rare) for seed in range(2)]
    found = thresholds.predictive_values([one.model_copy(update={"predictions": one.predictions | {"label": labels}}) for one in made], (0.34,)).iloc[0]
    least = operating.wilson(2, 2).low
    assert found.NPV == 1 and found.NPV.low < 0.66 * 0.5 / (0.66 * 0.5 + 0.34 * (1 - least)) + 0.1
    assert found.PPV.low < least * 0.34 / (least * 0.34 + 0.35 * 0.66)


def test_few_calls_are_few_patients():
    """A positive predictive value of one image called positive had Wilson's interval of all 50 ill ones."""
    labels, patients = np.arange(100) % 2, np.arange(100)
    logits = np.where(np.arange(100) == 1, 2.0, -2.0)[None].repeat(2, 0)
    row = operating.performance_of(operating.Scores(logits, labels, patients))
    assert row["ppv"] == 1 and row["ppv"].low == operating.wilson(1, 1).low < 0.25


def test_predictive_values_of_runs_that_say_one_thing_have_an_interval():
    images = 40
    everybody = thresholds.predictive_values([record(0, seed=seed, images=images, logits=np.full(images, 2.0)) for seed in range(2)], (0.1,)).iloc[0]
    assert everybody.PPV == pytest.approx(0.1) and everybody.PPV.low == pytest.approx(0.085, abs=0.002) and everybody.PPV.high == pytest.approx(0.12, abs=0.005)
    reversed_ = thresholds.predictive_values([record(0, seed=seed, images=images, logits=np.where(np.arange(images) % 2, -2.0, 2.0)) for seed in range(2)], (0.1,)).iloc[0]
    assert reversed_.PPV == 0 and reversed_.PPV.low == 0 and reversed_.PPV.high > 0.01


def test_predictive_values_follow_prevalence():
    table = thresholds.predictive_values(performance({"m": 0.2}), (0.01, 0.5))
    low, even = table["PPV"]
    assert low.low < 0.5 < even.low
    assert table["NPV"][0] > table["NPV"][1]


# The committed records


@pytest.fixture(scope="module")
def committed():
    return recorded.read(TABLE, "quarter")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module", autouse=True)
def profiles_are_found():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


def _asked(runs, study: str) -> list[str]:
    return [str(run.config.identity()) for run in runs.planned if study in run.studies]


def test_every_committed_record_is_a_run_of_the_profile(committed):
    stored = record_tables.read_table(TABLE)
    counts = committed.counts().set_index("study")
    assert counts.at["all", "recorded"] == len(committed.records)
    before = recorded.read(TABLE, "quarter", inits=["random", "fractal-s", "fractal-m"], seeds=[0, 1, 2, 3, 4])  # before there were photographs
    source = recorded.read(TABLE, "quarter", init="fractal-m")  # likewise, the page on disease and source
    assert {record.key for record in stored} == {record.key for record in [*committed.records, *before.records, *source.records]}
    papers = {run for study in ("02_hyperparameter_sensitivity", "03_test_performance", "04_data_size", "05_grad_cam") for run in _asked(committed, study)}
    assert len(papers) == 72 * 3 + 3 * 3 + 5 * 3 * 6, "the paper's grid; other notebooks may ask for more"
    assert counts.at["all", "planned"] == len(committed.planned) >= len(papers)
    assert (counts["recorded"] + counts["missing"] == counts["planned"]).all()
    assert committed.data_name() == "covidx-mini"
    assert not any(run.data["is_phantom"] for run in stored)
    text = TABLE.read_bytes()
    assert b"/work/" not in text and b"/root" not in text and b"/home/" not in text


def recomputed(committed) -> list[verdicts.Verdict]:
    design = recorded.Design.of_profile("quarter")
    heat = cam_energy.differences(cam_energy.read(ROOT / "results" / "grad_cam.parquet"))
    found = comparisons.compared(committed.of_paper()[0], design, heat=heat)
    return verdicts.verdicts(found, comparisons.family_size(design), committed.by_study())


def test_every_verdict_is_recomputed_from_the_committed_records(committed):
    rows = recomputed(committed)
    assert [row.number for row in rows] == list(range(1, 10))
    assert {row.verdict for row in rows} <= set(verdicts.MEANING)
    complete = {name: have == want for name, (have, want) in committed.by_study().items()}
    for row in rows[:8]:
        if complete[verdicts.STUDY_OF[row.number]]:
            assert row.verdict not in ("cannot be tested here", "not recorded yet")
            assert "provisional" not in row.result
    # The parts of claim 1 by another way: plain means of the accuracies that training wrote down.
    last = {}
    for run in committed.of(recorded.PERFORMANCE):
        last.setdefault(run.initialisation["name"], []).append(run.history[-1]["test_accuracy"])
    names = list(recorded.Design.of_profile("quarter").inits)
    for answer, (a, b) in zip(rows[0].parts, zip(names, names[1:])):
        assert answer.interval == pytest.approx(np.mean(last[b]) - np.mean(last[a]))
    # What the audit found: its values, and the words that evidence decides and not a random stream.
    by_name = {answer.compared.name: answer for row in rows for answer in row.parts}
    against = by_name["random weights with mixup against many photographs without"]
    assert against.interval.high < 0 and against.word == "contradicted"
    later = by_name["1,000 steps against 500 steps"]
    assert later.interval.low > 0.02 and later.word == "contradicted", "the gain past the middle schedule is not little"


SHOW = """
import sys, json, numpy as np, random
np.random.seed(int(sys.argv[1])); random.seed(int(sys.argv[1]))
from pathlib import Path
from cxrlib.study import committed, comparisons, verdicts
from cxrlib.study.pages import heat
runs, design = committed.read(Path("results/quarter.parquet"), "quarter"), committed.Design.of_profile("quarter")
found = comparisons.compared(runs.of_paper()[0], design, heat=heat.differences(heat.read(Path("results/grad_cam.parquet"))))
print(json.dumps(verdicts.table(verdicts.verdicts(found, comparisons.family_size(design), runs.by_study()))))
"""


def test_the_whole_table_is_the_same_for_any_seed_and_number_of_threads():
    shown = []
    for seed, threads in (("1", "1"), ("2", "2")):
        where = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", SHOW, seed], cwd=ROOT, env=os.environ | where, capture_output=True, text=True, check=True)
        shown.append(done.stdout)
    assert len(json.loads(shown[0])) == 40
    assert shown[0] == shown[1], "character by character"


def test_a_table_of_two_data_sets_is_refused(tmp_path, committed):
    run = committed.records[0]
    other = run.data | {"name": "other", "fingerprint": "1"}
    key = records.content_key(run.config, "1", run.initialisation["sha256"])
    record_tables.write_table([run, run.model_copy(update={"data": other, "key": key})], tmp_path / "two.parquet")
    with pytest.raises(ValueError, match="several data sets"):
        recorded.read(tmp_path / "two.parquet", "quarter")
    assert recorded.read(tmp_path / "none.parquet", "quarter").records == []


@pytest.mark.parametrize("kept", [0, 1])
def test_without_evaluations_in_the_first_half_steadiness_is_not_told(kept):
    """Claim 7 needs two evaluations there; with fewer it is named as what these runs cannot tell, and no figure is made up."""
    made = performance({"random": 0.3, "s": 0.2, "m": 0.1})
    half = [run.config["schedule"][-1] / 2 for run in made]
    cut = [
        run.model_copy(update={"history": [row for row in run.history if row["step"] <= end][:kept] + [row for row in run.history if row["step"] > end]})
        for run, end in zip(made, half, strict=True)
    ]
    found = comparisons.compared(cut, DESIGN, claims=(7,))
    assert found and all(one.measured is None and one.cannot == "too few evaluations or seeds" for one in found)
