"""The runs that a profile asks for: which are recorded, which are missing, and what they cost. Trains nothing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxrlib.config import PHANTOM_FOLDER, ParameterError, RunConfig, check_arguments, unknown_name
from cxrlib.data import views
from cxrlib.study.derived import fitted
from cxrlib.study.grids import Study
from cxrlib.study.parameters import STUDIES, Profile
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError

PAPER = "paper"


@dataclass(frozen=True)
class PlannedRun:
    """A run and the notebooks that ask for it, by their names, in the order of the book."""

    config: RunConfig
    studies: tuple[str, ...]


def profile_runs(profile: str, only: Iterable[str] = (), index: pd.DataFrame | None = None, **overrides: Any) -> list[PlannedRun]:
    """Every distinct run of a profile, in the order in which the book's notebooks ask for them.

    Args:
        profile: a file in ``profiles/``, without ``.yaml``.
        only: notebooks whose runs are wanted; by default of all.
        index: of the data that they are for. With it, what a profile leaves to the data is settled as the notebooks do
            (:func:`cxrlib.study.derived.fitted`); without, such runs are not among them.
        overrides: parameters, each for every study that has it and does not decide it itself.

    Raises:
        ParameterError: unknown profile, or a parameter that is wrong or that no study has.
    """
    loaded = Profile.load(profile)
    only = set(only)
    studies = {name: study for name, study in STUDIES.items() if issubclass(study, Study) and (not only or name in only)}
    known = list(dict.fromkeys(name for study in studies.values() for name in study.model_fields))
    for name in overrides if studies else ():
        if name not in known:
            raise ParameterError(f"profile '{profile}': {unknown_name(name, known)}")
        if all(name in study.DECIDED for study in studies.values() if name in study.model_fields):
            deciding = next(study.DECIDED[name] for study in studies.values() if name in study.DECIDED)
            raise ParameterError(f"profile '{profile}': '{name}' is decided by {deciding}; leave it out")
    found: dict[str, tuple[RunConfig, list[str]]] = {}
    for notebook, study in studies.items():
        fitting = {name: value for name, value in overrides.items() if name in study.model_fields and name not in study.DECIDED}
        parameters = study.parse(loaded.parameters(notebook, **fitting))
        for config in (parameters if index is None else fitted(parameters, index)[0]).runs():
            what = json.dumps([config.identity(), str(config.data), str(config.labels)], sort_keys=True)
            asking = found.setdefault(what, (config, []))[1]
            if notebook not in asking:
                asking.append(notebook)
    return [PlannedRun(config, tuple(asking)) for config, asking in found.values()]


def phantom_folder(profile: str, root: Path = Path(".")) -> Path:
    """Where the phantoms of a profile lie: a folder of its own if it asks for other phantoms than the default."""
    return Path(f"{PHANTOM_FOLDER}-{profile}") if Profile.load(profile, root / "profiles").phantom else PHANTOM_FOLDER


def make_phantoms(profile: str, root: Path = Path(".")) -> Path:
    """Generate the phantoms of a profile unless they are there; returns their folder, relative to ``root``.

    Only another set of phantoms is replaced, never anything else.
    """
    from cxrlib import phantom

    settings = Profile.load(profile, root / "profiles").phantom
    check_arguments(phantom.generate, settings, f"profiles/{profile}.yaml: phantom", apart=("folder",))
    folder = phantom_folder(profile, root)
    phantom.generate(root / folder, overwrite=True, **settings)
    return folder


def data_is_here(folder: Path) -> bool:
    """Whether a data folder can be read without generating it."""
    return (folder / "phantom.json").is_file() if folder.name.startswith(PHANTOM_FOLDER.name) else folder.is_dir()


def plan(profile: str, throughput: float | None = None, **overrides: Any) -> pd.DataFrame:
    """The runs of a profile with their state and cost.

    No data, weights or network are needed. Without a data folder the ``paper`` profile is counted for the paper's data
    set and any other for its phantoms, and no run counts as recorded.

    Args:
        profile: see :func:`profile_runs`.
        throughput: TFLOP/s that a device sustains. If None, this machine is measured (:func:`cxrlib.experiment.costs.image_seconds`).
        overrides: see :func:`profile_runs`; ``data`` is the folder that the runs are looked up for.

    Returns:
        One row per distinct run: ``key`` (None without data or weights), ``studies`` (tuple), ``init, arch, resize, crop,
        schedule, mixup, images_per_class, seed``, ``recorded`` (bool), ``reason`` (why it cannot be started here, else
        empty), ``steps``, ``training_images`` (see :func:`cxrlib.experiment.costs.trained_images`), ``evaluated_images``, ``training_flops``, ``evaluation_flops``, ``hours``.
        ``attrs['data']`` says what was counted.

    Raises:
        ParameterError: see :func:`profile_runs`. ValueError: if ``throughput`` is not positive, or an arch is unknown.
    """
    from cxrlib.experiment import costs

    if throughput is not None and not throughput > 0:
        raise ValueError(f"throughput {throughput} TFLOP/s is not positive; give what the device sustains, such as 100")
    if "data" not in overrides and profile != PAPER and data_is_here(phantom_folder(profile)):
        overrides["data"] = phantom_folder(profile)
    given = "data" in overrides
    data = _Data(profile, given)
    rows = []
    for planned in profile_runs(profile, **overrides):
        config = planned.config
        key, recorded, reason = data.state(config)
        evaluated = data.evaluated_images(config)
        trained = costs.trained_images(config, sum(data.train.values()))
        flops = costs.image_flops(config.arch, config.image_channels, config.crop, config.freeze)
        total = costs.run_cost(config, trained, evaluated, flops)
        seconds = total / (throughput * 1e12) if throughput else costs.run_cost(config, trained, evaluated, costs.image_seconds(config))
        row = {"key": key, "studies": planned.studies, "init": config.init, "arch": config.arch, "resize": config.resize, "crop": config.crop}
        row |= {"schedule": config.schedule, "mixup": config.mixup, "images_per_class": config.images_per_class, "seed": config.seed}
        row |= {"recorded": recorded, "reason": reason, "steps": config.schedule[-1]}
        row |= {"training_images": trained}
        row |= {"evaluated_images": costs.evaluation_count(config.schedule[-1], config.eval_every) * evaluated}
        row |= {"evaluation_flops": row["evaluated_images"] * flops.evaluate}
        row |= {"training_flops": total - row["evaluation_flops"]}
        rows.append(row | {"hours": seconds / 3600})
    table = pd.DataFrame(rows)
    table.attrs["data"] = data.description
    return table


class _Data:
    """What is known of the data of a plan: counts, and which runs are recorded."""

    def __init__(self, profile: str, given: bool) -> None:
        self.given = given
        self.description = ""
        self._evaluated: dict[tuple, int] = {}
        if profile == PAPER:
            from cxrlib.study import paper

            self.train = {label: paper.training_images(label) for label in ("positive", "negative")}
            self.test = 2 * paper.TEST_IMAGES_PER_CLASS
            self.description = f"the paper's data set, COVIDx CXR-2 ({sum(self.train.values()):,} training and {self.test} test images)"
        else:
            from cxrlib import phantom

            arguments = {name: p.default for name, p in inspect.signature(phantom.generate).parameters.items()}
            arguments |= Profile.load(profile).phantom
            self.train = {label: arguments[f"train_{label}"] for label in ("positive", "negative")}
            self.test = 2 * arguments["test_per_class"]
            self.description = f"the phantoms of this profile ({sum(self.train.values()):,} training and {self.test} test images)"

    def _dataset(self, config: RunConfig):
        """The data set of a run; None if none was given or its folder is not here."""
        from cxrlib.experiment.one_run import open_dataset

        if not self.given or not data_is_here(config.data):
            return None
        dataset = open_dataset(config)
        counts = dataset.index["split"].value_counts()
        self.test = int(counts["test"])
        self.train = dataset.index.loc[dataset.index["split"] == "train", "label"].value_counts().to_dict()
        self.description = f"{config.data} ({counts['train']:,} training and {self.test} test images)"
        return dataset

    def evaluated_images(self, config: RunConfig) -> int:
        """Images scored at each evaluation: the test set, and validation images if the run holds some out."""
        dataset = self._dataset(config)
        if not (config.validation_fraction or config.leave_out or config.sources):
            return self.test
        if dataset is None:
            return self.test + round(config.validation_fraction * sum(self.train.values()))
        wanted = config.validation_fraction, config.seed, config.leave_out, config.sources, config.within
        if wanted not in self._evaluated:
            try:
                index = views.recast(dataset.index, config)
            except ParameterError:
                return self.test  # such a run cannot be started here, and :meth:`state` says why
            self._evaluated[wanted] = int(index["split"].isin(["validation", "test"]).sum())
        return self._evaluated[wanted]

    def state(self, config: RunConfig) -> tuple[str | None, bool, str]:
        """Key, whether the run is recorded, and why it cannot be started here (else empty)."""
        from cxrlib.experiment.record import content_key, recorded

        reasons, weights, dataset = [], None, self._dataset(config)
        try:
            weights = resolve_initialisation(config.init, download=False, seed=config.seed)
        except WeightsError as error:
            reasons.append(_without_weights(config.init, error))
        if dataset is None:
            reasons.append("data folder not here")
        elif config.images_per_class and config.images_per_class > min(self.train.values()):
            reasons.append(f"fewer than {config.images_per_class} training images of a class")
        if weights is None or dataset is None:
            return None, False, "; ".join(reasons)
        try:
            views.recast(dataset.index, config)
            fingerprint = views.data_fingerprint(config, dataset.fingerprint, dataset.index)
        except ParameterError as error:
            return None, False, "; ".join([*reasons, str(error)])
        key = content_key(config.identity(), fingerprint, weights.sha256, normalisation=weights.normalisation())
        return key, recorded(config.store, key, weights) is not None, "; ".join(reasons)


def _without_weights(init: str, error: WeightsError) -> str:
    from cxrlib.weights.registry import registry
    from cxrlib.weights.source import TIMM_PREFIX

    named = init in registry() or init.startswith(TIMM_PREFIX)
    return f"weights of {init} are not here" if named else str(error)
