"""Dub one video: words from a script, voice from the library, video stream unchanged.

Reads the video, the script, a trained run and the index. Writes one mp4: every utterance fills its
slot to the sample, the video packets are copied bit for bit. Between the utterances there is
silence, or the background that is separated from the original sound. Writes ``<name>.take.json``
next to the mp4: slot, voice, director's notes and retrieved clips of every utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redub.core.config import existing_file
from redub.core.errors import ConfigError, UsageError
from redub.core.progress import Progress
from redub.core.types import Clip, Waveform
from redub.features.sound.loudness import integrated_loudness
from redub.footage.child import DecoderChild
from redub.footage.probe import SourceInfo
from redub.footage.remux import write_dubbed
from redub.footage.tables import cast_names
from redub.model.registry import system_spec
from redub.pipeline.dubbing.direction import Direction, check_emotion_target
from redub.pipeline.dubbing.mix import (
    FALLBACK_LOUDNESS,
    at_loudness,
    louder_db,
    missing_db,
    mixed_track,
)
from redub.pipeline.dubbing.original_sound import (
    NONE,
    BackgroundChoice,
    OriginalSound,
    recorded_separation,
)
from redub.pipeline.dubbing.script import check_line_numbers, read_script, script_clips
from redub.pipeline.dubbing.speakers import check_speakers
from redub.pipeline.dubbing.take import DubSummary, TakeRecord, line_number
from redub.pipeline.dubbing.voices import ORIGINAL, ContextChoice, ScriptLines
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import stoppable
from redub.pipeline.work.decoders import limits_of
from redub.pipeline.work.executor import Scheduler, done
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.query import check_notes
from redub.pipeline.work.speaking import check_features, open_dubber
from redub.training.data.lines import Utterance
from redub.training.synthesis import (
    SpokenLine,
    TrainedDubber,
    VoiceControl,
    reads_emotion,
    synthesise,
)


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
    background: BackgroundChoice = NONE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DubSummary:
    """Dub a video.

    Args:
        background: ``separate`` keeps what is not speech in the original sound.
        context: sound of the adjacent utterances for a context system: that of the video
            (``original``), or the new sound of the previous utterance (``dubbed``; the following
            one then has no sound).
        direction: controls of all script lines or of single ones.
        voice: speaker or clip id of the library; None for the speakers that the script names. A
            line without a speaker, and a speaker of the cast without a recording, get the library's
            most recorded voice, which is noted.

    Raises:
        UsageError: a note names an unknown clip, film, emotion or script line, or ``context`` is
            ``dubbed`` and the run's system reads no context.
        ConfigError: E-VOICE, the script names a speaker that neither the library nor the cast
            knows; E-IN-MISSING, there is no such video or script; no run, no index, or a script
            without one usable line.
        ClipError: the video cannot be read (exit 3).
        IntegrityError: the run was trained on other features than this project computes.
        ModelRefusedError: the background is to be separated, and the weights are not recorded.
    """
    _check_files(video, script, output)
    dubber = open_dubber(project, run)
    reads = system_spec(dubber.system).context
    _check_context(dubber, run, context)
    builder = UtteranceBuilder(Store(project), dubber.system)
    check_features(dubber, project, builder.keys())
    direction = direction or Direction()
    _check_direction(builder, dubber, run, direction)
    separation = None if background == NONE else recorded_separation(project)
    summary = DubSummary(str(output), "", take=str(output.with_suffix(".take.json")))
    with DecoderChild(limits_of(project)) as decoder:
        info = decoder.probe(video)
        clips = _clips_to_speak(project, builder, video, script, info, voice, direction, summary)
        tools = Toolbox(project, root=video.parent)
        made = ScriptLines(builder, tools, clips)
        made.prepare(voice, direction, summary, progress)
        if not made.lines:
            raise _nothing_to_speak(script, summary)
        controls = [direction.on(line_number(clip)).control for clip, _ in made.lines]
        if context == ORIGINAL:
            spoken = synthesise(dubber, made.inputs(with_context=reads), controls)
        else:
            spoken = made.spoken_in_order(dubber, controls)
        sound = OriginalSound(project, decoder, video, info, separation)
        track = _track(sound, made.lines, spoken, controls, summary)
    _sum_up(project, made.lines, summary)
    summary.notes += list(write_dubbed(video, output, track).notes)
    seen = context if reads else None
    record = TakeRecord.of(
        builder, run, direction, made, voice=voice, context=seen, background=background
    )
    record.write(Path(summary.take))
    return summary


def _clips_to_speak(
    project: Project,
    builder: UtteranceBuilder,
    video: Path,
    script: Path,
    info: SourceInfo,
    voice: str | None,
    direction: Direction,
    summary: DubSummary,
) -> list[Clip]:
    """The clips of the script's lines, after their speakers and line numbers were checked."""
    cast = _cast_of(project, builder)
    lines = read_script(project, video, script, info, summary, cast=cast)
    summary.notes += check_speakers(
        script.name,
        lines.cues,
        voices=builder.voices,
        cast=cast,
        has_voice=lambda cue: bool(voice or direction.on(cue.index).voice),
    )
    clips = script_clips(project, video, info, lines)
    check_line_numbers(direction, clips)
    return clips


