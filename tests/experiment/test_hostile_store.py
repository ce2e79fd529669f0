"""A store as others may leave it, a scheduler that others can reach, and sweeps that were stopped: nothing lost, nothing wrong in silence."""

import json
import os
import socket
import subprocess
import sys
import threading

import pandas as pd
import pytest
from common import ROOT

from cxrlib.config import ParameterError, RunConfig
from cxrlib.experiment import record as records
from cxrlib.experiment import record_tables, store, sweep
from cxrlib.experiment.cluster import connect
from cxrlib.experiment.garbage import garbage
from cxrlib.experiment.one_run import run
from cxrlib.experiment.record import OtherVersionError
from cxrlib.files import text_digest
from cxrlib.study import collect
from cxrlib.study.parameters import DataSize, OperatingPoints, Performance, Sensitivity, Shortcuts, UpstreamStudy


@pytest.fixture(scope="module")
def trained(covidx_folder, tmp_path_factory):
    """Parameters and record of a run of a second."""
    values = {
        "data": covidx_folder, "cache": tmp_path_factory.mktemp("cache"), "store": tmp_path_factory.mktemp("trained"), "arch": "resnetv2_laptop",
        "image_channels": 1, "base_lr": 0.02, "batch_size": 8, "resize": 36, "crop": 32, "schedule": (1, 3, 4), "eval_every": 2, "device": "cpu", "threads": 1,
    }  # fmt: skip
    return values, run(values, progress=False)


def write(folder, record: dict | str, key: str):
    """A record file with a right checksum."""
    body = record if isinstance(record, str) else json.dumps(record)
    (folder / key).mkdir(parents=True, exist_ok=True)
    path = folder / key / "record.json"
    path.write_text(json.dumps({"sha256": text_digest(body), "record": body}))
    return path


def test_a_record_of_a_newer_version_is_left_alone(trained, tmp_path, capfd):
    """L2: one field more is no damage: gc keeps it, train does not write over it, an import refuses its row."""
    values, record = trained
    newer = json.loads(record.model_dump_json()) | {"uncertainty": {"x": 1}}
    path = write(tmp_path, newer, record.key)
    (path.parent / "weights.safetensors").write_bytes(b"weights of a newer version")
    before = path.read_bytes()
    assert records.load(tmp_path, record.key) is None
    said = capfd.readouterr().err
    assert "is left alone: it was written by another version of cxrlib, which has 'uncertainty' otherwise" in said and "damaged" not in said
    found, _ = garbage(tmp_path, delete=True, weights=True, unfinished=True, days=0)
    assert {item.path.name for item in found} <= {f".{record.key}.lock"}
    with pytest.raises(OtherVersionError, match="is not overwritten: .* another version of cxrlib.*use that version, or another store"):
        run(values | {"store": tmp_path}, progress=False)
    with pytest.raises(ValueError, match="cannot be used: it was written by another version"):
        store.find(tmp_path, record.key[:6])
    record_tables.write_table([record], tmp_path / "t.parquet")
    assert "another version" in store.import_table(tmp_path / "t.parquet", tmp_path).refused[record.key]
    assert path.read_bytes() == before and (path.parent / "weights.safetensors").is_file()


