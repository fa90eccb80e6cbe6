"""A folder of footage as clips: one per subtitle cue, or one per file without subtitles.

::

    footage/                 the root; its name is the film of files that lie directly in it
    ├── cast.csv …           optional tables (:mod:`redub.footage.tables`)
    └── Moonfleet/           a folder below the root is a film
        ├── harbour.mp4      a source; its scene is its path below the film, without the ending
        └── harbour.srt      its lines: .srt, .vtt or .ass (the first of these that exists)

Sources are the regular files and links with an ending of :data:`MEDIA_SUFFIXES`, in the order of
their paths; names that begin with a dot are skipped. What a file really is, its content says. A
wrong ending within that list does not matter.

A clip id is the path below the root, ``/`` written ``~``, without the ending ``.mp4`` (another
one follows after ``+``), and the line: ``Moonfleet~harbour-0003``, ``take+mkv-0001``. Letters and
digits of any script and ``. _ -`` stay; every other byte, and a dash at the start, is written
``%XX``. So an id is one safe word, no two lines share one, and a file that joins the folder later
changes no other's. A path too long for that ends in ``~~`` and a digest.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from redub.core.errors import ClipError, ConfigError
from redub.core.types import Clip, VideoSpec
from redub.footage.child import DecoderChild
from redub.footage.faults import ClipFault, shown
from redub.footage.paths import locate, open_regular
from redub.footage.probe import SourceInfo
from redub.footage.subtitles import SUBTITLE_SUFFIXES, Cue, Subtitles, read_subtitles
from redub.footage.tables import Tables, line_value, load_tables, rows_without_line

PICTURE_SUFFIXES = frozenset(
    (
        ".mp4",
        ".m4v",
        ".mov",
        ".3gp",
        ".mkv",
        ".webm",
        ".avi",
        ".ts",
        ".m2ts",
        ".mts",
        ".mpg",
        ".vob",
    )
)
SOUND_SUFFIXES = frozenset((".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus"))
MEDIA_SUFFIXES = PICTURE_SUFFIXES | SOUND_SUFFIXES

_GRID = VideoSpec()  # clips are counted in its 1/25 s, whatever size pictures are decoded to
_MAX_ID = 160
_MIB = 1 << 20

Progress = Callable[[int, int, str], None]
"""Called with (sources done, sources in all, the source just done)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRules:
    """What a folder must hold to be used.

    allow_audio_only: sources without a picture give clips without one; refused otherwise.
    allow_silent: sources without sound give clips without it (they can be dubbed, not learned
        from); refused otherwise.
    film: the film of every source; by default the first folder below the root.
    """

    allow_audio_only: bool = False
    allow_silent: bool = True
    film: str | None = None


@dataclass(frozen=True, slots=True)
class SourceClips:
    """What one source gave. ``info`` is None where the source as a whole is refused."""

    source: str
    info: SourceInfo | None
    clips: tuple[Clip, ...]
    faults: tuple[ClipFault, ...]


