"""``python -m cxrlib`` is the command line ``cxr``; ``accelerate launch -m cxrlib`` too."""

from cxrlib.cli.main import app

app(prog_name="cxr")
