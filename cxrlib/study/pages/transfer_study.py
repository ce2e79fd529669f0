"""The recorded transfer study of notebook 00 on each data set, and what it says; its tables are made in :mod:`cxrlib.study.pages.transfer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from cxrlib import markup
from cxrlib.experiment.record import Record, read_table
from cxrlib.metrics.estimate import percentage
from cxrlib.study.figures import captions, style
from cxrlib.study.pages import transfer
from cxrlib.study.pages.chapter import Shown
from cxrlib.study.pairs import points
from cxrlib.study.parts import network

LAPTOP, LITE = "resnetv2_laptop", "tf_efficientnet_lite0"
SIZES = ("32", "64", "128", "256", "512", transfer.FULL)
PAIRS = (
    ("photo-s", "random"), ("photo-m", "random"), ("photo-m", "photo-s"), ("photo-s", "fractal-m"), ("photo-m", "fractal-m"),
    ("fractal-s", "random"), ("fractal-m", "random"), ("fractal-m", "fractal-s"),
)  # fmt: skip
"""Better and worse start, as the paper would have it."""
CONTROLLED = (
    ("photo-m-short", "photo-s"), ("photo-m", "photo-s-long"), ("photo-s-long", "photo-s"), ("photo-m", "photo-m-short"), ("photo-60", "photo-s"), ("photo-m", "photo-60"),
)  # fmt: skip
"""More photographs with the same steps (twice), more steps with the same photographs (twice), and the steps of the ladder."""
NO_RUNS = "no runs of this comparison are here"


def _named(better: str, worse: str) -> tuple[str, str]:
    return f"the start from {style.named(better)}", f"that from {style.named(worse)}"


@dataclass(frozen=True)
class Transfer:
    """The records of the transfer study, by data set: real X-rays first."""

    records: list[Record]

    @classmethod
    def read(cls, path: Path) -> Transfer:
        """Raises what :func:`cxrlib.experiment.record.read_table` does."""
        return cls(read_table(path))

    @cached_property
    def studied(self) -> list[Record]:
        """Without the trials for a learning rate."""
        return [record for record in self.records if not transfer.is_trial(record)]

    @cached_property
    def shown(self) -> dict[str, Shown]:
        """The data sets by name, real X-rays first."""
        kinds = {record.data["name"]: "phantom" if record.data["is_phantom"] else "real" for record in self.studied}
        return {name: Shown(kind, name, recorded=True) for name, kind in sorted(kinds.items(), key=lambda item: (item[1] == "phantom", item[0]))}

    @property
    def badge(self) -> str:
        """For a figure that draws all data sets."""
        kinds = {shown.badge for shown in self.shown.values()}
        return "both" if len(kinds) > 1 else next(iter(kinds), "none")

    def first(self, badge: str) -> str:
        """Name of the first data set of a kind, or ''."""
        return next((name for name, shown in self.shown.items() if shown.badge == badge), "")

    def label(self, name: str) -> str:
        """Of a panel."""
        return f"{self.shown[name].kind} ({name})"

    @cached_property
    def chosen(self) -> dict[str, list[Record]]:
        """Fine-tuned runs of the laptop network by data set."""
        return {name: transfer.select(self.studied, name, LAPTOP) for name in self.shown}

    @cached_property
    def by_size(self) -> pd.DataFrame:
        """Accuracy and AUC of every start of the ladder by number of training images: columns images per class, init, accuracy, AUC, runs, data."""
        parts = []
        for name, runs in self.chosen.items():
            drawn = [run for run in runs if run.initialisation["name"] in transfer.LADDER]
            if drawn:
                parts.append(transfer.curves(drawn).assign(data=self.label(name)))
        return _in_order(pd.concat(parts, ignore_index=True))

    @cached_property
    def ladder(self) -> pd.DataFrame:
        """The same by what was seen upstream."""
        return pd.concat([transfer.over_upstream(runs).assign(data=self.label(name)) for name, runs in self.chosen.items()], ignore_index=True)

    @cached_property
    def compared(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Paired differences by data set, better and worse start."""
        found = {(name, *pair): transfer.comparison(runs, *pair) for name, runs in self.chosen.items() for pair in (*PAIRS, *CONTROLLED)}
        return {key: table for key, table in found.items() if len(table)}

    def finding_sizes(self, value: str) -> str:
        """Test scores with all training images."""
        largest = self.by_size[self.by_size["images per class"] == self.by_size["images per class"].iloc[-1]]
        return f"Test {value} with all training images. {by_panel(largest, 'data', value)}"

    def finding_ladder(self, value: str) -> str:
        """From the least to the most that was seen upstream."""
        full = self.ladder[self.ladder["images per class"] == self.ladder["images per class"].iloc[-1]]
        said = [
            captions.panel(data, f"{percentage(rows[value].iloc[0]):.1f} % with the least upstream, {percentage(rows[value].iloc[-1]):.1f} % with the most.")
            for data, rows in full.groupby("data", sort=False)
        ]
        return f"Test {value} with all training images. {' '.join(said)}"

    def sentences(self) -> str:
        """Every comparison over all sizes, a Markdown list, behind the name of its data."""
        return "\n".join(
            f"- *{markup.text(self.label(name))}*: {markup.text(transfer.sentence(style.named(better), style.named(worse), table))}"
            for (name, better, worse), table in self.compared.items()
        )

    def controls(self) -> str:
        """What more photographs and what more steps give, each with the other kept, over all sizes, as a Markdown table; empty if neither is recorded."""
        rows = []
        for place, (better, worse) in enumerate(CONTROLLED[:4]):
            for name in self.shown:
                table = self.compared.get((name, better, worse))
                if table is not None:
                    last = table.iloc[-1]
                    changed = "ten times the photographs, the same steps" if place < 2 else "ten times the steps, the same photographs"
                    rows.append([self.label(name), changed, f"{style.named(better)} − {style.named(worse)}", points(last["accuracy"]), points(last["AUC"]), last["pairs"]])
        return markup.table(["data", "what changes", "comparison", "accuracy", "AUC", "pairs"], rows) if rows else ""

    def single(self) -> str:
        """Every comparison at every size, as a Markdown table."""
        rows = [
            [name, f"{style.named(better)} − {style.named(worse)}", row["images per class"], points(row["accuracy"]), points(row["AUC"]), row["pairs"]]
            for (name, better, worse), table in self.compared.items()
            for _, row in table.iterrows()
        ]
        return markup.table(["data", "comparison", "images per class", "accuracy", "AUC", "pairs"], rows)

    def rates(self) -> str:
        """The trials for the learning rate, as a Markdown table."""
        table = transfer.learning_rates(self.records)
        shown = table.assign(network=[network(arch) for arch in table["arch"]], percent=[f"{percentage(auc):.1f}" for auc in table["validation AUC"]])
        columns = {"network": "network", "learning rate": "learning rate", "percent": "validation AUC, %", "runs": "runs", "chosen": "chosen"}
        return markup.frame_table(shown[list(columns)].rename(columns=columns))

    @property
    def rates_badge(self) -> str:
        """From which data the trials are."""
        return _badge_of(bool(record.data["is_phantom"]) for record in self.records if transfer.is_trial(record))

    @property
    def frozen_badge(self) -> str:
        """From which data the runs with a frozen backbone are."""
        return _badge_of("phantoms" in name for name in self.frozen["data"].unique())

    def told(self) -> dict[str, str]:
        """Sentences and plain conclusions for the text of pages, by data set and pair."""
        found = {}
        for better, worse in (*PAIRS, *CONTROLLED):
            both = f"{better}_{worse}".replace("-", "_")
            for kind in ("real", "phantom"):
                table = self.compared.get((self.first(kind), better, worse))
                found[f"{kind}_{both}"] = NO_RUNS if table is None else transfer.sentence(style.named(better), style.named(worse), table)
                found[f"{kind}_plain_{both}"] = NO_RUNS if table is None else transfer.conclusion(*_named(better, worse), table)
        return found

    def answer(self) -> str:
        """What the page answers on real X-rays, in two sentences of Markdown."""
        told, lite = self.told(), self.lite_told()
        first = f"On real X-rays, over all training set sizes, {told['real_plain_photo_m_random']}; {told['real_plain_photo_m_photo_s']}."
        return markup.text(f"{first} With ImageNet weights and another network: {next(iter(lite.values()), NO_RUNS)}")

    def lite_told(self) -> dict[str, str]:
        """ImageNet weights against random ones, by data set."""
        found = {name: transfer.comparison(transfer.select(self.studied, name, LITE), "imagenet-lite", "random") for name in self.shown}
        return {name: transfer.sentence(style.named("imagenet-lite"), style.named("random"), table) for name, table in found.items() if len(table)}

    def lite(self) -> str:
        """The same with the schedule, as Markdown."""
        lines = [f"- *{markup.text(self.label(name))}*: {markup.text(said)}" for name, said in self.lite_told().items()]
        if not lines:
            return "The table holds no runs of it."
        some = next(runs for name in self.shown if (runs := transfer.select(self.studied, name, LITE)))
        short, sizes = some[0].config, dict.fromkeys(map(transfer.size_of, some))
        lines.append(
            f"\nTraining images per class: {', '.join(sizes)}. {short['schedule'][-1]} steps of {short['batch_size']} images at {short['crop']} px: "
            "a network of this size cannot be trained from nothing in so few; that is the point of starting from somewhere."
        )
        return "\n".join(lines)

    @cached_property
    def frozen(self) -> pd.DataFrame:
        """AUC of the head alone and of the fine-tuned network: columns of :func:`transfer.curves`, data and backbone; empty if none is frozen."""
        parts = []
        for name in self.shown:
            frozen = transfer.select(self.studied, name, LAPTOP, freeze=True)
            alike = {(record.config["images_per_class"], record.initialisation["name"]) for record in frozen}
            sizes, starts = {size for size, _ in alike}, {start for _, start in alike}
            free = [r for r in self.chosen[name] if r.config["images_per_class"] in sizes and r.initialisation["name"] in starts]
            parts += [transfer.curves(runs).assign(data=self.label(name), backbone=how) for how, runs in (("head only", frozen), ("fine-tuned", free)) if frozen]
        return _in_order(pd.concat(parts, ignore_index=True)) if parts else pd.DataFrame(columns=["images per class", "init", "AUC", "data", "backbone"])

    def finding_frozen(self) -> str:
        """Of the first data set, with all training images."""
        first = self.frozen_first
        if first.empty:
            return "Nothing is recorded of frozen networks yet."
        full = first[first["images per class"] == first["images per class"].iloc[-1]]
        return f"Test AUC with all training images. {by_panel(full, 'backbone', 'AUC')}"

    @property
    def frozen_first(self) -> pd.DataFrame:
        """Of the first data set."""
        return self.frozen[self.frozen["data"] == self.frozen["data"].iloc[0]] if len(self.frozen) else self.frozen

    @property
    def frozen_title(self) -> str:
        return "Head only against fine-tuned" + "".join(f": {name}" for name in dict.fromkeys(self.frozen_first["data"]))

    @cached_property
    def _frozen_wide(self) -> pd.DataFrame:
        return _in_order(self.frozen.pivot(index=["data", "init", "images per class"], columns="backbone", values="AUC").reset_index())

    def frozen_table(self) -> str:
        """Head alone beside fine-tuned, as a Markdown table."""
        if self.frozen.empty:
            return "The table holds no frozen runs."
        rows = [[row["data"], style.named(row["init"]), row["images per class"], row["head only"].percent(), row["fine-tuned"].percent()] for _, row in self._frozen_wide.iterrows()]
        return markup.table(["data", "start", "images per class", "head only", "fine-tuned"], rows)

    def frozen_full(self) -> str:
        """Head alone beside fine-tuned on real X-rays with all training images, for the text of pages."""
        if self.frozen.empty:
            return "not measured"
        wide = self._frozen_wide
        full = wide[(wide["images per class"] == transfer.FULL) & wide["data"].str.contains("real")]
        said = [f"{style.named(row['init'])} {row['head only'].percent()} with the head only, {row['fine-tuned'].percent()} fine-tuned" for _, row in full.iterrows()]
        return "; ".join(said) or "not measured"


def _badge_of(phantom: Iterable[bool]) -> str:
    kinds = {captions.badge(is_phantom) for is_phantom in phantom}
    return "both" if len(kinds) > 1 else next(iter(kinds), "none")


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("images per class", key=lambda column: column.map(SIZES.index), kind="stable")


def by_panel(table: pd.DataFrame, by: str, value: str) -> str:
    """A value of each start, panel by panel, in words."""
    return " ".join(captions.panel(name, f"{captions.each(dict(zip(rows['init'], rows[value], strict=True)))}.") for name, rows in table.groupby(by, sort=False))


def data_line(study: Transfer) -> str:
    """Whose data the page shows."""
    names: Iterable[str] = (f"{markup.code(name)} ({shown.kind})" for name, shown in study.shown.items())
    return f"**Data shown on this page:** {len(study.studied)} recorded runs on {' and '.join(names)}; the probes of layers also on the data of this book."
