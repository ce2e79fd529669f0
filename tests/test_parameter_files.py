"""One rule for values of parameters, in files and behind -p; the right value, not just no error."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cxrlib.cli.common import settings
from cxrlib.cli.main import app
from cxrlib.config import RunConfig
from cxrlib.parameter_files import expanded, read_parameters, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0", 0), ("007", 7), ("08", 8), ("-010", -10), ("+3", 3), ("1_000", 1000), ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("1e-3", 0.001),
        ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("0x10", "0x10"), ("0b11", "0b11"), ("0o17", "0o17"), ("2021-01-01", "2021-01-01"), ("1e", "1e"),
        ("off", "off"), ("on", "on"), ("no", "no"), ("y", "y"), ("true", True), ("False", False), ("null", None), ("None", None), ("~", None), ("", None),
        ("'010'", "010"), ("[010, 011]", [10, 11]), ("{a: 010}", {"a": 10}), ("-.inf", float("-inf")), ("=", "="),
    ],
)  # fmt: skip
def test_values_are_read_as_written(text, value):
    read = read_value(text)
    assert read == value and isinstance(read, type(value))


@pytest.mark.parametrize("text", ["010", "1e3", "1_000", "12", "0.5", "-3"])
def test_numbers_are_those_of_papermill(text):
    from papermill.cli import _resolve_type

    assert read_value(text) == _resolve_type(text)


def test_a_seed_with_a_leading_zero_is_ten(tmp_path):
    assert RunConfig.parse(settings(["seed=010"])).seed == 10
    (tmp_path / "run.yaml").write_text("seed: 010\nmixup: off\nbase_lr: 1e-2\n")
    config = RunConfig.parse(read_parameters(tmp_path / "run.yaml"))
    assert (config.seed, config.mixup, config.base_lr) == (10, "off", 0.01)
    assert type(config.seed) is int and type(config.base_lr) is float


def test_names_that_look_like_numbers_stay_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2021", "010", "1e3", "1.50", "2021-01-01"):
        Path(name).mkdir()
        config = RunConfig.parse(settings([f"data={name}", f"store={name}", "leave_out=007", "init=010"]))
        assert (config.data, config.store, config.leave_out, config.init) == (Path(name), Path(name), "007", "010")
    assert RunConfig.parse(settings(["sources=[01, 1.0]"])).sources == ("01", "1.0")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "xrays").mkdir()
    assert RunConfig.parse(settings(["data=~/xrays"])).data == tmp_path / "xrays"
    assert expanded("~/xrays") == tmp_path / "xrays"
    monkeypatch.chdir(tmp_path)
    Path("~").mkdir()
    assert expanded("~") == Path("~"), "a folder of this name, once made by mistake"


def test_keys_do_not_depend_on_how_a_number_is_written():
    plain, written = RunConfig.parse({"seed": 3, "base_lr": 0.01}), RunConfig.parse(settings(["seed=03", "base_lr=1e-2"]))
    assert plain.identity() == written.identity() and plain == written
    assert RunConfig.parse({"strict": True}).identity() == RunConfig.parse({}).identity()


def test_profiles_read_as_they_did():
    from common import ROOT

    for file in (ROOT / "profiles").glob("*.yaml"):
        assert read_parameters(file) == yaml.safe_load(file.read_text())


def test_slips_in_a_config_file_are_sentences(tmp_path):
    for text in ("seed: [1\n", "seed: 1\nseed: 2\n", "a: b: c\n", "- 1\n", "seed:\n\t1\n"):
        (tmp_path / "run.yaml").write_text(text)
        result = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "run.yaml")])
        assert result.exit_code == 1 and "run.yaml: " in result.output and isinstance(result.exception, SystemExit)
