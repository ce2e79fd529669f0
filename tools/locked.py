"""Run a command while holding a file lock: ``python tools/locked.py LOCKFILE COMMAND ...``. Standard library only.

Two ``make book`` in one fresh checkout would otherwise both build its environment. The lock ends with the process.
"""

import fcntl
import subprocess
import sys

with open(sys.argv[1], "w", encoding="ascii") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another make holds {sys.argv[1]}; waiting for it …", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    sys.exit(subprocess.call(sys.argv[2:]))
