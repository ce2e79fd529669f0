"""What the paper says, as data: Zhao, Jiang, Qiu 2021, Diagnostics 11(10), 1887, CC BY 4.0.

Only values that stand in the text or in Table 1. The bars and curves of Figures 2, 4, 5 and 7 have no printed values;
they are not read off the pictures here. Imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass

DOI = "10.3390/diagnostics11101887"
TEST_IMAGES_PER_CLASS = 200


@dataclass(frozen=True)
class Count:
    """Images and patients of one group; patients is None where the text gives none."""

    images: int
    patients: int | None
    section: str


# Keys are (class or part of it), totals over training and test images unless they say "test". The text gives no
# training counts; they are the differences, in `training_images`.
DATASET_COUNTS: dict[str, Count] = {
    "positive": Count(2358, 1505, "3.1"),
    "negative": Count(13993, 13851, "3.1"),
    "negative, no pneumonia": Count(8418, 8300, "3.1"),
    "negative, non-COVID pneumonia": Count(5575, 5551, "3.1"),
    "test positive": Count(200, 178, "3.1"),
    "test negative": Count(200, None, "3.1"),
    "test negative, no pneumonia": Count(100, None, "3.1"),
    "test negative, non-COVID pneumonia": Count(100, None, "3.1"),
}


def training_images(group: str) -> int:
    """Images of 'positive' or 'negative' left for training if section 3.1's totals include the test images.

    They do in the public label files. KeyError for a group without a test count.
    """
    return DATASET_COUNTS[group].images - DATASET_COUNTS[f"test {group}"].images


@dataclass(frozen=True)
class Counts:
    """Test images by truth and prediction."""

    tp: int
    fn: int
    tn: int
    fp: int


@dataclass(frozen=True)
class Row:
    """A row of Table 1 in percent as printed, None for a dash, and the counts behind it, None if none give the row."""

    network: str
    accuracy: float
    sensitivity: float
    ppv: float
    specificity: float | None
    npv: float | None
    auc: float | None
    counts: Counts | None
    ours: bool


TABLE_1: dict[str, Row] = {
    row.network: row
    for row in (
        Row("ResNet-50", 90.5, 88.5, 92.2, None, None, None, Counts(177, 23, 185, 15), ours=False),
        Row("COVID-Net", 94.0, 93.5, 100.0, None, None, None, None, ours=False),
        Row("COVID-Net CXR-2", 96.3, 95.5, 97.0, 97.0, 95.6, None, Counts(191, 9, 194, 6), ours=False),
        Row("Random", 92.8, 85.5, 100.0, 100.0, 87.3, 99.5, Counts(171, 29, 200, 0), ours=True),
        Row("BiT-S", 94.8, 89.5, 100.0, 100.0, 90.5, 99.5, Counts(179, 21, 200, 0), ours=True),
        Row("BiT-M", 96.5, 93.0, 100.0, 100.0, 93.5, 99.4, Counts(186, 14, 200, 0), ours=True),
    )
}


@dataclass(frozen=True)
class Upstream:
    """Data that an initialisation saw before (section 4.1); None for none."""

    name: str
    data: str | None
    images: int
    classes: int | None


INITIALISATIONS: dict[str, Upstream] = {
    "random": Upstream("Random", None, 0, None),
    "bit-s": Upstream("BiT-S", "ILSVRC-2012", 1_280_000, 1000),
    "bit-m": Upstream("BiT-M", "ImageNet-21k", 14_200_000, 21_000),
}


@dataclass(frozen=True)
class Grid:
    """Settings that Figure 4 crosses: (training resize, crop and test resize) in px; steps; mixup; start."""

    resolutions: tuple[tuple[int, int], ...]
    schedules: tuple[tuple[int, ...], ...]
    mixup: tuple[bool, ...]
    inits: tuple[str, ...]

    @property
    def runs(self) -> int:
        """Training runs of the whole grid for one seed."""
        return len(self.resolutions) * len(self.schedules) * len(self.mixup) * len(self.inits)


FIGURE_4 = Grid(
    resolutions=((160, 128), (256, 224), (448, 384), (512, 480)),
    schedules=((100, 200, 300, 400, 500), (500, 1500, 3000, 4500, 10000), (500, 6000, 12000, 18000, 20000)),
    mixup=(False, True),
    inits=tuple(INITIALISATIONS),
)
CHOSEN_RESOLUTION, CHOSEN_SCHEDULE = FIGURE_4.resolutions[-1], FIGURE_4.schedules[1]
EVALUATION_INTERVAL = 100
"""Steps between the points of Figure 5."""
DATA_SIZES = (32, 64, 128, 256, 512)
"""Training images per class in Figure 7."""
FEW_SHOT_ACCURACY: dict[str, dict[int, float]] = {"bit-m": {512: 94.75}}
"""The only accuracy (percent) of Figure 7 that the text of section 4.3 gives, by init and images per class."""
