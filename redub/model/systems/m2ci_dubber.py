"""M2CI-Dubber: HPMDubbing with context from the adjacent utterances.

Source: M2CI-Dubber (arXiv:2412.18748). The backbone is :mod:`redub.model.systems.hpm_dubbing`,
whose trained weights initialise it; the context encoder is :mod:`redub.model.blocks.context`.

Letters: B batch, P phonemes, T mel frames, D model width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar

from torch import Tensor

from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.context import TINY_CONTEXT, ContextAdaptor, ContextConfig
from redub.model.systems.hpm_dubbing import TINY_HPM, HPMDubbing, HPMDubbingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class M2CIDubberConfig(HPMDubbingConfig):
    """Settings of the backbone and of the context encoder."""

    context: ContextConfig = field(default_factory=ContextConfig)


class M2CIDubber(HPMDubbing):
    """HPMDubbing that adds context to the aligned states, before pitch and energy prediction."""

    Config: ClassVar[type[M2CIDubberConfig]] = M2CIDubberConfig
    PRESETS: ClassVar[dict[str, M2CIDubberConfig]] = {
        "tiny": M2CIDubberConfig(**{**asdict(TINY_HPM), "context": TINY_CONTEXT}),
        "paper": M2CIDubberConfig(),
    }
    config: M2CIDubberConfig

    def __init__(self, config: M2CIDubberConfig, widths: FeatureWidths) -> None:
        super().__init__(config, widths)
        self.context = ContextAdaptor(config.context, config.width, widths)

    def in_context(self, states: Tensor, text: Tensor, batch: DubbingBatch) -> Tensor:
        """Add context of the adjacent utterances to aligned states (B, T, D)."""
        with_context: Tensor = self.context(states, batch)
        return with_context * batch.frames_valid.unsqueeze(-1)
