"""Check who speaks the lines of a script before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.footage.faults import shown
from redub.footage.subtitles import Cue

_NAMED = 5  # lines in a message


def check_speakers(
    script: str,
    cues: Sequence[Cue],
    *,
    voices: Collection[str],
    cast: Collection[str],
    has_voice: Callable[[Cue], bool],
) -> list[str]:
    """Refuse speakers whom nothing knows, and say who speaks for the others without a voice.

    Args:
        script: name of the script file, for messages.
        voices: speakers of the library with a recording.
        cast: known speakers, also those of the cast table, and of clips that are not in the
            library.
        has_voice: whether a voice was chosen for a line, so that its speaker does not matter.

    Returns:
        Sentences about lines that get the library's most recorded voice.

    Raises:
        ConfigError: E-VOICE, names that neither the library nor the cast has, with file line and
            nearest name.
    """
    known = {*voices, *cast}
    open_lines = [cue for cue in cues if not has_voice(cue)]
    unknown = [cue for cue in open_lines if cue.speaker and cue.speaker not in known]
    if unknown:
        hints = {cue.speaker: nearest(cue.speaker, known) for cue in unknown}
        lines = [
            f"line {cue.index}{cue.part} (file line {cue.file_line}) names "
            f"'{shown(cue.speaker)}': {hints[cue.speaker]}"
            for cue in unknown[:_NAMED]
        ]
        more = f"; and {len(unknown) - _NAMED} more lines" if len(unknown) > _NAMED else ""
        raise ConfigError(
            f"speakers of {shown(script)} that neither the library nor cast.csv knows: "
            f"{'; '.join(lines)}{more}; correct the names, or choose a voice with --voice",
            code="E-VOICE",
        )
    notes = []
    silent = sorted({c.speaker for c in open_lines if c.speaker and c.speaker not in voices})
    if silent:
        notes.append(
            f"{', '.join(map(shown, silent))}: no recording in the library; its most recorded "
            "voice speaks these lines"
        )
    nameless = [f"{cue.index}{cue.part}" for cue in open_lines if not cue.speaker]
    if nameless:
        more = f" and {len(nameless) - _NAMED} more" if len(nameless) > _NAMED else ""
        notes.append(
            f"no speaker is named in line {', '.join(nameless[:_NAMED])}{more}; the library's most "
            "recorded voice speaks there"
        )
    return notes
