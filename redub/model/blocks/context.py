"""What the lines before and after say about this one: multiscale, multimodal, interacting.

Source: M2CI-Dubber (arXiv:2412.18748), sections II-A to II-D; what the paper leaves open is listed
in ``docs/models/m2ci_dubber.md``. Both neighbours pass the same encoder. A modality of a neighbour
is told at two scales, by one vector and by a sequence of about phoneme length; both meet the words
of the current line, so every sequence has as many steps as the current line has phonemes.
Letters: B batch, P phonemes of the current line, L steps, T mel frames, D model width.
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
from redub.model.layers.absent import never_empty
from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.fft_block import FFTBlock
from redub.model.layers.positions import count_up
from redub.model.sizes import check_sizes

Side = Literal["previous", "following"]
Scale = Literal["global", "local"]
Modality = Literal["face", "text", "audio"]
Place = Literal["aggregation", "fusion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextConfig:
    """Sizes and parts; each row of Table II is one of the switches.

    sides: rows 13 and 14. modalities: rows 10 to 12. scales: rows 2 and 3. interaction: where the
    context meets the current words (rows 7 to 9). aggregation, fusion, adaptor: the three parts;
    without one its inputs are joined plainly (rows 4 to 6).
    current_intra: the current words have edges in time, which the paper leaves open.
    boundary: a line without a neighbour has a learned state instead (``learned``), or is left out
        of training (``triples``, as the published corpus).
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
                raise ConfigError(f"context.{name} is empty; a system without context is another")
        for name in ("sides", "modalities", "scales", "interaction"):
            chosen = getattr(self, name)
            if len(set(chosen)) < len(chosen):
                raise ConfigError(f"context.{name} names one twice: {', '.join(chosen)}")
        if self.kernel % 2 == 0:
            raise ConfigError(f"context.kernel is {self.kernel}; an odd number keeps lengths")


TINY_CONTEXT = ContextConfig(
    text_layers=1, heads=2, filter_width=128, kernel=3, channels=48, dropout=0.05
)


class Told(NamedTuple):
    """One modality of a neighbour, at both scales."""

    whole: Tensor | None  # (B, D)
    steps: Tensor | None  # (B, L, D)
    steps_valid: Tensor | None  # (B, L) bool, at least one True per row


