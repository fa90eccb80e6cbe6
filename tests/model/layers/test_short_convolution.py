"""Nine taps in fewer products: the same numbers as the plain sum, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F

from redub.model.layers.convolution import TimeConv
from redub.model.layers.short_convolution import (
    OUTPUTS,
    PRODUCTS,
    TAPS,
    THREE_BY_THREE,
    TWO_BY_THREE,
    nested,
    nine_taps,
)


def drawn(length, dtype=torch.float64, lines=3, inputs=4, outputs=6):
    torch.manual_seed(length)
    values = (
        torch.randn(lines, length, inputs, dtype=dtype),
        torch.randn(outputs, inputs, TAPS, dtype=dtype),
        torch.randn(outputs, dtype=dtype),
    )
    return [value.requires_grad_() for value in values]


def plain(states, weight, bias):
    return F.conv1d(states.transpose(1, 2), weight, bias, padding=TAPS // 2).transpose(1, 2)


@pytest.mark.parametrize("way", [TWO_BY_THREE, THREE_BY_THREE, nested(torch.float64)])
def test_the_tables_compute_a_correlation(way):
    (products, window), taps = way.inputs.shape, way.taps.size(1)
    signal, filter_ = torch.randn(window).double(), torch.randn(taps).double()
    made = way.outputs @ ((way.inputs @ signal) * (way.taps @ filter_))
    wanted = [signal[n : n + taps] @ filter_ for n in range(window - taps + 1)]
    torch.testing.assert_close(made, torch.stack(wanted))
    assert products < len(wanted) * taps


def test_it_takes_twenty_products_for_six_outputs():
    assert nested(torch.float32).inputs.shape == (PRODUCTS, OUTPUTS + TAPS - 1)
    assert (PRODUCTS, OUTPUTS * TAPS) == (20, 54)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 11, 12, 13, 40])
def test_values_and_gradients_are_those_of_the_plain_sum(length):
    inputs = drawn(length)
    made, wanted = nine_taps(*inputs), plain(*inputs)
    torch.testing.assert_close(made, wanted)
    weights = torch.randn_like(made)
    found = torch.autograd.grad(made, inputs, weights)
    for gradient, other in zip(found, torch.autograd.grad(wanted, inputs, weights), strict=True):
        torch.testing.assert_close(gradient, other)


def test_gradients_are_those_of_differences():
    inputs = drawn(8, lines=2, inputs=2, outputs=3)
    assert torch.autograd.gradcheck(nine_taps, inputs)


def test_float32_loses_about_a_digit():
    states, weight, bias = (value.detach() for value in drawn(60, torch.float32, inputs=256))
    exact = plain(states.double(), weight.double(), bias.double())
    lost = float((nine_taps(states, weight, bias) - exact).abs().max() / exact.abs().max())
    direct = float((plain(states, weight, bias) - exact).abs().max() / exact.abs().max())
    assert lost < max(20 * direct, 1e-5)


def test_a_layer_of_nine_taps_is_the_layer_it_was():
    torch.manual_seed(0)
    for bias in (True, False):
        layer, states = TimeConv(5, 7, TAPS, bias=bias), torch.randn(2, 23, 5)
        wanted = plain(states, layer.weight, layer.bias)
        torch.testing.assert_close(layer(states), wanted, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):  # the library's own, in its precision
            assert layer(states).dtype == torch.bfloat16


def test_it_is_what_layers_of_nine_taps_use(monkeypatch):
    asked = []
    import redub.model.layers.convolution as convolution

    monkeypatch.setattr(convolution, "nine_taps", lambda *a: asked.append(1) or nine_taps(*a))
    TimeConv(2, 2, 9)(torch.randn(1, 4, 2))
    TimeConv(2, 2, 3)(torch.randn(1, 4, 2))
    assert len(asked) == 1
