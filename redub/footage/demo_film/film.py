"""Make the demo film: one MP4 and one SRT file per scene, three tables, and ground truth files.

One process makes a whole scene, from the plan alone. So the film does not depend on the number of
workers, on interruptions or on repeated calls. The truth file of a scene is written last and
contains the digest of the spec: a scene is complete if this file exists.
Letters: V video frames, S samples.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import redub.footage.demo_film.prosody as manner
from redub.core.config import canonical, digest_of, settings_of
from redub.core.durable import TEMP_PREFIX
from redub.core.errors import ConfigError, StorageError
from redub.core.stopping import uninterrupted
from redub.core.types import ByteArray, FloatArray, Waveform
from redub.footage.demo_film.cast import CAST, Actor
from redub.footage.demo_film.face import EXPRESSIONS, VIDEO_FPS, Motion, motion_of
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.phonetics import SOUNDS
from redub.footage.demo_film.picture import Landmarks, draw_character
from redub.footage.demo_film.plan import FilmSpec, Line, Scene, plan_film, rng_for
from redub.footage.demo_film.sentences import written
from redub.footage.demo_film.stage import LIGHTS, jittered, paint_place
from redub.footage.demo_film.timing import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    VIDEO_FRAME_SAMPLES,
    Segment,
    frame_owner,
    schedule,
)
from redub.footage.demo_film.voice import synthesise
from redub.footage.encode import whole_file, write_clip

VERSION = 1
"""Raise this number when a change of the code changes the film of a spec."""

RIGHTS = "synthetic: no person was recorded; free to use"
NOTE = "character of the redub demo film"
COMMENT = "Synthetic film with AI-generated speech, made by the redub demo."
ROOM_TONE = 6 / 32768  # RMS of the background noise: no recording is digitally silent
GAPS = (8, 13)  # video frames between two lines, 0.32–0.48 s

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Take:
    """One line as it was synthesized.

    Attributes:
        clean, played: prosody without and with random noise.
        shot_first, shot_last: frames of the shot, counted in the scene; the end is exclusive.
        first, last: frames of the speech, counted in the scene; the end is exclusive.
    """

    line: Line
    segments: list[Segment]
    f0_hz: FloatArray  # (frames,) per 5 ms
    clean: manner.Prosody
    played: manner.Prosody
    waveform: Waveform
    shot_first: int
    first: int
    last: int
    shot_last: int


def spec_digest(spec: FilmSpec) -> str:
    """Return twelve hex digits that change whenever the film changes."""
    return digest_of({"spec": settings_of(spec), "version": VERSION})


def _actor(name: str) -> Actor:
    return next(actor for actor in CAST if actor.name == name)


def play_lines(spec: FilmSpec, scene: Scene) -> list[Take]:
    """Synthesize the lines of a scene one after another and place them in the scene's time."""
    gap_rng = rng_for(spec, scene.name, "gaps")
    gaps = [int(gap_rng.integers(GAPS[0], GAPS[1])) for _ in range(len(scene.lines) + 1)]
    takes: list[Take] = []
    clock, shot_first = gaps[0], 0
    for index, line in enumerate(scene.lines):
        adjacent = [
            scene.lines[i].emotion if 0 <= i < len(scene.lines) else None
            for i in (index - 1, index + 1)
        ]
        actor = _actor(line.speaker)
        habit = manner.habit_of(rng_for(spec, "habit", line.speaker))
        coupled = manner.coupled(
            line.emotion, *adjacent, a=spec.context_before, b=spec.context_after
        )
        clean = manner.bounded(manner.plus(coupled, habit))
        key = (scene.name, index)
        played = manner.noisy(clean, rng_for(spec, *key, "manner"), noise=spec.noise)
        segments = schedule(
            phones_of(line.text),
            rate=actor.voice.tempo * 2**played.rate,
            evenness=played.evenness,
        )
        f0_hz = manner.pitch_curve(segments, played, actor.voice, rng_for(spec, *key, "pitch"))
        waveform = synthesise(
            segments, f0_hz, actor.voice, manner.style_of(played), rng_for(spec, *key, "voice")
        )
        first, last = clock, clock + segments[-1].end // VIDEO_FRAME_SAMPLES
        gap = gaps[index + 1]
        is_final = index == len(scene.lines) - 1
        # The cut falls in the gap, a little before the next line starts.
        shot_last = last + (gap if is_final else gap - 3)
        takes.append(
            Take(line, segments, f0_hz, clean, played, waveform, shot_first, first, last, shot_last)
        )
        clock, shot_first = last + gap, shot_last
    return takes


