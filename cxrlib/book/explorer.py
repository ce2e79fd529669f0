"""The page on which a reader moves the threshold: one chart with two sliders, drawn in the browser from committed records, without a server.

Altair writes the chart, vl-convert the script that draws it: one copy per book, from disk, nothing fetched. The sliders are
the browser's own, so the keyboard moves them. Below the chart the same numbers stand as text that a screen reader hears.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cxrlib import markup
from cxrlib.book import again
from cxrlib.files import atomic_write
from cxrlib.study import committed
from cxrlib.study.figures import style
from cxrlib.study.figures.captions import BADGES, FRAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sphinx.application import Sphinx

    from cxrlib.experiment.record import Record

SCRIPT = "vega.js"
STEPS = 101
"""Thresholds from 0 to 1 at which the counts are taken."""
Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution, of Wilson's interval (Wilson 1927)."""


PERCENT_LABELS: dict[str, Any] = {"labelExpr": "format(100 * datum.value, '.0f') + ' %'"}
"""Of an axis of shares, as every other page writes them."""
PERCENT = PERCENT_LABELS | {"values": [0, 0.2, 0.4, 0.6, 0.8, 1]}
"""An axis of all shares."""


def counts(records: Sequence[Record]) -> pd.DataFrame:
    """Images called positive at each threshold, of each run and of the mean over the runs of an initialisation.

    Returns:
        Columns start, run ('mean of N seeds' or 'seed N'), threshold, tp, fp, positives, negatives; the counts of a mean are means.
    """
    thresholds, rows = np.linspace(0, 1, STEPS), []
    for init in style.in_order(record.initialisation["name"] for record in records):
        members = [record for record in records if record.initialisation["name"] == init]
        own = []
        for record in members:
            table = record.table()
            positive, probability = (table["label"] == 1).to_numpy(), table["probability"].to_numpy()
            called = probability[None, :] > thresholds[:, None]
            own.append((called[:, positive].sum(axis=1), called[:, ~positive].sum(axis=1)))
        arms = {f"mean of {len(members)} seeds": np.mean(own, axis=0)} if len(members) > 1 else {}
        arms |= {f"seed {record.config['seed']}": pair for record, pair in zip(members, own, strict=True)}
        for run, (tp, fp) in arms.items():
            part = pd.DataFrame({"threshold": thresholds.round(2), "tp": tp, "fp": fp})
            rows.append(part.assign(start=style.named(init), run=run, positives=int(positive.sum()), negatives=int((~positive).sum())))
    return pd.concat(rows, ignore_index=True).round(2)


