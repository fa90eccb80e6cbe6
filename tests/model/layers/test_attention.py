import pytest
import torch

from redub.model.layers.attention import MultiHeadAttention


@pytest.fixture
def reading():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2).eval()
    query, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return attention, query, memory, valid


def test_attention_is_torchs_own_multi_head_attention(reading):
    attention, query, memory, valid = reading
    oracle = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    parts = (attention.to_query, attention.to_key, attention.to_value)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        oracle.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        oracle.out_proj.load_state_dict(attention.to_output.state_dict())
    expected, weights = oracle(
        query, memory, memory, key_padding_mask=~valid, average_attn_weights=False
    )
    read = attention.with_weights(query, memory, valid)
    torch.testing.assert_close(read.context, expected)
    torch.testing.assert_close(read.weights, weights)
    torch.testing.assert_close(attention(query, memory, valid), expected)


def test_what_padding_holds_does_not_matter(reading):
    attention, query, memory, valid = reading
    other = torch.where(valid.unsqueeze(-1), memory, 1e3)
    torch.testing.assert_close(attention(query, other, valid), attention(query, memory, valid))


def test_an_empty_memory_is_read_as_zeros(reading):
    attention, query, memory, valid = reading
    nothing = torch.zeros_like(valid)
    read = attention.with_weights(query, memory, nothing)
    expected = attention.to_output.bias.expand(2, 3, 8)  # a context of zeros through the output
    torch.testing.assert_close(read.context, expected)
    torch.testing.assert_close(attention(query, memory, nothing), expected)
    assert float(read.weights.detach().abs().max()) == 0.0
