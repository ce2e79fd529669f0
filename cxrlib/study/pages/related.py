"""Section 2 of the paper: systems of every kind on the same images, recorded on real X-rays and trained on the data of this copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cxrlib import markup
from cxrlib.config import RunConfig
from cxrlib.experiment import costs, one_run, sweep
from cxrlib.experiment.record import Record
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.model.network import count_parameters, create_model
from cxrlib.study import committed, comparisons, pairs, parts, thresholds
from cxrlib.study.pages.chapter import Shown
from cxrlib.study.parameters import Profile, RelatedWork
from cxrlib.study.systems import FINE_TUNED, REFERENCE, SYSTEMS, TEXTURE, System
from cxrlib.study.verdicts import NOT_RECORDED, p_text

NOTEBOOK = "07_related_work"
MEASURES = ("accuracy", "sensitivity", "specificity", "auc")
ANCHORS = ("efficientnet-b0", "shufflenet")
"""Recorded networks by whose pace hours are estimated."""
STUCK = 0.66
"""Training loss of a run that hardly learned; without learning it is log 2 = 0.69."""
NOTHING = "Nothing is recorded of these systems yet."


@dataclass(frozen=True)
class Compared:
    """Systems by name with their runs on one data set."""

    planned: RelatedWork
    runs: dict[str, list[Record]]
    shown: Shown
    threshold: float

    @classmethod
    def recorded(cls, results: Path, profile: str, threshold: float) -> Compared:
        """The recorded runs of a profile. Raises what :func:`cxrlib.study.committed.read` does."""
        planned = RelatedWork.parse(Profile.load(profile).parameters(NOTEBOOK))
        found = committed.read(results, profile)
        runs = {name: records for name in planned.systems if (records := found.answers(planned.runs_of(name)))}
        return cls(planned, runs, Shown("real", found.data_name(), recorded=True), threshold)

    @classmethod
    def trained(cls, parameters: RelatedWork) -> Compared:
        """Train the quick systems on the data of this copy."""
        dataset = one_run.open_dataset(parameters)
        records = iter(sweep.run_all(parameters.runs(), parameters.workers))
        runs = {name: [next(records) for _ in parameters.runs_of(name)] for name in parameters.systems}
        return cls(parameters, runs, Shown.of(dataset), parameters.threshold)

    @cached_property
    def scores(self) -> dict[str, dict[str, Estimate]]:
        """A row of Table 1 for each system."""
        return {name: thresholds.performance(members, self.threshold) for name, members in self.runs.items()}

    @cached_property
    def against(self) -> dict[str, dict[str, Estimate]]:
        """Each system less the paper's small network, adjusted for their number."""
        return comparisons.against(self.runs, REFERENCE, self.threshold)

    def rows(self, published: bool = False) -> list[tuple[str, dict[str, Estimate]]]:
        """For :func:`cxrlib.study.figures.shortcuts.dots`; with ``published`` also the accuracy that was printed, on other images."""
        found = []
        for name, values in self.scores.items():
            row = {"accuracy": values["accuracy"], "AUC": values["auc"]}
            printed = [one.accuracy for one in SYSTEMS[name].published if one.accuracy is not None]
            found.append((_with_budget(name, self.planned), row | ({"accuracy as published, other images": Estimate(max(printed) / 100)} if published and printed else {})))
        return found

    def finding(self) -> str:
        """The highest and the lowest AUC."""
        ranked = sorted(self.scores.items(), key=lambda item: -float(item[1]["auc"]))
        if not ranked:
            return NOTHING
        ends = [f"{SYSTEMS[name].title}, {values['auc'].percent()} %" for name, values in (ranked[0], ranked[-1])]
        return f"Highest AUC: {ends[0]}; lowest: {ends[1]}."

    @cached_property
    def stuck(self) -> dict[str, list[int]]:
        """Seeds of the runs whose training loss hardly fell, by system; a support vector machine, which is fitted to its optimum, has none."""
        found = {
            name: [record.config["seed"] for record in members if "penalty" not in record.history[-1] and record.history[-1]["train_loss"] > STUCK]
            for name, members in self.runs.items()
        }
        return {name: seeds for name, seeds in found.items() if seeds}

    def budget(self) -> dict[str, str | int]:
        """What every network gets, and which runs hardly learned, for the text."""
        plan = self.planned
        stuck = [f"{SYSTEMS[name].title}, seed {seed}" for name, seeds in self.stuck.items() for seed in seeds]
        budget = f"{plan.schedule[-1]} steps of {plan.batch_size} images, {plan.resize}/{plan.crop} pixels, {len(plan.seeds)} seeds"
        return {"steps": plan.schedule[-1], "budget": budget, "stuck": "; ".join(stuck) or "none"}


