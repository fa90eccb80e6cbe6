"""Every system of the line, in every variant: alone as in a batch, nothing out of padding."""

from dataclasses import fields, replace

import pytest
import torch

from redub.model.batch import Control, DubbingBatch
from redub.model.systems.authentic_dubber import AuthenticDubber
from redub.model.systems.fastspeech2 import FastSpeech2
from redub.model.systems.style_dubber import StyleDubber
from redub.training.losses import LossWeights, losses_of
from tests.model.small_systems import (
    NAMES,
    SMALL,
    VARIANTS,
    build,
    by_heart,
    difference,
    has_no_effect,
    idle_parameters,
    learnt_by_heart,
)
from tests.model.systems.test_authentic_dubber import line_of, noise_in_padding

SILENCE = 19
KINDS = list(SMALL)


@pytest.fixture(params=VARIANTS, ids=NAMES)
def system(request, widths):
    return build(request.param[0], widths, request.param[1])


@pytest.mark.parametrize("recorded", [True, False])
def test_a_line_is_spoken_alone_as_in_a_batch(system, make_batch, recorded):
    system, batch = system.eval(), make_batch()
    if not recorded:
        batch = batch.without_recording()
    together = system(batch)
    alone = system(line_of(batch, 1, video_frames=4, phonemes=5, reference_mel=33))
    torch.testing.assert_close(together.mel_post[1:, :16], alone.mel_post, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.log_durations[1:, :5], alone.log_durations)
    for name in ("emotion_logits", "speaker"):
        if getattr(together, name) is not None:
            torch.testing.assert_close(getattr(together, name)[1:], getattr(alone, name))
    assert float(together.mel_post[1, 16:].detach().abs().max()) == 0.0


@pytest.mark.parametrize("training", [True, False])
def test_what_padding_holds_changes_no_value_and_no_gradient(system, make_batch, training):
    batch, seen = make_batch(), []
    system.train(training)
    for candidate in (batch, noise_in_padding(batch)):
        torch.manual_seed(5)  # the same dropout
        output = system(candidate)
        system.zero_grad()
        losses_of(output, candidate, LossWeights()).total(LossWeights()).backward()
        gradients = [p.grad.clone() for p in system.parameters() if p.grad is not None]
        seen.append((output.mel_post, output.log_durations, *gradients))
    for clean, noisy in zip(*seen, strict=True):
        torch.testing.assert_close(clean, noisy, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), VARIANTS, ids=NAMES)
def test_every_parameter_learns(kind, changes, widths, make_batch):
    # Two steps of timbre (16 frames each) and of face (4 video frames) at least: of one, no query
    # needs to choose.
    batch = make_batch(video_frames=(14, 9, 11), phonemes=(7, 5, 6), reference_mel=(52, 33, 36))
    frames = torch.arange(batch.frames_valid.size(1))
    voiced = batch.prosody.voiced & (frames >= 10)  # the first phoneme of each line is unvoiced
    hidden = batch._replace(
        lips_valid=batch.lips_valid & torch.tensor([[True], [True], [False]]),
        prosody=batch.prosody._replace(voiced=voiced),
    )

    def losses_at(seed):
        # Without dropout, and with the running statistics of batch norm: under those of the batch a
        # bias before it has no gradient.
        system = build(kind, widths, changes, seed).eval()
        # The post-net's last gain starts at 0 and holds back what is before it.
        for name, parameter in system.named_parameters():
            if name.startswith("postnet.norms") and name.endswith("weight"):
                torch.nn.init.ones_(parameter)
        return system, losses_of(system(hidden), hidden, LossWeights()).total(LossWeights())

    system = build(kind, widths, changes)
    asleep = _asleep(system)
    assert idle_parameters(losses_at) == {
        name for name, _ in system.named_parameters()
        if has_no_effect(name) or name.startswith(asleep)
    }  # fmt: skip


def _asleep(system):
    """Parts of a graph that has no hits."""
    if not isinstance(system, AuthenticDubber) or system.graphs is None:
        return ()
    idle = [
        n for n, name in enumerate(("scene", "face", "text")) if name not in system.config.retrieve
    ]
    asleep = [
        f"graphs.stages.{stage}.projections.{n}." for stage in ("indirect", "direct") for n in idle
    ]
    # With nothing retrieved there is no hit whose score could count.
    return (*asleep, *([] if system.config.retrieve else ["graphs.sharpness"]))


