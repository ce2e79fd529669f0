"""A folder in the COVIDx layout, made from a public collection as it is unpacked.

Known are folders of classes (the COVID-19 Radiography Database; COVID-QU-Ex, with splits), tables (``metadata.csv`` of Cohen et
al., CSV or Excel of others) and label files of three classes. Who the patient is stands in none of them in a way that could
be guessed, and a wrong guess is a leak that nobody sees: it is asked for.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cxrlib.data.collections import Picture, pictures
from cxrlib.data.folder import check
from cxrlib.data.labels import NOBODY, DataError
from cxrlib.data.report import left_out_sentence
from cxrlib.parameter_files import expanded

EACH_IMAGE = "each-image"
_DISEASE = re.compile(r"co ?vid(?:[\W_]*19)?|sars[\W_]*co ?v[\W_]*2|(?:2019[\W_]*)?n[\W_]*co ?v(?![a-z])|(?:novel[\W_]*)?corona[\W_]*virus")
_BESIDE = frozenset("covid positive pos confirmed pneumonia viral virus infection infected infections disease ards x ray xray xrays cxr ct chest image images patient patients case cases class and with".split())
"""Words that a class of COVID-19 may have; with any other beside the disease one is asked which classes are positive."""
_DROPPED = ("", "nan", "todo", "unknown", "none")


def adopt(
    folder: Path,
    out: Path,
    patient: str | None = None,
    table: Path | None = None,
    positive: Iterable[str] = (),
    drop: Iterable[str] = (),
    test_share: float = 0.2,
    seed: int = 0,
) -> Iterator[str]:
    """Write ``out`` with ``train/``, ``test/`` and their label files; images are linked, or copied to another disk.

    Args:
        folder: of the collection; nothing in it is changed.
        out: new folder, or an empty one.
        patient: a column of the table; or 'each-image', if each image is of another patient; or a regular expression with
            one group that finds the patient in file names, such as '(P[0-9]+)'. Label files say it themselves.
        table: which table, if there are several.
        positive: classes that become positive; by default those whose name is COVID-19 and nothing that may deny or limit it.
            Classes without it in their name, and 'Non-COVID', are negative; any other name is asked for.
        drop: classes to leave out.
        test_share: share of the patients of each class that are drawn for test where the collection has no splits.
        seed: of that draw.

    Yields:
        What became of what, in lines.

    Raises:
        DataError: saying what is missing or to be asked for; nothing is then written.
    """
    folder, out = expanded(folder), expanded(out)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the folder into which the collection was unpacked")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists; give a new folder, nothing is overwritten")
    if out.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{out} lies inside {folder}; give a folder outside of it")
    found = pictures(folder, None if table is None else expanded(table))
    root = os.path.realpath(folder)
    for picture in found.pictures:
        if not Path(os.path.realpath(picture.path)).is_relative_to(root):
            raise DataError(f"{picture.path} is a link that leads out of {folder}; put the image itself there")
    chosen, left_out = _classified(found.pictures, set(positive), set(drop))
    left_out = found.left_out + left_out
    with_patients, repeated = _once(_with_patients(chosen, found.columns, patient))
    left_out = left_out + repeated
    if not with_patients:
        raise DataError(f"{folder}: no image is left of {sum(left_out.values())}: {left_out_sentence(dict(left_out), sum(left_out.values()))}")
    labels = {picture.kind: label for picture, _, label in with_patients}
    for label in ("positive", "negative"):
        kinds = Counter(picture.kind for picture, _, each in with_patients if each == label)
        if not kinds:
            raise DataError(f"{folder}: no class became {label} of {', '.join(sorted(labels))}; name the positive ones with --positive")
        yield f"{label}: {', '.join(f'{kind} ({count} images)' for kind, count in kinds.most_common())}"
    rows = _with_splits(with_patients, test_share, seed)
    _write(out, rows, re.sub(r"\s+", "_", folder.resolve().name))
    if left_out:
        yield left_out_sentence(dict(left_out.most_common()), len(rows) + sum(left_out.values()))
    if any(picture.split is None for picture, *_ in rows):
        yield f"the collection has no splits: {100 * test_share:g} % of the patients of each class were drawn for test (seed {seed})"
    if patient == EACH_IMAGE:
        yield "each image counts as another patient, as you said; if that is not so, training and test share patients and no check can see it"
    report = check(out, decode=False)
    yield report.counts.to_string(index=False)
    yield f"{out}: {len(report.problems)} problem(s) at first sight; now 'cxr data check {out}'"


def _classified(found: list[Picture], positive: set[str], drop: set[str]) -> tuple[list[tuple[Picture, str]], Counter[str]]:
    """Pictures with their label, and how many have none, by reason."""
    kinds = {picture.kind for picture in found}
    for name in sorted((positive | drop) - kinds):
        raise DataError(f"there is no class '{name}'; there are: {', '.join(sorted(kinds))}")
    kept, left_out = [], Counter()
    for picture in found:
        if picture.kind in drop:
            left_out[f"class '{picture.kind}', which --drop names"] += 1
        elif picture.kind.casefold() in _DROPPED and picture.kind not in positive:
            left_out["no class is known"] += 1
        else:
            is_positive = picture.kind in positive if positive else _is_covid(picture.kind)
            kept.append((picture, "positive" if is_positive else "negative"))
    return kept, left_out


def _is_covid(kind: str) -> bool:
    """Whether a class is COVID-19 by its name. DataError if the name holds the disease and something that may deny or limit it."""
    name, count = _DISEASE.subn(" covid ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).casefold())
    if not count or re.match(r"[\W_]*(non|not|no)[\W_]+covid\b", name):
        return False
    unclear = [word for word in re.findall(r"[^\W_]+|[?!=<>]|\(\s*-\s*\)|-\s*$", name) if word not in _BESIDE]
    if unclear:
        raise DataError(f"class '{kind}' could be COVID-19 or something else ('{unclear[0]}'); name the positive classes with --positive")
    return True


def _with_patients(chosen: list[tuple[Picture, str]], columns: list[str], patient: str | None) -> list[tuple[Picture, str, str]]:
    """Pictures with patient and label, by the rule that was asked for."""
    if chosen and all(picture.patient is not None for picture, _ in chosen) and patient is None:
        return [(picture, str(picture.patient), label) for picture, label in chosen]
    ways = "'each-image' if no patient has two images, or a regular expression for file names, such as '(P[0-9]+)'"
    if patient is None:
        named = f"one of the columns {', '.join(columns)}, or " if columns else ""
        raise DataError(f"who is the patient of an image? say it with --patient: {named}{ways}; it is never guessed, since a wrong guess is a leak that nobody sees")
    if patient == EACH_IMAGE:
        return [(picture, f"{picture.kind}-{picture.path.stem}", label) for picture, label in chosen]
    if patient in columns:
        named = [(picture, picture.values.get(patient, "").strip(), label) for picture, label in chosen]
        empty = sum(not name or name.casefold() in NOBODY for _, name, _ in named)
        if empty:
            raise DataError(f"column '{patient}' is empty for {empty} of {len(named)} images; name another column, or fill it")
        return named
    if "(" not in patient:
        there = f"the columns are: {', '.join(columns)}" if columns else "there is no table here"
        raise DataError(f"--patient '{patient}': there is no such column ({there}); or give {ways}")
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise DataError(f"--patient '{patient}' is no regular expression ({error}); such as '(P[0-9]+)'") from None
    if pattern.groups != 1:
        raise DataError(f"--patient '{patient}' has {pattern.groups} groups; put just the patient into parentheses, others as (?:...)")
    matched = [(picture, pattern.search(picture.path.name), label) for picture, label in chosen]
    missed = [picture.path.name for picture, match, _ in matched if match is None or not match[1]]
    if missed:
        raise DataError(f"--patient '{patient}' finds no patient in {len(missed)} of {len(matched)} file names, such as '{missed[0]}'")
    return [(picture, match[1], label) for picture, match, label in matched if match is not None]


def _once(rows: list[tuple[Picture, str, str]]) -> tuple[list[tuple[Picture, str, str]], Counter[str]]:
    """Each image in one row, none in which the table says two things of it; and the rows that are left out, by reason."""
    said: dict[str, set[tuple[str, str, str | None]]] = {}
    for picture, name, label in rows:
        said.setdefault(os.path.realpath(picture.path), set()).add((name, label, picture.split))
    kept, left_out, seen = [], Counter(), set()
    for row in rows:
        place = os.path.realpath(row[0].path)
        if len(said[place]) > 1:
            left_out["image with two classes, patients or splits"] += 1
        elif place in seen:
            left_out["row that stands twice"] += 1
        else:
            seen.add(place)
            kept.append(row)
    return kept, left_out


def _with_splits(rows: list[tuple[Picture, str, str]], test_share: float, seed: int) -> list[tuple[Picture, str, str, str]]:
    """Rows with 'train' or 'test': as the collection says, validation with training; otherwise drawn by patient and class."""
    drawn: set[str] = set()
    for number, label in enumerate(("negative", "positive")):
        names = sorted({name for picture, name, each in rows if picture.split is None and each == label} - drawn)
        count = min(max(1, round(test_share * len(names))), len(names) - 1) if len(names) > 1 else 0
        drawn |= set(np.random.default_rng([seed, number]).permutation(names)[:count].tolist())
    split = {None: None, "train": "train", "validation": "train", "test": "test"}
    return [(picture, name, label, split[picture.split] or ("test" if name in drawn else "train")) for picture, name, label in rows]


def _write(out: Path, rows: list[tuple[Picture, str, str, str]], source: str) -> None:
    """The folder, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        lines: dict[str, list[str]] = {"train": [], "test": []}
        names = Counter((split, _plain(picture.path.name)) for picture, _, _, split in rows)
        for picture, name, label, split in rows:
            file = _plain(picture.path.name)
            if names[split, file] > 1:
                file = f"{_plain(picture.kind)}/{file}"
            if (work / split / file).exists():
                raise DataError(f"two images of {split} would be '{file}': {picture.path} is one; rename one of them")
            _link(picture.path, work / split / file)
            if picture.mask is not None:
                _link(picture.mask, work / "masks" / "lungs" / split / Path(file).with_suffix(".png"))
            lines[split].append(f"{' '.join(name.split())} {file} {label} {source}")
        for split, texts in lines.items():
            (work / f"{split}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        os.chmod(work, 0o777 & ~_umask())
        if out.exists():
            out.rmdir()
        os.replace(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _plain(name: str) -> str:
    """A file or class name without blanks, which would be read as the end of a patient id."""
    return re.sub(r"[\s/\\]+", "_", name)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
