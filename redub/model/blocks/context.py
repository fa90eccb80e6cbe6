"""Context encoder: multiscale, multimodal features of the adjacent utterances.

Source: M2CI-Dubber (arXiv:2412.18748), sections II-A to II-D; decisions on what the paper leaves
open are in ``docs/models/m2ci_dubber.md``. The previous and the next utterance use the same
encoder. Each modality has features at two scales: one vector (sentence level), and a sequence with
steps of about phoneme length. Both are combined with the phonemes of the current utterance, so that
every sequence has as many steps as the current utterance has phonemes.

Letters: B batch, P phonemes of the current utterance, L steps of an adjacent utterance, F feature
frames, G sequences, T mel frames, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.batch import CONTEXT_MODALITIES, Context, DubbingBatch, FeatureWidths
from redub.model.blocks.interaction_graph import InteractionGraph
from redub.model.blocks.phoneme_encoder import PhonemeEncoder
from redub.model.blocks.timbre_encoder import Downsample
from redub.model.layers.absent import fill_missing
from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.fft_block import FFTBlock, FFTSizes
from redub.model.layers.positions import count_up
from redub.model.sizes import check_sizes

Side = Literal["previous", "following"]
Scale = Literal["global", "local"]
Modality = Literal["face", "text", "audio"]
Place = Literal["aggregation", "fusion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextConfig:
    """Settings of the context encoder; each row of the ablation Table II is one setting.

    sides: adjacent utterances that are used (rows 13 and 14).
    modalities: rows 10 to 12. scales: rows 2 and 3.
    interaction: parts in which the context interacts with the current phonemes (rows 7 to 9).
    aggregation, fusion, adaptor: whether each of the three parts is used; otherwise its inputs are
        combined by a linear layer or a mean (rows 4 to 6).
    current_intra: the current phonemes have intra-modal edges (the paper leaves this open).
    boundary: utterances without an adjacent utterance use a learned state (``learned``), or are
        left out of training (``triples``, as in the published corpus).
    """

    sides: tuple[Side, ...] = ("previous", "following")
    modalities: tuple[Modality, ...] = ("face", "text", "audio")
    scales: tuple[Scale, ...] = ("global", "local")
    interaction: tuple[Place, ...] = ("aggregation", "fusion")
    aggregation: bool = True
    fusion: bool = True
    adaptor: bool = True
    current_intra: bool = True
    boundary: Literal["learned", "triples"] = "learned"
    text_layers: int = 4
    text_heads: int = 2
    heads: int = 8
    graph_heads: int = 2
    filter_width: int = 1024
    kernel: int = 9
    channels: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("sides", "modalities", "scales"):
            if not getattr(self, name):
                raise ConfigError(
                    f"context.{name} must not be empty; use hpm_dubbing for a system without "
                    "context"
                )
        for name in ("sides", "modalities", "scales", "interaction"):
            chosen = getattr(self, name)
            if len(set(chosen)) < len(chosen):
                raise ConfigError(f"context.{name} names a value twice: {', '.join(chosen)}")
        if self.kernel % 2 == 0:
            raise ConfigError(f"context.kernel is {self.kernel}; an odd number keeps lengths")


TINY_CONTEXT = ContextConfig(
    text_layers=1, heads=2, filter_width=128, kernel=3, channels=48, dropout=0.05
)


class ContextFeatures(NamedTuple):
    """Context features of one modality of an adjacent utterance, at both scales."""

    global_features: Tensor | None  # (B, D) sentence level
    steps: Tensor | None  # (B, L, D) about phoneme level
    steps_valid: Tensor | None  # (B, L) bool, at least one True per row


class QuasiPhonemes(Downsample):
    """Downsamples frames to steps of about phoneme length, then applies one FFT block.

    As in the paper, the tanh comes before the linear layer.
    """

    def __init__(self, inputs: int, halvings: int, width: int, config: ContextConfig) -> None:
        channels = (config.channels,) * halvings
        super().__init__(inputs, channels, width, dropout=config.dropout)
        self.block = FFTBlock(
            width, config.heads, config.filter_width, config.kernel, config.dropout
        )

    def forward(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Convert (B, F, inputs) to (B, floor(F / 2^n), width), with its mask."""
        states, valid = self.halved(states, valid)
        return self.block(self.to_width(states.tanh()), valid), valid


