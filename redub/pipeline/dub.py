"""Dub one video: words from a script, voice from the library, picture untouched.

Reads the video, the script, a trained run and the index. Writes one mp4: every line fills its
slot to the sample, the sound between lines is silence, the picture is copied bit for bit. Beside it
``<name>.take.json`` says how every line was made: its slot, voice, director's notes and hits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from redub.core.config import nearest
from redub.core.errors import ClipError, ConfigError, FeatureAbsent, UsageError
from redub.core.types import MODALITIES, Clip, ClipMedia, FloatArray, Value, Waveform
from redub.features.loudness import integrated_loudness
from redub.footage.child import DecoderChild
from redub.footage.encode import write_dubbed
from redub.footage.folder import positions
from redub.footage.probe import SourceInfo
from redub.footage.subtitles import read_subtitles
from redub.index.notes import Notes
from redub.model.registry import reads_context
from redub.pipeline.decoders import close_decoders, limits_of
from redub.pipeline.direction import (
    Direction,
    LineDirection,
    check_feeling,
    felt,
    heard,
)
from redub.pipeline.extract import ClipWork, Toolbox, run_works
from redub.pipeline.files import commit_json, file_digest
from redub.pipeline.ingest import with_version
from redub.pipeline.ledger import with_reads
from redub.pipeline.lines import (
    LineMaker,
    Voice,
    hits_of,
    make_line,
    silenced,
    told,
    voice_name,
)
from redub.pipeline.project import Project, feature_of
from redub.pipeline.retrieve import check_notes, neighbour_rows
from redub.pipeline.synthesize import check_features, make_vocoder, open_dubber
from redub.training.lines import SIDES, DubbingLine
from redub.training.pack import EXPRESSION, SOUND_FRAMES, WHOLE
from redub.training.synthesis import (
    SpokenLine,
    TrainedDubber,
    VoiceControl,
    reads_emotion,
    synthesise,
)

Neighbours = dict[str, list[tuple[str, float]]]
"""Modality to (library clip, score), best first."""

ContextChoice = Literal["original", "dubbed"]
ORIGINAL: ContextChoice = "original"
OF_SOUND = ("mel", "f0", "energy", SOUND_FRAMES, WHOLE["audio"])
OF_CONTEXT = (WHOLE["face"], WHOLE["text"])

FADE_S = 0.005
PEAK = 10 ** (-1 / 20)  # -1 dBFS
UNHEARD_DB = 0.5
QUIETEST_ORIGINAL = -45.0  # LUFS; below it the original is noise, not something to match
FALLBACK_LOUDNESS = -23.0  # LUFS, EBU R 128


@dataclass(frozen=True, slots=True)
class LineFault:
    """One script line that was not spoken."""

    line: int
    code: str
    message: str


@dataclass(slots=True)
class DubSummary:
    """What was spoken; ``slots`` are (start, end) in seconds of every dubbed line."""

    output: str
    voice: str
    dubbed: int = 0
    faults: list[LineFault] = field(default_factory=list)
    slots: list[tuple[float, float]] = field(default_factory=list)
    loudness_lufs: float | None = None
    original_lufs: float | None = None
    notes: list[str] = field(default_factory=list)
    take: str = ""  # the record's path


def dub(
    project: Project,
    *,
    video: Path,
    script: Path,
    output: Path,
    voice: str | None = None,
    run: str = "authentic",
    direction: Direction | None = None,
    context: ContextChoice = ORIGINAL,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DubSummary:
    """Dub a video.

    Args:
        context: what a system that hears the lines before and after is given of their sound: the
            video's own (``original``), or the new sound of the line before (``dubbed``; the line
            after is unspoken then). Their words and pictures it sees either way.
        direction: what is asked of all lines or of some: notes on the hits, how to sound, whose
            voice.
        voice: speaker or clip id of the library; without it, each line's own speaker tag, and
            the library's most recorded voice where the tag is unknown.

    Raises:
        UsageError: notes on a clip, film, emotion or line that is not there, or a context that
            the run has no use for.
        ConfigError: no run, no index, or a script without one usable line.
        ClipError: the video cannot be read (exit 3).
        IntegrityError: the run was trained on other features than this project computes.
    """
    if output.resolve() == video.resolve():
        raise ConfigError("the output would overwrite the video; name another file")
    dubber = open_dubber(project, run)
    hears = reads_context(dubber.system)
    if context != ORIGINAL and not hears:
        raise UsageError(
            f"'{run}' is a {dubber.system}, which does not hear the lines around a line; leave out "
            "--context"
        )
    maker = LineMaker(project, dubber.system)
    check_features(dubber, project, maker.keys())
    direction = direction or Direction()
    if any(asked.feeling for asked in direction.all()) and not reads_emotion(dubber.model):
        raise UsageError(
            f"'{run}' is a {dubber.system} that reads no emotion vectors, so no emotion can be "
            "asked of it; dub with a run of authentic_dubber that has its graphs",
            code="E-MODEL-EMOTION",
        )
    for asked in direction.all():
        check_notes(maker.index, asked.notes)
        if asked.feeling is not None:
            check_feeling(maker.index, asked.feeling)
        if asked.voice is not None:
            maker.named_voice(asked.voice)
    summary = DubSummary(str(output), "")
    with DecoderChild(limits_of(project)) as decoder:
        info = decoder.probe(video)
        clips = script_clips(project, video, script, info, summary, cast=list(maker.voices))
        _check_lines(direction, clips)
        found: dict[str, Neighbours] = {}
        seen: dict[str, Mapping[str, Value]] = {}
        tools = Toolbox(project, root=video.parent)
        lines = _lines(maker, tools, clips, voice, direction, found, seen, summary, progress)
        if not lines:
            reasons = "; ".join(f"line {f.line}: {f.message}" for f in summary.faults)
            raise ConfigError(f"no line of {script.name} can be spoken: {reasons}", code="E-DUB")
        controls = [direction.on(_number(clip)).control for clip, _ in lines]
        if not hears:
            spoken = synthesise(dubber, [line for _, line in lines], controls)
        elif context == ORIGINAL:
            in_scene = [_in_scene(line, clip, clips, seen) for clip, line in lines]
            spoken = synthesise(dubber, in_scene, controls)
        else:
            spoken = _in_order(dubber, maker, tools, clips, lines, controls, seen)
        track = _track(project, info, [clip for clip, _ in lines], spoken)
        original = _original_loudness(project, decoder, video, info, [c for c, _ in lines])
    summary.original_lufs = original
    wanted = FALLBACK_LOUDNESS if original is None else original
    wanted += _asked_louder([clip for clip, _ in lines], controls)
    track = at_loudness(track, wanted)
    summary.loudness_lufs = integrated_loudness(track)
    if short := _missing_db(track, wanted):
        summary.notes.append(
            f"the take is {short:.1f} dB quieter than asked, all lines alike: its peaks are at "
            "-1 dBFS already"
        )
    fps = project.config.video.fps
    summary.slots = [(c.start_frame / fps, c.end_frame / fps) for c, _ in lines]
    summary.dubbed = len(lines)
    summary.voice = ", ".join(sorted({line.speaker for _, line in lines}))
    summary.notes += list(write_dubbed(video, output, track).notes)
    take = output.with_suffix(".take.json")
    summary.take = str(take)
    record = _take(maker, run, voice, direction, lines, found)
    commit_json(take, {**record, "context": context} if hears else record)
    return summary


def _take(
    maker: LineMaker,
    run: str,
    voice: str | None,
    direction: Direction,
    lines: Sequence[tuple[Clip, DubbingLine]],
    found: Mapping[str, Neighbours],
) -> dict[str, Any]:
    fps = maker.project.config.video.fps
    return {
        "schema": "redub.take/1",
        "run": run,
        "index": maker.index.build,
        "voice_asked": voice,
        "lines": [
            {
                "line": _number(clip),
                "text": clip.text,
                "slot_s": [clip.start_frame / fps, clip.end_frame / fps],
                "voice": line.speaker,
                "notes": direction.on(_number(clip)).notes.to_json(),
                "asked": direction.on(_number(clip)).to_json(),
                "hits": {
                    modality: [{"clip_id": hit, "score": score} for hit, score in hits]
                    for modality, hits in found[clip.clip_id].items()
                },
            }
            for clip, line in lines
        ],
    }


def _check_lines(direction: Direction, clips: Sequence[Clip]) -> None:
    known = [str(_number(clip)) for clip in clips]
    for line in direction.single:
        if str(line) not in known:
            raise UsageError(f"the script has no line {line}; {nearest(str(line), known)}")


def _number(clip: Clip) -> int:
    """The line of the script that a clip was cut for."""
    return int(clip.clip_id.rpartition("-")[2])


@dataclass(frozen=True, slots=True)
class DubOrder:
    """One video to dub in a worker, beside others; each line in its own speaker's voice."""

    project: Project
    video: Path
    script: Path
    output: Path
    run: str


