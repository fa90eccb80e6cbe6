import math

import pytest
import torch

from redub.core.errors import ConfigError, RedubError
from redub.model.registry import system
from redub.training.data.batching import collate, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.losses import (
    Losses,
    LossWeights,
    alignment_loss,
    ctc_loss,
    diagonal_loss,
    duration_loss,
    emotion_loss,
    losses_of,
    masked_l1,
    masked_mean,
    unit_loss,
)
from redub.training.presets import TrainingConfig


def mask(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


def test_mel_loss_is_the_mean_difference_of_real_frames_whatever_padding_holds():
    target = torch.zeros(2, 3, 2)
    estimate = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1).expand(2, 3, 2).clone()
    estimate[1, 1:] = float("inf")
    # Real frames differ by 1, 2, 3 and 1: 7 / 4.
    assert masked_l1(estimate, target, mask([3, 1], 3)).item() == pytest.approx(7 / 4)


def test_duration_loss_compares_logarithms():
    durations = torch.tensor([[0, 3, 99]])
    exact = torch.tensor([[0.0, math.log(4), 5.0]])
    valid = mask([2], 3)
    assert duration_loss(exact, durations, valid).item() == pytest.approx(0.0, abs=1e-12)
    # One of two is off by 0.3: 0.09 / 2.
    assert duration_loss(exact + torch.tensor([0.3, 0, 0]), durations, valid).item() == (
        pytest.approx(0.045)
    )


def test_diagonal_loss_of_flat_attention_is_the_log_of_the_bands_share():
    # 4 phonemes, 8 frames, bands 8: band p is [2p - 1, 2p + 1): 1, 2, 2, 2 of 8 frames.
    flat = torch.full((1, 4, 8), 1 / 8)
    share = (1 + 2 + 2 + 2) / 32
    loss = diagonal_loss(flat, mask([4], 4), mask([8], 8), bands=8)
    assert loss.item() == pytest.approx(-math.log(share))


def test_diagonal_loss_is_0_on_the_diagonal_and_ignores_padding_and_lines_without_lips():
    on = torch.zeros(2, 3, 5)
    on[0, 0, 0] = on[0, 1, 2] = 1.0  # 2 phonemes, 4 frames
    on[1] = 0.2
    phonemes, lips = mask([2, 3], 3), mask([4, 0], 5)
    assert diagonal_loss(on, phonemes, lips, bands=10).item() == pytest.approx(0.0, abs=1e-6)
    assert diagonal_loss(on, phonemes, mask([0, 0], 5), bands=10).item() == 0.0


def test_alignment_loss_is_the_entropy_of_the_recording_where_frames_attend_to_its_phonemes():
    # Frames of 2 words: 6 and 2, over 4 video frames of 2 mel frames: three see the
    # first, one the second.
    durations, lips = torch.tensor([[6, 2]]), mask([4], 4)
    sure = torch.tensor([[[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])
    assert alignment_loss(sure, durations, lips).item() == 0.0
    assert alignment_loss(sure.flip(1), durations, lips).item() == pytest.approx(-math.log(1e-4))
    flat = torch.full((1, 2, 4), 0.5)
    assert alignment_loss(flat, durations, lips).item() == pytest.approx(math.log(2))
    # 3 and 5 frames: the second picture shows half of each, so it is best half at each.
    uneven = torch.tensor([[[1.0, 0.5, 0.0, 0.0], [0.0, 0.5, 1.0, 1.0]]])
    least = alignment_loss(uneven, torch.tensor([[3, 5]]), lips).item()
    assert least == pytest.approx(math.log(2) / 4)
    uneven[0, :, 1] = torch.tensor([0.6, 0.4])
    assert alignment_loss(uneven, torch.tensor([[3, 5]]), lips).item() > least


def test_alignment_loss_knows_padding_other_lines_words_and_lines_without_lips():
    flat = torch.full((2, 3, 6), 1 / 3)
    durations = torch.tensor([[4, 4, 0], [8, 2, 2]])
    alone = alignment_loss(flat[1:], durations[1:], mask([6], 6)).item()
    padded = flat.clone()
    padded[0, :, 4:] = 1e9
    padded[0, 2] = -1e9  # a word that is not there
    padded[0, :2, :4] = 0.5
    both = alignment_loss(padded, durations, mask([4, 6], 6)).item()
    assert both == pytest.approx((4 * math.log(2) + 6 * alone) / 10)
    assert alignment_loss(padded, durations, mask([0, 6], 6)).item() == pytest.approx(alone)
    assert alignment_loss(padded, durations, mask([0, 0], 6)).item() == 0.0
    # A column that sums to less than 1 looks at other words, too, and costs more.
    assert alignment_loss(flat[1:] / 2, durations[1:], mask([6], 6)).item() > alone + 0.6


def test_the_alignment_is_shown_only_to_systems_whose_pictures_look_at_words():
    shown = LossWeights(alignment=0.5)
    assert TrainingConfig(system="m2ci_dubber", losses=shown).losses.alignment == 0.5
    with pytest.raises(ConfigError, match="set it to 0 for style_dubber"):
        TrainingConfig(system="style_dubber", losses=shown)


def test_emotion_loss_takes_logits_and_leaves_out_the_unknown():
    # Equal logits: ln 8 for the known line. A double softmax could never get below 1.27 here.
    logits = torch.zeros(2, 8)
    assert emotion_loss(logits, torch.tensor([3, -1])).item() == pytest.approx(math.log(8))
    sure = torch.zeros(1, 8).index_fill(1, torch.tensor([3]), 50.0)
    assert emotion_loss(sure, torch.tensor([3])).item() == pytest.approx(0.0, abs=1e-6)
    assert emotion_loss(logits, torch.tensor([-1, -1])).item() == 0.0


def test_the_mean_of_nothing_is_0():
    assert masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool)).item() == 0.0


