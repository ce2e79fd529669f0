"""Linear support vector machines on fixed features: local binary patterns, a frozen network's features, or both.

Such a system is an ``arch`` like any other: ``svm:lbp``, ``svm:tf_efficientnet_lite0``, ``svm:lbp+tf_efficientnet_lite0``. It is
a module with a linear last layer, so it is recorded, loaded and scored as networks are; only its fitting is another.

Sources: Ojala et al. 2002 (IEEE TPAMI 24, 971: uniform local binary patterns); Platt 1999 (scores to logits).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from cxrlib.weights.source import Initialisation

LBP = "lbp"
PATTERNS = ((8, 1), (16, 2))
"""Neighbours and radius in pixels of the local binary patterns; P neighbours give P + 2 uniform patterns."""
CELLS = 4
"""Histograms are counted in a grid of CELLS x CELLS cells."""


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


