"""Parameters of the notebooks that train: :class:`~cxrlib.config.RunConfig` with a grid where the paper varies something.

``study.runs()`` expands the grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from cxrlib.config import (
    CENTRE_SHARE,
    Mixup,
    OneSetting,
    Parameters,
    Region,
    Resolution,
    RunConfig,
    Schedule,
    Seed,
    Training,
    is_classical,
    unknown_name,
)
from cxrlib.study.systems import SYSTEMS


class Study(Parameters):
    """A grid of runs."""

    BOTH_CLASSES: ClassVar[bool] = True
    """Whether the notebook can do nothing without both classes in both splits; others say themselves what such data do not allow."""

    @classmethod
    def keeps_weights(cls, parameters: Mapping[str, Any]) -> bool:
        """Whether its notebook, with these parameters, asks for the trained networks and not for their records alone."""
        return parameters.get("external") is not None

    workers: int | None = Field(None, ge=1, description="runs at a time; default one per core, or 1 on a GPU")

    def _runs(self, **axes: list) -> list[RunConfig]:
        """Cross the axes (a list of values, or of dictionaries of values, each) with the shared fields."""
        shared = {name: getattr(self, name) for name in RunConfig.model_fields if name in type(self).model_fields}
        combinations = itertools.product(*([(name, value) for value in values] for name, values in axes.items()))
        runs = []
        for combination in combinations:
            chosen: dict[str, Any] = {}
            for name, value in combination:
                chosen |= value if isinstance(value, dict) else {name: value}
            runs.append(RunConfig.parse(shared | chosen))
        return runs


class Sensitivity(Study, Training):
    """Parameters of notebook 02, section 4.1 and Figure 4."""

    inits: tuple[str, ...] = Field(("random", "bit-s", "bit-m"), min_length=1)
    resolutions: tuple[Resolution, ...] = Field(((160, 128), (256, 224), (448, 384), (512, 480)), min_length=1)
    schedules: tuple[Schedule, ...] = Field(
        ((100, 200, 300, 400, 500), (500, 1500, 3000, 4500, 10000), (500, 6000, 12000, 18000, 20000)), min_length=1
    )
    mixups: tuple[Mixup, ...] = Field(("off", "beta"), min_length=1)
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")
    cell: Path = Field(
        Path("results/bit.parquet"), description="table of runs of one cell of the paper's grid, with its network; those beside it have runs made otherwise",
        json_schema_extra={"beside": ["-fp32.parquet", "-gpu.parquet", "-short.parquet", "-short.json"], "profiles": ["bit", "bit-fp32", "bit-gpu"]},
    )  # fmt: skip

    def runs(self) -> list[RunConfig]:
        """The grid of Figure 4: resolutions x schedules x mixups x initialisations x seeds."""
        resolutions = [{"resize": resize, "crop": crop} for resize, crop in self.resolutions]
        return self._runs(
            resolution=resolutions, schedule=self.schedules, mixup=self.mixups, init=self.inits, seed=self.seeds
        )


class Performance(Study, OneSetting):
    """Parameters of notebook 03, section 4.2: Table 1, Figures 5 and 6."""

    inits: tuple[str, ...] = Field(("random", "bit-s", "bit-m"), min_length=1)
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")
    external: Path | None = Field(None, description="another folder in the COVIDx layout, as a second test set")
    external_labels: Path | None = Field(None, description="folder with the label file of 'external', if not beside its images")
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")

    def runs(self) -> list[RunConfig]:
        """One run per initialisation and seed."""
        return self._runs(init=self.inits, seed=self.seeds)


class DataSize(Study, OneSetting):
    """Parameters of notebook 04, section 4.3 and Figure 7."""

    inits: tuple[str, ...] = Field(("random", "bit-s", "bit-m"), min_length=1)
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((32, 64, 128, 256, 512), min_length=1, description="images per class")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")

    def runs(self) -> list[RunConfig]:
        """Every size and the full set (``images_per_class`` null), initialisation and seed."""
        return self._runs(images_per_class=[*self.sizes, None], init=self.inits, seed=self.seeds)


class GradCam(Study, OneSetting):
    """Parameters of notebook 05, section 4.4 and Figure 8."""

    BOTH_CLASSES: ClassVar[bool] = False

    @classmethod
    def keeps_weights(cls, parameters: Mapping[str, Any]) -> bool:
        return True

    init: str = "bit-m"
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    target_layer: str | None = Field(None, description="module name; null means the last feature map before pooling")
    examples: int = Field(2, ge=1, le=6, description="test images shown per class")
    frames: int = Field(6, ge=1, le=20, description="phantoms per class that the viewer on the explorer page steps through")
    attention: Path = Field(Path("results/attention.parquet"), description="where heat maps look on real X-rays, by radiologists' masks")

    def runs(self) -> list[RunConfig]:
        """One run per seed."""
        return self._runs(init=[self.init], seed=self.seeds)


class Shortcuts(Study, OneSetting):
    """Parameters of notebook 06, disease or data source? What is null is derived by :func:`cxrlib.study.derived.derived`."""

    BOTH_CLASSES: ClassVar[bool] = False
    init: str = "bit-m"
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    regions: tuple[Region, ...] | None = Field(None, description="what networks see; null: whole, centre, frame, and lungs where there are masks")
    centre_share: float = Field(CENTRE_SHARE, gt=0, lt=1, description="side of the central square as a share of the image's")
    masks: Path | None = Field(None, description="folder of lung masks, SPLIT/STEM.png; default DATA/masks/lungs")
    leave_out: tuple[str, ...] | None = Field(None, description="sources left out of training, one at a time; null: derived from the data")
    sources: tuple[str, str] | tuple[()] | None = Field(None, description="two sources to tell apart, or []; null: derived from the data")
    within: Literal["positive", "negative"] | None = Field(None, description="class in which the sources are told apart")
    held_out: float = Field(0.3, gt=0, lt=0.9, description="share of training patients held out where sources are compared")
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")
    files: Path = Field(Path("results/files.parquet"), description="sources and sizes of the real image files")
    cam: Path = Field(Path("results/grad_cam.parquet"), description="where Grad-CAM looks on real X-rays")
    confounding: Path = Field(Path("results/confounding.parquet"), description="records on phantoms with confounded sources")
    across: Path = Field(Path("results/across.parquet"), description="records of training in one collection and across collections")
    across_files: Path = Field(Path("results/across-files.parquet"), description="sources and sizes of the image files of those records")
    external: Path | None = Field(None, description="another folder of images, scored by the runs of this page")
    external_labels: Path | None = Field(None, description="folder with the label files of 'external', if not in it")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater")

    def runs(self) -> list[RunConfig]:
        """Each region; each source left out, beside nothing left out with the same patients held out; two sources told apart.

        What is still null is not among them, but for the whole image.
        """
        nothing: dict[str, Any] = {"region": "whole", "leave_out": None, "sources": None, "within": None}
        arms = [nothing | {"region": region} for region in self.regions or ("whole",)]
        if self.leave_out:
            arms += [nothing | {"leave_out": source, "validation_fraction": self.held_out} for source in (None, *self.leave_out)]
        if self.sources:
            arms.append(nothing | {"sources": self.sources, "within": self.within, "validation_fraction": self.held_out})
        return self._runs(arm=arms, init=[self.init], seed=self.seeds)


class RelatedWork(Study, OneSetting):
    """Parameters of notebook 07: the systems of the paper's section 2 on the same data, steps and crops."""

    DECIDED: ClassVar[dict[str, str]] = dict.fromkeys(("arch", "image_channels", "base_lr", "mixup"), "each system (cxrlib.study.systems)")
    systems: tuple[str, ...] = Field(tuple(SYSTEMS), description="names of cxrlib.study.systems.SYSTEMS")
    start: Literal["random", "imagenet"] = Field("random", description="where fine-tuned backbones start; ImageNet weights need the hub")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")

    @model_validator(mode="after")
    def _systems_exist(self) -> Self:
        for name in self.systems:
            if name not in SYSTEMS:
                raise ValueError(f"systems: {unknown_name(name, SYSTEMS, 'system')}")
        return self

    def runs(self) -> list[RunConfig]:
        """Every system and seed. A support vector machine takes no steps, so it has one schedule whatever the others have."""
        return [run for name in self.systems for run in self.runs_of(name)]

    def runs_of(self, name: str) -> list[RunConfig]:
        """The runs of one system, one for each seed."""
        system = SYSTEMS[name]
        init = system.init or (system.imagenet if self.start == "imagenet" and system.imagenet else "random")
        values: dict[str, Any] = {"arch": system.arch, "init": init, "image_channels": system.image_channels}
        values |= {"base_lr": system.base_lr, "mixup": system.mixup}
        if system.size:
            values |= {"resize": system.size, "crop": system.size}
        if is_classical(system.arch):
            values |= {"resize": system.size or self.crop, "schedule": (0, 1), "eval_every": 1, "batch_size": 2, "accumulation_steps": 1, "flip": False}
        return self._runs(system=[values], seed=self.seeds)
