"""Fine-tuning (section 3.3), and the pretraining upstream of it.

finetune (the protocol as a loop), sampling (batches, crops, mixup as functions of seed and step), score (logits of a split), checkpoints, machine (fitting a
support vector machine); pretrain, fractals, upstream. May use model, data, weights and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "finetune": ["NonFiniteLossError", "learning_rate", "mixup_loss", "train"],
        "score": ["ImageSet", "predict"],
        "upstream": ["UPSTREAMS", "Upstream", "build"],
    },
)
