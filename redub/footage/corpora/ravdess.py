"""Read RAVDESS: acted speech; the file names encode all facts.

The numbers in ``Actor_12/01-01-06-01-02-01-12.mp4`` are modality, vocal channel, emotion,
intensity, statement, repetition and actor. If a take has several files, the file with video and
sound is used.
Source: Livingstone & Russo 2018 (PLoS ONE 13(5): e0196391) and the page of the data set (zenodo
1188976).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from redub.footage.corpora.plan import CorpusLine, CorpusPlan, CorpusTree

NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
EMOTIONS = {
    "01": "neutral", "02": "others", "03": "happy", "04": "sad", "05": "angry", "06": "fear",
    "07": "disgust", "08": "surprise",
}  # fmt: skip
"""Code → emotion. ``02`` is *calm*; V2C's eight emotions do not have it, so it is "others"."""

SONG = "02"
FULL, VIDEO_ONLY, SOUND_ONLY = "01", "02", "03"
_PREFERENCE = (FULL, SOUND_ONLY, VIDEO_ONLY)
RIGHTS = "CC BY-NC-SA 4.0"


def read_ravdess(tree: CorpusTree) -> CorpusPlan:
    """Plan one utterance per take; songs and further files of a take are skipped."""
    plan = CorpusPlan(rights=RIGHTS)
    takes: dict[tuple[str, ...], list[tuple[int, PurePosixPath]]] = {}
    for path in tree.media():
        codes = NAME.fullmatch(path.stem)
        if codes is None:
            plan.skipped[str(path)] = "its name is not seven numbers of two digits"
            continue
        modality, channel, emotion, _, statement, _, actor = codes.groups()
        folder = next((p for p in reversed(path.parts[:-1]) if p.startswith("Actor_")), "")
        if channel == SONG:
            plan.skipped[str(path)] = "sung, not spoken"
        elif modality not in _PREFERENCE or emotion not in EMOTIONS or statement not in STATEMENTS:
            plan.skipped[str(path)] = "its name has a number that RAVDESS does not use"
        elif folder and folder != f"Actor_{actor}":
            plan.skipped[str(path)] = f"its name says actor {actor}, its folder {folder}"
        else:
            take = codes.groups()[1:]
            takes.setdefault(take, []).append((_PREFERENCE.index(modality), path))
    for take, files in sorted(takes.items()):
        (_, best), *others = sorted(files)
        _, emotion, _, statement, _, actor = take
        plan.lines.append(
            CorpusLine(
                source=str(best),
                target=f"Actor_{actor}/{best.name}",
                key=best.stem,
                speaker=f"Actor_{actor}",
                text=STATEMENTS[statement],
                emotion=EMOTIONS[emotion],
            )
        )
        for _, other in others:
            plan.skipped[str(other)] = f"the same take as {best}"
    plan.notes.append(
        "every text occurs in every split, because RAVDESS has two sentences; split by actor to "
        "test unseen voices"
    )
    return plan
