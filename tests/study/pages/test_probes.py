"""Linear probes read the layers they name, leave the network alone, and tell a trained layer from noise."""

import numpy as np
import pandas as pd
import pytest
import torch
from common import ROOT

from cxrlib.config import RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.model.network import create_model
from cxrlib.study.pages import probes
from cxrlib.train.score import ImageSet
from cxrlib.weights.source import Initialisation


def test_features_of_every_layer_are_spatial_means():
    torch.manual_seed(0)
    model = create_model("resnetv2_laptop", image_channels=1)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    found = probes.pooled_features(model, ImageSet(images, np.zeros(3), np.array([4, 0, 2])), Initialisation("random"), 1)
    assert {layer: part.shape for layer, part in found.items()} == dict(
        zip(probes.LAYERS, [(3, 32), (3, 64), (3, 128), (3, 256), (3, 512)], strict=True)
    )
    with torch.inference_mode():
        inputs = torch.from_numpy(images[[4, 0, 2]]).unsqueeze(1).float() / 127.5 - 1
        stem = model.stem(inputs)
        second = model.stages[1](model.stages[0](stem))
    np.testing.assert_allclose(found["stem"], stem.mean(dim=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(found["stage 2"], second.mean(dim=(2, 3)), atol=1e-4)
    assert not model.stem._forward_hooks and not model.stages[0]._forward_hooks


def test_a_probe_separates_what_is_separable_and_scales_its_features():
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = generator.normal(size=(200, 5)) * [1, 1, 1e-4, 1, 1e4]
    features[:, 2] += 3e-4 * labels
    scores = probes.linear_probe(features[:100], labels[:100], features[100:])
    assert ((scores > 0) == labels[100:]).mean() > 0.85


def test_probes_of_a_data_set_over_seeds(one_run):
    config = RunConfig.parse(one_run | {"images_per_class": 6})
    table = probes.probe(experiment.open_dataset(config), config, ("random", "fractal-s"), (0, 1))
    assert len(table) == 2 * 2 * len(probes.LAYERS) * 12
    assert set(table["init"]) == {"random", "fractal-s"} and str(one_run["data"]) not in table.to_json()
    aucs = probes.probe_aucs(table)
    assert list(aucs["layer"].unique()) == list(probes.LAYERS)
    for value in aucs["AUC"]:
        assert 0 <= value.low <= value <= value.high <= 1
    again = probes.probe(experiment.open_dataset(config), config, ("random", "fractal-s"), (0, 1))
    assert table.equals(again)


def test_the_committed_probes_are_read_and_an_absent_table_has_no_rows(tmp_path):
    kept = probes.read(ROOT / "results" / "probe.parquet")
    assert len(kept) and list(kept.columns) == list(probes.TYPES)
    assert kept.groupby(["init", "layer", "seed"]).size().nunique() == 1, "every probe is of the same images"
    none = probes.read(tmp_path / "none.parquet")
    assert len(none) == 0 and pd.concat([none, kept], ignore_index=True).equals(kept)


def test_an_unknown_shape_of_network_is_an_error():
    with pytest.raises((AttributeError, ValueError)):
        probes.pooled_features(torch.nn.Linear(2, 2), ImageSet(np.zeros((1, 32, 32), np.uint8), np.zeros(1), np.arange(1)), Initialisation("random"), 1)
