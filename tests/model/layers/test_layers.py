import math

import pytest
import torch
import torch.nn.functional as F

from redub.model.blocks.lip_aligner import LipAligner
from redub.model.blocks.lip_encoder import LipEncoder, LipStates
from redub.model.blocks.timbre_encoder import VoiceSummary
from redub.model.layers.convolution import MaskedBatchNorm, TimeConv
from redub.model.layers.fft_block import FFTBlock, FFTSizes, StyleAdaptiveNorm
from redub.model.layers.positions import count_up, sinusoids


def mask(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


def test_sinusoids_are_the_published_ones():
    # width 4: sin p, cos p, sin p/100, cos p/100 (10000^(2/4) = 100).
    row = sinusoids(torch.tensor([3.0]), 4)[0]
    expected = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
    assert row.tolist() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(count_up(torch.zeros(1, 4, 4))[0, 3], row)


def test_time_conv_is_a_sum_over_neighbours():
    convolve = TimeConv(1, 1, 3)
    with torch.no_grad():
        convolve.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
        convolve.bias.zero_()
    states = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    # Middle frame: 1*1 + 10*2 + 100*3; the ends see a zero outside.
    assert convolve(states).flatten().tolist() == [210.0, 321.0, 32.0]


def test_batch_norm_statistics_are_those_of_the_real_frames():
    torch.manual_seed(0)
    lengths = [5, 2, 1]
    valid = mask(lengths, 5)
    states = torch.where(valid.unsqueeze(-1), torch.randn(3, 5, 4) * 3 + 1, 1e4)
    norm, oracle = MaskedBatchNorm(4), torch.nn.BatchNorm1d(4)
    expected = oracle(states[valid])  # the real frames as one plain batch
    torch.testing.assert_close(norm(states, valid)[valid], expected)
    torch.testing.assert_close(norm.running_mean, oracle.running_mean)
    torch.testing.assert_close(norm.running_var, oracle.running_var)
    torch.testing.assert_close(norm.eval()(states, valid)[valid], oracle.eval()(states[valid]))
    assert float(norm(states, valid)[~valid].detach().abs().max()) == 0.0


def test_style_norm_starts_as_a_plain_layer_norm_and_style_scales_it():
    torch.manual_seed(0)
    norm = StyleAdaptiveNorm(6, 3)
    states = torch.randn(2, 4, 6)
    torch.testing.assert_close(norm(states, torch.zeros(2, 3)), F.layer_norm(states, (6,)))
    with torch.no_grad():
        norm.to_affine.weight.zero_()
        norm.to_affine.weight[:6, 0] = 1.0  # the first style number adds to every gain
    style = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    plain = F.layer_norm(states, (6,))
    torch.testing.assert_close(norm(states, style), plain * torch.tensor([3.0, 1.0]).view(2, 1, 1))


def test_an_fft_block_ignores_padding_and_gives_zeros_there():
    torch.manual_seed(0)
    block = FFTBlock(8, 2, 16, 3, 0.0)
    valid = mask([5, 3], 5)
    states = torch.randn(2, 5, 8)
    other = torch.where(valid.unsqueeze(-1), states, 50.0)
    torch.testing.assert_close(block(other, valid), block(states, valid))
    torch.testing.assert_close(block(states[1:, :3], valid[1:, :3]), block(states, valid)[1:, :3])
    assert float(block(states, valid)[1, 3:].detach().abs().max()) == 0.0


@pytest.mark.parametrize("frames", [16, 17, 31, 32, 100])
def test_the_voice_summary_shortens_sixteen_times(frames):
    summary = VoiceSummary(4, (4, 4, 4, 4), 3, dropout=0.0)
    steps, valid = summary.steps(torch.randn(1, frames, 4), mask([frames], frames))
    assert steps.size(1) == frames // 16
    assert int(valid.sum()) == frames // 16


def test_a_voice_is_the_same_alone_and_beside_a_longer_one():
    torch.manual_seed(0)
    summary = VoiceSummary(4, (4, 4, 4, 4), 3, dropout=0.0).eval()
    states = torch.randn(2, 64, 4)
    together = summary(states, mask([64, 35], 64))
    alone = summary(states[1:, :35], mask([35], 35))
    torch.testing.assert_close(together[1:], alone)


def test_a_line_without_lips_reads_the_one_learned_state():
    torch.manual_seed(0)
    encoder = LipEncoder(
        5, 8, 6, FFTSizes(layers=1, heads=2, filter_width=8, kernel=3, dropout=0.0)
    )
    with torch.no_grad():
        encoder.no_lips.fill_(0.5)
    valid = mask([4, 0], 4)
    lips = encoder(torch.randn(2, 4, 5), valid)
    assert lips.present.tolist() == [True, False]
    assert lips.valid.tolist() == [[True] * 4, [True, False, False, False]]
    assert lips.states[1].tolist() == [[0.5] * 6] + [[0.0] * 6] * 3


def test_the_aligner_shows_its_sharpest_head_and_each_phoneme_one_unit_of_attention():
    torch.manual_seed(0)
    aligner = LipAligner(8, heads=2, dropout=0.0)
    with torch.no_grad():  # head 0 looks everywhere alike, head 1 where its query points
        for part in (aligner.attention.to_query, aligner.attention.to_key):
            part.weight.copy_(torch.eye(8) * 4)
            part.weight[:4] = 0.0
            part.bias.zero_()
    lips = LipStates(torch.zeros(1, 6, 8), mask([6], 6), torch.tensor([True]))
    text = torch.zeros(1, 5, 8)
    aligned = aligner(text, mask([3], 5), lips)
    sums = aligned.attention.sum(-1)[0]
    torch.testing.assert_close(sums, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    # A flat head would put 1/6 everywhere; the sharp one follows the diagonal: 3 phonemes over 6
    # frames sit at frames 1, 3 and 5.
    assert aligned.attention[0, :3].argmax(-1).tolist() == [1, 3, 5]
    assert float(aligned.states[0, 3:].detach().abs().max()) == 0.0


def test_a_block_that_computes_again_learns_the_same_and_keeps_less():
    torch.manual_seed(0)
    block = FFTBlock(8, 2, 16, 3, 0.3, style_width=4)
    states, style = torch.randn(2, 9, 8, requires_grad=True), torch.randn(2, 4)
    valid = torch.arange(9) < torch.tensor([[9], [6]])
    seen = []
    for block.recompute in (False, True):
        held = {}

        def hold(value, held=held):
            held[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        block.zero_grad()
        torch.manual_seed(1)  # the same dropout
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda value: value):
            spoken = block(states, valid, style)
        spoken.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in block.parameters()]
        seen.append((sum(held.values()), spoken.detach(), *gradients))
    assert seen[1][0] < 0.6 * seen[0][0]
    torch.testing.assert_close(seen[0][1:], seen[1][1:])
