"""The reaction to a line, written by a local sequence-to-sequence model in the manner of COMET.

Source: COMET-ATOMIC 2020 (arXiv:2010.05953): "event relation [GEN]" in, an inference out; the
relation xReact asks what the person of the event feels. Authentic-Dubber (arXiv:2511.14249) names
COMET as the source of its reactions; which relation and decoding it used is not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor

if TYPE_CHECKING:
    from redub.features.models.comet.network import ReactionWriter

LONGEST_PROMPT = 512
"""Tokens; a line of dialogue has a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionModelConfig:
    """What the model is asked, and how its answer is searched; nothing is drawn at random.

    prompt: ``{text}`` stands for the line. beams: 1 is greedy. max_new_tokens: the longest answer.
    """

    weights: str = "comet"
    prompt: str = "{text} xReact [GEN]"
    beams: int = 1
    max_new_tokens: int = 24

    def __post_init__(self) -> None:
        if self.prompt.count("{text}") != 1:
            raise ConfigError(
                f"prompt is {self.prompt!r}; wanted {{text}} in it, once", code="E-CFG-VALUE"
            )
        for name, most in (("beams", 32), ("max_new_tokens", 256)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; legal: 1 to {most}", code="E-CFG-VALUE"
                )


class ReactionModel(ModelExtractor):
    """The line in, the model's best answer to the prompt out."""

    kind = "comet"
    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ReactionModelConfig

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    def load(self) -> ReactionWriter:
        from redub.features.models.comet.network import load_writer

        return load_writer(self.weights, self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> tuple[int, ...]:
        """Raises:
        FeatureAbsent: E-TEXT-NONE, the line is blank; E-TEXT-LONG, no model reads that much.
        """
        line = media.clip.text.strip()
        if not line:
            raise FeatureAbsent("the line is blank", code="E-TEXT-NONE")
        writer: ReactionWriter = self.network
        ids = writer.ids(self.config.prompt.replace("{text}", line))
        most = min(LONGEST_PROMPT, writer.positions)
        if len(ids) > most:
            raise FeatureAbsent(
                f"the line and its prompt are {len(ids)} tokens, wanted at most {most}",
                code="E-TEXT-LONG",
            )
        return ids

    def size(self, prepared: tuple[int, ...]) -> float:
        return float(len(prepared))

    def compute(self, inputs: Sequence[tuple[int, ...]]) -> list[Any]:
        """Raises:
        FeatureAbsent: E-FEAT-NOREACTION, the answer to a prompt is empty.
        """
        writer: ReactionWriter = self.network
        answers = writer.write(
            inputs, beams=self.config.beams, max_new_tokens=self.config.max_new_tokens
        )
        if not all(answers):
            raise FeatureAbsent("the model answered nothing", code="E-FEAT-NOREACTION")
        return list(answers)
