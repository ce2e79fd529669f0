"""Fitting a support vector machine on fixed features (:mod:`cxrlib.model.machine`), where networks are fine-tuned.

Source: Platt 1999 (scores to logits).
"""

from __future__ import annotations

import time

import numpy as np
import torch

from cxrlib.config import RunConfig
from cxrlib.model.machine import FeatureMachine
from cxrlib.model.network import normalise
from cxrlib.train.checkpoints import Progress
from cxrlib.train.score import ImageSet, evaluation_row
from cxrlib.weights.source import Initialisation

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


"""Values of the SVM's C that cross-validation chooses among."""


FOLDS = 5


def fit(model: FeatureMachine, config: RunConfig, training, splits: dict, patients: np.ndarray, initialisation: Initialisation) -> tuple[FeatureMachine, Progress]:
    """Fit the linear layer as a support vector machine with balanced classes.

    Its penalty is chosen by cross-validation with patients kept together. A logistic regression on scores of images that
    were not in the fold's training makes them logits (Platt), so that 0.5 means what it means for networks. The
    configuration's seed deals the folds out; its schedule, rate and batch play no part.

    Args:
        model: of :func:`create`; changed in place.
        training: :class:`cxrlib.train.score.ImageSet`, of which the central ``config.crop`` pixels are taken.
        splits: sets to evaluate.
        patients: ids, one for each training label.

    Raises:
        ValueError: if a class has fewer than two training patients.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
    from sklearn.svm import LinearSVC

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
    progress.history.append(row | evaluation_row(model, splits, initialisation, config.image_channels))
    progress.seconds = time.perf_counter() - started
    return model, progress


@torch.no_grad()
def _all_features(model: FeatureMachine, images, initialisation: Initialisation, image_channels: int) -> np.ndarray:

    model.eval()
    found = []
    for start in range(0, len(images.rows), 64):
        batch = torch.from_numpy(np.ascontiguousarray(images.images[images.rows[start : start + 64]]))
        found.append(model.features(normalise(batch, initialisation.mean, initialisation.std, image_channels)))
    return torch.cat(found).numpy().astype(np.float64)
