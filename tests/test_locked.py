"""tools/locked.py: commands under one lock take their turns, and a killed one gives the lock back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from common import ROOT

TOOL = ROOT / "tools" / "locked.py"
ONE_AT_A_TIME = (
    "import os, sys, time\n"
    "for _ in range(3):\n"
    "    marker = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)\n"
    "    time.sleep(0.1)\n"
    "    os.close(marker)\n"
    "    os.unlink(sys.argv[1])\n"
    "sys.exit(7)\n"
)


def start(lock: Path, *command: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(TOOL), str(lock), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_commands_under_one_lock_do_not_overlap(tmp_path):
    both = [start(tmp_path / "lock", sys.executable, "-c", ONE_AT_A_TIME, str(tmp_path / "inside")) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [7, 7], said  # the status of the command
    assert sum("another make holds" in out for out, _ in said) <= 1


def test_who_waits_says_so_and_goes_on_when_the_other_is_killed(tmp_path):
    with start(tmp_path / "lock", sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)") as first:
        inside = int(first.stdout.readline())
        with start(tmp_path / "lock", sys.executable, "-c", "print('after')") as second:
            assert "waiting for it" in second.stdout.readline()
            first.kill()
            os.kill(inside, signal.SIGKILL)
            assert second.communicate(timeout=60)[0] == "after\n"
            assert second.returncode == 0
