"""A small film in which lines lack words, sound, speech or a face, at every place of a part."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from redub.core.types import Waveform
from redub.footage.demo_film import prosody as manner
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.face import EXPRESSIONS
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.picture import draw_character
from redub.footage.demo_film.timing import VIDEO_FRAME_SAMPLES, schedule
from redub.footage.demo_film.voice import synthesise
from redub.footage.encode import write_clip
from tests.footage.media import grid, make
from tests.pipeline.films import RATE, stamp

SIZE, FPS, GAP = 160, 25, 4  # pixels, per second, pictures between two lines
SAID = ("the boat is back", "there is a bell", "do not open the box", "the king lost my coat")
FEELINGS = ("happy", "sad", "angry", "neutral")
NO_WORDS = "?!"
"""A text without a word."""


def write_source(
    path: Path,
    lines: Sequence[str],
    *,
    seed: int = 0,
    has_sound: bool = True,
    has_subtitles: bool = True,
) -> None:
    """One short line after another.

    Args:
        lines: what each line lacks: words, speech, face, several of these, or "nothing".
        has_subtitles: without them the whole source is one clip without words.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frames: list[np.ndarray] = []
    sound: list[np.ndarray] = []
    cues = []
    for number, lacks in enumerate(lines):
        start = Fraction(len(frames) + GAP, FPS)
        take = spoken(seed + number)
        count = len(take) // VIDEO_FRAME_SAMPLES
        pad = np.zeros(GAP * VIDEO_FRAME_SAMPLES, np.float32)
        sound += [pad, np.zeros_like(take) if "speech" in lacks else take, pad]
        frames += pictures(count + 2 * GAP, has_face="face" not in lacks, seed=seed + number)
        said = NO_WORDS if "words" in lacks else SAID[(seed + number) % len(SAID)]
        end = start + Fraction(count, FPS)
        cues.append(f"{number + 1}\n{stamp(start)} --> {stamp(end)}\nRUBY: {said}\n")
    if has_sound:
        write_clip(path, frames, FPS, Waveform(np.concatenate(sound), RATE))
    else:
        times = grid(0, len(frames))
        make(path, times, size=(SIZE, SIZE), picture=lambda number, *size: frames[number])
    if has_subtitles:
        path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")


def spoken(seed: int) -> np.ndarray:
    """(S,) whole pictures of one of the demo film's voices; another seed is another line."""
    actor, rng = CAST[0], np.random.default_rng(seed)
    played = manner.noisy(manner.MANNERS[FEELINGS[seed % len(FEELINGS)]], rng)
    phones = phones_of(SAID[seed % len(SAID)])
    segments = schedule(phones, rate=actor.voice.tempo, evenness=played.evenness)
    f0_hz = manner.pitch_curve(segments, played, actor.voice, rng)
    samples = synthesise(segments, f0_hz, actor.voice, manner.style_of(played), rng).samples
    return np.pad(samples, (0, -len(samples) % VIDEO_FRAME_SAMPLES))


def pictures(count: int, *, has_face: bool, seed: int) -> list[np.ndarray]:
    """A drawn face whose mouth moves, or an empty room."""
    frames = []
    for k in range(count):
        canvas = np.full((SIZE, SIZE, 3), (90 + 9 * (seed % 8), 120, 150), dtype=np.uint8)
        canvas[: SIZE // 3] = (60, 70 + 5 * (seed % 5), 90)
        if has_face:
            draw_character(
                canvas,
                CAST[0].look,
                EXPRESSIONS[FEELINGS[seed % len(FEELINGS)]],
                np.full(5, 0.5 + 0.4 * np.sin(k + seed), dtype=np.float32),
                shut=False,
                blink=0.0,
                sway=np.array([0.0, 0.0, 0.0, 1.0], dtype=np.float32),
                camera=(0.5, 0.45, 0.22),
            )
        frames.append(canvas)
    return frames


def write_film(
    root: Path, film: dict[str, dict], splits: dict[str, str], *, toml: str = ""
) -> Path:
    """A project of sources, each with the arguments of :func:`write_source`."""
    footage = root / "footage"
    emotions = ["source,line,emotion"]
    for number, (name, source) in enumerate(film.items()):
        write_source(footage / f"{name}.mp4", **{"seed": 3 * number, **source})
        count = len(source["lines"]) if source.get("has_subtitles", True) else 1
        for line in range(count):
            emotion_target = FEELINGS[(3 * number + line) % len(FEELINGS)]
            emotions.append(f"{name}.mp4,{line + 1},{emotion_target}")
    (footage / "emotions.csv").write_text("\n".join(emotions) + "\n")
    rows = [f"{name}.mp4,{splits.get(name, 'train')}" for name in film]
    (footage / "splits.csv").write_text("\n".join(["source,split", *rows]) + "\n")
    (root / "redub.toml").write_text('name = "gaps"\n' + toml)
    return root
