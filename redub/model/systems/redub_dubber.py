"""RedubDubber: Authentic-Dubber with context from the adjacent utterances.

Source: M2CI-Dubber (arXiv:2412.18748), section V, leaves context for emotional expression open.
Here its context encoders (:mod:`redub.model.blocks.context`) add context to the speech states;
then the states read the emotion graphs of Authentic-Dubber (arXiv:2511.14249). All settings of
both are available.

Letters: B batch, P phonemes, T mel frames, D model width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar

from torch import Tensor

from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.context import TINY_CONTEXT, ContextAdaptor, ContextConfig
from redub.model.systems.authentic_dubber import TINY, AuthenticDubber, AuthenticDubberConfig
from redub.model.systems.style_backbone import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class RedubDubberConfig(AuthenticDubberConfig):
    """Settings of Authentic-Dubber and of the context encoder."""

    context: ContextConfig = field(default_factory=ContextConfig)


class RedubDubber(AuthenticDubber):
    """Authentic-Dubber whose speech states include context of the adjacent utterances."""

    Config: ClassVar[type[RedubDubberConfig]] = RedubDubberConfig
    PRESETS: ClassVar[dict[str, AuthenticDubberConfig]] = {
        "tiny": RedubDubberConfig(**{**asdict(TINY), "context": TINY_CONTEXT}),
        "paper": RedubDubberConfig(),
    }
    config: RedubDubberConfig

    def __init__(self, config: RedubDubberConfig, widths: FeatureWidths) -> None:
        super().__init__(config, widths)
        self.context = ContextAdaptor(config.context, config.width, widths)

    def speech(self, styled_text: Tensor, reading: Reading, batch: DubbingBatch) -> Tensor:
        """Compute the speech states (B, T, D) of Authentic-Dubber and add context to them."""
        with_context: Tensor = self.context(super().speech(styled_text, reading, batch), batch)
        return with_context * batch.frames_valid.unsqueeze(-1)
