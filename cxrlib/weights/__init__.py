"""Where a model's weights may start. Needs no torch: a plan and a page list weights without loading it.

source (types, checksums, metadata of a file), registry (the named ones), bit, hub, imagenet_lite (how each is found), resolve (a name becomes a file).
The shipped files lie here too. May use config, metrics, files and processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "resolve": ["resolve_initialisation"],
        "source": ["Initialisation", "Source", "WeightsError"],
    },
)
