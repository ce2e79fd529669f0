"""The systems of the paper's section 2 by family: what stands for each here, and what was published of it.

Published accuracies are those that the paper's text gives, in percent, with the test set that it names. They were measured
on other images and often in other tasks, so they stand beside ours and are not compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass

FINE_TUNED = "fine-tuned backbone"
DEEP_FEATURES = "deep features, linear SVM"
TEXTURE = "texture, SVM"
TAILORED = "tailored CNN"
FUSED = "handcrafted and deep features"
OURS = "the paper's approach, small"
UNNAMED = "test set not named in the text"


@dataclass(frozen=True)
class Published:
    """A system in the literature.

    Attributes:
        citation: key in ``book/references.bib``.
        name: of the system, or of its authors.
        accuracy: percent as the paper's section 2 gives it; None if it gives none.
        tested_on: the test set or task that the text names.
    """

    citation: str
    name: str
    accuracy: float | None = None
    tested_on: str = UNNAMED


@dataclass(frozen=True)
class System:
    """What one row of the comparison runs.

    Attributes:
        title: for tables and figures.
        arch: see :func:`cxrlib.model.network.create_model`.
        init: where it starts. None: from random weights, or from ``imagenet`` where a study asks for it.
        imagenet: its ImageNet weights on the hub; None if there are none under timm's names.
        image_channels: 1 or 3.
        base_lr: of gradient descent; larger with batch or group normalisation than without.
        mixup: 'beta' where the original system has it.
        size: pixels, for a system that is cheap enough to see more; None: as all.
        published: the systems of the literature that it stands for.
    """

    title: str
    family: str
    arch: str
    init: str | None = "random"
    imagenet: str | None = None
    image_channels: int = 1
    base_lr: float = 0.02
    mixup: str = "off"
    size: int | None = None
    published: tuple[Published, ...] = ()


def _backbone(title: str, arch: str, tag: str | None, *published: Published, **settings) -> System:
    return System(title, FINE_TUNED, arch, None, f"timm:{tag}" if tag else None, 3, published=published, **settings)


SYSTEMS: dict[str, System] = {
    "resnet50": _backbone("ResNet-50", "resnet50", "resnet50.a1_in1k", Published("farooq2020", "Farooq and Hafeez, ResNet-50", 96.23, "COVIDx")),
    "resnet34": _backbone("ResNet-34", "resnet34", "resnet34.a1_in1k", Published("nayak2021", "Nayak et al., ResNet-34", 98.33)),
    "vgg16": _backbone(
        "VGG16, mixup", "vgg16", "vgg16.tv_in1k", Published("nishio2020", "Nishio et al., VGG16", 83.6, "three classes: healthy, other pneumonia, COVID-19"),
        base_lr=0.01, mixup="beta",
    ),
    "xception": _backbone(
        "Xception", "legacy_xception", "legacy_xception.tf_in1k", Published("khan2020", "CoroNet", 89.6, "four classes"), Published("khan2020", "CoroNet", 95.0, "three classes"),
        Published("das2020", "Narayan Das et al."),
    ),
    "densenet121": _backbone("DenseNet-121", "densenet121", "densenet121.ra_in1k"),
    "efficientnet-b0": _backbone("EfficientNet-B0", "efficientnet_b0", "efficientnet_b0.ra_in1k", Published("monshi2021", "CovidXrayNet, EfficientNet-B0", 95.82, "COVIDx")),
    "efficientnet-lite0": System(
        "EfficientNet-Lite0, ImageNet", FINE_TUNED, "tf_efficientnet_lite0", "imagenet-lite", image_channels=3, published=(Published("monshi2021", "CovidXrayNet, EfficientNet-B0", 95.82, "COVIDx"),)
    ),
    "shufflenet": _backbone("ShuffleNet", "torchvision:shufflenet_v2_x1_0", None, Published("elkorany2021", "COVIDetection-Net")),
    "squeezenet": _backbone("SqueezeNet", "torchvision:squeezenet1_1", None, Published("elkorany2021", "COVIDetection-Net"), base_lr=0.01),
    "resnet50-svm": System(
        "ResNet-50 features", DEEP_FEATURES, "svm:resnet50", "timm:resnet50.a1_in1k", image_channels=3,
        published=(Published("ismael2021", "Ismael and Şengür, ResNet-50 features", 94.7), Published("sethy2020", "Sethy et al.")),
    ),
    "lite0-svm": System(
        "EfficientNet-Lite0 features", DEEP_FEATURES, "svm:tf_efficientnet_lite0", "imagenet-lite", image_channels=3,
        published=(Published("ismael2021", "Ismael and Şengür, ResNet-50 features", 94.7), Published("sethy2020", "Sethy et al.")),
    ),
    "fractal-svm": System("fractal features", DEEP_FEATURES, "svm:resnetv2_laptop", "fractal-m"),
    "lbp-svm": System("LBP", TEXTURE, "svm:lbp", published=(Published("tuncer2020", "Tuncer et al., ResExLBP", 100.0),)),
    "lbp-svm-224": System("LBP, 224 px", TEXTURE, "svm:lbp", size=224, published=(Published("tuncer2020", "Tuncer et al., ResExLBP", 100.0),)),
    "tailored-cnn": System(
        "four convolutions", TAILORED, "tailored_cnn", base_lr=0.05, published=(Published("mukherjee2021", "Mukherjee et al."), Published("wang2020", "COVID-Net", 93.3, "COVIDx")),
    ),
    "lbp-lite0-svm": System(
        "LBP and EfficientNet-Lite0 features", FUSED, "svm:lbp+tf_efficientnet_lite0", "imagenet-lite", image_channels=3, published=(Published("rajpal2021", "Rajpal et al."),)
    ),
    "laptop-random": System("ResNet-v2, random", OURS, "resnetv2_laptop", base_lr=0.05, mixup="beta"),
    "laptop-fractal-m": System("ResNet-v2, many fractals", OURS, "resnetv2_laptop", "fractal-m", base_lr=0.05, mixup="beta"),
    "laptop-photo-m": System("ResNet-v2, many photographs", OURS, "resnetv2_laptop", "photo-m", base_lr=0.05, mixup="beta"),
}  # fmt: skip
REFERENCE = "laptop-photo-m"
"""The system with which every other is compared."""