def dub_order(order: DubOrder) -> DubSummary:
    """Dub one video; for a worker."""
    return dub(
        order.project, video=order.video, script=order.script, output=order.output, run=order.run
    )


def script_clips(
    project: Project,
    video: Path,
    script: Path,
    info: SourceInfo,
    summary: DubSummary,
    *,
    cast: Sequence[str],
) -> list[Clip]:
    """The script's lines as clips of the video; lines that cannot be used become faults."""
    if not info.has_video:
        raise ClipError(f"{video.name} has no picture to dub", code="E-IN-NOVIDEO")
    if not script.is_file():
        raise ConfigError(f"the script {script} does not exist", code="E-IN-MISSING")
    fitted = read_subtitles(
        script,
        source=script.name,
        cast=cast,
        end_s=info.duration_s,
        max_clip_s=project.config.footage.max_clip_s,
    )
    summary.faults += [LineFault(f.line, f.code, f.message) for f in fitted.faults]
    fps = project.config.video.fps
    digest = file_digest(video)
    clips = []
    places = positions([cue.index for cue in fitted.cues], [f.line for f in fitted.faults])
    for position, cue in zip(places, fitted.cues, strict=True):
        clip = Clip(
            clip_id=f"{video.stem}-{cue.index:04d}",
            source=video.name,
            source_digest=digest,
            start_frame=round(cue.start_s * fps),
            end_frame=round(cue.end_s * fps),
            film=video.stem,
            scene=video.stem,
            position=position,
            speaker=cue.speaker,
            text=cue.text,
            split="none",
            has_video=info.has_video,
            has_audio=info.has_audio,
            decoder=info.decoder,
        )
        clips.append(with_version(clip, project.config.footage.decoder))
    return clips


