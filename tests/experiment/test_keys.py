"""What decides a number joins the key of a run, and keys that are recorded stay as they are."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save

import cxrlib
from cxrlib.book.notebooks import clean, path_replacer
from cxrlib.config import RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables
from cxrlib.model import network
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import Initialisation

ROOT = Path(cxrlib.__file__).parent.parent
ARCH = "mobilenetv3_small_050"
TAG = f"timm:{ARCH}.lamb_in1k"


@pytest.fixture
def tagged(tmp_path, monkeypatch):
    """A hub tag whose file can also be given by its path: timm states means of photographs, the file says nothing."""
    torch.manual_seed(1)
    content = save(timm.create_model(ARCH).state_dict())
    path = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    path.parent.mkdir()
    path.write_bytes(content)
    (tmp_path / "model.safetensors").symlink_to(path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "model.safetensors"))
    return tmp_path / "model.safetensors"


def test_the_same_weights_with_another_mean_are_another_run(tagged, one_run):
    """S1: each has its key and its record; neither loads that of the other."""
    both = [RunConfig.parse(one_run | {"arch": ARCH, "image_channels": 3, "init": init}) for init in (TAG, str(tagged))]
    keys = [experiment.key_of(config) for config in both]
    assert len(set(keys)) == 2
    found = [experiment.run(config, progress=False) for config in both]
    assert [record.key for record in found] == keys
    assert [record.initialisation["mean"] for record in found] == [(0.485, 0.456, 0.406), 0.5]
    logits = [record.table()["logit"].to_numpy() for record in found]
    assert abs(logits[0] - logits[1]).max() > 1e-4
    again = [records.load(config.store, key) for config, key in zip(both, keys, strict=True)]
    assert [record.initialisation["name"] for record in again] == [TAG, "model.safetensors"]


def test_the_record_of_an_older_version_is_not_taken_for_the_other(tagged, one_run):
    """A run of a tag, recorded under the key without mean and std, is still a record; by its path the file is trained anew."""
    tag, path = (RunConfig.parse(one_run | {"arch": ARCH, "image_channels": 3, "init": init}) for init in (TAG, str(tagged)))
    record = experiment.run(tag, progress=False)
    initialisation = {name: value for name, value in record.initialisation.items() if name != "in_key"}
    old = record.model_copy(update={"initialisation": initialisation, "key": experiment.key_of(path)})
    records.save_without_weights(old, tag.store)
    assert records.load(tag.store, old.key) is not None, "it is what its checksum and key say"
    assert records.recorded(path.store, old.key, resolve_initialisation(path.init)) is None
    assert experiment.run(path, progress=False).initialisation["mean"] == 0.5


def test_keys_are_what_they_were_where_the_file_says_how_it_is_used(one_run, tmp_path):
    """Named weights, and files with a mean of their own, keep their keys."""
    from safetensors.torch import save_file

    assert resolve_initialisation("fractal-s").normalisation() == {}
    assert Initialisation("random").normalisation() == {}
    save_file({"x": torch.ones(3)}, tmp_path / "w.safetensors", {"mean": "0.3", "std": "0.2"})
    found = resolve_initialisation(str(tmp_path / "w.safetensors"))
    assert found.mean == 0.3 and found.normalisation() == {}
    config = RunConfig.parse(one_run).identity()
    plain = {"protocol": cxrlib.PROTOCOL_VERSION, "data": "f", "weights": found.sha256, "config": config | {"init": None}}
    assert records.content_key(config, "f", found.sha256) == hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:20]


def test_every_committed_record_keeps_its_key():
    count = 0
    for table in ("quarter", "quarter-lite", "quarter-validation", "upstream", "confounding"):
        for record in record_tables.read_table(ROOT / "results" / f"{table}.parquet"):  # which derives every key anew
            assert "in_key" not in record.initialisation
            count += 1
    assert count > 700


def code_version(folder: Path, **environment: str) -> str:
    """What a fresh process says whose package lies in ``folder``."""
    code = "from cxrlib.experiment.record import code_version; print(code_version())"
    command = [sys.executable, "-c", code]
    variables = os.environ | {"PYTHONPATH": str(folder)} | environment
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def other_repository(tmp_path):
    """A repository of something else, with a commit."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "file").write_text("x")
    for command in (["init", "-q"], ["add", "file"], ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")})
    return folder


def test_the_code_version_is_that_of_the_package_and_of_no_other_repository(other_repository):
    """S11: an environment inside another repository, also one that ignores it; GIT_DIR and GIT_WORK_TREE."""
    inside = other_repository / "venv" / "lib"
    inside.mkdir(parents=True)
    (inside / "cxrlib").symlink_to(ROOT / "cxrlib")
    (other_repository / ".gitignore").write_text("venv\n")
    here = code_version(ROOT)
    assert code_version(ROOT, GIT_DIR=str(other_repository / ".git")) == here
    assert code_version(ROOT, GIT_DIR=str(other_repository / ".git"), GIT_WORK_TREE=str(ROOT)) == here
    assert code_version(ROOT, GIT_CEILING_DIRECTORIES=str(ROOT.parent), GIT_INDEX_FILE="/nowhere") == here
    copied = other_repository / "copied"
    subprocess.run(["cp", "-r", str(ROOT / "cxrlib"), str(copied)], check=True)
    (other_repository / "lib").mkdir()
    copied.rename(other_repository / "lib" / "cxrlib")
    assert code_version(other_repository / "lib") == cxrlib.__version__


@pytest.mark.parametrize(
    ("replacements", "text", "expected"),
    [
        ({"//": "~/"}, "https://doi.org/10.3390/x", "https://doi.org/10.3390/x"),
        ({"/": "."}, "a/b https://x/y", "a/b https://x/y"),
        ({"/d": "…/d"}, "https://doi.org/d/deep /d/x '/d' a/d /data", "https://doi.org/d/deep …/d/x '…/d' a/d /data"),
        ({"/home/x/": "~/", "/home/x/book/": ""}, "/home/x/book/a.md and /home/x/b, file:///home/x/c", "a.md and ~/b, file://~/c"),
        ({"/srv/my_data.v1": "…/my_data.v1"}, "in /srv/my&#95;data&#46;v1/train", "in …/my&#95;data&#46;v1/train"),
        ({"/srv/a": "…/a"}, "/srv/a-b /srv/ab /srv/a/b", "/srv/a-b /srv/ab …/a/b"),
    ],
)
def test_paths_are_replaced_where_they_are_paths(replacements, text, expected):
    """S12 and its kind: HOME=/ or a folder with a short name must not change links."""
    assert path_replacer(replacements)(text) == expected


def test_a_page_made_with_the_root_as_home_keeps_its_links(monkeypatch):
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    output = new_output("display_data", data={"text/markdown": "[DOI](https://doi.org/10.3390/x)"})
    notebook = new_notebook(cells=[new_code_cell("open('/srv/data')", outputs=[output])])
    monkeypatch.setenv("HOME", "/")
    clean(notebook, {"/book/": "", str(Path.home()) + os.sep: "~/"})
    assert notebook.cells[0].outputs[0].data["text/markdown"] == "[DOI](https://doi.org/10.3390/x)"
    assert notebook.cells[0].source == "open('/srv/data')"


def test_a_network_of_one_size_says_which(one_run):
    """C6: a transformer stopped at its first batch with an assertion."""
    with pytest.raises(ValueError, match="arch 'vit_tiny_patch16_224' takes images of 224 px only, and crop is 32; set crop to 224, or choose a convolutional timm model"):
        experiment.run(one_run | {"arch": "vit_tiny_patch16_224"}, progress=False)


@pytest.mark.parametrize("arch", ["inception_v3", "visformer_tiny"])
def test_a_network_that_needs_larger_images_says_so(arch):
    """Some stop with torch's words about kernels, some with timm's assertions."""
    with pytest.raises(ValueError, match=f"arch '{arch}' cannot take images of 32 px .*; set crop to more, such as 224, or choose another arch"):
        network.check_size(network.create_model(arch, "random", 1), arch, 32, 1)
    ready = network.create_model("resnet18", "random", 1).train()
    state = torch.get_rng_state()
    network.check_size(ready, "resnet18", 32, 1)
    assert ready.training and torch.equal(state, torch.get_rng_state()), "nothing of the run changes"
