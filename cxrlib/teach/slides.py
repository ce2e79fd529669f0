"""The slides and the handout: Markdown with names in braces for numbers and figures, which are computed from the committed records.

A slide deck is one HTML file that opens from disk and fetches nothing: arrow keys or a swipe turn, N shows the speaker's notes
with a clock, and printed it has a slide a page with its notes below. The handout is a page that Chromium prints to PDF.

    python -m cxrlib.teach.slides FOLDER      slides.html, handout.html, quiz.html and, where there is a Chromium, their PDFs
"""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from pathlib import Path

from cxrlib import DISCLAIMER
from cxrlib.book import quizzes
from cxrlib.book.notebooks import BookError
from cxrlib.files import atomic_write
from cxrlib.teach.classroom import home
from cxrlib.teach.slide_figures import figure, numbers

SOURCES = Path("teaching")


def filled(text: str, known: dict[str, str]) -> str:
    """A text with its names in braces replaced by numbers. BookError for a name that is none; braces of formulas hold no lone name."""

    def value(found: re.Match) -> str:
        if found[1] not in known:
            raise BookError(f"there is no number '{found[1]}'; there are: {', '.join(sorted(known))}")
        return known[found[1]]

    parts = re.split(r"(\$[^$\n]+\$)", text)
    return "".join(part if part.startswith("$") else re.sub(r"\{([a-z_0-9]+)\}", value, part) for part in parts)


def as_html(text: str) -> str:
    """Markdown as HTML: tables, figures drawn in, formulas left for MathJax; no raw HTML."""
    from markdown_it import MarkdownIt

    formulas: list[str] = []

    def kept(found: re.Match) -> str:
        formulas.append(found[1])
        return f"FORMULA{len(formulas) - 1}X"

    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(re.sub(r"\$([^$\n]+)\$", kept, text))
    page = re.sub(r"FORMULA(\d+)X", lambda found: rf"\({html.escape(formulas[int(found[1])])}\)", page)
    return re.sub(r'<p><img src="figure:(\w+)" alt="([^"]*)" ?/></p>', lambda found: f'<figure role="img" aria-label="{found[2]}">{_inline(found[1])}</figure>', page)


def _inline(name: str) -> str:
    """A drawing with ids of its own, as several stand in one page."""
    drawing = figure(name)
    for each in sorted(set(re.findall(r'\bid="([^"]+)"', drawing)), key=len, reverse=True):
        drawing = drawing.replace(f'id="{each}"', f'id="{name}-{each}"').replace(f'"#{each}"', f'"#{name}-{each}"').replace(f"url(#{each})", f"url(#{name}-{each})")
    return drawing


