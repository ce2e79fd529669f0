import hashlib
import itertools
import json
import subprocess
import sys

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load, load_file, save, save_file

from cxrlib.config import RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.files import safetensors_bytes
from cxrlib.model.network import LAPTOP, create_model
from cxrlib.train import photographs
from cxrlib.train.upstream import UPSTREAMS
from cxrlib.weights import resolve
from cxrlib.weights.registry import BIT_PHOTO, PHOTOGRAPHS, registry, table
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError, check_architecture

TAG = "timm:mobilenetv3_small_050.lamb_in1k"


def test_the_registry_names_what_a_reader_must_know():
    assert list(registry()) == ["random", "bit-s", "bit-m", "imagenet-lite", "fractal-s", "fractal-m", BIT_PHOTO, *PHOTOGRAPHS]
    for source in registry().values():
        assert source.name == "random" or (source.arch and source.images and source.classes and source.file)
        assert source.licence and source.origin and source.std > 0
    # About ten times the upstream data, from BiT-S to BiT-M as from fractal-s to fractal-m.
    for small, large in (("bit-s", "bit-m"), ("fractal-s", "fractal-m"), ("photo-s", "photo-m")):
        assert 8 < registry()[large].images / registry()[small].images < 13


def test_the_table_has_a_row_for_every_initialisation_and_full_rows():
    header, *rows = table()
    assert [row[0] for row in rows] == [*registry(), "timm:MODEL.TAG", "a path"]
    assert {len(row) for row in rows} == {len(header)}
    assert "25,600 computed fractals, 256 classes" in rows[5]
    photographs = next(row for row in rows if row[0] == "photo-m")
    assert "100,000 Tiny-ImageNet photographs, 200 classes" in photographs and f"the first of {PHOTOGRAPHS['photo-m']} pretrainings" in photographs[-1]
    assert any("non-commercial" in cell for cell in photographs)


def test_looking_up_shipped_weights_needs_no_torch():
    code = (
        "import sys; from cxrlib.weights.registry import table; from cxrlib.weights.resolve import resolve_initialisation as r; table(); "
        "found = r('fractal-s'); assert 'torch' not in sys.modules; print(found.sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == resolve_initialisation("fractal-s").sha256 == registry()["fractal-s"].sha256


@pytest.mark.parametrize("name", ["fractal-s", "fractal-m"])
def test_shipped_weights_fit_their_architecture_and_no_other(name):
    record = json.loads((resolve.WEIGHTS_FOLDER / f"{name}.json").read_text())
    found = resolve_initialisation(name)
    assert (found.sha256, found.arch, found.mean) == (record["sha256"], LAPTOP, 0.5)
    assert record["settings"] == UPSTREAMS[name].described() and record["steps_done"] == UPSTREAMS[name].steps
    model = create_model(LAPTOP, name, 1).state_dict()
    tensors = load_file(found.path)
    assert set(model) - set(tensors) == {"head.fc.weight", "head.fc.bias"} and set(tensors) <= set(model)
    assert all(torch.equal(model[each], tensor.float()) for each, tensor in tensors.items())
    with pytest.raises(WeightsError, match=f"'{name}' belongs to arch '{LAPTOP}', not to 'resnet18'; set arch to '{LAPTOP}'"):
        create_model("resnet18", name)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_seed_starts_from_the_pretraining_of_its_turn(name, one_run):
    count = PHOTOGRAPHS[name]
    found = [resolve_initialisation(name, seed=seed) for seed in range(2 * count)]
    assert [each.path.stem for each in found] == [f"{name}-{number}" for number in (*range(count), *range(count))]
    assert {each.name for each in found} == {name} and len({each.sha256 for each in found}) == count
    assert resolve_initialisation(name) == found[0] and registry()[name].sha256 == found[0].sha256
    for number, each in enumerate(found[:count]):
        record = json.loads(each.path.with_suffix(".json").read_text())
        settings = photographs.UPSTREAMS[f"{name}-{number}"]
        assert (record["sha256"], record["settings"], record["steps_done"]) == (each.sha256, settings.described(), settings.steps)
        assert "non-commercial" in record["source"] and len(record["archive_sha256"]) == 64
        model = create_model(LAPTOP, each, 1).state_dict()
        assert all(torch.equal(model[key], tensor.float()) for key, tensor in load_file(each.path).items())
        config = RunConfig.parse(one_run | {"init": name, "seed": number})
        assert experiment.key_of(config) == records.content_key(config.identity(), experiment.open_dataset(config).fingerprint, each.sha256, normalisation=each.normalisation())


def test_shipped_weights_are_checked_against_their_checksum(monkeypatch, tmp_path):
    for path in resolve.WEIGHTS_FOLDER.glob("*-*"):  # fractals and photographs
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for module in ("registry", "resolve"):
        monkeypatch.setattr(f"cxrlib.weights.{module}.WEIGHTS_FOLDER", tmp_path)
    path = tmp_path / "fractal-s.safetensors"
    assert resolve_initialisation("fractal-s").path == path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="has SHA-256 .*restore it with git checkout"):
        resolve_initialisation("fractal-s")
    path.unlink()
    with pytest.raises(WeightsError, match="missing; restore it with git checkout"):
        resolve_initialisation("fractal-s")
    (tmp_path / "fractal-m.json").write_text("{")
    with pytest.raises(WeightsError, match="fractal-m.json is missing or damaged"):
        registry()


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({"stem.conv.weight": torch.ones(2, 1)}, path, metadata={"mean": "0.4", "std": "0.3"})
    return path


