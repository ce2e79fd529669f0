"""Model cards (Mitchell et al. 2019) of the weights that ship, made from the records of their pretraining.

Nothing of a card is typed by hand that a record knows. What a weight must not be used for is the same for all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cxrlib import DISCLAIMER
from cxrlib.metrics.estimate import percentage
from cxrlib.model.segmentation import SHIPPED
from cxrlib.study.pages import lungs
from cxrlib.weights.registry import registry
from cxrlib.weights.source import WEIGHTS_FOLDER, WeightsError, stated_digest

USE = "a start for fine-tuning in this book's studies, and in teaching"
NOT_FOR = f"diagnosis, screening or any decision about a patient; it has seen no X-ray. {DISCLAIMER}"
LUNGS = Path("results/lungs.parquet")
LIMITS = "half a million weights, one grey channel, pretrained for minutes on small pictures: far from the BiT networks of the paper"


@dataclass(frozen=True)
class Card:
    """A model card: a name and pairs of heading and text."""

    name: str
    rows: tuple[tuple[str, str], ...]


def cards(folder: Path = WEIGHTS_FOLDER) -> list[Card]:
    """A card for each ``.safetensors`` file of a folder, in the order of their names.

    Raises:
        WeightsError: if the record beside a file is missing or lacks a number.
    """
    return [_card(path) for path in sorted(Path(folder).glob("*.safetensors"))]


def lungs_card(table: Path = LUNGS) -> Card:
    """The card of the network that finds lungs, from the table of its trial on unseen patients.

    Raises:
        WeightsError: if the table is missing.
    """
    found = lungs.read(table)
    if found is None:
        raise WeightsError(f"{table} is missing; restore it with git checkout")
    about = found.attrs["about"]
    rows = (
        ("What it is", f"a small U-Net, one grey channel, {about['size']} pixels, from random weights; says for each pixel whether it belongs to a lung"),
        ("Training data", f"{int(found['dice'].notna().sum())} masks of lungs and boxes around lungs on {int(found['dice'].isna().sum())} more X-rays, drawn by radiologists, all of one collection of COVID-19 and other pneumonias"),
        ("Training", f"{about['steps']:,} steps; tried in {about['folds']} folds of patients, then trained on all of them"),
        ("How good", lungs.answer(found)),
        ("For", "telling the lungs from the rest of a picture in this book's studies, and teaching"),
        ("Not for", f"diagnosis, measuring a lung, or any decision about a patient. {DISCLAIMER}"),
        ("Limits", "tried on X-rays of that one collection; how it does on others is not known"),
        ("Licence", "non-commercial research and education, as the X-rays have terms of their own"),
        ("SHA-256", str(stated_digest(SHIPPED))),
    )
    return Card("lungs", rows)


def _card(path: Path) -> Card:
    beside = path.with_suffix(".json")
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        made = record["settings"]
        name = path.stem if path.stem in registry() else path.stem.rpartition("-")[0]
        source = registry()[name]
        images = made["classes"] * made["instances"]
        rows = (
            ("What it is", f"weights of {made['arch']}, {made['image_channels']} grey channel, pretrained to tell {made['classes']} classes apart; made with cxrlib {record['code_version']}"),
            ("Upstream data", f"{images:,} {source.data} of {made['size']} pixels{'; ' + record['source'] if 'source' in record else ''}"),
            ("Training", f"{record['steps_done']:,} steps of {made['batch_size']} images at {made['crop']} pixels, rate {made['base_lr']:g} after {made['warmup']:,} steps, weight decay {made['weight_decay']:g}, seed {made['seed']}"),
            ("How good", f"{percentage(record['held_out_accuracy']):.1f} % of unseen upstream images right; chance is {100 / made['classes']:.1f} %. What it is worth on X-rays is the subject of the upstream chapter"),
            ("Cost", f"{record['seconds'] / 60:.0f} minutes on {record['threads']} thread{'s' if record['threads'] > 1 else ''}"),
            ("Expects", f"grey values in [0, 1] less {source.mean:g}, over {source.std:g}"),
            ("For", USE),
            ("Not for", NOT_FOR),
            ("Limits", LIMITS),
            ("Licence", source.licence),
            ("SHA-256", record["sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{beside} is missing or damaged ({error!r}); restore it with git checkout") from None
    return Card(path.stem, rows)
