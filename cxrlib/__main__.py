"""``python -m cxrlib`` is the command line ``cxr``; ``accelerate launch -m cxrlib`` too."""

from cxrlib.cli import app

app(prog_name="cxr")