def data_line(real: Compared, live: Compared) -> str:
    """Whose data the page shows."""
    seeds = ", ".join(map(str, live.planned.seeds))
    return (
        f"**Data shown on this page:** recorded real X-rays ({markup.code(real.shown.name)}), {len(real.runs)} of {len(real.planned.systems)} systems; "
        f"then {markup.code(live.shown.name)} ({live.shown.kind}), {len(live.runs)} systems with the seeds {seeds}, trained as this page was made."
    )


def _start(config: RunConfig) -> str:
    if config.arch == "svm:lbp":
        return "none"
    return "ImageNet" if config.init.startswith(("imagenet", "timm:")) else parts.named(config.init)


def _seen(config: RunConfig) -> str:
    """Pixels and steps of a system, in words."""
    return f"{config.crop} px, {'no steps' if config.arch.startswith('svm:') else f'{config.schedule[-1]} steps'}"


def _with_budget(name: str, planned: RelatedWork) -> str:
    config = planned.runs_of(name)[0]
    return f"{SYSTEMS[name].title.removesuffix(f', {config.crop} px')} ({_seen(config)})"


def guesses() -> dict[str, str | float]:
    """What a reader guesses with before anything is shown: least and greatest published accuracy (percent), weights of two networks."""
    printed = [one.accuracy for system in SYSTEMS.values() for one in system.published if one.accuracy is not None]
    weights = {name: count_parameters(create_model(SYSTEMS[name].arch, "random", SYSTEMS[name].image_channels)) for name in ("resnet34", REFERENCE)}
    return {"published_least": min(printed), "published_greatest": max(printed)} | {f"weights_{name.split('-')[0]}": f"{count / 1e6:.1f}" for name, count in weights.items()}


def _recipe(config: RunConfig) -> str:
    if config.arch.startswith("svm:"):
        return "–"
    return f"{'no mixup' if config.mixup == 'off' else 'mixup'}, {config.base_lr:g}"


def results(compared: Compared) -> str:
    """Scores and seconds of every system, as a Markdown table."""
    lines = []
    for name, values in compared.scores.items():
        first = compared.planned.runs_of(name)[0]
        seconds = np.mean([record.wall_seconds for record in compared.runs[name]])
        lines.append([SYSTEMS[name].title, _start(first), _seen(first), _recipe(first), *(values[measure].percent() for measure in MEASURES), f"{seconds:.0f}"])
    columns = ["system", "start", "pixels, steps", "mixup, rate", "accuracy, %", "sensitivity, %", "specificity, %", "AUC, %", "seconds"]
    return markup.table(columns, lines) if lines else NOT_RECORDED


def sizes(compared: Compared) -> str:
    """Trained weights, scores and seconds of the systems of this copy, as a Markdown table."""
    lines = []
    for name, members in compared.runs.items():
        config = members[0].config
        trained = count_parameters(create_model(config["arch"], "random", config["image_channels"]))
        seconds = np.mean([record.wall_seconds for record in members])
        lines.append([SYSTEMS[name].title, f"{trained:,}", *(compared.scores[name][measure].percent() for measure in ("accuracy", "auc")), f"{seconds:.1f}"])
    return markup.table(["system", "trained weights", "accuracy, %", "AUC, %", "seconds a run"], lines)