def _lines(
    maker: LineMaker,
    tools: Toolbox,
    clips: Sequence[Clip],
    voice: str | None,
    direction: Direction,
    found: dict[str, Neighbours],
    seen: dict[str, Mapping[str, Value]],
    summary: DubSummary,
    progress: Callable[[int, int], None],
) -> list[tuple[Clip, DubbingLine]]:
    """Extract what a line needs, retrieve for it, and join it with its voice.

    ``found`` is filled with each line's hits and ``seen`` with its features, by clip id.
    """
    named = None if voice is None else maker.named_voice(voice)
    lines = []
    progress(0, len(clips))
    try:
        for done, clip in enumerate(clips, start=1):
            asked = direction.on(_number(clip))
            spoken_by = named or _own_voice(maker, clip)
            if asked.voice is not None:
                spoken_by = maker.named_voice(asked.voice)
            try:
                seen[clip.clip_id] = values = _features(maker, tools, clip)
                line, hits = _one_line(maker, clip, values, spoken_by, asked)
                lines.append((clip, line))
                found[clip.clip_id] = hits
            except ClipError as error:
                summary.faults.append(LineFault(_number(clip), error.code, error.message))
            progress(done, len(clips))
    finally:
        close_decoders()
    return lines


def _own_voice(maker: LineMaker, clip: Clip) -> Voice:
    name = voice_name(clip)
    return maker.named_voice(name if name in maker.voices else None)


