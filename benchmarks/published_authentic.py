"""Authentic-Dubber as its released code computes it, written plainly, to measure redub against.

Source: Authentic-Dubber (arXiv:2511.14249) on StyleDubber (arXiv:2402.12636); what the released
code does where the papers say nothing. Nothing here is shared with ``redub.model`` but the batch,
the sizes and the edges of the graphs. It keeps what costs: attention scores of every head in
memory, a (B, N, N, 2D + R) tensor per graph layer and head, Python loops over lines and phonemes,
a plain layer norm before each style-adaptive one, two streams for the keys and values of the
cross-modal transformer in every layer, and parameters that nothing reads but the optimiser.
Letters: B batch, P phonemes, T mel frames, V video frames, R frames of the reference mel or
relation codes, L any length, D width, S style width, N nodes, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.emotion_graph import relations
from redub.model.systems.authentic_dubber import AuthenticDubberConfig
from redub.training.losses import LossWeights
from redub.training.schedule import NoamSchedule

LONGEST = 3000
"""Positions that a table is made for."""
UNREAD_WIDTH = 640
"""Of the three unread layers whose width is not known: so that the count is the published one."""


def table(rows: int, width: int) -> Tensor:
    """Sinusoids (rows, width), sine and cosine by turns."""
    angle = torch.arange(rows).unsqueeze(1) / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)


class StyleNorm(nn.Module):
    """Layer norm with gain and offset from a style."""

    def __init__(self, width: int, style_width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_width, 2 * width)
        nn.init.constant_(self.affine.bias[:width], 1.0)
        nn.init.constant_(self.affine.bias[width:], 0.0)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, states: Tensor, style: Tensor) -> Tensor:
        """(B, L, D) by (B, S)."""
        gain, offset = self.affine(style).unsqueeze(1).chunk(2, dim=-1)
        coloured: Tensor = gain * self.norm(states) + offset
        return coloured


class Heads(nn.Module):
    """Attention by explicit scores; ``hidden`` (B, Q, M) or (Q, M) is True where none is paid."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def _split(self, states: Tensor) -> Tensor:
        lines, length, width = states.shape
        split = states.view(lines, length, self.heads, width // self.heads)
        return split.transpose(1, 2).contiguous()  # (B, H, L, D / H)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context (B, Q, D) and weights (B, H, Q, M)."""
        queries, keys = self._split(self.query(query)), self._split(self.key(key))
        scores = torch.matmul(queries, keys.transpose(2, 3)) * self.scale
        hidden = hidden.unsqueeze(-3).expand_as(scores)
        weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
        context = torch.matmul(weights, self._split(self.value(value)))
        return self.output(context.transpose(1, 2).contiguous().flatten(2)), weights


class Block(nn.Module):
    """Feed-forward-transformer block; with a style, each plain norm is followed by another."""

    def __init__(
        self, width: int, heads: int, config: AuthenticDubberConfig, style_width: int = 0
    ) -> None:
        super().__init__()
        kernel, wide = config.kernel, config.filter_width
        self.attention = Heads(width, heads)
        self.widen = nn.Conv1d(width, wide, kernel, padding=kernel // 2)
        self.narrow = nn.Conv1d(wide, width, 1)
        self.drop_read, self.drop_filtered = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.norm_read, self.norm_filtered = nn.LayerNorm(width), nn.LayerNorm(width)
        count = 2 if style_width else 0
        self.styles = nn.ModuleList(StyleNorm(width, style_width) for _ in range(count))

    def forward(self, states: Tensor, padding: Tensor, style: Tensor | None = None) -> Tensor:
        """(B, L, D); ``padding`` (B, L) is True where a line has ended."""
        hidden = padding.unsqueeze(1).expand(-1, padding.size(1), -1)  # (B, L, L)
        read, _ = self.attention(states, states, states, hidden)
        states = self.norm_read(self.drop_read(read) + states)
        if style is not None:
            states = self.styles[0](states, style)
        states = states.masked_fill(padding.unsqueeze(-1), 0)
        filtered = self.narrow(F.relu(self.widen(states.transpose(1, 2)))).transpose(1, 2)
        states = self.norm_filtered(self.drop_filtered(filtered) + states)
        if style is not None:
            states = self.styles[1](states, style)
        return states.masked_fill(padding.unsqueeze(-1), 0)


class CrossLayer(nn.Module):
    """Pre-norm cross-attention and feed-forward."""

    def __init__(self, width: int, heads: int, wide: int, dropout: float) -> None:
        super().__init__()
        self.attention = Heads(width, heads)
        self.norm_read, self.norm_filtered = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)
        self.dropout = dropout

    def forward(self, states: Tensor, key: Tensor, value: Tensor, future: Tensor) -> Tensor:
        """(B, P, D) states that have read (B, R, D)."""
        norm = self.norm_read
        read, _ = self.attention(norm(states), norm(key), norm(value), future)
        states = states + F.dropout(read, self.dropout, self.training)
        wide = F.relu(self.widen(self.norm_filtered(states)))
        wide = F.dropout(wide, self.dropout, self.training)
        return states + F.dropout(self.narrow(wide), self.dropout, self.training)


class CrossTransformer(nn.Module):
    """Every layer reads the same reference, as keys and as values, and not the future."""

    def __init__(self, width: int, config: AuthenticDubberConfig, wide: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(width, config.cross_heads, wide, config.cross_dropout)
            for _ in range(config.cross_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = config.cross_input_dropout

    def _placed(self, states: Tensor) -> Tensor:
        """Scaled, with positions from 1; a state whose first channel is 0 counts as padding."""
        length, width = states.size(1), states.size(2)
        sines = table(length + 1, width).to(states.device)
        rows = torch.arange(1, length + 1, device=states.device)
        place = torch.where(states[..., 0] == 0, 0, rows)  # (B, L)
        return F.dropout(width**0.5 * states + sines[place], self.dropout, self.training)

    def forward(self, states: Tensor, reference: Tensor) -> Tensor:
        """(B, P, D) from (B, P, D) and (B, R, D)."""
        queries, keys = states.size(1), reference.size(1)
        future = states.new_ones(queries, keys).triu(1 + abs(keys - queries)).bool()
        states, key, value = (self._placed(s) for s in (states, reference, reference))
        for layer in self.layers:
            states = layer(states, key, value, future)
        normed: Tensor = self.norm(states)
        return normed


class Reference(nn.Module):
    """The reference mel to states, and those to one voice."""

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width, kernel, self.dropout = config.width, config.timbre_kernel, config.timbre_dropout
        self.spectral = nn.Sequential(
            nn.Linear(widths.mel, width), nn.Mish(), nn.Dropout(self.dropout),
            nn.Linear(width, width), nn.Mish(), nn.Dropout(self.dropout),
        )  # fmt: skip
        self.gated = nn.ModuleList(
            nn.Conv1d(width, 2 * width, kernel, padding=kernel // 2) for _ in range(2)
        )
        self.attention, self.mix = Heads(width, config.timbre_heads), nn.Linear(width, width)
        layers: list[nn.Module] = []
        for before, after in pairwise((width, *config.voice_channels)):
            layers += [nn.Conv1d(before, after, 3, padding=1), nn.ReLU(), nn.BatchNorm1d(after)]
            layers += [nn.Dropout(config.dropout), nn.AvgPool1d(2)]
        self.halve = nn.Sequential(*layers)
        self.voice = nn.Linear(config.voice_channels[-1], widths.speaker)

    def forward(self, mel: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, R, D) and voices (B, S)."""
        states = self.spectral(mel).transpose(1, 2)
        for convolve in self.gated:
            gated = F.glu(convolve(states), dim=1)
            states = states + F.dropout(gated, self.dropout, self.training)
        states = states.transpose(1, 2).masked_fill(padding.unsqueeze(-1), 0)
        hidden = padding.unsqueeze(1).expand(-1, padding.size(1), -1)
        states = states + self.attention(states, states, states, hidden)[0]
        states = self.mix(states)
        steps = self.voice(self.halve(states.transpose(1, 2)).transpose(1, 2)).tanh()
        counts = (~padding).sum(1).div(16, rounding_mode="floor").clamp(min=1)
        past = torch.arange(steps.size(1), device=mel.device) >= counts.unsqueeze(1)
        voices = steps.masked_fill(past.unsqueeze(-1), 0).sum(1) / counts.unsqueeze(1)
        return states, voices


class GraphLayer(nn.Module):
    """One head: scores from every pair of nodes, side by side."""

    def __init__(self, inputs: int, width: int, codes: int, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, width))
        self.score = nn.Parameter(torch.empty(2 * width + codes, 1))
        nn.init.xavier_uniform_(self.weight, gain=1.414)
        nn.init.xavier_uniform_(self.score, gain=1.414)
        self.relation = nn.Parameter(torch.eye(codes), requires_grad=False)
        self.norm, self.dropout = nn.LayerNorm(width), dropout

    def forward(self, nodes: Tensor, codes: Tensor) -> Tensor:
        """(B, N, D) messages; ``codes`` (B, N, N), 0 = no edge."""
        states = torch.matmul(nodes, self.weight)  # (B, N, D)
        lines, count, width = states.shape
        query_weight = states.unsqueeze(2).expand(lines, count, count, width)
        key_weight = states.unsqueeze(1).expand(lines, count, count, width)
        pairs = torch.cat(
            (query_weight, key_weight, self.relation[codes]), dim=-1
        )  # (B, N, N, 2D + R)
        scores = F.leaky_relu(torch.matmul(pairs, self.score).squeeze(-1), 0.2)
        weights = torch.where(codes > 0, scores, torch.full_like(scores, -9e15)).softmax(-1)
        weights = F.dropout(weights, self.dropout, self.training)
        normed: Tensor = self.norm(torch.matmul(weights, states))
        return normed


class Graph(nn.Module):
    """Inputs to nodes, then two layers of graph attention and a residual."""

    def __init__(self, inputs: Sequence[int], config: AuthenticDubberConfig, codes: int) -> None:
        super().__init__()
        width, heads, self.dropout = config.width, config.graph_heads, config.graph_dropout
        self.project = nn.ModuleList(nn.Linear(wide, width) for wide in inputs)
        self.heads = nn.ModuleList(
            GraphLayer(width, width, codes, self.dropout) for _ in range(heads)
        )
        self.last = GraphLayer(heads * width, width, codes, self.dropout)
        self.mix, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, known: Tensor | None, new: Sequence[Tensor], codes: Tensor) -> Tensor:
        """(B, N, D): nodes known so far and three blocks (B, n, inputs) of new ones."""
        blocks = [] if known is None else [known]
        blocks += [project(vectors) for project, vectors in zip(self.project, new, strict=True)]
        nodes = torch.cat(blocks, dim=1)
        codes = codes.to(nodes.device).unsqueeze(0).repeat(len(nodes), 1, 1)
        states = F.dropout(nodes, self.dropout, self.training)
        states = torch.cat([F.gelu(head(states, codes)) for head in self.heads], dim=-1)
        states = F.dropout(states, self.dropout, self.training)
        encoded: Tensor = self.norm(self.mix(F.gelu(self.last(states, codes))) + nodes)
        return encoded


class Durations(nn.Module):
    """Three stacks of convolutions, one is read."""

    def __init__(self, config: AuthenticDubberConfig) -> None:
        super().__init__()
        width, kernel, self.dropout = config.width, config.duration_kernel, config.duration_dropout
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(2 * 3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * 3))
        self.last = nn.Conv1d(width, 1, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(B, P) log(frames + 1) of (B, P, D)."""
        read = 2
        for convolve, norm in zip(self.convolutions[:read], self.norms[:read], strict=True):
            states = norm(F.relu(convolve(states.transpose(1, 2))).transpose(1, 2))
            states = F.dropout(states, self.dropout, self.training)
        return F.softplus(self.last(states.transpose(1, 2))).squeeze(1)


class Spoken(NamedTuple):
    """What the losses need; the first is what both sides are compared by."""

    mel: Tensor  # (B, T, C)
    mel_post: Tensor  # (B, T, C)
    log_durations: Tensor  # (B, P)
    lip_attention: Tensor  # (B, P, V)
    speaker: Tensor  # (B, S)
    emotions: Tensor  # (B, emotions), softmax taken already


class Fusion(nn.Module):
    """Text and reference to text in a voice."""

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width, inner, wide = config.width, config.cross_width, config.cross_filter_width
        self.embed = nn.Embedding(widths.phonemes, width, padding_idx=0)
        self.mix = nn.Conv1d(width, width, 1, bias=False)
        self.text = nn.ModuleList(
            Block(width, config.phoneme_heads, config) for _ in range(config.phoneme_layers)
        )
        self.reference = Reference(config, widths)
        self.narrow_text = nn.Conv1d(width, inner, 1, bias=False)
        self.narrow_reference = nn.Conv1d(width, inner, 1, bias=False)
        self.cross, self.widen = CrossTransformer(inner, config, wide), nn.Linear(inner, width)
        self.input_dropout = config.cross_input_dropout
        self.unread = nn.ModuleDict(
            {
                "face_encoder": nn.Sequential(
                    nn.Conv1d(width, inner, 3), nn.BatchNorm1d(inner),
                    nn.Conv1d(inner, width, 3), nn.BatchNorm1d(width),
                    nn.Linear(width, width), nn.Linear(width, widths.emotions),
                ),
                "narrow_face": nn.Conv1d(width, inner, 1, bias=False),
                "cross_face": CrossTransformer(inner, config, wide),
                "memory": CrossTransformer(2 * inner, config, 2 * wide),
                "first": nn.Linear(UNREAD_WIDTH, UNREAD_WIDTH),
                "second": nn.Linear(UNREAD_WIDTH, UNREAD_WIDTH),
                "output": nn.Linear(UNREAD_WIDTH, UNREAD_WIDTH),
                "speakers": nn.Linear(width, 1),
            }
        )  # fmt: skip

    def forward(self, batch: DubbingBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Text (B, P, D), text in the voice (B, P, D), voices (B, S)."""
        padding = ~batch.phonemes_valid
        text = self.mix(self.embed(batch.phonemes).transpose(1, 2)).transpose(1, 2)
        for block in self.text:
            text = block(text, padding)
        reference, voices = self.reference(batch.reference_mel, ~batch.reference_valid)
        asking = F.dropout(text, self.input_dropout, self.training)
        asking = self.narrow_text(asking.transpose(1, 2)).transpose(1, 2)
        keys = self.narrow_reference(reference.transpose(1, 2)).transpose(1, 2)
        return text, (self.widen(self.cross(asking, keys)) + text) / 2, voices


class Speaking(nn.Module):
    """Lips to durations, emotion knowledge, and the decoder."""

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width, lips, self.config = config.width, config.lip_width, config
        self.lip_norm = nn.LayerNorm(lips)
        self.positions = nn.Parameter(table(LONGEST + 1, lips).unsqueeze(0), requires_grad=False)
        self.lips = nn.ModuleList(
            Block(lips, config.lip_heads, config) for _ in range(config.lip_layers)
        )
        self.lips_to_width = nn.Linear(lips, width)
        self.aligner, self.aligned = Heads(width, config.aligner_heads), nn.Linear(width, width)
        self.aligned_norm = nn.LayerNorm(width)
        self.durations = Durations(config)
        self.unread = nn.ModuleList(nn.Embedding(256, width) for _ in range(2))  # pitch, energy
        own, sound = widths.modalities, (widths.audio,) * 3
        self.graphs = nn.ModuleList(
            Graph(inputs, config, codes)
            for codes, inputs in zip((2, 3, 4), (own, own, sound), strict=True)
        )
        self.read = nn.ModuleList(
            nn.MultiheadAttention(width, 1, dropout=config.aggregator_dropout, batch_first=True)
            for _ in range(3)
        )
        self.join = nn.ModuleList(nn.Conv1d(2 * width, width, 1, bias=False) for _ in range(4))
        self.emotion = nn.Linear(width, widths.emotions)
        self.decoder = nn.ModuleList(
            Block(width, config.decoder_heads, config, widths.speaker)
            for _ in range(config.decoder_layers)
        )
        self.to_mel = nn.Linear(width, widths.mel)
        inside = [config.postnet_channels] * (config.postnet_layers - 1)
        ends, kernel = [widths.mel, *inside, widths.mel], config.postnet_kernel
        self.postnet = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(before, after, kernel, padding=kernel // 2), nn.BatchNorm1d(after)
            )
            for before, after in pairwise(ends)
        )
        self.postnet_style = StyleNorm(config.postnet_channels, widths.speaker)

    def forward(
        self, batch: DubbingBatch, text: Tensor, voiced_text: Tensor, voices: Tensor
    ) -> Spoken:
        """Speak along the recorded durations."""
        assert batch.durations is not None
        seen, attention = self._aligned(batch, text)
        speech = regulated(voiced_text, batch.durations)  # (B, T, D)
        padding = ~batch.frames_valid
        emotional = self._with_emotion(batch, speech)
        total = emotional.masked_fill(padding.unsqueeze(-1), 0).sum(1)
        emotions = self.emotion(total / batch.mel_frames.unsqueeze(1)).softmax(-1)
        states = joined(self.join[3], speech, emotional)
        for block in self.decoder:
            states = block(states, padding, batch.speaker)
        mel = self.to_mel(states)
        mel_post = mel + self._refined(mel, batch.speaker)
        return Spoken(mel, mel_post, self.durations(seen), attention, voices, emotions)

    def _aligned(self, batch: DubbingBatch, text: Tensor) -> tuple[Tensor, Tensor]:
        """What each phoneme saw (B, P, D), and the weights (B, P, V) of the sharpest head."""
        padding = ~batch.lips_valid
        lips = self.lip_norm(batch.lips) + self.positions[:, : padding.size(1)]
        for block in self.lips:
            lips = block(lips, padding)
        lips = self.lips_to_width(lips)
        hidden = padding.unsqueeze(1).expand(-1, text.size(1), -1)
        seen, weights = self.aligner(text, lips, lips, hidden)
        seen = seen.masked_fill(~batch.phonemes_valid.unsqueeze(-1), 0)
        weights = weights * batch.phonemes_valid[:, None, :, None]
        seen = F.dropout(self.aligned(seen), self.config.dropout, self.training)
        sharpest = []
        for line in weights:  # (H, P, V)
            rate = line.max(1).values.sum(-1)
            sharpest.append(line[int(rate.argmax())])
        return self.aligned_norm(seen), torch.stack(sharpest)

    def _with_emotion(self, batch: DubbingBatch, speech: Tensor) -> Tensor:
        """Speech states (B, T, D) after the three graphs."""
        hits, known, states = batch.hits_score.size(2), None, speech
        own = tuple(vector.unsqueeze(1) for vector in batch.modalities)
        levels = (
            (own, relations(hits, with_hits=False, with_sound=False)),
            (batch.hits, relations(hits, with_hits=True, with_sound=False)),
            (batch.hits_audio.unbind(1), relations(hits, with_hits=True, with_sound=True)),
        )
        for level, (new, codes) in enumerate(levels):
            known = self.graphs[level](known, new, codes)
            no_padding = torch.zeros(known.shape[:2], dtype=torch.bool, device=known.device)
            context, _ = self.read[level](states, known, known, key_padding_mask=no_padding)
            states = joined(self.join[level], states, context)
        return states

    def _refined(self, mel: Tensor, style: Tensor) -> Tensor:
        states, last = mel.transpose(1, 2), len(self.postnet) - 1
        for layer, convolve in enumerate(self.postnet):
            states = convolve(states)
            if layer < last:
                states = self.postnet_style(states.tanh().transpose(1, 2), style).transpose(1, 2)
            states = F.dropout(states, self.config.postnet_dropout, self.training)
        return states.transpose(1, 2)


def joined(convolve: nn.Module, states: Tensor, context: Tensor) -> Tensor:
    """(B, T, D) from two of them, side by side."""
    pair = torch.cat((states, context), dim=-1).transpose(1, 2)
    made: Tensor = convolve(pair).transpose(1, 2)
    return made


def regulated(states: Tensor, durations: Tensor) -> Tensor:
    """(B, T, D): every phoneme's state as often as it has frames, one after another."""
    lines = []
    for line, counts in zip(states, durations, strict=True):
        rows = []
        for state, count in zip(line, counts, strict=True):
            rows.append(state.expand(max(int(count.item()), 0), -1))
        lines.append(torch.cat(rows))
    longest = max(len(line) for line in lines)
    return torch.stack([F.pad(line, (0, 0, 0, longest - len(line))) for line in lines])


def losses(spoken: Spoken, batch: DubbingBatch, weights: LossWeights) -> list[Tensor]:
    """The six terms, weighted."""
    assert batch.mel is not None
    assert batch.durations is not None
    frames = batch.frames_valid.unsqueeze(-1)
    wanted = batch.mel.masked_select(frames)
    wanted_durations = batch.durations.float().log1p().masked_select(batch.phonemes_valid)
    guessed = spoken.log_durations.masked_select(batch.phonemes_valid)
    return [
        weights.mel * F.l1_loss(spoken.mel.masked_select(frames), wanted),
        weights.mel_post * F.l1_loss(spoken.mel_post.masked_select(frames), wanted),
        weights.duration * F.mse_loss(guessed, wanted_durations),
        weights.diagonal * diagonal(spoken.lip_attention, batch, weights.diagonal_bands),
        weights.speaker * (1 - F.cosine_similarity(spoken.speaker, batch.speaker)).mean(),
        weights.emotion * F.cross_entropy(spoken.emotions, batch.emotions),
    ]


def diagonal(attention: Tensor, batch: DubbingBatch, bands: float) -> Tensor:
    """Minus the log of the share near the diagonal, by a band that is filled row by row."""
    band = torch.zeros_like(attention)
    for line in range(len(attention)):
        phonemes = int(batch.phonemes_valid[line].sum().item())
        pictures = int(batch.lips_valid[line].sum().item())
        half = pictures / bands
        for place in range(phonemes):
            centre = place * pictures / phonemes
            band[line, place, max(round(centre - half), 0) : round(centre + half)] = 1.0
    focus = (attention * band).sum((1, 2)) / attention.sum((1, 2))
    return -focus.mean().log()


class PublishedLearner:
    """Both modules and their optimiser."""

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        self.model = Speaking(config, widths)
        self.fusion = Fusion(config, widths)

    def to(self, device: str) -> None:
        """Move the modules, then give all of their parameters to Adam, in two groups."""
        self.model.to(device).train()
        self.fusion.to(device).train()
        groups: list[dict[str, Any]] = [
            {"params": self.model.parameters(), "betas": (0.9, 0.98), "eps": 1e-9},
            {"params": self.fusion.parameters()},
        ]
        self.optimizer = torch.optim.Adam(groups)
        self.schedule, self.steps = NoamSchedule(), 0

    def step(self, batch: DubbingBatch, weights: LossWeights, *, half: bool) -> tuple[int, ...]:
        """One step; the shape of its mel."""
        device = batch.mel_frames.device.type
        with torch.autocast(device, torch.bfloat16, enabled=half):
            spoken = self.model(batch, *self.fusion(batch))
        terms = losses(Spoken(*(part.float() for part in spoken)), batch, weights)
        total = torch.stack(terms).sum()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for term in terms:
            term.item()
        return tuple(spoken.mel.shape)
