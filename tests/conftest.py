"""Small data that tests share. Training runs in tests use one thread: the suite may run beside others."""

import os
import signal
import sys
from pathlib import Path

import pytest

# Workers side by side share the cores: a thread each. NumPy and torch read this when they load.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import warm
from common import ROOT, write_folder

# The longest files, in their order: what starts last should be short, or one worker ends long after the others.
LONGEST = ("book/test_two_books.py", "book/test_notebooks.py", "book/test_hostile_pages.py", "book/test_build.py")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every process that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def covidx_folder(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("covidx") / "made")


@pytest.fixture
def one_run(covidx_folder, tmp_path):
    """Parameters of a run that takes about a second."""
    return {
        "data": covidx_folder,
        "store": tmp_path / "runs",
        "cache": tmp_path / "cache",
        "arch": "resnetv2_laptop",
        "image_channels": 1,
        "base_lr": 0.02,
        "batch_size": 8,
        "resize": 36,
        "crop": 32,
        "schedule": (1, 4, 5, 6),
        "eval_every": 3,
        "device": "cpu",
        "threads": 1,
    }


@pytest.fixture
def forked():
    """Kernels of notebooks, and what the package starts with :data:`sys.executable`, have their imports behind them."""
    with warm.everywhere():
        yield


def pytest_configure(config):
    """Workers of pytest-xdist get whole files in the order below, not those with most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """The longest files come first; tests marked ``gpu`` need a CUDA device."""
    order = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
    if any("gpu" in item.keywords for item in items):
        import torch

        if not torch.cuda.is_available():
            for item in items:
                if "gpu" in item.keywords:
                    item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def matplotlib_as_it_was():
    """A test that applies the book's style leaves it on for no other: what a figure says must not hang on the order of tests."""
    if (matplotlib := sys.modules.get("matplotlib")) is not None:
        with matplotlib.rc_context():
            yield
        return
    yield
    if (matplotlib := sys.modules.get("matplotlib")) is not None:
        matplotlib.rcdefaults()
