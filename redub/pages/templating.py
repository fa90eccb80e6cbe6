"""The template environment of all pages: escapes all text and rejects unknown names."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from redub.pages.spelling import visible


@cache
def templates() -> jinja2.Environment:
    """Return the jinja2 environment of the folder ``templates``.

    Text is escaped, and hidden characters are replaced (:func:`redub.pages.spelling.visible`).
    """
    return jinja2.Environment(
        loader=jinja2.PackageLoader("redub.pages"),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """Read a style or script of the folder ``templates``, unchanged except for line endings."""
    loader = templates().loader
    assert loader is not None
    source, _, _ = loader.get_source(templates(), name)
    return Markup(source.replace("\r\n", "\n"))


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
