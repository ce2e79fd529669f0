"""Crates, Croissant, cards, licences and the environment: made from what is recorded, in the form that others read."""

import csv
import json
import re
import shutil
import tomllib

import pytest
from common import ROOT, script

from cxrlib import phantom
from cxrlib.evidence import cards, crate, croissant
from cxrlib.evidence.pages import wheels
from cxrlib.files import file_digest
from cxrlib.metrics.estimate import percentage
from cxrlib.weights.source import WEIGHTS_FOLDER, WeightsError

# Crates


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two executed notebooks, one of them injected with parameters."""
    for name in ("08_speed", "09_real_xrays"):
        notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
        notebook["metadata"]["cxr"] = {"profile": "demo", "data": "phantoms", "stamp": "ab", "seconds": 3.0, "cpu_seconds": 2.5, "versions": {"python": "3.11.7", "torch": "9.9"}}
        cell = {"cell_type": "code", "id": "injected-parameters", "metadata": {"tags": ["injected-parameters"]}, "source": 'data = "data/phantom"\nmillion = 1000\n', "outputs": [], "execution_count": None}
        notebook["cells"].insert(2, cell)
        path = tmp_path / "book" / "executed" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook))
    for name in ("notebooks", "results"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def graph(folder):
    content = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert content["@context"] == "https://w3id.org/ro/crate/1.1/context"
    return {entity["@id"]: entity for entity in content["@graph"]}


def listed(value):
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


def test_a_crate_says_what_was_run_on_what_and_what_came_of_it(checkout, tmp_path):
    pytest.importorskip("rocrate")
    written = crate.write_all(checkout, tmp_path / "crates")
    assert [path.name for path in written] == ["08_speed", "09_real_xrays", "book"]
    found = graph(tmp_path / "crates" / "09_real_xrays")
    root = found["./"]
    assert listed(root["conformsTo"]) == [crate.PROFILE] and found[crate.PROFILE]["@type"] == "CreativeWork"
    (action,) = [found[each] for each in listed(root["mentions"])]
    assert action["@type"] == "CreateAction" and "2.5 CPU s" in action["description"]
    instrument = found[action["instrument"]["@id"]]
    assert "SoftwareSourceCode" in instrument["@type"] and instrument["sha256"] == file_digest(ROOT / "notebooks" / "09_real_xrays.ipynb")
    assert {found[each]["softwareVersion"] for each in listed(instrument["softwareRequirements"])} == {"3.11.7", "9.9"}
    (result,) = listed(action["result"])
    assert found[result]["sha256"] == file_digest(checkout / "book" / "executed" / "09_real_xrays.ipynb")
    objects = [found[each] for each in listed(action["object"])]
    records = {each["name"]: each["sha256"] for each in objects if each["@type"] == "File"}
    assert records["quarter.parquet"] == file_digest(ROOT / "results" / "quarter.parquet") and len(records) == 6, "the tables that the page of verdicts draws"
    assert {each["name"]: each["value"] for each in objects if each["@type"] == "PropertyValue"} == {"data": '"data/phantom"', "million": "1000"}
    for entity in found.values():  # every file that is named lies in the crate
        if "File" in entity["@type"]:
            assert (tmp_path / "crates" / "09_real_xrays" / entity["@id"]).is_file()
        assert not {"dateModified", "sdDatePublished"} & set(entity)


def test_the_crate_of_the_book_holds_every_execution_and_is_the_same_again(checkout, tmp_path):
    pytest.importorskip("rocrate")
    crate.write_all(checkout, tmp_path / "one")
    crate.write_all(checkout, tmp_path / "two")
    assert len(graph(tmp_path / "one" / "book")["./"]["mentions"]) == 2
    first, second = ((tmp_path / name / "book" / "ro-crate-metadata.json").read_bytes() for name in ("one", "two"))
    assert first == second


def test_without_executed_notebooks_there_is_no_crate(tmp_path):
    with pytest.raises(ValueError, match="make book"):
        crate.write_all(tmp_path, tmp_path / "crates")


# Croissant


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "few"
    phantom.generate(folder, train_positive=2, train_negative=2, test_per_class=1, size=32, workers=1, progress=False)
    return folder


def test_croissant_describes_the_phantoms_with_their_checksums(phantoms):
    found = json.loads(croissant.write(phantoms).read_text(encoding="utf-8"))
    assert found["conformsTo"] == croissant.CONFORMS and found["@type"] == "sc:Dataset" and found["license"].endswith("/MIT")
    files = {each["name"]: each for each in found["distribution"]}
    for name in ("train.txt", "test.txt", "findings.csv", "phantom.json"):
        assert files[name]["sha256"] == file_digest(phantoms / name) and files[name]["contentUrl"] == name
    assert list(phantoms.glob(files["images"]["includes"])) and list(phantoms.glob(files["masks"]["includes"]))
    (records,) = found["recordSet"]
    with (phantoms / "findings.csv").open() as file:
        assert [field["source"]["extract"]["column"] for field in records["field"]] == next(csv.reader(file))
    said = " ".join(value for name, value in found.items() if name.startswith("rai:"))
    assert {"rai:dataBiases", "rai:dataLimitations", "rai:personalSensitiveInformation"} <= set(found) and "no evidence about patients" in said


def test_croissant_is_refused_for_other_folders(tmp_path):
    with pytest.raises(ValueError, match="cxr data phantom"):
        croissant.metadata(tmp_path)


# Cards


def test_every_shipped_weight_has_a_card_from_its_record():
    found = {card.name: dict(card.rows) for card in cards.cards()}
    assert set(found) == {path.stem for path in WEIGHTS_FOLDER.glob("*.safetensors")}
    for name, rows in found.items():
        record = json.loads((WEIGHTS_FOLDER / f"{name}.json").read_text())
        assert rows["SHA-256"] == record["sha256"] == file_digest(WEIGHTS_FOLDER / f"{name}.safetensors")
        assert f"{percentage(record['held_out_accuracy']):.1f} %" in rows["How good"] and "diagnosis" in rows["Not for"]
    assert "non-commercial" in found["photo-s-0"]["Licence"] and found["fractal-s"]["Licence"] == "MIT"


def test_the_network_that_finds_lungs_has_a_card_from_its_trial(tmp_path):
    rows = dict(cards.lungs_card(ROOT / cards.LUNGS).rows)
    assert rows["SHA-256"] == file_digest(ROOT / "cxrlib" / "model" / "lungs.safetensors") and "non-commercial" in rows["Licence"]
    assert "98 images of 72 patients" in rows["How good"] and "98 masks" in rows["Training data"] and "Not for diagnosis" in rows["Not for"]
    with pytest.raises(WeightsError, match="git checkout"):
        cards.lungs_card(tmp_path / "lungs.parquet")


def test_a_weight_without_its_record_has_no_card(tmp_path):
    (tmp_path / "photo-s-0.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="git checkout"):
        cards.cards(tmp_path)


# Licences


def test_every_licence_that_is_named_is_there_and_no_other():
    content = tomllib.loads((ROOT / "REUSE.toml").read_text())
    named = {each["SPDX-License-Identifier"] for each in content["annotations"]}
    assert named == {path.stem for path in (ROOT / "LICENSES").glob("*.txt")}
    assert (ROOT / "LICENSES" / "MIT.txt").read_text() == (ROOT / "LICENSE").read_text()
    assert content["annotations"][0]["path"] == "**"  # no file is without one
    own = {path: each for each in content["annotations"][1:] for path in ([each["path"]] if isinstance(each["path"], str) else each["path"])}
    assert {"cxrlib/weights/photo-*", "cxrlib/weights/bit-photo.json", "cxrlib/model/lungs.*"} <= set(own)
    for path, each in own.items():
        assert each["precedence"] == "override" and list(ROOT.glob(path)), path


def test_weights_go_nowhere_without_their_terms():
    """The wheel and the class folder hold weights that are not MIT."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["license"].split(" AND ")) == {path.stem for path in (ROOT / "LICENSES").glob("*.txt")}
    assert project["license-files"] == ["LICENSE", "LICENSES/*"]