def mix_sound(spec: FilmSpec, scene: Scene, takes: list[Take]) -> Waveform:
    """Mix the sound track of a scene: all lines and faint background noise, (S,) at 16 kHz."""
    samples = takes[-1].shot_last * VIDEO_FRAME_SAMPLES
    noise = rng_for(spec, scene.name, "room").standard_normal(samples)
    track = (ROOM_TONE * noise).astype(np.float32)
    for take in takes:
        start = take.first * VIDEO_FRAME_SAMPLES
        track[start : start + len(take.waveform.samples)] += take.waveform.samples
    return Waveform(np.clip(track, -1, 1), SAMPLE_RATE_HZ)


def draw_shot(
    spec: FilmSpec, scene: Scene, index: int, take: Take
) -> Iterator[tuple[ByteArray, Landmarks, Motion, int]]:
    """Draw one shot; yield (frame, landmarks, motion of the shot, row of the frame in it)."""
    rng = rng_for(spec, scene.name, index, "shot")
    line, actor = take.line, _actor(take.line.speaker)
    light = jittered(LIGHTS[line.scene_cue], rng)
    shift = float(rng.uniform(-0.12, 0.12))
    empty = paint_place(scene.place, light, shift, height=spec.height, width=spec.width)
    share = min(spec.height / spec.width, 1.0)
    middle = spec.height / spec.width / 2
    camera = (
        float(rng.uniform(0.45, 0.55)),
        middle + share * float(rng.uniform(-0.04, 0.02)),
        share * float(rng.uniform(0.215, 0.26)),
    )
    face = EXPRESSIONS[line.face_cue]
    motion = motion_of(
        take.segments,
        rng,
        before=take.first - take.shot_first,
        after=take.shot_last - take.last,
        effort=float(np.clip(1 + 0.03 * take.played.energy_db, 0.75, 1.25)),
        liveliness=float(np.clip(1 + 0.08 * take.played.energy_db, 0.4, 1.7)),
    )
    for row in range(len(motion.mouth)):
        canvas = empty.copy()
        marks = draw_character(
            canvas,
            actor.look,
            face,
            motion.mouth[row],
            shut=bool(motion.shut[row]),
            blink=float(motion.blink[row]),
            sway=motion.sway[row],
            camera=camera,
        )
        yield canvas, marks, motion, row


def _rounded(values: Any, digits: int) -> Any:
    return np.round(np.asarray(values, np.float64), digits).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTruth:
    """The face of one frame, in pixels; ``mouth``: its shape, see :class:`draw_shot`."""

    box: Sequence[float]
    landmarks: Sequence[Sequence[float]]
    mouth: Sequence[float]
    shut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTruth:
    """The ground truth of a line; times are samples at 16 kHz from the start of the line.

    cues: the emotion that scene, face and text show. shot: first and last frame of its shot.
    phones: (symbol, start, end, word, accented) each. faces: one per frame of the shot, added
    while the frames are drawn.
    """

    line: int
    speaker: str
    emotion: str
    text: str
    cues: Mapping[str, str]
    start_frame: int
    end_frame: int
    shot: tuple[int, int]
    phones: Sequence[tuple[str, int, int, int, int]]
    f0_hz: Sequence[float]
    prosody: Mapping[str, float]
    prosody_without_noise: Mapping[str, float]
    faces: list[FaceTruth] = field(default_factory=list)


