"""Linear support vector machines on fixed features: local binary patterns, a frozen network's features, or both.

Such a system is an ``arch`` like any other: ``svm:lbp``, ``svm:tf_efficientnet_lite0``, ``svm:lbp+tf_efficientnet_lite0``. It is
a module with a linear last layer, so it is recorded, loaded and scored as networks are; only its fitting is another.

Sources: Ojala et al. 2002 (IEEE TPAMI 24, 971: uniform local binary patterns); Platt 1999 (scores to logits).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from cxrlib.checkpoints import Progress
from cxrlib.config import RunConfig
from cxrlib.initialisations import Initialisation
from cxrlib.related import CLASSICAL_PREFIX, is_classical

LBP = "lbp"
PATTERNS = ((8, 1), (16, 2))
"""Neighbours and radius in pixels of the local binary patterns; P neighbours give P + 2 uniform patterns."""
CELLS = 4
"""Histograms are counted in a grid of CELLS x CELLS cells."""
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Values of the SVM's C that cross-validation chooses among."""
FOLDS = 5


def binary_patterns(images: np.ndarray) -> np.ndarray:
    """Histograms of uniform local binary patterns, cell by cell.

    Args:
        images: uint8, shape (N, S, S), S at least 4.

    Returns:
        float32 of shape (N, CELLS * CELLS * 28); the histogram of each cell and radius sums to 1.
    """
    from skimage.feature import local_binary_pattern

    size, found = images.shape[1], []
    edges = np.linspace(0, size, CELLS + 1).round().astype(int)
    for image in images:
        parts = []
        for neighbours, radius in PATTERNS:
            codes = local_binary_pattern(image, neighbours, radius, "uniform").astype(int)
            for top, bottom in zip(edges[:-1], edges[1:], strict=True):
                for left, right in zip(edges[:-1], edges[1:], strict=True):
                    counts = np.bincount(codes[top:bottom, left:right].ravel(), minlength=neighbours + 2)
                    parts.append(counts / counts.sum())
        found.append(np.concatenate(parts))
    return np.array(found, dtype=np.float32)


