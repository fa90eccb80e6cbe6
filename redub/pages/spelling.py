"""Format values for pages: numbers, intervals, durations, and text from untrusted sources."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from markupsafe import Markup, escape

from redub.core.metric import Absent
from redub.pages.contents import Measure


def visible(text: str) -> str:
    """Replace characters that hide or reorder others by their code, such as ⟨U+202E⟩.

    These are control characters, bidirectional marks and lone surrogates. Line breaks and tabs
    become spaces. Joiners (U+200C, U+200D) stay, because some scripts need them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(c) for c in text)


def _visible_character(character: str) -> str:
    if character in "\n\r\t":
        return " "
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    if not hidden or character in "\u200c\u200d":
        return character
    return f"⟨U+{ord(character):04X}⟩"


def known(measure: Measure | Absent | None) -> tuple[float | None, float | None, float | None]:
    """Return value, low and high of a measure; None where they are missing or not finite."""
    if measure is None or isinstance(measure, Absent):
        return None, None, None
    if measure.value is None or not math.isfinite(measure.value):
        return None, None, None
    low, high = measure.low, measure.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return measure.value, None, None
    return measure.value, low, high


def measure_text(
    measure: Measure | Absent | None, digits: int, *, scale: float = 1.0, unit: str = ""
) -> str:
    """Format ``scale`` times the value, with its unit; a dash where it is missing."""
    value, _, _ = known(measure)
    if value is None:
        return "–"
    text = f"{scale * value:.{digits}f}".replace("-", "−")
    return f"{text}\u202f{unit}" if unit else text


def interval_text(measure: Measure | Absent | None, digits: int, *, scale: float = 1.0) -> str:
    """Format ``scale`` times the interval as ``low – high``; empty where it is missing."""
    _, low, high = known(measure)
    if low is None or high is None:
        return ""
    return f"{scale * low:.{digits}f} – {scale * high:.{digits}f}".replace("-", "−")


def seconds_text(seconds: float) -> str:
    """Format a duration: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def marked(text: str, words: Sequence[str]) -> Markup:
    """Escape the text and mark every whole word that is in ``words``, ignoring case."""
    to_mark = {word.casefold() for word in words}
    parts = []
    for word in visible(text).split(" "):
        bare = word.strip(".,;:!?\"'“”‘’()").casefold()
        safe = escape(word)
        parts.append(Markup("<mark>{}</mark>").format(safe) if bare in to_mark else safe)
    return Markup(" ").join(parts)
