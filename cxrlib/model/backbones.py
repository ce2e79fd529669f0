"""Networks that timm does not have: ShuffleNet and SqueezeNet of torchvision, and a small tailored network.

All have the interface that the rest of the package uses of timm's: ``forward_features`` gives the last feature map,
``forward_head`` pools it and gives the logit, ``get_classifier`` is the layer between.
"""

from __future__ import annotations

import torch
from torch import nn

PREFIX = "torchvision:"
TAILORED = "tailored_cnn"
TORCHVISION = ("shufflenet_v2_x1_0", "squeezenet1_1")
NAMES = (TAILORED, *(PREFIX + name for name in TORCHVISION))


class Backbone(nn.Module):
    """A convolutional trunk, global average pooling and one linear layer.

    Args:
        trunk: module from images (N, image_channels, H, W) to features (N, features, h, w).
        features: channels of the last feature map.
    """

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk, self.fc = trunk, nn.Linear(features, 1)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The last feature map, shape (N, features, h, w)."""
        return self.trunk(images)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of a feature map, shape (N, 1)."""
        return self.fc(features.mean(dim=(2, 3)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Linear:
        """The classification layer."""
        return self.fc


def create(arch: str, image_channels: int) -> Backbone:
    """Build a network of ``NAMES`` with random weights.

    SqueezeNet's own head applies a ReLU to its class scores, which would keep a single logit from ever being negative;
    here, as in the others, the average of the feature map goes into a linear layer.

    Raises:
        ValueError: for another name.
    """
    if arch == TAILORED:
        return Backbone(_tailored(image_channels), 128)
    if arch not in NAMES:
        raise ValueError(f"arch '{arch}' is none of: {', '.join(NAMES)}")
    from torchvision.models import get_model

    network = get_model(arch.removeprefix(PREFIX), weights=None)
    if hasattr(network, "features"):
        network.features[0] = _with_channels(network.features[0], image_channels)
        return Backbone(network.features, 512)
    network.conv1[0] = _with_channels(network.conv1[0], image_channels)
    stages = (network.conv1, network.maxpool, network.stage2, network.stage3, network.stage4, network.conv5)
    return Backbone(nn.Sequential(*stages), network.fc.in_features)


def _with_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    if convolution.in_channels == channels:
        return convolution
    same = {name: getattr(convolution, name) for name in ("out_channels", "kernel_size", "stride", "padding")}
    return nn.Conv2d(channels, **same, bias=convolution.bias is not None)


def _tailored(image_channels: int) -> nn.Sequential:
    """Four convolutions, each with batch normalisation, ReLU and pooling: about 100,000 weights.

    After the idea of the shallow networks built for this task from scratch (Mukherjee et al. 2021); the layers are ours.
    """
    layers: list[nn.Module] = []
    for before, after in ((image_channels, 16), (16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)
