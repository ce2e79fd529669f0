"""A store of records: found, compared, carried elsewhere, cleaned; never half written, never wrong without notice."""

import errno
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock

from cxrlib import PROTOCOL_VERSION, files
from cxrlib.config import ParameterError, RunConfig
from cxrlib.experiment import one_run as experiment
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables, store
from cxrlib.experiment.garbage import garbage
from cxrlib.experiment.record import Record
from cxrlib.weights.source import WeightsError


def made(seed: int = 0, protocol: int = PROTOCOL_VERSION, **parameters) -> Record:
    """A record that nobody trained, with numbers that have all their digits."""
    generator = random.Random(seed)
    config = RunConfig(arch="resnetv2_laptop", image_channels=1, seed=seed, **parameters).identity()
    metrics = {f"test_{name}": generator.random() for name in ("loss", "accuracy", "sensitivity", "specificity", "auc")}
    images = range(20)
    return Record(
        key=records.content_key(config, "f" * 64, None, protocol),
        protocol_version=protocol,
        config=config,
        data={"name": "made", "fingerprint": "f" * 64, "is_phantom": False, "training_images": {"negative": 5, "positive": 5}},
        initialisation={"name": "random", "sha256": None, "mean": 0.5, "std": 0.5},
        code_version="1",
        packages={"torch": "2"},
        machine={"device": "x86_64", "threads": 1},
        history=[{"step": 3.0, "learning_rate": 0.1, "train_loss": math.nan, **metrics}],
        predictions={
            "split": ["test"] * 20,
            "file": [f"{i}.png" for i in images],
            "patient_id": [f"p{i}" for i in images],
            "label": [i % 2 for i in images],
            "logit": [generator.gauss(0, 1) * 10.0 ** generator.randint(-300, 2) for _ in images],
        },
        wall_seconds=generator.random() * 1e4,
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
    )


def same(one: Record, two: Record) -> bool:
    """Equal to the last bit, NaN included."""
    return one.model_dump_json() == two.model_dump_json()


@pytest.fixture
def three(tmp_path):
    """A store with three records, and they by key."""
    folder = tmp_path / "runs"
    found = [made(0), made(1, mixup="off"), made(2, images_per_class=64)]
    for record in found:
        records.save(record, b"weights", folder)
    return folder, {record.key: record for record in found}


# Content addressing


def test_a_record_in_a_folder_of_another_key_is_damaged(three, capsys):
    folder, found = three
    first, second, _ = found
    shutil.copy(folder / first / "record.json", folder / second / "record.json")
    assert records.load(folder, second) is None
    assert "belongs to another key" in capsys.readouterr().err
    shutil.copytree(folder / first, folder / ("0" * 20))
    assert [record.key for record in records.all_records(folder)] == sorted(set(found) - {second})


@pytest.mark.parametrize(
    "change", [{"config": {"seed": 9}}, {"data": {"fingerprint": "0"}}, {"initialisation": {"sha256": "0"}}, {"protocol_version": 0}]
)
def test_a_record_whose_content_was_edited_is_damaged_even_with_a_fresh_checksum(three, change):
    folder, found = three
    key, record = next(iter(found.items()))
    values = record.model_dump()
    for name, value in change.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    records.save_without_weights(Record(**values), folder)
    # A record of another protocol made its key by other rules; it is never asked for by this one.
    assert (records.load(folder, key) is None) == ("protocol_version" not in change)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'"x"', b'{"sha256": 1, "record": 2}', b"\xff\xfe", b'{"sha256": "x", "record": "{}"}'])
def test_whatever_lies_there_instead_of_a_record_counts_as_none(three, content, capsys):
    folder, found = three
    key = next(iter(found))
    (folder / key / "record.json").write_bytes(content)
    assert records.load(folder, key) is None
    assert "damaged" in capsys.readouterr().err


# Find, filter, compare


