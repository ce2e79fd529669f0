"""Label files."""

import os
from functools import partial
from pathlib import Path

from bad_inputs import CHECK, Bad

LABELS = partial(Bad, "label file")
TRAIN, FIRST = "set/train.txt", "train-negative-0.png"


def text(change, split: str = "train"):
    """Change the text of a label file."""

    def make(place: Path) -> None:
        file = place / "set" / f"{split}.txt"
        file.write_text(change(file.read_text()), encoding="utf-8")

    return make


def row(new: str):
    """Another first row."""
    return text(lambda old: new + "\n" + old.partition("\n")[2])


def renamed(change):
    """Another id in the first row."""
    return text(lambda old: old.replace("trainnegative0", change, 1))


def leak(train: str, test: str):
    """The same patient in both splits, written in two ways."""

    def make(place: Path) -> None:
        text(lambda old: old.replace("trainnegative0", train))(place)
        text(lambda old: old.replace("testnegative0", test), "test")(place)

    return make


def numbered(shuffled: bool):
    """The numbers of a data frame in front of each row, of train and test."""

    def make(place: Path) -> None:
        for split in ("train", "test"):
            lines = (place / "set" / f"{split}.txt").read_text().splitlines()
            numbers = [(7 * number) % 11 + 3 for number in range(len(lines))] if shuffled else range(len(lines))
            text(lambda _: "\n".join(f"{number} {line}" for number, line in zip(numbers, lines)), split)(place)  # noqa: B023

    return make


def instead(content: bytes):
    def make(place: Path) -> None:
        (place / TRAIN).write_bytes(content)

    return make


def pipe(place: Path) -> None:
    (place / TRAIN).unlink()
    os.mkfifo(place / TRAIN)


def device(place: Path) -> None:
    (place / TRAIN).unlink()
    (place / TRAIN).symlink_to("/dev/zero")


def folder(place: Path) -> None:
    (place / TRAIN).unlink()
    (place / TRAIN).mkdir()


def moved(source: str, target: str):
    def make(place: Path) -> None:
        (place / "set" / target).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / source).rename(place / "set" / target)

    return make


def link(place: Path) -> None:
    moved(f"train/{FIRST}", f"../{FIRST}")(place)
    (place / "set" / "train" / FIRST).symlink_to(place / FIRST)


