"""Letters for an SVG whose text is text: it brings along those it uses, so that it looks the same everywhere.

Without its font a reader's program would set the text in another one, whose letters are wider.
"""

from __future__ import annotations

import base64
import html
import re
from io import BytesIO
from typing import Literal

from fontTools import subset
from matplotlib.font_manager import FontProperties, findfont

STYLED = re.compile(r'<(?:text|tspan)[^>]*style="([^"]*)"[^>]*>([^<]*)<')
FAMILY = re.compile(r"font-family: '([^']*)'(?:, [\w-]+)?")
GENERIC = {"STIX": "'Times New Roman', Times, serif", "DejaVu Sans": "Verdana, sans-serif"}


def with_fonts(svg: str) -> str:
    """The SVG with its letters as fonts of its own, and with families beside each that look alike.

    Programs for drawing take no fonts from within a file; there the families are looked for.
    """
    letters: dict[tuple[str, bool], set[str]] = {}
    for style, text in STYLED.findall(svg):
        if family := FAMILY.search(style):
            letters.setdefault((family[1], "italic" in style), set()).update(html.unescape(text))
    faces = "".join(_face(*font, "".join(sorted(used))) for font, used in sorted(letters.items()))
    named = FAMILY.sub(lambda found: f"font-family: '{found[1]}', {_alike(found[1])}", svg)
    return named.replace("</style>", f"{faces}</style>", 1)


def _alike(family: str) -> str:
    return next(others for name, others in GENERIC.items() if family.startswith(name))


def _face(family: str, italic: bool, letters: str) -> str:
    style: Literal["italic", "normal"] = "italic" if italic else "normal"
    file = findfont(FontProperties(family=family, style=style))
    options = subset.Options(flavor="woff", hinting=False, layout_features=[], name_IDs=[])
    options.drop_tables += ["FFTM"]  # when it was made
    written, chosen = BytesIO(), subset.Subsetter(options)
    chosen.populate(text=letters)
    with subset.load_font(file, options) as font:
        chosen.subset(font)
        subset.save_font(font, written, options)
    data = base64.b64encode(written.getvalue()).decode()
    return (
        f"@font-face{{font-family:'{family}';font-style:{style};src:url(data:font/woff;base64,{data})format('woff')}}"
    )
