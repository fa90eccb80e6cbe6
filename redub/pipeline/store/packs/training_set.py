"""The training set of a model: number of utterances, reasons for the others, and a warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redub.training.data.pack import Pack
from redub.training.presets import TrainingConfig

NO_OTHER_LINE = "no other line of their voice"
NO_VOICE = "no library utterance of this voice"
ONE_SIDED = "no line both before and after them in their scene"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """How many utterances a model is trained on.

    ``lines``: utterances, from ``clips`` clips of the training split. ``reasons``: why the other
    clips are left out, with counts. ``wanted``: utterances of one step in the preset
    (``batching.lines_per_batch`` times ``accumulate``). ``first``: utterances that ``--overfit``
    takes, None without it.
    """

    lines: int
    clips: int
    reasons: Mapping[str, int]
    preset: str
    wanted: int
    first: int | None = None

    def sentence(self) -> str:
        """``trains on 2 of 11 utterances: 9 have no other line of their voice``."""
        sentence = f"trains on {self.lines} of {self.clips} utterances"
        if self.reasons:
            sentence += f": {said_reasons(self.reasons)}"
        if self.first is not None:
            sentence += f"; --overfit takes the first {min(self.first, self.lines)}"
        return sentence

    def warning(self) -> str:
        """What is missing and what to do; empty if there are enough utterances."""
        if self.first is not None or self.lines >= self.wanted:
            return ""
        found = "1 utterance is" if self.lines == 1 else f"{self.lines} utterances are"
        return (
            f"warning: {found} too few for preset {self.preset}, which needs at least "
            f"{self.wanted} (one step); add footage in which the same voices speak again, name "
            "the speakers in speakers.csv, or dub with the run of another project (-C)"
        )

    def said(self) -> list[str]:
        """The sentence, and the warning if there is one."""
        return [self.sentence(), *filter(None, [self.warning()])]


def training_set(
    pack: Pack,
    config: TrainingConfig,
    *,
    preset: str,
    triples: bool = False,
    overfit: int | None = None,
) -> TrainingSet:
    """Count the utterances of a pack that a system is trained on.

    Args:
        triples: train only on utterances with both adjacent utterances.
        overfit: train only on this many utterances, the first ones.
    """
    lines = len(pack.lines("train", triples=triples))
    left_out = pack.record.left_out.get("train", {})
    reasons = Counter(left_out.values())
    if one_sided := len(pack.lines("train")) - lines:
        reasons[ONE_SIDED] += one_sided
    return TrainingSet(
        lines=lines,
        clips=lines + sum(reasons.values()),
        reasons=dict(reasons.most_common()),
        preset=preset,
        wanted=config.batching.lines_per_batch * config.accumulate,
        first=overfit,
    )


def said_reasons(reasons: Mapping[str, int]) -> str:
    """Reasons as a sentence, the commonest first: ``9 have no other line of their voice; …``."""
    return "; ".join(
        f"{count} {'has' if count == 1 else 'have'} {why}" for why, count in reasons.items()
    )


def context_triples(model_config: Any) -> bool:
    """Whether a system is trained only on utterances with both adjacent utterances."""
    seen = getattr(model_config, "context", None)
    return seen is not None and seen.boundary == "triples"
