"""What worse pictures do to a trained network: blur, JPEG, contrast, noise and rotation by torchvision, in three strengths each.

The test images are brought to 224 x 224 pixels, spoiled there, and then brought to the size that the network sees: so a
strength means the same for every network. Scores are kept image by image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cxrlib.data.dataset import Dataset
from cxrlib.experiment.record import Record, load_model
from cxrlib.metrics.estimate import Estimate
from cxrlib.metrics.inference import auc_difference, auc_over_seeds
from cxrlib.study.tables import read_table

SIZE = 224
NONE = "none"
STRENGTHS: dict[str, tuple[float, ...]] = {
    NONE: (0,), "blur": (1, 2, 4), "JPEG": (50, 20, 8), "contrast": (0.7, 0.5, 0.3), "noise": (8, 16, 32), "rotation": (5, 10, 20),
}  # fmt: skip
UNITS = {"blur": "sigma, pixels of 224", "JPEG": "quality", "contrast": "factor", "noise": "standard deviation, of 255", "rotation": "degrees"}
TYPES = dict.fromkeys(("corruption", "file", "patient_id"), "str") | {"strength": "float64", "seed": "int64", "label": "int64", "logit": "float64"}


def spoiled(images: torch.Tensor, corruption: str, strength: float, seed: int = 0) -> torch.Tensor:
    """Images (N, 1, H, W), uint8, with one fault each; the noise of image n is that of ``seed`` and n.

    Raises:
        ValueError: if there is no such corruption.
    """
    from torchvision.transforms.v2 import functional

    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        NONE: lambda x: x,
        "blur": lambda x: functional.gaussian_blur(x, [2 * int(np.ceil(3 * strength)) + 1] * 2, [float(strength)] * 2),
        "JPEG": lambda x: torch.stack([functional.jpeg(image.expand(3, -1, -1), int(strength))[:1] for image in x]),
        "contrast": lambda x: functional.adjust_contrast(x, strength),
        "noise": lambda x: _noisy(x, strength, seed),
        "rotation": lambda x: functional.rotate(x, strength, functional.InterpolationMode.BILINEAR),
    }
    if corruption not in changes:
        raise ValueError(f"there is no corruption '{corruption}'; there are: {', '.join(changes)}")
    return changes[corruption](images)


def _noisy(images: torch.Tensor, deviation: float, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return (images.float() + deviation * torch.randn(images.shape, generator=random)).round().clamp(0, 255).to(torch.uint8)


def measure(records: list[Record], store: Path, dataset: Dataset, cache: Path) -> pd.DataFrame:
    """Scores of the runs on the test images of ``dataset`` under every corruption of ``STRENGTHS``; columns as in ``TYPES``.

    Raises:
        WeightsError: if the weights of a record are missing or damaged.
    """
    from torchvision.transforms.v2 import functional

    from cxrlib.train.score import ImageSet, predict
    from cxrlib.weights.source import Initialisation

    rows = dataset.index[dataset.index["split"] == "test"]
    labels = (rows["label"] == "positive").to_numpy(np.int64)
    images = torch.from_numpy(np.array(dataset.images("test", SIZE, cache)))[:, None]
    models = {record.key: load_model(record, store) for record in records}
    tables = []
    for corruption, strengths in STRENGTHS.items():
        for strength in strengths:
            changed = spoiled(images, corruption, strength)
            for record in records:
                size = record.config["crop"]
                seen = functional.resize(changed, [size, size], antialias=True).squeeze(1).numpy()
                shown = ImageSet(seen, labels, np.arange(len(seen)))
                logits = predict(models[record.key], shown, Initialisation(**record.initialisation), record.config["image_channels"])
                table = rows[["file", "patient_id"]].assign(corruption=corruption, strength=strength, seed=record.config["seed"], label=labels)
                tables.append(table.assign(logit=logits.astype(float)))
    found = pd.concat(tables, ignore_index=True)[list(TYPES)].astype(TYPES)
    found.attrs["about"] = {"data": dataset.folder.name, "fingerprint": dataset.fingerprint, "records": [record.key for record in records]}
    return found


def read(path: Path) -> pd.DataFrame | None:
    """A table of :func:`measure`; None if there is no such file. ValueError if it is damaged."""
    return read_table(path, TYPES, "table of scores on spoiled pictures", "cxr truth failures")


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """What each corruption costs: columns corruption, strength, AUC, loss (AUC untouched less AUC, paired) and called (share called positive less
    that untouched, both at a probability of 0.5), Estimates over patients and seeds; 'called' has no interval."""
    scores = {key: _arrays(part) for key, part in table.groupby(["corruption", "strength"], sort=False)}
    untouched = scores[NONE, 0]
    rows = []
    for (corruption, strength), arrays in scores.items():
        row = {"corruption": corruption, "strength": strength, "AUC": auc_over_seeds(*arrays), "loss": auc_difference(untouched[0], *arrays)}
        rows.append(row | {"called": Estimate((arrays[0] > 0).mean() - (untouched[0] > 0).mean())})
    return pd.DataFrame(rows, dtype=object)


def _arrays(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wide = part.pivot(index="seed", columns="file", values="logit")
    images = part.drop_duplicates("file").set_index("file").loc[wide.columns]
    return wide.to_numpy(float), images["label"].to_numpy(), images["patient_id"].to_numpy()
