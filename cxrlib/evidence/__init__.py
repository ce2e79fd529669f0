"""What a stranger needs to check this work: every claim recomputed, checklists that prove themselves, records in standard forms.

================  =====================================================================================================
``slices``        the statements of a notebook that a glued value hangs on
``glued``         the values that the book glues from committed records, computed again and compared
``audit``         committed records, tables and shipped weights against their checksums and against themselves
``retrain``       a sample of the recorded runs, trained again
``verify``        all of that as one table of claims, and the manifest of CODECHECK
================  =====================================================================================================

Stands above the book, whose pages and notebooks it reads; only the command line stands above it.
"""
