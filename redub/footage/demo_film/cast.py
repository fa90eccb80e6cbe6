"""The six actors of the demo film: a synthetic voice and a drawn look each, no real persons."""

from __future__ import annotations

from dataclasses import dataclass

from redub.footage.demo_film.picture import Look
from redub.footage.demo_film.voice import Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One character: its name, synthetic voice and drawn look."""

    name: str
    voice: Voice
    look: Look


CAST: tuple[Actor, ...] = (
    Actor(
        name="OSCAR",
        voice=Voice(f0_hz=104, formant_scale=0.97, tilt_db=-1.5, breath=0.02, tempo=0.95),
        look=Look(
            skin=(232, 190, 156), hair_colour=(88, 60, 40), hair="short", shirt=(58, 86, 132),
            eyes=(70, 110, 60), lips=(186, 104, 92), head_width=1.02, jaw=0.72, moustache=True,
        ),
    ),
    Actor(
        name="RUBY",
        voice=Voice(f0_hz=188, formant_scale=1.09, tilt_db=1.0, breath=0.04, tempo=1.02),
        look=Look(
            skin=(246, 208, 180), hair_colour=(170, 60, 34), hair="long", shirt=(60, 130, 96),
            eyes=(50, 130, 90), lips=(204, 66, 74), head_width=0.93, jaw=0.95, eye_size=1.12,
            lashes=True, freckles=True,
        ),
    ),
    Actor(
        name="MILO",
        voice=Voice(f0_hz=124, formant_scale=1.02, tilt_db=1.5, breath=0.05, tempo=1.06),
        look=Look(
            skin=(206, 156, 116), hair_colour=(38, 30, 32), hair="curls", shirt=(206, 160, 60),
            eyes=(84, 56, 36), lips=(164, 86, 78), head_width=0.98, jaw=0.8, eye_size=1.05,
        ),
    ),
    Actor(
        name="DAISY",
        voice=Voice(f0_hz=208, formant_scale=1.12, tilt_db=-0.5, breath=0.09, tempo=1.0),
        look=Look(
            skin=(250, 218, 196), hair_colour=(226, 186, 92), hair="bun", shirt=(190, 96, 150),
            eyes=(66, 118, 186), lips=(214, 92, 104), head_width=0.95, jaw=0.88, eye_size=1.2,
            lashes=True,
        ),
    ),
    Actor(
        name="HUGO",
        voice=Voice(f0_hz=92, formant_scale=0.99, tilt_db=0.5, breath=0.03, tempo=0.98),
        look=Look(
            skin=(240, 200, 172), hair_colour=(120, 118, 122), hair="bald", shirt=(84, 72, 66),
            eyes=(76, 96, 120), lips=(176, 96, 90), head_width=1.05, jaw=0.7, beard=True, nose=1.3,
        ),
    ),
    Actor(
        name="WANDA",
        voice=Voice(f0_hz=170, formant_scale=1.06, tilt_db=-1.0, breath=0.03, tempo=0.97),
        look=Look(
            skin=(196, 142, 104), hair_colour=(46, 34, 44), hair="bob", shirt=(120, 150, 190),
            eyes=(60, 40, 30), lips=(168, 62, 78), head_width=0.96, jaw=0.85, glasses=True,
            eye_size=1.05, lashes=True,
        ),
    ),
)  # fmt: skip
