"""What the search for near duplicates found stays with the table of image files."""

import shutil

from common import ROOT, write_folder

from cxrlib.config import Parameters
from cxrlib.experiment.one_run import open_dataset
from cxrlib.study.pages import exploration, file_sizes
from cxrlib.study.tables import write_table
from cxrlib.study.verdicts import NOT_RECORDED


def test_near_duplicates_are_counted_in_the_table_of_files(tmp_path):
    folder = write_folder(tmp_path / "set", train=6, test=4, size=48)
    lines = (folder / "train.txt").read_text().splitlines()
    other = (folder / "test.txt").read_text().splitlines()[0].split()[1]
    shutil.copy(folder / "test" / other, folder / "train" / lines[0].split()[1])
    dataset = open_dataset(Parameters.parse({"data": folder, "cache": tmp_path / "cache"}))
    write_table(exploration.described(dataset, tmp_path / "cache"), tmp_path / "files.parquet")
    read = file_sizes.read(tmp_path / "files.parquet")
    assert read.attrs["about"] | {"duplicate_pairs": 1, "leaking_pairs": 1, "leaking_patients": 0, "images": len(read)} == read.attrs["about"]
    assert exploration.duplicates_said(read) == f"1 candidate pairs among {len(read)} images, 1 of them across the splits, and 0 patients in both splits"


def test_of_tables_without_such_a_search_nothing_is_said():
    assert exploration.duplicates_said(None) == NOT_RECORDED
    across = file_sizes.read(ROOT / "results" / "across-files.parquet")
    assert exploration.duplicates_said(across) == NOT_RECORDED


def test_the_recorded_x_rays_hold_no_near_duplicates():
    said = exploration.duplicates_said(file_sizes.read(ROOT / "results" / "files.parquet"))
    assert said == "0 candidate pairs among 1,854 images, 0 of them across the splits, and 0 patients in both splits"
