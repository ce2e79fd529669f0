"""Places and small data that tests share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
"""Real data beside the checkout, where there are any; tests that need them are skipped elsewhere."""


def script(path: str) -> ModuleType:
    """A script of the repository as a module, such as ``tools/wheels.py``, which no package holds."""
    specification = importlib.util.spec_from_file_location(Path(path).stem + "_script", ROOT / path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_folder(folder: Path, train: int = 12, test: int = 6, size: int = 48, seed: int = 0) -> Path:
    """A folder in the COVIDx layout: noise, with a bright disc in positive images. Each patient has two images."""
    generator = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        lines = []
        for label in ("negative", "positive"):
            for number in range(count):
                image = generator.normal(90, 20, (size, size))
                if label == "positive":
                    image += 90 * (np.hypot(yy - generator.integers(14, size - 14), xx - generator.integers(14, size - 14)) < 9)
                name = f"{split}-{label}-{number}.png"
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / split / name)
                lines.append(f"{split}{label}{number // 2} {name} {label} made")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder
