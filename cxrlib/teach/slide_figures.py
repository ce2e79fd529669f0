"""The numbers and figures of the slides and of the handout, computed from the committed records."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxrlib.book.notebooks import BookError
from cxrlib.metrics.classifier import ppv_npv_at_prevalence, wilson
from cxrlib.metrics.estimate import percentage
from cxrlib.metrics.inference import auc_difference, difference_over_seeds
from cxrlib.teach import classroom

SCHEDULE = (500, 1500, 3000, 4500, 10000)
BATCH = 64
"""The paper's schedule and batch (section 3.3)."""


def _patients(records: list) -> np.ndarray:
    return records[0].table().sort_values("file")["patient_id"].to_numpy()


def _labels(records: list) -> np.ndarray:
    return records[0].table().sort_values("file")["label"].to_numpy()


def _at_one_half() -> tuple[float, float]:
    """Sensitivity and specificity on real X-rays of the networks from many photographs, means over their seeds."""
    records = classroom.of_table_1("photo-m")
    called, ill = classroom.matrix(records, "probability") > 0.5, _labels(records) == 1
    return float(called[:, ill].mean()), float((~called[:, ~ill]).mean())


def numbers() -> dict[str, str]:
    """Every number that the slides and the handout may name, as text; runs in the class folder."""
    return dict(_numbers(Path.cwd()))


@functools.lru_cache(maxsize=2)
def _numbers(_folder: Path) -> dict[str, str]:
    from cxrlib.study import committed
    from cxrlib.study.pages import confounding, home

    found = {"log2": f"{math.log(2):.2f}", "warmup": f"{SCHEDULE[0]:,}", "steps": f"{SCHEDULE[-1]:,}", "images_shown": f"{SCHEDULE[-1] * BATCH:,}"}
    for name, init in (("frozen_random", "random"), ("frozen_photo", "photo-m")):
        frozen, tuned = classroom.frozen_on_real(init)
        found[name] = auc_difference(classroom.matrix(tuned, "logit"), classroom.matrix(frozen, "logit"), _labels(tuned), _patients(tuned)).percent()
    few = {init: classroom.of_transfer(init, 32) for init in ("photo-m", "random")}
    found["few"] = difference_over_seeds(*(classroom.matrix(records, "right") for records in few.values()), _patients(few["random"])).percent()
    curve = confounding.curve(classroom.recorded(1.0))
    full = curve[curve["measure"] == "accuracy"].iloc[0]
    found |= {"own": f"{percentage(full['own']):.0f}", "plain": f"{percentage(full['unconfounded']):.0f}", "lost": full["gap"].percent()}
    sensitivity, specificity = _at_one_half()
    found |= {"sensitivity": f"{percentage(sensitivity):.0f}", "specificity": f"{percentage(specificity):.0f}"}
    found["ppv1"] = f"{percentage(ppv_npv_at_prevalence(sensitivity, specificity, 0.01)[0]):.0f}"
    found["clinic"] = f"{percentage((9 / 99) / (1 + 9 / 99)):.0f}"  # odds of 0.9 times odds of 1 %
    found["wilson200"] = f"{percentage(wilson(200, 200).low):.1f}"
    strip = home.scores(committed.read(Path("results/quarter.parquet"), "quarter"), "quarter", Path("results/files.parquet"))
    found["strip_rows"] = "\n".join(f"| {name} | {value.percent()} % |" for name, value in sorted(strip.items(), key=lambda item: -float(item[1])))
    return found


def _schedule(ax) -> None:
    from cxrlib.train.finetune import learning_rate

    steps = np.arange(10, SCHEDULE[-1], 10)
    ax.plot(steps, [learning_rate(int(step), SCHEDULE) for step in steps], color="#1f5f7a")
    ax.set(xlabel="step", ylabel="learning rate")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")


def _frozen(ax) -> None:
    from cxrlib.study.figures import style

    rows = [(init, kind, records) for init in ("random", "photo-m") for kind, records in zip(("frozen", "fine-tuned"), classroom.frozen_on_real(init), strict=True)]
    for height, (init, kind, records) in enumerate(reversed(rows)):
        look = style.look(init)
        ax.plot([100 * record.history[-1]["test_auc"] for record in records], [height] * len(records), look.marker, color=look.color, markerfacecolor=look.color if kind == "fine-tuned" else "none")
    ax.set(yticks=range(len(rows)), yticklabels=[f"{style.named(init)}, {kind}" for init, kind, _ in reversed(rows)], xlabel="test AUC in percent", ylim=(-0.6, len(rows) - 0.4))


def _seeds(ax) -> None:
    from cxrlib.study.figures import style

    for height, init in enumerate(("random", "photo-m")):
        look, values = style.look(init), 100 * classroom.matrix(classroom.of_transfer(init, 32), "right").mean(axis=1)
        ax.plot(values, [height] * len(values), look.marker, color=look.color)
        ax.plot([values.mean()] * 2, [height - 0.25, height + 0.25], color=look.color)
    ax.set(yticks=(0, 1), yticklabels=[style.named(init) for init in ("random", "photo-m")], xlabel="test accuracy in percent", ylim=(-0.6, 1.6))


def _confounding(ax) -> None:
    from cxrlib.study.pages import confounding

    curve = confounding.curve([record for level in confounding.LEVELS for record in classroom.recorded(level)])
    table = curve[curve["measure"] == "accuracy"]
    for column, label, looks in (("own", "own test set", {"marker": "o", "color": "#20262e"}), ("unconfounded", "plain test set", {"marker": "s", "color": "#5c6670", "markerfacecolor": "none"})):
        values = [100 * value for value in table[column]]
        spread = [[100 * (value - value.low) for value in table[column]], [100 * (value.high - value) for value in table[column]]]
        ax.errorbar(table["level"].astype(float), values, spread, capsize=3, label=label, **looks)
    ax.set(xlabel="share of images whose style follows the class", ylabel="accuracy in percent")
    ax.legend(loc="lower left")


def _ppv(ax) -> None:
    prevalence = np.linspace(0.002, 0.5, 200)
    ax.plot(100 * prevalence, 100 * np.asarray(ppv_npv_at_prevalence(*_at_one_half(), prevalence)[0]), color="#1f5f7a")
    ax.axvline(1, linestyle=":", color="#5c6670")
    ax.set(xlabel="prevalence in percent", ylabel="PPV in percent", ylim=(0, 100))


FIGURES: dict[str, Callable] = {"schedule": _schedule, "frozen": _frozen, "seeds": _seeds, "confounding": _confounding, "ppv": _ppv}
"""What draws a figure into axes, by the name that a slide gives it."""


def figure(name: str) -> str:
    """A figure as SVG, as wide as a slide; the same records give the same drawing.

    Raises:
        BookError: if there is no such figure.
    """
    import matplotlib.pyplot as plt

    from cxrlib.study.figures import style

    if name not in FIGURES:
        raise BookError(f"there is no figure '{name}' for a slide; there are: {', '.join(FIGURES)}")
    with plt.rc_context():
        style.use_style()
        drawing, ax = plt.subplots(figsize=(style.WIDTH, 3.0))
        FIGURES[name](ax)
        stream = io.StringIO()
        drawing.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(drawing)
    return stream.getvalue()[stream.getvalue().index("<svg") :]
