"""The library that draws the interactive figures: Vega-Lite, as the package vl-convert-python brings it along.

Without that package the page shows the static figures alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

PACKAGE = "vl_convert"


def library() -> str:
    """The script of Vega, Vega-Lite and vega-embed, minified, with the interpreter that needs no `eval`; or nothing."""
    if importlib.util.find_spec(PACKAGE) is None:
        return ""
    vl_convert: Any = importlib.import_module(PACKAGE)  # its types ask for an argument that has a default
    script: str = vl_convert.javascript_bundle()
    return script.replace("</script", "<\\/script")
