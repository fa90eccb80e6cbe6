"""Emotion graphs of an utterance and of its retrieved clips.

Source: Authentic-Dubber (arXiv:2511.14249), progressive graph-based speech generation. The basic
graph has nodes for scene, face and text of the utterance. The indirect graph adds the K hits of
each modality. The direct graph adds the audio of every hit, connected to the modality that
retrieved it, as in the released code.

Letters: B batch, N nodes, K references per modality, M modalities, D model width, H heads,
R relation codes (0 = no edge).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.batch import FeatureWidths
from redub.model.layers.dropout import Dropout, dropout

MODALITY_COUNT = 3
SHARPNESS = 16.0
NO_EDGE, BETWEEN_MODALITIES, MODALITY_TO_HIT, MODALITY_TO_SOUND = range(4)


def relations(
    hits: int, *, with_hits: bool, with_sound: bool, sound_on_hits: bool = False
) -> Tensor:
    """Build the (N, N) relation codes of one graph: symmetric, 0 on the diagonal.

    Node order: scene, face, text; K scene hits, K face hits, K text hits; then the audio of these
    hits in the same order. A hit is connected to the modality that retrieved it; its audio, too, or
    with ``sound_on_hits`` to the hit.

    Args:
        hits: K.
    """
    blocks = ([MODALITY_TO_HIT] if with_hits else []) + ([MODALITY_TO_SOUND] if with_sound else [])
    modality = torch.arange(MODALITY_COUNT)
    count = MODALITY_COUNT * (1 + hits * len(blocks))
    codes = torch.zeros(count, count, dtype=torch.long)
    codes[:MODALITY_COUNT, :MODALITY_COUNT] = BETWEEN_MODALITIES * (1 - torch.eye(3)).long()
    owner = modality.repeat_interleave(hits)  # (3K,) the modality of each node of a block
    for place, code in enumerate(blocks):
        nodes = MODALITY_COUNT * (1 + hits * place) + torch.arange(len(owner))
        if code == MODALITY_TO_SOUND and sound_on_hits:
            owner = MODALITY_COUNT + torch.arange(len(owner))
        codes[owner, nodes] = code
        codes[nodes, owner] = code
    return codes


class RelationalAttention(nn.Module):
    """Graph attention whose scores also depend on the kind of edge.

    The published score is a . [Wh_i ; Wh_j ; onehot(relation)]. It is computed as a sum of a query
    term, a key term and an edge term, so that no (B, N, N, 2D) tensor is needed.
    """

    def __init__(
        self, inputs: int, width: int, heads: int, relation_codes: int, dropout: float
    ) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.weight = nn.Parameter(torch.empty(heads, inputs, width))
        self.score = nn.Parameter(torch.empty(heads, 2 * width + relation_codes, 1))
        self.gain = nn.Parameter(torch.ones(heads, 1, width))
        self.offset = nn.Parameter(torch.zeros(heads, 1, width))
        for head in range(heads):
            nn.init.xavier_uniform_(self.weight[head], gain=1.414)
            nn.init.xavier_uniform_(self.score[head], gain=1.414)

    def forward(self, nodes: Tensor, codes: Tensor, edges: Tensor, bias: Tensor) -> Messages:
        """Compute the attention messages.

        Args:
            nodes: (B, N, inputs).
            codes: (N, N) int64 relation codes.
            edges: (B, N, N) bool, True where both nodes are valid and connected.
            bias: (B, N, N) or broadcastable, added to the scores.
        """
        projected = torch.einsum("bnd,hde->bhne", nodes, self.weight)
        score, width = self.score[..., 0], self.width  # (H, 2D + R)
        query_weight, key_weight, relation = (
            score[:, :width],
            score[:, width:][:, :width],
            score[:, 2 * width :],
        )
        scores = torch.einsum("bhne,he->bhn", projected, query_weight).unsqueeze(-1)
        scores = scores + torch.einsum("bhne,he->bhn", projected, key_weight).unsqueeze(-2)
        scores = scores + relation[:, codes]  # (B, H, N, N)
        scores = F.leaky_relu(scores, 0.2) + bias.unsqueeze(-3)
        scores = scores.masked_fill(~edges.unsqueeze(1), -9e15)
        # Without this mask, a node without edges would attend evenly to all nodes.
        attention = scores.softmax(-1) * edges.unsqueeze(1)  # (B, H, N, N)
        message = dropout(attention, self.dropout, self.training) @ projected
        message = F.layer_norm(message, (self.width,)) * self.gain + self.offset
        return Messages(message.transpose(1, 2).flatten(-2), attention)


class Messages(NamedTuple):
    """Attention messages of all nodes, and the attention weights."""

    states: Tensor  # (B, N, H * D)
    attention: Tensor  # (B, H, N, N), rows sum to 1, or to 0 for a node without edges


class GraphEncoder(nn.Module):
    """Two layers of relational attention with a residual around both."""

    def __init__(self, width: int, heads: int, relation_codes: int, dropout: float) -> None:
        super().__init__()
        self.first = RelationalAttention(width, width, heads, relation_codes, dropout)
        self.second = RelationalAttention(heads * width, width, 1, relation_codes, dropout)
        self.drop = Dropout(dropout)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, nodes: Tensor, valid: Tensor, codes: Tensor, bias: Tensor) -> EncodedGraph:
        """Encode nodes (B, N, D); nodes that are not ``valid`` have no edges and become 0.

        Args:
            codes: (N, N) relation codes.
            bias: (B, 1, N), added to the attention scores of each key node.
        """
        edges = (codes != NO_EDGE) & valid.unsqueeze(1) & valid.unsqueeze(2)  # (B, N, N)
        first = self.first(self.drop(nodes), codes, edges, bias)
        second = self.second(self.drop(F.gelu(first.states)), codes, edges, bias)
        states = self.norm(self.mix(F.gelu(second.states)) + nodes) * valid.unsqueeze(-1)
        attention = torch.cat((first.attention, second.attention), dim=1)
        return EncodedGraph(states, valid, attention, bias[:, 0].expand(len(states), -1))


class EncodedGraph(NamedTuple):
    """One encoded graph; its nodes are not pooled, the speech states attend to each of them."""

    nodes: Tensor  # (B, N, D), 0 where not valid
    valid: Tensor  # (B, N) bool
    attention: Tensor  # (B, H + 1, N, N)
    bias: Tensor  # (B, N), added to the attention scores of a node for all queries


class GraphStage(nn.Module):
    """Projections of the new nodes of one graph, and the encoder of all its nodes."""

    def __init__(
        self, inputs: tuple[int, ...], width: int, heads: int, relation_codes: int, dropout: float
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(wide, width) for wide in inputs)
        self.encoder = GraphEncoder(width, heads, relation_codes, dropout)

    def project(self, vectors: Sequence[Tensor]) -> Tensor:
        """Project three or more blocks (B, n, inputs) and concatenate them: (B, sum of n, D)."""
        pairs = zip(self.projections, vectors, strict=True)
        return torch.cat([projection(block) for projection, block in pairs], dim=1)


class Retrieved(NamedTuple):
    """Hits of the three query modalities; K may be 0."""

    vectors: tuple[Tensor, Tensor, Tensor]  # (B, K, width) each: scene, face, text
    sound: Tensor  # (B, M, K, audio) audio emotion vector of each hit
    score: Tensor  # (B, M, K) similarity
    valid: Tensor  # (B, M, K) bool


class Stage(NamedTuple):
    """One graph of the sequence: the nodes that it adds to those of the graph before it."""

    name: str
    own: bool  # scene, face and text of the utterance
    hits: bool  # vectors of the hits
    sound: bool  # audio of the hits

    def relation_codes(self, with_hits: bool) -> int:
        """Return the number of relation codes, R, including code 0 (no edge)."""
        return 4 if self.sound else 3 if with_hits else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPlan:
    """The graphs of a system (Authentic-Dubber, ablation rows 8, 9, 11).

    staged: encode one graph after another; False puts all nodes into one graph that is encoded
        once.
    indirect: use the hits. direct: use the audio of the hits.
    sound_on_hits: connect the audio of a hit to the hit, one possible reading of the paper; the
        released code connects it to the modality that retrieved the hit.
    """

    staged: bool = True
    indirect: bool = True
    direct: bool = True
    sound_on_hits: bool = False

    def stages(self) -> list[Stage]:
        """List the graphs in the order in which they are encoded and read."""
        if not self.staged:
            return [Stage("single", True, self.indirect, self.direct)]
        stages = [Stage("basic", True, False, False)]
        stages += [Stage("indirect", False, True, False)] * self.indirect
        return stages + [Stage("direct", False, False, True)] * self.direct


class EmotionGraphs(nn.Module):
    """Encodes the basic, indirect and direct graph; each starts from the encoded previous nodes."""

    def __init__(
        self,
        widths: FeatureWidths,
        width: int,
        *,
        heads: int,
        dropout: float,
        score_aware: bool,
        plan: GraphPlan | None = None,
    ) -> None:
        super().__init__()
        own, sound = widths.modalities, (widths.audio,) * MODALITY_COUNT
        self.plan = plan or GraphPlan()
        self.stages = nn.ModuleDict()
        with_hits = False
        for stage in self.plan.stages():
            with_hits |= stage.hits
            inputs = own * stage.own + own * stage.hits + sound * stage.sound
            codes = stage.relation_codes(with_hits)
            self.stages[stage.name] = GraphStage(inputs, width, heads, codes, dropout)
        # Weight of the similarity in the attention; 0 is the published graph. The initial value is
        # large, because cosines of hits differ by hundredths only, and the few training steps on a
        # small corpus do not change it much.
        self.sharpness = nn.Parameter(torch.full((1,), SHARPNESS)) if score_aware else None

    def forward(
        self, modalities: tuple[Tensor, Tensor, Tensor], modalities_valid: Tensor, found: Retrieved
    ) -> dict[str, EncodedGraph]:
        """Encode the graphs.

        Args:
            modalities: (B, width) scene, face and text vectors.
            modalities_valid: (B, M) bool.
            found: hits of each modality.

        Returns:
            Encoded graphs by name; with the published plan they have 3, 3 + 3K and 3 + 6K nodes.
        """
        utterances, _, hits = found.score.shape
        own = tuple(vector.unsqueeze(1) for vector in modalities)
        nodes = modalities[0].new_zeros(utterances, 0, 0)
        valid = modalities_valid[:, :0]  # (B, N), grows with every stage
        with_hits = with_sound = False
        graphs = {}
        for stage in self.plan.stages():
            with_hits, with_sound = with_hits or stage.hits, with_sound or stage.sound
            parts = own if stage.own else ()
            parts += found.vectors if stage.hits else ()
            parts += found.sound.unbind(1) if stage.sound else ()
            grown = self._stage(stage.name)
            new = grown.project(parts)
            nodes = new if stage.own else torch.cat((nodes, new), dim=1)
            added = [modalities_valid] * stage.own + [found.valid.flatten(1)] * (
                stage.hits + stage.sound
            )
            valid = torch.cat((valid, *added), dim=1)
            codes = relations(
                hits,
                with_hits=with_hits,
                with_sound=with_sound,
                sound_on_hits=self.plan.sound_on_hits,
            ).to(valid.device)
            bias = self._bias(found, blocks=with_hits + with_sound)
            graphs[stage.name] = grown.encoder(nodes, valid, codes, bias)
            nodes = graphs[stage.name].nodes
        return graphs

    def _stage(self, name: str) -> GraphStage:
        stage = self.stages[name]
        assert isinstance(stage, GraphStage)
        return stage

    def _bias(self, found: Retrieved, *, blocks: int) -> Tensor:
        """Compute the (B, 1, N) score bias of the nodes.

        The bias of a hit and of its audio is ``sharpness`` times the difference of its similarity
        to that of the best hit of the same query; 0 for all other nodes.

        Args:
            blocks: number of blocks of hit nodes: vectors, audio.
        """
        utterances, _, hits = found.score.shape
        base = found.score.new_zeros(utterances, MODALITY_COUNT)
        if self.sharpness is None or hits == 0:
            leaf = found.score.new_zeros(utterances, MODALITY_COUNT * hits)
        else:
            score = found.score.masked_fill(~found.valid, float("-inf"))
            behind = score - score.amax(2, keepdim=True)
            behind = behind.masked_fill(~found.valid, 0.0)
            leaf = (self.sharpness * behind).flatten(1)
        return torch.cat((base, *[leaf] * blocks), dim=1).unsqueeze(1)
