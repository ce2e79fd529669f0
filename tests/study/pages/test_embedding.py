"""What features tell: probes that know nothing of a patient they are asked about, one map for one set of features, and honest sentences."""

import numpy as np
import pandas as pd
import pytest
from common import ROOT
from sklearn.metrics import roc_auc_score

from cxrlib.study.pages import embedding
from cxrlib.study.truth import APART, HOSPITAL, SAME

TABLE = ROOT / "results" / "embedding.parquet"


def test_a_probe_does_not_know_the_patient_it_is_asked_about():
    """A feature that names the patient tells the class of images of known patients only."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 4)
    labels = patients % 2
    names = generator.normal(size=(40, 30))[patients]  # the same for all images of a patient, and of nobody else
    assert roc_auc_score(labels, embedding.probed(names, labels, patients)) == pytest.approx(0.5, abs=0.25)
    telling = np.c_[names, 3.0 * labels]
    assert roc_auc_score(labels, embedding.probed(telling, labels, patients)) == 1
    assert np.isnan(embedding.probed(names[:12], labels[:12], patients[:12])).all(), "fewer patients than folds"


def test_like_images_are_near_on_the_plane_and_it_is_the_same_each_time():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(60, 20)) + 8 * (np.arange(60) % 2)[:, None]
    places = embedding.plane(features)
    assert places.shape == (60, 2) and np.array_equal(places, embedding.plane(features))
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(60)
    assert (gaps.argmin(axis=1) % 2 == np.arange(60) % 2).all()


@pytest.mark.skipif(not TABLE.is_file(), reason="the table is not there")
def test_the_committed_sentence_is_the_auc_of_the_committed_scores_and_no_image_is_there_twice():
    table = embedding.read(TABLE)
    assert not table.duplicated(["file", "set"]).any() and set(table["set"]) == {APART, SAME, HOSPITAL}
    assert not set(table.loc[table["set"] == SAME, "file"]) & set(table.loc[table["set"] == HOSPITAL, "file"])
    said = embedding.answer(table)
    inside = table[table["set"] == SAME]
    assert f"{100 * roc_auc_score(inside['label'] == 'positive', inside[embedding.CLASS]):.1f}" in said
    positives = table[(table["label"] == "positive") & table["set"].isin((APART, SAME))]
    assert positives[embedding.SET].notna().all()
    assert f"{100 * roc_auc_score(positives['set'] == SAME, positives[embedding.SET]):.1f}" in said
    assert sum(len(points) for points in embedding.groups(table)["by class"].values()) == len(table)
    assert embedding.answer(None) == "not recorded yet" and pd.isna(table.loc[table["set"] == HOSPITAL, embedding.SET]).all()