def lacking(record, **changes) -> dict:
    """The record of another protocol, without some of what ours has."""
    other = json.loads(record.model_dump_json()) | {"protocol_version": 99, "key": "e" * 20}
    for name, value in changes.items():
        other[name] = value
    return other


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}}, {"history": []}, {"data": {"fingerprint": "f"}}, {"data": {}}, {"initialisation": {"sha256": None}}, {"initialisation": {}}, {"history": [{}]},
        {"config": {"schedule": 7, "arch": 3, "seed": "x", "images_per_class": 1.5}}, {"config": {"schedule": None}}, {"data": {"name": 1, "fingerprint": "f"}},
    ],
)  # fmt: skip
def test_a_record_of_another_protocol_does_not_stop_the_others(trained, tmp_path, changes):
    """C3: list, export and select go on with what it has."""
    _, record = trained
    records.save_without_weights(record, tmp_path)
    write(tmp_path, lacking(record, **changes), "e" * 20)
    table = store.overview(tmp_path)
    assert set(table["key"]) == {record.key, "e" * 20}
    assert table.set_index("key").loc[record.key, "test_auc"] == record.history[-1]["test_auc"]
    assert store.export_table(tmp_path, tmp_path / "t.parquet") == 2
    assert {each.key for each in record_tables.read_table(tmp_path / "t.parquet")} == {record.key, "e" * 20}
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 2
    assert [each.key for each in store.select(records.all_records(tmp_path), {"arch": "resnetv2_laptop"}) if each.key == record.key]
    store.difference(*records.all_records(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000, b'{"record": ' * 5000, json.dumps({"sha256": text_digest("[" * 100_000), "record": "[" * 100_000}).encode(),
        b"", b"null", b"[]", b"1", b"{}", b'{"record": 1, "sha256": 2}', b'{"record": null, "sha256": null}', b"\xff\xfe", b'"x"', b'{"record": "{}", "sha256": "0"}',
        json.dumps({"sha256": text_digest("{}"), "record": "{}"}).encode(), json.dumps({"sha256": text_digest("[]"), "record": "[]"}).encode(), b"NaN",
    ],
)  # fmt: skip
def test_a_record_of_any_shape_is_damaged(trained, tmp_path, content, capfd):
    """C7: no recursion error, no crash."""
    _, record = trained
    (tmp_path / record.key).mkdir()
    (tmp_path / record.key / "record.json").write_bytes(content)
    assert records.load(tmp_path, record.key) is None
    assert "is damaged (" in capfd.readouterr().err
    assert records.all_records(tmp_path) == []
    garbage(tmp_path)


def test_a_record_that_is_a_folder_or_a_pipe_is_named(trained, tmp_path, capfd):
    """C7, H2."""
    _, record = trained
    (tmp_path / record.key / "record.json").mkdir(parents=True)
    os.mkdir(tmp_path / ("a" * 20))
    os.mkfifo(tmp_path / ("a" * 20) / "record.json")
    assert records.all_records(tmp_path) == []
    assert "is damaged (it is a folder)" in capfd.readouterr().err
    with pytest.raises(ValueError, match="is damaged .it is a folder.; run it again, or clean it away"):
        store.find(tmp_path, record.key)


def test_cleaning_follows_no_link(trained, tmp_path):
    """L5: what a link in the store leads to belongs to somebody else."""
    _, record = trained
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    write(theirs, "damaged", record.key)
    (theirs / record.key / "checkpoint.safetensors").write_bytes(b"x")
    mine.mkdir()
    (mine / record.key).symlink_to(theirs / record.key, target_is_directory=True)
    found, _ = garbage(mine, delete=True, weights=True, unfinished=True, days=0)
    assert [item for item in found if item.path.parent.name == record.key or item.path.name == record.key] == []
    assert {path.name for path in (theirs / record.key).iterdir()} == {"record.json", "checkpoint.safetensors"}


@pytest.mark.parametrize("name", ["train.txt", "image.png", "record.json", "other.parquet", "notes"])
def test_an_export_overwrites_no_other_file(trained, tmp_path, name):
    """L3: only a table of records is replaced."""
    values, record = trained
    path = tmp_path / name
    path.write_bytes(b"something else")
    if name == "other.parquet":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{name} is there and is no table of records, so it is not written over; choose another name"):
        store.export_table(values["store"], path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="is a folder; name a file"):
        store.export_table(values["store"], tmp_path)
    path.unlink()
    assert store.export_table(values["store"], path) == 1 == store.export_table(values["store"], path)


def test_a_table_is_about_one_data_set(trained, tmp_path, monkeypatch):
    """L4: another folder, by mistake, adds nothing; nor does what an earlier mistake left in the store."""
    from common import write_folder

    from cxrlib.study import plan

    values, record = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(collect.TABLES, "small", ("03_test_performance",))
    kept = {name: value for name, value in values.items() if name not in ("data", "store")}
    monkeypatch.setattr(collect, "profile_runs", lambda _, __, **o: [plan.PlannedRun(RunConfig(**kept | o), ("03_test_performance",))])
    assert collect.collect("small", values["data"], workers=1) == (0, 1)
    table = tmp_path / "results" / "small.parquet"
    before = table.read_bytes()
    other = write_folder(tmp_path / "other", seed=7)
    with pytest.raises(ParameterError, match=r"small.parquet is about other images: those of 'made'.*not those of .*other"):
        collect.collect("small", other, workers=1)
    assert table.read_bytes() == before
    run(values | {"data": other, "store": tmp_path / ".cache" / "small"}, progress=False)
    assert collect.collect("small", values["data"], workers=1) == (1, 1)
    assert [each.data["name"] for each in record_tables.read_table(table)] == ["made"]