@pytest.mark.parametrize("kind", by_heart(KINDS, fast=(FastSpeech2,)))
def test_four_lines_are_learnt_by_heart(kind, widths, make_batch):
    batch = make_batch(
        video_frames=(6, 4, 5, 3), phonemes=(7, 5, 6, 4), reference_mel=(40, 33, 36, 20)
    )
    clock, channel = torch.arange(24.0)[None, :, None], torch.arange(12.0)[None, None, :]
    mel = torch.sin(0.35 * clock + channel + torch.arange(4.0)[:, None, None])
    batch = batch._replace(mel=mel * batch.frames_valid.unsqueeze(-1))
    distances = learnt_by_heart(build(kind, widths), batch, LossWeights())
    assert distances[0] > 0.5
    assert distances[-1] < 0.1


# -- what each system reads


def moved_by(system, batch, **changes):
    before, after = system(batch).mel_post, system(batch._replace(**changes)).mel_post
    return difference(before, after)


def test_only_styledubber_reads_the_face_and_only_the_graphs_read_emotion(widths, make_batch):
    batch = make_batch()
    changed = {
        "local_face": {"local_face": batch.local_face + 1.0},
        "emotion": {"modalities": tuple(vector + 3 for vector in batch.modalities)},
        "reference_mel": {"reference_mel": batch.reference_mel + 1.0},
        "speaker": {"speaker": batch.speaker + 1.0},
    }
    reads = {
        AuthenticDubber: {"emotion", "reference_mel", "speaker"},
        StyleDubber: {"local_face", "reference_mel", "speaker"},
        FastSpeech2: {"speaker"},
    }
    for kind, wanted in reads.items():
        system = build(kind, widths).eval()
        found = {name for name, what in changed.items() if moved_by(system, batch, **what) > 1e-4}
        assert found == wanted, kind


def test_lips_move_durations_and_nothing_in_the_speech_of_given_durations(widths, make_batch):
    batch = make_batch()
    for kind in (AuthenticDubber, StyleDubber):
        system = build(kind, widths).eval()
        other = batch._replace(lips=batch.lips + torch.linspace(-3, 3, 6)[None, :, None])
        assert moved_by(system, batch, lips=other.lips) == 0.0
        assert difference(system(batch).log_durations, system(other).log_durations) > 1e-4


def test_a_face_that_is_not_there_is_no_face_of_zeros(widths, make_batch):
    system, batch = build(StyleDubber, widths).eval(), make_batch()
    hidden = batch._replace(local_face_valid=torch.zeros_like(batch.local_face_valid))
    noisy = hidden._replace(local_face=batch.local_face + 9)
    assert torch.equal(system(hidden).mel_post, system(noisy).mel_post)
    zeros = batch._replace(local_face=torch.zeros_like(batch.local_face))
    assert difference(system(hidden).mel_post, system(zeros).mel_post) > 1e-3
    assert bool(torch.isfinite(system(hidden).emotion_logits).all())


# -- control


def controlled(batch, **changes):
    lines = len(batch.clip_ids)
    plain = {"pitch": 0.0, "pitch_range": 1.0, "energy": 0.0, "rate": 1.0, **changes}
    values = {name: torch.full((lines,), value) for name, value in plain.items()}
    return batch._replace(control=Control(**values, silence=SILENCE))


@pytest.fixture
def paused(make_batch):
    """Lines that start and end with a pause and have none inside."""
    batch = make_batch(video_frames=(9, 8), phonemes=(7, 5)).without_recording()
    inner = batch.phonemes.clamp(max=SILENCE - 1)
    inner[:, 0] = SILENCE
    inner[0, 6] = inner[1, 4] = SILENCE
    return batch._replace(phonemes=inner * batch.phonemes_valid)


@pytest.mark.parametrize("kind", KINDS)
def test_control_that_asks_nothing_changes_nothing(kind, widths, paused):
    system = build(kind, widths).eval()
    assert torch.equal(system(paused).mel_post, system(controlled(paused)).mel_post)


