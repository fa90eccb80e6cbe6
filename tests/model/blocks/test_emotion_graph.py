import math

import pytest
import torch
import torch.nn.functional as F

from redub.core.types import AudioSpec
from redub.model.batch import FeatureWidths
from redub.model.blocks.aggregation import Aggregator
from redub.model.blocks.emotion_graph import (
    EmotionGraphs,
    GraphEncoder,
    RelationalAttention,
    Retrieved,
    relations,
)

PAPER = FeatureWidths(
    lips=512, speaker=256, scene=1024, face=1024, text=2048, audio=1024, sound=AudioSpec()
)
STAGES = [(False, False), (True, False), (True, True)]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("hits", [0, 1, 3, 5])
def test_graphs_have_the_published_numbers_of_nodes_and_edges(hits):
    counts = [3, 3 + 3 * hits, 3 + 6 * hits]
    for count, (with_hits, with_sound) in zip(counts, STAGES, strict=True):
        codes = relations(hits, with_hits=with_hits, with_sound=with_sound)
        assert codes.shape == (count, count)
        assert int((codes > 0).sum()) == 2 * count  # as many undirected edges as nodes
        assert torch.equal(codes, codes.T)
        assert int(codes.diagonal().sum()) == 0


def test_two_hits_are_tied_as_drawn():
    # Nodes: S F T, S1 S2 F1 F2 T1 T2, then their sounds 9-14. All is tied to the base node.
    codes = relations(2, with_hits=True, with_sound=True)
    assert codes[0].tolist() == [0, 1, 1, 2, 2, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0]
    assert codes[2].tolist() == [1, 1, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 3]
    assert int(codes[3:, 3:].sum()) == 0


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        graphs = EmotionGraphs(PAPER, 256, heads=2, dropout=0.2, score_aware=False)
        aggregator = Aggregator(256, 0.1)
    # The released code also counts three frozen R x R one-hot tables per encoder.
    assert parameters(graphs.stages.basic) + 3 * 2**2 == 1_380_882
    assert parameters(graphs.stages.indirect) + 3 * 3**2 == 1_380_900
    assert parameters(graphs.stages.direct) + 3 * 4**2 == 1_118_780
    assert parameters(aggregator) == 394_240


def published_attention(layer, nodes, codes, head):
    """a . [Wh_i ; Wh_j ; onehot] pair by pair, as the paper writes it."""
    projected = nodes @ layer.weight[head]
    vector = layer.score[head, :, 0]
    relation_codes = len(vector) - 2 * layer.width
    scores = torch.full(codes.shape, -math.inf)
    for i in range(len(nodes)):
        for j in range(len(nodes)):
            if codes[i, j]:
                onehot = F.one_hot(codes[i, j], relation_codes).float()
                joined = torch.cat((projected[i], projected[j], onehot))
                scores[i, j] = F.leaky_relu(joined @ vector, 0.2)
    attention = scores.softmax(-1)
    return attention, F.layer_norm(attention @ projected, (layer.width,))


def test_the_split_score_is_the_published_one():
    torch.manual_seed(0)
    layer = RelationalAttention(6, 5, 2, 4, 0.0)
    codes = relations(1, with_hits=True, with_sound=True)
    nodes = torch.randn(1, 9, 6)
    messages = layer(nodes, codes, (codes > 0).unsqueeze(0), torch.zeros(1, 1, 1))
    for head in range(2):
        attention, states = published_attention(layer, nodes[0], codes, head)
        torch.testing.assert_close(messages.attention[0, head], attention)
        torch.testing.assert_close(messages.states[0, :, 5 * head : 5 * head + 5], states)


@pytest.fixture
def found():
    torch.manual_seed(1)
    widths = FeatureWidths(lips=1, speaker=1, scene=4, face=5, text=6, audio=7, sound=AudioSpec())
    graphs = EmotionGraphs(widths, 8, heads=2, dropout=0.0, score_aware=True)
    own = tuple(torch.randn(2, width) for width in widths.modalities)
    hits = Retrieved(
        tuple(torch.randn(2, 3, width) for width in widths.modalities),
        torch.randn(2, 3, 3, 7),
        torch.rand(2, 3, 3),
        torch.ones(2, 3, 3, dtype=torch.bool),
    )
    return graphs, own, torch.ones(2, 3, dtype=torch.bool), hits


