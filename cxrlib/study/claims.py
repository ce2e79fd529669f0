"""The paper's nine claims, and the points its text leaves open or contradicts, as data for pages and notebooks.

Zhao, Jiang, Qiu 2021 (see `cxrlib.study.paper`). Imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim to be given a verdict: in our words, in the paper's (`quote`), and where the paper makes and shows it."""

    number: int
    title: str
    text: str
    quote: str
    section: str
    figure: str


CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "More upstream data",
        "The more images the upstream data have, the higher the test accuracy: BiT-M > BiT-S > Random.",
        "by pretraining on a larger pretraining set, more prior knowledge is learned, which significantly improves "
        "performance in downstream tasks",
        "4.2",
        "Table 1",
    ),
    Claim(
        2,
        "Resolution",
        "A higher image resolution gives a higher test accuracy.",
        "the higher the image resolution, the higher the detection accuracy of COVID-19",
        "4.1",
        "Figure 4",
    ),
    Claim(
        3,
        "Schedule",
        "A longer schedule gives a higher test accuracy, with little gain past 10,000 steps.",
        "A longer schedule length can also improve the accuracy; however, the results are less visible when it exceeds "
        "10,000",
        "4.1",
        "Figure 4",
    ),
    Claim(
        4,
        "Mixup",
        "Mixup raises the test accuracy, often by more than pretraining does.",
        "the use of the mixup significantly improves the performance of the model, even frequently surpassing the "
        "gains for the pretraining model",
        "4.1",
        "Figure 4",
    ),
    Claim(
        5,
        "No false positives",
        "Specificity and PPV are 100 % for all three initialisations; pretraining raises sensitivity and NPV.",
        "For both specificity and positive predictive value (PPV), all our models obtained 100%",
        "4.2",
        "Table 1",
    ),
    Claim(
        6,
        "AUC",
        "The AUC, which knows no threshold, is good as well: 99.4 to 99.5 % for all three initialisations.",
        "From the AUC, which is not related to threshold, we found that the proposed model also has a good performance",
        "4.2",
        "Table 1",
    ),
    Claim(
        7,
        "Steadiness",
        "Early in training the test accuracy of pretrained models varies less.",
        "variations in the test performances at the beginning were significant and the pretrained models showed a "
        "highly robust performance",
        "4.2",
        "Figure 5",
    ),
    Claim(
        8,
        "Few images",
        "With 32 to 512 training images per class pretrained models beat random initialisation at every size; accuracy "
        "peaks at 64 per class; BiT-M with 512 per class (94.75 %) beats COVID-Net with all (94.0 %).",
        "the pretrained models consistently outperformed the case of random initialization of parameters for different "
        "training dataset sizes with down-sampling",
        "4.3",
        "Figure 7",
    ),
    Claim(
        9,
        "Grad-CAM",
        "For positive images the heat map lies on the chest, for negative ones on the edges.",
        "for the SARS-CoV-2-positive cases, the region of interest in the chest could be well localized. However, for "
        "the SARS-CoV-2-negative cases, the model appeared more interested in the edges",
        "4.4",
        "Figure 8",
    ),
)


WITH_TRUTH: tuple[Claim, ...] = (
    Claim(
        9,
        "Grad-CAM, against masks that radiologists drew",
        "For positive images the heat map lies on the lungs, for negative ones on the edges.",
        "for the SARS-CoV-2-positive cases, the region of interest in the chest could be well localized",
        "4.4",
        "Figure 8",
    ),
    Claim(
        10,
        "Disease or data source",
        "The network tells the disease and not the source: its AUC falls by no more than a point in another collection that holds both classes. The paper does not ask; its title speaks of detection.",
        "COVID-19 Detection from Chest X-ray Images",
        "title",
        "none",
    ),
)
"""Two claims that are judged where the truth is known (:mod:`cxrlib.study.pages.truth_verdicts`); the second is not the paper's."""


@dataclass(frozen=True)
class Choice:
    """A point that the text leaves open or contradicts: what it says, what we do, and the parameter that changes it.

    `parameter` names fields of `cxrlib.config` joined by ', ', or is None where nothing can be set.
    """

    topic: str
    paper: str
    choice: str
    parameter: str | None
    section: str


