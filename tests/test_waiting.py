"""OpenMP's threads spin shortly and then sleep while they wait, whoever starts torch."""

import os
import re
import subprocess
import sys

import pytest


def spins(code: str, **environment: str) -> int | None:
    """How often a waiting thread of GNU's OpenMP looks before it sleeps, as it says when torch loads; None if it does not say."""
    plain = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = plain | environment | {"OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    return None if found is None else int(found[1]) if found[1].isdigit() else sys.maxsize


@pytest.fixture(scope="module")
def plain() -> int:
    found = spins("import torch")
    if found is None:
        pytest.skip("this OpenMP does not say how it waits")
    return found


def test_importing_cxrlib_first_makes_waiting_threads_sleep_soon(plain):
    assert plain > 3000, "torch alone sleeps soon: there is nothing to mend"
    assert spins("import cxrlib, torch") == 3000


def test_who_asks_for_another_policy_gets_it(plain):
    assert spins("import cxrlib, torch", OMP_WAIT_POLICY="ACTIVE") > plain