def test_a_local_file_brings_its_normalisation_and_is_known_by_its_digest(weights_file):
    found = resolve_initialisation(str(weights_file))
    assert (found.name, found.mean, found.std, found.arch) == ("mine.safetensors", 0.4, 0.3, None)
    assert found.sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    check_architecture(found, "resnet18")  # only its shapes can tell
    save_file({"x": torch.ones(3)}, weights_file, metadata={"mean": "0.5 0.4 0.3", "std": "0.2 0.2 0.2"})
    changed = resolve_initialisation(str(weights_file))
    assert changed.sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest() != found.sha256
    assert (changed.mean, changed.std) == ((0.5, 0.4, 0.3), 0.2)
    save_file({"x": torch.ones(3)}, weights_file)
    assert resolve_initialisation(str(weights_file)).mean == 0.5


@pytest.mark.parametrize("metadata", [{"mean": "grey"}, {"mean": "0.1 0.2"}, {"std": "0"}, {"std": "nan"}, {"std": "1 1 -1"}])
def test_metadata_that_make_no_sense_are_refused(weights_file, metadata):
    save_file({"x": torch.ones(3)}, weights_file, metadata=metadata)
    with pytest.raises(WeightsError, match=f"mine.safetensors: metadata '{next(iter(metadata))}'"):
        resolve_initialisation(str(weights_file))


def test_missing_unsafe_and_damaged_files_are_refused(weights_file, tmp_path):
    with pytest.raises(WeightsError, match="neither a file nor one of: random, bit-s, bit-m, imagenet-lite"):
        resolve_initialisation("bit-xl")
    (tmp_path / "w.pt").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="may hold code"):
        resolve_initialisation(str(tmp_path / "w.pt"))
    weights_file.with_suffix(".sha256").write_text("a" * 64)
    with pytest.raises(WeightsError, match="not a{64}"):
        resolve_initialisation(str(weights_file))
    weights_file.with_suffix(".sha256").unlink()
    weights_file.write_bytes(weights_file.read_bytes()[:50])
    with pytest.raises(WeightsError, match="damaged"):
        resolve_initialisation(str(weights_file))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, with a cache laid out as the hub's client lays it out."""
    torch.manual_seed(1)
    state = timm.create_model(TAG.removeprefix("timm:")).state_dict()
    content = save(state)
    stored = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    snapshot = tmp_path / "snapshots" / "1" / "model.safetensors"
    asked = []

    def download(repository, file, local_files_only=False):
        if not local_files_only:
            asked.append(f"{repository}/{file}")
            for folder in (stored.parent, snapshot.parent):
                folder.mkdir(parents=True)
            stored.write_bytes(content)
            snapshot.symlink_to(stored)
        if not snapshot.exists():
            raise FileNotFoundError(snapshot)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    return state, stored, asked


