"""Pretraining on photographs: settings, resuming, what the record says, and the command."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cxrlib.cli.main import app
from cxrlib.data.photographs import ArchiveError
from cxrlib.files import file_digest
from cxrlib.train import photographs
from cxrlib.train.upstream import Upstream
from cxrlib.weights.registry import BIT_PHOTO, PHOTOGRAPHS, registry
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WEIGHTS_VARIABLE, WeightsError

TINY = Upstream(classes=3, instances=8, size=32, crop=24, steps=20, batch_size=8, warmup=2, base_lr=0.05)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three classes of stripes in colour at 64 px, each with a width of its own, at random places."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("zip") / "tiny-imagenet-200.zip"
    wnids = ["n00000003", "n00000001", "n00000002"]

    def jpeg(label):
        wave = np.sin((np.arange(64) + rng.integers(64)) * 2 * np.pi / (4 * 3**label))
        picture = np.broadcast_to(127 + 100 * wave[:, None], (64, 64))[..., None] * rng.uniform(0.6, 1, 3)
        buffer = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8)).save(buffer, "JPEG")
        return buffer.getvalue()

    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny-imagenet-200/wnids.txt", "\n".join(wnids))
        lines = []
        for label, wnid in enumerate(wnids):
            for number in range(8):
                file.writestr(f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{number}.JPEG", jpeg(label))
            for number in range(4 * label, 4 * label + 4):
                file.writestr(f"tiny-imagenet-200/val/images/val_{number}.JPEG", jpeg(label))
                lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
        file.writestr("tiny-imagenet-200/val/val_annotations.txt", "\n".join(lines))
    return path


def test_rungs_share_epochs_and_controls_share_steps():
    rungs = [photographs.FAMILIES[name] for name in ("photo-s", "photo-60", "photo-m")]
    assert [each.classes for each in rungs] == [20, 60, 200] and {each.instances for each in rungs} == {500}
    assert {each.steps * each.batch_size / (each.classes * each.instances) for each in rungs} == {photographs.EPOCHS}
    assert rungs[2].classes * rungs[2].instances == 10 * rungs[0].classes * rungs[0].instances
    for control, data, steps in (("photo-s-long", rungs[0], rungs[2]), ("photo-m-short", rungs[2], rungs[0])):
        found = photographs.FAMILIES[control]
        assert found.steps == steps.steps and dataclasses.replace(found, steps=data.steps, warmup=data.warmup) == data
    assert set(PHOTOGRAPHS) <= set(photographs.FAMILIES) and set(PHOTOGRAPHS.values()) <= set(range(1, photographs.PRETRAININGS + 1))
    for name, settings in photographs.UPSTREAMS.items():
        if name == BIT_PHOTO:
            assert settings.arch == registry()[BIT_PHOTO].arch and settings.classes * settings.instances == registry()[BIT_PHOTO].images
            continue
        family, _, seed = name.rpartition("-")
        assert settings == dataclasses.replace(photographs.FAMILIES[family], seed=int(seed)) and int(seed) < photographs.PRETRAININGS


@pytest.mark.parametrize("name", ["photo-m", "photo-s-1", BIT_PHOTO])
def test_what_is_pretrained_on_photographs_asks_for_them(name, tmp_path):
    said = CliRunner().invoke(app, ["upstream", name, "--out", str(tmp_path)])
    assert said.exit_code == 1 and f"'{name}' is pretrained on photographs; name their archive with --photos=" in said.output


def test_it_learns_and_its_record_says_from_what(archive, tmp_path):
    torch.set_num_threads(1)
    record = photographs.build("tiny", archive, tmp_path, tmp_path / "c", dataclasses.replace(TINY, steps=60), threads=1)
    assert record == json.loads((tmp_path / "tiny.json").read_text())
    assert record["archive_sha256"] == file_digest(archive) and "non-commercial" in record["source"]
    curve = [row["validation_accuracy"] for row in record["history"]]
    assert len(curve) == 20 and curve[-1] == record["held_out_accuracy"] > 0.6
    assert str(archive.parent) not in (tmp_path / "tiny.json").read_text()
    assert resolve_initialisation(str(tmp_path / "tiny.safetensors")).sha256 == record["sha256"]


def test_stopped_it_goes_on_bit_for_bit_and_finished_it_stays(archive, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    whole = photographs.build("tiny", archive, tmp_path / "a", tmp_path / "a", TINY, threads=1)
    part = photographs.build("tiny", archive, tmp_path / "b", tmp_path / "b", TINY, threads=1, stop_after=0.0)
    assert part["steps_done"] == 1 and not (tmp_path / "b" / "tiny.json").exists()
    resumed = photographs.build("tiny", archive, tmp_path / "b", tmp_path / "b", TINY, threads=1)
    assert resumed["sha256"] == whole["sha256"] and not list((tmp_path / "b").glob("*checkpoint*"))
    monkeypatch.setattr(photographs, "pretrain_and_save", lambda *_, **__: pytest.fail("made again"))
    assert photographs.build("tiny", archive, tmp_path / "a", tmp_path / "a", TINY) == json.loads(json.dumps(whole))


def test_another_archive_is_another_pretraining(archive, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    settings = dataclasses.replace(TINY, steps=2)
    photographs.build("tiny", archive, tmp_path, tmp_path / "c", settings, threads=1)
    other = tmp_path / "other.zip"
    other.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(other, "a") as file:
        file.writestr("tiny-imagenet-200/words.txt", "n00000001\tthing")

    class Again(Exception):
        pass

    def called(*_args, **_kwargs):
        raise Again

    monkeypatch.setattr(photographs, "pretrain_and_save", called)
    with pytest.raises(Again):
        photographs.build("tiny", other, tmp_path, tmp_path / "c", settings)


def test_the_command_makes_a_family_and_says_how_to_use_it(archive, tmp_path, monkeypatch):
    settings = dataclasses.replace(TINY, steps=2)
    monkeypatch.setattr(photographs, "UPSTREAMS", {"photo-s-0": settings, "photo-s-1": dataclasses.replace(settings, seed=1), "photo-m-0": settings})
    done = CliRunner().invoke(app, ["upstream", "photo-s", "--photos", str(archive), "--out", str(tmp_path), "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"photo-s-0", "photo-s-1"}
    assert f"use it with -p init={tmp_path / 'photo-s-1.safetensors'}" in done.output.replace("\n", "")


def test_bfloat16_learns_too_and_is_another_pretraining(archive, tmp_path):
    torch.set_num_threads(1)
    settings = dataclasses.replace(TINY, steps=60, precision="bf16")
    record = photographs.build("tiny", archive, tmp_path, tmp_path, settings, threads=1)
    assert record["held_out_accuracy"] > 0.6 and record["settings"]["precision"] == "bf16"
    assert "precision" not in TINY.described(), "records of before have none and must stay what they are"
    plain = photographs.build("tiny", archive, tmp_path, tmp_path, dataclasses.replace(settings, precision="fp32"), threads=1)
    assert plain["sha256"] != record["sha256"]


def test_weights_too_large_to_ship_are_found_where_they_are_made(archive, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(WeightsError, match="neither in .*weights nor in .*upstream; make it with cxr upstream bit-photo"):
        resolve_initialisation(BIT_PHOTO)
    made = tmp_path / ".cache/upstream"
    record = photographs.build(BIT_PHOTO, archive, made, made, dataclasses.replace(TINY, steps=1, classes=3), threads=1)
    found = resolve_initialisation(BIT_PHOTO)
    assert (found.sha256, found.mean, found.arch) == (record["sha256"], 0.5, photographs.BIT_ARCH)
    (made / f"{BIT_PHOTO}.safetensors").write_bytes(b"other")
    with pytest.raises(WeightsError, match="damaged or was changed: make it again"):
        resolve_initialisation(BIT_PHOTO)


def test_wrong_zips_and_names_get_a_sentence(archive, tmp_path):
    with pytest.raises(ArchiveError, match="has 3 classes and 200 are needed"):
        photographs.build("photo-m-0", archive, tmp_path)
    for arguments, sentence in (
        (["--photos", str(tmp_path / "none.zip")], "there is no such file"),
        (["photo-x", "--photos", str(archive)], "there is no upstream 'photo-x'"),
        (["photo-x"], "there is no upstream 'photo-x'; there are: fractal-s"),
    ):
        done = CliRunner().invoke(app, ["upstream", *arguments, "--out", str(tmp_path), "--workers", "1"])
        assert done.exit_code == 1 and sentence in done.output.replace("\n", " ") and "Traceback" not in done.output
