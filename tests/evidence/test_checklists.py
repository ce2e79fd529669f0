"""Checklists prove themselves: what they name exists, and what vanishes is found."""

import shutil

import pytest
from common import ROOT

from cxrlib.evidence import checklists

ITEMS = {
    "REFORMS": {f"{module}{letter}" for module, count in enumerate((3, 5, 7, 3, 6, 3, 3, 2), 1) for letter in "abcdefg"[:count]},
    "CLAIM 2024": {str(number) for number in range(1, 45)},
    "NeurIPS paper checklist": {str(number) for number in range(1, 17)},
}
LISTS = {each.name: each for each in checklists.read(ROOT)}


@pytest.mark.parametrize("name", LISTS)
def test_everything_that_an_answer_names_is_there(name):
    assert checklists.missing(LISTS[name], ROOT) == []


@pytest.mark.parametrize("name", ITEMS)
def test_no_item_is_left_out(name):
    assert {item.item for item in LISTS[name].items} == ITEMS[name]


def test_tripod_has_27_items_with_their_parts():
    found = [item.item for item in LISTS["TRIPOD+AI"].items]
    assert sorted({int("".join(letter for letter in item if letter.isdigit())) for item in found}) == list(range(1, 28))
    assert {f"18{letter}" for letter in "abcdef"} <= set(found) and len(found) == 52


def test_not_everything_is_yes():
    answers = [item.answer for each in LISTS.values() for item in each.items]
    assert answers.count("no") > 10 and answers.count("partly") > 10 and answers.count("yes") > 60


@pytest.fixture
def checkout(tmp_path):
    for name in ("book/checklists.yaml", "book/method.md", "tests/data/test_folder.py", "results/quarter.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def one(proof):
    item = checklists.Item(item="1", title="something", answer="yes", proof=(proof,))
    return checklists.Checklist(name="X", title="x", cite="x", checked="x", items=(item,))


@pytest.mark.parametrize(
    ("proof", "file", "old", "new"),
    [
        ("page method#data", "book/method.md", "## Data", "## Images"),
        ("test tests/data/test_folder.py::test_sound_folder", "tests/data/test_folder.py", "def test_sound_folder", "def test_another"),
        ("file results/quarter.parquet", "results/quarter.parquet", None, None),
    ],
)
def test_what_vanishes_is_named(checkout, proof, file, old, new):
    assert checklists.missing(one(proof), checkout) == []
    path = checkout / file
    if old is None:
        path.unlink()
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        checklists.functions.cache_clear()
    (fault,) = checklists.missing(one(proof), checkout)
    assert "X 1" in fault


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"answer": "yes"}, "names no proof"),
        ({"answer": "no"}, "not why"),
        ({"answer": "partly", "proof": ("page a#b",)}, "not why"),
        ({"answer": "yes", "proof": ("http://a",)}, "is none of"),
        ({"answer": "maybe", "why": "x"}, "answer"),
    ],
)
def test_an_answer_is_proved_or_explained(values, said):
    with pytest.raises(ValueError, match=said):
        checklists.Item(item="1", title="something", **values)


def test_a_heading_inside_a_block_is_no_anchor(checkout):
    (checkout / "book" / "page.md").write_text("# One\n\n```python\n# two\n```\n\n(three)=\n## Four, five!\n")
    assert checklists.anchors(checkout, "page") == {"one", "three", "four-five"}


def test_an_item_twice_and_a_file_that_is_none(checkout):
    item = LISTS["REFORMS"].items[0]
    with pytest.raises(ValueError, match="1a twice"):
        checklists.Checklist(name="X", title="x", cite="x", checked="x", items=(item, item))
    (checkout / checklists.FILE).write_text("checklists: [{name: X}]\n")
    with pytest.raises(ValueError, match="checklists.yaml"):
        checklists.read(checkout)
