"""Figures as SVG that takes its colours from the page around it, so that one drawing serves light and dark."""

from __future__ import annotations

import io
import itertools
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from fdsr.drawing.style import PALETTE, SIZE, Look, Panel, settings

_INK, _FAINT, _PAPER = "#010203", "#040506", "#070809"  # stand for the page's text, its lines and its background
_SETTINGS = settings([f"#a0b0{i:02x}" for i in range(len(PALETTE))], _INK, _FAINT, _PAPER) | {
    "svg.fonttype": "none",
    "savefig.facecolor": "none",
}
_ids = itertools.count()


def inline(panel: Panel) -> str:
    """A panel as markup for a page."""
    with rc_context(_SETTINGS):
        figure = Figure((SIZE[0], panel.height), layout="constrained")
        panel.draw(figure.subplots())
        return _markup(figure)


def sample_line(look: Look) -> str:
    """A line and a mark as the figures draw them, for the page's legend."""
    with rc_context(_SETTINGS):
        figure = Figure((34 / 72, 12 / 72))
        ax = figure.add_axes((0, 0, 1, 1), xlim=(-0.05, 1.05), ylim=(-1, 1))
        ax.set_axis_off()
        sample = look.sample
        sample.set(data=([0, 0.5, 1], [0, 0, 0]), markevery=[1], clip_on=False, gid=None)
        ax.add_line(sample)
        return _markup(figure)


def _markup(figure: Figure) -> str:
    """Inline SVG: colours by style-sheet variables, text as text, no fixed size and no address of any kind."""
    # ids must differ between figures of a page: what one that is hidden defines cannot be used by another
    with rc_context({"svg.hashsalt": f"fdsr{next(_ids)}"}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None  # matplotlib always writes one
    # a style element would hold for the whole page; the page's own style sheet says the same of figures alone
    rest = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", rest, flags=re.S)
    rest = re.sub(r'<g id="series(\d+)">', r'<g class="s s\1">', rest)
    rest = re.sub(r'<g id="(?![mp][0-9a-f]{10}")[^"]*">', "<g>", rest)
    rest = rest.replace("xlink:href", "href")
    rest = re.sub(r"font-family: [^;]*; ", "", rest)  # the page's
    rest = re.sub(r"\s*\n\s*", " ", rest)
    for sentinel, variable in ((_INK, "--ink"), (_FAINT, "--faint"), (_PAPER, "--paper")):
        rest = rest.replace(sentinel, f"var({variable})")
    rest = re.sub(r"#a0b0([0-9a-f]{2})", lambda m: f"var(--c{int(m[1], 16)})", rest)
    return f'<svg viewBox="{box[1]}" aria-hidden="true">{rest.strip()}'
