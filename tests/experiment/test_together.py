"""One run by two processes (gloo) equals the run of one process."""

import json
import os
import socket
import subprocess

import numpy as np
import pytest
import warm
from common import write_folder

from cxrlib.experiment.one_run import run
from cxrlib.experiment.record import load


def launch(settings: dict, processes: int = 2) -> subprocess.CompletedProcess:
    """``accelerate launch -m cxrlib train`` as in the book; --multi_gpu is its name for several processes, also without GPUs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = warm.python("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1")
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    chosen = [f"-p{name}={json.dumps(value, default=str)}" for name, value in settings.items()]
    with warm.everywhere():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run([*launcher, "-m", "cxrlib", "train", *chosen], capture_output=True, text=True, timeout=240, env=environment, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirteen test images, so that two processes cannot have as many each."""
    folder = write_folder(tmp_path_factory.mktemp("together") / "made", test=7)
    lines = (folder / "test.txt").read_text().splitlines()
    (folder / "test.txt").write_text("\n".join(lines[:-1]) + "\n")
    return folder


def test_two_processes_give_the_loss_curve_of_one(one_run, folder, tmp_path):
    # At a calm learning rate: at 0.02 training is chaotic here, and the order of a sum alone moves the loss by 0.01.
    steps = {"schedule": [1, 8, 10, 12], "eval_every": 4, "checkpoint_every": 5, "accumulation_steps": 2, "base_lr": 0.005}
    settings = one_run | {"data": folder} | steps
    together = settings | {"store": tmp_path / "together"}
    launched = launch(together)
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert launched.stdout.count("record ") == 1
    alone = run(settings, progress=False)
    record = load(tmp_path / "together", alone.key)
    assert record.machine["processes"] == 2 and alone.machine["processes"] == 1
    for one, two in zip(alone.history, record.history, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    # Each test image once and in its place: nothing padded, nothing counted twice.
    assert record.predictions["file"] == alone.predictions["file"]
    assert len(record.table()) == 13
    np.testing.assert_allclose(record.predictions["logit"], alone.predictions["logit"], atol=1e-5)
    # A second launch finds the record.
    again = launch(together)
    assert again.returncode == 0 and "it/s" not in again.stderr
    assert load(tmp_path / "together", alone.key).wall_seconds == record.wall_seconds


def test_a_batch_that_cannot_be_shared_is_refused(one_run, tmp_path):
    launched = launch(one_run | {"batch_size": 8, "accumulation_steps": 8})
    assert launched.returncode != 0
    assert "batch_size 8 does not divide over 2 processes x 8 accumulation steps" in launched.stderr
