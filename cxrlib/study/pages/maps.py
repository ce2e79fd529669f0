"""Grad-CAM of one network on the test images of the data of a copy: maps, where they look by the masks that lie there, and a check of them.

The masks decide the regions: lungs and opacities where they are drawn, boxes around the lungs where only those are, and the
central square of half the area where there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from cxrlib import explain, markup
from cxrlib.config import CENTRE_SHARE, PHANTOM_FOLDER, Parameters
from cxrlib.data.dataset import Dataset
from cxrlib.data.extent import extent
from cxrlib.data.views import central_square
from cxrlib.experiment.one_run import open_dataset
from cxrlib.experiment.record import Record, load_model
from cxrlib.experiment.sweep import run_all
from cxrlib.metrics import two_way
from cxrlib.metrics.estimate import Estimate, percentage
from cxrlib.model.network import normalise
from cxrlib.study.figures.captions import badge
from cxrlib.study.pages import heat
from cxrlib.study.pairs import mean_interval
from cxrlib.study.parameters import GradCam
from cxrlib.study.parts import named, network, upstream

CHESTS = {"lungs": "lungs", "lung-boxes": "boxes around the lungs"}
"""Folders of masks that stand for the chest, the best first, and what they are called."""
EDGE, OPACITIES, CENTRE = "edge", "opacities", "central region"
CLASSES = ("negative", "positive")
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Of the layers, from the output down, that are made random."""
MOST_RANDOMISED = 48


def lacking(parameters: Parameters) -> str:
    """Why nothing can be trained on the data of a page, as a sentence; empty if something can.

    Raises:
        DataError: if the folder has a fault.
    """
    made = parameters.data == PHANTOM_FOLDER and not parameters.data.is_dir()
    return "" if made else extent(parameters.data, parameters.labels).sentence


