"""Every way a media file, a subtitle or a clip can be refused, with its stable short code.

A fault is about one source or one clip and never stops a run: it is raised as a
:class:`ClipError` where one value was asked for, and collected as a :class:`ClipFault` row where
a whole folder is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from redub.core.errors import ClipError

FAULTS: dict[str, str] = {
    # the file
    "E-IN-MISSING": "no such file, or a link that leads nowhere",
    "E-IN-PERM": "the file may not be read by this user",
    "E-IN-NOTFILE": "a folder, pipe, device or socket where a regular file was wanted",
    "E-IN-EMPTY": "the file has zero bytes",
    "E-IN-FORMAT": "not a media container that redub reads, or a header that cannot be true",
    "E-IN-TRUNC": "the file ends before what its own header declares",
    "E-IN-CORRUPT": "bytes inside the file are damaged, so pictures or sound cannot be trusted",
    "E-IN-CHANGED": "the file changed while it was being read",
    "E-IN-NONFINITE": "the sound holds NaN or infinite samples",
    "E-IN-NOVIDEO": "no picture, where a picture is required",
    "E-IN-NOAUDIO": "no sound, where sound is required",
    "E-IN-TOOBIG": "pictures larger than the limit",
    "E-IN-TOOLONG": "a clip longer than the limit",
    "E-IN-RANGE": "a clip that is empty, reversed or past the end of its source",
    # trust
    "E-SEC-SCHEME": "a path that names a protocol (http:, concat:, subfile:)",
    "E-SEC-ESCAPE": "a path that leads out of the footage folder",
    # the decoder process
    "E-DEC-CRASH": "the decoder process died twice on this input",
    "E-DEC-TIMEOUT": "decoding took longer than the limit and was stopped",
    "E-DEC-MEM": "decoding needed more memory than the limit",
    # subtitles
    "E-SUB-FORMAT": "a subtitle file or cue that cannot be parsed",
    "E-SUB-ENCODING": "a subtitle file that is not UTF-8",
    "E-SUB-NEGATIVE": "a cue with a negative time",
    "E-SUB-REVERSED": "a cue that ends before it starts",
    "E-SUB-ZERO": "a cue shorter than one picture",
    "E-SUB-EMPTY": "a cue without words",
    "E-SUB-TEXT": "a cue with more text than one line of dialogue can have",
    "E-SUB-OVERLAP": "a cue that starts before the previous one has ended",
    "E-SUB-PASTEND": "a cue that lies past the end of its media",
    # the folder's tables
    "E-IN-CAST": "a line whose speaker is not in cast.csv",
    "E-IN-ROW": "a table row that names a line its source does not have",
}
"""Code → meaning: the table the documentation and ``redub bad`` print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFault:
    """One refused source or clip: a row of the quarantine table.

    ``clip_id`` is empty when the whole source is refused; ``line`` is then 0.
    """

    source: str
    code: str
    message: str
    clip_id: str = ""
    line: int = 0
    signal: str | None = None
    attempts: int = 1
    peak_memory_mib: int | None = None

    @classmethod
    def of(cls, error: ClipError, *, source: str, clip_id: str = "", line: int = 0) -> ClipFault:
        """The row for a raised error."""
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
    """A file name for a message: control, bidi and undecodable characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
