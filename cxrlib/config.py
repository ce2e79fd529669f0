"""Validated parameters: one frozen config is one run, and its field names are the papermill parameters.

:class:`RunConfig` describes a single training run. The studies (:class:`Sensitivity`, :class:`Performance`, ...) are what
the notebooks take: the same names, with a grid where the paper varies something. ``study.runs()`` expands the grid.
Defaults are the paper's (sections 3.3 and 4) wherever the paper names a value.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxrlib.related import SYSTEMS, is_classical

Mixup = Literal["off", "beta", "fixed"]
PHANTOM_FOLDER = Path("data/phantom")


class ParameterError(ValueError):
    """A parameter is wrong; the message says which one and what to change."""


def _unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a parameter that does not exist, with the nearest one that does."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known parameters: {', '.join(known)}"
    return f"there is no parameter '{name}'; {hint}"


def check_arguments(function: Callable, given: Iterable[str], of: str, apart: tuple[str, ...]) -> None:
    """Raise :class:`ParameterError` for the first name that ``function`` does not take, or that is set ``apart``."""
    known = [name for name in inspect.signature(function).parameters if name not in apart]
    for name in given:
        if name not in known:
            raise ParameterError(f"{of}: {_unknown(name, known)}")


def _check_schedule(schedule: tuple[int, ...]) -> tuple[int, ...]:
    if len(schedule) < 2 or schedule[0] < 0 or any(b <= a for a, b in itertools.pairwise(schedule)):
        raise ValueError(f"{list(schedule)} must rise: last warm-up step, steps where the rate is divided by 10, end step")
    return schedule


def _check_resolution(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[1] > pair[0]:
        raise ValueError(f"crop {pair[1]} is larger than resize {pair[0]}; make crop at most {pair[0]}")
    return pair


Schedule = Annotated[tuple[int, ...], AfterValidator(_check_schedule)]
Resolution = Annotated[tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]], AfterValidator(_check_resolution)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Region = Literal["whole", "centre", "frame", "lungs", "outside_lungs"]
CENTRE_SHARE = 0.7071  # a square of this side covers half of the image, so centre and frame have the same area


class Parameters(BaseModel):
    """What every notebook takes: where the data are and how to work, none of which changes a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    DECIDED: ClassVar[dict[str, str]] = {}
    """Fields that a study has from its base class and sets itself, each with what decides it."""

    data: Path = Field(PHANTOM_FOLDER, description="folder in the COVIDx layout; the default is the embedded phantom set")
    labels: Path | None = Field(None, description="folder with the label files, if they do not lie beside the images")
    store: Path = Field(Path("runs"), description="folder of run records")
    cache: Path = Field(Path(".cache"), description="folder of resized images")

    @model_validator(mode="after")
    def _folder_exists(self) -> Self:
        if not self.data.is_dir() and self.data != PHANTOM_FOLDER:
            raise ValueError(f"data: folder '{self.data}' does not exist; give a folder in the COVIDx layout")
        external = getattr(self, "external", None)
        if external is not None and not external.is_dir():
            raise ValueError(f"external: folder '{external}' does not exist; give a folder with test/ and test*.txt in the COVIDx layout")
        return self

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """Validate the variables of a notebook's ``parameters`` cell.

        Call it in the first cell after the parameters, before anything else is defined: every public plain value in
        ``namespace`` (``globals()``) counts as a parameter, so a misspelt ``papermill -p`` name is found.

        Raises:
            ParameterError: with one sentence per wrong parameter.
        """
        ignored = {"In", "Out", "exit", "quit", "get_ipython", "open", "papermill"}
        skipped = (types.ModuleType, types.FunctionType, type)
        given = {
            name: value
            for name, value in namespace.items()
            if not name.startswith("_") and name not in ignored and not isinstance(value, skipped)
        }
        for name in cls.DECIDED.keys() & given.keys():
            raise ParameterError(f"{cls.__name__}: '{name}' is decided by {cls.DECIDED[name]}; leave it out")
        return cls.parse(given)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Validate a mapping of parameters; :class:`ParameterError` says in sentences what to change."""
        try:
            return cls(**values)
        except ValidationError as error:
            sentences = [cls._sentence(problem) for problem in error.errors()]
            raise ParameterError(f"{cls.__name__}: " + "; ".join(sentences)) from None

    @classmethod
    def _sentence(cls, problem: dict[str, Any]) -> str:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            return _unknown(name, cls.model_fields)
        message = problem["msg"].removeprefix("Value error, ")
        return f"parameter '{name}' = {problem['input']!r}: {message}" if name else message


class Training(Parameters):
    """The protocol of section 3.3, shared by every training run."""

    arch: str = Field("resnetv2_50x1_bit", description="timm model name, or 'resnetv2_laptop'")
    image_channels: Literal[1, 3] = Field(3, description="grey images are repeated over 3 channels, or fed as 1")
    base_lr: float = Field(0.003, gt=0, description="learning rate after warm-up (section 3.3)")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, description="the paper names none")
    batch_size: int = Field(64, ge=2)
    accumulation_steps: int = Field(1, ge=1, description="micro-batches per optimiser step")
    rebalance: bool = Field(True, description="half of each batch positive (section 3.3)")
    flip: bool = Field(True, description="random horizontal flip")
    mixup_value: float = Field(0.1, ge=0, description="alpha of Beta(alpha, alpha) if mixup is 'beta', lambda if 'fixed'")
    validation_fraction: float = Field(0.0, ge=0, lt=0.9, description="share of training patients held out; the paper has none")
    eval_every: int = Field(100, ge=1, description="steps between evaluations (Figure 5)")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(None, ge=1, description="CPU threads of a run; default all cores over the runs at a time")
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints of an unfinished run")
    tracker: Literal["off", "tensorboard"] = Field("off", description="curves to STORE/tensorboard while a run trains")

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.rebalance and self.batch_size % 2:
            raise ValueError(f"batch_size {self.batch_size} is odd; a rebalanced batch needs an even size")
        if self.batch_size % self.accumulation_steps:
            raise ValueError(f"accumulation_steps {self.accumulation_steps} does not divide batch_size {self.batch_size}")
        return self


class OneSetting(Training):
    """Training with a single resolution, schedule and mixup: the setting of section 4.2 by default."""

    resize: int = Field(512, ge=16, description="training images are resized to this square, in pixels")
    crop: int = Field(480, ge=16, description="random training crop and size of test images, in pixels")
    schedule: Schedule = Field((500, 1500, 3000, 4500, 10000), description="last warm-up step, steps of division by 10, end")
    mixup: Mixup = "beta"

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        _check_resolution((self.resize, self.crop))
        return self


class RunConfig(OneSetting):
    """One training run: everything that decides its numbers. ``cxrlib.experiment.run`` turns it into a record."""

    init: str = Field("random", description="name of an initialisation, or a weights file")
    freeze: bool = Field(False, description="train the head only; the backbone stays as initialised")
    images_per_class: int | None = Field(None, ge=1, description="few-shot training set size per class; null means all")
    region: Region = Field("whole", description="what the network sees, in training and test; the rest is one grey")
    centre_share: float = Field(CENTRE_SHARE, gt=0, lt=1, description="side of the central square as a share of the image's")
    masks: Path | None = Field(None, description="folder of lung masks, SPLIT/STEM.png; default DATA/masks/lungs")
    leave_out: str | None = Field(None, description="source without which the run trains; its training images are then scored")
    sources: tuple[str, str] | None = Field(None, description="two sources to tell apart, in place of the classes; the second is 'positive'")
    within: Literal["positive", "negative"] | None = Field(None, description="class whose images 'sources' takes; null means both")
    seed: Seed = 0

    # Where and how a run is computed is recorded with it but does not make it another run.
    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"data", "labels", "store", "cache", "threads", "device", "checkpoint_every", "tracker", "masks"}
    )
    # Later than the first records: left out at their default, so that those keep their keys.
    ADDED: ClassVar[frozenset[str]] = frozenset({"freeze", "region", "centre_share", "leave_out", "sources", "within"})

    @model_validator(mode="after")
    def _two_sources(self) -> Self:
        if self.sources is not None and self.sources[0] == self.sources[1]:
            raise ValueError(f"sources: '{self.sources[0]}' is named twice; name two sources to tell apart")
        if self.sources is not None and self.leave_out is not None:
            raise ValueError("sources and leave_out are two experiments; set one of them")
        return self

    def identity(self) -> dict[str, Any]:
        """The fields that decide the numbers of the run, as JSON values; unused ones are set to null or to their default."""
        values = self.model_dump(mode="json", exclude=set(self.NOT_IDENTITY))
        if self.mixup == "off":
            values["mixup_value"] = None
        if self.region not in ("centre", "frame"):
            values["centre_share"] = CENTRE_SHARE
        if self.sources is None:
            values["within"] = None
        defaults = type(self).model_fields
        if is_classical(self.arch):  # fitted, not trained by steps
            values |= {name: defaults[name].default for name in ("momentum", "weight_decay", "rebalance", "precision")}
        return {name: value for name, value in values.items() if name not in self.ADDED or value != defaults[name].default}


class UpstreamStudy(Parameters):
    """Parameters of notebook 00, upstream data and what transfers."""

    results: Path = Field(Path("results/upstream.parquet"), description="table of records of the transfer study")
    probes: Path = Field(Path("results/probe.parquet"), description="table of linear probes on real X-rays")
    seed: Seed = Field(0, description="of the fractals shown")
    examples: int = Field(8, ge=2, le=12, description="fractal classes shown")
    inits: tuple[str, ...] = Field(("random", "fractal-s", "fractal-m"), min_length=1, description="what is probed")
    probe_images: int = Field(128, ge=2, description="training images per class of a linear probe")
    probe_seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1)
    crop: int = Field(48, ge=16, description="size at which layers are probed, in pixels")


class Exploration(Parameters):
    """Parameters of notebook 01, data exploration."""

    seed: Seed = Field(0, description="chooses the example images")
    examples: int = Field(4, ge=1, le=8, description="example images per class (Figure 1)")
    duplicate_size: int = Field(32, ge=16, le=256, description="pixels at which near duplicates are sought")
    duplicate_distance: int = Field(4, ge=0, le=64, description="Hamming distance of 64-bit hashes up to which images are listed")
    duplicate_correlation: float = Field(0.995, ge=-1, le=1, description="correlation from which near duplicates are listed")


class Speed(Parameters):
    """Parameters of notebook 08, what is fast and how costs grow."""

    results: Path = Field(Path("results/bench.json"), description="what make bench wrote")
    million: int = Field(1_000_000, ge=1, description="images of the estimate on paper")


class RealXrays(Parameters):
    """Parameters of notebook 09, the study on real X-rays from committed records."""

    results: Path = Field(Path("results/quarter.parquet"), description="table of records of the study")
    cam: Path = Field(Path("results/grad_cam.parquet"), description="where Grad-CAM looks, image by image")
    lite: Path = Field(Path("results/quarter-lite.parquet"), description="table of records of a network with real ImageNet weights")
    validation: Path = Field(Path("results/quarter-validation.parquet"), description="table of runs of the grid that held out validation images")
    trials: Path = Field(Path("results/upstream.parquet"), description="table with the trials for the learning rate, which held some out too")
    profile: str = Field("quarter", description="profile whose runs the records answer")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")
    prevalences: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field((0.01, 0.05, 0.2, 0.5), min_length=1)
    resamples: int = Field(4000, ge=100, description="bootstrap resamples of each interval; a p-value is at least 2 in this many")


class Study(Parameters):
    """A grid of runs."""

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

    def runs(self) -> list[RunConfig]:
        """One run per initialisation and seed."""
        return self._runs(init=self.inits, seed=self.seeds)


class DataSize(Study, OneSetting):
    """Parameters of notebook 04, section 4.3 and Figure 7."""

    inits: tuple[str, ...] = Field(("random", "bit-s", "bit-m"), min_length=1)
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((32, 64, 128, 256, 512), min_length=1, description="images per class")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)

    def runs(self) -> list[RunConfig]:
        """Every size and the full set (``images_per_class`` null), initialisation and seed."""
        return self._runs(images_per_class=[*self.sizes, None], init=self.inits, seed=self.seeds)


class GradCam(Study, OneSetting):
    """Parameters of notebook 05, section 4.4 and Figure 8."""

    init: str = "bit-m"
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    target_layer: str | None = Field(None, description="module name; null means the last feature map before pooling")
    examples: int = Field(2, ge=1, le=6, description="test images shown per class")

    def runs(self) -> list[RunConfig]:
        """One run per seed."""
        return self._runs(init=[self.init], seed=self.seeds)


class Shortcuts(Study, OneSetting):
    """Parameters of notebook 06, disease or data source? What is null is derived by :func:`cxrlib.shortcuts.derived`."""

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
    external: Path | None = Field(None, description="another folder of images, scored by the runs of this page")
    external_labels: Path | None = Field(None, description="folder with the label files of 'external', if not in it")
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater")
    resamples: int = Field(4000, ge=100, description="bootstrap resamples of each interval")

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

    DECIDED: ClassVar[dict[str, str]] = dict.fromkeys(("arch", "image_channels", "base_lr", "mixup"), "each system (cxrlib.related)")
    systems: tuple[str, ...] = Field(tuple(SYSTEMS), description="names of cxrlib.related.SYSTEMS")
    start: Literal["random", "imagenet"] = Field("random", description="where fine-tuned backbones start; ImageNet weights need the hub")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    threshold: float = Field(0.5, ge=0, le=1, description="positive if the probability is greater (section 4.2)")
    results: Path = Field(Path("results/quarter.parquet"), description="table of run records on real X-rays")
    profile: str = Field("quarter", description="profile whose runs those records answer")
    resamples: int = Field(4000, ge=100, description="bootstrap resamples of each interval")

    @model_validator(mode="after")
    def _systems_exist(self) -> Self:
        for name in self.systems:
            if name not in SYSTEMS:
                raise ValueError(f"systems: {_unknown(name, SYSTEMS)}".replace("parameter", "system"))
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
}


class Profile(BaseModel):
    """A parameter set for the whole book, read from ``profiles/NAME.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    phantom: dict[str, Any] = Field(default_factory=dict, description="arguments of cxrlib.phantom.generate")
    common: dict[str, Any] = Field(default_factory=dict, description="parameters of every notebook that declares them")
    notebooks: dict[str, dict[str, Any]] = Field(default_factory=dict, description="parameters of one notebook each")

    @classmethod
    def load(cls, name: str, folder: Path = Path("profiles")) -> Self:
        """Read and validate ``folder/name.yaml``, and every notebook's parameters with it.

        Raises:
            ParameterError: unknown profile, unreadable YAML, unknown notebook or parameter.
        """
        path = folder / f"{name}.yaml"
        if not path.is_file():
            raise ParameterError(f"no profile '{name}'; there are: {', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}")
        try:
            profile = cls(**(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
        except (yaml.YAMLError, ValidationError, TypeError) as error:
            raise ParameterError(f"{path}: {error}") from None
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

    def parameters(self, notebook: str, **overrides: Any) -> dict[str, Any]:
        """Parameters of one notebook: the common ones it has, then its own, then ``overrides``; validated."""
        study = STUDIES[notebook]
        values = {key: value for key, value in self.common.items() if key in study.model_fields and key not in study.DECIDED}
        values |= self.notebooks.get(notebook, {}) | overrides
        study.parse(values)
        return values