@dataclass(frozen=True)
class Maps:
    """A trained network and its maps, each of the class that it predicts.

    Attributes:
        grey: test images, uint8 (N, S, S); ``inputs`` the same as the network sees them, (N, C, S, S).
        positive: true class of each, bool (N,); ``probabilities`` of that class, (N,).
        maps: float32 (N, S, S), not negative.
        regions: bool (N, S, S) by name.
    """

    parameters: GradCam
    dataset: Dataset
    record: Record
    network: nn.Module
    grey: np.ndarray
    inputs: torch.Tensor
    positive: np.ndarray
    probabilities: np.ndarray
    layer: str
    maps: np.ndarray
    regions: dict[str, np.ndarray]

    @classmethod
    def trained(cls, parameters: GradCam) -> Maps:
        """Train the first run of the page, or load it, and draw its maps.

        Raises:
            DataError, ParameterError, WeightsError: saying what to change.
        """
        dataset = open_dataset(parameters)
        record = run_all(parameters.runs(), parameters.workers, weights=True)[0]
        network, origin = load_model(record, parameters.store), record.initialisation
        test = dataset.index[dataset.index["split"] == "test"]
        grey = np.array(dataset.images("test", parameters.crop, parameters.cache))
        inputs = normalise(torch.from_numpy(grey), origin["mean"], origin["std"], parameters.image_channels)
        layer = parameters.target_layer or explain.default_target_layer(network, inputs)
        maps = explain.grad_cam(network, inputs, layer)
        positive, probabilities = (test["label"] == "positive").to_numpy(), record.table()["probability"].to_numpy()
        return cls(parameters, dataset, record, network, grey, inputs, positive, probabilities, layer, maps, regions(dataset, parameters.crop))

    @property
    def runs(self) -> list[Record]:
        """The one run."""
        return [self.record]

    @property
    def badge(self) -> str:
        """Key of :data:`cxrlib.study.figures.captions.BADGES`."""
        return badge(self.dataset.is_phantom)

    @property
    def source(self) -> tuple[str, str]:
        """Badge and name of the data, as :func:`cxrlib.study.figures.captions.tell` takes them."""
        return self.badge, self.dataset.folder.resolve().name

    @property
    def patients(self) -> np.ndarray:
        """The patient of each image, (N,)."""
        return self.record.table()["patient_id"].to_numpy()

    @property
    def right(self) -> np.ndarray:
        """Whether each image is called as it is labelled, (N,)."""
        return (self.probabilities > 0.5) == self.positive

    @property
    def chest(self) -> str:
        """The region that stands for the chest."""
        return next(name for name in (*CHESTS.values(), CENTRE) if name in self.regions)

    # The pictures

    def examples(self) -> np.ndarray:
        """Rows of the images that are shown: of each class some that are called right, drawn by the seed, negative first."""
        generator = np.random.default_rng(self.parameters.seeds[0])
        rows = [generator.permutation(np.flatnonzero((self.positive == label) & self.right)) for label in (False, True)]
        return np.concatenate([np.sort(some[: self.parameters.examples]) for some in rows])

    def grid(self) -> tuple[np.ndarray, np.ndarray, list[str], str, np.ndarray | None]:
        """What :func:`cxrlib.study.figures.common.cam_grid` draws: images, maps, what stands above each, the title and true outlines."""
        rows = self.examples()
        above = [f"{CLASSES[int(self.positive[row])]}\nscore {self.probabilities[row]:.2f}" for row in rows]
        outlines = self.regions[OPACITIES][rows] if OPACITIES in self.regions else None
        what = "phantoms" if self.dataset.is_phantom else "images"
        title = f"Grad-CAM of test {what}{' (white: true opacities)' if outlines is not None else ''}"
        return self.grey[rows], self.maps[rows], above, title, outlines

    def frames(self) -> list[tuple[str, int]]:
        """A sentence and the row of each phantom that the viewer on the explorer page steps through; none on other data."""
        if not self.dataset.is_phantom:
            return []
        shown = np.concatenate([np.flatnonzero(self.positive == label)[: self.parameters.frames] for label in (True, False)])
        return [
            (f"Truly {CLASSES[int(self.positive[row])]}, called {CLASSES[int(self.probabilities[row] > 0.5)]}, score {percentage(self.probabilities[row]):.0f} %.", row)
            for row in shown
        ]

    def drawn(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, maps and true opacities of some rows."""
        rows = list(rows)
        return self.grey[rows], self.maps[rows], self.regions[OPACITIES][rows]

    # Where they look

    def preferences(self) -> dict[tuple[str, str], tuple[Estimate, int]]:
        """By region and true class: mean share of the heat over the region's share of the area, over images (one run), and how many were scored.

        Intervals are over patients. A place with fewer than two has none and is left out.
        """
        found = {}
        for name, masks in self.regions.items():
            area = masks.mean(axis=(1, 2))
            values = np.divide(explain.energy_inside(self.maps, masks), area, out=np.full(len(masks), np.nan), where=area > 0)
            for label in (False, True):
                known = (self.positive == label) & np.isfinite(values)
                if len(np.unique(self.patients[known])) > 1:
                    found[name, CLASSES[label]] = over_patients(values[known], self.patients[known]), int(known.sum())
        return found

    @property
    def heat(self) -> dict[str, np.ndarray]:
        """For the verdict on claim 9: differences of the heat, of :func:`cxrlib.study.pages.heat.differences`, with the region that stands for the chest."""
        looked = self.record.table()[["file", "patient_id", "label"]].assign(
            seed=self.record.config["seed"], predicted=(self.probabilities > 0.5).astype(int),
            centre=explain.energy_inside(self.maps, self.regions[self.chest]), frame=explain.energy_inside(self.maps, self.regions[EDGE]),
        )  # fmt: skip
        return heat.differences(looked)

    # Do they show the model?

    @cached_property
    def correlations(self) -> list[Estimate]:
        """Rank correlation of these maps with those of the network whose layers are made random, for each of ``SHARES``; NaN where no map has heat."""
        rows = np.sort(np.random.default_rng(0).permutation(len(self.inputs))[:MOST_RANDOMISED])
        called = (self.probabilities[rows] > 0.5).astype(int)
        return list(self._correlations(rows, called))

    def _correlations(self, rows: np.ndarray, called: np.ndarray) -> Iterator[Estimate]:
        for share in SHARES:
            changed = explain.randomise_from_top(self.network, share)
            values = explain.rank_correlation(self.maps[rows], explain.grad_cam(changed, self.inputs[rows], self.layer, called))
            known = np.isfinite(values)
            yield over_patients(values[known], self.patients[rows][known]) if known.sum() > 1 else Estimate(np.nan)


def over_patients(values: np.ndarray, patients: np.ndarray) -> Estimate:
    """Mean of the values of images with Student's interval over patients, whose images count together; no interval for one patient."""
    return mean_interval(two_way.share(values[None], patients)[0])


def regions(dataset: Dataset, size: int) -> dict[str, np.ndarray]:
    """Regions of the test images by name, bool (N, size, size), from the masks that lie in the folder."""
    images = int((dataset.index["split"] == "test").sum())
    found = {EDGE: np.broadcast_to(explain.frame_mask(size), (images, size, size))}
    for folder, name in CHESTS.items():
        if (masks := dataset.masks(folder, "test", size)) is not None:
            found[name] = masks
            break
    else:
        found[CENTRE] = np.broadcast_to(central_square(size, CENTRE_SHARE), (images, size, size))
    opacities = dataset.masks(OPACITIES, "test", size)
    return found if opacities is None else found | {OPACITIES: opacities}


# For the page


def about(live: Maps | None, reason: str) -> tuple[str, str]:
    """Sentence and badge: which data and network the rest of the page shows, or why it shows none."""
    if live is None:
        return f"{markup.bold('Not computed for this copy:')} {markup.text(reason)}.", "real"
    record, name = live.record, live.dataset.folder.resolve().name
    kind, accuracy = "phantoms" if live.dataset.is_phantom else "X-rays", live.right.mean()
    what = f"the {markup.text(network(live.parameters.arch))} from {markup.text(named(upstream(record.initialisation['name'])))}, {percentage(accuracy):.0f} % of test images called right, record {markup.code(record.key)}"
    return f"**Data shown below:** {markup.code(name)} ({kind}), {what}. Maps are taken at the output of the module {markup.code(live.layer)}.", live.badge


def told_of_maps(live: Maps) -> tuple[str, str, str]:
    """Finding, badge and name of the data of the figure of :meth:`Maps.grid`."""
    outline = " The white outline is the true opacity, which the network never sees" if OPACITIES in live.regions else ""
    if outline:
        rows = live.examples()
        negatives = live.regions[OPACITIES][rows][~live.positive[rows]].any()
        outline += "; a negative image may have one too, of another disease." if negatives else "."
    return f"Heat per area on one scale for all images: where it is bright, the score of the called class comes from.{outline}", *live.source


def preference_table(live: Maps | None, found: dict[tuple[str, str], tuple[Estimate, int]], reason: str) -> tuple[str, str]:
    """Table in Markdown and badge: region, class, mean preference with its interval, images; or why there is none."""
    if live is None:
        return f"{markup.bold('Not computed for this copy:')} {markup.text(reason)}.", "real"
    rows = [[*place, f"{value:.2f} ({value.low:.2f} to {value.high:.2f})", images] for place, (value, images) in found.items()]
    return markup.table(["region", "images", "mean preference (95 % interval)", "images scored"], rows), live.badge


def paired(found: dict[tuple[str, str], tuple[Estimate, int]]) -> tuple[dict[tuple[str, str], Estimate], list[str], tuple[str, str]]:
    """What :func:`cxrlib.study.figures.common.paired_regions` draws: estimates by region and class, regions that have both, classes."""
    groups = {place: value for place, (value, _) in found.items()}
    names = [name for name in dict.fromkeys(name for name, _ in groups) if all((name, label) in groups for label in CLASSES)]
    return groups, names, CLASSES


def said_of_preferences(found: dict[tuple[str, str], tuple[Estimate, int]]) -> str:
    """What the figure of :meth:`Maps.preferences` shows, in a sentence."""
    names = dict.fromkeys(name for name, _ in found)
    parts = [f"{name}: " + ", ".join(f"{value:.2f} in {label} images" for (place, label), (value, _) in found.items() if place == name) for name in names]
    return f"Mean preference (1: none). {'; '.join(parts)}."


def said_of_randomisation(correlations: list[Estimate]) -> str:
    """What the check of the maps found, in a sentence."""
    last = correlations[-1]
    if not np.isfinite(last):
        return "With all layers made random no map has any heat left to compare."
    interval = f" ({last.low:.2f} to {last.high:.2f})" if np.isfinite(last.low) else ""
    return f"Of one network on these data, with all layers made random the maps correlate {last:.2f}{interval} with those of the trained network: they depend on what it learned as far as this is near zero."
