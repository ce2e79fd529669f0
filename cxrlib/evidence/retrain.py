"""A sample of the recorded runs, trained again where their data are at hand: phantoms always, real X-rays with their folder.

**The sample.** Of each table the runs with the least keys among those that took at most :data:`LONGEST` seconds. A key is a
digest of what was asked, so nobody chose them for their answers.

**Tolerance.** With as many threads, the versions and a processor like the recorded ones, every logit and every number of
the history is the same bit for bit. Another processor, another library, or a version of cxrlib that takes the same sums in
another order changes last bits, and training carries them far; then the test AUC may differ by :data:`AUC_APART`, and the
row says that it is not bit for bit, and how far the logits lie apart.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrlib.config import ParameterError, RunConfig
from cxrlib.evidence.check import Check
from cxrlib.experiment.one_run import key_of, open_dataset, run
from cxrlib.experiment.record import Record, images_of, read_table
from cxrlib.weights.source import WeightsError

LONGEST = 60.0  # recorded seconds of a run that may be in the sample
AUC_APART = 0.02
PHANTOMS = ("confounding", "upstream")
REAL = ("quarter", "quarter-validation", "upstream")
TRANSFER = "phantom-transfer"


@dataclass(frozen=True)
class Sampled:
    """A recorded run, the table that it lies in, and what makes its data folder, given where."""

    table: str
    record: Record
    data: Callable[[Path], Path]


def phantoms(results: Path, runs: int = 1) -> list[Sampled]:
    """The sample of runs on phantoms; their images are computed again as well."""
    return [Sampled(name, record, _maker(record)) for name in PHANTOMS for record in _sample(results, name, runs, True)]


def real(results: Path, data: Path, runs: int = 3) -> list[Sampled]:
    """The sample of runs on the real X-rays of a folder."""
    return [Sampled(name, record, lambda _: data) for name in REAL for record in _sample(results, name, runs, False)]


def _sample(results: Path, name: str, runs: int, phantom: bool) -> list[Record]:
    path = Path(results) / f"{name}.parquet"
    records = read_table(path) if path.is_file() else []
    fitting = [record for record in records if record.data["is_phantom"] == phantom and record.wall_seconds <= LONGEST]
    return sorted(fitting, key=lambda record: record.key)[:runs]


def _maker(record: Record) -> Callable[[Path], Path]:
    """What computes the phantoms of a record."""
    from cxrlib import phantom
    from cxrlib.study.pages import confounding
    from cxrlib.study.parameters import Profile

    name, level = record.data["name"], record.data.get("source_confounding")

    def make(folder: Path) -> Path:
        settings = Profile.load("transfer").phantom if name == TRANSFER else confounding.PHANTOMS | {"source_confounding": level}
        phantom.generate(folder / name, **settings)
        return folder / name

    return make


def again(samples: Iterable[Sampled], folder: Path, say: Callable[[str], None] = lambda text: None) -> list[Check]:
    """Train each run of a sample and compare; data, stores and resized images lie below ``folder``."""
    checks = []
    for sampled in samples:
        say(f"training {sampled.record.key} of {sampled.table} again ({sampled.record.wall_seconds:.0f} s when it was recorded) …")
        checks.append(_one(sampled, folder))
    return checks


def _one(sampled: Sampled, folder: Path) -> Check:
    record, where = sampled.record, f"{sampled.table}.parquet, {sampled.record.key}"
    claim = f"{record.initialisation['name']} on {record.data['name']}, seed {record.config['seed']}, trained again"
    number = f"test AUC {record.history[-1].get('test_auc'):.4f}"
    try:
        # What mixup would have been is recorded as null where there is none.
        values = {name: value for name, value in record.config.items() if value is not None or name != "mixup_value"}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            places = {"data": sampled.data(folder), "store": folder / "runs", "cache": folder / "cache"}
            config = RunConfig.parse(values | places | {"device": "cpu", "threads": record.machine["threads"]})
            here = open_dataset(config).fingerprint
            if here != images_of(record):
                known = record.data["is_phantom"]
                return Check("retrained", claim, number, where, False if known else None, f"{places['data'].name} holds other images (fingerprint {here[:12]})")
            if (key := key_of(config)) != record.key:
                return Check("retrained", claim, number, where, False, f"the same question has another key here: {key}")
            answer = run(config, progress=False)
    except (ParameterError, WeightsError) as error:
        return Check("retrained", claim, number, where, None, f"cannot be trained here: {error}")
    return compare(record, answer, claim, number, where)


def compare(record: Record, answer: Record, claim: str, number: str, where: str) -> Check:
    """A record against the answer of the same run, trained again."""
    if same_bits(record, answer):
        return Check("retrained", f"{claim}: bit for bit", number, where, True)
    apart = abs(record.history[-1]["test_auc"] - answer.history[-1]["test_auc"])
    differing = [f"{name} {record.packages[name]} there, {version} here" for name, version in answer.packages.items() if record.packages.get(name, version) != version]
    why = "; ".join(differing) or f"another processor than that of the record, or another version of cxrlib than its {record.code_version}"
    here = f"not bit for bit ({why}): logits {_largest_gap(record, answer):.1e} apart, test AUC {apart:.4f}, {AUC_APART} allowed"
    return Check("retrained", f"{claim}: {here}", number, where, apart <= AUC_APART, "" if apart <= AUC_APART else here)


def _largest_gap(record: Record, answer: Record) -> float:
    """The largest difference of a logit of the test images, by file."""
    first, second = (dict(zip(each.table()["file"], each.table()["logit"], strict=True)) for each in (record, answer))
    return max((abs(first[file] - logit) for file, logit in second.items() if file in first), default=float("nan"))


def same_bits(record: Record, answer: Record) -> bool:
    """Whether every logit of every image, and every number of the history, is the same.

    A record that was scored on further test sets afterwards holds more splits than a run gives; those of the run count.
    """
    rows = lambda each: list(zip(*(each.predictions[name] for name in ("split", "file", "label", "logit")), strict=True))  # noqa: E731
    wanted = set(answer.predictions["split"])
    return [row for row in rows(record) if row[0] in wanted] == rows(answer) and record.history == answer.history
