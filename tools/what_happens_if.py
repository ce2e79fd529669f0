"""Write ``book/what_happens_if.md``, a page of the bad-input matrix in ``tests/bad_inputs``: every row is tried and its message shown.

    python tools/what_happens_if.py
"""

import re
import sys
import tempfile
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bad_inputs import Bad, rows  # noqa: E402

from cxrlib.markup import text  # noqa: E402

HEAD = """# What happens if…

Bad input is named, with the file, the line where there is one, and a way out; no file is changed or lost by it. Every row below is a test
({count} rows in `tests/bad_inputs`), and the right-hand column is what was said when this page was made (`python tools/what_happens_if.py`).
`set` is the data folder. `cxr data check FOLDER` finds all of these in label files, images and folders at once, grouped by kind.

```{{exercise}}
:label: ex-what-happens-if-1

A label file names the same patient in `train` and in `test`. The program could stop, leave the row out, or go on. Which does it do, and why not the third?
```

```{{solution}} ex-what-happens-if-1
It leaves the training rows of that patient out, or stops with `--strict`, and says how many. Going on would be a leak that nobody sees: the network may know the patient again, and the test score would be that of a memory.
```
"""
LONGEST = 260
TOKEN = 80
"""Letters of a word that no line can break."""


def message(row: Bad) -> str:
    """The part of what is said that the row is about."""
    with tempfile.TemporaryDirectory(prefix="if") as place:
        said = row.said(Path(place)).replace(f"{place}/", "").replace(place, ".")
    said = re.sub(r"(127\.0\.0\.1:)\d{4,}", r"\1PORT", said)
    lines = [" ".join(line.strip(" │").removeprefix("error: ").split()) for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("check images", "Usage:", "Try ", "Research and teaching"))]
    kinds = row.says[1:] or row.says
    told = [line for line in lines if any(words in line for words in kinds)] or [line for line in lines if any(words in line for words in row.says)] or lines
    chosen = max(told, key=lambda line: sum(words in line for words in row.says))
    if chosen.endswith(":"):  # what is listed below belongs to it
        chosen = " ".join([chosen, *lines[lines.index(chosen) + 1 :][:1]])
    chosen = re.sub(rf"[^\s]{{{TOKEN},}}", lambda token: token[0][: TOKEN - 1] + "…", chosen)
    return chosen if len(chosen) <= LONGEST else chosen[: LONGEST - 1] + "…"


def page() -> str:
    """The page as Markdown."""
    matrix = rows()
    parts = [HEAD.format(count=len(matrix))]
    for what, members in groupby(sorted(matrix, key=lambda row: row.what.casefold()), key=lambda row: row.what):
        parts.append(f"\n## {what[0].upper() + what[1:]}\n\n:::{{div}} cxr-verbatim\n| …if | then |\n|---|---|")
        parts += [f"| {text(row.how)} | {text(message(row))} |" for row in members]
        parts.append(":::")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    file = ROOT / "book" / "what_happens_if.md"
    file.write_text(page(), encoding="utf-8")
    print(f"wrote {file.relative_to(ROOT)}")
