
import pytest
from common import ROOT

from cxrlib.config import ParameterError, RunConfig
from cxrlib.study.parameters import STUDIES, DataSize, Performance, Profile, Sensitivity


def test_defaults_are_the_papers():
    config = RunConfig()
    assert (config.arch, config.base_lr, config.momentum, config.batch_size) == ("resnetv2_50x1_bit", 0.003, 0.9, 64)
    assert (config.resize, config.crop, config.schedule) == (512, 480, (500, 1500, 3000, 4500, 10000))
    assert (config.mixup, config.mixup_value, config.rebalance, config.weight_decay) == ("beta", 0.1, True, 0.0)


def test_the_papers_grids_have_the_papers_sizes():
    assert len(Sensitivity().runs()) == 72
    assert len(Performance().runs()) == 3
    assert len(DataSize().runs()) == 18  # 15 and the full set
    identities = {str(run.identity()) for study in (Sensitivity(), Performance(), DataSize()) for run in study.runs()}
    assert len(identities) == 87


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"resize": 64, "crop": 128}, "crop 128 is larger than resize 64"),
        ({"batch_size": 31}, "odd"),
        ({"batch_size": "many"}, "valid integer"),
        ({"sede": 3}, "did you mean 'seed'"),
        ({"nonsense": 3}, "known parameters"),
        ({"data": "no/such/folder"}, "'no/such/folder' does not exist"),
        ({"schedule": [10, 5]}, "must rise"),
        ({"schedule": [10]}, "must rise"),
        ({"mixup": "sometimes"}, "'off', 'beta' or 'fixed'"),
        ({"batch_size": 8, "accumulation_steps": 3}, "does not divide"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_parameter_is_a_sentence(values, says):
    with pytest.raises(ParameterError, match=says):
        RunConfig.parse(values)


def test_an_external_folder_must_exist():
    with pytest.raises(ParameterError, match="external: folder 'no/such/folder' does not exist"):
        Performance.parse({"external": "no/such/folder"})


def test_notebook_variables_are_parameters_and_nothing_else_is():
    namespace = {"__name__": "x", "_i": "code", "In": [], "pytest": pytest, "Performance": Performance, "resize": 64, "crop": 56}
    assert Performance.from_notebook(namespace).crop == 56
    with pytest.raises(ParameterError, match="did you mean 'seeds'"):
        Performance.from_notebook(namespace | {"sedes": [1]})


def test_identity_leaves_out_what_does_not_change_numbers(tmp_path):
    base = RunConfig()
    assert base.identity() == RunConfig(store=tmp_path, cache=tmp_path, data=tmp_path, threads=1, device="cpu").identity()
    for name, value in {"seed": 1, "crop": 448, "mixup": "fixed", "momentum": 0.8, "precision": "bf16", "flip": False}.items():
        assert base.identity() != RunConfig(**{name: value}).identity(), name
    assert RunConfig(mixup="off", mixup_value=0.1).identity() == RunConfig(mixup="off", mixup_value=0.2).identity()


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("profiles/*.yaml")))
def test_profiles_are_valid_for_every_notebook(name):
    profile = Profile.load(name)
    for notebook in STUDIES:
        STUDIES[notebook].parse(profile.parameters(notebook))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("description: x\nnotebooks: {99_none: {}}", "no notebook '99_none'"),
        ("description: x\ncommon: {nonsense: 1}", "no notebook has the parameter 'nonsense'"),
        ("description: x\nnotebooks: {05_grad_cam: {crop: -1}}", "05_grad_cam"),
        ("description: [", "p.yaml"),
        ("surprise: 1", "surprise"),
    ],
)
def test_a_wrong_profile_names_file_and_place(tmp_path, text, says):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ParameterError, match=says):
        Profile.load("p", tmp_path)


def test_an_unknown_profile_lists_the_known(tmp_path):
    (tmp_path / "p.yaml").write_text("description: x")
    with pytest.raises(ParameterError, match="there are: p"):
        Profile.load("q", tmp_path)


def test_a_field_added_later_leaves_the_keys_of_earlier_records_alone():
    assert "freeze" not in RunConfig().identity()
    assert RunConfig(freeze=True).identity()["freeze"] is True