def test_the_order_of_hits_moves_their_nodes_and_nothing_else(found):
    graphs, own, valid, hits = found
    before = graphs(own, valid, hits)["direct"]
    order = torch.tensor([2, 0, 1])
    face = hits.vectors[1][:, order]
    sound, score = hits.sound.clone(), hits.score.clone()
    sound[:, 1], score[:, 1] = hits.sound[:, 1, order], hits.score[:, 1, order]
    permuted = Retrieved((hits.vectors[0], face, hits.vectors[2]), sound, score, hits.valid)
    after = graphs(own, valid, permuted)["direct"]
    torch.testing.assert_close(after.nodes[:, :6], before.nodes[:, :6])  # base and scene hits
    torch.testing.assert_close(after.nodes[:, 6:9], before.nodes[:, 6:9][:, order])
    torch.testing.assert_close(after.nodes[:, 15:18], before.nodes[:, 15:18][:, order])


def test_leaves_attend_only_to_their_base_node(found):
    graphs, own, valid, hits = found
    direct = graphs(own, valid, hits)["direct"]
    for leaf in range(3, 21):
        expected = torch.zeros(21)
        expected[(leaf - 3) // 3 % 3] = 1.0
        torch.testing.assert_close(direct.attention[0, 0, leaf], expected)


def test_absent_hits_are_as_if_they_had_not_been_there(found):
    graphs, own, valid, hits = found
    masked = hits._replace(valid=torch.arange(3).expand(2, 3, 3) < 1)
    fewer = Retrieved(
        tuple(vectors[:, :1] for vectors in hits.vectors),
        hits.sound[:, :, :1],
        hits.score[:, :, :1],
        hits.valid[:, :, :1],
    )
    for with_mask, without in zip(
        graphs(own, valid, masked).values(), graphs(own, valid, fewer).values(), strict=True
    ):
        torch.testing.assert_close(with_mask.nodes[with_mask.valid], without.nodes[without.valid])


def test_an_absent_modality_neither_speaks_nor_listens(found):
    graphs, own, _, hits = found
    no_face = torch.tensor([[True, False, True]] * 2)
    no_face_hits = hits._replace(valid=hits.valid & no_face.unsqueeze(-1))
    face = torch.full_like(own[1], 99.0)
    one = graphs(own, no_face, no_face_hits)
    other = graphs((own[0], face, own[2]), no_face, no_face_hits)
    for before, after in zip(one.values(), other.values(), strict=True):
        torch.testing.assert_close(before.nodes, after.nodes)
        assert float(before.nodes[:, 1].detach().abs().max()) == 0.0
        assert float(before.attention[:, :, :, 1].detach().max()) == 0.0


def test_a_node_without_neighbours_keeps_its_own_content():
    torch.manual_seed(0)
    encoder = GraphEncoder(8, 2, 2, 0.0)
    codes = relations(0, with_hits=False, with_sound=False)
    nodes = torch.randn(1, 3, 8)
    alone = encoder(nodes, torch.tensor([[True, False, False]]), codes, torch.zeros(1, 1, 1))
    assert bool(torch.isfinite(alone.nodes).all())
    assert float(alone.attention.detach().abs().max()) == 0.0
    assert float(alone.nodes[0, 0].detach().abs().max()) > 0.0


def test_a_better_score_is_listened_to_more(found):
    graphs, own, valid, hits = found
    torch.nn.init.ones_(graphs.sharpness)
    # Three equal scene hits; only the score tells them apart.
    same = hits.vectors[0][:, :1].expand(-1, 3, -1)
    score = hits.score.clone()
    score[:, 0] = torch.tensor([0.9, 0.4, 0.4])
    alike = hits._replace(vectors=(same, *hits.vectors[1:]), score=score)
    attention = graphs(own, valid, alike)["indirect"].attention[0, 0, 0, 3:6].tolist()
    # exp(sharpness * (0.4 - 0.9)) with a sharpness of 1.
    assert attention[1] / attention[0] == pytest.approx(math.exp(-0.5), rel=1e-5)
    assert attention[1] == pytest.approx(attention[2])