# Environment

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_table_of_wheels_is_of_this_lock():
    with (ROOT / "book" / "wheels.csv").open() as file:
        rows = list(csv.DictReader(file))
    locked = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)
    assert sorted((row["package"], row["version"]) for row in rows) == sorted((name.lower(), version) for name, version in locked), "run `make lock`"
    assert {row[name] for row in rows for name in row if name not in ("package", "version")} == {"wheel", "source", "none", "not needed"}


@pytest.fixture(scope="module")
def tool():
    return script("tools/wheels.py")


@pytest.mark.parametrize(
    ("file", "platforms"),
    [
        ("a-1-py3-none-any.whl", {"Linux x86-64", "Linux ARM", "macOS ARM", "macOS Intel", "Windows x86-64"}),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", {"Linux x86-64"}),
        ("a-1-cp38-abi3-macosx_10_9_universal2.whl", {"macOS ARM", "macOS Intel"}),
        ("a-1-cp311-cp311-win_amd64.whl", {"Windows x86-64"}),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", set()),
        ("a-1-cp313-abi3-manylinux_2_17_aarch64.whl", set()),
        ("a-1-cp39-cp39-manylinux_2_17_aarch64.whl", set()),
    ],
)
def test_a_wheel_fits_the_platforms_that_its_name_says(tool, file, platforms):
    assert {name for name in tool.PLATFORMS if tool.fits(file, name)} == platforms


