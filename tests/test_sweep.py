"""Many runs: each once, in order, in any number of processes, whatever is killed meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from chaos import Chaos
from safetensors import safe_open

from cxrlib import records, sweep
from cxrlib.config import Performance, RunConfig
from cxrlib.sweep import RunsFailedError, run_all


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
    assert 'train.py", line' in capsys.readouterr().err
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
    records.write_table(found, tmp_path / "sweep.parquet")
    for record in records.read_table(tmp_path / "sweep.parquet"):
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

    monkeypatch.setattr(distributed, "Client", lambda *_, **__: (_ for _ in ()).throw(OSError("timed out")))
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127.0.0.1:1 .*start one with: dask scheduler"):
        run_all([RunConfig.parse(one_run)], scheduler="tcp://127.0.0.1:1")


def test_durations_in_words():
    assert [sweep.duration(seconds) for seconds in (40, 720, 12_000)] == ["40 s", "12 min", "3 h 20 min"]


def test_a_sweep_survives_the_death_of_a_worker_and_of_its_driver(one_run, tmp_path):
    """On a real cluster of processes; the end state is that of a sequential sweep, and no run was trained twice."""
    settings = {name: value for name, value in one_run.items() if name not in ("store", "schedule", "eval_every")}
    with Chaos(tmp_path, settings, runs=12) as chaos:
        chaos.wait_for(lambda: chaos.look() >= 1 and chaos.in_mid_run(), 120)
        chaos.kill("worker-0")
        chaos.wait_for(lambda: chaos.look() >= 4 and chaos.in_mid_run(), 120)
        assert chaos.parts["driver"].poll() is None
        chaos.kill("driver")
        chaos.finish(180)
        assert chaos.faults() == {"lost": 0, "duplicated": 0, "different": 0}
        assert chaos.restarts == 2
