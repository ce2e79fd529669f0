"""Widgets say the numbers that cxrlib computes and fetch nothing; test_access.py moves them."""

import json

import numpy as np
import pytest
from scipy.stats import beta as distribution

from cxrlib.book import widgets
from cxrlib.train.finetune import learning_rate


@pytest.mark.parametrize("name", widgets.CHARTS)
def test_a_chart_names_no_other_host_and_says_what_is_seen(name):
    text = json.dumps(widgets.CHARTS[name]())
    assert "http" not in text and '"name": "said"' in text
    assert '"input": "range"' in text or '"input": "select"' in text


def test_shares_of_the_beta_distribution_are_shares():
    table = widgets.beta_shares()
    assert set(table["alpha"]) == set(widgets.ALPHAS)
    assert np.allclose(table.groupby("alpha")["share"].sum(), 1, atol=1e-3)
    drawn = distribution.rvs(0.1, 0.1, size=40_000, random_state=0)
    first = table[(table["alpha"] == 0.1) & (table["low"] == 0)]["share"].item()
    assert np.mean(drawn < 1 / widgets.BINS) == pytest.approx(first, abs=0.02)


def test_the_schedule_divides_where_the_paper_does():
    """The widget's divisions are shares of its length; at the paper's length they are the paper's steps."""
    steps = [round(share * 10_000) for share in widgets.DIVISIONS]
    paper = (500, 1500, 3000, 4500, 10_000)
    assert steps == list(paper[1:4])
    assert [learning_rate(step, paper) for step in steps] == pytest.approx([0.0003, 0.00003, 0.000003])


def test_the_blend_is_of_two_phantoms():
    html = widgets.mixup()
    assert html.count("data:image/png;base64,") == 2 and "PHANTOMS" in html and html.count(" alt=") == 2
    assert len(set(widgets.phantom_pair())) == 2
