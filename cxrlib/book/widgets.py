"""Small charts with sliders that teach one idea each, drawn in the browser from what was computed when the book was built.

================================  =========================================================================
``{cxr-widget} schedule``         the learning rate over the steps, for a warm-up, a base rate and a length
``{cxr-widget} beta``             how mixed the batches of a training are, for a Beta(alpha, alpha)
``{cxr-widget} mixup``            two phantoms blended by the weight lambda, with label and least loss
``{cxr-widget} prevalence``       1,000 people, called and not, for a prevalence and a test
================================  =========================================================================

The technique is that of :mod:`cxrlib.book.explorer`: Altair writes the chart, one script on disk draws it, the browser's own
sliders move it, and a line of text says what is seen. The body of the directive is what stands there without scripts.
"""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cxrlib.book import explorer
from cxrlib.study.figures import style
from cxrlib.study.figures.captions import BADGES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PEOPLE = 1000
ALPHAS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
BINS = 20
DIVISIONS = (0.15, 0.30, 0.45)
"""Where the paper's schedule divides the rate by ten, as shares of its length (1500, 3000 and 4500 of 10,000 steps)."""


def _finished(chart: Any, said: str) -> dict[str, Any]:
    """The specification of a chart, with the sentence that is said of it as a signal, and without the address of its schema."""
    import altair as alt

    chart = chart.add_params(alt.param(name="said", expr=said)).configure(font="sans-serif", background="transparent")
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=12).configure_view(stroke=None)
    specification = chart.to_dict()
    specification.pop("$schema", None)
    return specification


def _slider(name: str, value: float, low: float, high: float, step: float, label: str) -> Any:
    import altair as alt

    return alt.param(name=name, value=value, bind=alt.binding_range(min=low, max=high, step=step, name=f"{label} "))


def schedule() -> dict[str, Any]:
    """The learning rate of :func:`cxrlib.train.finetune.learning_rate` over the steps of a schedule with the paper's divisions."""
    import altair as alt

    warmup, base, length = (
        _slider("warmup", 500, 0, 1400, 50, "Warm-up (steps)"), _slider("base", 0.003, 0.0005, 0.01, 0.0005, "Base rate"), _slider("length", 10000, 2000, 20000, 500, "Length (steps)"),
    )  # fmt: skip
    divided = " + ".join(f"(datum.step >= {share} * length ? 1 : 0)" for share in DIVISIONS)
    rate = f"datum.step < warmup ? base * datum.step / warmup : base / pow(10, {divided})"
    chart = alt.Chart(pd.DataFrame({"step": np.arange(0, 20001, 25)})).transform_filter("datum.step < length").transform_calculate(rate=rate)
    line = chart.mark_line(interpolate="linear", color=style.ACCENT, strokeWidth=2).encode(
        x=alt.X("step:Q", title="step", scale=alt.Scale(domain=[0, 20000])), y=alt.Y("rate:Q", title="learning rate", scale=alt.Scale(type="symlog", constant=0.00001, domain=[0, 0.01]), axis=alt.Axis(format="~g", values=[0, 0.00001, 0.0001, 0.001, 0.01])),
    )  # fmt: skip
    said = "'After a warm-up of ' + warmup + ' steps the rate is ' + format(base, '~g') + '; it is divided by ten at steps ' + format(0.15 * length, '~d') + ', ' + format(0.3 * length, '~d') + ' and ' + format(0.45 * length, '~d') + '; training ends at step ' + length + '.'"
    return _finished(line.properties(width=520, height=200).add_params(warmup, base, length), said)


def beta_shares() -> pd.DataFrame:
    """Share of batches whose weight lambda falls into each of ``BINS`` equal parts of [0, 1]: columns alpha, low, high, share."""
    from scipy.stats import beta

    edges = np.linspace(0, 1, BINS + 1)
    rows = [
        {"alpha": alpha, "low": low, "high": high, "share": float(beta.cdf(high, alpha, alpha) - beta.cdf(low, alpha, alpha))}
        for alpha in ALPHAS for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows).round(5)


def beta() -> dict[str, Any]:
    """Bars of :func:`beta_shares` for one alpha."""
    import altair as alt

    alpha = alt.param(name="alpha", value=ALPHAS[0], bind=alt.binding_select(options=list(ALPHAS), name="Alpha "))
    alphas = f"[{', '.join(map(str, ALPHAS))}]"
    pure = {alpha: float(part[(part["low"] < 0.05 - 1e-9) | (part["low"] > 0.95 - 1e-9)]["share"].sum()) for alpha, part in beta_shares().groupby("alpha")}
    shares = f"[{', '.join(f'{pure[alpha]:.3f}' for alpha in ALPHAS)}]"
    bars = alt.Chart(beta_shares()).transform_filter("datum.alpha === alpha").mark_bar(color=style.ACCENT).encode(
        x=alt.X("low:Q", title="weight lambda", scale=alt.Scale(domain=[0, 1])), x2="high:Q", y=alt.Y("share:Q", title="share of batches", scale=alt.Scale(domain=[0, 0.5]), axis=alt.Axis(**explorer.PERCENT_LABELS)), y2=alt.datum(0),
    )  # fmt: skip
    said = f"'Alpha ' + alpha + ': in ' + format(100 * {shares}[indexof({alphas}, alpha)], '.0f') + ' % of batches one of the two images has a share of at least 95 %.'"
    return _finished(bars.properties(width=520, height=180).add_params(alpha), said)