def test_a_record_is_found_by_its_first_digits(three):
    folder, found = three
    for key, record in found.items():
        assert same(store.find(folder, key[:10]), record)
    with pytest.raises(ValueError, match=r"3 fit \("):
        store.find(folder, "")
    with pytest.raises(ValueError, match="record 'xyz': none fits in .*cxr runs list"):
        store.find(folder, "xyz")
    with pytest.raises(ValueError, match="none fits"):
        store.find(folder, "*")
    key = next(iter(found))
    (folder / key / "record.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        store.find(folder, key)


@pytest.mark.parametrize(
    ("filters", "seeds"),
    [
        ({}, [0, 1, 2]),
        ({"seed": 1}, [1]),
        ({"mixup": "off"}, [1]),
        ({"images_per_class": None}, [0, 1]),
        ({"images_per_class": 64, "init": "random"}, [2]),
        ({"freeze": False, "data": "made", "arch": "resnetv2_laptop"}, [0, 1, 2]),
        ({"schedule": [500, 1500, 3000, 4500, 10000]}, [0, 1, 2]),
        ({"schedule": "500-1500-3000-4500-10000", "momentum": 0.9}, [0, 1, 2]),
        ({"seed": 7}, []),
    ],
)
def test_filters(three, filters, seeds):
    chosen = store.select(list(three[1].values()), filters)
    assert [record.config["seed"] for record in chosen] == seeds
    assert len(store.overview(three[0], filters)) == len(seeds)


def test_an_unknown_filter_names_the_nearest(three):
    with pytest.raises(ParameterError, match="there is no parameter 'sede'; did you mean 'seed'"):
        store.overview(three[0], {"sede": 1})


def test_a_difference_is_what_differs(three):
    first, second, _ = three[1].values()
    found = store.difference(first, second)
    assert dict(zip(found.fields["field"], found.fields["second"], strict=True)) == {
        "config.mixup": "off", "config.mixup_value": None, "config.seed": 1,
    }  # fmt: skip
    accuracy = found.metrics.set_index("metric").loc["test_accuracy"]
    assert accuracy["difference"] == second.history[-1]["test_accuracy"] - first.history[-1]["test_accuracy"]
    decided = [np.array(record.predictions["logit"]) > 0 for record in (first, second)]
    assert found.images == 20
    assert 0 < found.decided_differently == (decided[0] != decided[1]).sum()
    alone = store.difference(first, first)
    assert (len(alone.fields), alone.decided_differently) == (0, 0)
    other = first.model_copy(update={"predictions": first.predictions | {"file": [f"x{i}" for i in range(20)]}, "packages": {"torch": "3"}})
    assert store.difference(first, other).images == 0
    assert store.difference(first, other).fields["field"].tolist() == ["packages.torch"]


# Tables


def test_a_table_brings_every_bit_back(three, tmp_path):
    folder, found = three
    old = made(5, protocol=PROTOCOL_VERSION + 1)
    records.save(old, b"weights", folder)
    path = tmp_path / "all.parquet"
    assert store.export_table(folder, path) == 4
    back = record_tables.read_table(path)
    assert [record.key for record in back] == sorted([*found, old.key])
    assert all(same(record, (found | {old.key: old})[record.key]) for record in back)
    other = tmp_path / "other"
    assert sorted(store.import_table(path, other).added) == sorted([*found, old.key])
    for key, record in found.items():
        assert same(records.load(other, key), record)
        assert (other / key / "record.json").read_bytes() == (folder / key / "record.json").read_bytes()
    assert records.load(other, old.key).protocol_version == PROTOCOL_VERSION + 1
    again = tmp_path / "again.parquet"
    store.export_table(other, again)
    assert again.read_bytes() == path.read_bytes()


def test_predictions_are_those_of_the_record_whoever_asked_before(three):
    record = next(iter(three[1].values()))
    table = record.table()
    wanted = table.copy()
    table["logit"] = 0.0
    assert record.table().equals(wanted), "what one caller does to the table reaches no other"
    logits = [-value for value in record.predictions["logit"]]
    other = record.model_copy(update={"predictions": record.predictions | {"logit": logits}})
    for _ in range(2):
        assert other.table()["logit"].tolist() == [-value for value in wanted["logit"]]
        assert record.table().equals(wanted)
    assert record == type(record)(**dict(record)) and set(record.model_dump()) == set(type(record).model_fields)


def test_a_table_is_readable_by_people_and_names_no_machine(three, tmp_path):
    import pandas as pd

    path = tmp_path / "all.parquet"
    store.export_table(three[0], path, {"mixup": "off"})
    table = pd.read_parquet(path)
    (record,) = [record for record in three[1].values() if record.config["mixup"] == "off"]
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["key"], row["init"], row["schedule"], row["steps"], row["seed"]) == (record.key, "random", "500-1500-3000-4500-10000", 10000, 1)
    assert row["test_auc"] == record.history[-1]["test_auc"]
    assert str(tmp_path).encode() not in path.read_bytes()
    with pytest.raises(ValueError, match="no record of .* fits"):
        store.export_table(three[0], path, {"seed": 99})
    assert len(pd.read_parquet(path)) == 1


