"""What ``make bench`` measured, as tables for the page on speed. The measuring itself is in ``benchmarks/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrlib import markup
from cxrlib.data import read_index
from cxrlib.study.parameters import Speed
from cxrlib.study.parts import network

TABLES = ("rows", "ideas", "scale", "memory", "peers", "waiting", "start", "folding", "machine", "versions")
LABELS = {
    "train-64": "training, 64 px", "train-128": "training, 128 px", "train-png": "training, PNG", "train-bit": "training, BiT",
    "compute-64": "step alone, 64 px", "compute-128": "step alone, 128 px", "compute-bit": "step alone, BiT", "evaluate": "evaluation",
    "cache-jpeg": "cache, JPEG", "cache-png": "cache, PNG", "grad-cam": "Grad-CAM", "sweep": "sweep",
}  # fmt: skip
"""What a pair of the bench is called in prose."""
COSTS = ("index", "fingerprint", "cache", "epoch")


def read(path: Path) -> dict[str, Any]:
    """The result of a bench.

    Raises:
        ValueError: if the file is no complete result. OSError: if it cannot be opened.
    """
    try:
        measured = json.loads(Path(path).read_text(encoding="utf-8"))
        missing = [name for name in TABLES if not measured.get(name)]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no result of a bench ({error}); make bench writes one") from None
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: the bench did not end; run make bench again")
    return measured


def spread_text(spread: dict[str, float], form: str, bold: bool = False) -> str:
    """Median and range: '2.69 (2.56 to 2.93)'.

    Args:
        spread: 'median', 'low' and 'high'.
        form: of a number, such as '.2f'.
        bold: the median in bold, as Markdown.
    """
    median = f"{spread['median']:{form}}"
    text = f"{f'**{median}**' if bold else median} ({spread['low']:{form}} to {spread['high']:{form}})"
    return markup.Inline(text) if bold else text


def ratios(measured: dict[str, Any]) -> pd.DataFrame:
    """Every pair: columns name, label, what, against, unit, ours, theirs (medians), ratio, low, high, target, verdict."""
    rows = []
    for row in measured["rows"]:
        ratio = row["ratio"]
        reached = ratio["median"] >= row["target"]
        gap = 100 * (1 - ratio["median"] / row["target"])
        verdict = "reached" if reached else f"short by {gap:.0f} %" if gap >= 1 else "short by less than 1 %"
        values = {name: row[name] for name in ("name", "what", "against", "unit", "target")}
        values |= {"label": LABELS.get(row["name"], row["name"]), "ours": row["ours"]["median"], "theirs": row["theirs"]["median"], "verdict": verdict}
        rows.append(values | {"ratio": ratio["median"], "low": ratio["low"], "high": ratio["high"]})
    return pd.DataFrame(rows)


def losses(measured: dict[str, Any]) -> pd.DataFrame:
    """Training loss at the end of both sides of a pair, where it was noted: median and range over the repeats."""
    rows = []
    for row in measured["rows"]:
        if "loss" in row:
            shown = {side: spread_text(row["loss"][side], ".3f") for side in ("ours", "theirs")}
            rows.append({"training": row["name"].removeprefix("train-"), "cxrlib": shown["ours"], "standard recipe": shown["theirs"], "steps": row["steps"]})
    return pd.DataFrame(rows)


def ideas(measured: dict[str, Any]) -> pd.DataFrame:
    """Images per second of a training step with each idea, a column for each model and size, and the gain over none of them.

    Returns:
        Index: the idea in words. Columns: ``(model and size, 'images/s' | 'gain' | 'first step')``; gain 1 is none.
    """
    columns: dict[tuple[str, str], dict[str, float]] = {}
    plain: dict[str, float] = {}
    for row in measured["ideas"]:
        if "first_step_seconds" not in row:
            continue
        model = f"{'laptop' if 'laptop' in row['arch'] else 'BiT-R50x1'}, {row['size']} px"
        plain.setdefault(model, row["rate"]["median"])  # the plain step comes first
        for name, value in (
            ("images/s", row["rate"]["median"]),
            ("gain", row["rate"]["median"] / plain[model]),
            ("first step", row["first_step_seconds"]),
        ):
            columns.setdefault((model, name), {})[row["name"]] = value
    return pd.DataFrame(columns)


def side_by_side(measured: dict[str, Any]) -> list[str]:
    """What two runs at once do together, against one alone, in words."""
    return [
        f"{row['name']}: {row['rate']['median']:,.0f} images/s together; one alone with as many threads: {row['alone']:,.0f}"
        for row in measured["ideas"]
        if "alone" in row
    ]


def cost_lines(scale: pd.DataFrame) -> pd.DataFrame:
    """The straight line through each cost as images grow in number.

    Args:
        scale: columns ``images`` and :data:`COSTS` in seconds.

    Returns:
        A row per cost: ``per_image`` (seconds), ``fixed`` (seconds at no image), ``bend``: how much dearer an image is at
        the largest number than at the next smaller one after ``fixed`` is taken off, as a ratio; 1 is a straight line.
    """
    rows = []
    for cost in COSTS:
        per_image, fixed = np.polyfit(scale["images"], scale[cost], 1)
        each = (scale[cost] - max(fixed, 0)) / scale["images"]
        rows.append({"cost": cost, "per_image": per_image, "fixed": fixed, "bend": each.iloc[-1] / each.iloc[-2]})
    return pd.DataFrame(rows).set_index("cost")


def on_paper(measured: dict[str, Any], images: int, size: int = 512) -> pd.DataFrame:
    """What ``images`` images would take on the machine of the bench: columns what, how much, from.

    Decoding is that of files of 1024 px, as measured; index and fingerprint grow as they did up to the largest set.
    """
    from cxrlib.experiment.sweep import duration

    lines = cost_lines(pd.DataFrame(measured["scale"]))
    rate = {row["name"]: row["ours"]["median"] for row in measured["rows"]}
    building = [duration(images / rate[name]) for name in ("cache-jpeg", "cache-png")]
    reading = images * (lines.loc["index", "per_image"] + lines.loc["fingerprint", "per_image"])
    size_on_disk = images * size**2 / 1e9
    rows = [
        ("cache on disk", f"{size_on_disk:,.0f} GB" if size_on_disk >= 10 else f"{size_on_disk:.1f} GB", f"{size} x {size} bytes an image"),
        ("building it", " to ".join(building), "JPEG to PNG files of 1024 px"),
        ("index and fingerprint", duration(reading), "the lines above; files of 256 px"),
        ("one epoch, laptop model, 64 px", duration(images / rate["compute-64"]), "training on cached images"),
        ("one epoch, BiT-R50x1, 128 px", duration(images / rate["compute-bit"]), "training on cached images"),
    ]
    return pd.DataFrame(rows, columns=["what", "how much", "from"])


# The tables of the page, as Markdown


def measured_on(measured: dict[str, Any]) -> str:
    """The machine and the versions, and a warning if the bench ran at tiny sizes."""
    machine, versions = measured["machine"], measured["versions"]
    about = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; PyTorch {versions['torch']}, "
    about += f"torchvision {versions['torchvision']}, timm {versions['timm']}, Pillow {versions['pillow']}; "
    about += f"cxrlib {versions['cxrlib']}, {measured['made']}."
    warning = " **A quick run at tiny sizes: these numbers mean nothing.**" if measured["quick"] else ""
    return f"**Measured on:** {markup.text(about)}{warning}"


def folding(measured: dict[str, Any]) -> str:
    """What folding the weight standardisation into the weights gained, network by network."""
    return "; ".join(f"{1 / ratio:.2f} ({network(name.partition(', ')[0])}, {name.partition(', ')[2]})" for name, ratio in measured["folding"].items())


def ratio_table(table: pd.DataFrame) -> str:
    """The pairs of :func:`ratios`."""

    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    lines = []
    for row in table.itertuples():
        ratio = spread_text({"median": row.ratio, "low": row.low, "high": row.high}, ".2f", bold=True)
        ours, theirs = f"{number(row.ours)} {row.unit}", number(row.theirs)
        lines.append([row.label, row.what, row.against, ours, theirs, ratio, row.target, row.verdict])
    return markup.table(["", "what", "against", "cxrlib", "other", "ratio (range)", "to reach", ""], lines)


def idea_table(measured: dict[str, Any]) -> str:
    """The ideas of :func:`ideas`: images per second, and the gain over none of them."""
    table = ideas(measured)
    models = list(dict.fromkeys(model for model, _ in table.columns))
    lines = []
    for name in table.index:
        shown: list[str] = []
        for model in models:
            rate, gain, first = (table.at[name, (model, part)] for part in ("images/s", "gain", "first step"))
            slow = f", first step {first:.1f} s" if first > 10 else ""
            shown.append("not measured" if pd.isna(rate) else markup.Inline(f"{rate:,.0f}/s, **{gain:.2f}x**{slow}"))
        lines.append([name, *shown])
    return markup.table(["idea", *models], lines)


def start_table(measured: dict[str, Any]) -> str:
    """Seconds until something runs: Python, the package, the command line, torch, a first step."""
    start = {name: row["median"] for name, row in measured["start"].items()}
    lines = [
        ["a Python that does nothing", f"{start['python']:.2f}"],
        [markup.Inline("`import cxrlib`, beyond that"), f"{start['import cxrlib'] - start['python']:.2f}"],
        [markup.Inline("`cxr --help`, beyond Python and its command line library"), f"{start['cxr --help'] - start['typer']:.2f}"],
        [markup.code("import torch"), f"{start['torch']:.1f}"],
        ["a run on a cached data set, from nothing to the end of its first step", f"{start['first step']:.1f}"],
    ]
    return markup.table(["what", "seconds"], lines)


def cost_tables(measured: dict[str, Any], fits: pd.DataFrame) -> str:
    """The lines of :func:`cost_lines`, and the memory that building a cache takes."""
    lines = [
        [cost, f"{1000 * row['per_image']:.2f} s", f"{max(row['fixed'], 0):.2f} s", f"{row['bend']:.2f}x"]
        for cost, row in fits.iterrows()
    ]
    head = ["stage", "for 1,000 images", "at the start", "an image at the largest set against one at the next smaller"]
    costs = markup.table(head, lines)
    lines = [[row["name"], f"{row['worker_mb']:.0f} MB", f"{row['own_growth_mb']:.0f} MB"] for row in measured["memory"]]
    memory = markup.table(["images", "largest worker", "growth of the parent"], lines)
    title = "**Memory of building a cache** (largest worker; growth of the process that starts them):"
    return f"{costs}\n\n{title}\n\n{memory}"


def paper_table(measured: dict[str, Any], counts: list[int]) -> str:
    """:func:`on_paper` for several numbers of images, a column each, in their order."""
    parts = [on_paper(measured, count).assign(images=f"{count:,}") for count in counts if count]
    both = pd.concat(parts).pivot(index="what", columns="images", values="how much").loc[parts[0]["what"], list(dict.fromkeys(f"{count:,}" for count in counts if count))]
    both["from"] = parts[0].set_index("what")["from"]
    return markup.frame_table(both.reset_index())


def reached(table: pd.DataFrame) -> dict[str, int]:
    """How many of the pairs of :func:`ratios` reach the speed that was aimed at, and how many there are."""
    return {"reached": int((table["ratio"] >= table["target"]).sum()), "pairs": len(table)}


def finding(table: pd.DataFrame) -> str:
    """The same as a sentence."""
    found = reached(table)
    return f"In {found['reached']} of {found['pairs']} measurements cxrlib reaches the speed that was aimed at."


def answer(measured: dict[str, Any], table: pd.DataFrame) -> str:
    """What the page answers, in two sentences of Markdown: training against the standard recipe, and the start of a run."""
    training = table[table["name"].str.startswith("train-")]
    told = f"Training is {training['ratio'].min():.1f} to {training['ratio'].max():.1f} times as fast as with the standard recipe" if len(training) else finding(table)
    start = measured["start"]["first step"]["median"]
    return markup.text(f"{told.rstrip('.')}, most of all because no image is decoded twice. A run on a cached data set takes {start:.1f} s from nothing to the end of its first step.")


def loss_table(measured: dict[str, Any]) -> str:
    """:func:`losses` as a Markdown table."""
    return markup.frame_table(losses(measured))


def beside(measured: dict[str, Any]) -> str:
    """:func:`side_by_side` as a Markdown list."""
    return "\n".join(f"- {markup.text(line)}" for line in side_by_side(measured))


def scale(measured: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Costs by number of images, and the lines of :func:`cost_lines`."""
    table = pd.DataFrame(measured["scale"])
    return table, cost_lines(table)


def scale_title(table: pd.DataFrame) -> str:
    return f"Costs by number of images (JPEG files of {table['file_pixels'].iloc[0]} px, model at {table['crop'].iloc[0]} px)"


def images_here(parameters: Speed) -> int:
    """Images of the data of this copy; 0 if there is no such folder."""
    return len(read_index(parameters.data, parameters.labels)) if parameters.data.is_dir() else 0