def _mathjax() -> str:
    """MathJax with its glyphs, as one script inside the page."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None:
        raise BookError("install sphinx-mathjax-offline; without it the slides would have no formulas")
    script = (Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    script = re.sub(r"https://cdn\.[\w./@-]*", "", script)  # of an old browser's helper, which no browser here asks for
    return f"<script>window.MathJax = {{options: {{enableMenu: false}}}};</script><script>{script}</script>"


def _page(title: str, style: str, body: str, script: str = "") -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title><style>{style}</style>{_mathjax()}'
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{body}{f"<script>{script}</script>" if script else ""}</body></html>\n'


def deck(text: str, known: dict[str, str], notes: bool = True) -> str:
    """A deck from Markdown: slides between lines of three dashes, and below ``Note:`` what the speaker says, unless ``notes`` is False."""
    slides = []
    for number, part in enumerate(re.split(r"^---$", text, flags=re.MULTILINE), 1):
        seen, _, said = filled(part, known).partition("\nNote:\n")
        if not said.strip():
            raise BookError(f"slide {number} has no speaker's notes; add them below a line 'Note:'")
        beside = f'<aside class="notes" aria-label="Notes">{as_html(said)}</aside>' if notes else ""
        slides.append(f'<section class="slide" id="{number}"><div class="seen">{as_html(seen)}</div>{beside}</section>')
    foot = f'<footer><span id="place"></span> <span class="disclaimer">{html.escape(DISCLAIMER)}</span> <span id="clock"></span></footer>'
    keys = f'<p class="keys">Arrow keys turn{", N shows notes and clock, print for slides with notes" if notes else ""}.</p>'
    return _page("What does a score show?", DECK_STYLE, f"<main>{''.join(slides)}</main>{foot}{keys}", DECK_SCRIPT)


def handout(text: str, known: dict[str, str]) -> str:
    """The handout as a page for one sheet of A4."""
    return _page("One page to take home", SHEET_STYLE, f"<main>{as_html(filled(text, known))}</main>")


def quiz_sheet(questions: dict[str, quizzes.Quiz], key: bool = False) -> str:
    """Entry and exit quiz with boxes to tick, a sheet each; with ``key`` the right letters and reasons, for the teacher."""
    sheets = []
    for name in ("entry", "exit"):
        quiz, items = questions[name], []
        for question in quiz.questions:
            rows = []
            for letter, choice in zip(quizzes.LETTERS, question.drawn(), strict=False):
                mark = ("☒" if choice.right else "☐") if key else "☐"
                rows.append(f"<li>{mark} {letter}. {html.escape(choice.says)}{f' <em>{html.escape(choice.because)}</em>' if key else ''}</li>")
            items.append(f"<li><b>{html.escape(question.ask)}</b><ul>{''.join(rows)}</ul></li>")
        who = "<p>Key, for the teacher</p>" if key else '<p class="name">Name or number:</p>'
        sheets.append(f'<section class="sheet"><h1>{html.escape(quiz.title)}</h1>{who}<ol>{"".join(items)}</ol><p>{html.escape(DISCLAIMER)}</p></section>')
    return _page("Quiz", SHEET_STYLE, "".join(sheets))


def write(folder: Path, root: Path | None = None, pdf: bool = True) -> list[Path]:
    """Write the deck, the handout and the quiz sheets; with a Chromium also handout and quiz as PDF.

    Args:
        folder: where they go; the deck with notes and the key of the quizzes go to ``folder/teacher``.
        root: class folder with ``teaching/``, ``book/`` and ``results/``.
        pdf: False leaves the PDFs out.

    Returns:
        The files that were written.
    """
    import os

    from cxrlib.book import publish

    root = (root or home()).resolve()
    folder, before = folder.resolve(), Path.cwd()
    os.chdir(root)
    try:
        known, questions = numbers(), quizzes.read(root / "book" / quizzes.FILE)
        talk = (root / SOURCES / "slides.md").read_text(encoding="utf-8")
        pages = {
            "slides.html": deck(talk, known, notes=False),
            "teacher/slides.html": deck(talk, known),
            "handout.html": handout((root / SOURCES / "handout.md").read_text(encoding="utf-8"), known),
            "quiz.html": quiz_sheet(questions),
            "teacher/quiz_key.html": quiz_sheet(questions, key=True),
        }
    finally:
        os.chdir(before)
    made = []
    for name, page in pages.items():
        atomic_write(folder / name, page)
        made.append(folder / name)
    if pdf and publish.browser() is not None:
        for name in ("handout", "quiz"):
            made.append(publish.printed(folder / f"{name}.html", folder / f"{name}.pdf"))
    return made


DECK_STYLE = """
:root { color-scheme: light; } body { margin: 0; font: 1.8rem/1.4 "DejaVu Sans", Verdana, Arial, sans-serif; color: #20262e; background: #fff; }
.slide { display: none; box-sizing: border-box; min-height: 92vh; padding: 4vh 6vw 8vh; } .slide.here { display: block; } h1 { font-size: 3rem; } h2 { font-size: 2.1rem; color: #1f5f7a; margin-top: 0; }
figure { margin: 0.5rem 0; } figure svg { width: min(100%, 60rem); height: auto; max-height: 55vh; } table { border-collapse: collapse; } td, th { border-bottom: 1px solid #8b949e; padding: 0.3rem 1rem 0.3rem 0; text-align: left; }
.notes { display: none; font-size: 1.05rem; background: #f3f5f7; border-left: 0.4rem solid #1f5f7a; padding: 0.6rem 1rem; margin-top: 1rem; } .with-notes .notes { display: block; }
footer { position: fixed; bottom: 0; left: 0; right: 0; display: flex; justify-content: space-between; font-size: 0.85rem; padding: 0.4rem 1rem; background: #7a2e1f; color: #fff; } #clock { visibility: hidden; } .with-notes #clock { visibility: visible; }
.keys { position: fixed; top: 0; right: 1rem; font-size: 0.75rem; color: #5c6670; margin: 0.3rem; }
@media print { @page { size: A4 landscape; margin: 12mm; } .slide, .notes { display: block !important; } .slide { break-after: page; min-height: 0; padding: 0; } footer, .keys { display: none; } body { font-size: 1.1rem; } figure svg { max-height: 80mm; } }
@media (max-width: 700px) { body { font-size: 1.1rem; } h1 { font-size: 2rem; } h2 { font-size: 1.5rem; } .keys { display: none; } footer { font-size: 0.7rem; } }
"""
DECK_SCRIPT = """
(() => {
  const slides = [...document.querySelectorAll(".slide")], place = document.getElementById("place"), clock = document.getElementById("clock"), began = Date.now();
  let here = 0;
  const show = (number) => {
    here = Math.max(0, Math.min(slides.length - 1, number));
    slides.forEach((slide, at) => slide.classList.toggle("here", at === here));
    place.textContent = `${here + 1} of ${slides.length}`;
    history.replaceState(null, "", `#${here + 1}`);
    window.scrollTo(0, 0);
  };
  document.addEventListener("keydown", (event) => {
    if (["ArrowRight", "PageDown", " "].includes(event.key)) { event.preventDefault(); show(here + 1); }
    else if (["ArrowLeft", "PageUp"].includes(event.key)) { event.preventDefault(); show(here - 1); }
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(slides.length - 1);
    else if (event.key.toLowerCase() === "n") document.body.classList.toggle("with-notes");
  });
  let from = null;
  document.addEventListener("touchstart", (event) => { from = event.touches[0].clientX; });
  document.addEventListener("touchend", (event) => { const by = event.changedTouches[0].clientX - from; if (Math.abs(by) > 60) show(here + (by < 0 ? 1 : -1)); });
  window.addEventListener("hashchange", () => show((parseInt(location.hash.slice(1), 10) || 1) - 1));
  setInterval(() => { const seconds = Math.floor((Date.now() - began) / 1000); clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`; }, 1000);
  show((parseInt(location.hash.slice(1), 10) || 1) - 1);
})();
"""
SHEET_STYLE = """
@page { size: A4; margin: 14mm 16mm; } body { font: 10.5pt/1.4 "DejaVu Sans", Verdana, Arial, sans-serif; color: #20262e; max-width: 48rem; margin: 0 auto; } h1 { font-size: 15pt; color: #1f5f7a; margin: 0 0 2mm; } p { margin: 0 0 2mm; }
figure { margin: 1mm 0; } figure svg { width: 100%; height: auto; max-height: 62mm; } .sheet { break-after: page; } .sheet:last-child { break-after: auto; } ol > li { margin-bottom: 3.5mm; } ul { list-style: none; padding-left: 2mm; margin: 1mm 0; } em { color: #5c6670; } .name { border-bottom: 1px solid #5c6670; width: 60%; }
"""


def main(arguments: list[str]) -> int:
    """``python -m cxrlib.teach.slides FOLDER``."""
    try:
        if len(arguments) != 1:
            raise BookError(f"name one folder: {main.__doc__}")
        print("\n".join(map(str, write(Path(arguments[0])))))
    except (BookError, quizzes.QuizError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
