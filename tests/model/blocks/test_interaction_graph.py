"""The graph of a context: edges as the paper counts them, and the answers of a dense one."""

import pytest
import torch
import torch.nn.functional as F

from redub.model.blocks.interaction_graph import (
    INTER,
    INTERACTION,
    INTRA,
    SLOPE,
    InteractionAttention,
    InteractionGraph,
)


def dense_edges(sequences, steps, *, current, current_intra):
    """(N, N) kind of edge, -1 for none, node (g, t) at g * steps + t, pair by pair."""
    kinds = torch.full((sequences * steps,) * 2, -1)
    for g in range(sequences):
        for t in range(steps):
            for h in range(sequences):
                for u in range(steps):
                    words = current and sequences - 1 in (g, h)
                    if g == h and t != u and (not words or current_intra):
                        kind = INTRA
                    elif g != h and t == u:
                        kind = INTERACTION if words else INTER
                    else:
                        continue
                    kinds[g * steps + t, h * steps + u] = kind
    return kinds


def dense(layer, nodes, valid, *, current, current_intra):
    """The same attention with a score for every pair of the N nodes."""
    lines, sequences, steps, width = nodes.shape
    kinds = dense_edges(sequences, steps, current=current, current_intra=current_intra)
    states = layer.project(nodes).reshape(lines, sequences * steps, layer.heads, -1)
    states = states.transpose(1, 2)  # (B, H, N, E)
    pairs = torch.cat(
        (
            states.unsqueeze(3).expand(-1, -1, -1, sequences * steps, -1),
            states.unsqueeze(2).expand(-1, -1, sequences * steps, -1, -1),
        ),
        dim=-1,
    )  # (B, H, N, N, 2E)
    score = torch.cat((layer.query_weight, layer.key_weight), dim=-1)  # (H, 2E)
    scores = torch.einsum("bhijd,hd->bhij", pairs, score) + layer.kind[:, kinds.clamp(min=0)]
    real = valid.repeat(1, sequences)
    there = (kinds >= 0) & real.unsqueeze(1)
    scores = F.leaky_relu(scores, SLOPE).masked_fill(~there.unsqueeze(1), float("-inf"))
    weights = scores.softmax(-1).nan_to_num(0.0)
    message = (weights @ states).transpose(1, 2).reshape(lines, sequences, steps, width)
    return message, weights


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = InteractionAttention(8, 2, 0.0).double()
    torch.nn.init.normal_(made.kind)
    return made


@pytest.mark.parametrize("sequences", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize(
    ("current", "current_intra"), [(True, True), (True, False), (False, False)]
)
def test_it_answers_like_the_dense_graph(layer, sequences, steps, current, current_intra):
    torch.manual_seed(steps)
    nodes = torch.randn(3, sequences, steps, 8, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([[steps], [max(1, steps - 1)], [max(1, steps // 2)]])
    valid = torch.arange(steps) < lengths
    options = {"current": current, "current_intra": current_intra}
    found, (wanted, _) = layer(nodes, valid, **options), dense(layer, nodes, valid, **options)
    real = valid[:, None, :, None]
    torch.testing.assert_close(found * real, wanted * real, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(found) * real
    asked = (nodes, *layer.parameters())
    one = torch.autograd.grad(found, asked, weights, allow_unused=True, materialize_grads=True)
    other = torch.autograd.grad(wanted, asked, weights, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_nodes_and_edges_are_counted_as_the_paper_counts_them(steps):
    kinds = dense_edges(4, steps, current=True, current_intra=True)
    assert len(kinds) == 4 * steps
    assert torch.equal(kinds, kinds.T)
    count = {kind: int((kinds == kind).sum()) // 2 for kind in (INTRA, INTER, INTERACTION)}
    assert count == {
        INTRA: 4 * steps * (steps - 1) // 2,  # every pair of steps of every sequence
        INTER: 3 * steps,  # every pair of three modalities, at every step
        INTERACTION: 3 * steps,  # the words and every modality, at every step
    }
    degrees = (kinds >= 0).sum(1)
    assert set(degrees.tolist()) == {steps - 1 + 3}


def test_no_message_comes_along_an_edge_that_is_not_there(layer):
    nodes = torch.randn(1, 4, 5, 8, dtype=torch.float64, requires_grad=True)
    valid = torch.ones(1, 5, dtype=torch.bool)
    message = layer(nodes, valid, current=True, current_intra=False)
    message[0, 1, 2].sum().backward()
    read = nodes.grad[0].abs().sum(-1) > 1e-9  # (G, L), float64
    wanted = torch.zeros(4, 5, dtype=torch.bool)
    wanted[1] = True  # its own sequence, but for
    wanted[:, 2] = True  # its own step in the others
    wanted[1, 2] = True  # itself asks the question
    assert torch.equal(read, wanted)
    nodes.grad = None
    layer(nodes, valid, current=True, current_intra=False)[0, 3, 2].sum().backward()
    assert not nodes.grad[0, 3, [0, 1, 3, 4]].any()


def test_padding_reads_nothing_and_is_not_read():
    torch.manual_seed(0)
    graph = InteractionGraph(8, 2, 4, 0.0)
    nodes, valid = torch.randn(2, 4, 6, 8), torch.arange(6) < torch.tensor([[6], [4]])
    options = {"current": True, "current_intra": True}
    clean = graph(nodes, valid, **options)
    noisy = graph(torch.where(valid[:, None, :, None], nodes, 9.0), valid, **options)
    torch.testing.assert_close(clean, noisy)
    torch.testing.assert_close(clean[1:, :4], graph(nodes[1:, :, :4], valid[1:, :4], **options))
    assert float(clean[1, 4:].detach().abs().max()) == 0.0
