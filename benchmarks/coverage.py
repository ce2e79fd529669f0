"""``make coverage``: how often 95 % intervals hold the truth, simulated on the patients of the committed records; writes one JSON file.

:mod:`cxrlib.metrics.coverage` says what is simulated. Beside the method of the book stands the one it replaced, a bootstrap of
seeds and patients together, for differences in accuracy; and, with all training images, the intervals as wide as verdicts have them,
and those of designs with two seeds. The same command gives the same numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cxrlib.experiment.record import code_version  # noqa: E402
from cxrlib.files import atomic_write  # noqa: E402
from cxrlib.metrics import coverage  # noqa: E402
from cxrlib.metrics.operating import Scores  # noqa: E402
from cxrlib.study import committed, thresholds  # noqa: E402
from cxrlib.study.comparisons import design_of_paper, family_size  # noqa: E402
from cxrlib.study.pages import certainty  # noqa: E402
from cxrlib.study.verdicts import ALPHA  # noqa: E402

SEEDS, SPREADS = (3, 5), (0.0, 0.03, 0.05)


def populations(results: Path) -> dict[str, coverage.Population]:
    """The initialisation with most upstream data and the one with none, with all training images and with 32 per class."""
    runs = certainty.simulated_runs(results)
    by_init = runs.by_init(committed.PERFORMANCE)
    few = [record for record in runs.of(committed.DATA_SIZE) if record.config["images_per_class"] == 32]
    groups = {"all training images": by_init, "32 images per class": {name: [r for r in few if r.initialisation["name"].startswith(name)] for name in by_init}}
    found = {}
    for name, members in groups.items():
        first, *_, last = members.values()
        better, worse = thresholds.scores(last), thresholds.scores(first)
        found[name] = coverage.population([better.logits, worse.logits], better.labels, better.patients)
    return found


def bootstrap(groups: list[Scores], random: np.random.Generator, resamples: int = 400) -> tuple[float, float]:
    """The replaced method: percentile interval of a difference in accuracy over resampled seeds and patients, one fewer of each."""
    patients, count, seeds = groups[0].patients, groups[0].patients.max() + 1, len(groups[0].logits)
    right = [(group.logits > 0) == (group.labels == 1) for group in groups]
    gaps = np.stack([np.bincount(patients, weights=row, minlength=count) for row in right[0].astype(float) - right[1]])
    runs = random.multinomial(max(seeds - 1, 1), np.full(seeds, 1 / seeds), size=resamples)
    people = random.multinomial(count - 1, np.full(count, 1 / count), size=resamples)
    draws = ((runs @ gaps) * people).sum(axis=1) / (runs.sum(axis=1) * (people @ np.bincount(patients, minlength=count)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def replaced(whole: coverage.Population, repeats: int) -> pd.DataFrame:
    """Coverage of the replaced method, in rows like those of :func:`cxrlib.metrics.coverage.simulate`."""
    truth, rows = coverage.Truth.of(whole, "accuracy"), []
    for seeds in SEEDS:
        for spread in SPREADS:
            random = np.random.default_rng([1, seeds, round(1000 * spread)])
            low, high = np.array([bootstrap(coverage.simulated_study(whole, truth, seeds, spread, random), random) for _ in range(repeats)]).T
            true = truth.value - truth.other
            row = {"of": "difference", "metric": "accuracy", "seeds": seeds, "spread": spread, "repeats": repeats}
            row |= {"covered": float(((low <= true) & (true <= high)).mean()), "below": float((high < true).mean()), "above": float((low > true).mean())}
            rows.append(row | {"width": float((high - low).mean())})
    return pd.DataFrame(rows)


def wider(whole: coverage.Population, repeats: int) -> list[dict]:
    """Rows for two seeds at 95 %, and for two, three and five seeds at the confidence of a verdict's interval, which misses so seldom that it takes twice the studies."""
    two = coverage.simulate(whole, seeds=(2,), spreads=SPREADS, repeats=repeats)
    adjusted = coverage.simulate(whole, seeds=(2, *SEEDS), spreads=SPREADS, repeats=2 * repeats, start=2, confidence=1 - ALPHA / family_size(design_of_paper()))
    tables = {certainty.TWO_SEEDS: two, certainty.ADJUSTED: adjusted}
    return [{"population": certainty.ALL, "method": method} | row for method, table in tables.items() for row in table.to_dict("records")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "quarter.parquet")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "coverage.json")
    parser.add_argument("--repeats", type=int, default=4000)
    arguments = parser.parse_args()
    rows, simulated = [], populations(arguments.results)
    for name, whole in simulated.items():
        found = coverage.simulate(whole, seeds=SEEDS, spreads=SPREADS, repeats=arguments.repeats)
        tables = {"two-way analysis": found, "bootstrap, replaced": replaced(whole, arguments.repeats // 4)}
        rows += [{"population": name, "method": method} | row for method, table in tables.items() for row in table.to_dict("records")]
        print(f"{name}: {100 * found['covered'].min():.1f} to {100 * found['covered'].max():.1f} % over {len(found)} cells")
    rows += wider(simulated[certainty.ALL], arguments.repeats)
    about = {"what": "coverage of intervals, simulated", "records": arguments.results.name, "code_version": code_version()}
    atomic_write(arguments.out, json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
