"""Data folders as a whole, and what is beside them: masks, collections."""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bad_inputs import CHECK, Bad

FOLDER = partial(Bad, "data folder")
ADOPT = ("data", "adopt", "set", "out")


def renamed(**names):
    """Entries of the folder under other names; an empty name deletes."""

    def make(place: Path) -> None:
        for old, new in names.items():
            source = place / "set" / old.replace("_", ".")
            if not new:
                shutil.rmtree(source) if source.is_dir() else source.unlink()
                continue
            (place / "set" / new).parent.mkdir(parents=True, exist_ok=True)
            source.rename(place / "set" / new)

    return make


def classes(split: bool):
    """Images in folders of their classes."""

    def make(place: Path) -> None:
        for name in ("train", "test"):
            for path in sorted((place / "set" / name).iterdir()):
                kind = "COVID" if "positive" in path.name else "Normal"
                target = place / "set" / (f"{name}/{kind}" if split else kind) / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            (place / "set" / f"{name}.txt").unlink()

    return make


def loose(place: Path) -> None:
    for name in ("train", "test"):
        for path in sorted((place / "set" / name).iterdir()):
            path.rename(place / "set" / path.name)
        (place / "set" / name).rmdir()
        (place / "set" / f"{name}.txt").unlink()


def linked(place: Path) -> None:
    (place / "set" / "train").rename(place / "elsewhere")
    (place / "set" / "train").symlink_to(place / "elsewhere")


def only(split: str, label: str):
    def make(place: Path) -> None:
        file = place / "set" / f"{split}.txt"
        file.write_text("".join(line for line in file.read_text().splitlines(True) if f" {label} " in line))

    return make


def deeper(place: Path) -> None:
    (place / "set").rename(place / "inner")
    (place / "set").mkdir()
    (place / "inner").rename(place / "set" / "covidx")


def twice(place: Path) -> None:
    shutil.copy(place / "set" / "train.txt", place / "set" / "train_old.txt")


def masks(change):
    """Masks of all images, then a change."""

    def make(place: Path) -> None:
        for split in ("train", "test"):
            folder = place / "set" / "masks" / "lungs" / split
            folder.mkdir(parents=True)
            for path in (place / "set" / split).iterdir():
                Image.fromarray(np.eye(32, dtype=np.uint8)).save(folder / path.name)
        change(place / "set")

    return make


def read_masks(place: Path):
    from cxrlib.data.dataset import read_dataset

    return read_dataset(place / "set", None, place.parent / f"{place.name}-cache", False).masks("lungs", "train", 16)


def two_stems(folder: Path) -> None:
    """An image whose name differs from another's in its ending only."""
    first = folder / "train" / "train-negative-0.png"
    Image.open(first).save(folder / "train" / "train-negative-0.bmp")
    with (folder / "train.txt").open("a") as file:
        file.write("other train-negative-0.bmp negative made\n")


def same_names(folder: Path) -> None:
    """s0/a.png and s1/a.png with one mask a.png."""
    text = (folder / "train.txt").read_text()
    for number in (0, 1):
        (folder / "train" / f"s{number}").mkdir()
        (folder / "train" / f"train-negative-{number}.png").rename(folder / "train" / f"s{number}" / "a.png")
        text = text.replace(f"train-negative-{number}.png", f"s{number}/a.png")
    (folder / "train.txt").write_text(text)
    (folder / "masks" / "lungs" / "train" / "train-negative-0.png").rename(folder / "masks" / "lungs" / "train" / "a.png")


def tall(place: Path) -> None:
    """The first training image 60 high and 32 wide."""
    path = place / "set" / "train" / "train-negative-0.png"
    with Image.open(path) as image:
        image.resize((32, 60)).save(path)


def another_shape(folder: Path) -> None:
    Image.fromarray(np.eye(32, 60, dtype=np.uint8)).save(folder / "masks" / "lungs" / "train" / "train-negative-0.png")


def first_mask(values: np.ndarray, kind: str = "PNG"):
    """Other values in the mask of the first training image."""

    def change(folder: Path) -> None:
        Image.fromarray(values.astype(np.uint8)).save(folder / "masks" / "lungs" / "train" / "train-negative-0.png", format=kind)

    return masks(change)


def hide(place: Path):
    """A run that sees only what the masks show."""
    from cxrlib.experiment.one_run import run

    where = {"data": place / "set", "cache": place.parent / f"{place.name}-cache", "store": place.parent / f"{place.name}-runs"}
    return run(where | {"region": "lungs", "arch": "resnetv2_laptop", "image_channels": 1, "init": "random", "resize": 32, "crop": 32, "batch_size": 4, "schedule": [1, 2]}, progress=False)


