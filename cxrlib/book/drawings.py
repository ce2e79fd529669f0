"""Drawings of the book as files: no digits that nobody can see, nothing said twice, and one file for both themes.

:func:`compact` is safe wherever a drawing may go, also side by side with others inside one page, as some viewers of
notebooks show them. :func:`both_themes` is for files that a page names in an ``img`` element: its classes and short names
would meet those of another drawing.
"""

from __future__ import annotations

import re

from cxrlib.study.figures.style import DARK, dark_copy

DARK_TARGET = "dark"
"""``drawing.svg#dark`` is the drawing in the colours of the dark theme."""
TAG = re.compile(r"</?[A-Za-z][^>]*>")
TEXT = re.compile(r"(<text\b.*?</text>)", re.DOTALL)
STYLE = re.compile(r' style="([^"]*)"')
COLOR = re.compile(r' (fill|stroke|stop-color)="(#[0-9a-f]{6})"')
PLACES = re.compile(r'(?<= )(d|x|y|x1|y1|x2|y2|points|width|height)="([^"]*)"')
NUMBER = re.compile(r"-?\d*\.\d{3,}(?:e[+-]?\d+)?")
REFERENCE = re.compile(r"(?:url\(|href=\")#([^\")]+)")
TURNED_BY_NOTHING = re.compile(r' transform="rotate\(-?0(?:\.0+)? [^)"]*\)"')


def compact(drawing: str) -> str:
    """The same SVG drawing with places to a hundredth of a point, and without metadata, empty space and groups that do nothing.

    Texts, embedded pictures, and transformations other than by nothing stay as they are.
    """
    drawing = re.sub(r"<!DOCTYPE[^>]*>|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = "".join(part if part.startswith("<text") else re.sub(r">\s+<", "><", part.strip()) for part in TEXT.split(drawing))
    named = set(REFERENCE.findall(drawing))
    groups: list[bool] = []  # whether each group that is open does nothing

    def tag(found: re.Match) -> str:
        text = PLACES.sub(_rounded, TURNED_BY_NOTHING.sub("", found[0]))
        text = STYLE.sub(lambda style: re.sub(r"([:;]) +", r"\1", style[0]), text)
        if text == "</g>":
            return "" if groups.pop() else text
        if not re.match(r"<g\b", text):
            return text
        text = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in named else "", text)
        if text.endswith("/>"):
            return text
        groups.append(text == "<g>")
        return "" if text == "<g>" else text

    return TAG.sub(tag, drawing)


def _rounded(found: re.Match) -> str:
    places = re.sub(r"\s+", " ", NUMBER.sub(_shorter, found[2])).strip()
    if found[1] == "d":
        places = re.sub(r" ?([A-Za-z]) ?", r"\1", places)
    return f'{found[1]}="{places}"'


def _shorter(number: re.Match) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def both_themes(drawing: str) -> str:
    """A drawing that has the colours of the light theme, and those of the dark one where its address ends in ``#dark``.

    Styles become classes, each written once. A colour with a counterpart in :data:`cxrlib.study.figures.style.DARK` becomes a
    variable, which also what a ``use`` element repeats inherits, and another while the drawing is the target of its address.
    """
    classes: dict[str, str] = {}
    names = {name: f"i{number}" for number, name in enumerate(dict.fromkeys(REFERENCE.findall(drawing)))}

    def tag(found: re.Match) -> str:
        colored = [f"{name}:{color}" for name, color in COLOR.findall(found[0]) if color in DARK]
        text = COLOR.sub(lambda each: "" if each[2] in DARK else each[0], found[0])
        styles = [*colored, *STYLE.findall(text)]
        if styles:
            name = classes.setdefault(";".join(styles), f"c{len(classes)}")
            text = re.sub(r"^<[\w:]+", rf'\g<0> class="{name}"', STYLE.sub("", text))
        text = re.sub(r' id="([^"]*)"', lambda each: f' id="{names[each[1]]}"' if each[1] in names else "", text)
        return re.sub(r'(url\(|href=")#([^")]+)', lambda each: f"{each[1]}#{names[each[2]]}", text)

    drawing = TAG.sub(tag, compact(drawing))
    if not classes:
        return drawing
    shown = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    colors = {color: f"--{number}" for number, color in enumerate(color for color in DARK if color in shown)}
    for color, name in colors.items():
        shown = shown.replace(color, f"var({name})")
    light, dark = (";".join(f"{name}:{theme(color)}" for color, name in colors.items()) for theme in (str, dark_copy))
    rules = f"svg{{{light}}}svg:target{{{dark}}}{shown}"
    return re.sub(r"(<svg\b)([^>]*>)", lambda root: f'{root[1]} id="{DARK_TARGET}"{root[2]}<style>{rules}</style>', drawing, count=1)