def prevalence() -> dict[str, Any]:
    """Four bars of ``PEOPLE`` people: ill and well, called and not."""
    import altair as alt

    ill, sensitivity, specificity = (
        _slider("ill", 0.01, 0.001, 0.5, 0.001, "Prevalence"), _slider("sensitivity", 0.9, 0.5, 1, 0.01, "Sensitivity"), _slider("specificity", 0.9, 0.5, 1, 0.005, "Specificity"),
    )  # fmt: skip
    groups = pd.DataFrame({"group": ["ill, called", "well, called", "ill, missed", "well, left alone"], "place": range(4)})
    count = f"{PEOPLE} * [ill * sensitivity, (1 - ill) * (1 - specificity), ill * (1 - sensitivity), (1 - ill) * specificity][datum.place]"
    chart = alt.Chart(groups).transform_calculate(people=count)
    named = alt.Y("group:N", sort=groups["group"].tolist(), title=None)
    bars = chart.mark_bar(color=style.ACCENT).encode(y=named, x=alt.X("people:Q", title=f"of {PEOPLE:,} people", scale=alt.Scale(domain=[0, PEOPLE])))
    words = chart.mark_text(align="left", dx=4, fontSize=13).encode(y=named, x="people:Q", text=alt.Text("people:Q", format=".0f"))
    ppv = "(ill * sensitivity / (ill * sensitivity + (1 - ill) * (1 - specificity)))"
    said = f"'Of ' + format({PEOPLE} * (ill * sensitivity + (1 - ill) * (1 - specificity)), '.0f') + ' people who are called, ' + format({PEOPLE} * ill * sensitivity, '.0f') + ' are ill: a PPV of ' + format(100 * {ppv}, '.1f') + ' %, at a prevalence of ' + format(100 * ill, '.1f') + ' %.'"
    return _finished(alt.layer(bars, words).properties(width=440, height=150).add_params(ill, sensitivity, specificity), said)


CHARTS: dict[str, Callable[[], dict[str, Any]]] = {"schedule": schedule, "beta": beta, "prevalence": prevalence}


@functools.cache
def phantom_pair(size: int = 192) -> tuple[str, str]:
    """Two phantoms as data addresses of PNG files: one without finding, one positive."""
    from PIL import Image

    from cxrlib import phantom

    found = []
    for label, patient in (("negative", 3), ("positive", 5)):
        stream = io.BytesIO()
        Image.fromarray(phantom.render(label, seed=0, size=size, patient=patient, split="test").image).save(stream, format="PNG")
        found.append(f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}")
    return found[0], found[1]


def mixup() -> str:
    """Two phantoms, one over the other, and the slider that blends them; the script writes label and least loss below."""
    negative, positive = phantom_pair()
    return (
        f'<p><span class="cxr-badge cxr-badge-phantom">{BADGES["phantom"]}</span> The label of the negative phantom is 0, of the positive one 1.</p>'
        f'<div class="cxr-blend"><img src="{negative}" alt="Negative phantom" width="192" height="192"><img id="cxr-blend-over" src="{positive}" alt="Positive phantom, blended over it" width="192" height="192"></div>'
        '<label>Weight of the positive phantom <input type="range" id="cxr-blend-weight" min="0" max="1" step="0.01" value="0.1"></label>'
    )


class WidgetDirective(SphinxDirective):
    """One of the charts, and in the body of the directive what is seen where no script runs."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in CHARTS and name != "mixup":
            raise self.error(f"there is no widget '{name}'; there are: mixup, {', '.join(CHARTS)}")
        fallback = nodes.container("", classes=["cxr-widget-fallback"])
        self.state.nested_parse(self.content, self.content_offset, fallback)
        self.env.metadata[self.env.docname]["cxr_widgets"] = "yes"
        if name == "mixup":
            inside = mixup()
        else:
            specification = json.dumps(CHARTS[name](), separators=(",", ":")).replace("</", "<\\/")
            inside = f'<div class="cxr-widget-chart"></div><script type="application/json">{specification}</script>'
        opened = f'<div class="cxr-explorer cxr-widget" id="cxr-widget-{name}" role="region" aria-label="Widget: {name}">{inside}<p class="cxr-widget-said" aria-live="polite"></p></div>'
        return [nodes.raw("", opened, format="html"), fallback]


def _scripts(app: Sphinx, page: str, _template: str, _context: dict[str, Any], _doctree: Any) -> None:
    if "cxr_widgets" in app.env.metadata.get(page, {}):
        app.add_js_file(explorer.SCRIPT, priority=600)
        app.add_js_file("widgets.js", priority=620, loading_method="defer")


def setup(app: Sphinx) -> None:
    """Called by :func:`cxrlib.book.pages.setup`."""
    app.add_directive("cxr-widget", WidgetDirective)
    app.connect("html-page-context", _scripts, priority=400)