class MultiscaleAggregator(nn.Module):
    """Aggregates one modality of an adjacent utterance to one step per current phoneme.

    The current phonemes are fused with the sentence-level feature, attend to themselves and to the
    steps of the adjacent utterance, and are fused with the sentence-level feature again.
    """

    def __init__(self, width: int, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        with_global, with_steps = ("global" in config.scales), ("local" in config.scales)
        self.fuse_global = nn.Linear(2 * width, width) if with_global else None
        self.self_attention = MultiHeadAttention(width, config.heads, dropout=config.dropout)
        self.norm_self = nn.LayerNorm(width)
        self.cross_attention = (
            MultiHeadAttention(width, config.heads, dropout=config.dropout) if with_steps else None
        )
        self.norm_cross = nn.LayerNorm(width) if with_steps else None
        self.block = FFTBlock(
            width, config.heads, config.filter_width, config.kernel, config.dropout
        )
        self.fuse_output = nn.Linear(2 * width, width) if with_global else None

    def forward(self, current: Tensor, valid: Tensor, features: ContextFeatures) -> Tensor:
        """Aggregate one modality; returns (B, P, D), padded phonemes are 0.

        Args:
            current: (B, P, D) current phonemes, or a learned query instead of them.
            valid: (B, P) bool.
        """
        states, global_features = current, None
        if self.fuse_global is not None and features.global_features is not None:
            global_features = features.global_features.unsqueeze(1).expand_as(states)
            states = self.fuse_global(torch.cat((states, global_features), dim=-1))
        states = self.norm_self(states + self.self_attention(states, states, valid))
        if (
            self.cross_attention is not None
            and self.norm_cross is not None
            and features.steps is not None
        ):
            read = self.cross_attention(states, features.steps, features.steps_valid)
            states = self.norm_cross(states + read)
        states = self.block(states, valid)
        if self.fuse_output is not None and global_features is not None:
            states = self.fuse_output(torch.cat((states, global_features), dim=-1))
        aggregated: Tensor = states * valid.unsqueeze(-1)
        return aggregated


class PlainAggregator(nn.Module):
    """Replacement of the aggregation (row 4): means of both scales, equal at all steps."""

    def __init__(self, width: int, config: ContextConfig) -> None:
        super().__init__()
        self.join = nn.Linear(len(config.scales) * width, width)

    def forward(self, current: Tensor, valid: Tensor, features: ContextFeatures) -> Tensor:
        """Return (B, P, D); ``current`` determines the number of steps only."""
        parts = [] if features.global_features is None else [features.global_features]
        if features.steps is not None and features.steps_valid is not None:
            parts.append(Downsample.mean(features.steps, features.steps_valid))
        joined: Tensor = self.join(torch.cat(parts, dim=-1)).unsqueeze(1)
        return joined.expand_as(current) * valid.unsqueeze(-1)


class ContextEncoder(nn.Module):
    """Encodes one adjacent utterance, with interaction with the current phonemes, to (B, P, D)."""

    def __init__(self, config: ContextConfig, width: int, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, modalities = config, config.modalities
        inputs = dict(zip(CONTEXT_MODALITIES, widths.global_features, strict=True))
        with_global, with_steps = ("global" in config.scales), ("local" in config.scales)
        self.global_features = nn.ModuleDict(
            {m: nn.Linear(inputs[m], width) for m in modalities if with_global}
        )
        self.no_global = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(width)) for m in modalities if with_global}
        )
        self.no_steps = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(width)) for m in modalities if with_steps}
        )
        self.frames = nn.ModuleDict()
        if with_steps and "face" in modalities:
            self.frames["face"] = QuasiPhonemes(widths.local_face, 2, width, config)
        if with_steps and "audio" in modalities:
            self.frames["audio"] = QuasiPhonemes(widths.local_audio, 4, width, config)
        kind = MultiscaleAggregator if config.aggregation else PlainAggregator
        self.aggregators = nn.ModuleDict({m: kind(width, config) for m in modalities})
        # Learned query instead of the current phonemes, without interaction in aggregation (row 7).
        self.null_query = (
            None if "aggregation" in config.interaction else nn.Parameter(torch.zeros(width))
        )
        self.with_current = "fusion" in config.interaction
        sequences = len(modalities) + self.with_current
        self.graph = (
            InteractionGraph(width, config.graph_heads, sequences, config.dropout)
            if config.fusion
            else None
        )
        self.join = None if config.fusion else nn.Linear(sequences * width, width)

    def forward(
        self, current: Tensor, valid: Tensor, context: Context, text: Tensor | None
    ) -> Tensor:
        """Encode one adjacent utterance.

        Args:
            current: (B, P, D) phoneme states of the current utterance.
            valid: (B, P) bool.
            text: (B, P', D) phoneme states of the adjacent utterance; None if text is not used at
                the local scale.

        Returns:
            (B, P, D), padded phonemes are 0.
        """
        query = current
        if self.null_query is not None:
            query = (self.null_query + count_up(current)).expand_as(current)
        query = query * valid.unsqueeze(-1)
        sequences = [
            self.aggregators[m](query, valid, self._features_of(m, context, text))
            for m in self.config.modalities
        ]
        if self.with_current:
            sequences.append(current * valid.unsqueeze(-1))
        nodes = torch.stack(sequences, dim=1)  # (B, G, P, D)
        if self.graph is not None:
            intra = self.config.current_intra
            encoded: Tensor = self.graph(
                nodes, valid, current=self.with_current, current_intra=intra
            )
            return encoded
        assert self.join is not None
        joined: Tensor = self.join(nodes.transpose(1, 2).flatten(2))
        return joined * valid.unsqueeze(-1)

    def _features_of(self, modality: str, context: Context, text: Tensor | None) -> ContextFeatures:
        """Compute the features of one modality; learned states replace missing features."""
        global_features, steps, steps_valid = None, None, None
        if modality in self.global_features:
            place = CONTEXT_MODALITIES.index(modality)
            known = context.global_valid[:, place].unsqueeze(1)
            global_features = torch.where(
                known,
                self.global_features[modality](context.global_features[place]),
                self.no_global[modality],
            )
        if modality in self.no_steps:
            if modality == "text":
                assert text is not None
                steps, steps_valid = text, context.phonemes_valid
            elif modality == "face":
                steps, steps_valid = self.frames["face"](
                    context.local_face, context.local_face_valid
                )
            else:
                steps, steps_valid = self.frames["audio"](context.sound, context.sound_valid)
            steps, steps_valid = fill_missing(steps, steps_valid, self.no_steps[modality])
        return ContextFeatures(global_features, steps, steps_valid)


