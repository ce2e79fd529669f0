"""From records to findings, on records made by hand so that every answer is known."""

import numpy as np
import pytest

from cxrlib.config import RunConfig
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import TOO_FEW, Estimate
from cxrlib.study import pairs


def record(wrong: int, init="random", images=100, **fields) -> Record:
    """A run that gets the first ``wrong`` test images wrong."""
    config = RunConfig(init=init, **fields)
    labels = np.arange(images) % 2
    logits = np.where(labels == 1, 2.0, -2.0) * np.where(np.arange(images) < wrong, -1, 1)
    predictions = {"split": ["test"] * images, "file": [f"{i}.png" for i in range(images)], "patient_id": [str(i) for i in range(images)]}
    predictions |= {"label": labels.tolist(), "logit": logits.tolist()}
    return Record(
        key=f"{init}{wrong}{fields}", protocol_version=1, config=config.identity(), data={}, initialisation={"name": init}, code_version="0",
        packages={}, machine={}, history=[], predictions=predictions, wall_seconds=1, weights_sha256="",
    )  # fmt: skip


def test_correctness_counts_all_or_one_class():
    right, patients = pairs.correctness([record(10), record(0)])
    assert right.shape == (2, 100)
    assert right.sum(axis=1).tolist() == [90, 100]
    assert len(set(patients)) == 100
    sensitivity, _ = pairs.correctness([record(10)], positive=True)
    assert sensitivity.mean() == 0.9
    assert pairs.correctness([record(10)], threshold=0.99)[0].mean() == pytest.approx(0.5 - 0.05 + 0.05, abs=0.06)
    with pytest.raises(ValueError, match="no records"):
        pairs.correctness([])


def test_cells_group_by_setting_and_keep_intervals():
    records = [record(10, seed=0), record(20, seed=1), record(0, "b", seed=0), record(0, "b", seed=1)]
    table = pairs.cells(records, ["init"]).set_index("init")
    assert table.at["random", "runs"] == 2
    accuracy = table.at["random", "accuracy"]
    assert accuracy == pytest.approx(0.85)
    assert accuracy.low < 0.85 < accuracy.high


def test_effect_pairs_only_what_differs_in_one_axis():
    records = [record(30, seed=s, mixup=m) for s in (0, 1) for m in ("off", "beta")]
    records += [record(10, "b", seed=s, mixup=m) for s in (0, 1) for m in ("off", "beta")]
    records += [record(99, "b", seed=7)]  # has no partner
    gain = pairs.effect(records, "init", "b", "random")
    assert gain == pytest.approx(0.2)
    assert gain.low > 0
    assert pairs.effect(records, "mixup", "beta", "off") == 0
    with pytest.raises(ValueError, match="no two records differ in schedule"):
        pairs.effect(records, "schedule", (1, 2), (3, 4))


def test_records_that_differ_in_anything_else_are_no_pair():
    """Of two architectures, rates or batch sizes neither takes the other's place, and neither is the other's partner."""
    for other in ({"arch": "resnet18"}, {"base_lr": 0.5}, {"batch_size": 8}, {"validation_fraction": 0.3}):
        with pytest.raises(ValueError, match="no two records differ in init"):
            pairs.effect([record(30, seed=0), record(10, "b", seed=0, **other)], "init", "b", "random")
        both = [record(30, seed=0), record(30, seed=0, **other), record(10, "b", seed=0)]
        assert pairs.effect(both, "init", "b", "random") == pytest.approx(0.2)


def test_two_records_of_one_setting_are_an_error_not_a_choice():
    with pytest.raises(ValueError, match=r"records random30.* and random20.* differ in init only"):
        pairs.effect([record(30, seed=0), record(20, seed=0), record(10, "b", seed=0)], "init", "b", "random")
    once = record(30, seed=0)
    assert pairs.effect([once, once, record(10, "b", seed=0)], "init", "b", "random") == pytest.approx(0.2)


def test_points_speak_in_percentage_points():
    assert pairs.points(Estimate(0.031, 0.008, 0.052)) == "+3.1 points (+0.8 to +5.2)"
    assert pairs.points(Estimate(0.031)) == "+3.1 points (no interval)"
    assert pairs.points(Estimate(0.009, -0.502, 0.520)) == f"+0.9 points ({TOO_FEW})"
    assert pairs.points(Estimate(0.009, -0.4, 0.5)) == "+0.9 points (-40.0 to +50.0)"


def test_mean_interval_is_students():
    estimate = pairs.mean_interval(np.array([1.0, 2.0, 3.0]))
    assert estimate == 2
    assert estimate.low == pytest.approx(2 - 4.3027 / np.sqrt(3), abs=1e-3)
    assert np.isnan(pairs.mean_interval(np.array([1.0])).low)


def test_inits_keep_the_order_of_the_study():
    records = [record(0, "b"), record(0), record(0, "mine.safetensors")]
    assert pairs.ordered_inits(records, ["random", "some/mine.safetensors", "b", "absent"]) == ["random", "mine.safetensors", "b"]


def test_auc_difference_agrees_with_scikit_learn_and_covers_chance():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)

    def noisy(strength: float, seed: int) -> Record:
        made = record(0, seed=seed, images=200)
        logits = (strength * (2 * np.array(made.predictions["label"]) - 1) + generator.normal(size=200)).tolist()
        return made.model_copy(update={"predictions": made.predictions | {"logit": logits}})

    strong, weak = [noisy(1.5, s) for s in (0, 1, 2)], [noisy(0.3, s) for s in (0, 1, 2)]
    by_hand = [roc_auc_score(a.table()["label"], a.table()["logit"]) for a in (*strong, *weak)]
    gap = pairs.auc_difference(strong, weak)
    assert gap == pytest.approx(np.mean(by_hand[:3]) - np.mean(by_hand[3:]))
    assert 0 < gap.low < gap < gap.high
    same = [pairs.auc_difference(weak, [noisy(0.3, s) for s in (0, 1, 2)]) for weak in ([noisy(0.3, s) for s in (0, 1, 2)] for _ in range(60))]
    assert 52 <= sum(gap.low < 0 < gap.high for gap in same) < 60


def test_seeds_that_start_from_the_same_weights_are_nested_in_them():
    def started(weights: str | None, seed: int) -> Record:
        made = record(0, seed=seed)
        return made.model_copy(update={"initialisation": made.initialisation | {"sha256": weights}})

    arm, other = [started(f"w{seed % 3}", seed) for seed in range(5)], [started(None, seed) for seed in range(5)]
    labels = pairs.pretrainings(arm, other)
    assert labels[0] == labels[3] and labels[1] == labels[4] and len(set(labels)) == 3
    assert len(set(pairs.pretrainings(other, other))) == 1
