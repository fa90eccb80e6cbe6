"""Dub one video: words from a script, voice from the library, picture untouched.

Reads the video, the script, a trained run and the index. Writes one mp4: every line fills its
slot to the sample, the sound between lines is silence, the picture is copied bit for bit. Beside it
``<name>.take.json`` says how every line was made: its slot, voice, director's notes and hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redub.core.durable import commit_json
from redub.core.errors import ConfigError, UsageError
from redub.core.progress import Progress
from redub.core.types import Value
from redub.features.sound.loudness import integrated_loudness
from redub.footage.child import DecoderChild
from redub.footage.remux import write_dubbed
from redub.model.registry import reads_context
from redub.pipeline.dubbing.direction import Direction, check_feeling
from redub.pipeline.dubbing.mix import (
    FALLBACK_LOUDNESS,
    asked_louder_db,
    at_loudness,
    missing_db,
    mixed_track,
    original_loudness,
)
from redub.pipeline.dubbing.script import check_line_numbers, script_clips
from redub.pipeline.dubbing.take import DubSummary, Neighbours, line_number, take_record
from redub.pipeline.dubbing.voices import ORIGINAL, ContextChoice, dubbing_lines, in_order, in_scene
from redub.pipeline.store.packs.lines import LineMaker
from redub.pipeline.store.project import Project
from redub.pipeline.store.writing import stoppable
from redub.pipeline.work.decoders import limits_of
from redub.pipeline.work.executor import Scheduler, done
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.query import check_notes
from redub.pipeline.work.speaking import check_features, open_dubber
from redub.training.synthesis import reads_emotion, synthesise

if TYPE_CHECKING:  # each stage's imports are its own: `redub ingest` loads no torch
    from redub.pipeline.dubbing.direction import Direction
    from redub.pipeline.dubbing.take import DubSummary
    from redub.pipeline.dubbing.voices import ContextChoice


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
        check_line_numbers(direction, clips)
        found: dict[str, Neighbours] = {}
        seen: dict[str, Mapping[str, Value]] = {}
        tools = Toolbox(project, root=video.parent)
        lines = dubbing_lines(maker, tools, clips, voice, direction, found, seen, summary, progress)
        if not lines:
            reasons = "; ".join(f"line {f.line}: {f.message}" for f in summary.faults)
            raise ConfigError(f"no line of {script.name} can be spoken: {reasons}", code="E-DUB")
        controls = [direction.on(line_number(clip)).control for clip, _ in lines]
        if not hears:
            spoken = synthesise(dubber, [line for _, line in lines], controls)
        elif context == ORIGINAL:
            in_scene = [in_scene(line, clip, clips, seen) for clip, line in lines]
            spoken = synthesise(dubber, in_scene, controls)
        else:
            spoken = in_order(dubber, maker, tools, clips, lines, controls, seen)
        track = mixed_track(project, info, [clip for clip, _ in lines], spoken)
        original = original_loudness(project, decoder, video, info, [c for c, _ in lines])
    summary.original_lufs = original
    wanted = FALLBACK_LOUDNESS if original is None else original
    wanted += asked_louder_db([clip for clip, _ in lines], controls)
    track = at_loudness(track, wanted)
    summary.loudness_lufs = integrated_loudness(track)
    if short := missing_db(track, wanted):
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
    record = take_record(maker, run, voice, direction, lines, found)
    commit_json(take, {**record, "context": context} if hears else record)
    return summary


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


def run_dub_beside(
    project: Project,
    videos: Mapping[Path, Path],
    *,
    run: str,
    scheduler: Scheduler,
    progress: Progress,
) -> list[DubSummary]:
    """Dub several videos (video → output), each with the script beside it, worker by worker."""

    orders = [
        DubOrder(project, video, video.with_suffix(".srt"), output, run)
        for video, output in videos.items()
    ]
    made = []
    progress(0, len(orders))
    for result in scheduler.run(dub_order, orders):
        made.append(done(result))
        progress(len(made), len(orders))
    return made


def run_dub(
    project: Project,
    *,
    video: Path,
    script: Path,
    output: Path,
    voice: str | None,
    run: str,
    direction: Direction,
    context: ContextChoice,
    progress: Progress,
) -> DubSummary:
    """Dub one video; reads the store and writes the output and the record beside it."""

    with stoppable("dub"):
        return dub(
            project,
            video=video,
            script=script,
            output=output,
            voice=voice,
            run=run,
            direction=direction,
            context=context,
            progress=progress,
        )
