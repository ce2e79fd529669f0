"""Text as people write it: what nobody sees is taken away, and what only looks different is recognised as the same."""

from __future__ import annotations

import re
import unicodedata

QUOTES = frozenset("\"'“”„«»‘’‚")

# Beside the format characters of Unicode (category Cf): fillers, joiners and variation selectors that show nothing.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | frozenset(
    chr(code) for start, end in ((0xFE00, 0xFE10), (0xE0100, 0xE01F0)) for code in range(start, end)
)
_APART = re.compile(r"[\s_-]+")
_AT_ENDS = "-.,;:#()[]" + "".join(sorted(QUOTES))
_FRACTION = re.compile(r"(\d+)\.0+")


def cleaned(text: str) -> str:
    """Text without characters that show nothing, its letters composed (Unicode NFC).

    Byte-order marks, zero-width spaces and joiners, soft hyphens, marks of direction, fillers, variation selectors.
    """
    if text.isascii():
        return text
    shown = (letter for letter in text if unicodedata.category(letter) != "Cf" and letter not in _UNSEEN)
    return unicodedata.normalize("NFC", "".join(shown))


def alike(name: str) -> str:
    """What ids have in common that differ only as tools and people spoil them.

    Case, kind of letters (full width), blanks for hyphens and underscores, marks at the ends, leading zeros of a number and
    a fraction of zero (``7.0`` for ``007``).
    """
    text = _APART.sub("-", unicodedata.normalize("NFKC", cleaned(name)).casefold()).strip(_AT_ENDS)
    if match := _FRACTION.fullmatch(text):
        text = match[1]
    return text.lstrip("0") or "0" if text.isdecimal() else text


def shortened(text: str, length: int = 80) -> str:
    """The beginning of a text that is too long to print."""
    return text if len(text) <= length else text[: length - 1] + "…"
