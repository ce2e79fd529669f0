"""Two ``make book`` in one checkout, from nothing: both finish, with one set of records."""

import subprocess

import warm
from common import ROOT

from cxrlib.experiment.record import all_records


def test_two_books_at_once_in_one_checkout(tmp_path, forked):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in files:
        if name.startswith(("book/", "notebooks/", "profiles/", "cxrlib/", "results/", "_", "pyproject", "README")) and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = warm.python("-m", "cxrlib", "book", "--profile", "tiny")
    logs = [(tmp_path / f"{number}.log").open("w+") for number in range(2)]
    books = [subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) for log in logs]
    for book, log in zip(books, logs, strict=True):
        status = book.wait(timeout=900)
        log.seek(0)
        assert status == 0, log.read()[-5000:]
    assert len(list(tmp_path.glob("_build/*/index.html"))) == 1
    records = all_records(tmp_path / "runs")
    assert len(records) == len(list((tmp_path / "runs").glob("*/record.json"))) > 10
    assert not list((tmp_path / "runs").glob("*/checkpoint.safetensors"))
