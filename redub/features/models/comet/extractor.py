"""The reaction to an utterance, written by a local sequence-to-sequence model such as COMET.

Source: COMET-ATOMIC 2020 (arXiv:2010.05953). The input is "event relation [GEN]", the output is an
inference; the relation xReact asks for the feeling of the person in the event. Authentic-Dubber
(arXiv:2511.14249) uses COMET for its reactions, but does not publish relation and decoding.
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
"""Tokens; an utterance usually has a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionModelConfig:
    """Settings of ``[features.reaction]`` with the backend ``comet``; decoding is deterministic.

    Attributes:
        weights: entry of the weights ledger.
        prompt: the prompt; ``{text}`` is replaced by the text of the utterance.
        beams: 1 to 32; 1 is greedy decoding.
        max_new_tokens: longest answer, 1 to 256.
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
    """Compute the model's best answer to the prompt with the text of the utterance."""

    kind = "comet"
    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ReactionModelConfig

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def load(self) -> ReactionWriter:
        """Load the model onto the device.

        Raises:
            ModelRefusedError: the files are not an encoder-decoder model, or are not trusted.
        """
        from redub.features.models.comet.network import load_writer

        return load_writer(self.weights, self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> tuple[int, ...]:
        """Tokenize the prompt of one clip.

        Raises:
            FeatureAbsent: E-TEXT-NONE, the text is blank; E-TEXT-LONG, too many tokens.
        """
        text = media.clip.text.strip()
        if not text:
            raise FeatureAbsent("the text is blank", code="E-TEXT-NONE")
        writer: ReactionWriter = self.network
        ids = writer.ids(self.config.prompt.replace("{text}", text))
        most = min(LONGEST_PROMPT, writer.positions)
        if len(ids) > most:
            raise FeatureAbsent(
                f"the text with its prompt has {len(ids)} tokens, wanted at most {most}",
                code="E-TEXT-LONG",
            )
        return ids

    def size(self, prepared: tuple[int, ...]) -> float:
        """Number of tokens, for sorting into batches."""
        return float(len(prepared))

    def compute(self, inputs: Sequence[tuple[int, ...]]) -> list[Any]:
        """Write the answers to some prompts.

        Raises:
            FeatureAbsent: E-FEAT-NOREACTION, an answer is empty.
        """
        writer: ReactionWriter = self.network
        answers = writer.write(
            inputs, beams=self.config.beams, max_new_tokens=self.config.max_new_tokens
        )
        if not all(answers):
            raise FeatureAbsent("the answer of the model is empty", code="E-FEAT-NOREACTION")
        return list(answers)