def _line_truth(take: Take, number: int) -> LineTruth:
    voiced = np.array([SOUNDS[s.symbol].is_voiced for s in take.segments])[
        frame_owner(take.segments)
    ]
    f0_hz = np.where(voiced, take.f0_hz, 0.0)[::2]  # every second 5 ms frame
    line = take.line
    return LineTruth(
        line=number,
        speaker=line.speaker,
        emotion=line.emotion,
        text=line.text,
        cues={"scene": line.scene_cue, "face": line.face_cue, "text": line.text_cue},
        start_frame=take.first,
        end_frame=take.last,
        shot=(take.shot_first, take.shot_last),
        phones=[(s.symbol, s.start, s.end, s.word, int(s.accented)) for s in take.segments],
        f0_hz=_rounded(f0_hz, 2),
        prosody=dict(zip(take.played._fields, _rounded(take.played, 5), strict=True)),
        prosody_without_noise=dict(zip(take.clean._fields, _rounded(take.clean, 5), strict=True)),
    )


def _frames_and_truth(
    spec: FilmSpec, scene: Scene, takes: list[Take], truth: Sequence[LineTruth]
) -> Iterator[ByteArray]:
    """Draw the scene frame by frame, and append the face of each frame to ``truth``."""
    for index, take in enumerate(takes):
        faces = truth[index].faces
        for picture, marks, motion, row in draw_shot(spec, scene, index, take):
            faces.append(
                FaceTruth(
                    box=list(marks.box),
                    landmarks=[list(point) for point in marks[1:]],
                    mouth=_rounded(motion.mouth[row], 4),
                    shut=bool(motion.shut[row]),
                )
            )
            yield picture


def _timestamp(frame: int) -> str:
    milliseconds = frame * 1000 // VIDEO_FPS
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"


