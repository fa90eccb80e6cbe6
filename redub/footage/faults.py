"""All reasons to refuse a media file, a subtitle cue or a clip, each with a stable short code.

A fault concerns one source or one clip and never stops a run. Functions that handle one item raise
a :class:`ClipError`; functions that read a whole folder collect :class:`ClipFault` rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from redub.core.errors import ClipError

FAULTS: dict[str, str] = {
    # the file
    "E-IN-MISSING": "the file does not exist, or a link has no target",
    "E-IN-PERM": "the file may not be read by this user",
    "E-IN-NOTFILE": "a folder, pipe, device or socket instead of a regular file",
    "E-IN-EMPTY": "the file has zero bytes",
    "E-IN-FORMAT": "not a media container that redub reads, or an impossible header",
    "E-IN-TRUNC": "the file ends before what its own header declares",
    "E-IN-CORRUPT": "bytes inside the file are damaged, so frames or sound may be wrong",
    "E-IN-CHANGED": "the file changed while it was being read",
    "E-IN-NONFINITE": "the sound holds NaN or infinite samples",
    "E-IN-NOVIDEO": "no video, but video is required",
    "E-IN-NOAUDIO": "no sound, but sound is required",
    "E-IN-TOOBIG": "video frames larger than the limit",
    "E-IN-TOOLONG": "a clip longer than the limit",
    "E-IN-RANGE": "a clip that is empty, reversed or past the end of its source",
    "E-IN-NAME": "a file name that is not UTF-8",
    # trust
    "E-SEC-SCHEME": "a path that names a protocol (http:, concat:, subfile:)",
    "E-SEC-ESCAPE": "a path that leads out of the footage folder",
    # the decoder process
    "E-DEC-CRASH": "the decoder process died twice on this input",
    "E-DEC-TIMEOUT": "decoding took longer than the limit and was stopped",
    "E-DEC-MEM": "decoding needed more memory than the limit",
    # subtitles
    "E-SUB-CHOICE": "subtitle files in several languages, and none of them is named",
    "E-SUB-FORMAT": "a subtitle file or cue that cannot be parsed",
    "E-SUB-ENCODING": "a subtitle file that is not UTF-8, or UTF-16 with a byte order mark",
    "E-SUB-NEGATIVE": "a cue with a negative time",
    "E-SUB-REVERSED": "a cue that ends before it starts",
    "E-SUB-ZERO": "a cue shorter than one video frame",
    "E-SUB-EMPTY": "a cue without words",
    "E-SUB-TEXT": "a cue with more text than the limit for one utterance",
    "E-SUB-OVERLAP": "a cue that starts before the previous cue of the same or an unknown speaker "
    "has ended",
    "E-SUB-SPEAKERS": "a cue with several speakers that is too short to be shared between them",
    "E-SUB-PASTEND": "a cue that lies past the end of its media",
    # the folder's tables
    "E-IN-CAST": "an utterance whose speaker is not in cast.csv",
    "E-IN-ROW": "a table row that names a line number its source does not have",
}
"""Fault code → meaning; ``redub bad`` prints this table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFault:
    """One refused source or clip: a row of the quarantine table.

    Attributes:
        clip_id: empty if the whole source is refused.
        line: number of the subtitle cue, from 1; 0 if the whole source is refused, or text that
            stands outside the cues.
        part: letter of the speaker in a cue with several, see ``subtitles.Cue``.
        file_line, text: where the cue stands in its subtitle file, and its text; 0 and empty for
            other faults.
        signal, attempts, peak_memory_mib: as in :class:`redub.core.errors.ClipError`.
    """

    source: str
    code: str
    message: str
    clip_id: str = ""
    line: int = 0
    part: str = ""
    file_line: int = 0
    text: str = ""
    signal: str | None = None
    attempts: int = 1
    peak_memory_mib: int | None = None

    @classmethod
    def of(cls, error: ClipError, *, source: str, clip_id: str = "", line: int = 0) -> ClipFault:
        """Make the row of a raised error."""
        return cls(
            source=source,
            code=error.code,
            message=error.message,
            clip_id=clip_id,
            line=line,
            signal=error.signal,
            attempts=error.attempts,
            peak_memory_mib=error.peak_memory_mib,
        )


def shown(name: str) -> str:
    """Make a file name printable: escape control, bidi and undecodable characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
