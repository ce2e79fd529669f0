"""All notebooks of a book: their runs in one sweep, then the notebooks side by side, each with its share of the cores."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from common import ROOT, write_folder
from nbformat.v4 import new_code_cell, new_notebook

from cxrlib.book import chapters
from cxrlib.book.notebooks import BookError, package_versions
from cxrlib.processes import CORES_VARIABLE, usable_cores
from cxrlib.study.parameters import STUDIES, Profile


def chapter(root, name, code, **about):
    template = root / "notebooks" / f"{name}.ipynb"
    template.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[new_code_cell(code, id="cell")]), template)
    return chapters.Chapter(template, root / "book" / template.name, {}, {}, about)


def printed(each):
    cells = nbformat.read(each.destination, 4).cells
    return "".join(output["text"] for cell in cells for output in cell.outputs if output.output_type == "stream")


def test_two_at_a_time_with_a_core_each_and_what_is_current_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "usable_cores", lambda: 2)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = "import os; from cxrlib.processes import usable_cores; print(os.getppid(), usable_cores(), os.environ['OMP_NUM_THREADS'])"
    given, said = [chapter(tmp_path, name, code, n=name) for name in ("a", "b")], []
    chapters.execute_all(given, tmp_path, done=said.append)
    parents, cores, threads = zip(*(printed(each).split() for each in given), strict=True)
    assert len(set(parents)) == 2 and str(os.getpid()) not in parents and set(cores) == set(threads) == {"1"}
    assert sorted(line.split()[0] for line in said) == ["a", "b"]
    assert all(each.current(tmp_path) for each in given)
    given[1].destination.unlink()
    chapters.execute_all(given, tmp_path, done=said.append)
    assert said[2:] == ["  nothing changed in 2 of 2 notebooks"] and given[1].destination.is_file()


def test_processes_of_one_environment_agree_on_its_versions(monkeypatch):
    here = package_versions.__wrapped__()
    setuptools = pytest.importorskip("setuptools")

    vendored = str(Path(setuptools.__file__).parent / "_vendor")
    monkeypatch.setattr(sys, "path", [vendored, *sys.path, vendored])
    assert package_versions.__wrapped__() == here


def test_a_notebook_that_fails_gives_its_sentence_from_its_process(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "usable_cores", lambda: 2)
    given = [chapter(tmp_path, "a", "1"), chapter(tmp_path, "b", "raise ValueError('no such \\'thing\\'')")]
    with pytest.raises(BookError, match=r"b\.ipynb: no such 'thing'"):
        chapters.execute_all(given, tmp_path)


def test_a_share_of_the_cores_is_never_more_than_there_are(monkeypatch):
    monkeypatch.delenv(CORES_VARIABLE, raising=False)
    cores = usable_cores()
    for value, wanted in (("1", 1), ("0", 1), (str(cores + 1), cores), ("many", cores), ("", cores)):
        monkeypatch.setenv(CORES_VARIABLE, value)
        assert usable_cores() == wanted


def test_one_sweep_runs_what_the_notebooks_will_ask_for(tmp_path, monkeypatch, forked):
    """Every run that these notebooks ask for of these data is recorded before the first of them starts, and no other is tried."""
    from cxrlib.data.folder import read_index
    from cxrlib.experiment.store import all_records
    from cxrlib.study.plan import profile_runs

    folder = write_folder(tmp_path / "data", train=16, test=4)
    (tmp_path / "profiles").mkdir()
    short = "arch: resnetv2_laptop\n  image_channels: 1\n  batch_size: 4\n  resize: 36\n  crop: 32\n  eval_every: 2\n  inits: [random]\n"
    (tmp_path / "profiles" / "short.yaml").write_text(
        f"description: short\ncommon:\n  {short}  schedule: [1, 2, 3, 4]\n  seeds: [0]\nnotebooks:\n"
        "  02_hyperparameter_sensitivity: {resolutions: [[36, 32]], schedules: [[1, 2, 3, 4]], mixups: ['off', beta]}\n  04_data_size: {sizes: [4, 99]}\n"
        "  05_grad_cam: {init: random}\n  06_shortcuts: {init: random}\n  07_related_work: {systems: []}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(CORES_VARIABLE, "1")
    loaded = Profile.load("short")
    names = ["02_hyperparameter_sensitivity", "03_test_performance", "04_data_size", "06_shortcuts", "05_grad_cam"]
    given = [
        chapters.Chapter(tmp_path / f"{name}.ipynb", tmp_path / name, loaded.parameters(name, data=str(folder)), {}, {}) for name in names
    ]
    chapters.sweep(given, "short", str(folder), tmp_path)
    wanted = [run.config for run in profile_runs("short", names[:4], read_index(folder), data=folder)]
    assert {config.region for config in wanted} == {"whole", "centre", "frame"}, "what the profile leaves to the data"
    assert {config.images_per_class for config in wanted} == {None, 4}, "a size that the data do not have"

    def about(config):
        return config.get("region", "whole"), config["images_per_class"], config["mixup"]  # a whole image is not said

    done = [about(record.config) for record in all_records(tmp_path / "runs")]
    assert sorted(done, key=str) == sorted((about(config.identity()) for config in wanted), key=str)
    assert STUDIES["05_grad_cam"].keeps_weights({}) and STUDIES["03_test_performance"].keeps_weights({"external": "x"})
