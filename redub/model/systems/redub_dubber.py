"""Context and retrieval together: what the neighbours said, then what similar footage felt like.

Source: the open question of M2CI-Dubber (arXiv:2412.18748), section V, context for the expression
of emotion. Its context encoders (:mod:`redub.model.blocks.context`) colour the speech states
before the
emotion graphs of Authentic-Dubber (arXiv:2511.14249) are read; every switch of both is one here.
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
    """Authentic-Dubber's settings and those of the context."""

    context: ContextConfig = field(default_factory=ContextConfig)


class RedubDubber(AuthenticDubber):
    """Authentic-Dubber whose speech states know the lines before and after."""

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
        """(B, T, D): as of Authentic-Dubber, with what the neighbours add."""
        told: Tensor = self.context(super().speech(styled_text, reading, batch), batch)
        return told * batch.frames_valid.unsqueeze(-1)
