"""Numbers from arrays, each with an interval; nothing here knows a file, a record or a network.

classifier (confusion matrix, ROC, calibration, McNemar), estimate (a value with its interval), auc (DeLong), two_way and inference (values and differences over
seeds and patients), coverage (how often their intervals hold the truth), operating (scores at a threshold), proportions (two shares). May use files and processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auc": ["delong"],
        "classifier": [
            "Confusion",
            "Evaluation",
            "McNemar",
            "calibration",
            "evaluate",
            "fit_temperature",
            "from_counts",
            "mcnemar",
            "ppv_npv_at_prevalence",
            "precision_recall",
            "roc_curve",
            "wilson",
        ],
        "estimate": ["Estimate"],
        "inference": ["holm"],
        "operating": ["METRICS", "Scores"],
        "proportions": ["newcombe"],
    },
)
