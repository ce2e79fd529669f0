"""One chest X-ray phantom: which patient, view and finding stand at a place of the plan, and their image.

An image depends only on the seed and its own place in the plan (split, label, patient number, image number): neither on
the number of workers nor on how many other images there are. A larger training set contains the smaller one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from cxrlib.phantom.anatomy import Thorax
from cxrlib.phantom.findings import DEFAULT_STRATA, FINDINGS, opacity, sample_finding, variants, wong_score
from cxrlib.phantom.imaging import BONE, LUNG, SOFT, SOURCES, cloud, expose, sample_style
from cxrlib.phantom.patient import Anatomy, Frame, View, sample_anatomy, sample_view, smoothstep
from cxrlib.phantom.skeleton import devices, ribs, shoulder_girdle, spine, vessels

LABELS = ("positive", "negative")
MIN_SIZE, MAX_SIZE = 32, 2048
IMAGES_PER_PATIENT = {"positive": (0.62, 0.24, 0.09, 0.05), "negative": (0.98, 0.02)}  # chance of 1, 2, ... images
OPACITY_CM = 14.0  # path that an opacity of 1 fills, where there is so much lung
EFFUSION_SHARE = 1 / 3  # of the negatives that have a finding


class PhantomError(ValueError):
    """A parameter or a folder that phantoms cannot be made from; the message says what to change."""


@dataclass(frozen=True)
class Exam:
    """The place of one image in the plan; together with the seed it determines every pixel."""

    split: str
    label: str
    patient: int
    number: int


@dataclass(frozen=True)
class Phantom:
    """One computed image. `image` (size, size) uint8; `lungs`, `opacities` (size, size) bool.

    `severity`: Wong score 0 to 8; `extent`: involved share of the right and the left lung.
    """

    image: np.ndarray
    lungs: np.ndarray
    opacities: np.ndarray
    label: str
    finding: str
    stratum: str
    severity: int
    extent: tuple[float, float]
    source: str
    anatomy: Anatomy
    view: View


def stream(*key) -> np.random.Generator:
    """Random numbers that belong to `key`, the same in every process and on every platform."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def patient_id(seed: int, exam: Exam) -> str:
    """An identifier that says nothing about label or split."""
    return "P" + hashlib.sha256(f"id/{seed}/{exam.split}/{exam.label}/{exam.patient}".encode()).hexdigest()[:10]


def source_of(seed: int, exam: Exam, confounding: float) -> str:
    """Source of a patient: tied to the label with probability `confounding`, else drawn without looking at it."""
    tied, free = stream(seed, exam.split, exam.label, exam.patient, "source").random(2)
    if tied < confounding:
        return SOURCES[1] if exam.label == "positive" else SOURCES[0]
    return SOURCES[int(free < 0.5)]


def finding_of(seed: int, exam: Exam) -> str:
    """COVID-19 for positives; every second negative patient has pneumonia or an effusion."""
    if exam.label == "positive":
        return FINDINGS["positive"][0]
    if exam.patient % 2 == 0:
        return "no finding"
    draw = stream(seed, exam.split, exam.label, exam.patient, "finding").random()
    return "pleural effusion" if draw < EFFUSION_SHARE else "lobar pneumonia"


def render(
    label: str = "positive",
    seed: int = 0,
    size: int = 256,
    *,
    patient: int = 0,
    number: int = 0,
    split: str = "train",
    finding: str | None = None,
    stratum: str | None = None,
    projection: str | None = None,
    source: str | None = None,
    source_confounding: float = 0.0,
    severity: dict[str, float] | None = None,
) -> Phantom:
    """Compute one phantom; with the defaults, the very image that `generate` writes for this place in its plan.

    finding, stratum ('faint', 'mild', 'moderate', 'severe'), projection ('PA', 'AP') and source may be set for teaching.
    Raises PhantomError for values outside these.
    """
    check_choice("label", label, LABELS)
    if finding is not None:
        check_choice("finding", finding, FINDINGS[label])
    if stratum is not None:
        check_choice("stratum", stratum, tuple(DEFAULT_STRATA))
    if projection is not None:
        check_choice("projection", projection, ("PA", "AP"))
    if source is not None:
        check_choice("source", source, SOURCES)
    if not (isinstance(size, (int, np.integer)) and MIN_SIZE <= size <= MAX_SIZE):
        raise PhantomError(f"size must be a whole number of pixels from {MIN_SIZE} to {MAX_SIZE}, not {size!r}")
    exam = Exam(split, label, patient, number)
    key = (seed, split, label, patient)
    anatomy = sample_anatomy(stream(*key, "anatomy"))
    view = sample_view(stream(*key, number, "view"), projection)
    source = source or source_of(seed, exam, source_confounding)
    style = sample_style(source, stream(*key, number, "style"))
    drawn = sample_finding(
        finding or finding_of(seed, exam), stream(*key, number, "finding"), severity or DEFAULT_STRATA, stratum
    )

    frame = Frame(view, int(size))
    thorax = Thorax(anatomy, view, frame)
    healthy = tissue(thorax, stream(*key, number, "tissue"))
    share, opacities = opacity(thorax, drawn, stream(*key, number, "opacity"))
    extra = (SOFT - LUNG) * np.minimum(OPACITY_CM * share, 0.93 * thorax.lung)
    image = expose(healthy, extra, view, style, frame, stream(*key, number, "exposure"))
    score, right, left = wong_score(opacities, thorax.lung_mask, thorax.side)
    return Phantom(image, thorax.lung_mask, opacities, label, drawn.name, drawn.stratum, score, (right, left), source,
                   anatomy, view)


def tissue(thorax: Thorax, rng: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size, unitless) of the chest without its finding."""
    size, lung = thorax.frame.size, thorax.lung
    bone = ribs(thorax) + spine(thorax) + shoulder_girdle(thorax)
    tree = vessels(thorax) * smoothstep(lung, 0.0, 4.0)
    muscle = 1 + 0.018 * cloud(rng, size, (4, 8, 16, 32))
    attenuation = SOFT * np.clip(thorax.body * muscle - lung - thorax.air, 0, None) + LUNG * lung
    attenuation += (SOFT - LUNG) * np.minimum(tree + variants(thorax, rng) * lung, lung)
    attenuation += BONE * np.minimum(bone, 0.4 * thorax.body)
    if thorax.view.devices:
        attenuation += devices(thorax, rng)
    return attenuation.astype(np.float32)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise PhantomError(f"{name} {value!r} is unknown: choose one of {', '.join(map(repr, choices))}")