def subtitles_of(takes: list[Take]) -> str:
    """Return the SRT text of a scene; cue times lie on the 40 ms grid of video frames."""
    cues = [
        f"{number}\n{_timestamp(take.first)} --> {_timestamp(take.last)}\n"
        f"{take.line.speaker}: {written(take.line.text)}\n"
        for number, take in enumerate(takes, start=1)
    ]
    return "\n".join(cues)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def make_scene(spec: FilmSpec, scene: Scene, root: Path, truth: Path) -> str:
    """Make the three files of one scene, the truth file last; return the name of the scene."""
    takes = play_lines(spec, scene)
    lines = [_line_truth(take, number) for number, take in enumerate(takes, start=1)]
    frames = _frames_and_truth(spec, scene, takes, lines)
    sound = mix_sound(spec, scene, takes)
    write_clip(root / f"{scene.name}.mp4", frames, VIDEO_FPS, sound, comment=COMMENT)
    _write_text(root / f"{scene.name}.srt", subtitles_of(takes))
    record = {
        "digest": spec_digest(spec),
        "scene": scene.name,
        "split": scene.split,
        "place": scene.place,
        "fps": VIDEO_FPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "frames": takes[-1].shot_last,
        "f0_hop_samples": 2 * FRAME_SAMPLES,
        "landmarks": list(Landmarks._fields[1:]),
        "lines": [asdict(line) for line in lines],
    }
    _write_text(truth / f"{scene.name}.json", canonical(record))
    return scene.name


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _made_with(path: Path) -> str | None:
    """The spec digest in a truth file; None if the file is missing or cannot be read."""
    try:
        digest = json.loads(path.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(digest)


def _is_made(scene: Scene, digest: str, root: Path, truth: Path) -> bool:
    media = [root / f"{scene.name}.mp4", root / f"{scene.name}.srt"]
    return all(path.is_file() for path in media) and (
        _made_with(truth / f"{scene.name}.json") == digest
    )


def _write_table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with whole_file(path) as beside, beside.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_tables(film: list[Scene], root: Path) -> None:
    speakers = sorted({line.speaker for scene in film for line in scene.lines})
    _write_table(
        root / "cast.csv", ("name", "rights", "note"), [(n, RIGHTS, NOTE) for n in speakers]
    )
    emotions: list[tuple[object, ...]] = [
        (f"{scene.name}.mp4", number, line.emotion)
        for scene in film
        for number, line in enumerate(scene.lines, start=1)
    ]
    _write_table(root / "emotions.csv", ("source", "line", "emotion"), emotions)
    splits: list[tuple[object, ...]] = [(f"{scene.name}.mp4", scene.split) for scene in film]
    _write_table(root / "splits.csv", ("source", "split"), splits)


def _remove_other_scenes(film: list[Scene], root: Path, truth: Path) -> None:
    """Remove scenes of an earlier spec; files without a truth file are kept."""
    names = {scene.name for scene in film}
    for record in sorted(truth.glob("scene_*.json")):
        if record.stem not in names and _made_with(record) is not None:
            for path in (root / f"{record.stem}.mp4", root / f"{record.stem}.srt", record):
                path.unlink(missing_ok=True)


def make_film(
    root: Path,
    truth: Path,
    spec: FilmSpec,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make the demo film, or its missing scenes.

    The same spec gives the same frames and samples for any number of workers. Complete scenes are
    kept, so an interrupted call can be repeated. A complete film of the same spec is not changed.

    Args:
        root: folder for ``scene_NN.mp4``, ``scene_NN.srt``, ``cast.csv``, ``emotions.csv`` and
            ``splits.csv``; created if missing.
        truth: gets ``scene_NN.json`` and ``film.json``; must not lie inside ``root``.
        workers: processes; 1 works in this process, more are started for this call.
        progress: called with (scenes done, scenes wanted), once at the start and after each scene.

    Raises:
        ConfigError: the film needs more sentences than the grammar has, or ``truth`` lies inside
            ``root``.
        StorageError: a folder or file cannot be written.
    """
    if truth.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"the truth folder {truth} must lie outside the film's folder {root}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        truth.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {error.filename}: {error.strerror}") from error
    digest = spec_digest(spec)
    try:
        film = plan_film(spec)
    except ValueError as error:
        raise ConfigError(f"demo film: {error}", code="E-CFG-VALUE") from error
    missing = [scene for scene in film if not _is_made(scene, digest, root, truth)]
    done, total = len(film) - len(missing), len(film)
    if progress:
        progress(done, total)
    tables = [root / name for name in ("cast.csv", "emotions.csv", "splits.csv")]
    is_complete = not missing and all(table.is_file() for table in tables)
    if is_complete and _made_with(truth / "film.json") == digest:
        return
    (truth / "film.json").unlink(missing_ok=True)
    for scene in missing:  # remove temporary files of a killed call
        for folder in (root, truth):
            for leftover in folder.glob(f"{TEMP_PREFIX}{scene.name}.*"):
                leftover.unlink(missing_ok=True)
    for _ in _made(spec, missing, root, truth, workers):
        done += 1
        if progress:
            progress(done, total)
    _remove_other_scenes(film, root, truth)
    _write_tables(film, root)
    record = {"digest": digest, "version": VERSION, **settings_of(spec)}
    _write_text(truth / "film.json", canonical(record))


def _made(
    spec: FilmSpec, scenes: list[Scene], root: Path, truth: Path, workers: int
) -> Iterator[str]:
    """Make the scenes and yield the name of each finished scene."""
    if workers <= 1 or len(scenes) <= 1:
        for scene in scenes:
            yield make_scene(spec, scene, root, truth)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(scenes)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_one_thread,
    )
    try:
        with uninterrupted():  # Ctrl-C is for this process; it ends the pool
            jobs = [pool.submit(make_scene, spec, scene, root, truth) for scene in scenes]
        for job in as_completed(jobs):
            yield job.result()
    finally:  # also when the caller stops the iteration or is interrupted
        pool.shutdown(cancel_futures=True)