def listing(place: Path, first: str, twice: bool = False) -> None:
    """A collection of four images with a table; ``first`` is the patient of the first, ``twice`` says each image of both classes."""
    (place / "set").mkdir()
    lines = ["file,patient,finding"]
    for number in range(4):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)).save(place / "set" / f"{number}.png")
        for kind in ("COVID-19", "Normal") if twice else (("COVID-19", "Normal")[number % 2],):
            lines.append(f"{number}.png,{first if number == 0 else number},{kind}")
    (place / "set" / "a.csv").write_text("\n".join(lines) + "\n")


ROW, COLUMN = np.mgrid[:32, :32]
MASKS = partial(Bad, "masks", call=read_masks)
LEVELS = ("train-negative-0.png", "a mask has two levels, and this has others too, such as", "all else as 0")
ROWS = [
    FOLDER("it does not exist", lambda place: None, ("set: there is no such folder", "COVIDx layout"), data=False),
    FOLDER("it is a file", lambda place: (place / "set").write_text("x"), ("set: is not a folder",), data=False),
    FOLDER("it is empty", lambda place: (place / "set").mkdir(), ("set: cannot tell", "the folder is empty", "unpacked"), data=False),
    FOLDER("there are no label files", renamed(train_txt="", test_txt=""), ("one train*.txt is needed, found: none", "--labels FOLDER")),
    FOLDER("there are two label files of one split", twice, ("found: train.txt, train_old.txt", "keep one here")),
    FOLDER("the label file is called train.csv", renamed(train_txt="train.csv"), ("train.csv: a table of the images", "cxr data adopt set OUT")),
    FOLDER("the label file is called train.TXT", renamed(train_txt="train.TXT"), ("train.TXT looks like the label file of train/", "rename it to train.txt")),
    FOLDER("the label file is called Train.txt", renamed(train_txt="Train.txt"), ("Train.txt looks like the label file of train/",)),
    FOLDER("the folder of a split is called Train/", renamed(train="Train"), ("train.txt:1", "no file 'train-negative-0.png'")),
    FOLDER("names of folders and label files have capitals", renamed(train="Train", train_txt="Train.txt"), ("Train.txt looks like the label file", "Train/ looks like the images of train")),
    FOLDER("the folder of a split is called training/", renamed(train="training", train_txt="training.TXT"), ("training/ looks like the images of train",)),
    FOLDER("the images lie in folders of their classes", classes(False), ("folders of their classes (COVID, Normal)", "cxr data adopt set OUT")),
    FOLDER("each split has folders of its classes", classes(True), ("folders of their classes (COVID, Normal)", "cxr data adopt")),
    FOLDER("all images lie in the folder itself", loose, ("the images lie in set itself", "move them to train/ and test/")),
    FOLDER("it was unpacked one folder deeper", deeper, ("there are label files in covidx/", "give set/covidx")),
    FOLDER("train/ is a link that leads out", linked, ("train.txt:1", "the folder 'train' is a link that leads out of set", "put the images themselves there")),
    FOLDER("the test split has no positive image", only("test", "negative"), ("set: no usable image of: test positive", "both classes")),
    FOLDER("the training split has positive images only", only("train", "positive"), ("set: no usable image of: train negative",)),
    FOLDER("it is a test set only", renamed(train="", train_txt=""), ("one train*.txt is needed",)),
    FOLDER("the folder of --labels is not there", lambda place: None, ("nowhere: there is no such folder",), (*CHECK, "--labels", "nowhere")),
    FOLDER("the folder of --labels has no label files", lambda place: (place / "other").mkdir(), ("other: cannot tell", "the folder is empty"), (*CHECK, "--labels", "other")),
    FOLDER("it is used for training and has no positive images", only("train", "negative"), ("set: no usable image of: train positive",), ("train", "-p", "data=set", "-p", "cache=../c")),
    FOLDER("it has a problem and --strict is given", renamed(**{"train/train-negative-0_png": ""}), ("1 problem(s)", "train.txt:1", "no file 'train-negative-0.png'"), ("train", "--strict", "-p", "data=set", "-p", "cache=../c")),
    Bad("collection", "nobody says who the patient is", classes(False), ("who is the patient of an image?", "--patient", "never guessed"), ADOPT),
    Bad("collection", "the patient's column does not exist", classes(False), ("--patient 'id'", "there is no table here"), (*ADOPT, "--patient", "id")),
    Bad("collection", "the pattern of the patient fits no name", classes(False), ("finds no patient in 12 of 12 file names",), (*ADOPT, "--patient", "(Q[0-9]+)")),
    Bad("collection", "the pattern of the patient has no end", classes(False), ("no regular expression",), (*ADOPT, "--patient", "(P[0-9")),
    Bad("collection", "the new folder exists", lambda place: [classes(False)(place), (place / "out").mkdir(), (place / "out" / "a").write_text("")], ("out exists", "nothing is overwritten"), (*ADOPT, "--patient", "each-image")),
    Bad("collection", "the new folder lies inside of it", classes(False), ("set/out lies inside set",), ("data", "adopt", "set", "set/out", "--patient", "each-image")),
    Bad("collection", "a class of --positive does not exist", classes(False), ("there is no class 'covid'", "COVID, Normal"), (*ADOPT, "--patient", "each-image", "--positive", "covid")),
    Bad("collection", "a class could be COVID-19 or its absence", lambda place: [classes(False)(place), (place / "set" / "Normal").rename(place / "set" / "COVID-negative")], ("class 'COVID-negative' could be COVID-19 or something else ('negative')", "--positive"), (*ADOPT, "--patient", "each-image")),
    Bad("collection", "there is neither a table nor a folder of classes", lambda place: (place / "set").mkdir(), ("neither folders of classes nor a table",), ADOPT, data=False),
    Bad("collection", "the table cannot be read", lambda place: [(place / "set").mkdir(), (place / "set" / "a.xlsx").write_text("no Excel")], ("a.xlsx: cannot be read as a table", "save it as CSV"), ADOPT, data=False),
    Bad("collection", "the table has no column of classes", lambda place: [(place / "set").mkdir(), (place / "set" / "a.csv").write_text("file,who\na.png,1\n")], ("which column is the class?", "file, who"), ADOPT, data=False),
    Bad("collection", "the patients of some images are not known", lambda place: listing(place, "nan"), ("column 'patient' is empty for 1 of 4 images", "fill it"), (*ADOPT, "--patient", "patient"), data=False),
    Bad("collection", "the table gives every image two classes", lambda place: listing(place, "p1", twice=True), ("8 x image with two classes, patients or splits",), (*ADOPT, "--patient", "patient"), data=False),
    Bad("collection", "a quote of the table is not closed", lambda place: [listing(place, "p1"), (place / "set" / "a.csv").write_text('file,patient,finding\n"0.png,p,COVID\n')], ("a.csv: cannot be read as a table", "save it as CSV"), (*ADOPT, "--patient", "patient"), data=False),
    MASKS("one is missing", masks(lambda folder: os.unlink(folder / "masks" / "lungs" / "train" / "train-negative-0.png")), ("masks/lungs/train/train-negative-0.png' is missing", "add it")),
    MASKS("two images of one name in two subfolders share one", masks(same_names), ("s0/a.png' is missing", "add it")),
    MASKS("two images of one stem share one", masks(two_stems), ("the mask of 2 images", "a stem of its own")),
    MASKS("one has another shape than its image", masks(another_shape), ("60 x 32 pixels", "32 x 32", "another shape")),
    MASKS("one is cropped by five of a hundred pixels", first_mask(np.eye(95, 100)), ("100 x 95 pixels", "32 x 32", "another shape")),
    MASKS("one is that of the picture turned on its side", lambda place: [tall(place), first_mask(np.eye(32, 60) * 255)(place)], ("60 x 32 pixels", "32 x 60", "another shape")),
    MASKS("one has a class for each lung (0, 1, 2)", first_mask((ROW > 8) * (1 + (COLUMN > 16))), (*LEVELS, "such as 1 between 0 and 2")),
    MASKS("one has a grey level for each of three organs", first_mask((COLUMN // 8) * 85), LEVELS),
    MASKS("one has three levels and is a JPEG", first_mask((COLUMN // 11) * 127, "JPEG"), LEVELS),
    MASKS("one has no black", first_mask(np.where(COLUMN > 16, 200, 150)), LEVELS),
    MASKS("one is the X-ray itself", masks(lambda folder: shutil.copy(folder / "train" / "train-negative-0.png", folder / "masks" / "lungs" / "train")), LEVELS),
    MASKS("one marks nothing and the lungs are all that a run sees", first_mask(0 * ROW), ("train-negative-0.png marks nothing", "make it again"), call=hide),
    MASKS("one marks every pixel and the lungs are all that a run sees", first_mask(0 * ROW + 255), ("train-negative-0.png marks every pixel", "make it again"), call=hide),
    MASKS("one is no image", masks(lambda folder: (folder / "masks" / "lungs" / "train" / "train-negative-0.png").write_text("x")), ("train-negative-0.png", "not an image")),
]
