"""Small and uneven data folders, as people have them."""

from pathlib import Path

import numpy as np
from PIL import Image

# (split, label, source, patient): how many images
KINDS: dict[str, dict[tuple[str, str, str, str], int]] = {
    "a source of one patient": {
        **{("train", "negative", "a", f"n{n}"): 2 for n in range(6)}, **{("train", "positive", "a", f"p{n}"): 2 for n in range(6)},
        ("train", "negative", "rare", "r0"): 1, ("train", "positive", "b", "b0"): 3, ("train", "positive", "b", "b1"): 1,
        ("train", "negative", "b", "b2"): 1, ("train", "negative", "b", "b3"): 1,
        **{("test", "negative", "a", f"tn{n}"): 2 for n in range(3)}, **{("test", "positive", "b", f"tp{n}"): 2 for n in range(3)},
    },
    "one test patient per class": {
        **{("train", "negative", "a", f"n{n}"): 2 for n in range(5)}, **{("train", "positive", "b", f"p{n}"): 2 for n in range(5)},
        ("test", "negative", "a", "tn"): 4, ("test", "positive", "b", "tp"): 3,
    },
    "two patients of each class": {
        ("train", "negative", "a", "n0"): 3, ("train", "negative", "a", "n1"): 1, ("train", "positive", "a", "p0"): 4, ("train", "positive", "a", "p1"): 1,
        ("test", "negative", "a", "t0"): 1, ("test", "negative", "a", "t1"): 1, ("test", "positive", "a", "t2"): 1, ("test", "positive", "a", "t3"): 1,
    },
    "three images of each class": {
        **{("train", "negative", "a", f"n{n}"): 1 for n in range(3)}, **{("train", "positive", "b", f"p{n}"): 1 for n in range(3)},
        ("test", "negative", "a", "tn0"): 1, ("test", "negative", "b", "tn1"): 1, ("test", "positive", "a", "tp0"): 2,
    },
    "few positives of many sources": {
        **{("train", "negative", "abcd"[n % 4], f"n{n}"): 1 for n in range(16)}, **{("train", "positive", "cdef"[n % 4], f"p{n}"): 1 for n in range(4)},
        **{("test", "negative", "e", f"tn{n}"): 1 for n in range(5)}, ("test", "positive", "g", "tp0"): 1, ("test", "positive", "g", "tp1"): 1,
    },
}  # fmt: skip


def write_lopsided(folder: Path, kind: str) -> Path:
    """One of ``KINDS`` as a folder in the COVIDx layout; images are noise, positive ones brighter on the left."""
    generator = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for (split, label, source, patient), count in KINDS[kind].items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = generator.normal(90, 25, (48, 40 + 4 * (label == "positive")))
            image[:, :20] += 50 * (label == "positive")
            name = f"{patient}-{number}.png"
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / split / name)
            lines[split].append(f"{patient} {name} {label} {source}")
    for split, rows in lines.items():
        (folder / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return folder