def chart(table: pd.DataFrame) -> dict[str, Any]:
    """The Vega-Lite specification: ROC curve with the chosen point, confusion matrix, and four measures with their intervals."""
    import altair as alt

    starts, runs = list(table["start"].unique()), list(table["run"].unique())
    start = alt.param(name="start", value=starts[-1], bind=alt.binding_select(options=starts, name="Start "))
    run = alt.param(name="run", value=runs[0], bind=alt.binding_select(options=runs, name="Run "))
    threshold = alt.param(name="threshold", value=0.5, bind=alt.binding_range(min=0, max=1, step=0.01, name="Threshold "))
    prevalence = alt.param(name="prevalence", value=0.1, bind=alt.binding_range(min=0.01, max=0.9, step=0.01, name="Prevalence "))
    curve = alt.Chart(table).transform_calculate(
        tpr="datum.tp / datum.positives", fpr="datum.fp / datum.negatives"
    ).transform_filter("datum.start === start && datum.run === run")  # fmt: skip
    here = curve.transform_filter("abs(datum.threshold - threshold) < 0.005")

    axes = {"x": alt.X("fpr:Q", title="1 − specificity", axis=alt.Axis(**PERCENT), scale=alt.Scale(domain=[0, 1]))}
    axes["y"] = alt.Y("tpr:Q", title="sensitivity", axis=alt.Axis(**PERCENT), scale=alt.Scale(domain=[0, 1]))
    line = curve.mark_line(interpolate="step-after", color=style.ACCENT, strokeWidth=2).encode(order="threshold:Q", **axes)
    point = here.mark_point(size=140, filled=True, color=style.ACCENT).encode(**axes)
    chance = alt.Chart(pd.DataFrame({"a": [0, 1]})).mark_line(strokeDash=[3, 3], color=style.SOFT).encode(x="a:Q", y="a:Q")
    roc = alt.layer(chance, line, point).properties(width=300, height=300, title="ROC curve")

    cells = here.transform_calculate(
        tn="datum.negatives - datum.fp", fn="datum.positives - datum.tp"
    ).transform_fold(["tn", "fp", "fn", "tp"], as_=["cell", "images"]).transform_calculate(
        truth="datum.cell === 'tp' || datum.cell === 'fn' ? 'positive' : 'negative'",
        called="datum.cell === 'tp' || datum.cell === 'fp' ? 'positive' : 'negative'",
        share="datum.images / (datum.truth === 'positive' ? datum.positives : datum.negatives)",
    ).encode(x=alt.X("called:N", title="called", axis=alt.Axis(labelAngle=0)), y=alt.Y("truth:N", title="truly"))  # fmt: skip
    boxes = cells.mark_rect(color=style.ACCENT, stroke=style.SOFT).encode(opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.5]), legend=None))
    numbers = cells.mark_text(fontSize=16).encode(text=alt.Text("images:Q", format=".4~g"))
    matrix = alt.layer(boxes, numbers).properties(width=220, height=220, title="Images")

    measures = here.transform_calculate(
        **_wilson("sensitivity", "datum.tp", "datum.positives"), **_wilson("specificity", "(datum.negatives - datum.fp)", "datum.negatives"),
    ).transform_calculate(**_predictive()).transform_fold(
        ["sensitivity", "specificity", "PPV", "NPV"], as_=["measure", "value"]
    ).transform_calculate(low="datum[datum.measure + '_low']", high="datum[datum.measure + '_high']", shown="format(100 * datum.value, '.1f') + ' %'")  # fmt: skip
    order = ["sensitivity", "specificity", "PPV", "NPV"]
    named = alt.Y("measure:N", sort=order, title=None)
    bars = measures.mark_rule(color=style.ACCENT, strokeWidth=2).encode(
        y=named, x=alt.X("low:Q", title="95 % interval", axis=alt.Axis(**PERCENT), scale=alt.Scale(domain=[0, 1])), x2="high:Q"
    )
    dots = measures.mark_point(filled=True, size=90, color=style.ACCENT).encode(y=named, x=alt.X("value:Q", scale=alt.Scale(domain=[0, 1])))
    labels = measures.mark_text(align="left", dy=-12, dx=-20).encode(y=named, x="value:Q", text="shown:N")
    table_of = alt.layer(bars, dots, labels).properties(width=580, height=190, title="At this threshold, and at this prevalence")

    whole = (roc | matrix) & table_of
    whole = whole.add_params(start, run, threshold, prevalence).configure(font="sans-serif", background="transparent")
    whole = whole.configure_axis(labelFontSize=12, titleFontSize=12).configure_title(fontSize=13, anchor="start").configure_view(stroke=None)
    specification = whole.to_dict()
    specification.pop("$schema", None)  # an address; the script knows its version
    return specification


def _wilson(name: str, right: str, n: str) -> dict[str, str]:
    """Vega expressions of a share and its Wilson interval."""
    middle, spread = f"({right} / {n} + {Z**2 / 2} / {n})", f"{Z} * sqrt({right} * ({n} - {right}) / pow({n}, 3) + {Z**2 / 4} / pow({n}, 2))"
    ends = {side: f"({middle} {sign} {spread}) / (1 + {Z**2} / {n})" for side, sign in (("low", "-"), ("high", "+"))}
    return {name: f"{right} / {n}"} | {f"{name}_{side}": expression for side, expression in ends.items()}


def _predictive() -> dict[str, str]:
    """Vega expressions of PPV and NPV at the chosen prevalence, from sensitivity and specificity and from the ends of their intervals.

    The interval takes both ends at once, the least of each and the greatest of each: it is wider than one of 95 % would be.
    """

    def of(side: str) -> dict[str, str]:
        one, other, p = f"datum.sensitivity{side}", f"datum.specificity{side}", "prevalence"
        ppv = f"{one} * {p} / ({one} * {p} + (1 - {other}) * (1 - {p}))"
        npv = f"{other} * (1 - {p}) / ({other} * (1 - {p}) + (1 - {one}) * {p})"
        return {f"PPV{side}": ppv, f"NPV{side}": npv}

    return of("") | of("_low") | of("_high")


