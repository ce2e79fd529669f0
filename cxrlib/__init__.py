"""Executable reproduction of Zhao, Jiang and Qiu (2021), fine-tuning CNNs for COVID-19 detection from chest X-rays.

Rooms, each using only what stands after it: :mod:`~cxrlib.cli` (the door), :mod:`~cxrlib.book` (notebooks to pages), :mod:`~cxrlib.study`
(parameters, claims, verdicts, figures), :mod:`~cxrlib.experiment` (config in, record out), :mod:`~cxrlib.train`, :mod:`~cxrlib.model` and
:mod:`~cxrlib.explain` (Grad-CAM), :mod:`~cxrlib.weights`, :mod:`~cxrlib.data` and :mod:`~cxrlib.phantom`, :mod:`~cxrlib.config` and
:mod:`~cxrlib.metrics`, :mod:`~cxrlib.files` and :mod:`~cxrlib.processes`.

Importing the package imports none of them, so ``cxr --help`` stays quick.
"""

import os

# Threads of a sum wait for each other by spinning, and fall far behind as soon as other processes want their cores; if they
# slept at once, an idle machine would lose a third. So they spin shortly and then sleep; the page on speed has the numbers.
# OpenMP reads this once, when torch loads, so it is set before; LLVM's OpenMP knows no count and sleeps.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"

# Part of every record's key. Raise it when a change of code changes what a run computes: its batches, its arithmetic, its
# metrics. Rounding alone does not count, as another processor does not: 1 is the protocol both before and since
# activations lie in memory with channels last (`cxrlib.model.memory`), though a record from before differs in the last digits,
# which training can enlarge. A record names its code and its machine.
PROTOCOL_VERSION = 1

DISCLAIMER = "Research and teaching only. Not for diagnosis: nothing here has been validated for clinical use."
