"""Results of a dub: the summary, the faults, and the take record ``<name>.take.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

from redub.core.types import Clip
from redub.pipeline.dubbing.direction import Direction
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.training.data.lines import Utterance

Neighbours = dict[str, list[tuple[str, float]]]
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


def take_record(
    builder: UtteranceBuilder,
    run: str,
    voice: str | None,
    direction: Direction,
    lines: Sequence[tuple[Clip, Utterance]],
    found: Mapping[str, Neighbours],
) -> dict[str, Any]:
    """The take record as JSON values: slot, voice, controls and retrieved clips per utterance."""
    fps = builder.project.config.video.fps
    return {
        "schema": "redub.take/1",
        "run": run,
        "index": builder.index.build,
        "voice_asked": voice,
        "lines": [
            {
                "line": line_number(clip),
                "clip_id": clip.clip_id,
                "text": clip.text,
                "slot_s": [clip.start_frame / fps, clip.end_frame / fps],
                "voice": line.speaker,
                "notes": direction.on(line_number(clip)).notes.to_json(),
                "asked": direction.on(line_number(clip)).to_json(),
                "hits": {
                    modality: [{"clip_id": hit, "score": score} for hit, score in hits]
                    for modality, hits in found[clip.clip_id].items()
                },
            }
            for clip, line in lines
        ],
    }


def line_number(clip: Clip) -> int:
    """The number of the script line that a clip was cut for, from 1; 3 for its part 3b, too."""
    return int(clip.clip_id.rpartition("-")[2].rstrip(ascii_lowercase))