class ContextAdaptor(nn.Module):
    """Adds the context of both adjacent utterances to speech states (section II-D).

    A gate (sigmoid per channel) weights the two sides; then the speech states attend to the result.
    Without the adaptor (row 6) the mean over both sides and all steps is added instead. To use no
    context of a side, leave it out of ``sides``: missing features in a batch are replaced by
    learned states.
    """

    def __init__(self, config: ContextConfig, width: int, widths: FeatureWidths) -> None:
        super().__init__()
        self.config = config
        if width % config.heads or width % config.graph_heads or width % config.text_heads:
            raise ConfigError(f"width {width} is not divisible by the heads of the context")
        self.text = PhonemeEncoder(
            widths.phonemes,
            width,
            FFTSizes.of(config, config.text_layers, config.text_heads),
            mixed=False,
        )
        self.encoder = ContextEncoder(config, width, widths)
        gated = config.adaptor and len(config.sides) > 1
        self.gate = nn.Linear(2 * width, width) if gated else None
        self.read = (
            MultiHeadAttention(width, config.heads, dropout=config.dropout)
            if config.adaptor
            else None
        )
        self.add = None if config.adaptor else nn.Linear(width, width)

    def forward(self, states: Tensor, batch: DubbingBatch) -> Tensor:
        """Add context to speech states (B, T, D)."""
        valid = batch.phonemes_valid
        current = self.text(batch.phonemes, valid)
        sides = []
        for side in self.config.sides:
            context = batch.previous if side == "previous" else batch.following
            assert context is not None  # a batch for a system with context has both
            text = None
            if "text" in self.encoder.no_steps:
                text = self.text(context.phonemes, context.phonemes_valid)
            sides.append(self.encoder(current, valid, context, text))
        if self.gate is None:  # one side, or no adaptor
            context_states = torch.stack(sides).mean(0)
        else:
            share = self.gate(torch.cat(sides, dim=-1)).sigmoid()
            context_states = share * sides[0] + (1 - share) * sides[1]
        if self.read is not None:
            added: Tensor = self.read(states, context_states, valid)
            return states + added
        assert self.add is not None
        total = (context_states * valid.unsqueeze(-1)).sum(1)
        mean = total / valid.sum(1, keepdim=True).clamp(min=1)
        plain: Tensor = self.add(mean).unsqueeze(1)
        return states + plain
