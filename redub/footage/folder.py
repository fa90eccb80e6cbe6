"""Read a folder of footage as clips: one clip per subtitle cue, or per file without subtitles.

::

    footage/                 the root; its name is the film of files directly in it
    ├── cast.csv …           optional tables (:mod:`redub.footage.tables`)
    └── Moonfleet/           a folder below the root is a film
        ├── harbour.mp4      a source; its scene is its path below the film, without the suffix
        └── harbour.srt      its subtitles (:mod:`redub.footage.subtitles.beside`)

Sources are the regular files and links with a suffix of
:data:`redub.footage.listing.MEDIA_SUFFIXES`, in the order of their paths; names that begin with a
dot are skipped. The content of a file decides its format, so a wrong suffix from that list does no
harm.

A clip id consists of the path below the root, with ``~`` for ``/`` and without the suffix ``.mp4``
(another suffix follows after ``+``), and the line number: ``Moonfleet~harbour-0003``,
``take+mkv-0001``. The second speaker of a cue has the id ``Moonfleet~harbour-0003b``. Letters and
digits of any script and ``. _ -`` stay; every other byte, and a dash at the start, is written
``%XX``. So an id has no special characters, two utterances never share an id, and a new file in the
folder does not change the ids of other files. A path that is too long is cut, and ``~~`` and a
digest follow.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from redub.core.config import nearest
from redub.core.durable import file_digest
from redub.core.errors import ClipError
from redub.core.types import Clip, VideoSpec
from redub.footage.child import DecoderChild
from redub.footage.faults import ClipFault, shown
from redub.footage.language import known_language
from redub.footage.listing import list_files, list_sources
from redub.footage.paths import locate, open_regular
from redub.footage.probe import SourceInfo
from redub.footage.subtitles import (
    TEXT_KINDS,
    Cue,
    Notice,
    NotSpoken,
    Subtitles,
    read_subtitles,
)
from redub.footage.subtitles.beside import Choice
from redub.footage.subtitles.places import line_order, positions
from redub.footage.tables import (
    Tables,
    every_line,
    line_speakers,
    line_value,
    load_tables,
    rows_without_line,
)

_GRID = VideoSpec()  # clip times count its 1/25 s; the frame size does not matter here
_MAX_ID = 160

Progress = Callable[[int, int, str], None]
"""Called with (number of sources done, number of all sources, name of the last source)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRules:
    """Rules for the sources of a folder.

    Attributes:
        allow_audio_only: accept sources without video, as clips without frames.
        allow_silent: accept sources without sound, as clips without a waveform. They can be
            dubbed, but not used for training.
        film: the film of every source; by default the first folder below the root.
        dialogue_styles: styles of ASS files that are dialogue although they look like signs.
        language: of all lines that ``languages.csv`` does not name.
        subtitles_language: of the subtitles to read, a code or an English name; empty: see
            :mod:`redub.footage.subtitles.beside`.
    """

    allow_audio_only: bool = False
    allow_silent: bool = True
    film: str | None = None
    dialogue_styles: tuple[str, ...] = ()
    language: str = "en"
    subtitles_language: str = ""


@dataclass(frozen=True, slots=True)
class SourceClips:
    """The clips and faults of one source, and what its subtitles say beside the dialogue.

    ``info`` is None if the whole source is refused. ``subtitles`` names the file or the track that
    the cues come from; empty without subtitles.
    """

    source: str
    info: SourceInfo | None
    clips: tuple[Clip, ...]
    faults: tuple[ClipFault, ...]
    others: tuple[NotSpoken, ...] = ()
    notices: tuple[Notice, ...] = ()
    subtitles: str = ""


def read_tables(root: Path, sources: Sequence[str] | None = None) -> Tables:
    """Read the tables at the root and check them against the sources of the folder.

    Args:
        sources: of :func:`list_sources`, which is called without them.

    Raises:
        ConfigError: a mistake in a table, with file and row.
    """
    sources = list_sources(root) if sources is None else sources
    return load_tables(root, sources, {scene_of(source) for source in sources})


