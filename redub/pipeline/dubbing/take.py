"""Results of a dub: the summary, the faults, and the take record ``<name>.take.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import ClassVar, Protocol, Self

from redub.core.records import JsonRecord
from redub.core.types import Clip
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import Controls, Direction
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.training.data.lines import Utterance

Retrieved = dict[str, list[tuple[str, float]]]
"""Modality to (clip id in the library, score), best first."""


@dataclass(frozen=True, slots=True)
class LineFault:
    """One script line that was not spoken, with an error code and a sentence."""

    line: int
    code: str
    message: str


@dataclass(slots=True)
class DubSummary:
    """What was spoken; ``slots`` are (start, end) of every dubbed utterance, in seconds."""

    output: str
    voice: str
    dubbed: int = 0
    faults: list[LineFault] = field(default_factory=list)
    slots: list[tuple[float, float]] = field(default_factory=list)
    loudness_lufs: float | None = None
    original_lufs: float | None = None
    notes: list[str] = field(default_factory=list)
    take: str = ""  # the record's path


class SpokenLines(Protocol):
    """The spoken clips, each with its utterance; retrieved clips and guessed words by clip id."""

    lines: list[tuple[Clip, Utterance]]
    retrieved: dict[str, Retrieved]
    guessed: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeHit:
    """One retrieved library clip and its score; higher is more alike."""

    clip_id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeLine:
    """One spoken script line: its slot (start, end) in seconds, voice, controls, retrieved clips.

    ``part``: ``b``, ``c``, … for the second and later speakers of a line. ``controls``: those that
    change nothing are left out. ``hits``: by modality, best first. ``guessed``: words whose phones
    a network guessed from the letters.
    """

    line: int
    part: str = ""
    text: str
    slot_s: tuple[float, float]
    voice: str
    notes: Notes
    controls: Controls
    hits: Mapping[str, tuple[TakeHit, ...]]
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeRecord(JsonRecord):
    """How a dub was made: run, index build, and every spoken line.

    ``voice_requested``: the voice for the whole script, None for that of each speaker. ``context``:
    ``original`` or ``dubbed`` for a system that reads adjacent utterances, else None.
    ``background``: ``none``, or ``separate`` from the original sound.
    """

    ADVICE: ClassVar[str] = "dub the video again"

    schema: str = "redub.take/1"
    run: str
    index: str
    voice_requested: str | None
    lines: tuple[TakeLine, ...]
    context: str | None = None
    background: str = "none"

    @classmethod
    def of(
        cls,
        builder: UtteranceBuilder,
        run: str,
        direction: Direction,
        made: SpokenLines,
        *,
        voice: str | None,
        context: str | None,
        background: str,
    ) -> Self:
        """The record of a dub that has just been made."""
        fps = builder.project.config.video.fps
        return cls(
            run=run,
            index=builder.index.build,
            voice_requested=voice,
            context=context,
            background=background,
            lines=tuple(
                TakeLine(
                    line=line_number(clip),
                    part=line_part(clip),
                    text=clip.text,
                    slot_s=(clip.start_frame / fps, clip.end_frame / fps),
                    voice=line.speaker,
                    notes=direction.on(line_number(clip)).notes,
                    controls=direction.on(line_number(clip)).controls,
                    hits={
                        modality: tuple(TakeHit(clip_id=hit, score=score) for hit, score in hits)
                        for modality, hits in made.retrieved[clip.clip_id].items()
                    },
                    guessed=made.guessed.get(clip.clip_id, ()),
                )
                for clip, line in made.lines
            ),
        )


def line_number(clip: Clip) -> int:
    """The number of the script line that a clip was cut for, from 1; 3 for its part 3b, too."""
    return int(clip.clip_id.rpartition("-")[2].rstrip(ascii_lowercase))


def line_part(clip: Clip) -> str:
    """The letter of a second or later speaker of a script line, ``b`` for 3b; else empty."""
    return clip.clip_id[len(clip.clip_id.rstrip(ascii_lowercase)) :]
