"""What the pages of the paper's experiments say follows from the committed records and verdicts, and says so where there are none."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from common import ROOT

from cxrlib.metrics.estimate import Estimate
from cxrlib.study import committed, paper, parts, thresholds, verdicts
from cxrlib.study.claims import CLAIMS
from cxrlib.study.figures import captions, published, style
from cxrlib.study.figures import real as real_figures
from cxrlib.study.pages import (
    chapter,
    exploration,
    few_images,
    one_test_set,
    operating_points,
    performance,
    sensitivity,
)
from cxrlib.study.pages.chapter import Asked, Shown

PHANTOM = Shown("phantom", "small")


@pytest.fixture(scope="module")
def real():
    return chapter.RealStudy.read(ROOT / "results" / "quarter.parquet", "quarter")


@pytest.fixture(scope="module")
def runs(real):
    return real.runs.by_init(committed.PERFORMANCE)


@pytest.fixture(scope="module")
def values(runs):
    return performance.estimates(runs)


@pytest.fixture(scope="module")
def rows(real):
    return real.verdicts((1, 5))


def test_an_answer_has_the_words_and_numbers_of_its_verdicts(rows):
    own = [one for row in rows if row.number == 1 for one in row.parts if not one.part.ours]
    said = chapter.answer(rows, performance.QUESTIONS, Shown("real", "x", recorded=True), "Then this.")
    assert said.startswith("On real X-rays, in test accuracy: ") and "Then this" in said
    plain = said.replace("&#43;", "+").replace("&#45;", "-")
    for one, words in zip(own, ("pretraining", "ten times more of it"), strict=True):
        assert f"{words}&#58; {chapter.REPLIES[one.word]}, {100 * one.interval:+.1f} points" in plain
    assert chapter.answer([], performance.QUESTIONS, PHANTOM).count(verdicts.NOT_RECORDED) == 2
    assert "the phantoms of this copy" in chapter.answer([], performance.QUESTIONS, PHANTOM)


def test_a_reply_to_several_comparisons_names_both_ends_and_the_word_of_all(rows):
    found = [one for row in rows if row.number == 1 for one in row.parts if not one.part.ours]
    numbers = [100 * one.interval for one in found]
    assert {one.word for one in found} == {"holds", "not seen"}
    assert chapter.reply(rows, Asked("it", 1)) == f"it: in part, single comparisons from {min(numbers):+.1f} to {max(numbers):+.1f} points"
    assert chapter.reply(rows, Asked("it", 1, part=7)) == f"it: {verdicts.NOT_RECORDED}"


def test_what_differs_is_counted_in_records_and_in_the_paper(runs):
    records = sum(runs.values(), [])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in chapter.differs(records, [], PHANTOM).splitlines()[2:]]
    table = {line[0].replace("&#45;", "-"): line[1:] for line in lines}
    assert table["size of the images, px"][:2] == ["480", str(records[0].config["crop"])]
    assert table["training steps"][:2] == ["10,000", str(records[0].config["schedule"][-1])]
    assert table["weights of the network"][:2] == ["23.5 million", "0.5 million"]
    assert table["test images"][:2] == [str(2 * paper.TEST_IMAGES_PER_CLASS), str(len(records[0].table()))]
    assert all(line[2] == verdicts.NOT_RECORDED for line in table.values())
    assert "this copy" not in chapter.differs(records)
    assert "128 to 480" in chapter.differs(records, records, PHANTOM, grid=True)


def test_the_paper_is_quoted_word_for_word_with_section_and_licence():
    for claim in CLAIMS:
        said = chapter.quotes((claim.number,))
        assert said.startswith(f"> “{claim.quote}”") and f"section {claim.section}" in said and "CC BY 4.0" in said
    assert len(chapter.quotes((1, 5)).split("\n\n")) == 2


def test_table_1_and_what_is_said_of_it_agree(runs, values, real):
    table = performance.table(values, runs, real.shown)
    assert table.count("(paper)") == len(paper.TABLE_1)
    assert performance.table(values, runs, PHANTOM).count("(paper)") == 0, "the paper's rows stand once on a page"
    for init, members in runs.items():
        accuracy = thresholds.performance(members)["accuracy"]
        assert f"**{style.named(init)}**" in table and accuracy.percent() in table
        assert f"{100 * accuracy:.1f} % from {style.named(init)}" in performance.finding(values, "Here")
    assert "92.8 % and 96.5 %" in performance.best_start(values)
    for nothing in (performance.best_start({}), performance.finding({}, "Here"), performance.finding_curves(None), performance.finding_confusion(None)):
        assert nothing == performance.NOTHING
    assert performance.confusion({}) is None


def test_a_confusion_matrix_is_that_of_the_most_upstream_data(runs):
    found, name = performance.confusion(runs)
    table = list(runs.values())[-1][0].table()
    assert found.confusion.matrix.sum() == len(table)
    assert found.confusion.matrix[0, 1] == ((table["label"] == 0) & (table["probability"] > 0.5)).sum()
    assert name.startswith(style.named(list(runs)[-1]))
    assert f"{found.confusion.matrix[0, 1]:g} are called positive" in performance.finding_confusion((found, name))


def test_differences_are_of_neighbours_and_p_is_never_zero(runs):
    said = performance.differences(runs)
    assert said.count(" against ") == len(runs) - 1
    assert "0.000" not in said


def test_a_grid_speaks_of_its_own_ends(real):
    records = [r for r in real.runs.of(committed.SENSITIVITY) if r.config["seed"] == 0]
    grid = sensitivity.Grid.of(records, real.design, real.shown)
    said = grid.finding("resolution")
    cells = grid.cells[(grid.cells["schedule"] == real.design.schedules[-1]) & (grid.cells["mixup"] == real.design.mixups[-1])]
    for resolution in (real.design.resolutions[0], real.design.resolutions[-1]):
        for accuracy in cells[cells["resolution"] == resolution]["accuracy"]:
            assert f"{100 * accuracy:.1f} %" in said
    assert set(grid.along("schedule")["table"]["resolution"]) == {real.design.resolutions[-1]}
    nothing = sensitivity.Grid.of([], real.design, PHANTOM)
    assert nothing.finding("schedule").startswith("Nothing is recorded")
    assert sensitivity.gains([], ["random", "photo-s"]) == verdicts.NOT_RECORDED


def test_few_images_compare_the_fewest_with_all(real):
    records = [r for r in real.runs.of(committed.DATA_SIZE) if r.config["seed"] < 2]
    table = few_images.sizes(records)
    few, full = table[table["images_per_class"] == 32].set_index("init")["accuracy"], table[table["images_per_class"].isna()].set_index("init")["accuracy"]
    said = few_images.fewest_and_most(table, records)
    for part in (few, full):
        gain = 100 * (float(part[real.design.inits[-1]]) - float(part["random"]))
        assert any(abs(float(number) - gain) < 0.051 for number in re.findall(r"[-+]\d+\.\d", said)), gain
    assert len(few_images.accuracies(table).splitlines()) == 2 + len(set(table["images_per_class"].fillna(0)))
    assert few_images.finding(pd.DataFrame()).startswith("Nothing") and few_images.accuracies(pd.DataFrame()) == verdicts.NOT_RECORDED


def test_the_starts_at_equal_specificity_and_in_a_clinic(runs, values):
    table, said = operating_points.at_equal_specificity(runs, values, 100)
    assert table.count(f"{100 * operating_points.equal_specificity(values):.1f} %&#58;") == len(runs) and table.count("90.0 %&#58;") == len(runs)
    assert f"Sensitivity from {parts.named(list(runs)[-1])} less that from random weights" in said
    assert operating_points.at_equal_specificity({}, {}, 100) == (verdicts.NOT_RECORDED,) * 2
    found = thresholds.predictive_values(runs[list(runs)[-1]], (0.01,)).iloc[0]
    assert f"{100 * found.PPV:.0f} % ({100 * found.PPV.low:.0f} to {100 * found.PPV.high:.0f}) of those it calls positive would be" in operating_points.answer(runs, values, said)
    assert operating_points.papers_specificity()["paper_specificity_low"] == pytest.approx(98.115, abs=1e-3)


def test_equal_specificity_takes_the_seeds_that_all_starts_have(runs, values):
    first, *others = runs
    fewer = {first: runs[first]} | {init: runs[init][:2] for init in others}
    both = {init: members[:2] for init, members in runs.items()}
    of_two = {init: thresholds.performance(members) for init, members in both.items()}
    assert operating_points.at_equal_specificity(fewer, values, 100) == operating_points.at_equal_specificity(both, of_two, 100)
    apart = {init: runs[init][place : place + 1] for place, init in enumerate(runs)}
    assert operating_points.at_equal_specificity(apart, values, 100) == (verdicts.NOT_RECORDED,) * 2
    for logit, words in ((-9.0, "no negative image"), (9.0, "every negative image")):
        one_word = {init: [one.model_copy(update={"predictions": one.predictions | {"logit": [logit] * len(one.predictions["logit"])}}) for one in members] for init, members in runs.items()}
        said = operating_points.at_equal_specificity(one_word, {init: thresholds.performance(members) for init, members in one_word.items()}, 50)[1]
        assert said.startswith(f"at 50 % {words} of the test set is called positive"), said


def test_temperatures_are_counted(runs):
    found = operating_points.calibrate(runs, operating_points.cross_fitted, "the other half")
    assert {change.init for change in found.changes} == set(runs)
    lowered = sum((change.after < change.before).sum() for change in found.changes if change.measure == "cross entropy")
    assert f"in {lowered} of {sum(map(len, runs.values()))} runs" in operating_points.temperature_answer(found.changes)
    assert operating_points.calibrate({}, operating_points.cross_fitted, "x").finding == performance.NOTHING
    assert operating_points.calibration_table([]) == operating_points.temperature_answer([]) == verdicts.NOT_RECORDED


def test_one_image_apart_cannot_be_told():
    found = one_test_set.apart()
    assert (found["right_a"], found["right_b"], found["right_n"]) == (386, 385, 400)
    assert found["same_answer"] == "It cannot be told from these counts" and found["same_mcnemar"] == "is 1.00 throughout"
    assert one_test_set.finding_settings(pd.DataFrame()).startswith("Nothing")
    near = pd.DataFrame({"accuracy": [Estimate(0.9, 0.8, 0.95), Estimate(0.85, 0.8, 0.91), Estimate(0.5, 0.4, 0.6)]}, dtype=object)
    assert one_test_set.finding_settings(near) == "Of 3 settings the best has 90.0 % test accuracy, and the intervals of 2 reach as far."


def test_what_is_guessed_without_a_picture_is_a_warning_only_beyond_chance():
    certain, unsure = Estimate(0.975, 0.93, 0.99), Estimate(0.6, 0.4, 0.8)
    warned = exploration.answer({"the source": certain, "width and height": unsure}, Shown("real", "x", recorded=True))
    assert "97.5 %" in warned and "proves little about the disease" in warned
    assert "not" not in warned.partition("chance")[0] and "Neither is told from chance" in exploration.answer({"the source": unsure, "width and height": unsure}, PHANTOM)
    assert exploration.answer(None, PHANTOM) == verdicts.NOT_RECORDED
    sizes = pd.DataFrame({"width": [1, 1, 2], "height": [1, 1, 2], "label": ["negative", "positive", "positive"]})
    assert exploration.finding_shapes(exploration.shapes(sizes)) .startswith("There are 2 sizes of file, and 1 of them occurs in both classes. The commonest is ")
    assert exploration.finding_shapes(exploration.shapes(sizes.iloc[:2])) == "Every file has the same size, so the size tells nothing."
    for nothing in (exploration.finding_shapes(exploration.shapes(None)), exploration.finding_counts(exploration.counts(None)), exploration.finding_guesses([(PHANTOM, None)])):
        assert nothing == exploration.NOTHING


def test_the_paper_stands_beside_ours_on_one_axis():
    with matplotlib.rc_context():
        style.use_style()
        curves = pd.DataFrame({"init": "random", "seed": [0, 0, 1, 1], "step": [0, 9, 0, 9], "test_accuracy": [0.5, 0.7, 0.5, 0.8]})
        figure = real_figures.curves(curves, "t")
        hollow = {line.get_label(): float(line.get_ydata()[0]) for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"}
        assert hollow == {f"{style.named(init)} (the paper, 480 px)": pytest.approx(value) for init, value in published.accuracies().items()}
        assert len(figure.legends) == 1
        note = real_figures.curves(None, "t")
        assert not any(ax.lines for ax in note.axes), "nothing is drawn beside nothing"
        plt.close("all")
    assert [name for name, _ in published.rows()] == ["random weights", "BiT-S", "BiT-M"]
    assert np.isnan(published.rows()[0][1]["AUC"].low), "no scores, no interval"


@pytest.mark.parametrize("text", ["| a |\n|---|\n| 1 |", "A sentence."])
def test_a_badge_begins_an_output(text):
    said = captions.badged(text, "real").data
    assert re.match(r"\*\*REAL X-RAYS\*\*\s", said) and said.endswith(text)
    assert captions.both("real", "real") == "real" and captions.both("real", "phantom") == "both"
    with pytest.raises(KeyError):
        captions.badged(text, "imaginary")


def test_the_gain_with_few_labels_is_compared_with_that_of_all(real):
    records = real.runs.of(committed.DATA_SIZE)
    said = few_images.fewest_and_most(few_images.sizes(records), records)
    most, least = real.design.inits[-1], real.design.inits[0]
    few, full = (few_images.gained(records, most, least, size) for size in (32, None))
    assert few and set(few) == set(full)
    more = sum(float(few[seed].mean() - full[seed].mean()) for seed in few) / len(few)
    assert any(abs(float(number) - 100 * more) < 0.051 for number in re.findall(r"[-+]\d+\.\d", said))
    assert few_images.gained(records, most, least, 31) is None


def test_one_start_stands_with_all_its_settings(real):
    from cxrlib.study.pages import settings

    shown = settings.table({"one page": real.runs.of(committed.PERFORMANCE), "other": real.runs.of("06_shortcuts")}, "resnetv2_laptop")
    rows = shown.splitlines()[2:]
    assert len(rows) > len(real.design.inits) and all(row.count("|") == len(settings.COLUMNS) + 1 for row in rows)
    every = settings.ordinary(real.runs.of("06_shortcuts"), "resnetv2_laptop")
    assert every and not any(r.config.get("leave_out") or r.config.get("sources") or r.config["validation_fraction"] for r in every)
    assert all((r.config.get("region") or "whole") == "whole" for r in every)
    assert settings.table({}, "resnetv2_laptop") == verdicts.NOT_RECORDED
