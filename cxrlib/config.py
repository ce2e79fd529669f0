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
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxrlib.parameter_files import expanded

Mixup = Literal["off", "beta", "fixed"]
PHANTOM_FOLDER = Path("data/phantom")


class ParameterError(ValueError):
    """A parameter is wrong; the message says which one and what to change."""


def unknown_name(name: str, known: Iterable[str], kind: str = "parameter") -> str:
    """What to say of a parameter, or of another ``kind`` of thing, that does not exist, with the nearest one that does."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known {kind}s: {', '.join(known)}"
    return f"there is no {kind} '{name}'; {hint}"


def check_arguments(function: Callable, given: Iterable[str], of: str, apart: tuple[str, ...]) -> None:
    """Raise :class:`ParameterError` for the first name that ``function`` does not take, or that is set ``apart``."""
    known = [name for name in inspect.signature(function).parameters if name not in apart]
    for name in given:
        if name not in known:
            raise ParameterError(f"{of}: {unknown_name(name, known)}")


def _check_schedule(schedule: tuple[int, ...]) -> tuple[int, ...]:
    if len(schedule) < 2 or schedule[0] < 0 or any(b <= a for a, b in itertools.pairwise(schedule)):
        raise ValueError(f"{list(schedule)} must rise: last warm-up step, steps where the rate is divided by 10, end step")
    return schedule


def _check_resolution(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[1] > pair[0]:
        raise ValueError(f"crop {pair[1]} is larger than resize {pair[0]}; make crop at most {pair[0]}")
    return pair


def _as_text(value: Any, annotation: Any) -> Any:
    """``value`` with its numbers as written if ``annotation`` allows texts or paths and no numbers."""
    wanted = _types(annotation)
    if Path in wanted and isinstance(value, (str, Path)):
        return expanded(value) if str(value).startswith("~") else value
    if wanted & {int, float, bool} or not wanted & {str, Path}:
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_as_text(each, annotation) for each in value)
    return getattr(value, "written", value)


def _refuse_slips(name: str, value: Any, annotation: Any) -> None:
    """Raise for true or false where a number is wanted, which Python takes for 1 or 0, and for an empty path, which it takes for here."""
    wanted = _types(annotation)
    for each in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(each, bool) and wanted & {int, float} and bool not in wanted:
            raise ValueError(f"parameter '{name}' = {each}: give a number, not true or false")
        if isinstance(each, str) and not each.strip() and Path in wanted:
            raise ValueError(f"parameter '{name}' is empty; name a file or folder ('.' for this one), or null for none")


def _types(annotation: Any) -> set[Any]:
    """The plain types inside an annotation."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return {type(each) for each in arguments}
    return {annotation} if not arguments else set().union(*(_types(each) for each in arguments))


Schedule = Annotated[tuple[int, ...], AfterValidator(_check_schedule)]
Resolution = Annotated[tuple[Annotated[int, Field(ge=16, le=8192)], Annotated[int, Field(ge=16, le=8192)]], AfterValidator(_check_resolution)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Region = Literal["whole", "centre", "frame", "lungs", "outside_lungs"]
CENTRE_SHARE = 0.7071  # a square of this side covers half of the image, so centre and frame have the same area


class Parameters(BaseModel):
    """What every notebook takes: where the data are and how to work, none of which changes a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    DECIDED: ClassVar[dict[str, str]] = {}
    """Fields that a study has from its base class and sets itself, each with what decides it."""

    data: Path = Field(PHANTOM_FOLDER, description="folder in the COVIDx layout; the default is the embedded phantom set")
    labels: Path | None = Field(None, description="folder with the label files, if they do not lie beside the images")
    store: Path = Field(Path("runs"), description="folder of run records")
    cache: Path = Field(Path(".cache"), description="folder of resized images")
    strict: bool = Field(False, description="refuse a data folder with any problem; otherwise rows with one are left out and counted")

    @model_validator(mode="before")
    @classmethod
    def _texts_as_written(cls, values: Any) -> Any:
        """Numbers become the texts as which they were written where a text is wanted; ``~`` becomes the home folder; slips are refused."""
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        for name, value in values.items():
            if name in fields:
                _refuse_slips(name, value, fields[name].annotation)
        return {name: _as_text(value, fields[name].annotation) if name in fields else value for name, value in values.items()}

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        """Equal runs are one run: named twice, they would count as two in every interval."""
        for name, value in self:
            if isinstance(value, tuple) and name != "schedule":
                twice = next((each for place, each in enumerate(value) if each in value[:place]), None)
                if twice is not None:
                    raise ValueError(f"{name}: '{twice}' is named twice; name each value once")
        return self

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
            return unknown_name(name, cls.model_fields)
        message = problem["msg"].removeprefix("Value error, ")
        return f"parameter '{name}' = {problem['input']!r}: {message}" if name else message


class Training(Parameters):
    """The protocol of section 3.3, shared by every training run."""

    arch: str = Field("resnetv2_50x1_bit", description="timm model name, or 'resnetv2_laptop'")
    image_channels: Literal[1, 3] = Field(3, description="grey images are repeated over 3 channels, or fed as 1")
    base_lr: float = Field(0.003, gt=0, description="learning rate after warm-up (section 3.3)")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, description="the paper names none")
    batch_size: int = Field(64, ge=2, le=65536)
    accumulation_steps: int = Field(1, ge=1, description="micro-batches per optimiser step")
    rebalance: bool = Field(True, description="half of each batch positive (section 3.3)")
    flip: bool = Field(True, description="random horizontal flip")
    mixup_value: float = Field(0.1, ge=0, description="alpha of Beta(alpha, alpha) if mixup is 'beta', lambda if 'fixed'")
    validation_fraction: float = Field(0.0, ge=0, lt=0.9, description="share of training patients held out; the paper has none")
    eval_every: int = Field(100, ge=1, description="steps between evaluations (Figure 5)")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu"] = "auto"
    compiled: bool = Field(False, description="compile the network first, which takes a minute and may make long runs on a GPU quicker")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads of a run; default all cores over the runs at a time")
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

    resize: int = Field(512, ge=16, le=8192, description="training images are resized to this square, in pixels")
    crop: int = Field(480, ge=16, le=8192, description="random training crop and size of test images, in pixels")
    schedule: Schedule = Field((500, 1500, 3000, 4500, 10000), description="last warm-up step, steps of division by 10, end")
    mixup: Mixup = "beta"

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        _check_resolution((self.resize, self.crop))
        return self

    @model_validator(mode="after")
    def _mixup_is_possible(self) -> Self:
        if self.mixup == "beta" and self.mixup_value <= 0:
            raise ValueError(f"mixup_value {self.mixup_value:g} is not positive, as alpha of Beta(alpha, alpha) must be; for no mixup, mixup: off")
        if self.mixup == "fixed" and self.mixup_value > 1:
            raise ValueError(f"mixup_value {self.mixup_value:g} is more than 1, and is the weight of an image; give one from 0 to 1")
        return self


class RunConfig(OneSetting):
    """One training run: everything that decides its numbers. ``cxrlib.experiment.one_run.run`` turns it into a record."""

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
        {"data", "labels", "store", "cache", "strict", "threads", "device", "compiled", "checkpoint_every", "tracker", "masks"}
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


CLASSICAL_PREFIX = "svm:"


def is_classical(arch: str) -> bool:
    """Whether ``arch`` names a support vector machine on features, see :mod:`cxrlib.model.machine`."""
    return arch.startswith(CLASSICAL_PREFIX)