BOTH = "patient in both splits"
ROWS = [
    LABELS("a row has three words", row("p1 a.png positive"), (f"{TRAIN}:1", "3 fields", "instead of 'patientid filename class source'")),
    LABELS("a row has one word", row("p1"), (f"{TRAIN}:1", "1 fields")),
    LABELS("fields are separated by commas", row(f"p1,{FIRST},negative,made"), (f"{TRAIN}:1", "looks like CSV", "cxr data adopt")),
    LABELS("fields are separated by commas and blanks", row(f"p1, {FIRST}, negative, made"), (f"{TRAIN}:1", "separated by blanks", "cxr data adopt")),
    LABELS("fields are separated by semicolons", row(f"p1;{FIRST};negative;made"), (f"{TRAIN}:1", "looks like CSV")),
    LABELS("a class is 'pneumonia'", row(f"p1 {FIRST} pneumonia made"), (f"{TRAIN}:1", "unknown class", "'pneumonia'", "write 'positive' or 'negative'")),
    LABELS("a class is 'COVID-19'", row(f"p1 {FIRST} COVID-19 made"), (f"{TRAIN}:1", "unknown class", "cxr data adopt")),
    LABELS("a class has a capital letter", row(f"p1 {FIRST} Negative made"), (f"{TRAIN}:1", "write 'negative'")),
    LABELS("a class is a number", row(f"p1 {FIRST} 0 made"), (f"{TRAIN}:1", "unknown class", "'0'")),
    LABELS("it begins with a heading", text(lambda old: "patientid filename class source\n" + old), (f"{TRAIN}:1", "a heading, delete it")),
    LABELS("class and source are exchanged", row(f"p1 {FIRST} made negative"), (f"{TRAIN}:1", "just one field, the source, may follow")),
    LABELS("a source has two words", row(f"p1 {FIRST} negative my source"), (f"{TRAIN}:1", "just one field, the source, may follow")),
    LABELS("a row has no patient", row(f'"" {FIRST} negative made'), (f"{TRAIN}:1", "no patient id")),
    LABELS("a data frame was saved with its row numbers", numbered(False), (f"{TRAIN}:1", "begins with the number of its row", "cut -d' ' -f2-")),
    LABELS("a shuffled data frame was saved with its row numbers", numbered(True), (f"{TRAIN}:1", "row number in the id", "looks like another patient")),
    LABELS("row numbers and commas stand in front of each id", text(lambda old: "\n".join(f"{n},{line}" for n, line in enumerate(old.splitlines()))), (f"{TRAIN}:1", "row number in the id", "write 'trainnegative0'")),
    LABELS("row numbers in brackets stand in front of each id", text(lambda old: "\n".join(f"[{n}] {line}" for n, line in enumerate(old.splitlines(), 1))), (f"{TRAIN}:1", "row number in the id")),
    LABELS("a patient is in both splits", leak("p1", "p1"), (f"{TRAIN}:1", BOTH, "test.txt:1", "delete the rows of one")),
    LABELS("a patient is in both splits, once in quotes", leak("p1", '"p1"'), (f"{TRAIN}:1", BOTH, "'p1'")),
    LABELS("a patient is in both splits, once in single quotes", leak("'p1'", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once in typographic quotes", leak("“p1”", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with a byte-order mark inside", leak("\ufeffp1", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with a zero-width space", leak("p\u200b1", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with a soft hyphen", leak("p1", "p\u00ad1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with a mark of direction", leak("p1\u200e", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with a filler", leak("p\u3164" + "1", "p1"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once with decomposed letters", leak("Rene\u0301", "Ren\u00e9"), (f"{TRAIN}:1", BOTH)),
    LABELS("a patient is in both splits, once in capitals", leak("P1", "p1"), (f"{TRAIN}:1", "nearly the same patient id", "'P1' and 'p1'", "write them alike")),
    LABELS("a patient is in both splits, once without leading zeros", leak("007", "7"), (f"{TRAIN}:1", "look like one patient")),
    LABELS("a patient is in both splits, once as a fraction", leak("7", "7.0"), (f"{TRAIN}:1", "look like one patient")),
    LABELS("a patient is in both splits, once in full-width digits", leak("p１", "p1"), (f"{TRAIN}:1", "look like one patient")),
    LABELS("a patient is in both splits, once with a hyphen for a blank", leak("COVID 1", "COVID-1"), (f"{TRAIN}:1", "look like one patient")),
    LABELS("a row stands twice", text(lambda old: old + old.partition("\n")[0]), (f"{TRAIN}:9", "repeated file name", "is also on line 1")),
    LABELS("an image stands twice with two classes", text(lambda old: old + f"trainnegative0 {FIRST} positive made"), (f"{TRAIN}:9", "another patient or class")),
    LABELS("a file name climbs out of its folder", row("p1 ../train.txt negative made"), (f"{TRAIN}:1", "climbs out of its folder")),
    LABELS("a file name is absolute", row("p1 /etc/passwd negative made"), (f"{TRAIN}:1", "is absolute", "relative to the folder")),
    LABELS("a file name begins with a drive", row("p1 C:a.png negative made"), (f"{TRAIN}:1", "is absolute")),
    LABELS("a file name begins with a tilde", row("p1 ~/a.png negative made"), (f"{TRAIN}:1", "is absolute")),
    LABELS("a file name holds a backslash", row("p1 a\\b.png negative made"), (f"{TRAIN}:1", "holds a backslash", "write folders with '/'")),
    LABELS("a file name holds a control character", row("p1 a\0.png negative made"), (f"{TRAIN}:1", "control character")),
    LABELS("an image is missing", row("p1 gone.png negative made"), (f"{TRAIN}:1", "no file 'gone.png'", "add the file or delete the row")),
    LABELS("an image is written in other letters", row("p1 TRAIN-negative-0.png negative made"), (f"{TRAIN}:1", f"there is {FIRST}", "correct the row")),
    LABELS("an image is written with another ending", row("p1 train-negative-0.jpg negative made"), (f"{TRAIN}:1", f"there is {FIRST}")),
    LABELS("an image lies in a subfolder", moved(f"train/{FIRST}", f"train/sub/{FIRST}"), (f"{TRAIN}:1", f"there is sub/{FIRST}", "write the name with its folder")),
    LABELS("the images lie in train/train/", moved(f"train/{FIRST}", f"train/train/{FIRST}"), (f"{TRAIN}:1", f"there is train/{FIRST}")),
    LABELS("an image lies in the other split", moved(f"train/{FIRST}", f"test/{FIRST}"), (f"{TRAIN}:1", "there is one in set/test", "move the file or the row")),
    LABELS("an image is a link that leads out", link, (f"{TRAIN}:1", "is a link that leads out of set", "put the image itself there")),
    LABELS("it is empty", instead(b"\n \n"), (TRAIN, "no rows", "patientid filename class source")),
    LABELS("it is saved as UTF-16", instead("p1 a.png negative s\n".encode("utf-16")), (TRAIN, "is not UTF-8", "save the label file as UTF-8")),
    LABELS("it is saved as Latin-1", instead("René a.png negative s\n".encode("latin-1")), (TRAIN, "byte 3 is not UTF-8")),
    LABELS("it is saved as UTF-16 without a mark", instead("p1 a.png negative s\n".encode("utf-16-le")), (TRAIN, "every other byte is zero, as in UTF-16", "save the label file as UTF-8")),
    LABELS("two files were joined and the first had no line end", text(lambda old: old.replace("made\n", "made", 1)), (f"{TRAIN}:1", "two rows in one line", "begin each row on a line of its own")),
    LABELS("a row has two classes and no source", row(f"p1 {FIRST} positive negative"), (f"{TRAIN}:1", "two classes, 'positive' and 'negative'", "patientid filename class source")),
    LABELS("a row has 'nan' for a patient", renamed("nan"), (f"{TRAIN}:1", "spoilt patient id", "'nan' stands for no patient", "write the id of the patient")),
    LABELS("a row has a dash for a patient", renamed("-"), (f"{TRAIN}:1", "spoilt patient id", "'-' stands for no patient")),
    LABELS("a row has 'Unknown' for a patient", renamed("Unknown"), (f"{TRAIN}:1", "spoilt patient id", "would count as one")),
    LABELS("a spreadsheet shortened an id", renamed("1.23457E+11"), (f"{TRAIN}:1", "spoilt patient id", "a number as spreadsheets shorten it", "save the ids as text")),
    LABELS("a class speaks to the terminal", row(f"p1 {FIRST} \x1b[2Jnegative made"), (f"{TRAIN}:1", "unknown class", "'\\x1b[2Jnegative'")),
    LABELS("file names begin with the folder of the split", text(lambda old: old.replace(" train-", " train/train-")), (f"{TRAIN}:1", f"there is {FIRST}", "write it without one")),
    LABELS("it begins with a remark", text(lambda old: "# patients of spring\n" + old), (f"{TRAIN}:1", "unknown class", "'of'")),
    LABELS("a class has a letter of another alphabet", row(f"p1 {FIRST} neg\u0430tive made"), (f"{TRAIN}:1", "unknown class", "write 'positive' or 'negative'")),
    LABELS("it ends in bytes of zero, as after a crash", text(lambda old: old + "\0" * 50), (f"{TRAIN}:9", "1 fields '\\x00")),
    LABELS("a patient is in both splits, once behind a lone quote", leak("'p1", "p1"), (f"{TRAIN}:1", "nearly the same patient id")),
    LABELS("it is a folder", folder, (TRAIN, "a folder, not a file")),
    LABELS("it is a pipe", pipe, (TRAIN, "a device or a pipe")),
    LABELS("it is an endless device", device, (TRAIN, "a device or a pipe")),
    LABELS("a line has 20,000 words", row("p " * 20_000 + "negative s"), (f"{TRAIN}:1", "no file 'p'")),
    LABELS("a line has one word of a million letters", row("p" * 1_000_000), (f"{TRAIN}:1", "1 fields")),
    LABELS("it is a device and given by --labels", lambda place: [(place / "labels").mkdir(), (place / "labels" / "train.txt").symlink_to("/dev/zero"), (place / "labels" / "test.txt").symlink_to("/dev/null")], ("labels/train.txt", "a device or a pipe"), (*CHECK, "--labels", "labels")),
]