class QuasiPhonemes(Downsample):
    """Frames to steps of about a phoneme's length: halve the clock, then one FFT block.

    In the order of the paper: the tanh comes before the linear layer.
    """

    def __init__(self, inputs: int, halvings: int, width: int, config: ContextConfig) -> None:
        channels = (config.channels,) * halvings
        super().__init__(inputs, channels, width, dropout=config.dropout)
        self.block = FFTBlock(
            width, config.heads, config.filter_width, config.kernel, config.dropout
        )

    def forward(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, inputs) to (B, floor(F / 2^n), width), and which steps are real."""
        states, valid = self.halved(states, valid)
        return self.block(self.to_width(states.tanh()), valid), valid


class MultiscaleAggregator(nn.Module):
    """One modality of a neighbour in as many steps as the current line has phonemes."""

    def __init__(self, width: int, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        with_whole, with_steps = ("global" in config.scales), ("local" in config.scales)
        self.meet = nn.Linear(2 * width, width) if with_whole else None
        self.among = MultiHeadAttention(width, config.heads, dropout=config.dropout)
        self.norm_among = nn.LayerNorm(width)
        self.across = (
            MultiHeadAttention(width, config.heads, dropout=config.dropout) if with_steps else None
        )
        self.norm_across = nn.LayerNorm(width) if with_steps else None
        self.block = FFTBlock(
            width, config.heads, config.filter_width, config.kernel, config.dropout
        )
        self.keep = nn.Linear(2 * width, width) if with_whole else None

    def forward(self, current: Tensor, valid: Tensor, told: Told) -> Tensor:
        """(B, P, D) from current words, or what stands for them, and one modality."""
        states, whole = current, None
        if self.meet is not None and told.whole is not None:
            whole = told.whole.unsqueeze(1).expand_as(states)
            states = self.meet(torch.cat((states, whole), dim=-1))
        states = self.norm_among(states + self.among(states, states, valid))
        if self.across is not None and self.norm_across is not None and told.steps is not None:
            read = self.across(states, told.steps, told.steps_valid)
            states = self.norm_across(states + read)
        states = self.block(states, valid)
        if self.keep is not None and whole is not None:
            states = self.keep(torch.cat((states, whole), dim=-1))
        aggregated: Tensor = states * valid.unsqueeze(-1)
        return aggregated


class PlainAggregator(nn.Module):
    """Instead of aggregation (row 4): the means of both scales, the same at every step."""

    def __init__(self, width: int, config: ContextConfig) -> None:
        super().__init__()
        self.join = nn.Linear(len(config.scales) * width, width)

    def forward(self, current: Tensor, valid: Tensor, told: Told) -> Tensor:
        """(B, P, D); the current words only say how many steps there are."""
        parts = [] if told.whole is None else [told.whole]
        if told.steps is not None and told.steps_valid is not None:
            parts.append(Downsample.mean(told.steps, told.steps_valid))
        joined: Tensor = self.join(torch.cat(parts, dim=-1)).unsqueeze(1)
        return joined.expand_as(current) * valid.unsqueeze(-1)


class ContextEncoder(nn.Module):
    """A neighbour, met by the current words: (B, P, D)."""

    def __init__(self, config: ContextConfig, width: int, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, modalities = config, config.modalities
        inputs = dict(zip(CONTEXT_MODALITIES, widths.whole, strict=True))
        with_whole, with_steps = ("global" in config.scales), ("local" in config.scales)
        self.whole = nn.ModuleDict(
            {m: nn.Linear(inputs[m], width) for m in modalities if with_whole}
        )
        self.no_whole = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(width)) for m in modalities if with_whole}
        )
        self.no_steps = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(width)) for m in modalities if with_steps}
        )
        self.frames = nn.ModuleDict()
        if with_steps and "face" in modalities:
            self.frames["face"] = QuasiPhonemes(widths.expression, 2, width, config)
        if with_steps and "audio" in modalities:
            self.frames["audio"] = QuasiPhonemes(widths.frames_of_sound, 4, width, config)
        kind = MultiscaleAggregator if config.aggregation else PlainAggregator
        self.aggregators = nn.ModuleDict({m: kind(width, config) for m in modalities})
        # What asks instead of the current words where they are not to be met (row 7).
        self.nobody = (
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
        """Encode one side.

        Args:
            current: (B, P, D) words of the current line.
            text: (B, P', D) words of the neighbour, where they are read.
        """
        asking = current
        if self.nobody is not None:
            asking = (self.nobody + count_up(current)).expand_as(current)
        asking = asking * valid.unsqueeze(-1)
        sequences = [
            self.aggregators[m](asking, valid, self._told(m, context, text))
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

    def _told(self, modality: str, context: Context, text: Tensor | None) -> Told:
        whole, steps, steps_valid = None, None, None
        if modality in self.whole:
            place = CONTEXT_MODALITIES.index(modality)
            known = context.whole_valid[:, place].unsqueeze(1)
            whole = torch.where(
                known, self.whole[modality](context.whole[place]), self.no_whole[modality]
            )
        if modality in self.no_steps:
            if modality == "text":
                assert text is not None
                steps, steps_valid = text, context.phonemes_valid
            elif modality == "face":
                steps, steps_valid = self.frames["face"](
                    context.expression, context.expression_valid
                )
            else:
                steps, steps_valid = self.frames["audio"](context.sound, context.sound_valid)
            steps, steps_valid = never_empty(steps, steps_valid, self.no_steps[modality])
        return Told(whole, steps, steps_valid)


class ContextAdaptor(nn.Module):
    """States on the mel's clock take up both neighbours (section II-D).

    The gate is a sigmoid per channel; without the adaptor (row 6) the mean over both sides and all
    steps is added instead. A line is given no context by leaving the side out of the
    config, not by a batch without it: what is not there has learned states.
    """

    def __init__(self, config: ContextConfig, width: int, widths: FeatureWidths) -> None:
        super().__init__()
        self.config = config
        if width % config.heads or width % config.graph_heads or width % config.text_heads:
            raise ConfigError(f"width {width} is not divisible by the heads of the context")
        self.text = PhonemeEncoder(
            widths.phonemes,
            width,
            layers=config.text_layers,
            heads=config.text_heads,
            filter_width=config.filter_width,
            kernel=config.kernel,
            dropout=config.dropout,
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
        """(B, T, D) with what the context adds."""
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
            told = torch.stack(sides).mean(0)
        else:
            share = self.gate(torch.cat(sides, dim=-1)).sigmoid()
            told = share * sides[0] + (1 - share) * sides[1]
        if self.read is not None:
            added: Tensor = self.read(states, told, valid)
            return states + added
        assert self.add is not None
        mean = (told * valid.unsqueeze(-1)).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        plain: Tensor = self.add(mean).unsqueeze(1)
        return states + plain
