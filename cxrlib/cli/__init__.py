"""The door: the command ``cxr``.

main, runs, shortcuts (commands), common, predict, plan_report. May use every room.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "main": ["app"],
    },
)
