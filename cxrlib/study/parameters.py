"""The parameters of the notebooks, of which :data:`STUDIES` names each one's class, and profiles.

Those of the notebooks that train are in :mod:`cxrlib.study.grids` and handed on; here are those that read what is recorded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxrlib.config import ParameterError, Parameters, Seed, unknown_name
from cxrlib.parameter_files import read_parameters
from cxrlib.study.grids import DataSize, GradCam, Performance, RelatedWork, Sensitivity, Shortcuts, Study

__all__ = [
    "STUDIES", "DataSize", "Exploration", "Failures", "GradCam", "Performance", "Profile", "RealXrays", "RelatedWork", "Sensitivity", "Shortcuts", "Speed",
    "Study", "Truth", "UpstreamStudy", "profiles_of", "read_with",
]  # fmt: skip


class UpstreamStudy(Parameters):
    """Parameters of notebook 00, upstream data and what transfers."""

    results: Path = Field(Path("results/upstream.parquet"), description="table of records of the transfer study")
    probes: Path = Field(Path("results/probe.parquet"), description="table of linear probes on real X-rays")
    trials: Path = Field(Path("results/photo-trials.json"), description="trials that chose how photographs are pretrained on")
    seed: Seed = Field(0, description="of the fractals shown")
    examples: int = Field(8, ge=2, le=12, description="fractal classes shown")
    inits: tuple[str, ...] = Field(("random", "fractal-m", "photo-s", "photo-m"), min_length=1, description="what is probed")
    probe_images: int = Field(128, ge=2, description="training images per class of a linear probe")
    probe_seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    crop: int = Field(48, ge=16, description="size at which layers are probed, in pixels")


class Exploration(Parameters):
    """Parameters of notebook 01, data exploration."""

    BOTH_CLASSES: ClassVar[bool] = True

    seed: Seed = Field(0, description="chooses the example images")
    examples: int = Field(4, ge=1, le=8, description="example images per class (Figure 1)")
    duplicate_size: int = Field(32, ge=16, le=256, description="pixels at which near duplicates are sought")
    duplicate_distance: int = Field(4, ge=0, le=64, description="Hamming distance of 64-bit hashes up to which images are listed")
    duplicate_correlation: float = Field(0.995, ge=-1, le=1, description="correlation from which near duplicates are listed")
    files: Path = Field(Path("results/files.parquet"), description="sources and sizes of the files of the recorded real X-rays")


class Speed(Parameters):
    """Parameters of notebook 08, what is fast and how costs grow."""

    results: Path = Field(Path("results/bench.json"), description="what make bench wrote")
    gpu: Path = Field(Path("results/gpu.json"), description="what benchmarks/gpu.py wrote")
    million: int = Field(1_000_000, ge=1, description="images of the estimate on paper")


class _Recorded(Parameters):
    """A page that draws recorded runs on real X-rays."""

    results: Path = Field(Path("results/quarter.parquet"), description="table of records of the study")
    profile: str = Field("quarter", description="profile whose runs the records answer")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")


class RealXrays(_Recorded):
    """Parameters of notebook 09, the verdicts on real X-rays from committed records."""

    files: Path = Field(Path("results/files.parquet"), description="sources and sizes of the files of those X-rays")
    cam: Path = Field(Path("results/grad_cam.parquet"), description="where Grad-CAM looks, image by image")
    lite: Path = Field(Path("results/quarter-lite.parquet"), description="table of records of a network with real ImageNet weights")
    upstream: Path = Field(Path("results/upstream.parquet"), description="table of records of the upstream study")
    across: Path = Field(Path("results/across.parquet"), description="table of records of trainings across collections")


class OperatingPoints(_Recorded):
    """Parameters of notebook 12, what a threshold decides, from committed records."""

    validation: Path = Field(Path("results/quarter-validation.parquet"), description="table of runs of the grid that held out validation images")
    prevalences: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field((0.01, 0.05, 0.2, 0.5), min_length=1)
    resamples: int = Field(4000, ge=100, description="bootstrap resamples of the intervals at equal specificity, which no formula gives")


class Selection(_Recorded):
    """Parameters of notebook 13, how far one test set can be trusted, from committed records."""

    validation: Path = Field(Path("results/quarter-validation.parquet"), description="table of runs of the grid that held out validation images")
    coverage: Path = Field(Path("results/coverage.json"), description="how often intervals hold the truth, simulated on these patients")
    trials: Path = Field(Path("results/upstream.parquet"), description="table with the trials for the learning rate, which held some out too")


class Truth(Parameters):
    """Parameters of notebook 10, truth on real X-rays from committed records."""

    attention: Path = Field(Path("results/attention.parquet"), description="where heat maps look, by radiologists' masks")
    across: Path = Field(Path("results/across.parquet"), description="records of training in one collection and across collections")
    files: Path = Field(Path("results/across-files.parquet"), description="sources and sizes of the image files of those records")
    lungs: Path = Field(Path("results/lungs.parquet"), description="how well a small network finds lungs, image by image")
    regions: Path = Field(Path("results/lung-regions.parquet"), description="records of networks that see the lungs only, or everything but them")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")


class Failures(Parameters):
    """Parameters of notebook 11, where networks fail, from committed records."""

    attention: Path = Field(Path("results/attention.parquet"), description="where heat maps look: says too how much of the lungs is opaque")
    across: Path = Field(Path("results/across.parquet"), description="records of training in one collection and across collections")
    files: Path = Field(Path("results/across-files.parquet"), description="source, view, age and size of the image files of those records")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")
    corruptions: Path = Field(Path("results/corruptions.parquet"), description="scores of spoiled pictures")
    embedding: Path = Field(Path("results/embedding.parquet"), description="features of one network on a plane, and what probes read from them")


STUDIES: dict[str, type[Parameters]] = {
    "00_upstream": UpstreamStudy,
    "01_data_exploration": Exploration,
    "02_hyperparameter_sensitivity": Sensitivity,
    "03_test_performance": Performance,
    "04_data_size": DataSize,
    "05_grad_cam": GradCam,
    "06_shortcuts": Shortcuts,
    "07_related_work": RelatedWork,
    "08_speed": Speed,
    "09_real_xrays": RealXrays,
    "10_truth": Truth,
    "11_failures": Failures,
    "12_operating_points": OperatingPoints,
    "13_selection": Selection,
}


def read_with(study: type[Parameters], name: str, value: Path) -> list[Path]:
    """The file that a parameter of a notebook names, and those beside it that are read with it, by the ends of their names; not whether they exist."""
    return [value, *(value.with_name(f"{value.stem}{end}") for end in _noted(study, name).get("beside", ()))]


def profiles_of(study: type[Parameters]) -> list[str]:
    """The profiles whose runs a notebook looks for without a parameter that names them."""
    return [profile for name in study.model_fields for profile in _noted(study, name).get("profiles", ())]


def _noted(study: type[Parameters], name: str) -> dict[str, Any]:
    """What is noted at a parameter beyond its type and description; empty if there is none of that name."""
    field = study.model_fields.get(name)
    return field.json_schema_extra if field and isinstance(field.json_schema_extra, dict) else {}


class Profile(BaseModel):
    """A parameter set for the whole book, read from ``profiles/NAME.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    phantom: dict[str, Any] = Field(default_factory=dict, description="arguments of cxrlib.phantom.folder.generate")
    common: dict[str, Any] = Field(default_factory=dict, description="parameters of every notebook that declares them")
    notebooks: dict[str, dict[str, Any]] = Field(default_factory=dict, description="parameters of one notebook each")

    @classmethod
    def load(cls, name: str, folder: Path = Path("profiles")) -> Self:
        """Read and validate ``folder/name.yaml``, and every notebook's parameters with it.

        Raises:
            ParameterError: unknown profile, unreadable YAML, unknown notebook or parameter.
        """
        path = folder / f"{name}.yaml"
        if not re.fullmatch(r"[\w][\w.-]*", name):  # it also names folders of pages and phantoms
            raise ParameterError(f"'{name}' is no name of a profile; give that of a file in {folder}/, without .yaml: letters, digits, -, _ and .")
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
            there = f"there are: {known}" if known else f"there is no folder '{folder}' here; run the command in the project's folder"
            raise ParameterError(f"no profile '{name}'; {there}")
        try:
            profile = cls(**read_parameters(path))
        except ValidationError as error:
            raise ParameterError(f"{path}: " + "; ".join(map(cls._sentence, error.errors()))) from None
        except ValueError as error:
            raise ParameterError(str(error)) from None
        for notebook in profile.notebooks:
            if notebook not in STUDIES:
                raise ParameterError(f"{path}: no notebook '{notebook}'; there are: {', '.join(STUDIES)}")
        unknown = [key for key in profile.common if not any(key in study.model_fields for study in STUDIES.values())]
        if unknown:
            raise ParameterError(f"{path}: common: no notebook has the parameter '{unknown[0]}'")
        for notebook in STUDIES:
            try:
                profile.parameters(notebook)
            except ParameterError as error:
                raise ParameterError(f"{path}: {notebook}: {error}") from None
        return profile

    @classmethod
    def _sentence(cls, problem: dict[str, Any]) -> str:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            return f"it has no '{name}'; say in a sentence what the profile is for"
        if problem["type"] == "extra_forbidden":
            return unknown_name(name, cls.model_fields, "part")
        return f"'{name}': {problem['msg']}"

    def parameters(self, notebook: str, **overrides: Any) -> dict[str, Any]:
        """Parameters of one notebook: the common ones it has, then its own, then ``overrides``; validated."""
        study = STUDIES[notebook]
        values = {key: value for key, value in self.common.items() if key in study.model_fields and key not in study.DECIDED}
        values |= self.notebooks.get(notebook, {}) | overrides
        study.parse(values)
        return values
