"""Table 1, and what is lost on another test set."""

import numpy as np
import pytest

from cxrlib import markup
from cxrlib.metrics.operating import METRICS, Scores
from cxrlib.study import paper, thresholds
from cxrlib.study.pages import table1


def drawn(seed: int, images: int, skill: tuple[float, ...], side: float = 0.0) -> Scores:
    """Logits of a run for each entry of ``skill``, half of the images positive, an image per patient."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    logits = np.stack([strength * (2 * labels - 1) + generator.normal(size=images) + side for strength in skill])
    return Scores(logits, labels, np.arange(images))


def test_a_drop_has_the_spread_of_two_independent_sets():
    inside, outside = drawn(0, 400, (1.3,)), drawn(1, 200, (0.6,))
    found = table1.drop(inside, outside)
    right = [((data.logits > 0) == (data.labels == 1)).mean() for data in (inside, outside)]
    assert found["accuracy"] == pytest.approx(right[0] - right[1])
    error = np.sqrt(sum(share * (1 - share) / data.labels.size for share, data in zip(right, (inside, outside))))
    assert found["accuracy"].high - found["accuracy"].low == pytest.approx(2 * 1.96 * error, rel=0.03)
    assert list(found) == list(METRICS)
    assert found["auc"].low > 0


def test_one_network_is_the_same_network_on_both_sets():
    """A run that is bad inside is bad outside: that is no uncertainty of the drop, if runs are drawn together."""
    skill = (3.0, 0.05, 3.0, 0.05)
    found = table1.drop(drawn(0, 800, skill), drawn(1, 800, skill))
    assert abs(found["accuracy"]) < 0.03
    assert found["accuracy"].high - found["accuracy"].low < 0.12, "drawn apart, the runs alone would spread it over half of the scale"


def test_no_fault_in_either_set_is_no_proof_of_no_drop():
    found = table1.drop(drawn(0, 40, (20.0, 20.0)), drawn(1, 60, (20.0, 20.0)))
    assert found["accuracy"] == found["auc"] == 0
    assert found["accuracy"].low < 0 < found["accuracy"].high
    assert found["auc"].low < 0 < found["auc"].high, "nor is a perfect ranking"


def test_what_no_run_has_is_a_dash():
    silent = drawn(0, 40, (0.1, 0.1), side=-20)  # calls every image negative
    row = thresholds.performance_of(silent)
    assert np.isnan(row["ppv"]) and row["sensitivity"] == 0
    assert row["sensitivity"].high > 0.05, "none of 20 is no proof of none"
    found = table1.drop(silent, drawn(1, 40, (1.0, 1.0)))
    assert np.isnan(found["ppv"]) and found["sensitivity"].high < 0
    assert "| – |" in table1.drops_markdown({"m": found})
    assert "| – |" in table1.markdown({"m": row})


def test_a_drop_needs_the_same_runs():
    with pytest.raises(ValueError, match="2 runs were tested on the one set and 1 on the other"):
        table1.drop(drawn(0, 20, (1, 1)), drawn(1, 20, (1,)))


def test_the_table_has_the_papers_rows_and_ours():
    row = thresholds.performance_of(drawn(0, 100, (1.0, 1.2)))
    lines = table1.markdown({markup.Inline("**random** (here)"): row, markup.Inline("**random** (external: clinic)"): row}).splitlines()
    assert lines[0] == "| network | accuracy | sensitivity | PPV | specificity | NPV | AUC |"
    assert len(lines) == 2 + len(paper.TABLE_1) + 2
    assert any(line.startswith("| BiT-M (paper) | 96.5 (94.2 to 97.9) | 93.0") and line.endswith("| 99.4 |") for line in lines)
    assert lines[-1].startswith(f"| **random** (external: clinic) | {row['accuracy'].percent()} |")
    assert {line.count("|") for line in lines} == {8}
    assert table1.markdown({}, "not recorded yet").splitlines()[-1].startswith("| ours | not recorded yet |")


def test_the_answer_is_read_off_the_auc():
    worse = table1.drop(drawn(0, 300, (2.0, 2.0)), drawn(1, 300, (0.2, 0.3)))
    same = table1.drop(drawn(0, 300, (1.0, 1.0)), drawn(1, 300, (1.0, 1.0)))
    text = table1.drops_markdown({"a": worse, "b": same, "c": same})
    assert text.endswith("**AUC:** clearly lower on the external set for a; no clear difference for b, c.")
