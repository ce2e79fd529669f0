"""The linear probes of notebook 00: those of the data of this copy beside those that were recorded (:mod:`cxrlib.study.pages.probes`)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cxrlib import markup
from cxrlib.config import RunConfig
from cxrlib.experiment.one_run import open_dataset
from cxrlib.study.figures import style
from cxrlib.study.pages import probes
from cxrlib.study.pages.chapter import Shown
from cxrlib.study.pages.transfer_study import LAPTOP, Transfer, by_panel
from cxrlib.study.parameters import UpstreamStudy


@dataclass(frozen=True)
class Probed:
    """AUCs of linear probes of the data of this copy and of what was recorded."""

    aucs: pd.DataFrame
    badge: str

    @classmethod
    def trained(cls, parameters: UpstreamStudy, study: Transfer) -> Probed:
        """Probe the layers on the data of this copy; those recorded of other data stand beside them."""
        dataset = open_dataset(parameters)
        here = Shown.of(dataset)
        fewest = int(dataset.index[dataset.index["split"] == "train"]["label"].value_counts().min())
        settings = RunConfig(
            data=parameters.data, labels=parameters.labels, cache=parameters.cache, arch=LAPTOP, image_channels=1, resize=parameters.crop, crop=parameters.crop,
            images_per_class=min(parameters.probe_images, fewest),
        )  # fmt: skip
        live = probes.probe(dataset, settings, parameters.inits, parameters.probe_seeds)
        kept = probes.read(parameters.probes)
        aucs = probes.probe_aucs(pd.concat([kept[kept["data"] != here.name], live], ignore_index=True))
        kinds = {name: shown.kind for name, shown in study.shown.items()} | {here.name: here.kind}
        aucs["data"] = [f"{name} ({kinds.get(name, 'real X-rays')})" for name in aucs["data"]]
        return cls(aucs, "both" if aucs["data"].nunique() > 1 else here.badge)

    @property
    def last(self) -> pd.DataFrame:
        """Of the last stage."""
        return self.aucs[self.aucs["layer"] == probes.LAYERS[-1]]

    def finding(self) -> str:
        return f"What the last layer tells before any fine-tuning, as test AUC. {by_panel(self.last, 'data', 'AUC')}"

    def table(self) -> str:
        """The best layer of each start beside the last, as a Markdown table."""
        best = self.aucs.loc[self.aucs.groupby(["data", "init"], sort=False)["AUC"].apply(lambda values: values.astype(float).idxmax())]
        ends = {(row["data"], row["init"]): row["AUC"].percent() for _, row in self.last.iterrows()}
        rows = [[row["data"], style.named(row["init"]), row["layer"], row["AUC"].percent(), ends[row["data"], row["init"]]] for _, row in best.iterrows()]
        return markup.table(["data", "start", "best layer", "its AUC", "AUC of the last stage"], rows)
