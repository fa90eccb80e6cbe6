"""Dropout: the share and the scale of what is kept, and one byte per number held."""

import torch

from redub.model.layers.dropout import Dropout


def test_a_quarter_is_dropped_and_the_rest_scaled():
    torch.manual_seed(0)
    layer, states = Dropout(0.25), torch.ones(200, 200, requires_grad=True)
    kept = layer(states)
    assert set(kept.detach().unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(float((kept == 0).float().mean()) - 0.25) < 0.01
    kept.sum().backward()
    torch.testing.assert_close(states.grad, kept.detach())


def test_nothing_happens_outside_training_or_at_probability_zero():
    states = torch.randn(3, 3)
    assert Dropout(0.5).eval()(states) is states
    assert Dropout(0.0)(states) is states


def test_the_mask_is_held_in_bytes():
    held = []
    states = torch.randn(64, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda v: held.append(v) or v, lambda v: v):
        Dropout(0.5)(states)
    assert sum(value.nbytes for value in held) == states.numel()