def _features(maker: LineMaker, tools: Toolbox, clip: Clip) -> Mapping[str, Value]:
    """What the run reads of a line, and of its neighbours, from the video."""
    features = feature_of(maker.project.config.index)
    needed = ["phonemes", "lips", *(features[m] for m in MODALITIES)]
    needed += [name for name in (EXPRESSION,) if name in maker.values]
    if maker.sides:
        needed += [name for name in OF_SOUND + OF_CONTEXT if name in maker.values]
    work = ClipWork(clip, with_reads(tools.keys, needed), {}, {})
    run_works([work], tools, defaultdict(float))
    for row in work.quarantine:
        raise ClipError(row["message"], code=row["code"])
    if "phonemes" not in work.values:
        code, _, message = work.nulls["phonemes"].partition(": ")
        raise ClipError(message, code=code)
    return work.values


def _one_line(
    maker: LineMaker,
    clip: Clip,
    values: Mapping[str, Value],
    voice: Voice,
    asked: LineDirection,
) -> tuple[DubbingLine, Neighbours]:
    project = maker.project
    features = feature_of(project.config.index)
    vectors = {m: np.asarray(values[features[m]]) for m in MODALITIES if features[m] in values}
    if asked.feeling is not None:
        vectors = {m: felt(maker.index, m, v, asked.feeling) for m, v in vectors.items()}
    lips, expression = (values.get(name) for name in ("lips", EXPRESSION))
    found = _neighbours(project, maker, clip, vectors, asked.notes)
    hits = hits_of(maker.index, vectors, found)
    if asked.feeling is not None:
        hits = {m: heard(maker.index, own, asked.feeling) for m, own in hits.items()}
    line = make_line(
        project,
        clip,
        silenced(np.asarray(values["phonemes"])[:, 0]),
        voice,
        vectors=vectors,
        hits=hits,
        lips=None if lips is None else np.asarray(lips),
        expression=None if expression is None else np.asarray(expression),
    )
    return line, found


def _in_scene(
    line: DubbingLine,
    clip: Clip,
    clips: Sequence[Clip],
    seen: Mapping[str, Mapping[str, Value]],
) -> DubbingLine:
    """The line with what is known of the script's lines before and after it."""
    by_position = {other.position: other.clip_id for other in clips}
    context = {}
    for side, step in zip(SIDES, (-1, 1), strict=True):
        near = by_position.get(clip.position + step, "")
        if near in seen:
            context[side] = told(seen[near])
    return replace(line, context=context)


def _in_order(
    dubber: TrainedDubber,
    maker: LineMaker,
    tools: Toolbox,
    clips: Sequence[Clip],
    lines: Sequence[tuple[Clip, DubbingLine]],
    controls: Sequence[VoiceControl],
    seen: Mapping[str, Mapping[str, Value]],
) -> list[SpokenLine]:
    """Speak one line after another; each hears the new sound of the line before."""
    silent = {
        clip_id: {name: value for name, value in values.items() if name not in OF_SOUND}
        for clip_id, values in seen.items()
    }
    names = [name for name in OF_SOUND if name in maker.values]
    vocoder, spoken = make_vocoder(tools.project), []
    for (clip, line), control in zip(lines, controls, strict=True):
        [said] = synthesise(dubber, [_in_scene(line, clip, clips, silent)], [control])
        sound = _heard_as(tools, clip, names, vocoder.vocode(said.mel), silent[clip.clip_id])
        silent[clip.clip_id].update(sound)
        spoken.append(said)
    return spoken


def _heard_as(
    tools: Toolbox,
    clip: Clip,
    names: Sequence[str],
    waveform: Waveform,
    values: Mapping[str, Value],
) -> dict[str, Value]:
    """The features of a new sound, those that are named, in an order where reads come first."""
    known, heard = dict(values), {}
    for name in names:
        extractor = tools.extractor(name)
        reads = {read: known[read] for read in extractor.reads if read in known}
        try:
            known[name] = heard[name] = extractor.extract(
                ClipMedia(clip=clip, frames=None, waveform=waveform, features=reads)
            )
        except (ClipError, FeatureAbsent, KeyError):
            continue  # what is not heard is told as missing
    return heard