def test_imports_side_by_side_add_every_record_once(trained, tmp_path):
    _, record = trained
    many = [record.model_copy(update={"key": f"{number:020x}", "protocol_version": 99}) for number in range(40)]
    record_tables.write_table(many, tmp_path / "t.parquet")
    results: list[store.Imported] = []
    threads = [threading.Thread(target=lambda: results.append(store.import_table(tmp_path / "t.parquet", tmp_path / "store"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.refused for result in results] == [{}] * 4
    added = [key for result in results for key in result.added]
    assert sorted(added) == sorted(each.key for each in many)


@pytest.mark.parametrize(
    ("study", "values"),
    [
        (Performance, {"seeds": [0, 0, 1, 1]}), (Performance, {"inits": ["random", "random"]}), (Sensitivity, {"resolutions": [[40, 32], [56, 48], [40, 32]]}),
        (Sensitivity, {"mixups": ["off", "beta", "off"]}), (Sensitivity, {"schedules": [[1, 2], [1, 2]]}), (DataSize, {"sizes": [32, 64, 32]}),
        (Shortcuts, {"regions": ["whole", "whole"]}), (Shortcuts, {"leave_out": ["a", "a"]}), (UpstreamStudy, {"probe_seeds": [1, 1]}),
        (OperatingPoints, {"prevalences": [0.1, 0.1]}), (Performance, {"seeds": [3, 1, 2, 3]}), (Performance, {"seeds": ["1", 1]}), (Performance, {"seeds": [1.0, 1]}),
    ],
)  # fmt: skip
def test_a_value_named_twice_is_refused(study, values):
    """S7: equal runs would count as independent ones and narrow every interval."""
    with pytest.raises(ParameterError, match=f"{next(iter(values))}: .* is named twice; name each value once"):
        study.parse(values)


def test_what_a_sweep_has_left_runs_with_the_threads_of_its_plan(trained, tmp_path, monkeypatch):
    """S10: three runs for two workers on four cores have two threads each, also when one is left."""
    values, record = trained
    used = []
    monkeypatch.setattr(sweep, "usable_cores", lambda: 4)
    monkeypatch.setattr(sweep, "gpus", lambda: 0)
    monkeypatch.setattr(sweep, "run_one", lambda config, key, threads, *_: used.append(threads) or record)
    configs = [RunConfig.parse(values | {"threads": None, "store": tmp_path, "seed": seed}) for seed in range(3)]
    keys = [key for key, _ in sweep._looked_up(configs, weights=False)[0]]
    recorded = {keys[0], keys[1]}
    monkeypatch.setattr(sweep, "recorded", lambda store, key, initialisation, weights: record if key in recorded else None)
    sweep.run_all(configs, workers=2)
    assert used == [2]
    used.clear()
    sweep.run_all(configs)
    assert used == [1], "four cores, three runs: one thread each, whatever is missing"
    used.clear()
    recorded.clear()
    sweep.run_all(configs[:1])
    assert used == [4]


def test_a_local_scheduler_takes_no_work_from_strangers(tmp_path):
    """U3: any user of the machine can reach its port; none but this sweep is listened to."""
    from distributed import Client

    with connect(None, 1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(lambda: 6 * 7).result(timeout=60) == 42
        workers = list(client.scheduler_info()["workers"])
        assert workers and all(worker.startswith("tls://") for worker in workers)
        port = address.rpartition(":")[2]
        for stranger in (f"tcp://127.0.0.1:{port}", address):
            code = f"from distributed import Client; Client('{stranger}', timeout=3).submit(open, r'{tmp_path}/evil', 'w').result(timeout=3)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
            assert done.returncode != 0
        from distributed.security import Security

        with pytest.raises(OSError):
            Client(address, security=Security.temporary(), timeout=3)
        for worker in workers:  # raw bytes do not stop it either
            with socket.create_connection(("127.0.0.1", int(worker.rpartition(":")[2]))) as raw:
                raw.sendall(b"\0" * 64)
        assert client.submit(lambda: 1).result(timeout=60) == 1
    assert not (tmp_path / "evil").exists()