def read_source(
    root: Path,
    relative: str,
    tables: Tables,
    *,
    decoder: DecoderChild,
    rules: FolderRules | None = None,
    subtitles: Choice | None = None,
) -> SourceClips:
    """Turn one source into clips and faults; other sources of the folder are not read.

    Args:
        subtitles: those of the source, from :func:`list_files`, which is called without it.

    ``Clip.position`` counts the clips of each scene within this source, see :func:`positions`. If
    ``scenes.csv`` puts several sources into one scene, the store continues the count.
    """
    rules = rules or FolderRules()
    if subtitles is None:
        files = list_files(root, subtitles_language=rules.subtitles_language)
        subtitles = files.beside.of(relative)
    try:
        chosen = subtitles.checked(relative).path
        path = locate(root, relative)
        info, digest = _look_at(path, relative, decoder, rules)
        reader = _LineReader(root, relative, tables, info, decoder, rules)
        if chosen:
            lines, came_from = reader.beside(chosen)
            language = subtitles.language
        else:
            lines, came_from, language = reader.inside(path)
    except ClipError as error:
        return SourceClips(relative, None, (), (ClipFault.of(error, source=relative),))
    if language in ("", rules.language.partition("-")[0]):
        language = rules.language  # else NAME.de.srt is German, whatever the other films are
    film = rules.film or film_of(relative, root.resolve().name)
    made = [_clip(relative, digest, film, cue, info, tables, language) for cue in lines.cues]
    clips, not_cast = _cast_only(made, lines.cues, tables)
    rows = _rows_without_line(tables, relative, lines)
    faults = [*_of_cues(lines.faults, relative), *not_cast, *rows]
    numbers = {
        clip_id_of(relative, cue.index, cue.part): line_order(cue.index, cue.part)
        for cue in lines.cues
    }
    unusable = [line_order(fault.line, fault.part) for fault in faults if fault.line]
    placed = _placed(clips, numbers, unusable)
    return SourceClips(
        relative, info, placed, tuple(faults), lines.others, lines.notices, came_from
    )


def _of_cues(faults: Iterable[ClipFault], source: str) -> list[ClipFault]:
    """The faults of a subtitle reader, with the clip ids of their cues."""
    return [
        replace(fault, clip_id=clip_id_of(source, fault.line, fault.part) if fault.line else "")
        for fault in faults
    ]


def _cast_only(
    made: Sequence[Clip], cues: Sequence[Cue], tables: Tables
) -> tuple[list[Clip], list[ClipFault]]:
    """The clips whose speaker the cast allows, and a fault for each of the others."""
    clips: list[Clip] = []
    faults: list[ClipFault] = []
    for clip, cue in zip(made, cues, strict=True):
        why_not = _not_in_cast(clip, tables)
        if not why_not:
            clips.append(clip)
            continue
        faults.append(
            ClipFault(
                source=clip.source,
                code="E-IN-CAST",
                message=why_not,
                clip_id=clip.clip_id,
                line=cue.index,
                part=cue.part,
            )
        )
    return clips, faults


def _rows_without_line(tables: Tables, relative: str, lines: Subtitles) -> list[ClipFault]:
    """A fault for every table row about a line that the source does not have."""
    present = {f"{part.index}{part.part}" for part in lines.cues}
    present |= {f"{fault.line}{fault.part}" for fault in lines.faults}
    kinds = {str(other.cue): other.kind for other in lines.others if other.kind in TEXT_KINDS}
    faults = []
    for line, row in rows_without_line(tables, relative, present):
        if line in kinds:
            why = f"line {line} of '{shown(relative)}', which is not spoken ({kinds[line]})"
        else:
            why = (
                f"a line that '{shown(relative)}' does not have; wanted one of its "
                f"{len(present)} lines"
            )
        message = f"{row.table} line {row.row} names {why}"
        faults.append(ClipFault(source=relative, code="E-IN-ROW", message=message))
    return faults


