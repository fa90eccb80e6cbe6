"""Read Chem and Context Chem: sentences cut from chemistry lectures of one speaker.

``SUkBTHfKqf4-015.mp4`` is sentence 15 of the video ``SUkBTHfKqf4``. The text comes from the split
lists (``name|raw text``) or from a ``.lab`` or ``.txt`` file of the same name. Sentences with
consecutive numbers form one scene, so the utterances before and after are really adjacent. An
utterance with both is a triple of Context Chem.
Source: the file names in the public code of HPMDubbing and DSU-AVO, and DSU-AVO's lists.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from redub.footage.corpora.plan import CorpusLine, CorpusPlan, CorpusTree, shows_video

SPEAKER = "lecturer"
_NAME = re.compile(r"([\w-]{11})-(\d{3,})", re.ASCII)
_TEXTS = (".lab", ".txt")


def read_chem(tree: CorpusTree) -> CorpusPlan:
    """Plan one utterance per sentence; the video is used where a sound file exists, too."""
    plan = CorpusPlan()
    texts = dict(tree.lists.texts)
    for path in map(PurePosixPath, tree.files):
        if path.suffix.lower() in _TEXTS and _NAME.fullmatch(path.stem):
            try:
                texts.setdefault(path.stem, tree.words(str(path)))
                plan.facts[str(path)] = "the words"
            except ValueError as error:
                plan.skipped[str(path)] = str(error)
    chosen: dict[str, PurePosixPath] = {}
    for path in sorted(tree.media(), key=lambda p: (not shows_video(p), str(p))):
        if _NAME.fullmatch(path.stem) is None:
            plan.skipped[str(path)] = "its name is not VIDEO-NNN, the id of a video and a number"
        elif path.stem in chosen:
            plan.skipped[str(path)] = f"the same sentence as {chosen[path.stem]}"
        else:
            chosen[path.stem] = path
    for name, path in sorted(chosen.items()):
        video = name[:11]
        plan.lines.append(
            CorpusLine(
                source=str(path),
                target=f"{video}/{int(name[12:]):04d}/{name}{path.suffix.lower()}",
                key=name,
                speaker=SPEAKER,
                text=texts.get(name, ""),
                number=int(name[12:]),
            )
        )
    return plan
