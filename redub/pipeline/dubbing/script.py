"""Turn the script of a dub into clips of the video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from redub.core.config import existing_file, nearest
from redub.core.durable import file_digest
from redub.core.errors import ClipError, UsageError
from redub.core.types import Clip
from redub.footage.probe import SourceInfo
from redub.footage.subtitles import Subtitles, counted, not_spoken_sentence, read_subtitles
from redub.footage.subtitles.places import line_order, positions
from redub.pipeline.dubbing.direction import Direction
from redub.pipeline.dubbing.take import DubSummary, LineFault, line_number
from redub.pipeline.store.project import Project
from redub.pipeline.work.footage_changes import with_version


def check_line_numbers(direction: Direction, clips: Sequence[Clip]) -> None:
    """Refuse controls of a script line that does not exist.

    Raises:
        UsageError: with the nearest line number.
    """
    known = [str(line_number(clip)) for clip in clips]
    for line in direction.single:
        if str(line) not in known:
            raise UsageError(f"the script has no line {line}; {nearest(str(line), known)}")


def read_script(
    project: Project,
    video: Path,
    script: Path,
    info: SourceInfo,
    summary: DubSummary,
    *,
    cast: Sequence[str],
) -> Subtitles:
    """Read the lines of a script that fit a video.

    A line that cannot be used becomes a fault of the summary.

    Args:
        cast: names that may stand before a colon as a speaker.

    Raises:
        ClipError: E-IN-NOVIDEO, the file has no video stream.
        ConfigError: E-IN-MISSING, there is no such script.
    """
    if not info.has_video:
        raise ClipError(f"{video.name} has no video stream to dub", code="E-IN-NOVIDEO")
    existing_file(script)
    fitted = read_subtitles(
        script,
        source=script.name,
        cast=cast,
        end_s=info.duration_s,
        max_clip_s=project.config.footage.max_clip_s,
        fps=info.fps,
        styles=project.config.footage.dialogue_styles,
    )
    summary.faults += [LineFault(f.line, f.code, f.message) for f in fitted.faults]
    summary.notes += [notice.text for notice in fitted.notices]
    if counts := counted(fitted.others):
        summary.notes.append(not_spoken_sentence(counts))
    return fitted


def script_clips(project: Project, video: Path, info: SourceInfo, script: Subtitles) -> list[Clip]:
    """Cut a clip of the video for every line of :func:`read_script`."""
    fps = project.config.video.fps
    digest = file_digest(video)
    clips = []
    places = positions(
        [line_order(cue.index, cue.part) for cue in script.cues],
        [line_order(fault.line, fault.part) for fault in script.faults if fault.line],
    )
    for position, cue in zip(places, script.cues, strict=True):
        clip = Clip(
            clip_id=f"{video.stem}-{cue.index:04d}{cue.part}",
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
            off_screen=cue.off_screen,
            language=project.config.footage.language,
        )
        clips.append(with_version(clip, project.config.footage.decoder, reading=info.reading))
    return clips
