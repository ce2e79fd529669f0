"""The network of section 3.2, and what stands beside it.

network (ResNet-v2 with group normalisation and weight standardisation, one logit), backbones (networks that timm lacks), machine (support vector
machines on features), memory (what makes a step fast). May use weights and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "machine": ["FeatureMachine"],
        "network": ["LAPTOP", "count_parameters", "create_model", "normalise"],
    },
)