class FeatureMachine(nn.Module):
    """Features, standardised, and a linear layer whose output is the logit.

    Args:
        patterns: take local binary patterns.
        network: a frozen network whose pooled features are taken, or None.
        initialisation: whose normalisation the images will have.
    """

    def __init__(self, patterns: bool, network: nn.Module | None, initialisation: Initialisation) -> None:
        super().__init__()
        self.patterns, self.network = patterns, network
        for name, value in (("image_mean", initialisation.mean), ("image_std", initialisation.std)):
            numbers = value if isinstance(value, tuple | list) else (value,)
            self.register_buffer(name, torch.tensor(float(np.mean(numbers))))
        width = 0
        if network is not None:
            network.requires_grad_(False)
            width = getattr(network, "num_features", None) or network.get_classifier().in_features
        if patterns:
            width += CELLS**2 * sum(neighbours + 2 for neighbours, _ in PATTERNS)
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_std", torch.ones(width))
        self.fc = nn.Linear(width, 1)

    def train(self, mode: bool = True) -> FeatureMachine:
        """The frozen network stays in evaluation mode."""
        super().train(mode)
        if self.network is not None:
            self.network.eval()
        return self

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features of normalised images (N, C, H, W), shape (N, width), not standardised."""
        found = []
        with torch.no_grad():
            if self.patterns:
                grey = (images.mean(dim=1) * self.image_std + self.image_mean).mul(255).round().clamp(0, 255)
                histograms = binary_patterns(grey.cpu().numpy().astype(np.uint8))
                found.append(torch.from_numpy(histograms).to(images.device))
            if self.network is not None:
                found.append(self.network.forward_features(images).mean(dim=(2, 3)))
        return torch.cat(found, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc((self.features(images) - self.feature_mean) / self.feature_std)

    def get_classifier(self) -> nn.Linear:
        """The linear layer."""
        return self.fc


def create(arch: str, init: str, image_channels: int) -> FeatureMachine:
    """Build the system that ``arch`` names, with the weights ``init`` in its network; not fitted yet.

    Raises:
        ValueError: if the features are not 'lbp', a network, or 'lbp+' and a network; or if weights are given and nothing takes them.
    """
    from cxrlib.initialisations import resolve_initialisation
    from cxrlib.model import create_model

    names = arch.removeprefix(CLASSICAL_PREFIX).split("+")
    patterns = names[0] == LBP
    networks = names[1:] if patterns else names
    if len(networks) > 1 or any(not name or name == LBP or is_classical(name) for name in networks):
        raise ValueError(f"arch '{arch}' is none of 'svm:lbp', 'svm:NETWORK' and 'svm:lbp+NETWORK'")
    if not networks and init != "random":
        raise ValueError(f"arch '{arch}' has no network for the weights of init '{init}'; set init to 'random'")
    network = create_model(networks[0], init, image_channels) if networks else None
    return FeatureMachine(patterns, network, resolve_initialisation(init))


def fit(model: FeatureMachine, config: RunConfig, training, splits: dict, patients: np.ndarray, initialisation: Initialisation) -> tuple[FeatureMachine, Progress]:
    """Fit the linear layer as a support vector machine with balanced classes.

    Its penalty is chosen by cross-validation with patients kept together. A logistic regression on scores of images that
    were not in the fold's training makes them logits (Platt), so that 0.5 means what it means for networks. The
    configuration's seed deals the folds out; its schedule, rate and batch play no part.

    Args:
        model: of :func:`create`; changed in place.
        training: :class:`cxrlib.train.ImageSet`, of which the central ``config.crop`` pixels are taken.
        splits: sets to evaluate.
        patients: ids, one for each training label.

    Raises:
        ValueError: if a class has fewer than two training patients.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
    from sklearn.svm import LinearSVC

    from cxrlib.train import ImageSet, _evaluation_row

    started = time.perf_counter()
    start = (training.images.shape[1] - config.crop) // 2
    middle = training.images[:, start : start + config.crop, start : start + config.crop]
    features = _all_features(model, ImageSet(middle, training.labels, training.rows), initialisation, config.image_channels)
    mean, std = features.mean(axis=0), features.std(axis=0)
    std[std < 1e-6] = 1
    scaled = (features - mean) / std
    labels, folds = training.labels, min(FOLDS, *(len(set(patients[training.labels == label])) for label in (0, 1)))
    if folds < 2:
        raise ValueError("a support vector machine needs two training patients of each class; there are fewer")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=config.seed)
    machine = LinearSVC(class_weight="balanced", dual=False, tol=1e-3, random_state=config.seed)  # primal: fewer features than images
    search = GridSearchCV(machine, {"C": PENALTIES}, scoring="roc_auc", cv=splitter).fit(scaled, labels, groups=patients)
    best = search.best_estimator_
    unseen = cross_val_predict(best, scaled, labels, groups=patients, cv=splitter, method="decision_function")
    platt = LogisticRegression(C=1e6, class_weight="balanced").fit(unseen.reshape(-1, 1), labels)
    slope = max(float(platt.coef_[0, 0]), 1e-6)  # logits may be flat, never turned round
    with torch.no_grad():
        model.feature_mean.copy_(torch.from_numpy(mean))
        model.feature_std.copy_(torch.from_numpy(std))
        model.fc.weight.copy_(torch.from_numpy(slope * best.coef_))
        model.fc.bias.fill_(slope * float(best.intercept_[0]) + float(platt.intercept_[0]))
    progress = Progress()
    progress.step = config.schedule[-1]
    loss = float(np.mean(np.logaddexp(0, unseen * slope + platt.intercept_[0]) - labels * (unseen * slope + platt.intercept_[0])))
    row = {"step": progress.step, "learning_rate": 0.0, "train_loss": loss, "penalty": float(search.best_params_["C"])}
    progress.history.append(row | _evaluation_row(model, splits, initialisation, config.image_channels))
    progress.seconds = time.perf_counter() - started
    return model, progress


@torch.no_grad()
def _all_features(model: FeatureMachine, images, initialisation: Initialisation, image_channels: int) -> np.ndarray:
    from cxrlib.model import normalise

    model.eval()
    found = []
    for start in range(0, len(images.rows), 64):
        batch = torch.from_numpy(np.ascontiguousarray(images.images[images.rows[start : start + 64]]))
        found.append(model.features(normalise(batch, initialisation.mean, initialisation.std, image_channels)))
    return torch.cat(found).numpy().astype(np.float64)
