"""A second test set: what is accepted as one, scores that are kept, and images that were seen in training."""

import json
import shutil

import numpy as np
import pytest
from common import write_folder
from PIL import Image
from typer.testing import CliRunner

from cxrlib import data
from cxrlib.cli.main import app
from cxrlib.config import ParameterError, Parameters
from cxrlib.experiment import external
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.experiment.garbage import garbage
from cxrlib.files import text_digest
from cxrlib.study.pages.second_set import SecondSet, scored
from cxrlib.study.parameters import Performance


@pytest.fixture
def folder(tmp_path):
    """Other patients than those of ``covidx_folder``, in a folder that has nothing but a test split."""
    made = write_folder(tmp_path / "other", train=1, test=4, seed=9)
    shutil.rmtree(made / "train")
    (made / "train.txt").unlink()
    text = (made / "test.txt").read_text()
    (made / "test.txt").write_text(text.replace("\ntest", "\nother").replace("testnegative0", "othernegative0"))
    return made


@pytest.fixture
def run(one_run):
    return experiment.run(one_run, progress=False)


# What is accepted


def test_a_folder_with_a_test_split_alone_is_enough(folder, tmp_path):
    dataset = external.open_external(folder, cache=tmp_path / "cache")
    assert set(dataset.index["split"]) == {"test"}
    assert len(dataset.index) == 8
    assert dataset.images("test", 16, tmp_path / "cache").shape == (8, 16, 16)
    with pytest.raises(data.DataError, match="train"):
        data.read_index(folder)


def test_a_training_split_is_not_looked_at(folder, tmp_path):
    alone = external.open_external(folder, cache=tmp_path / "cache").fingerprint
    (folder / "train.txt").write_text("this is no row\n")
    assert external.open_external(folder, cache=tmp_path / "cache").fingerprint == alone


def test_labels_may_lie_elsewhere(folder, tmp_path):
    (tmp_path / "labels").mkdir()
    (folder / "test.txt").rename(tmp_path / "labels" / "test_V9.txt")
    assert len(external.open_external(folder, tmp_path / "labels", tmp_path / "cache").index) == 8


