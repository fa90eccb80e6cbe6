"""What a report shows, as plain values: the pipeline fills these, the page only draws them.

Everything that is text may be hostile (a clip's name is a file's name); the page escapes it. Media
are bytes or arrays that somebody else decoded: this room opens no media file.

Letters: T mel frames, C mel channels, S samples, H and W picture height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from redub.core.types import ByteArray, FloatArray, Waveform

Role = Literal["reference", "system", "baseline"]
Direction = Literal["higher", "lower", "zero", "none"]
Standing = Literal["better", "worse", "open"]


class Measure(NamedTuple):
    """A figure and its 95 % interval; None (or not finite) where it could not be measured."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One figure at the top, and the figures that say what it is worth.

    ``value`` and those in ``beside`` (name, value) are formatted, with their units. ``standing``:
    how the figure stands to what it was compared with, and ``verdict`` says so in words.
    """

    title: str
    value: str
    beside: tuple[tuple[str, str], ...] = ()
    standing: Standing = "open"
    verdict: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plain table. Numbers are set flush right; every row has as many cells as ``columns``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column of the results. ``direction`` says which values are better;
    ``zero`` is for a signed error.

    ``percent``: values are shares (0.63 is shown as 63.0 %). ``explanation``: how it is measured.
    """

    key: str
    title: str
    unit: str = ""
    direction: Direction = "lower"
    digits: int = 2
    percent: bool = False
    explanation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One row of the results. References (ground truth, resynthesis) never compete for best."""

    system: str
    role: Role
    values: Mapping[str, Measure]  # by Metric.key
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTable:
    metrics: tuple[Metric, ...]
    rows: tuple[SystemRow, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionRow:
    """EMO-ACC of one system: shares 0–1. ``macro_f1`` may have no interval."""

    system: str
    role: Role
    accuracy: Measure
    macro_f1: Measure
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Counts (C, C), rows the label asked for, columns the label heard."""

    system: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionTable:
    """``majority``: share of the commonest true label, what a constant answer would reach."""

    rows: tuple[EmotionRow, ...]
    majority: float
    confusions: tuple[Confusion, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart; not-finite values leave a gap."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Several runs in one picture, with one unit."""

    title: str
    y_label: str
    curves: tuple[Curve, ...]
    x_label: str = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTiming:
    stage: str
    seconds: float
    items: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """One thing that could not be used; ``command`` reproduces it."""

    clip_id: str
    stage: str
    code: str
    message: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Either samples, which the page encodes, or bytes that a browser plays as they are."""

    waveform: Waveform | None = None
    encoded: bytes = b""
    mime: str = "audio/wav"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A film: MP4 bytes (H.264) and one decoded frame (H, W, 3) uint8 RGB to show before it."""

    mp4: bytes
    poster: ByteArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """What one system made of one line.

    mel: (T, C) natural-log. f0_hz: (T,), 0 where unvoiced. durations: (symbol, mel frames) in
    order. transcript: what the recogniser heard. figures: (name, formatted value) of this line.
    """

    system: str
    sound: Sound | None = None
    mel: FloatArray | None = None
    f0_hz: FloatArray | None = None
    durations: tuple[tuple[str, int], ...] = ()
    transcript: str = ""
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One library clip that was retrieved, or that would have been but for ``excluded``.

    ``excluded``: the policy's reason; empty when the clip was used. ``shared_words`` are marked in
    ``text``.
    """

    rank: int
    clip_id: str
    score: float
    speaker: str = ""
    emotion: str = ""
    text: str = ""
    film: str = ""
    shared_words: tuple[str, ...] = ()
    sound: Sound | None = None
    picture: Picture | None = None
    excluded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Casting:
    """What one query modality asked and who answered. ``query`` is the caption or text."""

    modality: str
    neighbours: tuple[Neighbour, ...]
    query: str = ""
    similarity: str = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of dialogue: the picture, every system's take, and its casting sheet."""

    clip_id: str
    text: str
    speaker: str = ""
    emotion: str = ""
    film: str = ""
    scene: str = ""
    split: str = ""
    picture: Picture | None = None
    takes: tuple[Take, ...] = ()
    casting: tuple[Casting, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSample:
    """One line as a run spoke it at one step of its training.

    picture: PNG bytes. figures: (name, formatted value). problem: why there is nothing to show.
    """

    step: int
    picture: bytes = b""
    sound: Sound | None = None
    figures: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStrip:
    """The same line at several steps of one run; ``recorded`` is how it should sound."""

    run: str
    samples: tuple[TrainingSample, ...]
    clip_id: str = ""
    text: str = ""
    split: str = ""
    recorded: Sound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The whole page. Empty parts are left out, not drawn empty.

    created: a time stamp, already formatted. summary: one or two sentences under the title.
    hop_s: seconds between mel frames, for every time axis.
    """

    title: str
    project: str
    created: str
    summary: str = ""
    cards: tuple[Card, ...] = ()
    results: MetricTable | None = None
    differences: Table | None = None
    emotion: EmotionTable | None = None
    charts: tuple[Chart, ...] = ()
    strips: tuple[TrainingStrip, ...] = ()
    lines: tuple[Line, ...] = ()
    footage: tuple[Table, ...] = ()
    timings: tuple[StageTiming, ...] = ()
    quarantine: tuple[QuarantineRow, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = field(default=())
    hop_s: float = 0.01