def test_a_package_is_a_wheel_a_source_nothing_or_not_needed(tool):
    wheel = {"url": "https://host/a-1-cp311-cp311-win_amd64.whl", "hashes": {"sha256": "1" * 64}}
    package = {"name": "a", "wheels": [wheel], "sdist": {"hashes": {"sha256": "2" * 64}}}
    locked = {"1" * 64, "2" * 64}
    assert tool.answer(package, "Windows x86-64", locked) == "wheel"
    assert tool.answer(package, "Windows x86-64", {"2" * 64}) == "source"  # a wheel whose checksum is not locked counts for nothing
    assert tool.answer(package, "macOS ARM", locked) == "source" and tool.answer(package, "macOS ARM", {"1" * 64}) == "none"
    assert tool.answer(package | {"marker": "sys_platform == 'win32'"}, "Linux ARM", locked) == "not needed"


def test_the_platform_of_the_tests_lacks_nothing():
    rows = {row[0]: row for row in wheels(ROOT / "book" / "wheels.csv")}
    assert rows["Linux x86-64"][-1] == "–" and "torch" in rows["macOS Intel"][-1]
    for _, packages, ready, source, none in rows.values():
        assert int(packages) == int(ready) + sum(0 if text == "–" else text.count(",") + 1 for text in (source, none))


def test_the_container_has_the_lock_and_what_it_copies():
    lines = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
    steps = [line.split() for line in lines if line and not line.startswith("#")]
    assert {step[0] for step in steps} <= {"FROM", "RUN", "USER", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert steps[0][1].startswith("python:3.11") and [step for step in steps if step[0] == "USER"]
    copied = [word for step in steps if step[0] == "COPY" for word in step[1:-1] if not word.startswith("--")]
    assert "requirements.lock" in copied and all((ROOT / name).exists() for name in copied)
    run = [step for step in steps if step[0] == "RUN" and "environment" in step]
    assert run and "environment:" in (ROOT / "Makefile").read_text() and "--require-hashes" in (ROOT / "Makefile").read_text()
    assert ".venv" in (ROOT / ".dockerignore").read_text().split()
