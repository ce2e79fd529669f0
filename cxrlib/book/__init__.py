"""From notebooks to pages.

build (prepare data, execute, render), offline (asks for nothing from outside), notebooks (execute with papermill, keep clean copies), pages (Sphinx extension). May use study and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "notebooks": ["BookError"],
    },
)