def read_folder(
    root: Path,
    *,
    decoder: DecoderChild,
    known: Collection[str] = (),
    rules: FolderRules | None = None,
    progress: Progress | None = None,
) -> Iterator[SourceClips]:
    """Read the sources one after another, in the order of their paths.

    Args:
        known: sources to skip, because the caller has read them already.

    Raises:
        ConfigError: a mistake in a table; raised before the first source is opened.
    """
    rules = rules or FolderRules()
    files = list_files(root, subtitles_language=rules.subtitles_language)
    tables = read_tables(root, files.sources)
    sources = [source for source in files.sources if source not in known]
    for done, source in enumerate(sources, start=1):
        own = files.beside.of(source)
        yield read_source(root, source, tables, decoder=decoder, rules=rules, subtitles=own)
        if progress is not None:
            progress(done, len(sources), source)


def _placed(
    clips: Iterable[Clip], numbers: Mapping[str, int], unusable: Collection[int]
) -> tuple[Clip, ...]:
    """Sort the clips of one source by time and set the position of each clip in its scene."""
    ordered = sorted(clips, key=lambda clip: (clip.start_frame, clip.clip_id))
    scenes: dict[str, list[str]] = defaultdict(list)
    for clip in ordered:
        scenes[clip.scene].append(clip.clip_id)
    places: dict[str, int] = {}
    for members in scenes.values():
        own = positions([numbers[clip_id] for clip_id in members], unusable)
        places |= dict(zip(members, own, strict=True))
    return tuple(replace(clip, position=places[clip.clip_id]) for clip in ordered)


def film_of(relative: str, root_name: str) -> str:
    """Return the film of a source: the first folder below the root, else the name of the root."""
    parts = PurePosixPath(relative).parts
    return parts[0] if len(parts) > 1 else root_name


def scene_of(relative: str) -> str:
    """Return the default scene of a source: its path below the film, without the suffix.

    For ``film/harbour.mp4`` it is ``harbour``.
    """
    path = PurePosixPath(relative)
    below = path.relative_to(path.parts[0]) if len(path.parts) > 1 else path
    return below.with_suffix("").as_posix()


def clip_id_of(relative: str, line: int, part: str = "") -> str:
    """Return the clip id of one line of one source; the module docstring has the rule."""
    path = PurePosixPath(relative)
    ending = "" if path.suffix in (".mp4", "") else "+" + _safe(path.suffix[1:])
    word = "~".join([*map(_safe, path.parts[:-1]), _safe(path.stem)]) + ending
    if word.startswith("-"):
        word = "%2D" + word[1:]
    if len(word) > _MAX_ID:
        digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:32]
        word = f"{word[: _MAX_ID - 34]}~~{digest}"  # '~~' cannot arise otherwise
    return f"{word}-{line:04d}{part}"


def _safe(word: str) -> str:
    return "".join(
        c if c.isalnum() or c in "._-" else "".join(f"%{b:02X}" for b in os.fsencode(c))
        for c in word
    )


def _look_at(
    path: Path, relative: str, decoder: DecoderChild, rules: FolderRules
) -> tuple[SourceInfo, str]:
    """The properties of the source, and the SHA-256 of the bytes that were examined."""
    with open_regular(path) as descriptor:  # raises if the file changes before this block ends
        with open(descriptor, "rb", closefd=False) as file:
            digest = file_digest(file)
        info = decoder.probe(path)
    name = shown(relative)
    if not info.has_video and not rules.allow_audio_only:
        raise ClipError(
            f"'{name}' has no video; add it, or allow audio-only sources", code="E-IN-NOVIDEO"
        )
    if not info.has_audio and not rules.allow_silent:
        raise ClipError(
            f"'{name}' has no sound; add it, or allow silent sources", code="E-IN-NOAUDIO"
        )
    return info, digest