def test_a_timm_tag_is_fetched_once_and_brings_a_normalisation_for_each_channel(hub):
    state, stored, asked = hub
    with pytest.raises(WeightsError, match="not in the hub's cache.*give its path and arch 'mobilenetv3_small_050'"):
        resolve_initialisation(TAG, download=False)
    assert not asked
    found = resolve_initialisation(TAG)
    assert resolve_initialisation(TAG, download=False) == found
    assert asked == ["timm/mobilenetv3_small_050.lamb_in1k/model.safetensors"]
    assert (found.sha256, found.arch) == (stored.name, "mobilenetv3_small_050")
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    model = create_model("mobilenetv3_small_050", TAG, 3)
    assert torch.equal(model.state_dict()["conv_stem.weight"], state["conv_stem.weight"])
    assert torch.equal(model.state_dict()["bn1.running_mean"], state["bn1.running_mean"])
    with pytest.raises(WeightsError, match="belongs to arch 'mobilenetv3_small_050'"):
        create_model("resnet18", TAG)


def test_a_hub_file_that_is_not_what_the_hub_says_is_refused(hub):
    resolve_initialisation(TAG)
    stored = hub[1]
    stored.write_bytes(stored.read_bytes()[:-4] + b"evil")
    with pytest.raises(WeightsError, match=f"not {stored.name}.*delete {stored} and fetch it again"):
        resolve_initialisation(TAG)


def test_bit_m_comes_from_the_hub_if_no_archive_is_there(monkeypatch, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.ones(3)}, path)
    asked = []
    monkeypatch.setenv("CXR_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file, **_: asked.append(repository) or str(path))
    found = resolve_initialisation("bit-m")
    assert asked == ["timm/resnetv2_50x1_bit.goog_in21k"]
    assert (found.name, found.path, found.mean, found.arch) == ("bit-m", path, 0.5, "resnetv2_50x1_bit")
    with pytest.raises(WeightsError, match="missing"):
        create_model("resnetv2_50x1_bit", "bit-m")


def test_an_unknown_tag_names_tags_that_exist():
    for tag in ("resnet50.no_such_tag", "resnet50"):
        with pytest.raises(WeightsError, match="for example: timm:resnet50[.]"):
            resolve_initialisation(f"timm:{tag}")


def test_a_run_records_the_normalisation_and_the_digest(hub, one_run):
    run = one_run | {"arch": "mobilenetv3_small_050", "image_channels": 3, "init": TAG}
    key = experiment.run(run, progress=False).key
    origin = records.load(one_run["store"], key).initialisation
    assert origin == {"name": TAG, "sha256": hub[1].name, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "in_key": ["mean", "std"]}


@pytest.mark.parametrize(("mean", "std"), [(0.4, 0.3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_the_weights_of_a_run_expect_what_their_initialisation_did(one_run, tmp_path, mean, std):
    path = tmp_path / "start.safetensors"
    as_text = {name: " ".join(map(str, value if isinstance(value, tuple) else (value,))) for name, value in {"mean": mean, "std": std}.items()}
    save_file(create_model(LAPTOP, "random", 1).state_dict(), path, metadata=as_text)
    record = experiment.run(one_run | {"init": str(path)}, progress=False)
    again = resolve_initialisation(str(one_run["store"] / record.key / "weights.safetensors"))
    assert (again.mean, again.std, again.arch, again.sha256) == (mean, std, LAPTOP, record.weights_sha256)
    create_model(LAPTOP, str(again.path), 1)
    with pytest.raises(WeightsError, match=f"belongs to arch '{LAPTOP}', not to 'resnet18'"):
        create_model("resnet18", str(again.path), 1)


def test_the_same_weights_are_the_same_bytes_whatever_the_order_of_their_metadata():
    tensors, metadata = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.float16)}, {"std": "0.3", "mean": "0.4", "ärch": 'x"'}
    content = {safetensors_bytes(tensors, dict(order)) for order in itertools.permutations(metadata.items()) for _ in range(5)}
    assert len(content) == 1
    (content,) = content
    loaded = load(content)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items()) and set(loaded) == set(tensors)
