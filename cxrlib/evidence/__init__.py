"""What a stranger needs to check this work: every claim recomputed, checklists that prove themselves, records in standard forms.

================  =====================================================================================================
``slices``        the statements of a notebook that a glued value hangs on
``glued``         the values that the book glues from committed records, computed again and compared
``audit``         committed records, tables and shipped weights against their checksums and against themselves
``behind``        which records stand behind each comparison of a claim
``retrain``       a sample of the recorded runs, trained again
``verify``        all of that as one table of claims; ``check`` is a row of it, ``codecheck`` writes the manifest of CODECHECK
``checklists``    reporting checklists whose answers name pages, tests and files that must be there
``crate``         executed notebooks as RO-Crates; ``croissant`` the phantoms, ``cards`` the weights
``pages``         the Sphinx extension that draws checklists, cards and platforms
================  =====================================================================================================

Stands above the book, whose pages and notebooks it reads; only the command line stands above it.
"""
