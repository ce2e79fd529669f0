"""Label files, folders, fingerprints and subsets: what is read, and every problem that must be named."""

import hashlib
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import SHARED, write_folder
from PIL import Image

from cxrlib import data
from cxrlib.data import splits
from cxrlib.data.dataset import read_dataset
from cxrlib.data.folder import check
from cxrlib.study.pages.counts import compare_with_paper

REAL_LABELS = SHARED / "covidx-labels"
MINI = SHARED / "covidx-mini"
needs_labels = pytest.mark.skipif(not REAL_LABELS.is_dir(), reason=f"needs the real label files in {REAL_LABELS}")
needs_mini = pytest.mark.skipif(not MINI.is_dir(), reason=f"needs the real X-rays in {MINI}")


def write_labels(folder: Path, text: str | bytes, name: str = "train.txt") -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sound folder that a test may spoil: 8 training and 4 test images."""
    return write_folder(tmp_path / "set", train=4, test=2, size=32)


def problems(folder: Path, **options) -> list[tuple[str, int, str]]:
    found = data.check(folder, **options).problems
    return [(Path(problem.file).name, problem.line, problem.kind) for problem in found]


# Label files


@needs_labels
def test_real_label_files_give_the_papers_counts():
    index = pd.concat(
        data.read_labels(REAL_LABELS / f"{split}_COVIDx8B.txt").assign(split=split) for split in ("train", "test")
    )
    counts = index.groupby("label").agg(images=("file", "size"), patients=("patient_id", "nunique"))
    assert counts.loc["positive"].tolist() == [2358, 1505]
    assert counts.loc["negative"].tolist() == [13994, 13851]
    table = compare_with_paper(index).set_index("count of")
    known = table["difference"].dropna()
    assert known[known != 0].to_dict() == {"negative images": 1}
    assert "V9B" in table.loc["negative images", "remark"]
    assert table["difference"].isna().sum() == 6
    assert table.loc["patients in both splits", "here"] == 0


@needs_labels
@pytest.mark.parametrize(("name", "rows"), [("train_COVIDx9B.txt", 30482), ("test_COVIDx9B.txt", 400)])
def test_later_label_files_are_read_too(name, rows):
    assert len(data.read_labels(REAL_LABELS / name)) == rows


def test_labels_are_counted_from_the_right(tmp_path):
    file = write_labels(
        tmp_path, "\ufeffCOVID 12 COVID(12).png positive sirm\r\n\r\n  007\tb.PNG \t negative  rsna  \r\nCOVID  12 ./c//d.jpg positive sirm"
    )
    table = data.read_labels(str(file))
    assert list(table.columns) == ["patient_id", "file", "label", "source"]
    assert table.values.tolist() == [
        ["COVID 12", "COVID(12).png", "positive", "sirm"],
        ["007", "b.PNG", "negative", "rsna"],
        ["COVID 12", "c/d.jpg", "positive", "sirm"],
    ]
    assert all(isinstance(value, str) for value in table.to_numpy().ravel())


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("1 a.png positive", "wrong field count"),
        ("a.png", "wrong field count"),
        ("1 a.png positive src more", "wrong field count"),
        ("1,a.png,positive,src", "wrong field count"),
        ("1 a.png pneumonia src", "unknown class"),
        ("1 a.png Positive src", "unknown class"),
        ("patientid filename class source", "unknown class"),
        ("1 ../a.png positive src", "path leaves the folder"),
        ("1 b/../../a.png positive src", "path leaves the folder"),
        ("1 /etc/a.png positive src", "path leaves the folder"),
        ("1 C:a.png positive src", "path leaves the folder"),
        ("1 ~/a.png positive src", "path leaves the folder"),
        ("1 b\\a.png positive src", "path leaves the folder"),
        ("1 a\0.png positive src", "path leaves the folder"),
        ("2 sound.png positive src", "repeated file name"),
    ],
)
def test_wrong_rows_are_named(tmp_path, row, kind):
    file = write_labels(tmp_path, f"1 sound.png positive src\n\n{row}\n")
    with pytest.raises(data.LabelError) as caught:
        data.read_labels(file)
    assert [(problem.line, problem.kind) for problem in caught.value.problems] == [(3, kind)]
    assert f"{file}:3: {kind}: " in str(caught.value)


def test_all_wrong_rows_are_listed_up_to_fifty(tmp_path):
    file = write_labels(tmp_path, "1 a.png maybe src\n" * 40 + "1 a.png\n" * 30)
    with pytest.raises(data.LabelError) as caught:
        data.read_labels(file)
    assert len(caught.value.problems) == 70
    lines = str(caught.value).splitlines()
    assert len(lines) == 52 and lines[-1] == "... and 20 more (20 x wrong field count)"


@pytest.mark.parametrize(("content", "words"), [(b"\n \n", "no rows"), (b"1 \xff.png positive s\n", "byte 2 is not UTF-8")])
def test_unreadable_label_files(tmp_path, content, words):
    with pytest.raises(data.LabelError, match=words):
        data.read_labels(write_labels(tmp_path, content))


def test_absent_label_file(tmp_path):
    with pytest.raises(data.LabelError, match="none.txt: cannot be read"):
        data.read_labels(tmp_path / "none.txt")


# Folders


def test_sound_folder(folder):
    index = data.read_index(folder, strict=True)
    assert list(index.columns) == ["patient_id", "file", "label", "source", "split"]
    assert index["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    assert index.attrs == {"folder": str(folder), "problems": [], "remarks": []}
    assert "no problems found" in str(data.check(folder))
    assert data.image_path(folder, index.iloc[0]).is_file()


def spoil(folder: Path) -> list[tuple[str, int, str]]:
    """Add one row of every kind of problem to the training labels; returns what must be found."""
    noise = (folder / "train" / "train-negative-0.png").read_bytes()
    rows = {
        "p1 gone.png negative s": "missing image",
        "p2 empty.png negative s": "unreadable image",
        "p3 cut.png negative s": "unreadable image",
        "p4 text.png negative s": "unreadable image",
        "p5 ../train.txt negative s": "path leaves the folder",
        "p6 link.png negative s": "path leaves the folder",
        "p7 folder.png negative s": "missing image",
        "p8 x.png covid s": "unknown class",
        "p9 x.png": "wrong field count",
        "p0 train-negative-0.png negative s": "repeated file name",
        "testnegative0 leaked.png negative s": "patient in both splits",
    }
    train = folder / "train"
    (train / "empty.png").write_bytes(b"")
    (train / "cut.png").write_bytes(noise[: len(noise) // 2])
    (train / "text.png").write_text("no image")
    outside = folder.parent / "outside.png"
    outside.write_bytes(noise)
    (train / "link.png").symlink_to(outside)
    (train / "folder.png").mkdir()
    (train / "leaked.png").write_bytes(noise)
    with (folder / "train.txt").open("a") as file:
        file.write("\n".join(rows))
    # A repeated name with another patient contradicts the row before it, which is not trusted either.
    return [("train.txt", line, kind) for line, kind in enumerate(rows.values(), start=9)]


def test_every_problem_is_listed_with_file_and_line(folder):
    expected = spoil(folder)
    assert problems(folder) == expected
    assert problems(folder, decode=False) == expected
    with pytest.raises(data.DataError) as caught:
        data.read_index(folder, strict=True)
    assert all(f"train.txt:{line}: {kind}" in str(caught.value) for _, line, kind in expected)
    index = data.read_index(folder)
    assert len(index.attrs["problems"]) == len(expected)
    assert sorted(index.loc[index["split"] == "train", "file"]) == sorted(
        f"train-{label}-{number}.png" for label in ("negative", "positive") for number in range(4) if (label, number) != ("negative", 0)
    )
    assert (index["split"] == "test").sum() == 4, "of a leaked patient the training rows go"


def test_repeated_rows_that_agree_keep_the_first(folder):
    with (folder / "train.txt").open("a") as file:
        file.write("trainnegative0 train-negative-0.png negative made\n")
    assert problems(folder) == [("train.txt", 9, "repeated file name")]
    assert (data.read_index(folder)["file"] == "train-negative-0.png").sum() == 1


def test_damage_in_the_middle_needs_decoding(folder):
    image = folder / "train" / "train-negative-0.png"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 255
    image.write_bytes(content)
    assert problems(folder) == [("train.txt", 1, "unreadable image")]
    with pytest.raises(data.DataError, match="train.txt:1: unreadable image: .*train-negative-0.png: truncated or damaged"):
        data.read_index(folder, strict=True)


@pytest.mark.parametrize("name", ["TRAIN-negative-0.PNG", "train-negative-0.jpeg"])
def test_other_case_or_extension_is_pointed_out(folder, name):
    (folder / "train" / "train-negative-0.png").rename(folder / "train" / name)
    assert f"there is {name}: rename it or correct the row" in data.check(folder).problems[0].message


def test_file_names_with_spaces_are_found_on_disk(folder):
    for number in (0, 1):
        (folder / "train" / f"train-negative-{number}.png").rename(folder / "train" / f"chest {number} of 2.png")
    text = (folder / "train.txt").read_text()
    for number in (0, 1):
        text = text.replace(f"trainnegative0 train-negative-{number}.png", f"patient 0 chest {number} of 2.png")
    (folder / "train.txt").write_text(text)
    assert problems(folder) == []
    first = data.read_index(folder).iloc[0]
    assert (first["patient_id"], first["file"]) == ("patient 0", "chest 0 of 2.png")


def test_remarks(folder):
    text = (folder / "train.txt").read_text().replace("trainpositive0", "trainnegative0").replace("positive made", "positive mdae")
    (folder / "train.txt").write_text(text)
    shutil.copy(folder / "train" / "train-negative-0.png", folder / "train" / "spare.png")
    remarks = " ".join(data.check(folder).remarks)
    for words in ("1 patients have images of both classes", "several sources", "'made' and 'mdae'", "1 files in train/ have no row"):
        assert words in remarks


def test_label_files_must_be_unambiguous(folder):
    shutil.copy(folder / "train.txt", folder / "train_old.txt")
    (folder / "test.txt").rename(folder / "other.txt")
    with pytest.raises(data.DataError) as caught:
        data.read_index(folder)
    assert "found: train.txt, train_old.txt" in str(caught.value) and "found: none" in str(caught.value)
    given = {"train": folder / "train.txt", "test": folder / "other.txt"}
    assert len(data.read_index(folder, labels=given)) == 12
    with pytest.raises(data.DataError, match="one file each for 'train' and 'test'"):
        data.read_index(folder, labels={"train": folder / "train.txt"})


def test_labels_from_another_folder(folder, tmp_path):
    other = tmp_path / "labels"
    other.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.txt").rename(other / f"{split}_v2.txt")
    assert len(data.read_index(folder, labels=other)) == 12


def test_absent_folder_and_missing_class(folder, tmp_path):
    with pytest.raises(data.DataError, match="there is no such folder"):
        data.read_index(tmp_path / "none")
    lines = [line for line in (folder / "test.txt").read_text().splitlines() if " positive " not in line]
    (folder / "test.txt").write_text("\n".join(lines))
    with pytest.raises(data.DataError, match="no usable image of: test positive"):
        data.read_index(folder)


@pytest.mark.parametrize("name", ["../../x.png", "/etc/passwd", "a\\b.png", "a\0b.png"])
def test_image_path_never_leaves_the_folder(folder, name):
    with pytest.raises(data.DataError):
        data.image_path(folder, {"file": name, "split": "train"})
    with pytest.raises(data.DataError):
        data.image_path(folder, {"file": "x.png", "split": name})


def test_validation_images_lie_in_train(folder):
    assert data.image_path(folder, {"file": "x.png", "split": "validation"}) == folder / "train" / "x.png"


@needs_mini
def test_real_xrays():
    index = data.read_index(MINI)
    counts = index.groupby(["split", "label"]).agg(images=("file", "size"), patients=("patient_id", "nunique"))
    assert counts.values.tolist() == [[100, 87], [100, 73], [899, 595], [755, 558]]
    assert index.attrs["problems"] == []


# Fingerprint


def test_fingerprint_follows_content_and_nothing_else(folder, tmp_path):
    index = data.read_index(folder)
    first = data.fingerprint(index, folder, tmp_path / "cache")
    assert len(first) == 64 and int(first, 16) >= 0
    assert data.fingerprint(index, folder) == first == data.fingerprint(index, folder, tmp_path / "cache")
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    assert data.fingerprint(data.read_index(copied), copied) == first
    assert data.fingerprint(index.iloc[::-1], folder) != first, "batches are drawn by row number"
    assert data.fingerprint(index.assign(source="other"), folder) != first
    image = folder / "train" / "train-negative-0.png"
    status = image.stat()
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert data.fingerprint(index, folder, tmp_path / "cache") != first, "size and modification time are the same"


def test_fingerprint_reads_unchanged_images_once_and_survives_a_damaged_memory(folder, tmp_path, monkeypatch):
    index = data.read_index(folder)
    first = data.fingerprint(index, folder, tmp_path)
    memory = next(tmp_path.glob("contents-*.json"))
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", lambda *_: pytest.fail("an unchanged image was read again"))
        assert data.fingerprint(index, folder, tmp_path) == first
    for damage in ("{", "[1]", '{"a": 1}'):
        memory.write_text(damage)
        assert data.fingerprint(index, folder, tmp_path) == first


# Subsets


def test_validation_split_keeps_patients_together(covidx_folder):
    index = data.read_index(covidx_folder)
    split = splits.validation_split(index, 0.3, seed=1)
    parts = split.groupby("split")["patient_id"].agg(set)
    assert not parts["train"] & parts["validation"] and not parts["validation"] & parts["test"]
    held = split[split["split"] == "validation"].groupby("label")["patient_id"].nunique()
    assert held.to_dict() == {"negative": 2, "positive": 2}
    again = splits.validation_split(index.sample(frac=1, random_state=3), 0.3, seed=1)
    pd.testing.assert_frame_equal(again.sort_index(), split, check_like=True)
    assert not splits.validation_split(index, 0.3, seed=2).equals(split)
    tiny = splits.validation_split(index, 0.01, seed=0)
    assert set(tiny.loc[tiny["split"] == "validation", "label"]) == {"negative", "positive"}
    for wrong in (0, 1, -0.1):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            splits.validation_split(index, wrong, seed=0)


def test_few_shot_sets_are_nested(covidx_folder):
    index = data.read_index(covidx_folder)
    chosen = {
        size: set(part.loc[part["split"] == "train", "file"])
        for size in (2, 5, 12)
        for part in [splits.few_shot(index, size, seed=4)]
    }
    assert chosen[2] < chosen[5] < chosen[12]
    five = splits.few_shot(index, 5, seed=4)
    assert five[five["split"] == "train"]["label"].value_counts().to_dict() == {"negative": 5, "positive": 5}
    assert (five["split"] == "test").sum() == (index["split"] == "test").sum()
    with pytest.raises(ValueError, match="more than the 12 negative"):
        splits.few_shot(index, 13, seed=0)


def scene(generator, size: int = 96) -> np.ndarray:
    """A smooth random picture."""
    coarse = Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def shrunk(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))


def test_duplicates_are_found_and_leaks_told():
    generator = np.random.default_rng(0)
    scenes = [scene(generator) for _ in range(300)]
    brighter = (255 * (scenes[7] / 255.0) ** 0.9).astype(np.uint8)
    images = np.stack([shrunk(image) for image in [*scenes, scenes[3], brighter]])
    index = pd.DataFrame({"file": [f"{row}.png" for row in range(302)], "patient_id": [str(row) for row in range(302)]})
    index = index.assign(label=["negative"] * 301 + ["positive"], split=["train"] * 300 + ["test", "train"])
    pairs = splits.find_duplicates(images, index, max_distance=4)
    exact = pairs.iloc[0]
    assert (exact["first"], exact["second"], exact["distance"]) == ("3.png", "300.png", 0)
    assert exact["identical"] and exact["cross_split"] and exact["same_label"] and not exact["same_patient"]
    near = pairs.iloc[1]
    assert (near["first"], near["second"]) == ("7.png", "301.png")
    assert not near["identical"] and not near["cross_split"] and not near["same_label"] and near["correlation"] > 0.95
    assert len(pairs) == 2


def test_duplicates_refuse_what_does_not_fit():
    images = np.zeros((3, 32, 32), np.uint8)
    index = pd.DataFrame({"file": list("abc"), "patient_id": list("abc"), "label": "negative", "split": "train"})
    assert splits.find_duplicates(images, index)["identical"].tolist() == [True] * 3, "blank images are equal"
    empty = splits.find_duplicates(images[:1], index[:1])
    assert len(empty) == 0 and "cross_split" in empty and int(empty["cross_split"].sum()) == 0
    with pytest.raises(ValueError, match="for 2 rows"):
        splits.find_duplicates(images, index[:2])
    with pytest.raises(ValueError, match="0 ... 64"):
        splits.find_duplicates(images, index, max_distance=65)
    with pytest.raises(ValueError, match=r"not \(N, S, S\)"):
        splits.find_duplicates(images[:, :, :8], index)


@pytest.mark.parametrize("written", ["{split}/{file}", "set/{split}/{file}", "/far/away/set/{split}/{file}", "set\\{split}\\{file}", "C:\\data\\{split}\\{file}"])
def test_checksums_written_from_another_folder_are_held_against_the_images(tmp_path, written):
    folder = write_folder(tmp_path / "set", train=4, test=4)
    names = [path.relative_to(folder) for path in sorted(folder.glob("*/*.png"))]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {written.format(split=name.parent, file=name.name)}" for name in names]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    assert not check(folder).problems
    (folder / names[0]).write_bytes((folder / names[5]).read_bytes())
    assert [problem.kind for problem in check(folder).problems] == ["checksum differs"]


def test_a_checksum_file_that_names_nothing_here_is_mentioned(tmp_path):
    folder = write_folder(tmp_path / "set", train=4, test=4)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  other/a.png\n{'1' * 64}  other/b.png\n")
    report = check(folder)
    assert not report.problems and any("SHA256SUMS checks nothing: none of its 2 name(s), such as 'other/a.png'" in remark for remark in report.remarks)


def test_a_corrected_folder_is_read_again_by_the_same_process(tmp_path, monkeypatch):
    """In an open notebook one corrects a label file, replaces an image, or goes into another folder, and runs the cell again."""
    write_folder(tmp_path / "a" / "set", train=4, test=4)
    write_folder(tmp_path / "b" / "set", train=5, test=4, seed=1)
    monkeypatch.chdir(tmp_path / "a")
    read = partial(read_dataset, Path("set"), None, tmp_path / "cache", False)
    first = read()
    assert read() is first, "nothing changed, and nothing is read"
    labels, image = Path("set/train.txt"), Path("set/train/train-negative-0.png")
    labels.write_text(labels.read_text().replace("trainnegative0 ", "other "))
    relabelled = read()
    assert "other" in set(relabelled.index["patient_id"]) and relabelled.fingerprint != first.fingerprint
    image.write_bytes(Path("set/train/train-negative-1.png").read_bytes())
    assert read().fingerprint != relabelled.fingerprint
    monkeypatch.chdir(tmp_path / "b")
    assert len(read().index) == 2 * (5 + 4)


def test_a_checksum_of_a_file_that_is_not_here_is_no_checksum_of_another(tmp_path):
    """A list made with masks was read as one of the images where the masks are not."""
    folder = write_folder(tmp_path / "set", train=4, test=4)
    right = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}" for path in sorted(folder.glob("*/*.png"))]
    wrong = [f"{number:064x}  ./masks/lungs/{path.relative_to(folder)}" for number, path in enumerate(sorted(folder.glob("*/*.png")))]
    for lines in (wrong + right, right + wrong, wrong, [line.replace("./", "set/") for line in wrong], [f"{'0' * 64}  {'x' * 300}.png", *right]):
        (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
        assert not check(folder).problems
    beside = [line.replace("train/", "../set/train/").replace("test/", "../set/test/") for line in right]
    (folder / "SHA256SUMS").write_text("\n".join(beside) + "\n")
    first = folder / right[0].split("  ")[1]
    first.write_bytes((folder / right[3].split("  ")[1]).read_bytes())
    assert [problem.kind for problem in check(folder).problems] == ["checksum differs"]


def test_images_behind_a_link_to_a_folder_are_looked_at_too(tmp_path):
    folder = write_folder(tmp_path / "set", train=4, test=4)
    (folder / "pool").mkdir()
    for path in sorted((folder / "train").iterdir()):
        path.rename(folder / "pool" / path.name)
    (folder / "train" / "link").symlink_to(folder / "pool")
    (folder / "pool" / "again").symlink_to(folder)  # a circle
    file = folder / "train.txt"
    file.write_text(file.read_text().replace(" train-", " link/train-"))
    first = read_dataset(folder, None, tmp_path / "cache", False)
    assert len(first.index) == 16
    (folder / "pool" / "train-negative-0.png").write_bytes((folder / "pool" / "train-negative-1.png").read_bytes())
    assert read_dataset(folder, None, tmp_path / "cache", False).fingerprint != first.fingerprint
