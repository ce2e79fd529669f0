"""Command lines: what is asked for, and files that would be lost."""

import shutil
from functools import partial
from pathlib import Path

from common import ROOT

from bad_inputs import Bad

LINE = partial(Bad, "command line")
FIRST = "set/train/train-negative-0.png"
PREDICT = ("predict", FIRST, "--model", "abc")


def nothing(place: Path) -> None:
    """The sound folder is enough."""


def there(name: str, content: str = "mine"):
    def make(place: Path) -> None:
        (place / name).write_text(content)

    return make


def lacking(place: Path) -> None:
    """A test image is missing; and there is the profile of a committed table."""
    (place / "set" / "test" / "test-negative-0.png").unlink()
    (place / "profiles").mkdir()
    shutil.copy(ROOT / "profiles" / "quarter-lite.yaml", place / "profiles")


FILES = ("shortcuts", "files", "--data", "set", "--out")
NOT_STRICT = ("1 problem(s) in the data set", "test.txt:1: missing image", "add the file or delete the row")
ROWS = [
    LINE("--explain names an image that is to be scored", nothing, (f"--explain {FIRST} is one of the images to score", "would be lost"), (*PREDICT, "--explain", FIRST)),
    LINE("--explain stands before two images", nothing, ("exists; give another file",), ("predict", "--model", "abc", "--explain", FIRST, "set/train/train-negative-1.png")),
    LINE("--explain names an image by another path", nothing, ("is one of the images to score",), (*PREDICT, "--explain", "set/../" + FIRST)),
    LINE("--explain names an image through a link", lambda place: (place / "link.png").symlink_to(place / FIRST), ("is one of the images to score",), (*PREDICT, "--explain", "link.png")),
    LINE("--explain names an image and --overwrite is given", nothing, ("is one of the images to score",), (*PREDICT, "--explain", FIRST, "--overwrite")),
    LINE("--explain names a file that exists", there("out.png"), ("out.png exists", "--overwrite to replace it"), (*PREDICT, "--explain", "out.png")),
    LINE("--explain without an ending names a file that exists as PNG", there("o1.png"), ("o1.png exists",), (*PREDICT, "--explain", "o1")),
    LINE("--explain names the folder here", nothing, ("--explain . is a folder", "give a file"), (*PREDICT, "--explain", ".")),
    LINE("--explain names a folder", nothing, ("--explain set is a folder",), (*PREDICT, "--explain", "set")),
    LINE("--explain names a hidden file", nothing, ("must end in .png",), (*PREDICT, "--explain", ".png")),
    LINE("--explain has an ending that no figure has", nothing, ("must end in .png, .pdf, .svg",), (*PREDICT, "--explain", "out.docx")),
    LINE("--explain is asked for 50 images", nothing, ("draws at most 40 images, here are 50",), ("predict", *[FIRST] * 50, "--model", "abc", "--explain", "out.png")),
    LINE("there is no such model", nothing, ("none fits",), PREDICT),
    LINE("no image is given to predict", nothing, ("Missing argument",), ("predict", "--model", "abc")),
    LINE("no model is given to predict", nothing, ("Missing option",), ("predict", FIRST)),
    LINE("the profile does not exist", nothing, ("no profile 'papper'", "run the command in the project's folder"), ("plan", "--profile", "papper")),
    LINE("plan is asked outside of the project", nothing, ("no profile 'demo'", "there is no folder 'profiles' here"), ("plan",)),
    LINE("the throughput is 0", nothing, ("is not positive",), ("plan", "--throughput", "0")),
    LINE("a study does not exist", nothing, ("there is no study '99'", "04_data_size"), ("sweep", "--study", "99")),
    LINE("an upstream does not exist", nothing, ("there is no upstream 'fractal-x'",), ("upstream", "fractal-x")),
    LINE("a size of data prepare is a word", nothing, ("Invalid value for '--size'",), ("data", "prepare", "set", "--size", "big")),
    LINE("data prepare gets no folder", nothing, ("does not exist",), ("data", "prepare", "nowhere", "--size", "16")),
    LINE("the workers are 0", nothing, ("Invalid value for '--workers'",), ("data", "prepare", "set", "--size", "16", "--workers", "0")),
    LINE("runs external --strict is given a folder with a problem", lacking, NOT_STRICT, ("runs", "external", "set", "--strict")),
    LINE("results --strict is given a folder with a problem", lacking, NOT_STRICT, ("results", "--data", "set", "--table", "quarter-lite", "--strict")),
    LINE("the store is a file", nothing, ("Invalid value for '--store'", "is a file"), ("runs", "list", "--store", "set/train.txt")),
    LINE("a store that is to be cleaned is a file", nothing, ("Invalid value for '--store'", "is a file"), ("runs", "gc", "--yes", "--store", "set/train.txt")),
    LINE("the cache is a file", nothing, ("Invalid value for '--cache'", "is a file"), ("data", "prepare", "set", "--size", "16", "--cache", "set/train.txt")),
    LINE("the days of runs gc are not a number", nothing, ("Invalid value for '--days'",), ("runs", "gc", "--unfinished", "--days", "nan")),
    LINE("a table would be written over a label file", nothing, ("set/train.txt is there and is no table", "not written over"), (*FILES, "set/train.txt")),
    LINE("a table would be written over an image", nothing, (f"{FIRST} is there and is no table (Parquet)", "not written over"), (*FILES, FIRST)),
    LINE("a table would be written to a folder", nothing, ("set is a folder",), (*FILES, "set")),
    LINE("a table of records would be written over an image", nothing, (f"{FIRST} is there and is no table (Parquet)", "not written over"), ("truth", "across", "--data", "set", "--out", FIRST)),
    LINE("weights would be written over a label file", nothing, ("set/train.txt is there and is no weights file",), ("truth", "lungs", "--data", "set", "--weights", "set/train.txt")),
    LINE("the rows of verify would be written over an image", nothing, (f"{FIRST} is there and is no JSON file", "not written over"), ("verify", "--json", FIRST)),
    LINE("an architecture takes larger images only", nothing, ("arch 'inception_v3' cannot take images of 32 px", "set crop to more"), ("train", "-p", "data=set", "-p", "cache=../c", "-p", "arch=inception_v3", "-p", "crop=32", "-p", "resize=32", "-p", "init=random", "-p", "store=../s")),
    LINE("the command does not exist", nothing, ("No such command 'trian'",), ("trian",)),
    LINE("the option does not exist", nothing, ("No such option",), ("data", "check", "set", "--strickt")),
]
