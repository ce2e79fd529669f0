"""The paper's nine claims in parts: its own words, what is compared, in which direction, with which margin, on which runs.

Written once, and used by the live chapters, by the recorded study and by the home page alike. A part that is no statement
of the paper but a conclusion of ours is marked so, and never decides what is said of the paper's claim. Imports nothing
but the standard library.

**Rules.** Every comparison has an interval that is adjusted for the whole family of comparisons, and the word follows from
that interval alone: *holds* if all of it lies where the part expects it, *contradicted* if none of it does, *not seen*
otherwise. A claim whose parts all have one word has that word; else it is *mixed*, and the parts are named.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

SAME = 0.01
"""AUCs closer than this count as the same. The paper's differ by 0.1 point; a test set of 200 patients cannot show so little."""
LITTLE = 0.02
"""A gain in accuracy up to this is called little; the paper gives no number."""
GOOD_AUC = 0.99
"""The AUCs of Table 1 are 99.4 and 99.5 %."""

NAMES = {
    "random": "random weights", "fractal-s": "few fractals", "fractal-m": "many fractals", "photo-s": "few photographs", "photo-m": "many photographs",
    "photo-60": "photographs of 60 classes", "photo-s-long": "few photographs for many steps", "photo-m-short": "many photographs for few steps",
    "bit-photo": "many photographs, BiT-R50x1", "bit-s": "BiT-S", "bit-m": "BiT-M", "imagenet-lite": "ImageNet weights",
}  # fmt: skip
"""What an initialisation is called in prose; the small and the large upstream set are the second and the last of a design."""

NETWORKS = {
    "resnetv2_laptop": "laptop network (ResNet-v2)", "resnetv2_50x1_bit": "BiT-R50x1", "tf_efficientnet_lite0": "EfficientNet-Lite0",
}  # fmt: skip
"""What an architecture is called in prose."""

MIXUP = {"off": "without mixup", "beta": "with mixup", "fixed": "with mixup, one share for all"}
"""What each kind of mixup is called."""


def network(arch: str) -> str:
    """An architecture in words; its own name if it has none."""
    return NETWORKS.get(arch, arch)


def layer_name(layer: str) -> str:
    """A layer of a ResNet in words, such as 'stage 2' for ``stages.1``; its own name if it has none."""
    stage = re.fullmatch(r"stages\.(\d+)", layer)
    return f"stage {int(stage[1]) + 1}" if stage else "last layer" if layer == "norm" else layer


def upstream(init: str) -> str:
    """The upstream set of an initialisation: ``photo-s-1``, the second pretraining on ``photo-s``, belongs to ``photo-s``.

    Weights whose name is not in :data:`NAMES` are an upstream set of their own.
    """
    name = re.sub(r"-\d$", "", init)
    return name if name in NAMES else init


def named(init: str) -> str:
    """An initialisation in words; its own name if it has none."""
    return NAMES.get(upstream(init), init)


@dataclass(frozen=True)
class Part:
    """One part of a claim.

    Attributes:
        claim: number of the claim in :data:`cxrlib.study.claims.CLAIMS`.
        says: the part in our words.
        words: the paper's words, or for a part of ours what it is drawn from.
        section: where in the paper.
        measure: what is compared: accuracy, sensitivity, npv, auc, false positives, change, centre, frame.
        contrast: between what: a name in :data:`cxrlib.study.comparisons.CONTRASTS`.
        runs: on which: 'grid', 'setting' (that of section 4.2), 'few' (few images per class), 'heat'; 'none' if it cannot be tested.
        low, high: where the part expects the difference, or the value, as a share.
        ours: a conclusion of ours, not a statement of the paper.
        note: what a reader should know of it; for a part that cannot be tested, why.
    """

    claim: int
    says: str
    words: str
    section: str
    measure: str
    contrast: str
    runs: str
    low: float = 0.0
    high: float = math.inf
    ours: bool = False
    note: str = ""

    @property
    def expected(self) -> str:
        """Where the part expects its number, in words."""
        if self.runs == "none":
            return "–"
        if self.measure == "false positives":
            return "none"
        if math.isinf(self.low):
            return f"at most {100 * self.high:g} point{'' if self.high == SAME else 's'}"
        if not math.isinf(self.high):
            return f"within {100 * self.high:g} point of 0"
        return f"at least {100 * self.low:g} %" if self.low else "above 0"