class ExplorerDirective(SphinxDirective):
    """The chart, with the fallback in its body: what is seen where no script runs."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir).parent
        runs = committed.read(root / "results" / "quarter.parquet", "quarter")
        records = runs.of(committed.PERFORMANCE)
        self.env.metadata[self.env.docname]["cxr_charts"] = "yes"
        fallback = nodes.container("", classes=["cxr-explorer-fallback"])
        self.state.nested_parse(self.content, self.content_offset, fallback)
        if not records:
            return [fallback]
        specification = json.dumps(chart(counts(records)), separators=(",", ":")).replace("</", "<\\/")
        badge = f'<p><span class="cxr-badge cxr-badge-real">{BADGES["real"]}</span> {markup.html_text(runs.data_name())}, {len(records)} recorded runs of Table 1.</p>'
        frame = (
            '<div class="cxr-explorer cxr-scroll" role="region" aria-label="Explorer: threshold and prevalence">'
            '<div id="cxr-chart"></div><p id="cxr-said" aria-live="polite"></p></div>'
            f'<script type="application/json" id="cxr-specification">{specification}</script>'
        )
        return [nodes.raw("", badge + frame, format="html"), fallback]


class ViewerDirective(SphinxDirective):
    """Grad-CAM on phantoms, step by step: pictures that the Grad-CAM notebook left, swapped by buttons and arrow keys."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        frames = frames_of(Path(self.env.srcdir) / "executed" / f"{self.arguments[0]}.ipynb")
        if not frames:
            return [nodes.paragraph("", "This copy holds no phantoms to step through.")]
        self.env.metadata[self.env.docname]["cxr_frames"] = self.arguments[0]
        items = [{"said": frame["said"], "kinds": list(frame["pictures"])} for frame in frames]
        said = markup.html_text(items[0]["said"])
        buttons = "".join(f'<label><input type="radio" name="cxr-kind" value="{kind}"{" checked" if place == 0 else ""}> {markup.html_text(kind)}</label> ' for place, kind in enumerate(items[0]["kinds"]))
        data = json.dumps(items, ensure_ascii=False).replace("</", "<\\/")
        html = (
            f'<div class="cxr-viewer" role="region" aria-label="Grad-CAM on phantoms"><p><span class="cxr-badge cxr-badge-phantom">{BADGES["phantom"]}</span> '
            f'<span id="cxr-viewer-said" aria-live="polite">{said}</span></p><img id="cxr-viewer-image" src="_static/frames/0-{items[0]["kinds"][0]}.svg" alt="{said}" width="320" height="320">'
            f'<fieldset><legend>Show</legend>{buttons}</fieldset><button type="button" id="cxr-viewer-back">previous</button> <button type="button" id="cxr-viewer-next">next</button></div>'
            f'<script type="application/json" id="cxr-frames">{data}</script>'
        )
        return [nodes.raw("", html, format="html")]


def frames_of(notebook: Path) -> list[dict[str, Any]]:
    """What a notebook left for the viewer: a sentence and SVG pictures by name for each image; nothing of real images."""
    if not notebook.is_file():
        return []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if FRAMES in output.get("data", {}):
                return output["data"][FRAMES]
    return []


def write_frames(app: Sphinx, error: Exception | None) -> None:
    """The pictures of the viewers, also of one whose page was read by an earlier build."""
    if error is not None or app.builder.format != "html":
        return
    for notebook in sorted({about["cxr_frames"] for about in app.env.metadata.values() if "cxr_frames" in about}):
        for number, frame in enumerate(frames_of(Path(app.srcdir) / "executed" / f"{notebook}.ipynb")):
            for kind, picture in frame["pictures"].items():
                atomic_write(Path(app.outdir) / "_static" / "frames" / f"{number}-{kind}.svg", picture.encode())


def write_script(app: Sphinx, error: Exception | None) -> None:
    """The script that draws charts, without the addresses that it names but never asks."""
    if error is not None or app.builder.format != "html" or not any("cxr_charts" in about or "cxr_widgets" in about for about in app.env.metadata.values()):
        return
    import vl_convert

    bundle = re.sub(r"https://vega\.github\.io/(?:schema|editor)/[\w./-]*", "", again.kept(app, SCRIPT, vl_convert.javascript_bundle))
    atomic_write(Path(app.outdir) / "_static" / SCRIPT, f"(() => {{{bundle}\n}})();\n")  # its names are its own; a module could not be loaded from disk


def _scripts(app: Sphinx, page: str, _template: str, _context: dict[str, Any], _doctree: Any) -> None:
    if page == "explorer":
        app.add_js_file(SCRIPT, priority=600)
        app.add_js_file("explorer.js", priority=610, loading_method="defer")


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.add_directive("cxr-explorer", ExplorerDirective)
    app.add_directive("cxr-viewer", ViewerDirective)
    app.connect("html-page-context", _scripts, priority=400)
    app.connect("build-finished", write_frames)
    app.connect("build-finished", write_script)