@dataclass(frozen=True, slots=True)
class _LineReader:
    """Reads the utterances of one source, and says where they come from."""

    root: Path
    relative: str
    tables: Tables
    info: SourceInfo
    decoder: DecoderChild
    rules: FolderRules

    def beside(self, chosen: str) -> tuple[Subtitles, str]:
        """The cues of a subtitle file.

        Raises:
            ClipError: the file is a link to a place outside the folder.
        """
        return self._read(locate(self.root, chosen)), chosen

    def inside(self, path: Path) -> tuple[Subtitles, str, str]:
        """The cues of a track of the media file, or one cue over the whole of it; and its language.

        Raises:
            ClipError: E-SUB-CHOICE, tracks in several languages; or there is no track that can be
                read, and the media are longer than the limit or shorter than half a video frame.
        """
        language = known_language(self.rules.subtitles_language, "footage.subtitles_language")
        track = self.decoder.subtitles(path, language)
        Choice(problem=track.problem).checked(self.relative)
        notices = tuple(Notice(0, sentence) for sentence in track.unused)
        if not track.track:
            return Subtitles((self._whole(),), (), notices=notices), "", ""
        with tempfile.TemporaryDirectory(prefix="redub-subtitles-") as folder:
            file = Path(folder) / f"{path.stem[:100]}{track.suffix}"
            file.write_bytes(track.content)
            found = self._read(file)
        return replace(found, notices=notices + found.notices), track.track, track.language

    def _read(self, file: Path) -> Subtitles:
        return read_subtitles(
            file,
            source=self.relative,
            cast=self.tables.names,
            end_s=self.info.duration_s,
            max_clip_s=self.decoder.limits.max_clip_s,
            fps=self.info.fps,
            styles=self.rules.dialogue_styles,
            speakers=line_speakers(self.tables.speakers, self.relative),
        )

    def _whole(self) -> Cue:
        """One cue over the whole source.

        Raises:
            ClipError: it is longer than the limit, or shorter than half a video frame.
        """
        lasts_s, longest_s = self.info.duration_s, self.decoder.limits.max_clip_s
        name = shown(self.relative)
        if lasts_s > longest_s:
            raise ClipError(
                f"'{name}' lasts {lasts_s:.1f} s, one clip at most {longest_s:g} s; add a subtitle "
                "file of the same name, one cue per utterance",
                code="E-IN-TOOLONG",
            )
        if _frame(lasts_s) == 0:
            raise ClipError(
                f"'{name}' lasts {lasts_s:.3f} s, less than half a video frame; remove it from the "
                "folder",
                code="E-IN-RANGE",
            )
        return Cue(index=1, start_s=0.0, end_s=lasts_s, text="")


def _clip(
    relative: str,
    digest: str,
    film: str,
    cue: Cue,
    info: SourceInfo,
    tables: Tables,
    language: str,
) -> Clip:
    of_line = line_speakers(tables.speakers, relative).get(f"{cue.index}{cue.part}", "")
    speaker = of_line or every_line(tables.speakers, relative) or cue.speaker
    scene = line_value(tables.scenes, relative, cue.index, cue.part) or scene_of(relative)
    split = tables.source_splits.get(relative) or tables.scene_splits.get(scene) or "train"
    return Clip(
        clip_id=clip_id_of(relative, cue.index, cue.part),
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
        emotion=line_value(tables.emotions, relative, cue.index, cue.part),
        rights=(tables.cast or {}).get(speaker, ""),
        has_video=info.has_video,
        has_audio=info.has_audio,
        decoder=info.decoder,
        off_screen=cue.off_screen,
        language=line_value(tables.languages, relative, cue.index, cue.part) or language,
    )


def _not_in_cast(clip: Clip, tables: Tables) -> str:
    """The message for a speaker that is not in ``cast.csv``, else an empty text."""
    if tables.cast is None or clip.speaker in tables.cast:
        return ""
    if not clip.speaker:
        return "this utterance has no speaker; name a speaker of cast.csv in speakers.csv"
    return (
        f"the speaker '{shown(clip.speaker)}' is not in cast.csv "
        f"({nearest(clip.speaker, [shown(name) for name in tables.cast])}); add the name there, or "
        "correct it in the subtitles"
    )


def _frame(time_s: float) -> int:
    return round(time_s * _GRID.fps)
