"""What is printed reaches any terminal."""

import os
import subprocess
import sys

import pytest
from common import ROOT


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "utf-8"])
def test_a_terminal_without_the_signs_gets_question_marks(encoding, tmp_path):
    """A traceback at '…' ended the command."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    code = "from cxrlib.cli.common import plain_errors\nwith plain_errors():\n    print('data …')\n    raise ValueError('“x” – é')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1 and b"UnicodeEncodeError" not in done.stderr
    assert done.stdout.decode(encoding).strip() == ("data …" if encoding == "utf-8" else "data ?")
    assert b"error: " in done.stderr