def _here(name: str, compared: Compared, anchor: Record | None) -> str:
    first = compared.planned.runs_of(name)[0]
    if name in compared.scores:
        return f"{compared.scores[name]['accuracy'].percent()} %"
    if first.init.startswith("timm:"):
        return "not trained here: its weights are on a hub that could not be reached"
    if anchor is None:
        return NOT_RECORDED
    seeds = len(compared.planned.seeds)
    return f"not trained here: about {seeds * costs.seconds_like(first, anchor) / 3600:.1f} hours for {seeds} seeds"


def _published(system: System) -> str:
    texts = [f"{one.name}: {one.accuracy:g} %, {one.tested_on}" if one.accuracy is not None else f"{one.name}: no number in the text" for one in system.published]
    return "; ".join(dict.fromkeys(texts)) or "–"


def published(compared: Compared) -> str:
    """Every system with its accuracy here and what was published, as a Markdown table."""
    found = (members[0] for name, members in compared.runs.items() if name in ANCHORS)
    anchor = max(found, key=lambda record: record.wall_seconds, default=None)
    lines = [[SYSTEMS[name].title, SYSTEMS[name].family, _here(name, compared, anchor), _published(SYSTEMS[name])] for name in compared.planned.systems]
    return markup.table(["system", "family", "accuracy here", "published accuracy, and on what"], lines)


def _difference(compared: Mapping[str, Mapping[str, Estimate]], name: str, measure: str) -> str:
    value = compared[name][measure]
    word = "better" if value.low > 0 else "worse" if value.high < 0 else "not seen"
    return f"{pairs.points(value)}, p {p_text(value.p_value)}: {word}"


def differences(compared: Compared) -> str:
    """Each system less the paper's small network, as a Markdown table."""
    found = compared.against
    lines = [[SYSTEMS[name].title, *(_difference(found, name, measure) for measure in ("accuracy", "AUC"))] for name in found]
    columns = ["system", f"accuracy less that of {SYSTEMS[REFERENCE].title} (adjusted interval)", "AUC less its"]
    return markup.table(columns, lines) if lines else NOT_RECORDED


def answers(compared: Compared) -> dict[str, str]:
    """How texture and other backbones do against the paper's small network, and what has the highest AUC, for the text."""
    found = compared.against

    def told(family: str) -> str:
        return "; ".join(f"{SYSTEMS[name].title} {_difference(found, name, 'AUC')}" for name in found if SYSTEMS[name].family == family) or NOT_RECORDED

    best = max(compared.scores, key=lambda name: compared.scores[name]["auc"], default=None)
    top = NOT_RECORDED if best is None else f"{SYSTEMS[best].title} ({SYSTEMS[best].family}), AUC {compared.scores[best]['auc'].percent()} %"
    return {"texture_answer": told(TEXTURE), "backbone_answer": told(FINE_TUNED), "best_answer": top}


def answer(compared: Compared) -> str:
    """What the page answers, in two sentences of Markdown."""
    found = {name: values for name, values in compared.against.items() if name not in compared.stuck}
    if not found:
        return NOT_RECORDED
    better, worse = ([SYSTEMS[name].title for name in found if clear(found[name]["AUC"])] for clear in (lambda value: value.low > 0, lambda value: value.high < 0))
    best = max(compared.scores, key=lambda name: compared.scores[name]["auc"])
    left_out = f" Left out: {_listed([SYSTEMS[name].title for name in compared.stuck])}, of which a run's training loss hardly fell." if compared.stuck else ""
    return markup.text(
        f"On {compared.shown.place} and by AUC, {len(better)} of {len(found)} other systems and starts {'is' if len(better) == 1 else 'are'} better than the paper's approach in its small form, "
        f"of {_seen(compared.planned.runs_of(REFERENCE)[0])}{f' ({_listed(better)})' if 0 < len(better) < 4 else ''}, and {len(worse)} {'is' if len(worse) == 1 else 'are'} worse"
        f"{f' ({_listed(worse)})' if 0 < len(worse) < 4 else ''}. "
        f"The highest AUC has {_with_budget(best, compared.planned)}, {percentage(compared.scores[best]['auc']):.1f} %.{left_out}"
    )


def _listed(names: list[str]) -> str:
    return "; ".join(names)
