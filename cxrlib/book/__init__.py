"""From notebooks to pages.

build (prepare data, execute, render), offline (asks for nothing from outside), notebooks (execute with papermill, keep clean copies), pages (Sphinx extension). May use study and what is below.
"""

import sys

import lazy_loader

# jsonschema, which comes with every notebook that is read, would compile 38 grammars of internationalised addresses, a second of each process.
sys.modules.setdefault("rfc3987_syntax", None)

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "notebooks": ["BookError"],
    },
)