@pytest.mark.parametrize("kind", KINDS)
def test_pitch_range_and_energy_move_by_what_is_asked(kind, widths, paused):
    system = build(kind, widths).eval()
    with torch.no_grad():
        for predictor in ("voicing",):  # all is voiced
            if kind is FastSpeech2:
                getattr(system, predictor).to_value.bias.fill_(9.0)
            else:
                system.prosody_predictor.to_prosody.bias[1] = 9.0
    plain = system(paused).spoken
    higher = system(controlled(paused, pitch=0.25)).spoken
    flat = system(controlled(paused, pitch_range=0.0)).spoken
    louder = system(controlled(paused, energy=0.7)).spoken
    voiced = plain.voiced & paused.frames_valid
    torch.testing.assert_close(
        (higher.pitch - plain.pitch)[voiced], torch.full_like(plain.pitch, 0.25)[voiced]
    )
    for row in range(2):
        own = flat.pitch[row][voiced[row]]
        torch.testing.assert_close(own, own[:1].expand_as(own))
    up = (louder.energy - plain.energy)[paused.frames_valid].detach()
    assert set(up.mul(10).round().int().tolist()) == {0, 7}  # pauses stay as quiet as they are


@pytest.mark.parametrize("kind", KINDS)
def test_a_faster_line_gives_its_time_to_the_pauses_around_it(kind, widths, paused):
    system = build(kind, widths).eval()
    spoken = {}
    for rate in (0.25, 0.8, 1.0, 1.5, 4.0):
        output = system(controlled(paused, rate=rate))
        assert output.durations.sum(1).tolist() == [36, 32]
        words = (paused.phonemes != SILENCE) & paused.phonemes_valid
        spoken[rate] = (output.durations * words).sum(1)
        assert int(output.durations[paused.phonemes_valid].min()) >= 1
    for row, plain in enumerate(spoken[1.0].tolist()):
        counts = [int(found[row]) for found in spoken.values()]
        assert counts == sorted(counts, reverse=True)
        assert counts[3] == max(round(plain / 1.5), [5, 3][row])
        assert counts[0] == [34, 30][row]  # the slot, less a frame per pause


def test_a_line_without_pauses_keeps_its_rate(widths, make_batch):
    system, batch = build(AuthenticDubber, widths).eval(), make_batch().without_recording()
    words = batch._replace(phonemes=batch.phonemes.clamp(max=SILENCE - 1))
    faster = system(controlled(words, rate=2.0)).durations
    assert torch.equal(faster, system(words).durations)


def test_the_batch_moves_with_its_control():
    names = [name for name in DubbingBatch._fields if name not in DubbingBatch._field_defaults]
    assert "control" in DubbingBatch._field_defaults
    assert names[-1] == "prosody"


# -- settings


def test_small_systems_differ_from_tiny_in_size_alone():
    for kind, small in SMALL.items():
        tiny = kind.PRESETS["tiny"]
        assert {f.name for f in fields(small)} == {f.name for f in fields(tiny)}
        assert replace(small) == small


def test_the_published_sizes_build(widths):
    wide = replace(
        widths, lips=512, speaker=256, scene=1024, face=1024, text=2048, audio=1024,
        local_face=256, phonemes=88, sound=type(widths.sound)(),
    )  # fmt: skip
    counts = {}
    for kind in KINDS:
        with torch.device("meta"):
            system = kind(kind.PRESETS["paper"], wide)
        counts[kind] = {
            name: sum(p.numel() for p in part.parameters())
            for name, part in system.named_children()
        }
    style, authentic, fast = counts[StyleDubber], counts[AuthenticDubber], counts[FastSpeech2]
    shared = style.keys() & authentic.keys()
    assert {"decoder", "lip_encoder", "phoneme_encoder", "timbre_encoder", "postnet"} <= shared
    assert {name: style[name] for name in shared} == {name: authentic[name] for name in shared}
    # Face: convolutions 256 -> 128 -> 256 of 3 taps, their norms, one layer 256 -> 256.
    face = 256 * 128 * 3 + 128 + 128 * 256 * 3 + 256 + 2 * (128 + 256) + 256 * 256 + 256
    assert style["face_encoder"] == face

    def cross(width, filters):  # attention, two norms, two layers
        attention = 4 * (width * width + width)
        return attention + 4 * width + 2 * width * filters + filters + width

    stream = 2 * 256 * 128 + 16 * cross(128, 512) + 256
    assert style["text_reads_style"] == 2 * stream + 16 * cross(256, 1024) + 512
    assert authentic["text_reads_timbre"] == stream + 128 * 256 + 256
    # One block: attention, convolution 256 * 1024 * 9, back, two norms; 4 and 6 of them.
    block = 263_168 + 2_360_320 + 262_400 + 2 * 512
    assert (fast["encoder"], fast["decoder"]) == (4 * block, 6 * block)
    predictor = 2 * (256 * 256 * 3 + 256) + 2 * 512 + 257
    assert fast["duration"] == fast["pitch"] == fast["energy"] == predictor
