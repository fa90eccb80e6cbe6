"""Additive attention in parts: the published form's numbers, without its tensor over all pairs."""

import pytest
import torch

import redub.model.layers.additive_attention as module
from redub.model.layers.additive_attention import AdditiveAttention, AdditiveScores


def published(layer, query, memory, valid):
    """As HPMDubbing writes it: P (B, Q, M, D), weights of tanh(P), and the weighted P."""
    pairs = query.unsqueeze(2) + layer.to_key(memory).unsqueeze(1) + layer.bias
    scores = layer.to_score(pairs.tanh()).squeeze(-1)
    weights = scores.masked_fill(~valid.unsqueeze(1), float("-inf")).softmax(-1)
    return (weights.unsqueeze(-1) * pairs).sum(2)


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    layer = AdditiveAttention(6).double()
    query = torch.randn(2, 7, 6, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    return layer, query, memory, torch.arange(5) < torch.tensor([[5], [3]])


@pytest.mark.parametrize("at_once", [1, 70, 10**6])
def test_it_is_the_published_form_however_it_is_cut(drawn, at_once, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    layer, query, memory, valid = drawn
    found, wanted = layer(query, memory, valid), published(layer, query, memory, valid)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(found)
    asked = (query, memory, *layer.parameters())
    one = torch.autograd.grad(found, asked, weights)
    other = torch.autograd.grad(wanted, asked, weights)
    torch.testing.assert_close(one, other)


def test_gradients_are_those_of_differences(drawn):
    _, query, memory, _ = drawn
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(AdditiveScores.apply, (query, memory, weight))


def test_nothing_to_read_adds_nothing(drawn):
    layer, query, memory, valid = drawn
    no_key = torch.zeros_like(valid)
    torch.testing.assert_close(layer(query, memory, no_key), query + layer.bias)


def test_what_is_held_does_not_grow_with_the_width_times_both_lengths():
    held = {}

    def hold(value):
        held[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    layer = AdditiveAttention(64)
    query, memory = torch.randn(1, 200, 64, requires_grad=True), torch.randn(1, 50, 64)
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda value: value):
        layer(query, memory, torch.ones(1, 50, dtype=torch.bool))
    pairs = 200 * 50 * 64 * 4
    assert sum(held.values()) < pairs / 10