def list_sources(root: Path) -> list[str]:
    """All sources below ``root``, as sorted posix paths; links to folders are not followed.

    Raises:
        ConfigError: ``root`` is no folder that can be listed.
    """
    if not root.is_dir():
        raise ConfigError(f"'{shown(str(root))}' is no folder; wanted a folder of footage")
    found = []

    def cannot_list(error: OSError) -> None:
        raise ConfigError(f"a folder of footage cannot be listed: {error}") from error

    for folder, folders, files in os.walk(root, onerror=cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        # A folder, pipe or link named film.mp4 is listed too: it deserves a reason, not silence.
        named = [n for n in [*files, *folders] if _is_media(n) and not n.startswith(".")]
        found += [(below / name).as_posix() for name in named]
        folders[:] = [name for name in folders if not _is_media(name)]
    return sorted(found, key=os.fsencode)


def read_tables(root: Path) -> Tables:
    """The tables at the root, checked against the sources that are there.

    Raises:
        ConfigError: a mistake in a table, with its file and line.
    """
    sources = list_sources(root)
    return load_tables(root, sources, {scene_of(source) for source in sources})


def read_source(
    root: Path,
    relative: str,
    tables: Tables,
    *,
    decoder: DecoderChild,
    rules: FolderRules | None = None,
) -> SourceClips:
    """Turn one source into clips and faults; nothing else of the folder is looked at.

    ``position`` counts the clips of each scene within this source, see :func:`positions`; the store
    counts on where ``scenes.csv`` lets a scene span several sources.
    """
    rules = rules or FolderRules()
    try:
        path = locate(root, relative)
        info, digest = _look_at(path, relative, decoder, rules)
        lines = _lines(root, relative, tables, info, decoder)
    except ClipError as error:
        return SourceClips(relative, None, (), (ClipFault.of(error, source=relative),))
    clips: list[Clip] = []
    faults = [
        replace(fault, clip_id=clip_id_of(relative, fault.line) if fault.line else "")
        for fault in lines.faults
    ]
    film = rules.film or film_of(relative, root.resolve().name)
    for cue in lines.cues:
        clip = _clip(relative, digest, film, cue, info, tables)
        why_not = _not_in_cast(clip, tables)
        if why_not:
            faults.append(
                ClipFault(
                    source=relative,
                    code="E-IN-CAST",
                    message=why_not,
                    clip_id=clip.clip_id,
                    line=cue.index,
                )
            )
        else:
            clips.append(clip)
    present = {cue.index for cue in lines.cues} | {fault.line for fault in lines.faults}
    for row in rows_without_line(tables, relative, present):
        message = (
            f"{row.table} line {row.row} names a line that '{shown(relative)}' does not have; "
            f"wanted one of its {len(present)} lines"
        )
        faults.append(ClipFault(source=relative, code="E-IN-ROW", message=message))
    numbers = {clip_id_of(relative, cue.index): cue.index for cue in lines.cues}
    placed = _placed(clips, numbers, [fault.line for fault in faults if fault.line])
    return SourceClips(relative, info, placed, tuple(faults))


def read_folder(
    root: Path,
    *,
    decoder: DecoderChild,
    known: Collection[str] = (),
    rules: FolderRules | None = None,
    progress: Progress | None = None,
) -> Iterator[SourceClips]:
    """Read source after source, in the order of their paths.

    Args:
        known: sources to leave out, because the caller has them already.

    Raises:
        ConfigError: a mistake in a table; before the first source is opened.
    """
    tables = read_tables(root)
    sources = [source for source in list_sources(root) if source not in known]
    for done, source in enumerate(sources, start=1):
        yield read_source(root, source, tables, decoder=decoder, rules=rules)
        if progress is not None:
            progress(done, len(sources), source)


def _placed(
    clips: Iterable[Clip], numbers: Mapping[str, int], unusable: Collection[int]
) -> tuple[Clip, ...]:
    """Clips of one source in the order of time, each with its place in its scene."""
    ordered = sorted(clips, key=lambda clip: (clip.start_frame, clip.clip_id))
    scenes: dict[str, list[str]] = defaultdict(list)
    for clip in ordered:
        scenes[clip.scene].append(clip.clip_id)
    places: dict[str, int] = {}
    for members in scenes.values():
        own = positions([numbers[clip_id] for clip_id in members], unusable)
        places |= dict(zip(members, own, strict=True))
    return tuple(replace(clip, position=places[clip.clip_id]) for clip in ordered)


def positions(numbers: Sequence[int], unusable: Collection[int]) -> list[int]:
    """Places of a scene's lines: 1, 2, 3, …, and one is left out where a line could not be used.

    Lines beside such a gap do not follow each other, so neither is the other's context.

    Args:
        numbers: of the lines in their file, in the order of time.
        unusable: numbers of lines that are not among them.
    """
    gone = sorted(unusable)
    places = [1] * bool(numbers)
    for pair in itertools.pairwise(numbers):
        low, high = sorted(pair)
        is_gap = bisect_right(gone, low) < bisect_left(gone, high)
        places.append(places[-1] + 1 + is_gap)
    return places


def film_of(relative: str, root_name: str) -> str:
    """The first folder below the root, or the root's own name."""
    parts = PurePosixPath(relative).parts
    return parts[0] if len(parts) > 1 else root_name


def scene_of(relative: str) -> str:
    """The path below the film without its ending; for ``film/harbour.mp4`` it is ``harbour``."""
    path = PurePosixPath(relative)
    below = path.relative_to(path.parts[0]) if len(path.parts) > 1 else path
    return below.with_suffix("").as_posix()


def clip_id_of(relative: str, line: int) -> str:
    """The id of one line of one source; the module's text has the rule."""
    path = PurePosixPath(relative)
    ending = "" if path.suffix in (".mp4", "") else "+" + _safe(path.suffix[1:])
    word = "~".join([*map(_safe, path.parts[:-1]), _safe(path.stem)]) + ending
    if word.startswith("-"):
        word = "%2D" + word[1:]
    if len(word) > _MAX_ID:
        digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:32]
        word = f"{word[: _MAX_ID - 34]}~~{digest}"  # '~~' cannot arise otherwise
    return f"{word}-{line:04d}"


