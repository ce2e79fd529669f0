"""Many runs: each once, in order, in any number of processes, whatever is killed meanwhile."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from chaos import Chaos
from safetensors import safe_open

from cxrlib.config import RunConfig
from cxrlib.experiment import cluster, record_tables, sweep
from cxrlib.experiment import record as records
from cxrlib.experiment.sweep import RunsFailedError, run_all
from cxrlib.study.parameters import Performance


def left_running(group: int) -> list[str]:
    """Processes of a process group that still run ten seconds on; zombies do not."""
    for _ in range(100):
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(" ".join(process.cmdline()))
        if not left:
            break
        time.sleep(0.1)
    return left


def checkpoint_step(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["progress"])["step"]


def test_run_all_keeps_the_order_and_runs_each_once(one_run, capsys):
    study = Performance.parse({k: v for k, v in one_run.items()} | {"inits": ["random"], "seeds": [2, 0, 1]})
    found = run_all(study.runs() + study.runs()[:1], workers=1)
    assert [r.config["seed"] for r in found] == [2, 0, 1, 2]
    assert "3 runs: 0 recorded, 3 to do" in capsys.readouterr().err
    run_all(study.runs(), workers=1)
    assert "3 recorded, 0 to do" in capsys.readouterr().err


def test_worker_processes_give_the_numbers_of_one_process(one_run, tmp_path):
    study = Performance.parse(one_run | {"inits": ["random"], "seeds": [0, 1]})
    alone = run_all(study.runs(), workers=1)
    together = run_all(Performance.parse(one_run | {"inits": ["random"], "seeds": [0, 1], "store": tmp_path / "b"}).runs(), workers=2)
    for one, two in zip(alone, together, strict=True):
        assert one.predictions == two.predictions
        assert one.history == two.history


def test_a_failed_run_does_not_stop_the_others(one_run):
    good = RunConfig.parse(one_run | {"seed": 3})
    bad = RunConfig.parse(one_run | {"base_lr": 1e30, "schedule": (0, 4, 5, 6)})
    with pytest.raises(RunsFailedError, match="1 of 2 runs failed(.|\n)*NonFiniteLossError"):
        run_all([bad, good], workers=1)
    assert len(records.all_records(one_run["store"])) == 1


def test_a_failed_run_leaves_its_traceback_on_a_cluster_too(one_run, capsys):
    good = RunConfig.parse(one_run | {"seed": 3})
    bad = RunConfig.parse(one_run | {"base_lr": 1e30, "schedule": (0, 4, 5, 6)})
    with pytest.raises(RunsFailedError, match="1 of 2 runs failed(.|\n)*NonFiniteLossError"):
        run_all([bad, good], workers=2)
    assert 'finetune.py", line' in capsys.readouterr().err
    assert len(records.all_records(one_run["store"])) == 1


def test_a_run_that_cannot_begin_does_not_stop_the_others_either(one_run, tmp_path):
    good = RunConfig.parse(one_run | {"seed": 3})
    greedy, lacking = RunConfig.parse(one_run | {"images_per_class": 99}), RunConfig.parse(one_run | {"init": str(tmp_path / "gone.safetensors")})
    with pytest.raises(RunsFailedError, match="2 of 3 runs failed") as failed:
        run_all([greedy, lacking, good], workers=2)
    assert "99 is more than the 12" in str(failed.value) and "gone.safetensors" in str(failed.value)
    assert len(records.all_records(one_run["store"])) == 1


def test_ctrl_c_stops_everything_and_the_next_call_goes_on(one_run, tmp_path):
    settings = one_run | {"schedule": [1, 300, 400, 500], "eval_every": 250, "checkpoint_every": 5, "inits": ["random"], "seeds": [0, 1]}
    chosen = [f"-p{name}={json.dumps(value, default=str)}" for name, value in settings.items()]
    command = [sys.executable, "-m", "cxrlib", "sweep", "--profile", "tiny", "--study", "03_test_performance", "--workers", "2", *chosen]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        while len(list(one_run["store"].glob("*/checkpoint.safetensors"))) < 2 and driver.poll() is None:
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its workers
        _, said = driver.communicate(timeout=60)
    assert "stopped after 0 of 2 runs; the same command goes on" in said
    assert driver.returncode not in (0, -9)
    assert not left_running(driver.pid)
    short = Performance.parse(settings)
    steps = [checkpoint_step(path) for path in one_run["store"].glob("*/checkpoint.safetensors")]
    assert len(steps) == 2 and all(0 < step < 500 for step in steps)
    assert len(run_all(short.runs(), workers=2)) == 2


def test_a_store_filled_elsewhere_is_used_without_training(one_run, tmp_path, monkeypatch):
    study = Performance.parse(one_run | {"inits": ["random"], "seeds": [0, 1]})
    found = run_all(study.runs(), workers=1)
    record_tables.write_table(found, tmp_path / "sweep.parquet")
    for record in record_tables.read_table(tmp_path / "sweep.parquet"):
        records.save_without_weights(record, tmp_path / "copied")
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("trained again"))
    copied = Performance.parse(one_run | {"inits": ["random"], "seeds": [0, 1], "store": tmp_path / "copied"})
    assert run_all(copied.runs()) == found
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run_all(copied.runs(), workers=1, weights=True)


def test_damaged_weights_are_trained_again_where_weights_are_asked_for(one_run, capsys, monkeypatch):
    config = RunConfig.parse(one_run)
    (first,) = run_all([config], workers=1)
    path = one_run["store"] / first.key / "weights.safetensors"
    whole = path.read_bytes()
    for damage in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damage)
        run_all([config], workers=1)
        assert path.read_bytes() == damage
        (again,) = run_all([config], workers=1, weights=True)
        assert "its weights are not the ones recorded" in capsys.readouterr().err
        assert again.predictions == first.predictions and path.read_bytes() == whole
        records.load_model(again, one_run["store"])
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("trained again"))
    run_all([config], workers=1, weights=True)


def test_a_worker_with_other_data_says_so_instead_of_training(one_run):
    with pytest.raises(RuntimeError, match="would compute run .*, not 0000"):
        sweep.run_one(RunConfig.parse(one_run), "0000", threads=1)


def test_no_scheduler_at_the_address(one_run, monkeypatch):
    import distributed

    monkeypatch.setattr("cxrlib.experiment.cluster.PATIENCE", 1.0)
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: (_ for _ in ()).throw(OSError("timed out")))
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127.0.0.1:1 .*start one with: dask scheduler"):
        run_all([RunConfig.parse(one_run)], scheduler="tcp://127.0.0.1:1")


def shown(text: str) -> list[tuple[str, int, bool]]:
    """What precedes the brackets of each line about progress, the share of the work in percent, and whether a time left is told."""
    lines = re.findall(r"^(.*)  \((\d+) % of the work, [^,()]+(, [^,()]+ left)?\)$", text, re.MULTILINE)
    return [(before, int(share), bool(left)) for before, share, left in lines]


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_within_runs(one_run, monkeypatch, capsys, workers):
    monkeypatch.setattr(sweep, "SHOW_EVERY", 0.05)
    monkeypatch.setattr(sweep, "REPORT_EVERY", 0)
    run_all(Performance.parse(one_run | {"schedule": (1, 50, 60, 80), "inits": ["random"], "seeds": [0, 1]}).runs(), workers=workers)
    lines = shown(capsys.readouterr().err)
    shares = [share for _, share, _ in lines]
    assert shares == sorted(shares) and shares[-1] == 100
    within = [(share, left) for before, share, left in lines if re.fullmatch("[12] runs? under way", before)]
    assert len({share for share, _ in within}) > 5
    assert all(left for share, left in within if share > 2)


def test_time_left_counts_neither_checkpoints_nor_failed_runs_as_computed(one_run, monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: now[0])
    configs = {name: RunConfig.parse(one_run | {"schedule": (1, 50, 60, 100), "seed": seed}) for seed, name in enumerate("abc")}
    tasks = sweep._Tasks(configs, {}, weights=False)
    tasks.reached("a", 51)  # goes on from a checkpoint at 50
    tasks.reached("b", 1)
    now[0] += 10
    tasks.reached("a", 60)
    tasks.reached("b", 10)
    tasks.show("now")  # in 10 s 20 of 300 steps, and 50 had been done before: 230 to go
    tasks.finish("b", lambda: 1 / 0)
    tasks.show("then")  # 20 steps in 10 s all the same, and 140 of 200 to go
    said = capsys.readouterr().err
    assert "now  (23 % of the work, 10 s, 2 min left)" in said
    assert "then  (30 % of the work, 10 s, 70 s left)" in said


def test_progress_is_shown_while_workers_tell_their_first_steps(one_run):
    config = RunConfig.parse(one_run)
    tasks = sweep._Tasks({f"{number}": config for number in range(2000)}, {}, weights=False)

    def tell() -> None:
        for key in tasks.missing:
            tasks.reached(key, 2)
            time.sleep(0)

    teller = threading.Thread(target=tell)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that the two threads meet at every place
    try:
        teller.start()
        while teller.is_alive():
            assert tasks.work()[2] >= 0 and tasks.under_way() >= 0
    finally:
        sys.setswitchinterval(before)
        teller.join()
    assert tasks.under_way() == 2000


def test_durations_in_words():
    assert [sweep.duration(seconds) for seconds in (40, 720, 12_000)] == ["40 s", "12 min", "3 h 20 min"]


@pytest.fixture
def chaos_settings(one_run):
    return {name: value for name, value in one_run.items() if name not in ("store", "schedule", "eval_every")}


def test_a_sweep_survives_the_death_of_a_worker_and_of_its_driver(chaos_settings, tmp_path):
    """On a real cluster of processes; the end state is that of a sequential sweep, and no run was trained twice.

    The scheduler gives a run up at the first death of its worker: it goes on all the same.
    """
    strict = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with Chaos(tmp_path, chaos_settings, runs=12, environment=strict) as chaos:
        chaos.wait_for(lambda: chaos.look() >= 1 and chaos.in_mid_run("worker-0"), 120)
        chaos.kill("worker-0")
        chaos.wait_for(lambda: chaos.look() >= 4 and chaos.in_mid_run(), 120)
        assert chaos.parts["driver"].poll() is None
        chaos.kill("driver")
        chaos.finish(180)
        assert "marked as failed because 1 workers died" in (tmp_path / "scheduler.log").read_text()
        assert "FAILED" not in (tmp_path / "driver.log").read_text()
        assert chaos.faults() == {"lost": 0, "duplicated": 0, "different": 0}
        assert chaos.restarts == 2


def test_a_run_that_kills_its_workers_at_the_same_step_is_given_up_at_last(one_run):
    config = RunConfig.parse(one_run)
    tasks = sweep._Tasks({"a": config}, {}, weights=False)
    tasks.reached("a", 3)
    assert tasks.advanced("a")
    for step in (2, 3):  # from the checkpoint to where it was
        tasks.reached("a", step)
    assert not tasks.advanced("a")
    tasks.reached("a", 4)
    assert tasks.advanced("a")


def test_workers_end_their_runs_after_ctrl_c_and_a_dead_scheduler_is_one_sentence(chaos_settings, tmp_path):
    long = {"schedule": [1, 3000, 4000, 5000], "eval_every": 5000}
    with Chaos(tmp_path, chaos_settings | long, runs=3) as chaos:
        chaos.wait_for(lambda: chaos.in_mid_run("worker-0") and chaos.in_mid_run("worker-1"), 120)
        chaos.parts["driver"].send_signal(signal.SIGINT)
        assert chaos.parts["driver"].wait(60)
        assert "stopped after 0 of 3 runs" in (tmp_path / "driver.log").read_text()
        del chaos.parts["driver"]  # it failed, as it should
        chaos.wait_for(lambda: not chaos.runs_of("worker-0") and not chaos.runs_of("worker-1"), 30)
        assert chaos.parts["worker-0"].poll() is None and chaos.parts["worker-1"].poll() is None
        chaos.start("driver")
        chaos.wait_for(lambda: chaos.in_mid_run("worker-0") and chaos.in_mid_run("worker-1"), 120)
        chaos.parts["scheduler"].kill()
        assert chaos.parts["driver"].wait(60)
        said = (tmp_path / "driver.log").read_text()
        assert said.count("error: the scheduler is gone; start it and its workers again, and the same command goes on") == 1
        assert "FAILED" not in said and "Traceback" not in said


def test_runs_land_on_workers_with_a_gpu_one_at_a_time_for_each(chaos_settings, tmp_path, monkeypatch):
    from distributed import Client

    monkeypatch.setattr(sweep, "REPORT_EVERY", 0)  # so that every step is told, in order
    short = {"schedule": [1, 10, 15, 20], "eval_every": 10}
    with Chaos(tmp_path, chaos_settings | short, runs=6, parts=("scheduler", "gpu-0", "worker-0", "gpu-1")) as chaos:
        with Client(scheduler_file=str(chaos.address)) as watcher:
            watcher.wait_for_workers(3, timeout=60)
            found = run_all(Performance.parse(chaos.settings | {"store": chaos.store}).runs(), scheduler=str(chaos.address))
            workers = watcher.scheduler_info(n_workers=-1)["workers"]
            told = [event for _, event in watcher.get_events(cluster.TOPIC)]
    tagged = {address for address, about in workers.items() if about["resources"] == {"GPU": 1}}
    assert len(workers) == 3 and len(tagged) == 2
    assert len(told) == 6 * 20 and {event["worker"] for event in told} == tagged
    one_after_another = [key for worker in tagged for key, _ in itertools.groupby(event["key"] for event in told if event["worker"] == worker)]
    assert sorted(one_after_another) == sorted(record.key for record in found)


def test_chaos_counts_a_lost_record_and_notices_that_the_driver_ended(chaos_settings, tmp_path):
    chaos = Chaos(tmp_path, chaos_settings | {"schedule": [1, 4, 5, 6]}, runs=2)
    found = run_all(Performance.parse(chaos.settings | {"store": chaos.store}).runs(), workers=1)
    assert chaos.look() == 2
    (chaos.store / found[0].key / "record.json").unlink()
    assert chaos.faults() == {"lost": 1, "duplicated": 0, "different": 0}
    chaos.parts["driver"] = subprocess.Popen([sys.executable, "-c", ""])
    assert not chaos.wait_for_another(60)