def _cast_of(project: Project, builder: UtteranceBuilder) -> list[str]:
    """All known speakers: those with a voice first, then those of other clips and of cast.csv."""
    others = {clip.speaker for clip in builder.clips if clip.speaker}
    others |= cast_names(project.footage_root)
    return [*builder.voices, *sorted(others - set(builder.voices))]


def _check_files(video: Path, script: Path, output: Path) -> None:
    for path in (video, script):
        existing_file(path)
    if output.resolve() == video.resolve():
        raise ConfigError("the output would overwrite the video; name another file")


def _nothing_to_speak(script: Path, summary: DubSummary) -> ConfigError:
    faults = [f"line {fault.line}: {fault.message}" for fault in summary.faults]
    reasons = "; ".join(faults or summary.notes)
    return ConfigError(f"no line of {script.name} can be spoken: {reasons}", code="E-DUB")


def _check_context(dubber: TrainedDubber, run: str, context: ContextChoice) -> None:
    """Refuse a choice of context for a system that reads none.

    Raises:
        UsageError: see :func:`dub`.
    """
    if context != ORIGINAL and not system_spec(dubber.system).context:
        raise UsageError(
            f"'{run}' is a {dubber.system}, which does not read adjacent utterances; leave out "
            "--context"
        )


def _sum_up(project: Project, lines: Sequence[tuple[Clip, Utterance]], summary: DubSummary) -> None:
    """Note slots, count and voices of the spoken utterances in the summary."""
    fps = project.config.video.fps
    summary.slots = [(c.start_frame / fps, c.end_frame / fps) for c, _ in lines]
    summary.dubbed = len(lines)
    summary.voice = ", ".join(sorted({line.speaker for _, line in lines}))


def _check_direction(
    builder: UtteranceBuilder, dubber: TrainedDubber, run: str, direction: Direction
) -> None:
    """Refuse a control that this run or this library cannot follow, before any work.

    Raises:
        UsageError: see :func:`dub`.
    """
    if any(line.emotion_target for line in direction.all()) and not reads_emotion(dubber):
        raise UsageError(
            f"'{run}' is a {dubber.system} that reads no emotion vectors, so its emotion cannot be "
            "controlled; dub with a run of authentic_dubber that has its graphs",
            code="E-MODEL-EMOTION",
        )
    for line in direction.all():
        check_notes(builder.index, line.notes)
        if line.emotion_target is not None:
            check_emotion_target(builder.index, line.emotion_target)
        if line.voice is not None:
            builder.named_voice(line.voice)


def _track(
    sound: OriginalSound,
    lines: Sequence[tuple[Clip, Utterance]],
    spoken: Sequence[SpokenLine],
    controls: Sequence[VoiceControl],
    summary: DubSummary,
) -> Waveform:
    """The sound track at the loudness of the original; notes the loudness in the summary."""
    clips = [clip for clip, _ in lines]
    track = mixed_track(sound.project, sound.info, clips, spoken)
    summary.original_lufs = sound.loudness(clips)
    original = summary.original_lufs
    wanted = FALLBACK_LOUDNESS if original is None else original
    wanted += louder_db(clips, controls)
    track = at_loudness(track, wanted)
    summary.loudness_lufs = integrated_loudness(track)
    if short := missing_db(track, wanted):
        summary.notes.append(
            f"the take is {short:.1f} dB quieter than requested, all lines equally: its peaks are "
            "at -1 dBFS already"
        )
    return sound.with_background(track, summary)


@dataclass(frozen=True, slots=True)
class DubOrder:
    """One video to dub in a worker; each utterance keeps the speaker that the script names."""

    project: Project
    video: Path
    script: Path
    output: Path
    run: str


def dub_order(order: DubOrder) -> DubSummary:
    """Dub one video; runs in a worker."""
    return dub(
        order.project, video=order.video, script=order.script, output=order.output, run=order.run
    )


def run_dub_parallel(
    project: Project,
    videos: Mapping[Path, Path],
    *,
    run: str,
    scheduler: Scheduler,
    progress: Progress,
) -> list[DubSummary]:
    """Dub several videos (video → output), one per worker.

    The script of a video is the file of the same name that ends in ``.srt``.
    """
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
    background: BackgroundChoice,
    progress: Progress,
) -> DubSummary:
    """Dub one video; reads the store, writes the output and its take record."""
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
            background=background,
            progress=progress,
        )