def test_what_cannot_be_a_test_set_says_why(folder, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(data.DataError, match=r"nowhere: there is no such folder; give one with test/ in"):
        external.open_external(tmp_path / "nowhere", cache=cache)
    with pytest.raises(data.DataError, match=r"(?s)cannot tell which label files.*one test\*.txt is needed, found: none"):
        external.open_external(tmp_path, cache=cache)
    lines = (folder / "test.txt").read_text().splitlines()
    (folder / "test.txt").write_text("\n".join(line for line in lines if " negative " in line))
    with pytest.raises(data.DataError, match="no usable image of: test positive; the test split needs both classes"):
        external.open_external(folder, cache=cache)


def test_an_unreadable_image_is_left_out_or_refused(folder, tmp_path):
    (folder / "test" / "test-negative-0.png").write_bytes(b"")
    dataset = external.open_external(folder, cache=tmp_path / "cache")
    assert len(dataset.index) == 7
    assert "test-negative-0.png: the file is empty" in dataset.index.attrs["problems"][0]
    with pytest.raises(data.DataError, match="test-negative-0.png"):
        external.open_external(folder, cache=tmp_path / "cache", strict=True)


# Scores


def test_the_scores_are_those_the_run_gives_its_own_test_images(run, one_run, covidx_folder):
    """The internal test split, opened as if it were external, gets the logits that are recorded."""
    dataset = external.open_external(covidx_folder, cache=one_run["cache"])
    table = external.scores(run, one_run["store"], dataset, one_run["cache"])
    recorded = run.table()
    assert list(table.columns) == ["file", "patient_id", "label", "source", "logit", "probability"]
    for name in ("file", "patient_id", "label"):
        assert table[name].tolist() == recorded[name].tolist()
    for name in ("logit", "probability"):
        np.testing.assert_allclose(table[name], recorded[name], rtol=1e-4, atol=1e-5)


def test_scores_are_computed_once(run, one_run, folder, monkeypatch):
    dataset = external.open_external(folder, cache=one_run["cache"])
    first = external.scores(run, one_run["store"], dataset, one_run["cache"])
    (one_run["store"] / run.key / "weights.safetensors").unlink()
    monkeypatch.setattr(external, "load_model", None)
    again = external.scores(run, one_run["store"], dataset, one_run["cache"])
    assert again.equals(first), "to the last bit, without weights"


@pytest.mark.parametrize("damage", ["cut", "edited", "other weights", "other set", "no json"])
def test_damaged_scores_are_computed_again(run, one_run, folder, damage):
    dataset = external.open_external(folder, cache=one_run["cache"])
    first = external.scores(run, one_run["store"], dataset, one_run["cache"])
    path = external.scores_file(run, one_run["store"], dataset)
    sound = path.read_text()
    if damage == "cut":
        path.write_text(sound[: len(sound) // 2])
    elif damage == "edited":
        path.write_text(sound.replace("othernegative0", "othernegative9"))
    elif damage == "no json":
        path.write_bytes(b"\xff")
    else:
        envelope = json.loads(sound)
        content = json.loads(envelope["scores"]) | {"weights_sha256" if damage == "other weights" else "fingerprint": "0" * 64}
        body = json.dumps(content)
        path.write_text(json.dumps({"sha256": text_digest(body), "scores": body}))
    assert external.kept_scores(path, run) is None
    assert [str(item.path) for item in garbage(one_run["store"])[0] if external.is_scores(item.path)] == [str(path)]
    assert external.scores(run, one_run["store"], dataset, one_run["cache"]).equals(first)
    assert path.read_text() == sound


def changed(path, **values) -> None:
    """Other statements about kept scores, under a right checksum; None takes one out."""
    content = json.loads(json.loads(path.read_text())["scores"]) | values
    body = json.dumps({name: value for name, value in content.items() if value is not None})
    path.write_text(json.dumps({"sha256": text_digest(body), "scores": body}))


@pytest.mark.parametrize("before", [None, "decoder 0, protocol 1, {'pillow': '9.0'}"])
def test_scores_of_other_decoders_are_computed_again(run, one_run, folder, before, capsys):
    dataset = external.open_external(folder, cache=one_run["cache"])
    first = external.scores(run, one_run["store"], dataset, one_run["cache"])
    path = external.scores_file(run, one_run["store"], dataset)
    sound = path.read_text()
    moved = [logit + 1 for logit in first["logit"]]
    changed(path, decoders=before, images=first[external.COLUMNS].assign(logit=moved).to_dict("list"))
    assert external.kept_scores(path, run)["logit"].tolist() == moved
    assert not [item for item in garbage(one_run["store"])[0] if external.is_scores(item.path)], "they may be all there is"
    assert external.scores(run, one_run["store"], dataset, one_run["cache"]).equals(first)
    assert path.read_text() == sound
    # Without weights they are all there is: taken, and said.
    changed(path, decoders=before, images=first[external.COLUMNS].assign(logit=moved).to_dict("list"))
    (one_run["store"] / run.key / "weights.safetensors").unlink()
    capsys.readouterr()
    assert external.scores(run, one_run["store"], dataset, one_run["cache"])["logit"].tolist() == moved
    said = capsys.readouterr().err
    assert f"{run.key}: its scores on other were computed with {before or 'decoders that they do not name'}" in said
    assert "its weights are gone; they are taken as they are" in said


def test_changed_labels_are_another_external_set(run, one_run, folder):
    cache, store = one_run["cache"], one_run["store"]
    before = external.open_external(folder, cache=cache)
    external.scores(run, store, before, cache)
    (folder / "test.txt").write_text((folder / "test.txt").read_text().replace(" made", " elsewhere"))
    after = external.open_external(folder, cache=cache)
    assert external.scores_file(run, store, after) != external.scores_file(run, store, before)
    assert set(external.scores(run, store, after, cache)["source"]) == {"elsewhere"}


def test_scores_are_no_garbage_and_go_with_their_record(run, one_run, folder):
    store = one_run["store"]
    external.scores(run, store, external.open_external(folder, cache=one_run["cache"]), one_run["cache"])
    garbage(store, delete=True, weights=True, unfinished=True, days=0)
    assert sorted(path.name[:9] for path in (store / run.key).iterdir()) == ["external-", "record.js"]
    (store / run.key / "record.json").write_text("{}")
    garbage(store, delete=True)
    assert not (store / run.key).exists()


# Seen in training


@pytest.fixture
def internal(covidx_folder, tmp_path):
    return experiment.open_dataset(Parameters(data=covidx_folder, cache=tmp_path / "cache"))


def test_other_patients_do_not_overlap(internal, folder, tmp_path):
    dataset = external.open_external(folder, cache=tmp_path / "cache")
    found = external.overlap(internal, dataset, tmp_path / "cache")
    assert list(found.columns) == ["file", "split", "reason", "like"]
    assert len(found) == 0
    assert external.unseen(dataset.index, found).equals(dataset.index)


def test_patients_and_copies_are_found_and_left_out(internal, folder, covidx_folder, tmp_path):
    # A copy of a training image in another size and encoding, an exact copy of a test image, and a training patient.
    with Image.open(covidx_folder / "train" / "train-positive-3.png") as image:
        image.resize((96, 96)).save(folder / "test" / "test-positive-0.png", format="JPEG", quality=95)
    shutil.copy(covidx_folder / "test" / "test-negative-5.png", folder / "test" / "test-negative-1.png")
    text = (folder / "test.txt").read_text()
    text = text.replace("otherpositive1 test-positive-2.png", "trainpositive0 test-positive-2.png")
    text = text.replace("otherpositive1 test-positive-3.png positive made", "trainpositive1 test-positive-3.png positive elsewhere")
    (folder / "test.txt").write_text(text)
    dataset = external.open_external(folder, cache=tmp_path / "cache")
    found = external.overlap(internal, dataset, tmp_path / "cache")
    assert found.to_numpy().tolist() == [
        ["test-negative-1.png", "test", "image", "test-negative-5.png"],
        ["test-positive-0.png", "train", "image", "train-positive-3.png"],
        ["test-positive-2.png", "train", "patient", "train-positive-0.png"],
    ]
    left = external.unseen(dataset.index, found)
    assert sorted(set(dataset.index["file"]) - set(left["file"])) == ["test-positive-0.png", "test-positive-2.png"]


def test_a_copy_of_the_training_set_leaves_nothing(internal, covidx_folder, tmp_path):
    shutil.copytree(covidx_folder / "train", tmp_path / "copy" / "test")
    shutil.copy(covidx_folder / "train.txt", tmp_path / "copy" / "test.txt")
    dataset = external.open_external(tmp_path / "copy", cache=tmp_path / "cache")
    found = external.overlap(internal, dataset, tmp_path / "cache")
    with pytest.raises(data.DataError, match="24 of 24 external images are in the training data too"):
        external.unseen(dataset.index, found)


# On a page and on the command line


def seen(folder, covidx_folder):
    """Make one of the external images a copy of a training image."""
    shutil.copy(covidx_folder / "train" / "train-positive-3.png", folder / "test" / "test-positive-0.png")


def test_a_page_says_what_its_external_set_holds_and_lacks(internal, folder, covidx_folder, tmp_path):
    seen(folder, covidx_folder)
    (folder / "test" / "test-negative-3.png").unlink()
    text = (folder / "test.txt").read_text()
    (folder / "test.txt").write_text(text.replace("negative made", "negative clinic"))
    parameters = Performance(data=covidx_folder, cache=tmp_path / "cache", external=folder)
    about = SecondSet.of(parameters, internal).about()
    assert "`other` (X-rays): 6 test images of 4 patients, 3 positive and 3 negative, from the sources clinic, made." in about
    assert "right on 6 of them, guessing one class for all on 3" in about
    assert "the training data has them: 1 image of 1 patient (recognised: 1 by their pixels)." in about
    assert "1 row of its label file cannot be used" in about
    assert SecondSet.of(Performance(data=covidx_folder), internal) is None


def test_an_image_damaged_in_the_middle_is_named_before_anything_is_trained(internal, folder, covidx_folder, tmp_path):
    image = folder / "test" / "test-negative-2.png"
    content = bytearray(image.read_bytes())
    content[60:-12] = bytes(len(content) - 72)
    image.write_bytes(content)
    parameters = Performance(data=covidx_folder, cache=tmp_path / "cache", external=folder)
    with pytest.raises(ValueError, match="(?s)1 of 8 images cannot be used.*test-negative-2.png"):
        SecondSet.of(parameters, internal)


def test_a_page_takes_runs_in_the_order_of_their_seeds(one_run, internal, folder, covidx_folder, tmp_path):
    seen(folder, covidx_folder)
    runs = [experiment.run(one_run | {"seed": seed, "schedule": (1, 2, 3)}, progress=False) for seed in (1, 0)]
    second = SecondSet.of(Performance(data=covidx_folder, cache=one_run["cache"], external=folder), internal)
    found = second.scores(runs, one_run["store"], one_run["cache"])
    assert found.logits.shape == (2, 7)
    first = external.scores(runs[1], one_run["store"], second.dataset, one_run["cache"])
    assert found.logits[0].tolist() == first.loc[first["file"] != "test-positive-0.png", "logit"].tolist()


def test_a_run_of_another_kind_is_refused(run, one_run, folder):
    dataset = external.open_external(folder, cache=one_run["cache"])
    odd = run.model_copy(update={"config": run.config | {"region": "frame"}})
    with pytest.raises(ParameterError, match="was trained with region frame"):
        external.scores(odd, one_run["store"], dataset, one_run["cache"])
    table, refused = scored([run, odd], one_run["store"], SecondSet(dataset, external.nothing_found()), one_run["cache"])
    assert table["key"].tolist() == [run.key]
    assert list(refused) == [odd.key]


def test_recorded_models_are_tested_from_the_command_line(run, one_run, folder, covidx_folder):
    seen(folder, covidx_folder)
    options = ["--store", str(one_run["store"]), "--cache", str(one_run["cache"])]
    plain = CliRunner().invoke(app, ["runs", "external", str(folder), *options])
    assert plain.exit_code == 0, plain.output
    assert run.key in plain.output and "1 runs in" in plain.output
    assert "was not looked at; --data FOLDER does" in plain.output
    beside = CliRunner().invoke(app, ["runs", "external", str(folder), *options, "--data", str(covidx_folder)])
    assert beside.exit_code == 0, beside.output
    assert run.key in beside.output and "1 image of 1 patient" in beside.output
    shown = CliRunner().invoke(app, ["runs", "show", run.key, "--store", str(one_run["store"])])
    assert "external-" in shown.output
    listed = CliRunner().invoke(app, ["runs", "list", "--store", str(one_run["store"])])
    assert "1 records" in listed.output
    assert [record.key for record in records.all_records(one_run["store"])] == [run.key]
    wrong = CliRunner().invoke(app, ["runs", "external", str(folder / "nowhere"), *options])
    assert wrong.exit_code == 1 and "there is no such folder" in wrong.output and "Traceback" not in wrong.output
    checked = CliRunner().invoke(app, ["data", "check", str(folder), "--test-only"])
    assert checked.exit_code == 0 and "no problems found" in checked.output
