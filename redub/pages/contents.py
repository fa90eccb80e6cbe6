"""Data of a report page, as plain values: the pipeline fills these, the page renders them.

Any text may contain markup (clip names come from file names); the page escapes it. Media are bytes
or arrays that the pipeline has decoded; this package opens no media files.

Letters: T mel frames, C mel channels, S samples, H and W image height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from redub.core.metric import Absent, Comparison, Metric
from redub.core.types import ByteArray, FloatArray, Waveform

Role = Literal["reference", "system", "baseline"]
Standing = Literal["better", "worse", "open"]


class Measure(NamedTuple):
    """A value and its 95 % interval; None (or not finite) where it could not be measured."""

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
    """A plain table. Numbers are right-aligned; every row has as many cells as ``columns``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One row of the results. References (ground truth, resynthesis) are never marked as best.

    ``values``: by the metric's name; the page shows the reason of an absent one.
    """

    system: str
    role: Role
    values: Mapping[str, Measure | Absent]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTable:
    """The results table: one column per metric, one row per system."""

    metrics: tuple[Metric, ...]
    rows: tuple[SystemRow, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionRow:
    """EMO-ACC of one system, as fractions 0–1. ``macro_f1`` may have no interval."""

    system: str
    role: Role
    accuracy: Measure
    macro_f1: Measure
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Confusion matrix of one system: (C, C) counts, rows true labels, columns predicted labels."""

    system: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionTable:
    """Emotion results. ``majority``: accuracy of always predicting the most frequent label."""

    rows: tuple[EmotionRow, ...]
    majority: float
    confusions: tuple[Confusion, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve of a chart; values that are not finite leave a gap."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves of several runs in one chart, with one unit."""

    title: str
    y_label: str
    curves: tuple[Curve, ...]
    x_label: str = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTiming:
    """Time that one pipeline stage took; ``items`` is 0 where they are not counted."""

    stage: str
    seconds: float
    items: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """One item that could not be used; ``command`` reproduces the problem."""

    clip_id: str
    stage: str
    code: str
    message: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Audio: either samples, which the page encodes, or bytes that a browser can play."""

    waveform: Waveform | None = None
    encoded: bytes = b""
    mime: str = "audio/wav"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A video: MP4 bytes (H.264), and one (H, W, 3) uint8 RGB frame to show before it plays."""

    mp4: bytes
    poster: ByteArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Output of one system for one utterance.

    mel: (T, C) natural-log. f0_hz: (T,), 0 where unvoiced. durations: (symbol, mel frames) in
    order. transcript: of the speech recogniser. figures: (name, formatted value) of this utterance.
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
    """One library clip that was retrieved, or that the policy excluded.

    ``excluded``: the policy's reason; empty if the clip was used. ``shared_words``: words of
    ``text`` to mark.
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
    """Retrieval by one modality: the query (caption or text) and the retrieved clips."""

    modality: str
    neighbours: tuple[Neighbour, ...]
    query: str = ""
    similarity: str = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One utterance: its video, the output of every system, and the retrieved clips."""

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
    """Output of one run for one utterance at one training step.

    picture: PNG bytes. figures: (name, formatted value). problem: why there is no output to show.
    """

    step: int
    picture: bytes = b""
    sound: Sound | None = None
    figures: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStrip:
    """The same utterance at several training steps of one run, and its recording."""

    run: str
    samples: tuple[TrainingSample, ...]
    clip_id: str = ""
    text: str = ""
    split: str = ""
    recorded: Sound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The whole report page. Empty parts are omitted.

    created: a time stamp, already formatted. summary: one or two sentences under the title.
    comparisons: of the metrics in ``results``.
    hop_s: seconds between mel frames, for all time axes.
    """

    title: str
    project: str
    created: str
    summary: str = ""
    cards: tuple[Card, ...] = ()
    results: MetricTable | None = None
    comparisons: tuple[Comparison, ...] = ()
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
