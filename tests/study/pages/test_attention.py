"""Where heat maps look: the measures on maps of which the answer is known, and the committed table against its own definition."""

import numpy as np
import pandas as pd
import pytest
import torch
from common import ROOT
from torch import nn

from cxrlib.metrics.inference import verdict
from cxrlib.study import truth
from cxrlib.study.pages import attention, looking, looking_tables

TABLE = ROOT / "results" / "attention.parquet"


def test_the_centre_blob_has_the_values_of_its_map_and_falls_off_from_the_centre():
    maps = np.random.default_rng(0).random((3, 9, 9)).astype(np.float32)
    blobs = attention.centre_blobs(maps)
    assert blobs.shape == maps.shape
    assert (np.sort(blobs.reshape(3, -1)) == np.sort(maps.reshape(3, -1))).all()
    yy, xx = np.mgrid[:9, :9] - 4
    order = np.argsort(np.hypot(yy, xx), axis=None, kind="stable")
    assert (np.diff(blobs.reshape(3, -1)[:, order], axis=1) <= 0).all()
    assert (blobs[:, 4, 4] == maps.max(axis=(1, 2))).all()


def test_sides_part_the_chest_where_the_lungs_do():
    lungs = np.zeros((3, 6, 12), bool)
    lungs[:2, 1:5, 4:12] = True  # the middle of the lungs is column 8, not that of the image
    values = np.zeros((3, 6, 12))
    values[0, 2, 5] = 3
    values[0, 2, 9] = 1
    values[1, 0, 9] = 5  # outside the lungs: does not count
    assert attention.sides(values, lungs)[0] == pytest.approx(-0.5)
    assert np.isnan(attention.sides(values, lungs)[1:]).all()


def test_pointing_looks_at_the_hottest_pixel():
    maps, masks = np.zeros((3, 4, 4)), np.zeros((3, 4, 4), bool)
    maps[:2, 1, 1] = 1
    masks[0, 1, 1] = masks[1, 2, 2] = masks[2, 0, 0] = True
    found = attention.pointing(maps, masks)
    assert found[0] == 1 and found[1] == 0 and np.isnan(found[2])  # a map of zeros points nowhere


class Corner(nn.Module):
    """Looks at one corner, and nowhere else."""

    def forward(self, images):
        return images[:, :, :24, :24].mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("label", [0, 1])
def test_occlusion_finds_the_only_place_that_a_network_looks_at(label):
    images = torch.zeros(1, 1, 96, 96) - 1
    images[:, :, :24, :24] = 1 if label else -3  # speaks for the class
    heat = attention.occlusion(Corner(), images, np.array([label]))[0]
    assert heat.shape == (96, 96) and heat.min() >= 0
    assert heat[:24, :24].mean() > 5 * heat[48:, 48:].mean()
    assert heat[48:, 48:].max() == pytest.approx(0, abs=1e-6)


def made(heat_lungs, seed_count=2):
    """A table of two networks, eight images of four patients each: the second one's heat in the lungs is given."""
    generator = np.random.default_rng(1)
    rows = []
    for init, base in (("plain", 0.3), ("upstream", heat_lungs)):
        for seed in range(seed_count):
            for method in (attention.CAM, attention.UNTRAINED):
                for image in range(16):
                    share = np.clip((base if method == attention.CAM else 0.3) + generator.normal(0, 0.01), 0, 1)
                    row = dict.fromkeys(attention.TYPES, 0.3)
                    row |= {"training": "t", "init": init, "method": method, "layer": "norm", "file": f"{image}", "patient_id": f"{image // 2}"}
                    row |= {"seed": seed, "label": image % 2, "predicted": 1, "seen": image < 4, "doubt": False, "lungs": share}
                    rows.append(row | {"opacity_side": (-1) ** image * 0.5, "heat_side": (-1) ** image * 0.1 * (1 if image < 12 else -1)})
    return pd.DataFrame(rows).astype(attention.TYPES)


def test_a_network_that_looks_at_the_lungs_is_above_area_blob_and_untrained_and_another_is_not():
    table = made(0.6)
    for init, above in (("upstream", True), ("plain", False)):
        row = looking.shares(looking.chosen(table, "t", init), looking.chosen(table, "t", init, attention.UNTRAINED)).set_index("region").loc["lungs"]
        for other in ("area", "blob", "untrained"):
            assert (verdict(row[f"over_{other}"]) == "holds") == above, (init, other)
    gain = looking.difference(looking.chosen(table, "t", "upstream"), looking.chosen(table, "t", "plain"), "lungs")
    assert gain == pytest.approx(0.3, abs=0.02) and gain.low > 0


def test_what_was_seen_in_training_can_be_left_out_and_sides_are_counted():
    table = made(0.6)
    assert looking.chosen(table, "t", "plain", unseen=True)["file"].nunique() == 12
    agreement, images = looking.side_agreement(looking.chosen(table, "t", "plain"))
    assert images == 16 and agreement == pytest.approx(0.75)


def test_with_and_without_images_of_the_training_are_two_rows_of_each_network():
    assert looking_tables.unseen_table(None) == looking_tables.unseen_table(made(0.6)) == "not recorded yet", "no network had any of them"
    shown = looking_tables.unseen_table(made(0.6).assign(training=truth.PUBLISHED))
    assert shown.count("| all | 16 |") == 2 and shown.count("| those that it had not | 12 |") == 2


def test_heat_that_is_even_in_the_lungs_is_no_finding_and_heat_on_opacities_is():
    even = made(0.6)
    table = looking.chosen(even.assign(opacities=even["lungs"] * 0.5, area_opacities=0.15, area_lungs=0.3), "t", "upstream")
    inside, area, more = looking.within_lungs(table)
    assert (inside, area) == (pytest.approx(0.5), pytest.approx(0.5)) and more.low <= 1e-9 and more.high >= -1e-9
    assert looking.within_lungs(table.assign(opacities=table["lungs"] * np.linspace(0.79, 0.81, len(table))))[2].low > 0.2


@pytest.mark.skipif(not TABLE.is_file(), reason="the table is not committed yet")
def test_the_committed_table_is_what_its_columns_say():
    table = attention.read(TABLE)
    assert table.attrs["about"]["data"] == "covid-masks" and not table.attrs["about"]["is_phantom"]
    assert table["file"].nunique() == 98
    parts = table[["lungs", "mediastinum", "elsewhere"]].to_numpy()
    known = np.isfinite(parts).all(axis=1)
    # These three make up all heat; lungs and mediastinum are drawn over one another, behind the heart, which counts in both.
    twice = parts[known].sum(axis=1) - 1
    assert (twice > -1e-6).all() and (twice < parts[known, :2].min(axis=1) + 1e-6).all()
    areas = table.drop_duplicates("file").set_index("file")
    assert table.groupby("file")["area_lungs"].nunique().max() == 1 and 0.2 < areas["area_lungs"].mean() < 0.5
    assert len(table) == 98 * table.groupby(["training", "init", "seed", "method", "layer"]).ngroups
