"""StyleDubber: dubbing with the style of a reference mel and of facial expression.

Source: StyleDubber (arXiv:2402.12636), as its released code runs: the backbone, with a multimodal
style adaptor between phoneme encoder and decoder that attends to reference mel and face.

Letters: B batch, P phonemes, V video frames, D model width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import nn

from redub.core.errors import ConfigError
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.timbre_encoder import Downsample
from redub.model.layers.cross_modal import TextReadsTimbreAndFace
from redub.model.output import DubbingOutput
from redub.model.systems.style_backbone import TINY_BACKBONE, StyleBackbone, StyleBackboneConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleDubberConfig(StyleBackboneConfig):
    """Settings of the backbone.

    cross_width: must be half of ``width``, because two streams are concatenated.
    face_channels: widths of the convolutions that halve the frame rate of the face feature.
    """

    face_channels: tuple[int, ...] = (128, 256)

    def __post_init__(self) -> None:
        StyleBackboneConfig.__post_init__(self)
        if 2 * self.cross_width != self.width:
            raise ConfigError(
                f"cross_width is {self.cross_width}; it must be half of width, {self.width // 2}, "
                "because StyleDubber concatenates two streams",
                code="E-CFG-VALUE",
            )


class StyleDubber(StyleBackbone):
    """Predicts a mel as long as the video from text, lips, reference mel and facial expression."""

    Config: ClassVar[type[StyleDubberConfig]] = StyleDubberConfig
    PRESETS: ClassVar[dict[str, StyleDubberConfig]] = {
        "tiny": StyleDubberConfig(
            **{**asdict(TINY_BACKBONE), "cross_width": 48}, face_channels=(32, 48)
        ),
        "paper": StyleDubberConfig(),
    }
    config: StyleDubberConfig

    def __init__(self, config: StyleDubberConfig, widths: FeatureWidths) -> None:
        super().__init__(config, widths)
        self.face_encoder = Downsample(
            widths.local_face, config.face_channels, config.width, dropout=config.dropout
        )
        self.text_reads_style = TextReadsTimbreAndFace(
            config.width,
            layers=config.cross_layers,
            heads=config.cross_heads,
            filter_width=config.cross_filter_width,
            input_dropout=config.cross_input_dropout,
            dropout=config.cross_dropout,
            causal=config.causal,
        )
        self.emotion_classifier = nn.Linear(config.width, widths.emotions)

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise a batch; shapes as in ``AuthenticDubber.forward``."""
        reading = self.read(batch)
        face, seen = self.face_encoder.steps(batch.local_face, batch.local_face_valid)
        styled = self.text_reads_style(
            reading.text,
            batch.phonemes_valid,
            (reading.timbre, batch.reference_valid),
            (face, seen),
        )
        speech = self.speech(styled, reading, batch)
        logits = self.emotion_classifier(Downsample.mean(face, seen))
        return self.spoken(speech, reading, batch, emotion_logits=logits)