CHOICES: tuple[Choice, ...] = (
    Choice(
        "Mixup weight",
        "Says λ = 0.1 in equation (1), 'as set in Kolesnikov et al.', who draw λ from Beta(0.1, 0.1).",
        "λ from Beta(0.1, 0.1), one for a batch; a fixed λ can be chosen.",
        "mixup, mixup_value",
        "3.3",
    ),
    Choice(
        "Test images",
        "Section 3.3 crops test images at random, section 4.1 resizes them to the crop size.",
        "Resized, as in section 4.1, so that a prediction does not depend on chance.",
        "crop",
        "3.3, 4.1",
    ),
    Choice(
        "Selection on the test set",
        "Resolution, schedule and mixup are chosen by test accuracy; there is no validation split. Section 3.3 says "
        "that no hyperparameters were scanned downstream.",
        "The paper's settings are taken as given. A validation split by patients can be held out of training.",
        "validation_fraction",
        "3.3, 4.1",
    ),
    Choice(
        "Which step is reported",
        "Accuracy oscillates during training; the text does not say if the last or the best step is reported.",
        "The last step, never the best one on the test set. All steps are drawn.",
        "schedule",
        "4.2",
    ),
    Choice(
        "Schedules",
        "'Four overall schedule length selections and random crops strategies', but three schedules are listed.",
        "The four resolutions and three schedules that are listed.",
        "resolutions, schedules",
        "4.1",
    ),
    Choice(
        "Edges of the schedule",
        "Gives the last warm-up step and the steps of decay, not if a named step itself has the "
        "old or the new rate, nor where warm-up begins.",
        "Warm-up rises linearly from 0 at step 0; a step of decay already has the lower rate.",
        "schedule, base_lr",
        "3.3, 4.1",
    ),
    Choice("Weight decay", "None is named.", "Zero.", "weight_decay", "3.3"),
    Choice(
        "Normalisation",
        "Done, with values not given.",
        "What the initial weights expect: BiT's mean and standard deviation of 0.5, which maps grey values to [-1, 1].",
        "init",
        "3.3",
    ),
    Choice(
        "Batch rebalancing",
        "Positive and negative images are balanced 'in the same batch', the way is not given.",
        "Exactly half of every batch is positive; within a class every image comes once before one comes again.",
        "rebalance",
        "3.3",
    ),
    Choice(
        "Aspect ratio",
        "Images are resized to squares; it does not say if their shape is kept.",
        "Squashed to a square, as in BiT's code.",
        "resize, crop",
        "4.1",
    ),
    Choice(
        "Setting of the data-size study",
        "Resolution, schedule and the number of random subsets are not given.",
        "The setting of section 4.2; each seed draws its own subset, and a smaller one lies inside a larger one.",
        "resize, crop, schedule, seeds",
        "4.3",
    ),
    Choice(
        "Seeds and intervals",
        "One run of each setting, as far as the text says, and no interval anywhere. BiT-M's 96.5 % against COVID-Net "
        "CXR-2's 96.3 % is one test image in 400.",
        "Several seeds; intervals over seeds and patients; paired tests.",
        "seeds",
        "4",
    ),
    Choice(
        "COVID-Net's row of Table 1",
        "Sensitivity 93.5 and PPV 100 imply an accuracy of 96.75 on the balanced test set, not the 94.0 printed.",
        "No counts exist for this row; it is shown as printed and left out of comparisons that need counts.",
        None,
        "4.2",
    ),
    Choice(
        "False positives and false negatives",
        "Section 5 reads the gain in sensitivity and NPV as 'a significant reduction in the number of false positive "
        "cases'; the numbers show fewer false negatives.",
        "Read as false negatives.",
        None,
        "5",
    ),
    Choice(
        "Negative images",
        "13,993 negative images; the public 8B label files have 13,994 negative rows.",
        "Every row of the label files is used and the difference is reported.",
        None,
        "3.1",
    ),
    Choice(
        "Positive training images",
        "Section 4.2 says that 2,358 positive images were used for training; with section 3.1 and the label files 200 "
        "of them are the test images.",
        "2,158 for training and 200 for testing.",
        None,
        "3.1, 4.2",
    ),
    Choice(
        "Grad-CAM layer",
        "'The final convolution layer'; for a model with one logit the score of the negative class is not defined.",
        "The last feature map before pooling; for a negative prediction the logit's sign is turned.",
        "target_layer",
        "4.4",
    ),
    Choice(
        "Disease or data source",
        "Positive test images and most negative ones come from different sources, so a model may tell sources apart "
        "(DeGrave et al. 2021, Nature Machine Intelligence 3, 610). The text does not discuss it.",
        "Measured on the data page and on a page of its own, and said on the home page; on phantoms the strength of the confounding is a parameter.",
        "source_confounding",
        "3.1",
    ),
)
