"""The systems of related work: features, support vector machines, networks that timm lacks, and the list itself."""

import re

import numpy as np
import pytest
import torch
from common import ROOT

from cxrlib.cli import predict
from cxrlib.config import ParameterError, RunConfig, is_classical
from cxrlib.experiment import costs, record_tables
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.explain import default_target_layer, grad_cam
from cxrlib.model import backbones
from cxrlib.model import machine as classical
from cxrlib.model.network import count_parameters, create_model
from cxrlib.study import plan, systems
from cxrlib.study.pages import related
from cxrlib.study.parameters import Profile, RelatedWork
from cxrlib.train import machine as fitting
from cxrlib.train.finetune import train
from cxrlib.train.score import ImageSet
from cxrlib.weights.source import Initialisation

SMALL = {"resize": 36, "crop": 32, "schedule": (0, 2), "batch_size": 4, "eval_every": 2}


# Local binary patterns


def images(count=6, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (count, size, size), dtype=np.uint8)


def test_patterns_are_histograms_that_brightness_does_not_change():
    found = classical.binary_patterns(images())
    assert found.shape == (6, classical.CELLS**2 * 28)
    per_cell = [found[:, :160].reshape(6, 16, 10).sum(axis=2), found[:, 160:].reshape(6, 16, 18).sum(axis=2)]
    assert np.allclose(per_cell, 1)
    brighter, mirrored = classical.binary_patterns(images() + np.uint8(55)), classical.binary_patterns(images()[:, :, ::-1])
    # The order of grey values is all that counts; interpolated neighbours may round a tie the other way.
    assert 5 * np.abs(found - brighter).mean() < np.abs(found - mirrored).mean()


def test_the_module_sees_the_bytes_that_the_cache_holds():
    machine = create_model("svm:lbp", "random", 1)
    normalised = (torch.from_numpy(images()).float() / 255 - 0.5).unsqueeze(1) / 0.5
    assert np.array_equal(machine.features(normalised).numpy(), classical.binary_patterns(images()))


# Support vector machines


def test_a_machine_is_a_run_like_any_other(one_run):
    config = RunConfig(**one_run | {"arch": "svm:lbp", "resize": 32, "schedule": (0, 1), "eval_every": 1, "batch_size": 2, "flip": False})
    record = experiment.run(config, progress=False)
    (row,) = record.history
    assert row["test_auc"] > 0.9, "bright discs on noise have another texture"
    assert row["penalty"] in fitting.PENALTIES
    again = records.load_model(record, config.store)
    dataset = experiment.open_dataset(config)
    pixels = torch.from_numpy(dataset.images("test", 32, config.cache).copy())
    with torch.inference_mode():
        logits = again(((pixels.float() / 255 - 0.5) / 0.5).unsqueeze(1)).reshape(-1).numpy()
    assert logits == pytest.approx(record.table()["logit"].to_numpy(), abs=1e-4), "the stored file is the whole machine"
    file = dataset.folder / "test" / dataset.index.loc[dataset.index["split"] == "test", "file"].iloc[0]
    (line,) = [line for line in predict.predict_files([file], record.key, config.store) if "\t" in line]
    assert float(line.split("\t")[1]) == pytest.approx(record.table()["probability"].iloc[0], abs=1e-3)


def test_folds_keep_patients_together(one_run, monkeypatch):
    from sklearn import model_selection

    seen = []
    split = model_selection.StratifiedGroupKFold.split

    def watched(self, x, y=None, groups=None):
        for fit, held in split(self, x, y, groups):
            seen.append(set(groups[fit]) & set(groups[held]))
            yield fit, held

    monkeypatch.setattr(model_selection.StratifiedGroupKFold, "split", watched)
    experiment.run(RunConfig(**one_run | {"arch": "svm:lbp", "resize": 32, "schedule": (0, 1)}), progress=False)
    assert len(seen) >= 2 * fitting.FOLDS
    assert not any(seen)


def test_deep_features_are_those_of_the_frozen_network():
    machine = create_model("svm:lbp+resnetv2_laptop", "fractal-m", 1)
    network = create_model("resnetv2_laptop", "fractal-m", 1).eval()
    batch = torch.rand(2, 1, 32, 32) * 2 - 1
    machine.train()
    with torch.no_grad():
        expected = network.forward_features(batch).mean(dim=(2, 3))
    assert torch.allclose(machine.features(batch)[:, 448:], expected, atol=1e-5)
    assert count_parameters(machine) == 448 + 512 + 1, "the linear layer alone"


