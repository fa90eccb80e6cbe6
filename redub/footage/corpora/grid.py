"""Read GRID: one folder per talker; the file name encodes a sentence of six words.

``s1/bbaf2n.mpg`` is *bin blue at f two now*. The text comes from the name; it has the letter as a
capital, so that *A* is read as the letter and not as the article, and *zed*, as the British talkers
of the corpus say it. If there is an
``.align`` file, its words must be the same. Its times are not used, because redub has an aligner.
Source: Cooke et al. 2006 (JASA 120(5)) and the page of the data set (zenodo 3625687).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from redub.footage.corpora.plan import CorpusLine, CorpusPlan, CorpusTree, shows_video

COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
DIGITS = {
    "z": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six",
    "7": "seven", "8": "eight", "9": "nine",
}  # fmt: skip
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}

_CODE = re.compile(r"([blps])([bgrw])([abiw])([a-vx-z])([z1-9])([anps])")
_TALKER = re.compile(r"s\d{1,2}")
_JOINED = re.compile(r"(s\d{1,2})[-_](.+)")
_SILENCES = frozenset(("sil", "sp"))

Name = tuple[str, str]  # talker, code


def read_grid(tree: CorpusTree) -> CorpusPlan:
    """Plan one utterance per sentence; the video is used where a sound file exists, too."""
    plan = CorpusPlan()
    aligned = _alignments(tree, plan)
    chosen: dict[Name, PurePosixPath] = {}
    for path in sorted(tree.media(), key=lambda p: (not shows_video(p), str(p))):
        name = _name_of(path)
        words = sentence(name[1]) if name else ""
        if name is None:
            plan.skipped[str(path)] = (
                "no talker s1 … s34 in its path, or its name is not a sentence code"
            )
        elif name in chosen:
            plan.skipped[str(path)] = f"the same sentence as {chosen[name]}"
        elif name in aligned and aligned[name] != words:
            plan.skipped[str(path)] = f"its align file says '{aligned[name]}', its name '{words}'"
        else:
            chosen[name] = path
    for (talker, code), path in sorted(chosen.items()):
        plan.lines.append(
            CorpusLine(
                source=str(path),
                target=f"{talker}/{talker}-{code}{path.suffix.lower()}",
                key=f"{talker}-{code}",
                speaker=talker,
                text=spoken_text(code),
            )
        )
    _note_alignments(plan, chosen, aligned)
    return plan


def sentence(code: str) -> str:
    """Decode a name: ``bbaf2n`` → ``bin blue at f two now``; empty if it is not a GRID code."""
    found = _CODE.fullmatch(code)
    if found is None:
        return ""
    command, colour, preposition, letter, digit, adverb = found.groups()
    return " ".join(
        (
            COMMANDS[command], COLOURS[colour], PREPOSITIONS[preposition], letter, DIGITS[digit],
            ADVERBS[adverb],
        )
    )  # fmt: skip


def spoken_text(code: str) -> str:
    """The text of a GRID code as it is said: ``bbaf2n`` → ``Bin blue at F two now.``"""
    words = sentence(code).split()
    words[3] = "zed" if words[3] == "z" else words[3].upper()
    return " ".join([words[0].capitalize(), *words[1:]]) + "."


def _name_of(path: PurePosixPath) -> Name | None:
    joined = _JOINED.fullmatch(path.stem)
    talker = next((part for part in reversed(path.parts[:-1]) if _TALKER.fullmatch(part)), "")
    code = path.stem
    if joined is not None:
        talker, code = joined.groups()
    return (talker, code) if talker and sentence(code) else None


def _alignments(tree: CorpusTree, plan: CorpusPlan) -> dict[Name, str]:
    """The words of each ``.align`` file."""
    found: dict[Name, str] = {}
    for path in map(PurePosixPath, tree.files):
        if path.suffix.lower() != ".align":
            continue
        name = _name_of(path)
        try:
            rows = [row.split() for row in tree.text(str(path)).splitlines() if row.strip()]
        except ValueError as error:
            plan.skipped[str(path)] = str(error)
            continue
        if name is None or any(len(row) != 3 for row in rows):
            plan.skipped[str(path)] = "no talker and sentence in its path, or no rows of three"
        elif name in found:
            plan.skipped[str(path)] = "a second align file of the sentence"
        else:
            found[name] = " ".join(row[2] for row in rows if row[2] not in _SILENCES)
            plan.facts[str(path)] = "its words, to check the name"
    return found


def _note_alignments(
    plan: CorpusPlan, chosen: dict[Name, PurePosixPath], aligned: dict[Name, str]
) -> None:
    """Note talkers whose align files mostly belong to other sentences (mixed up folders)."""
    for talker in sorted({talker for talker, _ in aligned}):
        own = {name for name in chosen if name[0] == talker}
        theirs = {name for name in aligned if name[0] == talker}
        if own and len(own & theirs) < len(own) / 2:
            plan.notes.append(
                f"only {len(own & theirs)} of {len(own)} sentences of {talker} have an align file "
                f"in a folder {talker}: the published align folders are known to be mixed up"
            )
