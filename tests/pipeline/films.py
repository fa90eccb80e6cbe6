"""Small projects for pipeline tests: a few short clips with sound and words, made here."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from redub.core.types import Waveform
from redub.footage.encode import write_clip

RATE = 16_000
LINES = ("hello my good friend", "we should go home now", "thank you for the water")
INDEXED = ("scene_emotion", "face_emotion", "text_emotion", "audio_emotion")
"""What an index is built of; the other features cost most of the time of an extraction."""


def voice(seconds: float, *, f0_hz: float, seed: int) -> Waveform:
    """A buzz with moving pitch and syllables: voiced enough for every signal extractor."""
    t = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    glide = f0_hz * (1.0 + 0.15 * np.sin(2 * np.pi * 1.3 * t + seed))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = 0.15 + np.clip(np.sin(2 * np.pi * 3.5 * t), 0, 1)
    noise = rng.normal(0, 0.003, len(t))
    return Waveform((0.1 * buzz * syllables + noise).astype(np.float32), RATE)


def pictures(count: int, *, hue: int) -> list[np.ndarray]:
    """Coloured backgrounds with a moving disc: no face, so face features are nulls."""
    frames = []
    for k in range(count):
        hsv = np.full((64, 96, 3), (hue, 160, 150), dtype=np.uint8)
        frame = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        cv2.circle(frame, (10 + (3 * k) % 76, 32), 9, (240, 230, 200), -1)
        frames.append(frame)
    return frames


def add_source(root: Path, name: str, *, seed: int, lines: int = 2) -> Path:
    """``name.mp4`` with ``lines`` cues of 0.8 s and its ``name.srt``."""
    root.mkdir(parents=True, exist_ok=True)
    seconds = lines * 1.0
    path = root / f"{name}.mp4"
    write_clip(
        path,
        pictures(round(seconds * 25), hue=(seed * 37) % 180),
        25,
        voice(seconds, f0_hz=110 + 20 * (seed % 4), seed=seed),
    )
    cues = []
    for line in range(lines):
        start, end = Fraction(line) + Fraction(2, 25), Fraction(line) + Fraction(22, 25)
        who = ("ANN", "BOB")[(line + seed) % 2]
        cues.append(f"{line + 1}\n{stamp(start)} --> {stamp(end)}\n{who}: {LINES[line % 3]}\n")
    path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")
    return path


def stamp(time_s: Fraction) -> str:
    ms = int(time_s * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def make_project(root: Path, *, sources: int = 3, lines: int = 2, toml: str = "") -> Path:
    """A project folder with footage, ready for ``open_project``."""
    for number in range(sources):
        add_source(root / "footage", f"scene_{number}", seed=number, lines=lines)
    (root / "redub.toml").write_text('name = "small"\n[store]\nshard_clips = 2\n' + toml)
    return root


def tree_digest(root: Path) -> dict[str, str]:
    """SHA-256 of every file the store holds; ``.redub`` (locks, times) is not the store."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".redub" not in path.parts and "footage" not in path.parts
    }
