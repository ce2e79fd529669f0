"""The folder of 19 silent faults: each alone is found by its row, together all are, and the sound rows stay."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bad_inputs.images import zeroed
from common import write_folder
from dicom_files import write
from PIL import Image
from typer.testing import CliRunner

from cxrlib.cli.main import app
from cxrlib.data.folder import check, read_index
from cxrlib.data.labels import read_labels

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
DEEP = NOISE.astype(np.uint16) * 16


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def saved(values, **options):
    return lambda path: Image.fromarray(values).save(path, format="PNG", **options)


def dicom(values=DEEP, **fields):
    return lambda path: write(path, values=values, **fields)


def floats(value):
    return lambda path: tifffile.imwrite(path, np.where(np.arange(4096).reshape(64, 64) == 5, value, NOISE / 255.0).astype(np.float32))


# How each is wrong: the file of its row, and the kind of problem. What can be read rightly is in test_wrong_in_silence.
IMAGES = {
    "RescaleSlope 0": dicom(RescaleSlope="0", RescaleIntercept="0"),
    "RescaleSlope NaN": dicom(RescaleSlope="nan", RescaleIntercept="0"),
    "window centre NaN": dicom(WindowCenter="nan", WindowWidth="100"),
    "window beside the values": dicom(WindowCenter="60000", WindowWidth="10"),
    "bits that the header denies": dicom(DEEP * 15),
    "VOI of one value": dicom(RescaleSlope="1", RescaleIntercept="inf"),
    "one grey value in DICOM": dicom(np.full((64, 64), 9, np.uint16)),
    "white": saved(np.full((64, 64), 255, np.uint8)),
    "black": saved(np.zeros((64, 64), np.uint8)),
    "one grey": saved(np.full((64, 64), 128, np.uint8)),
    "one pixel": saved(NOISE[:1, :1]),
    "half a JPEG": lambda path: path.write_bytes(jpeg()[: len(jpeg()) // 2] + b"\xff\xd9"),
    "a JPEG with zeros": lambda path: path.write_bytes(zeroed(jpeg())),
    "not a number": floats(np.nan),
    "infinite": floats(np.inf),
}
ROWS = {
    "in both splits, in quotes": ('"testnegative0"', "patient in both splits"),
    "in both splits, with a byte-order mark": ("test\ufeffnegative0", "patient in both splits"),
    "in both splits, with a zero-width space": ("testnegative\u200b0", "patient in both splits"),
    "in both splits, in capitals": ("TestNegative0", "nearly the same patient id"),
}


def spoil(folder: Path) -> dict[int, str]:
    """Add a row for each fault to the training labels; returns the kind of problem by line."""
    lines, expected = [], {}
    for number, (how, make) in enumerate(IMAGES.items()):
        make(folder / "train" / f"image{number}.png")
        lines.append(f"own{number} image{number}.png negative made")
        expected[9 + number] = "unreadable image"
        assert how
    for number, (name, kind) in enumerate(ROWS.values()):
        saved(NOISE[::-1])(folder / "train" / f"row{number}.png")
        lines.append(f"{name} row{number}.png negative made")
        expected[9 + len(IMAGES) + number] = kind
    with (folder / "train.txt").open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return expected


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", train=4, test=2, size=32)


def test_the_folder_of_19_silent_faults_is_refused_row_by_row(folder):
    expected = spoil(folder)
    assert len(expected) == 19
    report = check(folder)
    assert {problem.line: problem.kind for problem in report.problems} == expected
    assert len(report.index) == 12 and report.rows == 31
    assert report.left_out == {"unreadable image": 15, "patient in both splits": 3, "nearly the same patient id": 1}
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--strict"])
    assert result.exit_code == 1
    assert "19 problems of 3 kinds; 19 of 31 rows are left out: 15 x unreadable image" in result.output
    assert "... and 5 more; --all lists them" in result.output and "to mend: download, export or convert" in result.output
    whole = CliRunner().invoke(app, ["data", "check", str(folder), "--all"])
    assert whole.exit_code == 0 and all(f"train.txt:{line}: " in whole.output for line in expected)


def test_the_report_for_programs(folder):
    import json

    expected = spoil(folder)
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--json"])
    content = json.loads(result.stdout)
    assert {problem["line"]: problem["kind"] for problem in content["problems"]} == expected
    assert content["rows"] == 31 and content["left_out"]["unreadable image"] == 15
    assert sum(part["images"] for part in content["counts"]) == 12 and content["problems"][0]["mend"]


def test_rows_left_out_are_said_and_recorded(one_run, tmp_path, capsys):
    from cxrlib.experiment.one_run import run

    spoiled = write_folder(tmp_path / "spoiled", train=6, test=4)
    text = (spoiled / "train.txt").read_text()
    (spoiled / "train.txt").write_text(text.replace("positive-0.png positive", "positive-0.png pneumonia") + "x gone.png negative made\ny lost.png negative made\n")
    record = run(one_run | {"data": spoiled})
    assert record.data["left_out"] == {"missing image": 2, "unknown class": 1}
    assert "3 of 22 rows are left out: 2 x missing image, 1 x unknown class" in capsys.readouterr().err
    for arguments in (["data", "prepare", str(spoiled), "--size", "16"], ["train", "-p", f"data={spoiled}"]):
        result = CliRunner().invoke(app, [*arguments, "--strict"])
        assert result.exit_code == 1 and "3 problem(s) in the data set" in result.output
    with pytest.raises(ValueError, match="3 problem"):
        run(one_run | {"data": spoiled, "strict": True})
    sound = run(one_run)
    assert "left_out" not in sound.data


# What is allowed stays so


def test_ids_with_blanks_stay_legal(folder):
    text = (folder / "train.txt").read_text()
    for number in (0, 1):
        text = text.replace(f"trainnegative{number}", f"COVID {number + 1}").replace(f"trainpositive{number}", f"1{number} smith")
    (folder / "train.txt").write_text(text)
    assert check(folder).problems == []
    assert {"COVID 1", "10 smith"} <= set(read_index(folder)["patient_id"])


@pytest.mark.parametrize(
    "row",
    ['"p1" "a.png" "negative" "s"', "'p1' a.png negative s", "\ufeffp1\u200b a.png\u200e negative s", "“p1” a.png negative s", "p1\ta.png   negative\ts\u00ad"],
)
def test_quotes_and_unseen_characters_are_taken_away(tmp_path, row):
    (tmp_path / "a.txt").write_text(row + "\n", encoding="utf-8")
    assert read_labels(tmp_path / "a.txt").values.tolist() == [["p1", "a.png", "negative", "s"]]


def test_names_composed_in_another_way_are_found(folder):
    (folder / "train" / "train-negative-0.png").rename(folder / "train" / "Rene\u0301 1.png")
    text = (folder / "train.txt").read_text().replace("train-negative-0.png", "Ren\u00e9 1.png")
    (folder / "train.txt").write_text(text, encoding="utf-8")
    assert check(folder).problems == []


def test_an_image_that_cannot_be_read_now_is_no_row_less(folder, monkeypatch):
    """S6: a passing read error would give another data set, another key and a smaller training set."""
    from cxrlib.data import decode
    from cxrlib.data.labels import DataError

    plain = Path.open

    def failing(self, *arguments, **options):
        if self.name == "train-negative-0.png":
            raise OSError(5, "Input/output error")
        return plain(self, *arguments, **options)

    monkeypatch.setattr(decode.Path, "open", failing)
    assert [problem.kind for problem in check(folder).problems] == ["image cannot be read now"]
    with pytest.raises(DataError, match=r"(?s)1 image.s. cannot be read now; mend the disk.*train.txt:1: image cannot be read now: .*Input/output error"):
        read_index(folder)


def test_a_million_rows_without_images_take_neither_minutes_nor_gigabytes(tmp_path):
    """H3, at a fifth: seconds for 200,000 rows, and a line of 20,000 words beside them."""
    import time

    folder = write_folder(tmp_path / "set", train=2, test=2, size=32)
    with (folder / "train.txt").open("a") as file:
        file.writelines(f"p{number} gone{number}.png negative made\n" for number in range(200_000))
        file.write("word " * 20_000 + "negative made\n")
    start = time.process_time()
    report = check(folder, decode=False)
    assert time.process_time() - start < 40
    assert report.left_out == {"missing image": 200_001}
    assert len(report.text().splitlines()) < 40


@pytest.mark.parametrize(
    ("field", "read"),
    [
        ("""'evil'--"evil\"""", """'evil'--"evil\""""), ("O'Brien's", "O'Brien's"), ("'80s", "'80s"), ('5"', '5"'), ("“a", "“a"),
        ('"a b"', "a b"), ("'a b'", "a b"), ("„a“", "a"), ("‚a’", "a"), ("»a«", "a"), ("«a»", "a"), ('""a""', "a"), ("\"'a'\"", "a"),
    ],
)  # fmt: skip
def test_a_quote_without_a_partner_is_text(tmp_path, field, read):
    (tmp_path / "train.txt").write_text(f"p1 a.png positive {field}\np2 b.png negative s\n", encoding="utf-8")
    assert read_labels(tmp_path / "train.txt")["source"].tolist() == [read, "s"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_every_line_end_ends_a_row(tmp_path, end):
    (tmp_path / "train.txt").write_bytes(end.join(["p1 a.png positive s", "p2 b.png negative s", "p3 c.png negative s"]).encode())
    assert read_labels(tmp_path / "train.txt")["patient_id"].tolist() == ["p1", "p2", "p3"]


def test_the_same_file_under_two_names_is_a_remark(tmp_path):
    folder = write_folder(tmp_path / "set", train=4, test=2, size=32)
    (folder / "train" / "z.png").write_bytes((folder / "test" / "test-negative-0.png").read_bytes())
    with (folder / "train.txt").open("a") as file:
        file.write("other z.png positive made\n")
    remarks = check(folder).remarks
    for what in ("", ", in both splits", ", under both classes"):
        assert f"1 image(s) stand there several times, the same to the byte{what}, such as train/z.png and test/test-negative-0.png" in remarks
    assert not [remark for remark in check(write_folder(tmp_path / "sound")).remarks if "byte" in remark]