def with_column(path, name, change):
    """Rewrite a column of a table."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    values = [change(number, value) for number, value in enumerate(table[name].to_pylist())]
    parquet.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("record", lambda text: text.replace('"seed":', '"sead":'), "checksum differs"),
        ("sha256", lambda _: "0" * 64, "checksum differs"),
        ("record", lambda _: None, "checksum differs"),
        ("key", lambda _: "0" * 20, "another key"),
        ("key", lambda _: "../../outside", "no key"),
        ("key", lambda _: None, "no key"),
    ],
)
def test_a_damaged_row_is_refused_and_the_others_go_in(three, tmp_path, column, change, says):
    folder, found = three
    path = tmp_path / "all.parquet"
    store.export_table(folder, path)
    with_column(path, column, lambda number, value: change(value) if number == 1 else value)
    other = tmp_path / "a" / "b" / "other"
    result = store.import_table(path, other)
    kept = sorted(found)[::2]
    assert result.added == kept
    (refused,) = result.refused.values()
    assert says in refused
    assert sorted(entry.name for entry in other.iterdir() if not entry.name.startswith(".")) == kept
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "a" / "outside").exists()
    with pytest.raises(ValueError, match="damaged records .*get the file again"):
        record_tables.read_table(path)


def test_a_flipped_byte_costs_its_block_only(tmp_path):
    many = {record.key: record for record in (made(seed) for seed in range(80))}
    path = tmp_path / "all.parquet"
    record_tables.write_table(many.values(), path)
    from pyarrow import parquet

    described = parquet.ParquetFile(path).metadata
    column = described.row_group(1).column(described.schema.names.index("record"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    result = store.import_table(path, tmp_path / "runs")
    keys = sorted(many)
    assert result.added == keys[:32] + keys[64:]
    assert sorted(result.refused) == keys[32:64]
    assert set(result.refused.values()) == {"its block of the file is damaged"}


@pytest.mark.parametrize("content", [b"", b"not a table", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_file_that_is_no_table_says_so(tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="x.parquet is not a table of records .*cxr runs export"):
        store.import_table(path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_table_of_something_else_says_so(tmp_path):
    import pandas as pd

    path = tmp_path / "x.parquet"
    pd.DataFrame({"key": ["a"], "other": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="it has no column record, sha256"):
        record_tables.read_table(path)
    with pytest.raises(FileNotFoundError):
        record_tables.read_table(tmp_path / "none.parquet")


def test_what_the_store_has_is_never_overwritten(three, tmp_path):
    folder, found = three
    path = tmp_path / "all.parquet"
    store.export_table(folder, path)
    first, second, third = sorted(found)
    before = (folder / first / "record.json").stat()
    (folder / second / "record.json").write_text("{}")
    shutil.rmtree(folder / third)
    with FileLock(folder / f".{third}.lock"):
        result = store.import_table(path, folder)
    assert (result.kept, result.added, list(result.refused)) == ([first], [second], [third])
    assert "being computed" in result.refused[third]
    assert not (folder / f".{first}.lock").exists()  # nor is it locked for nothing
    after = (folder / first / "record.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert records.has_weights(found[first], folder)
    assert same(records.load(folder, second), found[second])


def test_an_imported_record_has_no_weights_and_says_what_to_do(three, tmp_path):
    path = tmp_path / "all.parquet"
    store.export_table(three[0], path)
    store.import_table(path, tmp_path / "other")
    record = records.all_records(tmp_path / "other")[0]
    assert not records.has_weights(record, tmp_path / "other")
    with pytest.raises(WeightsError, match="missing: the record was imported.*copy the file from where it was trained, or delete"):
        records.load_model(record, tmp_path / "other")


def test_a_failed_export_leaves_the_old_table(three, tmp_path, monkeypatch):
    path = tmp_path / "all.parquet"
    store.export_table(three[0], path, {"seed": 0})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="cannot write .*all.parquet .*free space"):
        store.export_table(three[0], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith("parquet") or "parquet" in entry.name] == ["all.parquet"]


# Cleaning


@pytest.fixture
def untidy(three):
    """A store with one of everything that can go, and of everything that must stay."""
    folder, found = three
    first, second, third = sorted(found)
    (folder / first / "checkpoint.safetensors").write_bytes(b"x" * 100)
    (folder / first / ".record.json.ab12").write_bytes(b"x" * 10)
    (folder / second / "record.json").write_text("{}")
    (folder / f".{third}.lock").touch()
    (folder / f".{'d' * 20}.lock").touch()
    for key, age in (("a" * 20, 30), ("b" * 20, 1)):
        (folder / key).mkdir()
        (folder / key / "checkpoint.safetensors").write_bytes(b"x" * 1000)
        stamp = time.time() - age * 86400
        os.utime(folder / key / "checkpoint.safetensors", (stamp, stamp))
    (folder / ("c" * 20)).mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / ".hidden").touch()
    (folder / "all.parquet").touch()
    return folder, found


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_can_go_is_listed_and_nothing_is_touched(untidy):
    folder, found = untidy
    first, second, third = sorted(found)
    before = listing(folder)
    items, busy = garbage(folder)
    assert busy == []
    assert {str(item.path.relative_to(folder)) for item in items} == {
        f"{first}/checkpoint.safetensors", f"{first}/.record.json.ab12", f"{second}/record.json", f"{second}/weights.safetensors",
        second, "c" * 20, f".{third}.lock", f".{'d' * 20}.lock",
    }  # fmt: skip
    assert sum(item.bytes for item in items) == 100 + 10 + len("{}") + len(b"weights")
    assert listing(folder) == before
    more = {str(item.path.relative_to(folder)) for item in garbage(folder, unfinished=True, weights=True)[0]}
    less = {str(item.path.relative_to(folder)) for item in items}
    assert more - less == {f"{'a' * 20}/checkpoint.safetensors", "a" * 20, f"{first}/weights.safetensors", f"{third}/weights.safetensors"}


def test_what_was_listed_is_deleted_and_nothing_else(untidy):
    folder, found = untidy
    for options in ({}, {"unfinished": True}, {"unfinished": True, "days": 0.5}, {"weights": True}):
        gone = {str(item.path.relative_to(folder)) for item in garbage(folder, **options)[0]}
        before = set(listing(folder))
        garbage(folder, delete=True, **options)
        assert before - set(listing(folder)) == gone, options
        assert gone
        assert garbage(folder, **options)[0] == []
    first, _, third = sorted(found)
    assert set(listing(folder)) == {first, f"{first}/record.json", third, f"{third}/record.json", "notes", "notes/.hidden", "all.parquet"}
    assert [record.key for record in records.all_records(folder)] == [first, third]


def test_a_run_under_way_is_left_alone_with_all_its_files(untidy):
    folder, found = untidy
    first, second, _ = sorted(found)
    locks = [str(folder / f".{key}.lock") for key in (first, second, "a" * 20)]
    script = (
        "import sys, time\nfrom filelock import FileLock\n"
        "locks = [FileLock(path) for path in sys.argv[1:]]\nfor lock in locks: lock.acquire()\n"
        "print('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, *locks], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline().strip() == "held"
            everything = {"weights": True, "unfinished": True, "days": 0.0}
            for delete in (False, True):
                items, busy = garbage(folder, delete=delete, **everything)
                assert busy == sorted([first, second, "a" * 20])
                assert not any(key in str(item.path) for item in items for key in busy)
            for name in (f"{first}/.record.json.ab12", f"{first}/checkpoint.safetensors", f"{second}/record.json", f".{first}.lock"):
                assert (folder / name).exists()
        finally:
            holder.kill()
    # The system gives the locks of a killed process back.
    assert garbage(folder, delete=True, **everything)[1] == []
    assert not (folder / f".{first}.lock").exists()


def test_cleaning_never_lets_two_processes_into_one_run(tmp_path):
    """Lock files vanish under waiting processes; still only one at a time is inside, until the lock has gone often enough."""
    folder = tmp_path / "runs"
    key = "e" * 20
    script = (
        "import os, sys, time\nfrom pathlib import Path\nfrom cxrlib.files import locked\n"
        "store = Path(sys.argv[1])\n"
        "while not (store / 'enough').exists():\n"
        f"    with locked(store / {key!r}):\n"
        "        marker = os.open(store / 'inside', os.O_CREAT | os.O_EXCL)\n"
        "        time.sleep(0.001)\n"
        "        os.close(marker)\n"
        "        os.unlink(store / 'inside')\n"
        "    time.sleep(0.001)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, str(folder)], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    removed = 0
    try:
        while removed < 20 and all(worker.poll() is None for worker in workers):
            removed += any(item.path.name == f".{key}.lock" for item in garbage(folder, delete=True)[0])
        (folder / "enough").touch()
        for worker in workers:
            assert worker.wait() == 0, worker.stderr.read()
    finally:
        for worker in workers:
            worker.kill()
            worker.stderr.close()
    assert removed == 20


# Full and read-only disks


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "weights.safetensors", "record.json"])
def test_a_full_disk_at_any_write_loses_nothing(one_run, tmp_path, monkeypatch, name):
    settings = one_run | {"checkpoint_every": 2}
    reference = experiment.run(settings | {"store": tmp_path / "reference"}, progress=False)
    replace = os.replace

    def full(source, target):
        if str(target).endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match=rf"cannot write .*{name} \(No space left on device\); free space"):
        experiment.run(settings, progress=False)
    left = sorted(path.name for path in (one_run["store"] / reference.key).iterdir())
    assert left == {
        "checkpoint.safetensors": [], "weights.safetensors": ["checkpoint.safetensors"],
        "record.json": ["checkpoint.safetensors", "weights.safetensors"],
    }[name]  # fmt: skip
    assert records.load(one_run["store"], reference.key) is None
    monkeypatch.undo()
    again = experiment.run(settings, progress=False)
    assert (again.predictions, again.history, again.weights_sha256) == (reference.predictions, reference.history, reference.weights_sha256)
    assert sorted(path.name for path in (one_run["store"] / reference.key).iterdir()) == ["record.json", "weights.safetensors"]


def test_a_store_below_a_file_is_one_sentence(one_run, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(OSError, match=rf"cannot write {folder} \(.*\); free space or choose another"):
            experiment.run(one_run | {"store": folder}, progress=False)
        with pytest.raises(OSError, match="cannot write"), store.held(folder, "e" * 20):
            pass


IN_A_SMALL_DISK = """
import json, subprocess, sys
from pathlib import Path
from cxrlib.experiment import garbage, one_run as experiment, record as records, store
settings = json.loads(sys.argv[1])
folder = Path(settings["store"])
def mount(options): subprocess.run(["mount", *options, str(folder)], check=True)
def attempt(**changes):
    try:
        return experiment.run(settings | changes, progress=False).model_dump_json()
    except OSError as error:
        return str(error)
