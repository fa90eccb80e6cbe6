"""TTML and DFXP: every ``<p>`` with times is a cue, or every ``<span>`` with times.

Source: W3C Timed Text Markup Language 1, sections 6.2 (rates) and 10 (times).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText
from redub.footage.subtitles.xml_tree import Node, read_xml

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})(?:([.,]\d+)|:(\d{1,3})(?:\.\d+)?)?")
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_METADATA = frozenset(("head", "metadata", "title", "desc", "copyright", "agent"))
_ROLES = {"music": Kind.LYRICS, "sound": Kind.SOUND, "description": Kind.SOUND}
_TIMES = ("begin", "end", "dur")


@dataclass(frozen=True, slots=True)
class _Interval:
    """When an element is shown, in seconds; ``end_s`` is None where nothing says it."""

    begin_s: float = 0.0
    end_s: float | None = None
    why_bad: str = ""


@dataclass(frozen=True, slots=True)
class _Rates:
    """Frames and ticks per second."""

    frames: float = 30.0
    ticks: float = 1.0


def read_ttml(text: str, records: Records) -> list[RawCue]:
    """Read the cues of a TTML file.

    Raises:
        ClipError: see :func:`redub.footage.subtitles.xml_tree.read_xml`.
    """
    top = read_xml(text, lambda comment: records.other(Kind.COMMENT, comment))
    reader = _Reader(records, top)
    reader.walk(top, _Interval())
    return reader.cues


class _Reader:
    """Walks the tree; ``cues`` is the result."""

    def __init__(self, records: Records, top: Node) -> None:
        self.records = records
        self.cues: list[RawCue] = []
        self.rates = _rates(top)
        self.agents = dict(_agents(top))
        self.index = 0

    def walk(self, node: Node, shown: _Interval) -> float:
        """Read the cues below an element; returns when its last child with times ends."""
        is_seq = node.attributes.get("timeContainer") == "seq"
        clock_s = shown.begin_s
        for child in node.children:
            if isinstance(child, LinedText):
                if not child.is_blank:
                    what = "has text outside the paragraphs"
                    self.records.fault(
                        0, "E-SUB-FORMAT", what, line=child.line, text=child.chars.strip()
                    )
                continue
            if child.name in _METADATA:
                self.records.other(Kind.HEADER, child.text())
                continue
            above = _Interval(clock_s, shown.end_s, shown.why_bad) if is_seq else shown
            own = self._interval(child, above)
            if child.name == "p":
                self._paragraph(child, own, above)
                end_s = own.end_s if own.end_s is not None else own.begin_s
            else:
                end_s = self.walk(child, own)
            clock_s = max(clock_s, end_s)
        return shown.end_s if shown.end_s is not None else clock_s

    def _paragraph(self, node: Node, shown: _Interval, above: _Interval) -> None:
        spans = [
            child
            for child in node.children
            if isinstance(child, Node) and any(t in child.attributes for t in ("begin", "end"))
        ]
        if spans and not any(t in node.attributes for t in _TIMES):
            rest = LinedText.joined((c for c in node.children if isinstance(c, LinedText)), "")
            if rest.is_blank:
                for span in node.children:
                    if isinstance(span, Node) and span in spans:
                        self._cue(span, self._interval(span, above), node)
                    elif isinstance(span, Node):
                        self._lost(span.text())
                return
        self._cue(node, shown, node)

    def _lost(self, text: LinedText) -> None:
        if not text.is_blank:
            what = "has text without times"
            self.records.fault(0, "E-SUB-FORMAT", what, line=text.line, text=text.chars.strip())

    def _cue(self, node: Node, shown: _Interval, paragraph: Node) -> None:
        """Add the cue of an element, or a fault."""
        self.index += 1
        words = self._words(node)
        why_bad = shown.why_bad
        if not why_bad and shown.end_s is None:
            why_bad = f"has no end in text line {node.line}"
        if why_bad or shown.end_s is None:
            text = words.chars.strip()
            self.records.fault(self.index, "E-SUB-FORMAT", why_bad, line=node.line, text=text)
            return
        agent = node.attributes.get("agent", paragraph.attributes.get("agent", ""))
        role = node.attributes.get("role", paragraph.attributes.get("role", ""))
        self.cues.append(
            RawCue(
                index=self.index,
                line=node.line,
                start_s=shown.begin_s,
                end_s=shown.end_s,
                text=words,
                speaker=self.agents.get(agent.split()[0] if agent.split() else "", ""),
                kind=_ROLES.get(role.removeprefix("x-")),
            )
        )

    def _words(self, node: Node) -> LinedText:
        """The words of an element: line ends of the file are spaces, ``<br/>`` is a line end."""
        parts: list[LinedText] = []
        for child in node.children:
            if isinstance(child, LinedText):
                is_kept = node.attributes.get("space") == "preserve"
                chars = child.chars if is_kept else re.sub(r"\s", " ", child.chars)
                parts.append(LinedText(chars, child.lines))
            elif child.name == "br":
                parts.append(LinedText("\n", [child.line]))
            elif child.name in _METADATA:
                self.records.other(Kind.HEADER, child.text())
            else:
                parts.append(self._words(child))
        return LinedText.joined(parts, between="")

    def _interval(self, node: Node, above: _Interval) -> _Interval:
        """When an element is shown: begin and end count from the begin of the element above."""
        times: dict[str, float] = {}
        for name in _TIMES:
            if name in node.attributes:
                value = self._seconds(node.attributes[name])
                if value is None:
                    what = f"has the {name} '{node.attributes[name][:40]}' in text line {node.line}"
                    return _Interval(above.begin_s, None, what)
                times[name] = value
        begin_s = above.begin_s + times.get("begin", 0.0)
        ends = [begin_s + times["dur"]] if "dur" in times else []
        ends += [above.begin_s + times["end"]] if "end" in times else []
        ends += [above.end_s] if above.end_s is not None else []
        return _Interval(begin_s, min(ends) if ends else None, above.why_bad)

    def _seconds(self, word: str) -> float | None:
        """Read a time expression; None if it has no meaning."""
        if found := _OFFSET.fullmatch(word.strip()):
            number, unit = float(found[1]), found[2]
            if unit in _UNITS:
                return number * _UNITS[unit]
            return number / (self.rates.frames if unit == "f" else self.rates.ticks)
        if re.fullmatch(r"\d+(?:\.\d+)?", word.strip()):
            return float(word)  # not in the standard, and written by some programs
        found = _CLOCK.fullmatch(word.strip())
        if found is None or int(found[2]) > 59 or int(found[3]) > 59:
            return None
        value = int(found[1] or 0) * 3600.0 + int(found[2]) * 60 + int(found[3])
        if found[4]:
            value += float("0." + found[4][1:])
        return value + (int(found[5]) / self.rates.frames if found[5] else 0.0)


def _rates(top: Node) -> _Rates:
    root = next((child for child in top.children if isinstance(child, Node)), top)
    own = root.attributes
    frames = _number(own, "frameRate", 30.0)
    if len(parts := own.get("frameRateMultiplier", "").replace(":", " ").split()) == 2:
        up, down = (int(part) if part.isdecimal() else 0 for part in parts)
        frames *= up / down if up and down else 1.0
    is_stated = "frameRate" in own
    return _Rates(frames, _number(own, "tickRate", frames if is_stated else 1.0))


def _number(values: Mapping[str, str], name: str, default: float) -> float:
    word = values.get(name, "").strip()
    return float(word) if word.isdecimal() and 0 < int(word) < 10**9 else default


def _agents(node: Node) -> list[tuple[str, str]]:
    """Id and name of the speakers that the head of the file lists."""
    found = []
    for child in node.children:
        if isinstance(child, Node):
            if child.name == "agent" and "id" in child.attributes:
                found.append((child.attributes["id"], child.text().chars.strip()))
            found += _agents(child)
    return found
