"""Authentic-Dubber: dubbing with a reference voice and retrieved emotion references.

Source: Authentic-Dubber (arXiv:2511.14249) with the backbone of its released code, that of
StyleDubber. Each row of its ablation table is one setting of the config, except rows 1 to 3: the
features that represent scene and face are settings of the project's index (``scene_feature``,
``face_feature``).

Letters: B batch, P phonemes, T mel frames, D model width, K references.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.core.types import MODALITIES
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.aggregation import FlatAggregation, HierarchicalAggregation, Knowledge
from redub.model.blocks.emotion_graph import EmotionGraphs, GraphPlan, Retrieved
from redub.model.layers.cross_modal import TextReadsTimbre
from redub.model.output import DubbingOutput
from redub.model.systems.style_backbone import (
    TINY_BACKBONE,
    StyleBackbone,
    StyleBackboneConfig,
    mean_over_time,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticDubberConfig(StyleBackboneConfig):
    """Settings of the backbone and of the emotion graphs.

    retrieve: modalities for which clips are retrieved (ablation rows 4 to 7).
    indirect: retrieved clips are nodes (row 8). direct: audio vectors of retrieved clips are nodes
        (row 9).
    graph: ``staged`` encodes each graph before its nodes are extended to the next one; ``single``
        encodes all nodes at once (row 11); ``none`` decodes from text, lips and reference mel only
        (row 10).
    aggregation: ``hierarchical`` reads the graphs one after another, ``flat`` all at once (row 12).
    sound_node: the node that the audio of a hit is connected to: that of the query modality
        (``base``, as released), or that of the ``hit``.
    score_aware: the attention to a hit depends on its similarity, so that additional, less similar
        hits do not degrade the result.
    hit_dropout: share of hits that is left out at random in training. Without it a model overfits
        on a small corpus, because the hits of an utterance are the same in every epoch.
    """

    retrieve: tuple[Literal["scene", "face", "text"], ...] = ("scene", "face", "text")
    graph: Literal["staged", "single", "none"] = "staged"
    indirect: bool = True
    direct: bool = True
    aggregation: Literal["hierarchical", "flat"] = "hierarchical"
    sound_node: Literal["base", "hit"] = "base"
    graph_heads: int = 2
    graph_dropout: float = 0.2
    score_aware: bool = False
    hit_dropout: float = 0.0
    aggregator_dropout: float = 0.1

    def __post_init__(self) -> None:
        # super() fails in dataclasses with slots, because the decorator creates a new class.
        StyleBackboneConfig.__post_init__(self)
        if len(set(self.retrieve)) != len(self.retrieve):
            raise ConfigError(f"retrieve names a modality twice: {', '.join(self.retrieve)}")
        if self.sound_node == "hit" and not self.indirect:
            raise ConfigError("sound_node 'hit' needs hits in the graph: set indirect = true")
        if not 0.0 <= self.hit_dropout < 1.0:
            raise ConfigError(f"hit_dropout is {self.hit_dropout}; wanted from 0 to below 1")

    def plan(self) -> GraphPlan:
        """Derive the plan of the emotion graphs from the settings."""
        return GraphPlan(
            staged=self.graph == "staged",
            indirect=self.indirect,
            direct=self.direct,
            sound_on_hits=self.sound_node == "hit",
        )


TINY = AuthenticDubberConfig(
    **asdict(TINY_BACKBONE),
    graph_dropout=0.1,
    score_aware=True,
    hit_dropout=0.5,
)


class AuthenticDubber(StyleBackbone):
    """Predicts a mel as long as the video from text, lips, reference mel and emotion graphs."""

    Config: ClassVar[type[AuthenticDubberConfig]] = AuthenticDubberConfig
    PRESETS: ClassVar[dict[str, AuthenticDubberConfig]] = {
        "tiny": TINY,
        "paper": AuthenticDubberConfig(),
    }
    config: AuthenticDubberConfig

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        super().__init__(config, widths)
        width = config.width
        self.text_reads_timbre = TextReadsTimbre(
            width,
            config.cross_width,
            layers=config.cross_layers,
            heads=config.cross_heads,
            filter_width=config.cross_filter_width,
            input_dropout=config.cross_input_dropout,
            dropout=config.cross_dropout,
            causal=config.causal,
        )
        self.graphs: EmotionGraphs | None = None
        if config.graph != "none":
            self.graphs = EmotionGraphs(
                widths,
                width,
                heads=config.graph_heads,
                dropout=config.graph_dropout,
                score_aware=config.score_aware and bool(config.retrieve),
                plan=config.plan(),
            )
            self.aggregation: nn.Module = FlatAggregation(width, config.aggregator_dropout)
            if config.aggregation == "hierarchical":
                self.aggregation = HierarchicalAggregation(
                    width, len(self.graphs.stages), config.aggregator_dropout
                )
            self.join_knowledge = nn.Linear(2 * width, width, bias=False)
        self.emotion_classifier = nn.Linear(width, widths.emotions)

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise a batch.

        Uses durations and prosody of the batch where it has them (training), otherwise the
        predicted ones (synthesis). In both cases utterance b has ``mel_frames[b]`` frames. Mels are
        standardised; padded frames are 0.
        """
        reading = self.read(batch)
        voiced_text = self.text_reads_timbre(
            reading.text, batch.phonemes_valid, reading.timbre, batch.reference_valid
        )  # (B, P, D)
        speech = self.speech(voiced_text, reading, batch)  # (B, T, D)
        emotional = self._with_emotion(speech, batch)
        decoder_input = speech
        if self.graphs is not None:
            decoder_input = self.join_knowledge(torch.cat((speech, emotional.states), dim=-1))
        logits = self.emotion_classifier(mean_over_time(emotional.states, batch.frames_valid))
        return self.spoken(
            decoder_input, reading, batch, emotion_logits=logits, graphs=emotional.readings
        )

    def _with_emotion(self, speech: Tensor, batch: DubbingBatch) -> Knowledge:
        """Add the emotion graphs to the speech states; without graphs the states are unchanged."""
        if self.graphs is None:
            return Knowledge(speech, ())
        found = Retrieved(batch.hits, batch.hits_audio, batch.hits_score, batch.hits_valid)
        graphs = self.graphs(batch.modalities, batch.modalities_valid, self._retrieved(found))
        knowledge: Knowledge = self.aggregation(speech, graphs)
        return knowledge

    def _retrieved(self, found: Retrieved) -> Retrieved:
        """Keep the hits of the modalities in ``retrieve``, and apply ``hit_dropout`` in training.

        If ``retrieve`` is empty, the result has K = 0.
        """
        if self.training and self.config.hit_dropout:
            kept = torch.rand_like(found.score) >= self.config.hit_dropout
            found = found._replace(valid=found.valid & kept)
        is_used = [modality in self.config.retrieve for modality in MODALITIES]
        if not any(is_used):
            scene, face, text = (vectors[:, :0] for vectors in found.vectors)
            none = slice(0, 0)
            return Retrieved(
                (scene, face, text),
                found.sound[:, :, none],
                found.score[:, :, none],
                found.valid[:, :, none],
            )
        if all(is_used):
            return found
        used = torch.tensor(is_used, device=found.valid.device)[None, :, None]
        return found._replace(valid=found.valid & used)