def _safe(word: str) -> str:
    return "".join(
        c if c.isalnum() or c in "._-" else "".join(f"%{b:02X}" for b in os.fsencode(c))
        for c in word
    )


def _is_media(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES


def _look_at(
    path: Path, relative: str, decoder: DecoderChild, rules: FolderRules
) -> tuple[SourceInfo, str]:
    """What the source is, and the SHA-256 of exactly the bytes that were looked at."""
    with open_regular(path) as descriptor:  # complains if the file changes before this block ends
        digest = hashlib.sha256()
        with open(descriptor, "rb", closefd=False) as file:
            while block := file.read(_MIB):
                digest.update(block)
        info = decoder.probe(path)
    name = shown(relative)
    if not info.has_video and not rules.allow_audio_only:
        raise ClipError(
            f"'{name}' has no picture; wanted one, or allow audio-only sources", code="E-IN-NOVIDEO"
        )
    if not info.has_audio and not rules.allow_silent:
        raise ClipError(
            f"'{name}' has no sound; wanted some, or allow silent sources", code="E-IN-NOAUDIO"
        )
    return info, digest.hexdigest()


def _lines(
    root: Path, relative: str, tables: Tables, info: SourceInfo, decoder: DecoderChild
) -> Subtitles:
    """The source's cues, or one cue for all of it.

    Raises:
        ClipError: the subtitles lead out of the folder; or the source has none and is longer than
            a clip may be, or shorter than one picture.
    """
    max_clip_s = decoder.limits.max_clip_s
    base = PurePosixPath(relative)
    for suffix in SUBTITLE_SUFFIXES:
        beside = base.with_suffix(suffix).as_posix()
        if os.path.lexists(root / beside):
            return read_subtitles(
                locate(root, beside),
                source=relative,
                cast=tables.names,
                end_s=info.duration_s,
                max_clip_s=max_clip_s,
            )
    if info.duration_s > max_clip_s:
        raise ClipError(
            f"'{shown(relative)}' lasts {info.duration_s:.1f} s, one clip at most "
            f"{max_clip_s:g} s; put subtitles beside it, one cue per line of dialogue",
            code="E-IN-TOOLONG",
        )
    if _frame(info.duration_s) == 0:
        raise ClipError(
            f"'{shown(relative)}' lasts {info.duration_s:.3f} s, less than half a picture; "
            "take it out of the folder",
            code="E-IN-RANGE",
        )
    return Subtitles((Cue(index=1, start_s=0.0, end_s=info.duration_s, text=""),), ())


def _clip(
    relative: str, digest: str, film: str, cue: Cue, info: SourceInfo, tables: Tables
) -> Clip:
    speaker = line_value(tables.speakers, relative, cue.index) or cue.speaker
    scene = line_value(tables.scenes, relative, cue.index) or scene_of(relative)
    split = tables.source_splits.get(relative) or tables.scene_splits.get(scene) or "train"
    return Clip(
        clip_id=clip_id_of(relative, cue.index),
        source=relative,
        source_digest=digest,
        start_frame=_frame(cue.start_s),
        end_frame=_frame(cue.end_s),
        film=film,
        scene=scene,
        position=0,
        speaker=speaker,
        text=cue.text,
        split=split,
        emotion=line_value(tables.emotions, relative, cue.index),
        rights=(tables.cast or {}).get(speaker, ""),
        has_video=info.has_video,
        has_audio=info.has_audio,
        decoder=info.decoder,
    )


def _not_in_cast(clip: Clip, tables: Tables) -> str:
    if tables.cast is None or clip.speaker in tables.cast:
        return ""
    who = (
        f"'{shown(clip.speaker)}' speaks this line, who" if clip.speaker else "nobody is named who"
    )
    if not clip.speaker:
        return "nobody is named as the speaker of this line; name one of cast.csv in speakers.csv"
    return f"{who} is not in cast.csv; add the name there, or correct it in the subtitles"


def _frame(time_s: float) -> int:
    return round(time_s * _GRID.fps)