def _neighbours(
    project: Project, maker: LineMaker, clip: Clip, vectors: dict[str, FloatArray], notes: Notes
) -> Neighbours:
    found: Neighbours = {}
    for modality, vector in vectors.items():
        asked: dict[str, Value] = {clip.clip_id: vector}
        rows = neighbour_rows(
            maker.index, project, modality, [clip], asked, notes=notes
        ).to_pylist()
        found[modality] = [(row["hit"], row["score"]) for row in rows]
    return found


def _track(
    project: Project, info: SourceInfo, clips: Sequence[Clip], spoken: Sequence[SpokenLine]
) -> Waveform:
    """Every line in its slot, faded at both ends, silence between: as long as the video."""
    config = project.config
    rate = config.audio.sample_rate_hz
    total = max(round(info.duration_s * rate), _sample(project, clips[-1].end_frame))
    samples = np.zeros(total, dtype=np.float32)
    vocoder = make_vocoder(project)
    for clip, line in zip(clips, spoken, strict=True):
        waveform = vocoder.vocode(line.mel).samples.copy()
        fade = min(round(FADE_S * rate), len(waveform) // 2)
        ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
        waveform[:fade] *= ramp
        waveform[len(waveform) - fade :] *= ramp[::-1]
        start = _sample(project, clip.start_frame)
        kept = min(len(waveform), total - start)
        samples[start : start + kept] = waveform[:kept]
    return Waveform(samples, rate)


def _sample(project: Project, frame: int) -> int:
    return project.config.audio.sample_count(frame, project.config.video)


def _original_loudness(
    project: Project,
    decoder: DecoderChild,
    video: Path,
    info: SourceInfo,
    clips: Sequence[Clip],
) -> float | None:
    """Loudness of what was there in the dubbed slots; None without sound worth matching."""
    if not info.has_audio:
        return None
    config = project.config
    pieces = []
    for clip in clips:
        heard = decoder.decode(
            video,
            start_frame=clip.start_frame,
            end_frame=clip.end_frame,
            video=config.video,
            audio=config.audio,
            decoder="pyav",
            frames=False,
            waveform=True,
        ).waveform
        if heard is not None:
            pieces.append(heard.samples)
    if not pieces:
        return None
    loudness = integrated_loudness(Waveform(np.concatenate(pieces), config.audio.sample_rate_hz))
    return None if loudness is None or loudness < QUIETEST_ORIGINAL else loudness


def _asked_louder(clips: Sequence[Clip], controls: Sequence[VoiceControl]) -> float:
    """By how many decibels a take gets louder if each line does as it was asked."""
    frames = np.array([clip.end_frame - clip.start_frame for clip in clips], dtype=np.float64)
    power = 10 ** (np.array([one.energy for one in controls]) / 10)
    return float(10 * np.log10((frames * power).sum() / frames.sum()))


def _missing_db(track: Waveform, wanted_lufs: float) -> float:
    """By how many decibels a take misses the loudness that was wanted; 0 for up to half of one."""
    loudness = integrated_loudness(track)
    short = 0.0 if loudness is None else wanted_lufs - loudness
    return short if short > UNHEARD_DB else 0.0


def at_loudness(track: Waveform, wanted_lufs: float) -> Waveform:
    """One gain for the whole take: lines keep their balance, peaks stay below -1 dBFS."""
    loudness = integrated_loudness(track)
    if loudness is None:
        return track
    gain = 10 ** ((wanted_lufs - loudness) / 20)
    peak = float(np.abs(track.samples).max(initial=0.0)) * gain
    if peak > PEAK:
        gain *= PEAK / peak
    return Waveform((track.samples * np.float32(gain)).astype(np.float32), track.sample_rate_hz)
