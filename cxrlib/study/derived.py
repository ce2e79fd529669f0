"""What can be asked of some data: regions, sources to leave out, sources to tell apart, and sizes of training sets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cxrlib.data.labels import LABELS
from cxrlib.data.views import MASKED, mask_folder
from cxrlib.study.grids import Study
from cxrlib.study.parameters import DataSize, Shortcuts

FEWEST = 2  # patients of a class, or of a source, without which an experiment is not proposed


def fitted(parameters: Study, index: pd.DataFrame) -> tuple[Study, str]:
    """The parameters of a notebook with what they leave to the data settled by it, and a sentence about what the data do not allow, or ''.

    Args:
        index: of :func:`cxrlib.data.folder.read_index`.
    """
    if isinstance(parameters, Shortcuts):
        return derived(parameters, index), ""
    return fitting_sizes(parameters, index) if isinstance(parameters, DataSize) else (parameters, "")


def derived(parameters: Shortcuts, index: pd.DataFrame) -> Shortcuts:
    """Fill what is null from the data: regions, sources to leave out, and sources to tell apart.

    A source is left out if it shares a class with another source and both classes keep training patients without it. Told
    apart are the two sources with the most training images within a class that has two; positive images first. What
    the data do not allow becomes an empty tuple or stays null, so that no such run is planned.
    """
    values = {}
    masks = lung_masks(parameters)
    if parameters.regions is None:
        values |= {"regions": ("whole", "centre", "frame", *(MASKED if masks else ()))}
        values |= {"masks": masks} if masks and masks != mask_folder(parameters.data, parameters.masks) else {}
    train = index[index["split"] == "train"]
    counts = train.groupby(["label", "source"])["patient_id"].nunique()
    common = {label: [s for s, n in counts[label].items() if n >= FEWEST] if label in counts else [] for label in LABELS}
    if parameters.leave_out is None:
        shared = dict.fromkeys(source for sources in common.values() if len(sources) > 1 for source in sources)
        values["leave_out"] = tuple(s for s in shared if all(set(sources) - {s} for sources in common.values()))
    if parameters.sources is None:
        for label in ("positive", "negative") if parameters.within is None else (parameters.within,):
            sizes = train.loc[(train["label"] == label) & train["source"].isin(common[label]), "source"].value_counts()
            if len(sizes) > 1:
                values |= {"sources": tuple(sizes.index[:2]), "within": label}
                break
    return parameters.model_copy(update=values)


def lung_masks(parameters: Shortcuts) -> Path | None:
    """The folder of lung masks of some data, or of boxes around the lungs where there are no masks; None without either."""
    boxes = parameters.data / "masks" / "lung-boxes"
    places = (mask_folder(parameters.data, parameters.masks), *((boxes,) if parameters.masks is None else ()))
    return next((place for place in places if place.is_dir()), None)


def fitting_sizes(parameters: DataSize, index: pd.DataFrame) -> tuple[DataSize, str]:
    """The training set sizes that some data allow, and a sentence about those that they do not, or ''.

    A size is of each class; the smaller class decides. The full set is always run beside them.
    """
    train = index[index["split"] == "train"]
    most = min(int((train["label"] == label).sum()) for label in LABELS)
    too_large = [size for size in parameters.sizes if size > most]
    if not too_large:
        return parameters, ""
    sentence = f" Left out: {', '.join(map(str, too_large))} images per class, since the smaller class has {most}."
    return parameters.model_copy(update={"sizes": tuple(size for size in parameters.sizes if size <= most)}), sentence
