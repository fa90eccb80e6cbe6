"""TextGrids as Praat and the Montreal Forced Aligner write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Intervals = Sequence[tuple[float, float, str]]

SEE_SUE: Intervals = (
    (0.0, 0.4, ""), (0.4, 0.55, "S"), (0.55, 0.8, "IY1"), (0.8, 1.3, "sp"),
    (1.3, 1.45, "S"), (1.45, 1.7, "UW1"), (1.7, 2.1, "sil"),
)  # fmt: skip
WORDS: Intervals = ((0.0, 0.4, ""), (0.4, 0.8, "see"), (0.8, 1.3, ""), (1.3, 1.7, 'su"e'),
                    (1.7, 2.1, ""))  # fmt: skip


def long_text(end_s: float, tiers: dict[str, Intervals], points: dict[str, float] | None = None):
    """The long text format, item by item."""
    items = []
    for name, intervals in tiers.items():
        lines = [
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {end_s}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start, end, label) in enumerate(intervals, start=1):
            quoted = label.replace('"', '""')
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start}",
                f"            xmax = {end}",
                f'            text = "{quoted}"',
            ]
        items.append("\n".join(lines))
    for name, time in (points or {}).items():
        items.append(
            f'        class = "TextTier"\n        name = "{name}"\n        xmin = 0\n'
            f"        xmax = {end_s}\n        points: size = 1\n        points [1]:\n"
            f'            number = {time}\n            mark = "x"'
        )
    body = "\n".join(f"    item [{n}]:\n{item}" for n, item in enumerate(items, start=1))
    return (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0\nxmax = {end_s}\ntiers? <exists>\nsize = {len(items)}\nitem []:\n{body}\n"
    )


def short_text(end_s: float, tiers: dict[str, Intervals]):
    """The short text format: the same values, one a line, without names."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", str(end_s)]
    lines += ["<exists>", str(len(tiers))]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', "0", str(end_s), str(len(intervals))]
        for start, end, label in intervals:
            quoted = label.replace('"', '""')
            lines += [str(start), str(end), f'"{quoted}"']
    return "\n".join(lines) + "\n"


def make_textgrids(
    folder: Path,
    *names: str,
    phones: Intervals = SEE_SUE,
    end_s: float = 2.1,
    tier: str = "phones",
    encoding: str = "utf-8",
) -> Path:
    """Write one TextGrid with a words tier and a phones tier under each name below ``folder``."""
    text = long_text(end_s, {"words": WORDS, tier: phones})
    for name in names:
        path = folder / f"{name}.TextGrid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
    return folder