PARTS: tuple[Part, ...] = (
    Part(
        1, "accuracy rises from one upstream set to the next larger one",
        "by pretraining on a larger pretraining set, more prior knowledge is learned, which significantly improves performance in downstream tasks",
        "4.2", "accuracy", "next upstream", "setting",
    ),
    Part(2, "accuracy rises with resolution", "the higher the image resolution, the higher the detection accuracy of COVID-19", "4.1", "accuracy", "next resolution", "grid"),
    Part(3, "a longer schedule helps", "A longer schedule length can also improve the accuracy", "4.1", "accuracy", "first lengthening", "grid"),
    Part(3, "the first lengthening gains more than the second", "the results are less visible when it exceeds 10,000", "4.1", "accuracy", "bend", "grid"),
    Part(
        3, "the second lengthening gains little", "the results are less visible when it exceeds 10,000", "4.1", "accuracy", "second lengthening", "grid",
        -math.inf, LITTLE, note="the paper gives no number for little; the margin is ours",
    ),
    Part(4, "mixup helps", "the use of the mixup significantly improves the performance of the model", "4.1", "accuracy", "mixup", "grid"),
    Part(4, "mixup gains more than pretraining", "even frequently surpassing the gains for the pretraining model", "4.1", "accuracy", "mixup less pretraining", "grid"),
    Part(
        5, "no false positives: specificity and PPV are 100 %", "For both specificity and positive predictive value (PPV), all our models obtained 100%",
        "4.2", "false positives", "every upstream", "setting", note="a fact about the runs: one false positive contradicts it, and no number of images without one proves it",
    ),
    Part(
        5, "pretraining raises sensitivity", "our models significantly improved in terms of their sensitivity (from 85.5% to 93.0%)",
        "4.2", "sensitivity", "largest upstream", "setting",
    ),
    Part(5, "pretraining raises NPV", "and negative predictive value (NPV) (from 87.3% to 93.5%)", "4.2", "npv", "largest upstream", "setting"),
    Part(
        6, "the AUC is at least 99 %", "From the AUC, which is not related to threshold, we found that the proposed model also has a good performance",
        "4.2", "auc", "every upstream", "setting", GOOD_AUC, note="99 % is what Table 1 prints as good",
    ),
    Part(
        6, "the order of the three comes from the threshold: they rank images alike", "Table 1: the AUCs are 99.4 and 99.5 % while accuracy goes from 92.8 to 96.5 %",
        "4.2", "auc", "every pair", "setting", -SAME, SAME, ours=True, note="the paper claims no equal AUC; that it is equal, and what follows, is our reading of its table",
    ),
    Part(
        7, "accuracy changes less from one evaluation to the next in the first half of training",
        "variations in the test performances at the beginning were significant and the pretrained models showed a highly robust performance",
        "4.2", "change", "pretrained", "setting",
    ),
    Part(
        8, "pretrained models beat random weights at every size",
        "the pretrained models consistently outperformed the case of random initialization of parameters for different training dataset sizes",
        "4.3", "accuracy", "pretrained at every size", "few",
    ),
    Part(8, "accuracy peaks at 64 images per class", "the performance of the models peaked when each class took 64 samples", "4.3", "accuracy", "64 per class", "few"),
    Part(
        8, "with 512 images per class BiT-M beats COVID-Net with all", "When selecting 512 samples per class, Bit-M (94.75%) outperformed COVID-Net (94.0%)",
        "4.3", "accuracy", "COVID-Net", "none", note="COVID-Net is not trained here",
    ),
    Part(
        9, "positive images have more of the heat on the chest", "for the SARS-CoV-2-positive cases, the region of interest in the chest could be well localized",
        "4.4", "centre", "positive less negative", "heat",
    ),
    Part(
        9, "negative images have more of the heat on the edges", "for the SARS-CoV-2-negative cases, the model appeared more interested in the edges",
        "4.4", "frame", "negative less positive", "heat", note="nearly the mirror image of the row above: chest and edge nearly cover the image, so this is hardly a second finding",
    ),
    Part(
        9, "that difference is left among images that are called alike", "a map explains the predicted class; if nothing is left, the heat follows the call and not what the image shows",
        "4.4", "centre", "called alike", "heat", ours=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A change of a rule after results were known."""

    date: str
    rule: str
    reason: str


CHANGES: tuple[Change, ...] = (
    Change(
        "2026-11-26", "Intervals and p-values come from an analytic two-way method; they came from a bootstrap over seeds and patients.",
        "Claim 4's second part hung on the random stream: over ten of them five said *not seen* and five *contradicted*. The bootstrap was too wide where seeds matter little and too narrow where they matter much.",
    ),
    Change(
        "2026-11-26", "Every interval that decides is adjusted for the whole family (Bonferroni); p-values were adjusted (Holm) beside plain 95 % intervals.",
        "An interval without zero could stand beside the words *not seen*. Words that would be others with Holm are named on the page of the recorded study.",
    ),
    Change("2026-11-26", "Claim 3 has a third part: the second lengthening gains little, at most 2 points.", "The gain past the middle schedule was shown nowhere, and spoke against the claim."),
    Change(
        "2026-11-26", "Claim 6 is what the paper says, a good AUC (99 % or more). That equal AUCs make the order a matter of the threshold is marked as ours.",
        "The paper claims no equality.",
    ),
    Change("2026-11-26", "Claims 4 and 8 test both pretrained models; they tested the one with more upstream data.", "The paper says *pretrained models*."),
    Change("2026-11-26", "Claim 9 has a part of ours: whether the difference is left among images that are called alike.", "A map explains the call, so without it the claim says little."),
    Change("2026-11-26", "*Holds partly* is gone: parts that differ make a claim *mixed*, and are named.", "It hid parts that were contradicted."),
    Change(
        "2026-11-26", "Disease or data source: the AUC may fall by at most 1 point in another collection; it had to rise.",
        "The part said *no lower* and expected more than zero. The word is the same by either rule.",
    ),
    Change(
        "2026-11-26", "Where all runs give the same for every patient, the interval comes from the number of patients; it was a single point.",
        "A few images that all runs rank perfectly *held* an AUC of 99 % with p < 0.001. No word of the recorded study is another.",
    ),
)  # fmt: skip
"""Newest last. A change that made a claim easier to hold would stand here too."""