def test_the_total_is_the_weighted_sum_with_the_published_weights():
    ones = Losses(*torch.ones(len(Losses._fields)))
    published = 5 + 5 + 5 + 1 + 25 + 5
    assert ones.total(LossWeights(pitch=0, voicing=0, energy=0)).item() == published
    only = LossWeights(**dict.fromkeys(Losses._fields, 0.0) | {"energy": 3.0})
    assert ones.total(only).item() == 3.0


@pytest.fixture
def compared(lines, sound, small):
    torch.manual_seed(0)
    widths = widths_of(lines, sound)
    model = system("authentic_dubber")(small, widths).eval()
    batch = collate(lines[:3], FeatureScaler.fit(lines), widths, reference_frames=16)
    return model(batch), batch


def test_a_perfect_output_has_no_loss(compared):
    output, batch = compared
    prosody = output.prosody._replace(
        pitch=batch.prosody.pitch,
        voicing=torch.where(batch.prosody.voiced, 50.0, -50.0),
        energy=batch.prosody.energy,
    )
    perfect = output._replace(
        mel=batch.mel,
        mel_post=batch.mel,
        log_durations=batch.durations.float().log1p(),
        speaker=batch.speaker * 3,  # only the direction counts
        prosody=prosody,
    )
    losses = losses_of(perfect, batch, LossWeights())
    zero = [losses.mel, losses.mel_post, losses.duration, losses.speaker, *losses[7:]]
    assert [value.item() for value in zero] == pytest.approx([0.0] * len(zero), abs=1e-6)


def test_squared_and_absolute_terms_count_real_places_alone(compared):
    output, batch = compared
    shifted = output._replace(
        mel=batch.mel + 2.0,
        mel_post=batch.mel - 1.0,
        prosody=output.prosody._replace(
            pitch=batch.prosody.pitch + 0.5, energy=batch.prosody.energy - 0.25
        ),
    )
    losses = losses_of(shifted, batch, LossWeights(mel_squared=1.0))
    assert losses.mel_squared.item() == pytest.approx(4.0 + 1.0, rel=1e-5)
    assert losses.prosody_distance.item() == pytest.approx(0.5 + 0.25, rel=1e-5)
    assert losses_of(shifted, batch, LossWeights()).mel_squared.item() == 0.0  # without control


def test_ctc_is_the_chance_of_all_ways_to_say_the_phonemes(compared):
    _, batch = compared
    # One phoneme in two steps of three even classes: a-a, blank-a and a-blank, of nine ways.
    one = batch._replace(
        phonemes=torch.tensor([[1], [2], [2]]),
        phonemes_valid=torch.ones(3, 1, dtype=torch.bool),
    )
    two = torch.arange(4) < torch.tensor([[2], [2], [2]])
    found = ctc_loss(torch.zeros(3, 4, 3), two, one).item()
    assert found == pytest.approx(-math.log(3 / 9), rel=1e-5)
    sure = torch.zeros(3, 4, 3)
    sure[0, :, 1] = sure[1:, :, 2] = 50.0
    assert ctc_loss(sure, two, one).item() == pytest.approx(0.0, abs=1e-5)
    short = torch.arange(4) < torch.tensor([[0], [0], [0]])
    assert ctc_loss(torch.zeros(3, 4, 3), short, one).item() == 0.0  # more words than steps


def test_unit_loss_is_cross_entropy_of_real_units():
    logits = torch.zeros(1, 3, 4)
    logits[0, 2, 1] = 99.0  # padding
    valid = torch.tensor([[True, True, False]])
    assert unit_loss(logits, torch.tensor([[0, 3, 0]]), valid).item() == pytest.approx(math.log(4))


def test_unvoiced_frames_have_no_pitch_to_get_wrong(compared):
    output, batch = compared
    wrong = torch.where(batch.prosody.voiced, batch.prosody.pitch, 99.0)
    losses = losses_of(
        output._replace(prosody=output.prosody._replace(pitch=wrong)), batch, LossWeights()
    )
    assert losses.pitch.item() == pytest.approx(0.0, abs=1e-9)


def test_a_batch_without_a_recording_is_refused_by_name(compared):
    output, batch = compared
    with pytest.raises(RedubError, match="clip0"):
        losses_of(output, batch.without_recording(), LossWeights())