def names(): return sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
found = {}
mount(["-t", "tmpfs", "-o", "size=1m", "none"])
found["full"], found["left when full"] = attempt(), names()
found["full, checkpoints"], found["left, checkpoints"] = attempt(checkpoint_every=2), names()
mount(["-o", "remount,size=64m"])
found["again"] = attempt()
mount(["-o", "remount,ro"])
found["loaded"], found["read-only"] = attempt(), attempt(seed=1)
try:
    garbage.garbage(folder, delete=True)
except OSError as error:
    found["clean"] = str(error)
found["dry"] = garbage.garbage(folder)[1]
found["overview"] = len(store.overview(folder))
print(json.dumps(found))
"""


def test_a_disk_that_is_really_full_or_read_only(one_run, tmp_path):
    """On a file system of its own, one megabyte large, then mounted read-only."""
    tools = shutil.which("unshare"), shutil.which("mount")
    folder = one_run["store"]
    folder.mkdir()
    trial = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", str(folder)]
    if None in tools or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user mount a file system of his own")
    reference = experiment.run(one_run | {"store": tmp_path / "reference"}, progress=False)
    arguments = json.dumps({name: str(value) if hasattr(value, "parts") else value for name, value in one_run.items()})
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", IN_A_SMALL_DISK, arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "weights.safetensors (No space left on device); free space" in found["full"]
    assert "checkpoint.safetensors (No space left on device); free space" in found["full, checkpoints"]
    assert found["left when full"] == found["left, checkpoints"] == []
    again = Record.model_validate_json(found["again"])
    assert (again.predictions, again.history) == (reference.predictions, reference.history)
    assert found["loaded"] == found["again"]
    assert f"cannot write {folder} (Read-only file system)" in found["read-only"]
    assert f"cannot write {folder} (Read-only file system)" in found["clean"]
    assert found["dry"] == []
    assert found["overview"] == 1
