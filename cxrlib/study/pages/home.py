"""What the home page says, from the same records and verdicts as the page of real X-rays: one sentence, three lines, a strip of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrlib import markup
from cxrlib.metrics.estimate import Estimate
from cxrlib.study import pairs, selection, thresholds, verdicts
from cxrlib.study.committed import PERFORMANCE, SENSITIVITY, Design, Recorded
from cxrlib.study.pages import file_sizes
from cxrlib.study.parameters import Profile, RelatedWork
from cxrlib.study.verdicts import NOT_RECORDED, Verdict

FILE_SIZE = "width and height of the file"
TEXTURE, NETWORK, BEST = "texture only, no network", "best start of Table 1 here", "best of all settings here"
TEXTURE_SYSTEMS = ("lbp-svm", "lbp-svm-224")
RELATED_WORK = "07_related_work"


def scores(runs: Recorded, profile: str, files: Path, threshold: float = 0.5) -> dict[str, Estimate]:
    """Share of test images called right: from the size of a file, by texture without a network, by the best start of Table 1, by the best setting of all.

    The best of textures and the best of all settings are chosen on these very images, so both look a little better than they are.

    The test set has as many images of one class as of the other, so an accuracy compares with the balanced one of file sizes.
    What is not recorded is left out.
    """
    found = {}
    if (sizes := file_sizes.read(files)) is not None:
        found[FILE_SIZE] = file_sizes.guess(sizes)
    planned = RelatedWork.parse(Profile.load(profile).parameters(RELATED_WORK))
    texture = [runs.answers(planned.runs_of(name)) for name in TEXTURE_SYSTEMS if name in planned.systems]
    if textures := [thresholds.performance(members, threshold)["accuracy"] for members in texture if members]:
        found[TEXTURE] = max(textures, key=float)
    networks = {init: thresholds.performance(members, threshold)["accuracy"] for init, members in runs.by_init(PERFORMANCE).items()}
    if networks:
        found[NETWORK] = max(networks.values(), key=float)
    if grid := selection.best_setting(runs.of_paper()[0]):
        found[BEST] = thresholds.performance(grid, threshold)["accuracy"]
    return found


def sentence(strip: Mapping[str, Estimate]) -> str:
    """The answer, from the strip."""
    size, others = strip.get(FILE_SIZE), {name: value for name, value in strip.items() if name != FILE_SIZE}
    if size is None or not others:
        return f"The answer is {NOT_RECORDED}."
    rest = "; ".join(f"{name}: {value.percent()} %" for name, value in sorted(others.items(), key=lambda item: -float(item[1])))
    ahead = size > max(others.values(), key=float)
    end = "So no score here shows that a disease was found." if ahead else "A score above it may still follow the source of an image."
    return f"The width and height of the image file, without the picture, tell the class of {size.percent()} % of the test images. {rest[0].upper()}{rest[1:]}. {end}"


def plain_lines(rows: Sequence[Verdict]) -> list[str]:
    """What pretraining gave, what ten times more gave, and what mixup gave: a line each, from the verdicts."""
    lines = []
    for said, claim, place in (("Pretraining", 1, 0), ("Ten times more of it", 1, 1), ("Mixup", 4, 0)):
        answers = [answer for row in rows if row.number == claim for answer in row.parts if not answer.part.ours]
        if len(answers) <= place or answers[place].interval is None:
            lines.append(f"{said}: {NOT_RECORDED}.")
            continue
        one = answers[place]
        value, low, high = (100 * share for share in (one.interval, one.interval.low, one.interval.high))
        between = one.compared.name.removeprefix(f"{said.lower()} ")  # 'Mixup (against none)'
        where = "at the setting of Table 1" if one.part.runs == "setting" else "over the whole grid"
        lines.append(f"{said} ({between}), {where}: {value:+.1f} points of test accuracy, between {low:+.1f} and {high:+.1f}; {one.word}.")
    return lines


def longest(runs: Recorded, design: Design) -> str:
    """What pretraining gives after the longest schedule, as a sentence: the first upstream set against random weights, largest images, the paper's mixup."""
    kept = [
        record for record in runs.of(SENSITIVITY)
        if (found := pairs.setting(record))["schedule"] == design.schedules[-1] and found["resolution"] == design.resolutions[-1] and found["mixup"] == design.mixup
    ]  # fmt: skip
    if len(design.inits) < 2 or not {*design.inits[:2]} <= {pairs.setting(record)["init"] for record in kept}:
        return f"After the longest schedule: {NOT_RECORDED}."
    gain = pairs.effect(kept, "init", design.inits[1], design.inits[0])
    return f"After {design.schedules[-1][-1]:,} steps in place of {design.schedule[-1]:,} the gain is {pairs.points(gain)}, a plain interval over fewer seeds."


def keyed_lines(rows: Sequence[Verdict]) -> dict[str, str]:
    """:func:`plain_lines` under the names by which the home page asks for them."""
    return dict(zip(("home_pretraining", "home_more", "home_mixup"), plain_lines(rows), strict=True))


def summary(rows: list[Verdict]) -> str:
    """How many claims have which word, as a sentence."""
    return f"In this study {verdicts.summary(rows)}."


def answer(said: str, rows: list[Verdict]) -> str:
    """What the page of real X-rays answers, as Markdown: how many claims hold, then what a file's size alone tells."""
    return markup.text(f"{summary(rows)} {said}")