@pytest.mark.parametrize(
    ("arch", "init", "message"),
    [
        ("svm:", "random", "is none of 'svm:lbp'"),
        ("svm:lbp+lbp", "random", "is none of 'svm:lbp'"),
        ("svm:resnet34+lbp", "random", "is none of 'svm:lbp'"),
        ("svm:lbp", "fractal-m", "no network for the weights"),
        ("svm:nothing", "random", "arch 'nothing' is neither"),
    ],
)
def test_a_wrong_name_is_answered(arch, init, message):
    with pytest.raises(ValueError, match=message):
        create_model(arch, init, 1)


def test_one_patient_of_a_class_is_too_few():
    config = RunConfig(arch="svm:lbp", image_channels=1, **SMALL)
    training = ImageSet(images(4), np.array([0, 0, 1, 1]), np.arange(4))
    with pytest.raises(ValueError, match="two training patients of each class"):
        fitting.fit(create_model("svm:lbp", "random", 1), config, training, {}, np.array(["a", "b", "c", "c"]), Initialisation("random"))


# Networks


@pytest.mark.parametrize("arch", backbones.NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_that_timm_lacks(arch, channels):
    model = create_model(arch, "random", channels).eval()
    batch = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        assert model(batch).shape == (2, 1)
        assert torch.equal(model(batch), model.forward_head(model.forward_features(batch)))
    with torch.no_grad():
        model.get_classifier().bias.fill_(-1.0)
        assert (model(batch) == -1).all(), "a single logit must be able to say no"
    assert grad_cam(model, batch, default_target_layer(model, batch)).shape == (2, 64, 64)


@pytest.mark.parametrize("name", [name for name, system in systems.SYSTEMS.items() if not is_classical(system.arch)])
def test_every_network_learns_a_step(name):
    """The large ones too, which are not trained here; ImageNet-Lite's weights may be absent, so all start at random."""
    system = systems.SYSTEMS[name]
    config = RunConfig(arch=system.arch, image_channels=system.image_channels, base_lr=system.base_lr, mixup=system.mixup, threads=1, device="cpu", **SMALL)
    model = create_model(system.arch, "random", system.image_channels)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    training = ImageSet(images(8, 36), np.arange(8) % 2, np.arange(8))
    trained, progress = train(model, config, training, {"test": ImageSet(images(4, 32), np.arange(4) % 2, np.arange(4))}, Initialisation("random"))
    assert np.isfinite(progress.history[-1]["train_loss"])
    assert any(not torch.equal(a, b) for a, b in zip(before, trained.parameters(), strict=True))


# The list


def test_every_published_system_is_in_the_references():
    keys = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {published.citation for system in systems.SYSTEMS.values() for published in system.published}
    assert cited <= keys
    text = (ROOT / "notebooks" / "07_related_work.ipynb").read_text(encoding="utf-8")
    assert not [key for key in cited if key not in text], "the notebook cites each"


def test_published_numbers_stand_in_the_paper():
    paper = ROOT.parent / "shared" / "paper" / "paper.md"
    if not paper.is_file():
        pytest.skip("the paper is not here")
    section = paper.read_text(encoding="utf-8").split("## 2. Related Work")[1].split("### 3.")[0]
    for system in systems.SYSTEMS.values():
        for published in system.published:
            if published.accuracy is not None:
                assert f"{published.accuracy:g}%" in section


def test_every_family_has_a_system_and_the_reference_is_one():
    named = {systems.FINE_TUNED, systems.DEEP_FEATURES, systems.TEXTURE, systems.TAILORED, systems.FUSED, systems.OURS}
    assert {system.family for system in systems.SYSTEMS.values()} == named
    assert systems.REFERENCE in systems.SYSTEMS


def test_a_study_gives_every_system_the_same_data_steps_and_crop():
    study = RelatedWork(resize=64, crop=56, schedule=(1, 9), batch_size=32, seeds=(0, 1))
    runs = study.runs()
    assert len({str(run.identity()) for run in runs}) == 2 * len(systems.SYSTEMS)
    networks = [run for run in runs if not is_classical(run.arch)]
    assert {(run.schedule, run.batch_size, run.resize, run.crop, run.validation_fraction) for run in networks} == {((1, 9), 32, 64, 56, 0.0)}
    longer = RelatedWork(resize=64, crop=56, schedule=(1, 99), batch_size=8)
    assert study.runs_of("lbp-svm")[0].identity() == longer.runs_of("lbp-svm")[0].identity(), "a machine takes no steps"
    stepped = study.model_copy(update={"momentum": 0.5, "weight_decay": 0.1, "rebalance": False, "precision": "bf16"})
    assert study.runs_of("lbp-svm")[0].identity() == stepped.runs_of("lbp-svm")[0].identity()
    assert study.runs_of("tailored-cnn")[0].identity() != stepped.runs_of("tailored-cnn")[0].identity()
    assert RelatedWork(start="imagenet").runs_of("vgg16")[0].init == "timm:vgg16.tv_in1k"
    with pytest.raises(ParameterError, match="no system 'resnet5'; did you mean 'resnet50'"):
        RelatedWork.parse({"systems": ["resnet5"]})


def test_what_is_not_trained_here_is_planned_with_its_cost(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(plan, "data_is_here", lambda _folder: False)
    study = RelatedWork.parse(Profile.load("quarter").parameters("07_related_work"))
    assert set(study.systems) == set(systems.SYSTEMS)
    table = plan.plan("quarter", throughput=0.05, seeds=[0])
    of_study = table[table["studies"].map(lambda names: "07_related_work" in names)]
    assert len(of_study) == len(systems.SYSTEMS)
    vgg, shuffle = (float(of_study.loc[of_study["arch"] == arch, "hours"].iloc[0]) for arch in ("vgg16", "torchvision:shufflenet_v2_x1_0"))
    assert vgg > 50 * shuffle > 0
    assert "weights of timm:resnet50.a1_in1k are not here" in of_study.loc[of_study["arch"] == "svm:resnet50", "reason"].iloc[0]


def test_a_run_without_records_is_estimated_from_one_with():
    """The committed records hold runs without mixup, whose configuration has a null."""
    recorded = [run for run in record_tables.read_table(ROOT / "results" / "quarter.parquet") if run.config["arch"] == "torchvision:shufflenet_v2_x1_0"]
    assert recorded
    same = RunConfig(**{name: value for name, value in recorded[0].config.items() if value is not None})
    assert costs.seconds_like(same, recorded[0]) == pytest.approx(recorded[0].wall_seconds)
    longer = same.model_copy(update={"schedule": (1, 2 * same.schedule[-1])})
    assert costs.seconds_like(longer, recorded[0]) == pytest.approx(2 * recorded[0].wall_seconds, rel=0.1)


def test_a_machine_has_no_map_to_explain(one_run, tmp_path):
    config = RunConfig(**one_run | {"arch": "svm:lbp", "resize": 32, "schedule": (0, 1), "eval_every": 1, "batch_size": 2})
    record = experiment.run(config, progress=False)
    file = next((one_run["data"] / "test").glob("*.png"))
    with pytest.raises(ValueError, match="no feature map to explain"):
        list(predict.predict_files([file], record.key, config.store, tmp_path / "out.png"))


def test_a_system_that_learned_nothing_is_no_rival(monkeypatch):
    monkeypatch.chdir(ROOT)
    real = related.Compared.recorded(ROOT / "results" / "quarter.parquet", "quarter", 0.5)
    said = related.answer(real)
    count, others = (int(number) for number in re.search(r"(\d+) of (\d+) other systems", said).groups())
    found = {name: values for name, values in real.against.items() if name not in real.stuck}
    assert "vgg16" in real.stuck and others == len(found) and count == sum(values["AUC"].low > 0 for values in found.values())
    assert all(systems.SYSTEMS[name].title in said.partition("Left out")[2] for name in real.stuck)
    assert f"{real.planned.crop} px, {real.planned.schedule[-1]} steps" in said
    assert ("LBP (56 px, no steps)", "LBP (224 px, no steps)") == tuple(name for name, _ in real.rows() if name.startswith("LBP ("))
    guesses = related.guesses()
    assert guesses["published_least"] == min(one.accuracy for system in systems.SYSTEMS.values() for one in system.published if one.accuracy)
