"""The figures: one look for each initialisation, readable text, contrast in both themes, distances that the colour-blind see too."""

import io
import itertools
import re
from types import SimpleNamespace

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from cxrlib.metrics.estimate import Estimate
from cxrlib.study.figures import captions, common, real, shortcuts, style

LIGHT_PAGE, DARK_PAGE = "#ffffff", "#14181e"
LINEAR = {  # Machado, Oliveira and Fernandes 2009, IEEE Transactions on Visualization and Computer Graphics 15, 1291; severity 1
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.fixture(autouse=True)
def styled():
    with matplotlib.rc_context():
        style.use_style()
        yield
    plt.close("all")


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def linear(color: str) -> np.ndarray:
    share = rgb(color)
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: ratio of relative luminances."""
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other)), reverse=True)
    return light / dark


def seen(color: str, kind: str) -> np.ndarray:
    """A colour in CIELAB, as somebody without one kind of cone sees it."""
    mixed = np.clip(np.array(LINEAR[kind]) @ linear(color), 0, 1)
    return rgb2lab(np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055))


def drawn(figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def estimates(*values: float) -> list[Estimate]:
    return [Estimate(v, v - 0.03, v + 0.02) for v in values]


INITS = ["fractal-m", "random", "photo-s"]
BINS = pd.DataFrame({"predicted": [0.2, 0.8], "observed": [0.3, 0.7], "low": [0.2, 0.6], "high": [0.4, 0.8]})
TABLE = pd.DataFrame({"x": [36, 72] * 3, "mixup": ["off"] * 6, "init": np.repeat(INITS, 2), "accuracy": pd.Series(estimates(0.8, 0.85, 0.7, 0.75, 0.8, 0.9), dtype=object)})
SIZES = TABLE.rename(columns={"x": "images_per_class"}).astype({"images_per_class": float})
CURVES = pd.DataFrame({"init": np.repeat(INITS, 4), "seed": [0, 0, 1, 1] * 3, "step": [10, 20] * 6, "accuracy": np.linspace(0.5, 0.9, 12)})
TRADE = pd.DataFrame({"specificity": [0.6, 1.0], "mean": [1.0, 0.5], "least": [0.9, 0.4], "greatest": [1.0, 0.6]})
COVERAGE = pd.DataFrame({"method": ["two-way analysis"], "population": ["all training images"], "seeds": [3], "of": ["value"], "metric": ["auc"], "spread": [0.01], "covered": [0.95]})


def judged(word: str, low: float = 0.0) -> SimpleNamespace:
    part = SimpleNamespace(claim=1, low=low, high=np.inf, ours=False)
    compared = SimpleNamespace(name="more than less", measured=SimpleNamespace(bounded=False))
    return SimpleNamespace(interval=Estimate(0.1, 0.05, 0.2), compared=compared, part=part, word=word)


TITLE = "Real X-rays (covidx-mini): which images are called wrong, by one of the networks that were recorded"


FIGURES = {
    "image grid": lambda: common.image_grid({"negative": [np.zeros((9, 9))] * 4}, {"negative": ["a"] * 4}, TITLE),
    "count bars": lambda: common.count_bars(pd.DataFrame({"kind": ["images"] * 2, "split": ["train"] * 2, "label": ["negative", "positive"], "count": [3, 4]}), TITLE),
    "file shapes": lambda: common.file_shapes(pd.DataFrame({"width": [5, 6], "height": [7, 8], "class": ["negative", "positive"], "images": [1, 9]}), TITLE),
    "grid": lambda: common.grid_panels(TABLE, "x", "mixup", "init", TITLE, "resolution"),
    "curves": lambda: common.learning_curves(CURVES, "accuracy", TITLE, "test accuracy"),
    "confusion": lambda: common.confusion([[90, 10], [5, 95]], TITLE),
    "roc": lambda: common.curve_pair({i: ([0, 1], [0, 1], f"{i}, AUC 90") for i in INITS}, {i: ([0, 1], [1, 0], i) for i in INITS}, TITLE),
    "reliability": lambda: common.reliability(dict.fromkeys(INITS, BINS), TITLE),
    "reliability pair": lambda: real.reliability_pair({"before": dict.fromkeys(INITS, BINS), "after": {}}, TITLE),
    "data size": lambda: common.data_size(SIZES, TITLE, {"paper": 0.9}),
    "Grad-CAM": lambda: common.cam_grid(np.zeros((2, 8, 8)), np.ones((2, 8, 8)), ["a", "b"], TITLE),
    "regions": lambda: common.paired_regions({("edge", "negative"): Estimate(1, 0.9, 1.1)}, ["edge"], ["negative"], TITLE, "preference"),
    "randomisation": lambda: common.randomisation([0, 1], estimates(1, 0), TITLE),
    "pretraining": lambda: common.pretraining({"fractal-s": pd.DataFrame({"step": [1, 2], "loss": [2, 1], "accuracy": [0, 1]})}, {"fractal-s": 0.9}, TITLE),
    "units": lambda: common.residual_units([("conv", "1×1 conv"), ("norm", "group norm")], TITLE),
    "ratios": lambda: common.ratio_dots(pd.DataFrame({"label": ["a"], "ratio": [2.0], "low": [1.5], "high": [2.5], "target": [3.0]}), TITLE, "times"),
    "note": lambda: real.note(TITLE),
    "trade-off": lambda: real.trade_off(dict.fromkeys(INITS, TRADE), dict.fromkeys(INITS, (0.9, 0.8)), 0.9, TITLE),
    "forest": lambda: real.forest([judged("holds"), judged("not seen", low=0.02)], TITLE),
    "coverage": lambda: real.coverage(COVERAGE, TITLE),
    "dots": lambda: shortcuts.dots({"real": [("a", {"AUC": estimates(0.9)[0], "accuracy": estimates(0.8)[0]})], "made": "no records"}, TITLE, "score (%)", 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_at_the_width_of_the_column_and_the_ground_is_transparent(name):
    svg = drawn(FIGURES[name]())
    width = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)[1])
    assert width == pytest.approx(72 * style.WIDTH, abs=1), "as wide as the column, so that it is not scaled"
    sizes = [float(size) / 0.75 for size in re.findall(r"font(?:-size)?: (?:[\w ]+ )?([\d.]+)px", svg)]  # in units of the drawing, which are points
    assert sizes, "text is text, not paths"
    assert min(sizes) >= 11, f"CSS pixels at full width: {sorted(set(sizes))}"
    assert not re.search(r'<g id="patch_1">\s*<path[^>]*style="fill: #', svg), "no card behind the figure"


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_written_beyond_the_edges(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    width, height = figure.bbox.size
    texts = [figure._suptitle, *(text for ax in figure.axes for text in (ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title)), *(text for legend in figure.legends for text in legend.get_texts())]
    for text in texts:
        if text is not None and text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= width + 1, (text.get_text(), box, width)
            assert box.y0 >= -1 and box.y1 <= height + 1, (text.get_text(), box, height)


def test_a_legend_reads_row_by_row():
    figure, ax = plt.subplots()
    for name in (names := [f"a rather long name, {number}" for number in range(5)]):
        ax.plot([0, 1], label=name)
    style.legend_below(figure, [ax])
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.legends[0].get_texts()}
    assert sorted(boxes, key=lambda name: (-round(boxes[name].y0), boxes[name].x0)) == names


def test_rows_that_begin_alike_stand_under_a_heading():
    value = {"AUC": Estimate(0.6, 0.5, 0.7)}
    grouped = shortcuts.dots({"real": [("view: AP", value), ("view: PA", value), ("age: old", value)]}, "t", "score")
    assert [label.get_text() for label in grouped.axes[0].get_yticklabels()] == ["view", "AP", "PA", "age", "old"]
    alone = shortcuts.dots({"real": [("view: AP", value), ("age: old", value)]}, "t", "score")
    assert [label.get_text() for label in alone.axes[0].get_yticklabels()] == ["view: AP", "age: old"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_colour_has_a_counterpart_in_the_dark_theme(name):
    svg = drawn(FIGURES[name]())
    outside = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"<image.*?/>", "", svg, flags=re.DOTALL))) - set(style.DARK) - {"#fefefe"}
    bar = name == "Grad-CAM"  # its colour bar is drawn in the colours of heat
    assert not outside or bar, outside
    dark = style.dark_copy(svg)
    assert style.INK not in dark
    assert style.DARK[style.INK] in dark


@pytest.mark.parametrize("page", [LIGHT_PAGE, DARK_PAGE])
def test_contrast_with_the_page(page):
    shown = {color: style.DARK[color] if page == DARK_PAGE else color for color in style.DARK if color not in ("#ffffff", "#000000")}
    for color, there in shown.items():
        least = 4.5 if color in (style.INK, style.SOFT) else 1.2 if color == style.GRID else 3.0
        if color == style.FAINT:
            least = 2.8
        assert contrast(there, page) >= least, (color, there, contrast(there, page))


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_initialisations_differ_for_the_colour_blind_in_colour_or_marker(kind, theme):
    assert len({look.marker for look in style.INITIALISATIONS.values()}) == len(style.INITIALISATIONS)
    for design in (["random", "fractal-s", "fractal-m"], ["random", "photo-s", "photo-m"], ["random", "bit-s", "bit-m"], ["random", "imagenet-lite"]):
        colors = [style.look(init).color if theme == "light" else style.DARK[style.look(init).color] for init in design]
        for one, other in itertools.combinations(colors, 2):
            assert deltaE_ciede2000(seen(one, kind), seen(other, kind)) > 10, (design, one, other)


def test_a_look_belongs_to_a_name():
    alone, among = common.learning_curves(CURVES[CURVES["init"] == "photo-s"], "accuracy", "t", "a"), FIGURES["curves"]()
    color = style.look("photo-s").color
    assert alone.axes[0].lines[0].get_color() == color == among.axes[0].lines[-1].get_color()
    assert [line.get_label() for line in among.axes[0].lines] == ["random weights", "many fractals", "few photographs"]
    assert style.look("photo-s-1") == style.look("photo-s")
    assert style.look("upstream/mine.safetensors").label == "mine.safetensors"
    assert style.in_order(["x", "photo-m", "random", "photo-m"]) == ["random", "photo-m", "x"]


def test_heat_has_one_scale_across_images():
    maps = np.ones((2, 4, 4))
    maps[1, 0, 0] = 9
    figure = common.cam_grid(np.zeros((2, 4, 4)), maps, ["a", "b"], "t")
    overlays = [image for ax in figure.axes for image in ax.images if image.cmap.name == style.HEAT]
    assert len({image.get_clim() for image in overlays}) == 1
    assert [float(image.get_array().mean()) for image in overlays] == [pytest.approx(1), pytest.approx(1)]
    assert overlays[1].get_array().max() == pytest.approx(9 * 16 / 24) == overlays[0].get_clim()[1]


def test_the_colours_of_heat_rise_evenly_in_lightness():
    lightness = rgb2lab(matplotlib.colormaps[style.HEAT](np.linspace(0, 1, 64))[None, :, :3])[0, :, 0]
    steps = np.diff(lightness)
    assert steps.min() > 0
    jet = np.diff(rgb2lab(matplotlib.colormaps["jet"](np.linspace(0, 1, 64))[None, :, :3])[0, :, 0])
    assert steps.std() / steps.mean() < 0.5 < jet.std() / abs(jet.mean())


def test_rows_are_sorted_where_asked():
    rows = [("low", {"AUC": Estimate(0.6, 0.5, 0.7)}), ("high", {"AUC": Estimate(0.9, 0.8, 1.0)})]
    figure = shortcuts.dots({"real": rows}, "t", "score", best_first="AUC")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["high", "low"]


def test_a_finding_is_a_sentence_about_named_data():
    assert captions.told("Half of the  images\nare blue.", "real", "a.parquet") == {"finding": "Half of the images are blue.", "data": "real", "source": "a.parquet"}
    for finding, data in (("", "real"), ("Bar chart.", "real"), ("Half of the images are blue", "real"), ("Half of the images are blue.", "phantoms")):
        with pytest.raises(ValueError, match="is no sentence|is drawn from one of"):
            captions.told(finding, data, "a")
    assert captions.each({"fractal-m": Estimate(0.974), "random": Estimate(0.961)}) == "96.1 % from random weights, 97.4 % from many fractals"
