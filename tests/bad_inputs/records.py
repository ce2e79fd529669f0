"""Records of runs, tables of them, and other committed tables."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from common import ROOT

from bad_inputs.weights import of

SOURCE = ROOT / "results" / "quarter-lite.parquet"


def first():
    """A record of real X-rays; its predictions are left out, as no row needs them."""
    from cxrlib.experiment.record_tables import read_table

    return read_table(SOURCE)[0]


KEY = "00112233445566778899"


def stored(change: Callable[[dict], object] | None = None, envelope: Callable[[dict], object] | None = None, key: str | None = None) -> Callable[[Path], None]:
    """A record in ``runs/``, changed; its checksum is right unless ``envelope`` changes it."""

    def make(place: Path) -> None:
        from cxrlib.files import text_digest

        record = json.loads(first().model_dump_json())
        if change is not None:
            change(record)
        body = json.dumps(record)
        whole = {"sha256": text_digest(body), "record": body}
        if envelope is not None:
            envelope(whole)
        folder = place / "runs" / (key or record["key"])
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(whole))

    return make


def raw(content: bytes, key: str = KEY) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        (place / "runs" / key).mkdir(parents=True)
        (place / "runs" / key / "record.json").write_bytes(content)

    return make


def two(place: Path) -> None:
    raw(b"{}")(place)
    raw(b"{}", KEY[:-1] + "0")(place)


def as_folder(place: Path) -> None:
    (place / "runs" / KEY / "record.json").mkdir(parents=True)


def with_weights(content: bytes | None) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        stored()(place)
        (folder,) = (place / "runs").iterdir()
        if content is not None:
            (folder / "weights.safetensors").write_bytes(content)

    return make


def load_it(place: Path) -> object:
    from cxrlib.experiment.record import load_model
    from cxrlib.experiment.store import find

    (folder,) = (place / "runs").iterdir()
    return load_model(find(place / "runs", folder.name), Path("runs"))


SHOW = ("runs", "show", KEY[:6])
RECORD = of("record", SHOW)
DAMAGED = ("runs", "is damaged", "run it again, or clean it away with 'cxr runs gc'")


def shown(place: Path) -> object:
    from cxrlib.experiment.store import find

    (folder,) = (place / "runs").iterdir()
    return find(Path("runs"), folder.name)


TABLE = of("table of records", ("runs", "import", "t.parquet"))
NO_TABLE = ("t.parquet is not a table of records", "'cxr runs export' makes one")


def table(content: bytes | pd.DataFrame | None) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        path = place / "t.parquet"
        if content is None:
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.to_parquet(path)

    return make


def cut(place: Path) -> None:
    (place / "t.parquet").write_bytes(SOURCE.read_bytes()[:-20])


def edited(column: str, value: object) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        frame = pd.read_parquet(SOURCE)
        frame[column] = value
        frame.to_parquet(place / "t.parquet")

    return make


def read(place: Path) -> object:
    from cxrlib.experiment.record_tables import read_table

    return read_table(Path("t.parquet"))


def export(name: str) -> tuple[str, ...]:
    return ("runs", "export", name)


def beside(name: str, content: bytes = b"mine") -> Callable[[Path], None]:
    def make(place: Path) -> None:
        stored()(place)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)

    return make


def heat(place: Path) -> object:
    from cxrlib.study.pages import heat as pages

    return pages.read(Path("t.parquet"))


HEAT = of("table of Grad-CAM heat", heat)


def probes(**columns: object) -> Callable[[Path], None]:
    """A table of two probed images, some columns of which are others; None leaves one out."""
    sound = {"data": "set", "fingerprint": "0" * 64, "init": "random", "layer": "stem", "images_per_class": 8, "seed": 0}
    sound |= {"file": ["a.png", "b.png"], "patient_id": ["p1", "p2"], "label": [0, 1], "score": [-1.0, 1.0]}
    return table(pd.DataFrame({name: value for name, value in (sound | columns).items() if value is not None}))


def read_probes(place: Path) -> object:
    from cxrlib.study.pages import probes as pages

    return pages.read(Path("t.parquet"))


PROBES = of("table of linear probes", read_probes)
NO_PROBES = ("t.parquet is no table of linear probes", "'cxrlib.study.pages.probes.probe' makes one")

ROWS = [
    RECORD("no key begins so", lambda place: (place / "runs").mkdir(), ("record '001122': none fits in runs", "'cxr runs list --store runs' lists the keys")),
    RECORD("two keys begin so", two, ("record '001122': 2 fit", KEY)),
    RECORD("its file is empty", raw(b""), DAMAGED),
    RECORD("its file is cut short", raw(b'{"sha256": "abc", "reco'), DAMAGED),
    RECORD("its file is another JSON", raw(b"[1, 2]"), DAMAGED),
    RECORD("its file is no text", raw(b"\xff\xfe\x00"), DAMAGED),
    RECORD("its file is nested a hundred thousand deep", raw(b"[" * 100_000), DAMAGED),
    RECORD("its file is a folder", as_folder, ("runs", "is damaged (it is a folder)")),
    RECORD("a number in it was changed by hand", stored(envelope=lambda e: e.update(record=e["record"].replace("0.9", "0.8", 1))), (*DAMAGED, "its checksum differs"), shown),
    RECORD("its checksum is missing", stored(envelope=lambda e: e.pop("sha256")), DAMAGED, shown),
    RECORD("it lies in the folder of another key", stored(key=KEY), (*DAMAGED, "its content belongs to another key"), shown),
    RECORD("its config was changed and its checksum too", stored(lambda r: r["config"].update(seed=99)), (*DAMAGED, "its content belongs to another key"), shown),
    RECORD("its data fingerprint was changed and its checksum too", stored(lambda r: r["data"].update(fingerprint="0" * 64)), (*DAMAGED, "belongs to another key"), shown),
    RECORD("its accuracy is 7", stored(lambda r: r["history"][-1].update(test_accuracy=7.0)), (*DAMAGED, "its test_accuracy is 7, no share from 0 to 1"), shown),
    RECORD("a logit is not a number", stored(lambda r: r["predictions"]["logit"].__setitem__(2, float("nan"))), (*DAMAGED, "a logit is missing or no finite number"), shown),
    RECORD("a prediction is missing", stored(lambda r: r["predictions"]["logit"].pop()), (*DAMAGED, "columns of several lengths"), shown),
    RECORD("a label is 2", stored(lambda r: r["predictions"]["label"].__setitem__(0, 2)), (*DAMAGED, "a label is neither 0 nor 1"), shown),
    RECORD("it has no evaluation", stored(lambda r: r.update(history=[])), (*DAMAGED, "it has no evaluation"), shown),
    RECORD("a newer version of cxrlib wrote it", stored(lambda r: r.update(uncertainty=1)), ("runs", "cannot be used: it was written by another version of cxrlib, which has 'uncertainty' otherwise", "use that version"), shown),
    RECORD("an older version of cxrlib wrote it", stored(lambda r: r.pop("machine")), ("runs", "written by another version of cxrlib, which has 'machine' otherwise"), shown),
    RECORD("its weights are not there", with_weights(None), ("weights.safetensors is missing", "copy the file from where it was trained"), load_it),
    RECORD("its weights are of another run", with_weights(b"others"), ("weights.safetensors is not the file recorded", "run the record again"), load_it),
    TABLE("it is not there", lambda place: None, ("t.parquet",)),
    TABLE("it is a folder", table(None), ("t.parquet",)),
    TABLE("it is empty", table(b""), NO_TABLE),
    TABLE("it is cut short", cut, NO_TABLE),
    TABLE("it is a CSV file", table(b"key,record\n1,2\n"), NO_TABLE),
    TABLE("it is a table of something else", table(pd.DataFrame({"a": [1]})), (*NO_TABLE, "it has no column key, record, sha256")),
    TABLE("its records are numbers", table(pd.DataFrame({"key": ["a"], "record": [1], "sha256": ["b"]})), (*NO_TABLE, "it has no column record")),
    TABLE("a record in it was changed", edited("record", "{}"), ("t.parquet has damaged records", "its checksum differs", "get the file again"), read),
    TABLE("its keys are no keys", edited("key", "../../evil"), ("t.parquet has damaged records", "that is no key"), read),
    TABLE("its rows have each other's keys", edited("key", KEY), ("t.parquet has damaged records", "belongs to another key"), read),
    TABLE("it would be written over a label file", beside("train.txt"), ("train.txt is there and is no table of records, so it is not written over", "choose another name"), export("train.txt")),
    TABLE("it would be written over an image", beside("a.png", b"\x89PNG"), ("a.png is there and is no table of records",), export("a.png")),
    TABLE("it would be written over another table", lambda place: [stored()(place), pd.DataFrame({"a": [1]}).to_parquet(place / "other.parquet")], ("other.parquet is there and is no table of records",), export("other.parquet")),
    TABLE("it would be written to a folder", lambda place: [stored()(place), (place / "out").mkdir()], ("out is a folder; name a file in it",), export("out")),
    TABLE("no record fits what is exported", beside("x"), ("no record of runs fits", "lists them"), (*export("t.parquet"), "-p", "seed=77")),
    TABLE("records are chosen by a parameter that none has", beside("x"), ("there is no parameter 'sede'; did you mean 'seed'?",), (*export("t.parquet"), "-p", "sede=1")),
    HEAT("it is no Parquet file", table(b"heat"), ("t.parquet is no table of Grad-CAM heat", "'cxr shortcuts grad-cam' makes one")),
    HEAT("it lacks columns", table(pd.DataFrame({"seed": [1]})), ("t.parquet is no table of Grad-CAM heat", "'cxr shortcuts grad-cam' makes one")),
    PROBES("it is text", table(b"layer,score"), NO_PROBES),
    PROBES("it is cut short", cut, NO_PROBES),
    PROBES("it lacks the patients", probes(patient_id=None), (*NO_PROBES, "patient_id")),
    PROBES("its seeds are words", probes(seed="first"), (*NO_PROBES, "first")),
    PROBES("a score is not a number", probes(score=[0.5, float("nan")]), (*NO_PROBES, "row 2 has a score that is no number")),
    PROBES("a score is infinite", probes(score=[float("inf"), 0.5]), (*NO_PROBES, "row 1 has a score that is no number")),
    PROBES("a class is 2", probes(label=[0, 2]), (*NO_PROBES, "row 2 has a class that is neither 0 nor 1")),
    PROBES("a layer does not exist", probes(layer="stage 5"), (*NO_PROBES, "row 1 has a layer that is none")),
    PROBES("an image stands in it twice", probes(file="a.png"), (*NO_PROBES, "row 2 has an image twice in one probe")),
    HEAT("it is cut short", cut, ("t.parquet is no table of Grad-CAM heat",)),
]  # fmt: skip

